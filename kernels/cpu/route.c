/*
 * route.c - softmax over the experts and the top k of them. SPDX-License-Identifier: MIT
 */
#include "cpu.h"

#include <math.h>

struct route {
    const struct cpu_simd *simd;
    int64_t e;
    int32_t top_k, renormalise;
    const float *logits;
    const int64_t *mask;
    float *probabilities, *weights;
    int32_t *ids;
    struct cpu_work work;
};

/* The top k by descending logit, ties to the lower index; -1 when there are no more. NaN is never chosen. */
static void choose(const struct route *r, const float *logits, int32_t *ids)
{
    int32_t n = 0;
    for (int64_t i = 0; i < r->e; i++) {
        if (isnan(logits[i]) || (r->mask != NULL && r->mask[i] < 0))
            continue;
        if (n == r->top_k && (n == 0 || !(logits[i] > logits[ids[n - 1]])))
            continue;
        int32_t at = n < r->top_k ? n++ : n - 1;
        for (; at > 0 && logits[i] > logits[ids[at - 1]]; at--)
            ids[at] = ids[at - 1];
        ids[at] = (int32_t)i;
    }
    for (; n < r->top_k; n++)
        ids[n] = -1;
}

static hcsmoe_status route_rows(void *arg, int64_t begin, int64_t end)
{
    const struct route *r = arg;
    float *p = cpu_work_mine(&r->work);
    for (int64_t t = begin; t < end; t++) {
        const float *logits = r->logits + t * r->e;
        int32_t *ids = r->ids + t * r->top_k;
        float *weights = r->weights + t * r->top_k;
        float kept = 0.0f;
        for (int64_t i = 0; i < r->e; i++)
            p[i] = r->mask != NULL && r->mask[i] < 0 ? -INFINITY : logits[i];
        float sum = r->simd->exp_minus(r->e, p, r->simd->max(r->e, p));
        choose(r, logits, ids);
        for (int32_t s = 0; s < r->top_k; s++)
            kept += ids[s] >= 0 ? p[ids[s]] : 0.0f;
        for (int32_t s = 0; s < r->top_k; s++)
            weights[s] = ids[s] >= 0 ? p[ids[s]] / (r->renormalise != 0 ? kept : sum) : 0.0f;
        for (int64_t i = 0; i < r->e && r->probabilities != NULL; i++)
            r->probabilities[t * r->e + i] = p[i] / sum;
    }
    return HCSMOE_OK;
}

hcsmoe_status cpu_route(const hcsmoe_kernels *k, int64_t n, int64_t e, int32_t top_k,
                        int32_t renormalise, const float *logits, const int64_t *mask,
                        float *probabilities, int32_t *ids, float *weights)
{
    const hcsmoe_host *h = k->host;
    struct route r = {.simd = cpu_simd_of(k),
                      .e = e,
                      .top_k = top_k,
                      .renormalise = renormalise,
                      .logits = logits,
                      .mask = mask,
                      .probabilities = probabilities,
                      .weights = weights,
                      .ids = ids};
    hcsmoe_status status = cpu_check_sizes(h, "route", e, top_k, 0);
    if (status == HCSMOE_OK)
        status = cpu_work_new(&r.work, h, cpu_work_size(e, sizeof(float)));
    if (status != HCSMOE_OK)
        return status;
    status = h->parallel_for(h, n, route_rows, &r);
    cpu_work_free(&r.work);
    return status;
}
