/*
 * test_evaluate.c - whole evaluations without a model: requests, metrics, groups, samples, tables.
 * SPDX-License-Identifier: MIT
 */
#include "run/evaluate.h"

#include <math.h>

#include "eval.h"

/* ---- plans on files ---- */

static int plan_try(struct world *w, const char *task, struct eval_settings s, struct eval_plan **p)
{
    char *tasks[] = {(char *)(uintptr_t)task};

    s.ini = &w->ini;
    if (s.n_tasks == 0) {
        s.tasks = tasks;
        s.n_tasks = 1;
    }
    s.add_bos = -1;
    return eval_plan_open(p, &s, w->registry, w->host, w->tokenizer, 1 << 20);
}

static json_t *results(struct eval_plan *p, struct str *table)
{
    json_t *result = NULL;
    struct str text = {0};

    must(eval_plan_results(p, &result, table ? table : &text));
    str_release(&text);
    return result;
}

static double member(const json_t *result, const char *task, const char *key)
{
    const json_t *v = json_object_get(json_object_get(result, task), key);

    assert_true(json_is_number(v));
    return json_number_value(v);
}

static const char *word(const json_t *result, const char *task, const char *key)
{
    const char *s = json_string_value(json_object_get(json_object_get(result, task), key));

    assert_non_null(s);
    return s;
}

/* Tokens of the byte tokenizer are the text: context and continuation of a request. */
static void expect_request(const struct score_request *r, const json_t *want)
{
    const char *context = json_string_value(json_array_get(want, 0));
    const char *continuation = json_string_value(json_array_get(want, 1));
    const size_t n_context = strlen(context), n = n_context + strlen(continuation);

    assert_int_equal((size_t)r->n, n);
    assert_int_equal((size_t)r->from, n_context);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(r->tokens[i],
                         (unsigned char)(i < n_context ? context[i] : continuation[i - n_context]));
}

static void feed(struct eval_plan *p, const json_t *run, bool choices)
{
    const json_t *ll = json_object_get(run, "ll");
    const json_t *requests = json_object_get(run, "requests");

    assert_int_equal(p->n_docs, json_array_size(ll));
    for (size_t d = 0; d < p->n_docs; d++) {
        const struct doc *doc = &p->docs[d];
        const json_t *of_doc = json_array_get(ll, d);
        if (choices)
            assert_int_equal(doc->n, json_array_size(of_doc));
        for (size_t k = 0; k < doc->n; k++) {
            p->requests[doc->first + k].sum =
                k < json_array_size(of_doc) ? json_number_value(json_array_get(of_doc, k)) : 0;
            if (choices && d < json_array_size(requests))
                expect_request(&p->requests[doc->first + k],
                               json_array_get(json_array_get(requests, d), k));
        }
    }
}

/* The sample file: one line per document, with what went in and what came out. */
static void expect_samples(const char *path, const json_t *run)
{
    const char *task = json_string_value(json_object_get(run, "task"));
    const json_t *ll = json_object_get(run, "ll");
    const json_t *scores = json_object_get(run, "acc");
    struct lines *l = NULL;
    char *line = NULL;
    size_t n = 0, d = 0;

    must(lines_open(&l, path));
    for (; lines_next(l, &line, &n) == 1; d++) {
        json_t *sample = json_loadb(line, n, 0, NULL);
        const json_t *score = json_array_get(scores, d);
        assert_string_equal(json_string_value(json_object_get(sample, "task")), task);
        assert_int_equal(json_integer_value(json_object_get(sample, "doc")), d);
        assert_true(json_equal(json_object_get(sample, "loglikelihoods"), json_array_get(ll, d)));
        if (score) {
            assert_true(json_equal(json_object_get(sample, "acc"), json_array_get(score, 0)));
            assert_true(json_equal(json_object_get(sample, "acc_norm"), json_array_get(score, 1)) ||
                        json_array_size(score) == 1);
            assert_int_equal(json_array_size(json_object_get(sample, "greedy")),
                             json_array_size(json_array_get(ll, d)));
        }
        json_decref(sample);
    }
    lines_close(l);
    assert_int_equal(d, json_array_size(ll));
}

static void expect_run(struct world *w, const json_t *run)
{
    const char *task = json_string_value(json_object_get(run, "task"));
    const json_t *want = json_object_get(run, "table");
    struct eval_settings s = {.data = TEST_DATA "/eval/data",
                              .samples = world_file(w, "samples.jsonl", "")};
    struct eval_plan *p = NULL;
    struct str table = {0};
    json_t *value;
    const char *key;

    s.num_fewshot = json_integer_value(json_object_get(run, "num_fewshot"));
    must(plan_try(w, task, s, &p));
    feed(p, run, strcmp(task, "wikitext") != 0);
    json_t *result = results(p, &table);
    json_object_foreach(json_object_get(run, "results"), key, value)
    {
        const json_t *got = json_object_get(json_object_get(result, task), key);
        if (!json_equal(got, value)) /* to the last bit */
            fail_msg("%s: %s is %.17g, not %.17g", task, key, json_number_value(got),
                     json_number_value(value));
    }
    expect_samples(s.samples, run);
    if (want)
        assert_string_equal(str_text(&table), json_string_value(want));
    json_decref(result);
    str_release(&table);
    eval_plan_close(p);
}

static void test_evaluate_gives_the_harness_requests_and_results(void **state)
{
    struct world w;
    json_t *runs = world_json("runs.json");
    json_t *run;
    size_t i;
    (void)state;

    world_open(&w, "bytes");
    json_array_foreach(runs, i, run) expect_run(&w, run);
    json_decref(runs);
    world_close(&w);
}

static void test_evaluate_asks_the_same_with_one_thread(void **state)
{
    struct world w;
    struct eval_plan *p[2];
    (void)state;

    world_open(&w, "bytes");
    for (int i = 0; i < 2; i++) {
        host_set_threads(w.host, i == 0 ? 1 : 4);
        must(plan_try(&w, "arc_easy", (struct eval_settings){.data = TEST_DATA "/eval/data"},
                      &p[i]));
    }
    assert_int_equal(p[0]->n_requests, p[1]->n_requests);
    for (size_t i = 0; i < p[0]->n_requests; i++) {
        const struct score_request *a = &p[0]->requests[i], *b = &p[1]->requests[i];
        assert_int_equal(a->n, b->n);
        assert_memory_equal(a->tokens, b->tokens, (size_t)a->n * sizeof *a->tokens);
    }
    eval_plan_close(p[0]);
    eval_plan_close(p[1]);
    world_close(&w);
}

/* ---- scores ---- */

/* One arc_easy record with these choices; the label of the right one is its index. */
static struct eval_plan *arc_plan(struct world *w, const char *first, const char *second, int gold)
{
    struct eval_plan *p = NULL;
    char text[256];

    (void)snprintf(
        text, sizeof text,
        "{\"question\":\"q\",\"choices\":{\"text\":[\"%s\",\"%s\"],\"label\":[\"0\",\"1\"]},"
        "\"answerKey\":\"%d\"}\n",
        first, second, gold);
    (void)world_file(w, "arc_easy.test.jsonl", text);
    must(plan_try(w, "arc_easy", (struct eval_settings){.data = w->folder}, &p));
    return p;
}

static void expect_scores(struct world *w, const char *first, const char *second, double ll0,
                          double ll1, int acc, int acc_norm)
{
    struct eval_plan *p = arc_plan(w, first, second, 0);

    p->requests[0].sum = ll0;
    p->requests[1].sum = ll1;
    json_t *result = results(p, NULL);
    /* The first choice is right: 1 says that it was predicted. */
    assert_true(member(result, "arc_easy", "acc") == acc);
    assert_true(member(result, "arc_easy", "acc_norm") == acc_norm);
    json_decref(result);
    eval_plan_close(p);
}

static void test_evaluate_breaks_ties_low_and_counts_characters(void **state)
{
    struct world w;
    (void)state;

    world_open(&w, "bytes");
    expect_scores(&w, "abc", "éé", -3, -3, 1, 1);
    expect_scores(&w, "a", "bb", -2, -3, 1, 0);
    expect_scores(&w, "a", "b", -1, (double)NAN, 0, 0);
    expect_scores(&w, "a", "b", (double)NAN, (double)NAN, 1, 1);
    expect_scores(&w, "", "abc", -1, -3, 1, 0); /* -1 / 0 is minus infinity */
    expect_scores(&w, "", "abc", 0, -3, 1, 1);  /* 0 / 0 is NaN, which wins */
    world_close(&w);
}

static void test_evaluate_has_no_error_for_one_document(void **state)
{
    struct world w;
    struct str table = {0};
    (void)state;

    world_open(&w, "bytes");
    struct eval_plan *p = arc_plan(&w, "a", "b", 1);
    p->requests[0].sum = -1;
    p->requests[1].sum = -2;
    json_t *result = results(p, &table);
    assert_string_equal(word(result, "arc_easy", "acc_stderr"), "N/A");
    assert_string_equal(word(result, "arc_easy", "data"), "arc_easy.test.jsonl");
    assert_non_null(strstr(str_text(&table), "|acc     |↑  |    0|±  |   N/A|\n"));
    json_decref(result);
    str_release(&table);
    eval_plan_close(p);
    world_close(&w);
}

/* n records of rte, all entailment. */
static struct eval_plan *rte_plan(struct world *w, size_t n, double limit)
{
    struct str text = {0};
    struct eval_plan *p = NULL;

    for (size_t i = 0; i < n; i++)
        str_add(&text, "{\"sentence1\":\"a\",\"sentence2\":\"b\",\"label\":0}\n");
    (void)world_file(w, "rte.validation.jsonl", str_text(&text));
    str_release(&text);
    must(plan_try(w, "rte", (struct eval_settings){.data = w->folder, .limit = limit}, &p));
    return p;
}

static void predict(struct eval_plan *p, size_t right)
{
    for (size_t i = 0; i < p->n_docs; i++) {
        p->requests[p->docs[i].first].sum = i < right ? -1 : -3;
        p->requests[p->docs[i].first + 1].sum = -2;
    }
}

static void test_evaluate_computes_the_standard_error_of_the_harness(void **state)
{
    static const struct {
        size_t n, right;
        double acc, error;
    } cases[] = {
        {10, 3, 0.3, 0.15275252316519466}, {15, 6, 0.4, 0.13093073414159545}, {2, 1, 0.5, 0.5}};
    struct world w;
    (void)state;

    world_open(&w, "bytes");
    for (size_t i = 0; i < 3; i++) {
        struct eval_plan *p = rte_plan(&w, cases[i].n, 0);
        predict(p, cases[i].right);
        json_t *result = results(p, NULL);
        assert_true(member(result, "rte", "acc") == cases[i].acc);
        assert_true(member(result, "rte", "acc_stderr") == cases[i].error);
        json_decref(result);
        eval_plan_close(p);
    }
    world_close(&w);
}

static void test_evaluate_limits_documents_by_share_or_number(void **state)
{
    static const struct {
        double limit;
        size_t n;
    } cases[] = {{0, 277}, {0.1, 28}, {1, 1}, {2.7, 2}, {1000, 277}, {1e-9, 1}};
    struct world w;
    (void)state;

    world_open(&w, "bytes");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t documents, requests, tokens;
        struct eval_plan *p = rte_plan(&w, 277, cases[i].limit);
        eval_plan_size(p, &documents, &requests, &tokens);
        assert_int_equal(documents, cases[i].n);
        assert_int_equal(requests, 2 * cases[i].n);
        assert_int_equal(tokens, (int64_t)cases[i].n * (2 * 36 + 5 + 6));
        eval_plan_close(p);
    }
    world_close(&w);
}

static void test_evaluate_counts_a_right_choice_outside_the_choices_as_wrong(void **state)
{
    struct world w;
    struct eval_plan *p = NULL;
    (void)state;

    world_open(&w, "bytes");
    (void)world_file(&w, "rte.validation.jsonl",
                     "{\"sentence1\":\"a\",\"sentence2\":\"b\",\"label\":-1}\n");
    must(plan_try(&w, "rte", (struct eval_settings){.data = w.folder}, &p));
    json_t *result = results(p, NULL);
    assert_true(member(result, "rte", "acc") == 0);
    json_decref(result);
    eval_plan_close(p);
    world_close(&w);
}

/* ---- groups ---- */

/* Pools by hand: groups of MMLU are too large to write down. */
static void test_evaluate_pools_groups_by_size(void **state)
{
    static const hcsmoe_task_spec leaf = {
        .type = HCSMOE_TASK_CHOICE, .alias = "x", .version = "1", .metrics = 1};
    static const hcsmoe_task_spec group = {
        .type = HCSMOE_TASK_GROUP, .alias = "g", .version = "2", .metrics = 1};
    static const size_t sizes[] = {10, 15}, right[] = {3, 6};
    const char *const texts[] = {"no", "yes"};
    const struct record record = {.choices = texts, .n_choices = 2};
    struct task a = {.name = "a", .spec = &leaf, .is_member = true}, b = a,
                g = {.name = "g", .spec = &group};
    struct task *all[] = {&g, &a, &b}, *members[] = {&a, &b};
    struct doc docs[25];
    struct score_request requests[50] = {0};
    struct eval_plan p = {
        .tasks = all, .n_tasks = 3, .docs = docs, .n_docs = 25, .requests = requests};
    (void)state;

    b.name = "b";
    g.members = members;
    g.n_members = 2;
    b.first_doc = 10;
    for (size_t t = 0, d = 0; t < 2; t++) {
        members[t]->n_docs = sizes[t];
        for (size_t i = 0; i < sizes[t]; i++, d++) {
            docs[d] = (struct doc){.task = members[t], .record = &record, .first = 2 * d, .n = 2};
            requests[2 * d].sum = i < right[t] ? -1 : -3;
            requests[2 * d + 1].sum = -2;
        }
    }
    json_t *result = results(&p, NULL);
    assert_true(member(result, "g", "acc") == 0.36);
    assert_true(member(result, "g", "acc_stderr") == 0.09956426807977282);
    assert_int_equal(member(result, "g", "n"), 25);
    json_decref(result);
    b.n_docs = 1; /* no error in one makes none for all */
    result = results(&p, NULL);
    assert_string_equal(word(result, "g", "acc_stderr"), "N/A");
    json_decref(result);
}

/* Two records of each subject of MMLU. */
static void mmlu_write(struct world *w)
{
    static const char *const groups[] = {"mmlu_stem", "mmlu_other", "mmlu_social_sciences",
                                         "mmlu_humanities"};
    struct str text = {0};

    for (size_t g = 0; g < 4; g++) {
        const struct component *c = NULL;
        must(registry_find(w->registry, HCSMOE_KIND_TASK, groups[g], &c));
        const hcsmoe_task_spec *s = ((const hcsmoe_task_ops *)c->c.ops)->spec;
        for (size_t i = 0; s->members[i]; i++)
            for (int k = 0; k < 2; k++)
                str_addf(&text,
                         "{\"question\":\"q\",\"subject\":\"%s\",\"choices\":[\"w\",\"x\",\"y\","
                         "\"z\"],\"answer\":%d}\n",
                         s->members[i] + strlen("mmlu_"), k);
    }
    (void)world_file(w, "mmlu.test.jsonl", str_text(&text));
    str_release(&text);
}

static void test_evaluate_computes_a_task_once_that_is_named_and_in_a_group(void **state)
{
    char *names[] = {(char[]){"mmlu_anatomy"}, (char[]){"mmlu"}, (char[]){"mmlu_stem"}};
    struct world w;
    struct eval_plan *p = NULL;
    struct str table = {0};
    (void)state;

    world_open(&w, "bytes");
    mmlu_write(&w);
    must(plan_try(&w, NULL, (struct eval_settings){.tasks = names, .n_tasks = 3, .data = w.folder},
                  &p));
    assert_int_equal(p->n_docs, 2 * 57);
    assert_int_equal(p->n_requests, 4 * 2 * 57);
    json_t *result = results(p, &table); /* all sums are 0: A is predicted */
    assert_int_equal(json_object_size(result), 57 + 5);
    assert_true(member(result, "mmlu", "acc") == 0.5);
    assert_int_equal(member(result, "mmlu_stem", "n"), 38);
    assert_string_equal(word(result, "mmlu_social_sciences", "alias"), "social sciences");
    assert_true(str_starts(
        str_text(&table) + 2 * (strchr(str_text(&table), '\n') - str_text(&table) + 1), "|mmlu "));
    assert_non_null(strstr(str_text(&table), "|  - anatomy "));
    assert_null(strstr(str_text(&table), "\n|anatomy"));
    assert_non_null(strstr(str_text(&table), "\n\n|      Groups      |Version|"));
    json_decref(result);
    str_release(&table);
    eval_plan_close(p);
    must(plan_try(&w, "mmlu_stem", (struct eval_settings){.data = w.folder}, &p));
    json_decref(results(p, &table));
    assert_non_null(strstr(str_text(&table),
                           "|stem                           |      2|none  |     0|acc   |↑  |"));
    assert_non_null(strstr(str_text(&table), "| - abstract_algebra "));
    str_release(&table);
    eval_plan_close(p);
    world_close(&w);
}

/* ---- texts ---- */

static void test_evaluate_scores_a_text_in_windows(void **state)
{
    struct world w;
    struct eval_plan *p = NULL;
    struct eval_settings s = {.max_length = 4};
    struct str table = {0};
    (void)state;

    world_open(&w, "bytes-bos");
    s.text = world_file(&w, "text.txt", "one two\n");
    must(plan_try(&w, "perplexity", s, &p));
    assert_int_equal(p->n_requests, 3); /* BOS and eight bytes */
    for (size_t i = 0; i < 3; i++)
        p->requests[i].sum = -3;
    json_t *result = results(p, &table);
    assert_string_equal(word(result, "perplexity", "data"), "text.txt");
    assert_int_equal(member(result, "perplexity", "window"), 4);
    assert_int_equal(member(result, "perplexity", "tokens"), 9);
    assert_true(member(result, "perplexity", "nll") == 9);
    assert_true(member(result, "perplexity", "token_perplexity") == exp(1));
    assert_true(member(result, "perplexity", "word_perplexity") ==
                exp(3)); /* a space and a line feed: 3 words */
    assert_true(member(result, "perplexity", "byte_perplexity") == exp(9.0 / 8));
    assert_non_null(strstr(str_text(&table), "|token_perplexity|↓  | 2.7183|±  |   N/A|\n"));
    json_decref(result);
    str_release(&table);
    eval_plan_close(p);
    s.text_tokens = 5;
    must(plan_try(&w, "perplexity", s, &p));
    assert_int_equal(p->n_requests, 2);
    result = results(p, NULL);
    assert_int_equal(member(result, "perplexity", "tokens"), 5);
    assert_null(json_object_get(json_object_get(result, "perplexity"), "word_perplexity"));
    json_decref(result);
    eval_plan_close(p);
    world_close(&w);
}

static void test_evaluate_takes_the_window_of_the_model(void **state)
{
    struct world w;
    struct eval_plan *p = NULL;
    struct eval_settings s = {.n_tasks = 0};
    (void)state;

    world_open(&w, "bytes");
    s.text = world_file(&w, "text.txt", "x");
    must(plan_try(&w, "perplexity", s, &p));
    assert_int_equal(p->encoder.max_length, 1 << 20);
    eval_plan_close(p);
    world_close(&w);
}

/* ---- refusals ---- */

static void expect_refusal(struct world *w, const char *task, struct eval_settings s,
                           const char *message)
{
    struct eval_plan *p = NULL;

    must_say(plan_try(w, task, s, &p), message);
    assert_null(p);
}

static void test_evaluate_refuses_what_cannot_be_run(void **state)
{
    char *twice[] = {(char[]){"rte"}, (char[]){"boolq"}, (char[]){"rte"}};
    const char *data = TEST_DATA "/eval/data";
    struct world w;
    (void)state;

    world_open(&w, "bytes");
    (void)world_file(&w, "boolq.validation.jsonl", "{\"question\":\"q\"}\n");
    expect_refusal(&w, "rte", (struct eval_settings){0},
                   "[eval] data is not set: task rte reads its records");
    expect_refusal(&w, "perplexity", (struct eval_settings){0},
                   "[eval] text is not set: task perplexity");
    expect_refusal(&w, "perplexity", (struct eval_settings){.text = "/no/such"}, "/no/such");
    expect_refusal(&w, "winogrand", (struct eval_settings){.data = data},
                   "did you mean 'winogrande'?");
    expect_refusal(&w, NULL, (struct eval_settings){.tasks = twice, .n_tasks = 3, .data = data},
                   "'rte' is there twice");
    expect_refusal(&w, "mmlu_anatomy", (struct eval_settings){.data = data},
                   "no record whose subject is 'anatomy'");
    expect_refusal(&w, "mmlu_abstract_algebra",
                   (struct eval_settings){.data = data, .num_fewshot = 6},
                   "6: task mmlu_abstract_algebra takes at most 5 examples");
    expect_refusal(&w, "winogrande", (struct eval_settings){.data = data, .num_fewshot = 100},
                   "winogrande.train.jsonl: 100 records for few-shot examples: 101 are drawn for "
                   "num_fewshot = 100");
    expect_refusal(&w, "rte", (struct eval_settings){.data = data, .num_fewshot = 1},
                   "few-shot examples of rte: ");
    expect_refusal(&w, "boolq", (struct eval_settings){.data = w.folder},
                   "boolq.validation.jsonl:1: task/boolq: ");
    (void)world_file(
        &w, "winogrande.validation.jsonl",
        "{\"sentence\":\"a _ b\",\"option1\":\"x\",\"option2\":\"y\",\"answer\":\"1\"}\n");
    expect_refusal(&w, "winogrande", (struct eval_settings){.data = w.folder, .max_length = 1},
                   "winogrande.validation.jsonl:1: choice 0: the continuation has 2 tokens, more "
                   "than max_length = 1");
    world_close(&w);
}

static void test_evaluate_names_the_line_of_a_wrong_key(void **state)
{
    struct world w;
    const char *data = TEST_DATA "/eval/data";
    (void)state;

    world_open(&w, "bytes");
    const char *path = world_file(&w, "e.ini", "[eval]\ntask = rte\nnum_fewsot = 3\n");
    must(ini_read(&w.ini, path));
    expect_refusal(&w, "rte", (struct eval_settings){.data = data},
                   "e.ini:3: [eval] no option 'num_fewsot'");
    expect_refusal(&w, "rtf", (struct eval_settings){.data = data},
                   "e.ini:2: [eval] task: no task 'rtf'");
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_evaluate_gives_the_harness_requests_and_results),
        cmocka_unit_test(test_evaluate_asks_the_same_with_one_thread),
        cmocka_unit_test(test_evaluate_breaks_ties_low_and_counts_characters),
        cmocka_unit_test(test_evaluate_has_no_error_for_one_document),
        cmocka_unit_test(test_evaluate_computes_the_standard_error_of_the_harness),
        cmocka_unit_test(test_evaluate_limits_documents_by_share_or_number),
        cmocka_unit_test(test_evaluate_counts_a_right_choice_outside_the_choices_as_wrong),
        cmocka_unit_test(test_evaluate_pools_groups_by_size),
        cmocka_unit_test(test_evaluate_computes_a_task_once_that_is_named_and_in_a_group),
        cmocka_unit_test(test_evaluate_scores_a_text_in_windows),
        cmocka_unit_test(test_evaluate_takes_the_window_of_the_model),
        cmocka_unit_test(test_evaluate_refuses_what_cannot_be_run),
        cmocka_unit_test(test_evaluate_names_the_line_of_a_wrong_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
