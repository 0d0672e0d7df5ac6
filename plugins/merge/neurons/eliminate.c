/*
 * eliminate.c - backward elimination: least squares with all neurons, then away with those whose
 * removal costs least, the rest being refitted, until F' are left.
 *
 *     P = (H + mu I)^-1     W = C P     score_j = |W_j|^2 / P_jj
 *
 * The score is exactly the rise of the ridge regression's objective when j is removed alone. Those
 * that go are moved to the end of P and W, a block at a time, so that a round is one symmetric
 * update and one product. SPDX-License-Identifier: MIT
 */
#include <stdlib.h>

#include "neurons.h"

/* Of the default block: M / 96 neurons go at once, which costs almost nothing in quality. */
enum { ROUNDS = 96 };

/* Multiply-adds of an update of P that is not divided. */
enum { WHOLE_MOST = 1 << 19 };

/* Rows of W^T that are updated at once, and scored while they are in the cache. */
enum { SCORED_ROWS = 128 };

/* Up to this many neurons go sooner from each row by itself than by a product. */
enum { FEW_GONE = 4 };

struct elimination {
    const struct work *w;
    struct gram *g;
    int64_t n;                  /* rows left */
    int64_t gone;               /* that the update at hand removes */
    int64_t *row_of, *place_of; /* [M] which row is at a place, and the reverse */
    double *least;              /* [M] per row: 1 / (H_jj + mu), which P_jj cannot fall below */
    double *score;              /* [M] per row */
    int64_t *cheapest;          /* [b] rows */
    double *square, *inverse;   /* [b, b] P_BB and the inverse of its factor */
    void *narrow;               /* [b, b] that, in the work's dtype */
    void *y;                    /* [b, M] */
    void *q;                    /* [b, D] */
};

int64_t eliminate_block(const neurons_opts *o, int64_t n)
{
    if (o->select_block > 0)
        return o->select_block;
    return n / ROUNDS > 1 ? n / ROUNDS : 1;
}

/* P, all of it, in place of its factor. */
static hcsmoe_status invert(const struct work *w, struct gram *g, double *mu)
{
    hcsmoe_status status =
        gram_factor(w, g, g->n, w->o->select_ridge, "select_ridge", g->other, mu);

    if (status == HCSMOE_OK)
        status = w->k->cholesky_inverse(w->k, w->dtype, g->n, g->other, g->n);
    return status == HCSMOE_OK ? mirror(w, g->other, g->n, g->n) : status;
}

/* W^T = P C^T. Of a single expert C = V H, so that W = V H P = V - mu V P. */
static hcsmoe_status coefficients(const struct work *w, struct gram *g, double mu)
{
    const int64_t n = g->n, width = w->width;
    void *block, *turned;
    float *staging;
    int64_t row;
    hcsmoe_status status = HCSMOE_OK;

    if (!g->single)
        return gemm(w, 0, 0, n, width, n, 1, g->other, n, g->ct, width, 0, g->wt, width);
    block = w->h->scratch(w->h, (size_t)(w->block * n) * w->size);
    turned = w->h->scratch(w->h, (size_t)(w->block * n) * w->size);
    staging = w->h->scratch(w->h, (size_t)(w->block * w->ffn) * sizeof *staging);
    if (!block || !turned || !staging)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    for (row = 0; row < width && status == HCSMOE_OK; row += w->block) {
        const int64_t rows = width - row < w->block ? width - row : w->block;
        void *out = at(w, g->wt, row);
        status = down_columns(w, g, row, rows, 0, n, NULL, staging, block);
        if (status == HCSMOE_OK)
            status = transpose(w, turned, rows, block, n, rows, n);
        if (status == HCSMOE_OK)
            status = transpose(w, out, width, block, n, rows, n);
        if (status == HCSMOE_OK)
            status = gemm(w, 0, 0, n, rows, n, -mu, g->other, n, turned, rows, 1, out, width);
    }
    return status;
}

/* W^T -= Y^T Q of strips of rows, if anything is gone, and the rows' scores. */
static hcsmoe_status score_part(void *arg, int64_t begin, int64_t end)
{
    const struct elimination *x = arg;
    const struct work *w = x->w;
    const int64_t ld = x->g->n, width = w->width;
    int64_t strip, i, k;

    for (strip = begin; strip < end; strip++) {
        const int64_t first = strip * SCORED_ROWS;
        const int64_t rows = x->n - first < SCORED_ROWS ? x->n - first : SCORED_ROWS;
        void *wt = at(w, x->g->wt, first * width);
        if (x->gone > FEW_GONE) {
            const hcsmoe_status status = gemm(w, 1, 0, rows, width, x->gone, -1, at(w, x->y, first),
                                              ld, x->q, width, 1, wt, width);
            if (status != HCSMOE_OK)
                return status;
        }
        for (i = 0; i < rows; i++) {
            const int64_t row = x->row_of[first + i];
            const double p = get(w, x->g->other, (first + i) * (ld + 1));
            const int64_t few = x->gone <= FEW_GONE ? x->gone : 0;
            double factor[FEW_GONE];
            for (k = 0; k < few; k++)
                factor[k] = get(w, x->y, k * ld + first + i);
            x->score[row] = subtract(w, at(w, wt, i * width), x->q, few, factor, width) /
                            fmax(p, x->least[row]);
        }
    }
    return HCSMOE_OK;
}

static hcsmoe_status score(struct elimination *x)
{
    return spread(x->w, (x->n + SCORED_ROWS - 1) / SCORED_ROWS,
                  SCORED_ROWS * x->w->width * (1 + x->gone), score_part, x);
}

/* To a place behind its own. */
static void move(struct elimination *x, int64_t row, int64_t place)
{
    const int64_t from = x->place_of[row], other = x->row_of[place];

    if (from == place)
        return;
    exchange(x->w, x->g->other, x->g->n, x->n, from, place);
    exchange_rows(x->w, x->g->wt, x->w->width, from, place);
    x->row_of[from] = other;
    x->place_of[other] = from;
    x->row_of[place] = row;
    x->place_of[row] = place;
}

/* Of equal scores the lower row is cheaper. */
static int is_cheaper(const struct elimination *x, int64_t a, int64_t b)
{
    return x->score[a] < x->score[b] || (x->score[a] == x->score[b] && a < b);
}

/* Moves the b cheapest to the end, the cheapest last. */
static void choose(struct elimination *x, int64_t b)
{
    int64_t i, at_most, n = 0;

    /* The list is sorted; most rows cost more than its last one. */
    for (i = 0; i < x->n; i++) {
        const int64_t row = x->row_of[i];
        if (n == b && !is_cheaper(x, row, x->cheapest[n - 1]))
            continue;
        n += n < b;
        for (at_most = n - 1; at_most > 0 && is_cheaper(x, row, x->cheapest[at_most - 1]);
             at_most--)
            x->cheapest[at_most] = x->cheapest[at_most - 1];
        x->cheapest[at_most] = row;
    }
    for (i = 0; i < b; i++)
        move(x, x->cheapest[i], x->n - 1 - i);
}

/* The inverse of the factor of P_BB, B the last *b places. Rounding may have left too little of a
 * large block: half of it is taken then. */
static hcsmoe_status factor_block(struct elimination *x, int64_t *b)
{
    const struct work *w = x->w;
    const int64_t ld = x->g->n;
    int64_t i, j, k, failed = 1;

    for (; failed != 0; *b = failed == 0 ? *b : *b / 2) {
        const int64_t n = *b, first = x->n - n;
        hcsmoe_status status;
        for (i = 0; i < n; i++)
            for (j = 0; j <= i; j++)
                x->square[i * n + j] = get(w, x->g->other, (first + i) * ld + first + j);
        if (n == 1)
            x->square[0] = fmax(x->square[0], x->least[x->row_of[first]]);
        status = w->k->cholesky(w->k, HCSMOE_DTYPE_F64, n, x->square, n, &failed);
        if (status != HCSMOE_OK)
            return status;
        if (failed != 0 && n == 1)
            return hcsmoe_failf(w->h, HCSMOE_EFAILED,
                                "group %d: the elimination of neurons breaks down with "
                                "%lld left: a larger select_ridge is needed",
                                w->a->group, (long long)x->n);
    }
    memset(x->inverse, 0, (size_t)(*b * *b) * sizeof *x->inverse);
    for (j = 0; j < *b; j++)
        for (i = j; i < *b; i++) {
            double sum = i == j;
            for (k = j; k < i; k++)
                sum -= x->square[i * *b + k] * x->inverse[k * *b + j];
            x->inverse[i * *b + j] = sum / x->square[i * *b + i];
        }
    for (i = 0; i < *b * *b; i++)
        set(w, x->narrow, i, x->inverse[i]);
    return HCSMOE_OK;
}

/* P -= Y^T Y. A small square is done whole, by one thread, sooner than its tiles are handed out. */
static hcsmoe_status update_inverse(const struct elimination *x, int64_t left, int64_t b)
{
    const struct work *w = x->w;
    const int64_t ld = x->g->n;
    void *p = x->g->other;

    if (left * left * b <= WHOLE_MOST)
        return gemm(w, 1, 0, left, left, b, -1, x->y, ld, x->y, ld, 1, p, ld);
    return w->k->syrk(w->k, w->dtype, left, b, -1, x->y, ld, 1, p, ld);
}

/* With L L^T = P_BB, Y = L^-1 P_B and Q = L^-1 W_B^T: P -= Y^T Y, W^T -= Y^T Q. */
static hcsmoe_status remove_block(struct elimination *x, int64_t b)
{
    const struct work *w = x->w;
    const int64_t ld = x->g->n, width = w->width, left = x->n - b;
    const void *p_b = at(w, x->g->other, left * ld), *w_b = at(w, x->g->wt, left * width);
    hcsmoe_status status;

    status = gemm(w, 0, 0, b, left, b, 1, x->narrow, b, p_b, ld, 0, x->y, ld);
    if (status == HCSMOE_OK)
        status = gemm(w, 0, 0, b, width, b, 1, x->narrow, b, w_b, width, 0, x->q, width);
    x->n = left;
    x->gone = b;
    if (status != HCSMOE_OK || left == w->kept)
        return status;
    status = update_inverse(x, left, b);
    return status == HCSMOE_OK ? score(x) : status;
}

static hcsmoe_status elimination_open(struct elimination *x, double mu, int64_t b)
{
    const struct work *w = x->w;
    const hcsmoe_host *h = w->h;
    const int64_t n = x->g->n;
    int64_t i;

    x->n = n;
    x->row_of = h->scratch(h, (size_t)n * sizeof *x->row_of);
    x->place_of = h->scratch(h, (size_t)n * sizeof *x->place_of);
    x->least = h->scratch(h, (size_t)n * sizeof *x->least);
    x->score = h->scratch(h, (size_t)n * sizeof *x->score);
    x->cheapest = h->scratch(h, (size_t)b * sizeof *x->cheapest);
    x->square = h->scratch(h, (size_t)(b * b) * sizeof *x->square);
    x->inverse = h->scratch(h, (size_t)(b * b) * sizeof *x->inverse);
    x->narrow = h->scratch(h, (size_t)(b * b) * w->size);
    x->y = h->scratch(h, (size_t)(b * n) * w->size);
    x->q = h->scratch(h, (size_t)(b * w->width) * w->size);
    if (!x->row_of || !x->place_of || !x->least || !x->score || !x->cheapest || !x->square ||
        !x->inverse || !x->narrow || !x->y || !x->q)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    for (i = 0; i < n; i++) {
        x->row_of[i] = x->place_of[i] = i;
        x->least[i] = 1 / (x->g->diagonal[i] + mu);
    }
    return score(x);
}

static int ascending(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

hcsmoe_status eliminate(const struct work *w, struct gram *g, int64_t *kept)
{
    struct elimination x = {.w = w, .g = g};
    const int64_t gone = g->n - w->kept, wanted = eliminate_block(w->o, g->n);
    const int64_t block = wanted < gone ? wanted : gone;
    double mu = 0;
    hcsmoe_status status = invert(w, g, &mu);

    if (status == HCSMOE_OK)
        status = coefficients(w, g, mu);
    if (status == HCSMOE_OK)
        status = elimination_open(&x, mu, block);
    while (status == HCSMOE_OK && x.n > w->kept) {
        int64_t b = x.n - w->kept < block ? x.n - w->kept : block;
        if (w->h->cancelled(w->h))
            return HCSMOE_ECANCELLED;
        choose(&x, b);
        status = factor_block(&x, &b);
        if (status == HCSMOE_OK)
            status = remove_block(&x, b);
    }
    if (status != HCSMOE_OK)
        return status;
    memcpy(kept, x.row_of, (size_t)w->kept * sizeof *kept);
    qsort(kept, (size_t)w->kept, sizeof *kept, ascending);
    return HCSMOE_OK;
}
