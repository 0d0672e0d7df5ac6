/*
 * test_plugins_matching.c - zipit and fix-dom-same against the published loops, written down naively in double.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin_test.h"

#include "merge_test.h"

#include "naive_matching.h"

static struct fake_host host;
static const hcsmoe_component *zipit, *fix_dom_same;

static int host_setup(void **state)
{
    (void)state;
    fake_host_open(&host);
    host.kernels = kernels_load(&host, &host.abi);
    zipit = plugin_component(&host, "hcsmoe-merge-matching.so", "zipit");
    fix_dom_same = plugin_component(&host, "hcsmoe-merge-matching.so", "fix-dom-same");
    return 0;
}

static int host_teardown(void **state)
{
    (void)state;
    kernels_unload(&host, &host.abi, host.kernels);
    fake_host_close(&host);
    return 0;
}

static void *options(const hcsmoe_component *c, const char *mode, const char *ingredient)
{
    void *o = options_new(c);

    option_set(c, o, "mode", mode);
    option_set(c, o, "ingredient", ingredient);
    return o;
}

static hcsmoe_status merge(const hcsmoe_component *c, struct test_group *g, void *opts)
{
    const hcsmoe_merge_ops *ops = c->ops;
    void *self = NULL;
    hcsmoe_status status = c->create(&host.abi, opts, &self);

    if (status == HCSMOE_OK)
        status = ops->merge(self, &host.abi, &g->args);
    fake_host_leave(&host);
    return status;
}

static const char *const modes[] = {"normal", "activation-with-router-logits", "input-weight",
                                    "all"};
static const char *const ingredients[] = {"act", "weight", "act+weight"};

static void compare(const hcsmoe_component *c, struct test_group *g, const char *mode,
                    const char *ingredient)
{
    void *o = options(c, mode, ingredient);
    struct naive s;

    assert_int_equal(merge(c, g, o), 0);
    naive_open(&s, g, mode, ingredient);
    if (c == zipit)
        naive_zipit(&s, mode);
    else
        naive_fix(&s, mode, g->args.core / 2);
    naive_close(&s);
    mem_free(o);
}

static void compare_all(struct test_group *g)
{
    size_t i, j;

    for (i = 0; i < sizeof modes / sizeof *modes; i++)
        for (j = 0; j < sizeof ingredients / sizeof *ingredients; j++) {
            compare(zipit, g, modes[i], ingredients[j]);
            compare(fix_dom_same, g, modes[i], ingredients[j]);
        }
    assert_int_equal(host.log_level, -1);
}

static void test_matching_gives_what_the_published_loops_give(void **state)
{
    struct test_group g;

    (void)state;
    test_group_open(&g, &host, HCSMOE_DTYPE_F32, 3, 12, 20, 150);
    compare_all(&g);
    g.args.core = 5; /* the last member */
    compare_all(&g);
    test_group_close(&g);
    test_group_open(&g, &host, HCSMOE_DTYPE_F32, 2, 9, 35, 1200); /* more than one tile of rows */
    compare_all(&g);
    test_group_close(&g);
}

/* 520 features are two blocks of 272. */
static void test_matching_works_across_blocks(void **state)
{
    struct test_group g;

    (void)state;
    test_group_open(&g, &host, HCSMOE_DTYPE_F32, 2, 16, 520, 60);
    compare(fix_dom_same, &g, "normal", "act+weight");
    compare(zipit, &g, "all", "act");
    test_group_close(&g);
}

/* More weights in a row than are loaded at once. */
static void test_matching_compares_weights_of_wide_models(void **state)
{
    struct test_group g;
    const hcsmoe_component *const both[] = {zipit, fix_dom_same};
    int64_t e, f, d;
    size_t i;

    (void)state;
    test_group_open(&g, &host, HCSMOE_DTYPE_F32, 2, 1100, 6, 2);
    /* Feature f of the second is feature 5 - f of the first, with noise that matters only at the end:
     * what is in the first 1024 weights alone would match otherwise. */
    for (e = 0; e < 3; e++)
        for (f = 0; f < 6; f++)
            for (d = 0; d < 1100; d++) {
                const int64_t row = e == 2 ? d : f, column = e == 2 ? f : d;
                const float value = test_value(&g.in[e][0], e == 2 ? d : 5 - f, e == 2 ? 5 - f : d);
                test_value_set(&g.in[e][1], row, column, d < 1024 ? 0.01F * value : 100 * value);
            }
    for (i = 0; i < 2; i++) {
        void *o = options(both[i], "normal", "weight");
        assert_int_equal(merge(both[i], &g, o), 0);
        for (f = 0; f < 6; f++)
            for (d = 0; d < 1100; d += 99)
                assert_near(test_value(&g.out[0], f, d),
                            0.5 * ((double)test_value(&g.in[0][0], f, d) +
                                   (double)test_value(&g.in[0][1], 5 - f, d)),
                            1e-5);
        mem_free(o);
    }
    assert_int_equal(g.passes, 0); /* weights need no tokens */
    test_group_close(&g);
}

/* So many features that their correlations are float32. The second expert has those of the first in
 * another order: every one meets itself again, and the result is the first expert. */
static void test_matching_in_float_finds_every_twin(void **state)
{
    enum { F = 2064, D = 8 };
    const hcsmoe_component *const both[] = {zipit, fix_dom_same};
    static const char *const cases[][2] = {
        {"normal", "act"}, {"all", "act+weight"}, {"normal", "weight"}};
    struct test_group g;
    size_t i, j;
    int64_t f, d, wrong = 0;

    (void)state;
    test_group_open(&g, &host, HCSMOE_DTYPE_F32, 2, D, F, 40);
    for (f = 0; f < F; f++)
        for (d = 0; d < D; d++) {
            const int64_t from = f * 5 % F; /* 5 and F have no common divisor */
            test_value_set(&g.in[0][1], f, d, test_value(&g.in[0][0], from, d));
            test_value_set(&g.in[1][1], f, d, test_value(&g.in[1][0], from, d));
            test_value_set(&g.in[2][1], d, f, test_value(&g.in[2][0], d, from));
        }
    for (i = 0; i < 2; i++)
        for (j = 0; j < 3; j++) {
            void *o = options(both[i], cases[j][0], cases[j][1]);
            assert_int_equal(merge(both[i], &g, o), 0);
            for (f = 0; f < F; f++)
                for (d = 0; d < D; d++)
                    wrong +=
                        fabsf(test_value(&g.out[0], f, d) - test_value(&g.in[0][0], f, d)) >
                            1e-6F ||
                        fabsf(test_value(&g.out[2], d, f) - test_value(&g.in[2][0], d, f)) > 1e-6F;
            mem_free(o);
        }
    assert_int_equal(wrong, 0);
    test_group_close(&g);
}

/* A feature that never changes correlates with nothing, to the bit: all its ties go to the first. */
static void test_matching_treats_constant_features_as_uncorrelated(void **state)
{
    struct test_group g;
    int64_t d;

    (void)state;
    test_group_open(&g, &host, HCSMOE_DTYPE_F32, 2, 6, 8, 50);
    for (d = 0; d < 6; d++) {
        test_value_set(&g.in[0][0], 3, d, 0); /* activation 0 */
        test_value_set(&g.in[1][1], 2, d, 0);
    }
    compare(zipit, &g, "normal", "act");
    compare(fix_dom_same, &g, "normal", "act");
    test_group_close(&g);
}

/* Input weights with a member that no token was routed to. */
static void test_matching_takes_the_mean_where_no_member_counts(void **state)
{
    struct test_group g;
    int64_t t, i;

    (void)state;
    test_group_open(&g, &host, HCSMOE_DTYPE_F32, 3, 7, 10, 90);
    for (i = 0; i < 3; i++) {
        for (t = 0; t < g.n_tokens; t++) {
            g.weights[t * 3 + i] = 0;
            if (i < 2) /* each token is left with one member that lives */
                g.weights[t * 3 + 2] = 0.5F;
        }
        test_group_count(&g);
        compare(zipit, &g, "input-weight", "act");
        compare(fix_dom_same, &g, "input-weight", "act");
        compare(zipit, &g, "all", "weight");
        compare(fix_dom_same, &g, "all", "weight");
        if (i == 1)
            break; /* two of three are dead */
    }
    test_group_close(&g);
}

static void mean_is_taken(const hcsmoe_component *c, struct test_group *g, const char *ingredient,
                          const char *rows)
{
    static const double third[] = {1.0 / 3, 1.0 / 3, 1.0 / 3};
    void *o = options(c, "all", ingredient);
    char expected[256];

    assert_int_equal(merge(c, g, o), 0);
    test_group_is_mean(g, third, 1e-6);
    (void)snprintf(expected, sizeof expected,
                   "layer 5, group 2: tokens routed to its 3 experts: %s, too few to compare "
                   "activations: merged by the plain mean",
                   rows);
    assert_string_equal(host.log, expected);
    assert_int_equal(host.log_level, HCSMOE_LOG_WARN);
    host.log_level = -1;
    mem_free(o);
}

static void test_matching_takes_the_mean_of_a_group_of_fewer_than_two_tokens(void **state)
{
    struct test_group g;
    int64_t n;

    (void)state;
    test_group_open(&g, &host, HCSMOE_DTYPE_F32, 3, 5, 6, 3);
    assert_true(g.weights[0] != 0 && g.weights[1] != 0); /* one token of two members is still one */
    for (n = 0; n < 2; n++) {
        g.n_tokens = n;
        test_group_count(&g);
        mean_is_taken(zipit, &g, "act", n ? "1" : "0");
        mean_is_taken(zipit, &g, "act+weight", n ? "1" : "0");
        mean_is_taken(fix_dom_same, &g, "act", n ? "1" : "0");
        mean_is_taken(fix_dom_same, &g, "act+weight", n ? "1" : "0");
    }
    compare(zipit, &g, "normal", "weight"); /* weights are there all the same */
    test_group_close(&g);
}

/* Rounded once to the stored dtype: half a unit in the last place from the float32 result at most. */
static void test_matching_writes_bf16(void **state)
{
    struct test_group g, wide;
    const hcsmoe_component *const both[] = {zipit, fix_dom_same};
    int64_t i, part, e;
    size_t c;

    (void)state;
    test_group_open(&g, &host, HCSMOE_DTYPE_BF16, 3, 12, 20, 150);
    test_group_open(&wide, &host, HCSMOE_DTYPE_F32, 3, 12, 20, 150);
    memcpy(wide.x, g.x, (size_t)(150 * 12) * sizeof *g.x);
    for (part = 0; part < 3; part++)
        for (e = 0; e < 3; e++)
            for (i = 0; i < 240; i++) {
                const int64_t n = g.in[part][e].shape[1];
                test_value_set(&wide.in[part][e], i / n, i % n,
                               test_value(&g.in[part][e], i / n, i % n));
            }
    for (c = 0; c < 2; c++) {
        void *o = options(both[c], "normal", "act");
        assert_int_equal(merge(both[c], &g, o), 0);
        assert_int_equal(merge(both[c], &wide, o), 0);
        for (part = 0; part < 3; part++)
            for (i = 0; i < 240; i++)
                assert_near(test_value(&g.out[part], 0, i), ((float *)wide.out[part].data)[i],
                            (0x1p-8 + 1e-7) * fabsf(((float *)wide.out[part].data)[i]));
        mem_free(o);
    }
    test_group_close(&g);
    test_group_close(&wide);
}

/* A drawn subset gives another result than all tokens; the same draw the same. */
static void test_matching_draws_tokens_beyond_data_limit(void **state)
{
    struct test_group g;
    float first[240], again[240], all[240];
    void *o = options(zipit, "normal", "act");

    (void)state;
    test_group_open(&g, &host, HCSMOE_DTYPE_F32, 2, 12, 20, 400);
    assert_int_equal(merge(zipit, &g, o), 0); /* the default limit is far away */
    memcpy(all, g.out[0].data, sizeof all);
    option_number(zipit, o, "data_limit", 12);
    host.random = 7;
    assert_int_equal(merge(zipit, &g, o), 0);
    memcpy(first, g.out[0].data, sizeof first);
    host.random = 7;
    assert_int_equal(merge(zipit, &g, o), 0);
    memcpy(again, g.out[0].data, sizeof again);
    assert_memory_equal(first, again, sizeof first);
    assert_memory_not_equal(first, all, sizeof first);
    host.random = 8;
    assert_int_equal(merge(zipit, &g, o), 0);
    assert_memory_not_equal(first, g.out[0].data, sizeof first);
    option_number(zipit, o, "data_limit", 0);
    assert_int_equal(merge(zipit, &g, o), 0);
    assert_memory_equal(all, g.out[0].data, sizeof all);
    mem_free(o);
    test_group_close(&g);
}

static void test_matching_refuses_one_token_and_a_core_elsewhere(void **state)
{
    struct test_group g;
    void *o = options(fix_dom_same, "normal", "act");

    (void)state;
    test_group_open(&g, &host, HCSMOE_DTYPE_F32, 2, 3, 4, 20);
    g.args.core = 2;
    assert_int_equal(merge(fix_dom_same, &g, o), HCSMOE_EINVAL);
    assert_string_equal(host.message, "group 2: its core is expert 2, which is not in it");
    option_number(fix_dom_same, o, "data_limit", 1);
    assert_int_equal(merge(fix_dom_same, &g, o), HCSMOE_EINVAL);
    assert_string_equal(host.message, "data_limit = 1: must be 0 (no limit) or at least 2, since "
                                      "one token has no correlations");
    assert_true(option_of(zipit, "data_limit")->min == 0);
    mem_free(o);
    test_group_close(&g);
}

static void test_matching_refuses_what_is_not_finite(void **state)
{
    struct test_group g;
    void *o = options(zipit, "normal", "act");

    (void)state;
    test_group_open(&g, &host, HCSMOE_DTYPE_F32, 2, 3, 4, 20);
    test_value_set(&g.in[1][1], 2, 0, INFINITY);
    assert_int_equal(merge(zipit, &g, o), HCSMOE_EFAILED);
    assert_string_equal(host.message,
                        "group 2: the activations of neuron 2 of expert 3 are not finite");
    option_set(zipit, o, "ingredient", "weight");
    assert_int_equal(merge(zipit, &g, o), HCSMOE_EFAILED);
    assert_string_equal(host.message,
                        "group 2: the weights of neuron 2 of expert 3 are not finite");
    mem_free(o);
    test_group_close(&g);
}

static void test_matching_says_so_when_memory_lacks_or_the_user_stops_it(void **state)
{
    const hcsmoe_component *const both[] = {zipit, fix_dom_same};
    struct test_group g;
    hcsmoe_status status;
    int64_t allowed;
    size_t c;

    (void)state;
    test_group_open(&g, &host, HCSMOE_DTYPE_F32, 2, 5, 6, 30);
    for (c = 0; c < 2; c++) {
        void *o = options(both[c], "all", "act+weight");
        for (allowed = 0, status = HCSMOE_ENOMEM; status == HCSMOE_ENOMEM; allowed++) {
            host.alloc_allowed = allowed;
            status = merge(both[c], &g, o);
            assert_int_equal(host.n_alloc, 1); /* the kernels' table */
        }
        host.alloc_allowed = -1;
        assert_int_equal(status, 0);
        assert_in_range(allowed, 15, 100);
        host.cancelled = 1;
        assert_int_equal(merge(both[c], &g, o), HCSMOE_ECANCELLED);
        option_set(both[c], o, "ingredient", "weight");
        assert_int_equal(merge(both[c], &g, o), HCSMOE_ECANCELLED);
        host.cancelled = 0;
        mem_free(o);
    }
    test_group_close(&g);
}

/* The real host on one and on two threads, several blocks, F32 and F64 sums. */
static void test_matching_gives_the_same_bits_on_two_threads(void **state)
{
    const hcsmoe_component *const both[] = {zipit, fix_dom_same};
    static const int64_t widths[] = {600, 2100};
    struct test_group g;
    size_t i, c;
    int threads, part;

    (void)state;
    for (i = 0; i < 2; i++)
        for (c = 0; c < 2; c++) {
            const hcsmoe_merge_ops *ops = both[c]->ops;
            void *o = options(both[c], "all", "act+weight");
            void *one[3] = {NULL};
            option_number(both[c], o, "data_limit", 70);
            test_group_open(&g, &host, HCSMOE_DTYPE_BF16, 2, 24, widths[i], 80);
            for (threads = 1; threads <= 2; threads++) {
                struct host *h;
                assert_int_equal(host_open(&h, threads, 1), 0);
                host_set_kernels(h, kernels_load(&host, &h->abi));
                host_enter(h, "merge/test", 5);
                assert_int_equal(host_leave(h, ops->merge(o, &h->abi, &g.args)), 0);
                for (part = 0; part < 3; part++) {
                    const size_t bytes = (size_t)hcsmoe_tensor_elements(&g.out[part]) * 2;
                    if (threads == 2) {
                        assert_memory_equal(one[part], g.out[part].data, bytes);
                        mem_free(one[part]);
                        continue;
                    }
                    one[part] = mem_new(1, bytes);
                    memcpy(one[part], g.out[part].data, bytes);
                    memset(g.out[part].data, 0, bytes);
                }
                kernels_unload(&host, &h->abi, h->kernels);
                host_close(h);
            }
            test_group_close(&g);
            mem_free(o);
        }
}

static void test_matching_needs_tokens_only_where_they_count(void **state)
{
    const uint64_t weights = HCSMOE_STAT_WEIGHTS, both = weights | HCSMOE_STAT_LAYER_INPUT;
    void *o = options(zipit, "normal", "act");

    (void)state;
    assert_int_equal(zipit->needs_for(o, 0), both);
    assert_int_equal(zipit->has_effect(o, 0, "data_limit"), 1);
    assert_int_equal(zipit->has_effect(o, 0, "mode"), 1);
    option_set(zipit, o, "ingredient", "weight");
    assert_int_equal(zipit->needs_for(o, 0), weights);
    assert_int_equal(zipit->has_effect(o, 0, "data_limit"), 0);
    assert_int_equal(zipit->has_effect(o, 0, "ingredient"), 1);
    option_set(zipit, o, "mode", "activation-with-router-logits");
    assert_int_equal(zipit->needs_for(o, 0), weights);
    assert_int_equal(zipit->has_effect(o, 0, "mode"), 0);
    option_set(zipit, o, "mode", "input-weight");
    assert_int_equal(zipit->needs_for(o, 0), both);
    assert_int_equal(zipit->has_effect(o, 0, "mode"), 1);
    option_set(zipit, o, "ingredient", "act+weight");
    assert_int_equal(fix_dom_same->needs_for(o, 0), both);
    assert_int_equal(fix_dom_same->has_effect(o, 0, "data_limit"), 1);
    assert_true(fix_dom_same->caps & HCSMOE_CAP_CORES_IN);
    assert_false(zipit->caps & HCSMOE_CAP_CORES_IN);
    mem_free(o);
}

/* Mixtral 8x7B: the sizes of section 6.11. */
static void test_matching_costs_what_the_plan_says(void **state)
{
    const hcsmoe_layer_dims dims = {
        .n_experts = 8, .top_k = 2, .width = 4096, .ffn = 14336, .n_tokens = 65536};
    const hcsmoe_merge_ops *zip = zipit->ops, *fix = fix_dom_same->ops;
    hcsmoe_merge_cost cost = {.struct_size = sizeof cost};
    void *o = options(zipit, "normal", "act");

    (void)state;
    assert_int_equal(zip->cost(o, &host.abi, &dims, NULL, 2, &cost), 0);
    /* One triangle of float32, 1.64 GB, and tiles; 32768 rows: gate and up, and the correlations. */
    assert_in_range(cost.bytes, 1.64e9, 2.0e9);
    assert_near(cost.flops / (32768.0 * (4.0 * 4096 * 28672 + 28672.0 * 28672)), 1, 0.01);
    assert_int_equal(fix->cost(o, &host.abi, &dims, NULL, 2, &cost), 0);
    assert_in_range(cost.bytes, 0.82e9, 1.2e9);
    assert_int_equal(fix->cost(o, &host.abi, &dims, NULL, 8, &cost), 0);
    assert_in_range(cost.bytes, 0.82e9, 1.2e9); /* one other expert at a time */
    /* The default limit: 50000 of 131072 rows. */
    assert_near(cost.flops / (7 * 50000.0 * (8.0 * 4096 * 14336 + 2.0 * 14336 * 14336)), 1, 0.01);
    mem_free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matching_gives_what_the_published_loops_give),
        cmocka_unit_test(test_matching_works_across_blocks),
        cmocka_unit_test(test_matching_compares_weights_of_wide_models),
        cmocka_unit_test(test_matching_in_float_finds_every_twin),
        cmocka_unit_test(test_matching_treats_constant_features_as_uncorrelated),
        cmocka_unit_test(test_matching_takes_the_mean_where_no_member_counts),
        cmocka_unit_test(test_matching_takes_the_mean_of_a_group_of_fewer_than_two_tokens),
        cmocka_unit_test(test_matching_writes_bf16),
        cmocka_unit_test(test_matching_draws_tokens_beyond_data_limit),
        cmocka_unit_test(test_matching_refuses_one_token_and_a_core_elsewhere),
        cmocka_unit_test(test_matching_refuses_what_is_not_finite),
        cmocka_unit_test(test_matching_says_so_when_memory_lacks_or_the_user_stops_it),
        cmocka_unit_test(test_matching_gives_the_same_bits_on_two_threads),
        cmocka_unit_test(test_matching_needs_tokens_only_where_they_count),
        cmocka_unit_test(test_matching_costs_what_the_plan_says),
    };

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
