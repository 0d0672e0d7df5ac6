/*
 * collapse.h - one router row for each group: a merged layer that any loader of the family reads.
 *
 * The routing changes with it, except where pruning left one row to each expert.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_COLLAPSE_H
#define CORE_RUN_COLLAPSE_H

#include "run/merge.h"

struct collapsed {
    struct layer layer; /* a view of the merged one under a router of its own, without a map */
    void *router;       /* its bytes */
};

/* usage[matrices of the layer before merging]: what `weighted` and `max-member` go by, NULL with
 * centroid. from: the layer that x was made from. */
int collapse_layer(struct collapsed *y, const struct model *m, const struct layer *from,
                   const struct merged *x, const double *usage, enum router_row row) MUST_CHECK;
void collapsed_release(struct collapsed *y);

/* A layer of G experts beside others: the same G everywhere, and at least as many as a token chooses
 * (pruned models lower top-k instead). *n_experts, *top_k: 0 before the first layer. */
int collapse_check(const struct merged *x, int64_t *n_experts, int64_t *top_k) MUST_CHECK;

#endif
