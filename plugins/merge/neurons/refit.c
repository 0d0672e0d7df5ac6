/*
 * refit.c - the down projection of the kept neurons, by ridge regression towards a prior.
 *
 *     V' = W0 + (C_S - W0 H_SS)(H_SS + mu I)^-1
 *
 * Rows of V' are independent and done a block at a time. Of a single expert W0 = V_S and C = V H,
 * so that the bracket is what the removed neurons leave: V_R H_RS. SPDX-License-Identifier: MIT
 */
#include "neurons.h"

struct refitting {
    const struct work *w;
    struct gram *g;
    const struct prior *prior;
    double mu;
    float *staging; /* [block, F] */
    void *w0;       /* [block, F'] */
    void *rest;     /* [block, F'] the bracket; */
    void *x;        /* [block, F'] and times the inverse */
    void *columns;  /* [block, M - F'] of the removed neurons; single only */
    void *product;  /* [block, max(F', M - F')]; single only */
    double *exact;  /* [block, F'] twice, [STRIP, F']; float only */
    double error, gain, total;
};

/* Sum of v . (v H') over rows of v[rows, n]; H' is n rows and columns of H, whose diagonal squares
 * are complete. */
static hcsmoe_status quadratic(struct refitting *f, const void *v, int64_t rows, const void *h,
                               int64_t n, double *sum)
{
    const struct work *w = f->w;
    int64_t i;

    for (i = 0; i < n; i += STRIP) {
        const int64_t strip = n - i < STRIP ? n - i : STRIP;
        double below = 0, within = 0;
        hcsmoe_status status = gemm(w, 0, 0, rows, i + strip, strip, 1, at(w, v, i), n,
                                    at(w, h, i * f->g->n), f->g->n, 0, f->product, n);
        if (status == HCSMOE_OK && i > 0)
            status = rows_dot(w, v, f->product, n, rows, i, &below);
        if (status == HCSMOE_OK)
            status = rows_dot(w, at(w, v, i), at(w, f->product, i), n, rows, strip, &within);
        if (status != HCSMOE_OK)
            return status;
        *sum += 2 * below + within;
    }
    return HCSMOE_OK;
}

/* rest of a single expert, and what it adds to total and to the error with W0 = V_S. */
static hcsmoe_status rest_single(struct refitting *f, int64_t row, int64_t rows)
{
    const struct work *w = f->w;
    const int64_t n = f->g->n, kept = w->kept, gone = n - kept;
    const void *below = at(w, f->g->h, kept * n), *corner = at(w, f->g->h, kept * n + kept);
    double within = 0, across = 0, without = 0;
    hcsmoe_status status = quadratic(f, f->w0, rows, f->g->h, kept, &within);

    if (status == HCSMOE_OK)
        status = down_columns(w, f->g, row, rows, kept, n, NULL, f->staging, f->columns);
    if (status == HCSMOE_OK)
        status = gemm(w, 0, 0, rows, kept, gone, 1, f->columns, gone, below, n, 0, f->rest, kept);
    if (status == HCSMOE_OK)
        status = rows_dot(w, f->w0, f->rest, kept, rows, kept, &across);
    if (status == HCSMOE_OK)
        status = quadratic(f, f->columns, rows, corner, gone, &without);
    f->error += without;
    f->total += within + 2 * across + without;
    return status;
}

/* |r - W0 phi|^2 = total - 2 W0 . C + W0 . W0 H, and W0 H is C less the rest. */
static hcsmoe_status rest_of_several(struct refitting *f, int64_t row, int64_t rows)
{
    const struct work *w = f->w;
    const int64_t kept = w->kept;
    double whole = 0, left = 0;
    hcsmoe_status status = transpose(w, f->rest, kept, at(w, f->g->ct, row), w->width, kept, rows);

    if (status == HCSMOE_OK)
        status = rows_dot(w, f->w0, f->rest, kept, rows, kept, &whole);
    if (status == HCSMOE_OK)
        status =
            gemm(w, 0, 0, rows, kept, kept, -1, f->w0, kept, f->g->h, f->g->n, 1, f->rest, kept);
    if (status == HCSMOE_OK)
        status = rows_dot(w, f->w0, f->rest, kept, rows, kept, &left);
    f->error -= whole + left;
    return status;
}

struct widen {
    const struct refitting *f;
    const float *from;
    double *to;
    int64_t ld;
    double mu;
};

static hcsmoe_status widen_part(void *arg, int64_t begin, int64_t end)
{
    const struct widen *s = arg;
    int64_t i, j;

    for (i = begin; i < end; i++)
        for (j = 0; j < s->f->w->kept; j++)
            s->to[i * s->f->w->kept + j] = (double)s->from[i * s->ld + j];
    return HCSMOE_OK;
}

static hcsmoe_status widen(const struct refitting *f, const float *from, int64_t ld, int64_t rows,
                           double *to)
{
    struct widen s = {.f = f, .from = from, .to = to, .ld = ld};

    return spread(f->w, rows, f->w->kept, widen_part, &s);
}

/* x += (rest - x (H_SS + mu I)) (H_SS + mu I)^-1, the bracket in double: one step of refinement. */
static hcsmoe_status refine(struct refitting *f, int64_t rows)
{
    const struct work *w = f->w;
    const hcsmoe_kernels *k = w->k;
    const int64_t kept = w->kept;
    double *x = f->exact, *residual = x + w->block * kept, *strip = residual + w->block * kept;
    float *step = f->rest;
    int64_t i, j;
    hcsmoe_status status = widen(f, f->x, kept, rows, x);

    if (status == HCSMOE_OK)
        status = widen(f, f->rest, kept, rows, residual);
    for (i = 0; i < kept && status == HCSMOE_OK; i += STRIP) {
        const int64_t n = kept - i < STRIP ? kept - i : STRIP;
        status = widen(f, (const float *)f->g->h + i * f->g->n, f->g->n, n, strip);
        for (j = 0; j < n; j++)
            strip[j * kept + i + j] = f->g->diagonal[i + j] + f->mu;
        if (status == HCSMOE_OK)
            status =
                k->dgemm(k, 0, 0, rows, kept, n, -1, x + i, kept, strip, kept, 1, residual, kept);
    }
    for (i = 0; i < rows * kept; i++)
        step[i] = (float)residual[i];
    if (status == HCSMOE_OK)
        status = k->cholesky_solve(k, w->dtype, rows, kept, f->g->other, kept, step, kept);
    for (i = 0; i < rows && status == HCSMOE_OK; i++)
        add_scaled(w, at(w, f->x, i * kept), at(w, step, i * kept), kept, 1);
    return status;
}

/* x, from the rest; and by how much it makes the error smaller: x . rest + mu x . x. */
static hcsmoe_status solve(struct refitting *f, int64_t rows)
{
    const struct work *w = f->w;
    const int64_t kept = w->kept;
    double explained = 0, square = 0;
    hcsmoe_status status;

    memcpy(f->x, f->rest, (size_t)(rows * kept) * w->size);
    status = w->k->cholesky_solve(w->k, w->dtype, rows, kept, f->g->other, kept, f->x, kept);
    if (status == HCSMOE_OK)
        status = rows_dot(w, f->x, f->rest, kept, rows, kept, &explained);
    if (status == HCSMOE_OK)
        status = rows_dot(w, f->x, f->x, kept, rows, kept, &square);
    f->gain += explained + f->mu * square;
    return status == HCSMOE_OK && f->exact ? refine(f, rows) : status;
}

/* Rows row.. of V' = W0 + x, rounded once. */
static hcsmoe_status write_rows(const struct refitting *f, int64_t row, int64_t rows)
{
    const struct work *w = f->w;
    hcsmoe_tensor to = *w->a->out_down;
    const hcsmoe_tensor from = hcsmoe_matrix(f->x, w->dtype, rows, w->kept);
    int64_t i;

    for (i = 0; i < rows; i++)
        add_scaled(w, at(w, f->x, i * w->kept), at(w, f->w0, i * w->kept), w->kept, 1);
    to.data = (char *)to.data + row * to.stride[0] * (int64_t)hcsmoe_dtype_size(to.dtype);
    to.shape[0] = rows;
    return w->k->convert(w->k, &from, &to);
}

static hcsmoe_status refitting_open(struct refitting *f)
{
    const struct work *w = f->w;
    const hcsmoe_host *h = w->h;
    const int64_t kept = w->kept, gone = f->g->n - kept;
    const int64_t longer = kept > gone ? kept : gone;
    const int single = f->g->single, is_float = w->dtype == HCSMOE_DTYPE_F32;

    f->staging = h->scratch(h, (size_t)(w->block * w->ffn) * sizeof *f->staging);
    f->w0 = h->scratch(h, (size_t)(w->block * kept) * w->size);
    f->rest = h->scratch(h, (size_t)(w->block * kept) * w->size);
    f->x = h->scratch(h, (size_t)(w->block * kept) * w->size);
    f->columns = single ? h->scratch(h, (size_t)(w->block * gone) * w->size) : NULL;
    f->product = single ? h->scratch(h, (size_t)(w->block * longer) * w->size) : NULL;
    f->exact =
        is_float ? h->scratch(h, (size_t)((2 * w->block + STRIP) * kept) * sizeof(double)) : NULL;
    if (!f->staging || !f->w0 || !f->rest || !f->x || (single && (!f->columns || !f->product)) ||
        (is_float && !f->exact))
        return HCSMOE_ENOMEM; /* scratch has set the message */
    return HCSMOE_OK;
}

hcsmoe_status refit(const struct work *w, struct gram *g, const struct prior *prior)
{
    struct refitting f = {.w = w, .g = g, .prior = prior, .total = g->total};
    hcsmoe_status status = gram_factor(w, g, w->kept, w->o->ridge, "ridge", g->other, &f.mu);
    int64_t row;

    if (status == HCSMOE_OK)
        status = refitting_open(&f);
    if (status == HCSMOE_OK)
        status = mirror(w, g->h, g->n, g->single ? g->n : w->kept);
    for (row = 0; row < w->width && status == HCSMOE_OK; row += w->block) {
        const int64_t rows = w->width - row < w->block ? w->width - row : w->block;
        if (w->h->cancelled(w->h))
            return HCSMOE_ECANCELLED;
        status = prior->rows(w, g, prior->arg, row, rows, f.w0);
        if (status == HCSMOE_OK)
            status = g->single ? rest_single(&f, row, rows) : rest_of_several(&f, row, rows);
        if (status == HCSMOE_OK)
            status = solve(&f, rows);
        if (status == HCSMOE_OK)
            status = write_rows(&f, row, rows);
    }
    if (!g->single)
        f.error += g->total;
    *w->a->loss = fmax(0, f.error - f.gain) * g->weight;
    *w->a->total = f.total * g->weight;
    return status;
}
