/*
 * decoder.h - one decoder layer on one chunk of tokens, with taps for whoever observes.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_MODEL_DECODER_H
#define CORE_MODEL_DECODER_H

#include <stdbool.h>
#include <stdint.h>

#include "model/batch.h"
#include "model/model.h"

/* What an observer sees of a MoE layer on one chunk. Valid for the call. */
struct tap {
    int layer;
    int64_t begin, n_tokens;    /* rows of the batch */
    const float *x;             /* [n, D] MoE inputs */
    const float *logits;        /* [n, E] */
    const float *probabilities; /* [n, E]; NULL unless asked for */
    const int32_t *ids;         /* [n, K], before any expert map */
    const float *weights;       /* [n, K] */
    double *hidden_sum;         /* out: where the experts add their sums [n_stored, F]; NULL */
};

struct observer {
    /* Before the experts run; and after, with the chunk's residual stream [n, D]; NULL: not wanted.
     * 0 or an error. */
    int (*see)(void *arg, const struct layer *w, struct tap *tap);
    int (*after)(void *arg, const struct layer *w, const struct tap *tap, const float *residual);
    void *arg;
    bool probabilities; /* wants them */
};

/* Working memory of one chunk; grown once, used for all. */
struct workspace {
    float *norm, *q, *k, *v, *attention, *logits, *probabilities, *weights, *scale;
    int32_t *ids;
    float *mapped_weights; /* the same choices through an expert map */
    int32_t *mapped_ids;
    int64_t rows; /* capacity */
};
int workspace_open(struct workspace *w, const struct model *m, int64_t rows,
                   bool probabilities) MUST_CHECK;
void workspace_release(struct workspace *w, const struct model *m);
int64_t workspace_bytes(const struct model *m, int64_t rows, bool probabilities);

/* x[n, D] of one chunk -> x after the layer, in place. observer may be NULL.
 */
int decoder_layer(const struct model *m, const struct layer *l, const struct batch *b,
                  const struct chunk *c, struct workspace *w, float *x,
                  const struct observer *observer) MUST_CHECK;

/* The MoE block alone: out[n, D] = MoE(x), shared expert included. The experts that it chose are in
 * w->ids, before any map. */
int decoder_moe(const struct model *m, const struct layer *l, struct workspace *w, int64_t n,
                const float *x, float *out) MUST_CHECK;

/* Multiply-adds times two that one token costs in a layer, attention over `context` keys included.
 */
double decoder_flops(const struct model *m, int layer, double context);

#endif
