/*
 * test_html.c - report.html: text is no markup, numbers are the report's, and what is no report is
 * refused.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "run/html_parts.h"

/* Last: it has a macro fail() of its own. */
#include <cmocka.h>

/* A small report; ' stands for ". */
static const char small[] =
    "{'format': 1, 'version': '0.1.0', 'config': {'group': {'cluster': 'hierarchical', 'linkage': "
    "'average', 'similarity_base': 'weight'}, 'merge': {'merge': 'freq'}}, 'model': {'name': "
    "'small', 'family': 'mixtral', 'layers': 2, 'experts': 4, 'parameters': 4000, 'bytes': 8000}, "
    "'result': {'parameters': 2000, 'bytes': 4000, 'experts_per_layer': [4, 2]}, 'layers': "
    "[{'layer': 1, 'groups': [0, 1, 1, 0], 'dominant': [3, 1], 'usage': [0.1, 0.2, 0.3, 0.4], "
    "'usage_counts': [1, 2, 3, 4], 'merges': [{'a': 1, 'b': 2, 'height': 1.0, 'gap': 0.0005}, "
    "{'a': 0, 'b': 3, 'height': 2.0, 'gap': 0.5}, {'a': 0, 'b': 1, 'height': 4.0, 'gap': null}], "
    "'distances': [3.0, 4.0, 2.0, 1.0, 5.0, 4.5], 'output_error': 0.125, 'warnings': ['a tie']}], "
    "'eval': {'before': {'rte': {'acc': 0.5, 'acc_stderr': 0.03}}, 'after': {'rte': {'acc': 0.4, "
    "'acc_stderr': 0.04}}}, 'time_s': {'total': 9.5}, 'memory': {'peak_rss_bytes': 70000000}}";

static json_t *json_of(const char *text)
{
    char *quoted = strdup(text);
    assert_non_null(quoted);
    for (char *p = quoted; *p; p++)
        if (*p == '\'')
            *p = '"';
    json_error_t error;
    json_t *o = json_loads(quoted, JSON_DECODE_ANY, &error);
    if (!o)
        fail_msg("%s: %s", text, error.text);
    free(quoted);
    return o;
}

/* Puts a value (NULL: takes it away) at "layers.0.groups" of a report. */
static void put(json_t *o, const char *path, const char *value)
{
    char key[64];
    const char *dot = strchr(path, '.');
    while (dot) {
        (void)snprintf(key, sizeof key, "%.*s", (int)(dot - path), path);
        o = json_is_array(o) ? json_array_get(o, (size_t)strtoul(key, NULL, 10))
                             : json_object_get(o, key);
        path = dot + 1;
        dot = strchr(path, '.');
    }
    if (!value)
        assert_int_equal(json_object_del(o, path), 0);
    else
        assert_int_equal(json_object_set_new(o, path, json_of(value)), 0);
}

static void expect_has(const struct str *page, const char *text)
{
    if (!strstr(str_text(page), text))
        fail_msg("no '%s' in the page", text);
}

static void expect_lacks(const struct str *page, const char *text)
{
    const char *at = strstr(str_text(page), text);
    if (at)
        fail_msg("the page has '%.60s'", at);
}

/* No sum of nothing was divided by nothing. */
static void expect_numbers(const struct str *page)
{
    static const char *const bad[] = {"\"nan", ">nan",  " nan",  "-nan", ":nan",
                                      "Mnan",  "\"inf", ">inf<", " inf", "-inf"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect_lacks(page, bad[i]);
}

static void test_text_is_no_markup(void **state)
{
    struct str s = {0};
    (void)state;
    html_text(&s, "a<b>&\"c'd\x01\x1f\x7f\n\t\xc3\xa9</script>");
    assert_string_equal(s.text,
                        "a&lt;b&gt;&amp;&quot;c&#39;d\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\n\t"
                        "\xc3\xa9&lt;/script&gt;");
    str_clear(&s);
    html_text(&s, "");
    assert_string_equal(str_text(&s), "");
    str_release(&s);
}

static void test_numbers_for_people(void **state)
{
    static const struct {
        double x;
        const char *text;
    } cases[] = {{0, "0.000"},         {0.4821, "0.4821"},    {0.00123456, "0.001235"},
                 {1.5e-7, "1.50e-07"}, {188.4545, "188.5"},   {-2.5, "-2.500"},
                 {9999.4, "9999"},     {161446.3, "161,446"}, {1, "1.000"},
                 {1e15, "1.00e+15"},   {99.99, "99.99"}};
    struct str s = {0};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        str_clear(&s);
        html_number(&s, cases[i].x);
        assert_string_equal(str_text(&s), cases[i].text);
    }
    str_clear(&s);
    html_count(&s, 46702792704);
    html_count(&s, -1000);
    html_count(&s, 999);
    assert_string_equal(s.text, "46,702,792,704-1,000999");
    str_clear(&s);
    html_signed(&s, -12.34, 1, " %");
    html_signed(&s, 0.26, 1, "");
    html_signed(&s, -0.001, 2, "");
    assert_string_equal(s.text, "\xe2\x88\x92"
                                "12.3 %+0.3\xc2\xb1"
                                "0.00");
    str_release(&s);
}

static void test_base64_of_every_length(void **state)
{
    static const char *const words[] = {"",         "Zg==",     "Zm8=",    "Zm9v",
                                        "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    struct str s = {0};
    (void)state;
    for (size_t n = 0; n <= 6; n++) {
        str_clear(&s);
        html_base64(&s, "foobar", n);
        assert_string_equal(str_text(&s), words[n]);
    }
    str_clear(&s);
    html_base64(&s, "\xfb\xff\xbf", 3);
    assert_string_equal(s.text, "+/+/");
    str_release(&s);
}

static void test_experts_stand_in_the_order_of_the_tree(void **state)
{
    json_t *report = json_of(small), *layer = json_array_get(json_object_get(report, "layers"), 0);
    struct order o;
    (void)state;
    assert_int_equal(order_make(&o, layer), 0);
    const int64_t at[] = {0, 3, 1, 2};
    assert_memory_equal(o.at, at, sizeof at);
    assert_int_equal(o.n_groups, 2);
    assert_int_equal(o.n_cut, 2);
    assert_true(o.cluster[0] == o.cluster[3] && o.cluster[1] == o.cluster[2] &&
                o.cluster[0] != o.cluster[1]);
    assert_true(o.top == 4 && o.cut == 3);
    /* 1 and 2 stand at places 2 and 3, 0 and 3 at 0 and 1; the last join spans their middles. */
    assert_true(o.branches[0].left == 2.5 && o.branches[0].right == 3.5 &&
                o.branches[0].from_left == 0);
    assert_true(o.branches[1].left == 0.5 && o.branches[1].right == 1.5);
    assert_true(o.branches[2].left == 1 && o.branches[2].right == 3 &&
                o.branches[2].from_left == 2 && o.branches[2].from_right == 1);
    order_release(&o);

    /* Without a tree: by group; what was pruned comes last. */
    put(report, "layers.0.merges", NULL);
    put(report, "layers.0.groups", "[0, -1, 1, 0]");
    assert_int_equal(order_make(&o, layer), 0);
    const int64_t by_group[] = {0, 3, 2, 1};
    assert_memory_equal(o.at, by_group, sizeof by_group);
    assert_int_equal(o.n_branches, 0);
    order_release(&o);

    /* A tree that was not finished: the clusters by their lowest members. */
    put(report, "layers.0.groups", "[0, 1, 0, 1]");
    put(report, "layers.0.merges",
        "[{'a': 0, 'b': 2, 'height': 1.0}, {'a': 1, 'b': 3, 'height': 1.0}]");
    assert_int_equal(html_check(report), 0);
    assert_int_equal(order_make(&o, layer), 0);
    const int64_t forest[] = {0, 2, 1, 3};
    assert_memory_equal(o.at, forest, sizeof forest);
    assert_true(o.n_cut == 2 && o.cut == o.top);
    order_release(&o);
    json_decref(report);
}

static void test_the_page_has_the_report_s_numbers(void **state)
{
    json_t *report = json_of(small);
    struct str page = {0};
    (void)state;
    assert_int_equal(html_check(report), 0);
    assert_int_equal(html_run(report, &page), 0);
    static const char *const parts[] = {
        "<h1>small</h1>",
        "mixtral, experts in each of 1 layer: 4 \xe2\x86\x92 2\xe2\x80\x93"
        "4. Method: ",
        "freq; hierarchical (average) on weight",
        "data-bytes-before=\"8000\" data-bytes-after=\"4000\"",
        "\xe2\x88\x92"
        "50.0&#8239;% of the original",
        "data-layer=\"1\" data-output-error=\"0.125\" data-groups=\"0 1 1 0\" data-dominant=\"3 "
        "1\" "
        "data-usage=\"0.1 0.2 0.3 0.4\" data-usage-counts=\"1 2 3 4\"",
        "data-distances=\"3.0 4.0 2.0 1.0 5.0 4.5\" data-order=\"0 3 1 2\"",
        "<tr class=\"near\" data-height=\"1.0\" data-gap=\"0.0005\">",
        "<tr class=\"gone\" data-height=\"4.0\" data-gap=\"null\">",
        "<li>a tie</li>",
        "cut: 2 groups",
        "<span class=\"member core\">3<small>40.0</small>",
        "data-task=\"rte\" data-metric=\"acc\" data-before=\"0.5\" data-before-stderr=\"0.03\" "
        "data-after=\"0.4\" data-after-stderr=\"0.04\"",
        "<td class=\"n worse\">\xe2\x88\x92"
        "10.00<small>\xc2\xb1"
        "5.00</small>",
        "1 of 2 layers were left alone",
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        expect_has(&page, parts[i]);
    assert_string_equal(page.text + page.len - strlen("</html>\n"), "</html>\n");

    /* A difference below its error is none; perplexities go the other way and have no error. */
    put(report, "eval.after.rte.acc", "0.46");
    put(report, "eval.before.p",
        "{'token_perplexity': 10.0, 'word_perplexity': 4.0, 'word_perplexity_stderr': 'N/A'}");
    put(report, "eval.after.p",
        "{'token_perplexity': 15.0, 'word_perplexity': null, 'word_perplexity_stderr': 'N/A'}");
    assert_int_equal(html_check(report), 0);
    str_clear(&page);
    assert_int_equal(html_run(report, &page), 0);
    expect_has(&page, "<td class=\"n same\">\xe2\x88\x92"
                      "4.00<small>");
    expect_has(&page, "<td class=\"n worse\">+5.000<small>\xc3\x97"
                      "1.5</small>");
    expect_lacks(&page, "data-metric=\"word_perplexity\"");
    str_release(&page);
    json_decref(report);
}

static void test_a_report_may_hold_little(void **state)
{
    static const char *const gone[] = {"layers.0.merges",
                                       "layers.0.distances",
                                       "layers.0.usage_counts",
                                       "layers.0.usage",
                                       "layers.0.dominant",
                                       "layers.0.output_error",
                                       "layers.0.warnings",
                                       "eval.before",
                                       "eval.after",
                                       "eval",
                                       "model.name",
                                       "model.layers",
                                       "config.group",
                                       "config.merge",
                                       "result.experts_per_layer"};
    json_t *report = json_of(small);
    (void)state;
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) {
        struct str page = {0};
        put(report, gone[i], NULL);
        assert_int_equal(html_check(report), 0);
        assert_int_equal(html_run(report, &page), 0);
        expect_has(&page, "data-layer=\"1\"");
        expect_numbers(&page);
        str_release(&page);
    }
    /* What a method saw of each expert stands in for their use. */
    struct str routed = {0};
    put(report, "layers.0.routed_tokens", "[10, 2000, 0, 4]");
    assert_int_equal(html_run(report, &routed), 0);
    expect_has(&routed, "<span class=\"member\">1<small>2,000</small>");
    str_release(&routed);
    /* One expert alone, and no layer at all. */
    static const char *const layers[] = {
        "[{'layer': 0, 'groups': [0], 'usage': [1.0], 'distances': [], 'output_error': 0.0}]",
        "[{'layer': 0, 'groups': [-1, -1], 'usage': [0.0, 0.0], 'similarities': [0.5]}]", "[]"};
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        struct str page = {0};
        put(report, "layers", layers[i]);
        assert_int_equal(html_check(report), 0);
        assert_int_equal(html_run(report, &page), 0);
        expect_numbers(&page);
        str_release(&page);
    }
    json_decref(report);
}

static void test_names_stay_names(void **state)
{
    static const char evil[] = "'</script><img src=x onerror=f()>'";
    static const char *const places[] = {"model.name",
                                         "model.family",
                                         "version",
                                         "config.x.y",
                                         "config.merge.merge",
                                         "config.group.cluster",
                                         "calibration.data",
                                         "calibration.sha256",
                                         "reproduce.run_ini",
                                         "reproduce.run_ini_sha256",
                                         "eval.after.rte.alias",
                                         "eval.after.rte.data"};
    json_t *report = json_of(small);
    struct str page = {0};
    (void)state;
    put(report, "config.x", "{}");
    put(report, "calibration", "{}");
    put(report, "reproduce", "{}");
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        put(report, places[i], evil);
    put(report, "layers.0.warnings", "['</script><img src=x onerror=f()>']");
    put(report, "eval.after.</script><img src=x onerror=f()>", "{'acc': 0.5}");
    put(report, "config.</style><img src=x>", "{'<img>': '<img>'}");
    assert_int_equal(html_check(report), 0);
    assert_int_equal(html_run(report, &page), 0);
    expect_lacks(&page, "<img");
    expect_lacks(&page, "\"acc\"<");
    json_t *const both[] = {report, report};
    const char *const names[] = {"</td><img src=x>", "<img src='x'>"};
    assert_int_equal(html_compare(both, names, 2, &page), 0);
    expect_lacks(&page, "<img");
    str_release(&page);
    json_decref(report);
}

static void test_what_is_no_report_is_refused(void **state)
{
    static const struct {
        const char *path, *value, *message;
    } cases[] = {
        {"format", "2", "'format' = 2: this program reads 1"},
        {"format", NULL, "'format' is missing"},
        {"version", "1", "'version' must be a string"},
        {"model", "[]", "'model' must be an object"},
        {"model.bytes", "1.5", "'model.bytes' must be an integer"},
        {"model.experts", "-1", "'model.experts' = -1: must be 0 or more"},
        {"result", NULL, "'result' is missing"},
        {"result.experts_per_layer", "[1.5]", "'result.experts_per_layer'[0] must be an integer"},
        {"config.group", "'x'", "'config.group' must be an object"},
        {"config.run", "3", "'config.run' must be an object"},
        {"config.merge.power", "1", "'config.merge.power' must be a string"},
        {"time_s.total", "'fast'", "'time_s.total' must be a number"},
        {"layers", "{}", "'layers' must be an array"},
        {"layers", "[3]", "'layers'[0]: must be an object"},
        {"layers.0.layer", NULL, "'layers'[0]: 'layer' is missing"},
        {"layers.0.groups", "[]", "'layers'[0]: 'groups' has 0 elements, expected 1..4096"},
        {"layers.0.groups", "[0, 4, 1, 0]", "'layers'[0]: 'groups'[1] = 4 is not in -1..3"},
        {"layers.0.usage", "[1.0]", "'layers'[0]: 'usage' has 1 elements, expected 4"},
        {"layers.0.usage", "[0.1, 'a', 0.1, 0.1]", "'layers'[0]: 'usage'[1] must be a number"},
        {"layers.0.distances", "[1.0]", "'layers'[0]: 'distances' has 1 elements, expected 6"},
        {"layers.0.dominant", "[4]", "'layers'[0]: 'dominant'[0] = 4 is not in -1..3"},
        {"layers.0.warnings", "[1]", "'layers'[0]: 'warnings'[0] must be a string"},
        {"layers.0.merges", "[1]", "'layers'[0]: 'merges'[0]: must be an object"},
        {"layers.0.merges", "[{'a': 0, 'height': 1}]", "'layers'[0]: 'merges'[0]: 'b' is missing"},
        {"layers.0.merges", "[{'a': 1, 'b': 0, 'height': 1}]",
         "'layers'[0]: 'merges'[0]: 1 and 0 are not the lowest members of two clusters, lower "
         "first"},
        {"layers.0.merges", "[{'a': 0, 'b': 4, 'height': 1}]",
         "'layers'[0]: 'merges'[0]: 0 and 4 are not the lowest members of two clusters, lower "
         "first"},
        {"layers.0.merges", "[{'a': 0, 'b': 1, 'height': 1}, {'a': 1, 'b': 2, 'height': 2}]",
         "'layers'[0]: 'merges'[1]: 1 and 2 are not the lowest members of two clusters, lower "
         "first"},
        {"eval.after", "[]", "'eval.after' must be an object"},
        {"eval.after.rte", "1", "'eval.after.rte' must be an object"},
        {"eval.before.rte.acc", "'good'", "'eval.before.rte.acc' must be a number"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *report = json_of(small);
        put(report, cases[i].path, cases[i].value);
        fail_clear();
        assert_int_equal(html_check(report), HCSMOE_EINVAL);
        assert_string_equal(fail_message(), cases[i].message);
        json_decref(report);
    }
    json_t *array = json_array();
    assert_int_equal(html_check(array), HCSMOE_EINVAL);
    assert_string_equal(fail_message(), "must be an object");
    json_decref(array);
}

static void test_runs_side_by_side(void **state)
{
    json_t *reports[] = {json_of(small), json_of(small), json_of(small)};
    const char *const names[] = {"one", "two", "three"};
    struct str page = {0};
    (void)state;
    put(reports[1], "result.bytes", "6000");
    put(reports[1], "eval.after.rte.acc", "0.45");
    put(reports[1], "layers.0.output_error", "0.25");
    put(reports[1], "config.merge.merge", "'slim'");
    put(reports[2], "eval", NULL);
    put(reports[2], "layers.0.output_error", "0.5");
    put(reports[2], "config.group.linkage", NULL);
    assert_int_equal(html_compare(reports, names, 3, &page), 0);
    static const char *const parts[] = {
        "3 runs side by side",
        "data-run=\"3\"",
        "<td class=\"n\" data-bytes=\"6000\">6.0 kB<small>75&#8239;%</small>",
        "<td class=\"n best\" data-column=\"rte\" data-value=\"0.45\">45.00",
        "<td class=\"n\" data-column=\"rte\" data-value=\"0.4\">40.00",
        "<td class=\"n best\" data-column=\"output_error\" data-value=\"0.125\">",
        "<title>small, original: 50.00 %</title>",
        "<title>two: 45.00 %</title>",
        "<th scope=\"row\">merge.merge</th><td>freq</td><td>slim</td><td>freq</td>",
        "<th scope=\"row\">group.linkage</th><td>average</td><td>average</td><td>\xe2\x80\x93</td>",
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        expect_has(&page, parts[i]);
    expect_lacks(&page, "group.cluster");
    expect_numbers(&page);
    for (int i = 0; i < 3; i++)
        json_decref(reports[i]);
    str_release(&page);
}

static void test_parts_of_a_task_are_folded(void **state)
{
    json_t *report = json_of(small);
    struct str page = {0};
    (void)state;
    put(report, "eval.after.mmlu", "{'acc': 0.5}");
    assert_true(html_task_is_part(html_at(report, "eval.after"), "mmlu_law"));
    assert_false(html_task_is_part(html_at(report, "eval.after"), "mmlu"));
    assert_false(html_task_is_part(html_at(report, "eval.after"), "mmlux_law"));
    for (int i = 0; i < 7; i++) {
        char path[32];
        (void)snprintf(path, sizeof path, "eval.after.mmlu_%d", i);
        put(report, path, "{'acc': 0.5}");
    }
    assert_int_equal(html_run(report, &page), 0);
    expect_has(&page, "The 7 parts of these tasks");
    assert_true(strstr(page.text, "data-task=\"mmlu\"") < strstr(page.text, "The 7 parts"));
    assert_true(strstr(page.text, "data-task=\"mmlu_0\"") > strstr(page.text, "The 7 parts"));
    str_release(&page);
    json_decref(report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_is_no_markup),
        cmocka_unit_test(test_numbers_for_people),
        cmocka_unit_test(test_base64_of_every_length),
        cmocka_unit_test(test_experts_stand_in_the_order_of_the_tree),
        cmocka_unit_test(test_the_page_has_the_report_s_numbers),
        cmocka_unit_test(test_a_report_may_hold_little),
        cmocka_unit_test(test_names_stay_names),
        cmocka_unit_test(test_what_is_no_report_is_refused),
        cmocka_unit_test(test_runs_side_by_side),
        cmocka_unit_test(test_parts_of_a_task_are_folded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
