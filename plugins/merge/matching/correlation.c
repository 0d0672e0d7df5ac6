/*
 * correlation.c - how much the features of a group's experts go together.
 *
 *     C_ab = covariance(a, b) / (deviation(a) deviation(b) + epsilon)
 *
 * Activations pass once. What is summed is their distance from a first guess of the mean, which is
 * taken from a sample of the rows: the guess only has to be near, for what it is off is known in
 * the end and taken out. A feature that never changes is then exactly 0 everywhere.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include "matching.h"

/* Blocks are as even as possible, their rows aligned. */
static int64_t block_of(int64_t ffn)
{
    const int64_t n = (ffn + MATCHING_BLOCK - 1) / MATCHING_BLOCK;

    return ((ffn + n - 1) / n + 15) / 16 * 16;
}

static void layout(struct correlation *c, int64_t ffn, int64_t n_sides, int32_t rectangle)
{
    const int64_t block = block_of(ffn);
    const int64_t each = (ffn + block - 1) / block, n = each * n_sides;

    c->n_sides = n_sides;
    c->side_blocks = each;
    c->n_features = n * block;
    c->n_pairs = rectangle ? each * each : n * (n + 1) / 2;
    c->c = (struct matrix){.block = block,
                           .n_blocks = n,
                           .wide = ffn * n_sides <= MATCHING_WIDE_MOST,
                           .rectangle = rectangle};
}

static size_t element_size(const struct correlation *c)
{
    return c->c.wide ? sizeof(double) : sizeof(float);
}

int64_t correlation_width(const struct correlation *c, int64_t block)
{
    const int64_t left = c->m->a->dims->ffn - block % c->side_blocks * c->c.block;

    return left < c->c.block ? left : c->c.block;
}

void correlation_pair(const struct correlation *c, int64_t number, int64_t *i, int64_t *j)
{
    if (c->c.rectangle) {
        *i = c->side_blocks + number / c->side_blocks;
        *j = number % c->side_blocks;
        return;
    }
    for (*i = 0; number > *i; (*i)++)
        number -= *i + 1;
    *j = number;
}

hcsmoe_status correlation_open(struct correlation *c, const struct matching *m, int64_t n_sides,
                               int32_t rectangle)
{
    const hcsmoe_host *h = m->h;
    const int act = (m->o->ingredient & INGREDIENT_ACT) != 0;
    const int weight = (m->o->ingredient & INGREDIENT_WEIGHT) != 0;
    const size_t rows = MATCHING_ROWS;
    size_t n;

    *c = (struct correlation){.m = m};
    layout(c, m->a->dims->ffn, n_sides, rectangle);
    n = (size_t)c->n_features;
    c->side = h->scratch(h, (size_t)n_sides * sizeof *c->side);
    c->mean = h->scratch(h, n * sizeof *c->mean);
    c->deviation = h->scratch(h, n * sizeof *c->deviation);
    c->c.data = h->scratch(h, (size_t)(c->n_pairs * c->c.block * c->c.block) * element_size(c));
    if (act) {
        c->shift = h->scratch(h, n * sizeof *c->shift);
        c->hidden = h->scratch(h, (size_t)m->a->dims->ffn * rows * sizeof *c->hidden);
        c->panels = h->scratch(h, n * rows * element_size(c));
    }
    if (weight) {
        c->centre = h->scratch(h, n * sizeof *c->centre);
        c->buffers = h->scratch(h, correlation_buffers(h, c));
    }
    if (!c->side || !c->mean || !c->deviation || !c->c.data ||
        (act && (!c->shift || !c->hidden || !c->panels)) || (weight && (!c->centre || !c->buffers)))
        return HCSMOE_ENOMEM; /* scratch has set the message */
    return HCSMOE_OK;
}

int64_t correlation_bytes(const hcsmoe_host *h, const matching_opts *o,
                          const hcsmoe_layer_dims *dims, int64_t n_sides, int32_t rectangle)
{
    const int64_t rows = MATCHING_ROWS, width = dims->width, ffn = dims->ffn;
    struct correlation c = {0};
    int64_t element, bytes;

    layout(&c, ffn, n_sides, rectangle);
    element = (int64_t)element_size(&c);
    bytes = c.n_pairs * c.c.block * c.c.block * element + c.n_features * 24;
    if (o->ingredient & INGREDIENT_ACT)
        bytes += rows * (width * 4 + ffn * 4 + c.n_features * element) +
                 dims->n_tokens * dims->top_k; /* a byte for each row, to draw */
    if (o->ingredient & INGREDIENT_WEIGHT)
        bytes += (int64_t)correlation_buffers(h, &c);
    return bytes;
}

double correlation_flops(const matching_opts *o, const hcsmoe_layer_dims *dims, int64_t n_sides,
                         int32_t rectangle, double n_rows)
{
    const double width = (double)dims->width, ffn = (double)dims->ffn;
    const double n = ffn * (double)n_sides, pairs = rectangle ? ffn * ffn : n * (n + 1) / 2;
    double flops = 0;

    if (o->ingredient & INGREDIENT_ACT)
        flops += n_rows * (4 * width * n + 2 * pairs);
    if (o->ingredient & INGREDIENT_WEIGHT)
        flops += 3 * width * 2 * pairs;
    return flops;
}

hcsmoe_status correlation_moments(struct correlation *c, const char *what, int64_t n_rows)
{
    const hcsmoe_merge_args *a = c->m->a;
    const double n = (double)n_rows;
    int64_t i, f;

    for (i = 0; i < c->n_features; i++) {
        const int64_t b = i / c->c.block;
        double variance;
        if (i % c->c.block >= correlation_width(c, b))
            continue;
        c->mean[i] /= n;
        variance = (c->deviation[i] - n * c->mean[i] * c->mean[i]) / (n - 1);
        c->deviation[i] = variance < 0 ? 0 : sqrt(variance);
        f = b % c->side_blocks * c->c.block + i % c->c.block;
        if (!isfinite(c->mean[i]) || !isfinite(c->deviation[i]))
            return hcsmoe_failf(c->m->h, HCSMOE_EFAILED,
                                "group %d: the %s of neuron %lld of expert %d are not finite",
                                a->group, what, (long long)f,
                                a->members[c->side[b / c->side_blocks]]);
    }
    return HCSMOE_OK;
}

void correlation_divide(struct correlation *c, int64_t i, int64_t j, const void *sums,
                        const double *offset, int64_t n_rows, int32_t add)
{
    const struct matrix from = {.data = (void *)sums, .wide = c->c.wide};
    const int64_t size = c->c.block, rows = correlation_width(c, i);
    const int64_t columns = correlation_width(c, j), to = matrix_block(&c->c, i, j);
    int64_t row, column;

    for (row = 0; row < rows; row++) {
        const int64_t x = i * size + row;
        for (column = 0; column < columns; column++) {
            const int64_t y = j * size + column, at = row * size + column;
            double sum = matrix_get(&from, at);
            if (offset)
                sum -= (double)n_rows * offset[x] * offset[y];
            sum /= (double)(n_rows - 1) * (c->deviation[x] * c->deviation[y] + MATCHING_EPSILON);
            if (add)
                sum += matrix_get(&c->c, to + at);
            matrix_set(&c->c, to + at, sum);
        }
    }
}

/* One tile of rows on its way into c. */
struct tile {
    struct correlation *c;
    const struct pool_rows *rows;
    int64_t first; /* block of the expert whose hidden activations are there */
};

/* The guess of the mean, rounded so that one that is right is right exactly. */
static hcsmoe_status guess_blocks(void *arg, int64_t begin, int64_t end)
{
    const struct tile *t = arg;
    const struct correlation *c = t->c;
    const int64_t ffn = c->m->a->dims->ffn, n = t->rows->n;
    int64_t b, i, row;

    for (b = begin; b < end; b++) {
        const float *hidden = c->hidden + b * c->c.block;
        const int64_t first = (t->first + b) * c->c.block, width = correlation_width(c, b);
        double *sum = c->mean + first;
        memset(sum, 0, (size_t)width * sizeof *sum);
        for (row = 0; row < n; row++)
            for (i = 0; i < width; i++)
                sum[i] += (double)hidden[row * ffn + i];
        for (i = 0; i < width; i++)
            c->shift[first + i] = (float)(sum[i] / (double)n);
    }
    return HCSMOE_OK;
}

/* Rows of a block's panel in float; the sums are of what is there. A row that counts twice is
 * sqrt(2) times as long. */
static void centre_narrow(const struct tile *t, int64_t b, float *panel)
{
    const struct correlation *c = t->c;
    const int64_t size = c->c.block, first = (t->first + b) * size, width = correlation_width(c, b);
    const float *shift = c->shift + first;
    double *sum = c->mean + first, *square = c->deviation + first;
    int64_t row, i;

    for (row = 0; row < t->rows->n; row++) {
        const float *hidden = c->hidden + row * c->m->a->dims->ffn + b * size;
        const double times = t->rows->times[row];
        const float root = (float)sqrt(times);
        for (i = 0; i < width; i++) {
            const float d = hidden[i] - shift[i];
            sum[i] += times * (double)d;
            square[i] += times * (double)d * (double)d;
            panel[row * size + i] = root * d;
        }
    }
}

static void centre_wide(const struct tile *t, int64_t b, double *panel)
{
    const struct correlation *c = t->c;
    const int64_t size = c->c.block, first = (t->first + b) * size, width = correlation_width(c, b);
    const float *shift = c->shift + first;
    double *sum = c->mean + first, *square = c->deviation + first;
    int64_t row, i;

    for (row = 0; row < t->rows->n; row++) {
        const float *hidden = c->hidden + row * c->m->a->dims->ffn + b * size;
        const double times = t->rows->times[row], root = sqrt(times);
        for (i = 0; i < width; i++) {
            const double d = (double)hidden[i] - (double)shift[i];
            sum[i] += times * d;
            square[i] += times * d * d;
            panel[row * size + i] = root * d;
        }
    }
}

static hcsmoe_status centre_blocks(void *arg, int64_t begin, int64_t end)
{
    const struct tile *t = arg;
    const struct correlation *c = t->c;
    int64_t b;

    for (b = begin; b < end; b++) {
        const int64_t at = (t->first + b) * c->c.block * MATCHING_ROWS;
        if (c->c.wide)
            centre_wide(t, b, (double *)c->panels + at);
        else
            centre_narrow(t, b, (float *)c->panels + at);
    }
    return HCSMOE_OK;
}

static hcsmoe_status multiply_pairs(void *arg, int64_t begin, int64_t end)
{
    const struct tile *t = arg;
    const struct correlation *c = t->c;
    const hcsmoe_kernels *k = c->m->k;
    const int64_t size = c->c.block;
    const int add = c->n_summed > 0;
    hcsmoe_status status = HCSMOE_OK;
    int64_t pair, i, j;

    for (pair = begin; pair < end && status == HCSMOE_OK; pair++) {
        if (c->m->h->cancelled(c->m->h))
            return HCSMOE_ECANCELLED;
        correlation_pair(c, pair, &i, &j);
        const int64_t m = correlation_width(c, i), n = correlation_width(c, j);
        const int64_t to = matrix_block(&c->c, i, j);
        const int64_t x = i * size * MATCHING_ROWS, y = j * size * MATCHING_ROWS;
        if (c->c.wide)
            status = k->dgemm(k, 1, 0, m, n, t->rows->n, 1, (double *)c->panels + x, size,
                              (double *)c->panels + y, size, add, (double *)c->c.data + to, size);
        else
            status =
                k->sgemm(k, 1, 0, m, n, t->rows->n, 1, (float *)c->panels + x, size,
                         (float *)c->panels + y, size, (float)add, (float *)c->c.data + to, size);
    }
    return status;
}

/* The hidden activations of every expert in turn. */
static hcsmoe_status each_side(struct tile *t,
                               hcsmoe_status (*blocks)(void *arg, int64_t begin, int64_t end))
{
    struct correlation *c = t->c;
    const hcsmoe_host *h = c->m->h;
    const hcsmoe_kernels *k = c->m->k;
    const hcsmoe_merge_args *a = c->m->a;
    hcsmoe_status status = HCSMOE_OK;
    int64_t s;

    for (s = 0; s < c->n_sides && status == HCSMOE_OK; s++) {
        const int32_t e = c->side[s];
        status = k->swiglu(k, t->rows->n, a->dims->width, a->dims->ffn, t->rows->x, &a->gate[e],
                           &a->up[e], c->hidden);
        t->first = s * c->side_blocks;
        if (status == HCSMOE_OK)
            status = h->parallel_for(h, c->side_blocks, blocks, t);
    }
    return status;
}

static hcsmoe_status guess(void *arg, const struct pool_rows *rows)
{
    struct tile t = {.c = arg, .rows = rows};

    return each_side(&t, guess_blocks);
}

static hcsmoe_status add_rows(void *arg, const struct pool_rows *rows)
{
    struct correlation *c = arg;
    struct tile t = {.c = c, .rows = rows};
    hcsmoe_status status = each_side(&t, centre_blocks);

    if (status == HCSMOE_OK)
        status = c->m->h->parallel_for(c->m->h, c->n_pairs, multiply_pairs, &t);
    c->n_summed += rows->n;
    return status;
}

static hcsmoe_status divide_pairs(void *arg, int64_t begin, int64_t end)
{
    const struct tile *t = arg;
    struct correlation *c = t->c;
    const size_t size = element_size(c);
    int64_t pair, i, j;

    for (pair = begin; pair < end; pair++) {
        correlation_pair(c, pair, &i, &j);
        correlation_divide(c, i, j, (char *)c->c.data + (size_t)matrix_block(&c->c, i, j) * size,
                           c->mean, t->first, 0);
    }
    return HCSMOE_OK;
}

/* At least two rows. */
static hcsmoe_status of_activations(struct correlation *c, const struct pool *p)
{
    const hcsmoe_host *h = c->m->h;
    const int64_t stride = (p->n_rows + MATCHING_ROWS - 1) / MATCHING_ROWS;
    const size_t bytes = (size_t)c->n_features * sizeof *c->mean;
    struct tile t = {.c = c, .first = p->n_rows};
    hcsmoe_status status = pool_each(p, stride, guess, c);

    memset(c->mean, 0, bytes);
    memset(c->deviation, 0, bytes);
    c->n_summed = 0;
    if (status == HCSMOE_OK)
        status = pool_each(p, 1, add_rows, c);
    if (status == HCSMOE_OK)
        status = correlation_moments(c, "activations", p->n_rows);
    return status == HCSMOE_OK ? h->parallel_for(h, c->n_pairs, divide_pairs, &t) : status;
}

hcsmoe_status correlation_fill(struct correlation *c, const struct pool *p)
{
    const int64_t ingredient = c->m->o->ingredient;
    hcsmoe_status status = HCSMOE_OK;

    if (ingredient & INGREDIENT_ACT)
        status = of_activations(c, p);
    if (status == HCSMOE_OK && (ingredient & INGREDIENT_WEIGHT))
        status = correlation_of_weights(c, (ingredient & INGREDIENT_ACT) != 0);
    return status;
}
