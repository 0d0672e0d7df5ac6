/*
 * column_sum.c - sums over rows. SPDX-License-Identifier: MIT
 */
#include "ref.h"

hcsmoe_status ref_column_sum(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                             double *sum)
{
    (void)k;
    for (int64_t t = 0; t < n; t++)
        for (int64_t i = 0; i < width; i++)
            sum[i] += (double)x[t * width + i];
    return HCSMOE_OK;
}
