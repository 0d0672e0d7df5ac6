/*
 * test_plugins_slerp.c - spherical interpolation of a group's matrices.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin_test.h"

#include "merge_test.h"

static struct fake_host host;
static const hcsmoe_component *slerp;
static struct test_group group;
static double usage[2 * GROUP_MEMBERS_MOST];

static int host_setup(void **state)
{
    (void)state;
    fake_host_open(&host);
    host.kernels = kernels_load(&host, &host.abi);
    slerp = plugin_load(&host, "hcsmoe-merge-slerp.so");
    return 0;
}

static int host_teardown(void **state)
{
    (void)state;
    kernels_unload(&host, &host.abi, host.kernels);
    fake_host_close(&host);
    return 0;
}

static void open_group(int64_t members)
{
    test_group_open(&group, &host, HCSMOE_DTYPE_F32, members, 6, 4, 1);
    group.stats.usage = usage;
}

/* Member e's matrices all become one that has only two elements: (x, y). */
static void set_plane(int64_t e, float x, float y)
{
    int64_t i;
    int part;

    for (part = 0; part < 3; part++) {
        for (i = 0; i < 24; i++)
            ((float *)group.in[part][e].data)[i] = 0;
        ((float *)group.in[part][e].data)[3] = x;
        ((float *)group.in[part][e].data)[20] = y;
    }
}

static hcsmoe_status merge(const char *weights)
{
    const hcsmoe_merge_ops *ops = slerp->ops;
    void *o = options_new(slerp);
    hcsmoe_status status;

    option_set(slerp, o, "weights", weights);
    status = ops->merge(o, &host.abi, &group.args);
    fake_host_leave(&host);
    mem_free(o);
    return status;
}

static void expect_plane(double x, double y)
{
    int part;

    for (part = 0; part < 3; part++) {
        assert_near(((const float *)group.out[part].data)[3], x, 1e-6);
        assert_near(((const float *)group.out[part].data)[20], y, 1e-6);
        assert_near(((const float *)group.out[part].data)[5], 0, 0);
    }
}

static void test_slerp_turns_from_one_to_the_other(void **state)
{
    (void)state;
    open_group(2);
    usage[1] = usage[3] = 0.25;
    set_plane(0, 1, 0);
    set_plane(1, 0, 1); /* a right angle: half of it */
    assert_int_equal(merge("usage"), 0);
    expect_plane(sqrt(0.5), sqrt(0.5));
    usage[1] = 0.4; /* one third of the way, 30 degrees */
    usage[3] = 0.2;
    assert_int_equal(merge("usage"), 0);
    expect_plane(sqrt(0.75), 0.5);
    assert_int_equal(merge("equal"), 0);
    expect_plane(sqrt(0.5), sqrt(0.5));
    set_plane(0, 2, 0); /* 120 degrees; lengths stay what they are */
    set_plane(1, -0.5F, (float)sqrt(0.75));
    assert_int_equal(merge("equal"), 0);
    expect_plane(2 - 0.5, sqrt(0.75)); /* sin 60 / sin 120 is 1 */
    test_group_close(&group);
}

static void test_slerp_is_linear_for_parallel_and_zero_matrices(void **state)
{
    (void)state;
    open_group(2);
    usage[1] = 0.3;
    usage[3] = 0.1;
    set_plane(0, 1, 2);
    set_plane(1, 3, 6);
    assert_int_equal(merge("usage"), 0);
    expect_plane(1.5, 3);
    set_plane(1, -3, -6);
    assert_int_equal(merge("usage"), 0);
    expect_plane(0, 0);
    set_plane(1, 0, 0);
    assert_int_equal(merge("usage"), 0);
    expect_plane(0.75, 1.5);
    set_plane(0, 0, 0);
    assert_int_equal(merge("usage"), 0);
    expect_plane(0, 0);
    set_plane(0, 1, 0);
    set_plane(1, 1, 0.031F); /* cosine 0.99952: linear; the next one is 0.99949 */
    assert_int_equal(merge("equal"), 0);
    assert_true(((const float *)group.out[0].data)[3] == 1);
    set_plane(1, 1, 0.032F);
    assert_int_equal(merge("equal"), 0);
    assert_true(((const float *)group.out[0].data)[3] > 1.00001F);
    test_group_close(&group);
}

static void test_slerp_takes_larger_groups_one_after_the_other(void **state)
{
    double first[2], c, s;

    (void)state;
    open_group(4);
    usage[1] = 0.2;
    usage[3] = 0.2;
    usage[5] = 0.2;
    usage[7] = 0;
    set_plane(0, 1, 0);
    set_plane(1, 0, 1);
    set_plane(2, -1, 0);
    set_plane(3, 5, 5); /* no token chose it */
    assert_int_equal(merge("usage"), 0);
    /* 45 degrees first; then one third of the 135 degrees that are left. */
    first[0] = first[1] = sqrt(0.5);
    c = sin(2.0 / 3 * 0.75 * acos(-1)) / sin(0.75 * acos(-1));
    s = sin(1.0 / 3 * 0.75 * acos(-1)) / sin(0.75 * acos(-1));
    expect_plane(c * first[0] - s, c * first[1]);
    usage[1] = 0; /* nor the first */
    assert_int_equal(merge("usage"), 0);
    expect_plane(-sqrt(0.5), sqrt(0.5));
    test_group_close(&group);
}

static void test_slerp_keeps_what_is_the_same_and_rounds_once(void **state)
{
    int64_t i;
    int part;

    (void)state;
    test_group_open(&group, &host, HCSMOE_DTYPE_BF16, 2, 6, 4, 1);
    for (part = 0; part < 3; part++)
        memcpy(group.in[part][1].data, group.in[part][0].data, 48);
    assert_int_equal(merge("equal"), 0);
    for (part = 0; part < 3; part++)
        for (i = 0; i < 24; i++)
            assert_int_equal(((const uint16_t *)group.out[part].data)[i],
                             ((const uint16_t *)group.in[part][0].data)[i]);
    test_group_close(&group);
}

static void test_slerp_counts_all_alike_in_a_dead_group_and_warns(void **state)
{
    (void)state;
    open_group(2);
    usage[1] = usage[3] = 0;
    set_plane(0, 1, 0);
    set_plane(1, 0, 1);
    assert_int_equal(merge("usage"), 0);
    expect_plane(sqrt(0.5), sqrt(0.5));
    assert_int_equal(host.log_level, HCSMOE_LOG_WARN);
    assert_string_equal(host.log,
                        "layer 5, group 2: no token chose any of its 2 experts: all count alike");
    host.log_level = -1;
    test_group_close(&group);
}

static void test_slerp_needs_usage_only_to_weigh_by_it(void **state)
{
    const hcsmoe_merge_ops *ops = slerp->ops;
    const hcsmoe_layer_dims dims = {.width = 10, .ffn = 20};
    hcsmoe_merge_cost cost = {.struct_size = sizeof cost};
    void *o = options_new(slerp);
    int allowed;

    (void)state;
    assert_int_equal(slerp->needs_for(o, 0), HCSMOE_STAT_WEIGHTS | HCSMOE_STAT_USAGE);
    option_set(slerp, o, "weights", "equal");
    assert_int_equal(slerp->needs_for(o, 0), HCSMOE_STAT_WEIGHTS);
    assert_int_equal(ops->cost(o, &host.abi, &dims, NULL, 3, &cost), 0);
    assert_int_equal(cost.bytes, 72);
    assert_true(cost.flops == 600 * (3 * 4 + 6));
    mem_free(o);
    open_group(2);
    for (allowed = 0; allowed < 4; allowed++) {
        host.alloc_allowed = allowed;
        assert_int_equal(merge("equal"), HCSMOE_ENOMEM);
    }
    host.alloc_allowed = -1;
    test_group_close(&group);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slerp_turns_from_one_to_the_other),
        cmocka_unit_test(test_slerp_is_linear_for_parallel_and_zero_matrices),
        cmocka_unit_test(test_slerp_takes_larger_groups_one_after_the_other),
        cmocka_unit_test(test_slerp_keeps_what_is_the_same_and_rounds_once),
        cmocka_unit_test(test_slerp_counts_all_alike_in_a_dead_group_and_warns),
        cmocka_unit_test(test_slerp_needs_usage_only_to_weigh_by_it),
    };

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
