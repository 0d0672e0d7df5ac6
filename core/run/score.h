/*
 * score.h - log-likelihoods of token sequences: all of them through one layer before the next is
 * read.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_SCORE_H
#define CORE_RUN_SCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct batch;
struct forward;
struct model;

/* Scores tokens[from..n) each given all before it. n - 1 tokens are fed to the model. 1 <= from <
 * n. */
struct score_request {
    const int32_t *tokens; /* [n], borrowed */
    int64_t n, from;
    float *logprobs; /* [n - from] filled by score_run; owned by the caller; natural logarithms */
    bool greedy;     /* out: every scored token was the most likely one */
    double sum;      /* out: float32 sum of logprobs in order, widened */
};

/* Fills every request. Sequences that share prefixes compute them once; nothing is padded. As many
 * requests as the memory allows (bytes; 0: half of what is free) go through the layers in one pass.
 * Token ids are checked against the vocabulary. */
int score_run(struct model *m, struct score_request *requests, size_t n, int64_t memory) MUST_CHECK;

/* The requests as one batch for a caller that takes it through the layers itself, once for each of
 * several models if it likes. */
struct score_rows;
int score_rows_open(struct score_rows **r, const struct model *m, struct score_request *requests,
                    size_t n) MUST_CHECK;
void score_rows_close(struct score_rows *r);
const struct batch *score_rows_batch(const struct score_rows *r);
/* Fills the requests from the hidden states after the last layer. */
int score_rows_answer(struct score_rows *r, struct forward *f) MUST_CHECK;

#endif
