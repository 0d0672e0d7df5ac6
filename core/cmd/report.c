/*
 * report.c - hcsmoe report: report.html again from report.json, and several runs side by side.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "cmd/cmd.h"
#include "run/html.h"

/* A folder's name without its end slashes; new string. */
static char *name_trimmed(const char *folder)
{
    size_t n = strlen(folder);
    while (n > 1 && folder[n - 1] == '/')
        n--;
    return mem_strndup(folder, n);
}

/* The last parts of the names, unless two of them are the same. */
static void names_shorten(char *const *full, const char **names, size_t n)
{
    bool same = false;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            same = same || !strcmp(path_base(full[i]), path_base(full[k]));
    for (size_t i = 0; i < n; i++)
        names[i] = same ? full[i] : path_base(full[i]);
}

static int page_make(const struct args *a, json_t **reports, char **full, struct str *out)
{
    const char **names = mem_new(a->n_words, sizeof *names);
    int status = names ? 0 : HCSMOE_ENOMEM;

    for (size_t i = 0; !status && i < a->n_words; i++) {
        full[i] = name_trimmed(a->words[i]);
        status = full[i] ? html_read(full[i], &reports[i]) : HCSMOE_ENOMEM;
    }
    if (!status && a->n_words == 1)
        status = html_run(reports[0], out);
    else if (!status) {
        names_shorten(full, names, a->n_words);
        status = html_compare(reports, names, a->n_words, out);
    }
    mem_free(names);
    return status;
}

int cmd_report(const struct args *a)
{
    const size_t n = a->n_words;
    struct str page = {0};
    char *usual = NULL;

    if (n > 1 && !a->out)
        return say_usage(a, "%zu folders: -o FILE is missing", n);
    json_t **reports = mem_new(n, sizeof *reports);
    char **full = mem_new(n, sizeof *full);
    int status = reports && full ? page_make(a, reports, full, &page) : HCSMOE_ENOMEM;
    const bool started = !status;
    if (!status && !a->out) {
        usual = mem_printf("%s/hcsmoe/report.html", full[0]);
        status = usual ? 0 : HCSMOE_ENOMEM;
    }
    if (!status)
        status = path_write(a->out ? a->out : usual, page.text, page.len);
    if (!status)
        log_line(LOG_INFO, "%s: %zu bytes", a->out ? a->out : usual, page.len);
    const int exit_status = status ? say_failure(status, started) : EXIT_DONE;
    for (size_t i = 0; i < n; i++) {
        if (reports)
            json_decref(reports[i]);
        if (full)
            mem_free(full[i]);
    }
    mem_free(reports);
    mem_free(full);
    mem_free(usual);
    str_release(&page);
    return exit_status;
}
