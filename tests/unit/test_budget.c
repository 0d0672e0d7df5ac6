/*
 * test_budget.c - the exact budget: worked example, ties, what it keeps, refusals.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cluster_test.h"

#include <hcsmoe/budget.h>

static struct fake_host host;
static struct budget budget;

static int host_setup(void **state)
{
    (void)state;
    fake_host_open(&host);
    return 0;
}

static int host_teardown(void **state)
{
    (void)state;
    fake_host_close(&host);
    return 0;
}

static hcsmoe_status decide(const double *const *scores)
{
    hcsmoe_status status = hcsmoe_budget_exact(&host.abi, &budget.args, scores);

    fake_host_leave(&host);
    return status;
}

static void test_budget_order_is_descending_with_ties_by_index(void **state)
{
    static const double score[] = {0.1, 0.3, 0.1, 0.5, 0.3, 0};
    int32_t order[6];

    (void)state;
    hcsmoe_budget_order(score, 6, order);
    assert_digits(order, "314025");
}

static void test_budget_gives_the_worked_example(void **state)
{
    /* algorithms.md 11.3; for n = 3 the tie at .10 goes to the lower layer. */
    static const double first[] = {.40, .30, .20, .10}, second[] = {.70, .15, .10, .05};
    static const double *const scores[] = {first, second};
    static const int64_t expected[][2] = {{1, 1}, {3, 1}, {4, 2}, {4, 4}};
    int64_t n;

    (void)state;
    for (n = 1; n <= 4; n++) {
        budget_init(&budget, 2, 4, n);
        assert_int_equal(decide(scores), 0);
        assert_int_equal(budget.layers[0].n_groups, expected[n - 1][0]);
        assert_int_equal(budget.layers[1].n_groups, expected[n - 1][1]);
    }
}

static void test_budget_keeps_one_group_in_a_layer_without_any_score(void **state)
{
    static const double none[4] = {0}, all[] = {4, 3, 2, 1};
    static const double *const scores[] = {none, all, none};

    (void)state;
    budget_init(&budget, 3, 4, 2);
    assert_int_equal(decide(scores), 0);
    assert_int_equal(budget.layers[0].n_groups, 1);
    assert_int_equal(budget.layers[1].n_groups, 4);
    assert_int_equal(budget.layers[2].n_groups, 1);
}

static void test_budget_by_usage_reads_the_usage_of_the_layers(void **state)
{
    static const double first[] = {.40, .30, .20, .10}, second[] = {.70, .15, .10, .05};

    (void)state;
    budget_init(&budget, 2, 4, 2);
    budget.stats[0].usage = first;
    budget.stats[1].usage = second;
    assert_int_equal(hcsmoe_budget_usage(&host.abi, &budget.args), 0);
    fake_host_leave(&host);
    assert_int_equal(budget.layers[0].n_groups, 3);
    assert_int_equal(budget.layers[1].n_groups, 1);
}

/* From the definition: the pool sorted, the best of each layer first. */
static void by_definition(int64_t n_layers, int64_t n_experts, int64_t total,
                          const double *const *scores, int64_t *n_groups)
{
    char taken[BUDGET_LAYERS_MAX][CLUSTER_EXPERTS_MAX] = {{0}};
    int64_t count, l, e;

    for (count = 0; count < total; count++) {
        int64_t best_l = -1, best_e = -1;
        for (l = 0; l < n_layers; l++)
            for (e = 0; e < n_experts; e++)
                if (!taken[l][e] && (count >= n_layers || l == count) &&
                    (best_l < 0 || scores[l][e] > scores[best_l][best_e])) {
                    best_l = l;
                    best_e = e;
                }
        taken[best_l][best_e] = 1;
        n_groups[best_l]++;
    }
}

static void test_budget_agrees_with_its_definition_on_scores_with_ties(void **state)
{
    double score[BUDGET_LAYERS_MAX][CLUSTER_EXPERTS_MAX];
    const double *scores[BUDGET_LAYERS_MAX];
    int round;
    int64_t l, e;

    (void)state;
    for (round = 0; round < 60; round++) {
        const int64_t n_layers = 1 + round % BUDGET_LAYERS_MAX, n = 1 + round % 11;
        const int64_t wanted = 1 + (int64_t)(fake_uniform(&host) * (double)n);
        int64_t expected[BUDGET_LAYERS_MAX] = {0}, sum = 0;
        for (l = 0; l < n_layers; l++) {
            for (e = 0; e < n; e++)
                score[l][e] = floor(fake_uniform(&host) * 8);
            scores[l] = score[l];
        }
        budget_init(&budget, n_layers, n, wanted);
        assert_int_equal(decide(scores), 0);
        by_definition(n_layers, n, wanted * n_layers, scores, expected);
        for (l = 0; l < n_layers; l++) {
            assert_int_equal(budget.layers[l].n_groups, expected[l]);
            sum += budget.layers[l].n_groups;
        }
        assert_int_equal(sum, wanted * n_layers);
    }
}

static void test_budget_takes_layers_of_different_sizes(void **state)
{
    static const double small[] = {9, 8}, large[] = {7, 6, 5, 4, 3, 2};
    static const double *const scores[] = {small, large};

    (void)state;
    budget_init(&budget, 2, 6, 2);
    budget.dims[0].n_experts = 2;
    assert_int_equal(decide(scores), 0);
    assert_int_equal(budget.layers[0].n_groups, 2);
    assert_int_equal(budget.layers[1].n_groups, 2);
}

static void test_budget_refuses_scores_that_are_not_numbers(void **state)
{
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    double first[] = {1, 2}, second[] = {3, 4};
    const double *const scores[] = {first, second};
    size_t i;

    (void)state;
    for (i = 0; i < 3; i++) {
        budget_init(&budget, 2, 2, 1);
        second[1] = bad[i];
        assert_int_equal(decide(scores), HCSMOE_EFAILED);
        assert_non_null(strstr(host.message, "layer 3: the score of expert 1 is "));
    }
}

static void test_budget_reports_missing_memory(void **state)
{
    static const double one[] = {1, 2};
    static const double *const scores[] = {one};

    (void)state;
    budget_init(&budget, 1, 2, 1);
    budget.stats[0].usage = one;
    host.alloc_allowed = 0;
    assert_int_equal(decide(scores), HCSMOE_ENOMEM);
    assert_int_equal(hcsmoe_budget_usage(&host.abi, &budget.args), HCSMOE_ENOMEM);
    host.alloc_allowed = -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_budget_order_is_descending_with_ties_by_index),
        cmocka_unit_test(test_budget_gives_the_worked_example),
        cmocka_unit_test(test_budget_keeps_one_group_in_a_layer_without_any_score),
        cmocka_unit_test(test_budget_by_usage_reads_the_usage_of_the_layers),
        cmocka_unit_test(test_budget_agrees_with_its_definition_on_scores_with_ties),
        cmocka_unit_test(test_budget_takes_layers_of_different_sizes),
        cmocka_unit_test(test_budget_refuses_scores_that_are_not_numbers),
        cmocka_unit_test(test_budget_reports_missing_memory),
    };

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
