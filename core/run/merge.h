/*
 * merge.h - the experts of one layer to the experts of its groups.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_MERGE_H
#define CORE_RUN_MERGE_H

#include <hcsmoe/merge.h>

#include "run/group.h"

/* A merged layer: it runs and is written as any other. Router and everything else are those of the
 * layer that it was made from. */
struct merged {
    struct layer layer; /* a view: gate, up, down and map are owned here */
    int64_t *map;       /* [router rows] -> expert written, -1: pruned; the layer's map */
    int64_t n_pruned;   /* router rows that the method denied */
    void *bytes;        /* of the experts, unless they lie in the layer they were made from */
    int64_t *routed;    /* [E] tokens routed to each expert; NULL: the method did not look */
    int64_t *tokens;    /* [groups] tokens routed to a member; NULL with routed */
    double loss, total; /* what the method expects: squared error, square; total 0: nothing said */
};

/* Asks the method for the shape of a layer whose target is known: fills n_groups and ffn of the aim.
 * With n_groups set, for that number. */
int merge_aim(const struct config *c, const hcsmoe_layer_dims *dims, struct aim *aim) MUST_CHECK;
/* What merging a group of so many members takes, the host's own buffers included. */
int merge_cost(const struct config *c, const hcsmoe_layer_dims *dims, const struct aim *aim,
               int64_t n_members, hcsmoe_merge_cost *cost) MUST_CHECK;

/* Merges every group of the layer. in_place: the result of a group is laid over its lowest member,
 * so that a layer takes no more memory after merging than before, and the layer's own expert views
 * are not to be used any more; else it gets memory of its own. */
int merge_layer(struct merged *out, const struct config *c, const struct model *m,
                const struct layer *l, const struct layer_stats *s, const struct grouping *g,
                const struct aim *aim, const struct observation *o, bool in_place) MUST_CHECK;
/* An untouched layer as a merged one, so that both are written alike. */
int merge_nothing(struct merged *out, const struct layer *l) MUST_CHECK;
void merged_release(struct merged *x);

#endif
