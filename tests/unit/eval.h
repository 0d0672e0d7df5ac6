/*
 * eval.h - what tests of evaluation share: host, plugins, a tokenizer whose ids are bytes, a folder.
 * SPDX-License-Identifier: MIT
 */
#ifndef TESTS_UNIT_EVAL_H
#define TESTS_UNIT_EVAL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/log.h"
#include "base/path.h"
#include "run/tasks.h"

#include <cmocka.h> /* last: its macro fail() would hide ours */

enum { BOS = 256, EOS = 257, WORLD_PATH = 512 };

struct world {
    struct host *host;
    struct registry *registry;
    struct tokenizer *tokenizer;
    struct ini ini;
    struct arena arena;
    char folder[WORLD_PATH];
};

static inline void must(int status)
{
    if (status)
        fail_msg("%d: %s", status, fail_message());
}

/* The call failed and said so. */
static inline void must_say(int status, const char *part)
{
    assert_true(status < 0);
    if (!strstr(fail_message(), part))
        fail_msg("'%s' does not hold '%s'", fail_message(), part);
}

/* tokenizer: "bytes", or "bytes-bos", which puts BOS in front. */
static inline void world_open(struct world *w, const char *tokenizer)
{
    const char *temporary = getenv("TMPDIR");
    char path[WORLD_PATH];

    *w = (struct world){0};
    log_level_set(LOG_ERROR);
    must(host_open(&w->host, 2, 0));
    must(registry_open(&w->registry, w->host));
    must(registry_add_path(w->registry, PLUGINS, "."));
    (void)snprintf(path, sizeof path, "%s/eval/%s", TEST_DATA, tokenizer);
    must(tokenizer_open(&w->tokenizer, path));
    (void)snprintf(w->folder, sizeof w->folder, "%s/hcsmoe-eval-XXXXXX",
                   temporary ? temporary : "/tmp");
    assert_non_null(mkdtemp(w->folder));
}

static inline void world_close(struct world *w)
{
    (void)path_remove_tree(w->folder);
    ini_release(&w->ini);
    arena_release(&w->arena);
    tokenizer_close(w->tokenizer);
    registry_close(w->registry);
    host_close(w->host);
}

/* Its path; owned by the arena. */
static inline char *world_file(struct world *w, const char *name, const char *text)
{
    char path[WORLD_PATH + 64];

    (void)snprintf(path, sizeof path, "%s/%s", w->folder, name);
    must(path_write(path, text, strlen(text)));
    return arena_strdup(&w->arena, path);
}

/* A JSON file of the test data. */
static inline json_t *world_json(const char *name)
{
    char path[WORLD_PATH];
    json_error_t error;

    (void)snprintf(path, sizeof path, "%s/eval/%s", TEST_DATA, name);
    json_t *json = json_load_file(path, 0, &error);
    if (!json)
        fail_msg("%s: %s", path, error.text);
    return json;
}

/* Formats the records in text with a task's plugin; strings live as long as the world. */
static inline int world_format(struct world *w, const char *task, const char *text,
                               struct record_sink *sink)
{
    const struct component *c = NULL;
    const char *path = world_file(w, "records.jsonl", text);

    must(registry_find(w->registry, HCSMOE_KIND_TASK, task, &c));
    *sink = (struct record_sink){.task = task, .ops = c->c.ops};
    return records_read(path, w->host, sink, 1, &w->arena);
}

#endif
