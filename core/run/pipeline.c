/*
 * pipeline.c - reads top to bottom as a run goes: prepare, plan, every layer once, write, report,
 * evaluate.
 * SPDX-License-Identifier: MIT
 */
#include "run/pipeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/path.h"
#include "base/trace.h"
#include "run/guard.h"
#include "run/made.h"

/* A run in progress. */
struct run {
    struct config *c;
    struct prepared p;
    struct plan plan;
    struct forward forward; /* the calibration tokens */
    struct forward merged;  /* partition: the same tokens through the layers merged so far */
    struct observation observation;
    struct quality quality;
    struct layer_stats *stats; /* [n_layers], opened for layers that are touched */
    struct watcher watcher;
    struct made made;
    struct times times;
    double begin;
};

static int run_open(struct run *r, struct config *c)
{
    *r = (struct run){.c = c, .begin = now_s()};
    int status = prepare(&r->p, c);
    (void)trace_end("prepare", -1, r->begin);
    if (!status)
        status = plan_make(&r->plan, &r->p, c);
    if (!status)
        status = plan_check(&r->plan, c);
    return status;
}

static void run_release(struct run *r)
{
    for (int l = 0; r->stats && l < r->p.m->desc.n_layers; l++)
        layer_stats_release(&r->stats[l]);
    mem_free(r->stats);
    quality_release(&r->quality);
    observation_release(&r->observation);
    forward_release(&r->forward);
    forward_release(&r->merged);
    made_release(&r->made);
    prepared_release(&r->p);
}

static int stats_open(struct run *r)
{
    const struct model *m = r->p.m;
    int status = 0;

    r->stats = mem_new((size_t)m->desc.n_layers, sizeof *r->stats);
    if (!r->stats)
        return HCSMOE_ENOMEM;
    for (int l = 0; !status && l < m->desc.n_layers; l++) {
        if (!layer_touched(r->c, m, l))
            continue;
        status = layer_stats_open(&r->stats[l], m, l, r->p.batch.n_tokens, r->p.needs);
        if (!status && r->p.statistics)
            status = statistics_load(r->p.statistics, r->c, &r->stats[l], &r->p.v.states[l]);
    }
    return status;
}

/* All calibration tokens through one layer, observed if it is to be merged. */
static int layer_observe(struct run *r, struct layer *l)
{
    struct layer_stats *s = &r->stats[l->index];
    const bool touched = layer_touched(r->c, r->p.m, l->index);
    struct observer o = {0};
    const double begin = now_s();
    int status = 0;

    if (touched) {
        layer_stats_weights(s, l);
        r->watcher.states = &r->p.v.states[l->index];
        o = observation_start(&r->observation, s);
    }
    if (r->p.forward)
        status = forward_layer(&r->forward, l, touched ? &o : NULL);
    if (!status && touched && !r->observation.collected) {
        const double t = trace_begin();
        status = observation_finish(&r->observation, l);
        (void)trace_end("statistics", l->index, t);
    }
    r->times.calibrate += now_s() - begin;
    return status;
}

/* Where the tokens are after this layer as it is now, when a later part of the model is to see it so
 * (partition): the stream that feeds the next part starts from there. */
static int part_advance(struct run *r, const struct layer *now, int part_next)
{
    int status = 0;
    if (r->c->partition <= 1)
        return 0;
    status = forward_layer(&r->merged, now, NULL);
    if (!status && part_next)
        memcpy(r->forward.x, r->merged.x,
               (size_t)(r->p.batch.n_tokens * r->p.m->desc.width) * sizeof(float));
    return status;
}

/* Does a part of a partitioned run end with this layer? Parts are of nearly equal numbers of merged
 * layers. */
static bool part_ends(const struct run *r, int layer)
{
    int64_t before = 0;
    for (int l = 0; l <= layer; l++)
        before += layer_touched(r->c, r->p.m, l);
    const int64_t n = r->p.n_touched, q = r->c->partition;
    for (int64_t part = 1; part <= q; part++)
        if (before == part * n / q && layer_touched(r->c, r->p.m, layer))
            return true;
    return false;
}

/* group -> merge -> write, for one layer whose statistics are complete. */
static int layer_merge(struct run *r, struct layer *l)
{
    struct merged x = {0};
    struct layer wide = {0};
    int status = r->quality.n ? quality_before(&r->quality, l) : 0;

    /* What later parts see is merged, but not yet rounded to what is stored. */
    if (!status && r->c->partition > 1)
        status = layer_widen(r->p.m, l, &wide);
    if (!status)
        status = made_layer(&r->made, wide.buffer ? &wide : l, &r->stats[l->index], &r->observation,
                            &r->quality, true, &x);
    if (!status)
        status = part_advance(r, &x.layer, part_ends(r, l->index));
    merged_release(&x);
    layer_release(&wide);
    return status;
}

static int layer_keep(struct run *r, const struct layer *l)
{
    int status = made_keep(&r->made, l);
    return status ? status : part_advance(r, l, false);
}

static int streams_open(struct run *r, bool merge)
{
    int status = 0;
    if (!r->p.forward)
        return 0;
    status = forward_open(&r->forward, r->p.m, &r->p.batch, true);
    if (!status && merge && r->c->partition > 1)
        status = forward_open(&r->merged, r->p.m, &r->p.batch, false);
    if (!status && merge)
        status = quality_open(&r->quality, &r->observation, &r->forward.workspace);
    return status;
}

/* One loop over the layers. */
static int layers_loop(struct run *r, bool merge)
{
    const struct model *m = r->p.m;
    struct layer_reader *reader = NULL;
    int status = streams_open(r, merge);

    progress_start(merge ? "merge" : "observe",
                   r->p.forward ? r->plan.flops / r->plan.passes : m->desc.n_layers);
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
            status = layer_observe(r, l);
        if (!status && merge)
            status = layer_touched(r->c, m, i) ? layer_merge(r, l) : layer_keep(r, l);
        layer_stats_weights(&r->stats[i], NULL);
        if (!r->p.forward)
            progress_add(1);
    }
    progress_end();
    if (reader)
        r->times.read += layers_wait_s(reader);
    layers_stop(reader);
    forward_release(&r->forward);
    forward_release(&r->merged);
    return status;
}

/* Observe and merge in one loop, unless something needs all layers' statistics first, or merging one
 * part of the layers changes what the next part sees. */
static int loops_run(struct run *r)
{
    int status = 0;

    r->observation.collected = r->p.statistics != NULL;
    if (r->plan.passes > 1) {
        status = layers_loop(r, false);
        r->observation.collected = true; /* the second loop keeps the first one's statistics */
    }
    if (!status)
        status = variant_budget(&r->p.v, r->stats);
    return status ? status : layers_loop(r, true);
}

static const struct times *times_now(struct run *r)
{
    r->times.total = now_s() - r->begin;
    r->times.merge = r->made.merge_s;
    r->times.write = r->made.write_s;
    return &r->times;
}

static int merge_run(struct run *r)
{
    struct config *c = r->c;
    int64_t n_read[2], n_written[2];
    bool counts = io_bytes(&n_read[0], &n_written[0]);
    int status = made_folders(&r->made, c->output_path);

    if (!status)
        status = stats_open(r);
    r->watcher.config = c;
    if (!status)
        status = observation_open(&r->observation, c, r->p.m, r->p.needs,
                                  r->p.forward ? r->p.batch.n_tokens : 0, &r->watcher, 1);
    if (!status)
        status = loops_run(r);
    quality_release(&r->quality);
    observation_release(&r->observation);
    if (!status)
        status = made_tail(&r->made, r->stats);
    counts = counts && io_bytes(&n_read[1], &n_written[1]);
    if (!status && counts)
        status = report_io(&r->made.report, n_read[1] - n_read[0], n_written[1] - n_written[0]);
    if (!status)
        status = made_report(&r->made, r->made.output.temporary, times_now(r), r->plan.peak_bytes);
    return status ? status : output_finish(&r->made.output);
}

/* Scores the prepared requests with a model; the result goes to the report as `when`. */
static int evaluate_run(struct eval_plan *plan, struct model *m, int64_t memory, json_t **result,
                        struct str *table)
{
    struct score_request *requests;
    size_t n;
    int status = eval_plan_requests(plan, &requests, &n);
    if (!status)
        status = score_run(m, requests, n, memory);
    return status ? status : eval_plan_results(plan, result, table);
}

static int evaluate_before(struct run *r)
{
    json_t *result = NULL;
    const double begin = now_s();
    int status =
        evaluate_run(r->p.eval, r->p.m, r->c->memory_limit, &result, &r->made.report.table_before);
    r->times.eval += now_s() - begin;
    return status ? status : report_eval(&r->made.report, "before", result);
}

/* A checkpoint that this run wrote. */
static int evaluate_folder(struct run *r, const char *folder, const char *when, struct str *table)
{
    struct config *c = r->c;
    struct model *m = NULL;
    json_t *result = NULL;
    int status = model_open(&m, folder, NULL, c->family, &c->ini, c->registry, c->host);

    if (!status)
        status = evaluate_run(r->p.eval, m, c->memory_limit, &result, table);
    model_close(m);
    return status ? status : report_eval(&r->made.report, when, result);
}

static int evaluate_after(struct run *r)
{
    struct config *c = r->c;
    const double begin = now_s();
    json_t *result = NULL;
    int status = 0;

    if (r->made.exact.writing)
        status = evaluate_folder(r, r->made.exact.temporary, "exact", &r->made.report.table_exact);
    if (!status && c->merges) {
        status = evaluate_folder(r, c->output_path, "after", &r->made.report.table_after);
    } else if (!status) {
        status =
            evaluate_run(r->p.eval, r->p.m, c->memory_limit, &result, &r->made.report.table_after);
        if (!status)
            status = report_eval(&r->made.report, "after", result);
    }
    r->times.eval += now_s() - begin;
    return status;
}

/* Standard output and result_path get the same text. */
static int results_say(struct run *r)
{
    struct str text = {0};
    int status = report_end(&r->made.report, times_now(r), r->plan.peak_bytes);
    if (!status)
        status = report_text(&r->made.report, &text);
    if (!status) {
        fputs(text.text, stdout);
        status = fflush(stdout) ? fail_errno("standard output", "cannot be written") : 0;
    }
    if (!status)
        status = result_append(r->c, path_base(r->p.m->folder), text.text);
    str_release(&text);
    return status;
}

int pipeline_run(struct config *c, bool *started)
{
    struct run r;
    struct str text = {0};
    int status = run_open(&r, c);

    if (!status) {
        plan_print(&r.plan, &r.p, c, &text);
        if (log_level() >= LOG_INFO)
            fputs(str_text(&text), stderr);
        status = made_open(&r.made, &r.p.v, &r.p);
    }
    if (!status)
        status = report_plan(&r.made.report, &r.plan);
    str_release(&text);
    *started = !status;
    if (!status && r.p.eval && c->before && c->merges)
        status = evaluate_before(&r);
    if (!status && c->merges)
        status = merge_run(&r);
    if (!status && r.p.eval) {
        status = evaluate_after(&r);
        if (!status && c->merges)
            status = made_report(&r.made, c->output_path, times_now(&r), r.plan.peak_bytes);
        else if (status && c->merges)
            fail_in(status, "the merged checkpoint is complete at %s; its evaluation failed",
                    c->output_path);
    }
    if (!status)
        status = results_say(&r);
    run_release(&r);
    return status;
}

int pipeline_check(struct config *c)
{
    struct run r;
    struct str text = {0};
    int status = run_open(&r, c);

    if (!status) {
        plan_print(&r.plan, &r.p, c, &text);
        fputs(str_text(&text), stdout);
    }
    str_release(&text);
    run_release(&r);
    return status;
}

int pipeline_eval(struct config *c, const char *folder, const char *json, bool *started)
{
    struct model *m = NULL;
    struct tokenizer *t = NULL;
    struct eval_plan *plan = NULL;
    json_t *result = NULL;
    struct str table = {0};
    int status = model_open(&m, folder, NULL, c->family, &c->ini, c->registry, c->host);

    if (!status)
        status = guard_files(c, m);
    if (!status)
        status = guard_file(json, "--json", m);
    if (!status)
        status = tokenizer_open(&t, folder);
    if (!status)
        status = eval_plan_open(&plan, &c->eval, c->registry, c->host, t, m->context);
    *started = !status;
    if (!status)
        status = evaluate_run(plan, m, c->memory_limit, &result, &table);
    if (!status && json) {
        char *text = json_dumps(result, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
        status = text ? path_write(json, text, strlen(text)) : fail_memory(0);
        free(text); /* from json_dumps */
    }
    if (!status) {
        fputs(str_text(&table), stdout);
        status = fflush(stdout) ? fail_errno("standard output", "cannot be written")
                                : result_append(c, path_base(folder), str_text(&table));
    }
    json_decref(result);
    str_release(&table);
    eval_plan_close(plan);
    tokenizer_close(t);
    model_close(m);
    return status;
}
