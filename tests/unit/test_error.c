/*
 * test_error.c - one message per thread, prefixes, cuts, and suggestions for misspelt names.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"

/* Last: it has a macro fail() of its own, which is not meant here. */
#include <cmocka.h>
#undef fail

enum { MESSAGE_LENGTH_MAX = 4095 };

static void test_fail_sets_the_message_and_returns_the_status(void **state)
{
    (void)state;
    assert_int_equal(fail(HCSMOE_EINVAL, "f.ini:%d: no '%s'", 3, "x"), HCSMOE_EINVAL);
    assert_string_equal(fail_message(), "f.ini:3: no 'x'");
    fail_clear();
    assert_string_equal(fail_message(), "");
}

static void test_fail_in_puts_a_prefix_before_the_message(void **state)
{
    (void)state;
    (void)fail(HCSMOE_EIO, "inner");
    assert_int_equal(fail_in(HCSMOE_EIO, "layer %d", 7), HCSMOE_EIO);
    assert_int_equal(fail_in(HCSMOE_EIO, "outer"), HCSMOE_EIO);
    assert_string_equal(fail_message(), "outer: layer 7: inner");
    fail_clear();
    (void)fail_in(HCSMOE_EIO, "alone");
    assert_string_equal(fail_message(), "alone");
}

static void test_a_message_may_be_made_of_the_message_before(void **state)
{
    (void)state;
    (void)fail(HCSMOE_EIO, "first");
    (void)fail(HCSMOE_EIO, "<%s> and <%s>", fail_message(), fail_message());
    assert_string_equal(fail_message(), "<first> and <first>");
}

static void test_a_message_that_is_too_long_is_cut_and_marked(void **state)
{
    char text[3 * 4096];

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    (void)fail(HCSMOE_EINVAL, "%s", text);
    assert_int_equal(strlen(fail_message()), MESSAGE_LENGTH_MAX);
    assert_string_equal(fail_message() + MESSAGE_LENGTH_MAX - 4, "x...");
    (void)fail_in(HCSMOE_EINVAL, "start");
    assert_int_equal(strlen(fail_message()), MESSAGE_LENGTH_MAX);
    assert_memory_equal(fail_message(), "start: xxx", 10);
    assert_string_equal(fail_message() + MESSAGE_LENGTH_MAX - 4, "x...");
}

static void test_a_cut_leaves_no_half_of_a_character(void **state)
{
    char text[2 * 4096 + 1] = {0};

    (void)state;
    for (int shift = 0; shift < 2; shift++) {
        for (size_t i = 0; i < 4096; i++) {
            memcpy(text + 2 * i, "\xc3\xa9", 2);
        }
        (void)fail(HCSMOE_EINVAL, "%s%s", shift ? "x" : "", text);
        size_t n = strlen(fail_message());
        assert_in_range(n, MESSAGE_LENGTH_MAX - 1, MESSAGE_LENGTH_MAX);
        assert_memory_equal(fail_message() + n - 5, "\xc3\xa9...", 5);
    }
}

static void test_fail_errno_names_path_and_reason(void **state)
{
    (void)state;
    errno = ENOENT;
    assert_int_equal(fail_errno("a/b", "cannot open"), HCSMOE_EIO);
    assert_string_equal(fail_message(), "a/b: cannot open: No such file or directory");
}

static void test_fail_memory_tells_the_bytes(void **state)
{
    (void)state;
    assert_int_equal(fail_memory(12345), HCSMOE_ENOMEM);
    assert_string_equal(fail_message(), "out of memory: cannot have 12345 bytes more");
}

static void *fail_elsewhere(void *arg)
{
    (void)arg;
    (void)fail(HCSMOE_EIO, "theirs");
    return NULL;
}

static void test_each_thread_has_its_own_message(void **state)
{
    pthread_t other;

    (void)state;
    (void)fail(HCSMOE_EIO, "ours");
    assert_int_equal(pthread_create(&other, NULL, fail_elsewhere, NULL), 0);
    assert_int_equal(pthread_join(other, NULL), 0);
    assert_string_equal(fail_message(), "ours");
}

static void test_did_you_mean_finds_the_nearest_name(void **state)
{
    static const char *const names[] = {"single", "complete", "average", "ward", "hierarchical"};
    static const struct {
        const char *word, *answer;
    } cases[] = {
        {"hirarchical", "; did you mean 'hierarchical'?"},
        {"heirarchical", "; did you mean 'hierarchical'?"},
        {"signle", "; did you mean 'single'?"}, /* one swap */
        {"WARD", "; did you mean 'ward'?"},
        {"wrad", "; did you mean 'ward'?"},
        {"averages", "; did you mean 'average'?"},
        {"wxyd", ""}, /* two edits of four letters */
        {"median", ""},
        {"", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_string_equal(did_you_mean(cases[i].word, names, 5), cases[i].answer);
    }
    assert_string_equal(did_you_mean("ward", names, 0), "");
}

static void test_did_you_mean_takes_words_of_any_length(void **state)
{
    char word[5000];
    const char *const names[] = {word, "", "ward"};

    (void)state;
    memset(word, 'w', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    assert_string_equal(did_you_mean(word, names, 3), "");
    assert_string_equal(did_you_mean("wart", names, 3), "; did you mean 'ward'?");
}

static void test_did_you_mean_prefers_the_first_of_equals(void **state)
{
    static const char *const names[] = {"abcx", "abcy", "abc"};

    (void)state;
    assert_string_equal(did_you_mean("abcd", names, 3), "; did you mean 'abcx'?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fail_sets_the_message_and_returns_the_status),
        cmocka_unit_test(test_fail_in_puts_a_prefix_before_the_message),
        cmocka_unit_test(test_a_message_may_be_made_of_the_message_before),
        cmocka_unit_test(test_a_message_that_is_too_long_is_cut_and_marked),
        cmocka_unit_test(test_a_cut_leaves_no_half_of_a_character),
        cmocka_unit_test(test_fail_errno_names_path_and_reason),
        cmocka_unit_test(test_fail_memory_tells_the_bytes),
        cmocka_unit_test(test_each_thread_has_its_own_message),
        cmocka_unit_test(test_did_you_mean_finds_the_nearest_name),
        cmocka_unit_test(test_did_you_mean_takes_words_of_any_length),
        cmocka_unit_test(test_did_you_mean_prefers_the_first_of_equals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
