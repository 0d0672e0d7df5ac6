/*
 * forward.c - hidden states through the layers, chunk by chunk.
 * SPDX-License-Identifier: MIT
 */
#include "model/forward.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/trace.h"

enum {
    HEAD_ROWS = 1024
}; /* rows that the language-model head takes at once: 16 MB at width 4096 */

static int tokens_check(const struct model *m, const struct batch *b)
{
    for (int64_t i = 0; i < b->n_tokens; i++)
        if (b->tokens[i] < 0 || b->tokens[i] >= m->desc.vocabulary)
            return fail(HCSMOE_EINVAL, "token id %d is not in the model's vocabulary of %lld",
                        b->tokens[i], (long long)m->desc.vocabulary);
    return 0;
}

int forward_open(struct forward *f, const struct model *m, const struct batch *b,
                 bool probabilities)
{
    const hcsmoe_kernels *k = m->k;
    hcsmoe_tensor table;
    void *bytes = NULL;
    int status = tokens_check(m, b);

    *f = (struct forward){.m = m, .batch = b};
    if (!status)
        status = model_tensor_read(m, m->embed, &table, &bytes);
    if (!status)
        status = k->alloc(k, (size_t)(b->n_tokens * m->desc.width) * sizeof(float), (void **)&f->x);
    for (size_t c = 0; !status && c < b->n_chunks; c++)
        status =
            k->embed(k, b->chunks[c].n_tokens, m->desc.width, &table,
                     b->tokens + b->chunks[c].begin, f->x + b->chunks[c].begin * m->desc.width);
    mem_free(bytes);
    if (!status)
        status = workspace_open(&f->workspace, m, b->chunk_largest, probabilities);
    if (status)
        forward_release(f);
    return status;
}

void forward_release(struct forward *f)
{
    if (!f->m)
        return;
    workspace_release(&f->workspace, f->m);
    if (f->x)
        f->m->k->free(f->m->k, f->x);
    *f = (struct forward){0};
}

static double chunk_flops(const struct model *m, const struct batch *b, const struct chunk *c,
                          int layer)
{
    double context = 0;
    for (size_t i = 0; i < c->n_sequences; i++) {
        const hcsmoe_sequence *s = &b->sequences[c->first_sequence + i];
        context += (double)s->count * ((double)s->prefix + (double)s->count / 2);
    }
    return (double)c->n_tokens * decoder_flops(m, layer, context / (double)c->n_tokens);
}

double forward_flops(const struct model *m, const struct batch *b, int layer)
{
    double sum = 0;
    for (size_t c = 0; c < b->n_chunks; c++)
        sum += chunk_flops(m, b, &b->chunks[c], layer);
    return sum;
}

int forward_layer(struct forward *f, const struct layer *l, const struct observer *o)
{
    const struct batch *b = f->batch;
    int status = 0;

    for (size_t i = 0; !status && i < b->n_chunks; i++) {
        if (host_cancelled())
            return fail(HCSMOE_ECANCELLED, "interrupted");
        const struct chunk *c = &b->chunks[i];
        status = decoder_layer(f->m, l, b, c, &f->workspace, f->x + c->begin * f->m->desc.width, o);
        progress_add(chunk_flops(f->m, b, c, l->index));
    }
    return status;
}

int forward_logprobs(struct forward *f, int64_t n, const int64_t *row, const int32_t *target,
                     float *logprob, uint8_t *greedy)
{
    const struct model *m = f->m;
    const hcsmoe_kernels *k = m->k;
    const int64_t width = m->desc.width;
    hcsmoe_tensor norm, head;
    void *norm_bytes = NULL, *head_bytes = NULL;
    float *x = NULL;
    int status = 0;

    for (int64_t i = 0; i < n; i++)
        if (target[i] < 0 || target[i] >= m->desc.vocabulary)
            return fail(HCSMOE_EINVAL, "token id %d is not in the model's vocabulary of %lld",
                        target[i], (long long)m->desc.vocabulary);
    status = model_tensor_read(m, m->final_norm, &norm, &norm_bytes);
    if (!status)
        status = model_tensor_read(m, m->head, &head, &head_bytes);
    if (!status)
        status = k->alloc(k, (size_t)(HEAD_ROWS * width) * sizeof(float), (void **)&x);
    for (int64_t i = 0; !status && i < n; i += HEAD_ROWS) {
        const int64_t rows = n - i < HEAD_ROWS ? n - i : HEAD_ROWS;
        if (host_cancelled())
            status = fail(HCSMOE_ECANCELLED, "interrupted");
        const double t = trace_begin();
        if (!status)
            status = k->gather(k, rows, width, f->x, row + i, x);
        if (!status)
            status = k->rmsnorm(k, rows, width, x, &norm, m->desc.norm_eps, x);
        if (!status)
            status =
                k->token_logprobs(k, rows, width, x, &head, target + i, logprob + i, greedy + i);
        (void)trace_end("head", -1, t);
    }
    if (x)
        k->free(k, x);
    mem_free(norm_bytes);
    mem_free(head_bytes);
    return status;
}

int64_t forward_bytes(const struct model *m, int64_t n_tokens, int64_t chunk_largest,
                      bool probabilities, bool hidden_sum)
{
    int64_t bytes = n_tokens * m->desc.width * (int64_t)sizeof(float) + n_tokens * 12 +
                    workspace_bytes(m, chunk_largest, probabilities);
    for (int l = 0, seen = 0; hidden_sum && l < m->desc.n_layers && !seen; l++)
        if (m->layers[l].desc.is_moe) {
            bytes += m->layers[l].n_stored * m->layers[l].desc.ffn * (int64_t)sizeof(double);
            seen = 1;
        }
    return bytes;
}
