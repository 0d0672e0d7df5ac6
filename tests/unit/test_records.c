/*
 * test_records.c - files of records: which one is taken, and what is said about a bad one.
 * SPDX-License-Identifier: MIT
 */
#include "run/records.h"

#include "eval.h"

#define RTE(label) "{\"sentence1\":\"a\",\"sentence2\":\"b\",\"label\":" #label ",\"idx\":0}\n"

static const char *const test_first[] = {"test", "validation", NULL};
static const char *const validation[] = {"validation", NULL};

static void expect_file(struct world *w, const char *name, const char *const *splits,
                        const char *base)
{
    char *path = NULL;

    must(records_find(w->folder, name, splits, &path));
    assert_string_equal(path_base(path), base);
    mem_free(path);
}

static void test_records_takes_the_first_split_that_is_there(void **state)
{
    struct world w;
    char *path = NULL;
    (void)state;

    world_open(&w, "bytes");
    must_say(records_find(w.folder, "arc_easy", test_first, &path),
             "looked for arc_easy.test.jsonl, arc_easy.test.jsonl.gz, arc_easy.validation.jsonl, "
             "arc_easy.validation.jsonl.gz");
    assert_null(path);
    (void)world_file(&w, "arc_easy.validation.jsonl.gz", "");
    expect_file(&w, "arc_easy", test_first, "arc_easy.validation.jsonl.gz");
    (void)world_file(&w, "arc_easy.validation.jsonl", "");
    expect_file(&w, "arc_easy", test_first, "arc_easy.validation.jsonl");
    (void)world_file(&w, "arc_easy.test.jsonl", "");
    expect_file(&w, "arc_easy", test_first, "arc_easy.test.jsonl");
    expect_file(&w, "arc_easy", validation, "arc_easy.validation.jsonl");
    world_close(&w);
}

static void test_records_ignores_files_whose_name_goes_on(void **state)
{
    struct world w;
    (void)state;

    world_open(&w, "bytes");
    (void)world_file(&w, "boolq_superglue.validation.jsonl", "");
    (void)world_file(&w, "boolq.validation.jsonl", "");
    expect_file(&w, "boolq", validation, "boolq.validation.jsonl");
    world_close(&w);
}

static void test_records_reports_a_missing_folder(void **state)
{
    char *path = NULL;
    (void)state;

    must_say(records_find("/no/such/folder", "rte", validation, &path),
             "/no/such/folder: no such folder (it should hold the records of rte)");
}

static void test_records_reports_file_and_line(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {RTE(0) "\n  \n{\"sentence1\":", "records.jsonl:4: no JSON: "},
        {RTE(0) "[1]\n", "records.jsonl:2: not a JSON object"},
        {RTE(0) "{\"label\":1,\"label\":2}\n", "records.jsonl:2: no JSON: duplicate object key"},
        {"{\"sentence2\":\"b\",\"label\":0}\n", "records.jsonl:1: task/rte: no member 'sentence1'"},
        {"{\"sentence1\":7}\n", "records.jsonl:1: task/rte: member 'sentence1' is no string"},
        {RTE("0"), "records.jsonl:1: task/rte: member 'label' is no integer"},
        {"\n", "records.jsonl: no record in it"},
        {"", "records.jsonl: no record in it"},
    };
    struct world w;
    (void)state;

    world_open(&w, "bytes");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct record_sink sink;
        must_say(world_format(&w, "rte", cases[i].text, &sink), cases[i].message);
        mem_free(sink.records);
    }
    world_close(&w);
}

static void test_records_keeps_lines_and_strings(void **state)
{
    struct world w;
    struct record_sink sink;
    (void)state;

    world_open(&w, "bytes");
    must(world_format(&w, "rte", RTE(1) "\n" RTE(0) RTE(2.0), &sink));
    assert_int_equal(sink.n, 3);
    assert_int_equal(sink.records[1].line, 3);
    assert_string_equal(sink.records[1].question, "a\nQuestion: b True or False?\nAnswer:");
    assert_string_equal(sink.records[0].answer, "False");
    assert_int_equal(sink.records[2].gold, 2);
    assert_null(sink.records[2].answer);
    mem_free(sink.records);
    world_close(&w);
}

/* Each task of MMLU takes its subject out of one file. */
static void test_records_go_to_the_sink_whose_filter_they_pass(void **state)
{
    static const char *const names[] = {"mmlu_anatomy", "mmlu_virology", "mmlu_sociology"};
    struct record_sink sinks[3];
    struct world w;
    const char *path;
    (void)state;

    world_open(&w, "bytes");
    path = world_file(&w, "mmlu.test.jsonl",
                      "{\"question\":\"q0\",\"subject\":\"virology\",\"choices\":[\"w\",\"x\","
                      "\"y\",\"z\"],\"answer\":0}\n"
                      "{\"question\":\"q1\",\"subject\":\"anatomy\",\"choices\":[\"w\",\"x\",\"y\","
                      "\"z\"],\"answer\":1}\n"
                      "{\"question\":\"q2\",\"subject\":\"virology\",\"choices\":[\"w\",\"x\","
                      "\"y\",\"z\"],\"answer\":2}\n"
                      "{\"question\":\"q3\"}\n");
    for (size_t i = 0; i < 3; i++) {
        const struct component *c = NULL;
        must(registry_find(w.registry, HCSMOE_KIND_TASK, names[i], &c));
        sinks[i] = (struct record_sink){.task = names[i], .ops = c->c.ops};
    }
    must(records_read(path, w.host, sinks, 2, &w.arena));
    assert_int_equal(sinks[0].n, 1);
    assert_int_equal(sinks[1].n, 2);
    assert_int_equal(sinks[1].records[1].gold, 2);
    must_say(records_read(path, w.host, sinks + 2, 1, &w.arena),
             "mmlu.test.jsonl: no record whose subject is 'sociology', for task mmlu_sociology");
    mem_free(sinks[0].records);
    mem_free(sinks[1].records);
    world_close(&w);
}

static void test_records_with_equal_members_have_equal_keys(void **state)
{
    struct world w;
    struct record_sink sink = {.task = "rte", .keys = true};
    const struct component *c = NULL;
    (void)state;

    world_open(&w, "bytes");
    must(registry_find(w.registry, HCSMOE_KIND_TASK, "rte", &c));
    sink.ops = c->c.ops;
    must(records_read(
        world_file(
            &w, "a.jsonl",
            RTE(1) "{\"label\":1,\"idx\":0,\"sentence2\":\"b\",\"sentence1\":\"a\"}\n" RTE(0)),
        w.host, &sink, 1, &w.arena));
    assert_string_equal(sink.records[0].key, sink.records[1].key);
    assert_string_not_equal(sink.records[0].key, sink.records[2].key);
    mem_free(sink.records);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records_takes_the_first_split_that_is_there),
        cmocka_unit_test(test_records_ignores_files_whose_name_goes_on),
        cmocka_unit_test(test_records_reports_a_missing_folder),
        cmocka_unit_test(test_records_reports_file_and_line),
        cmocka_unit_test(test_records_keeps_lines_and_strings),
        cmocka_unit_test(test_records_go_to_the_sink_whose_filter_they_pass),
        cmocka_unit_test(test_records_with_equal_members_have_equal_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
