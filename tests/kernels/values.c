/*
 * values.c - checks of sums, inner products and conversions of stored values. SPDX-License-Identifier: MIT
 */
#include "check.h"

#include <math.h>
#include <stdio.h>

#include "ref/ref.h"

struct values {
    int64_t n, e, m, kk, lda, ldb, ldc;
    const float *x, *y;
    const double *dx, *dy;
    int32_t centre, trans_a, trans_b;
    const hcsmoe_tensor *const *t;
    const double *coefficient;
    hcsmoe_tensor out;
    double beta;
};

static hcsmoe_status call_columns(const hcsmoe_kernels *k, void *args, void *const *out)
{
    const struct values *a = args;
    return k->gram_columns(k, a->n, a->e, a->x, out[0]);
}

static hcsmoe_status call_tensors(const hcsmoe_kernels *k, void *args, void *const *out)
{
    const struct values *a = args;
    return k->gram_tensors(k, a->e, a->t, a->centre, out[0]);
}

static double *doubles(struct check *c, int64_t n)
{
    double *x = check_block(c, (size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = check_normal(c);
    return x;
}

static const hcsmoe_tensor **pointers(struct check *c, int64_t n, const hcsmoe_tensor *t)
{
    const hcsmoe_tensor **p = check_block(c, (size_t)n * sizeof *p);
    for (int64_t i = 0; i < n; i++)
        p[i] = &t[i];
    return p;
}

static void check_grams(struct check *c, int values, int64_t n, int64_t rows, int64_t columns)
{
    struct values a = {.n = n, .e = 1 + check_below(c, 12), .centre = (int32_t)check_below(c, 2)};
    struct output o = {.type = OUTPUT_F64,
                       .rows = a.e,
                       .columns = a.e,
                       .relative = 1e-12,
                       .absolute = 1e-45,
                       .initial = doubles(c, a.e * a.e)};
    (void)snprintf(c->shape, sizeof c->shape, "n %lld, e %lld, tensors of %lld by %lld, values %d",
                   (long long)n, (long long)a.e, (long long)rows, (long long)columns, values);
    a.x = check_floats(c, n * a.e, values, 1.0);
    c->kernel = "gram_columns";
    check_outputs(c, call_columns, &a, &o, 1);
    a.t = pointers(c, a.e, check_tensors(c, a.e, rows, columns, 1.0));
    c->kernel = "gram_tensors";
    check_outputs(c, call_tensors, &a, &o, 1);
}

static hcsmoe_status call_sum(const hcsmoe_kernels *k, void *args, void *const *out)
{
    struct values *a = args;
    a->out.data = out[0];
    return k->weighted_sum(k, a->n, a->t, a->coefficient, &a->out);
}

static hcsmoe_status call_convert(const hcsmoe_kernels *k, void *args, void *const *out)
{
    struct values *a = args;
    a->out.data = out[0];
    return k->convert(k, a->t[0], &a->out);
}

/* Values in the middle between two of the narrow dtypes, beyond their range, and special ones. */
static void make_hard(struct check *c, hcsmoe_tensor *t)
{
    static const double hard[] = {0.0,     -0.0,    INFINITY, -INFINITY, 1.00390625, 1.01171875,
                                  65504.0, 65520.0, 65519.99, -3.4e38,   3.39e38,    1e300,
                                  6e-8,    2.98e-8, 3e-8,     1e-40,     1e-300,     -1.00048828125,
                                  1e-45,   9.2e-41, 0.1,      6.1e-5,    2.0000001,  1.00146484375};
    for (int64_t i = 0; i < hcsmoe_tensor_elements(t); i++)
        if (check_below(c, 3) == 0)
            ref_set(t, i, hard[check_below(c, (int64_t)(sizeof hard / sizeof hard[0]))]);
}

static void check_sums(struct check *c, int64_t rows, int64_t columns)
{
    static const int types[] = {OUTPUT_EXACT32, OUTPUT_EXACT16, OUTPUT_EXACT16, OUTPUT_F64};
    int64_t type = check_below(c, 4);
    struct values a = {.n = check_below(c, 5)};
    hcsmoe_tensor *t = check_tensors(c, a.n + 1, rows, columns, 1.0);
    struct output o = {.type = types[type], .rows = rows, .columns = columns};
    a.out = hcsmoe_matrix(NULL, (uint32_t)(HCSMOE_DTYPE_F32 + type), rows, columns);
    a.coefficient = doubles(c, a.n);
    a.t = pointers(c, a.n + 1, t);
    (void)snprintf(c->shape, sizeof c->shape, "%lld tensors %u of %lld by %lld to %u",
                   (long long)a.n, (unsigned)t->dtype, (long long)rows, (long long)columns,
                   (unsigned)a.out.dtype);
    c->kernel = "weighted_sum";
    check_outputs(c, call_sum, &a, &o, 1);

    hcsmoe_tensor wide = hcsmoe_matrix(doubles(c, rows * columns), HCSMOE_DTYPE_F64, rows, columns);
    if (check_below(c, 2) == 0)
        wide = t[0];
    make_hard(c, &wide);
    a.t = pointers(c, 1, &wide);
    c->kernel = "convert";
    check_outputs(c, call_convert, &a, &o, 1);
}

static hcsmoe_status call_sgemm(const hcsmoe_kernels *k, void *args, void *const *out)
{
    const struct values *a = args;
    return k->sgemm(k, a->trans_a, a->trans_b, a->m, a->n, a->kk, 0.75f, a->x, a->lda, a->y, a->ldb,
                    (float)a->beta, out[0], a->ldc);
}

static hcsmoe_status call_dgemm(const hcsmoe_kernels *k, void *args, void *const *out)
{
    const struct values *a = args;
    return k->dgemm(k, a->trans_a, a->trans_b, a->m, a->n, a->kk, 0.75, a->dx, a->lda, a->dy,
                    a->ldb, a->beta, out[0], a->ldc);
}

static void check_gemms(struct check *c, int values, int64_t m, int64_t n, int64_t kk)
{
    struct values a = {.m = m,
                       .n = n,
                       .kk = kk,
                       .trans_a = (int32_t)check_below(c, 2),
                       .trans_b = (int32_t)check_below(c, 2),
                       .beta = 0.5 * (double)check_below(c, 3)};
    a.lda = (a.trans_a != 0 ? m : kk) + check_below(c, 3);
    a.ldb = (a.trans_b != 0 ? kk : n) + check_below(c, 3);
    a.ldc = n + check_below(c, 3);
    int64_t na = (a.trans_a != 0 ? kk : m) * a.lda;
    int64_t nb = (a.trans_b != 0 ? n : kk) * a.ldb;
    a.x = check_floats(c, na, values, 1.0);
    a.y = check_floats(c, nb, VALUES_PLAIN, 1.0);
    a.dx = doubles(c, na);
    a.dy = doubles(c, nb);
    (void)snprintf(c->shape, sizeof c->shape, "m %lld, n %lld, k %lld, trans %d %d, values %d",
                   (long long)m, (long long)n, (long long)kk, (int)a.trans_a, (int)a.trans_b,
                   values);
    double k = sqrt((double)kk + 1.0);
    struct output s = {.rows = m,
                       .columns = a.ldc,
                       .relative = 2e-6 * k,
                       .absolute = 2e-6 * k * (1.0 + k * check_magnitude(values)),
                       .initial = check_floats(c, m * a.ldc, VALUES_PLAIN, 1.0)};
    c->kernel = "sgemm";
    check_outputs(c, call_sgemm, &a, &s, 1);
    struct output d = {.type = OUTPUT_F64,
                       .rows = m,
                       .columns = a.ldc,
                       .relative = 1e-14 * k,
                       .absolute = 1e-14 * k * (1.0 + k),
                       .initial = doubles(c, m * a.ldc)};
    c->kernel = "dgemm";
    check_outputs(c, call_dgemm, &a, &d, 1);
}

static hcsmoe_status call_nonfinite(const hcsmoe_kernels *k, void *args, void *const *out)
{
    const struct values *a = args;
    return k->has_nonfinite(k, a->t[0], out[0]);
}

static void check_nonfinite(struct check *c, int64_t rows, int64_t columns)
{
    hcsmoe_tensor *t = check_tensors(c, 1, rows, columns, 1.0);
    const hcsmoe_tensor *list[1] = {t};
    struct values a = {.t = list};
    struct output o = {.type = OUTPUT_EXACT32, .rows = 1, .columns = 1};
    int64_t elements = hcsmoe_tensor_elements(t);
    if (elements > 0 && check_below(c, 2) == 0)
        ref_set(t, check_below(c, elements), check_below(c, 2) == 0 ? NAN : -INFINITY);
    (void)snprintf(c->shape, sizeof c->shape, "%lld by %lld of dtype %u", (long long)rows,
                   (long long)columns, (unsigned)t->dtype);
    c->kernel = "has_nonfinite";
    check_outputs(c, call_nonfinite, &a, &o, 1);
}

void check_values(struct check *c)
{
    int values = (int)check_below(c, VALUES_KINDS);
    check_grams(c, values, check_size(c, 200), check_size(c, 20), check_size(c, 60));
    check_sums(c, check_size(c, 20), check_size(c, 100));
    check_gemms(c, values, check_size(c, 40), check_size(c, 40), check_size(c, 40));
    check_nonfinite(c, check_size(c, 30), check_size(c, 130));
    if (check_below(c, 12) != 0)
        return;
    check_grams(c, values, 9000 + check_below(c, 300), 3, 7000);
    check_sums(c, 3, 1500);
    check_gemms(c, values, 530, 5, 9);
    check_nonfinite(c, 3, 2100);
}
