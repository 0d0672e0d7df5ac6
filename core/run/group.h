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
    int32_t *labels; /* [E] numbered by lowest member */
    int32_t *cores;  /* [n_groups]; -1: none */
    hcsmoe_join *joins;
    int64_t n_joins;
};

int grouping_open(struct grouping *g, int64_t n_experts) MUST_CHECK;
void grouping_release(struct grouping *g);
/* Every expert alone: for methods without groups. */
void grouping_identity(struct grouping *g);
/* Similarity bases, combination, clustering. */
int grouping_make(struct grouping *g, const struct config *c, struct layer_stats *s) MUST_CHECK;

/* [run budget] over all layers at once: sets n_groups of each. */
bool grouping_wants_budget(const struct config *c);
int grouping_budget(const struct config *c, struct layer_stats *const *layers, size_t n,
                    int64_t *ffn) MUST_CHECK;

#endif
