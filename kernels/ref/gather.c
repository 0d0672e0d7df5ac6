/*
 * gather.c - chosen rows of a matrix. SPDX-License-Identifier: MIT
 */
#include "ref.h"

hcsmoe_status ref_gather(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                         const int64_t *rows, float *out)
{
    (void)k;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j++)
            out[i * width + j] = x[rows[i] * width + j];
    return HCSMOE_OK;
}
