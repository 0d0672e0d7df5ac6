/*
 * batch.c - sequences to rows, chunks and shared prefixes.
 * SPDX-License-Identifier: MIT
 */
#include "model/batch.h"

#include "base/mem.h"

enum {
    CHUNK_FLOATS = 8 * 1024 * 1024, /* activations of one width-sized buffer of a chunk: 32 MB */
    CHUNK_TOKENS_MIN = 2048,
    CHUNK_TOKENS_MAX = 8192,
};

int64_t batch_chunk_tokens(int64_t width)
{
    int64_t n = CHUNK_FLOATS / width;
    if (n < CHUNK_TOKENS_MIN)
        n = CHUNK_TOKENS_MIN;
    return n < CHUNK_TOKENS_MAX ? n : CHUNK_TOKENS_MAX;
}

void batch_init(struct batch *b, int64_t width)
{
    *b = (struct batch){.chunk_tokens = batch_chunk_tokens(width)};
}

static int span_add(struct batch *b, hcsmoe_span span)
{
    if (mem_grow(&b->spans, b->n_spans, &b->span_capacity, sizeof *b->spans))
        return HCSMOE_ENOMEM;
    b->spans[b->n_spans++] = span;
    b->chunks[b->n_chunks - 1].n_spans++;
    return 0;
}

/* The path of the last sequence (its spans, then its own rows), cut to its first `shared` tokens,
 * becomes spans. */
static int path_share(struct batch *b, const hcsmoe_sequence *last, int64_t shared)
{
    const size_t first = (size_t)last->first_span + b->chunks[b->n_chunks - 1].first_span;
    int64_t left = shared;

    for (size_t i = 0; i <= (size_t)last->n_spans && left > 0; i++) {
        hcsmoe_span s = i < (size_t)last->n_spans ? b->spans[first + i]
                                                  : (hcsmoe_span){last->begin, last->count};
        if (s.count > left)
            s.count = left;
        left -= s.count;
        if (s.count && span_add(b, s))
            return HCSMOE_ENOMEM;
    }
    return 0;
}

static int chunk_open(struct batch *b)
{
    if (mem_grow(&b->chunks, b->n_chunks, &b->chunk_capacity, sizeof *b->chunks))
        return HCSMOE_ENOMEM;
    b->chunks[b->n_chunks++] = (struct chunk){
        .begin = b->n_tokens, .first_sequence = b->n_sequences, .first_span = b->n_spans};
    return 0;
}

static int rows_add(struct batch *b, const int32_t *tokens, int64_t n, int64_t position)
{
    if (b->n_tokens + n > b->token_capacity) {
        int64_t want =
            b->token_capacity * 2 > b->n_tokens + n ? b->token_capacity * 2 : b->n_tokens + n;
        int32_t *t = mem_new_raw((size_t)want, sizeof *t);
        int64_t *p = mem_new_raw((size_t)want, sizeof *p);
        if (!t || !p) {
            mem_free(t);
            mem_free(p);
            return HCSMOE_ENOMEM;
        }
        for (int64_t i = 0; i < b->n_tokens; i++) {
            t[i] = b->tokens[i];
            p[i] = b->position[i];
        }
        mem_free(b->tokens);
        mem_free(b->position);
        b->tokens = t;
        b->position = p;
        b->token_capacity = want;
    }
    for (int64_t i = 0; i < n; i++) {
        b->tokens[b->n_tokens + i] = tokens[i];
        b->position[b->n_tokens + i] = position + i;
    }
    b->n_tokens += n;
    return 0;
}

/* Batch row of token i of the sequence just added. */
static void rows_of(const struct batch *b, int64_t *row)
{
    const struct chunk *c = &b->chunks[b->n_chunks - 1];
    const hcsmoe_sequence *s = &b->sequences[b->n_sequences - 1];
    int64_t at = 0;

    for (int64_t i = 0; i < s->n_spans; i++) {
        const hcsmoe_span *p = &b->spans[c->first_span + (size_t)(s->first_span + i)];
        for (int64_t j = 0; j < p->count; j++)
            row[at++] = c->begin + p->begin + j;
    }
    for (int64_t j = 0; j < s->count; j++)
        row[at++] = c->begin + s->begin + j;
}

int batch_add(struct batch *b, const int32_t *tokens, int64_t n, int64_t shared, int64_t *row)
{
    struct chunk *c = b->n_chunks ? &b->chunks[b->n_chunks - 1] : NULL;

    if (shared == n) /* nothing new: the last token is run again, so that every sequence has a row
                        of its own */
        shared = n - 1;
    if (!c || c->n_tokens + n - shared > b->chunk_tokens) {
        if (!c || c->n_tokens) {
            if (chunk_open(b))
                return HCSMOE_ENOMEM;
            c = &b->chunks[b->n_chunks - 1];
        }
        shared = 0;
    }
    if (mem_grow(&b->sequences, b->n_sequences, &b->sequence_capacity, sizeof *b->sequences))
        return HCSMOE_ENOMEM;
    hcsmoe_sequence s = {.begin = c->n_tokens,
                         .count = n - shared,
                         .prefix = shared,
                         .first_span = (int64_t)(b->n_spans - c->first_span)};
    if (shared) {
        const hcsmoe_sequence last = b->sequences[b->n_sequences - 1];
        if (path_share(b, &last, shared))
            return HCSMOE_ENOMEM;
        c = &b->chunks[b->n_chunks - 1];
    }
    s.n_spans = (int64_t)(b->n_spans - c->first_span) - s.first_span;
    if (rows_add(b, tokens + shared, n - shared, shared))
        return HCSMOE_ENOMEM;
    b->sequences[b->n_sequences++] = s;
    c->n_sequences++;
    c->n_tokens += n - shared;
    if (c->n_tokens > b->chunk_largest)
        b->chunk_largest = c->n_tokens;
    if (row)
        rows_of(b, row);
    return 0;
}

void batch_release(struct batch *b)
{
    mem_free(b->tokens);
    mem_free(b->position);
    mem_free(b->sequences);
    mem_free(b->spans);
    mem_free(b->chunks);
    *b = (struct batch){0};
}
