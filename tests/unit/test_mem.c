/*
 * test_mem.c - checked sizes, aligned blocks, growing lists and arenas.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"

/* Last: it has a macro fail() of its own. */
#include <cmocka.h>

static void test_size_mul_and_add_refuse_overflow(void **state)
{
    size_t out = 0;

    (void)state;
    assert_int_equal(size_mul(3, 5, &out), 0);
    assert_int_equal(out, 15);
    assert_int_equal(size_mul(SIZE_MAX, 1, &out), 0);
    assert_int_equal(size_mul(SIZE_MAX / 2 + 1, 2, &out), HCSMOE_EINVAL);
    assert_int_equal(size_add(SIZE_MAX - 1, 1, &out), 0);
    assert_true(out == SIZE_MAX);
    assert_int_equal(size_add(SIZE_MAX, 1, &out), HCSMOE_EINVAL);
}

static void test_mem_new_is_zeroed_and_aligned(void **state)
{
    (void)state;
    for (size_t n = 0; n < 200; n += 7) {
        unsigned char *p = mem_new(n, 1);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(p[i], 0);
        }
        mem_free(p);
    }
    mem_free(NULL);
}

static void test_mem_new_refuses_what_cannot_be_had(void **state)
{
    (void)state;
    fail_clear();
    assert_null(mem_new(SIZE_MAX / 2, 4));
    assert_string_equal(fail_message(),
                        "out of memory: cannot have 9223372036854775807 times 4 bytes");
    assert_null(mem_new_raw(SIZE_MAX, 1));
    assert_string_equal(fail_message(),
                        "out of memory: cannot have 18446744073709551615 times 1 bytes");
}

static void test_mem_grow_keeps_the_items(void **state)
{
    int *items = NULL;
    size_t capacity = 0;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(mem_grow(&items, (size_t)i, &capacity, sizeof *items), 0);
        assert_true(capacity > (size_t)i);
        items[i] = i;
    }
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(items[i], i);
    }
    mem_free(items);
}

static void test_mem_grow_refuses_overflow(void **state)
{
    char *items = NULL;
    size_t capacity = SIZE_MAX / 2 + 1;

    (void)state;
    assert_int_equal(mem_grow(&items, capacity, &capacity, 1), HCSMOE_ENOMEM);
    assert_true(capacity == SIZE_MAX / 2 + 1);
    assert_null(items);
}

static void test_copies_and_printed_texts(void **state)
{
    (void)state;
    char *a = mem_strdup("abc");
    char *b = mem_strndup("abcdef", 2);
    char *c = mem_printf("%s-%d", "x", 42);
    char *d = mem_strndup("", 0);
    assert_string_equal(a, "abc");
    assert_string_equal(b, "ab");
    assert_string_equal(c, "x-42");
    assert_string_equal(d, "");
    mem_free(a);
    mem_free(b);
    mem_free(c);
    mem_free(d);
}

static void test_arena_gives_zeroed_aligned_pieces_that_do_not_overlap(void **state)
{
    enum { PIECES = 3000 };
    struct arena a = {0};
    unsigned char *pieces[PIECES];
    size_t sizes[PIECES];

    (void)state;
    for (size_t i = 0; i < PIECES; i++) {
        sizes[i] = i % 500 == 499 ? 100000 : i % 53;
        pieces[i] = arena_alloc(&a, sizes[i]);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        for (size_t k = 0; k < sizes[i]; k++) {
            assert_int_equal(pieces[i][k], 0);
        }
        memset(pieces[i], (int)(i & 255), sizes[i]);
    }
    for (size_t i = 0; i < PIECES; i++) {
        for (size_t k = 0; k < sizes[i]; k++) {
            assert_int_equal(pieces[i][k], i & 255);
        }
    }
    arena_release(&a);
    assert_null(a.head);
    arena_release(&a);
}

static void test_arena_copies_strings(void **state)
{
    struct arena a = {0};

    (void)state;
    assert_string_equal(arena_strdup(&a, "one"), "one");
    assert_string_equal(arena_strndup(&a, "two and more", 3), "two");
    assert_string_equal(arena_strdup(&a, ""), "");
    arena_release(&a);
}

static void test_arena_refuses_what_cannot_be_had(void **state)
{
    struct arena a = {0};

    (void)state;
    fail_clear();
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_string_equal(fail_message(),
                        "out of memory: cannot have 18446744073709551615 bytes more");
    assert_null(arena_alloc(&a, SIZE_MAX - 40));
    assert_null(arena_strndup(&a, "", SIZE_MAX));
    assert_non_null(arena_alloc(&a, 8));
    arena_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_size_mul_and_add_refuse_overflow),
        cmocka_unit_test(test_mem_new_is_zeroed_and_aligned),
        cmocka_unit_test(test_mem_new_refuses_what_cannot_be_had),
        cmocka_unit_test(test_mem_grow_keeps_the_items),
        cmocka_unit_test(test_mem_grow_refuses_overflow),
        cmocka_unit_test(test_copies_and_printed_texts),
        cmocka_unit_test(test_arena_gives_zeroed_aligned_pieces_that_do_not_overlap),
        cmocka_unit_test(test_arena_copies_strings),
        cmocka_unit_test(test_arena_refuses_what_cannot_be_had),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
