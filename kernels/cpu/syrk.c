/*
 * syrk.c - the product of a matrix with itself.
 *
 * A large one is left to BLAS, tile by tile. In a small one in double BLAS spends a third of the time on packing the
 * same columns twice and on the halves of squares that nobody wants; here they are packed once, and tiles end at the
 * diagonal. SPDX-License-Identifier: MIT
 */
#include "dense.h"

#include <string.h>

/* Where BLAS is as fast, and rows that are packed at once. */
enum { SMALL_MOST = 512, DEPTH = 256 };

enum { LINE = 8 }; /* doubles of a line of the cache */

/* Largest tile: AVX-512's 8 rows of 24. */
enum { TILE_MOST = 8 * 24 };

struct small {
    const struct cpu_simd *simd;
    int64_t n, ld, ldc;
    const double *a;
    double *c;
    double alpha, beta;
    int64_t rows;   /* of a, packed at the moment */
    double *packed; /* panels [rows, panel] */
};

/* Panels begin..end-1 of the rows at hand; what is beyond the last column is zero. */
static hcsmoe_status pack_part(void *arg, int64_t begin, int64_t end)
{
    const struct small *s = arg;
    const int64_t width = s->simd->panel;
    for (int64_t p = begin; p < end; p++) {
        const int64_t first = p * width;
        const int64_t columns = s->n - first < width ? s->n - first : width;
        double *to = s->packed + p * width * s->rows;
        if (columns == width) {
            s->simd->panel_pack(s->rows, s->a + first, s->ld, to);
            continue;
        }
        for (int64_t k = 0; k < s->rows; k++, to += width) {
            memcpy(to, s->a + k * s->ld + first, (size_t)columns * sizeof *to);
            memset(to + columns, 0, (size_t)(width - columns) * sizeof *to);
        }
    }
    return HCSMOE_OK;
}

/* c[row.., first..] of a tile, up to the diagonal. */
static void add_tile(const struct small *s, const double *tile, int64_t row, int64_t first)
{
    const int64_t width = s->simd->panel;
    for (int64_t r = 0; r < s->simd->panel_rows && row + r < s->n; r++) {
        double *c = s->c + (row + r) * s->ldc + first;
        const int64_t columns = row + r + 1 - first < width ? row + r + 1 - first : width;
        if (s->beta == 0.0)
            memset(c, 0, (size_t)columns * sizeof *c);
        for (int64_t j = 0; j < columns && s->beta != 0.0 && s->beta != 1.0; j++)
            c[j] *= s->beta;
        s->simd->axpy_double(columns, s->alpha, tile + r * width, c);
    }
}

/* Strips of panel_rows rows of c. */
static hcsmoe_status strip_part(void *arg, int64_t begin, int64_t end)
{
    const struct small *s = arg;
    const int64_t width = s->simd->panel, rows = s->simd->panel_rows;
    double tile[TILE_MOST];
    for (int64_t strip = begin; strip < end; strip++) {
        const int64_t row = strip * rows;
        const double *a = s->packed + row / width * width * s->rows + row % width;
        for (int64_t first = 0; first < row + rows; first += width) {
            const int64_t wanted = row + rows - first;
            const int vectors =
                3 * wanted >= 3 * width ? 3 : (int)((3 * wanted + width - 1) / width);
            s->simd->panel_product(s->rows, vectors, a, s->packed + first * s->rows, tile);
            add_tile(s, tile, row, first);
        }
    }
    return HCSMOE_OK;
}

static hcsmoe_status small_run(const hcsmoe_kernels *k, struct small *s, int64_t kk)
{
    const hcsmoe_host *h = k->host;
    const int64_t panels = (s->n + s->simd->panel - 1) / s->simd->panel;
    const int64_t strips = (s->n + s->simd->panel_rows - 1) / s->simd->panel_rows;
    hcsmoe_status status = HCSMOE_OK;
    const int64_t room = panels * s->simd->panel * (kk < DEPTH ? kk : DEPTH);
    double *space = cpu_new(h, room + LINE, sizeof(double));
    if (space == NULL)
        return HCSMOE_ENOMEM;
    /* Vectors that lie across two lines of the cache take twice as long to load. */
    s->packed = (double *)(((uintptr_t)space + LINE * sizeof(double) - 1) /
                           (LINE * sizeof(double)) * (LINE * sizeof(double)));
    for (; kk > 0 && status == HCSMOE_OK; kk -= s->rows, s->beta = 1.0) {
        s->rows = kk < DEPTH ? kk : DEPTH;
        status = h->parallel_for(h, panels, pack_part, s);
        if (status == HCSMOE_OK)
            status = h->parallel_for(h, strips, strip_part, s);
        s->a += s->rows * s->ld;
    }
    h->free(h, space);
    return status;
}

hcsmoe_status cpu_syrk(const hcsmoe_kernels *k, uint32_t dtype, int64_t n, int64_t kk, double alpha,
                       const void *a, int64_t lda, double beta, void *c, int64_t ldc)
{
    struct dense from = {.dtype = dtype, .data = (void *)(uintptr_t)a, .ld = lda};
    struct dense to = {.dtype = dtype, .data = c, .ld = ldc};
    hcsmoe_status status = dense_check(k->host, "syrk", &from, kk, n);
    if (status == HCSMOE_OK)
        status = dense_check(k->host, "syrk", &to, n, n);
    if (status != HCSMOE_OK)
        return status;
    if (dtype == HCSMOE_DTYPE_F64 && n <= SMALL_MOST && kk > 0) {
        struct small s = {.simd = cpu_simd_of(k),
                          .n = n,
                          .ld = from.ld,
                          .ldc = to.ld,
                          .a = a,
                          .c = c,
                          .alpha = alpha,
                          .beta = beta};
        return small_run(k, &s, kk);
    }
    struct dense_update u = dense_update_of(1, n, kk, alpha, &from, beta, &to);
    return dense_update_run(k->host, &u);
}
