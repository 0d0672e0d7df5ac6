/*
 * tokens.c - gathers the rows of a group's tokens, tile by tile.
 * SPDX-License-Identifier: MIT
 */
#include "run/tokens.h"

#include <string.h>

#include "base/mem.h"

/* Weight of every member for one token; false when it is routed to none. */
static bool token_weights(const struct group_tokens *q, int64_t token, float *w)
{
    const int64_t k = q->layer->top_k;
    bool any = false;
    for (int64_t i = 0; i < q->n_members; i++)
        w[i] = 0;
    for (int64_t j = 0; j < k; j++) {
        const int32_t id = q->o->ids[token * k + j];
        const int64_t e = id < 0 ? -1 : q->layer->map ? q->layer->map[id] : id;
        for (int64_t i = 0; i < q->n_members; i++)
            if (q->members[i] == e) {
                w[i] += q->o->weights[token * k + j];
                any = true;
            }
    }
    return any;
}

int group_tokens_open(struct group_tokens *q)
{
    const int64_t all = q->o->n_tokens;
    float *w = mem_new((size_t)q->n_members, sizeof *w);

    q->routed = mem_new((size_t)q->n_members, sizeof *q->routed);
    q->list = mem_new_raw((size_t)all, sizeof *q->list);
    if (!w || !q->routed || !q->list) {
        mem_free(w);
        group_tokens_release(q);
        return HCSMOE_ENOMEM;
    }
    for (int64_t t = 0; t < all; t++) {
        if (!token_weights(q, t, w))
            continue;
        q->list[q->n++] = t;
        for (int64_t i = 0; i < q->n_members; i++)
            q->routed[i] += w[i] != 0;
    }
    mem_free(w);
    return 0;
}

void group_tokens_release(struct group_tokens *q)
{
    void *all[] = {q->list, q->routed, q->x,      q->weights,   q->probabilities, q->logits,
                   q->all,  q->space,  q->hidden, q->route_ids, q->route_weights};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mem_free(all[i]);
    *q = (struct group_tokens){0};
}

static int tile_open(struct group_tokens *q)
{
    const size_t n = HCSMOE_TILE_TOKENS, width = (size_t)q->o->m->desc.width;
    if (q->x)
        return 0;
    q->x = mem_new_raw(n * width, sizeof(float));
    q->weights = mem_new(n * (size_t)q->n_members, sizeof(float));
    return q->x && q->weights ? 0 : HCSMOE_ENOMEM;
}

static int probabilities_open(struct group_tokens *q)
{
    const size_t n = HCSMOE_TILE_TOKENS, rows = (size_t)q->layer->n_experts;
    if (q->probabilities)
        return 0;
    q->logits = mem_new(n * rows, sizeof(float));
    q->all = mem_new(n * rows, sizeof(float));
    q->route_ids = mem_new(n * (size_t)q->layer->top_k, sizeof(int32_t));
    q->route_weights = mem_new(n * (size_t)q->layer->top_k, sizeof(float));
    q->probabilities = mem_new(n * (size_t)q->n_members, sizeof(float));
    return q->logits && q->all && q->route_ids && q->route_weights && q->probabilities
               ? 0
               : HCSMOE_ENOMEM;
}

static int hidden_open(struct group_tokens *q)
{
    const size_t n = HCSMOE_TILE_TOKENS, ffn = (size_t)q->layer->ffn;
    if (q->hidden)
        return 0;
    q->space = mem_new_raw(n * (size_t)q->n_members, ffn * sizeof(float));
    q->hidden = q->space ? mem_new((size_t)q->n_members, sizeof *q->hidden) : NULL;
    if (!q->hidden)
        return HCSMOE_ENOMEM;
    for (int64_t i = 0; i < q->n_members; i++)
        q->hidden[i] = q->space + (size_t)i * n * ffn;
    return 0;
}

int64_t group_tokens_bytes(const hcsmoe_layer_dims *dims, int64_t n_members, bool hidden)
{
    const int64_t h = hidden ? n_members * dims->ffn : 0;
    return HCSMOE_TILE_TOKENS * (dims->width + h) * (int64_t)sizeof(float) +
           dims->n_tokens * (int64_t)sizeof(int64_t);
}

/* A member of a checkpoint that is merged already has the probability of all router rows that lead
 * to it. */
static int tile_probabilities(struct group_tokens *q, int64_t n)
{
    const struct model *m = q->o->m;
    const hcsmoe_kernels *k = m->k;
    const struct layer *l = q->layer;
    const int64_t rows = l->n_experts;
    int status = k->linear(k, n, rows, m->desc.width, q->x, &l->role[HCSMOE_ROLE_ROUTER], NULL, 0,
                           q->logits);

    if (!status)
        status = k->route(k, n, rows, (int32_t)l->top_k, 0, q->logits, l->map, q->all, q->route_ids,
                          q->route_weights);
    for (int64_t t = 0; !status && t < n; t++)
        for (int64_t i = 0; i < q->n_members; i++) {
            float sum = 0;
            for (int64_t e = 0; e < rows; e++)
                if ((l->map ? l->map[e] : e) == q->members[i])
                    sum += q->all[t * rows + e];
            q->probabilities[t * q->n_members + i] = sum;
        }
    return status;
}

static int tile_fill(struct group_tokens *q, uint32_t want, int64_t first, int64_t n)
{
    const struct model *m = q->o->m;
    const int64_t width = m->desc.width;
    int status = 0;

    for (int64_t i = 0; i < n; i++) {
        const int64_t t = q->list[first + i];
        memcpy(q->x + i * width, q->o->inputs + t * width, (size_t)width * sizeof(float));
        (void)token_weights(q, t, q->weights + i * q->n_members);
    }
    if (want & HCSMOE_TILE_PROBABILITIES)
        status = tile_probabilities(q, n);
    for (int64_t i = 0; !status && (want & HCSMOE_TILE_HIDDEN) && i < q->n_members; i++)
        status =
            m->k->swiglu(m->k, n, width, q->layer->ffn, q->x, &q->gate[i], &q->up[i], q->hidden[i]);
    return status;
}

hcsmoe_status group_tokens_show(const hcsmoe_merge_args *a, uint32_t want,
                                hcsmoe_status (*see)(void *arg, const hcsmoe_group_tile *tile),
                                void *arg)
{
    struct group_tokens *q = (struct group_tokens *)(uintptr_t)a->ctx;
    int status = 0;

    if (want & ~(HCSMOE_TILE_PROBABILITIES | HCSMOE_TILE_HIDDEN))
        return fail(HCSMOE_EPLUGIN, "tokens: wants bits %#x of a tile, which this hcsmoe lacks",
                    want);
    status = tile_open(q);
    if (!status && (want & HCSMOE_TILE_PROBABILITIES))
        status = probabilities_open(q);
    if (!status && (want & HCSMOE_TILE_HIDDEN))
        status = hidden_open(q);
    for (int64_t i = 0; !status && i < q->n; i += HCSMOE_TILE_TOKENS) {
        const int64_t n = q->n - i < HCSMOE_TILE_TOKENS ? q->n - i : HCSMOE_TILE_TOKENS;
        if (host_cancelled())
            return fail(HCSMOE_ECANCELLED, "interrupted");
        status = tile_fill(q, want, i, n);
        const hcsmoe_group_tile tile = {
            .struct_size = sizeof tile,
            .n_tokens = n,
            .tokens = q->list + i,
            .x = q->x,
            .weights = q->weights,
            .probabilities = want & HCSMOE_TILE_PROBABILITIES ? q->probabilities : NULL,
            .hidden = want & HCSMOE_TILE_HIDDEN ? (const float *const *)q->hidden : NULL,
        };
        if (!status)
            status = see(arg, &tile);
    }
    return status;
}
