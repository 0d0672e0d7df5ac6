/*
 * test_tasks.c - the task plugins: from records to questions, choices and answers.
 * SPDX-License-Identifier: MIT
 */
#include "eval.h"

#define QUOTE "\\\"" /* a quote character inside JSON */

/* The one record of text, formatted. */
static struct record format_one(struct world *w, const char *task, const char *text)
{
    struct record_sink sink;

    must(world_format(w, task, text, &sink));
    assert_int_equal(sink.n, 1);
    struct record r = sink.records[0];
    mem_free(sink.records);
    return r;
}

static void expect_error(struct world *w, const char *task, const char *text, const char *message)
{
    struct record_sink sink;

    must_say(world_format(w, task, text, &sink), message);
    mem_free(sink.records);
}

static void test_winogrande_has_two_contexts_and_one_continuation(void **state)
{
    struct world w;
    (void)state;

    world_open(&w, "bytes");
    struct record r = format_one(
        &w, "winogrande",
        "{\"sentence\":\"The trophy didn't fit in the suitcase because the _ was too big. \","
        "\"option1\":\"trophy\",\"option2\":\"suitcase\",\"answer\":\"1\"}");
    assert_int_equal(r.n_choices, 2);
    assert_int_equal(r.gold, 0);
    assert_string_equal(r.questions[0], "The trophy didn't fit in the suitcase because the trophy");
    assert_string_equal(r.questions[1],
                        "The trophy didn't fit in the suitcase because the suitcase");
    assert_string_equal(r.choices[0], "was too big.");
    assert_string_equal(r.choices[1], "was too big.");
    assert_string_equal(r.answer, "was too big.");
    r = format_one(&w, "winogrande",
                   "{\"sentence\":\"The cat sat on "
                   "_\",\"option1\":\"mat\",\"option2\":\"rug\",\"answer\":\"2\"}");
    assert_string_equal(r.question, "The cat sat on rug");
    assert_string_equal(r.answer, "");
    expect_error(&w, "winogrande",
                 "{\"sentence\":\"no blank\",\"option1\":\"\",\"option2\":\"\",\"answer\":\"1\"}",
                 "member 'sentence' has no blank '_'");
    expect_error(&w, "winogrande",
                 "{\"sentence\":\"_\",\"option1\":\"\",\"option2\":\"\",\"answer\":\"3\"}",
                 "member 'answer' is '3' (allowed: '1', '2')");
    expect_error(&w, "winogrande", "{\"sentence\":\"_\",\"option1\":\"\",\"answer\":\"1\"}",
                 "no member 'option2'");
    world_close(&w);
}

static void test_arc_looks_the_answer_up_in_the_labels(void **state)
{
    struct world w;
    (void)state;

    world_open(&w, "bytes");
    struct record r = format_one(&w, "arc_easy",
                                 "{\"question\":\"What pulls objects "
                                 "down?\",\"choices\":{\"text\":[\"gravity\",\"light\",\"sound\"],"
                                 "\"label\":[\"1\",\"2\",\"3\"]},\"answerKey\":\"2\"}");
    assert_int_equal(r.n_choices, 3);
    assert_int_equal(r.gold, 1);
    assert_string_equal(r.question, "Question: What pulls objects down?\nAnswer:");
    assert_string_equal(r.answer, "light");
    r = format_one(&w, "arc_challenge",
                   "{\"question\":\"q\",\"choices\":{\"text\":[\"w\",\"x\",\" y "
                   "\"],\"label\":[\"A\",\"B\",\"C\"]},"
                   "\"answerKey\":\"C\"}");
    assert_int_equal(r.gold, 2);
    assert_string_equal(r.choices[2], " y ");
    expect_error(
        &w, "arc_easy",
        "{\"question\":\"q\",\"choices\":{\"text\":[\"w\"],\"label\":[\"A\"]},\"answerKey\":\"E\"}",
        "task/arc_easy: member 'answerKey' is 'E', which is no label of the choices");
    expect_error(&w, "arc_easy",
                 "{\"question\":\"q\",\"choices\":{\"text\":[\"w\"],\"label\":[\"A\",\"B\"]},"
                 "\"answerKey\":\"A\"}",
                 "member 'choices' has 1 texts and 2 labels");
    expect_error(&w, "arc_easy",
                 "{\"question\":\"q\",\"choices\":{\"text\":[]},\"answerKey\":\"A\"}",
                 "member 'text' is no array with something in it");
    expect_error(&w, "arc_easy",
                 "{\"question\":\"q\",\"choices\":{\"text\":[1]},\"answerKey\":\"A\"}",
                 "item 0 of member 'text' is no string");
    expect_error(&w, "arc_easy", "{\"question\":\"q\"}", "no member 'choices'");
    world_close(&w);
}

static void test_boolq_takes_both_schemas(void **state)
{
    static const char *const yes[] = {"\"label\":1", "\"label\":true", "\"answer\":true"};
    static const char *const no[] = {"\"label\":0", "\"label\":false", "\"answer\":false"};
    struct world w;
    char text[128];
    (void)state;

    world_open(&w, "bytes");
    for (int i = 0; i < 3; i++) {
        (void)snprintf(text, sizeof text, "{\"question\":\"is it 7?\",\"passage\":\"P7.\",%s}",
                       yes[i]);
        struct record r = format_one(&w, "boolq", text);
        assert_int_equal(r.gold, 1);
        assert_string_equal(r.answer, "yes");
        assert_string_equal(r.question, "P7.\nQuestion: is it 7??\nAnswer:");
        (void)snprintf(text, sizeof text, "{\"question\":\"q\",\"passage\":\"p\",%s}", no[i]);
        r = format_one(&w, "boolq", text);
        assert_int_equal(r.gold, 0);
        assert_string_equal(r.choices[0], "no");
    }
    expect_error(&w, "boolq", "{\"question\":\"q\",\"passage\":\"p\"}",
                 "no member 'label' and no member 'answer'");
    expect_error(&w, "boolq", "{\"question\":\"q\",\"passage\":\"p\",\"answer\":1}",
                 "member 'answer' is neither true nor false");
    world_close(&w);
}

static void test_rte_calls_entailment_true(void **state)
{
    struct world w;
    (void)state;

    world_open(&w, "bytes");
    struct record r =
        format_one(&w, "rte", "{\"sentence1\":\"S7.\",\"sentence2\":\"T7.\",\"label\":0}");
    assert_string_equal(r.answer, "True");
    assert_string_equal(r.question, "S7.\nQuestion: T7. True or False?\nAnswer:");
    world_close(&w);
}

static void test_openbookqa_takes_both_schemas(void **state)
{
    struct world w;
    (void)state;

    world_open(&w, "bytes");
    struct record r =
        format_one(&w, "openbookqa",
                   "{\"question_stem\":\"A plant needs \",\"choices\":{\"text\":[\"a\",\"b\"],"
                   "\"label\":[\"A\",\"B\"]},\"answerKey\":\" B\"}");
    assert_int_equal(r.gold, 1);
    assert_string_equal(r.question, "A plant needs ");
    r = format_one(&w, "openbookqa",
                   "{\"id\":\"7\",\"question\":{\"stem\":\"Stem\",\"choices\":[{\"text\":\"a\","
                   "\"label\":\"A\"},"
                   "{\"text\":\"b\",\"label\":\"B\"}]},\"answerKey\":\"B\"}");
    assert_int_equal(r.n_choices, 2);
    assert_string_equal(r.question, "Stem");
    assert_string_equal(r.answer, "b");
    expect_error(&w, "openbookqa",
                 "{\"question\":{\"stem\":\"s\",\"choices\":[]},\"answerKey\":\"B\"}",
                 "member 'choices' is empty");
    expect_error(&w, "openbookqa", "{\"answerKey\":\"B\"}", "no member 'question_stem'");
    world_close(&w);
}

static void test_hellaswag_cleans_and_capitalizes(void **state)
{
    static const char *const cleaned[][2] = {
        {" puts  the loaf [substeps] on a rack. ", "puts the loaf on a rack."},
        {"x [title] y", "x. y"},
        {"x[title] y", "x y"},
        {"   three   spaces", "three  spaces"},
        {"a    b", "a  b"},
        {"a   b", "a  b"},
        {" [x] lead", " lead"},
        {"tail [x]", "tail "},
        {"eats [a]b]c", "eats b]c"},
        {"a [b [c] d] e", "a d] e"},
        {"[] z", " z"},
        {"[a\\nb] c", "[a\nb] c"},
    };
    static const char *const capitals[][2] = {
        {"123 ABC", "123 abc"},
        {"HOW", "How"},
        {"", ""},
        {"ÉCOLE DES ÉTUDES", "École des études"},
        {"the man in NYC", "The man in nyc"},
        {"ﬁX", "Fix"},
        {"ǆX", "ǅx"},
        {"ΟΔΟΣ ΣΑΣ.", "Οδος σας."},
        {"XΣ", "Xς"},
        {"x Σ", "X σ"},
        {"xİ", "Xi̇"},
    };
    struct world w;
    char text[512];
    (void)state;

    world_open(&w, "bytes");
    struct record r = format_one(
        &w, "hellaswag",
        "{\"activity_label\":\"Baking bread\",\"ctx_a\":\"A man in NYC [header] opens the oven.\","
        "\"ctx_b\":\"the man from ROME smiles [step]\",\"endings\":[\"a\",\"b\",\"c\",\"d\"],"
        "\"label\":\"3\"}");
    assert_string_equal(r.question,
                        "Baking bread: A man in NYC opens the oven. The man from rome smiles ");
    assert_int_equal(r.gold, 3);
    assert_string_equal(r.answer, "d");
    for (size_t i = 0; i < sizeof cleaned / sizeof cleaned[0]; i++) {
        (void)snprintf(text, sizeof text,
                       "{\"activity_label\":\"\",\"ctx_a\":\"\",\"ctx_b\":\"\",\"endings\":[\"%s\"]"
                       ",\"label\":\"0\"}",
                       cleaned[i][0]);
        assert_string_equal(format_one(&w, "hellaswag", text).choices[0], cleaned[i][1]);
    }
    for (size_t i = 0; i < sizeof capitals / sizeof capitals[0]; i++) {
        char want[128];
        (void)snprintf(text, sizeof text,
                       "{\"activity_label\":\"x\",\"ctx_a\":\"y\",\"ctx_b\":\"%s\",\"endings\":["
                       "\"e\"],\"label\":0}",
                       capitals[i][0]);
        (void)snprintf(want, sizeof want, "x: y%s%s", capitals[i][1][0] ? " " : "", capitals[i][1]);
        assert_string_equal(format_one(&w, "hellaswag", text).question, want);
    }
    expect_error(&w, "hellaswag",
                 "{\"activity_label\":\"\",\"ctx_a\":\"\",\"ctx_b\":\"\",\"endings\":[\"e\"],"
                 "\"label\":\"\"}",
                 "member 'label' is '', which is no number");
    world_close(&w);
}

static void test_mmlu_scores_letters_and_strips_the_question(void **state)
{
    struct world w;
    const struct component *c = NULL;
    (void)state;

    world_open(&w, "bytes");
    struct record r =
        format_one(&w, "mmlu_us_foreign_policy",
                   "{\"question\":\"\\u3000 q0 \\n\",\"subject\":\"us_foreign_policy\","
                   "\"choices\":[\"w\",\" x\",\"y\",\"z\"],\"answer\":3}");
    assert_string_equal(r.question, "q0\nA. w\nB.  x\nC. y\nD. z\nAnswer:");
    assert_string_equal(r.choices[2], "C");
    assert_string_equal(r.answer, "D");
    must(registry_find(w.registry, HCSMOE_KIND_TASK, "mmlu_high_school_us_history", &c));
    assert_string_equal(((const hcsmoe_task_ops *)c->c.ops)->spec->description,
                        "The following are multiple choice questions (with answers) about high "
                        "school us history.\n\n");
    expect_error(&w, "mmlu_virology",
                 "{\"question\":\"q\",\"subject\":\"virology\",\"choices\":[\"w\"],\"answer\":0}",
                 "member 'choices' has 1 items (must be 4)");
    world_close(&w);
}

static void test_mmlu_has_four_groups_of_57_subjects(void **state)
{
    static const struct {
        const char *name, *alias, *first, *last;
        size_t n;
    } groups[] = {
        {"mmlu_stem", "stem", "mmlu_abstract_algebra", "mmlu_machine_learning", 19},
        {"mmlu_other", "other", "mmlu_business_ethics", "mmlu_virology", 13},
        {"mmlu_social_sciences", "social sciences", "mmlu_econometrics", "mmlu_us_foreign_policy",
         12},
        {"mmlu_humanities", "humanities", "mmlu_formal_logic", "mmlu_world_religions", 13}};
    struct world w;
    const struct component *c = NULL;
    (void)state;

    world_open(&w, "bytes");
    must(registry_find(w.registry, HCSMOE_KIND_TASK, "mmlu", &c));
    const hcsmoe_task_spec *mmlu = ((const hcsmoe_task_ops *)c->c.ops)->spec;
    for (size_t g = 0; g < 4; g++) {
        assert_string_equal(mmlu->members[g], groups[g].name);
        must(registry_find(w.registry, HCSMOE_KIND_TASK, groups[g].name, &c));
        const hcsmoe_task_spec *s = ((const hcsmoe_task_ops *)c->c.ops)->spec;
        assert_string_equal(s->alias, groups[g].alias);
        assert_string_equal(s->version, "2");
        size_t n = 0;
        for (; s->members[n]; n++) {
            must(registry_find(w.registry, HCSMOE_KIND_TASK, s->members[n], &c));
            assert_true(n == 0 || strcmp(s->members[n - 1], s->members[n]) < 0);
        }
        assert_int_equal(n, groups[g].n);
        assert_string_equal(s->members[0], groups[g].first);
        assert_string_equal(s->members[n - 1], groups[g].last);
    }
    assert_null(mmlu->members[4]);
    world_close(&w);
}

static void test_wikitext_is_detokenized(void **state)
{
    struct world w;
    (void)state;

    world_open(&w, "bytes");
    struct record r =
        format_one(&w, "wikitext",
                   "{\"page\":\" \\n = Marvin Tolbert = \\n \\n Marvin Tolbert 's first play ( "
                   "2001 ) cost $ 1 @,@ 200 , or 3 @.@ 5 "
                   "@-@ ish " QUOTE " quoted text " QUOTE
                   " and ' single ' [ note ] { x } ; it was 20 ° C : fine ! \\n = = Career = "
                   "= \\n = = = Early = = = \\n The dogs ' bone . Team N won ? \\n\"}");
    assert_string_equal(
        r.text,
        "\n= Marvin Tolbert =\n\nMarvin Tolbert's first play (2001) cost $ 1,200, or 3.5-ish "
        "\"quoted text\" and' single '[note] {x}; it was 20°C: fine!\n== Career ==\n=== Early "
        "===\nThe dogs' bone. Team 1 won?\n");
    assert_int_equal(r.n_words, 70);
    assert_int_equal(r.n_bytes, 245);
    r = format_one(&w, "wikitext", "{\"page\":\"x /' 7/ ( \\u3000 ) ( open\"}");
    assert_string_equal(r.text, "x /'[0-9]/ () ( open");
    expect_error(&w, "wikitext", "{\"text\":\"x\"}", "no member 'page'");
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_winogrande_has_two_contexts_and_one_continuation),
        cmocka_unit_test(test_arc_looks_the_answer_up_in_the_labels),
        cmocka_unit_test(test_boolq_takes_both_schemas),
        cmocka_unit_test(test_rte_calls_entailment_true),
        cmocka_unit_test(test_openbookqa_takes_both_schemas),
        cmocka_unit_test(test_hellaswag_cleans_and_capitalizes),
        cmocka_unit_test(test_mmlu_scores_letters_and_strips_the_question),
        cmocka_unit_test(test_mmlu_has_four_groups_of_57_subjects),
        cmocka_unit_test(test_wikitext_is_detokenized),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
