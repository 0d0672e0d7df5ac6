/*
 * quality.h - what a merged layer puts out, against the layer that it was made from, on a sample of
 * the calibration tokens.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_QUALITY_H
#define CORE_RUN_QUALITY_H

#include "run/observe.h"

/* Sized for the run's quality tokens; n = 0: nothing is measured. */
struct quality {
    const struct observation *o;
    struct workspace *workspace;
    int64_t n, width;
    float *before, *after;   /* [n, D] outputs of the MoE block */
    int32_t *exact, *choice; /* [n, K] experts chosen, through their maps; overlap only */
};

int quality_open(struct quality *q, const struct observation *o, struct workspace *w) MUST_CHECK;
void quality_release(struct quality *q);

/* The layer as it was. */
int quality_before(struct quality *q, const struct layer *l) MUST_CHECK;
/* A merged one: mean of |after - before|^2 / |before|^2. */
int quality_error(struct quality *q, const struct layer *l, double *error) MUST_CHECK;
/* Mean share of the experts that `exact` runs for a token and `other` runs too. Both hold the same
 * experts, under routers of their own. */
int quality_overlap(struct quality *q, const struct layer *exact, const struct layer *other,
                    double *overlap) MUST_CHECK;

#endif
