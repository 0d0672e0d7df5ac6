/*
 * linear.c - y = x w^T + bias, and SwiGLU blocks, in tiles of rows times panels of weights.
 * SPDX-License-Identifier: MIT
 */
#include "cpu.h"

enum { MLP_ROWS = 4096, MLP_ROWS_LEAST = 256, LINEAR_PANEL_ROWS = 512 };
/* Of the hidden activations that an mlp call holds at once. */
static const int64_t MLP_BYTES = (int64_t)64 << 20;

struct linear {
    const struct cpu_simd *simd;
    struct cpu_split rows, panels;
    int64_t n, kk;
    const float *x;
    const hcsmoe_tensor *w, *up;
    const hcsmoe_tensor *bias;
    const float *scale;
    int add;
    float *y;
    struct cpu_work work;
};

/* Tiles are numbered panel by panel: threads at work at one time then share a panel's weights. */
struct tile {
    int64_t row, rows, column, columns;
};

static struct tile tile_at(const struct linear *l, int64_t i)
{
    int64_t panel = i / l->rows.parts;
    int64_t block = i % l->rows.parts;
    struct tile t = {.row = cpu_split_begin(&l->rows, block),
                     .column = cpu_split_begin(&l->panels, panel)};
    t.rows = cpu_split_begin(&l->rows, block + 1) - t.row;
    t.columns = cpu_split_begin(&l->panels, panel + 1) - t.column;
    return t;
}

static void split(struct linear *l, int64_t m)
{
    struct cpu_split panels = cpu_panels(l->n, l->kk);
    int64_t widest = cpu_split_widest(&panels);
    l->rows = cpu_split_of(m, CPU_TILE_ROWS);
    l->panels = cpu_split_of(l->n, widest < LINEAR_PANEL_ROWS ? widest : LINEAR_PANEL_ROWS);
}

static hcsmoe_status linear_tiles(void *arg, int64_t begin, int64_t end)
{
    const struct linear *l = arg;
    char *block = cpu_work_mine(&l->work);
    int64_t widest = cpu_split_widest(&l->panels);
    float *panel = cpu_work_take(&block, widest * l->kk, sizeof *panel);
    float *bias = cpu_work_take(&block, widest, sizeof *bias);
    for (int64_t i = begin; i < end; i++) {
        struct tile t = tile_at(l, i);
        float *y = l->y + t.row * l->n + t.column;
        cpu_gemm_weight(l->simd, t.rows, l->x + t.row * l->kk, l->kk, l->w, t.column, t.columns,
                        panel, l->add, y, l->n);
        if (l->bias == NULL)
            continue;
        cpu_read(l->simd, l->bias, t.column, t.columns, bias);
        for (int64_t r = 0; r < t.rows; r++)
            l->simd->axpy(t.columns, 1.0f, bias, y + r * l->n);
    }
    return HCSMOE_OK;
}

hcsmoe_status cpu_linear(const hcsmoe_kernels *k, int64_t m, int64_t n, int64_t kk, const float *x,
                         const hcsmoe_tensor *weight, const hcsmoe_tensor *bias, int32_t add,
                         float *y)
{
    const hcsmoe_host *h = k->host;
    struct linear l = {.simd = cpu_simd_of(k),
                       .n = n,
                       .kk = kk,
                       .x = x,
                       .w = weight,
                       .bias = bias,
                       .add = add != 0,
                       .y = y};
    hcsmoe_status status = cpu_check_sizes(h, "linear", n, kk, 0);
    if (status == HCSMOE_OK)
        status = cpu_check_matrix(h, "linear weight", weight, n, kk);
    if (status == HCSMOE_OK && bias != NULL)
        status = cpu_check_elements(h, "linear bias", bias, n, 0);
    if (status != HCSMOE_OK || m <= 0 || n == 0)
        return status;
    split(&l, m);
    int64_t widest = cpu_split_widest(&l.panels);
    status = cpu_work_new(&l.work, h,
                          cpu_work_size(widest * kk, sizeof(float)) +
                              cpu_work_size(widest, sizeof(float)));
    if (status != HCSMOE_OK)
        return status;
    status = h->parallel_for(h, l.rows.parts * l.panels.parts, linear_tiles, &l);
    cpu_work_free(&l.work);
    return status;
}

static hcsmoe_status swiglu_tiles(void *arg, int64_t begin, int64_t end)
{
    const struct linear *l = arg;
    char *block = cpu_work_mine(&l->work);
    int64_t widest = cpu_split_widest(&l->panels);
    float *panel = cpu_work_take(&block, widest * l->kk, sizeof *panel);
    float *up = cpu_work_take(&block, cpu_split_widest(&l->rows) * widest, sizeof *up);
    for (int64_t i = begin; i < end; i++) {
        struct tile t = tile_at(l, i);
        const float *x = l->x + t.row * l->kk;
        float *y = l->y + t.row * l->n + t.column;
        cpu_gemm_weight(l->simd, t.rows, x, l->kk, l->w, t.column, t.columns, panel, 0, y, l->n);
        cpu_gemm_weight(l->simd, t.rows, x, l->kk, l->up, t.column, t.columns, panel, 0, up,
                        t.columns);
        for (int64_t r = 0; r < t.rows; r++) {
            l->simd->swiglu(t.columns, y + r * l->n, up + r * t.columns);
            if (l->scale != NULL)
                l->simd->scale(t.columns, l->scale[t.row + r], y + r * l->n, y + r * l->n);
        }
    }
    return HCSMOE_OK;
}

/* y[n, ffn] = scale * silu(gate x) * (up x). */
static hcsmoe_status swiglu_scaled(const hcsmoe_kernels *k, int64_t n, int64_t width, int64_t ffn,
                                   const float *x, const hcsmoe_tensor *gate,
                                   const hcsmoe_tensor *up, const float *scale, float *y)
{
    const hcsmoe_host *h = k->host;
    struct linear l = {.simd = cpu_simd_of(k),
                       .n = ffn,
                       .kk = width,
                       .x = x,
                       .w = gate,
                       .up = up,
                       .scale = scale,
                       .y = y};
    hcsmoe_status status = cpu_check_sizes(h, "swiglu", width, ffn, 0);
    if (status == HCSMOE_OK)
        status = cpu_check_matrix(h, "gate", gate, ffn, width);
    if (status == HCSMOE_OK)
        status = cpu_check_matrix(h, "up", up, ffn, width);
    if (status != HCSMOE_OK || n <= 0 || ffn == 0)
        return status;
    split(&l, n);
    int64_t widest = cpu_split_widest(&l.panels);
    status = cpu_work_new(&l.work, h,
                          cpu_work_size(widest * width, sizeof(float)) +
                              cpu_work_size(cpu_split_widest(&l.rows) * widest, sizeof(float)));
    if (status != HCSMOE_OK)
        return status;
    status = h->parallel_for(h, l.rows.parts * l.panels.parts, swiglu_tiles, &l);
    cpu_work_free(&l.work);
    return status;
}

hcsmoe_status cpu_swiglu(const hcsmoe_kernels *k, int64_t n, int64_t width, int64_t ffn,
                         const float *x, const hcsmoe_tensor *gate, const hcsmoe_tensor *up,
                         float *h)
{
    return swiglu_scaled(k, n, width, ffn, x, gate, up, NULL, h);
}

/* The scale goes onto the hidden activations: down is linear, and BLAS then adds to out by itself. */
hcsmoe_status cpu_mlp(const hcsmoe_kernels *k, const hcsmoe_mlp_args *a)
{
    const hcsmoe_host *h = k->host;
    hcsmoe_status status = cpu_check_sizes(h, "mlp", a->width, a->ffn, 0);
    int64_t rows = a->ffn > 0 ? MLP_BYTES / 4 / a->ffn : MLP_ROWS;
    if (status != HCSMOE_OK || a->n_tokens <= 0)
        return status;
    rows = rows < MLP_ROWS ? rows : MLP_ROWS;
    struct cpu_split chunks =
        cpu_split_of(a->n_tokens, rows > MLP_ROWS_LEAST ? rows : MLP_ROWS_LEAST);
    float *hidden = cpu_new(h, cpu_split_widest(&chunks) * a->ffn, sizeof *hidden);
    if (hidden == NULL)
        return HCSMOE_ENOMEM;
    for (int64_t c = 0; c < chunks.parts && status == HCSMOE_OK; c++) {
        int64_t t = cpu_split_begin(&chunks, c);
        int64_t n = cpu_split_begin(&chunks, c + 1) - t;
        status = swiglu_scaled(k, n, a->width, a->ffn, a->x + t * a->width, a->gate, a->up,
                               a->scale != NULL ? a->scale + t : NULL, hidden);
        if (status == HCSMOE_OK)
            status =
                cpu_linear(k, n, a->width, a->ffn, hidden, a->down, NULL, 1, a->out + t * a->width);
    }
    h->free(h, hidden);
    return status;
}

int64_t cpu_mlp_bytes(const hcsmoe_host *h)
{
    int64_t tile = (int64_t)CPU_TILE_ROWS * LINEAR_PANEL_ROWS;
    return MLP_BYTES + h->threads(h) * (CPU_PANEL_ELEMENTS + tile) * 4;
}
