/*
 * plan.c - opens what a run needs, adds up what it will cost, and refuses what cannot work.
 * SPDX-License-Identifier: MIT
 */
#include "run/plan.h"

#include <string.h>

#include <hcsmoe/merge.h>

#include "base/log.h"
#include "base/path.h"
#include "run/guard.h"

enum {
    PROCESS_BYTES =
        48 * 1024 * 1024, /* program, libraries, BLAS buffers of a few threads; seen: 30 to 45 MB */
};

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

/* config.json has one key for the width of all experts: a layer that keeps its own cannot stand
 * beside one that changes it. */
static int width_check(const struct prepared *p, const struct config *c)
{
    const struct model *m = p->m;
    int changed = -1, kept = -1;

    for (int l = 0; l < m->desc.n_layers; l++) {
        const bool touched = layer_touched(c, m, l);
        const struct aim *aim = &p->v.aims[l];
        if (!m->layers[l].desc.is_moe)
            continue;
        if (touched && (!aim->n_groups || aim->ffn != m->layers[l].desc.ffn))
            changed = l;
        else
            kept = l;
    }
    if (changed >= 0 && !m->desc.key_expert_ffn)
        return fail(HCSMOE_EUNSUPPORTED,
                    "%s = %s changes the width of experts: the config.json of family %s has no key "
                    "for that",
                    config_where(c, "merge", "merge"), c->merge.component->c.name,
                    m->family.component->c.name);
    if (changed >= 0 && kept >= 0)
        return fail(HCSMOE_EINVAL,
                    "%s = %s gives experts of width %lld, but layer %d keeps %lld and config.json "
                    "has one width for all: [group] start_layer must be 0",
                    config_where(c, "merge", "merge"), c->merge.component->c.name,
                    (long long)p->v.aims[changed].ffn, kept, (long long)m->layers[kept].desc.ffn);
    return 0;
}

/* A run that keeps every expert is legal (a reference point of a sweep), but says so. */
static void change_check(const struct prepared *p, const struct config *c)
{
    bool changes = p->budget;
    for (int l = 0; l < p->m->desc.n_layers; l++)
        if (layer_touched(c, p->m, l))
            changes = changes || p->v.aims[l].n_groups < p->m->layers[l].n_stored ||
                      p->v.aims[l].ffn < p->m->layers[l].desc.ffn;
    if (!changes)
        log_line(LOG_WARN,
                 "[group] num_average_groups = %lld keeps every expert of every layer: nothing is "
                 "merged, the output is a copy",
                 (long long)c->num_average_groups);
}

/* What can be said of a collapsed layout before the groups are known. */
static int collapse_possible(const struct prepared *p, const struct config *c)
{
    const struct model *m = p->m;
    if (c->layout != LAYOUT_COLLAPSED)
        return 0;
    if (!m->desc.key_n_experts)
        return fail(HCSMOE_EUNSUPPORTED,
                    "%s = collapsed: the config.json of family %s has no key for the number of "
                    "experts",
                    config_where(c, "output", "layout"), m->family.component->c.name);
    for (int l = 0; l < m->desc.n_layers; l++)
        if (m->layers[l].desc.is_moe && !layer_touched(c, m, l) &&
            m->layers[l].n_stored != c->num_average_groups)
            return fail(HCSMOE_EINVAL,
                        "%s = collapsed has one number of experts for all layers, but layer %d "
                        "keeps its %lld: [group] start_layer must be 0",
                        config_where(c, "output", "layout"), l, (long long)m->layers[l].n_stored);
    return 0;
}

/* Chunks of layers that see the model as the chunks before left it. */
static int partition_check(const struct prepared *p, const struct config *c)
{
    if (c->partition > p->n_touched)
        return fail(HCSMOE_EINVAL, "%s = %lld: %d layers are merged",
                    config_where(c, "merge", "partition"), (long long)c->partition, p->n_touched);
    return 0;
}

static int calibration_open(struct prepared *p, const struct config *c)
{
    int status = corpus_mix(&p->blocks, c->texts, c->n_texts, p->tokenizer, c->n_sentences,
                            c->block_size, (uint64_t)c->seed);
    if (status)
        return fail_in(status, "%s", config_where(c, "calibration", "data"));
    batch_init(&p->batch, p->m->desc.width);
    for (int64_t i = 0; !status && i < p->blocks.n_blocks; i++)
        status = batch_add(&p->batch, p->blocks.ids + i * p->blocks.block_size,
                           p->blocks.block_size, 0, NULL);
    return status;
}

/* What merging needs of a config beside the model: checked, and the aims of all layers. */
static int merge_prepare(struct prepared *p, struct config *c)
{
    int status;

    p->forward = (p->needs & HCSMOE_STAT_FORWARD) != 0;
    for (int l = 0; l < p->m->desc.n_layers; l++)
        p->n_touched += layer_touched(c, p->m, l);
    status = groups_check(p, c);
    if (!status)
        status = collapse_possible(p, c);
    if (!status)
        status = partition_check(p, c);
    return status;
}

static int aims_prepare(struct prepared *p, struct config *c, bool statistics)
{
    int status = variant_open(&p->v, c, p->m, p->forward ? p->batch.n_tokens : 0);

    if (status)
        return status;
    p->budget = p->v.budget;
    change_check(p, c);
    status = width_check(p, c);
    if (!status && statistics)
        status = statistics_find(&p->statistics, c, p);
    /* With all statistics at hand the tokens pass again only for methods that look at them. */
    if (!status && p->statistics && !(p->needs & HCSMOE_STAT_LAYER_INPUT))
        p->forward = false;
    return status;
}

/* Model, text, aims, tasks; output: its folder has to be free. */
static int prepare_all(struct prepared *p, struct config *c, uint64_t needs, bool statistics,
                       bool output)
{
    *p = (struct prepared){.needs = needs, .v = {.c = c}};
    int status =
        model_open(&p->m, c->model_name, c->model_path, c->family, &c->ini, c->registry, c->host);

    if (!status && c->merges)
        status = merge_prepare(p, c);
    if (!status && c->merges && output) {
        status = guard_folder(c->output_path, p->m, c->overwrite);
        if (status)
            fail_in(status, "%s", config_where(c, "output", "output_path"));
    }
    if (!status)
        status = guard_files(c, p->m);
    if (!status && (p->forward || c->evaluates))
        status = tokenizer_open(&p->tokenizer, c->model_name);
    if (!status && p->forward)
        status = calibration_open(p, c);
    if (!status && c->merges)
        status = aims_prepare(p, c, statistics);
    if (!status && c->evaluates)
        status =
            eval_plan_open(&p->eval, &c->eval, c->registry, c->host, p->tokenizer, p->m->context);
    if (status)
        prepared_release(p);
    return status;
}

int prepare(struct prepared *p, struct config *c)
{
    return prepare_all(p, c, c->merges ? config_needs(c) : 0, true, true);
}

int prepare_shared(struct prepared *p, struct config *c, uint64_t needs, bool statistics)
{
    return prepare_all(p, c, needs, statistics, false);
}

void prepared_release(struct prepared *p)
{
    eval_plan_close(p->eval);
    statistics_close(p->statistics);
    if (p->v.m)
        variant_release(&p->v);
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
        if (!s->desc.is_moe || p->statistics)
            continue;
        const double all =
            4.0 * (double)p->batch.n_tokens * (double)s->desc.ffn * (double)p->m->desc.width;
        if (p->needs & HCSMOE_STAT_OUTPUT_MEAN)
            sum += all * (double)(s->n_stored - s->desc.top_k);
        if (p->needs & (HCSMOE_STAT_HIDDEN | HCSMOE_STAT_OUTPUT | HCSMOE_STAT_ENERGY |
                        HCSMOE_STAT_ENERGY_SCALED))
            sum += all * (double)s->n_stored;
        if (p->needs & HCSMOE_STAT_OUTPUT)
            sum += all / 2 * (double)s->n_stored;
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
    for (int l = 0; l < p->m->desc.n_layers; l++) {
        const struct layer_source *s = &p->m->layers[l];
        const struct aim *aim = &p->v.aims[l];
        if (!layer_touched(c, p->m, l))
            continue;
        const uint64_t experts =
            s->fused_gate_up
                ? s->fused_gate_up->size + s->fused_down->size
                : (s->gate[0]->size + s->up[0]->size + s->down[0]->size) * (uint64_t)s->n_stored;
        /* n' of width F n / n' take as much as n of width F. */
        const int64_t groups = !aim->n_groups                 ? aim->target
                               : c->layout == LAYOUT_EXPANDED ? s->desc.n_experts
                                                              : aim->n_groups;
        const int64_t ffn = aim->n_groups ? aim->ffn : s->desc.ffn;
        const double kept = (double)(groups * ffn) / (double)(s->n_stored * s->desc.ffn);
        bytes -= (int64_t)((double)experts * (1 - kept));
    }
    return bytes;
}

/* Of all layers, for groups of equal size; the working memory is that of the smallest group that
 * the largest can be. */
static int merge_plan(struct plan *plan, const struct prepared *p, const struct config *c)
{
    int status = 0;
    for (int l = 0; !status && l < p->m->desc.n_layers; l++) {
        const struct aim *aim = &p->v.aims[l];
        const int64_t groups = aim->n_groups ? aim->n_groups : aim->target;
        hcsmoe_merge_cost cost;
        if (!layer_touched(c, p->m, l))
            continue;
        const hcsmoe_layer_dims dims = layer_dims(p->m, l, p->batch.n_tokens);
        const int64_t members = (dims.n_experts + groups - 1) / groups;
        if (members == 1 && aim->n_groups && aim->ffn == dims.ffn)
            continue;
        status = merge_cost(c, &dims, aim, members, &cost);
        plan->merge_flops += cost.flops * (double)groups;
        if (cost.bytes > plan->merge_bytes) {
            plan->merge_bytes = cost.bytes;
            plan->merge_members = members;
            plan->merge_less = cost.less;
        }
    }
    return status;
}

/* The report's distances, which wait in memory for the last layer. */
static int64_t matrices_bytes(const struct prepared *p, const struct config *c)
{
    enum { NUMBER_BYTES = 56 }; /* one in an array of jansson's */
    int64_t pairs = 0;
    for (int l = 0; c->output_path && l < p->m->desc.n_layers; l++)
        if (layer_touched(c, p->m, l))
            pairs += p->m->layers[l].desc.n_experts * (p->m->layers[l].desc.n_experts - 1) / 2;
    return pairs * NUMBER_BYTES;
}

int plan_make(struct plan *plan, const struct prepared *p, const struct config *c)
{
    const struct model *m = p->m;
    const bool mean = p->needs & HCSMOE_STAT_OUTPUT_MEAN;
    int status = 0;

    *plan = (struct plan){0};
    plan->peak_bytes = PROCESS_BYTES + (int64_t)m->embed->size;
    if (c->merges) {
        plan->passes = (p->budget || c->partition > 1) && !p->statistics ? 2 : 1;
        plan->flops = p->forward ? pass_flops(p) * (plan->passes + (c->partition > 1)) : 0;
        status = merge_plan(plan, p, c);
        if (status)
            return status;
        plan->read_bytes = (int64_t)m->shards.bytes * plan->passes;
        plan->write_bytes = plan->disk_bytes = c->output_path ? result_bytes(p, c) : 0;
        const int64_t head = (int64_t)m->embed->size;
        int64_t layers = 2 * (int64_t)m->layer_bytes_max;
        if (p->forward) {
            layers += forward_bytes(m, p->batch.n_tokens, p->batch.chunk_largest,
                                    p->needs & HCSMOE_STAT_ROUTING_SCORE, mean) *
                          (c->partition > 1 ? 2 : 1) +
                      observation_bytes(c, m, p->needs, p->batch.n_tokens) + working_bytes(p, c);
        }
        for (int l = 0, seen = 0; l < m->desc.n_layers && !seen; l++)
            if (m->layers[l].desc.is_moe) { /* one merged expert beside the layer */
                layers += (int64_t)(m->layer_bytes_max / (uint64_t)m->layers[l].n_stored);
                seen = 1;
            }
        layers += plan->merge_bytes + matrices_bytes(p, c);
        if (c->partition > 1) /* the layer in float32 */
            layers += 2 * (int64_t)m->layer_bytes_max;
        plan->peak_bytes = PROCESS_BYTES + (layers > head ? layers : head);
        char *parent = path_folder(c->output_path ? c->output_path : "."), *at = parent;
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

static void methods_print(const struct config *c, int n_touched, struct str *out)
{
    if (c->cluster.component) {
        str_addf(out, "\nmerge       %d layers to %lld groups: %s", n_touched,
                 (long long)c->num_average_groups, c->cluster.component->c.name);
        for (int i = 0; i < c->n_bases; i++)
            str_addf(out, "%s%s", i ? "+" : " on ", c->bases[i].component->c.name);
    } else {
        str_addf(out, "\nmerge       %d layers to the size of %lld experts: every expert alone",
                 n_touched, (long long)c->num_average_groups);
    }
    str_addf(out, ", %s", c->merge.component->c.name);
    if (c->partition > 1)
        str_addf(out, ", in %lld parts", (long long)c->partition);
}

static void calibration_print(const struct prepared *p, const struct config *c, struct str *out)
{
    str_addf(out, "; calibrate %lld x %lld tokens", (long long)p->blocks.n_blocks,
             (long long)p->blocks.block_size);
    for (size_t i = 0; c->n_texts > 1 && i < c->n_texts; i++)
        str_addf(out, "%s%lld of %s%s", i ? ", " : " (", (long long)c->text_blocks[i],
                 path_base(c->texts[i].path), i + 1 < c->n_texts ? "" : ")");
}

static void merge_print(const struct plan *plan, struct str *out)
{
    if (plan->merge_flops <= 0)
        return;
    str_addf(out, "working     %.3g FLOP of merging; a group of %lld takes ", plan->merge_flops,
             (long long)plan->merge_members);
    bytes_print(out, plan->merge_bytes);
    str_addf(out, "%s%s%s\n", plan->merge_less ? ", less with " : "",
             plan->merge_less ? plan->merge_less : "", "");
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
        needs_print(p->needs, out);
        if (p->statistics)
            str_addf(out, "; read from %s", statistics_path(p->statistics));
        if (p->forward)
            calibration_print(p, c, out);
        else if (!p->statistics)
            str_add(out, "; no calibration");
        methods_print(c, p->n_touched, out);
        str_addf(out, "\nwork        %d pass%s, %.3g FLOP, read ", plan->passes,
                 plan->passes > 1 ? "es (observe all layers, then merge)" : "", plan->flops);
        bytes_print(out, plan->read_bytes);
        str_add(out, ", write ");
        bytes_print(out, plan->write_bytes);
        str_add(out, "\n");
        merge_print(plan, out);
        str_add(out, "disk        ");
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
                    "%s = %lld: the plan needs %lld bytes; %s%sfewer n_sentences or a shorter "
                    "block_size take less",
                    config_where(c, "run", "memory_limit"), (long long)c->memory_limit,
                    (long long)plan->peak_bytes, plan->merge_less ? plan->merge_less : "",
                    plan->merge_less ? ", " : "");
    if (c->merges && c->output_path && plan->disk_bytes > plan->disk_free)
        return fail(HCSMOE_EIO, "%s: the result needs %lld bytes, the disk has %lld",
                    c->output_path, (long long)plan->disk_bytes, (long long)plan->disk_free);
    return 0;
}
