/*
 * test_plugins_neurons.c - slim, select and lstsq: the worked example; matching of neurons.
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

static void test_gram_of_the_worked_example(void **state)
{
    static const double h[4][4] = {{0.6936404537, 0, 0, 0},
                                   {0.1799474570, 1.8581180859, 0, 0},
                                   {-0.2908450022, -0.4395760702, 0.6178050507, 0},
                                   {0.2196426370, 0.2247376749, 0.0532454795, 0.1722016188}};
    static const double c[2][4] = {{0.0776137536, -0.3419586774, 0.1877638328, 0.0714837486},
                                   {0.5743975475, 0.4706164681, -0.3122814770, 0.2149424166}};
    static const double d[4] = {0.4655767217, 0.3035243900, 0.0090893835, 0.0951322427};
    struct neurons self = {.o = opts};
    int64_t order[4] = {0, 1, 2, 3};
    struct work w;
    struct gram g;
    struct call call;
    int64_t i, j;
    int is_double;

    (void)state;
    for (is_double = 0; is_double < 2; is_double++) {
        self.bytes_most = is_double ? BYTES_MOST : 0;
        set_example(1, 2, 2);
        call_open(&call, &group);
        work_open(&w, &self, &host.abi, &call.args, 4);
        assert_int_equal(w.size, is_double ? 8 : 4);
        assert_int_equal(gram_open(&w, &g, order, 4), 0);
        assert_int_equal(gram_collect(&w, &g, NULL, NULL), 0);
        for (i = 0; i < 4; i++) {
            for (j = 0; j <= i; j++)
                assert_near(get(&w, g.h, i * 4 + j), h[i][j], 2e-7);
            for (j = 0; j < 2; j++)
                assert_near(get(&w, g.ct, i * 2 + j), c[j][i], 2e-7);
            assert_near(g.d[i], d[i], 2e-7);
            assert_near(g.diagonal[i], h[i][i], 2e-7);
        }
        assert_near(g.total, 0.7714349554, 3e-7);
        gram_close(&w, &g);
        call_close(&call);
        fake_host_leave(&host);
    }
}

static void test_select_gives_the_worked_example(void **state)
{
    static const double down[] = {0.1668674318, -0.1999437835, 0.7802969434, 0.1764969257};

    (void)state;
    opts->pool = 0;
    opts->select_block = 1;
    for (opts->selector = BACKWARD; opts->selector <= FORWARD; opts->selector++) {
        set_example(1, 2, 2);
        assert_int_equal(merge(select_best), 0);
        assert_memory_equal(group.out_gate, example_gate[1], sizeof example_gate[1]);
        assert_memory_equal(group.out_up, example_up[1], sizeof example_up[1]);
        check_floats(group.out_down, down, 4, 1e-6);
        assert_near(group.total, 0.7714349554, 3e-7);
        assert_near(group.loss, 0.1576306120, 3e-7);
        assert_int_equal(host.log_level, -1);
    }
}

static void test_select_eliminates_in_the_order_of_the_worked_example(void **state)
{
    static const int64_t left[4][4] = {{0}, {0}, {0, 1}, {0, 1, 3}}; /* 2 goes first, then 3 */
    struct neurons self = {.o = opts, .bytes_most = BYTES_MOST};
    int64_t order[4] = {0, 1, 2, 3}, kept[4];
    struct work w;
    struct gram g;
    struct call call;
    int64_t n, i;

    (void)state;
    opts->select_block = 1;
    for (n = 2; n < 4; n++) {
        set_example(1, 2, 2);
        call_open(&call, &group);
        work_open(&w, &self, &host.abi, &call.args, 4);
        w.kept = n;
        assert_int_equal(gram_open(&w, &g, order, 4), 0);
        assert_int_equal(gram_collect(&w, &g, NULL, NULL), 0);
        assert_int_equal(eliminate(&w, &g, kept), 0);
        for (i = 0; i < n; i++)
            assert_int_equal(kept[i], left[n][i]);
        gram_close(&w, &g);
        call_close(&call);
        fake_host_leave(&host);
    }
}

static void test_slim_gives_the_worked_example(void **state)
{
    static const int64_t kept[3] = {1, 0, 1};
    static const double down[3][2] = {
        {0.5337231409, 1.0000000000}, {0.0634891014, 1.0000000000}, {-0.2653761191, 1.1326880596}};
    int e;

    (void)state;
    for (e = 0; e < 3; e++) {
        set_example(e, 1, 1);
        assert_int_equal(merge(slim), 0);
        assert_memory_equal(group.out_gate, &example_gate[e][2 * kept[e]], 8);
        assert_memory_equal(group.out_up, &example_up[e][2 * kept[e]], 8);
        check_floats(group.out_down, down[e], 2, 1e-6);
        assert_true(group.loss < group.total);
    }
}

/* The sums over the tokens themselves, with what was written. */
static void check_loss(double tolerance)
{
    const float *gate = group.out_gate, *up = group.out_up, *down = group.out_down;
    double loss = 0, total = 0;
    int64_t t, d, i, k, e;

    for (t = 0; t < group.n_tokens; t++)
        for (d = 0; d < group.width; d++) {
            double r = 0, y = 0, s = 0;
            for (e = 0; e < group.members; e++) {
                const double w = (double)group.weights[t * group.members + e];
                s += w;
                for (i = 0; i < group.ffn; i++)
                    r += w * (double)group.down[e][d * group.ffn + i] *
                         (double)group.hidden[e][t * group.ffn + i];
            }
            for (i = 0; i < group.kept; i++) {
                double a = 0, u = 0;
                for (k = 0; k < group.width; k++) {
                    a += (double)gate[i * group.width + k] * (double)group.x[t * group.width + k];
                    u += (double)up[i * group.width + k] * (double)group.x[t * group.width + k];
                }
                y += s * (double)down[d * group.kept + i] * a / (1 + exp(-a)) * u;
            }
            loss += (r - y) * (r - y);
            total += r * r;
        }
    assert_near(group.loss, loss, tolerance * total);
    assert_near(group.total, total, tolerance * total);
}

static void test_loss_is_what_the_result_loses(void **state)
{
    int e;

    (void)state;
    opts->pool = 0;
    for (e = 0; e < 3; e++) {
        set_example(e, 1, 1);
        assert_int_equal(merge(slim), 0);
        check_loss(1e-6);
    }
    set_example(0, 3, 2);
    assert_int_equal(merge(select_best), 0);
    check_loss(1e-6);
    for (opts->lstsq_base = BASE_FREQ; opts->lstsq_base <= BASE_DOMINANT; opts->lstsq_base++) {
        set_example(0, 3, 2);
        assert_int_equal(merge(lstsq), 0);
        check_loss(1e-6);
    }
}

static void test_lstsq_gives_the_worked_example(void **state)
{
    static const float gate[] = {-.5F, .75F, .75F, .5F}, up[] = {0, .5F, .75F, .5F};
    static const double down[] = {0.5559727202, -0.3013042717, 2.0780112100, 0.2257272848};

    (void)state;
    for (opts->lstsq_base = BASE_FREQ; opts->lstsq_base <= BASE_MEAN; opts->lstsq_base++) {
        set_example(1, 2, 2);
        assert_int_equal(merge(lstsq), 0);
        assert_memory_equal(group.out_gate, gate, sizeof gate);
        assert_memory_equal(group.out_up, up, sizeof up);
        check_floats(group.out_down, down, 4, 3e-6);
        assert_near(group.loss, 0.2131025508, 3e-7);
        assert_near(group.total, 0.7714349554, 3e-7);
    }
}

static void test_lstsq_with_a_large_ridge_keeps_the_base(void **state)
{
    static const double down[] = {.75, -.5, .25, .5};

    (void)state;
    opts->ridge = 1e6;
    set_example(1, 2, 2);
    assert_int_equal(merge(lstsq), 0);
    check_floats(group.out_down, down, 4, 1e-5);
    assert_near(group.loss, 0.4916491373, 1e-5);
}

static void test_select_with_a_large_ridge_keeps_scaled_columns(void **state)
{
    static const double down[] = {0.3356037838, -0.1633504309, 0.6712075675, 0};

    (void)state;
    opts->ridge = 1e6;
    opts->pool = 0;
    set_example(1, 2, 2);
    assert_int_equal(merge(select_best), 0);
    check_floats(group.out_down, down, 4, 1e-5);
    assert_near(group.loss, 0.2570161670, 1e-5);
}

static void test_lstsq_base_dominant_takes_the_first_of_the_most_used(void **state)
{
    (void)state;
    opts->lstsq_base = BASE_DOMINANT;
    set_example(0, 3, 2);
    group.usage[1] = group.usage[2] = 0.375;
    assert_int_equal(merge(lstsq), 0);
    assert_memory_equal(group.out_gate, example_gate[1], sizeof example_gate[1]);
    assert_memory_equal(group.out_up, example_up[1], sizeof example_up[1]);
}

/* Member 1 is member 0 with its neurons in another order, and a little noise on the gate. */
static void set_permuted(int64_t n, const int64_t *to)
{
    int64_t i, d;

    group_release(&group);
    group_random(&host, &group, 2, 8, n, 300);
    for (i = 0; i < n; i++)
        for (d = 0; d < 8; d++) {
            group.gate[1][i * 8 + d] = group.gate[0][to[i] * 8 + d] * (1 + 0.001F * (float)(d % 3));
            group.up[1][i * 8 + d] = group.up[0][to[i] * 8 + d];
            group.down[1][d * n + i] = group.down[0][d * n + to[i]];
        }
    group.usage[0] = 0.75;
    group.usage[1] = 0.25;
    group_finish(&group);
}

static void test_lstsq_aligns_before_it_averages(void **state)
{
    static const int64_t to[] = {3, 0, 5, 1, 2, 4};
    const float *gate;
    double plain;
    int64_t i;

    (void)state;
    set_permuted(6, to);
    assert_int_equal(merge(lstsq), 0);
    plain = group.loss / group.total;
    assert_true(plain > 0.05);
    opts->lstsq_base = BASE_ALIGN;
    assert_int_equal(merge(lstsq), 0);
    assert_true(group.loss / group.total < 1e-4);
    gate = group.out_gate;
    for (i = 0; i < 6 * 8; i++)
        assert_near((double)gate[i], (double)group.gate[0][i] * (1 + 0.00025 * (double)(i % 8 % 3)),
                    1e-6);
    opts->lstsq_base = BASE_FIX_DOM_SAME;
    assert_int_equal(merge(lstsq), 0);
    assert_true(group.loss / group.total < 1e-4);
    gate = group.out_gate;
    for (i = 0; i < 6 * 8; i++)
        assert_near((double)gate[i], (double)group.gate[0][i] * (1 + 0.0005 * (double)(i % 8 % 3)),
                    1e-6);
    assert_int_equal(host.log_level, -1);
}

/* The clustering's core is what the others are matched to, in its own order. */
static void test_lstsq_matches_to_the_core(void **state)
{
    static const int64_t to[] = {3, 0, 5, 1, 2, 4};
    const float *up;

    (void)state;
    opts->lstsq_base = BASE_FIX_DOM_SAME;
    set_permuted(6, to);
    group.core = 1;
    assert_int_equal(merge(lstsq), 0);
    up = group.out_up;
    assert_memory_equal(up, group.up[1], 6 * 8 * sizeof *up);
}

static void test_match_takes_one_pass_when_memory_allows(void **state)
{
    float *first;

    (void)state;
    opts->lstsq_base = BASE_ALIGN;
    group_random(&host, &group, 4, 8, 6, 200);
    assert_int_equal(merge(lstsq), 0);
    assert_int_equal(group.calls, 2);
    first = group.out_gate;
    group.out_gate = NULL;
    assert_int_equal(group_merge(lstsq, 2 * 8 * 36), 0);
    assert_int_equal(group.calls, 3);
    assert_memory_equal(group.out_gate, first, 6 * 8 * sizeof *first);
    mem_free(first);
}

/* All permutations of n against the assignment. */
static double best_sum(const double *score, int64_t n, int64_t row, uint32_t taken)
{
    double best = row == n ? 0 : -INFINITY;
    int64_t j;

    for (j = 0; j < n && row < n; j++)
        if (!(taken >> j & 1))
            best = fmax(best,
                        score[row * n + j] + best_sum(score, n, row + 1, taken | (uint32_t)1 << j));
    return best;
}

static void test_assignment_is_the_best_of_all_permutations(void **state)
{
    double score[49];
    int32_t partner[7];
    int64_t n, j;
    int round;

    (void)state;
    for (round = 0; round < 200; round++) {
        double sum = 0;
        uint32_t taken = 0;
        n = 1 + round % 7;
        for (j = 0; j < n * n; j++)
            score[j] = round % 3 ? fake_uniform(&host) - 0.5 : floor(3 * fake_uniform(&host));
        assert_int_equal(assign_largest(&host.abi, n, score, partner), 0);
        for (j = 0; j < n; j++) {
            sum += score[partner[j] * n + j];
            taken |= (uint32_t)1 << partner[j];
        }
        assert_int_equal(taken, ((uint32_t)1 << n) - 1);
        assert_near(sum, best_sum(score, n, 0, 0), 1e-12);
        fake_host_leave(&host);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_gram_of_the_worked_example),
        CASE(test_select_gives_the_worked_example),
        CASE(test_select_eliminates_in_the_order_of_the_worked_example),
        CASE(test_slim_gives_the_worked_example),
        CASE(test_loss_is_what_the_result_loses),
        CASE(test_lstsq_gives_the_worked_example),
        CASE(test_lstsq_with_a_large_ridge_keeps_the_base),
        CASE(test_select_with_a_large_ridge_keeps_scaled_columns),
        CASE(test_lstsq_base_dominant_takes_the_first_of_the_most_used),
        CASE(test_lstsq_aligns_before_it_averages),
        CASE(test_lstsq_matches_to_the_core),
        CASE(test_match_takes_one_pass_when_memory_allows),
        CASE(test_assignment_is_the_best_of_all_permutations),
    };

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
