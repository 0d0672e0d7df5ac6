/*
 * dense.c - blocks of F32 or F64 matrices and what BLAS and LAPACK do with them. SPDX-License-Identifier: MIT
 */
#include "dense.h"

#include <cblas.h>
#include <math.h>

/* OpenBLAS has these, but not every system has lapacke.h. */
void spotrf_(const char *uplo, const int *n, float *a, const int *lda, int *info);
void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info);
void strtri_(const char *uplo, const char *diag, const int *n, float *a, const int *lda, int *info);
void dtrtri_(const char *uplo, const char *diag, const int *n, double *a, const int *lda,
             int *info);
void slauum_(const char *uplo, const int *n, float *a, const int *lda, int *info);
void dlauum_(const char *uplo, const int *n, double *a, const int *lda, int *info);

/* Small tiles keep many threads busy; large ones spend less on packing. */
enum { TILES_A_SIDE = 8, TILE_LEAST = 256, TILE_MOST = 512 };

struct dense dense_at(const struct dense *d, int64_t row, int64_t column)
{
    int64_t size = d->dtype == HCSMOE_DTYPE_F64 ? 8 : 4;
    struct dense part = *d;
    part.data = (char *)d->data + (row * d->ld + column) * size;
    return part;
}

hcsmoe_status dense_check(const hcsmoe_host *h, const char *what, struct dense *d, int64_t rows,
                          int64_t columns)
{
    hcsmoe_status status = cpu_check_sizes(h, what, rows, columns, d->ld);
    if (status != HCSMOE_OK)
        return status;
    if (d->dtype != HCSMOE_DTYPE_F32 && d->dtype != HCSMOE_DTYPE_F64)
        return hcsmoe_failf(h, HCSMOE_EUNSUPPORTED, "%s: dtype %u: must be F32 or F64", what,
                            (unsigned)d->dtype);
    if (d->ld < columns)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "%s: row stride %lld: must be %lld at least", what,
                            (long long)d->ld, (long long)columns);
    /* BLAS refuses a stride of 0, which an empty row may well have. */
    d->ld = d->ld > 0 ? d->ld : 1;
    return HCSMOE_OK;
}

static CBLAS_TRANSPOSE op(int trans)
{
    return trans != 0 ? CblasTrans : CblasNoTrans;
}

/* c[m, n] = alpha op(a) op(b) + beta c. */
static void gemm(int trans_a, int trans_b, int64_t m, int64_t n, int64_t kk, double alpha,
                 const struct dense *a, const struct dense *b, double beta, const struct dense *c)
{
    if (c->dtype == HCSMOE_DTYPE_F64)
        cblas_dgemm(CblasRowMajor, op(trans_a), op(trans_b), (int)m, (int)n, (int)kk, alpha,
                    a->data, (int)a->ld, b->data, (int)b->ld, beta, c->data, (int)c->ld);
    else
        cblas_sgemm(CblasRowMajor, op(trans_a), op(trans_b), (int)m, (int)n, (int)kk, (float)alpha,
                    a->data, (int)a->ld, b->data, (int)b->ld, (float)beta, c->data, (int)c->ld);
}

void dense_gemm(int trans_a, int64_t m, int64_t n, int64_t kk, double alpha, const struct dense *a,
                const struct dense *b, const struct dense *c)
{
    gemm(trans_a, 0, m, n, kk, alpha, a, b, 1.0, c);
}

void dense_trsm(int left, int trans, int64_t m, int64_t n, const struct dense *l,
                const struct dense *b)
{
    CBLAS_SIDE side = left != 0 ? CblasLeft : CblasRight;
    if (b->dtype == HCSMOE_DTYPE_F64)
        cblas_dtrsm(CblasRowMajor, side, CblasLower, op(trans), CblasNonUnit, (int)m, (int)n, 1.0,
                    l->data, (int)l->ld, b->data, (int)b->ld);
    else
        cblas_strsm(CblasRowMajor, side, CblasLower, op(trans), CblasNonUnit, (int)m, (int)n, 1.0f,
                    l->data, (int)l->ld, b->data, (int)b->ld);
}

void dense_trmm(int left, int trans, int64_t m, int64_t n, double alpha, const struct dense *l,
                const struct dense *b)
{
    CBLAS_SIDE side = left != 0 ? CblasLeft : CblasRight;
    if (b->dtype == HCSMOE_DTYPE_F64)
        cblas_dtrmm(CblasRowMajor, side, CblasLower, op(trans), CblasNonUnit, (int)m, (int)n, alpha,
                    l->data, (int)l->ld, b->data, (int)b->ld);
    else
        cblas_strmm(CblasRowMajor, side, CblasLower, op(trans), CblasNonUnit, (int)m, (int)n,
                    (float)alpha, l->data, (int)l->ld, b->data, (int)b->ld);
}

static double diagonal(const struct dense *d, int64_t i)
{
    int64_t at = i * d->ld + i;
    return d->dtype == HCSMOE_DTYPE_F64 ? ((const double *)d->data)[at]
                                        : (double)((const float *)d->data)[at];
}

int64_t dense_factor(int64_t n, const struct dense *a)
{
    int size = (int)n;
    int ld = (int)a->ld;
    int info = 0;
    if (a->dtype == HCSMOE_DTYPE_F64)
        dpotrf_("U", &size, a->data, &ld, &info);
    else
        spotrf_("U", &size, a->data, &ld, &info);
    /* It stops at pivots that are not positive, but goes on over NaN and infinity. */
    int64_t good = info > 0 ? info - 1 : n;
    for (int64_t i = 0; i < good; i++)
        if (!isfinite(diagonal(a, i)))
            return i + 1;
    return info;
}

void dense_invert(int64_t n, const struct dense *l)
{
    int size = (int)n;
    int ld = (int)l->ld;
    int info = 0;
    if (l->dtype == HCSMOE_DTYPE_F64)
        dtrtri_("U", "N", &size, l->data, &ld, &info);
    else
        strtri_("U", "N", &size, l->data, &ld, &info);
}

void dense_square(int64_t n, const struct dense *l)
{
    int size = (int)n;
    int ld = (int)l->ld;
    int info = 0;
    if (l->dtype == HCSMOE_DTYPE_F64)
        dlauum_("U", &size, l->data, &ld, &info);
    else
        slauum_("U", &size, l->data, &ld, &info);
}

hcsmoe_status dense_check_pivots(const hcsmoe_host *h, const char *what, int64_t n,
                                 const struct dense *l)
{
    for (int64_t i = 0; i < n; i++) {
        double pivot = diagonal(l, i);
        if (!(pivot > 0.0) || isinf(pivot))
            return hcsmoe_failf(h, HCSMOE_EINVAL,
                                "%s: row %lld: pivot %g: must be positive and finite", what,
                                (long long)i, pivot);
    }
    return HCSMOE_OK;
}

struct cpu_split dense_split(int64_t n)
{
    int64_t tile = n / TILES_A_SIDE;
    tile = tile < TILE_MOST ? tile : TILE_MOST;
    return cpu_split_of(n, tile > TILE_LEAST ? tile : TILE_LEAST);
}

struct dense_update dense_update_of(int trans, int64_t n, int64_t kk, double alpha,
                                    const struct dense *a, double beta, const struct dense *c)
{
    return (struct dense_update){.tiles = dense_split(n),
                                 .trans = trans,
                                 .kk = kk,
                                 .alpha = alpha,
                                 .beta = beta,
                                 .a = *a,
                                 .c = *c};
}

int64_t dense_update_tiles(const struct dense_update *u)
{
    return u->tiles.parts * (u->tiles.parts + 1) / 2;
}

/* A tile on the diagonal: the upper half of its square is left alone. */
static void update_diagonal(const struct dense_update *u, int64_t n, const struct dense *a,
                            const struct dense *c)
{
    CBLAS_TRANSPOSE trans = op(u->trans);
    if (c->dtype == HCSMOE_DTYPE_F64)
        cblas_dsyrk(CblasRowMajor, CblasLower, trans, (int)n, (int)u->kk, u->alpha, a->data,
                    (int)a->ld, u->beta, c->data, (int)c->ld);
    else
        cblas_ssyrk(CblasRowMajor, CblasLower, trans, (int)n, (int)u->kk, (float)u->alpha, a->data,
                    (int)a->ld, (float)u->beta, c->data, (int)c->ld);
}

void dense_update_tile(const struct dense_update *u, int64_t tile)
{
    int64_t i = 0;
    while ((i + 1) * (i + 2) / 2 <= tile)
        i++;
    int64_t j = tile - i * (i + 1) / 2;
    int64_t row = cpu_split_begin(&u->tiles, i);
    int64_t column = cpu_split_begin(&u->tiles, j);
    int64_t m = cpu_split_begin(&u->tiles, i + 1) - row;
    int64_t n = cpu_split_begin(&u->tiles, j + 1) - column;
    struct dense c = dense_at(&u->c, row, column);
    struct dense a = u->trans != 0 ? dense_at(&u->a, 0, row) : dense_at(&u->a, row, 0);
    struct dense b = u->trans != 0 ? dense_at(&u->a, 0, column) : dense_at(&u->a, column, 0);
    if (i == j)
        update_diagonal(u, n, &a, &c);
    else
        gemm(u->trans, u->trans == 0, m, n, u->kk, u->alpha, &a, &b, u->beta, &c);
}

static hcsmoe_status update_part(void *arg, int64_t begin, int64_t end)
{
    for (int64_t tile = begin; tile < end; tile++)
        dense_update_tile(arg, tile);
    return HCSMOE_OK;
}

hcsmoe_status dense_update_run(const hcsmoe_host *h, struct dense_update *u)
{
    return h->parallel_for(h, dense_update_tiles(u), update_part, u);
}
