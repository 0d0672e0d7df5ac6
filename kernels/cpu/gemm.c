/*
 * gemm.c - general matrix products, in tiles of C. SPDX-License-Identifier: MIT
 */
#include "cpu.h"

#include <cblas.h>

enum { GEMM_TILE = 512 };

struct gemm {
    struct cpu_split rows, columns;
    int32_t trans_a, trans_b;
    int64_t kk, lda, ldb, ldc;
    double alpha, beta;
    const float *sa, *sb;
    float *sc;
    const double *da, *db;
    double *dc;
};

static hcsmoe_status gemm_tiles(void *arg, int64_t begin, int64_t end)
{
    const struct gemm *g = arg;
    CBLAS_TRANSPOSE ta = g->trans_a != 0 ? CblasTrans : CblasNoTrans;
    CBLAS_TRANSPOSE tb = g->trans_b != 0 ? CblasTrans : CblasNoTrans;
    for (int64_t i = begin; i < end; i++) {
        int64_t row = cpu_split_begin(&g->rows, i % g->rows.parts);
        int64_t column = cpu_split_begin(&g->columns, i / g->rows.parts);
        int m = (int)(cpu_split_begin(&g->rows, i % g->rows.parts + 1) - row);
        int n = (int)(cpu_split_begin(&g->columns, i / g->rows.parts + 1) - column);
        int64_t a = g->trans_a != 0 ? row : row * g->lda;
        int64_t b = g->trans_b != 0 ? column * g->ldb : column;
        int64_t c = row * g->ldc + column;
        if (g->sc != NULL)
            cblas_sgemm(CblasRowMajor, ta, tb, m, n, (int)g->kk, (float)g->alpha, g->sa + a,
                        (int)g->lda, g->sb + b, (int)g->ldb, (float)g->beta, g->sc + c,
                        (int)g->ldc);
        else
            cblas_dgemm(CblasRowMajor, ta, tb, m, n, (int)g->kk, g->alpha, g->da + a, (int)g->lda,
                        g->db + b, (int)g->ldb, g->beta, g->dc + c, (int)g->ldc);
    }
    return HCSMOE_OK;
}

static hcsmoe_status gemm_run(const hcsmoe_kernels *k, struct gemm *g, int64_t m, int64_t n)
{
    const hcsmoe_host *h = k->host;
    hcsmoe_status status = cpu_check_sizes(h, "gemm", m, n, g->kk);
    if (status == HCSMOE_OK)
        status = cpu_check_sizes(h, "gemm", g->lda, g->ldb, g->ldc);
    if (status != HCSMOE_OK)
        return status;
    if (g->lda < (g->trans_a != 0 ? m : g->kk) || g->ldb < (g->trans_b != 0 ? g->kk : n) ||
        g->ldc < n)
        return h->fail(h, HCSMOE_EINVAL, "gemm: a row stride is less than the row");
    /* BLAS refuses a stride of 0, which an empty row may well have. */
    g->lda = g->lda > 0 ? g->lda : 1;
    g->ldb = g->ldb > 0 ? g->ldb : 1;
    g->rows = cpu_split_of(m, GEMM_TILE);
    g->columns = cpu_split_of(n, GEMM_TILE);
    return h->parallel_for(h, g->rows.parts * g->columns.parts, gemm_tiles, g);
}

hcsmoe_status cpu_sgemm(const hcsmoe_kernels *k, int32_t trans_a, int32_t trans_b, int64_t m,
                        int64_t n, int64_t kk, float alpha, const float *a, int64_t lda,
                        const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    struct gemm g = {.trans_a = trans_a,
                     .trans_b = trans_b,
                     .kk = kk,
                     .lda = lda,
                     .ldb = ldb,
                     .ldc = ldc,
                     .alpha = (double)alpha,
                     .beta = (double)beta,
                     .sa = a,
                     .sb = b,
                     .sc = c};
    return gemm_run(k, &g, m, n);
}

hcsmoe_status cpu_dgemm(const hcsmoe_kernels *k, int32_t trans_a, int32_t trans_b, int64_t m,
                        int64_t n, int64_t kk, double alpha, const double *a, int64_t lda,
                        const double *b, int64_t ldb, double beta, double *c, int64_t ldc)
{
    struct gemm g = {.trans_a = trans_a,
                     .trans_b = trans_b,
                     .kk = kk,
                     .lda = lda,
                     .ldb = ldb,
                     .ldc = ldc,
                     .alpha = alpha,
                     .beta = beta,
                     .da = a,
                     .db = b,
                     .dc = c};
    return gemm_run(k, &g, m, n);
}
