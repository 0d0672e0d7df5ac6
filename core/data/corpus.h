/*
 * corpus.h - calibration text to blocks of tokens: eval-tasks.md 9.4.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_DATA_CORPUS_H
#define CORE_DATA_CORPUS_H

#include <stdint.h>

#include "base/error.h"
#include "data/tokenizer.h"

struct corpus_blocks {
    int32_t *ids; /* [n_blocks, block_size], owned */
    int64_t n_blocks, block_size;
    int64_t n_documents; /* documents that were tokenised */
    int64_t n_available; /* blocks that they gave */
    char sha256[65];     /* of ids as little-endian int32 */
};

/*
 * File: .json/.jsonl lines with a string member "text" (else the first string member), or any other
 * name: plain text, one document per line that is not blank; .gz of either. Documents are shuffled
 * by NumPy's permutation(seed), the first 16 * n_blocks tokenised in batches of 1000, each batch
 * concatenated and cut; strictly more than n_blocks blocks must come out, the first n_blocks are
 * taken. block_size is cut to the tokenizer's model_max_length. Errors: no such file, a malformed
 * line (file:line), fewer tokens than asked for (says how many blocks there are).
 */
int corpus_read(struct corpus_blocks *b, const char *path, const struct tokenizer *t,
                int64_t n_blocks, int64_t block_size, uint64_t seed) MUST_CHECK;

/* One of several files, and its part of the blocks: a number above 0, relative to the others'. */
struct corpus_source {
    const char *path;
    double share;
};

/* How many of n_blocks each file gives, by largest remainder; ties go to the file named first. */
void corpus_counts(const struct corpus_source *s, size_t n, int64_t n_blocks, int64_t *counts);
/*
 * Blocks of several files. Each gives the blocks that corpus_read takes from it alone, with the same
 * seed; no block mixes files. They take turns, each as often as it has blocks and as evenly as can
 * be. Sums of n_documents and n_available. Errors: as corpus_read, for each file.
 */
int corpus_mix(struct corpus_blocks *b, const struct corpus_source *s, size_t n,
               const struct tokenizer *t, int64_t n_blocks, int64_t block_size,
               uint64_t seed) MUST_CHECK;
void corpus_release(struct corpus_blocks *b);

#endif
