/*
 * test_str.c - text that is built piece by piece.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/str.h"

/* Last: it has a macro fail() of its own. */
#include <cmocka.h>

static void test_pieces_are_joined(void **state)
{
    struct str s = {0};

    (void)state;
    assert_string_equal(str_text(&s), "");
    str_add(&s, "one");
    str_add_bytes(&s, " two three", 4);
    str_addf(&s, " %d%s", 3, "!");
    assert_string_equal(str_text(&s), "one two 3!");
    assert_int_equal(s.len, 10);
    assert_int_equal(str_check(&s), 0);
    str_release(&s);
    assert_null(s.text);
    assert_string_equal(str_text(&s), "");
}

static void test_nothing_added_is_still_a_string(void **state)
{
    struct str s = {0};

    (void)state;
    str_add_bytes(&s, "", 0);
    assert_non_null(s.text);
    assert_string_equal(s.text, "");
    str_release(&s);
}

static void test_nul_bytes_are_kept(void **state)
{
    struct str s = {0};

    (void)state;
    str_add_bytes(&s, "a\0b", 3);
    str_add(&s, "c");
    assert_int_equal(s.len, 4);
    assert_memory_equal(s.text, "a\0bc", 5);
    str_release(&s);
}

static void test_clear_keeps_the_memory(void **state)
{
    struct str s = {0};

    (void)state;
    str_clear(&s);
    for (int i = 0; i < 1000; i++) {
        str_addf(&s, "%d,", i);
    }
    assert_int_equal(s.len, 10 * 2 + 90 * 3 + 900 * 4);
    assert_memory_equal(s.text + s.len - 9, ",998,999,", 10);
    size_t capacity = s.capacity;
    str_clear(&s);
    assert_string_equal(str_text(&s), "");
    assert_int_equal(s.len, 0);
    assert_int_equal(s.capacity, capacity);
    str_release(&s);
}

static void test_a_failure_stays_until_it_is_checked(void **state)
{
    struct str s = {0};

    (void)state;
    str_add(&s, "kept");
    str_add_bytes(&s, "", SIZE_MAX - 8);
    assert_true(s.failed);
    str_add(&s, "dropped");
    str_addf(&s, "%d", 1);
    assert_string_equal(str_text(&s), "kept");
    fail_clear();
    assert_int_equal(str_check(&s), HCSMOE_ENOMEM);
    assert_string_equal(fail_message(), "out of memory: cannot have 4 bytes more");
    str_release(&s);
    assert_false(s.failed);
}

static void test_starts_and_ends(void **state)
{
    (void)state;
    assert_true(str_starts("model.layers", "model."));
    assert_false(str_starts("mod", "model."));
    assert_true(str_starts("x", ""));
    assert_true(str_ends("a.json.gz", ".gz"));
    assert_false(str_ends("gz", ".gz"));
    assert_true(str_ends("x", ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_are_joined),
        cmocka_unit_test(test_nothing_added_is_still_a_string),
        cmocka_unit_test(test_nul_bytes_are_kept),
        cmocka_unit_test(test_clear_keeps_the_memory),
        cmocka_unit_test(test_a_failure_stays_until_it_is_checked),
        cmocka_unit_test(test_starts_and_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
