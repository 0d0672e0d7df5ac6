/*
 * test_plugins_weighted.c - the plain mean of a group, and the one in which its core counts otherwise.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin_test.h"

#include "merge_test.h"

static struct fake_host host;
static const hcsmoe_component *mean, *weighted;
static struct test_group group;

static int host_setup(void **state)
{
    (void)state;
    fake_host_open(&host);
    host.kernels = kernels_load(&host, &host.abi);
    mean = plugin_load(&host, "hcsmoe-merge-mean.so");
    weighted = plugin_load(&host, "hcsmoe-merge-weighted.so");
    test_group_open(&group, &host, HCSMOE_DTYPE_F32, 3, 7, 5, 1);
    group.args.core = 3; /* the second member */
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

static hcsmoe_status merge_weighted(const char *mode)
{
    const hcsmoe_merge_ops *ops = weighted->ops;
    void *o = options_new(weighted), *self = NULL;
    hcsmoe_status status;

    option_set(weighted, o, "mode", mode);
    status = weighted->create(&host.abi, o, &self);
    if (status == HCSMOE_OK) {
        status = ops->merge(self, &host.abi, &group.args);
        weighted->destroy(&host.abi, self);
    }
    fake_host_leave(&host);
    mem_free(o);
    return status;
}

static void test_mean_is_the_plain_mean(void **state)
{
    static const double third[] = {1.0 / 3, 1.0 / 3, 1.0 / 3};
    const hcsmoe_merge_ops *ops = mean->ops;

    (void)state;
    assert_int_equal(ops->merge(NULL, &host.abi, &group.args), 0);
    fake_host_leave(&host);
    test_group_is_mean(&group, third, 1e-6);
    assert_int_equal(mean->needs, HCSMOE_STAT_WEIGHTS); /* no forward pass */
    assert_int_equal(ops->singletons, 0);
    host.alloc_allowed = 1;
    assert_int_equal(ops->merge(NULL, &host.abi, &group.args), HCSMOE_ENOMEM);
    host.alloc_allowed = -1;
    fake_host_leave(&host);
}

static void test_weighted_counts_the_core_x_and_others_y(void **state)
{
    static const struct {
        const char *mode;
        double share[3];
    } cases[] = {
        {"1,1", {1.0 / 3, 1.0 / 3, 1.0 / 3}},
        {"3,1", {0.2, 0.6, 0.2}},
        {" 0.5 , .25 ", {0.25, 0.5, 0.25}},
        {"1e-300,0", {0, 1, 0}},
        {"0,2", {0.5, 0, 0.5}},
        {"1e308,1e308", {1.0 / 3, 1.0 / 3, 1.0 / 3}},
        {"4e-3,2e-3", {0.25, 0.5, 0.25}},
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(merge_weighted(cases[i].mode), 0);
        test_group_is_mean(&group, cases[i].share, 1e-6);
    }
    assert_int_equal(weighted->needs, HCSMOE_STAT_WEIGHTS);
    assert_true(weighted->caps & HCSMOE_CAP_CORES_IN);
}

static void test_weighted_takes_two_numbers_and_nothing_else(void **state)
{
    static const char *const modes[] = {"",      "1",   "1,",    "1,1,1", "-1,2",    "1,-2",
                                        "0,0",   "1;1", "nan,1", "inf,1", "1 1",     "x,y",
                                        "1,1 x", ",1",  "1,,1",  "+1,1",  "1e999,1", "normal"};
    char expected[512];
    size_t i;

    (void)state;
    for (i = 0; i < sizeof modes / sizeof *modes; i++) {
        assert_int_equal(merge_weighted(modes[i]), HCSMOE_EINVAL);
        (void)snprintf(expected, sizeof expected,
                       "mode = %s: must be two numbers x,y (the core's weight and the others'), "
                       "not negative and not both 0, such as 3,1",
                       modes[i]);
        assert_string_equal(host.message, expected);
    }
    assert_true(option_of(weighted, "mode")->flags & HCSMOE_OPTION_REQUIRED);
}

static void test_weighted_refuses_a_core_outside_the_group(void **state)
{
    (void)state;
    group.args.core = 2;
    assert_int_equal(merge_weighted("1,1"), HCSMOE_EINVAL);
    assert_string_equal(host.message, "group 2: its core is expert 2, which is not in it");
    group.args.core = 3;
}

static void test_weighted_says_so_when_memory_lacks(void **state)
{
    int allowed;

    (void)state;
    for (allowed = 0; allowed < 3; allowed++) {
        host.alloc_allowed = allowed;
        assert_int_equal(merge_weighted("1,1"), HCSMOE_ENOMEM);
    }
    host.alloc_allowed = -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mean_is_the_plain_mean),
        cmocka_unit_test(test_weighted_counts_the_core_x_and_others_y),
        cmocka_unit_test(test_weighted_takes_two_numbers_and_nothing_else),
        cmocka_unit_test(test_weighted_refuses_a_core_outside_the_group),
        cmocka_unit_test(test_weighted_says_so_when_memory_lacks),
    };

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
