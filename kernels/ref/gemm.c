/*
 * gemm.c - general matrix products. SPDX-License-Identifier: MIT
 */
#include "ref.h"

/* As BLAS has it: with beta = 0 the old C is not read. */
hcsmoe_status ref_sgemm(const hcsmoe_kernels *k, int32_t trans_a, int32_t trans_b, int64_t m,
                        int64_t n, int64_t kk, float alpha, const float *a, int64_t lda,
                        const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    (void)k;
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            float *out = &c[i * ldc + j];
            double sum = 0.0;
            for (int64_t l = 0; l < kk; l++)
                sum += (double)a[trans_a != 0 ? l * lda + i : i * lda + l] *
                       (double)b[trans_b != 0 ? j * ldb + l : l * ldb + j];
            sum *= (double)alpha;
            *out = (float)(beta != 0.0f ? sum + (double)beta * (double)*out : sum);
        }
    }
    return HCSMOE_OK;
}

hcsmoe_status ref_dgemm(const hcsmoe_kernels *k, int32_t trans_a, int32_t trans_b, int64_t m,
                        int64_t n, int64_t kk, double alpha, const double *a, int64_t lda,
                        const double *b, int64_t ldb, double beta, double *c, int64_t ldc)
{
    (void)k;
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double *out = &c[i * ldc + j];
            double sum = 0.0;
            for (int64_t l = 0; l < kk; l++)
                sum += a[trans_a != 0 ? l * lda + i : i * lda + l] *
                       b[trans_b != 0 ? j * ldb + l : l * ldb + j];
            sum *= alpha;
            *out = beta != 0.0 ? sum + beta * *out : sum;
        }
    }
    return HCSMOE_OK;
}
