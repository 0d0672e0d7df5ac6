/*
 * cholesky.c - the lower factor of a symmetric positive definite matrix, in its place, row by row.
 * SPDX-License-Identifier: MIT
 */
#include "ref.h"

#include <math.h>

hcsmoe_status ref_cholesky(const hcsmoe_kernels *k, uint32_t dtype, int64_t n, void *a, int64_t lda,
                           int64_t *failed)
{
    (void)k;
    *failed = 0;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j <= i; j++) {
            double rest = ref_entry(dtype, a, i * lda + j);
            for (int64_t l = 0; l < j; l++)
                rest -= ref_entry(dtype, a, i * lda + l) * ref_entry(dtype, a, j * lda + l);
            if (i == j && !(rest > 0.0 && isfinite(rest))) {
                *failed = 1 + i;
                return HCSMOE_OK;
            }
            rest = i == j ? sqrt(rest) : rest / ref_entry(dtype, a, j * lda + j);
            ref_set_entry(dtype, a, i * lda + j, rest);
        }
    }
    return HCSMOE_OK;
}
