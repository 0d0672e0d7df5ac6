/*
 * refusal.h - what every refusal has in common, for the end-to-end tests.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TESTS_UNIT_REFUSAL_H
#define TESTS_UNIT_REFUSAL_H

#include <ctype.h>
#include <signal.h>

#include "e2e.h"

enum { PARTS_MAX = 4 };

/* What a message has to hold, for expect_refused. */
#define PARTS(...) ((const char *const[PARTS_MAX + 1]){__VA_ARGS__})

/* One line, "hcsmoe: error: …", no full stop, with every part; and neither the output "out" nor
 * anything temporary is there. parts ends with NULL or has PARTS_MAX. */
static inline void expect_refused(struct result r, int status, const char *const *parts)
{
    const size_t n = strlen(r.err);
    expect_status(r, status);
    if (!n || strchr(r.err, '\n') != r.err + n - 1)
        fail_msg("not one line: %s", r.err);
    if (!str_starts(r.err, "hcsmoe: error: ") || (r.err[n - 2] == '.' && r.err[n - 3] != '.'))
        fail_msg("not of the form of a message: %s", r.err);
    for (size_t i = 0; i < PARTS_MAX && parts[i]; i++)
        expect_text(r.err, parts[i]);
    if (*r.out)
        fail_msg("standard output holds: %s", r.out);
    if (path_exists(work("out")))
        fail_msg("an output was left after: %s", r.err);
    expect_clean();
}

/* Replaces the first `old` of a text file. */
static inline void text_replace(const char *path, const char *old, const char *with)
{
    const char *content = file_text(path, NULL), *at = strstr(content, old);
    if (!at)
        fail_msg("no '%s' in %s", old, path);
    file_write(path, text("%.*s%s%s", (int)(at - content), content, with, at + strlen(old)));
}

#endif
