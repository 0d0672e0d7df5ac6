/*
 * merge.c - calls the merge method for every group, and keeps what it must not touch.
 *
 * The result of a group is made beside the layer and then laid over its lowest member: a layer
 * takes no more memory after merging than before. A group of one at unchanged width keeps its
 * bytes.
 * SPDX-License-Identifier: MIT
 */
#include "run/merge.h"

#include <string.h>

#include <hcsmoe/merge.h>

#include "base/log.h"
#include "base/mem.h"

enum { GROUP_TILE_TOKENS = 1024 };

/* Buffers for the members of the group at hand. */
struct group {
    int32_t *members;
    int64_t n;
    hcsmoe_tensor *gate, *up, *down; /* [n] */
    hcsmoe_tensor out[3];
    void *bytes[3];
};

int merge_shape(const struct config *c, const hcsmoe_layer_dims *dims, int64_t n_groups,
                hcsmoe_merge_shape *shape)
{
    const hcsmoe_merge_ops *ops = instance_ops(&c->merge);
    const char *name = c->merge.component->c.name;
    int status = 0;

    *shape = (hcsmoe_merge_shape){sizeof *shape, 0, n_groups, dims->ffn, 0, 0};
    if (ops->shape) {
        host_enter(c->host, name, dims->layer);
        status = host_leave(c->host, ops->shape(c->merge.self, &c->host->abi, dims, shape));
    }
    if (!status && (shape->n_experts < 1 || shape->n_experts > dims->n_experts || shape->ffn < 1 ||
                    shape->ffn > dims->ffn))
        status =
            fail(HCSMOE_EPLUGIN, "%s, layer %d: %lld experts of width %lld from %lld of width %lld",
                 name, dims->layer, (long long)shape->n_experts, (long long)shape->ffn,
                 (long long)dims->n_experts, (long long)dims->ffn);
    return status;
}

static int merged_open(struct merged *x, const struct layer *l, int64_t n_experts, int64_t ffn,
                       int64_t router_rows)
{
    *x = (struct merged){
        .layer = *l, .n_experts = n_experts, .ffn = ffn, .router_rows = router_rows};
    x->layer.gate = mem_new((size_t)n_experts, sizeof *x->layer.gate);
    x->layer.up = mem_new((size_t)n_experts, sizeof *x->layer.up);
    x->layer.down = mem_new((size_t)n_experts, sizeof *x->layer.down);
    x->map = mem_new((size_t)router_rows, sizeof *x->map);
    x->layer.n_stored = n_experts;
    return x->layer.gate && x->layer.up && x->layer.down && x->map ? 0 : HCSMOE_ENOMEM;
}

void merged_release(struct merged *x)
{
    mem_free(x->layer.gate);
    mem_free(x->layer.up);
    mem_free(x->layer.down);
    mem_free(x->map);
    *x = (struct merged){0};
}

int merge_nothing(struct merged *x, const struct model *m, const struct layer *l)
{
    const struct layer_source *s = &m->layers[l->index];
    int status = merged_open(x, l, l->n_stored, s->desc.ffn, s->desc.n_experts);

    for (int64_t e = 0; !status && e < l->n_stored; e++) {
        x->layer.gate[e] = l->gate[e];
        x->layer.up[e] = l->up[e];
        x->layer.down[e] = l->down[e];
    }
    for (int64_t e = 0; !status && e < s->desc.n_experts; e++)
        x->map[e] = s->map ? s->map[e] : e;
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
    q->gate = mem_new(n, sizeof *q->gate);
    q->up = mem_new(n, sizeof *q->up);
    q->down = mem_new(n, sizeof *q->down);
    if (!q->members || !q->gate || !q->up || !q->down)
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
            q->gate[q->n] = l->gate[e];
            q->up[q->n] = l->up[e];
            q->down[q->n++] = l->down[e];
        }
}

/* Space for one tile of a group's tokens. */
struct pool {
    int64_t *tokens;
    float *x, *weights, *probabilities, *logits, *all, *space, **hidden, *route_weights;
    int32_t *route_ids;
};

static void pool_release(struct pool *p)
{
    mem_free(p->tokens);
    mem_free(p->x);
    mem_free(p->weights);
    mem_free(p->probabilities);
    mem_free(p->logits);
    mem_free(p->all);
    mem_free(p->space);
    mem_free(p->hidden);
    mem_free(p->route_ids);
    mem_free(p->route_weights);
}

static int pool_open(struct pool *p, const hcsmoe_layer_dims *dims, int64_t router_rows,
                     int64_t members, bool hidden)
{
    const size_t n = GROUP_TILE_TOKENS;
    *p = (struct pool){0};
    p->tokens = mem_new(n, sizeof *p->tokens);
    p->x = mem_new_raw(n * (size_t)dims->width, sizeof(float));
    p->weights = mem_new(n * (size_t)members, sizeof(float));
    p->probabilities = mem_new(n * (size_t)members, sizeof(float));
    p->logits = mem_new(n * (size_t)router_rows, sizeof(float));
    p->all = mem_new(n * (size_t)router_rows, sizeof(float));
    p->route_ids = mem_new(n * (size_t)dims->top_k, sizeof(int32_t));
    p->route_weights = mem_new(n * (size_t)dims->top_k, sizeof(float));
    p->hidden = mem_new((size_t)members, sizeof *p->hidden);
    if (hidden)
        p->space = mem_new_raw(n * (size_t)members, (size_t)dims->ffn * sizeof(float));
    if (!p->tokens || !p->x || !p->weights || !p->probabilities || !p->logits || !p->all ||
        !p->route_ids || !p->route_weights || !p->hidden || (hidden && !p->space))
        return HCSMOE_ENOMEM;
    for (int64_t i = 0; hidden && i < members; i++)
        p->hidden[i] = p->space + (size_t)i * n * (size_t)dims->ffn;
    return 0;
}

/* Weight of every member for one token; false when it is routed to none. */
static bool token_weights(const struct layer_source *s, const struct group *q,
                          const struct observation *o, int64_t token, float *w)
{
    const int64_t k = s->desc.top_k;
    bool any = false;
    for (int64_t i = 0; i < q->n; i++)
        w[i] = 0;
    for (int64_t j = 0; j < k; j++) {
        const int32_t id = o->ids[token * k + j];
        const int64_t e = id < 0 ? -1 : s->map ? s->map[id] : id;
        for (int64_t i = 0; i < q->n; i++)
            if (q->members[i] == e) {
                w[i] += o->weights[token * k + j];
                any = true;
            }
    }
    return any;
}

static int tile_probabilities(const struct model *m, const struct layer *l,
                              const struct layer_source *s, const struct group *q, struct pool *p,
                              int64_t n)
{
    const hcsmoe_kernels *k = m->k;
    const int64_t rows = s->desc.n_experts;
    int status = k->linear(k, n, rows, m->desc.width, p->x, &l->role[HCSMOE_ROLE_ROUTER], NULL, 0,
                           p->logits);

    if (!status)
        status = k->route(k, n, rows, (int32_t)s->desc.top_k, 0, p->logits, s->map, p->all,
                          p->route_ids, p->route_weights);
    for (int64_t t = 0; !status && t < n; t++)
        for (int64_t i = 0; i < q->n; i++) {
            float sum = 0;
            for (int64_t e = 0; e < rows; e++)
                if ((s->map ? s->map[e] : e) == q->members[i])
                    sum += p->all[t * rows + e];
            p->probabilities[t * q->n + i] = sum;
        }
    return status;
}

static int group_accumulate(const struct config *c, const struct model *m, const struct layer *l,
                            const struct group *q, const struct observation *o,
                            const hcsmoe_merge_args *a)
{
    const hcsmoe_merge_ops *ops = instance_ops(&c->merge);
    const struct layer_source *s = &m->layers[l->index];
    const hcsmoe_layer_dims *dims = a->dims;
    const bool hidden = instance_needs(&c->merge) & HCSMOE_STAT_HIDDEN;
    struct pool p;
    int64_t n = 0;
    int status = pool_open(&p, dims, s->desc.n_experts, q->n, hidden);

    for (int64_t t = 0; !status && t <= o->n_tokens; t++) {
        if (t < o->n_tokens && token_weights(s, q, o, t, p.weights + n * q->n)) {
            p.tokens[n] = t;
            memcpy(p.x + n * dims->width, o->inputs + t * dims->width,
                   (size_t)dims->width * sizeof(float));
            n++;
        }
        if (!n || (n < GROUP_TILE_TOKENS && t < o->n_tokens))
            continue;
        status = tile_probabilities(m, l, s, q, &p, n);
        for (int64_t i = 0; !status && hidden && i < q->n; i++)
            status = m->k->swiglu(m->k, n, dims->width, dims->ffn, p.x, &q->gate[i], &q->up[i],
                                  p.hidden[i]);
        const hcsmoe_group_tile tile = {sizeof tile,
                                        0,
                                        n,
                                        p.tokens,
                                        p.x,
                                        p.weights,
                                        p.probabilities,
                                        hidden ? (const float *const *)p.hidden : NULL};
        if (!status) {
            host_enter(c->host, c->merge.component->c.name, dims->layer);
            status = host_leave(c->host, ops->accumulate(c->merge.self, &c->host->abi, a, &tile));
        }
        n = 0;
        if (!status && host_cancelled())
            status = fail(HCSMOE_ECANCELLED, "interrupted");
    }
    pool_release(&p);
    return status;
}

/* The result over the lowest member's bytes; narrower matrices take the front of them. */
static void result_lay(const struct group *q, struct merged *x, int32_t label)
{
    hcsmoe_tensor *to[3] = {&x->layer.gate[label], &x->layer.up[label], &x->layer.down[label]};
    const hcsmoe_tensor *place[3] = {&q->gate[0], &q->up[0], &q->down[0]};
    for (int p = 0; p < 3; p++) {
        *to[p] =
            hcsmoe_matrix(place[p]->data, q->out[p].dtype, q->out[p].shape[0], q->out[p].shape[1]);
        memcpy(to[p]->data, q->out[p].data,
               (size_t)hcsmoe_tensor_elements(&q->out[p]) * hcsmoe_dtype_size(q->out[p].dtype));
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

static int group_merge(struct merged *x, const struct config *c, const struct model *m,
                       const struct layer *l, struct layer_stats *s, const struct grouping *g,
                       const struct observation *o, struct group *q, int32_t label)
{
    const hcsmoe_merge_ops *ops = instance_ops(&c->merge);

    group_fill(q, l, g, label);
    if (q->n == 1 && x->ffn == s->dims.ffn && !ops->singletons) {
        x->layer.gate[label] = q->gate[0];
        x->layer.up[label] = q->up[0];
        x->layer.down[label] = q->down[0];
        return 0;
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
        .n_states = s->merge.n,
        .states = s->merge.tensor,
        .gate = q->gate,
        .up = q->up,
        .down = q->down,
        .out_gate = &q->out[0],
        .out_up = &q->out[1],
        .out_down = &q->out[2],
    };
    int status = 0;
    states_clear(&s->merge);
    if (ops->accumulate && o && o->inputs)
        status = group_accumulate(c, m, l, q, o, &a);
    if (!status) {
        host_enter(c->host, c->merge.component->c.name, s->dims.layer);
        status = host_leave(c->host, ops->merge(c->merge.self, &c->host->abi, &a));
    }
    if (!status)
        status = result_check(c, m, q, s->dims.layer, label);
    if (!status)
        result_lay(q, x, label);
    return status;
}

/* Router row -> expert written: through the checkpoint's own map, the groups, and what the method
 * prunes. */
static int map_make(struct merged *x, const struct config *c, const struct model *m, int layer,
                    const struct layer_stats *s, const struct grouping *g)
{
    const hcsmoe_merge_ops *ops = instance_ops(&c->merge);
    const struct layer_source *src = &m->layers[layer];
    int64_t *stored = mem_new((size_t)g->n_experts, sizeof *stored);
    int status = stored ? 0 : HCSMOE_ENOMEM;

    for (int64_t e = 0; !status && e < g->n_experts; e++)
        stored[e] = g->labels[e];
    if (!status && ops->map) {
        host_enter(c->host, c->merge.component->c.name, layer);
        status =
            host_leave(c->host, ops->map(c->merge.self, &c->host->abi, &s->dims, &s->view, stored));
    }
    for (int64_t e = 0; !status && e < x->router_rows; e++) {
        const int64_t at = src->map ? src->map[e] : e;
        x->map[e] = at < 0 ? -1 : stored[at];
        if (x->map[e] < -1 || x->map[e] >= x->n_experts)
            status = fail(HCSMOE_EPLUGIN, "merge/%s, layer %d: expert %lld maps to %lld",
                          c->merge.component->c.name, layer, (long long)e, (long long)x->map[e]);
    }
    mem_free(stored);
    return status;
}

int merge_layer(struct merged *x, const struct config *c, const struct model *m, struct layer *l,
                struct layer_stats *s, const struct grouping *g, const struct observation *o)
{
    hcsmoe_merge_shape shape;
    struct group q = {0};
    int status = merge_shape(c, &s->dims, g->n_groups, &shape);

    *x = (struct merged){0};
    if (!status)
        status = merged_open(x, l, shape.n_experts, shape.ffn, m->layers[l->index].desc.n_experts);
    if (!status)
        status = group_open(&q, l, &s->dims, shape.ffn);
    if (!status)
        status = states_open(&s->merge, &c->merge, &s->dims);
    if (!status && shape.n_experts != g->n_groups)
        status = fail(HCSMOE_EPLUGIN, "merge/%s, layer %d: %lld experts for %lld groups",
                      c->merge.component->c.name, l->index, (long long)shape.n_experts,
                      (long long)g->n_groups);
    for (int64_t e = 1; !status && e < l->n_stored; e++)
        if (l->gate[e].dtype != l->gate[0].dtype || l->up[e].dtype != l->up[0].dtype ||
            l->down[e].dtype != l->down[0].dtype)
            status = fail(HCSMOE_EUNSUPPORTED,
                          "layer %d: experts 0 and %lld are stored in different dtypes", l->index,
                          (long long)e);
    for (int32_t label = 0; !status && label < g->n_groups; label++)
        status = group_merge(x, c, m, l, s, g, o, &q, label);
    if (!status)
        status = map_make(x, c, m, l->index, s, g);
    group_release(&q);
    if (status)
        merged_release(x);
    return status;
}
