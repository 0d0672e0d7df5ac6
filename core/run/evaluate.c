/*
 * evaluate.c - the tasks of [eval]: plugins, records and few-shot examples, to requests.
 *
 * SPDX-License-Identifier: MIT
 */
#include "run/evaluate.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include <hcsmoe/record.h>

#include "base/log.h"
#include "base/path.h"
#include "run/tasks.h"

enum { MAX_LENGTH_UNKNOWN = 2048 }; /* the harness's window for a model that names none */

#define TEXT_BYTES_MAX ((size_t)4 << 30) /* of [eval] text: its tokens lie in memory */

/* ---- tasks ---- */

static const struct ini_value *eval_key(const struct eval_plan *p, const char *key)
{
    return ini_find(p->s.ini, "eval", key);
}

/* Puts the place of an [eval] key in front of the message, if the INI has it. */
static int fail_at_key(const struct eval_plan *p, const char *key, int status)
{
    const struct ini_value *v = eval_key(p, key);

    return v ? fail_in(status, "%s", ini_where(p->s.ini, v)) : status;
}

static struct task *task_find(const struct eval_plan *p, const char *name)
{
    for (size_t i = 0; i < p->n_tasks; i++)
        if (!strcmp(p->tasks[i]->name, name))
            return p->tasks[i];
    return NULL;
}

static int task_load(struct eval_plan *p, const char *name, struct task **out);

static int members_load(struct eval_plan *p, struct task *t)
{
    const char *const *names = t->spec->members;
    int status = 0;

    while (names[t->n_members])
        t->n_members++;
    t->members = arena_alloc(&p->arena, t->n_members * sizeof *t->members);
    if (!t->members)
        return HCSMOE_ENOMEM;
    t->loading = true;
    for (size_t i = 0; i < t->n_members && !status; i++) {
        status = task_load(p, names[i], &t->members[i]);
        if (status)
            return fail_in(status, "task group %s", t->name);
        struct task *m = t->members[i];
        m->is_member = true;
        if (m->loading)
            status = fail(HCSMOE_EPLUGIN, "task group %s contains itself", m->name);
        else if (m->spec->type == HCSMOE_TASK_ROLLING || m->spec->type == HCSMOE_TASK_TEXT)
            status = fail(HCSMOE_EUNSUPPORTED,
                          "task group %s: %s is no task with choices: it cannot be pooled", t->name,
                          m->name);
        else if (t->spec->metrics & ~m->spec->metrics)
            status = fail(HCSMOE_EPLUGIN, "task group %s pools a metric that %s has not", t->name,
                          m->name);
    }
    t->loading = false;
    return status;
}

/* Finds the plugin of a task, unless it is loaded already, and those of its members. */
static int task_load(struct eval_plan *p, const char *name, struct task **out)
{
    const struct component *c = NULL;

    *out = task_find(p, name);
    if (*out)
        return 0;
    int status = registry_find(p->registry, HCSMOE_KIND_TASK, name, &c);
    if (status)
        return status;
    struct task *t = arena_alloc(&p->arena, sizeof *t);
    if (!t || mem_grow(&p->tasks, p->n_tasks, &p->tasks_capacity, sizeof *p->tasks))
        return HCSMOE_ENOMEM;
    p->tasks[p->n_tasks++] = t;
    t->name = c->c.name;
    status = instance_init(&t->instance, c, p->s.ini, "eval", p->host);
    if (!status)
        status = instance_create(&t->instance);
    if (status)
        return status;
    t->ops = instance_ops(&t->instance);
    t->spec = t->ops->spec;
    *out = t;
    return t->spec->type == HCSMOE_TASK_GROUP ? members_load(p, t) : 0;
}

static int options_check(const struct eval_plan *p)
{
    static const char *const keys[] = {
        "task",    "data", "num_fewshot", "eval_batch_size", "before", "limit",
        "samples", "text", "text_tokens", "max_length",      "add_bos"};
    const struct instance **all = mem_new(p->n_tasks, sizeof *all);

    if (!all)
        return HCSMOE_ENOMEM;
    for (size_t i = 0; i < p->n_tasks; i++)
        all[i] = &p->tasks[i]->instance;
    int status =
        options_check_unused(p->s.ini, "eval", keys, sizeof keys / sizeof keys[0], all, p->n_tasks);
    mem_free(all);
    return status;
}

static int tasks_load(struct eval_plan *p)
{
    int status = 0;

    for (size_t i = 0; i < p->s.n_tasks && !status; i++) {
        struct task *t = NULL;
        for (size_t k = 0; k < i && !status; k++)
            if (!strcmp(p->s.tasks[i], p->s.tasks[k]))
                status = fail(HCSMOE_EINVAL, "'%s' is there twice", p->s.tasks[i]);
        if (!status)
            status = task_load(p, p->s.tasks[i], &t);
        if (status)
            status = fail_at_key(p, "task", status);
    }
    return status ? status : options_check(p);
}

/* ---- records ---- */

static bool has_records(const struct task *t)
{
    return t->spec->type == HCSMOE_TASK_CHOICE || t->spec->type == HCSMOE_TASK_ROLLING;
}

/* Reads a file for all tasks that take records from it: those of MMLU share one. */
static int file_read(struct eval_plan *p, const char *path, bool shots)
{
    struct record_sink *sinks = mem_new(p->n_tasks, sizeof *sinks);
    struct task **of = mem_new(p->n_tasks, sizeof *of);
    size_t n = 0;
    int status = sinks && of ? 0 : HCSMOE_ENOMEM;

    for (size_t i = 0; i < p->n_tasks && !status; i++) {
        struct task *t = p->tasks[i];
        const char *file = shots ? t->shots_path : t->path;
        if (!has_records(t) || !file || strcmp(file, path) != 0)
            continue;
        const bool keys = t->spec->fewshot == HCSMOE_FEWSHOT_DRAW_SPARE && t->num_fewshot > 0;
        sinks[n] = (struct record_sink){
            .task = t->name, .ops = t->ops, .self = t->instance.self, .keys = keys};
        of[n++] = t;
    }
    if (!status)
        status = records_read(path, p->host, sinks, n, &p->arena);
    for (size_t i = 0; i < n; i++) {
        struct task *t = of[i];
        *(shots ? &t->shots : &t->records) = sinks[i].records;
        *(shots ? &t->n_shots : &t->n_records) = sinks[i].n;
    }
    mem_free(of);
    mem_free(sinks);
    return status;
}

/* The files of a task. Few-shot examples are looked for only when they are asked for. */
static int files_find(struct eval_plan *p, struct task *t)
{
    const hcsmoe_task_spec *spec = t->spec;

    if (!p->s.data)
        return fail(HCSMOE_EINVAL,
                    "[eval] data is not set: task %s reads its records from that folder", t->name);
    int status = records_find(p->s.data, spec->file, spec->splits, &t->path);
    if (status || p->s.num_fewshot == 0 || spec->type != HCSMOE_TASK_CHOICE)
        return status;
    if (spec->fewshot == 0 || !spec->fewshot_split)
        return fail(HCSMOE_EINVAL, "task %s takes no few-shot examples: num_fewshot must be 0",
                    t->name);
    if (spec->fewshot_most > 0 && p->s.num_fewshot > spec->fewshot_most) {
        status = fail(HCSMOE_EINVAL, "%lld: task %s takes at most %lld examples",
                      (long long)p->s.num_fewshot, t->name, (long long)spec->fewshot_most);
        return fail_at_key(p, "num_fewshot", status);
    }
    t->num_fewshot = p->s.num_fewshot;
    const char *const splits[] = {spec->fewshot_split, NULL};
    status = records_find(p->s.data, spec->file, splits, &t->shots_path);
    return status ? fail_in(status, "few-shot examples of %s", t->name) : 0;
}

static int text_read(struct eval_plan *p, struct task *t)
{
    if (!p->s.text)
        return fail(HCSMOE_EINVAL, "[eval] text is not set: task %s scores that file", t->name);
    t->path = mem_strdup(p->s.text);
    int status = t->path ? path_read_text(p->s.text, TEXT_BYTES_MAX, &t->text, &t->text_bytes)
                         : HCSMOE_ENOMEM;
    if (!status && t->text_bytes == 0)
        status = fail(HCSMOE_EINVAL, "%s: an empty file", p->s.text);
    if (!status)
        t->n_words = hcsmoe_words(t->text, t->text_bytes);
    return status;
}

static int records_load(struct eval_plan *p)
{
    int status = 0;

    for (size_t i = 0; i < p->n_tasks && !status; i++) {
        struct task *t = p->tasks[i];
        if (t->spec->type == HCSMOE_TASK_TEXT)
            status = text_read(p, t);
        else if (has_records(t))
            status = files_find(p, t);
    }
    for (size_t i = 0; i < p->n_tasks && !status; i++) {
        struct task *t = p->tasks[i];
        if (has_records(t) && !t->records)
            status = file_read(p, t->path, false);
        if (!status && t->shots_path && !t->shots)
            status = file_read(p, t->shots_path, true);
    }
    return status;
}

/* ---- documents ---- */

/* The first documents of n that [eval] limit leaves: a share below 1, else a number. */
static size_t limited(size_t n, double limit)
{
    double most = limit < 1 ? ceil((double)n * limit) : floor(limit);

    return limit <= 0 || most >= (double)n ? n : (size_t)most;
}

/* A right choice that is none of the choices counts as wrong, as in the harness: once a task. */
static void golds_check(const struct task *t)
{
    for (size_t i = 0; i < t->n_docs && t->spec->type == HCSMOE_TASK_CHOICE; i++) {
        const struct record *r = &t->records[i];
        if (r->gold >= 0 && r->gold < r->n_choices)
            continue;
        log_line(LOG_WARN,
                 "%s:%lld: the right choice is %lld of 0..%lld: such records count as wrong",
                 t->path, (long long)r->line, (long long)r->gold, (long long)r->n_choices - 1);
        return;
    }
}

static int draws_make(struct task *t)
{
    size_t n = 0;

    if (t->num_fewshot == 0)
        return 0;
    if (size_mul(t->n_docs, (size_t)t->num_fewshot, &n))
        return fail_memory(SIZE_MAX);
    t->draws = mem_new(n, sizeof *t->draws);
    if (!t->draws)
        return HCSMOE_ENOMEM;
    int status = fewshot_draw(t->spec->fewshot, t->records, (int64_t)t->n_docs, t->shots,
                              (int64_t)t->n_shots, t->num_fewshot, t->draws);
    return status ? fail_in(status, "%s", t->shots_path) : 0;
}

static int docs_make(struct eval_plan *p)
{
    for (size_t i = 0; i < p->n_tasks; i++) {
        struct task *t = p->tasks[i];
        t->first_doc = p->n_docs;
        t->n_docs = t->spec->type == HCSMOE_TASK_TEXT ? 1 : limited(t->n_records, p->s.limit);
        p->n_docs += t->n_docs;
        golds_check(t);
        int status = draws_make(t);
        if (status)
            return status;
    }
    p->docs = mem_new(p->n_docs, sizeof *p->docs);
    if (!p->docs)
        return HCSMOE_ENOMEM;
    for (size_t i = 0; i < p->n_tasks; i++) {
        struct task *t = p->tasks[i];
        for (size_t k = 0; k < t->n_docs; k++)
            p->docs[t->first_doc + k] = (struct doc){
                .task = t, .record = t->records ? &t->records[k] : NULL, .index = (int64_t)k};
    }
    return 0;
}

/* ---- requests ---- */

/* Takes the tokens over: one block that is just large enough, requests pointing into it by the
 * offsets first[]. */
static int requests_place(struct doc *d, const struct token_ids *ids, const size_t *first)
{
    size_t n_scored = 0;

    for (size_t i = 0; i < d->n; i++)
        n_scored += (size_t)(d->requests[i].n - d->requests[i].from);
    d->tokens = mem_new_raw(ids->n, sizeof *d->tokens);
    d->logprobs = mem_new(n_scored, sizeof *d->logprobs);
    if (!d->tokens || !d->logprobs)
        return HCSMOE_ENOMEM;
    memcpy(d->tokens, ids->ids, ids->n * sizeof *d->tokens);
    n_scored = 0;
    for (size_t i = 0; i < d->n; i++) {
        struct score_request *r = &d->requests[i];
        assert(r->from >= 1);
        assert(r->from < r->n);
        r->tokens = d->tokens + first[i];
        r->logprobs = d->logprobs + n_scored;
        n_scored += (size_t)(r->n - r->from);
    }
    return 0;
}

static int doc_requests(struct doc *d, size_t n, size_t **first)
{
    d->n = n;
    d->requests = mem_new(n, sizeof *d->requests);
    *first = mem_new(n, sizeof **first);
    return d->requests && *first ? 0 : HCSMOE_ENOMEM;
}

/* What stands in front of every question of a document: description and examples. */
static int preamble(const struct doc *d, struct str *out)
{
    const struct task *t = d->task;
    int status = 0;

    if (t->spec->description)
        str_add(out, t->spec->description);
    for (int64_t i = 0; i < t->num_fewshot && !status; i++)
        status = fewshot_add(&t->shots[t->draws[d->index * t->num_fewshot + i]], out);
    return status ? fail_in(status, "%s", t->shots_path) : str_check(out);
}

static int choice_encode(const struct encoder *e, struct doc *d)
{
    const struct record *r = d->record;
    struct str text = {0}, continuation = {0};
    struct context context = {0};
    struct token_ids ids = {0};
    size_t *first = NULL;
    int status = doc_requests(d, (size_t)r->n_choices, &first);

    if (!status)
        status = preamble(d, &text);
    const size_t n_preamble = text.len;
    for (size_t k = 0; k < d->n && !status; k++) {
        if (k == 0 || r->questions) {
            context_release(&context);
            text.len = n_preamble;
            str_add(&text, r->questions ? r->questions[k] : r->question);
            status = str_check(&text);
            if (!status)
                status = context_init(&context, e, str_text(&text), text.len);
        }
        str_clear(&continuation);
        str_add(&continuation, " ");
        str_add(&continuation, r->choices[k]);
        if (!status)
            status = str_check(&continuation);
        first[k] = ids.n;
        if (!status)
            status = context_continue(&context, e, str_text(&continuation), continuation.len, &ids,
                                      &d->requests[k].from);
        d->requests[k].n = (int64_t)(ids.n - first[k]);
        if (status)
            status = fail_in(status, "%s:%lld: choice %zu", d->task->path, (long long)r->line, k);
    }
    if (!status)
        status = requests_place(d, &ids, first);
    token_ids_release(&ids);
    context_release(&context);
    str_release(&continuation);
    str_release(&text);
    mem_free(first);
    return status;
}

/* The windows over a document overlap in one block of tokens. */
static int rolling_requests(const struct encoder *e, struct doc *d, int64_t n,
                            const struct token_ids *ids)
{
    size_t *first = NULL;
    int64_t done = 0;
    int64_t start = 0;
    int status = doc_requests(d, (size_t)(n / e->max_length + (n % e->max_length != 0)), &first);

    for (size_t i = 0; i < d->n && !status; i++) {
        done +=
            rolling_window(n, done, e->max_length, &start, &d->requests[i].n, &d->requests[i].from);
        first[i] = (size_t)start;
    }
    if (!status)
        status = requests_place(d, ids, first);
    mem_free(first);
    return status;
}

static int rolling_encode_doc(const struct eval_plan *p, struct doc *d)
{
    struct task *t = d->task;
    const char *text = d->record ? d->record->text : t->text;
    struct token_ids ids = {0};
    int64_t n = 0;
    int status =
        rolling_encode(&p->encoder, text, d->record ? strlen(text) : t->text_bytes, &ids, &n);

    if (!status && !d->record) {
        t->cut = p->s.text_tokens > 0 && p->s.text_tokens < n;
        n = t->cut ? p->s.text_tokens : n;
        t->n_tokens = n;
        ids.n = (size_t)n + 1;
    }
    if (!status)
        status = rolling_requests(&p->encoder, d, n, &ids);
    if (status && d->record)
        status = fail_in(status, "%s:%lld", t->path, (long long)d->record->line);
    else if (status)
        status = fail_in(status, "%s", t->path);
    token_ids_release(&ids);
    return status;
}

static hcsmoe_status docs_encode(void *arg, int64_t begin, int64_t end)
{
    struct eval_plan *p = arg;
    int status = 0;

    for (int64_t i = begin; i < end && !status; i++) {
        struct doc *d = &p->docs[i];
        if (host_cancelled())
            return fail(HCSMOE_ECANCELLED, "stopped on request");
        if (d->task->spec->type == HCSMOE_TASK_CHOICE)
            status = choice_encode(&p->encoder, d);
        else
            status = rolling_encode_doc(p, d);
    }
    return status;
}

/* Puts the requests of all documents in one row. */
static int requests_collect(struct eval_plan *p)
{
    for (size_t i = 0; i < p->n_docs; i++) {
        p->docs[i].first = p->n_requests;
        p->n_requests += p->docs[i].n;
    }
    p->requests = mem_new(p->n_requests, sizeof *p->requests);
    if (!p->requests)
        return HCSMOE_ENOMEM;
    for (size_t i = 0; i < p->n_docs; i++) {
        struct doc *d = &p->docs[i];
        memcpy(p->requests + d->first, d->requests, d->n * sizeof *p->requests);
        for (size_t k = 0; k < d->n; k++)
            p->n_tokens += d->requests[k].n;
        mem_free(d->requests);
        d->requests = NULL;
    }
    return 0;
}

/* ---- the plan ---- */

int eval_plan_open(struct eval_plan **out, const struct eval_settings *s, struct registry *r,
                   struct host *h, const struct tokenizer *t, int64_t model_max_length)
{
    int64_t max_length = s->max_length > 0 ? s->max_length : model_max_length;

    if (max_length <= 0)
        max_length = tokenizer_max_length(t) > 0 ? tokenizer_max_length(t) : MAX_LENGTH_UNKNOWN;
    *out = NULL;
    struct eval_plan *p = mem_new(1, sizeof *p);
    if (!p)
        return HCSMOE_ENOMEM;
    p->s = *s;
    p->registry = r;
    p->host = h;
    int status = encoder_init(&p->encoder, t, s->add_bos, max_length);
    if (!status)
        status = tasks_load(p);
    if (!status)
        status = records_load(p);
    if (!status)
        status = docs_make(p);
    if (!status)
        status = h->abi.parallel_for(&h->abi, (int64_t)p->n_docs, docs_encode, p);
    if (!status)
        status = requests_collect(p);
    if (status) {
        eval_plan_close(p);
        return status;
    }
    *out = p;
    return 0;
}

void eval_plan_close(struct eval_plan *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n_docs && p->docs; i++) {
        mem_free(p->docs[i].requests);
        mem_free(p->docs[i].logprobs);
        mem_free(p->docs[i].tokens);
    }
    mem_free(p->requests);
    mem_free(p->docs);
    for (size_t i = 0; i < p->n_tasks; i++) {
        struct task *t = p->tasks[i];
        mem_free(t->draws);
        mem_free(t->shots);
        mem_free(t->records);
        mem_free(t->text);
        mem_free(t->shots_path);
        mem_free(t->path);
        instance_release(&t->instance);
    }
    mem_free(p->tasks);
    arena_release(&p->arena);
    encoder_release(&p->encoder);
    mem_free(p);
}

int eval_plan_requests(struct eval_plan *p, struct score_request **requests, size_t *n)
{
    *requests = p->requests;
    *n = p->n_requests;
    return 0;
}

void eval_plan_size(const struct eval_plan *p, int64_t *documents, int64_t *requests,
                    int64_t *tokens)
{
    *documents = (int64_t)p->n_docs;
    *requests = (int64_t)p->n_requests;
    *tokens = p->n_tokens;
}
