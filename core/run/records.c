/*
 * records.c - JSON lines to formatted records.
 *
 * SPDX-License-Identifier: MIT
 */
#include "run/records.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/path.h"
#include "base/sha256.h"
#include "base/str.h"

enum {
    CHOICES_MAX = 1 << 16, /* of one record: each is a request */
    NAME_BYTES = 256       /* of "task/NAME" in messages */
};

int records_find(const char *folder, const char *name, const char *const *splits, char **path)
{
    static const char *const endings[] = {".jsonl", ".jsonl.gz"};
    struct str looked_for = {0};
    int status = 0;

    *path = NULL;
    if (!path_is_folder(folder))
        return fail(HCSMOE_EIO, "%s: no such folder (it should hold the records of %s)", folder,
                    name);
    for (size_t s = 0; splits[s]; s++) {
        for (size_t e = 0; e < sizeof endings / sizeof endings[0]; e++) {
            char *file = mem_printf("%s.%s%s", name, splits[s], endings[e]);
            char *full = file ? path_join(folder, file) : NULL;
            if (full && path_exists(full)) {
                *path = full;
                full = NULL;
            }
            str_addf(&looked_for, "%s%s", looked_for.len > 0 ? ", " : "", file ? file : "");
            status = file && (full || *path) ? 0 : HCSMOE_ENOMEM;
            mem_free(full);
            mem_free(file);
            if (status || *path)
                goto out;
        }
    }
    status = fail(HCSMOE_EIO, "%s: no records of %s (looked for %s)", folder, name,
                  str_text(&looked_for));
out:
    str_release(&looked_for);
    return status;
}

/* Copies a list of texts; neighbours that are one text, as in winogrande, are kept once. */
static int texts_copy(struct arena *a, const char *const *from, int64_t n, const char *const **to)
{
    const char **list = arena_alloc(a, (size_t)n * sizeof *list);

    if (!list)
        return HCSMOE_ENOMEM;
    for (int64_t i = 0; i < n; i++) {
        if (!from[i])
            return fail(HCSMOE_EPLUGIN, "gave no text for choice %lld: a fault of the plugin",
                        (long long)i);
        list[i] = i > 0 && from[i] == from[i - 1] ? list[i - 1] : arena_strdup(a, from[i]);
        if (!list[i])
            return HCSMOE_ENOMEM;
    }
    *to = list;
    return 0;
}

static int text_copy(struct arena *a, const char *from, const char **to)
{
    *to = from ? arena_strdup(a, from) : NULL;
    return from && !*to ? HCSMOE_ENOMEM : 0;
}

/* Checks what the plugin gave and takes it over. */
static int doc_copy(const hcsmoe_task_doc *d, int type, struct arena *a, struct record *r)
{
    int status = 0;

    if (type == HCSMOE_TASK_ROLLING) {
        if (!d->text || d->n_words < 1 || d->n_bytes < 0)
            return fail(HCSMOE_EPLUGIN,
                        "gave no text or no count of its words: a fault of the plugin");
        r->n_words = d->n_words;
        r->n_bytes = d->n_bytes;
        return text_copy(a, d->text, &r->text);
    }
    if (d->n_choices < 1 || d->n_choices > CHOICES_MAX)
        return fail(HCSMOE_EINVAL, "%lld choices: must be 1..%d", (long long)d->n_choices,
                    CHOICES_MAX);
    if (!d->choices || (!d->question && !d->questions))
        return fail(HCSMOE_EPLUGIN, "gave no question or no choices: a fault of the plugin");
    r->n_choices = d->n_choices;
    r->gold = d->gold;
    status = texts_copy(a, d->choices, d->n_choices, &r->choices);
    if (!status && d->questions)
        status = texts_copy(a, d->questions, d->n_choices, &r->questions);
    if (!status)
        status = text_copy(a, d->question, &r->question);
    if (!status)
        status = text_copy(a, d->answer, &r->answer);
    if (!status)
        status = text_copy(a, d->example, &r->example);
    return status;
}

static int key_add(const char *bytes, size_t n, void *sum)
{
    sha256_add(sum, bytes, n);
    return 0;
}

static int key_of(const json_t *record, char key[RECORD_KEY_CHARS])
{
    struct sha256 sum;

    sha256_init(&sum);
    if (json_dump_callback(record, key_add, &sum, JSON_COMPACT | JSON_SORT_KEYS))
        return fail_memory(0);
    sha256_hex(&sum, key);
    return 0;
}

static bool passes(const json_t *record, const hcsmoe_task_spec *spec)
{
    if (!spec->filter_field)
        return true;
    const char *value = json_string_value(json_object_get(record, spec->filter_field));
    return value && !strcmp(value, spec->filter_value);
}

static int sink_add(struct record_sink *s, struct host *h, const json_t *json, int64_t line,
                    struct arena *a)
{
    hcsmoe_task_doc doc = {.struct_size = sizeof doc};
    char name[NAME_BYTES];
    int status = mem_grow(&s->records, s->n, &s->capacity, sizeof *s->records);

    if (status)
        return status;
    struct record *r = &s->records[s->n];
    *r = (struct record){.line = line};
    (void)snprintf(name, sizeof name, "task/%s", s->task);
    host_enter(h, name, -1);
    status = s->ops->format(s->self, &h->abi, (const hcsmoe_json *)(const void *)json, &doc);
    if (!status)
        status = doc_copy(&doc, s->ops->spec->type, a,
                          r); /* inside the frame: scratch is gone after it */
    status = host_leave(h, status);
    if (!status && s->keys)
        status = key_of(json, r->key);
    if (!status)
        s->n++;
    return status;
}

static bool is_blank(const char *line, size_t n)
{
    size_t at = 0;

    while (at < n && (line[at] == ' ' || line[at] == '\t'))
        at++;
    return at == n;
}

static int line_add(const char *line, size_t len, int64_t number, struct host *h,
                    struct record_sink *sinks, size_t n, struct arena *a)
{
    json_error_t error;
    int status = 0;

    if (is_blank(line, len))
        return 0;
    json_t *json = json_take(line, len, 0, &error);
    if (!json)
        return fail(HCSMOE_EINVAL, "no JSON: %s (column %d)", error.text, error.column);
    if (!json_is_object(json))
        status = fail(HCSMOE_EINVAL, "not a JSON object");
    for (size_t i = 0; i < n && !status; i++)
        if (passes(json, sinks[i].ops->spec))
            status = sink_add(&sinks[i], h, json, number, a);
    json_decref(json);
    return status;
}

int records_read(const char *path, struct host *h, struct record_sink *sinks, size_t n,
                 struct arena *a)
{
    struct lines *l = NULL;
    char *line = NULL;
    size_t len = 0;
    int got = 0;
    int status = lines_open(&l, path);

    if (status)
        return status;
    while (!status && (got = lines_next(l, &line, &len)) == 1) {
        status = line_add(line, len, lines_number(l), h, sinks, n, a);
        if (status)
            status = fail_in(status, "%s:%lld", path, (long long)lines_number(l));
        if (!status && host_cancelled())
            status = fail(HCSMOE_ECANCELLED, "stopped on request");
    }
    lines_close(l);
    if (!status && got < 0)
        status = got;
    for (size_t i = 0; i < n && !status; i++) {
        const hcsmoe_task_spec *spec = sinks[i].ops->spec;
        if (sinks[i].n > 0)
            continue;
        if (spec->filter_field)
            status = fail(HCSMOE_EINVAL, "%s: no record whose %s is '%s', for task %s", path,
                          spec->filter_field, spec->filter_value, sinks[i].task);
        else
            status = fail(HCSMOE_EINVAL, "%s: no record in it", path);
    }
    return status;
}
