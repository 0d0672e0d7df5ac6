/*
 * energy.h - how much each neuron of each expert puts out on the tokens of every expert
 * (beyond.md section 2): hcsmoe_stats.energy and energy_scaled.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_ENERGY_H
#define CORE_RUN_ENERGY_H

#include "run/observe.h"

/* Adds one tile, which holds every expert's h. residual[n, D]: after the layer; NULL without
 * ENERGY_SCALED. */
int energy_add(struct observation *o, const struct layer *l, const hcsmoe_tile *tile,
               const float *residual) MUST_CHECK;
/* All tokens have passed: times the squared norms of the down projections' columns. */
int energy_finish(struct observation *o, const struct layer *l) MUST_CHECK;

#endif
