/*
 * weight.c - stored weights: read as float or double, and written.
 * SPDX-License-Identifier: MIT
 */
#include "cpu.h"

#include <string.h>

/* Contiguous elements, as they are stored, to float. */
void cpu_widen_run(const struct cpu_simd *s, uint32_t dtype, const void *data, int64_t offset,
                   int64_t n, float *to)
{
    switch (dtype) {
    case HCSMOE_DTYPE_BF16:
        s->widen_bf16(n, (const uint16_t *)data + offset, to);
        break;
    case HCSMOE_DTYPE_F16:
        s->widen_f16(n, (const uint16_t *)data + offset, to);
        break;
    default:
        memcpy(to, (const float *)data + offset, (size_t)n * sizeof *to);
        break;
    }
}

/* Where element i lies, and how many from there on follow each other in memory. */
static int64_t locate(const hcsmoe_tensor *t, int64_t i, int64_t *run)
{
    int64_t dense = 1; /* elements of the trailing dimensions without a gap */
    int64_t offset = 0;
    int gap = 0;
    int64_t rest = i;
    for (int d = 3; d >= 0; d--) {
        if (t->shape[d] > 1 && t->stride[d] != dense)
            gap = 1;
        if (gap == 0)
            dense *= t->shape[d];
        offset += rest % t->shape[d] * t->stride[d];
        rest /= t->shape[d];
    }
    *run = dense - i % dense;
    return offset;
}

void cpu_read(const struct cpu_simd *s, const hcsmoe_tensor *t, int64_t begin, int64_t n, float *to)
{
    for (int64_t i = 0; i < n;) {
        int64_t run;
        int64_t offset = locate(t, begin + i, &run);
        run = run < n - i ? run : n - i;
        cpu_widen_run(s, t->dtype, t->data, offset, run, to + i);
        i += run;
    }
}

void cpu_read_double(const struct cpu_simd *s, const hcsmoe_tensor *t, int64_t begin, int64_t n,
                     double *to)
{
    float wide[CPU_READ_MOST];
    if (t->dtype != HCSMOE_DTYPE_F64) {
        cpu_read(s, t, begin, n, wide);
        s->widen_double(n, wide, to);
        return;
    }
    for (int64_t i = 0; i < n;) {
        int64_t run;
        int64_t offset = locate(t, begin + i, &run);
        run = run < n - i ? run : n - i;
        memcpy(to + i, (const double *)t->data + offset, (size_t)run * sizeof *to);
        i += run;
    }
}

static void write_run(const struct cpu_simd *s, const hcsmoe_tensor *t, int64_t offset, int64_t n,
                      const double *from)
{
    switch (t->dtype) {
    case HCSMOE_DTYPE_F64:
        memcpy((double *)t->data + offset, from, (size_t)n * sizeof *from);
        break;
    case HCSMOE_DTYPE_F32:
        s->round_f32(n, from, (float *)t->data + offset);
        break;
    case HCSMOE_DTYPE_F16:
        s->round_f16(n, from, (uint16_t *)t->data + offset);
        break;
    default:
        s->round_bf16(n, from, (uint16_t *)t->data + offset);
        break;
    }
}

void cpu_write_double(const struct cpu_simd *s, const hcsmoe_tensor *t, int64_t begin, int64_t n,
                      const double *from)
{
    for (int64_t i = 0; i < n;) {
        int64_t run;
        int64_t offset = locate(t, begin + i, &run);
        run = run < n - i ? run : n - i;
        write_run(s, t, offset, run, from + i);
        i += run;
    }
}

void cpu_widen(const struct cpu_simd *s, const hcsmoe_tensor *from, const hcsmoe_tensor *to,
               int64_t begin, int64_t n)
{
    for (int64_t i = begin; i < begin + n;) {
        int64_t run;
        int64_t offset = locate(to, i, &run);
        run = run < begin + n - i ? run : begin + n - i;
        cpu_read(s, from, i, run, (float *)to->data + offset);
        i += run;
    }
}
