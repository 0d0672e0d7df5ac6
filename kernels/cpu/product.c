/*
 * product.c - how activations and stored weights enter matrix products: as they are, or rounded to bfloat16.
 * SPDX-License-Identifier: MIT
 */
#include "cpu.h"

#include <cblas.h>

enum { OPERAND_PIECE = 16384 };

struct cpu_split cpu_panels(const struct cpu_product *p, int64_t n, int64_t kk)
{
    int64_t rows = kk > 0 ? p->panel_elements / kk : p->panel_rows;
    return cpu_split_of(n, rows < p->panel_rows ? rows : p->panel_rows);
}

/* Where row `first` of a matrix lies; *stride: elements from one row to the next. */
static const void *row_at(const hcsmoe_tensor *w, int64_t first, int64_t *stride)
{
    *stride = w->shape[0] > 1 ? w->stride[0] : w->shape[1];
    if (w->shape[1] == 0)
        return w->data;
    return (const char *)w->data + (size_t)(first * *stride) * hcsmoe_dtype_size(w->dtype);
}

static hcsmoe_status multiply_f32(const struct cpu *c, int64_t m, const void *operands, int64_t ldx,
                                  const hcsmoe_tensor *w, int64_t first, int64_t rows, void *panel,
                                  int add, float *y, int64_t ldy)
{
    const struct cpu_simd *s = c->simd;
    const float *x = operands;
    int64_t kk = w->shape[1];
    int64_t ldb;
    const void *stored = row_at(w, first, &ldb);
    const float *b = panel;

    if (m <= s->few_most || kk == 0) {
        s->few_rows(w->dtype, m, rows, kk, x, ldx, stored, ldb, add, y, ldy);
        return HCSMOE_OK;
    }
    if (w->dtype == HCSMOE_DTYPE_F32) {
        b = stored;
    } else if (ldb == kk) {
        cpu_widen_run(s, w->dtype, stored, 0, rows * kk, panel);
    } else {
        for (int64_t r = 0; r < rows; r++)
            cpu_widen_run(s, w->dtype, stored, r * ldb, kk, (float *)panel + r * kk);
        ldb = kk;
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)rows, (int)kk, 1.0f, x,
                (int)ldx, b, (int)ldb, add ? 1.0f : 0.0f, y, (int)ldy);
    return HCSMOE_OK;
}

void cpu_narrow_rows(const struct cpu_simd *s, const hcsmoe_tensor *w, int64_t first, int64_t rows,
                     uint16_t *to)
{
    float wide[CPU_READ_MOST];
    int64_t kk = w->shape[1];
    int64_t stride;
    const void *stored = row_at(w, first, &stride);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < kk; i += CPU_READ_MOST) {
            int64_t n = kk - i < CPU_READ_MOST ? kk - i : CPU_READ_MOST;
            cpu_widen_run(s, w->dtype, stored, r * stride + i, n, wide);
            s->narrow_bf16(n, wide, to + r * kk + i);
        }
    }
}

/* The nearest bfloat16 values, as floats. */
static void round_floats(const struct cpu_simd *s, int64_t n, const float *x, void *to)
{
    uint16_t narrow[CPU_READ_MOST];
    for (int64_t i = 0; i < n; i += CPU_READ_MOST) {
        int64_t part = n - i < CPU_READ_MOST ? n - i : CPU_READ_MOST;
        s->narrow_bf16(part, x + i, narrow);
        s->widen_bf16(part, narrow, (float *)to + i);
    }
}

/* Weights that are not bfloat16 are rounded into the panel, and stay there for the product. */
static hcsmoe_status multiply_rounded(const struct cpu *c, int64_t m, const void *x, int64_t ldx,
                                      const hcsmoe_tensor *w, int64_t first, int64_t rows,
                                      void *panel, int add, float *y, int64_t ldy)
{
    int64_t kk = w->shape[1];
    int64_t stride;
    const void *stored = row_at(w, first, &stride);
    if (w->dtype == HCSMOE_DTYPE_BF16)
        return multiply_f32(c, m, x, ldx, w, first, rows, panel, add, y, ldy);
    for (int64_t r = 0; r < rows; r++) {
        float *to = (float *)panel + r * kk;
        cpu_widen_run(c->simd, w->dtype, stored, r * stride, kk, to);
        round_floats(c->simd, kk, to, to);
    }
    hcsmoe_tensor rounded = hcsmoe_matrix(panel, HCSMOE_DTYPE_F32, rows, kk);
    return multiply_f32(c, m, x, ldx, &rounded, 0, rows, NULL, add, y, ldy);
}

const struct cpu_product cpu_product_f32 = {.note = "",
                                            .tile_rows = 1024,
                                            .panel_rows = 1024,
                                            .panel_elements = 1024 * 1024,
                                            .element = sizeof(float),
                                            .multiply = multiply_f32};

const struct cpu_product cpu_product_rounded = {.note = ", bf16 operands",
                                                .tile_rows = 1024,
                                                .panel_rows = 1024,
                                                .panel_elements = 1024 * 1024,
                                                .element = sizeof(float),
                                                .operand = round_floats,
                                                .multiply = multiply_rounded};

struct operands {
    const struct cpu_simd *simd;
    const struct cpu_product *product;
    int64_t n;
    const float *x;
    char *to;
};

static hcsmoe_status operand_pieces(void *arg, int64_t begin, int64_t end)
{
    const struct operands *o = arg;
    for (int64_t i = begin * OPERAND_PIECE; i < end * OPERAND_PIECE && i < o->n;
         i += OPERAND_PIECE) {
        int64_t n = o->n - i < OPERAND_PIECE ? o->n - i : OPERAND_PIECE;
        o->product->operand(o->simd, n, o->x + i, o->to + (size_t)i * o->product->element);
    }
    return HCSMOE_OK;
}

hcsmoe_status cpu_operands(const struct cpu *c, const struct cpu_product *p, int64_t n,
                           const float *x, void **room, const void **out)
{
    const hcsmoe_host *h = c->table.host;
    struct operands o = {.simd = c->simd, .product = p, .n = n, .x = x};
    *room = NULL;
    *out = x;
    if (p->operand == NULL)
        return HCSMOE_OK;
    *out = *room = o.to = cpu_new(h, n, p->element);
    if (o.to == NULL)
        return HCSMOE_ENOMEM;
    return h->parallel_for(h, (n + OPERAND_PIECE - 1) / OPERAND_PIECE, operand_pieces, &o);
}
