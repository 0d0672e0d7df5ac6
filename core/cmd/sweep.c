/*
 * sweep.c - hcsmoe sweep: the product of settings, from one calibration.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "cmd/cmd.h"
#include "run/sweep.h"

enum { COMBINATIONS_MAX = 4096 }; /* every one of them is a configuration in memory */

/* One --set: the key and its values. */
struct axis {
    char *text; /* "section.key", the values behind it, NUL between them */
    const char **values;
    size_t n;
};

/* "group.linkage=single,average"; values that hold commas are parted by ';'. */
static int axis_read(struct axis *x, const char *word)
{
    const char *equals = strchr(word, '=');
    const char mark = equals && strchr(equals, ';') ? ';' : ',';
    size_t most = 1;

    if (!equals || (strncmp(word, "group.", 6) && strncmp(word, "merge.", 6)))
        return fail(HCSMOE_EINVAL,
                    "--set %s: must be group.KEY=VALUES or merge.KEY=VALUES: all else is shared by "
                    "the combinations",
                    word);
    for (const char *p = equals; *p; p++)
        most += *p == mark;
    x->text = mem_strdup(word);
    x->values = mem_new(most, sizeof *x->values);
    if (!x->text || !x->values)
        return HCSMOE_ENOMEM;
    char *at = x->text + (equals - word);
    *at++ = '\0';
    for (char *next; at; at = next) {
        next = strchr(at, mark);
        if (next)
            *next++ = '\0';
        at += strspn(at, " ");
        if (!*at)
            return fail(HCSMOE_EINVAL, "--set %s: an empty value", word);
        x->values[x->n++] = at;
    }
    return 0;
}

static void axes_release(struct axis *axes, size_t n)
{
    for (size_t i = 0; axes && i < n; i++) {
        mem_free(axes[i].text);
        mem_free(axes[i].values);
    }
    mem_free(axes);
}

static void combinations_release(struct combination *all, size_t n)
{
    for (size_t i = 0; all && i < n; i++) {
        for (size_t k = 0; all[i].sets && k < all[i].n_sets; k++)
            mem_free(all[i].sets[k]);
        mem_free(all[i].sets);
        config_close(all[i].c);
    }
    mem_free(all);
}

/* The index-th combination; the last axis turns fastest. */
static int combination_open(struct combination *x, const struct args *a, const struct axis *axes,
                            size_t n_axes, size_t index)
{
    const char **sets = mem_new(a->n_sets + n_axes, sizeof *sets);
    int status = 0;

    x->sets = mem_new(n_axes, sizeof *x->sets);
    if (!sets || !x->sets)
        status = HCSMOE_ENOMEM;
    if (!status && a->n_sets)
        memcpy(sets, a->sets, a->n_sets * sizeof *sets);
    x->n_sets = n_axes;
    for (size_t k = n_axes; !status && k-- > 0; index /= axes[k].n) {
        x->sets[k] = mem_printf("%s=%s", axes[k].text, axes[k].values[index % axes[k].n]);
        sets[a->n_sets + k] = x->sets[k];
        if (!x->sets[k])
            status = HCSMOE_ENOMEM;
    }
    if (!status)
        status = config_open(&x->c, a->ini, sets, a->n_sets + n_axes, a->plugins, a->n_plugins,
                             CONFIG_SWEEP);
    mem_free(sets);
    return status;
}

static int combinations_open(struct combination **out, size_t *n, const struct args *a,
                             struct axis *axes)
{
    size_t all = 1;
    int status = 0;

    for (size_t i = 0; !status && i < a->n_axes; i++) {
        status = axis_read(&axes[i], a->axes[i]);
        all *= axes[i].n ? axes[i].n : 1;
        if (!status && all > COMBINATIONS_MAX)
            status = fail(HCSMOE_EINVAL, "%zu combinations: at most %d", all, COMBINATIONS_MAX);
    }
    if (status)
        return status;
    *out = mem_new(all, sizeof **out);
    *n = *out ? all : 0;
    for (size_t i = 0; !status && i < *n; i++)
        status = combination_open(&(*out)[i], a, axes, a->n_axes, i);
    return *out ? status : HCSMOE_ENOMEM;
}

static int results_say(const struct args *a, const json_t *rows, const struct str *table)
{
    int status = 0;
    if (a->json) {
        char *text = json_dumps(rows, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
        status = text ? path_write(a->json, text, strlen(text)) : fail_memory(0);
        free(text); /* from json_dumps */
    }
    if (!status) {
        fputs(str_text(table), stdout);
        status = fflush(stdout) ? fail_errno("standard output", "cannot be written") : 0;
    }
    return status;
}

int cmd_sweep(const struct args *a)
{
    struct combination *all = NULL;
    struct axis *axes = mem_new(a->n_axes + 1, sizeof *axes);
    struct str table = {0};
    json_t *rows = NULL;
    bool started = false;
    size_t n = 0;

    if (!a->ini || !a->n_axes) {
        axes_release(axes, 0);
        return say_usage(a, a->ini ? "--set section.key=a,b is missing" : "-c FILE is missing");
    }
    int status = axes ? combinations_open(&all, &n, a, axes) : HCSMOE_ENOMEM;
    if (!status)
        status = sweep_run(all, n, a->write, a->json, &started, &rows, &table);
    if (!status)
        status = results_say(a, rows, &table);
    const int exit_status = status ? say_failure(status, started) : EXIT_DONE;
    json_decref(rows);
    str_release(&table);
    combinations_release(all, n);
    axes_release(axes, a->n_axes);
    return exit_status;
}
