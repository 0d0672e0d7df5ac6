/*
 * budget.h - the exact budget: a score per expert decides how many groups each layer gets.
 *
 * For the `budget` of a clustering. Of the experts of all layers the best are counted, as many as
 * groups were asked for in all, one of every layer among them; a layer gets as many groups as it
 * has experts there. Scores of different layers have to be comparable.
 * SPDX-License-Identifier: MIT
 */
#ifndef HCSMOE_BUDGET_H
#define HCSMOE_BUDGET_H

#include <hcsmoe/cluster.h>

#ifdef __cplusplus
extern "C" {
#endif

/* order[n]: the experts from the highest score to the lowest, of equals the lower index first.
 * [any] */
static inline void hcsmoe_budget_order(const double *score, int64_t n, int32_t *order)
{
    int64_t i, at;

    for (i = 0; i < n; i++) {
        for (at = i; at > 0 && score[order[at - 1]] < score[i]; at--)
            order[at] = order[at - 1];
        order[at] = (int32_t)i;
    }
}

/* One group more for the layer whose best expert that is not counted yet has the highest score, of
 * equals the lowest layer. order: `stride` per layer. 0: every expert of every layer is counted. */
static inline int32_t hcsmoe_budget_step(hcsmoe_budget_args *a, const double *const *scores,
                                         const int32_t *order, int64_t stride)
{
    hcsmoe_budget_layer *best = NULL;
    double highest = 0;
    int64_t l;

    for (l = 0; l < a->n_layers; l++) {
        hcsmoe_budget_layer *x = a->layers[l];
        if (x->n_groups < x->dims->n_experts) {
            const double score = scores[l][order[l * stride + x->n_groups]];
            if (!best || score > highest) {
                best = x;
                highest = score;
            }
        }
    }
    if (!best)
        return 0;
    best->n_groups++;
    return 1;
}

/* Sets n_groups of every layer; their sum stays. scores[n_layers] of [E], the caller's. [call] */
static inline hcsmoe_status hcsmoe_budget_exact(const hcsmoe_host *h, hcsmoe_budget_args *a,
                                                const double *const *scores)
{
    int64_t stride = 1, left = 0, l, e;
    int32_t *order;

    for (l = 0; l < a->n_layers; l++) {
        const hcsmoe_layer_dims *dims = a->layers[l]->dims;
        left += a->layers[l]->n_groups - 1;
        if (stride < dims->n_experts)
            stride = dims->n_experts;
        for (e = 0; e < dims->n_experts; e++)
            if (!(scores[l][e] - scores[l][e] >= 0)) /* infinite or not a number */
                return hcsmoe_failf(h, HCSMOE_EFAILED, "layer %d: the score of expert %lld is %g",
                                    dims->layer, (long long)e, scores[l][e]);
    }
    order = (int32_t *)h->scratch(h, (size_t)(a->n_layers * stride) * sizeof *order);
    if (!order)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    for (l = 0; l < a->n_layers; l++) {
        hcsmoe_budget_order(scores[l], a->layers[l]->dims->n_experts, &order[l * stride]);
        a->layers[l]->n_groups = 1;
    }
    while (left > 0 && hcsmoe_budget_step(a, scores, order, stride))
        left--;
    return HCSMOE_OK;
}

/* The same with the usage of every expert as its score; needs HCSMOE_STAT_USAGE. [call] */
static inline hcsmoe_status hcsmoe_budget_usage(const hcsmoe_host *h, hcsmoe_budget_args *a)
{
    const double **usage =
        (const double **)h->scratch(h, (size_t)(a->n_layers + 1) * sizeof *usage);
    int64_t l;

    if (!usage)
        return HCSMOE_ENOMEM;
    for (l = 0; l < a->n_layers; l++)
        usage[l] = a->layers[l]->stats->usage;
    return hcsmoe_budget_exact(h, a, usage);
}

#ifdef __cplusplus
}
#endif
#endif
