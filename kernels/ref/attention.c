/*
 * attention.c - causal softmax attention over sequences with shared prefixes.
 * SPDX-License-Identifier: MIT
 */
#include "ref.h"

#include <math.h>

/* The row of every key of a sequence, by position: the spans' rows, then its own. */
static void list_keys(const hcsmoe_attention_args *a, const hcsmoe_sequence *s, int64_t *row)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->n_spans; i++) {
        const hcsmoe_span *span = &a->spans[s->first_span + i];
        for (int64_t r = 0; r < span->count; r++)
            row[n++] = span->begin + r;
    }
    for (int64_t r = 0; r < s->count; r++)
        row[n++] = s->begin + r;
}

/* One query of one head. It sees the keys first..last of row; p is room for a weight per key. */
static void attend(const hcsmoe_attention_args *a, int64_t query, int64_t head, const int64_t *row,
                   int64_t first, int64_t last, double *p)
{
    int64_t kv = head / (a->n_heads / a->n_kv_heads);
    const float *q = a->q + (query * a->n_heads + head) * a->head_dim;
    float *out = a->out + (query * a->n_heads + head) * a->v_head_dim;
    double max = -INFINITY;
    double sum = 0.0;

    for (int64_t i = first; i <= last; i++) {
        const float *key = a->k + (row[i] * a->n_kv_heads + kv) * a->head_dim;
        double dot = 0.0;
        for (int64_t d = 0; d < a->head_dim; d++)
            dot += (double)q[d] * (double)key[d];
        p[i] = dot * a->scale;
        max = fmax(max, p[i]);
    }
    for (int64_t i = first; i <= last; i++) {
        p[i] = exp(p[i] - max);
        sum += p[i];
    }
    for (int64_t d = 0; d < a->v_head_dim; d++) {
        double mean = 0.0;
        for (int64_t i = first; i <= last; i++)
            mean += p[i] * (double)a->v[(row[i] * a->n_kv_heads + kv) * a->v_head_dim + d];
        out[d] = (float)(mean / sum);
    }
}

hcsmoe_status ref_attention(const hcsmoe_kernels *k, const hcsmoe_attention_args *a)
{
    const hcsmoe_host *h = k->host;
    for (int64_t i = 0; i < a->n_sequences; i++) {
        const hcsmoe_sequence *s = &a->sequences[i];
        size_t keys = (size_t)(s->prefix + s->count);
        int64_t *row = h->alloc(h, keys * sizeof *row);
        double *p = h->alloc(h, keys * sizeof *p);
        if (row == NULL || p == NULL) {
            h->free(h, row);
            h->free(h, p);
            return HCSMOE_ENOMEM;
        }
        list_keys(a, s, row);
        for (int64_t t = 0; t < s->count; t++) {
            int64_t last = s->prefix + t;
            int64_t first = a->window > 0 && last >= a->window ? last - a->window + 1 : 0;
            for (int64_t head = 0; head < a->n_heads; head++)
                attend(a, s->begin + t, head, row, first, last, p);
        }
        h->free(h, row);
        h->free(h, p);
    }
    return HCSMOE_OK;
}
