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
#include "run/report.h"
#include "run/statistics.h"

/* A run in progress. */
struct run {
    struct config *c;
    struct prepared p;
    struct plan plan;
    struct forward forward;
    struct observation observation;
    struct layer_stats *stats; /* [n_layers], opened for layers that are touched */
    struct layer_stats **touched;
    size_t n_touched;
    struct output output;
    struct report report;
    struct times times;
    double begin;
};

static int run_open(struct run *r, struct config *c)
{
    *r = (struct run){.c = c, .begin = now_s()};
    int status = prepare(&r->p, c);
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
    mem_free(r->touched);
    observation_release(&r->observation);
    forward_release(&r->forward);
    output_release(&r->output);
    report_release(&r->report);
    prepared_release(&r->p);
}

static int stats_open(struct run *r)
{
    const struct model *m = r->p.m;
    int status = 0;

    r->stats = mem_new((size_t)m->desc.n_layers, sizeof *r->stats);
    r->touched = mem_new((size_t)m->desc.n_layers, sizeof(struct layer_stats *));
    if (!r->stats || !r->touched)
        return HCSMOE_ENOMEM;
    for (int l = 0; !status && l < m->desc.n_layers; l++)
        if (layer_touched(r->c, m, l)) {
            status = layer_stats_open(&r->stats[l], r->c, m, l, r->p.batch.n_tokens, r->p.needs);
            r->touched[r->n_touched++] = &r->stats[l];
        }
    return status;
}

/* All calibration tokens through one layer, observed if it is to be merged. */
static int layer_observe(struct run *r, struct layer *l, bool observe)
{
    struct layer_stats *s = &r->stats[l->index];
    const bool touched = layer_touched(r->c, r->p.m, l->index);
    struct observer o = {0};
    const double begin = now_s();
    int status = 0;

    if (touched) {
        layer_stats_weights(s, l);
        o = observation_start(&r->observation, s);
    }
    if (r->p.forward)
        status = forward_layer(&r->forward, l, touched ? &o : NULL);
    if (!status && touched && observe)
        status = observation_finish(&r->observation, l);
    r->times.calibrate += now_s() - begin;
    return status;
}

/* MoE(x) of the quality tokens, in pieces that the workspace holds. */
static int quality_run(struct run *r, const struct layer *l, const int64_t *map, int64_t ffn,
                       float *out)
{
    const struct observation *o = &r->observation;
    const int64_t width = r->p.m->desc.width, most = r->forward.workspace.rows;
    int status = 0;
    for (int64_t i = 0; !status && i < o->quality_tokens; i += most) {
        const int64_t n = o->quality_tokens - i < most ? o->quality_tokens - i : most;
        status = decoder_moe(r->p.m, l, &r->forward.workspace, n, o->quality_x + i * width, map,
                             ffn, out + i * width);
    }
    return status;
}

/* Mean of |after - before|^2 / |before|^2. */
static double quality_error(const float *before, const float *after, int64_t n, int64_t width)
{
    double sum = 0;
    int64_t counted = 0;
    for (int64_t t = 0; t < n; t++) {
        double off = 0, norm = 0;
        for (int64_t i = t * width; i < (t + 1) * width; i++) {
            const double d = (double)after[i] - (double)before[i];
            off += d * d;
            norm += (double)before[i] * (double)before[i];
        }
        if (norm > 0) {
            sum += off / norm;
            counted++;
        }
    }
    return counted ? sum / (double)counted : 0;
}

/* group -> merge -> write, for one layer whose statistics are complete. */
static int layer_merge(struct run *r, struct layer *l)
{
    struct layer_stats *s = &r->stats[l->index];
    const int64_t width = r->p.m->desc.width, q = r->observation.quality_tokens;
    struct grouping g = {0};
    struct merged x = {0};
    hcsmoe_merge_shape shape;
    float *before = NULL, *after = NULL;
    double error = -1, begin = now_s();
    int status = grouping_open(&g, s->dims.n_experts);

    if (!status)
        status = merge_shape(r->c, &s->dims, s->n_groups, &shape);
    if (!status && shape.no_groups)
        grouping_identity(&g);
    else if (!status)
        status = grouping_make(&g, r->c, s);
    if (!status && q) {
        before = mem_new_raw((size_t)(q * width), sizeof *before);
        after = mem_new_raw((size_t)(q * width), sizeof *after);
        status = before && after ? quality_run(r, l, NULL, s->dims.ffn, before) : HCSMOE_ENOMEM;
    }
    if (!status)
        status = merge_layer(&x, r->c, r->p.m, l, s, &g, &r->observation);
    if (!status && q) {
        status = quality_run(r, &x.layer, x.map, x.ffn, after);
        error = quality_error(before, after, q, width);
    }
    r->times.merge += now_s() - begin;
    begin = now_s();
    if (!status)
        status = report_layer(&r->report, r->c, s, &g, &x, error);
    if (!status)
        status = output_layer(&r->output, l, &x, true);
    r->times.write += now_s() - begin;
    mem_free(before);
    mem_free(after);
    merged_release(&x);
    grouping_release(&g);
    return status;
}

static int layer_keep(struct run *r, const struct layer *l)
{
    const double begin = now_s();
    struct merged x = {0};
    const bool moe = r->p.m->layers[l->index].desc.is_moe;
    int status = moe ? merge_nothing(&x, r->p.m, l) : 0;
    if (!status)
        status = output_layer(&r->output, l, moe ? &x : NULL, false);
    merged_release(&x);
    r->times.write += now_s() - begin;
    return status;
}

/* One loop over the layers. */
static int layers_loop(struct run *r, bool observe, bool merge)
{
    const struct model *m = r->p.m;
    struct layer_reader *reader = NULL;
    int status = r->p.forward ? forward_open(&r->forward, m, &r->p.batch, true) : 0;

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
            status = layer_observe(r, l, observe);
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
    return status;
}

/* Observe everything, let the clustering decide over all layers, then merge in a second loop. */
static int budget_loop(struct run *r)
{
    int64_t ffn = r->touched[0]->dims.ffn;
    int status = layers_loop(r, true, false);

    if (!status)
        status = grouping_budget(r->c, r->touched, r->n_touched, &ffn);
    if (status)
        return status;
    r->observation.collected = true; /* the second loop keeps the first one's statistics */
    return layers_loop(r, false, true);
}

static void times_fix(struct run *r)
{
    r->times.total = now_s() - r->begin;
}

static int tail_write(struct run *r)
{
    const double begin = now_s();
    struct str ini = {0};
    char *path = output_path(&r->output, "statistics.safetensors");
    int status = path ? output_tail(&r->output, report_method(r->c, &r->p)) : HCSMOE_ENOMEM;

    if (!status)
        status = statistics_write(path, r->c, &r->p, r->touched, r->n_touched);
    if (!status)
        status = config_print(r->c, false, &ini);
    if (!status)
        status = output_file(&r->output, "run.ini", ini.text, ini.len);
    if (!status)
        status = report_result(&r->report, &r->p, &r->output);
    r->times.write += now_s() - begin;
    str_release(&ini);
    mem_free(path);
    return status;
}

/* report.json and report.txt, into the folder still being made or over those of the finished one.
 */
static int report_write(struct run *r, const char *folder)
{
    struct str text = {0};
    char *json, *a = mem_printf("%s/report.json", folder), *b = mem_printf("%s/report.txt", folder);

    times_fix(r);
    int status = report_end(&r->report, &r->times, r->plan.peak_bytes);
    json = report_json(&r->report);
    if (!status)
        status = json && a && b ? report_text(&r->report, &text) : fail_memory(0);
    if (!status)
        status = path_write(a, json, strlen(json));
    if (!status)
        status = path_write(b, text.text, text.len);
    str_release(&text);
    free(json); /* from json_dumps */
    mem_free(a);
    mem_free(b);
    return status;
}

static int merge_run(struct run *r)
{
    struct config *c = r->c;
    char *folder = NULL;
    int status = output_open(&r->output, r->p.m, c->output_path, c->layout, c->overwrite);

    if (!status)
        status = stats_open(r);
    if (!status)
        status = observation_open(&r->observation, c, r->p.m, r->p.needs,
                                  r->p.forward ? r->p.batch.n_tokens : 0);
    if (!status)
        status = r->p.budget ? budget_loop(r) : layers_loop(r, true, true);
    observation_release(&r->observation);
    if (!status)
        status = tail_write(r);
    if (!status) {
        folder = mem_printf("%s/hcsmoe", r->output.temporary);
        status = folder ? report_write(r, folder) : HCSMOE_ENOMEM;
    }
    if (!status)
        status = output_finish(&r->output);
    mem_free(folder);
    return status;
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
        evaluate_run(r->p.eval, r->p.m, r->c->memory_limit, &result, &r->report.table_before);
    r->times.eval += now_s() - begin;
    return status ? status : report_eval(&r->report, "before", result);
}

static int evaluate_after(struct run *r)
{
    struct config *c = r->c;
    struct model *m = NULL;
    json_t *result = NULL;
    const double begin = now_s();
    int status =
        c->merges ? model_open(&m, c->output_path, NULL, c->family, &c->ini, c->registry, c->host)
                  : 0;

    if (!status)
        status = evaluate_run(r->p.eval, c->merges ? m : r->p.m, c->memory_limit, &result,
                              &r->report.table_after);
    model_close(m);
    r->times.eval += now_s() - begin;
    return status ? status : report_eval(&r->report, "after", result);
}

/* Standard output and result_path get the same text. */
static int results_say(struct run *r)
{
    struct str text = {0};
    int status = report_end(&r->report, &r->times, r->plan.peak_bytes);
    if (!status)
        status = report_text(&r->report, &text);
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
        status = report_open(&r.report, c, &r.p);
    }
    str_release(&text);
    *started = !status;
    if (!status && r.p.eval && c->before && c->merges)
        status = evaluate_before(&r);
    if (!status && c->merges)
        status = merge_run(&r);
    if (!status && r.p.eval) {
        status = evaluate_after(&r);
        if (!status && c->merges) {
            char *folder = path_join(c->output_path, "hcsmoe");
            status = folder ? report_write(&r, folder) : HCSMOE_ENOMEM;
            mem_free(folder);
        } else if (status && c->merges) {
            fail_in(status, "the merged checkpoint is complete at %s; its evaluation failed",
                    c->output_path);
        }
    }
    times_fix(&r);
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
