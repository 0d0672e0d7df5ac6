/*
 * syrk.c - inner products of the columns of a matrix, the lower triangle. SPDX-License-Identifier: MIT
 */
#include "ref.h"

/* As BLAS has it: with beta = 0 the old c is not read. */
hcsmoe_status ref_syrk(const hcsmoe_kernels *k, uint32_t dtype, int64_t n, int64_t kk, double alpha,
                       const void *a, int64_t lda, double beta, void *c, int64_t ldc)
{
    (void)k;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j <= i; j++) {
            double sum = 0.0;
            for (int64_t l = 0; l < kk; l++)
                sum += ref_entry(dtype, a, l * lda + i) * ref_entry(dtype, a, l * lda + j);
            sum *= alpha;
            if (beta != 0.0)
                sum += beta * ref_entry(dtype, c, i * ldc + j);
            ref_set_entry(dtype, c, i * ldc + j, sum);
        }
    }
    return HCSMOE_OK;
}
