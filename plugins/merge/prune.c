/*
 * prune.c - keeps the best expert of every group as it is and denies the router the others.
 *
 * Best by how often tokens chose it, by the router's probability over all tokens, or by how long its
 * outputs are on the tokens routed to it (without the routing weight). Of equal ones the lowest
 * index. SPDX-License-Identifier: MIT
 */
#include <math.h>

#include <hcsmoe/merge.h>

typedef struct prune_opts {
    int64_t score;
} prune_opts;

enum { SCORE_FREQUENCY, SCORE_ROUTING, SCORE_OUTPUT_NORM };

static const hcsmoe_choice scores[] = {
    {"frequency", SCORE_FREQUENCY, "how often tokens chose it"},
    {"routing-score", SCORE_ROUTING, "its probability, summed over all tokens"},
    {"output-norm", SCORE_OUTPUT_NORM, "mean length of its outputs on the tokens routed to it"},
    {NULL, 0, NULL},
};

static const hcsmoe_option options[] = {
    HCSMOE_ENUM(prune_opts, score, SCORE_FREQUENCY, scores, "which expert of a group is kept"),
};

static uint64_t prune_needs(const void *opts, uint64_t caps)
{
    const prune_opts *o = opts;

    (void)caps;
    return HCSMOE_STAT_WEIGHTS | (o->score == SCORE_FREQUENCY ? HCSMOE_STAT_USAGE
                                  : o->score == SCORE_ROUTING ? HCSMOE_STAT_ROUTING_SCORE
                                                              : HCSMOE_STAT_LAYER_INPUT);
}

/* Sums over the tokens routed to each member. */
struct norms {
    const hcsmoe_kernels *k;
    const hcsmoe_merge_args *a;
    double *sum;
    int64_t *rows;         /* [HCSMOE_TILE_TOKENS] of the tile, routed to the member at hand */
    float *x, *hidden, *y; /* [HCSMOE_TILE_TOKENS, D], F, D */
};

static hcsmoe_status add_tile(void *arg, const hcsmoe_group_tile *tile)
{
    struct norms *s = arg;
    const hcsmoe_kernels *k = s->k;
    const hcsmoe_merge_args *a = s->a;
    const int64_t width = a->dims->width, ffn = a->dims->ffn;
    hcsmoe_status status = HCSMOE_OK;
    int64_t e, t, i;

    for (e = 0; e < a->n_members && status == HCSMOE_OK; e++) {
        int64_t n = 0;
        for (t = 0; t < tile->n_tokens; t++)
            if (tile->weights[t * a->n_members + e] != 0)
                s->rows[n++] = t;
        status = k->gather(k, n, width, tile->x, s->rows, s->x);
        if (status == HCSMOE_OK)
            status = k->swiglu(k, n, width, ffn, s->x, &a->gate[e], &a->up[e], s->hidden);
        if (status == HCSMOE_OK)
            status = k->linear(k, n, width, ffn, s->hidden, &a->down[e], NULL, 0, s->y);
        for (t = 0; t < n && status == HCSMOE_OK; t++) {
            double square = 0;
            for (i = t * width; i < (t + 1) * width; i++)
                square += (double)s->y[i] * (double)s->y[i];
            s->sum[e] += sqrt(square);
        }
    }
    return status;
}

static hcsmoe_status output_norms(const hcsmoe_host *h, const hcsmoe_merge_args *a, double *score)
{
    const size_t n = HCSMOE_TILE_TOKENS, width = (size_t)a->dims->width;
    struct norms s = {.k = h->kernels(h), .a = a, .sum = score};
    hcsmoe_status status;
    int64_t e;

    s.rows = h->scratch(h, n * sizeof *s.rows);
    s.x = h->scratch(h, n * width * sizeof *s.x);
    s.hidden = h->scratch(h, n * (size_t)a->dims->ffn * sizeof *s.hidden);
    s.y = h->scratch(h, n * width * sizeof *s.y);
    if (!s.rows || !s.x || !s.hidden || !s.y)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    for (e = 0; e < a->n_members; e++)
        score[e] = 0;
    status = a->tokens(a, 0, add_tile, &s);
    for (e = 0; e < a->n_members; e++)
        if (a->routed[e] > 0)
            score[e] /= (double)a->routed[e];
    return status;
}

static hcsmoe_status prune_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    const prune_opts *o = self;
    const hcsmoe_kernels *k = h->kernels(h);
    const hcsmoe_tensor *const members[] = {a->gate, a->up, a->down};
    const hcsmoe_tensor *const kept[] = {a->out_gate, a->out_up, a->out_down};
    const double whole = 1;
    double *score = h->scratch(h, (size_t)a->n_members * sizeof *score);
    hcsmoe_status status = score ? HCSMOE_OK : HCSMOE_ENOMEM;
    int64_t e, best = 0;
    int part;

    if (status == HCSMOE_OK && o->score == SCORE_OUTPUT_NORM)
        status = output_norms(h, a, score);
    if (status != HCSMOE_OK)
        return status;
    for (e = 0; e < a->n_members; e++) {
        if (o->score != SCORE_OUTPUT_NORM)
            score[e] = (o->score == SCORE_FREQUENCY ? a->stats->usage
                                                    : a->stats->score_sum)[a->members[e]];
        if (score[e] > score[best])
            best = e;
    }
    for (e = 0; e < a->n_members; e++)
        a->pruned[e] = e != best;
    for (part = 0; part < 3 && status == HCSMOE_OK; part++) {
        const hcsmoe_tensor *term = &members[part][best];
        status = k->weighted_sum(k, 1, &term, &whole, kept[part]); /* once is a copy of the bits */
    }
    return status;
}

static hcsmoe_status prune_cost(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                                const hcsmoe_merge_shape *shape, int64_t n_members,
                                hcsmoe_merge_cost *cost)
{
    const prune_opts *o = self;
    const double tokens =
        (double)dims->n_tokens * (double)dims->top_k * (double)n_members / (double)dims->n_experts;

    (void)h;
    (void)shape;
    if (o->score != SCORE_OUTPUT_NORM)
        return HCSMOE_OK;
    cost->bytes = HCSMOE_TILE_TOKENS * (8 + 4 * (2 * dims->width + dims->ffn));
    cost->flops = 6 * tokens * (double)dims->width * (double)dims->ffn;
    return HCSMOE_OK;
}

static const hcsmoe_merge_ops ops = {
    .struct_size = sizeof ops, .merge = prune_merge, .cost = prune_cost};

static const hcsmoe_component prune = {
    .struct_size = sizeof prune,
    .kind = HCSMOE_KIND_MERGE,
    .name = "prune",
    .summary = "keeps the best expert of each group; the router never selects the others again",
    .ops = &ops,
    .needs = HCSMOE_STAT_WEIGHTS | HCSMOE_STAT_USAGE,
    .caps = HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DETERMINISTIC | HCSMOE_CAP_PRUNES,
    HCSMOE_OPTIONS(prune_opts, options),
    .needs_for = prune_needs,
};

HCSMOE_PLUGIN("hcsmoe.merge.prune", "1.0.0", "MIT", &prune)
