/*
 * dense.c - checks of the kernels for symmetric matrices: products, Cholesky factors, solutions, inverses.
 *
 * Whatever a kernel may not touch holds a NaN of a known pattern, which would show in results that read it.
 * SPDX-License-Identifier: MIT
 */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ref/ref.h"

static const uint64_t sentinel64 = 0x7ff8dead0000beefu;
static const uint32_t sentinel32 = 0x7fc0deadu;

struct symmetric {
    struct check *c;
    uint32_t dtype;
    int64_t m, n, kk;
    int64_t ld, ld_other; /* of what is written; of the other argument */
    double alpha, beta;
    const void *other;
};

static size_t size_of(uint32_t dtype)
{
    return dtype == HCSMOE_DTYPE_F64 ? 8 : 4;
}

static void *entry(uint32_t dtype, void *x, int64_t at)
{
    return (char *)x + (size_t)at * size_of(dtype);
}

/* rows of ld sentinels. */
static void *sentinels(struct check *c, uint32_t dtype, int64_t rows, int64_t ld)
{
    char *x = check_block(c, (size_t)(rows * ld) * size_of(dtype));
    for (int64_t i = 0; i < rows * ld; i++) {
        if (dtype == HCSMOE_DTYPE_F64)
            memcpy(x + i * 8, &sentinel64, 8);
        else
            memcpy(x + i * 4, &sentinel32, 4);
    }
    return x;
}

/* Above the diagonal of a square, or behind its columns, nothing may have been written. */
static void check_untouched(const struct symmetric *s, int64_t rows, int64_t columns, int triangle,
                            void *x)
{
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = triangle ? i + 1 : columns; j < s->ld; j++) {
            const void *p = entry(s->dtype, x, i * s->ld + j);
            if (s->dtype == HCSMOE_DTYPE_F64 ? memcmp(p, &sentinel64, 8) != 0
                                             : memcmp(p, &sentinel32, 4) != 0) {
                check_fail(s->c, "[%lld, %lld] was written", (long long)i, (long long)j);
                return;
            }
        }
    }
}

static void *random_matrix(struct check *c, uint32_t dtype, int64_t rows, int64_t columns,
                           int64_t ld, int values)
{
    void *x = sentinels(c, dtype, rows, ld);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            ref_set_entry(dtype, x, i * ld + j, check_normal(c) * check_magnitude(values));
    if (values == VALUES_NAN && rows * columns > 0)
        ref_set_entry(dtype, x, check_below(c, rows) * ld + check_below(c, columns), NAN);
    return x;
}

/* The lower triangle of a matrix with eigenvalues of about 1 to 5, scaled. */
static void *random_definite(struct check *c, uint32_t dtype, int64_t n, int64_t ld, double scale)
{
    void *x = sentinels(c, dtype, n, ld);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j <= i; j++) {
            double uniform = 2.0 * (double)(check_random(c) >> 11) * 0x1p-53 - 1.0;
            double value = i == j ? 3.0 : uniform * sqrt(3.0 / (double)n);
            ref_set_entry(dtype, x, i * ld + j, value * scale);
        }
    }
    return x;
}

static double bound(uint32_t dtype, int64_t kk)
{
    double unit = dtype == HCSMOE_DTYPE_F64 ? 4e-15 : 2e-6;
    return unit * sqrt((double)(kk > 0 ? kk : 1));
}

/* The output [rows, ld] that starts as initial. Usual: what an entry's magnitude may be before it cancels. */
static struct output output_of(const struct symmetric *s, int64_t rows, double error, double usual,
                               const void *initial)
{
    return (struct output){.type = s->dtype == HCSMOE_DTYPE_F64 ? OUTPUT_F64 : OUTPUT_F32,
                           .rows = rows,
                           .columns = s->ld,
                           .relative = error,
                           .absolute = error * usual,
                           .initial = initial};
}

static hcsmoe_status call_syrk(const hcsmoe_kernels *k, void *args, void *const *out)
{
    const struct symmetric *s = args;
    hcsmoe_status status =
        k->syrk(k, s->dtype, s->n, s->kk, s->alpha, s->other, s->ld_other, s->beta, out[0], s->ld);
    check_untouched(s, s->n, s->n, 1, out[0]);
    return status;
}

static void check_syrk(struct check *c, int values, uint32_t dtype, int64_t n, int64_t kk)
{
    struct symmetric s = {.c = c, .dtype = dtype, .n = n, .kk = kk, .alpha = 0.75};
    s.beta = 0.5 * (double)check_below(c, 3);
    s.ld = n + check_below(c, 3);
    s.ld_other = n + check_below(c, 3);
    s.other = random_matrix(c, dtype, kk, n, s.ld_other, values);
    void *initial = sentinels(c, dtype, n, s.ld);
    for (int64_t i = 0; i < n && s.beta != 0.0; i++) /* with beta = 0 it is not read either */
        for (int64_t j = 0; j <= i; j++)
            ref_set_entry(dtype, initial, i * s.ld + j, check_normal(c));
    double magnitude = check_magnitude(values) * check_magnitude(values);
    struct output o = output_of(&s, n, bound(dtype, kk), 1.0 + magnitude, initial);
    c->kernel = "syrk";
    (void)snprintf(c->shape, sizeof c->shape, "dtype %u, n %lld, k %lld, beta %g, values %d",
                   (unsigned)dtype, (long long)n, (long long)kk, s.beta, values);
    check_outputs(c, call_syrk, &s, &o, 1);
}

/* out[1]: failed. A spoiled triangle is wiped, because it may hold anything. */
static hcsmoe_status call_cholesky(const hcsmoe_kernels *k, void *args, void *const *out)
{
    const struct symmetric *s = args;
    int64_t failed = -1;
    hcsmoe_status status = k->cholesky(k, s->dtype, s->n, out[0], s->ld, &failed);
    double row = (double)failed;
    memcpy(out[1], &row, sizeof row);
    check_untouched(s, s->n, s->n, 1, out[0]);
    for (int64_t i = 0; i < s->n && failed != 0; i++)
        for (int64_t j = 0; j <= i; j++)
            ref_set_entry(s->dtype, out[0], i * s->ld + j, 0.0);
    return status;
}

/* A pivot that is negative, zero, NaN or infinite; or a NaN in the row of one. */
static void spoil(struct check *c, uint32_t dtype, int64_t n, int64_t ld, void *a)
{
    static const double bad[] = {-1.0, 0.0, NAN, INFINITY, NAN};
    int64_t which = check_below(c, 5);
    int64_t row = check_below(c, n);
    int64_t column = which == 4 ? check_below(c, row + 1) : row;
    ref_set_entry(dtype, a, row * ld + column, bad[which]);
}

static void check_cholesky(struct check *c, int values, uint32_t dtype, int64_t n)
{
    struct symmetric s = {.c = c, .dtype = dtype, .n = n, .ld = n + check_below(c, 3)};
    double scale = check_magnitude(values);
    void *initial = random_definite(c, dtype, n, s.ld, scale);
    if (values == VALUES_NAN && n > 0)
        spoil(c, dtype, n, s.ld, initial);
    struct output o[2] = {output_of(&s, n, bound(dtype, n), 2.0 * sqrt(scale), initial),
                          {.type = OUTPUT_F64, .rows = 1, .columns = 1}};
    c->kernel = "cholesky";
    (void)snprintf(c->shape, sizeof c->shape, "dtype %u, n %lld, values %d", (unsigned)dtype,
                   (long long)n, values);
    check_outputs(c, call_cholesky, &s, o, 2);
}

static void *random_factor(struct check *c, uint32_t dtype, int64_t n, int64_t ld, double scale)
{
    int64_t failed;
    void *l = random_definite(c, dtype, n, ld, scale);
    if (c->ref->cholesky(c->ref, dtype, n, l, ld, &failed) != HCSMOE_OK || failed != 0)
        check_fail(c, "no factor to start from");
    return l;
}

static hcsmoe_status call_solve(const hcsmoe_kernels *k, void *args, void *const *out)
{
    const struct symmetric *s = args;
    hcsmoe_status status =
        k->cholesky_solve(k, s->dtype, s->m, s->n, s->other, s->ld_other, out[0], s->ld);
    check_untouched(s, s->m, s->n, 0, out[0]);
    return status;
}

static void check_solve(struct check *c, int values, uint32_t dtype, int64_t m, int64_t n)
{
    struct symmetric s = {.c = c, .dtype = dtype, .m = m, .n = n};
    s.ld = n + check_below(c, 3);
    s.ld_other = n + check_below(c, 3);
    s.other = random_factor(c, dtype, n, s.ld_other, check_magnitude(values));
    void *initial = random_matrix(c, dtype, m, n, s.ld, values);
    struct output o = output_of(&s, m, 4.0 * bound(dtype, n), 1.0, initial);
    c->kernel = "cholesky_solve";
    (void)snprintf(c->shape, sizeof c->shape, "dtype %u, m %lld, n %lld, values %d",
                   (unsigned)dtype, (long long)m, (long long)n, values);
    check_outputs(c, call_solve, &s, &o, 1);
}

static hcsmoe_status call_inverse(const hcsmoe_kernels *k, void *args, void *const *out)
{
    const struct symmetric *s = args;
    hcsmoe_status status = k->cholesky_inverse(k, s->dtype, s->n, out[0], s->ld);
    check_untouched(s, s->n, s->n, 1, out[0]);
    return status;
}

static void check_inverse(struct check *c, int values, uint32_t dtype, int64_t n)
{
    struct symmetric s = {.c = c, .dtype = dtype, .n = n, .ld = n + check_below(c, 3)};
    double scale = check_magnitude(values);
    void *initial = random_factor(c, dtype, n, s.ld, scale);
    struct output o = output_of(&s, n, 4.0 * bound(dtype, n), 1.0 / scale, initial);
    c->kernel = "cholesky_inverse";
    (void)snprintf(c->shape, sizeof c->shape, "dtype %u, n %lld, values %d", (unsigned)dtype,
                   (long long)n, values);
    check_outputs(c, call_inverse, &s, &o, 1);
}

void check_dense(struct check *c)
{
    int values = (int)check_below(c, VALUES_KINDS);
    uint32_t dtype = check_below(c, 2) == 0 ? HCSMOE_DTYPE_F32 : HCSMOE_DTYPE_F64;
    check_syrk(c, values, dtype, check_size(c, 60), check_size(c, 60));
    check_cholesky(c, values, dtype, check_size(c, 60));
    check_solve(c, values, dtype, check_size(c, 80), check_size(c, 60));
    check_inverse(c, values, dtype, check_size(c, 60));
    if (check_below(c, 6) != 0)
        return;
    /* Now and then beyond one tile and a few stripes. */
    check_syrk(c, values, dtype, 250 + check_below(c, 200), 1 + check_below(c, 30));
    check_cholesky(c, values, dtype, 120 + check_below(c, 200));
    check_solve(c, values, dtype, 40 + check_below(c, 60), 100 + check_below(c, 100));
    check_inverse(c, values, dtype, 120 + check_below(c, 200));
}
