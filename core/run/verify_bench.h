/*
 * verify_bench.h - one MoE layer made in memory, with tokens and every statistic of them.
 *
 * Everything is drawn from a fixed seed and computed by plain loops from the definitions of
 * stats.h: what a plugin is shown depends on nothing that a plugin or a kernel does.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_VERIFY_BENCH_H
#define CORE_RUN_VERIFY_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include <hcsmoe/kernels.h>
#include <hcsmoe/stats.h>

#include "base/mem.h"

enum { BENCH_TILE = 96 }; /* tokens of a tile: more than one, and no power of two */

/* Weights are finite: the host refuses others when it reads them. What is computed may not be. */
enum bench_nan { NAN_NOWHERE = 0, NAN_EXPERT = 1, NAN_TOKEN = 2 };

struct bench_spec {
    int32_t layer;
    int64_t experts, top_k, width, ffn, tokens;
    uint32_t dtype;
    bool alike;  /* all experts have the same weights */
    bool unused; /* no token chooses expert 1 */
    enum bench_nan nan;
};

struct bench {
    struct bench_spec spec;
    hcsmoe_layer_dims dims;
    struct arena arena; /* of the struct's own; not hashed */
    struct bench_block {
        struct bench_block *next;
        void *bytes;
        size_t size;
    } * blocks;           /* everything that plugins are shown */
    hcsmoe_tensor router; /* [E, D] */
    hcsmoe_tensor *gate, *up, *down;
    float *x, *logits, *probabilities, *weights;
    int32_t *ids;
    float **hidden, **output; /* [E] */
    int64_t *usage_counts;
    double *usage, *score_sum, *router_gram, *output_mean, *weight_gram, *weight_product, *energy,
        *energy_scaled;
};

/* The ordinary one; and one that is as small as can be. */
extern const struct bench_spec bench_ordinary, bench_tiny;

int bench_open(struct bench *b, const struct bench_spec *spec, const hcsmoe_kernels *k) MUST_CHECK;
void bench_release(struct bench *b);

/* What a component that asked for these statistics sees. */
hcsmoe_stats bench_stats(const struct bench *b, uint64_t needs);
/* Of all that plugins are shown: the same before and after, or one wrote to its inputs. */
uint64_t bench_hash(const struct bench *b);

#endif
