/*
 * test_sha256.c - the examples of FIPS 180-4, in one piece and in many.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/sha256.h"

#include <cmocka.h>

static void assert_sum(const char *text, const char *expected)
{
    size_t n = strlen(text);
    char hex[65];

    for (size_t piece = 1; piece <= n + 1; piece++) {
        struct sha256 s;
        sha256_init(&s);
        for (size_t at = 0; at < n; at += piece) {
            sha256_add(&s, text + at, n - at < piece ? n - at : piece);
        }
        sha256_add(&s, text, 0);
        sha256_hex(&s, hex);
        assert_string_equal(hex, expected);
    }
}

static void test_sha256_gives_the_sums_of_the_standard(void **state)
{
    (void)state;
    assert_sum("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_sum("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_sum("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
               "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    assert_sum("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopq"
               "klmnopqrlmnopqrsmnopqrstnopqrstu",
               "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
}

static void test_sha256_of_a_million_letters(void **state)
{
    char piece[1000];
    char hex[65];
    struct sha256 s;

    (void)state;
    memset(piece, 'a', sizeof piece);
    sha256_init(&s);
    for (int i = 0; i < 1000; i++) {
        sha256_add(&s, piece, sizeof piece);
    }
    sha256_hex(&s, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* 55, 56, 63 and 64 bytes: where the padding needs a block of its own. */
static void test_sha256_pads_at_every_length(void **state)
{
    static const struct {
        size_t n;
        const char *sum;
    } cases[] = {
        {55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"},
        {56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a"},
        {63, "7d3e74a05d7db15bce4ad9ec0658ea98e3f06eeecf16b4c6fff2da457ddc2f34"},
        {64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"},
    };
    char text[65] = {0};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memset(text, 'a', cases[i].n);
        assert_sum(text, cases[i].sum);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256_gives_the_sums_of_the_standard),
        cmocka_unit_test(test_sha256_of_a_million_letters),
        cmocka_unit_test(test_sha256_pads_at_every_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
