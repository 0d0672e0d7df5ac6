/*
 * main.c - finds the subcommand.
 * SPDX-License-Identifier: MIT
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/trace.h"
#include "base/version.h"
#include "cmd/cmd.h"
#include "plugin/crash.h"

const struct command commands[] = {
    {"run", "hcsmoe [run] -c FILE [-s section.key=value ...] [--trace OUT]", "the whole pipeline",
     "cst", 0, 0, cmd_run},
    {"check", "hcsmoe check -c FILE [-s ...]",
     "reads everything that can be wrong, prints the plan, writes nothing", "cs", 0, 0, cmd_check},
    {"config", "hcsmoe config -c FILE [-s ...]",
     "every key with its effective value and where it came from", "cs", 0, 0, cmd_config},
    {"eval", "hcsmoe eval -m FOLDER -c FILE [--json OUT] [--trace OUT] [-s ...]",
     "only [eval], on any checkpoint", "cmjst", 0, 0, cmd_eval},
    {"score", "hcsmoe score -m FOLDER [-c FILE] < requests.jsonl",
     "log-likelihoods of your own requests", "cmst", 0, 0, cmd_score},
    {"tokenize", "hcsmoe tokenize -m FOLDER [--no-special] [--lines] < text",
     "token ids, a JSON array", "mnl", 0, 0, cmd_tokenize},
    {"sweep", "hcsmoe sweep -c FILE --set section.key=a,b ... [--json OUT] [--write] [-s ...]",
     "the product of settings of [group] and [merge], from one calibration", "cjsSwt", 0, 0,
     cmd_sweep},
    {"inspect", "hcsmoe inspect FOLDER", "what a checkpoint is, and how it was made", "s", 1, 1,
     cmd_inspect},
    {"report", "hcsmoe report FOLDER ... [-o FILE]",
     "report.html again, from the report.json of a run; several runs side by side", "o", 1, 62,
     cmd_report},
    {"expand", "hcsmoe expand IN OUT [-s output.overwrite=yes]",
     "a mapped checkpoint with every expert written out", "cs", 2, 2, cmd_expand},
    {"collapse", "hcsmoe collapse IN OUT [-c FILE] [-s output.row=weighted]",
     "a mapped checkpoint with one router row for each expert, measured on FILE's text", "cs", 2, 2,
     cmd_collapse},
    {"plugins", "hcsmoe plugins", "the menu: every family, method, task and device", "cs", 0, 0,
     cmd_plugins},
    {"verify-plugin", "hcsmoe verify-plugin FILE.so [-m FOLDER] [--reference LOGITS] [-s ...]",
     "holds a plugin to the rules of its kind, a line for each check", "mrs", 1, 1, cmd_verify},
    {"help", "hcsmoe help [COMMAND | KIND.NAME | SECTION.KEY | --markdown]",
     "this, every option of one method, one key of an INI, or all of them", "csk", 0, 1, cmd_help},
};
const size_t n_commands = sizeof commands / sizeof *commands;

enum { REPEATED_MAX = 1024 }; /* -s and --plugin */

int say_failure(int status, bool started)
{
    if (status == HCSMOE_ECANCELLED) {
        log_line(LOG_ERROR, "interrupted; nothing incomplete was left behind");
        return EXIT_INTERRUPTED;
    }
    log_line(LOG_ERROR, "%s", fail_message()[0] ? fail_message() : "failed without a message");
    return started ? EXIT_FAILED : EXIT_USAGE;
}

int say_usage(const struct args *a, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    log_line(LOG_ERROR, "%s; usage: %s", text,
             a->command ? a->command->usage : "hcsmoe COMMAND ..., see hcsmoe help");
    return EXIT_USAGE;
}

struct config *args_config(const struct args *a, enum config_use use)
{
    struct config *c;
    int status = config_open(&c, a->ini, a->sets, a->n_sets, a->plugins, a->n_plugins, use);
    if (status) {
        say_failure(status, false);
        return NULL;
    }
    return c;
}

static const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < n_commands; i++)
        if (!strcmp(commands[i].name, name))
            return &commands[i];
    return NULL;
}

static int command_unknown(const char *name)
{
    const char *names[sizeof commands / sizeof *commands];
    for (size_t i = 0; i < n_commands; i++)
        names[i] = commands[i].name;
    log_line(LOG_ERROR, "no command '%s' (see hcsmoe help)%s", name,
             did_you_mean(name, names, n_commands));
    return EXIT_USAGE;
}

/* One option with a value; the value is the rest of the word ("-cFILE", "--json=FILE") or the next
 * one. */
static bool option_takes(char **argv, int argc, int *i, const char *name, const char **value)
{
    const size_t n = strlen(name);
    const char *word = argv[*i];
    if (strncmp(word, name, n))
        return false;
    if (word[n] == '\0') {
        *value = *i + 1 < argc ? argv[++*i] : NULL;
        return true;
    }
    if (name[1] == '-' && word[n] != '=')
        return false;
    *value = word + n + (name[1] == '-');
    return true;
}

static int args_parse(struct args *a, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *value = "";
        char letter = 0;
        if (!strcmp(word, "-q"))
            log_level_set(LOG_WARN);
        else if (!strcmp(word, "-v"))
            log_level_set(LOG_VERBOSE);
        else if (!strcmp(word, "--no-special"))
            letter = 'n', a->no_special = true;
        else if (!strcmp(word, "--lines"))
            letter = 'l', a->lines = true;
        else if (!strcmp(word, "--write"))
            letter = 'w', a->write = true;
        else if (!strcmp(word, "--markdown"))
            letter = 'k', a->markdown = true;
        else if (option_takes(argv, argc, &i, "-c", &value))
            letter = 'c', a->ini = value;
        else if (option_takes(argv, argc, &i, "-m", &value))
            letter = 'm', a->model = value;
        else if (option_takes(argv, argc, &i, "-o", &value))
            letter = 'o', a->out = value;
        else if (option_takes(argv, argc, &i, "--json", &value))
            letter = 'j', a->json = value;
        else if (option_takes(argv, argc, &i, "--trace", &value))
            letter = 't', a->trace = value;
        else if (option_takes(argv, argc, &i, "--reference", &value))
            letter = 'r', a->reference = value;
        else if (option_takes(argv, argc, &i, "--plugin", &value)) {
            if (value && a->n_plugins < REPEATED_MAX)
                a->plugins[a->n_plugins++] = value;
        } else if (option_takes(argv, argc, &i, "--set", &value)) {
            letter = 'S';
            if (value && a->n_axes < REPEATED_MAX)
                a->axes[a->n_axes++] = value;
        } else if (option_takes(argv, argc, &i, "-s", &value)) {
            letter = 's';
            if (value && a->n_sets < REPEATED_MAX)
                a->sets[a->n_sets++] = value;
        } else if (word[0] == '-' && word[1])
            return say_usage(a, "no option '%s'", word);
        else if (!a->command && !a->n_words && (a->command = command_find(word)) != NULL)
            continue;
        else if (!a->command && !a->ini && !a->n_words)
            return command_unknown(word);
        else
            a->words[a->n_words++] = word;
        if (!value)
            return say_usage(a, "%s wants a value", word);
        if (letter && a->command && !strchr(a->command->takes, letter))
            return say_usage(a, "%s does not take %s", a->command->name, word);
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *sets[REPEATED_MAX], *plugins[REPEATED_MAX], *axes[REPEATED_MAX], *words[64];
    struct args a = {.sets = sets, .plugins = plugins, .axes = axes, .words = words};
    const struct sigaction cancel = {.sa_handler = (void (*)(int))host_cancel,
                                     .sa_flags = (int)SA_RESETHAND};

    mem_start();
    crash_watch();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    sigaction(SIGINT, &cancel, NULL);
    sigaction(SIGTERM, &cancel, NULL);
    if (argc > 1 && !strcmp(argv[1], "--version")) {
        printf("hcsmoe %s, plugin ABI %d.%d\n", HCSMOE_VERSION, HCSMOE_ABI_MAJOR,
               HCSMOE_ABI_MINOR_LATEST);
        return EXIT_DONE;
    }
    if (argc > 64)
        return say_usage(&a, "more than 63 arguments");
    if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
        a.command = command_find("help");
        return cmd_help(&a);
    }
    const int status = args_parse(&a, argc, argv);
    if (status)
        return status;
    if (!a.command && a.ini)
        a.command = command_find("run");
    if (!a.command)
        return say_usage(&a, "no command");
    if ((int)a.n_words < a.command->words_least || (int)a.n_words > a.command->words_most)
        return say_usage(&a, "%zu arguments", a.n_words);
    if (a.trace && trace_open(a.trace))
        return say_failure(HCSMOE_EINVAL, false);
    const int done = a.command->run(&a);
    /* Also of a run that failed: that is when one wants to know. */
    return trace_close() && done == EXIT_DONE ? say_failure(HCSMOE_EFAILED, true) : done;
}
