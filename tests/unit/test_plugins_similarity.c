/*
 * test_plugins_similarity.c - distances and cosines of the similarity bases.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin_test.h"

#include <hcsmoe/similarity.h>

enum { EXPERTS = 5, WIDTH = 7 };

static struct fake_host host;
static const hcsmoe_component *expert_output, *router_logits, *weight;

static int host_setup(void **state)
{
    (void)state;
    fake_host_open(&host);
    expert_output = plugin_load(&host, "hcsmoe-similarity-expert-output.so");
    router_logits = plugin_load(&host, "hcsmoe-similarity-router-logits.so");
    weight = plugin_load(&host, "hcsmoe-similarity-weight.so");
    return 0;
}

static int host_teardown(void **state)
{
    (void)state;
    fake_host_close(&host);
    return 0;
}

static hcsmoe_layer_dims dims_of(int64_t n_experts, int64_t width)
{
    return (hcsmoe_layer_dims){.struct_size = sizeof(hcsmoe_layer_dims),
                               .layer = 2,
                               .n_experts = n_experts,
                               .top_k = 2,
                               .width = width,
                               .ffn = 11,
                               .n_tokens = 1000};
}

/* rows[n, width] are given to each base as its statistic: as they are, or as inner products. */
static hcsmoe_status compute(const hcsmoe_component *c, int64_t n, int64_t width,
                             const double *rows, const double *gram, int wants_similarities,
                             double *out)
{
    const hcsmoe_similarity_ops *ops = c->ops;
    const hcsmoe_layer_dims dims = dims_of(n, width);
    const hcsmoe_stats stats = {.struct_size = sizeof stats,
                                .output_mean = rows,
                                .router_gram = gram,
                                .weight_gram = gram,
                                .weight_product = gram};
    const hcsmoe_similarity_args args = {
        .struct_size = sizeof args, .dims = &dims, .stats = &stats};
    void *opts = options_new(c);
    hcsmoe_status status = wants_similarities ? ops->similarities(opts, &host.abi, &args, out)
                                              : ops->distances(opts, &host.abi, &args, out);

    fake_host_leave(&host);
    mem_free(opts);
    return status;
}

static double product(const double *x, const double *y, int64_t n)
{
    double sum = 0;
    int64_t i;

    for (i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

static void products(int64_t n, int64_t width, const double *rows, double *gram)
{
    int64_t i, j;

    for (i = 0; i < n; i++)
        for (j = 0; j < n; j++)
            gram[i * n + j] = product(&rows[i * width], &rows[j * width], width);
}

static void random_rows(double *rows, double *gram)
{
    int i;

    for (i = 0; i < EXPERTS * WIDTH; i++)
        rows[i] = fake_uniform(&host) - 0.5;
    products(EXPERTS, WIDTH, rows, gram);
}

static void test_similarity_bases_say_what_they_need_and_how_long_features_are(void **state)
{
    const hcsmoe_layer_dims dims = dims_of(EXPERTS, WIDTH);
    const hcsmoe_similarity_ops *ops = expert_output->ops;

    (void)state;
    assert_int_equal(expert_output->needs, HCSMOE_STAT_OUTPUT_MEAN);
    assert_int_equal(ops->feature_size(NULL, &host.abi, &dims), WIDTH);
    ops = router_logits->ops;
    assert_int_equal(router_logits->needs, HCSMOE_STAT_ROUTER_GRAM);
    assert_int_equal(ops->feature_size(NULL, &host.abi, &dims), 1000);
    ops = weight->ops;
    assert_int_equal(ops->feature_size(NULL, &host.abi, &dims), 3 * WIDTH * 11);
}

static void test_weight_needs_what_the_clustering_reads(void **state)
{
    (void)state;
    assert_int_equal(weight->needs_for(NULL, HCSMOE_CAP_DISTANCES_IN), HCSMOE_STAT_WEIGHT_GRAM);
    assert_int_equal(weight->needs_for(NULL, HCSMOE_CAP_SIMILARITIES_IN),
                     HCSMOE_STAT_WEIGHT_PRODUCT);
    assert_int_equal(weight->needs_for(NULL, HCSMOE_CAP_DISTANCES_IN | HCSMOE_CAP_SIMILARITIES_IN),
                     HCSMOE_STAT_WEIGHT_GRAM | HCSMOE_STAT_WEIGHT_PRODUCT);
    assert_int_equal(weight->needs_for(NULL, HCSMOE_CAP_DOMINANT), 0);
}

static void test_similarity_distances_are_euclidean(void **state)
{
    const hcsmoe_component *const bases[] = {expert_output, router_logits, weight};
    double rows[EXPERTS * WIDTH], gram[EXPERTS * EXPERTS], d[EXPERTS * EXPERTS];
    int base, i, j, k;

    (void)state;
    random_rows(rows, gram);
    for (base = 0; base < 3; base++) {
        assert_int_equal(compute(bases[base], EXPERTS, WIDTH, rows, gram, 0, d), 0);
        for (i = 0; i < EXPERTS; i++) {
            for (j = 0; j < EXPERTS; j++) {
                double sum = 0;
                for (k = 0; k < WIDTH; k++)
                    sum += pow(rows[i * WIDTH + k] - rows[j * WIDTH + k], 2);
                assert_near(d[i * EXPERTS + j], sqrt(sum), 1e-12);
                assert_true(d[i * EXPERTS + j] == d[j * EXPERTS + i]);
            }
        }
    }
}

static void test_similarity_is_half_of_one_plus_cosine(void **state)
{
    /* algorithms.md 11.8: (1,2) and (2,1) have cosine 0.8. A row of zeros is half alike to all. */
    static const double rows[] = {1, 2, 2, 1, 0, 0, -1, -2};
    static const double expected[] = {1, 0.9, 0.5, 0};
    const hcsmoe_component *const bases[] = {expert_output, router_logits, weight};
    double gram[16], s[16];
    int base, j;

    (void)state;
    products(4, 2, rows, gram);
    for (base = 0; base < 3; base++) {
        assert_int_equal(compute(bases[base], 4, 2, rows, gram, 1, s), 0);
        for (j = 0; j < 4; j++) {
            assert_near(s[j], expected[j], 1e-12);
            assert_true(s[j] == s[j * 4]);
            assert_true(s[j * 4 + j] == 1);
        }
    }
}

static void test_similarity_keeps_small_distances_between_large_mean_outputs(void **state)
{
    static const double rows[] = {1e8, 1e8 + 1e-3};
    double d[4];

    (void)state;
    assert_int_equal(compute(expert_output, 2, 1, rows, NULL, 0, d), 0);
    assert_near(d[1], 1e-3, 1e-7);
}

static void test_similarity_of_products_never_has_a_root_of_less_than_zero(void **state)
{
    static const double gram[] = {1, 1.0000000000000002, 1.0000000000000002, 1};
    double d[4];

    (void)state;
    assert_int_equal(compute(router_logits, 2, 1, NULL, gram, 0, d), 0);
    assert_true(d[1] == 0);
    assert_int_equal(compute(weight, 2, 1, NULL, gram, 0, d), 0);
    assert_true(d[1] == 0);
}

static void test_similarity_takes_one_expert(void **state)
{
    static const double one[] = {4};
    double d[1];

    (void)state;
    assert_int_equal(compute(expert_output, 1, 1, one, one, 0, d), 0);
    assert_true(d[0] == 0);
    assert_int_equal(compute(router_logits, 1, 1, one, one, 1, d), 0);
    assert_true(d[0] == 1);
    assert_int_equal(compute(weight, 1, 1, one, one, 0, d), 0);
    assert_true(d[0] == 0);
    assert_int_equal(compute(weight, 1, 1, one, one, 1, d), 0);
    assert_true(d[0] == 1);
}

static void test_similarity_refuses_what_is_not_finite(void **state)
{
    double rows[EXPERTS * WIDTH], gram[EXPERTS * EXPERTS], out[EXPERTS * EXPERTS];

    (void)state;
    random_rows(rows, gram);
    rows[3 * WIDTH + 2] = NAN;
    gram[1 * EXPERTS + 4] = gram[4 * EXPERTS + 1] = INFINITY;
    assert_int_equal(compute(expert_output, EXPERTS, WIDTH, rows, gram, 0, out), HCSMOE_EFAILED);
    assert_string_equal(host.message, "expert 3: its mean output is not finite");
    assert_int_equal(compute(expert_output, EXPERTS, WIDTH, rows, gram, 1, out), HCSMOE_EFAILED);
    assert_int_equal(compute(router_logits, EXPERTS, WIDTH, rows, gram, 0, out), HCSMOE_EFAILED);
    assert_string_equal(host.message,
                        "experts 1 and 4: the product of their router logits is not finite");
    assert_int_equal(compute(router_logits, EXPERTS, WIDTH, rows, gram, 1, out), HCSMOE_EFAILED);
    assert_int_equal(compute(weight, EXPERTS, WIDTH, rows, gram, 0, out), HCSMOE_EFAILED);
    assert_string_equal(host.message,
                        "experts 1 and 4: the distance of their weights is not finite");
    assert_int_equal(compute(weight, EXPERTS, WIDTH, rows, gram, 1, out), HCSMOE_EFAILED);
    assert_string_equal(host.message,
                        "experts 1 and 4: the product of their weights is not finite");
}

static void test_similarity_reports_missing_memory(void **state)
{
    double rows[EXPERTS * WIDTH], gram[EXPERTS * EXPERTS], out[EXPERTS * EXPERTS];

    (void)state;
    random_rows(rows, gram);
    host.alloc_allowed = 0;
    assert_int_equal(compute(expert_output, EXPERTS, WIDTH, rows, gram, 1, out), HCSMOE_ENOMEM);
    assert_int_equal(compute(router_logits, EXPERTS, WIDTH, rows, gram, 1, out), HCSMOE_ENOMEM);
    assert_int_equal(compute(weight, EXPERTS, WIDTH, rows, gram, 1, out), HCSMOE_ENOMEM);
    host.alloc_allowed = -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_similarity_bases_say_what_they_need_and_how_long_features_are),
        cmocka_unit_test(test_weight_needs_what_the_clustering_reads),
        cmocka_unit_test(test_similarity_distances_are_euclidean),
        cmocka_unit_test(test_similarity_is_half_of_one_plus_cosine),
        cmocka_unit_test(test_similarity_keeps_small_distances_between_large_mean_outputs),
        cmocka_unit_test(test_similarity_of_products_never_has_a_root_of_less_than_zero),
        cmocka_unit_test(test_similarity_takes_one_expert),
        cmocka_unit_test(test_similarity_refuses_what_is_not_finite),
        cmocka_unit_test(test_similarity_reports_missing_memory),
    };

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
