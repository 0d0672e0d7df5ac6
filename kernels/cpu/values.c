/*
 * values.c - elementwise work on stored tensors, by way of double. SPDX-License-Identifier: MIT
 */
#include "cpu.h"

enum { VALUES_TILE = 1024 };

struct values {
    const struct cpu_simd *simd;
    int64_t n, elements;
    const hcsmoe_tensor *const *t;
    const double *coefficient;
    const hcsmoe_tensor *out;
};

static void sum_tile(const struct values *v, int64_t begin, int64_t n)
{
    double sum[VALUES_TILE] = {0};
    double x[VALUES_TILE];
    for (int64_t i = 0; i < v->n; i++) {
        if (i > 0) {
            cpu_read_double(v->simd, v->t[i], begin, n, x);
            v->simd->axpy_double(n, v->coefficient[i], x, sum);
            continue;
        }
        /* The first is not added to zero, which would lose the sign of -0. */
        cpu_read_double(v->simd, v->t[0], begin, n, sum);
        for (int64_t j = 0; j < n && v->coefficient != NULL; j++)
            sum[j] *= v->coefficient[0];
    }
    cpu_write_double(v->simd, v->out, begin, n, sum);
}

static hcsmoe_status sum_tiles(void *arg, int64_t begin, int64_t end)
{
    const struct values *v = arg;
    /* What is not wider is not rounded: no need to go by way of double. */
    int widen = v->coefficient == NULL && v->out->dtype == HCSMOE_DTYPE_F32 &&
                v->t[0]->dtype != HCSMOE_DTYPE_F64;
    for (int64_t i = begin; i < end; i++) {
        int64_t first = i * VALUES_TILE;
        int64_t rest = v->elements - first;
        int64_t n = rest < VALUES_TILE ? rest : VALUES_TILE;
        if (widen)
            cpu_widen(v->simd, v->t[0], v->out, first, n);
        else
            sum_tile(v, first, n);
    }
    return HCSMOE_OK;
}

/* coefficient NULL: 1, of one tensor. */
static hcsmoe_status values_run(const hcsmoe_kernels *k, const char *what, struct values *v)
{
    const hcsmoe_host *h = k->host;
    hcsmoe_status status = HCSMOE_OK;
    v->simd = cpu_simd_of(k);
    v->elements = hcsmoe_tensor_elements(v->out);
    status = cpu_check_elements(h, what, v->out, v->elements, 1);
    for (int64_t i = 0; i < v->n && status == HCSMOE_OK; i++)
        status = cpu_check_elements(h, what, v->t[i], v->elements, 1);
    if (status != HCSMOE_OK)
        return status;
    return h->parallel_for(h, (v->elements + VALUES_TILE - 1) / VALUES_TILE, sum_tiles, v);
}

hcsmoe_status cpu_weighted_sum(const hcsmoe_kernels *k, int64_t n, const hcsmoe_tensor *const *t,
                               const double *coefficient, const hcsmoe_tensor *out)
{
    struct values v = {.n = n, .t = t, .coefficient = coefficient, .out = out};
    return values_run(k, "weighted_sum", &v);
}

hcsmoe_status cpu_convert(const hcsmoe_kernels *k, const hcsmoe_tensor *from,
                          const hcsmoe_tensor *to)
{
    struct values v = {.n = 1, .t = &from, .coefficient = NULL, .out = to};
    return values_run(k, "convert", &v);
}

/* On the calling thread alone: loaders ask from threads of their own. */
hcsmoe_status cpu_has_nonfinite(const hcsmoe_kernels *k, const hcsmoe_tensor *t, int32_t *found)
{
    const struct cpu_simd *s = cpu_simd_of(k);
    int64_t elements = hcsmoe_tensor_elements(t);
    int64_t run = t->ndim > 0 ? t->shape[t->ndim - 1] : 1;
    hcsmoe_status status = cpu_check_elements(k->host, "has_nonfinite", t, elements, 0);
    *found = 0;
    if (status != HCSMOE_OK)
        return status;
    for (int64_t i = 0; i < elements && *found == 0; i += run) {
        int64_t offset = 0;
        int64_t rest = i;
        for (int d = 3; d >= 0; d--) {
            offset += rest % t->shape[d] * t->stride[d];
            rest /= t->shape[d];
        }
        if (t->dtype == HCSMOE_DTYPE_F32)
            *found = s->any_masked32(run, (const uint32_t *)t->data + offset, 0x7f800000);
        else
            *found = s->any_masked16(run, (const uint16_t *)t->data + offset,
                                     t->dtype == HCSMOE_DTYPE_BF16 ? 0x7f80 : 0x7c00);
    }
    return HCSMOE_OK;
}
