/*
 * test_plugins_prune.c - one expert of a group stays as it is, the router loses the others.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin_test.h"

#include "merge_test.h"

static struct fake_host host;
static const hcsmoe_component *prune;
static struct test_group group;

static int host_setup(void **state)
{
    (void)state;
    fake_host_open(&host);
    host.kernels = kernels_load(&host, &host.abi);
    prune = plugin_load(&host, "hcsmoe-merge-prune.so");
    test_group_open(&group, &host, HCSMOE_DTYPE_BF16, 3, 10, 14, 230);
    return 0;
}

static int host_teardown(void **state)
{
    (void)state;
    test_group_close(&group);
    kernels_unload(&host, &host.abi, host.kernels);
    fake_host_close(&host);
    return 0;
}

static hcsmoe_status merge(const char *score)
{
    const hcsmoe_merge_ops *ops = prune->ops;
    void *o = options_new(prune);
    hcsmoe_status status;

    option_set(prune, o, "score", score);
    memset(group.pruned, 0, sizeof group.pruned);
    status = ops->merge(o, &host.abi, &group.args);
    fake_host_leave(&host);
    mem_free(o);
    return status;
}

static void expect_kept(int64_t best)
{
    int64_t e;
    int part;

    for (part = 0; part < 3; part++)
        assert_memory_equal(group.out[part].data, group.in[part][best].data, 140 * 2);
    for (e = 0; e < 3; e++)
        assert_int_equal(group.pruned[e], e != best);
}

static void test_prune_keeps_the_most_used_expert_bit_for_bit(void **state)
{
    /* Members are 1, 3 and 5; others may be used more. */
    static double usage[6] = {0.5, 0.1, 0, 0.2, 0, 0.15};

    (void)state;
    group.stats.usage = usage;
    ((uint16_t *)group.in[0][1].data)[3] = 0x8000; /* -0 keeps its sign */
    assert_int_equal(merge("frequency"), 0);
    expect_kept(1);
    usage[5] = 0.2; /* as much: the lower index */
    assert_int_equal(merge("frequency"), 0);
    expect_kept(1);
    usage[1] = usage[3] = usage[5] = 0; /* a dead group */
    assert_int_equal(merge("frequency"), 0);
    expect_kept(0);
    group.stats.usage = NULL;
}

static void test_prune_can_go_by_routing_scores(void **state)
{
    static const double score[6] = {9, 1, 9, 2, 9, 2.5};

    (void)state;
    group.stats.score_sum = score;
    assert_int_equal(merge("routing-score"), 0);
    expect_kept(2);
    group.stats.score_sum = NULL;
}

/* Mean over the tokens routed to the expert of the length of its output. */
static double output_norm(int64_t e)
{
    double sum = 0;
    int64_t t, f, d;

    for (t = 0; t < group.n_tokens; t++) {
        double h[14], square = 0;
        if (group.weights[t * 3 + e] == 0)
            continue;
        for (f = 0; f < 14; f++) {
            double gate = 0, up = 0;
            for (d = 0; d < 10; d++) {
                gate += (double)(test_value(&group.in[0][e], f, d) * group.x[t * 10 + d]);
                up += (double)(test_value(&group.in[1][e], f, d) * group.x[t * 10 + d]);
            }
            h[f] = gate / (1 + exp(-gate)) * up;
        }
        for (d = 0; d < 10; d++) {
            double y = 0;
            for (f = 0; f < 14; f++)
                y += (double)test_value(&group.in[2][e], d, f) * h[f];
            square += y * y;
        }
        sum += sqrt(square);
    }
    return group.routed[e] ? sum / (double)group.routed[e] : 0;
}

static void scale_down(int64_t e, float factor)
{
    int64_t d, f;

    for (d = 0; d < 10; d++)
        for (f = 0; f < 14; f++)
            test_value_set(&group.in[2][e], d, f, factor * test_value(&group.in[2][e], d, f));
}

static void test_prune_can_go_by_the_length_of_outputs(void **state)
{
    int64_t e, t, best = 0;

    (void)state;
    for (e = 1; e < 3; e++)
        best = output_norm(e) > output_norm(best) ? e : best;
    assert_int_equal(merge("output-norm"), 0);
    expect_kept(best);
    /* Routing weights do not count; nor does how many tokens there are: a mean, not a sum. */
    for (t = 0; t < group.n_tokens; t++)
        if (group.weights[t * 3 + best] != 0)
            group.weights[t * 3 + best] = t % 4 ? 0 : 1e-6F;
    test_group_count(&group);
    scale_down(best, 1.5F);
    for (e = 0; e < 3; e++)
        assert_true(e == best || output_norm(best) > output_norm(e));
    assert_int_equal(merge("output-norm"), 0);
    expect_kept(best);
    /* An expert without tokens scores 0. */
    for (t = 0; t < group.n_tokens; t++)
        group.weights[t * 3 + best] = 0;
    test_group_count(&group);
    assert_int_equal(merge("output-norm"), 0);
    expect_kept(output_norm((best + 1) % 3) > output_norm((best + 2) % 3) ? (best + 1) % 3
                                                                          : (best + 2) % 3);
    group.n_tokens = 0;
    test_group_count(&group);
    assert_int_equal(merge("output-norm"), 0);
    expect_kept(0);
    group.n_tokens = 230;
}

static void test_prune_needs_what_its_score_needs(void **state)
{
    const hcsmoe_merge_ops *ops = prune->ops;
    hcsmoe_merge_cost cost = {.struct_size = sizeof cost};
    void *o = options_new(prune);
    int allowed;

    (void)state;
    assert_int_equal(prune->needs_for(o, 0), HCSMOE_STAT_WEIGHTS | HCSMOE_STAT_USAGE);
    assert_int_equal(ops->cost(o, &host.abi, &group.dims, NULL, 3, &cost), 0);
    assert_true(cost.bytes == 0 && cost.flops == 0);
    option_set(prune, o, "score", "routing-score");
    assert_int_equal(prune->needs_for(o, 0), HCSMOE_STAT_WEIGHTS | HCSMOE_STAT_ROUTING_SCORE);
    option_set(prune, o, "score", "output-norm");
    assert_int_equal(prune->needs_for(o, 0), HCSMOE_STAT_WEIGHTS | HCSMOE_STAT_LAYER_INPUT);
    assert_int_equal(ops->cost(o, &host.abi, &group.dims, NULL, 3, &cost), 0);
    assert_int_equal(cost.bytes, 1024 * (8 + 4 * (10 + 10 + 14)));
    assert_true(cost.flops == 6 * 230.0 * 10 * 14);
    assert_int_equal(prune->caps & HCSMOE_CAP_PRUNES, HCSMOE_CAP_PRUNES);
    assert_int_equal(ops->singletons, 0); /* a group of one is kept by the host */
    for (allowed = 0; allowed < 5; allowed++) {
        host.alloc_allowed = allowed;
        assert_int_equal(merge("output-norm"), HCSMOE_ENOMEM);
    }
    host.alloc_allowed = -1;
    mem_free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prune_keeps_the_most_used_expert_bit_for_bit),
        cmocka_unit_test(test_prune_can_go_by_routing_scores),
        cmocka_unit_test(test_prune_can_go_by_the_length_of_outputs),
        cmocka_unit_test(test_prune_needs_what_its_score_needs),
    };

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
