/*
 * weight.c - stored weights: read as float or double, multiplied panel by panel, written.
 * SPDX-License-Identifier: MIT
 */
#include "cpu.h"

#include <cblas.h>
#include <string.h>

struct cpu_split cpu_panels(int64_t n, int64_t kk)
{
    int64_t rows = kk > 0 ? CPU_PANEL_ELEMENTS / kk : CPU_PANEL_ROWS;
    return cpu_split_of(n, rows < CPU_PANEL_ROWS ? rows : CPU_PANEL_ROWS);
}

/* Contiguous elements, as they are stored, to float. */
static void widen(const struct cpu_simd *s, uint32_t dtype, const void *data, int64_t offset,
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

void cpu_gemm_weight(const struct cpu_simd *s, int64_t m, const float *x, int64_t ldx,
                     const hcsmoe_tensor *w, int64_t first, int64_t rows, float *panel, int add,
                     float *y, int64_t ldy)
{
    int64_t kk = w->shape[1];
    int64_t stride = w->shape[0] > 1 ? w->stride[0] : kk;
    const float *b = panel;
    int64_t ldb = kk;

    if (m <= s->few_most || kk == 0) {
        const char *data = (const char *)w->data;
        data = kk > 0 ? data + (size_t)(first * stride) * hcsmoe_dtype_size(w->dtype) : data;
        s->few_rows(w->dtype, m, rows, kk, x, ldx, data, stride, add, y, ldy);
        return;
    }
    if (w->dtype == HCSMOE_DTYPE_F32) {
        b = (const float *)w->data + first * stride;
        ldb = stride;
    } else if (stride == kk) {
        widen(s, w->dtype, w->data, first * kk, rows * kk, panel);
    } else {
        for (int64_t r = 0; r < rows; r++)
            widen(s, w->dtype, w->data, (first + r) * stride, kk, panel + r * kk);
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)rows, (int)kk, 1.0f, x,
                (int)ldx, b, (int)ldb, add ? 1.0f : 0.0f, y, (int)ldy);
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
        widen(s, t->dtype, t->data, offset, run, to + i);
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
