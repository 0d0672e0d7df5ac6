/*
 * test_plugins_ties.c - TIES against itself written down naively, and where it must be the mean.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin_test.h"

#include "merge_test.h"

static struct fake_host host;
static const hcsmoe_component *ties;
static double usage[2 * GROUP_MEMBERS_MOST];

static int host_setup(void **state)
{
    (void)state;
    fake_host_open(&host);
    host.kernels = kernels_load(&host, &host.abi);
    ties = plugin_load(&host, "hcsmoe-merge-ties.so");
    return 0;
}

static int host_teardown(void **state)
{
    (void)state;
    kernels_unload(&host, &host.abi, host.kernels);
    fake_host_close(&host);
    return 0;
}

static hcsmoe_status merge(struct test_group *g, double density, double scale, const char *weights)
{
    const hcsmoe_merge_ops *ops = ties->ops;
    void *o = options_new(ties);
    hcsmoe_status status;

    option_number(ties, o, "density", density);
    option_number(ties, o, "scale", scale);
    option_set(ties, o, "weights", weights);
    status = ops->merge(o, &host.abi, &g->args);
    fake_host_leave(&host);
    mem_free(o);
    return status;
}

static void group_open(struct test_group *g, uint32_t dtype, int64_t members, int64_t width,
                       int64_t ffn)
{
    test_group_open(g, &host, dtype, members, width, ffn, 1);
    g->stats.usage = usage;
}

/* How many of the other magnitudes are larger. */
static int64_t rank_of(const double *delta, int64_t n, int64_t i)
{
    int64_t larger = 0, j;

    for (j = 0; j < n; j++)
        larger += (float)fabs(delta[j]) > (float)fabs(delta[i]);
    return larger;
}

static void naive_check(const struct test_group *g, int part, double density, double scale,
                        int equal)
{
    const int64_t n = hcsmoe_tensor_elements(&g->out[part]), members = g->args.n_members;
    const int64_t columns = g->out[part].shape[1];
    double *delta = mem_new((size_t)(n * members), sizeof *delta);
    double *base = mem_new((size_t)n, sizeof *base);
    unsigned char *kept = mem_new((size_t)(n * members), 1);
    int64_t i, e;

    for (i = 0; i < n; i++) {
        for (e = 0; e < members; e++)
            base[i] +=
                (double)test_value(&g->in[part][e], i / columns, i % columns) / (double)members;
        for (e = 0; e < members; e++)
            delta[e * n + i] =
                (double)test_value(&g->in[part][e], i / columns, i % columns) - base[i];
    }
    for (e = 0; e < members; e++)
        for (i = 0; i < n; i++)
            kept[e * n + i] = rank_of(delta + e * n, n, i) < llround(density * (double)n);
    for (i = 0; i < n; i++) {
        double elected = 0, all = 0, sum = 0, total = 0;
        for (e = 0; e < members; e++) {
            const double d = kept[e * n + i] ? delta[e * n + i] : 0;
            elected += (equal ? 1 : usage[2 * e + 1]) * d;
            all += (equal ? 1 : usage[2 * e + 1]) * fabs(d);
        }
        if (fabs(elected) < 1e-10 * all)
            elected = 0; /* all of them, and alike: they cancel, but for rounding */
        for (e = 0; e < members; e++)
            if (kept[e * n + i] && delta[e * n + i] * elected > 0) {
                total += equal ? 1 : usage[2 * e + 1];
                sum += (equal ? 1 : usage[2 * e + 1]) * delta[e * n + i];
            }
        assert_near(test_value(&g->out[part], i / columns, i % columns),
                    base[i] + (total > 0 ? scale * sum / total : 0), 1e-6);
    }
    mem_free(delta);
    mem_free(base);
    mem_free(kept);
}

static void test_ties_gives_what_it_says(void **state)
{
    static const double densities[] = {0, 0.001, 0.2, 0.5, 1};
    struct test_group g;
    size_t i;
    int part, equal;

    (void)state;
    group_open(&g, HCSMOE_DTYPE_F32, 5, 13, 17);
    usage[1] = 0.1;
    usage[3] = 0.02;
    usage[5] = 0.3;
    usage[7] = 0;
    usage[9] = 0.13;
    for (i = 0; i < sizeof densities / sizeof *densities; i++)
        for (equal = 0; equal < 2; equal++) {
            assert_int_equal(merge(&g, densities[i], 0.7, equal ? "equal" : "usage"), 0);
            for (part = 0; part < 3; part++)
                naive_check(&g, part, densities[i], 0.7, equal);
        }
    test_group_close(&g);
}

/* Few different magnitudes, so that many are as large as the smallest that is kept. */
static void test_ties_keeps_all_that_are_as_large_as_the_smallest_kept(void **state)
{
    struct test_group g;
    int64_t i, e;
    int part;

    (void)state;
    group_open(&g, HCSMOE_DTYPE_BF16, 4, 9, 16);
    usage[1] = usage[3] = 0.1;
    usage[5] = 0.15;
    usage[7] = 0.2;
    for (part = 0; part < 3; part++)
        for (e = 0; e < 4; e++)
            for (i = 0; i < 144; i++)
                ((uint16_t *)g.in[part][e].data)[i] =
                    test_bf16((float)(fake_random(&host.abi) % 5) - 2);
    assert_int_equal(merge(&g, 0.3, 1, "usage"), 0);
    for (part = 0; part < 3; part++)
        for (i = 0; i < 144; i++) /* bf16 has the rest of what naive_check compares */
            assert_true(isfinite(test_value(&g.out[part], 0, i)));
    test_group_close(&g);
    group_open(&g, HCSMOE_DTYPE_F32, 4, 9, 16);
    for (part = 0; part < 3; part++)
        for (e = 0; e < 4; e++)
            for (i = 0; i < 144; i++)
                ((float *)g.in[part][e].data)[i] = (float)(fake_random(&host.abi) % 5) - 2;
    assert_int_equal(merge(&g, 0.3, 1, "usage"), 0);
    for (part = 0; part < 3; part++)
        naive_check(&g, part, 0.3, 1, 0);
    test_group_close(&g);
}

/* Two experts are as far from their mean, on opposite sides. */
static void test_ties_of_two_is_the_mean_or_the_one_used_more(void **state)
{
    static const double half[] = {0.5, 0.5}, second[] = {0, 1};
    struct test_group g;

    (void)state;
    group_open(&g, HCSMOE_DTYPE_F32, 2, 6, 8);
    usage[1] = 0.1;
    usage[3] = 0.2;
    assert_int_equal(merge(&g, 1, 1, "equal"), 0);
    test_group_is_mean(&g, half, 1e-6);
    assert_int_equal(merge(&g, 0, 1, "usage"), 0);
    test_group_is_mean(&g, half, 1e-6);
    assert_int_equal(merge(&g, 1, 1, "usage"), 0);
    test_group_is_mean(&g, second, 1e-6);
    assert_int_equal(merge(&g, 1, 0, "usage"), 0);
    test_group_is_mean(&g, half, 1e-6);
    test_group_close(&g);
}

static void test_ties_counts_all_alike_in_a_dead_group_and_warns(void **state)
{
    struct test_group g;

    (void)state;
    group_open(&g, HCSMOE_DTYPE_F32, 3, 6, 8);
    memset(usage, 0, sizeof usage);
    assert_int_equal(merge(&g, 0.2, 1, "usage"), 0);
    naive_check(&g, 0, 0.2, 1, 1);
    assert_int_equal(host.log_level, HCSMOE_LOG_WARN);
    assert_string_equal(host.log,
                        "layer 5, group 2: no token chose any of its 3 experts: all count alike");
    host.log_level = -1;
    test_group_close(&g);
}

static void test_ties_gives_the_same_bits_on_two_threads(void **state)
{
    const hcsmoe_merge_ops *ops = ties->ops;
    struct test_group g;
    float one[3][300];
    void *o = options_new(ties);
    int threads, part;

    (void)state;
    group_open(&g, HCSMOE_DTYPE_F32, 3, 15, 20);
    usage[1] = usage[3] = usage[5] = 0.1;
    for (threads = 1; threads <= 2; threads++) {
        struct host *h;
        assert_int_equal(host_open(&h, threads, 1), 0);
        host_set_kernels(h, kernels_load(&host, &h->abi));
        host_enter(h, "merge/ties", 5);
        assert_int_equal(host_leave(h, ops->merge(o, &h->abi, &g.args)), 0);
        for (part = 0; part < 3; part++) {
            if (threads == 2)
                assert_memory_equal(one[part], g.out[part].data, sizeof one[part]);
            memcpy(one[part], g.out[part].data, sizeof one[part]);
        }
        kernels_unload(&host, &h->abi, h->kernels);
        host_close(h);
    }
    mem_free(o);
    test_group_close(&g);
}

static void test_ties_says_so_when_memory_lacks_or_the_user_stops_it(void **state)
{
    struct test_group g;
    hcsmoe_status status = HCSMOE_ENOMEM;
    int allowed;

    (void)state;
    group_open(&g, HCSMOE_DTYPE_F32, 2, 6, 8);
    for (allowed = 0; status == HCSMOE_ENOMEM; allowed++) {
        host.alloc_allowed = allowed;
        status = merge(&g, 0.2, 1, "equal");
    }
    assert_int_equal(status, 0);
    assert_in_range(allowed, 10, 20);
    host.alloc_allowed = -1;
    host.cancelled = 1;
    assert_int_equal(merge(&g, 0.2, 1, "equal"), HCSMOE_ECANCELLED);
    host.cancelled = 0;
    test_group_close(&g);
}

static void test_ties_has_the_published_defaults_and_small_memory(void **state)
{
    const hcsmoe_merge_ops *ops = ties->ops;
    const hcsmoe_layer_dims dims = {.width = 4096, .ffn = 14336};
    hcsmoe_merge_cost cost = {.struct_size = sizeof cost};
    void *o = options_new(ties);

    (void)state;
    assert_true(option_of(ties, "density")->def.d == 0.2);
    assert_true(option_of(ties, "density")->min == 0 && option_of(ties, "density")->max == 1);
    assert_true(option_of(ties, "scale")->def.d == 1);
    assert_int_equal(ties->needs_for(o, 0), HCSMOE_STAT_WEIGHTS | HCSMOE_STAT_USAGE);
    option_set(ties, o, "weights", "equal");
    assert_int_equal(ties->needs_for(o, 0), HCSMOE_STAT_WEIGHTS);
    assert_int_equal(ops->cost(o, &host.abi, &dims, NULL, 2, &cost), 0);
    assert_in_range(cost.bytes, 1, 1 << 20); /* rows, not experts */
    mem_free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ties_gives_what_it_says),
        cmocka_unit_test(test_ties_keeps_all_that_are_as_large_as_the_smallest_kept),
        cmocka_unit_test(test_ties_of_two_is_the_mean_or_the_one_used_more),
        cmocka_unit_test(test_ties_counts_all_alike_in_a_dead_group_and_warns),
        cmocka_unit_test(test_ties_gives_the_same_bits_on_two_threads),
        cmocka_unit_test(test_ties_says_so_when_memory_lacks_or_the_user_stops_it),
        cmocka_unit_test(test_ties_has_the_published_defaults_and_small_memory),
    };

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
