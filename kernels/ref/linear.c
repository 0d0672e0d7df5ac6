/*
 * linear.c - y = x weight^T + bias. SPDX-License-Identifier: MIT
 */
#include "ref.h"

hcsmoe_status ref_linear(const hcsmoe_kernels *k, int64_t m, int64_t n, int64_t kk, const float *x,
                         const hcsmoe_tensor *weight, const hcsmoe_tensor *bias, int32_t add,
                         float *y)
{
    (void)k;
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = add != 0 ? (double)y[i * n + j] : 0.0;
            for (int64_t l = 0; l < kk; l++)
                sum += (double)x[i * kk + l] * ref_get(weight, j * kk + l);
            if (bias != NULL)
                sum += ref_get(bias, j);
            y[i * n + j] = (float)sum;
        }
    }
    return HCSMOE_OK;
}
