/*
 * gram_tensors.c - inner products of tensors of equal size. SPDX-License-Identifier: MIT
 */
#include "ref.h"

hcsmoe_status ref_gram_tensors(const hcsmoe_kernels *k, int64_t e, const hcsmoe_tensor *const *t,
                               int32_t centre, double *g)
{
    const hcsmoe_host *h = k->host;
    int64_t elements = e > 0 ? hcsmoe_tensor_elements(t[0]) : 0;
    double *value = h->alloc(h, (size_t)e * sizeof *value);
    if (value == NULL)
        return HCSMOE_ENOMEM;
    for (int64_t p = 0; p < elements; p++) {
        double mean = 0.0;
        for (int64_t i = 0; i < e; i++) {
            value[i] = ref_get(t[i], p);
            mean += value[i] / (double)e;
        }
        for (int64_t i = 0; i < e && centre != 0; i++)
            value[i] -= mean;
        for (int64_t i = 0; i < e; i++)
            for (int64_t j = 0; j < e; j++)
                g[i * e + j] += value[i] * value[j];
    }
    h->free(h, value);
    return HCSMOE_OK;
}
