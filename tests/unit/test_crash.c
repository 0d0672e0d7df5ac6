/*
 * test_crash.c - a fatal signal is said to come from the plugin it came from, and still ends the
 * program as it always does.
 *
 * SPDX-License-Identifier: MIT
 */
#include <signal.h>

#include "plugin/crash.h"

#include "e2e.h"

#define CRASH BAD_PLUGINS "/bad_crash.so"

/* Sanitizers have handlers of their own, which the program leaves alone. */
extern void __asan_init(void) __attribute__((weak));
extern void __tsan_init(void) __attribute__((weak));

static void need_handler(void)
{
    if (__asan_init || __tsan_init)
        skip();
}

static struct result crash(const char *how, const char *where)
{
    const char *ini = ini_write("crash.ini", TINY_MIXTRAL, work("out"));

    return run("-q", "--plugin", CRASH, "-c", ini, "-s", "merge.merge=crash", "-s",
               text("merge.how=%s", how), "-s", text("merge.where=%s", where));
}

static void test_a_crash_names_signal_plugin_and_layer(void **state)
{
    static const struct {
        const char *how, *name;
        int number;
    } signals[] = {
        {"segv", "segmentation fault", SIGSEGV},
        {"bus", "bus error", SIGBUS},
        {"fpe", "arithmetic error", SIGFPE},
        {"ill", "illegal instruction", SIGILL},
        {"abrt", "aborted", SIGABRT},
    };

    (void)state;
    need_handler();
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct result r = crash(signals[i].how, "merge");
        expect_status(r, 128 + signals[i].number);
        assert_string_equal(r.err, text("hcsmoe: plugin merge/crash crashed (%s) in layer 2: "
                                        "not hcsmoe's own code\n",
                                        signals[i].name));
    }
}

static void test_a_crash_outside_of_layers_names_none(void **state)
{
    (void)state;
    need_handler();
    struct result r = crash("segv", "create");
    expect_status(r, 128 + SIGSEGV);
    assert_string_equal(
        r.err, "hcsmoe: plugin merge/crash crashed (segmentation fault): not hcsmoe's own code\n");
}

static void test_a_crash_inside_parallel_for_is_the_plugins(void **state)
{
    (void)state;
    need_handler();
    struct result r = crash("segv", "piece");
    expect_status(r, 128 + SIGSEGV);
    expect_text(r.err, "hcsmoe: plugin merge/crash crashed (segmentation fault) in layer 2");
}

static void test_a_stack_that_ran_over_is_still_told(void **state)
{
    (void)state;
    need_handler();
    struct result r = crash("segv", "stack");
    expect_status(r, 128 + SIGSEGV);
    expect_text(r.err, "hcsmoe: plugin merge/crash crashed (segmentation fault) in layer 2");
}

static void test_a_crash_outside_of_plugins_blames_none(void **state)
{
    (void)state;
    need_handler();
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        const struct rlimit no_core = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)freopen(work("stderr"), "w", stderr);
        crash_watch();
        (void)raise(SIGBUS);
        _exit(0);
    }
    file_write(work("stdout"), "");
    struct result r = finish(pid);
    expect_status(r, 128 + SIGBUS);
    assert_string_equal(r.err,
                        "hcsmoe: crashed (bus error): outside of any plugin, a fault of hcsmoe\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_crash_names_signal_plugin_and_layer),
        cmocka_unit_test(test_a_crash_outside_of_layers_names_none),
        cmocka_unit_test(test_a_crash_inside_parallel_for_is_the_plugins),
        cmocka_unit_test(test_a_stack_that_ran_over_is_still_told),
        cmocka_unit_test(test_a_crash_outside_of_plugins_blames_none),
    };
    return cmocka_run_group_tests(tests, e2e_begin, e2e_end);
}
