/*
 * test_e2e_merged.c - merged weights of whole runs against recorded ones, and the layouts against
 * each other.
 *
 * SPDX-License-Identifier: MIT
 */
#include "e2e.h"

#define SUM_MOST 0.05     /* of up to 24,576 weights near 0.05, each rounded to bf16 */
#define NORM_MOST 1e-4    /* relative */
#define VALUE_MOST 0x1p-8 /* relative: half a step of bf16, and a little */
#define LOGPROB_TENTH 0.01
#define EQUAL_MOST 1e-5

/* Names of an expert's gate, up and down. */
static const char *expert_name(const char *model, int layer, int expert, int part)
{
    static const char *const mixtral[] = {"w1", "w3", "w2"}, *const qwen[] = {"gate_proj",
                                                                              "up_proj",
                                                                              "down_proj"};
    return strcmp(model, "tiny-mixtral")
               ? text("model.layers.%d.mlp.experts.%d.%s.weight", layer, expert, qwen[part])
               : text("model.layers.%d.block_sparse_moe.experts.%d.%s.weight", layer, expert,
                      mixtral[part]);
}

/* Runs a recorded case in one layout, into a folder of the layout's name. */
static const char *case_run(const json_t *c, const char *layout)
{
    const char *model = json_string_value(json_at(c, "model")),
               *out = work(text("%s-%s", model, layout));
    const char *ini = ini_write("merged.ini", model_folder(model), out);
    struct result r = run(
        "-q", "-c", ini, "-s", "calibration.data=" TEST_DATA "/e2e/c4.front.jsonl.gz", "-s",
        "calibration.n_sentences=16", "-s", "calibration.block_size=256", "-s",
        text("group.num_average_groups=%lld", (long long)json_integer_value(json_at(c, "groups"))),
        "-s", text("output.layout=%s", layout));
    expect_status(r, 0);
    return out;
}

static double bf16(const unsigned char *p)
{
    const uint32_t bits = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 24;
    float x;
    memcpy(&x, &bits, sizeof x);
    return (double)x;
}

static void matrix_check(const struct shards *s, const char *name, const json_t *checksum,
                         const json_t *first)
{
    const struct st_entry *e;
    unsigned char *bytes = tensor_bytes(s, name, &e);
    const double want_sum = json_number_value(json_array_get(checksum, 0)),
                 want_norm = json_number_value(json_array_get(checksum, 1));
    double sum = 0, square = 0;

    assert_int_equal(e->dtype, HCSMOE_DTYPE_BF16);
    for (uint64_t i = 0; i < e->size / 2; i++) {
        const double x = bf16(bytes + 2 * i);
        sum += x;
        square += x * x;
    }
    if (!(fabs(sum - want_sum) <= SUM_MOST))
        fail_msg("%s: sum %g, expected %g", name, sum, want_sum);
    if (!(fabs(sqrt(square) - want_norm) <= NORM_MOST * want_norm))
        fail_msg("%s: norm %g, expected %g", name, sqrt(square), want_norm);
    for (size_t i = 0; i < json_array_size(first); i++) {
        const double x = bf16(bytes + 2 * i), w = json_number_value(json_array_get(first, i));
        if (!(fabs(x - w) <= fabs(w) * VALUE_MOST + 1e-6))
            fail_msg("%s: value %zu is %g, expected %g", name, i, x, w);
    }
    mem_free(bytes);
}

static void weights_check(const json_t *c, const char *folder)
{
    const char *model = json_string_value(json_at(c, "model")), *key;
    const int first_layer = (int)json_integer_value(json_at(c, "first_layer"));
    json_t *groups, *parts, *checksum;
    size_t g, p;
    struct shards s;

    shards_of(&s, folder);
    json_object_foreach(json_at(c, "checksums"), key, groups)
    {
        const int layer = (int)strtol(key, NULL, 10);
        json_array_foreach(groups, g, parts) json_array_foreach(parts, p, checksum)
        {
            const json_t *first =
                layer == first_layer
                    ? json_array_get(json_array_get(json_at(c, "first_values"), g), p)
                    : NULL;
            matrix_check(&s, expert_name(model, layer, (int)g, (int)p), checksum, first);
        }
        assert_null(shards_find(&s, expert_name(model, layer, (int)json_array_size(groups), 0)));
    }
    shards_close(&s);
}

static void labels_check(const json_t *c, const char *folder)
{
    const json_t *config = json_read(text("%s/config.json", folder));
    const char *key;
    json_t *labels;
    json_object_foreach(json_at(c, "labels"), key, labels)
        assert_true(json_equal(json_at(config, text("hcsmoe.layers.%s.groups", key)), labels));
}

/* Recorded log-probabilities are those of unrounded weights, and single tokens are routed
 * otherwise: nine in ten have to be near. */
static void logprobs_check(const json_t *a, const json_t *want)
{
    size_t n = 0, off = 0;
    for (size_t i = 0; i < json_array_size(want); i++) {
        const json_t *x = json_at(json_array_get(a, i), "logprobs"), *w = json_array_get(want, i);
        assert_int_equal(json_array_size(x), json_array_size(w));
        for (size_t k = 0; k < json_array_size(w); k++, n++)
            off += fabs(json_number_value(json_array_get(x, k)) -
                        json_number_value(json_array_get(w, k))) > LOGPROB_TENTH;
    }
    if (off * 10 > n)
        fail_msg("%zu of %zu log-probabilities are off", off, n);
}

/* In the expanded layout every member has the bytes of its group's expert of the mapped one. */
static void members_check(const json_t *c, const char *mapped, const char *expanded)
{
    const char *model = json_string_value(json_at(c, "model")), *key;
    json_t *labels, *label;
    size_t e;
    struct shards m, x, in;

    shards_of(&m, mapped);
    shards_of(&x, expanded);
    shards_of(&in, model_folder(model));
    assert_int_equal(x.n_tensors, in.n_tensors);
    json_object_foreach(json_at(c, "labels"), key, labels) json_array_foreach(labels, e, label)
    {
        const int layer = (int)strtol(key, NULL, 10);
        for (int p = 0; p < 3; p++)
            expect_equal_tensors(&m, expert_name(model, layer, (int)json_integer_value(label), p),
                                 &x, expert_name(model, layer, (int)e, p));
    }
    shards_close(&m);
    shards_close(&x);
    shards_close(&in);
}

static void case_check(size_t i)
{
    const json_t *c = json_array_get(json_read(TEST_DATA "/e2e/merged.json"), i);
    const char *model = json_string_value(json_at(c, "model"));
    const char *mapped = case_run(c, "mapped"), *expanded = case_run(c, "expanded"),
               *by_hand = work(text("%s-by-hand", model));

    labels_check(c, mapped);
    labels_check(c, expanded);
    weights_check(c, mapped);
    members_check(c, mapped, expanded);
    const json_t *a = score_folder(mapped, model), *b = score_folder(expanded, model);
    logprobs_check(a, json_at(c, "logprobs"));
    assert_true(answers_difference(a, b) <= EQUAL_MOST);
    expect_status(run("expand", mapped, by_hand), 0);
    assert_true(answers_difference(a, score_folder(by_hand, model)) <= EQUAL_MOST);
    members_check(c, mapped, by_hand);
    expect_clean();
}

static void test_mixtral_merges_to_the_recorded_weights(void **state)
{
    (void)state;
    case_check(0);
}

static void test_qwen_merges_to_the_recorded_weights(void **state)
{
    (void)state;
    case_check(1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mixtral_merges_to_the_recorded_weights),
        cmocka_unit_test(test_qwen_merges_to_the_recorded_weights),
    };
    return cmocka_run_group_tests(tests, e2e_begin, e2e_end);
}
