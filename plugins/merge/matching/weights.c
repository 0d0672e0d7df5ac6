/*
 * weights.c - correlation of features by their weights: D of gate, D of down and D of up each.
 *
 * Every block of the matrix is made for itself, from pieces of the two experts' matrices.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "matching.h"

enum { GATE, UP, DOWN, PARTS };

struct work {
    struct correlation *c;
    int32_t add;
    size_t piece, each; /* bytes of one piece, and of a thread's room: two pieces and a block */
};

/* What lies of a matrix in some of its rows and columns. */
static hcsmoe_tensor window(const hcsmoe_tensor *t, int64_t row, int64_t rows, int64_t column,
                            int64_t columns)
{
    hcsmoe_tensor w = *t;

    w.data = (char *)t->data + (size_t)(row * t->stride[0] + column) * hcsmoe_dtype_size(t->dtype);
    w.shape[0] = rows;
    w.shape[1] = columns;
    return w;
}

static const hcsmoe_tensor *part_of(const struct correlation *c, int64_t block, int part)
{
    const hcsmoe_merge_args *a = c->m->a;
    const hcsmoe_tensor *const parts[PARTS] = {a->gate, a->up, a->down};

    return &parts[part][c->side[block / c->side_blocks]];
}

/* The first feature of a block, as its expert counts them. */
static int64_t first_of(const struct correlation *c, int64_t block)
{
    return block % c->side_blocks * c->c.block;
}

/* Rows of gate or up, from the first weight of gate: a feature that never changes has then a
 * deviation of exactly 0. */
static hcsmoe_status add_rows(const struct work *w, int64_t block, int part, double *x)
{
    const struct correlation *c = w->c;
    const hcsmoe_kernels *k = c->m->k;
    const int64_t depth = c->m->a->dims->width, width = correlation_width(c, block);
    const hcsmoe_tensor to = hcsmoe_matrix(x, HCSMOE_DTYPE_F64, 1, depth);
    int64_t f, d, at = block * c->c.block;
    hcsmoe_status status = HCSMOE_OK;

    for (f = 0; f < width && status == HCSMOE_OK; f++, at++) {
        const hcsmoe_tensor from =
            window(part_of(c, block, part), first_of(c, block) + f, 1, 0, depth);
        status = k->convert(k, &from, &to);
        if (part == GATE)
            c->centre[at] = x[0];
        for (d = 0; d < depth; d++) {
            c->mean[at] += x[d] - c->centre[at];
            c->deviation[at] += (x[d] - c->centre[at]) * (x[d] - c->centre[at]);
        }
    }
    return status;
}

/* Columns of down, row by row. */
static hcsmoe_status add_columns(const struct work *w, int64_t block, double *x)
{
    const struct correlation *c = w->c;
    const hcsmoe_kernels *k = c->m->k;
    const int64_t depth = c->m->a->dims->width, width = correlation_width(c, block);
    const hcsmoe_tensor to = hcsmoe_matrix(x, HCSMOE_DTYPE_F64, 1, width);
    const double *centre = c->centre + block * c->c.block;
    double *sum = c->mean + block * c->c.block, *square = c->deviation + block * c->c.block;
    hcsmoe_status status = HCSMOE_OK;
    int64_t d, f;

    for (d = 0; d < depth && status == HCSMOE_OK; d++) {
        const hcsmoe_tensor from = window(part_of(c, block, DOWN), d, 1, first_of(c, block), width);
        status = k->convert(k, &from, &to);
        for (f = 0; f < width; f++) {
            sum[f] += x[f] - centre[f];
            square[f] += (x[f] - centre[f]) * (x[f] - centre[f]);
        }
    }
    return status;
}

static hcsmoe_status moments_blocks(void *arg, int64_t begin, int64_t end)
{
    const struct work *w = arg;
    const struct correlation *c = w->c;
    const hcsmoe_host *h = c->m->h;
    const int64_t depth = c->m->a->dims->width, size = c->c.block;
    double *x = h->scratch(h, (size_t)(depth > size ? depth : size) * sizeof *x);
    hcsmoe_status status = x ? HCSMOE_OK : HCSMOE_ENOMEM;
    int64_t b;

    for (b = begin; b < end && status == HCSMOE_OK; b++) {
        memset(c->centre + b * size, 0, (size_t)size * sizeof *c->centre);
        memset(c->mean + b * size, 0, (size_t)size * sizeof *c->mean);
        memset(c->deviation + b * size, 0, (size_t)size * sizeof *c->deviation);
        status = add_rows(w, b, GATE, x);
        if (status == HCSMOE_OK)
            status = add_rows(w, b, UP, x);
        if (status == HCSMOE_OK)
            status = add_columns(w, b, x);
    }
    return status;
}

/* Weights from..from+n-1 of a block's features in one part, their mean taken off: [width, n] of gate
 * and up, [n, width] of down. */
static hcsmoe_status load(const struct work *w, int64_t block, int part, int64_t from, int64_t n,
                          void *to)
{
    const struct correlation *c = w->c;
    const hcsmoe_kernels *k = c->m->k;
    const int64_t width = correlation_width(c, block), first = first_of(c, block);
    const int64_t rows = part == DOWN ? n : width, columns = part == DOWN ? width : n;
    const double *centre = c->centre + block * c->c.block;
    const hcsmoe_tensor *t = part_of(c, block, part);
    const hcsmoe_tensor x =
        part == DOWN ? window(t, from, n, first, width) : window(t, first, width, from, n);
    const hcsmoe_tensor y =
        hcsmoe_matrix(to, c->c.wide ? HCSMOE_DTYPE_F64 : HCSMOE_DTYPE_F32, rows, columns);
    const hcsmoe_status status = k->convert(k, &x, &y);
    int64_t row, i;

    for (row = 0; row < rows; row++)
        for (i = row * columns; i < (row + 1) * columns; i++) {
            const double mean = centre[part == DOWN ? i - row * columns : row];
            if (c->c.wide)
                ((double *)to)[i] -= mean;
            else
                ((float *)to)[i] = (float)((double)((float *)to)[i] - mean);
        }
    return status;
}

/* Adds a piece's products to the sums of block (i, j). */
static hcsmoe_status multiply(const struct work *w, int64_t i, int64_t j, int part, int64_t from,
                              char *buffer)
{
    const struct correlation *c = w->c;
    const hcsmoe_kernels *k = c->m->k;
    const int64_t left = c->m->a->dims->width - from,
                  n = left < MATCHING_ROWS ? left : MATCHING_ROWS;
    const int64_t rows = correlation_width(c, i), columns = correlation_width(c, j);
    const int down = part == DOWN, add = part > 0 || from > 0;
    void *x = buffer, *y = i == j ? buffer : buffer + w->piece, *sums = buffer + 2 * w->piece;
    hcsmoe_status status = load(w, i, part, from, n, x);

    if (status == HCSMOE_OK && i != j)
        status = load(w, j, part, from, n, y);
    if (status != HCSMOE_OK)
        return status;
    if (c->c.wide)
        return k->dgemm(k, down, !down, rows, columns, n, 1, x, down ? rows : n, y,
                        down ? columns : n, add, sums, c->c.block);
    return k->sgemm(k, down, !down, rows, columns, n, 1, x, down ? rows : n, y, down ? columns : n,
                    (float)add, sums, c->c.block);
}

static hcsmoe_status multiply_pairs(void *arg, int64_t begin, int64_t end)
{
    const struct work *w = arg;
    const hcsmoe_host *h = w->c->m->h;
    const int64_t depth = w->c->m->a->dims->width;
    char *buffer = (char *)w->c->buffers + (size_t)h->thread(h) * w->each;
    hcsmoe_status status = HCSMOE_OK;
    int64_t pair, i, j, from;
    int part;

    for (pair = begin; pair < end && status == HCSMOE_OK; pair++) {
        if (h->cancelled(h))
            return HCSMOE_ECANCELLED;
        correlation_pair(w->c, pair, &i, &j);
        for (part = 0; part < PARTS; part++)
            for (from = 0; from < depth && status == HCSMOE_OK; from += MATCHING_ROWS)
                status = multiply(w, i, j, part, from, buffer);
        if (status == HCSMOE_OK)
            correlation_divide(w->c, i, j, buffer + 2 * w->piece, NULL, PARTS * depth, w->add);
    }
    return status;
}

static struct work work_of(struct correlation *c, int32_t add)
{
    const size_t element = c->c.wide ? sizeof(double) : sizeof(float);
    struct work w = {.c = c, .add = add};

    w.piece = (size_t)(MATCHING_ROWS * c->c.block) * element;
    w.each = 2 * w.piece + (size_t)(c->c.block * c->c.block) * element;
    return w;
}

size_t correlation_buffers(const hcsmoe_host *h, const struct correlation *c)
{
    return (size_t)h->threads(h) * work_of((struct correlation *)c, 0).each;
}

hcsmoe_status correlation_of_weights(struct correlation *c, int32_t add)
{
    const hcsmoe_host *h = c->m->h;
    struct work w = work_of(c, add);
    int64_t i;
    hcsmoe_status status = h->parallel_for(h, c->c.n_blocks, moments_blocks, &w);

    if (status == HCSMOE_OK)
        status = correlation_moments(c, "weights", PARTS * c->m->a->dims->width);
    if (status != HCSMOE_OK)
        return status;
    for (i = 0; i < c->n_features; i++)
        c->centre[i] += c->mean[i];
    return h->parallel_for(h, c->n_pairs, multiply_pairs, &w);
}
