/*
 * experts.c - all experts of a layer: the routed sum, and the sums of the hidden activations.
 * SPDX-License-Identifier: MIT
 */
#include "ref.h"

/* Where expert e stands in a row of ids; -1: it was not chosen. */
static int32_t slot_of(const hcsmoe_experts_args *a, int64_t token, int64_t e)
{
    for (int32_t s = 0; s < a->top_k; s++)
        if (a->ids[token * a->top_k + s] == e)
            return s;
    return -1;
}

static void add_output(const hcsmoe_experts_args *a, int64_t token, int64_t e, double weight,
                       const float *h)
{
    for (int64_t d = 0; d < a->width; d++) {
        float *out = &a->out[token * a->width + d];
        double sum = 0.0;
        for (int64_t f = 0; f < a->ffn; f++)
            sum += (double)h[f] * ref_get(&a->down[e], d * a->ffn + f);
        *out = (float)((double)*out + weight * sum);
    }
}

hcsmoe_status ref_experts(const hcsmoe_kernels *k, const hcsmoe_experts_args *a)
{
    const hcsmoe_host *host = k->host;
    float *h = host->alloc(host, (size_t)a->ffn * sizeof *h);
    if (h == NULL)
        return HCSMOE_ENOMEM;
    for (int64_t t = 0; t < a->n_tokens; t++) {
        for (int64_t e = 0; e < a->n_experts; e++) {
            int32_t s = slot_of(a, t, e);
            if (a->hidden_sum == NULL && (s < 0 || a->out == NULL))
                continue;
            (void)ref_swiglu(k, 1, a->width, a->ffn, a->x + t * a->width, &a->gate[e], &a->up[e],
                             h);
            for (int64_t f = 0; f < a->ffn && a->hidden_sum != NULL; f++)
                a->hidden_sum[e * a->ffn + f] += (double)h[f];
            if (s >= 0 && a->out != NULL)
                add_output(a, t, e, (double)a->weights[t * a->top_k + s], h);
        }
    }
    host->free(host, h);
    return HCSMOE_OK;
}
