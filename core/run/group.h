/*
 * group.h - from statistics to groups: similarity, clustering, and one way of numbering.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_GROUP_H
#define CORE_RUN_GROUP_H

#include <hcsmoe/cluster.h>

#include "run/observe.h"

struct grouping {
    int64_t n_experts, n_groups;
    int32_t *labels; /* [E] numbered by lowest member; -1: in no group */
    int32_t *cores;  /* [n_groups]; -1: none */
    hcsmoe_join *joins;
    int64_t n_joins;
    double *matrix;    /* [E, E] what the clustering went by; NULL: neither of the two */
    bool similarities; /* larger is more alike; false: distances */
};

/* What a layer is to become. */
struct aim {
    int64_t target;   /* groups asked for by the user, or by a budget over all layers */
    int64_t n_groups; /* to be made; 0: a budget chooses */
    int64_t ffn;      /* width of the merged experts */
};

int grouping_open(struct grouping *g, int64_t n_experts) MUST_CHECK;
void grouping_release(struct grouping *g);
/* Every expert alone: for methods without groups. */
void grouping_identity(struct grouping *g);
/* Similarity bases, combination, clustering. */
int grouping_make(struct grouping *g, const struct config *c, const struct layer_stats *s,
                  const struct layer_states *states, const struct aim *aim) MUST_CHECK;

/* Does the clustering decide over all layers at once? */
bool grouping_wants_budget(const struct config *c);
/* It does: changes `target` of every aim, or `n_groups` where that was 0; widths as in
 * hcsmoe_budget_args. */
int grouping_budget(const struct config *c, const struct layer_stats *const *layers,
                    const struct layer_states *const *states, struct aim *const *aims, size_t n,
                    const int64_t *widths) MUST_CHECK;

#endif
