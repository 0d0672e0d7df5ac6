/*
 * decoder.c - norm, attention, norm, experts: the decoder layer that most families share.
 * SPDX-License-Identifier: MIT
 */
#include "model/decoder.h"

#include <string.h>

#include "base/mem.h"
#include "base/trace.h"

/* Largest sizes over all layers: what a workspace must hold for each row. */
struct row_sizes {
    int64_t experts, top_k;
};

static struct row_sizes row_sizes(const struct model *m)
{
    struct row_sizes s = {1, 1};
    for (int l = 0; l < m->desc.n_layers; l++) {
        const hcsmoe_layer_desc *d = &m->layers[l].desc;
        if (d->is_moe && d->n_experts > s.experts)
            s.experts = d->n_experts;
        if (d->is_moe && d->top_k > s.top_k)
            s.top_k = d->top_k;
    }
    return s;
}

int64_t workspace_bytes(const struct model *m, int64_t rows, bool probabilities)
{
    const hcsmoe_model_desc *d = &m->desc;
    const struct row_sizes s = row_sizes(m);
    int64_t floats = d->width + s.experts * (probabilities ? 2 : 1) + 4 * s.top_k + 1;
    if (m->ops->attention)
        return (floats * (int64_t)sizeof(float) + d->attention_bytes) * rows;
    floats += (d->n_heads + d->n_kv_heads) * (d->head_dim + d->v_head_dim);
    return floats * rows * (int64_t)sizeof(float);
}

static int buffer_open(const struct model *m, int64_t rows, int64_t columns, void *p)
{
    return m->k->alloc(m->k, (size_t)(rows * columns) * sizeof(float), p);
}

int workspace_open(struct workspace *w, const struct model *m, int64_t rows, bool probabilities)
{
    const hcsmoe_model_desc *d = &m->desc;
    const struct row_sizes s = row_sizes(m);
    const int64_t own = m->ops->attention != NULL; /* brings its own working memory */
    const struct {
        void *to;
        int64_t columns;
    } part[] = {
        {&w->norm, d->width},
        {&w->q, own ? 0 : d->n_heads * d->head_dim},
        {&w->k, own ? 0 : d->n_kv_heads * d->head_dim},
        {&w->v, own ? 0 : d->n_kv_heads * d->v_head_dim},
        {&w->attention, own ? 0 : d->n_heads * d->v_head_dim},
        {&w->logits, s.experts},
        {&w->weights, s.top_k},
        {&w->ids, s.top_k},
        {&w->mapped_weights, s.top_k},
        {&w->mapped_ids, s.top_k},
        {&w->scale, 1},
        {&w->probabilities, probabilities ? s.experts : 0},
    };

    *w = (struct workspace){.rows = rows};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        int status = part[i].columns ? buffer_open(m, rows, part[i].columns, part[i].to) : 0;
        if (status) {
            workspace_release(w, m);
            return status;
        }
    }
    return 0;
}

void workspace_release(struct workspace *w, const struct model *m)
{
    void *all[] = {w->norm,           w->q,         w->k,   w->v,     w->attention,
                   w->logits,         w->weights,   w->ids, w->scale, w->probabilities,
                   w->mapped_weights, w->mapped_ids};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i])
            m->k->free(m->k, all[i]);
    *w = (struct workspace){0};
}

static const hcsmoe_tensor *bias(const struct layer *l, int role)
{
    return l->role[role].data ? &l->role[role] : NULL;
}

static int qk_norm(const struct model *m, const struct layer *l, int role, int64_t n, int64_t heads,
                   float *x)
{
    const hcsmoe_model_desc *d = &m->desc;
    if (d->qk_norm == HCSMOE_NORM_NONE)
        return 0;
    if (d->qk_norm == HCSMOE_NORM_WHOLE)
        return m->k->rmsnorm(m->k, n, heads * d->head_dim, x, &l->role[role], d->norm_eps, x);
    return m->k->rmsnorm(m->k, n * heads, d->head_dim, x, &l->role[role], d->norm_eps, x);
}

/* residual += O attention(Q x, K x, V x) */
static int attention_run(const struct model *m, const struct layer *l, const struct batch *b,
                         const struct chunk *c, struct workspace *w, float *residual)
{
    const hcsmoe_kernels *k = m->k;
    const hcsmoe_model_desc *d = &m->desc;
    const int64_t n = c->n_tokens, q = d->n_heads * d->head_dim, kv = d->n_kv_heads * d->head_dim;
    const int64_t v = d->n_kv_heads * d->v_head_dim, o = d->n_heads * d->v_head_dim;
    const int64_t *position = b->position + c->begin;
    int status = k->linear(k, n, q, d->width, w->norm, &l->role[HCSMOE_ROLE_Q],
                           bias(l, HCSMOE_ROLE_Q_BIAS), 0, w->q);

    if (!status)
        status = k->linear(k, n, kv, d->width, w->norm, &l->role[HCSMOE_ROLE_K],
                           bias(l, HCSMOE_ROLE_K_BIAS), 0, w->k);
    if (!status)
        status = k->linear(k, n, v, d->width, w->norm, &l->role[HCSMOE_ROLE_V],
                           bias(l, HCSMOE_ROLE_V_BIAS), 0, w->v);
    if (!status)
        status = qk_norm(m, l, HCSMOE_ROLE_Q_NORM, n, d->n_heads, w->q);
    if (!status)
        status = qk_norm(m, l, HCSMOE_ROLE_K_NORM, n, d->n_kv_heads, w->k);
    if (!status)
        status = k->rope(k, n, d->n_heads, d->head_dim, d->rotary_dim, position,
                         m->inverse_frequency, w->q);
    if (!status)
        status = k->rope(k, n, d->n_kv_heads, d->head_dim, d->rotary_dim, position,
                         m->inverse_frequency, w->k);
    const hcsmoe_attention_args a = {
        .struct_size = sizeof a,
        .n_tokens = n,
        .n_heads = d->n_heads,
        .n_kv_heads = d->n_kv_heads,
        .head_dim = d->head_dim,
        .v_head_dim = d->v_head_dim,
        .window = m->layers[l->index].desc.window,
        .scale = d->attention_scale,
        .q = w->q,
        .k = w->k,
        .v = w->v,
        .out = w->attention,
        .sequences = b->sequences + c->first_sequence,
        .spans = b->spans ? b->spans + c->first_span : NULL,
        .n_sequences = (int64_t)c->n_sequences,
        .n_spans = (int64_t)c->n_spans,
    };
    if (!status)
        status = k->attention(k, &a);
    if (!status)
        status = k->linear(k, n, d->width, o, w->attention, &l->role[HCSMOE_ROLE_O],
                           bias(l, HCSMOE_ROLE_O_BIAS), 1, residual);
    return status;
}

static const hcsmoe_tensor *tensors_get(const void *ctx, int32_t role, int32_t expert)
{
    const struct layer *l = ctx;
    if (expert >= 0) {
        if (expert >= l->n_stored)
            return NULL;
        return role == HCSMOE_ROLE_GATE   ? &l->gate[expert]
               : role == HCSMOE_ROLE_UP   ? &l->up[expert]
               : role == HCSMOE_ROLE_DOWN ? &l->down[expert]
                                          : NULL;
    }
    return role > 0 && role < MODEL_ROLES && l->role[role].data ? &l->role[role] : NULL;
}

static int attention_own(const struct model *m, const struct layer *l, const struct batch *b,
                         const struct chunk *c, struct workspace *w, float *residual)
{
    const hcsmoe_layer_tensors t = {sizeof t, 0, l, tensors_get};
    const hcsmoe_model_attention_args a = {
        .struct_size = sizeof a,
        .layer = l->index,
        .tensors = &t,
        .sequences = b->sequences + c->first_sequence,
        .spans = b->spans ? b->spans + c->first_span : NULL,
        .n_sequences = (int64_t)c->n_sequences,
        .n_spans = (int64_t)c->n_spans,
        .n_tokens = c->n_tokens,
        .position = b->position + c->begin,
        .x = w->norm,
        .residual = residual,
    };
    instance_enter(&m->family, l->index);
    return host_leave(m->host, m->ops->attention(m->family.self, &m->host->abi, &a));
}

static int route_run(const struct model *m, const struct layer *l, struct workspace *w, int64_t n,
                     const float *x, float *probabilities)
{
    const hcsmoe_kernels *k = m->k;
    const hcsmoe_layer_desc *d = &m->layers[l->index].desc;
    int status = k->linear(k, n, l->n_experts, m->desc.width, x, &l->role[HCSMOE_ROLE_ROUTER], NULL,
                           0, w->logits);

    if (status)
        return status;
    if (m->ops->route) {
        const hcsmoe_layer_tensors t = {sizeof t, 0, l, tensors_get};
        const hcsmoe_model_route_args a = {sizeof a,      l->index, &t,        n,
                                           l->n_experts,  l->top_k, w->logits, l->map,
                                           probabilities, w->ids,   w->weights};
        instance_enter(&m->family, l->index);
        return host_leave(m->host, m->ops->route(m->family.self, &m->host->abi, &a));
    }
    status = k->route(k, n, l->n_experts, (int32_t)l->top_k, d->renormalise, w->logits, l->map,
                      probabilities, w->ids, w->weights);
    for (int64_t i = 0; !status && d->weight_scale != 1 && i < n * l->top_k; i++)
        w->weights[i] *= (float)d->weight_scale;
    return status;
}

static int shared_run(const struct model *m, const struct layer *l, struct workspace *w, int64_t n,
                      const float *x, float *out)
{
    const hcsmoe_kernels *k = m->k;
    const hcsmoe_layer_desc *d = &m->layers[l->index].desc;
    int status = 0;

    if (!d->shared_ffn)
        return 0;
    if (d->shared_router)
        status =
            k->sigmoid_dot(k, n, m->desc.width, x, &l->role[HCSMOE_ROLE_SHARED_ROUTER], w->scale);
    const hcsmoe_mlp_args a = {sizeof a,
                               0,
                               n,
                               m->desc.width,
                               d->shared_ffn,
                               x,
                               &l->role[HCSMOE_ROLE_SHARED_GATE],
                               &l->role[HCSMOE_ROLE_SHARED_UP],
                               &l->role[HCSMOE_ROLE_SHARED_DOWN],
                               d->shared_router ? w->scale : NULL,
                               out};
    return status ? status : k->mlp(k, &a);
}

static int experts_run(const struct model *m, const struct layer *l, struct workspace *w, int64_t n,
                       const float *x, double *hidden_sum, float *out)
{
    const hcsmoe_kernels *k = m->k;
    int status = 0;

    if (l->map) {
        memcpy(w->mapped_ids, w->ids, (size_t)(n * l->top_k) * sizeof *w->ids);
        memcpy(w->mapped_weights, w->weights, (size_t)(n * l->top_k) * sizeof *w->weights);
        status = k->map_experts(k, n, (int32_t)l->top_k, l->map, w->mapped_ids, w->mapped_weights);
    }
    const hcsmoe_experts_args a = {
        .struct_size = sizeof a,
        .top_k = (int32_t)l->top_k,
        .n_tokens = n,
        .width = m->desc.width,
        .n_experts = l->n_stored,
        .ffn = l->ffn,
        .x = x,
        .gate = l->gate,
        .up = l->up,
        .down = l->down,
        .ids = l->map ? w->mapped_ids : w->ids,
        .weights = l->map ? w->mapped_weights : w->weights,
        .out = out,
        .hidden_sum = hidden_sum,
    };
    if (!status)
        status = k->experts(k, &a);
    return status ? status : shared_run(m, l, w, n, x, out);
}

int decoder_layer(const struct model *m, const struct layer *l, const struct batch *b,
                  const struct chunk *c, struct workspace *w, float *x,
                  const struct observer *observer)
{
    const hcsmoe_kernels *k = m->k;
    const struct layer_source *s = &m->layers[l->index];
    const int64_t n = c->n_tokens, width = m->desc.width;
    double t = trace_begin();
    int status =
        k->rmsnorm(k, n, width, x, &l->role[HCSMOE_ROLE_ATTN_NORM], m->desc.norm_eps, w->norm);

    t = trace_end("norm", l->index, t);
    if (!status)
        status =
            m->ops->attention ? attention_own(m, l, b, c, w, x) : attention_run(m, l, b, c, w, x);
    t = trace_end("attention", l->index, t);
    if (!status)
        status =
            k->rmsnorm(k, n, width, x, &l->role[HCSMOE_ROLE_FFN_NORM], m->desc.norm_eps, w->norm);
    t = trace_end("norm", l->index, t);
    if (status)
        return status;
    if (!s->desc.is_moe) {
        const hcsmoe_mlp_args a = {sizeof a,
                                   0,
                                   n,
                                   width,
                                   s->desc.ffn,
                                   w->norm,
                                   &l->role[HCSMOE_ROLE_DENSE_GATE],
                                   &l->role[HCSMOE_ROLE_DENSE_UP],
                                   &l->role[HCSMOE_ROLE_DENSE_DOWN],
                                   NULL,
                                   x};
        status = k->mlp(k, &a);
        (void)trace_end("mlp", l->index, t);
        return status;
    }
    float *probabilities = observer && observer->probabilities ? w->probabilities : NULL;
    struct tap tap = {.layer = l->index,
                      .begin = c->begin,
                      .n_tokens = n,
                      .x = w->norm,
                      .logits = w->logits,
                      .probabilities = probabilities,
                      .ids = w->ids,
                      .weights = w->weights};
    status = route_run(m, l, w, n, w->norm, probabilities);
    t = trace_end("router", l->index, t);
    if (!status && observer) {
        status = observer->see(observer->arg, l, &tap);
        t = trace_end("statistics", l->index, t);
    }
    if (!status)
        status = experts_run(m, l, w, n, w->norm, tap.hidden_sum, x);
    t = trace_end("experts", l->index, t);
    if (!status && observer && observer->after) {
        status = observer->after(observer->arg, l, &tap, x);
        (void)trace_end("statistics", l->index, t);
    }
    return status;
}

int decoder_moe(const struct model *m, const struct layer *l, struct workspace *w, int64_t n,
                const float *x, float *out)
{
    int status = m->k->clear(m->k, out, (size_t)(n * m->desc.width) * sizeof *out);
    if (!status)
        status = route_run(m, l, w, n, x, NULL);
    return status ? status : experts_run(m, l, w, n, x, NULL, out);
}

double decoder_flops(const struct model *m, int layer, double context)
{
    const hcsmoe_model_desc *d = &m->desc;
    const hcsmoe_layer_desc *s = &m->layers[layer].desc;
    const double width = (double)d->width;
    double flops = 2 * context * (double)(d->n_heads * (d->head_dim + d->v_head_dim));
    flops +=
        m->ops->attention
            ? d->attention_flops
            : 2 * width * (double)((d->n_heads + d->n_kv_heads) * (d->head_dim + d->v_head_dim));
    flops += s->is_moe ? 6 * width * (double)(s->top_k * s->ffn + s->shared_ffn) +
                             2 * width * (double)s->n_experts
                       : 6 * width * (double)s->ffn;
    return flops;
}
