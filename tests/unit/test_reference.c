/*
 * test_reference.c - config/REFERENCE.md is what the program says of itself; every key has help.
 *
 * SPDX-License-Identifier: MIT
 */
#include "e2e.h"

#include "run/config_keys.h"

/* The reference without the line of a plugin that is only built where a library is. */
static char *reference_here(void)
{
    char *reference = (char *)(uintptr_t)file_text(SOURCE_DIR "/config/REFERENCE.md", NULL);
    char *line = strstr(reference, "| `cpu-onednn-bf16` |");

    assert_non_null(line);
    if (access(PLUGINS "/hcsmoe-kernels-cpu-onednn-bf16.so", F_OK)) {
        const char *next = strchr(line, '\n') + 1;
        memmove(line, next, strlen(next) + 1);
    }
    return reference;
}

static void test_reference_is_current(void **state)
{
    struct result r = run("help", "--markdown");
    const char *reference = reference_here();
    size_t same = 0, line = 1;

    (void)state;
    expect_status(r, 0);
    for (; reference[same] && reference[same] == r.out[same]; same++)
        line += reference[same] == '\n';
    if (reference[same] || r.out[same])
        fail_msg("config/REFERENCE.md is not current from line %zu on: hcsmoe help --markdown "
                 ">config/REFERENCE.md",
                 line);
}

static void test_every_key_has_help_of_one_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_core_keys; i++) {
        const struct core_key *k = &core_keys[i];
        struct result r = run("help", text("%s.%s", k->section, k->key));
        expect_status(r, 0);
        const char *first = text("[%s] %s", k->section, k->key);
        assert_true(str_starts(r.out, first));
        assert_non_null(k->help);
        expect_text(r.out, text("\n  %s\n", k->help));
        assert_null(strchr(k->help, '\n'));
        if (k->fallback)
            expect_text(r.out, text(", default %s\n", k->fallback));
    }
}

static void test_help_of_methods_stays(void **state)
{
    (void)state;
    struct result r = run("help", "merge.freq");
    expect_status(r, 0);
    assert_true(str_starts(r.out, "merge/freq - "));
    r = run("help", "--markdown", "merge.freq");
    expect_status(r, 2);
    expect_text(r.err, "--markdown is of everything");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_is_current),
        cmocka_unit_test(test_every_key_has_help_of_one_line),
        cmocka_unit_test(test_help_of_methods_stays),
    };
    return cmocka_run_group_tests(tests, e2e_begin, e2e_end);
}
