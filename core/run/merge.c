/*
 * merge.c - calls the merge method for every group, and keeps what it must not touch.
 *
 * The result of a group is made beside the layer and then laid over its lowest member, or, when the
 * layer is wanted again, into memory of its own. A group of one at unchanged width keeps its bytes.
 * SPDX-License-Identifier: MIT
 */
#include "run/merge.h"

#include <string.h>

#include <hcsmoe/merge.h>

#include "base/log.h"
#include "base/mem.h"
#include "run/tokens.h"

/* Buffers for the members of the group at hand. */
struct group {
    int32_t *members, *pruned;
    int64_t n;
    hcsmoe_tensor *gate, *up, *down; /* [n] */
    hcsmoe_tensor out[3];
    void *bytes[3];
};

int merge_aim(const struct config *c, const hcsmoe_layer_dims *dims, struct aim *aim)
{
    const hcsmoe_merge_ops *ops = instance_ops(&c->merge);
    const char *name = c->merge.component->c.name;
    const bool alone = c->merge.component->c.caps & HCSMOE_CAP_NO_GROUPS;
    hcsmoe_merge_shape shape = {sizeof shape, 0, aim->target, aim->n_groups, dims->ffn};
    int status = 0;

    if (ops->shape) {
        instance_enter(&c->merge, dims->layer);
        status = host_leave(c->host, ops->shape(c->merge.self, &c->host->abi, dims, &shape));
    } else if (!shape.n_experts) {
        shape.n_experts = alone ? dims->n_experts : aim->target;
    }
    if (status)
        return status;
    if (shape.n_experts < 0 || shape.n_experts > dims->n_experts || shape.ffn < 1 ||
        shape.ffn > dims->ffn || (alone && shape.n_experts != dims->n_experts))
        return fail(HCSMOE_EPLUGIN, "%s, layer %d: %lld experts of width %lld from %lld of %lld",
                    name, dims->layer, (long long)shape.n_experts, (long long)shape.ffn,
                    (long long)dims->n_experts, (long long)dims->ffn);
    aim->n_groups = shape.n_experts;
    aim->ffn = shape.ffn;
    return 0;
}

int merge_cost(const struct config *c, const hcsmoe_layer_dims *dims, const struct aim *aim,
               int64_t n_members, hcsmoe_merge_cost *cost)
{
    const hcsmoe_merge_ops *ops = instance_ops(&c->merge);
    const hcsmoe_merge_shape shape = {sizeof shape, 0, aim->target, aim->n_groups, aim->ffn};
    int status = 0;

    *cost = (hcsmoe_merge_cost){.struct_size = sizeof *cost};
    if (ops->cost) {
        instance_enter(&c->merge, dims->layer);
        status = host_leave(c->host,
                            ops->cost(c->merge.self, &c->host->abi, dims, &shape, n_members, cost));
    }
    if (instance_needs(&c->merge, 0) & HCSMOE_STAT_LAYER_INPUT)
        cost->bytes +=
            group_tokens_bytes(dims, n_members, !ops->cost || (cost->tiles & HCSMOE_TILE_HIDDEN));
    return status;
}

static int merged_open(struct merged *x, const struct layer *l, int64_t n_experts, int64_t ffn)
{
    *x = (struct merged){.layer = *l};
    x->layer.gate = mem_new((size_t)n_experts, sizeof *x->layer.gate);
    x->layer.up = mem_new((size_t)n_experts, sizeof *x->layer.up);
    x->layer.down = mem_new((size_t)n_experts, sizeof *x->layer.down);
    x->layer.map = x->map = mem_new((size_t)l->n_experts, sizeof *x->map);
    x->layer.n_stored = n_experts;
    x->layer.ffn = ffn;
    return x->layer.gate && x->layer.up && x->layer.down && x->map ? 0 : HCSMOE_ENOMEM;
}

void merged_release(struct merged *x)
{
    mem_free(x->layer.gate);
    mem_free(x->layer.up);
    mem_free(x->layer.down);
    mem_free(x->map);
    mem_free(x->routed);
    mem_free(x->tokens);
    mem_free(x->bytes);
    *x = (struct merged){0};
}

int merge_nothing(struct merged *x, const struct layer *l)
{
    int status = merged_open(x, l, l->n_stored, l->ffn);

    for (int64_t e = 0; !status && e < l->n_stored; e++) {
        x->layer.gate[e] = l->gate[e];
        x->layer.up[e] = l->up[e];
        x->layer.down[e] = l->down[e];
    }
    for (int64_t e = 0; !status && e < l->n_experts; e++)
        x->map[e] = l->map ? l->map[e] : e;
    if (status)
        merged_release(x);
    return status;
}

static int group_open(struct group *q, const struct layer *l, const hcsmoe_layer_dims *dims,
                      int64_t ffn)
{
    const size_t n = (size_t)dims->n_experts;
    const uint32_t dtype[3] = {l->gate[0].dtype, l->up[0].dtype, l->down[0].dtype};
    const int64_t rows[3] = {ffn, ffn, dims->width}, columns[3] = {dims->width, dims->width, ffn};

    *q = (struct group){0};
    q->members = mem_new(n, sizeof *q->members);
    q->pruned = mem_new(n, sizeof *q->pruned);
    q->gate = mem_new(n, sizeof *q->gate);
    q->up = mem_new(n, sizeof *q->up);
    q->down = mem_new(n, sizeof *q->down);
    if (!q->members || !q->pruned || !q->gate || !q->up || !q->down)
        return HCSMOE_ENOMEM;
    for (int p = 0; p < 3; p++) {
        q->bytes[p] = mem_new_raw((size_t)(rows[p] * columns[p]), hcsmoe_dtype_size(dtype[p]));
        if (!q->bytes[p])
            return HCSMOE_ENOMEM;
        q->out[p] = hcsmoe_matrix(q->bytes[p], dtype[p], rows[p], columns[p]);
    }
    return 0;
}

static void group_release(struct group *q)
{
    mem_free(q->members);
    mem_free(q->pruned);
    mem_free(q->gate);
    mem_free(q->up);
    mem_free(q->down);
    for (int p = 0; p < 3; p++)
        mem_free(q->bytes[p]);
}

static void group_fill(struct group *q, const struct layer *l, const struct grouping *g,
                       int32_t label)
{
    q->n = 0;
    for (int64_t e = 0; e < g->n_experts; e++)
        if (g->labels[e] == label) {
            q->members[q->n] = (int32_t)e;
            q->pruned[q->n] = 0;
            q->gate[q->n] = l->gate[e];
            q->up[q->n] = l->up[e];
            q->down[q->n++] = l->down[e];
        }
}

/* Where the result of a group goes: the lowest member's bytes (narrower matrices take the front of
 * them), or the group's place in memory of the merged layer's own. */
static void result_lay(const struct group *q, struct merged *x, int32_t label)
{
    hcsmoe_tensor *to[3] = {&x->layer.gate[label], &x->layer.up[label], &x->layer.down[label]};
    const hcsmoe_tensor *place[3] = {&q->gate[0], &q->up[0], &q->down[0]};
    size_t size[3], all = 0, before = 0;

    for (int p = 0; p < 3; p++)
        all += size[p] =
            (size_t)hcsmoe_tensor_elements(&q->out[p]) * hcsmoe_dtype_size(q->out[p].dtype);
    for (int p = 0; p < 3; before += size[p++]) {
        void *at =
            x->bytes ? (unsigned char *)x->bytes + (size_t)label * all + before : place[p]->data;
        *to[p] = hcsmoe_matrix(at, q->out[p].dtype, q->out[p].shape[0], q->out[p].shape[1]);
        memcpy(at, q->out[p].data, size[p]);
    }
}

static int result_check(const struct config *c, const struct model *m, const struct group *q,
                        int layer, int32_t label)
{
    for (int p = 0; p < 3; p++) {
        int32_t found = 0;
        int status = m->k->has_nonfinite(m->k, &q->out[p], &found);
        if (status)
            return status;
        if (found)
            return fail(HCSMOE_EFAILED,
                        "merge/%s, layer %d, group %d: the merged expert holds NaN or infinity",
                        c->merge.component->c.name, layer, label);
    }
    return 0;
}

/* A group may turn out larger than the plan could know. */
static int cost_check(const struct config *c, const struct layer_stats *s, const struct aim *aim,
                      const struct group *q, int32_t label)
{
    hcsmoe_merge_cost cost;
    int status = c->memory_limit ? merge_cost(c, &s->dims, aim, q->n, &cost) : 0;

    if (!status && c->memory_limit && cost.bytes > c->memory_limit)
        status = fail(HCSMOE_EINVAL,
                      "merge/%s, layer %d, group %d of %lld experts: needs %lld bytes of working "
                      "memory, [run] memory_limit allows %lld%s%s",
                      c->merge.component->c.name, s->dims.layer, label, (long long)q->n,
                      (long long)cost.bytes, (long long)c->memory_limit,
                      cost.less ? "; less with " : "", cost.less ? cost.less : "");
    return status;
}

static int group_merge(struct merged *x, const struct config *c, const struct model *m,
                       const struct layer *l, const struct layer_stats *s, const struct grouping *g,
                       const struct aim *aim, const struct observation *o, struct group *q,
                       int32_t label)
{
    const hcsmoe_merge_ops *ops = instance_ops(&c->merge);
    const bool inputs = o && o->inputs;
    double loss = 0, total = 0;

    group_fill(q, l, g, label);
    if (q->n == 1 && x->layer.ffn == s->dims.ffn && !ops->singletons) {
        x->layer.gate[label] = q->gate[0];
        x->layer.up[label] = q->up[0];
        x->layer.down[label] = q->down[0];
        return 0;
    }
    struct group_tokens tokens = {.config = c,
                                  .layer = l,
                                  .o = o,
                                  .members = q->members,
                                  .gate = q->gate,
                                  .up = q->up,
                                  .n_members = q->n};
    int status = cost_check(c, s, aim, q, label);
    if (!status && inputs)
        status = group_tokens_open(&tokens);
    if (!status && inputs) {
        x->tokens[label] = tokens.n;
        for (int64_t i = 0; i < q->n; i++)
            x->routed[q->members[i]] = tokens.routed[i];
    }
    const hcsmoe_merge_args a = {
        .struct_size = sizeof a,
        .group = label,
        .dims = &s->dims,
        .stats = &s->view,
        .n_members = q->n,
        .n_groups = g->n_groups,
        .members = q->members,
        .core = g->cores[label],
        .gate = q->gate,
        .up = q->up,
        .down = q->down,
        .out_gate = &q->out[0],
        .out_up = &q->out[1],
        .out_down = &q->out[2],
        .routed = tokens.routed,
        .n_tokens = tokens.n,
        .tokens = inputs ? group_tokens_show : NULL,
        .ctx = &tokens,
        .pruned = q->pruned,
        .loss = &loss,
        .total = &total,
    };
    if (!status) {
        instance_enter(&c->merge, s->dims.layer);
        status = host_leave(c->host, ops->merge(c->merge.self, &c->host->abi, &a));
    }
    group_tokens_release(&tokens);
    if (!status)
        status = result_check(c, m, q, s->dims.layer, label);
    if (!status)
        result_lay(q, x, label);
    x->loss += loss;
    x->total += total;
    return status;
}

/* Router rows of members that the method denied become -1; stored[E] is the map of the layer's own
 * experts. */
static int pruned_mark(const struct config *c, const struct group *q, int layer, int64_t *stored)
{
    int64_t left = q->n;
    for (int64_t i = 0; i < q->n; i++)
        if (q->pruned[i]) {
            stored[q->members[i]] = -1;
            left--;
        }
    if (left == q->n || (left > 0 && (c->merge.component->c.caps & HCSMOE_CAP_PRUNES)))
        return 0;
    return fail(HCSMOE_EPLUGIN, "merge/%s, layer %d: %s", c->merge.component->c.name, layer,
                left ? "denies experts without saying that it prunes" : "denies a whole group");
}

/* Router row -> expert written: through the layer's own map, and the groups. */
static void map_make(struct merged *x, const struct layer *l, const int64_t *stored)
{
    for (int64_t e = 0; e < l->n_experts; e++) {
        const int64_t at = l->map ? l->map[e] : e;
        x->map[e] = at < 0 ? -1 : stored[at];
        x->n_pruned += at >= 0 && stored[at] < 0;
    }
}

/* The bytes of all results, when they may not lie in the layer. */
static int result_open(struct merged *x, const struct group *q, int64_t n_groups)
{
    size_t all = 0;
    for (int p = 0; p < 3; p++)
        all += (size_t)hcsmoe_tensor_elements(&q->out[p]) * hcsmoe_dtype_size(q->out[p].dtype);
    x->bytes = mem_new_raw((size_t)n_groups, all);
    return x->bytes ? 0 : HCSMOE_ENOMEM;
}

static int dtypes_check(const struct layer *l)
{
    for (int64_t e = 1; e < l->n_stored; e++)
        if (l->gate[e].dtype != l->gate[0].dtype || l->up[e].dtype != l->up[0].dtype ||
            l->down[e].dtype != l->down[0].dtype)
            return fail(HCSMOE_EUNSUPPORTED,
                        "layer %d: experts 0 and %lld are stored in different dtypes", l->index,
                        (long long)e);
    return 0;
}

int merge_layer(struct merged *x, const struct config *c, const struct model *m,
                const struct layer *l, const struct layer_stats *s, const struct grouping *g,
                const struct aim *aim, const struct observation *o, bool in_place)
{
    struct group q = {0};
    int64_t *stored = mem_new((size_t)g->n_experts, sizeof *stored);
    int status = stored ? merged_open(x, l, g->n_groups, aim->ffn) : HCSMOE_ENOMEM;

    if (!status)
        status = dtypes_check(l);
    if (!status)
        status = group_open(&q, l, &s->dims, aim->ffn);
    if (!status && o && o->inputs) {
        x->routed = mem_new((size_t)g->n_experts, sizeof *x->routed);
        x->tokens = mem_new((size_t)g->n_groups, sizeof *x->tokens);
        status = x->routed && x->tokens ? 0 : HCSMOE_ENOMEM;
    }
    if (!status && !in_place)
        status = result_open(x, &q, g->n_groups);
    for (int64_t e = 0; !status && e < g->n_experts; e++)
        stored[e] = g->labels[e];
    for (int32_t label = 0; !status && label < g->n_groups; label++) {
        status = group_merge(x, c, m, l, s, g, aim, o, &q, label);
        if (!status)
            status = pruned_mark(c, &q, l->index, stored);
    }
    if (!status)
        map_make(x, l, stored);
    group_release(&q);
    mem_free(stored);
    if (status)
        merged_release(x);
    return status;
}
