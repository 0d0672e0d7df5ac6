/*
 * linear.c - y = x w^T + bias, and SwiGLU blocks, in tiles of rows times panels of weights.
 * SPDX-License-Identifier: MIT
 */
#include "cpu.h"

enum { MLP_ROWS = 4096, MLP_ROWS_LEAST = 256, LINEAR_PANEL_ROWS = 512 };
/* Of the hidden activations that an mlp call holds at once, and of operands that any call does. */
static const int64_t MLP_BYTES = (int64_t)64 << 20;

struct linear {
    const struct cpu *c;
    const struct cpu_product *product;
    struct cpu_split rows, panels;
    int64_t n, kk;
    const void *x; /* operands */
    const hcsmoe_tensor *w, *up;
    const hcsmoe_tensor *bias;
    const float *scale;
    int add;
    float *y;
    char *hidden; /* instead of y: what a product makes operands of */
    struct cpu_work work;
};

/* Tiles are numbered panel by panel: threads at work at one time then share a panel's weights. */
struct tile {
    int64_t row, rows, column, columns;
    const void *x;
};

static struct tile tile_at(const struct linear *l, int64_t i)
{
    int64_t panel = i / l->rows.parts;
    int64_t block = i % l->rows.parts;
    struct tile t = {.row = cpu_split_begin(&l->rows, block),
                     .column = cpu_split_begin(&l->panels, panel)};
    t.rows = cpu_split_begin(&l->rows, block + 1) - t.row;
    t.columns = cpu_split_begin(&l->panels, panel + 1) - t.column;
    t.x = (const char *)l->x + (size_t)(t.row * l->kk) * l->product->element;
    return t;
}

/* Cuts m rows into tiles and runs them. A thread has a panel, and `floats` more of memory for each of its rows. */
static hcsmoe_status run_tiles(struct linear *l, int64_t m, int64_t floats,
                               hcsmoe_status (*tiles)(void *arg, int64_t begin, int64_t end))
{
    const hcsmoe_host *h = l->c->table.host;
    struct cpu_split panels = cpu_panels(l->product, l->n, l->kk);
    int64_t widest = cpu_split_widest(&panels);
    l->rows = cpu_split_of(m, l->product->tile_rows);
    l->panels = cpu_split_of(l->n, widest < LINEAR_PANEL_ROWS ? widest : LINEAR_PANEL_ROWS);
    widest = cpu_split_widest(&l->panels);
    hcsmoe_status status = cpu_work_new(&l->work, h,
                                        cpu_work_size(widest * l->kk, l->product->element) +
                                            cpu_work_size(widest * floats, sizeof(float)));
    if (status != HCSMOE_OK)
        return status;
    status = h->parallel_for(h, l->rows.parts * l->panels.parts, tiles, l);
    cpu_work_free(&l->work);
    return status;
}

static hcsmoe_status linear_tiles(void *arg, int64_t begin, int64_t end)
{
    const struct linear *l = arg;
    const struct cpu_simd *simd = l->c->simd;
    char *block = cpu_work_mine(&l->work);
    int64_t widest = cpu_split_widest(&l->panels);
    void *panel = cpu_work_take(&block, widest * l->kk, l->product->element);
    float *bias = cpu_work_take(&block, widest, sizeof *bias);
    for (int64_t i = begin; i < end; i++) {
        struct tile t = tile_at(l, i);
        float *y = l->y + t.row * l->n + t.column;
        hcsmoe_status status = l->product->multiply(l->c, t.rows, t.x, l->kk, l->w, t.column,
                                                    t.columns, panel, l->add, y, l->n);
        if (status != HCSMOE_OK)
            return status;
        if (l->bias == NULL)
            continue;
        cpu_read(simd, l->bias, t.column, t.columns, bias);
        for (int64_t r = 0; r < t.rows; r++)
            simd->axpy(t.columns, 1.0f, bias, y + r * l->n);
    }
    return HCSMOE_OK;
}

/* Rows whose operands are held at once; all, where activations are used as they are. */
static int64_t operand_rows(const struct cpu_product *p, int64_t kk)
{
    int64_t rows = kk > 0 ? MLP_BYTES / (int64_t)p->element / kk : INT64_MAX;
    if (p->operand == NULL)
        return INT64_MAX;
    return rows > MLP_ROWS_LEAST ? rows : MLP_ROWS_LEAST;
}

hcsmoe_status cpu_linear(const hcsmoe_kernels *k, int64_t m, int64_t n, int64_t kk, const float *x,
                         const hcsmoe_tensor *weight, const hcsmoe_tensor *bias, int32_t add,
                         float *y)
{
    const hcsmoe_host *h = k->host;
    struct linear l = {.c = cpu_of(k), .n = n, .kk = kk, .w = weight, .bias = bias};
    hcsmoe_status status = cpu_check_sizes(h, "linear", n, kk, 0);
    if (status == HCSMOE_OK)
        status = cpu_check_matrix(h, "linear weight", weight, n, kk);
    if (status == HCSMOE_OK && bias != NULL)
        status = cpu_check_elements(h, "linear bias", bias, n, 0);
    if (status != HCSMOE_OK || m <= 0 || n == 0)
        return status;
    l.add = add != 0;
    l.product = weight->flags & HCSMOE_TENSOR_EXACT ? &cpu_product_f32 : l.c->product;
    struct cpu_split chunks = cpu_split_of(m, operand_rows(l.product, kk));
    for (int64_t i = 0; i < chunks.parts && status == HCSMOE_OK; i++) {
        int64_t t = cpu_split_begin(&chunks, i);
        int64_t rows = cpu_split_begin(&chunks, i + 1) - t;
        void *room;
        l.y = y + t * n;
        status = cpu_operands(l.c, l.product, rows * kk, x + t * kk, &room, &l.x);
        if (status == HCSMOE_OK)
            status = run_tiles(&l, rows, 1, linear_tiles);
        h->free(h, room);
    }
    return status;
}

static hcsmoe_status swiglu_tiles(void *arg, int64_t begin, int64_t end)
{
    const struct linear *l = arg;
    const struct cpu_simd *simd = l->c->simd;
    const struct cpu_product *p = l->product;
    char *block = cpu_work_mine(&l->work);
    int64_t widest = cpu_split_widest(&l->panels);
    void *panel = cpu_work_take(&block, widest * l->kk, p->element);
    float *up = cpu_work_take(&block, cpu_split_widest(&l->rows) * widest, sizeof *up);
    float *room = (float *)(void *)block;
    for (int64_t i = begin; i < end; i++) {
        struct tile t = tile_at(l, i);
        float *y = l->hidden != NULL ? room : l->y + t.row * l->n + t.column;
        int64_t ldy = l->hidden != NULL ? t.columns : l->n;
        hcsmoe_status status =
            p->multiply(l->c, t.rows, t.x, l->kk, l->w, t.column, t.columns, panel, 0, y, ldy);
        if (status == HCSMOE_OK)
            status = p->multiply(l->c, t.rows, t.x, l->kk, l->up, t.column, t.columns, panel, 0, up,
                                 t.columns);
        if (status != HCSMOE_OK)
            return status;
        for (int64_t r = 0; r < t.rows; r++) {
            int64_t at = (t.row + r) * l->n + t.column;
            simd->swiglu(t.columns, y + r * ldy, up + r * t.columns);
            if (l->scale != NULL)
                simd->scale(t.columns, l->scale[t.row + r], y + r * ldy, y + r * ldy);
            if (l->hidden != NULL)
                p->operand(simd, t.columns, y + r * ldy, l->hidden + (size_t)at * p->element);
        }
    }
    return HCSMOE_OK;
}

/* y[n, ffn], or hidden, = scale * silu(gate x) * (up x). */
static hcsmoe_status swiglu_scaled(const hcsmoe_kernels *k, struct linear *l, int64_t n,
                                   const float *x)
{
    const hcsmoe_host *h = k->host;
    int64_t width = l->kk;
    int64_t ffn = l->n;
    hcsmoe_status status = cpu_check_sizes(h, "swiglu", width, ffn, 0);
    if (status == HCSMOE_OK)
        status = cpu_check_matrix(h, "gate", l->w, ffn, width);
    if (status == HCSMOE_OK)
        status = cpu_check_matrix(h, "up", l->up, ffn, width);
    if (status != HCSMOE_OK || n <= 0 || ffn == 0)
        return status;
    struct cpu_split chunks = cpu_split_of(n, operand_rows(l->product, width));
    struct linear part = *l;
    for (int64_t i = 0; i < chunks.parts && status == HCSMOE_OK; i++) {
        int64_t t = cpu_split_begin(&chunks, i);
        int64_t rows = cpu_split_begin(&chunks, i + 1) - t;
        int64_t tall = rows < l->product->tile_rows ? rows : l->product->tile_rows;
        void *room;
        part.y = l->y != NULL ? l->y + t * ffn : NULL;
        part.hidden =
            l->hidden != NULL ? l->hidden + (size_t)(t * ffn) * l->product->element : NULL;
        part.scale = l->scale != NULL ? l->scale + t : NULL;
        status = cpu_operands(l->c, l->product, rows * width, x + t * width, &room, &part.x);
        if (status == HCSMOE_OK)
            status = run_tiles(&part, rows, (tall + 15) / 16 * 16 * (l->hidden != NULL ? 2 : 1),
                               swiglu_tiles);
        h->free(h, room);
    }
    return status;
}

hcsmoe_status cpu_swiglu(const hcsmoe_kernels *k, int64_t n, int64_t width, int64_t ffn,
                         const float *x, const hcsmoe_tensor *gate, const hcsmoe_tensor *up,
                         float *h)
{
    struct linear l = {.c = cpu_of(k), .n = ffn, .kk = width, .w = gate, .up = up, .y = h};
    l.product = l.c->product;
    return swiglu_scaled(k, &l, n, x);
}

/* Rows of hidden activations, in float32 or operands, that an mlp call holds at once. */
static int64_t mlp_rows(const struct cpu_product *p, int64_t ffn, int64_t width)
{
    int64_t wide = p->operand != NULL && width > ffn ? width : ffn;
    int64_t rows = wide > 0 ? MLP_BYTES / 4 / wide : MLP_ROWS;
    rows = rows < MLP_ROWS ? rows : MLP_ROWS;
    return rows > MLP_ROWS_LEAST ? rows : MLP_ROWS_LEAST;
}

/* The scale goes onto the hidden activations: down is linear, and BLAS then adds to out by itself. */
hcsmoe_status cpu_mlp(const hcsmoe_kernels *k, const hcsmoe_mlp_args *a)
{
    const hcsmoe_host *h = k->host;
    const struct cpu *c = cpu_of(k);
    const struct cpu_product *p = c->product;
    struct linear up = {
        .c = c, .product = p, .n = a->ffn, .kk = a->width, .w = a->gate, .up = a->up};
    struct linear down = {
        .c = c, .product = p, .n = a->width, .kk = a->ffn, .w = a->down, .add = 1};
    hcsmoe_status status = cpu_check_sizes(h, "mlp", a->width, a->ffn, 0);
    if (status == HCSMOE_OK)
        status = cpu_check_matrix(h, "down", a->down, a->width, a->ffn);
    if (status != HCSMOE_OK || a->n_tokens <= 0)
        return status;
    struct cpu_split chunks = cpu_split_of(a->n_tokens, mlp_rows(p, a->ffn, a->width));
    void *hidden = cpu_new(h, cpu_split_widest(&chunks) * a->ffn, p->element);
    if (hidden == NULL)
        return HCSMOE_ENOMEM;
    up.hidden = p->operand != NULL ? hidden : NULL;
    up.y = p->operand != NULL ? NULL : hidden;
    down.x = hidden;
    for (int64_t i = 0; i < chunks.parts && status == HCSMOE_OK; i++) {
        int64_t t = cpu_split_begin(&chunks, i);
        int64_t n = cpu_split_begin(&chunks, i + 1) - t;
        up.scale = a->scale != NULL ? a->scale + t : NULL;
        down.y = a->out + t * a->width;
        status = swiglu_scaled(k, &up, n, a->x + t * a->width);
        if (status == HCSMOE_OK && a->width > 0)
            status = run_tiles(&down, n, 1, linear_tiles);
    }
    h->free(h, hidden);
    return status;
}

int64_t cpu_mlp_bytes(const struct cpu *c)
{
    const struct cpu_product *p = c->product;
    int64_t tile =
        p->tile_rows * (p->panel_rows < LINEAR_PANEL_ROWS ? p->panel_rows : LINEAR_PANEL_ROWS);
    int64_t each = p->panel_elements * (int64_t)p->element + tile * (p->operand != NULL ? 8 : 4);
    return MLP_BYTES * (p->operand != NULL ? 2 : 1) + c->table.host->threads(c->table.host) * each;
}
