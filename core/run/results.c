/*
 * results.c - log-likelihoods to metrics and their errors; the report's object, samples, tables.
 *
 * The arithmetic is the harness's, operation by operation (eval-tasks.md 4 and 5): the last digits
 * depend on it.
 * SPDX-License-Identifier: MIT
 */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "run/table.h"
#include "run/tasks.h"

#define NOT_AVAILABLE "N/A" /* the harness's word for an error that cannot be had */

enum { NUMBER_CHARS = 48 }; /* of a number in the table */

static const char *const metric_names[N_METRICS] = {"acc", "acc_norm"};

/* ---- scores of documents ---- */

/* NumPy's argmax: ties go to the lowest index, the first NaN wins. */
static int64_t argmax(const double *x, int64_t n)
{
    int64_t best = 0;

    for (int64_t i = 0; i < n; i++) {
        if (isnan(x[i]))
            return i;
        if (x[i] > x[best])
            best = i;
    }
    return best;
}

/* acc and acc_norm of one document. */
static int doc_score(const struct eval_plan *p, const struct doc *d, double score[N_METRICS])
{
    double *ll = mem_new(d->n, 2 * sizeof *ll);

    if (!ll)
        return HCSMOE_ENOMEM;
    double *norm = ll + d->n;
    for (size_t k = 0; k < d->n; k++) {
        ll[k] = p->requests[d->first + k].sum;
        norm[k] = ll[k] / (double)text_length(d->record->choices[k]);
    }
    score[METRIC_ACC] = argmax(ll, (int64_t)d->n) == d->record->gold ? 1.0 : 0.0;
    score[METRIC_ACC_NORM] = argmax(norm, (int64_t)d->n) == d->record->gold ? 1.0 : 0.0;
    mem_free(ll);
    return 0;
}

static double doc_sum(const struct eval_plan *p, const struct doc *d)
{
    double sum = 0;

    for (size_t k = 0; k < d->n; k++)
        sum += p->requests[d->first + k].sum;
    return sum;
}

/* ---- aggregates ---- */

static struct metric mean_of(const double *x, size_t n)
{
    struct metric m = {.has_error = n > 1};
    double sum = 0, squares = 0;

    for (size_t i = 0; i < n; i++)
        sum += x[i];
    m.value = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += (x[i] - m.value) * (x[i] - m.value);
    if (m.has_error)
        m.error = sqrt(squares / (double)(n - 1)) / sqrt((double)n);
    return m;
}

static int choice_aggregate(const struct eval_plan *p, struct task *t)
{
    double *scores = mem_new(t->n_docs, N_METRICS * sizeof *scores);
    int status = scores ? 0 : HCSMOE_ENOMEM;

    for (size_t i = 0; i < t->n_docs && !status; i++) {
        double of_doc[N_METRICS];
        status = doc_score(p, &p->docs[t->first_doc + i], of_doc);
        for (int m = 0; m < N_METRICS && !status; m++)
            scores[(size_t)m * t->n_docs + i] = of_doc[m];
    }
    for (int m = 0; m < N_METRICS && !status; m++)
        t->metrics[m] = mean_of(scores + (size_t)m * t->n_docs, t->n_docs);
    t->n_scored = (int64_t)t->n_docs;
    mem_free(scores);
    return status;
}

/* Sums over the leaves of a group, in order. */
struct pool {
    double weighted, squares;
    int64_t n, leaves;
    bool has_error;
};

static void pool_add(struct pool *to, const struct task *t, int metric)
{
    for (size_t i = 0; i < t->n_members; i++)
        pool_add(to, t->members[i], metric);
    if (t->spec->type == HCSMOE_TASK_GROUP)
        return;
    const struct metric *m = &t->metrics[metric];
    const double n = (double)t->n_scored;
    to->weighted += m->value * n;
    to->squares += (n - 1) * (m->error * m->error) * n;
    to->n += t->n_scored;
    to->leaves++;
    to->has_error = to->has_error && m->has_error;
}

static void group_aggregate(struct task *t)
{
    for (int m = 0; m < N_METRICS; m++) {
        struct pool s = {.has_error = true};
        pool_add(&s, t, m);
        const double n = (double)s.n;
        t->metrics[m] = (struct metric){.value = s.weighted / n, .has_error = s.has_error};
        if (s.has_error)
            t->metrics[m].error = sqrt(s.squares / (n - (double)s.leaves) / n);
        t->n_scored = s.n;
    }
}

/* Perplexities of a task of documents. */
struct perplexity {
    double nll, token, word, byte, bits;
    int64_t documents, tokens;
    bool
        has_words; /* false: the text was cut, its words and bytes are not those that were scored */
};

static struct perplexity perplexity_of(const struct eval_plan *p, const struct task *t)
{
    struct perplexity x = {.documents = (int64_t)t->n_docs, .has_words = !t->cut};
    double sum = 0, words = 0, bytes = 0;

    for (size_t i = 0; i < t->n_docs; i++) {
        const struct doc *d = &p->docs[t->first_doc + i];
        sum += doc_sum(p, d);
        words += (double)(d->record ? d->record->n_words : t->n_words);
        bytes += d->record ? (double)d->record->n_bytes : (double)t->text_bytes;
    }
    x.nll = -sum;
    x.tokens = t->n_tokens;
    x.token = exp(-(sum / (double)t->n_tokens));
    x.word = exp(-(sum / words));
    x.byte = exp(-(sum / bytes));
    x.bits = -(sum / bytes) / log(2);
    return x;
}

/* ---- the report's object ---- */

/* An object that remembers that something could not be added. */
struct object {
    json_t *json;
    bool failed;
};

static void put(struct object *o, const char *key, json_t *value)
{
    if (json_object_set_new(o->json, key, value))
        o->failed = true;
}

/* JSON has no NaN and no infinity. */
static json_t *real(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static void put_error(struct object *o, const char *metric, const struct metric *m)
{
    char key[NUMBER_CHARS];

    (void)snprintf(key, sizeof key, "%s_stderr", metric);
    put(o, key, m->has_error ? real(m->error) : json_string(NOT_AVAILABLE));
}

static void choice_result(const struct eval_plan *p, const struct task *t, struct object *o)
{
    put(o, "alias", json_string(t->spec->alias));
    for (int m = 0; m < N_METRICS; m++) {
        if (!(t->spec->metrics & 1u << m))
            continue;
        put(o, metric_names[m], real(t->metrics[m].value));
        put_error(o, metric_names[m], &t->metrics[m]);
    }
    put(o, "n", json_integer(t->n_scored));
    put(o, "num_fewshot",
        json_integer(t->spec->type == HCSMOE_TASK_GROUP ? p->s.num_fewshot : t->num_fewshot));
}

static void rolling_result(const struct eval_plan *p, const struct task *t, struct object *o)
{
    static const struct metric none = {0};
    const struct perplexity x = perplexity_of(p, t);

    put(o, "alias", json_string(t->spec->alias));
    put(o, "word_perplexity", real(x.word));
    put_error(o, "word_perplexity", &none);
    put(o, "byte_perplexity", real(x.byte));
    put_error(o, "byte_perplexity", &none);
    put(o, "bits_per_byte", real(x.bits));
    put_error(o, "bits_per_byte", &none);
    put(o, "n", json_integer(x.documents));
    put(o, "num_fewshot", json_integer(0));
}

static void text_result(const struct eval_plan *p, const struct task *t, struct object *o)
{
    const struct perplexity x = perplexity_of(p, t);

    put(o, "window", json_integer(p->encoder.max_length));
    put(o, "nll", real(x.nll));
    put(o, "tokens", json_integer(x.tokens));
    put(o, "token_perplexity", real(x.token));
    if (!x.has_words)
        return;
    put(o, "word_perplexity", real(x.word));
    put(o, "byte_perplexity", real(x.byte));
    put(o, "bits_per_byte", real(x.bits));
}

static json_t *task_result(const struct eval_plan *p, const struct task *t)
{
    struct object o = {.json = json_object()};

    if (t->path)
        put(&o, "data", json_string(path_base(t->path)));
    if (t->spec->type == HCSMOE_TASK_ROLLING)
        rolling_result(p, t, &o);
    else if (t->spec->type == HCSMOE_TASK_TEXT)
        text_result(p, t, &o);
    else
        choice_result(p, t, &o);
    if (!o.failed)
        return o.json;
    json_decref(o.json);
    return NULL;
}

/* ---- samples ---- */

static int line_add(const char *bytes, size_t n, void *to)
{
    str_add_bytes(to, bytes, n);
    return 0;
}

static int sample_add(const struct eval_plan *p, const struct doc *d, struct str *to)
{
    struct object o = {.json = json_object()};
    const bool choice = d->task->spec->type == HCSMOE_TASK_CHOICE;
    json_t *ll = json_array();
    json_t *greedy = choice ? json_array() : NULL;
    double score[N_METRICS] = {0};
    int status = 0;

    for (size_t k = 0; k < d->n && choice; k++) {
        const struct score_request *r = &p->requests[d->first + k];
        o.failed = json_array_append_new(ll, real(r->sum)) || o.failed;
        o.failed = json_array_append_new(greedy, json_boolean(r->greedy)) || o.failed;
    }
    if (choice)
        status = doc_score(p, d, score);
    else
        o.failed = json_array_append_new(ll, real(doc_sum(p, d))) || o.failed;
    put(&o, "task", json_string(d->task->name));
    put(&o, "doc", json_integer(d->index));
    put(&o, "loglikelihoods", ll);
    if (choice)
        put(&o, "greedy", greedy);
    for (int m = 0; m < N_METRICS && choice; m++)
        if (d->task->spec->metrics & 1u << m)
            put(&o, metric_names[m], json_real(score[m]));
    if (!status && (o.failed || json_dump_callback(o.json, line_add, to, JSON_COMPACT)))
        status = fail_memory(0);
    str_add(to, "\n");
    json_decref(o.json);
    return status ? status : str_check(to);
}

static int samples_write(const struct eval_plan *p)
{
    struct str text = {0};
    int status = 0;

    for (size_t i = 0; i < p->n_docs && !status; i++)
        status = sample_add(p, &p->docs[i], &text);
    if (!status)
        status = path_write(p->s.samples, str_text(&text), text.len);
    str_release(&text);
    return status;
}

/* ---- the table ---- */

struct rows {
    const struct eval_plan *plan;
    struct table_row *items;
    size_t n, capacity;
    struct arena arena; /* their strings */
};

static const char *number(struct rows *rows, double x)
{
    char text[NUMBER_CHARS + 400]; /* "%f" of the largest double has 309 digits */

    (void)snprintf(text, sizeof text, "%.4f", x);
    return arena_strdup(&rows->arena, text);
}

/* A line of a task; name and version stand in its first only. */
static int row_add(struct rows *rows, const struct task *t, int depth, bool first,
                   const char *metric, const struct metric *m)
{
    char name[2 * NUMBER_CHARS], n_shot[NUMBER_CHARS];
    const bool choice = t->spec->type == HCSMOE_TASK_CHOICE || t->spec->type == HCSMOE_TASK_GROUP;
    bool of_groups = false; /* the harness leaves two cells of such a group blank */

    for (size_t i = 0; i < t->n_members; i++)
        of_groups = of_groups || t->members[i]->spec->type == HCSMOE_TASK_GROUP;
    if (mem_grow(&rows->items, rows->n, &rows->capacity, sizeof *rows->items))
        return HCSMOE_ENOMEM;
    const int64_t shots =
        t->spec->type == HCSMOE_TASK_GROUP ? rows->plan->s.num_fewshot : t->num_fewshot;
    (void)snprintf(name, sizeof name, "%*s%s%s", depth, "", depth > 0 ? "- " : "", t->spec->alias);
    (void)snprintf(n_shot, sizeof n_shot, "%lld", (long long)shots);
    struct table_row *r = &rows->items[rows->n++];
    *r = (struct table_row){
        .name = first ? arena_strdup(&rows->arena, name) : "",
        .version = first ? t->spec->version : "",
        .filter = "none",
        .n_shot = of_groups ? "" : arena_strdup(&rows->arena, n_shot),
        .metric = metric,
        .arrow = of_groups ? ""
                 : choice  ? "↑"
                           : "↓",
        .value = number(rows, m->value),
        .pm = "±",
        .stderr_ = m->has_error ? number(rows, m->error) : "   " NOT_AVAILABLE,
    };
    return r->name && r->n_shot && r->value && r->stderr_ ? 0 : HCSMOE_ENOMEM;
}

static int perplexity_rows(struct rows *rows, const struct task *t)
{
    const struct perplexity x = perplexity_of(rows->plan, t);
    const bool tokens = t->spec->type == HCSMOE_TASK_TEXT;
    const struct {
        const char *name;
        double value;
        bool shown;
    } lines[] = {{"bits_per_byte", x.bits, x.has_words},
                 {"byte_perplexity", x.byte, x.has_words},
                 {"token_perplexity", x.token, tokens},
                 {"word_perplexity", x.word, x.has_words}};
    bool first = true;

    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        const struct metric m = {.value = lines[i].value};
        if (!lines[i].shown)
            continue;
        if (row_add(rows, t, 0, first, lines[i].name, &m))
            return HCSMOE_ENOMEM;
        first = false;
    }
    return 0;
}

static int task_rows(struct rows *rows, const struct task *t, int depth)
{
    bool first = true;

    if (t->spec->type == HCSMOE_TASK_ROLLING || t->spec->type == HCSMOE_TASK_TEXT)
        return perplexity_rows(rows, t);
    for (int m = 0; m < N_METRICS; m++) {
        if (!(t->spec->metrics & 1u << m))
            continue;
        if (row_add(rows, t, depth, first, metric_names[m], &t->metrics[m]))
            return HCSMOE_ENOMEM;
        first = false;
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct task *const *x = a;
    const struct task *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

/* A task and what is below it, children by name. */
static int tree_rows(struct rows *rows, const struct task *t, int depth, bool groups_only)
{
    int status = groups_only && t->spec->type != HCSMOE_TASK_GROUP ? 0 : task_rows(rows, t, depth);

    if (status || t->n_members == 0)
        return status;
    struct task **sorted = mem_new_raw(t->n_members, sizeof *sorted);
    if (!sorted)
        return HCSMOE_ENOMEM;
    memcpy(sorted, t->members, t->n_members * sizeof *sorted);
    qsort(sorted, t->n_members, sizeof *sorted, by_name);
    for (size_t i = 0; i < t->n_members && !status; i++)
        status = tree_rows(rows, sorted[i], depth + 1, groups_only);
    mem_free(sorted);
    return status;
}

/* Groups by name, each as a tree; then, unless only groups are shown, the tasks in none of them. */
static int table_make(const struct eval_plan *p, bool groups_only, struct str *out)
{
    struct rows rows = {.plan = p};
    struct task **sorted = mem_new_raw(p->n_tasks, sizeof *sorted);
    int status = sorted ? 0 : HCSMOE_ENOMEM;

    if (!status) {
        memcpy(sorted, p->tasks, p->n_tasks * sizeof *sorted);
        qsort(sorted, p->n_tasks, sizeof *sorted, by_name);
    }
    for (int pass = 0; pass < (groups_only ? 1 : 2); pass++)
        for (size_t i = 0; i < p->n_tasks && !status; i++)
            if (!sorted[i]->is_member &&
                (sorted[i]->spec->type == HCSMOE_TASK_GROUP) == (pass == 0))
                status = tree_rows(&rows, sorted[i], 0, groups_only);
    if (!status && rows.n > 0)
        status = table_print(groups_only ? "Groups" : "Tasks", rows.items, rows.n, out);
    arena_release(&rows.arena);
    mem_free(rows.items);
    mem_free(sorted);
    return status;
}

static int tables_make(const struct eval_plan *p, struct str *out)
{
    bool has_groups = false;
    int status = table_make(p, false, out);

    for (size_t i = 0; i < p->n_tasks; i++)
        has_groups = has_groups || p->tasks[i]->spec->type == HCSMOE_TASK_GROUP;
    if (status || !has_groups)
        return status;
    str_add(out, "\n");
    return table_make(p, true, out);
}

/* ---- all of it ---- */

int eval_plan_results(struct eval_plan *p, json_t **result, struct str *table)
{
    struct object o = {.json = json_object()};
    int status = 0;

    *result = NULL;
    for (size_t i = 0; i < p->n_tasks && !status; i++)
        if (p->tasks[i]->spec->type == HCSMOE_TASK_CHOICE)
            status = choice_aggregate(p, p->tasks[i]);
    for (size_t i = 0; i < p->n_tasks && !status; i++) {
        struct task *t = p->tasks[i];
        if (t->spec->type == HCSMOE_TASK_GROUP)
            group_aggregate(t);
        put(&o, t->name, task_result(p, t));
    }
    if (!status && o.failed)
        status = fail_memory(0);
    if (!status)
        status = tables_make(p, table);
    if (!status && p->s.samples)
        status = samples_write(p);
    if (status) {
        json_decref(o.json);
        return status;
    }
    *result = o.json;
    return 0;
}
