/*
 * cholesky_solve.c - rows times the inverse of l l^T: forward through l^T, then back through l.
 * SPDX-License-Identifier: MIT
 */
#include "ref.h"

hcsmoe_status ref_cholesky_solve(const hcsmoe_kernels *k, uint32_t dtype, int64_t m, int64_t n,
                                 const void *l, int64_t ldl, void *b, int64_t ldb)
{
    (void)k;
    for (int64_t row = 0; row < m; row++) {
        for (int64_t i = 0; i < n; i++) {
            double rest = ref_entry(dtype, b, row * ldb + i);
            for (int64_t j = 0; j < i; j++)
                rest -= ref_entry(dtype, l, i * ldl + j) * ref_entry(dtype, b, row * ldb + j);
            ref_set_entry(dtype, b, row * ldb + i, rest / ref_entry(dtype, l, i * ldl + i));
        }
        for (int64_t i = n - 1; i >= 0; i--) {
            double rest = ref_entry(dtype, b, row * ldb + i);
            for (int64_t j = i + 1; j < n; j++)
                rest -= ref_entry(dtype, l, j * ldl + i) * ref_entry(dtype, b, row * ldb + j);
            ref_set_entry(dtype, b, row * ldb + i, rest / ref_entry(dtype, l, i * ldl + i));
        }
    }
    return HCSMOE_OK;
}
