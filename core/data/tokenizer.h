/*
 * tokenizer.h - text to token ids, as tokenizer.json describes it, for any thread at once.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_DATA_TOKENIZER_H
#define CORE_DATA_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct tokenizer; /* read-only once loaded: any number of threads may encode with it */

struct token_ids {
    int32_t *ids; /* owned; grows by itself; zeroed struct is empty */
    size_t n, capacity;
};

/* Reads folder/tokenizer.json (nothing else is needed) and, where they are there, tokenizer_config.json
 * and special_tokens_map.json for the names of BOS and EOS and model_max_length. */
int tokenizer_open(struct tokenizer **t, const char *folder) MUST_CHECK;
void tokenizer_close(struct tokenizer *t);

/* Appends the ids of text[0..n) to out. special: let the post-processor add its tokens (BOS). Bytes that are
 * no UTF-8 become U+FFFD each (as Rust's from_utf8_lossy does). */
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, bool special,
                     struct token_ids *out) MUST_CHECK;

/* Text of ids, special tokens kept, appended as UTF-8: for reports. New string (mem_free). */
int tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n,
                     char **text) MUST_CHECK;

int32_t tokenizer_size(const struct tokenizer *t); /* largest id + 1, added tokens included */
int32_t tokenizer_bos(const struct tokenizer *t);  /* the tokenizer's own; -1: it has none */
int32_t tokenizer_eos(const struct tokenizer *t);  /* -1: none */
const char *tokenizer_text(const struct tokenizer *t,
                           int32_t id); /* as in the vocabulary; NULL: no such id */
int64_t tokenizer_max_length(
    const struct tokenizer *t); /* model_max_length; 0: not given or the "very large" value */
void token_ids_release(struct token_ids *ids);

#endif
