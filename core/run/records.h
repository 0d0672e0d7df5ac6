/*
 * records.h - records of evaluation tasks: JSON lines, formatted by the tasks' plugins, kept.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_RECORDS_H
#define CORE_RUN_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hcsmoe/task.h>

#include "base/error.h"
#include "base/mem.h"
#include "plugin/host.h"

enum { RECORD_KEY_CHARS = 65 };

/* What a plugin made of a record (hcsmoe_task_doc), its strings in an arena. */
struct record {
    const char *question;
    const char *const *choices;   /* [n_choices] */
    const char *const *questions; /* [n_choices], or NULL */
    int64_t n_choices, gold;
    const char *answer, *example;
    const char *text;
    int64_t n_words, n_bytes;
    int64_t line; /* in its file, from 1 */
    /* SHA-256 of all members, where asked for: equal records have equal keys. */
    char key[RECORD_KEY_CHARS];
};

/* A task that takes records of a file. */
struct record_sink {
    const char *task; /* its name, for messages */
    const hcsmoe_task_ops *ops;
    void *self;
    bool keys;              /* keep record.key */
    struct record *records; /* read; mem_free */
    size_t n, capacity;
};

/* The file FOLDER/NAME.SPLIT.jsonl or .jsonl.gz of the first split that is there, in *path, new.
 * splits is NULL-terminated. None is there: an error that says which were looked for. */
int records_find(const char *folder, const char *name, const char *const *splits,
                 char **path) MUST_CHECK;

/* Reads the file once: every record goes to each sink whose filter it passes. A sink that got none
 * is an error. Errors name file and line. Strings lie in the arena. */
int records_read(const char *path, struct host *h, struct record_sink *sinks, size_t n,
                 struct arena *a) MUST_CHECK;

#endif
