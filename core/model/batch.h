/*
 * batch.h - token sequences laid out as rows: packed, without padding, shared prefixes once.
 *
 * Rows are cut into chunks of whole sequences. A chunk is what goes through a layer at once; its
 * bounds depend on the sequences and the model's width alone, so neither threads nor batch sizes
 * change a bit of any result.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_MODEL_BATCH_H
#define CORE_MODEL_BATCH_H

#include <stddef.h>
#include <stdint.h>

#include <hcsmoe/kernels.h>

#include "base/error.h"

struct chunk {
    int64_t begin, n_tokens; /* rows of the batch */
    size_t first_sequence, n_sequences;
    size_t first_span, n_spans;
};

/* Rows of sequences and spans count from their chunk's begin. */
struct batch {
    int32_t *tokens;   /* [n_tokens] */
    int64_t *position; /* [n_tokens] */
    int64_t n_tokens, token_capacity;
    hcsmoe_sequence *sequences;
    size_t n_sequences, sequence_capacity;
    hcsmoe_span *spans;
    size_t n_spans, span_capacity;
    struct chunk *chunks;
    size_t n_chunks, chunk_capacity;
    int64_t chunk_tokens; /* a chunk takes no further sequence once it holds this many rows */
    int64_t chunk_largest;
};

/* Rows that a chunk aims at, for a model of this width: enough for GEMMs at full speed, little
 * enough for the cache's sake. */
int64_t batch_chunk_tokens(int64_t width);

void batch_init(struct batch *b, int64_t width);
/* Appends tokens[0..n) as a sequence whose first `shared` tokens are those of the sequence added
 * just before (the caller compared them). When it still fits that one's chunk only the rest becomes
 * rows; else everything does, in a new chunk. row[i], if not NULL, is the batch row of token i, 0
 * <= i < n. */
int batch_add(struct batch *b, const int32_t *tokens, int64_t n, int64_t shared,
              int64_t *row) MUST_CHECK;
void batch_release(struct batch *b);

#endif
