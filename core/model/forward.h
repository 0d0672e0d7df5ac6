/*
 * forward.h - the hidden states of all tokens of a batch, taken through the model one layer at a
 * time.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_MODEL_FORWARD_H
#define CORE_MODEL_FORWARD_H

#include "model/decoder.h"

struct forward {
    const struct model *m;
    const struct batch *batch;
    struct workspace workspace;
    float *x; /* [n_tokens, D] hidden states */
};

/* Hidden states := embeddings. The batch must outlive it. */
int forward_open(struct forward *f, const struct model *m, const struct batch *b,
                 bool probabilities) MUST_CHECK;
/* All chunks through one layer. Adds its FLOPs to the progress; stops when the run was cancelled.
 */
int forward_layer(struct forward *f, const struct layer *l, const struct observer *o) MUST_CHECK;
void forward_release(struct forward *f);

/* After the last layer: log-probability of target[i] given hidden row row[i], and whether it is the
 * most likely. */
int forward_logprobs(struct forward *f, int64_t n, const int64_t *row, const int32_t *target,
                     float *logprob, uint8_t *greedy) MUST_CHECK;

/* FLOPs of one layer over the batch, and bytes of hidden states and working memory: for the plan.
 */
double forward_flops(const struct model *m, const struct batch *b, int layer);
int64_t forward_bytes(const struct model *m, int64_t n_tokens, int64_t chunk_largest,
                      bool probabilities, bool hidden_sum);

#endif
