/*
 * test_e2e_groups.c - groups and merge heights of whole runs against recorded ones.
 *
 * The text is made so that the seed's shuffle of its 1,000 documents starts with the ones that the
 * numbers were recorded on; the others are empty. SPDX-License-Identifier: MIT
 */
#include "e2e.h"

#define HEIGHT_MOST 1e-4 /* relative */

static const json_t *layer_of(const json_t *report, json_int_t layer)
{
    json_t *x;
    size_t i;
    json_array_foreach(json_at(report, "layers"), i,
                       x) if (json_integer_value(json_at(x, "layer")) == layer) return x;
    fail_msg("no layer %lld in the report", (long long)layer);
    return NULL;
}

static void layer_check(const char *id, const json_t *got, const json_t *want)
{
    const json_t *heights = json_object_get(want, "heights"),
                 *merges = json_object_get(got, "merges"), *cores = json_object_get(want, "cores");

    if (!json_equal(json_at(got, "groups"), json_at(want, "labels")))
        fail_msg("%s, layer %lld: other groups", id,
                 (long long)json_integer_value(json_at(want, "layer")));
    /* Recorded only where the choice is not a matter of rounding, and of trees. */
    if (cores && !json_equal(json_at(got, "dominant"), cores))
        fail_msg("%s, layer %lld: other cores", id,
                 (long long)json_integer_value(json_at(want, "layer")));
    if (!heights)
        return;
    assert_int_equal(json_array_size(merges), json_array_size(heights));
    for (size_t i = 0; i < json_array_size(heights); i++) {
        const double h = json_number_value(json_at(json_array_get(merges, i), "height")),
                     w = json_number_value(json_array_get(heights, i));
        if (!(fabs(h - w) <= HEIGHT_MOST * w))
            fail_msg("%s: height %zu is %.9g, expected %.9g", id, i, h, w);
        assert_true(json_integer_value(json_at(json_array_get(merges, i), "a")) <
                    json_integer_value(json_at(json_array_get(merges, i), "b")));
    }
}

static void case_check(const json_t *c)
{
    const char *id = json_string_value(json_at(c, "id")), *out = work("groups"), *key;
    struct str ini = {0};
    json_t *value;
    size_t i;

    str_addf(&ini,
             "[model]\nmodel_name = %s\n[calibration]\ndata = %s\nn_sentences = 16\n"
             "block_size = 256\nseed = 42\n[merge]\nmerge = freq\n[output]\noutput_path = %s\n"
             "overwrite = yes\n[run]\nthreads = 2\nquality_tokens = 0\n[group]\n",
             model_folder(json_string_value(json_at(c, "model"))),
             TEST_DATA "/e2e/c4.front.jsonl.gz", out);
    json_object_foreach(json_at(c, "group"), key, value)
        str_addf(&ini, "%s = %s\n", key, json_string_value(value));
    file_write(work("groups.ini"), str_text(&ini));
    str_release(&ini);
    struct result r = run("-q", "-c", work("groups.ini"));
    expect_status(r, 0);
    const json_t *report = json_read(text("%s/hcsmoe/report.json", out));
    assert_int_equal(json_array_size(json_at(report, "layers")),
                     json_array_size(json_at(c, "layers")));
    json_array_foreach(json_at(c, "layers"), i, value)
        layer_check(id, layer_of(report, json_integer_value(json_at(value, "layer"))), value);
}

static void cases_check(const char *model)
{
    json_t *all = json_read(TEST_DATA "/e2e/groups.json"), *c;
    size_t i, n = 0;
    json_array_foreach(all, i, c) if (!strcmp(json_string_value(json_at(c, "model")), model))
    {
        case_check(c);
        n++;
    }
    assert_true(n >= 6);
}

static void test_mixtral_groups_and_heights_are_the_recorded_ones(void **state)
{
    (void)state;
    cases_check("tiny-mixtral");
}

static void test_qwen_groups_and_heights_are_the_recorded_ones(void **state)
{
    (void)state;
    cases_check("tiny-qwen2-moe");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mixtral_groups_and_heights_are_the_recorded_ones),
        cmocka_unit_test(test_qwen_groups_and_heights_are_the_recorded_ones),
    };
    return cmocka_run_group_tests(tests, e2e_begin, e2e_end);
}
