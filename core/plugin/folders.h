/*
 * folders.h - where plugins are looked for, in which order. For the registry alone.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_PLUGIN_FOLDERS_H
#define CORE_PLUGIN_FOLDERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/str.h"

struct folder {
    char *path;
    dev_t device;
    ino_t inode;
    bool exists;
};

/* Zeroed struct is empty. */
struct folders {
    struct folder *list;
    size_t n, capacity;
    size_t n_configured; /* from [plugins] path, in front */
};

/* HCSMOE_PLUGIN_PATH, the user's, beside the executable, the installed one. Never the current one. */
int folders_open(struct folders *f) MUST_CHECK;
void folders_close(struct folders *f);

/* Colon-separated ones from [plugins] path; relative ones start at base. */
int folders_add(struct folders *f, const char *list, const char *base) MUST_CHECK;

/* *path: new name of the file in the first folder that has it, NULL: none has. At LOG_VERBOSE the
 * folders without it and the files in its shadow are named. */
int folders_search(const struct folders *f, const char *file, char **path) MUST_CHECK;

/* Names hcsmoe-*.so in one folder, sorted; all owned by the caller. A folder that is not there has none. */
int folders_list(const struct folder *f, char ***names, size_t *n) MUST_CHECK;

/* "a, b, c" */
void folders_print(const struct folders *f, struct str *text);

#endif
