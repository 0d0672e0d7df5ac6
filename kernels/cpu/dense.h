/*
 * dense.h - blocks of F32 or F64 matrices and what BLAS and LAPACK do with them, on the calling thread but for
 * dense_update_run.
 *
 * Triangles are lower ones of row-major matrices: LAPACK, which counts by columns, takes them for upper ones.
 * Neither reads nor writes the other half. SPDX-License-Identifier: MIT
 */
#ifndef KERNELS_CPU_DENSE_H
#define KERNELS_CPU_DENSE_H

#include "cpu.h"

/* A matrix or a part of one: rows and columns are the caller's. */
struct dense {
    uint32_t dtype; /* HCSMOE_DTYPE_F32 or _F64 */
    void *data;
    int64_t ld;
};
struct dense dense_at(const struct dense *d, int64_t row, int64_t column);
/* Refuses other dtypes, sizes that BLAS does not count, and strides of less than columns; ld becomes at least 1. */
hcsmoe_status dense_check(const hcsmoe_host *h, const char *what, struct dense *d, int64_t rows,
                          int64_t columns);

/* c[m, n] += alpha op(a) b; op(a) is [m, kk]. */
void dense_gemm(int trans_a, int64_t m, int64_t n, int64_t kk, double alpha, const struct dense *a,
                const struct dense *b, const struct dense *c);
/* b[m, n] := b op(l)^-1 of l[n, n], or op(l)^-1 b of l[m, m] when left is set. */
void dense_trsm(int left, int trans, int64_t m, int64_t n, const struct dense *l,
                const struct dense *b);
/* b[m, n] := alpha b op(l) of l[n, n], or alpha op(l) b of l[m, m] when left is set. */
void dense_trmm(int left, int trans, int64_t m, int64_t n, double alpha, const struct dense *l,
                const struct dense *b);
/* a[n, n] = l l^T in place; 0, or 1 + the first row whose pivot is not positive and finite. */
int64_t dense_factor(int64_t n, const struct dense *a);
/* l := l^-1, and l := l^T l. */
void dense_invert(int64_t n, const struct dense *l);
void dense_square(int64_t n, const struct dense *l);

/* Refuses a factor with a pivot that is not positive and finite. */
hcsmoe_status dense_check_pivots(const hcsmoe_host *h, const char *what, int64_t n,
                                 const struct dense *l);

/* How n rows or columns are cut for the threads. */
struct cpu_split dense_split(int64_t n);
/* Tiles of the lower triangle of c[n, n] = alpha a op(a) + beta c, where a is [n, kk], or [kk, n] when trans is
 * set (then a^T a). The tiles are independent. */
struct dense_update {
    struct cpu_split tiles;
    int trans;
    int64_t kk;
    double alpha, beta;
    struct dense a, c;
};
struct dense_update dense_update_of(int trans, int64_t n, int64_t kk, double alpha,
                                    const struct dense *a, double beta, const struct dense *c);
int64_t dense_update_tiles(const struct dense_update *u);
void dense_update_tile(const struct dense_update *u, int64_t tile);
/* All of them, on the host's threads. */
hcsmoe_status dense_update_run(const hcsmoe_host *h, struct dense_update *u);

#endif
