/*
 * test_plugins_neurons_cases.c - slim, select and lstsq: degenerate groups, shapes, cost, refusals.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin_test.h"

#include "neurons_test.h"

static void check_floats(const void *got, const double *expected, int64_t n, double tolerance)
{
    const float *x = got;
    int64_t i;

    for (i = 0; i < n; i++)
        assert_near((double)x[i], expected[i], tolerance);
}

/* Nobody comes: the neurons of largest |u| |v| with the columns they have. */
static void test_an_unused_group_keeps_the_first_members_largest_neurons(void **state)
{
    const float *down;

    (void)state;
    set_example(1, 1, 1); /* |u| |v|: sqrt(2) sqrt(1.25), 2 */
    group.n_tokens = 0;
    assert_int_equal(merge(slim), 0);
    assert_memory_equal(group.out_gate, &example_gate[1][2], 8);
    assert_memory_equal(group.out_up, &example_up[1][2], 8);
    down = group.out_down;
    assert_true(down[0] == -1 && down[1] == 0);
    assert_int_equal(host.log_level, HCSMOE_LOG_WARN);
    assert_string_equal(host.log, "layer 5, group 1: no token used its experts: expert 0 keeps its "
                                  "neurons of largest weights");
    assert_true(group.loss == 0 && group.total == 0);
    set_example(1, 2, 2);
    group.n_tokens = 0;
    assert_int_equal(merge(select_best), 0);
    assert_memory_equal(group.out_gate, example_gate[1], sizeof example_gate[1]);
    assert_memory_equal(group.out_up, example_up[1], sizeof example_up[1]);
    assert_memory_equal(group.out_down, example_down[1], sizeof example_down[1]);
}

/* Tokens come, but no neuron ever fires: tr H = 0. */
static void test_a_silent_group_is_an_unused_one(void **state)
{
    (void)state;
    set_example(0, 2, 2);
    memset(group.hidden[0], 0, (size_t)(group.n_tokens * 2) * sizeof(float));
    memset(group.hidden[1], 0, (size_t)(group.n_tokens * 2) * sizeof(float));
    assert_int_equal(merge(select_best), 0);
    assert_memory_equal(group.out_down, example_down[0], sizeof example_down[0]);
    assert_int_equal(host.log_level, HCSMOE_LOG_WARN);
}

static void test_an_unused_base_is_not_refitted(void **state)
{
    static const double down[] = {.75, -.5, .25, .5};

    (void)state;
    set_example(1, 2, 2);
    group.n_tokens = 0;
    assert_int_equal(merge(lstsq), 0);
    check_floats(group.out_down, down, 4, 0);
    assert_int_equal(host.log_level, HCSMOE_LOG_WARN);
    assert_string_equal(host.log, "layer 5, group 1: no token used its experts: the base is not "
                                  "refitted");
    set_example(1, 2, 2);
    group.n_tokens = 1;
    opts->lstsq_base = BASE_FIX_DOM_SAME;
    assert_int_equal(merge(lstsq), 0);
    check_floats(group.out_gate, (const double[]){-.5, .75, .75, .5}, 4, 0);
    set_example(1, 2, 2);
    group.usage[0] = group.usage[1] = 0;
    opts->lstsq_base = BASE_FREQ;
    assert_int_equal(merge(lstsq), 0);
    assert_string_equal(host.log, "layer 5, group 1: no token chose any of its 2 experts: merged "
                                  "by the plain mean");
    check_floats(group.out_gate, (const double[]){-.5, .75, .75, .5}, 4, 0);
}

/* Expert 1 is in the group but no token is routed to it: its neurons have alpha = 0, and stay only
 * if they help the others. */
static void test_a_member_that_is_never_routed_counts_for_nothing_of_its_own(void **state)
{
    float *weights;
    const float *gate, *down;
    int64_t i, d;
    int pass;

    (void)state;
    group_random(&host, &group, 2, 8, 6, 300);
    weights = (float *)(uintptr_t)group.weights;
    for (i = 0; i < 300; i++) {
        weights[i * 2] = 0.5F;
        weights[i * 2 + 1] = 0;
    }
    group_finish(&group);
    for (pass = 0; pass < 2; pass++) {
        int64_t own = 0;
        opts->ridge = pass ? 1e9 : 0.01;
        assert_int_equal(merge(select_best), 0);
        gate = group.out_gate;
        down = group.out_down;
        for (i = 0; i < 6; i++) {
            const int of_0 = memcmp(gate + i * 8, group.gate[0] + i * 8, 32) == 0;
            own += of_0;
            for (d = 0; d < 8 && pass; d++)
                assert_near((double)down[d * 6 + i], of_0 ? (double)group.down[0][d * 6 + i] : 0,
                            1e-6);
        }
        assert_true(own > 3);
        assert_true(group.loss < (pass ? 0.5 : 0.05) * group.total);
    }
}

static void test_few_tokens_are_allowed_with_a_warning(void **state)
{
    (void)state;
    group_random(&host, &group, 2, 8, 12, 7);
    assert_int_equal(merge(select_best), 0);
    assert_int_equal(host.log_level, HCSMOE_LOG_WARN);
    assert_string_equal(host.log, "layer 5, group 1: fewer tokens (7) than neurons (12)");
    opts->min_tokens = 2;
    group_release(&group);
    group_random(&host, &group, 2, 8, 12, 18);
    assert_int_equal(merge(select_best), 0);
    assert_string_equal(host.log, "layer 5, group 1: 18 tokens for 12 neurons, 1.50 each: "
                                  "min_tokens = 2 asks for more calibration text");
    host.log_level = -1;
    group_release(&group);
    group_random(&host, &group, 2, 8, 12, 24);
    assert_int_equal(merge(select_best), 0);
    assert_int_equal(host.log_level, -1);
}

/* Neurons that are copies of each other, and hardly a ridge: Cholesky fails until it is raised. */
static void test_a_singular_matrix_gets_a_larger_ridge_or_is_refused(void **state)
{
    int64_t i;

    (void)state;
    group_random(&host, &group, 2, 8, 6, 50);
    for (i = 0; i < 6 * 8; i++) {
        group.gate[1][i] = group.gate[0][i];
        group.up[1][i] = group.up[0][i];
        group.down[1][i] = group.down[0][i];
    }
    group_finish(&group);
    opts->select_ridge = 1e-20;
    assert_int_equal(merge(select_best), 0);
    assert_int_equal(host.log_level, HCSMOE_LOG_WARN);
    assert_non_null(strstr(host.log, "layer 5, group 1: the Gram matrix of 12 neurons is singular: "
                                     "select_ridge raised from 1e-20 to 1e-"));
    opts->select_ridge = 0;
    assert_int_equal(merge(select_best), HCSMOE_EFAILED);
    assert_string_equal(host.message, "group 1: the Gram matrix of 12 neurons is singular at "
                                      "select_ridge = 0: a larger one is needed");
    opts->select_ridge = 1e-40;
    assert_int_equal(merge(select_best), HCSMOE_EFAILED);
    opts->select_ridge = 0.01;
    opts->ridge = 0; /* what is kept is not singular */
    assert_int_equal(merge(select_best), 0);
    assert_true(group.loss < 1e-6 * group.total);
}

static void test_activations_that_are_not_finite_are_refused(void **state)
{
    int is_double;

    (void)state;
    for (is_double = 0; is_double < 2; is_double++) {
        set_example(1, 2, 2);
        group.hidden[0][1] = NAN;
        assert_int_equal(group_merge(select_best, is_double ? -1 : 0), HCSMOE_EFAILED);
        assert_string_equal(host.message, "group 1: the activations of its experts are not finite");
        group.hidden[0][1] = INFINITY;
        assert_int_equal(group_merge(select_best, is_double ? -1 : 0), HCSMOE_EFAILED);
    }
}

static void test_memory_and_kernel_failures_are_passed_on(void **state)
{
    hcsmoe_status status = HCSMOE_ENOMEM;
    int64_t allowed;

    (void)state;
    for (allowed = 1; status == HCSMOE_ENOMEM; allowed++) {
        const int64_t before = host.n_alloc;
        set_example(1, 2, 2);
        host.alloc_allowed = allowed;
        status = merge(allowed % 2 ? select_best : lstsq);
        host.alloc_allowed = -1;
        assert_int_equal(host.n_alloc, before);
    }
    assert_int_equal(status, 0);
    assert_true(allowed > 20);
    host.cancelled = 1;
    assert_int_equal(merge(select_best), HCSMOE_ECANCELLED);
    host.cancelled = 0;
}

static hcsmoe_status shape(const hcsmoe_component *c, int64_t n, int64_t groups, int64_t *experts,
                           int64_t *ffn)
{
    const hcsmoe_merge_ops *ops = c->ops;
    const hcsmoe_layer_dims dims = {
        .struct_size = sizeof dims, .layer = 5, .n_experts = 8, .width = 128, .ffn = 192};
    hcsmoe_merge_shape s = {
        .struct_size = sizeof s, .n_target = n, .n_experts = groups, .ffn = 192};
    void *self = NULL;
    hcsmoe_status status = c->create(&host.abi, opts, &self);

    if (status == HCSMOE_OK) {
        status = ops->shape(self, &host.abi, &dims, &s);
        c->destroy(&host.abi, self);
    }
    *experts = s.n_experts;
    *ffn = s.ffn;
    return status;
}

static void check_shape(const hcsmoe_component *c, int64_t n, int64_t groups, int64_t experts,
                        int64_t ffn)
{
    int64_t got_experts, got_ffn;

    assert_int_equal(shape(c, n, groups, &got_experts, &got_ffn), 0);
    assert_int_equal(got_experts, experts);
    assert_int_equal(got_ffn, ffn);
}

static void test_shapes_keep_the_size(void **state)
{
    (void)state;
    check_shape(slim, 4, 0, 8, 96);
    check_shape(slim, 5, 0, 8, 120);
    check_shape(slim, 8, 0, 8, 192);
    opts->width_multiple = 64;
    check_shape(slim, 5, 0, 8, 64);
    check_shape(slim, 8, 0, 8, 192);
    opts->width_multiple = 1;
    check_shape(select_best, 4, 0, 4, 192);
    opts->groups = "5";
    check_shape(select_best, 4, 0, 5, 153);
    opts->width_multiple = 50;
    check_shape(select_best, 4, 0, 5, 150);
    opts->groups = "4";
    check_shape(select_best, 4, 0, 4, 192);
    opts->groups = "auto";
    opts->width_multiple = 1;
    check_shape(select_best, 4, 0, 0, 192);
    check_shape(select_best, 4, 6, 6, 128);
    check_shape(select_best, 4, 4, 4, 192);
}

static void test_shapes_without_neurons_or_groups_are_refused(void **state)
{
    int64_t experts, ffn;

    (void)state;
    opts->width_multiple = 100;
    assert_int_equal(shape(slim, 4, 0, &experts, &ffn), HCSMOE_EINVAL);
    assert_string_equal(host.message, "8 experts as large as 4 of width 192 have no "
                                      "neuron left at width_multiple = 100");
    opts->groups = "8";
    assert_int_equal(shape(select_best, 4, 0, &experts, &ffn), HCSMOE_EINVAL);
    opts->groups = "auto"; /* might choose 8 */
    assert_int_equal(shape(select_best, 4, 0, &experts, &ffn), HCSMOE_EINVAL);
    opts->width_multiple = 1;
    assert_int_equal(shape(slim, 9, 0, &experts, &ffn), HCSMOE_EINVAL);
    assert_string_equal(host.message, "num_average_groups = 9 of 8 experts: must be 1..8");
    assert_int_equal(shape(select_best, 9, 0, &experts, &ffn), HCSMOE_EINVAL);
    opts->groups = "3";
    assert_int_equal(shape(select_best, 4, 0, &experts, &ffn), HCSMOE_EINVAL);
    assert_string_equal(host.message, "groups = 3: must be 4 (num_average_groups) to 8 "
                                      "(experts), 0 or auto");
    opts->groups = "9";
    assert_int_equal(shape(select_best, 4, 0, &experts, &ffn), HCSMOE_EINVAL);
    opts->groups = "six";
    assert_int_equal(shape(select_best, 4, 0, &experts, &ffn), HCSMOE_EINVAL);
    assert_string_equal(host.message, "groups = six: must be a number of groups, 0 or auto");
    opts->groups = "-1";
    assert_int_equal(shape(select_best, 4, 0, &experts, &ffn), HCSMOE_EINVAL);
    opts->groups = "6 ";
    assert_int_equal(shape(select_best, 4, 0, &experts, &ffn), HCSMOE_EINVAL);
}

static hcsmoe_merge_cost cost(const hcsmoe_component *c, int64_t width, int64_t ffn, int64_t kept,
                              int64_t members)
{
    const hcsmoe_merge_ops *ops = c->ops;
    const hcsmoe_layer_dims dims = {.struct_size = sizeof dims,
                                    .n_experts = 8,
                                    .top_k = 2,
                                    .width = width,
                                    .ffn = ffn,
                                    .n_tokens = 65536};
    const hcsmoe_merge_shape s = {
        .struct_size = sizeof s, .n_target = 4, .n_experts = 4, .ffn = kept};
    hcsmoe_merge_cost got = {.struct_size = sizeof got};
    void *self = NULL;

    assert_int_equal(c->create(&host.abi, opts, &self), 0);
    assert_int_equal(ops->cost(self, &host.abi, &dims, &s, members, &got), 0);
    c->destroy(&host.abi, self);
    return got;
}

/* At the size of a Mixtral expert two matrices in float and some room; what makes less is named. */
static void test_cost_of_published_sizes(void **state)
{
    const double square = 14336.0 * 14336 * 4, flat = 14336.0 * 4096 * 4;
    hcsmoe_merge_cost c = cost(slim, 4096, 14336, 7168, 1);

    (void)state;
    assert_true((double)c.bytes > 2 * square + flat && (double)c.bytes < 2 * square + 4 * flat);
    assert_null(c.less);
    assert_true(c.flops > 6e12 && c.flops < 1.6e13);
    c = cost(select_best, 4096, 14336, 14336, 2);
    assert_true((double)c.bytes > 8 * square + 4 * flat && (double)c.bytes < 9 * square + 6 * flat);
    assert_string_equal(c.less, "pool = 1");
    opts->pool = 1;
    c = cost(select_best, 4096, 14336, 14336, 2);
    assert_true((double)c.bytes < 2 * square + 8 * flat);
    assert_null(c.less);
    opts->pool = 0;
    assert_true(cost(select_best, 128, 192, 192, 4).bytes >
                2 * cost(select_best, 128, 192, 192, 2).bytes);
    c = cost(slim, 2048, 1408, 704, 1);
    assert_true((double)c.bytes > 2 * 1408.0 * 1408 * 8);
    assert_true(cost(select_best, 128, 192, 192, 1).bytes == 0);
    c = cost(lstsq, 2048, 1408, 1408, 2);
    assert_null(c.less);
    opts->lstsq_base = BASE_ALIGN;
    assert_true(cost(lstsq, 2048, 1408, 1408, 2).bytes > c.bytes);
    assert_true(cost(lstsq, 2048, 1408, 1408, 2).flops > c.flops + 2 * 1408.0 * 1408 * 1408);
    assert_string_equal(cost(lstsq, 2048, 1408, 1408, 2).less, "lstsq_base = freq");
}

static void test_components_ask_for_what_they_use(void **state)
{
    (void)state;
    assert_int_equal(slim->needs, HCSMOE_STAT_LAYER_INPUT);
    assert_null(slim->needs_for);
    assert_true(slim->caps & HCSMOE_CAP_NO_GROUPS);
    assert_int_equal(lstsq->needs, HCSMOE_STAT_LAYER_INPUT | HCSMOE_STAT_USAGE);
    assert_int_equal(select_best->needs_for(opts, 0), HCSMOE_STAT_LAYER_INPUT | HCSMOE_STAT_ENERGY);
    opts->pool = 0;
    assert_int_equal(select_best->needs_for(opts, 0), HCSMOE_STAT_LAYER_INPUT);
    assert_true(select_best->has_effect(opts, 0, "select_block"));
    assert_false(select_best->has_effect(opts, 0, "width_multiple"));
    opts->selector = FORWARD;
    opts->groups = "6";
    assert_false(select_best->has_effect(opts, 0, "select_block"));
    assert_true(select_best->has_effect(opts, 0, "width_multiple"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_an_unused_group_keeps_the_first_members_largest_neurons),
        CASE(test_a_silent_group_is_an_unused_one),
        CASE(test_an_unused_base_is_not_refitted),
        CASE(test_a_member_that_is_never_routed_counts_for_nothing_of_its_own),
        CASE(test_few_tokens_are_allowed_with_a_warning),
        CASE(test_a_singular_matrix_gets_a_larger_ridge_or_is_refused),
        CASE(test_activations_that_are_not_finite_are_refused),
        CASE(test_memory_and_kernel_failures_are_passed_on),
        CASE(test_shapes_keep_the_size),
        CASE(test_shapes_without_neurons_or_groups_are_refused),
        CASE(test_cost_of_published_sizes),
        CASE(test_components_ask_for_what_they_use),
    };

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
