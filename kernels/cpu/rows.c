/*
 * rows.c - kernels that treat every row by itself: embed, rmsnorm, sigmoid_dot, gather, scatter_add,
 * column_sum. SPDX-License-Identifier: MIT
 */
#include "cpu.h"

#include <math.h>
#include <string.h>

struct rows {
    const struct cpu_simd *simd;
    int64_t n, width;
    const hcsmoe_tensor *table;
    const int32_t *ids;
    const int64_t *rows;
    const float *scale, *x, *w;
    double eps;
    float *y;
    double *sum;
};

static hcsmoe_status embed_rows(void *arg, int64_t begin, int64_t end)
{
    const struct rows *r = arg;
    for (int64_t i = begin; i < end; i++)
        cpu_read(r->simd, r->table, r->ids[i] * r->width, r->width, r->y + i * r->width);
    return HCSMOE_OK;
}

hcsmoe_status cpu_embed(const hcsmoe_kernels *k, int64_t n, int64_t width,
                        const hcsmoe_tensor *table, const int32_t *ids, float *out)
{
    const hcsmoe_host *h = k->host;
    struct rows r = {.simd = cpu_simd_of(k), .width = width, .table = table, .ids = ids, .y = out};
    hcsmoe_status status = cpu_check_matrix(h, "embedding", table, table->shape[0], width);
    if (status != HCSMOE_OK)
        return status;
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= table->shape[0])
            return hcsmoe_failf(h, HCSMOE_EINVAL, "token %lld: id %d: must be 0..%lld",
                                (long long)i, (int)ids[i], (long long)table->shape[0] - 1);
    return h->parallel_for(h, n, embed_rows, &r);
}

/* A vector of weights as floats, from the host's memory. */
static hcsmoe_status widen_vector(const hcsmoe_kernels *k, const char *what, const hcsmoe_tensor *t,
                                  int64_t width, float **out)
{
    const hcsmoe_host *h = k->host;
    hcsmoe_status status = cpu_check_elements(h, what, t, width, 0);
    *out = NULL;
    if (status != HCSMOE_OK)
        return status;
    *out = cpu_new(h, width, sizeof **out);
    if (*out == NULL)
        return HCSMOE_ENOMEM;
    cpu_read(cpu_simd_of(k), t, 0, width, *out);
    return HCSMOE_OK;
}

static hcsmoe_status rmsnorm_rows(void *arg, int64_t begin, int64_t end)
{
    const struct rows *r = arg;
    for (int64_t i = begin; i < end; i++) {
        const float *x = r->x + i * r->width;
        double squares = r->simd->sum_squares(r->width, x);
        double factor = 1.0 / sqrt(squares / (double)r->width + r->eps);
        r->simd->scale_by(r->width, x, factor, r->w, r->y + i * r->width);
    }
    return HCSMOE_OK;
}

hcsmoe_status cpu_rmsnorm(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                          const hcsmoe_tensor *weight, double eps, float *y)
{
    const hcsmoe_host *h = k->host;
    float *w;
    hcsmoe_status status = widen_vector(k, "norm", weight, width, &w);
    struct rows r = {.simd = cpu_simd_of(k), .width = width, .x = x, .w = w, .eps = eps, .y = y};
    if (status != HCSMOE_OK)
        return status;
    status = h->parallel_for(h, n, rmsnorm_rows, &r);
    h->free(h, w);
    return status;
}

static hcsmoe_status sigmoid_rows(void *arg, int64_t begin, int64_t end)
{
    const struct rows *r = arg;
    for (int64_t i = begin; i < end; i++) {
        double dot = r->simd->dot_double(r->width, r->x + i * r->width, r->w);
        r->y[i] = (float)(1.0 / (1.0 + exp(-dot)));
    }
    return HCSMOE_OK;
}

hcsmoe_status cpu_sigmoid_dot(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                              const hcsmoe_tensor *w, float *s)
{
    const hcsmoe_host *h = k->host;
    float *wide;
    hcsmoe_status status = widen_vector(k, "gate of the shared expert", w, width, &wide);
    struct rows r = {.simd = cpu_simd_of(k), .width = width, .x = x, .w = wide, .y = s};
    if (status != HCSMOE_OK)
        return status;
    status = h->parallel_for(h, n, sigmoid_rows, &r);
    h->free(h, wide);
    return status;
}

static hcsmoe_status gather_rows(void *arg, int64_t begin, int64_t end)
{
    const struct rows *r = arg;
    for (int64_t i = begin; i < end; i++)
        memcpy(r->y + i * r->width, r->x + r->rows[i] * r->width, (size_t)r->width * sizeof *r->x);
    return HCSMOE_OK;
}

hcsmoe_status cpu_gather(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                         const int64_t *rows, float *out)
{
    struct rows r = {.width = width, .x = x, .rows = rows, .y = out};
    return width > 0 ? k->host->parallel_for(k->host, n, gather_rows, &r) : HCSMOE_OK;
}

static hcsmoe_status scatter_rows(void *arg, int64_t begin, int64_t end)
{
    const struct rows *r = arg;
    for (int64_t i = begin; i < end; i++)
        r->simd->axpy(r->width, r->scale != NULL ? r->scale[i] : 1.0f, r->x + i * r->width,
                      r->y + r->rows[i] * r->width);
    return HCSMOE_OK;
}

hcsmoe_status cpu_scatter_add(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *y,
                              const int64_t *rows, const float *scale, float *x)
{
    struct rows r = {
        .simd = cpu_simd_of(k), .width = width, .x = y, .rows = rows, .scale = scale, .y = x};
    return k->host->parallel_for(k->host, n, scatter_rows, &r);
}

enum { SUM_COLUMNS = 128 };

/* Strips of columns, so that the rows of each are added in order. */
static hcsmoe_status sum_strips(void *arg, int64_t begin, int64_t end)
{
    const struct rows *r = arg;
    int64_t from = begin * SUM_COLUMNS;
    int64_t to = end * SUM_COLUMNS < r->width ? end * SUM_COLUMNS : r->width;
    r->simd->column_sum(r->n, to - from, r->x + from, r->width, r->sum + from);
    return HCSMOE_OK;
}

hcsmoe_status cpu_column_sum(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                             double *sum)
{
    struct rows r = {.simd = cpu_simd_of(k), .n = n, .width = width, .x = x, .sum = sum};
    int64_t strips = (width + SUM_COLUMNS - 1) / SUM_COLUMNS;
    return n > 0 ? k->host->parallel_for(k->host, strips, sum_strips, &r) : HCSMOE_OK;
}
