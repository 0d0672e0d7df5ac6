/*
 * test_matching.c - inside zipit and fix-dom-same: the greedy loop, the slots, the pool of tokens.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin_test.h"

#include "merge_test.h"

#include "matching.h"

static struct fake_host host;

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

/* A matrix of n_blocks blocks whose entries (i, j) the caller gives; both halves of diagonal blocks. */
static struct matrix matrix_new(int64_t block, int64_t n_blocks, int32_t wide,
                                double (*value)(int64_t i, int64_t j))
{
    struct matrix c = {.block = block, .n_blocks = n_blocks, .wide = wide};
    int64_t i, j;

    c.data = mem_new((size_t)(n_blocks * (n_blocks + 1) / 2 * block * block), sizeof(double));
    assert_non_null(c.data);
    for (i = 0; i < block * n_blocks; i++)
        for (j = 0; j / block <= i / block; j++)
            matrix_set(&c, matrix_block(&c, i / block, j / block) + i % block * block + j % block,
                       value(i > j ? i : j, i > j ? j : i));
    return c;
}

/* The four features of section 11.6 of the specification: two of each expert. */
static double worked_value(int64_t i, int64_t j)
{
    static const double c[4][4] = {{0}, {-0.5}, {0.9, -0.2}, {0.8, 0.1, 0.7}};

    return i < 4 && i != j ? c[i][j] : 1e9; /* diagonal and filling must never be looked at */
}

/* Which features make the two slots, and what weights 1, 2, 3, 4 become. */
static void worked(int64_t mode, double first, double second)
{
    static const double weight[] = {1, 2, 3, 4};
    static const int64_t expected_first[] = {0, 2, 4}, expected[] = {0, 2, 1, 3};
    const hcsmoe_layer_dims dims = {.ffn = 2};
    const int64_t routed[] = {3, 1};
    const hcsmoe_merge_args a = {.dims = &dims, .n_members = 2, .routed = routed};
    const matching_opts o = {.mode = mode};
    const struct matching m = {.h = &host.abi, .a = &a, .o = &o};
    struct correlation x = {.side_blocks = 1};
    struct combination c = {0};
    /* Each expert's features begin with a block of 16. */
    struct matrix narrow = matrix_new(4, 1, 1, worked_value);
    unsigned char present[4] = {1, 1, 1, 1};
    int64_t into[4], padded[32], i;
    double sum[2] = {0};

    assert_int_equal(greedy_merge(&host.abi, &narrow, 2, present, into), 0);
    mem_free(narrow.data);
    assert_true(into[0] == 0 && into[1] == 1 && into[2] == 0 && into[3] == 1);
    assert_true(present[0] && present[1] && !present[2] && !present[3]);
    x.c.block = 16;
    for (i = 0; i < 32; i++)
        padded[i] = i;
    for (i = 0; i < 4; i++)
        padded[i / 2 * 16 + i % 2] = into[i] / 2 * 16 + into[i] % 2;
    assert_int_equal(zipit_slots(&m, &x, padded, &c), 0);
    assert_int_equal(c.n_slots, 2);
    assert_memory_equal(c.first, expected_first, sizeof expected_first);
    assert_memory_equal(c.feature, expected, sizeof expected);
    for (i = 0; i < 4; i++)
        sum[i / 2] += c.coefficient[i] * weight[c.feature[i]];
    assert_near(sum[0], first, 1e-15);
    assert_near(sum[1], second, 1e-15);
    fake_host_leave(&host);
}

static void test_zipit_gives_the_worked_example_with_equal_weights(void **state)
{
    (void)state;
    worked(0, 2, 3);
}

static void test_zipit_gives_the_worked_example_with_input_weights(void **state)
{
    (void)state;
    worked(MODE_SHARES, 1.5, 2.5);
}

/* The published loop, word for word: the first largest of all remaining pairs, again and again. */
static void naive_greedy(double *c, int64_t n, int64_t merges, unsigned char *present,
                         int64_t *into)
{
    int64_t i, j, k, a, b;

    for (i = 0; i < n; i++)
        into[i] = i;
    for (; merges > 0; merges--) {
        double best = -INFINITY;
        a = b = -1;
        for (i = 0; i < n; i++)
            for (j = i + 1; j < n; j++)
                if (present[i] && present[j] && c[i * n + j] > best) {
                    best = c[i * n + j];
                    a = i;
                    b = j;
                }
        for (k = 0; k < n; k++)
            if (present[k] && k != a && k != b)
                c[a * n + k] = c[k * n + a] = 0.1 * fmin(c[a * n + k], c[b * n + k]);
        present[b] = 0;
        into[b] = a;
    }
}

/* Values are multiples of 1/draw_steps, few steps making many ties; 0: none are alike. */
static int64_t draw_steps;
static uint64_t draw_seed;

static double drawn_value(int64_t i, int64_t j)
{
    struct fake_host t = {.random = draw_seed + (uint64_t)(i * 64 + j)};
    double u;

    t.abi.ctx = &t;
    if (i == j)
        return 1e9;
    u = 2 * fake_uniform(&t) - 1;
    return draw_steps ? round(u * (double)draw_steps) / (double)draw_steps : u;
}

/* A matrix of features, some of the rows being none; kept in full beside it. */
static void greedy_case(const hcsmoe_host *h, int64_t block, int64_t n_blocks, int64_t absent_from,
                        int64_t merges)
{
    struct matrix c;
    const int64_t n = block * n_blocks;
    double *full = mem_new((size_t)(n * n), sizeof *full);
    unsigned char present[64], expected_present[64];
    int64_t into[64], expected_into[64], i, j;

    assert_true(n <= 64);
    draw_seed = fake_random(&host.abi);
    c = matrix_new(block, n_blocks, 1, drawn_value);
    for (i = 0; i < n; i++) {
        present[i] = expected_present[i] = i % block < absent_from;
        for (j = 0; j < i; j++)
            full[i * n + j] = full[j * n + i] = matrix_get(
                &c, matrix_block(&c, i / block, j / block) + i % block * block + j % block);
    }
    naive_greedy(full, n, merges, expected_present, expected_into);
    assert_int_equal(greedy_merge(h, &c, merges, present, into), 0);
    assert_memory_equal(present, expected_present, (size_t)n);
    assert_memory_equal(into, expected_into, (size_t)n * sizeof *into);
    mem_free(full);
    mem_free(c.data);
    fake_host_leave(&host);
}

static void test_greedy_with_a_cache_merges_as_the_naive_loop_does(void **state)
{
    static const int64_t steps[] = {0, 1000, 7, 3, 1};
    size_t s;
    int i;

    (void)state;
    for (s = 0; s < sizeof steps / sizeof *steps; s++) {
        draw_steps = steps[s];
        for (i = 0; i < 40; i++) {
            greedy_case(&host.abi, 12, 5, 12,
                        30 + i % 30);              /* several blocks, down to one feature */
            greedy_case(&host.abi, 16, 3, 11, 20); /* blocks that are not full */
            greedy_case(&host.abi, 1, 20, 1, 10);  /* blocks of one */
            greedy_case(&host.abi, 20, 1, 20, 19);
        }
    }
}

/* 16 blocks are enough for the loop to be divided among threads. */
static void test_greedy_on_threads_merges_as_the_naive_loop_does(void **state)
{
    struct host *h;
    int i;

    (void)state;
    assert_int_equal(host_open(&h, 2, 0), 0);
    for (i = 0; i < 60; i++) {
        draw_steps = i % 3 * 3;
        host_enter(h, "test", 0);
        greedy_case(&h->abi, 4, 16, i % 2 ? 4 : 3, 40);
        assert_int_equal(host_leave(h, 0), 0);
    }
    host_close(h);
}

static void test_greedy_in_float_rounds_and_merges_alike(void **state)
{
    struct matrix c;
    unsigned char present[4] = {1, 1, 1, 1};
    int64_t into[4];

    (void)state;
    c = matrix_new(2, 2, 0, worked_value);
    assert_int_equal(greedy_merge(&host.abi, &c, 2, present, into), 0);
    assert_true(into[0] == 0 && into[1] == 1 && into[2] == 0 && into[3] == 1);
    assert_near(matrix_get(&c, 2), (double)(float)-0.005, 1e-9); /* C10 after both steps */
    mem_free(c.data);
    fake_host_leave(&host);
}

/* Section 11.7: rows the core's features, columns the other expert's. */
static const double worked_match[3][3] = {{0.2, 0.9, 0.1}, {0.5, 0.4, 0.3}, {0.1, 0.95, 0.3}};

static void test_fix_dom_same_matches_the_worked_example(void **state)
{
    double data[9];
    int64_t match[3], i, j;
    struct correlation c = {.side_blocks = 1};
    const hcsmoe_layer_dims dims = {.ffn = 3};
    const hcsmoe_merge_args a = {.dims = &dims};
    const struct matching m = {.a = &a};

    (void)state;
    for (i = 0; i < 3; i++)
        for (j = 0; j < 3; j++)
            data[j * 3 + i] = worked_match[i][j];
    c.m = &m;
    c.c = (struct matrix){.data = data, .block = 3, .n_blocks = 2, .wide = 1, .rectangle = 1};
    fix_matches(&c, 3, match);
    assert_true(match[0] == 1 && match[1] == 2 && match[2] == 1);
}

/* The first of equal ones, over the bounds of blocks and below zero. */
static void test_fix_dom_same_matches_over_several_blocks(void **state)
{
    float data[4 * 4];
    int64_t match[4], i;
    struct correlation c = {.side_blocks = 2};
    const hcsmoe_layer_dims dims = {.ffn = 4};
    const hcsmoe_merge_args a = {.dims = &dims};
    const struct matching m = {.a = &a};

    (void)state;
    for (i = 0; i < 16; i++)
        data[i] = -0.5F;
    c.m = &m;
    c.c = (struct matrix){.data = data, .block = 2, .n_blocks = 4, .rectangle = 1};
    data[matrix_block(&c.c, 2, 1) + 0 * 2 + 1] = 0.25F; /* feature 0 with the core's 3 */
    data[matrix_block(&c.c, 3, 1) + 0 * 2 + 0] = -0.1F; /* 2 with 2 */
    data[matrix_block(&c.c, 3, 0) + 1 * 2 + 1] = 0.5F;  /* 3 with 1, and with 2 */
    data[matrix_block(&c.c, 3, 1) + 1 * 2 + 0] = 0.5F;
    fix_matches(&c, 4, match);
    assert_true(match[0] == 3 && match[1] == 0 && match[2] == 2 && match[3] == 1);
}

/* share of the core and the other; what weights 1, 2, 3 and 10, 20, 30 become. The core may come
 * second. */
static void slots_case(double share_core, double share_other, int64_t core, const double *expected)
{
    static const double weight[2][3] = {{1, 2, 3}, {10, 20, 30}};
    static const int64_t match_core[] = {0, 1, 2}, match_other[] = {1, 2, 1};
    const hcsmoe_layer_dims dims = {.ffn = 3};
    const hcsmoe_merge_args a = {.dims = &dims, .n_members = 2};
    const struct matching m = {.h = &host.abi, .a = &a};
    const double share[] = {core == 0 ? share_core : share_other,
                            core == 0 ? share_other : share_core};
    int64_t match[6], first[4], feature[6], next[3], s, i;
    double coefficient[6], sum[3];
    struct combination c = {.first = first, .feature = feature, .coefficient = coefficient};

    memcpy(match + 3 * core, match_core, sizeof match_core);
    memcpy(match + 3 * (1 - core), match_other, sizeof match_other);
    fix_slots(&m, match, core, share, next, sum, &c);
    assert_int_equal(c.n_slots, 3);
    for (s = 0; s < 3; s++) {
        double got = 0;
        assert_int_equal(feature[first[s]], core * 3 + s); /* the core's own comes first */
        for (i = first[s]; i < first[s + 1]; i++)
            got += coefficient[i] * weight[feature[i] / 3 != core][feature[i] % 3];
        assert_near(got, expected[s], 1e-14);
    }
}

static void test_fix_dom_same_gives_the_worked_example(void **state)
{
    static const double equal[] = {1, 14, 11.5}, core[] = {1, 17.2 / 1.4, 9.8},
                        other[] = {1, 15.5, 13.2};

    (void)state;
    slots_case(1, 1, 0, equal);
    slots_case(0.6, 0.4, 0, core);
    slots_case(0.4, 0.6, 0, other);
    slots_case(0.6, 0.4, 1, core);
    slots_case(0.4, 0.6, 1, other);
}

/* Rows without weight keep the core's feature. */
static void test_fix_dom_same_keeps_the_core_where_nothing_counts(void **state)
{
    static const double only_other[] = {1, 20, 20}, nothing[] = {1, 2, 3};

    (void)state;
    slots_case(0, 1, 0, only_other);
    slots_case(0, 0, 0, nothing);
    slots_case(0, 0, 1, nothing);
}

/* Everything that a pool shows, in order. */
struct shown {
    int64_t n, calls, width;
    double times;
    float first[4096]; /* element 0 of each row */
};

static hcsmoe_status show(void *arg, const struct pool_rows *rows)
{
    struct shown *s = arg;
    int64_t i;

    assert_in_range(rows->n, 1, MATCHING_ROWS);
    s->calls++;
    for (i = 0; i < rows->n; i++) {
        assert_true(s->n < 4096);
        s->first[s->n++] = rows->x[i * s->width];
        s->times += rows->times[i];
    }
    return HCSMOE_OK;
}

static void test_pool_counts_a_token_of_two_members_twice(void **state)
{
    struct test_group g;
    struct shown s = {.width = 3};
    matching_opts o = {0};
    struct matching m = {.h = &host.abi, .a = &g.args, .o = &o};
    struct pool p;
    int64_t i, n = 0;

    (void)state;
    test_group_open(&g, &host, HCSMOE_DTYPE_F32, 3, 3, 4, 2500);
    assert_int_equal(pool_open(&p, &m), 0);
    assert_int_equal(p.n_rows, 3000); /* every fifth is there twice */
    assert_int_equal(pool_each(&p, 1, show, &s), 0);
    assert_int_equal(s.n, 2500);
    assert_int_equal(s.calls, 3); /* put together to 1024 rows */
    assert_true(s.times == 3000);
    for (i = 0; i < s.n; i++)
        assert_true(s.first[i] == g.x[3 * i]);
    /* Scaled, each of the two rows has a factor of its own. */
    o.mode = MODE_SCALED;
    s.n = 0;
    s.times = 0;
    assert_int_equal(pool_each(&p, 1, show, &s), 0);
    assert_int_equal(s.n, 3000);
    assert_true(s.times == 3000);
    for (i = 0; i < 2500 * 3; i++)
        if (g.weights[i] != 0)
            assert_true(s.first[n++] == g.probabilities[i] * g.x[i / 3 * 3]);
    assert_int_equal(n, 3000);
    /* A sample: every seventh. */
    o.mode = 0;
    s.n = 0;
    assert_int_equal(pool_each(&p, 7, show, &s), 0);
    assert_int_equal(s.n, 358);
    assert_true(s.first[2] == g.x[3 * 14]);
    test_group_close(&g);
    fake_host_leave(&host);
}

static void test_pool_draws_exactly_data_limit_rows_each_as_often(void **state)
{
    struct test_group g;
    matching_opts o = {.mode = MODE_SCALED, .data_limit = 4};
    struct matching m = {.h = &host.abi, .a = &g.args, .o = &o};
    struct pool p;
    int64_t often[12] = {0}, i, run;

    (void)state;
    test_group_open(&g, &host, HCSMOE_DTYPE_F32, 2, 3, 4, 10);
    for (run = 0; run < 3000; run++) {
        struct shown s = {.width = 3};
        int64_t taken = 0;
        assert_int_equal(pool_open(&p, &m), 0);
        assert_int_equal(p.n_rows, 4);
        for (i = 0; i < 12; i++) {
            taken += p.taken[i];
            often[i] += p.taken[i];
        }
        assert_int_equal(taken, 4);
        assert_int_equal(pool_each(&p, 1, show, &s), 0);
        assert_int_equal(s.n, 4);
        fake_host_leave(&host);
    }
    for (i = 0; i < 12; i++) /* 1000 expected, standard deviation 26 */
        assert_in_range(often[i], 870, 1130);
    o.data_limit = 12; /* as many as there are: nothing is drawn */
    assert_int_equal(pool_open(&p, &m), 0);
    assert_null(p.taken);
    o.data_limit = 0;
    assert_int_equal(pool_open(&p, &m), 0);
    assert_true(p.n_rows == 12 && !p.taken);
    test_group_close(&g);
    fake_host_leave(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zipit_gives_the_worked_example_with_equal_weights),
        cmocka_unit_test(test_zipit_gives_the_worked_example_with_input_weights),
        cmocka_unit_test(test_greedy_with_a_cache_merges_as_the_naive_loop_does),
        cmocka_unit_test(test_greedy_on_threads_merges_as_the_naive_loop_does),
        cmocka_unit_test(test_greedy_in_float_rounds_and_merges_alike),
        cmocka_unit_test(test_fix_dom_same_matches_the_worked_example),
        cmocka_unit_test(test_fix_dom_same_matches_over_several_blocks),
        cmocka_unit_test(test_fix_dom_same_gives_the_worked_example),
        cmocka_unit_test(test_fix_dom_same_keeps_the_core_where_nothing_counts),
        cmocka_unit_test(test_pool_counts_a_token_of_two_members_twice),
        cmocka_unit_test(test_pool_draws_exactly_data_limit_rows_each_as_often),
    };

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
