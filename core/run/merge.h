/*
 * merge.h - the experts of one layer to the experts of its groups, in place in the layer's buffer.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_MERGE_H
#define CORE_RUN_MERGE_H

#include <hcsmoe/merge.h>

#include "run/group.h"

/* A merged layer: expert g lies where its group's lowest member was. Router and everything else are
 * the layer's own. */
struct merged {
    struct layer layer; /* a view: gate, up, down of n_experts are owned here, the bytes belong to
                           the layer */
    int64_t n_experts;  /* written */
    int64_t ffn;
    int64_t *map; /* [router rows] -> expert written, -1: pruned */
    int64_t router_rows;
};

/* The method's shape for this many groups. */
int merge_shape(const struct config *c, const hcsmoe_layer_dims *dims, int64_t n_groups,
                hcsmoe_merge_shape *shape) MUST_CHECK;

/* Merges every group of the layer. After it the layer's own expert views are not to be used. */
int merge_layer(struct merged *out, const struct config *c, const struct model *m, struct layer *l,
                struct layer_stats *s, const struct grouping *g,
                const struct observation *o) MUST_CHECK;
/* An untouched layer as a merged one, so that both are written alike. */
int merge_nothing(struct merged *out, const struct model *m, const struct layer *l) MUST_CHECK;
void merged_release(struct merged *x);

#endif
