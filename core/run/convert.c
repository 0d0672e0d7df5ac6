/*
 * convert.c - every layer read, given another router or more copies of its experts, and written.
 * SPDX-License-Identifier: MIT
 */
#include "run/convert.h"

#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/path.h"
#include "data/corpus.h"
#include "run/output.h"
#include "run/plan.h"
#include "run/quality.h"

enum { REPORT_BYTES_MAX = 64 * 1024 * 1024 }; /* of 64 layers with 256 experts: 4 MB */

/* A conversion in progress. */
struct conversion {
    struct config *c;
    struct model *m, *result;
    struct tokenizer *tokenizer;
    struct corpus_blocks blocks;
    struct batch batch;
    struct forward forward;
    struct observation observation;
    struct quality quality;
    struct eval_plan *eval;
    struct output output;
    json_t *report; /* of the run that made the checkpoint: the use of its experts; NULL */
    struct str *text;
};

static void conversion_release(struct conversion *v)
{
    output_release(&v->output);
    eval_plan_close(v->eval);
    quality_release(&v->quality);
    observation_release(&v->observation);
    forward_release(&v->forward);
    batch_release(&v->batch);
    corpus_release(&v->blocks);
    tokenizer_close(v->tokenizer);
    model_close(v->result);
    model_close(v->m);
    json_decref(v->report);
}

static int mapped_check(const struct model *m, const char *in, enum layout layout)
{
    bool mapped = false;
    for (int l = 0; l < m->desc.n_layers; l++)
        mapped = mapped || m->layers[l].map;
    if (mapped && json_object_get(m->config, "hcsmoe"))
        return 0;
    return fail(HCSMOE_EINVAL, "%s: not a checkpoint of layout mapped: nothing to %s", in,
                layout == LAYOUT_EXPANDED ? "expand" : "collapse");
}

/* The calibration tokens, if there are any to measure with. */
static int tokens_open(struct conversion *v)
{
    const struct config *c = v->c;
    int status = corpus_mix(&v->blocks, c->texts, c->n_texts, v->tokenizer, c->n_sentences,
                            c->block_size, (uint64_t)c->seed);

    batch_init(&v->batch, v->m->desc.width);
    for (int64_t i = 0; !status && i < v->blocks.n_blocks; i++)
        status = batch_add(&v->batch, v->blocks.ids + i * v->blocks.block_size,
                           v->blocks.block_size, 0, NULL);
    if (!status)
        status = forward_open(&v->forward, v->m, &v->batch, false);
    if (!status)
        status = observation_open(&v->observation, c, v->m, 0, v->batch.n_tokens, NULL, 0);
    return status ? status : quality_open(&v->quality, &v->observation, &v->forward.workspace);
}

/* What the run that made the checkpoint said about it. */
static int report_read(json_t **report, const char *folder)
{
    char *path = mem_printf("%s/hcsmoe/report.json", folder), *text = NULL;
    json_error_t error;
    size_t size;
    int status = path ? path_read(path, REPORT_BYTES_MAX, &text, &size) : HCSMOE_ENOMEM;

    if (!status) {
        *report = json_take(text, size, 0, &error);
        if (!*report)
            status =
                fail(HCSMOE_EINVAL, "%s:%d:%d: %s", path, error.line, error.column, error.text);
    }
    mem_free(text);
    mem_free(path);
    return status;
}

static int conversion_open(struct conversion *v, const char *in, const char *out,
                           enum layout layout)
{
    struct config *c = v->c;
    const bool measures = layout == LAYOUT_COLLAPSED && c->data;
    const bool evaluates = layout == LAYOUT_COLLAPSED && c->evaluates;
    int status = model_open(&v->m, in, NULL, c->family, &c->ini, c->registry, c->host);

    if (!status)
        status = mapped_check(v->m, in, layout);
    if (!status)
        status = output_open(&v->output, v->m, out, layout, c->overwrite);
    if (!status && (measures || evaluates))
        status = tokenizer_open(&v->tokenizer, in);
    if (!status && measures)
        status = tokens_open(v);
    if (!status && evaluates)
        status =
            eval_plan_open(&v->eval, &c->eval, c->registry, c->host, v->tokenizer, v->m->context);
    if (!status && layout == LAYOUT_COLLAPSED && c->row != ROW_CENTROID) {
        status = report_read(&v->report, in);
        if (status)
            fail_in(status, "%s goes by the use of experts, row = centroid needs none",
                    config_where(c, "output", "row"));
    }
    return status;
}

/* usage[router rows] of the model that was merged, from its report; NULL with *usage NULL. */
static int usage_read(const struct conversion *v, const struct layer *l, double **usage)
{
    const json_t *layer, *list = NULL;
    size_t i;

    *usage = NULL;
    if (!v->report)
        return 0;
    json_array_foreach(json_object_get(v->report, "layers"), i,
                       layer) if (json_integer_value(json_object_get(layer, "layer")) == l->index)
        list = json_object_get(layer, "usage");
    if (json_array_size(list) != (size_t)l->n_experts)
        return fail(HCSMOE_EINVAL,
                    "%s: %s/hcsmoe/report.json has no usage of layer %d's %lld experts; row = "
                    "centroid needs none",
                    config_where(v->c, "output", "row"), v->m->folder, l->index,
                    (long long)l->n_experts);
    *usage = mem_new((size_t)l->n_experts, sizeof **usage);
    for (i = 0; *usage && i < json_array_size(list); i++)
        (*usage)[i] = json_number_value(json_array_get(list, i));
    return *usage ? 0 : HCSMOE_ENOMEM;
}

/* Layer l under a router of one row to each expert; the use is of router rows, not of experts. */
static int layer_collapse(struct conversion *v, const struct layer *l, const struct merged *x,
                          struct collapsed *y)
{
    struct layer rows = *l;
    double *usage, error = 0, overlap = 0;
    int status = usage_read(v, l, &usage);

    rows.map = NULL;
    if (!status)
        status = collapse_layer(y, v->m, &rows, x, usage, v->c->row);
    mem_free(usage);
    if (status || !v->quality.n)
        return status;
    status = quality_before(&v->quality, l);
    if (!status)
        status = quality_error(&v->quality, &y->layer, &error);
    if (!status)
        status = quality_overlap(&v->quality, &x->layer, &y->layer, &overlap);
    str_addf(v->text, "layer %3d   %.0f%% of the routing, output error %.4f\n", l->index,
             100 * overlap, error);
    return status;
}

static int layer_convert(struct conversion *v, struct layer *l)
{
    const bool moe = v->m->layers[l->index].desc.is_moe;
    struct merged x = {0};
    struct collapsed y = {0};
    struct layer_stats s = {0};
    int status = 0;

    if (v->forward.x) {
        struct observer o = observation_start(&v->observation, &s);
        v->observation.collected = true; /* only the quality tokens are wanted */
        status = forward_layer(&v->forward, l, moe ? &o : NULL);
    }
    if (!status && moe)
        status = merge_nothing(&x, l);
    if (!status && moe && v->output.layout == LAYOUT_COLLAPSED && l->map)
        status = layer_collapse(v, l, &x, &y);
    for (int64_t e = 0; !status && moe && l->map && e < l->n_experts; e++)
        x.n_pruned += l->map[e] < 0;
    if (!status)
        status = output_layer(&v->output, l, moe ? &x : NULL, moe && l->map, y.router ? &y : NULL);
    collapsed_release(&y);
    merged_release(&x);
    return status;
}

static int layers_convert(struct conversion *v)
{
    struct layer_reader *reader = NULL;
    int status = layers_start(&reader, v->m);

    for (int i = 0; !status && i < v->m->desc.n_layers; i++) {
        struct layer *l;
        status =
            host_cancelled() ? fail(HCSMOE_ECANCELLED, "interrupted") : layers_next(reader, &l);
        if (!status)
            status = layer_convert(v, l);
    }
    layers_stop(reader);
    return status;
}

static int evaluate(struct conversion *v, struct model *m, const char *title)
{
    struct score_request *requests;
    struct str table = {0};
    json_t *result = NULL;
    size_t n;
    int status = eval_plan_requests(v->eval, &requests, &n);

    if (!status)
        status = score_run(m, requests, n, v->c->memory_limit);
    if (!status)
        status = eval_plan_results(v->eval, &result, &table);
    str_addf(v->text, "\n%s\n%s", title, str_text(&table));
    json_decref(result);
    str_release(&table);
    return status;
}

int convert_run(struct config *c, const char *in, const char *out, enum layout layout,
                bool *started, struct str *text)
{
    struct conversion v = {.c = c, .text = text};
    json_t *h = NULL;
    int status = conversion_open(&v, in, out, layout);

    *started = !status;
    if (!status)
        status = layers_convert(&v);
    if (!status) {
        h = json_deep_copy(json_object_get(v.m->config, "hcsmoe"));
        status = h ? output_tail(&v.output, h) : fail_memory(0);
    }
    const int64_t parameters = v.output.parameters;
    if (!status)
        status = output_finish(&v.output);
    if (!status)
        str_addf(text, "%s: %lld parameters\n", out, (long long)parameters);
    if (!status && v.eval) {
        status = model_open(&v.result, out, NULL, c->family, &c->ini, c->registry, c->host);
        if (!status)
            status = evaluate(&v, v.m, "under the exact router");
        if (!status)
            status = evaluate(&v, v.result, "collapsed");
    }
    conversion_release(&v);
    return status ? status : str_check(text);
}
