/*
 * test_batch.c - sequences laid out as rows: chunks, shared prefixes as spans, row numbers.
 * SPDX-License-Identifier: MIT
 */
#include "model/batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/rng.h"

#include <cmocka.h> /* last: its macro fail() would hide ours */

enum { WIDTH = 128, SEQUENCE_MAX = 24 };

#define TOKENS(...) ((const int32_t[]){__VA_ARGS__}), COUNT(int32_t, __VA_ARGS__)
#define ROWS(...) ((const int64_t[]){__VA_ARGS__}), COUNT(int64_t, __VA_ARGS__)
#define COUNT(type, ...) ((int64_t)(sizeof((const type[]){__VA_ARGS__}) / sizeof(type)))

static void add(struct batch *b, int64_t shared, const int32_t *tokens, int64_t n,
                const int64_t *want, int64_t n_want)
{
    int64_t row[SEQUENCE_MAX];

    assert_int_equal(n, n_want);
    assert_int_equal(batch_add(b, tokens, n, shared, row), 0);
    for (int64_t i = 0; i < n; i++)
        assert_int_equal(row[i], want[i]);
}

static void expect_sequence(const struct batch *b, size_t i, hcsmoe_sequence want)
{
    assert_true(i < b->n_sequences);
    assert_int_equal(b->sequences[i].begin, want.begin);
    assert_int_equal(b->sequences[i].count, want.count);
    assert_int_equal(b->sequences[i].prefix, want.prefix);
    assert_int_equal(b->sequences[i].first_span, want.first_span);
    assert_int_equal(b->sequences[i].n_spans, want.n_spans);
}

static void expect_span(const struct batch *b, size_t i, int64_t begin, int64_t count)
{
    assert_true(i < b->n_spans);
    assert_int_equal(b->spans[i].begin, begin);
    assert_int_equal(b->spans[i].count, count);
}

static void expect_chunk(const struct batch *b, size_t i, struct chunk want)
{
    assert_true(i < b->n_chunks);
    assert_int_equal(b->chunks[i].begin, want.begin);
    assert_int_equal(b->chunks[i].n_tokens, want.n_tokens);
    assert_int_equal(b->chunks[i].first_sequence, want.first_sequence);
    assert_int_equal(b->chunks[i].n_sequences, want.n_sequences);
    assert_int_equal(b->chunks[i].first_span, want.first_span);
    assert_int_equal(b->chunks[i].n_spans, want.n_spans);
}

static void test_chunk_size_depends_on_the_width_within_bounds(void **state)
{
    (void)state;
    assert_int_equal(batch_chunk_tokens(1), 8192);
    assert_int_equal(batch_chunk_tokens(1024), 8192);
    assert_int_equal(batch_chunk_tokens(2048), 4096);
    assert_int_equal(batch_chunk_tokens(4096), 2048);
    assert_int_equal(batch_chunk_tokens(1 << 20), 2048);
}

static void test_chunks_hold_whole_sequences(void **state)
{
    struct batch b;

    (void)state;
    batch_init(&b, WIDTH);
    assert_int_equal(b.chunk_tokens, batch_chunk_tokens(WIDTH));
    b.chunk_tokens = 7;
    add(&b, 0, TOKENS(1, 2, 3), ROWS(0, 1, 2));
    add(&b, 0, TOKENS(4, 5, 6, 7), ROWS(3, 4, 5, 6)); /* exactly full */
    add(&b, 0, TOKENS(8), ROWS(7));
    add(&b, 0, TOKENS(9, 10), ROWS(8, 9));
    assert_int_equal(b.n_chunks, 2);
    expect_chunk(&b, 0, (struct chunk){0, 7, 0, 2, 0, 0});
    expect_chunk(&b, 1, (struct chunk){7, 3, 2, 2, 0, 0});
    expect_sequence(&b, 1, (hcsmoe_sequence){3, 4, 0, 0, 0});
    expect_sequence(&b, 3, (hcsmoe_sequence){1, 2, 0, 0, 0}); /* from its chunk's begin */
    assert_int_equal(b.n_tokens, 10);
    assert_int_equal(b.chunk_largest, 7);
    for (int64_t i = 0; i < b.n_tokens; i++)
        assert_int_equal(b.tokens[i], i + 1);
    batch_release(&b);
    assert_null(b.tokens);
}

static void test_shared_prefixes_become_spans(void **state)
{
    const int32_t tokens[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 9};
    const int64_t position[] = {0, 1, 2, 3, 2, 3, 4, 4, 5, 1};
    struct batch b;

    (void)state;
    batch_init(&b, WIDTH);
    add(&b, 0, TOKENS(1, 2, 3, 4), ROWS(0, 1, 2, 3));
    add(&b, 2, TOKENS(1, 2, 5), ROWS(0, 1, 4));
    add(&b, 3, TOKENS(1, 2, 5, 6, 7), ROWS(0, 1, 4, 5, 6));
    add(&b, 4, TOKENS(1, 2, 5, 6, 8, 9), ROWS(0, 1, 4, 5, 7, 8));
    add(&b, 1, TOKENS(1, 9), ROWS(0, 9));
    expect_sequence(&b, 0, (hcsmoe_sequence){0, 4, 0, 0, 0});
    expect_sequence(&b, 1, (hcsmoe_sequence){4, 1, 2, 0, 1});
    expect_sequence(&b, 2, (hcsmoe_sequence){5, 2, 3, 1, 2});
    expect_sequence(&b, 3, (hcsmoe_sequence){7, 2, 4, 3, 3});
    expect_sequence(&b, 4, (hcsmoe_sequence){9, 1, 1, 6, 1});
    assert_int_equal(b.n_spans, 7);
    expect_span(&b, 0, 0, 2); /* of the second */
    expect_span(&b, 1, 0, 2); /* of the third */
    expect_span(&b, 2, 4, 1);
    expect_span(&b, 3, 0, 2); /* of the fourth */
    expect_span(&b, 4, 4, 1);
    expect_span(&b, 5, 5, 1);
    expect_span(&b, 6, 0, 1); /* the first span of the fourth, cut */
    assert_int_equal(b.n_chunks, 1);
    expect_chunk(&b, 0, (struct chunk){0, 10, 0, 5, 0, 7});
    assert_int_equal(b.n_tokens, 10);
    assert_memory_equal(b.tokens, tokens, sizeof tokens);
    assert_memory_equal(b.position, position, sizeof position);
    batch_release(&b);
}

static void test_identical_sequence_runs_its_last_token_again(void **state)
{
    struct batch b;

    (void)state;
    batch_init(&b, WIDTH);
    add(&b, 0, TOKENS(1, 2, 3), ROWS(0, 1, 2));
    add(&b, 3, TOKENS(1, 2, 3), ROWS(0, 1, 3));
    add(&b, 3, TOKENS(1, 2, 3), ROWS(0, 1, 4));
    expect_sequence(&b, 1, (hcsmoe_sequence){3, 1, 2, 0, 1});
    expect_sequence(&b, 2, (hcsmoe_sequence){4, 1, 2, 1, 1});
    expect_span(&b, 0, 0, 2);
    expect_span(&b, 1, 0, 2);
    assert_int_equal(b.tokens[4], 3);
    assert_int_equal(b.position[4], 2);
    batch_release(&b);
}

static void test_identical_sequences_do_not_overfill_a_chunk(void **state)
{
    struct batch b;

    (void)state;
    batch_init(&b, WIDTH);
    b.chunk_tokens = 3;
    add(&b, 0, TOKENS(1, 2, 3), ROWS(0, 1, 2));
    add(&b, 3, TOKENS(1, 2, 3), ROWS(3, 4, 5)); /* the row of its own has no place */
    assert_int_equal(b.n_chunks, 2);
    assert_int_equal(b.n_spans, 0);
    assert_int_equal(b.chunk_largest, 3);
    batch_release(&b);
}

static void test_identical_sequence_of_one_token_shares_nothing(void **state)
{
    struct batch b;

    (void)state;
    batch_init(&b, WIDTH);
    add(&b, 0, TOKENS(5), ROWS(0));
    add(&b, 1, TOKENS(5), ROWS(1));
    expect_sequence(&b, 1, (hcsmoe_sequence){1, 1, 0, 0, 0});
    assert_int_equal(b.n_spans, 0);
    batch_release(&b);
}

static void test_sequence_longer_than_a_chunk_gets_one_of_its_own(void **state)
{
    struct batch b;

    (void)state;
    batch_init(&b, WIDTH);
    b.chunk_tokens = 4;
    add(&b, 0, TOKENS(1, 2), ROWS(0, 1));
    add(&b, 0, TOKENS(3, 4, 5, 6, 7, 8), ROWS(2, 3, 4, 5, 6, 7));
    add(&b, 0, TOKENS(9), ROWS(8));
    assert_int_equal(b.n_chunks, 3);
    expect_chunk(&b, 0, (struct chunk){0, 2, 0, 1, 0, 0});
    expect_chunk(&b, 1, (struct chunk){2, 6, 1, 1, 0, 0});
    expect_chunk(&b, 2, (struct chunk){8, 1, 2, 1, 0, 0});
    assert_int_equal(b.chunk_largest, 6);
    batch_release(&b);
}

static void test_prefix_is_not_shared_across_chunks(void **state)
{
    struct batch b;

    (void)state;
    batch_init(&b, WIDTH);
    b.chunk_tokens = 5;
    add(&b, 0, TOKENS(1, 2, 3, 4), ROWS(0, 1, 2, 3));
    add(&b, 3, TOKENS(1, 2, 3, 5), ROWS(0, 1, 2, 4)); /* its one new row still fits */
    add(&b, 3, TOKENS(1, 2, 3, 6), ROWS(5, 6, 7, 8));
    add(&b, 3, TOKENS(1, 2, 3, 7), ROWS(5, 6, 7, 9));
    assert_int_equal(b.n_chunks, 2);
    expect_chunk(&b, 0, (struct chunk){0, 5, 0, 2, 0, 1});
    expect_chunk(&b, 1, (struct chunk){5, 5, 2, 2, 1, 1});
    expect_sequence(&b, 2, (hcsmoe_sequence){0, 4, 0, 0, 0});
    expect_sequence(&b, 3, (hcsmoe_sequence){4, 1, 3, 0, 1});
    expect_span(&b, 1, 0, 3);
    for (int64_t i = 0; i < 4; i++)
        assert_int_equal(b.position[5 + i], i);
    batch_release(&b);
}

static void test_rows_hold_the_tokens_and_positions_of_any_tree(void **state)
{
    struct batch b;
    struct mt19937 rng;
    int32_t last[SEQUENCE_MAX] = {0}, now[SEQUENCE_MAX];
    int64_t row[SEQUENCE_MAX], n_last = 0, added = 0;

    (void)state;
    mt19937_seed(&rng, 7);
    batch_init(&b, WIDTH);
    b.chunk_tokens = 100;
    for (int s = 0; s < 500; s++) {
        const int64_t n = 1 + (int64_t)mt19937_below(&rng, SEQUENCE_MAX);
        int64_t shared = n_last ? (int64_t)mt19937_below(&rng, (uint64_t)n_last + 1) : 0;
        shared = shared < n ? shared : n;
        for (int64_t i = 0; i < n; i++)
            now[i] = i < shared ? last[i] : (int32_t)mt19937_below(&rng, 1000);
        assert_int_equal(batch_add(&b, now, n, shared, row), 0);
        for (int64_t i = 0; i < n; i++) {
            assert_int_equal(b.tokens[row[i]], now[i]);
            assert_int_equal(b.position[row[i]], i);
            assert_true(row[i] >= b.chunks[b.n_chunks - 1].begin);
        }
        memcpy(last, now, sizeof last);
        n_last = n;
        added += n;
    }
    assert_true(b.n_tokens < added);
    assert_true(b.chunk_largest <= b.chunk_tokens);
    int64_t at = 0;
    for (size_t c = 0; c < b.n_chunks; c++) { /* the rows are covered once, in order */
        assert_int_equal(b.chunks[c].begin, at);
        for (size_t i = 0; i < b.chunks[c].n_sequences; i++) {
            const hcsmoe_sequence *q = &b.sequences[b.chunks[c].first_sequence + i];
            assert_int_equal(b.chunks[c].begin + q->begin, at);
            assert_true(q->count > 0);
            at += q->count;
        }
    }
    assert_int_equal(at, b.n_tokens);
    batch_release(&b);
}

static void test_rows_need_not_be_asked_for(void **state)
{
    const int32_t tokens[] = {1, 2, 3};
    struct batch b;

    (void)state;
    batch_init(&b, WIDTH);
    assert_int_equal(batch_add(&b, tokens, 3, 0, NULL), 0);
    assert_int_equal(b.n_tokens, 3);
    batch_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunk_size_depends_on_the_width_within_bounds),
        cmocka_unit_test(test_chunks_hold_whole_sequences),
        cmocka_unit_test(test_shared_prefixes_become_spans),
        cmocka_unit_test(test_identical_sequence_runs_its_last_token_again),
        cmocka_unit_test(test_identical_sequences_do_not_overfill_a_chunk),
        cmocka_unit_test(test_identical_sequence_of_one_token_shares_nothing),
        cmocka_unit_test(test_sequence_longer_than_a_chunk_gets_one_of_its_own),
        cmocka_unit_test(test_prefix_is_not_shared_across_chunks),
        cmocka_unit_test(test_rows_hold_the_tokens_and_positions_of_any_tree),
        cmocka_unit_test(test_rows_need_not_be_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
