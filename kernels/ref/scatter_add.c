/*
 * scatter_add.c - scaled rows added to chosen rows of a matrix. SPDX-License-Identifier: MIT
 */
#include "ref.h"

#include <math.h>

hcsmoe_status ref_scatter_add(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *y,
                              const int64_t *rows, const float *scale, float *x)
{
    (void)k;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j++)
            x[rows[i] * width + j] =
                fmaf(scale != NULL ? scale[i] : 1.0f, y[i * width + j], x[rows[i] * width + j]);
    return HCSMOE_OK;
}
