/*
 * ini.h - an INI file as a list of (section, key, value) with the place each came from.
 *
 * Wraps inih. Debian's inih cuts lines at 200 bytes without a word: a longer line is refused with
 * its number; long values go on on indented lines. Keys may be overridden from the command line.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_BASE_INI_H
#define CORE_BASE_INI_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct ini_value {
    char *section, *key, *value;
    int line;        /* 0: from the command line */
    bool overridden; /* this value came with -s */
    bool used;       /* set by whoever reads it */
};

struct ini {
    char *path;   /* as given; NULL when there is no file */
    char *folder; /* of the file; relative paths in it start here */
    struct ini_value *values;
    size_t n, capacity;
};

/* Repeated key in a section: error naming both lines. Text outside a section, a line that is no
 * "key = value", a line longer than inih takes, an unclosed section: errors with file:line. Keys
 * and sections are case-sensitive. An indented line continues the value above it (joined without a
 * space after a comma, else with one). */
int ini_read(struct ini *ini, const char *path) MUST_CHECK;

/* "section.key=value" from -s; the key may hold further dots ("group.hierarchical.linkage=x").
 * Replaces or adds. */
int ini_set(struct ini *ini, const char *assignment) MUST_CHECK;

struct ini_value *ini_find(const struct ini *ini, const char *section, const char *key);

/* "file.ini:14: [group] cluster" or "-s group.cluster": where a value stands. Owned by this thread,
 * valid until the next call. */
const char *ini_where(const struct ini *ini, const struct ini_value *v);

void ini_release(struct ini *ini);

#endif
