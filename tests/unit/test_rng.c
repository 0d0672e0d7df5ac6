/*
 * test_rng.c - NumPy's and CPython's generators against numbers that those programs gave.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <zlib.h>

#include "base/mem.h"
#include "base/rng.h"

/* Last: it has a macro fail() of its own. */
#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void test_pcg64_is_seeded_as_numpy_does(void **state)
{
    struct pcg64 g;

    (void)state;
    pcg64_seed(&g, 42);
    assert_true((uint64_t)(g.state >> 64) == 0xcea44f6798798f2a);
    assert_true((uint64_t)g.state == 0xacbc7c9d68860ac8);
    assert_true((uint64_t)(g.inc >> 64) == 0xfa505436c9a8416e);
    assert_true((uint64_t)g.inc == 0x66caf2e28d25abff);
}

static void test_pcg64_gives_numpys_words(void **state)
{
    static const uint64_t words[] = {0xc621fbcd16d92688, 0x705a5661a791ffc1, 0xdbcd12c26eda1624,
                                     0xb286b60e1600888d};
    static const uint32_t halves[] = {0x16d92688, 0xc621fbcd, 0xa791ffc1, 0x705a5661};
    struct pcg64 g;

    (void)state;
    pcg64_seed(&g, 42);
    for (size_t i = 0; i < COUNT(words); i++) {
        assert_true(pcg64_next64(&g) == words[i]);
    }
    pcg64_seed(&g, 42);
    for (size_t i = 0; i < COUNT(halves); i++) {
        assert_int_equal(pcg64_next32(&g), halves[i]);
    }
}

static void test_pcg64_keeps_the_half_across_64_bit_words(void **state)
{
    struct pcg64 g;

    (void)state;
    pcg64_seed(&g, 42);
    assert_int_equal(pcg64_next32(&g), 0x16d92688);
    assert_true(pcg64_next64(&g) == 0x705a5661a791ffc1);
    assert_int_equal(pcg64_next32(&g), 0xc621fbcd);
}

static void test_pcg64_real_is_53_bits_below_one(void **state)
{
    struct pcg64 g;

    (void)state;
    pcg64_seed(&g, 42);
    assert_true(pcg64_real(&g) == (double)(0xc621fbcd16d92688 >> 11) / 9007199254740992.0);
    for (int i = 0; i < 1000; i++) {
        double x = pcg64_real(&g);
        assert_true(x >= 0 && x < 1);
    }
}

static void test_pcg64_interval_stays_inside(void **state)
{
    static const uint64_t ends[] = {1, 2, 9, UINT32_MAX, (uint64_t)UINT32_MAX + 1, UINT64_MAX};
    struct pcg64 g;

    (void)state;
    pcg64_seed(&g, 42);
    assert_int_equal(pcg64_interval(&g, 0), 0); /* draws nothing */
    assert_int_equal(pcg64_interval(&g, UINT32_MAX), 0x16d92688);
    for (size_t i = 0; i < COUNT(ends); i++) {
        for (int k = 0; k < 100; k++) {
            assert_true(pcg64_interval(&g, ends[i]) <= ends[i]);
        }
    }
    pcg64_seed(&g, 42);
    assert_true(pcg64_interval(&g, UINT64_MAX) == 0xc621fbcd16d92688);
}

static void test_permutations_of_small_sets(void **state)
{
    static const struct {
        uint64_t seed;
        int64_t n;
        int64_t order[30];
    } cases[] = {
        {42, 1, {0}},
        {42, 2, {1, 0}},
        {42, 5, {4, 2, 3, 1, 0}},
        {42, 10, {5, 6, 0, 7, 3, 2, 4, 9, 1, 8}},
        {42, 16, {6, 15, 11, 10, 9, 3, 0, 7, 12, 5, 2, 4, 14, 1, 13, 8}},
        {42, 20, {15, 9, 14, 7, 12, 10, 6, 19, 3, 0, 16, 5, 11, 18, 2, 4, 17, 1, 13, 8}},
        {1234, 30, {28, 5,  10, 11, 24, 9,  17, 12, 0, 25, 27, 3,  22, 8,  15,
                    13, 2,  16, 21, 29, 7,  6,  4,  18, 14, 20, 23, 1,  19, 26}},
        {0, 5, {2, 4, 3, 0, 1}},
        {(UINT64_C(1) << 40) + 7, 8, {7, 3, 4, 6, 1, 5, 0, 2}},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t out[30];
        pcg64_permutation(cases[i].seed, cases[i].n, out);
        assert_memory_equal(out, cases[i].order, (size_t)cases[i].n * sizeof out[0]);
    }
    pcg64_permutation(42, 0, NULL);
}

static void test_permutation_of_a_thousand(void **state)
{
    static const int64_t head[] = {978, 933, 859, 916, 127, 608, 856, 260, 147, 810};
    static const int64_t tail[] = {961, 973, 648};
    int64_t out[1000];

    (void)state;
    pcg64_permutation(42, 1000, out);
    assert_memory_equal(out, head, sizeof head);
    assert_memory_equal(out + 997, tail, sizeof tail);
    assert_int_equal(crc32(0, (const unsigned char *)out, sizeof out), 0x4ed8c3ae);
}

static void test_permutation_of_the_calibration_documents(void **state)
{
    enum { N = 356317 };
    static const int64_t head[] = {193541, 151745, 272016, 315603, 350671, 135860, 125853, 231200};
    static const int64_t tail[] = {131009, 129997, 75400};

    (void)state;
    int64_t *out = mem_new(N, sizeof *out);
    assert_non_null(out);
    pcg64_permutation(42, N, out);
    assert_memory_equal(out, head, sizeof head);
    assert_int_equal(out[511], 223432);
    assert_int_equal(out[512], 243273);
    assert_memory_equal(out + N - 3, tail, sizeof tail);
    assert_int_equal(crc32(0, (const unsigned char *)out, N * sizeof *out), 0x05b06134);
    mem_free(out);
}

static void test_mt19937_gives_cpythons_words(void **state)
{
    static const uint32_t words[] = {4150886329, 3342196574, 1892932127, 501869158, 32175636,
                                     389311301};
    static const uint32_t words_0[] = {3626764237, 1654615998, 3255389356, 3823568514};
    static const uint32_t bits_16[] = {63337, 50997, 28883, 7657};
    struct mt19937 g;

    (void)state;
    mt19937_seed(&g, 1234);
    for (size_t i = 0; i < COUNT(words); i++) {
        assert_int_equal(mt19937_next(&g), words[i]);
    }
    mt19937_seed(&g, 0);
    for (size_t i = 0; i < COUNT(words_0); i++) {
        assert_int_equal(mt19937_next(&g), words_0[i]);
    }
    mt19937_seed(&g, 1234);
    for (size_t i = 0; i < COUNT(bits_16); i++) {
        assert_int_equal(mt19937_next(&g) >> 16, bits_16[i]);
    }
}

static void test_mt19937_below_takes_the_bits_of_n_itself(void **state)
{
    struct mt19937 g;

    (void)state;
    mt19937_seed(&g, 1234);
    assert_int_equal(mt19937_below(&g, 0), 0); /* draws nothing */
    /* 65536 has 17 bits, so the first two words give 126675 and 101995: redrawn. */
    assert_int_equal(mt19937_below(&g, 65536), 1892932127u >> 15);
    /* More than 32 bits: low word first, the rest from the top of the next. */
    mt19937_seed(&g, 1234);
    assert_true(mt19937_below(&g, UINT64_MAX) == ((uint64_t)3342196574u << 32 | 4150886329u));
    for (int i = 0; i < 100; i++) {
        assert_true(mt19937_below(&g, (UINT64_C(1) << 32) + 5) < (UINT64_C(1) << 32) + 5);
        assert_int_equal(mt19937_below(&g, 1), 0);
    }
}

static void assert_sample(struct mt19937 *g, int64_t n, int64_t k, const int64_t *expected)
{
    int64_t out[32];

    assert_int_equal(mt19937_sample(g, n, k, out), 0);
    assert_memory_equal(out, expected, (size_t)k * sizeof out[0]);
}

static void test_mt19937_samples_as_cpython(void **state)
{
    static const struct {
        int64_t n, k;
        int64_t draws[20];
    } fresh[] = {
        {21, 5, {14, 3, 0, 2, 1}},
        {22, 5, {14, 3, 0, 2, 18}},
        {5, 5, {3, 0, 4, 2, 1}},
        {22, 20, {14, 3, 0, 2, 1, 18, 20, 12, 5, 15, 19, 11, 10, 13, 7, 4, 21, 17, 9, 8}},
    };
    static const int64_t of_10[3][3] = {{7, 1, 0}, {1, 0, 9}, {1, 5, 3}};
    static const int64_t of_60[2][10] = {{49, 28, 7, 0, 5, 51, 37, 2, 42, 44},
                                         {5, 6, 49, 22, 15, 1, 54, 50, 53, 56}};
    struct mt19937 g;

    (void)state;
    for (size_t i = 0; i < COUNT(fresh); i++) {
        mt19937_seed(&g, 1234);
        assert_sample(&g, fresh[i].n, fresh[i].k, fresh[i].draws);
    }
    mt19937_seed(&g, 1234);
    for (size_t i = 0; i < 3; i++) {
        assert_sample(&g, 10, 3, of_10[i]);
    }
    mt19937_seed(&g, 1234);
    for (size_t i = 0; i < 2; i++) {
        assert_sample(&g, 60, 10, of_60[i]);
    }
}

/* Every row is one evaluated document: draws in order, one spare where the task has one. */
static void test_mt19937_draws_the_few_shot_examples(void **state)
{
    static const struct {
        const char *task;
        int64_t n, k, documents;
        int64_t draws[33];
    } cases[] = {
        {"winogrande", 40398, 6, 3, {28883, 7657, 490,   5940,  38156, 2288,  5500,  6450,  23241,
                                     15519, 1142, 2019,  1038,  22681, 31735, 40358, 30379, 9735}},
        {"rte", 2490, 6, 2, {1805, 478, 30, 371, 2384, 143, 343, 403, 1452, 969, 71, 126}},
        {"boolq", 9427, 6, 2, {7220, 1914, 122, 1485, 572, 1375, 1612, 5810, 3879, 285, 504, 259}},
        {"hellaswag", 39905, 11, 2, {28883, 7657,  490,   5940, 38156, 2288, 5500,  6450,
                                     23241, 15519, 1142,  2019, 1038,  22681, 31735, 30379,
                                     9735,  5982,  11999, 7498, 958,   32970}},
        {"arc_easy", 2251, 5, 3, {1805, 478, 30, 371, 143, 343, 403, 1452, 969, 71, 126, 64, 1417,
                                  1983, 1898}},
        {"openbookqa", 4957, 5, 2, {3610, 957, 61, 742, 4769, 286, 687, 806, 2905, 1939}},
        {"arc_challenge", 1119, 25, 1, {902, 239, 15,  185, 71,  171, 201, 726, 484,
                                        35,  63,  32,  708, 991, 949, 304, 186, 374,
                                        234, 29,  1030, 996, 511, 132, 1108}},
        {"toy with a spare", 40, 3, 1, {28, 7}},
        {"toy", 40, 2, 2, {28, 7, 0, 5}},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct mt19937 g;
        mt19937_seed(&g, 1234);
        for (int64_t d = 0; d < cases[i].documents; d++) {
            int64_t out[32];
            size_t compared = (size_t)cases[i].k;
            assert_int_equal(mt19937_sample(&g, cases[i].n, cases[i].k, out), 0);
            if (cases[i].k == 3) {
                compared = 2; /* the spare of the toy case is not known */
            }
            assert_memory_equal(out, cases[i].draws + d * cases[i].k, compared * sizeof out[0]);
        }
    }
}

static void test_the_spare_shifts_the_second_document(void **state)
{
    int64_t out[3];
    struct mt19937 g;

    (void)state;
    mt19937_seed(&g, 1234);
    assert_int_equal(mt19937_sample(&g, 40, 3, out), 0);
    assert_int_equal(mt19937_sample(&g, 40, 3, out), 0);
    assert_int_equal(out[0], 5);
    assert_int_equal(out[1], 37);
}

static void test_mt19937_samples_many_without_repeating(void **state)
{
    enum { N = 100000, K = 20000 };
    struct mt19937 g;

    (void)state;
    int64_t *out = mem_new(K, sizeof *out);
    char *seen = mem_new(N, 1);
    assert_non_null(out);
    assert_non_null(seen);
    mt19937_seed(&g, 7);
    for (int64_t n = N; n >= K; n -= N - K) {
        memset(seen, 0, N);
        assert_int_equal(mt19937_sample(&g, n, K, out), 0);
        for (size_t i = 0; i < K; i++) {
            assert_true(out[i] >= 0 && out[i] < n);
            assert_int_equal(seen[out[i]]++, 0);
        }
    }
    mem_free(seen);
    mem_free(out);
}

static void test_mt19937_refuses_to_draw_more_than_there_is(void **state)
{
    int64_t out[4];
    struct mt19937 g;

    (void)state;
    mt19937_seed(&g, 1234);
    assert_int_equal(mt19937_sample(&g, 0, 0, out), 0);
    assert_int_equal(mt19937_sample(&g, 3, 4, out), HCSMOE_EINVAL);
    assert_string_equal(fail_message(), "cannot draw 4 of 3 without repeating");
    assert_int_equal(mt19937_sample(&g, 3, -1, out), HCSMOE_EINVAL);
    assert_int_equal(mt19937_sample(&g, INT64_MAX, INT64_MAX, out), HCSMOE_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pcg64_is_seeded_as_numpy_does),
        cmocka_unit_test(test_pcg64_gives_numpys_words),
        cmocka_unit_test(test_pcg64_keeps_the_half_across_64_bit_words),
        cmocka_unit_test(test_pcg64_real_is_53_bits_below_one),
        cmocka_unit_test(test_pcg64_interval_stays_inside),
        cmocka_unit_test(test_permutations_of_small_sets),
        cmocka_unit_test(test_permutation_of_a_thousand),
        cmocka_unit_test(test_permutation_of_the_calibration_documents),
        cmocka_unit_test(test_mt19937_gives_cpythons_words),
        cmocka_unit_test(test_mt19937_below_takes_the_bits_of_n_itself),
        cmocka_unit_test(test_mt19937_samples_as_cpython),
        cmocka_unit_test(test_mt19937_draws_the_few_shot_examples),
        cmocka_unit_test(test_the_spare_shifts_the_second_document),
        cmocka_unit_test(test_mt19937_samples_many_without_repeating),
        cmocka_unit_test(test_mt19937_refuses_to_draw_more_than_there_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
