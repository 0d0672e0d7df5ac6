/*
 * rmsnorm.c - root mean square normalisation. SPDX-License-Identifier: MIT
 */
#include "ref.h"

#include <math.h>

hcsmoe_status ref_rmsnorm(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                          const hcsmoe_tensor *weight, double eps, float *y)
{
    (void)k;
    for (int64_t i = 0; i < n; i++) {
        const float *row = x + i * width;
        double squares = 0.0;
        for (int64_t j = 0; j < width; j++)
            squares += (double)row[j] * (double)row[j];
        double norm = sqrt(squares / (double)width + eps);
        for (int64_t j = 0; j < width; j++)
            y[i * width + j] = (float)((double)row[j] / norm * ref_get(weight, j));
    }
    return HCSMOE_OK;
}
