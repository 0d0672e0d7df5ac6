/*
 * mlp.c - a SwiGLU block that adds to its output. SPDX-License-Identifier: MIT
 */
#include "ref.h"

hcsmoe_status ref_mlp(const hcsmoe_kernels *k, const hcsmoe_mlp_args *a)
{
    const hcsmoe_host *host = k->host;
    float *h = host->alloc(host, (size_t)a->ffn * sizeof *h);
    if (h == NULL)
        return HCSMOE_ENOMEM;
    for (int64_t t = 0; t < a->n_tokens; t++) {
        double scale = a->scale != NULL ? (double)a->scale[t] : 1.0;
        (void)ref_swiglu(k, 1, a->width, a->ffn, a->x + t * a->width, a->gate, a->up, h);
        for (int64_t d = 0; d < a->width; d++) {
            double sum = 0.0;
            for (int64_t f = 0; f < a->ffn; f++)
                sum += (double)h[f] * ref_get(a->down, d * a->ffn + f);
            a->out[t * a->width + d] = (float)((double)a->out[t * a->width + d] + scale * sum);
        }
    }
    host->free(host, h);
    return HCSMOE_OK;
}
