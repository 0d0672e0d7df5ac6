/*
 * observe.h - statistics of one layer while the calibration tokens pass through it.
 *
 * What the core counts is one set for all who read it; what components accumulate on their own is
 * kept for each configuration that watches, of which a sweep has several.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_OBSERVE_H
#define CORE_RUN_OBSERVE_H

#include <stdint.h>

#include <hcsmoe/stats.h>

#include "model/forward.h"
#include "run/config.h"

enum { STATES_MAX = 16 }; /* named states of one component: nobody needs more than a handful */

/* The named tensors of one component for one layer. */
struct states {
    hcsmoe_state desc[STATES_MAX];
    hcsmoe_tensor tensor[STATES_MAX];
    int n;
};

/* Everything that the core knows about one layer. `view` is what components see; its members point
 * here or into the layer. */
struct layer_stats {
    hcsmoe_layer_dims dims;
    hcsmoe_stats view;
    int64_t *usage_counts;
    double *usage, *score_sum, *router_gram, *output_mean, *weight_gram, *weight_product;
    double *energy, *energy_scaled;
};

/* What the components of one configuration accumulated in one layer. */
struct layer_states {
    struct states base[BASES_MAX], cluster;
};

/* A configuration whose components see the tiles. */
struct watcher {
    const struct config *config;
    struct layer_states *states; /* of the layer in flight */
};

/* Buffers of the layer in flight; one for the run. */
struct observation {
    const struct config *config; /* of the run: what all watchers share */
    const struct model *m;
    uint64_t needs;
    int64_t n_tokens;          /* T */
    struct layer_stats *stats; /* of the layer in flight */
    struct watcher *watchers;  /* the caller's */
    size_t n_watchers;
    bool accumulates;   /* a watcher's component asks for tiles */
    double *hidden_sum; /* [E, F]; OUTPUT_MEAN */
    double omega_sum;   /* ENERGY_SCALED: over the layer's tokens */
    float *inputs;      /* [T, D]; LAYER_INPUT */
    int32_t *ids;       /* [T, K]; LAYER_INPUT */
    float *weights;     /* [T, K]; LAYER_INPUT */
    bool collected;     /* a second loop: statistics are complete, only inputs are kept again */
    int64_t quality_tokens;
    float *quality_x;   /* [quality_tokens, D] */
    int32_t *usage_ids; /* of one chunk, when usage_top_k is not the model's own */
    float *usage_weights;
    int64_t usage_capacity;
};

/* Sizes of a MoE layer. */
hcsmoe_layer_dims layer_dims(const struct model *m, int layer, int64_t n_tokens);

int layer_stats_open(struct layer_stats *s, const struct model *m, int layer, int64_t n_tokens,
                     uint64_t needs) MUST_CHECK;
void layer_stats_release(struct layer_stats *s);
/* Points s->view at the layer's weights; NULL: takes them away. */
void layer_stats_weights(struct layer_stats *s, const struct layer *l);

/* The states that the components of c declare for a layer; those without accumulate have none. */
int layer_states_open(struct layer_states *s, const struct config *c,
                      const hcsmoe_layer_dims *dims) MUST_CHECK;
void layer_states_release(struct layer_states *s);

int observation_open(struct observation *o, const struct config *c, const struct model *m,
                     uint64_t needs, int64_t n_tokens, struct watcher *watchers,
                     size_t n_watchers) MUST_CHECK;
void observation_release(struct observation *o);
/* Bytes that it holds beside the layer and the hidden states: for the plan. */
int64_t observation_bytes(const struct config *c, const struct model *m, uint64_t needs,
                          int64_t n_tokens);

/* The observer to hand to forward_layer for a layer whose statistics go to s. */
struct observer observation_start(struct observation *o, struct layer_stats *s);
/* All tokens have passed: means, shares, weight statistics. The layer's weights are in memory. */
int observation_finish(struct observation *o, const struct layer *l) MUST_CHECK;

/* Does a component of c see tiles? */
bool config_accumulates(const struct config *c);

#endif
