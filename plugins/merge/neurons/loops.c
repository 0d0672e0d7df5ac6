/*
 * loops.c - elementwise work on numbers of the work's dtype, spread over rows.
 * SPDX-License-Identifier: MIT
 */
#include "neurons.h"

/* Numbers from which on several threads are worth waking. */
enum { SPREAD_LEAST = 1 << 18 };

enum { TILE = 64 }; /* of a matrix that is read along columns: it stays in the cache */

/* One type on one instruction set. */
struct loops {
    void (*gather)(void *out, const float *in, const int64_t *index, int64_t n,
                   const double *factor, double scale);
    double (*dot)(const void *x, const void *y, int64_t n);
    double (*subtract)(void *row, const void *x, int64_t count, const double *factor, int64_t n);
    void (*add_squares)(double *sum, const void *x, int64_t n, double factor);
    void (*add_scaled)(void *sum, const void *x, int64_t n, double factor);
    void (*mirror)(void *a, int64_t ld, int64_t n, int64_t begin, int64_t end);
    void (*transpose)(void *out, int64_t ldo, const void *in, int64_t ldi, int64_t rows,
                      int64_t begin, int64_t end);
    void (*exchange)(void *a, int64_t ld, int64_t n, int64_t i, int64_t k);
};

typedef float float4 __attribute__((vector_size(16)));
typedef double double4 __attribute__((vector_size(32)));

#define TARGET
#define REAL float
#define VECTOR float4
#define NAME(loop) loop##_float
#include "loops_body.h"
#undef REAL
#undef VECTOR
#undef NAME
#define REAL double
#define VECTOR double4
#define NAME(loop) loop##_double
#include "loops_body.h"
#undef TARGET
#undef REAL
#undef VECTOR
#undef NAME
#define TARGET __attribute__((target("avx2,fma")))
#define REAL float
#define VECTOR float4
#define NAME(loop) loop##_float_avx2
#include "loops_body.h"
#undef REAL
#undef VECTOR
#undef NAME
#define REAL double
#define VECTOR double4
#define NAME(loop) loop##_double_avx2
#include "loops_body.h"

const struct loops *loops_of(uint32_t dtype)
{
    const int is_double = dtype == HCSMOE_DTYPE_F64;

    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return is_double ? &loops_double_avx2 : &loops_float_avx2;
    return is_double ? &loops_double : &loops_float;
}

hcsmoe_status spread(const struct work *w, int64_t n, int64_t each,
                     hcsmoe_status (*fn)(void *arg, int64_t begin, int64_t end), void *arg)
{
    if (n <= 0)
        return HCSMOE_OK;
    return n * each < SPREAD_LEAST ? fn(arg, 0, n) : w->h->parallel_for(w->h, n, fn, arg);
}

static int is_double(const struct work *w)
{
    return w->dtype == HCSMOE_DTYPE_F64;
}

void *at(const struct work *w, const void *base, int64_t offset)
{
    return (char *)(uintptr_t)base + offset * (int64_t)w->size;
}

double get(const struct work *w, const void *base, int64_t offset)
{
    return is_double(w) ? ((const double *)base)[offset] : (double)((const float *)base)[offset];
}

void set(const struct work *w, void *base, int64_t offset, double value)
{
    if (is_double(w))
        ((double *)base)[offset] = value;
    else
        ((float *)base)[offset] = (float)value;
}

void gather(const struct work *w, void *out, const float *in, const int64_t *index, int64_t n,
            const double *factor, double scale)
{
    w->loops->gather(out, in, index, n, factor, scale);
}

double dot(const struct work *w, const void *x, const void *y, int64_t n)
{
    return w->loops->dot(x, y, n);
}

double subtract(const struct work *w, void *row, const void *x, int64_t count, const double *factor,
                int64_t n)
{
    return w->loops->subtract(row, x, count, factor, n);
}

void add_squares(const struct work *w, double *sum, const void *x, int64_t n, double factor)
{
    w->loops->add_squares(sum, x, n, factor);
}

void add_scaled(const struct work *w, void *sum, const void *x, int64_t n, double factor)
{
    w->loops->add_scaled(sum, x, n, factor);
}

void exchange(const struct work *w, void *a, int64_t ld, int64_t n, int64_t i, int64_t k)
{
    w->loops->exchange(a, ld, n, i, k);
}

void exchange_rows(const struct work *w, void *a, int64_t ld, int64_t i, int64_t k)
{
    unsigned char *x = at(w, a, i * ld), *y = at(w, a, k * ld);
    size_t left = (size_t)ld * w->size;

    while (left > 0) {
        unsigned char kept[256];
        const size_t n = left < sizeof kept ? left : sizeof kept;
        memcpy(kept, x, n);
        memcpy(x, y, n);
        memcpy(y, kept, n);
        x += n;
        y += n;
        left -= n;
    }
}

struct mirror_job {
    const struct work *w;
    void *a;
    int64_t ld, n;
};

static hcsmoe_status mirror_part(void *arg, int64_t begin, int64_t end)
{
    const struct mirror_job *j = arg;
    int64_t tile;

    for (tile = begin; tile < end; tile++) {
        const int64_t row = tile * TILE, last = row + TILE < j->n ? row + TILE : j->n;
        j->w->loops->mirror(j->a, j->ld, j->n, row, last);
    }
    return HCSMOE_OK;
}

hcsmoe_status mirror(const struct work *w, void *a, int64_t ld, int64_t n)
{
    struct mirror_job j = {.w = w, .a = a, .ld = ld, .n = n};

    return spread(w, (n + TILE - 1) / TILE, n * TILE / 2, mirror_part, &j);
}

struct transpose_job {
    const struct work *w;
    void *out;
    const void *in;
    int64_t ldo, ldi, rows;
};

static hcsmoe_status transpose_part(void *arg, int64_t begin, int64_t end)
{
    const struct transpose_job *j = arg;
    int64_t row;

    for (row = 0; row < j->rows; row += TILE) {
        const int64_t rows = j->rows - row < TILE ? j->rows - row : TILE;
        void *out = at(j->w, j->out, row);
        const void *in = at(j->w, j->in, row * j->ldi);
        j->w->loops->transpose(out, j->ldo, in, j->ldi, rows, begin, end);
    }
    return HCSMOE_OK;
}

hcsmoe_status transpose(const struct work *w, void *out, int64_t ldo, const void *in, int64_t ldi,
                        int64_t rows, int64_t columns)
{
    struct transpose_job j = {.w = w, .out = out, .in = in, .ldo = ldo, .ldi = ldi, .rows = rows};

    return spread(w, columns, rows, transpose_part, &j);
}

struct dot_job {
    const struct work *w;
    const void *x, *y;
    int64_t ld, n;
    double *sum;
};

static hcsmoe_status dot_part(void *arg, int64_t begin, int64_t end)
{
    const struct dot_job *j = arg;
    int64_t row;

    for (row = begin; row < end; row++)
        j->sum[row] = dot(j->w, at(j->w, j->x, row * j->ld), at(j->w, j->y, row * j->ld), j->n);
    return HCSMOE_OK;
}

hcsmoe_status rows_dot(const struct work *w, const void *x, const void *y, int64_t ld, int64_t rows,
                       int64_t n, double *sum)
{
    double row_sums[BLOCK];
    struct dot_job j = {.w = w, .x = x, .y = y, .ld = ld, .n = n, .sum = row_sums};
    const hcsmoe_status status = spread(w, rows, n, dot_part, &j);
    int64_t row;

    *sum = 0;
    for (row = 0; row < rows && status == HCSMOE_OK; row++)
        *sum += row_sums[row];
    return status;
}

hcsmoe_status gemm(const struct work *w, int trans_a, int trans_b, int64_t m, int64_t n, int64_t kk,
                   double alpha, const void *a, int64_t lda, const void *b, int64_t ldb,
                   double beta, void *c, int64_t ldc)
{
    if (is_double(w))
        return w->k->dgemm(w->k, trans_a, trans_b, m, n, kk, alpha, a, lda, b, ldb, beta, c, ldc);
    return w->k->sgemm(w->k, trans_a, trans_b, m, n, kk, (float)alpha, a, lda, b, ldb, (float)beta,
                       c, ldc);
}
