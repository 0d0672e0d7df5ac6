/*
 * test_log.c - what is written on standard error, to a file and to a terminal.
 * SPDX-License-Identifier: MIT
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* posix_openpt and its kin */
#endif
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

/* Last: it has a macro fail() of its own. */
#include <cmocka.h>

enum { CAPTURE_BYTES = 256 * 1024 };

static int stderr_kept = -1;
static int reader = -1; /* what is written to standard error comes out here */
static char *captured;

static int setup(void **state)
{
    (void)state;
    captured = mem_new(CAPTURE_BYTES, 1);
    (void)unsetenv("NO_COLOR");
    (void)setenv("TERM", "xterm", 1);
    log_level_set(LOG_INFO);
    return captured ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    mem_free(captured);
    return 0;
}

static void stderr_replace(int fd)
{
    (void)fflush(stderr);
    stderr_kept = dup(STDERR_FILENO);
    assert_true(stderr_kept >= 0);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    assert_int_equal(close(fd), 0);
}

static void capture_file(void)
{
    char name[] = "/tmp/test_log.XXXXXX";

    int fd = mkstemp(name);
    assert_true(fd >= 0);
    reader = open(name, O_RDONLY | O_CLOEXEC);
    assert_true(reader >= 0);
    assert_int_equal(unlink(name), 0);
    stderr_replace(fd);
}

/* A terminal of so many columns that only the test looks at. */
static void capture_terminal(unsigned short columns)
{
    const struct winsize size = {.ws_col = columns, .ws_row = 24};

    reader = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(reader >= 0);
    assert_int_equal(grantpt(reader), 0);
    assert_int_equal(unlockpt(reader), 0);
    int fd = open(ptsname(reader), O_RDWR | O_NOCTTY);
    assert_true(fd >= 0);
    assert_int_equal(ioctl(fd, TIOCSWINSZ, &size), 0);
    assert_int_equal(fcntl(reader, F_SETFL, O_NONBLOCK), 0);
    stderr_replace(fd);
}

/* Everything since capture_*(), and standard error as it was before. */
static const char *capture_end(void)
{
    size_t n = 0;

    for (;;) {
        ssize_t got = read(reader, captured + n, CAPTURE_BYTES - 1 - n);
        if (got <= 0) {
            break;
        }
        n += (size_t)got;
    }
    captured[n] = '\0';
    (void)dup2(stderr_kept, STDERR_FILENO);
    (void)close(stderr_kept);
    (void)close(reader);
    return captured;
}

static void wait_s(double s)
{
    const double end = now_s() + s;
    const struct timespec pause = {.tv_nsec = 5000000};

    while (now_s() < end) {
        (void)nanosleep(&pause, NULL);
    }
}

static void test_lines_name_their_level(void **state)
{
    (void)state;
    capture_file();
    log_line(LOG_ERROR, "f.ini:%d: bad", 3);
    log_line(LOG_WARN, "odd");
    log_line(LOG_INFO, "fine");
    log_line(LOG_VERBOSE, "detail");
    assert_string_equal(capture_end(), "hcsmoe: error: f.ini:3: bad\n"
                                       "hcsmoe: warning: odd\n"
                                       "hcsmoe: fine\n");
}

static void test_levels_drop_lines(void **state)
{
    (void)state;
    assert_int_equal(log_level(), LOG_INFO);
    capture_file();
    for (int level = LOG_ERROR; level <= LOG_VERBOSE; level++) {
        log_level_set(level);
        log_line(LOG_ERROR, "e%d", level);
        log_line(LOG_WARN, "w%d", level);
        log_line(LOG_INFO, "i%d", level);
        log_line(LOG_VERBOSE, "v%d", level);
    }
    log_level_set(LOG_INFO);
    assert_string_equal(capture_end(), "hcsmoe: error: e0\n"
                                       "hcsmoe: error: e1\nhcsmoe: warning: w1\n"
                                       "hcsmoe: error: e2\nhcsmoe: warning: w2\nhcsmoe: i2\n"
                                       "hcsmoe: error: e3\nhcsmoe: warning: w3\nhcsmoe: i3\n"
                                       "hcsmoe: v3\n");
}

static void test_control_characters_are_written_out(void **state)
{
    (void)state;
    capture_file();
    log_line(LOG_ERROR, "name '%s'", "a\nhcsmoe: \033[2J\t\x7f\r\xc3\xa9");
    assert_string_equal(capture_end(),
                        "hcsmoe: error: name 'a\\nhcsmoe: \\x1b[2J\\t\\x7f\\r\xc3\xa9'\n");
}

static void test_a_line_of_any_length_stays_one_line(void **state)
{
    char text[20000];

    (void)state;
    memset(text, 1, sizeof text - 1); /* four characters each when written out */
    text[sizeof text - 1] = '\0';
    capture_file();
    log_line(LOG_INFO, "%s", text);
    const char *got = capture_end();
    assert_ptr_equal(strchr(got, '\n'), got + strlen(got) - 1);
    assert_true(strlen(got) > 8000);
}

static void test_color_is_for_terminals_that_want_it(void **state)
{
    (void)state;
    capture_terminal(80);
    log_line(LOG_ERROR, "e");
    log_line(LOG_WARN, "w");
    log_line(LOG_INFO, "i");
    assert_string_equal(capture_end(), "hcsmoe: \033[1;31merror:\033[0m e\r\n"
                                       "hcsmoe: \033[1;33mwarning:\033[0m w\r\n"
                                       "hcsmoe: i\r\n");
    assert_int_equal(setenv("NO_COLOR", "1", 1), 0);
    capture_terminal(80);
    log_line(LOG_ERROR, "e");
    assert_string_equal(capture_end(), "hcsmoe: error: e\r\n");
    assert_int_equal(setenv("NO_COLOR", "", 1), 0); /* set but empty: as if not set */
    capture_terminal(80);
    log_line(LOG_ERROR, "e");
    assert_string_equal(capture_end(), "hcsmoe: \033[1;31merror:\033[0m e\r\n");
    assert_int_equal(unsetenv("NO_COLOR"), 0);
}

/* Takes the times out, which depend on how busy this machine is: "41%  3s left" becomes "41%". */
static const char *without_times(void)
{
    char *to = captured;

    for (const char *from = captured; *from;) {
        *to++ = *from;
        if (*from++ == '%') {
            from += strcspn(from, "\r");
        }
    }
    *to = '\0';
    return captured;
}

static void test_progress_on_a_terminal_is_a_live_line(void **state)
{
    (void)state;
    capture_terminal(80);
    progress_start("calibrate", 100);
    wait_s(0.12);
    progress_stage("layer 3/32");
    wait_s(0.12);
    progress_add(41);
    log_line(LOG_INFO, "between");
    progress_add(2);
    progress_end();
    (void)capture_end();
    assert_string_equal(without_times(), "\r\033[Kcalibrate   0%"
                                         "\r\033[Klayer 3/32 calibrate   0%"
                                         "\r\033[Klayer 3/32 calibrate  41%"
                                         "\r\033[Khcsmoe: between\r\n"
                                         "\r\033[Klayer 3/32 calibrate  43%"
                                         "\r\033[K");
}

static void test_progress_is_shown_ten_times_a_second_at_most(void **state)
{
    double shown = 0;

    (void)state;
    capture_terminal(80);
    double start = now_s();
    progress_start("calibrate", 100000);
    for (int i = 0; i < 100000; i++) {
        progress_add(1);
    }
    progress_end();
    double spent = now_s() - start;
    for (const char *at = strchr(capture_end(), '\r'); at; at = strchr(at + 1, '\r')) {
        shown++;
    }
    assert_true(shown <= 10 * spent + 2); /* the first line, and the one that takes the last away */
}

static void test_progress_tells_the_time_left(void **state)
{
    (void)state;
    capture_terminal(80);
    progress_start("merge", 1e12);
    wait_s(1.05);
    progress_add(1e10);
    progress_end();
    const char *got = capture_end();
    assert_non_null(strstr(got, "\r\033[Kmerge   1%  "));
    assert_non_null(strstr(got, "m "));
    assert_non_null(strstr(got, "s left\r\033[K"));
}

static void test_progress_fits_the_terminal(void **state)
{
    (void)state;
    capture_terminal(12);
    progress_start("\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9 is wide", 100);
    progress_end();
    assert_string_equal(capture_end(),
                        "\r\033[K\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9 \r\033[K");
}

static void test_progress_without_a_total_tells_no_percentage(void **state)
{
    (void)state;
    capture_terminal(80);
    progress_start("read", 0);
    progress_end();
    progress_add(1); /* after the end: nothing to show */
    assert_string_equal(capture_end(), "\r\033[Kread  0s\r\033[K");
}

static void test_progress_is_quiet_in_files_at_first_and_with_q(void **state)
{
    (void)state;
    capture_file();
    progress_start("calibrate", 100);
    progress_stage("layer 1/2");
    progress_add(50);
    progress_end();
    assert_string_equal(capture_end(), "");
    log_level_set(LOG_WARN);
    capture_terminal(80);
    progress_start("calibrate", 100);
    progress_add(50);
    progress_end();
    assert_string_equal(capture_end(), "");
    log_level_set(LOG_INFO);
}

static void *write_lines(void *arg)
{
    for (int i = 0; i < 200; i++) {
        log_line(LOG_INFO, "thread %s line %03d, and enough text to be torn", (const char *)arg, i);
        progress_add(1);
    }
    return NULL;
}

static void test_lines_of_several_threads_stay_whole(void **state)
{
    static char names[4][2] = {"0", "1", "2", "3"};
    pthread_t threads[4];
    int lines = 0;

    (void)state;
    capture_file();
    progress_start("work", 800);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, names[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    progress_end();
    const char *at = capture_end();
    while (*at) {
        const char *end = strchr(at, '\n');
        assert_non_null(end);
        assert_int_equal(end - at, strlen("hcsmoe: thread 0 line 000, and enough text to be torn"));
        assert_memory_equal(at, "hcsmoe: thread ", 15);
        at = end + 1;
        lines++;
    }
    assert_int_equal(lines, 800);
}

static void test_the_clock_goes_forward(void **state)
{
    (void)state;
    double before = now_s();
    wait_s(0.01);
    assert_true(now_s() - before >= 0.01);
}

static void test_memory_is_told_in_bytes(void **state)
{
    (void)state;
    assert_true(memory_peak_rss() > 1024 * 1024);
    assert_true(memory_physical() > 16 * 1024 * 1024);
    assert_true(memory_physical() <=
                (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGESIZE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_name_their_level),
        cmocka_unit_test(test_levels_drop_lines),
        cmocka_unit_test(test_control_characters_are_written_out),
        cmocka_unit_test(test_a_line_of_any_length_stays_one_line),
        cmocka_unit_test(test_color_is_for_terminals_that_want_it),
        cmocka_unit_test(test_progress_on_a_terminal_is_a_live_line),
        cmocka_unit_test(test_progress_is_shown_ten_times_a_second_at_most),
        cmocka_unit_test(test_progress_tells_the_time_left),
        cmocka_unit_test(test_progress_fits_the_terminal),
        cmocka_unit_test(test_progress_without_a_total_tells_no_percentage),
        cmocka_unit_test(test_progress_is_quiet_in_files_at_first_and_with_q),
        cmocka_unit_test(test_lines_of_several_threads_stay_whole),
        cmocka_unit_test(test_the_clock_goes_forward),
        cmocka_unit_test(test_memory_is_told_in_bytes),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
