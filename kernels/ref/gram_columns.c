/*
 * gram_columns.c - inner products of the columns of a matrix. SPDX-License-Identifier: MIT
 */
#include "ref.h"

hcsmoe_status ref_gram_columns(const hcsmoe_kernels *k, int64_t n, int64_t e, const float *z,
                               double *g)
{
    (void)k;
    for (int64_t i = 0; i < e; i++) {
        for (int64_t j = 0; j < e; j++) {
            double sum = 0.0;
            for (int64_t t = 0; t < n; t++)
                sum += (double)z[t * e + i] * (double)z[t * e + j];
            g[i * e + j] += sum;
        }
    }
    return HCSMOE_OK;
}
