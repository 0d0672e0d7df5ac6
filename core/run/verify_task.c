/*
 * verify_task.c - does a task make documents of records, and say what is wrong with the others?
 * SPDX-License-Identifier: MIT
 */
#include <jansson.h>
#include <string.h>
#include <utf8proc.h>

#include <hcsmoe/task.h>

#include "base/mem.h"
#include "base/path.h"
#include "run/records.h"
#include "run/verify_suite.h"

enum {
    RECORDS_MAX = 200, /* of a file: enough to meet what is rare */
    CHANGED_MAX = 3,   /* of them with every member changed */
    CHOICES_MAX = 1 << 16
};

/* The records of the task, of [eval] data or of the bundled folder. */
struct found {
    char *path;
    json_t *records; /* array */
};

static void found_release(struct found *f)
{
    mem_free(f->path);
    json_decref(f->records);
}

static const hcsmoe_task_ops *ops_of(const struct verify *v)
{
    return v->component->c.ops;
}

static bool reads_records(const struct verify *v)
{
    const int32_t type = ops_of(v)->spec->type;
    return type == HCSMOE_TASK_CHOICE || type == HCSMOE_TASK_ROLLING;
}

static bool is_mine(const json_t *record, const hcsmoe_task_spec *s)
{
    const char *value =
        s->filter_field ? json_string_value(json_object_get(record, s->filter_field)) : NULL;
    return json_is_object(record) &&
           (!s->filter_field || (value && !strcmp(value, s->filter_value)));
}

static int records_take(struct found *f, const hcsmoe_task_spec *s)
{
    struct lines *l = NULL;
    char *line;
    size_t n;
    int got = 0, status = lines_open(&l, f->path);

    while (!status && json_array_size(f->records) < RECORDS_MAX &&
           (got = lines_next(l, &line, &n)) == 1) {
        json_t *record = json_loadb(line, n, 0, NULL);
        if (record && is_mine(record, s) && json_array_append(f->records, record))
            status = fail_memory(0);
        json_decref(record);
    }
    lines_close(l);
    if (!status && got < 0)
        status = got;
    if (!status && !json_array_size(f->records))
        status = verify_skip("%s has no record of it", f->path);
    return status;
}

static int records_load(const struct verify *v, struct found *f)
{
    const hcsmoe_task_spec *s = ops_of(v)->spec;
    const struct ini_value *set = ini_find(&v->ini, "eval", "data");
    char *folder = set ? mem_strdup(set->value) : verify_share("config/data/eval");

    *f = (struct found){.records = json_array()};
    int status = folder && f->records ? 0 : HCSMOE_ENOMEM;
    if (!status && records_find(folder, s->file, s->splits, &f->path))
        status = verify_skip("%s; give the folder with -s eval.data=FOLDER", fail_message());
    if (!status)
        status = records_take(f, s);
    mem_free(folder);
    return status;
}

static bool is_utf8(const char *text)
{
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)text;
    utf8proc_ssize_t left = (utf8proc_ssize_t)strlen(text);
    utf8proc_int32_t code;

    while (left > 0) {
        const utf8proc_ssize_t n = utf8proc_iterate(at, left, &code);
        if (n < 1)
            return false;
        at += n;
        left -= n;
    }
    return true;
}

static int text_check(struct verify *v, const char *name, const char *text, struct str *out)
{
    if (text && !is_utf8(text))
        return verify_broken(v, "'%s' is not UTF-8", name);
    str_addf(out, "%s=%s\n", name, text ? text : "(none)");
    return 0;
}

/* known: of a record as it is published, which says what is right. */
static int choices_check(struct verify *v, const hcsmoe_task_doc *d, bool known, struct str *out)
{
    int status = 0;

    if (d->n_choices < 1 || d->n_choices > CHOICES_MAX)
        return verify_broken(v, "n_choices is %lld: must be 1..%d", (long long)d->n_choices,
                             CHOICES_MAX);
    if (!d->choices || (!d->question && !d->questions))
        return verify_broken(v, "gives no %s", d->choices ? "question" : "choices");
    if (known && (d->gold < -1 || d->gold >= d->n_choices))
        return verify_broken(v, "gold is %lld: must be 0..%lld, or -1 where it is not known",
                             (long long)d->gold, (long long)d->n_choices - 1);
    for (int64_t i = 0; !status && i < d->n_choices; i++) {
        if (!d->choices[i] || (d->questions && !d->questions[i]))
            return verify_broken(v, "gives no text for choice %lld", (long long)i);
        status = text_check(v, "choices", d->choices[i], out);
        if (!status)
            status = text_check(v, "questions", d->questions ? d->questions[i] : NULL, out);
    }
    str_addf(out, "gold=%lld\n", (long long)d->gold);
    return status;
}

static int doc_check(struct verify *v, const hcsmoe_task_doc *d, bool known, struct str *out)
{
    int status = 0;

    if (ops_of(v)->spec->type == HCSMOE_TASK_CHOICE)
        status = choices_check(v, d, known, out);
    else if (!d->text)
        status = verify_broken(v, "gives no text");
    else if (d->n_words < 1 || d->n_bytes < 0)
        status = verify_broken(v, "gives %lld words and %lld bytes of a text",
                               (long long)d->n_words, (long long)d->n_bytes);
    if (!status)
        status = text_check(v, "question", d->question, out);
    if (!status)
        status = text_check(v, "answer", d->answer, out);
    if (!status)
        status = text_check(v, "example", d->example, out);
    if (!status)
        status = text_check(v, "text", d->text, out);
    str_addf(out, "words=%lld bytes=%lld\n", (long long)d->n_words, (long long)d->n_bytes);
    return status;
}

/* One record; everything that was made of it goes to out. */
static int record_format(struct verify *v, const struct instance *i, const json_t *record,
                         bool known, struct str *out)
{
    hcsmoe_task_doc doc = {.struct_size = sizeof doc};
    int status;

    instance_enter(i, -1);
    status =
        ops_of(v)->format(i->self, &v->host->abi, (const hcsmoe_json *)(const void *)record, &doc);
    if (status) /* inside of the frame: its scratch holds the texts */
        return verify_leave(v, status);
    status = doc_check(v, &doc, known, out);
    return host_leave(v->host, status);
}

/* Opens the component and hands every record of its own to fn. */
static int with_records(struct verify *v, size_t most,
                        int (*fn)(struct verify *v, const struct instance *i, json_t *record))
{
    struct instance i = {0};
    struct found f = {0};
    json_t *record;
    size_t n;
    int status = reads_records(v) ? records_load(v, &f) : verify_skip("a task without records");

    if (!status)
        status = verify_open(v, &i);
    if (!status)
        json_array_foreach(f.records, n, record) if (!status && n < most)
        {
            status = fn(v, &i, record);
            if (status)
                status = fail_in(status, "record %zu of %s", n + 1, path_base(f.path));
        }
    instance_release(&i);
    found_release(&f);
    return status;
}

static int record_twice(struct verify *v, const struct instance *i, json_t *record)
{
    struct str first = {0}, second = {0};
    int status = record_format(v, i, record, true, &first);

    if (!status)
        status = record_format(v, i, record, true, &second);
    if (!status && strcmp(str_text(&first), str_text(&second)))
        status = verify_broken(v, "the same record gives another document the second time");
    str_release(&first);
    str_release(&second);
    return status;
}

static int check_records(struct verify *v)
{
    return with_records(v, RECORDS_MAX, record_twice);
}

/* A value of every type, and none: NULL. New. */
static json_t *value_of(int n)
{
    switch (n) {
    case 0:
        return json_null();
    case 1:
        return json_true();
    case 2:
        return json_integer(-7);
    case 3:
        return json_integer(INT64_MAX);
    case 4:
        return json_real(0.5);
    case 5:
        return json_string("");
    case 6:
        return json_string("x \xc3\xa9 %s");
    case 7:
        return json_array();
    case 8:
        return json_object();
    case 9:
        return json_pack("[i, n, {}]", 1);
    default:
        return NULL;
    }
}

/* Refused with a message, or made into a document that is one. */
static int record_may_fail(struct verify *v, const struct instance *i, const json_t *record)
{
    struct str out = {0};
    const int status = record_format(v, i, record, false, &out);

    str_release(&out);
    return v->broken ? status : 0;
}

static int record_changed(struct verify *v, const struct instance *i, json_t *record)
{
    const char *key;
    json_t *value;
    int status = 0;

    json_object_foreach(record, key, value) for (int n = -1; !status; n++)
    {
        json_t *changed = json_deep_copy(record), *other = n < 0 ? NULL : value_of(n);
        if (n >= 0 && !other) {
            json_decref(changed);
            break;
        }
        if (!changed ||
            (n < 0 ? json_object_del(changed, key) : json_object_set_new(changed, key, other)))
            status = fail_memory(0);
        if (!status)
            status = record_may_fail(v, i, changed);
        if (status)
            status = fail_in(status, n < 0 ? "without '%s'" : "with another '%s'", key);
        json_decref(changed);
    }
    return status;
}

static int check_changed(struct verify *v)
{
    return with_records(v, CHANGED_MAX, record_changed);
}

/* Records that are none, without knowing what one is. */
static int check_nothing(struct verify *v)
{
    struct instance i = {0};
    struct str out = {0};
    int status = reads_records(v) ? verify_open(v, &i) : verify_skip("a task without records");
    json_t *empty = json_object();

    if (!status && !record_format(v, &i, empty, false, &out))
        status = verify_broken(v, "makes a document of the record {}: must say what it lacks");
    else if (status < 0 || v->broken)
        status = fail_in(HCSMOE_EPLUGIN, "the record {}");
    for (int n = 0; !status && value_of(n); n++) {
        json_t *value = value_of(n);
        status = record_may_fail(v, &i, value);
        if (status)
            status = fail_in(status, "a record that is no object");
        json_decref(value);
    }
    json_decref(empty);
    str_release(&out);
    instance_release(&i);
    return status;
}

static int check_spec(struct verify *v)
{
    const hcsmoe_task_spec *s = ops_of(v)->spec;
    const struct component *member;

    if (s->fewshot && reads_records(v) && !s->fewshot_split)
        return verify_broken(v, "fewshot is %d, and there is no fewshot_split to draw from",
                             s->fewshot);
    if (!reads_records(v) && s->type == HCSMOE_TASK_TEXT && s->fewshot)
        return verify_broken(v, "a text has no few-shot examples, fewshot is %d", s->fewshot);
    for (size_t n = 0; s->type == HCSMOE_TASK_GROUP && s->members[n]; n++) {
        if (!strcmp(s->members[n], v->component->c.name))
            return verify_broken(v, "the group is a member of itself");
        if (registry_find(v->registry, HCSMOE_KIND_TASK, s->members[n], &member))
            return verify_broken(v, "member %zu: %s", n + 1, fail_message());
    }
    return 0;
}

static int memory_refused(struct verify *v, const struct instance *i, json_t *record)
{
    enum { REFUSALS_MAX = 512 };
    int status = 0;

    for (int64_t n = 0; !status && n < REFUSALS_MAX; n++) {
        struct str out = {0};
        verify_watch_memory(v, n);
        status = record_format(v, i, record, false, &out);
        const bool done = !verify_memory_refused();
        verify_watch_memory(v, -1);
        str_release(&out);
        if (done)
            return status;
        if (!v->broken)
            status = 0;
        if (status)
            status = fail_in(status, "when request %lld for memory is refused", (long long)n + 1);
    }
    return status;
}

static int check_memory(struct verify *v)
{
    return with_records(v, 1, memory_refused);
}

static int check_options(struct verify *v)
{
    return verify_options(v, NULL);
}

const struct check verify_task_checks[] = {
    {.name = "option values", .run = check_options},
    {.name = "what it says of itself", .run = check_spec},
    {.name = "records that are none", .run = check_nothing},
    {.name = "its own records, twice", .run = check_records, .first = true},
    {.name = "its own records, each member changed", .run = check_changed},
    {.name = "memory that is refused", .run = check_memory, .hint = HINT_MEMORY},
    {.name = NULL},
};
