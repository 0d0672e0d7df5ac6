/*
 * test_str.c - text that is built piece by piece.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
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

static void test_reals_are_short_and_exact(void **state)
{
    static const struct {
        double x;
        const char *text;
    } cases[] = {{0.1, "0.1"},
                 {2, "2.0"},
                 {-3.25, "-3.25"},
                 {1e-7, "1e-07"},
                 {1e300, "1e+300"},
                 {0.1 + 0.2, "0.30000000000000004"},
                 {5e-324, "4.94065645841247e-324"},
                 {1e15, "1e+15"},
                 {123456789, "123456789.0"}};
    struct str s = {0};
    uint64_t bits = 88172645463325252;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        str_clear(&s);
        str_add_real(&s, cases[i].x);
        assert_string_equal(s.text, cases[i].text);
    }
    for (int i = 0; i < 20000; i++) {
        double x;
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        memcpy(&x, &bits, sizeof x);
        if (!isfinite(x)) {
            continue;
        }
        str_clear(&s);
        str_add_real(&s, x);
        assert_true(strtod(s.text, NULL) == x);
    }
    str_release(&s);
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
        cmocka_unit_test(test_reals_are_short_and_exact),
        cmocka_unit_test(test_starts_and_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
