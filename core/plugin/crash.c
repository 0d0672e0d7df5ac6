/*
 * crash.c - says which plugin a fatal signal came from, then lets the signal do its work.
 *
 * Plugins are foreign code in this process: without this line a crash in one of them looks like one of ours. Everything
 * that runs inside the handler is async-signal-safe: no allocation, no stdio, no locks.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin/crash.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "plugin/host.h"

#define STACK_BYTES                                                                                \
    32768 /* the frame of a signal holds all vector registers: up to 11 KiB so far */
#define LINE_BYTES 1024
#define LAYER_DIGITS 12

/* There when the program was built with one of them. */
extern void __asan_init(void) __attribute__((weak));
extern void __tsan_init(void) __attribute__((weak));

static const struct {
    int number;
    const char *name;
} signals[] = {
    {SIGSEGV, "segmentation fault"}, {SIGBUS, "bus error"}, {SIGFPE, "arithmetic error"},
    {SIGILL, "illegal instruction"}, {SIGABRT, "aborted"},
};
#define N_SIGNALS (sizeof signals / sizeof signals[0])

static atomic_bool watching;
static atomic_flag said = ATOMIC_FLAG_INIT;

static _Thread_local bool has_stack;
static _Thread_local char stack[STACK_BYTES];

/* Appends text at *at of line[LINE_BYTES]; what does not fit is left out. */
static void add(char *line, size_t *at, const char *text)
{
    while (*text != '\0' && *at < LINE_BYTES - 1)
        line[(*at)++] = *text++;
}

static void add_number(char *line, size_t *at, int number)
{
    char digits[LAYER_DIGITS];
    size_t i = sizeof digits - 1;

    digits[i] = '\0';
    do {
        digits[--i] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0 && i > 0);
    add(line, at, digits + i);
}

static const char *name_of(int number)
{
    size_t i;

    for (i = 0; i < N_SIGNALS; i++)
        if (signals[i].number == number)
            return signals[i].name;
    return "signal";
}

static void say(int number)
{
    char line[LINE_BYTES];
    size_t at = 0;
    int layer;
    const char *plugin = host_frame(&layer);

    add(line, &at, plugin != NULL ? "hcsmoe: plugin " : "hcsmoe: crashed (");
    if (plugin != NULL) {
        add(line, &at, plugin);
        add(line, &at, " crashed (");
    }
    add(line, &at, name_of(number));
    add(line, &at, ")");
    if (plugin != NULL && layer >= 0) {
        add(line, &at, " in layer ");
        add_number(line, &at, layer);
    }
    add(line, &at,
        plugin != NULL ? ": not hcsmoe's own code" : ": outside of any plugin, a fault of hcsmoe");
    line[at++] = '\n';
    (void)!write(STDERR_FILENO, line, at);
}

/* The action is the default one again (SA_RESETHAND) and the signal blocked until this returns: then it ends the
 * program where it happened, and a core file shows that place. */
static void crashed(int number)
{
    if (!atomic_flag_test_and_set(&said))
        say(number);
    (void)raise(number);
}

void crash_watch_thread(void)
{
    const stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};

    if (has_stack || !atomic_load(&watching))
        return;
    has_stack = true;
    (void)sigaltstack(&own, NULL);
}

void crash_watch(void)
{
    struct sigaction action = {.sa_handler = crashed};
    size_t i;

    if (__asan_init != NULL || __tsan_init != NULL)
        return;
    action.sa_flags = (int)(SA_ONSTACK | SA_RESETHAND);
    atomic_store(&watching, true);
    crash_watch_thread();
    for (i = 0; i < N_SIGNALS; i++)
        (void)sigaction(signals[i].number, &action, NULL);
}

void crash_ignore(void)
{
    const struct sigaction action = {.sa_handler = SIG_DFL};
    size_t i;

    for (i = 0; i < N_SIGNALS; i++)
        (void)sigaction(signals[i].number, &action, NULL);
}
