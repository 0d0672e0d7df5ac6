/*
 * cholesky_inverse.c - the inverse of l l^T in place of l. SPDX-License-Identifier: MIT
 */
#include "ref.h"

/* x = l^-1, column by column: the columns to the right are still l. */
static void invert(uint32_t dtype, int64_t n, void *l, int64_t ld)
{
    for (int64_t j = 0; j < n; j++) {
        double inverse = 1.0 / ref_entry(dtype, l, j * ld + j);
        ref_set_entry(dtype, l, j * ld + j, inverse);
        for (int64_t i = j + 1; i < n; i++) {
            double sum = 0.0;
            for (int64_t r = j; r < i; r++)
                sum += ref_entry(dtype, l, i * ld + r) * ref_entry(dtype, l, r * ld + j);
            ref_set_entry(dtype, l, i * ld + j, -sum / ref_entry(dtype, l, i * ld + i));
        }
    }
}

hcsmoe_status ref_cholesky_inverse(const hcsmoe_kernels *k, uint32_t dtype, int64_t n, void *l,
                                   int64_t ldl)
{
    (void)k;
    invert(dtype, n, l, ldl);
    /* x^T x, row by row: it needs the rows from its own down, which are still x. */
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j <= i; j++) {
            double sum = 0.0;
            for (int64_t r = i; r < n; r++)
                sum += ref_entry(dtype, l, r * ldl + i) * ref_entry(dtype, l, r * ldl + j);
            ref_set_entry(dtype, l, i * ldl + j, sum);
        }
    }
    return HCSMOE_OK;
}
