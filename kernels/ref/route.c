/*
 * route.c - softmax over the experts and the top k of them. SPDX-License-Identifier: MIT
 */
#include "ref.h"

#include <math.h>

static double logit_of(const float *logits, const int64_t *mask, int64_t i)
{
    return mask != NULL && mask[i] < 0 ? -INFINITY : (double)logits[i];
}

/* Whether expert i is already among the first n of ids. */
static int taken(const int32_t *ids, int32_t n, int64_t i)
{
    for (int32_t s = 0; s < n; s++)
        if (ids[s] == i)
            return 1;
    return 0;
}

/* The largest logit not yet taken, ties to the lower index; -1: none. NaN is never chosen. */
static int32_t best_of(const float *logits, const int64_t *mask, int64_t e, const int32_t *ids,
                       int32_t n)
{
    int32_t best = -1;
    for (int64_t i = 0; i < e; i++) {
        if ((mask != NULL && mask[i] < 0) || isnan(logits[i]) || taken(ids, n, i))
            continue;
        if (best < 0 || logits[i] > logits[best])
            best = (int32_t)i;
    }
    return best;
}

hcsmoe_status ref_route(const hcsmoe_kernels *k, int64_t n, int64_t e, int32_t top_k,
                        int32_t renormalise, const float *logits, const int64_t *mask,
                        float *probabilities, int32_t *ids, float *weights)
{
    (void)k;
    for (int64_t t = 0; t < n; t++) {
        const float *row = logits + t * e;
        int32_t *id = ids + t * top_k;
        double max = -INFINITY;
        double sum = 0.0;
        double kept = 0.0;
        for (int64_t i = 0; i < e; i++)
            max = fmax(max, logit_of(row, mask, i));
        for (int64_t i = 0; i < e; i++)
            sum += exp(logit_of(row, mask, i) - max);
        for (int64_t i = 0; i < e && probabilities != NULL; i++)
            probabilities[t * e + i] = (float)(exp(logit_of(row, mask, i) - max) / sum);
        for (int32_t s = 0; s < top_k; s++) {
            id[s] = best_of(row, mask, e, id, s);
            if (id[s] >= 0)
                kept += exp((double)row[id[s]] - max);
        }
        for (int32_t s = 0; s < top_k; s++) {
            double p = id[s] >= 0 ? exp((double)row[id[s]] - max) : 0.0;
            weights[t * top_k + s] =
                id[s] >= 0 ? (float)(p / (renormalise != 0 ? kept : sum)) : 0.0f;
        }
    }
    return HCSMOE_OK;
}
