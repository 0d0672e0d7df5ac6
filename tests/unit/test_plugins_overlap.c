/*
 * test_plugins_overlap.c - expert outputs compared token by token: divergence and earth mover's
 * distance.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin_test.h"

#include <hcsmoe/similarity.h>

enum { EXPERTS_MAX = 6, WIDTH_MAX = 300, TOKENS_MAX = 50 };

static struct fake_host host;
static const hcsmoe_component *component;

static float outputs[EXPERTS_MAX][TOKENS_MAX * WIDTH_MAX];

static int host_setup(void **state)
{
    (void)state;
    fake_host_open(&host);
    component = plugin_load(&host, "hcsmoe-similarity-expert-output.so");
    return 0;
}

static int host_teardown(void **state)
{
    (void)state;
    fake_host_close(&host);
    return 0;
}

static hcsmoe_status one_by_one(const hcsmoe_host *h, int64_t n,
                                hcsmoe_status (*fn)(void *arg, int64_t begin, int64_t end),
                                void *arg)
{
    hcsmoe_status status = HCSMOE_OK;
    int64_t i;

    (void)h;
    for (i = n - 1; i >= 0 && status == HCSMOE_OK; i--)
        status = fn(arg, i, i + 1);
    return status;
}

/* s[n, n] of the outputs' first tokens, shown in tiles of so many. */
static hcsmoe_status compare(const char *metric, int64_t n, int64_t width, int64_t n_tokens,
                             int64_t tile_tokens, double *s)
{
    const hcsmoe_similarity_ops *ops = component->ops;
    const hcsmoe_layer_dims dims = {.struct_size = sizeof dims,
                                    .layer = 2,
                                    .n_experts = n,
                                    .width = width,
                                    .n_tokens = n_tokens};
    const hcsmoe_stats stats = {.struct_size = sizeof stats};
    double sums[EXPERTS_MAX * EXPERTS_MAX] = {0};
    const hcsmoe_tensor state = hcsmoe_matrix(sums, HCSMOE_DTYPE_F64, n, n);
    const hcsmoe_similarity_args a = {
        .struct_size = sizeof a, .dims = &dims, .stats = &stats, .states = &state, .n_states = 1};
    const float *rows[EXPERTS_MAX];
    void *opts = options_new(component);
    hcsmoe_status status = HCSMOE_OK;
    int64_t first, e;

    option_set(component, opts, "overlap_metric", metric);
    for (first = 0; first < n_tokens && status == HCSMOE_OK; first += tile_tokens) {
        const hcsmoe_tile tile = {.struct_size = sizeof tile,
                                  .first_token = first,
                                  .n_tokens = first + tile_tokens < n_tokens ? tile_tokens
                                                                             : n_tokens - first,
                                  .output = rows};
        for (e = 0; e < n; e++)
            rows[e] = &outputs[e][first * width];
        status = ops->accumulate(opts, &host.abi, &a, &tile);
        fake_host_leave(&host);
    }
    if (status == HCSMOE_OK)
        status = ops->similarities(opts, &host.abi, &a, s);
    fake_host_leave(&host);
    mem_free(opts);
    return status;
}

static void test_overlap_gives_the_worked_example(void **state)
{
    double s[4];

    (void)state;
    /* algorithms.md 11.8: P = (.25, .75), Q = (.5, .5). */
    outputs[0][0] = 0;
    outputs[0][1] = (float)log(3);
    outputs[1][0] = outputs[1][1] = 0;
    assert_int_equal(compare("kl-divergence", 2, 2, 1, 1, s), 0);
    assert_near(s[1], -0.13733, 5e-6);
    assert_true(s[0] == 1 && s[3] == 1 && s[1] == s[2]);
    assert_int_equal(compare("wasserstein", 2, 2, 1, 1, s), 0);
    assert_near(s[1], -0.54931, 5e-6);
    assert_true(s[0] == 1 && s[3] == 1 && s[1] == s[2]);
}

static void random_outputs(int64_t n, int64_t width, int64_t n_tokens)
{
    int64_t e, i;

    for (e = 0; e < n; e++)
        for (i = 0; i < n_tokens * width; i++)
            outputs[e][i] = (float)(6 * (fake_uniform(&host) - 0.5));
}

static int ascending(const void *x, const void *y)
{
    const float a = *(const float *)x, b = *(const float *)y;

    return (a > b) - (a < b);
}

static double wasserstein_by_definition(const float *x, const float *y, int64_t n)
{
    float a[WIDTH_MAX], b[WIDTH_MAX];
    double sum = 0;
    int64_t d;

    memcpy(a, x, (size_t)n * sizeof *a);
    memcpy(b, y, (size_t)n * sizeof *b);
    qsort(a, (size_t)n, sizeof *a, ascending);
    qsort(b, (size_t)n, sizeof *b, ascending);
    for (d = 0; d < n; d++)
        sum += fabs((double)a[d] - (double)b[d]);
    return sum / (double)n;
}

static double kl_by_definition(const float *x, const float *y, int64_t n)
{
    double sum_x = 0, sum_y = 0, sum = 0;
    int64_t d;

    for (d = 0; d < n; d++) {
        sum_x += exp((double)x[d]);
        sum_y += exp((double)y[d]);
    }
    for (d = 0; d < n; d++) {
        const double p = exp((double)x[d]) / sum_x + 1e-10, q = exp((double)y[d]) / sum_y + 1e-10;
        sum += q * log(q / p) + p * log(p / q);
    }
    return sum / 2;
}

static void test_overlap_agrees_with_the_definitions(void **state)
{
    static const int64_t widths[] = {1, 5, 8, 23, 300};
    double s[EXPERTS_MAX * EXPERTS_MAX];
    int64_t i, j, t;
    size_t k;

    (void)state;
    for (k = 0; k < 5; k++) {
        const int64_t width = widths[k], n_tokens = 17;
        random_outputs(EXPERTS_MAX, width, n_tokens);
        outputs[0][0] = -0.0F;
        outputs[1][0] = 0.0F;
        assert_int_equal(compare("wasserstein", EXPERTS_MAX, width, n_tokens, 17, s), 0);
        for (i = 0; i < EXPERTS_MAX; i++)
            for (j = 0; j < i; j++) {
                double sum = 0;
                for (t = 0; t < n_tokens; t++)
                    sum += wasserstein_by_definition(&outputs[i][t * width], &outputs[j][t * width],
                                                     width);
                assert_near(s[i * EXPERTS_MAX + j], -sum / (double)n_tokens, 1e-12);
                assert_true(s[i * EXPERTS_MAX + j] == s[j * EXPERTS_MAX + i]);
            }
        assert_int_equal(compare("kl-divergence", EXPERTS_MAX, width, n_tokens, 17, s), 0);
        for (i = 0; i < EXPERTS_MAX; i++)
            for (j = 0; j < i; j++) {
                double sum = 0;
                for (t = 0; t < n_tokens; t++)
                    sum += kl_by_definition(&outputs[i][t * width], &outputs[j][t * width], width);
                assert_near(s[i * EXPERTS_MAX + j], -sum / (double)n_tokens, 1e-12);
            }
    }
}

static void test_overlap_does_not_depend_on_tiles_or_threads(void **state)
{
    static const char *const metrics[] = {"kl-divergence", "wasserstein"};
    double whole[EXPERTS_MAX * EXPERTS_MAX], other[EXPERTS_MAX * EXPERTS_MAX];
    hcsmoe_status (*const all_at_once)(const hcsmoe_host *, int64_t,
                                       hcsmoe_status (*)(void *, int64_t, int64_t), void *) =
        host.abi.parallel_for;
    int i;

    (void)state;
    random_outputs(EXPERTS_MAX, 37, TOKENS_MAX);
    for (i = 0; i < 2; i++) {
        assert_int_equal(compare(metrics[i], EXPERTS_MAX, 37, TOKENS_MAX, TOKENS_MAX, whole), 0);
        host.abi.parallel_for = one_by_one;
        assert_int_equal(compare(metrics[i], EXPERTS_MAX, 37, TOKENS_MAX, TOKENS_MAX, other), 0);
        assert_memory_equal(whole, other, sizeof whole);
        assert_int_equal(compare(metrics[i], EXPERTS_MAX, 37, TOKENS_MAX, 7, other), 0);
        assert_memory_equal(whole, other, sizeof whole);
        host.abi.parallel_for = all_at_once;
    }
}

static void test_overlap_of_far_apart_outputs_is_finite(void **state)
{
    double s[4];

    (void)state;
    outputs[0][0] = 1e4F;
    outputs[0][1] = -1e4F;
    outputs[1][0] = -1e4F;
    outputs[1][1] = 1e4F;
    assert_int_equal(compare("kl-divergence", 2, 2, 1, 1, s), 0);
    assert_near(s[1], log(1e-10), 1e-8); /* two terms of (1 - 0) * -ln 1e-10, halved */
    assert_int_equal(compare("wasserstein", 2, 2, 1, 1, s), 0);
    assert_true(s[1] == 0); /* the same values, whichever coordinate they came from */
}

static void test_overlap_takes_one_expert(void **state)
{
    double s[1];

    (void)state;
    random_outputs(1, 3, 2);
    assert_int_equal(compare("wasserstein", 1, 3, 2, 2, s), 0);
    assert_true(s[0] == 1);
}

static void test_overlap_refuses_outputs_that_are_not_finite(void **state)
{
    static const char *const metrics[] = {"kl-divergence", "wasserstein"};
    double s[EXPERTS_MAX * EXPERTS_MAX];
    int i;

    (void)state;
    random_outputs(3, 4, 20);
    outputs[2][18 * 4 + 1] = NAN;
    for (i = 0; i < 2; i++) {
        assert_int_equal(compare(metrics[i], 3, 4, 20, 10, s), HCSMOE_EFAILED);
        assert_string_equal(host.message, "expert 2: its output for token 18 is not finite");
    }
}

static void test_overlap_reports_missing_memory(void **state)
{
    static const char *const metrics[] = {"wasserstein", "kl-divergence"};
    double s[EXPERTS_MAX * EXPERTS_MAX];
    int64_t allowed;
    int i;

    (void)state;
    random_outputs(2, 4, 4);
    for (i = 0; i < 2; i++)
        for (allowed = 0; allowed < 3; allowed++) {
            host.alloc_allowed = allowed;
            assert_int_equal(compare(metrics[i], 2, 4, 4, 4, s), HCSMOE_ENOMEM);
        }
    host.alloc_allowed = -1;
}

static void test_overlap_collects_only_what_is_read(void **state)
{
    static const char *const metrics[] = {"cosine", "kl-divergence", "wasserstein"};
    static const char *const names[] = {NULL, "kl_divergence", "wasserstein"};
    const hcsmoe_layer_dims dims = {.struct_size = sizeof dims, .n_experts = 6};
    hcsmoe_state states[2];
    int i;

    (void)state;
    for (i = 0; i < 3; i++) {
        void *opts = options_new(component);
        option_set(component, opts, "overlap_metric", metrics[i]);
        assert_int_equal(component->needs_for(opts, HCSMOE_CAP_DISTANCES_IN),
                         HCSMOE_STAT_OUTPUT_MEAN);
        assert_int_equal(component->needs_for(opts, HCSMOE_CAP_SIMILARITIES_IN),
                         i ? HCSMOE_STAT_OUTPUT : HCSMOE_STAT_OUTPUT_MEAN);
        assert_int_equal(component->needs_for(opts, 0), 0);
        assert_int_equal(component->has_effect(opts, HCSMOE_CAP_DISTANCES_IN, "overlap_metric"), 0);
        assert_int_equal(component->has_effect(opts, HCSMOE_CAP_SIMILARITIES_IN, "overlap_metric"),
                         1);
        assert_int_equal(component->states(opts, &host.abi, &dims, states, 2), i > 0);
        if (i > 0) {
            assert_string_equal(states[0].name, names[i]);
            assert_int_equal(states[0].dtype, HCSMOE_DTYPE_F64);
            assert_int_equal(states[0].shape[0] * states[0].shape[1], 36);
        }
        mem_free(opts);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overlap_gives_the_worked_example),
        cmocka_unit_test(test_overlap_agrees_with_the_definitions),
        cmocka_unit_test(test_overlap_does_not_depend_on_tiles_or_threads),
        cmocka_unit_test(test_overlap_of_far_apart_outputs_is_finite),
        cmocka_unit_test(test_overlap_takes_one_expert),
        cmocka_unit_test(test_overlap_refuses_outputs_that_are_not_finite),
        cmocka_unit_test(test_overlap_reports_missing_memory),
        cmocka_unit_test(test_overlap_collects_only_what_is_read),
    };

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
