/*
 * weighted_sum.c - a linear combination of tensors. SPDX-License-Identifier: MIT
 */
#include "ref.h"

#include <math.h>

/* Fused multiply-adds, in order of the tensors, so that every table can give these very bits. */
hcsmoe_status ref_weighted_sum(const hcsmoe_kernels *k, int64_t n, const hcsmoe_tensor *const *t,
                               const double *coefficient, const hcsmoe_tensor *out)
{
    int64_t elements = hcsmoe_tensor_elements(out);
    (void)k;
    for (int64_t p = 0; p < elements; p++) {
        double sum = n > 0 ? coefficient[0] * ref_get(t[0], p) : 0.0;
        for (int64_t i = 1; i < n; i++)
            sum = fma(coefficient[i], ref_get(t[i], p), sum);
        ref_set(out, p, sum);
    }
    return HCSMOE_OK;
}
