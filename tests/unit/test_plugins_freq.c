/*
 * test_plugins_freq.c - the usage-weighted mean of a group.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin_test.h"

#include <hcsmoe/merge.h>

/* Experts of a layer: gate and up [1, 2], down [2, 1]. */
enum { EXPERTS = 4, ELEMENTS = 2 };

static struct fake_host host;
static const hcsmoe_component *component;
static int weighted_sums, weighted_sum_status;

static hcsmoe_status fake_weighted_sum(const hcsmoe_kernels *k, int64_t n,
                                       const hcsmoe_tensor *const *t, const double *coefficient,
                                       const hcsmoe_tensor *out)
{
    float *to = out->data;
    int64_t e, i;

    (void)k;
    weighted_sums++;
    if (weighted_sum_status)
        return weighted_sum_status;
    for (e = 0; e < ELEMENTS; e++) {
        double sum = 0;
        for (i = 0; i < n; i++)
            sum += coefficient[i] * (double)((const float *)t[i]->data)[e];
        to[e] = (float)sum;
    }
    return HCSMOE_OK;
}

static int host_setup(void **state)
{
    static hcsmoe_kernels kernels = {.struct_size = sizeof kernels,
                                     .weighted_sum = fake_weighted_sum};
    (void)state;
    fake_host_open(&host);
    host.kernels = &kernels;
    component = plugin_load(&host, "hcsmoe-merge-freq.so");
    return 0;
}

static int host_teardown(void **state)
{
    (void)state;
    fake_host_close(&host);
    return 0;
}

/* Merges two members of a layer whose usage is given; gate of the result into out. */
static hcsmoe_status merge(const double *usage, int32_t first, int32_t second,
                           const float gate[2][ELEMENTS], float out[3][ELEMENTS])
{
    const hcsmoe_merge_ops *ops = component->ops;
    const hcsmoe_layer_dims dims = {.struct_size = sizeof dims, .layer = 5, .n_experts = EXPERTS};
    const hcsmoe_stats stats = {.struct_size = sizeof stats, .usage = usage};
    const int32_t members[] = {first, second};
    float data[3][2][ELEMENTS];
    hcsmoe_tensor in[3][2], merged[3];
    const hcsmoe_merge_args args = {
        .struct_size = sizeof args,
        .group = 1,
        .dims = &dims,
        .stats = &stats,
        .n_members = 2,
        .n_groups = 2,
        .members = members,
        .core = -1,
        .gate = in[0],
        .up = in[1],
        .down = in[2],
        .out_gate = &merged[0],
        .out_up = &merged[1],
        .out_down = &merged[2],
    };
    hcsmoe_status status;
    int part, i, e;

    for (part = 0; part < 3; part++) {
        for (i = 0; i < 2; i++) {
            for (e = 0; e < ELEMENTS; e++) /* up and down: other multiples of the gate */
                data[part][i][e] = gate[i][e] * (float)(part + 1);
            in[part][i] = hcsmoe_matrix(data[part][i], HCSMOE_DTYPE_F32, part == 2 ? 2 : 1,
                                        part == 2 ? 1 : 2);
        }
        merged[part] =
            hcsmoe_matrix(out[part], HCSMOE_DTYPE_F32, part == 2 ? 2 : 1, part == 2 ? 1 : 2);
    }
    weighted_sums = 0;
    status = ops->merge(NULL, &host.abi, &args);
    fake_host_leave(&host);
    return status;
}

static const float two_gates[2][ELEMENTS] = {{1, 2}, {3, -2}};

static void test_freq_gives_the_worked_example_for_all_matrices(void **state)
{
    static const double usage[EXPERTS] = {0.4, 0.3, 0.2, 0.1};
    float out[3][ELEMENTS];
    int part;

    (void)state;
    assert_int_equal(merge(usage, 1, 3, two_gates, out), 0);
    assert_int_equal(weighted_sums, 3);
    for (part = 0; part < 3; part++) {
        assert_near(out[part][0], 1.5 * (part + 1), 1e-6);
        assert_near(out[part][1], 1.0 * (part + 1), 1e-6);
    }
    assert_int_equal(host.log_level, -1);
}

static void test_freq_leaves_out_an_expert_that_no_token_chose(void **state)
{
    static const double usage[EXPERTS] = {0.5, 0.5, 0, 0};
    float out[3][ELEMENTS];

    (void)state;
    assert_int_equal(merge(usage, 0, 2, two_gates, out), 0);
    assert_true(out[0][0] == 1 && out[0][1] == 2);
}

static void test_freq_takes_the_plain_mean_of_a_dead_group_and_warns(void **state)
{
    static const double usage[EXPERTS] = {0.5, 0.5, 0, 0};
    float out[3][ELEMENTS];

    (void)state;
    assert_int_equal(merge(usage, 2, 3, two_gates, out), 0);
    assert_near(out[0][0], 2, 0);
    assert_near(out[0][1], 0, 0);
    assert_int_equal(host.log_level, HCSMOE_LOG_WARN);
    assert_string_equal(
        host.log,
        "layer 5, group 1: no token chose any of its 2 experts: merged by the plain mean");
    host.log_level = -1;
}

static void test_freq_passes_on_failures_of_kernels_and_memory(void **state)
{
    static const double usage[EXPERTS] = {0.5, 0.5, 0, 0};
    float out[3][ELEMENTS];

    (void)state;
    weighted_sum_status = HCSMOE_EIO;
    assert_int_equal(merge(usage, 0, 1, two_gates, out), HCSMOE_EIO);
    assert_int_equal(weighted_sums, 1);
    weighted_sum_status = 0;
    host.alloc_allowed = 0;
    assert_int_equal(merge(usage, 0, 1, two_gates, out), HCSMOE_ENOMEM);
    host.alloc_allowed = -1;
}

static void test_freq_needs_weights_and_usage_and_leaves_groups_of_one_to_the_host(void **state)
{
    const hcsmoe_merge_ops *ops = component->ops;

    (void)state;
    assert_int_equal(component->needs, HCSMOE_STAT_WEIGHTS | HCSMOE_STAT_USAGE);
    assert_int_equal(ops->singletons, 0);
    assert_null(ops->shape);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_freq_gives_the_worked_example_for_all_matrices),
        cmocka_unit_test(test_freq_leaves_out_an_expert_that_no_token_chose),
        cmocka_unit_test(test_freq_takes_the_plain_mean_of_a_dead_group_and_warns),
        cmocka_unit_test(test_freq_passes_on_failures_of_kernels_and_memory),
        cmocka_unit_test(test_freq_needs_weights_and_usage_and_leaves_groups_of_one_to_the_host),
    };

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
