/*
 * stats.h - what the core observes during calibration, who asks for it, and how it arrives.
 *
 * T calibration tokens, E experts, D width, F expert width, K experts per token. All of it refers
 * to the unmerged model.
 * SPDX-License-Identifier: MIT
 */
#ifndef HCSMOE_STATS_H
#define HCSMOE_STATS_H

#include <hcsmoe/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bits of `needs`. The core collects the union of what the chosen components ask for, and nothing
 * else. */
#define HCSMOE_STAT_WEIGHTS ((uint64_t)1 << 0)       /* expert matrices; no forward pass */
#define HCSMOE_STAT_ROUTER_WEIGHT ((uint64_t)1 << 1) /* router rows; no forward pass */
#define HCSMOE_STAT_USAGE ((uint64_t)1 << 2)         /* usage_counts, usage */
#define HCSMOE_STAT_ROUTING_SCORE ((uint64_t)1 << 3) /* score_sum */
#define HCSMOE_STAT_ROUTER_GRAM ((uint64_t)1 << 4)   /* router_gram */
#define HCSMOE_STAT_OUTPUT_MEAN ((uint64_t)1 << 5)   /* output_mean; every expert on every token */
#define HCSMOE_STAT_LAYER_INPUT                                                                    \
    ((uint64_t)1 << 6) /* the layer's MoE inputs are kept until it is merged: T * D floats */
#define HCSMOE_STAT_HIDDEN                                                                         \
    ((uint64_t)1 << 7) /* tile.hidden in accumulate: every expert's h on every token */
#define HCSMOE_STAT_OUTPUT                                                                         \
    ((uint64_t)1 << 8) /* tile.output in accumulate: every expert's y on every token */
#define HCSMOE_STAT_WEIGHT_GRAM ((uint64_t)1 << 9) /* weight_gram; no forward pass */
#define HCSMOE_STAT_TILES ((uint64_t)1 << 10) /* accumulate is called, with what costs nothing */
#define HCSMOE_STAT_WEIGHT_PRODUCT ((uint64_t)1 << 11) /* weight_product; no forward pass */
#define HCSMOE_STAT_ENERGY ((uint64_t)1 << 12)         /* energy; every expert on every token */
#define HCSMOE_STAT_ENERGY_SCALED                                                                  \
    ((uint64_t)1 << 13) /* energy_scaled; every expert on every token */
#define HCSMOE_STAT_KNOWN (((uint64_t)1 << 14) - 1)
/* The bits with which the component's accumulate is called, and its states are kept. */
#define HCSMOE_STAT_ACCUMULATE (HCSMOE_STAT_TILES | HCSMOE_STAT_HIDDEN | HCSMOE_STAT_OUTPUT)
/* The bits that need calibration text. */
#define HCSMOE_STAT_FORWARD                                                                        \
    (HCSMOE_STAT_USAGE | HCSMOE_STAT_ROUTING_SCORE | HCSMOE_STAT_ROUTER_GRAM |                     \
     HCSMOE_STAT_OUTPUT_MEAN | HCSMOE_STAT_LAYER_INPUT | HCSMOE_STAT_ENERGY |                      \
     HCSMOE_STAT_ENERGY_SCALED | HCSMOE_STAT_ACCUMULATE)

/* One MoE layer's sizes. */
typedef struct hcsmoe_layer_dims {
    uint32_t struct_size;
    int32_t layer;     /* index in the model */
    int64_t n_experts; /* E: what the router chooses from */
    int64_t top_k;     /* K */
    int64_t width;     /* D */
    int64_t ffn;       /* F */
    int64_t n_tokens;  /* T; 0 without calibration */
} hcsmoe_layer_dims;

/* What was observed in one layer. Members are NULL unless asked for. Owned by the core. */
typedef struct hcsmoe_stats {
    uint32_t struct_size, reserved0;
    const int64_t *usage_counts; /* [E] (token, rank) pairs that chose e, rank < usage_top_k */
    const double *usage;         /* [E] usage_counts / their sum */
    const double *score_sum;     /* [E] sum over tokens of the softmax over all experts */
    const double *router_gram;   /* [E, E] Z Z^T of the router logits Z [E, T] */
    const double
        *output_mean; /* [E, D] mean over all tokens of the expert's output, no routing weight */
    const double *weight_gram;   /* [E, E] of (gate, down, up) flattened, the mean over the experts
                                    subtracted */
    const hcsmoe_tensor *router; /* [E, D] */
    const hcsmoe_tensor *gate, *up,
        *down; /* [E] tensors each, as stored; present with WEIGHTS, in cluster and merge calls */
    const double *weight_product; /* [E, E] of (gate, down, up) flattened, as they are */
    /* [E', E, F]: |column i of down_e|^2 times the sum over tokens t of w_te'^2 h_e,i(x_t)^2, w_te'
     * the weight of e' in the forward pass (0: not routed to it). Entry (e', e, i) is what neuron i
     * of e would put out on the tokens of e'. */
    const double *energy;
    /* The same with w_te'^2 times o_t: 1 / (mean square of the residual stream after the layer at t
     * + 1e-6), divided by its mean over the tokens. */
    const double *energy_scaled;
} hcsmoe_stats;

/* Consecutive calibration tokens of one layer, in order; the same tiles for any number of threads
 * or batch size. */
typedef struct hcsmoe_tile {
    uint32_t struct_size, reserved0;
    int64_t first_token, n_tokens; /* n of T */
    const float *x;                /* [n, D] MoE inputs */
    const float *logits;           /* [n, router rows] router logits */
    const float *probabilities;    /* [n, router rows] softmax over all; E rows, one for an expert,
                                      unless the checkpoint is merged already */
    const int32_t *ids;            /* [n, K] chosen experts, best first; -1: none (pruned, or the
                                      same as one before it, of a checkpoint merged already) */
    const float *weights;          /* [n, K] as the forward pass weighs them */
    const float *const *hidden;    /* [E] of [n, F]; NULL unless HCSMOE_STAT_HIDDEN */
    const float *const *output;    /* [E] of [n, D]; NULL unless HCSMOE_STAT_OUTPUT */
} hcsmoe_tile;

/*
 * State that outlives a call: named tensors that a similarity or clustering with an accumulate
 * declares and the host owns, saves with the statistics and counts in the plan. Zero at first. F64,
 * F32 or I64. What an option changes about the content has to change the name. Frozen: 64 bytes.
 */
typedef struct hcsmoe_state {
    const char *name; /* static; [a-z0-9_] */
    uint32_t dtype;
    uint32_t per_run; /* 0: one per MoE layer; 1: one for the run */
    int64_t shape[4]; /* unused: 1 */
    uint64_t reserved[2];
} hcsmoe_state;

#ifdef __cplusplus
}
#endif
#endif
