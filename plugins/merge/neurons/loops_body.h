/*
 * loops_body.h - elementwise loops on numbers of type REAL; included once for each type by loops.c.
 *
 * Sums run in double and in an order that depends on the length only. SPDX-License-Identifier: MIT
 */

static void NAME(gather)(REAL *restrict out, const float *restrict in, const int64_t *index,
                         int64_t n, const double *factor, double scale)
{
    int64_t j = 0;
    int i;

    if (index == NULL) {
        for (; j + 8 <= n; j += 8)
            for (i = 0; i < 8; i++)
                out[j + i] = (REAL)(scale * (double)in[j + i]);
        for (; j < n; j++)
            out[j] = (REAL)(scale * (double)in[j]);
        return;
    }
    for (; j < n; j++) {
        const double x = scale * (double)in[index[j]];
        out[j] = (REAL)(factor == NULL ? x : factor[j] * x);
    }
}

static double NAME(dot)(const REAL *x, const REAL *y, int64_t n)
{
    double sum[8] = {0};
    int64_t j;
    int i;

    for (j = 0; j + 8 <= n; j += 8)
        for (i = 0; i < 8; i++)
            sum[i] += (double)x[j + i] * (double)y[j + i];
    for (i = 0; j < n; j++, i++)
        sum[i] += (double)x[j] * (double)y[j];
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

static void NAME(add_squares)(double *sum, const REAL *x, int64_t n, double factor)
{
    int64_t j;

    for (j = 0; j < n; j++)
        sum[j] += factor * ((double)x[j] * (double)x[j]);
}

static void NAME(add)(REAL *sum, const REAL *x, int64_t n)
{
    int64_t j;

    for (j = 0; j < n; j++)
        sum[j] += x[j];
}

/* Rows begin..end-1 of what is above the diagonal, from what is below it. */
static void NAME(mirror)(REAL *a, int64_t ld, int64_t n, int64_t begin, int64_t end)
{
    int64_t first, i, j;

    for (first = begin; first < n; first += TILE)
        for (i = begin; i < end; i++)
            for (j = first > i ? first : i + 1; j < first + TILE && j < n; j++)
                a[i * ld + j] = a[j * ld + i];
}

/* out[columns, rows] = in[rows, columns]^T, columns begin..end-1. */
static void NAME(transpose)(REAL *out, int64_t ldo, const REAL *in, int64_t ldi, int64_t rows,
                            int64_t begin, int64_t end)
{
    int64_t i, j;

    for (j = begin; j < end; j++)
        for (i = 0; i < rows; i++)
            out[j * ldo + i] = in[i * ldi + j];
}

/* Exchanges rows and columns i < k of a symmetric matrix of which the lower triangle is kept. */
static void NAME(exchange)(REAL *a, int64_t ld, int64_t n, int64_t i, int64_t k)
{
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
