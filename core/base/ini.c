/*
 * ini.c - reads an INI file through inih and keeps the line of every value.
 *
 * inih is given its lines by our reader. It does not tell the handler which line it is at, whether
 * a call continues the value before it, nor that it cut a line or a section name; the reader knows.
 * SPDX-License-Identifier: MIT
 */
#include "base/ini.h"

#include <ctype.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"

enum {
    FILE_BYTES_MAX = 1024 * 1024, /* a thousand times what a run needs */
    VALUES_MAX = 10000,           /* keeps the search for repeated keys cheap */
    SECTION_BYTES_MAX = 49,       /* inih cuts a longer name without a word */
    QUOTE_BYTES_MAX = 60,         /* of a wrong line, in a message */
    WHERE_BYTES = 4608            /* a path, a section and a key */
};

struct reader {
    struct ini *ini;
    const char *text;  /* the whole file */
    const char *at;    /* what inih has not seen */
    const char *end;
    int line;
    size_t indent;     /* of this line */
    size_t key_indent; /* of the line of the last key */
    bool after_key;    /* no section since the last key: an indented line goes on with its value */
    struct str value;  /* of the last key, while it may go on */
    int status;        /* first failure, found at error_line */
    int error_line;
};

static const char *skip_space(const char *s, const char *end)
{
    while (s < end && isspace((unsigned char)*s)) {
        s++;
    }
    return s;
}

/* The end of [s, end) without the spaces there. */
static const char *trim_end(const char *s, const char *end)
{
    while (end > s && isspace((unsigned char)end[-1])) {
        end--;
    }
    return end;
}

/* Sets the first failure, whose message fail() has just made. */
static void reader_stop(struct reader *r, int status)
{
    r->status = status;
    r->error_line = r->line;
}

/* A section line, from its bracket on. inih would cut a long name and skip what follows it. */
static void reader_check_section(struct reader *r, const char *start, const char *stop)
{
    const char *path = r->ini->path;
    const char *close = memchr(start, ']', (size_t)(stop - start));

    if (!close) {
        return; /* inih reports it */
    }
    size_t len = (size_t)(close - start) - 1;
    const char *rest = skip_space(close + 1, stop);
    if (len == 0) {
        reader_stop(r, fail(HCSMOE_EINVAL, "%s:%d: section without a name", path, r->line));
    } else if (len > SECTION_BYTES_MAX) {
        reader_stop(r, fail(HCSMOE_EINVAL, "%s:%d: section name of %zu bytes, at most %d", path,
                            r->line, len, (int)SECTION_BYTES_MAX));
    } else if (rest < stop && *rest != ';' && *rest != '#') {
        int n = stop - rest < QUOTE_BYTES_MAX ? (int)(stop - rest) : QUOTE_BYTES_MAX;
        reader_stop(r, fail(HCSMOE_EINVAL, "%s:%d: text after '[%.*s]': '%.*s'", path, r->line,
                            (int)len, start + 1, n, rest));
    }
    r->after_key = false;
}

/* inih's fgets: one line without its end into line[size], NULL at the end or to stop. */
static char *reader_next(char *line, int size, void *stream)
{
    struct reader *r = stream;

    if (r->status < 0 || r->at == r->end) {
        return NULL;
    }
    r->line++;
    const char *start = r->at;
    const char *newline = memchr(start, '\n', (size_t)(r->end - start));
    const char *stop = trim_end(start, newline ? newline : r->end);
    r->at = newline ? newline + 1 : r->end;

    const char *word = skip_space(start, stop);
    r->indent = (size_t)(word - start);
    line[0] = '\0';
    if (word == stop || *word == ';' || *word == '#') {
        return line; /* a comment may be as long as it likes */
    }
    size_t len = (size_t)(stop - start);
    if (len >= (size_t)size) {
        reader_stop(r, fail(HCSMOE_EINVAL,
                            "%s:%d: line of %zu bytes, at most %d; continue a long value on an "
                            "indented line",
                            r->ini->path, r->line, len, size - 1));
        return NULL;
    }
    if (*word == '[' && !(r->after_key && r->indent > 0)) {
        reader_check_section(r, word, stop);
        if (r->status < 0) {
            return NULL;
        }
    }
    memcpy(line, start, len);
    line[len] = '\0';
    return line;
}

/* The last key has all of its value. */
static int reader_finish_value(struct reader *r)
{
    struct ini *ini = r->ini;

    if (ini->n == 0 || ini->values[ini->n - 1].value) {
        return 0;
    }
    int status = str_check(&r->value);
    if (status == 0) {
        ini->values[ini->n - 1].value = mem_strndup(str_text(&r->value), r->value.len);
        status = ini->values[ini->n - 1].value ? 0 : HCSMOE_ENOMEM;
    }
    str_clear(&r->value);
    return status;
}

/* Adds a value that has no text yet; names are copied. */
static int values_add(struct ini *ini, const char *section, const char *key, int line)
{
    if (ini->n >= VALUES_MAX) {
        return fail(HCSMOE_EINVAL, "more than %d keys", (int)VALUES_MAX);
    }
    int status = mem_grow(&ini->values, ini->n, &ini->capacity, sizeof *ini->values);
    if (status < 0) {
        return status;
    }
    struct ini_value v = {
        .section = mem_strdup(section), .key = mem_strdup(key), .line = line};
    if (!v.section || !v.key) {
        mem_free(v.section);
        mem_free(v.key);
        return HCSMOE_ENOMEM;
    }
    ini->values[ini->n++] = v;
    return 0;
}

static int reader_key(struct reader *r, const char *section, const char *key, const char *value)
{
    const char *path = r->ini->path;

    int status = reader_finish_value(r);
    if (status < 0) {
        return status;
    }
    if (!key[0]) {
        return fail(HCSMOE_EINVAL, "%s:%d: value without a key", path, r->line);
    }
    if (!section[0]) {
        return fail(HCSMOE_EINVAL, "%s:%d: key '%s' stands before the first [section]", path,
                    r->line, key);
    }
    const struct ini_value *first = ini_find(r->ini, section, key);
    if (first) {
        return fail(HCSMOE_EINVAL, "%s:%d: [%s] %s: given twice, first at line %d", path, r->line,
                    section, key, first->line);
    }
    status = values_add(r->ini, section, key, r->line);
    if (status < 0) {
        return fail_in(status, "%s:%d", path, r->line);
    }
    str_add(&r->value, value);
    r->after_key = true;
    r->key_indent = r->indent;
    return 0;
}

/* More of the last value. inih takes comments off the line of a key, but not off this one. */
static int reader_continue(struct reader *r, const char *text)
{
    const struct ini_value *v = &r->ini->values[r->ini->n - 1];
    const char *end = text + strlen(text);

    if (r->indent <= r->key_indent) {
        return fail(HCSMOE_EINVAL,
                    "%s:%d: indented like the key '%s' above it: a key starts in the first column, "
                    "an indented line continues a value",
                    r->ini->path, r->line, v->key);
    }
    for (const char *s = text; s < end; s++) {
        if (*s == ';' && s > text && isspace((unsigned char)s[-1])) {
            end = trim_end(text, s);
        }
    }
    if (r->value.len > 0 && r->value.text[r->value.len - 1] != ',') {
        str_add(&r->value, " ");
    }
    str_add_bytes(&r->value, text, (size_t)(end - text));
    return 0;
}

/* inih's handler: 1 to go on, 0 for a failure at this line. */
static int reader_take(void *user, const char *section, const char *key, const char *value)
{
    struct reader *r = user;

    int status = r->after_key && r->indent > 0 ? reader_continue(r, value)
                                               : reader_key(r, section, key, value);
    if (status < 0) {
        reader_stop(r, status);
    }
    return status == 0;
}

/* inih found a line that it cannot read. */
static int fail_at_line(const struct reader *r, int line)
{
    const char *start = r->text;

    for (int i = 1; i < line; i++) {
        start = (const char *)memchr(start, '\n', (size_t)(r->end - start)) + 1;
    }
    const char *newline = memchr(start, '\n', (size_t)(r->end - start));
    start = skip_space(start, newline ? newline : r->end);
    const char *stop = trim_end(start, newline ? newline : r->end);
    int n = stop - start < QUOTE_BYTES_MAX ? (int)(stop - start) : QUOTE_BYTES_MAX;
    return fail(HCSMOE_EINVAL, "%s:%d: not 'key = value' nor '[section]': '%.*s'", r->ini->path,
                line, n, start);
}

static int fail_if_nul(const char *path, const char *text, size_t size)
{
    const char *nul = memchr(text, '\0', size);
    int line = 1;

    if (!nul) {
        return 0;
    }
    for (const char *s = text; s < nul; s++) {
        line += *s == '\n';
    }
    return fail(HCSMOE_EINVAL, "%s:%d: NUL byte: this is no UTF-8 text", path, line);
}

static int values_read(struct ini *ini, const char *text, size_t size)
{
    struct reader r = {.ini = ini, .text = text, .at = text, .end = text + size};

    int status = fail_if_nul(ini->path, text, size);
    if (status < 0) {
        return status;
    }
    if (str_starts(text, "\xEF\xBB\xBF")) { /* the UTF-8 byte order mark of Windows editors */
        r.text += 3;
        r.at += 3;
    }
    int line = ini_parse_stream(reader_next, &r, reader_take, &r);
    if (line < 0) {
        status = fail(HCSMOE_ENOMEM, "%s: out of memory for parsing", ini->path);
    } else if (line > 0 && (r.status == 0 || line < r.error_line)) {
        status = fail_at_line(&r, line);
    } else {
        status = r.status < 0 ? r.status : reader_finish_value(&r);
    }
    str_release(&r.value);
    return status;
}

int ini_read(struct ini *ini, const char *path)
{
    char *text = NULL;
    size_t size = 0;

    *ini = (struct ini){.path = mem_strdup(path), .folder = path_folder(path)};
    int status = ini->path && ini->folder ? 0 : HCSMOE_ENOMEM;
    if (status == 0) {
        status = path_read(path, FILE_BYTES_MAX, &text, &size);
    }
    if (status == 0) {
        status = values_read(ini, text, size);
    }
    mem_free(text);
    if (status < 0) {
        ini_release(ini);
    }
    return status;
}

struct ini_value *ini_find(const struct ini *ini, const char *section, const char *key)
{
    for (size_t i = 0; i < ini->n; i++) {
        if (strcmp(ini->values[i].key, key) == 0 && strcmp(ini->values[i].section, section) == 0) {
            return &ini->values[i];
        }
    }
    return NULL;
}

/* [start, end) without spaces at both ends, as a new string. */
static char *trimmed_copy(const char *start, const char *end)
{
    start = skip_space(start, end);
    return mem_strndup(start, (size_t)(trim_end(start, end) - start));
}

/* Replaces or adds; takes `value` over, also when it fails. */
static int values_override(struct ini *ini, const char *section, const char *key, char *value)
{
    struct ini_value *v = ini_find(ini, section, key);

    if (!v) {
        int status = values_add(ini, section, key, 0);
        if (status < 0) {
            mem_free(value);
            return status;
        }
        v = &ini->values[ini->n - 1];
    }
    mem_free(v->value);
    v->value = value;
    v->line = 0;
    v->overridden = true;
    return 0;
}

int ini_set(struct ini *ini, const char *assignment)
{
    const char *equals = strchr(assignment, '=');
    const char *dot = strchr(assignment, '.');
    int status = HCSMOE_ENOMEM;

    if (!equals || !dot || dot > equals) {
        return fail(HCSMOE_EINVAL, "-s '%s': not section.key=value", assignment);
    }
    char *section = trimmed_copy(assignment, dot);
    char *key = trimmed_copy(dot + 1, equals);
    char *value = trimmed_copy(equals + 1, equals + strlen(equals));
    if (!section || !key || !value) {
        goto out;
    }
    if (!section[0] || !key[0]) {
        status = fail(HCSMOE_EINVAL, "-s '%s': not section.key=value", assignment);
        goto out;
    }
    status = values_override(ini, section, key, value);
    value = NULL;
out:
    mem_free(value);
    mem_free(key);
    mem_free(section);
    return status;
}

const char *ini_where(const struct ini *ini, const struct ini_value *v)
{
    static _Thread_local char where[WHERE_BYTES];
    int n;

    if (v->overridden) {
        n = snprintf(where, sizeof where, "-s %s.%s", v->section, v->key);
    } else {
        n = snprintf(where, sizeof where, "%s:%d: [%s] %s", ini->path ? ini->path : "", v->line,
                     v->section, v->key);
    }
    return n < 0 ? "" : where; /* a longer one is cut, which a message survives */
}

void ini_release(struct ini *ini)
{
    for (size_t i = 0; i < ini->n; i++) {
        mem_free(ini->values[i].section);
        mem_free(ini->values[i].key);
        mem_free(ini->values[i].value);
    }
    mem_free(ini->values);
    mem_free(ini->folder);
    mem_free(ini->path);
    *ini = (struct ini){0};
}
