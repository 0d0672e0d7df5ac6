/*
 * token_logprobs.c - log-likelihood of one token per row. SPDX-License-Identifier: MIT
 */
#include "ref.h"

#include <math.h>

hcsmoe_status ref_token_logprobs(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                                 const hcsmoe_tensor *head, const int32_t *target, float *logprob,
                                 uint8_t *greedy)
{
    const hcsmoe_host *h = k->host;
    int64_t vocabulary = head->shape[0];
    double *logits = h->alloc(h, (size_t)vocabulary * sizeof *logits);
    if (logits == NULL)
        return HCSMOE_ENOMEM;
    for (int64_t t = 0; t < n; t++) {
        int64_t best = 0;
        double sum = 0.0;
        for (int64_t v = 0; v < vocabulary; v++) {
            logits[v] = 0.0;
            for (int64_t i = 0; i < width; i++)
                logits[v] += (double)x[t * width + i] * ref_get(head, v * width + i);
            if (logits[v] > logits[best])
                best = v;
        }
        for (int64_t v = 0; v < vocabulary; v++)
            sum += exp(logits[v] - logits[best]);
        logprob[t] = (float)(logits[target[t]] - logits[best] - log(sum));
        greedy[t] = target[t] == best;
    }
    h->free(h, logits);
    return HCSMOE_OK;
}
