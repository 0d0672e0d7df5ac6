/*
 * verify_values.c - kernels that copy, turn, round and factor, against plain loops.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "run/verify_kernels.h"

int embed_try(struct bench_device *d)
{
    const int32_t ids[ROWS] = {0, OUT - 1, 3, 3, 1, 0, 7};
    float table[OUT * IN], space[ROWS * IN];
    double want[ROWS * IN];
    float *there = device_draw(d, OUT * IN, table), *out = device_draw(d, ROWS * IN, space);

    if (!there || !out)
        return HCSMOE_ENOMEM;
    const hcsmoe_tensor t = device_matrix(d, there, HCSMOE_DTYPE_F32, OUT, IN);
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t i = 0; i < IN; i++)
            want[r * IN + i] = (double)table[ids[r] * IN + i];
    const int status = d->k->embed(d->k, ROWS, IN, &t, ids, out);
    return status ? status : device_compare(d, "embed", out, want, ROWS * IN);
}

int rope_try(struct bench_device *d)
{
    enum { DIM = 4, N = ROWS * HEADS * HEAD_DIM };
    const int64_t position[ROWS] = {0, 1, 2, 3, 100, 101, 4000};
    const double frequency[DIM / 2] = {1, 0.01};
    float x[N];
    double want[N];
    float *there = device_draw(d, N, x);

    if (!there)
        return HCSMOE_ENOMEM;
    for (int64_t t = 0; t < ROWS; t++)
        for (int64_t h = t * HEADS; h < (t + 1) * HEADS; h++)
            for (int64_t i = 0; i < HEAD_DIM; i++) {
                const int64_t pair = i < DIM / 2 ? i + DIM / 2 : i - DIM / 2;
                const double angle = (double)position[t] * frequency[i % (DIM / 2)];
                const double a = (double)x[h * HEAD_DIM + i];
                if (i >= DIM)
                    want[h * HEAD_DIM + i] = a;
                else
                    want[h * HEAD_DIM + i] = a * cos(angle) + (i < DIM / 2 ? -1 : 1) * sin(angle) *
                                                                  (double)x[h * HEAD_DIM + pair];
            }
    const int status = d->k->rope(d->k, ROWS, HEADS, HEAD_DIM, DIM, position, frequency, there);
    return status ? status : device_compare(d, "rope", there, want, N);
}

/* Ties between two neighbours go to the even one, in both directions. */
int convert_try(struct bench_device *d)
{
    static const uint32_t from[] = {0x3f800000, 0x3f808000, 0x3f818000, 0x3f808001, 0xbf818000,
                                    0x00000000, 0x80000000, 0x7f7f0000, 0x3f80ffff};
    static const uint16_t want[] = {0x3f80, 0x3f80, 0x3f82, 0x3f81, 0xbf82,
                                    0x0000, 0x8000, 0x7f7f, 0x3f81};
    enum { N = sizeof want / sizeof *want };
    uint16_t got[N] = {0};
    void *a = device_put(d, from, sizeof from), *b = device_put(d, got, sizeof got);

    if (!a || !b)
        return HCSMOE_ENOMEM;
    const hcsmoe_tensor f = device_matrix(d, a, HCSMOE_DTYPE_F32, 1, N),
                        t = device_matrix(d, b, HCSMOE_DTYPE_BF16, 1, N);
    int status = d->k->convert(d->k, &f, &t);
    if (!status)
        status = device_get(d, got, b, sizeof got);
    for (int i = 0; !status && i < N; i++)
        if (got[i] != want[i])
            status = verify_broken(d->v,
                                   "convert: float32 0x%08x becomes bfloat16 0x%04x: must be "
                                   "0x%04x, nearest even",
                                   from[i], got[i], want[i]);
    return status;
}

int nonfinite_try(struct bench_device *d)
{
    const float bad[] = {0, NAN, INFINITY, -INFINITY};
    float x[OUT * IN];
    int status = 0;

    for (int n = 0; !status && n < 4; n++) {
        int32_t found = -1;
        for (int64_t i = 0; i < OUT * IN; i++)
            x[i] = 1;
        x[OUT * IN - 1] = bad[n];
        void *there = device_put(d, x, sizeof x);
        if (!there)
            return HCSMOE_ENOMEM;
        const hcsmoe_tensor t = device_matrix(d, there, HCSMOE_DTYPE_F32, OUT, IN);
        status = d->k->has_nonfinite(d->k, &t, &found);
        if (!status && found != (n > 0))
            status = verify_broken(d->v, "has_nonfinite: %d of a tensor that ends with %g", found,
                                   (double)bad[n]);
    }
    return status;
}

/* b (a^T a + 2)^-1 (a^T a + 2) is b again. */
int cholesky_try(struct bench_device *d)
{
    static double a[IN * OUT], c[OUT * OUT], b[ROWS * OUT];
    int64_t failed = -1;

    for (int64_t i = 0; i < IN * OUT; i++)
        a[i] = 2 * pcg64_real(&d->random) - 1;
    for (int64_t i = 0; i < ROWS * OUT; i++)
        b[i] = 2 * pcg64_real(&d->random) - 1;
    for (int64_t i = 0; i < OUT; i++)
        for (int64_t j = 0; j < OUT; j++)
            c[i * OUT + j] = i == j ? 1 : 0;
    double *da = device_put(d, a, sizeof a), *dc = device_put(d, c, sizeof c),
           *db = device_put(d, b, sizeof b);
    if (!da || !dc || !db)
        return HCSMOE_ENOMEM;
    int status = d->k->syrk(d->k, HCSMOE_DTYPE_F64, OUT, IN, 1, da, OUT, 2, dc, OUT);
    if (!status)
        status = d->k->cholesky(d->k, HCSMOE_DTYPE_F64, OUT, dc, OUT, &failed);
    if (!status && failed)
        return verify_broken(d->v, "cholesky: failed is %lld of a positive matrix",
                             (long long)failed);
    if (!status)
        status = d->k->cholesky_solve(d->k, HCSMOE_DTYPE_F64, ROWS, OUT, dc, OUT, db, OUT);
    static double x[ROWS * OUT];
    if (!status)
        status = device_get(d, x, db, sizeof x);
    for (int64_t r = 0; !status && r < ROWS; r++)
        for (int64_t j = 0; !status && j < OUT; j++) {
            double sum = 2 * x[r * OUT + j];
            for (int64_t i = 0; i < OUT; i++)
                for (int64_t k = 0; k < IN; k++)
                    sum += x[r * OUT + i] * a[k * OUT + i] * a[k * OUT + j];
            if (!(fabs(sum - b[r * OUT + j]) <= 1e-8))
                status = verify_broken(d->v, "cholesky_solve: row %lld, column %lld is off by %g",
                                       (long long)r, (long long)j, sum - b[r * OUT + j]);
        }
    return status;
}
