/*
 * gram.c - inner products in double: of the columns of a matrix, and of whole tensors.
 *
 * The summed dimension is cut into blocks. Each block adds to one of GRAM_PARTS partial matrices in turn; those
 * are added up in order. Only their lower triangles are computed. SPDX-License-Identifier: MIT
 */
#include "cpu.h"

#include <cblas.h>

enum {
    GRAM_PARTS = 32,
    GRAM_ROWS = 256,               /* of z, in one step */
    GRAM_ELEMENTS = CPU_READ_MOST, /* of every tensor, in one step */
    GRAM_LEAST = 256,
    GRAM_ROOM = 8 * 1024 /* doubles of a step's tile: it should stay in the caches */
};

struct gram {
    const struct cpu_simd *simd;
    const hcsmoe_host *h;
    int64_t e, n, step;
    const float *z;
    const hcsmoe_tensor *const *tensors;
    int centre;
    double *parts; /* [GRAM_PARTS, e, e] */
    struct cpu_work work;
};

/* Steps part, part + GRAM_PARTS, ...: a tile of z [rows, e] each. */
static hcsmoe_status columns_part(void *arg, int64_t begin, int64_t end)
{
    const struct gram *g = arg;
    double *tile = cpu_work_mine(&g->work);
    for (int64_t part = begin; part < end; part++) {
        double *sum = g->parts + part * g->e * g->e;
        for (int64_t i = part * g->step; i < g->n; i += GRAM_PARTS * g->step) {
            int64_t rows = g->n - i < g->step ? g->n - i : g->step;
            g->simd->widen_double(rows * g->e, g->z + i * g->e, tile);
            cblas_dsyrk(CblasRowMajor, CblasLower, CblasTrans, (int)g->e, (int)rows, 1.0, tile,
                        (int)g->e, 1.0, sum, (int)g->e);
        }
    }
    return HCSMOE_OK;
}

/* Subtracts from the rows of tile [e, n] their mean. mean: room for n. */
static void centre_tile(const struct gram *g, int64_t n, double *tile, double *mean)
{
    for (int64_t i = 0; i < n; i++)
        mean[i] = 0.0;
    for (int64_t j = 0; j < g->e; j++)
        g->simd->axpy_double(n, 1.0 / (double)g->e, tile + j * g->step, mean);
    for (int64_t j = 0; j < g->e; j++)
        g->simd->axpy_double(n, -1.0, mean, tile + j * g->step);
}

/* sum[e, e] += the inner products of the rows of tile [e, n], of its lower triangle. Rows beyond the last one of four
 * repeat it. */
static void add_products(const struct gram *g, int64_t n, const double *tile, double *sum)
{
    for (int64_t i = 0; i < g->e; i += 4) {
        for (int64_t j = 0; j <= i; j += 4) {
            const double *a[4];
            const double *b[4];
            double block[16] = {0.0};
            for (int64_t r = 0; r < 4; r++) {
                a[r] = tile + (i + r < g->e ? i + r : g->e - 1) * g->step;
                b[r] = tile + (j + r < g->e ? j + r : g->e - 1) * g->step;
            }
            g->simd->inner_products(n, a, b, block);
            for (int64_t r = 0; r < 4 && i + r < g->e; r++)
                for (int64_t c = 0; c < 4 && j + c <= i + r; c++)
                    sum[(i + r) * g->e + j + c] += block[4 * r + c];
        }
    }
}

static hcsmoe_status tensors_part(void *arg, int64_t begin, int64_t end)
{
    const struct gram *g = arg;
    double *tile = cpu_work_mine(&g->work);
    double *mean = tile + g->e * g->step;
    for (int64_t part = begin; part < end; part++) {
        double *sum = g->parts + part * g->e * g->e;
        for (int64_t i = part * g->step; i < g->n; i += GRAM_PARTS * g->step) {
            int64_t n = g->n - i < g->step ? g->n - i : g->step;
            hcsmoe_status status = cpu_check_cancelled(g->h);
            if (status != HCSMOE_OK)
                return status;
            for (int64_t j = 0; j < g->e; j++)
                cpu_read_double(g->simd, g->tensors[j], i, n, tile + j * g->step);
            if (g->centre != 0)
                centre_tile(g, n, tile, mean);
            add_products(g, n, tile, sum);
        }
    }
    return HCSMOE_OK;
}

static hcsmoe_status gram_run(struct gram *g, size_t tile_bytes, double *out,
                              hcsmoe_status (*part)(void *arg, int64_t begin, int64_t end))
{
    int64_t e = g->e;
    hcsmoe_status status;
    g->parts = cpu_new(g->h, GRAM_PARTS * e * e, sizeof *g->parts);
    if (g->parts == NULL)
        return HCSMOE_ENOMEM;
    for (int64_t i = 0; i < GRAM_PARTS * e * e; i++)
        g->parts[i] = 0.0;
    status = cpu_work_new(&g->work, g->h, tile_bytes);
    if (status == HCSMOE_OK)
        status = g->h->parallel_for(g->h, GRAM_PARTS, part, g);
    for (int64_t i = 0; i < e && status == HCSMOE_OK; i++) {
        for (int64_t j = 0; j <= i; j++) {
            double sum = 0.0;
            for (int64_t p = 0; p < GRAM_PARTS; p++)
                sum += g->parts[(p * e + i) * e + j];
            out[i * e + j] += sum;
            if (i != j)
                out[j * e + i] += sum;
        }
    }
    cpu_work_free(&g->work);
    g->h->free(g->h, g->parts);
    return status;
}

hcsmoe_status cpu_gram_columns(const hcsmoe_kernels *k, int64_t n, int64_t e, const float *z,
                               double *g)
{
    struct gram job = {
        .simd = cpu_simd_of(k), .h = k->host, .e = e, .n = n, .step = GRAM_ROWS, .z = z};
    hcsmoe_status status = cpu_check_sizes(k->host, "gram_columns", e, 0, 0);
    if (status != HCSMOE_OK || n <= 0 || e == 0)
        return status;
    return gram_run(&job, cpu_work_size(GRAM_ROWS * e, sizeof(double)), g, columns_part);
}

hcsmoe_status cpu_gram_tensors(const hcsmoe_kernels *k, int64_t e, const hcsmoe_tensor *const *t,
                               int32_t centre, double *g)
{
    struct gram job = {
        .simd = cpu_simd_of(k), .h = k->host, .e = e, .tensors = t, .centre = centre};
    hcsmoe_status status = cpu_check_sizes(k->host, "gram_tensors", e, 0, 0);
    if (status != HCSMOE_OK || e == 0)
        return status;
    job.n = hcsmoe_tensor_elements(t[0]);
    for (int64_t i = 0; i < e && status == HCSMOE_OK; i++)
        status = cpu_check_elements(k->host, "gram_tensors", t[i], job.n, 1);
    if (status != HCSMOE_OK)
        return status;
    job.step = GRAM_ROOM / e / 16 * 16;
    job.step = job.step < GRAM_ELEMENTS ? job.step : GRAM_ELEMENTS;
    job.step = job.step > GRAM_LEAST ? job.step : GRAM_LEAST;
    return gram_run(&job, cpu_work_size((e + 1) * job.step, sizeof(double)), g, tensors_part);
}
