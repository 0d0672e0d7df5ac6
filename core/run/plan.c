/*
 * plan.c - opens what a run needs, adds up what it will cost, and refuses what cannot work.
 * SPDX-License-Identifier: MIT
 */
#include "run/plan.h"

#include <string.h>

#include <hcsmoe/merge.h>

#include "base/log.h"
#include "base/path.h"
#include "run/output.h"

enum {
    PROCESS_BYTES =
        48 * 1024 * 1024, /* program, libraries, BLAS buffers of a few threads; seen: 30 to 45 MB */
};

bool layer_touched(const struct config *c, const struct model *m, int layer)
{
    return m->layers[layer].desc.is_moe && layer >= c->start_layer;
}

static int groups_check(const struct prepared *p, const struct config *c)
{
    const struct model *m = p->m;
    if (c->start_layer >= m->desc.n_layers)
        return fail(HCSMOE_EINVAL, "%s = %lld: the model has layers 0..%d",
                    config_where(c, "group", "start_layer"), (long long)c->start_layer,
                    m->desc.n_layers - 1);
    if (!p->n_touched)
        return fail(HCSMOE_EINVAL, "%s: no layer to merge: %lld MoE layers, start_layer = %lld",
                    m->folder, (long long)m->n_moe_layers, (long long)c->start_layer);
    for (int l = 0; l < m->desc.n_layers; l++) {
        if (!layer_touched(c, m, l))
            continue;
        if (c->num_average_groups > m->layers[l].n_stored)
            return fail(HCSMOE_EINVAL, "%s = %lld: layer %d has %lld experts",
                        config_where(c, "group", "num_average_groups"),
                        (long long)c->num_average_groups, l, (long long)m->layers[l].n_stored);
        if (c->usage_top_k > m->layers[l].desc.n_experts)
            return fail(HCSMOE_EINVAL, "%s = %lld: layer %d has %lld experts",
                        config_where(c, "calibration", "usage_top_k"), (long long)c->usage_top_k, l,
                        (long long)m->layers[l].desc.n_experts);
    }
    return 0;
}

static hcsmoe_layer_dims layer_dims(const struct prepared *p, int layer)
{
    const struct layer_source *s = &p->m->layers[layer];
    return (hcsmoe_layer_dims){
        sizeof(hcsmoe_layer_dims), layer,       s->n_stored,      s->desc.top_k,
        p->m->desc.width,          s->desc.ffn, p->batch.n_tokens};
}

/* config.json has one key for the width of all experts: a layer that keeps its own cannot stand
 * beside one that changes it. */
static int width_check(const struct prepared *p, const struct config *c)
{
    const struct model *m = p->m;
    int64_t changed = 0;
    int kept = -1;

    for (int l = 0; l < m->desc.n_layers; l++) {
        hcsmoe_merge_shape shape = {.ffn = m->layers[l].desc.ffn};
        const hcsmoe_layer_dims dims = layer_dims(p, l);
        if (!m->layers[l].desc.is_moe)
            continue;
        int status =
            layer_touched(c, m, l) ? merge_shape(c, &dims, c->num_average_groups, &shape) : 0;
        if (status)
            return status;
        if (shape.ffn == m->layers[l].desc.ffn)
            kept = l;
        else
            changed = shape.ffn;
    }
    if (changed && !m->desc.key_expert_ffn)
        return fail(HCSMOE_EUNSUPPORTED,
                    "%s = %s gives experts of width %lld: the config.json of family %s has no key "
                    "for that",
                    config_where(c, "merge", "merge"), c->merge.component->c.name,
                    (long long)changed, m->family.component->c.name);
    if (changed && kept >= 0)
        return fail(HCSMOE_EINVAL,
                    "%s = %s gives experts of width %lld, but layer %d keeps %lld and config.json "
                    "has one width for all: [group] start_layer must be 0",
                    config_where(c, "merge", "merge"), c->merge.component->c.name,
                    (long long)changed, kept, (long long)m->layers[kept].desc.ffn);
    return 0;
}

/* A run that keeps every expert is legal (a reference point of a sweep), but says so. */
static int change_check(const struct prepared *p, const struct config *c)
{
    for (int l = 0; l < p->m->desc.n_layers; l++) {
        hcsmoe_merge_shape shape;
        const struct layer_source *s = &p->m->layers[l];
        if (!layer_touched(c, p->m, l))
            continue;
        const hcsmoe_layer_dims dims = layer_dims(p, l);
        int status = merge_shape(c, &dims, c->num_average_groups, &shape);
        if (status || p->budget || shape.n_experts < s->n_stored || shape.ffn < s->desc.ffn)
            return status;
    }
    log_line(
        LOG_WARN,
        "[group] num_average_groups = %lld keeps every expert of every layer: nothing is merged, "
        "the output is a copy",
        (long long)c->num_average_groups);
    return 0;
}

static int calibration_open(struct prepared *p, const struct config *c)
{
    int status = corpus_read(&p->blocks, c->data, p->tokenizer, c->n_sentences, c->block_size,
                             (uint64_t)c->seed);
    if (status)
        return fail_in(status, "%s", config_where(c, "calibration", "data"));
    batch_init(&p->batch, p->m->desc.width);
    for (int64_t i = 0; !status && i < p->blocks.n_blocks; i++)
        status = batch_add(&p->batch, p->blocks.ids + i * p->blocks.block_size,
                           p->blocks.block_size, 0, NULL);
    return status;
}

int prepare(struct prepared *p, struct config *c)
{
    *p = (struct prepared){0};
    int status =
        model_open(&p->m, c->model_name, c->model_path, c->family, &c->ini, c->registry, c->host);

    if (!status && c->merges) {
        p->needs = config_needs(c);
        p->forward = (p->needs & HCSMOE_STAT_FORWARD) != 0;
        p->budget = grouping_wants_budget(c);
        for (int l = 0; l < p->m->desc.n_layers; l++)
            p->n_touched += layer_touched(c, p->m, l);
        status = groups_check(p, c);
        if (!status) {
            status = output_check(c->output_path, p->m, c->overwrite);
            if (status)
                fail_in(status, "%s", config_where(c, "output", "output_path"));
        }
        if (!status)
            status = change_check(p, c);
        if (!status)
            status = width_check(p, c);
    }
    if (!status && (p->forward || c->evaluates))
        status = tokenizer_open(&p->tokenizer, c->model_name);
    if (!status && p->forward)
        status = calibration_open(p, c);
    if (!status && c->evaluates)
        status =
            eval_plan_open(&p->eval, &c->eval, c->registry, c->host, p->tokenizer, p->m->context);
    if (status)
        prepared_release(p);
    return status;
}

void prepared_release(struct prepared *p)
{
    eval_plan_close(p->eval);
    batch_release(&p->batch);
    corpus_release(&p->blocks);
    tokenizer_close(p->tokenizer);
    model_close(p->m);
    *p = (struct prepared){0};
}

/* FLOPs of the calibrating pass: forward, and with OUTPUT_MEAN gate and up of every expert on every
 * token. */
static double pass_flops(const struct prepared *p)
{
    double sum = 0;
    for (int l = 0; l < p->m->desc.n_layers; l++) {
        const struct layer_source *s = &p->m->layers[l];
        sum += forward_flops(p->m, &p->batch, l);
        if (s->desc.is_moe && (p->needs & HCSMOE_STAT_OUTPUT_MEAN))
            sum += 4.0 * (double)p->batch.n_tokens * (double)(s->n_stored - s->desc.top_k) *
                   (double)s->desc.ffn * (double)p->m->desc.width;
    }
    return sum;
}

static int64_t working_bytes(const struct prepared *p, const struct config *c)
{
    const hcsmoe_kernels_ops *ops = instance_ops(&c->kernels);
    const struct model *m = p->m;
    int64_t most = 0;

    if (!ops->working_bytes)
        return 0;
    for (int l = 0; l < m->desc.n_layers; l++) {
        const struct layer_source *s = &m->layers[l];
        double sums = 0; /* only tells the kernel that they are wanted */
        const hcsmoe_experts_args e = {.struct_size = sizeof e,
                                       .top_k = (int32_t)s->desc.top_k,
                                       .n_tokens = p->batch.chunk_largest,
                                       .width = m->desc.width,
                                       .n_experts = s->desc.is_moe ? s->n_stored : 1,
                                       .ffn = s->desc.ffn,
                                       .hidden_sum =
                                           p->needs & HCSMOE_STAT_OUTPUT_MEAN ? &sums : NULL};
        const hcsmoe_attention_args a = {.struct_size = sizeof a,
                                         .n_tokens = p->batch.chunk_largest,
                                         .n_heads = m->desc.n_heads,
                                         .n_kv_heads = m->desc.n_kv_heads,
                                         .head_dim = m->desc.head_dim,
                                         .v_head_dim = m->desc.v_head_dim};
        const int64_t bytes =
            ops->working_bytes(c->kernels.self, &c->host->abi, &e, &a, m->desc.vocabulary);
        if (bytes > most)
            most = bytes;
    }
    return most;
}

static int64_t result_bytes(const struct prepared *p, const struct config *c)
{
    int64_t bytes = (int64_t)p->m->shards.bytes;
    for (int l = 0; c->layout == LAYOUT_MAPPED && l < p->m->desc.n_layers; l++) {
        const struct layer_source *s = &p->m->layers[l];
        hcsmoe_merge_shape shape;
        if (!layer_touched(c, p->m, l))
            continue;
        const hcsmoe_layer_dims dims = layer_dims(p, l);
        if (merge_shape(c, &dims, c->num_average_groups, &shape))
            continue;
        const uint64_t experts =
            s->fused_gate_up
                ? s->fused_gate_up->size + s->fused_down->size
                : (s->gate[0]->size + s->up[0]->size + s->down[0]->size) * (uint64_t)s->n_stored;
        const double kept =
            (double)(shape.n_experts * shape.ffn) / (double)(s->n_stored * s->desc.ffn);
        bytes -= (int64_t)((double)experts * (1 - kept));
    }
    return bytes;
}

int plan_make(struct plan *plan, const struct prepared *p, const struct config *c)
{
    const struct model *m = p->m;
    const bool mean = p->needs & HCSMOE_STAT_OUTPUT_MEAN;
    int status = 0;

    *plan = (struct plan){0};
    plan->peak_bytes = PROCESS_BYTES + (int64_t)m->embed->size;
    if (c->merges) {
        plan->passes = p->budget ? 2 : 1;
        plan->flops = p->forward ? pass_flops(p) * plan->passes : 0;
        plan->read_bytes = (int64_t)m->shards.bytes * plan->passes;
        plan->write_bytes = plan->disk_bytes = result_bytes(p, c);
        const int64_t head = (int64_t)m->embed->size;
        int64_t layers = 2 * (int64_t)m->layer_bytes_max;
        if (p->forward) {
            layers += forward_bytes(m, p->batch.n_tokens, p->batch.chunk_largest,
                                    p->needs & HCSMOE_STAT_ROUTING_SCORE, mean) +
                      observation_bytes(c, m, p->needs, p->batch.n_tokens) + working_bytes(p, c);
        }
        for (int l = 0, seen = 0; l < m->desc.n_layers && !seen; l++)
            if (m->layers[l].desc.is_moe) { /* one merged expert beside the layer */
                layers += (int64_t)(m->layer_bytes_max / (uint64_t)m->layers[l].n_stored);
                seen = 1;
            }
        plan->peak_bytes = PROCESS_BYTES + (layers > head ? layers : head);
        char *parent = path_folder(c->output_path), *at = parent;
        while (at && !path_exists(at)) {
            char *up = path_folder(at);
            mem_free(at);
            at = up;
        }
        uint64_t available = 0;
        status = at ? path_free_bytes(at, &available) : HCSMOE_ENOMEM;
        plan->disk_free = available > INT64_MAX ? INT64_MAX : (int64_t)available;
        mem_free(at);
    }
    if (p->eval) {
        eval_plan_size(p->eval, &plan->documents, &plan->requests, &plan->eval_tokens);
        for (int l = 0; l < m->desc.n_layers; l++)
            plan->eval_flops += (double)plan->eval_tokens * decoder_flops(m, l, 0);
    }
    return status;
}

void bytes_print(struct str *out, int64_t bytes)
{
    static const char *const unit[] = {"B", "kB", "MB", "GB", "TB"};
    double x = (double)bytes;
    int u = 0;
    while (x >= 1000 && u < 4) {
        x /= 1000;
        u++;
    }
    str_addf(out, u && x < 100 ? "%.1f %s" : "%.0f %s", x, unit[u]);
}

static void needs_print(struct str *out, uint64_t needs)
{
    static const char *const names[] = {
        "weights",     "router_weight", "usage",  "routing_score", "router_gram", "output_mean",
        "layer_input", "hidden",        "output", "weight_gram",   "tiles"};
    bool first = true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (needs & ((uint64_t)1 << i)) {
            str_addf(out, "%s%s", first ? "" : ", ", names[i]);
            first = false;
        }
}

void plan_print(const struct plan *plan, const struct prepared *p, const struct config *c,
                struct str *out)
{
    const struct model *m = p->m;
    str_addf(out, "model       %s: %s, %d layers (%lld MoE), %.3g parameters, ", m->folder,
             m->family.component->c.name, m->desc.n_layers, (long long)m->n_moe_layers,
             (double)m->parameters);
    bytes_print(out, (int64_t)m->shards.bytes);
    str_add(out, "\n");
    if (c->merges) {
        str_add(out, "statistics  ");
        needs_print(out, p->needs);
        if (p->forward)
            str_addf(out, "; calibrate %lld x %lld tokens", (long long)p->blocks.n_blocks,
                     (long long)p->blocks.block_size);
        else
            str_add(out, "; no calibration");
        str_addf(out, "\nmerge       %d layers to %lld groups: %s", p->n_touched,
                 (long long)c->num_average_groups, c->cluster.component->c.name);
        for (int i = 0; i < c->n_bases; i++)
            str_addf(out, "%s%s", i ? "+" : " on ", c->bases[i].component->c.name);
        str_addf(out, ", %s\nwork        %d pass%s, %.3g FLOP, read ", c->merge.component->c.name,
                 plan->passes, plan->passes > 1 ? "es (observe all layers, then merge)" : "",
                 plan->flops);
        bytes_print(out, plan->read_bytes);
        str_add(out, ", write ");
        bytes_print(out, plan->write_bytes);
        str_add(out, "\ndisk        ");
        bytes_print(out, plan->disk_bytes);
        str_add(out, " needed, ");
        bytes_print(out, plan->disk_free);
        str_add(out, " free\n");
    }
    if (p->eval)
        str_addf(out, "evaluate    %lld documents, %lld requests, %lld tokens, %.3g FLOP%s\n",
                 (long long)plan->documents, (long long)plan->requests,
                 (long long)plan->eval_tokens, plan->eval_flops,
                 c->before && c->merges ? ", twice" : "");
    str_add(out, "memory      ");
    bytes_print(out, plan->peak_bytes);
    if (c->memory_limit) {
        str_add(out, " of ");
        bytes_print(out, c->memory_limit);
        str_add(out, " allowed");
    }
    str_add(out, "\n");
}

int plan_check(const struct plan *plan, const struct config *c)
{
    if (c->memory_limit && plan->peak_bytes > c->memory_limit)
        return fail(HCSMOE_EINVAL,
                    "%s = %lld: the plan needs %lld bytes; fewer n_sentences or a "
                    "shorter block_size take less",
                    config_where(c, "run", "memory_limit"), (long long)c->memory_limit,
                    (long long)plan->peak_bytes);
    if (c->merges && plan->disk_bytes > plan->disk_free)
        return fail(HCSMOE_EIO, "%s: the result needs %lld bytes, the disk has %lld",
                    c->output_path, (long long)plan->disk_bytes, (long long)plan->disk_free);
    return 0;
}
