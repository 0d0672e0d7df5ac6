/*
 * loops_body.h - elementwise loops on numbers of type REAL; included by loops.c, once for each type and TARGET (the
 * attribute that names the instruction set).
 *
 * Sums run in double and in an order that depends on the length only. SPDX-License-Identifier: MIT
 */

TARGET static void NAME(gather)(void *to, const float *restrict in, const int64_t *index, int64_t n,
                                const double *factor, double scale)
{
    REAL *restrict out = to;
    int64_t j;

    for (j = 0; index == NULL && j < n; j++)
        out[j] = (REAL)(scale * (double)in[j]);
    for (j = 0; index != NULL && j < n; j++) {
        const double x = scale * (double)in[index[j]];
        out[j] = (REAL)(factor == NULL ? x : factor[j] * x);
    }
}

/* Eight running sums: lanes 0..3 and 4..7. */
TARGET static double NAME(total)(const double4 *low, const double4 *high)
{
    const double4 sum = *low + *high;

    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

TARGET static double NAME(dot)(const void *a, const void *b, int64_t n)
{
    const REAL *x = a, *y = b;
    double4 low = {0}, high = {0};
    int64_t j;

    for (j = 0; j + 8 <= n; j += 8) {
        VECTOR u[2], v[2];
        memcpy(u, x + j, sizeof u);
        memcpy(v, y + j, sizeof v);
        low += __builtin_convertvector(u[0], double4) * __builtin_convertvector(v[0], double4);
        high += __builtin_convertvector(u[1], double4) * __builtin_convertvector(v[1], double4);
    }
    for (; j < n; j++)
        low[j % 4] += (double)x[j] * (double)y[j];
    return NAME(total)(&low, &high);
}

TARGET static double NAME(subtract)(void *to, const void *from, int64_t count, const double *factor,
                                    int64_t n)
{
    REAL *restrict row = to;
    const REAL *restrict x = from;
    double4 low = {0}, high = {0};
    int64_t j, k;

    for (j = 0; j + 8 <= n; j += 8) {
        VECTOR u, v, y;
        double4 wide;
        memcpy(&u, row + j, sizeof u);
        memcpy(&v, row + j + 4, sizeof v);
        for (k = 0; k < count; k++) {
            memcpy(&y, x + k * n + j, sizeof y);
            u -= (REAL)factor[k] * y;
            memcpy(&y, x + k * n + j + 4, sizeof y);
            v -= (REAL)factor[k] * y;
        }
        memcpy(row + j, &u, sizeof u);
        memcpy(row + j + 4, &v, sizeof v);
        wide = __builtin_convertvector(u, double4);
        low += wide * wide;
        wide = __builtin_convertvector(v, double4);
        high += wide * wide;
    }
    for (; j < n; j++) {
        for (k = 0; k < count; k++)
            row[j] -= (REAL)factor[k] * x[k * n + j];
        low[j % 4] += (double)row[j] * (double)row[j];
    }
    return NAME(total)(&low, &high);
}

TARGET static void NAME(add_squares)(double *restrict sum, const void *a, int64_t n, double factor)
{
    const REAL *restrict x = a;
    int64_t j;

    for (j = 0; j < n; j++)
        sum[j] += factor * ((double)x[j] * (double)x[j]);
}

TARGET static void NAME(add_scaled)(void *to, const void *a, int64_t n, double factor)
{
    REAL *restrict sum = to;
    const REAL *restrict x = a;
    const REAL f = (REAL)factor;
    int64_t j;

    for (j = 0; j < n; j++)
        sum[j] += f * x[j];
}

/* Rows begin..end-1 of what is above the diagonal, from what is below it. */
TARGET static void NAME(mirror)(void *matrix, int64_t ld, int64_t n, int64_t begin, int64_t end)
{
    REAL *a = matrix;
    int64_t first, i, j;

    for (first = begin; first < n; first += TILE)
        for (i = begin; i < end; i++)
            for (j = first > i ? first : i + 1; j < first + TILE && j < n; j++)
                a[i * ld + j] = a[j * ld + i];
}

/* out[columns, rows] = in[rows, columns]^T, columns begin..end-1. */
TARGET static void NAME(transpose)(void *to, int64_t ldo, const void *from, int64_t ldi,
                                   int64_t rows, int64_t begin, int64_t end)
{
    REAL *restrict out = to;
    const REAL *restrict in = from;
    int64_t i, j;

    for (j = begin; j < end; j++)
        for (i = 0; i < rows; i++)
            out[j * ldo + i] = in[i * ldi + j];
}

/* Exchanges rows and columns i < k of a symmetric matrix of which the lower triangle is kept. */
TARGET static void NAME(exchange)(void *matrix, int64_t ld, int64_t n, int64_t i, int64_t k)
{
    REAL *a = matrix;
    int64_t j;
    REAL x;

#define EXCHANGE(p, q) (x = a[p], a[p] = a[q], a[q] = x)
    EXCHANGE(i * ld + i, k * ld + k);
    for (j = 0; j < i; j++)
        EXCHANGE(i * ld + j, k * ld + j);
    for (j = i + 1; j < k; j++)
        EXCHANGE(j * ld + i, k * ld + j);
    for (j = k + 1; j < n; j++)
        EXCHANGE(j * ld + i, j * ld + k);
#undef EXCHANGE
}

static const struct loops NAME(loops) = {
    .gather = NAME(gather),
    .dot = NAME(dot),
    .subtract = NAME(subtract),
    .add_squares = NAME(add_squares),
    .add_scaled = NAME(add_scaled),
    .mirror = NAME(mirror),
    .transpose = NAME(transpose),
    .exchange = NAME(exchange),
};
