/*
 * sweep.c - the pipeline's loop with many variants side by side: read -> run -> observe, then for
 * each variant group -> merge -> measure -> evaluate.
 * SPDX-License-Identifier: MIT
 */
#include "run/sweep.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/path.h"
#include "run/guard.h"
#include "run/made.h"
#include "run/plan.h"

/* One combination at work. */
struct row {
    struct combination *of;
    struct variant v;
    struct made made;
    struct forward eval; /* its own evaluation tokens, after its layers so far */
    char *folder;        /* of its checkpoint; NULL: none is written */
    json_t *result;      /* eval */
};

struct sweep {
    struct config *c; /* of the first combination: what all share */
    struct prepared p;
    struct plan plan;
    struct row *rows;
    size_t n;
    struct layer_stats *stats;
    struct watcher *watchers;
    struct observation observation;
    struct quality quality;
    struct forward forward;
    struct score_rows *requests;
    struct forward before; /* the evaluation tokens through the original model */
    json_t *before_result;
    double begin;
};

static void sweep_release(struct sweep *w)
{
    for (size_t i = 0; i < w->n; i++) {
        struct row *r = &w->rows[i];
        forward_release(&r->eval);
        made_release(&r->made);
        if (r->v.m)
            variant_release(&r->v);
        mem_free(r->folder);
        json_decref(r->result);
    }
    for (int l = 0; w->stats && l < w->p.m->desc.n_layers; l++)
        layer_stats_release(&w->stats[l]);
    mem_free(w->rows);
    mem_free(w->stats);
    mem_free(w->watchers);
    quality_release(&w->quality);
    observation_release(&w->observation);
    forward_release(&w->forward);
    forward_release(&w->before);
    score_rows_close(w->requests);
    json_decref(w->before_result);
    prepared_release(&w->p);
}

/* "group.linkage=ward", "merge.merge=slim" -> "linkage=ward,merge=slim": a file name. */
static int folder_name(const struct row *r, struct str *out)
{
    for (size_t i = 0; i < r->of->n_sets; i++) {
        const char *key = strchr(r->of->sets[i], '.');
        str_addf(out, "%s%s", i ? "," : "", key ? key + 1 : r->of->sets[i]);
    }
    for (size_t i = 0; i < out->len; i++)
        if (out->text[i] == '/')
            out->text[i] = '-';
    return str_check(out);
}

static int folder_open(struct sweep *w, struct row *r)
{
    struct str name = {0};
    int status = folder_name(r, &name);

    if (!status && !w->c->output_path)
        status = fail(HCSMOE_EINVAL,
                      "%s: [output] output_path is not set: the folder of the "
                      "checkpoints that are to be written",
                      w->c->ini.path ? w->c->ini.path : "(no INI)");
    if (!status) {
        r->folder = path_join(w->c->output_path, str_text(&name));
        status = r->folder ? made_folders(&r->made, r->folder) : HCSMOE_ENOMEM;
    }
    str_release(&name);
    return status;
}

static int combination_check(const struct combination *x)
{
    const struct config *c = x->c;
    if (!c->merges)
        return fail(HCSMOE_EINVAL, "%s = no: a sweep merges", config_where(c, "merge", "merge"));
    if (c->partition > 1)
        return fail(HCSMOE_EINVAL,
                    "%s = %lld sees the model as its own merges left it: it cannot share a "
                    "calibration with others",
                    config_where(c, "merge", "partition"), (long long)c->partition);
    return 0;
}

/* Where a message of one of the combinations comes from. */
static int row_fail(const struct row *r, int status)
{
    struct str sets = {0};
    for (size_t i = 0; status && i < r->of->n_sets; i++)
        str_addf(&sets, "%s%s", i ? " " : "", r->of->sets[i]);
    if (status && r->of->n_sets)
        fail_in(status, "%s", str_text(&sets));
    str_release(&sets);
    return status;
}

static int row_open(struct sweep *w, struct row *r, bool write)
{
    int status = variant_open(&r->v, r->of->c, w->p.m, w->p.forward ? w->p.batch.n_tokens : 0);
    if (!status)
        status = made_open(&r->made, &r->v, &w->p);
    if (!status && write)
        status = folder_open(w, r);
    return row_fail(r, status);
}

static int sweep_open(struct sweep *w, struct combination *all, size_t n, bool write,
                      const char *json)
{
    uint64_t needs = 0;
    bool accumulates = false;
    int status = 0;

    *w = (struct sweep){.c = all[0].c, .begin = now_s()};
    w->rows = mem_new(n, sizeof *w->rows);
    w->watchers = mem_new(n, sizeof *w->watchers);
    if (!w->rows || !w->watchers)
        return HCSMOE_ENOMEM;
    for (size_t i = 0; !status && i < n; i++) {
        w->rows[w->n++].of = &all[i];
        status = row_fail(&w->rows[i], combination_check(&all[i]));
        needs |= config_needs(all[i].c);
        accumulates = accumulates || config_accumulates(all[i].c);
        w->watchers[i].config = all[i].c;
    }
    if (!status)
        status = prepare_shared(&w->p, w->c, needs, !accumulates);
    if (!status)
        status = guard_file(json, "--json", w->p.m);
    if (!status)
        status = plan_make(&w->plan, &w->p, w->c);
    if (!status) { /* results lie beside the layer; every evaluation has hidden states of its own */
        const int64_t streams = (int64_t)n + w->c->before;
        w->plan.peak_bytes += (int64_t)w->p.m->layer_bytes_max;
        w->plan.peak_bytes +=
            streams * w->plan.eval_tokens * (w->p.m->desc.width * (int64_t)sizeof(float) + 16);
        w->plan.eval_flops *= (double)streams;
    }
    for (size_t i = 0; !status && i < n; i++)
        status = row_open(w, &w->rows[i], write);
    if (!status)
        status = plan_check(&w->plan, w->c);
    return status;
}

static bool touched_by_any(const struct sweep *w, int layer)
{
    for (size_t i = 0; i < w->n; i++)
        if (layer_touched(w->rows[i].of->c, w->p.m, layer))
            return true;
    return false;
}

static int stats_open(struct sweep *w)
{
    const struct model *m = w->p.m;
    struct layer_states none = {0};
    int status = 0;

    w->stats = mem_new((size_t)m->desc.n_layers, sizeof *w->stats);
    if (!w->stats)
        return HCSMOE_ENOMEM;
    for (int l = 0; !status && l < m->desc.n_layers; l++) {
        if (!touched_by_any(w, l))
            continue;
        status = layer_stats_open(&w->stats[l], m, l, w->p.batch.n_tokens, w->p.needs);
        if (!status && w->p.statistics)
            status = statistics_load(w->p.statistics, w->c, &w->stats[l], &none);
    }
    if (!status)
        status = observation_open(&w->observation, w->c, m, w->p.needs,
                                  w->p.forward ? w->p.batch.n_tokens : 0, w->watchers, w->n);
    return status;
}

static int evaluations_open(struct sweep *w)
{
    struct score_request *requests;
    size_t n;
    int status = eval_plan_requests(w->p.eval, &requests, &n);

    if (!status)
        status = score_rows_open(&w->requests, w->p.m, requests, n);
    if (!status && w->c->before)
        status = forward_open(&w->before, w->p.m, score_rows_batch(w->requests), false);
    for (size_t i = 0; !status && i < w->n; i++)
        status = forward_open(&w->rows[i].eval, w->p.m, score_rows_batch(w->requests), false);
    return status;
}

static int layer_observe(struct sweep *w, struct layer *l)
{
    const bool touched = touched_by_any(w, l->index);
    struct observer o = {0};
    int status = 0;

    if (touched) {
        layer_stats_weights(&w->stats[l->index], l);
        for (size_t i = 0; i < w->n; i++)
            w->watchers[i].states = &w->rows[i].v.states[l->index];
        o = observation_start(&w->observation, &w->stats[l->index]);
    }
    if (w->p.forward)
        status = forward_layer(&w->forward, l, touched ? &o : NULL);
    if (!status && touched && !w->observation.collected)
        status = observation_finish(&w->observation, l);
    return status;
}

static int row_layer(struct sweep *w, struct row *r, struct layer *l)
{
    struct merged x = {0};
    const bool touched = layer_touched(r->of->c, w->p.m, l->index);
    int status = touched ? made_layer(&r->made, l, &w->stats[l->index], &w->observation,
                                      &w->quality, false, &x)
                         : made_keep(&r->made, l);

    if (!status && r->eval.m)
        status = forward_layer(&r->eval, touched ? &x.layer : l, NULL);
    merged_release(&x);
    return row_fail(r, status);
}

static int layer_merge(struct sweep *w, struct layer *l)
{
    int status = w->quality.n && touched_by_any(w, l->index) ? quality_before(&w->quality, l) : 0;

    for (size_t i = 0; !status && i < w->n; i++)
        status = row_layer(w, &w->rows[i], l);
    if (!status && w->before.m)
        status = forward_layer(&w->before, l, NULL);
    return status;
}

static int layers_loop(struct sweep *w, bool merge)
{
    const struct model *m = w->p.m;
    struct layer_reader *reader = NULL;
    int status = 0;

    if (w->p.forward)
        status = forward_open(&w->forward, m, &w->p.batch, true);
    if (!status && w->p.forward && merge)
        status = quality_open(&w->quality, &w->observation, &w->forward.workspace);
    if (!status && merge && w->p.eval)
        status = evaluations_open(w);
    const double flops = w->plan.flops + (merge ? w->plan.eval_flops : 0);
    progress_start(merge ? "sweep" : "observe", flops > 0 ? flops : m->desc.n_layers);
    if (!status)
        status = layers_start(&reader, m);
    for (int i = 0; !status && i < m->desc.n_layers; i++) {
        struct layer *l;
        char stage[48];
        snprintf(stage, sizeof stage, "layer %d/%d", i + 1, m->desc.n_layers);
        progress_stage(stage);
        status =
            host_cancelled() ? fail(HCSMOE_ECANCELLED, "interrupted") : layers_next(reader, &l);
        if (!status)
            status = layer_observe(w, l);
        if (!status && merge)
            status = layer_merge(w, l);
        layer_stats_weights(&w->stats[i], NULL);
        if (flops <= 0)
            progress_add(1);
    }
    progress_end();
    layers_stop(reader);
    quality_release(&w->quality);
    forward_release(&w->forward);
    return status;
}

static int loops_run(struct sweep *w)
{
    bool budget = false;
    int status = 0;

    for (size_t i = 0; i < w->n; i++)
        budget = budget || w->rows[i].v.budget;
    w->observation.collected = w->p.statistics != NULL;
    if (budget && !w->p.statistics) {
        status = layers_loop(w, false);
        w->observation.collected = true;
    }
    for (size_t i = 0; !status && i < w->n; i++)
        status = row_fail(&w->rows[i], variant_budget(&w->rows[i].v, w->stats));
    return status ? status : layers_loop(w, true);
}

static int result_take(struct sweep *w, struct forward *f, json_t **result)
{
    struct str unused = {0};
    int status = score_rows_answer(w->requests, f);

    if (!status)
        status = eval_plan_results(w->p.eval, result, &unused);
    str_release(&unused);
    return status;
}

static int row_finish(struct sweep *w, struct row *r)
{
    const struct times t = {
        .total = now_s() - w->begin, .merge = r->made.merge_s, .write = r->made.write_s};
    int status = r->eval.m ? result_take(w, &r->eval, &r->result) : 0;

    if (!status && r->result)
        status = report_eval(&r->made.report, "after", json_incref(r->result));
    if (!status && w->before_result)
        status = report_eval(&r->made.report, "before", json_incref(w->before_result));
    if (!status && r->folder)
        status = made_tail(&r->made, w->stats);
    if (!status && r->folder)
        status = report_plan(&r->made.report, &w->plan);
    if (!status && r->folder)
        status = made_report(&r->made, r->made.output.temporary, &t, w->plan.peak_bytes);
    if (!status && r->folder)
        status = output_finish(&r->made.output);
    return row_fail(r, status);
}

/* What one combination gave, for programs. */
static json_t *row_json(const struct sweep *w, const struct row *r)
{
    json_t *o = json_object(), *set = json_object(), *groups = json_array(),
           *experts = json_array(), *layers = json_array(), *x;
    size_t i;

    for (i = 0; i < r->of->n_sets; i++) {
        const char *equals = strchr(r->of->sets[i], '=');
        char *key = mem_printf("%.*s", (int)(equals - r->of->sets[i]), r->of->sets[i]);
        if (key)
            json_object_set_new(set, key, json_string(equals + 1));
        mem_free(key);
    }
    json_array_foreach(r->made.report.layers, i, x)
    {
        json_t *list = json_object_get(x, "groups"), *g, *layer = json_object();
        json_int_t most = -1;
        size_t e;
        json_array_append(groups, list);
        json_array_foreach(list, e, g) most =
            json_integer_value(g) > most ? json_integer_value(g) : most;
        json_array_append_new(experts, json_integer(most + 1));
        static const char *const kept[] = {"layer", "predicted_error", "output_error", "collapsed",
                                           "warnings"};
        for (size_t k = 0; k < sizeof kept / sizeof *kept; k++)
            if (json_object_get(x, kept[k]))
                json_object_set(layer, kept[k], json_object_get(x, kept[k]));
        json_array_append_new(layers, layer);
    }
    json_object_set_new(o, "set", set);
    json_object_set_new(o, "groups", groups);
    json_object_set_new(o, "experts_per_layer", experts);
    json_object_set_new(o, "layers", layers);
    json_object_set_new(o, "bytes",
                        json_integer((json_int_t)w->p.m->shards.bytes - r->made.expert_bytes_less));
    if (r->made.error_n)
        json_object_set_new(o, "output_error",
                            json_real(r->made.error_sum / (double)r->made.error_n));
    if (r->result)
        json_object_set(o, "eval", r->result);
    if (w->before_result)
        json_object_set(o, "before", w->before_result);
    if (r->folder)
        json_object_set_new(o, "output_path", json_string(r->folder));
    json_object_set_new(o, "time_s", json_real(r->made.merge_s));
    return o;
}

/* The metrics worth a column: perplexity, else accuracy. */
static const char *metric_of(const json_t *task)
{
    static const char *const known[] = {"token_perplexity", "word_perplexity", "acc_norm", "acc"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (json_object_get(task, known[i]))
            return known[i];
    return NULL;
}

static void table_metrics(const json_t *eval, const json_t *like, bool head, struct str *out)
{
    const char *name;
    json_t *task;
    json_object_foreach((json_t *)(uintptr_t)like, name, task)
    {
        const char *metric = metric_of(task);
        if (!metric)
            continue;
        if (head)
            str_addf(out, " %s %s |", name, metric);
        else
            str_addf(out, " %.4f |",
                     json_number_value(json_object_get(json_object_get(eval, name), metric)));
    }
}

static void table_line(const json_t *o, const json_t *like, struct str *out)
{
    const char *key;
    json_t *value, *x;
    size_t i;
    json_int_t least = INT64_MAX, most = 0;

    str_add(out, "|");
    json_object_foreach(json_object_get(o, "set"), key, value)
        str_addf(out, " %s |", json_string_value(value));
    json_array_foreach(json_object_get(o, "experts_per_layer"), i, x)
    {
        const json_int_t n = json_integer_value(x);
        least = n < least ? n : least;
        most = n > most ? n : most;
    }
    str_addf(out, least == most ? " %lld | " : " %lld..%lld | ", (long long)least, (long long)most);
    bytes_print(out, json_integer_value(json_object_get(o, "bytes")));
    if (json_object_get(o, "output_error"))
        str_addf(out, " | %.4f |", json_number_value(json_object_get(o, "output_error")));
    else
        str_add(out, " | - |");
    table_metrics(json_object_get(o, "eval"), like, false, out);
    str_addf(out, " %.2f |\n", json_number_value(json_object_get(o, "time_s")));
}

/* For people: markdown, one line for each combination. */
static void table_print(const struct sweep *w, const json_t *rows, struct str *out)
{
    const json_t *first = json_array_get(rows, 0), *like = json_object_get(first, "eval"), *o;
    const size_t n = json_object_size(json_object_get(first, "set"));
    const char *key;
    json_t *value;
    size_t i, columns = n + 4;

    str_add(out, "|");
    json_object_foreach(json_object_get(first, "set"), key, value) str_addf(out, " %s |", key);
    str_add(out, " experts | size | output error |");
    table_metrics(NULL, like, true, out);
    json_object_foreach((json_t *)(uintptr_t)like, key, value) columns += metric_of(value) != NULL;
    str_add(out, " seconds |\n|");
    for (i = 0; i < columns; i++)
        str_add(out, i < n ? "---|" : "---:|");
    str_add(out, "\n");
    if (w->before_result) {
        str_add(out, "|");
        for (i = 0; i < n; i++)
            str_add(out, i ? " |" : " original |");
        str_add(out, " | ");
        bytes_print(out, (int64_t)w->p.m->shards.bytes);
        str_add(out, " | |");
        table_metrics(w->before_result, like, false, out);
        str_add(out, " |\n");
    }
    json_array_foreach((json_t *)(uintptr_t)rows, i, o) table_line(o, like, out);
}

int sweep_run(struct combination *all, size_t n, bool write, const char *json, bool *started,
              json_t **rows, struct str *table)
{
    struct sweep w;
    struct str plan = {0};
    int status = sweep_open(&w, all, n, write, json);

    *rows = NULL;
    *started = !status;
    if (!status && log_level() >= LOG_INFO) {
        plan_print(&w.plan, &w.p, w.c, &plan);
        log_line(LOG_INFO, "%zu combinations; the plan of the first:", n);
        fputs(str_text(&plan), stderr);
    }
    if (!status)
        status = stats_open(&w);
    if (!status)
        status = loops_run(&w);
    if (!status && w.before.m)
        status = result_take(&w, &w.before, &w.before_result);
    for (size_t i = 0; !status && i < n; i++)
        status = row_finish(&w, &w.rows[i]);
    if (!status) {
        *rows = json_array();
        for (size_t i = 0; i < n; i++)
            json_array_append_new(*rows, row_json(&w, &w.rows[i]));
        table_print(&w, *rows, table);
        status = str_check(table);
    }
    str_release(&plan);
    sweep_release(&w);
    return status;
}
