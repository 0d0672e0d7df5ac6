/*
 * variant.h - one way of grouping and merging: a run has one, a sweep several on one calibration.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_VARIANT_H
#define CORE_RUN_VARIANT_H

#include "run/group.h"
#include "run/merge.h"

struct variant {
    struct config *c; /* the caller's */
    const struct model *m;
    struct layer_states *states; /* [n_layers] of touched layers */
    struct aim *aims;            /* [n_layers] of touched layers */
    bool budget;                 /* the aims wait for variant_budget */
};

bool layer_touched(const struct config *c, const struct model *m, int layer);

int variant_open(struct variant *v, struct config *c, const struct model *m,
                 int64_t n_tokens) MUST_CHECK;
void variant_release(struct variant *v);

/* Decides over all layers from their complete statistics; stats[n_layers]. Nothing to do without a
 * budget. */
int variant_budget(struct variant *v, const struct layer_stats *stats) MUST_CHECK;

/* group -> merge of one layer whose statistics are complete. g and x are the caller's to release,
 * also after a failure. in_place as for merge_layer. */
int variant_merge(struct variant *v, const struct layer *l, const struct layer_stats *s,
                  const struct observation *o, bool in_place, struct grouping *g,
                  struct merged *x) MUST_CHECK;

#endif
