/*
 * prompts.h - text to scored tokens: few-shot examples, contexts and continuations, windows.
 *
 * eval-tasks.md sections 2, 6 and 7. Nothing here keeps state: any number of threads may call.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_PROMPTS_H
#define CORE_RUN_PROMPTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"
#include "data/tokenizer.h"
#include "run/records.h"

/* How text becomes tokens in an evaluation. */
struct encoder {
    const struct tokenizer *tokenizer;
    int add_bos;        /* -1: as the tokenizer does by itself; 0: never; 1: always */
    int64_t max_length; /* most tokens that the model is fed at once */
    int32_t prefix;     /* BOS, else EOS: stands where there is no context; -1: there is neither */
    char *prefix_text;  /* of prefix, NULL: none. Text that starts with it gets no BOS in front */
};
int encoder_init(struct encoder *e, const struct tokenizer *t, int add_bos,
                 int64_t max_length) MUST_CHECK;
void encoder_release(struct encoder *e);

/* Appends the tokens of text[0..n). */
int encoder_encode(const struct encoder *e, const char *text, size_t n,
                   struct token_ids *out) MUST_CHECK;

/* A context with its own tokens, for any number of continuations. Zeroed is fine to release. */
struct context {
    const char *text; /* borrowed */
    size_t n, n_kept; /* bytes; without white space at the end, which belongs to the continuation */
    struct token_ids ids; /* of the kept part */
};
int context_init(struct context *c, const struct encoder *e, const char *text, size_t n) MUST_CHECK;
void context_release(struct context *c);

/* Appends the tokens of the context, cut on the left to fit, and then of the continuation; *from is
 * where in these the continuation begins, which is scored. Errors: one of them has no token; the
 * continuation alone does not fit. */
int context_continue(const struct context *c, const struct encoder *e, const char *continuation,
                     size_t n, struct token_ids *out, int64_t *from) MUST_CHECK;

/* The tokens that windows over a whole document lie in: the prefix token, then the *n tokens of the
 * text, which are scored. */
int rolling_encode(const struct encoder *e, const char *text, size_t n_bytes, struct token_ids *out,
                   int64_t *n) MUST_CHECK;
/* The next window over n scored tokens, of which `done` are behind: tokens first..first + count - 1
 * of those of rolling_encode, scored from the `from`-th of them on. Returns how many it scores; 0 at
 * the end. */
int64_t rolling_window(int64_t n, int64_t done, int64_t max_length, int64_t *first, int64_t *count,
                       int64_t *from);

/* Few-shot examples of n_docs documents as indices into shots: draws[n_docs, n_shots]. */
int fewshot_draw(int kind, const struct record *docs, int64_t n_docs, const struct record *shots,
                 int64_t population, int64_t n_shots, int64_t *draws) MUST_CHECK;

/* Appends an example as it stands in front of a question. Error: its answer is not known. */
int fewshot_add(const struct record *shot, struct str *out) MUST_CHECK;

/* Code points of a UTF-8 text. */
int64_t text_length(const char *text);

#endif
