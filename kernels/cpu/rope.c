/*
 * rope.c - rotary position embedding, from a table of sines per position. SPDX-License-Identifier: MIT
 */
#include "cpu.h"

#include <math.h>

struct rope {
    const struct cpu_simd *simd;
    int64_t heads, head_dim, half;
    const int64_t *position;
    const double *frequency;
    int64_t first;  /* position of the table's first row; row: cosines[half], sines[half] */
    int64_t by_row; /* 1: one row of the table per row of x */
    float *table;
    float *x;
};

static hcsmoe_status fill_table(void *arg, int64_t begin, int64_t end)
{
    const struct rope *r = arg;
    for (int64_t t = begin; t < end; t++) {
        double position = (double)(r->by_row != 0 ? r->position[t] : r->first + t);
        float *row = r->table + t * 2 * r->half;
        for (int64_t i = 0; i < r->half; i++) {
            double angle = position * r->frequency[i];
            row[i] = (float)cos(angle);
            row[r->half + i] = (float)sin(angle);
        }
    }
    return HCSMOE_OK;
}

static hcsmoe_status rotate_rows(void *arg, int64_t begin, int64_t end)
{
    const struct rope *r = arg;
    for (int64_t t = begin; t < end; t++) {
        int64_t row = r->by_row != 0 ? t : r->position[t] - r->first;
        const float *c = r->table + row * 2 * r->half;
        for (int64_t h = 0; h < r->heads; h++) {
            float *head = r->x + (t * r->heads + h) * r->head_dim;
            r->simd->rotate(r->half, c, c + r->half, head, head + r->half);
        }
    }
    return HCSMOE_OK;
}

hcsmoe_status cpu_rope(const hcsmoe_kernels *k, int64_t n, int64_t heads, int64_t head_dim,
                       int64_t dim, const int64_t *position, const double *inverse_frequency,
                       float *x)
{
    const hcsmoe_host *h = k->host;
    struct rope r = {.simd = cpu_simd_of(k),
                     .heads = heads,
                     .head_dim = head_dim,
                     .half = dim / 2,
                     .position = position,
                     .frequency = inverse_frequency,
                     .x = x};
    int64_t last = n > 0 ? position[0] : 0;
    hcsmoe_status status;

    if (n <= 0 || r.half <= 0)
        return HCSMOE_OK;
    r.first = last;
    for (int64_t t = 1; t < n; t++) {
        r.first = position[t] < r.first ? position[t] : r.first;
        last = position[t] > last ? position[t] : last;
    }
    /* Sequences side by side share positions; a few far ones do not make a table worth it. */
    r.by_row = (uint64_t)last - (uint64_t)r.first >= (uint64_t)n;
    int64_t rows = r.by_row != 0 ? n : last - r.first + 1;
    r.table = cpu_new(h, rows, (size_t)(2 * r.half) * sizeof *r.table);
    if (r.table == NULL)
        return HCSMOE_ENOMEM;
    status = h->parallel_for(h, rows, fill_table, &r);
    if (status == HCSMOE_OK)
        status = h->parallel_for(h, n, rotate_rows, &r);
    h->free(h, r.table);
    return status;
}
