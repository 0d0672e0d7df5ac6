/*
 * cmd.h - the subcommands: each reads its arguments, calls the room below, and turns a status into
 * an exit status.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_CMD_CMD_H
#define CORE_CMD_CMD_H

#include <stdbool.h>
#include <stddef.h>

#include "run/config.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

struct command;

/* Arguments of all commands; what a command does not take, it refuses. Strings are argv's. */
struct args {
    const struct command *command;
    const char *ini, *model, *json, *trace, *out; /* -c, -m, --json, --trace, -o */
    const char *reference;                        /* --reference */
    const char **sets, **plugins;                 /* -s, --plugin */
    size_t n_sets, n_plugins;
    const char **words; /* what is left */
    size_t n_words;
    const char **axes; /* --set */
    size_t n_axes;
    bool no_special, lines, write, markdown;
};

struct command {
    const char *name, *usage, *summary;
    const char *takes; /* letters: c -c, m -m, j --json, s -s, l --lines, n --no-special,
                          t --trace, S --set, w --write, k --markdown, o -o, r --reference */
    int words_least, words_most;
    int (*run)(const struct args *a);
};

extern const struct command commands[];
extern const size_t n_commands;

int cmd_run(const struct args *a);
int cmd_check(const struct args *a);
int cmd_config(const struct args *a);
int cmd_eval(const struct args *a);
int cmd_score(const struct args *a);
int cmd_tokenize(const struct args *a);
int cmd_inspect(const struct args *a);
int cmd_sweep(const struct args *a);
int cmd_report(const struct args *a);
int cmd_expand(const struct args *a);
int cmd_collapse(const struct args *a);
int cmd_plugins(const struct args *a);
int cmd_verify(const struct args *a);
int cmd_help(const struct args *a);

/* config_open with the arguments; NULL: an error was logged. */
struct config *args_config(const struct args *a, enum config_use use);
/* Logs this thread's message; gives the exit status of a status. */
int say_failure(int status, bool started);
/* One usage error, logged; EXIT_USAGE. */
int say_usage(const struct args *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
