/*
 * collect.c - H, C and d from the group's tokens.
 *
 * Tokens are gathered until some hundreds of them are there, whatever the size of the host's tiles. Their
 * products are added up in double; where H is kept in float, each sum has a second float for what
 * rounding took from the first. SPDX-License-Identifier: MIT
 */
#include "neurons.h"

/* Up to this many neurons a quarter of the rows is enough for a product, and they stay in the cache until then. */
enum { NARROW_MOST = 512 };

struct collect {
    const struct work *w;
    struct gram *g;
    const hcsmoe_tensor *gate, *up; /* NULL: the members' own neurons */
    int64_t n_sources;
    int64_t *first;    /* [sources + 1] rows of H that a source, here a member, has */
    void *phi;         /* [rows_most, M] */
    void *r;           /* [rows_most, D]; the others below: of a tile */
    float *made;       /* [tile, F] h of gate and up */
    float *output;     /* [tile, D] */
    float *in, *out;   /* [tile, F], [tile, D] what one member has to do */
    int64_t *rows;     /* [tile] */
    float *scale;      /* [tile] */
    int64_t *used;     /* [tile] tokens that are not left out */
    double *sum;       /* [tile] of the members' weights */
    double *square;    /* [tile] r^2 */
    float *product;    /* [STRIP, max(M, D)] */
    int64_t rows_most; /* that are gathered */
    int64_t n_used, filled, seen;
    /* of the part that is being filled in */
    const hcsmoe_group_tile *tile;
    const float *const *source;
    int64_t begin;
};

/* r of a tile: each member on the tokens that are routed to it. */
static hcsmoe_status tile_output(struct collect *c, const hcsmoe_group_tile *tile)
{
    const struct work *w = c->w;
    const hcsmoe_kernels *k = w->k;
    const int64_t members = w->a->n_members;
    hcsmoe_status status = k->clear(k, c->output, (size_t)(tile->n_tokens * w->width) * 4);
    int64_t e, t;

    for (e = 0; e < members && status == HCSMOE_OK; e++) {
        int64_t n = 0;
        for (t = 0; t < tile->n_tokens; t++) {
            if (tile->weights[t * members + e] == 0)
                continue;
            c->scale[n] = tile->weights[t * members + e];
            c->rows[n++] = t;
        }
        if (n == 0)
            continue;
        status = k->gather(k, n, w->ffn, tile->hidden[e], c->rows, c->in);
        if (status == HCSMOE_OK)
            status = k->linear(k, n, w->width, w->ffn, c->in, &w->a->down[e], NULL, 0, c->out);
        if (status == HCSMOE_OK)
            status = k->scatter_add(k, n, w->width, c->out, c->rows, c->scale, c->output);
    }
    return status;
}

/* phi and r of used tokens begin.. of the tile into the rows from `filled` on. */
static hcsmoe_status fill_part(void *arg, int64_t begin, int64_t end)
{
    const struct collect *c = arg;
    const struct work *w = c->w;
    int64_t i, e;

    for (i = begin; i < end; i++) {
        const int64_t t = c->used[c->begin + i], row = c->filled + i;
        for (e = 0; e < c->n_sources; e++) {
            const int64_t first = c->first[e], n = c->first[e + 1] - first;
            gather(w, at(w, c->phi, row * c->g->n + first), c->source[e] + t * w->ffn,
                   n == w->ffn ? NULL : &c->g->neuron[first], n, NULL, c->sum[t]);
        }
        if (c->r)
            gather(w, at(w, c->r, row * w->width), c->output + t * w->width, NULL, w->width, NULL,
                   1);
        c->square[t] =
            c->r ? dot(w, at(w, c->r, row * w->width), at(w, c->r, row * w->width), w->width) : 0;
    }
    return HCSMOE_OK;
}

/* Enough for a row's part to be worth a loop of its own. */
enum { D_COLUMNS = 256 };

struct d_job {
    const struct collect *c;
    int64_t n;
};

/* d of strips of D_COLUMNS columns: psi = phi * w / s. */
static hcsmoe_status d_part(void *arg, int64_t begin, int64_t end)
{
    const struct d_job *j = arg;
    const struct collect *c = j->c;
    const int64_t first = begin * D_COLUMNS, last = end * D_COLUMNS;
    int64_t i, e;

    for (i = 0; i < j->n; i++) {
        const int64_t t = c->used[c->begin + i], row = (c->filled + i) * c->g->n;
        for (e = 0; e < c->n_sources; e++) {
            const double weight = (double)c->tile->weights[t * c->n_sources + e];
            const int64_t from = c->first[e] > first ? c->first[e] : first;
            const int64_t to = c->first[e + 1] < last ? c->first[e + 1] : last;
            if (weight != 0 && from < to)
                add_squares(c->w, &c->g->d[from], at(c->w, c->phi, row + from), to - from,
                            weight / c->sum[t]);
        }
    }
    return HCSMOE_OK;
}

struct compensate {
    float *high, *low;
    const float *x;
    int64_t row, ld, columns; /* columns 0: of row i as many as the lower triangle has */
};

/* high + low += x, rows of a strip. */
static hcsmoe_status compensate_part(void *arg, int64_t begin, int64_t end)
{
    const struct compensate *s = arg;
    int64_t i, j;

    for (i = begin; i < end; i++) {
        const int64_t n = s->columns ? s->columns : s->row + i + 1;
        float *high = s->high + (s->row + i) * s->ld, *low = s->low + (s->row + i) * s->ld;
        const float *x = s->x + i * s->ld;
        for (j = 0; j < n; j++) {
            const float sum = high[j] + x[j];
            const float added = sum - high[j];
            low[j] += (high[j] - (sum - added)) + (x[j] - added);
            high[j] = sum;
        }
    }
    return HCSMOE_OK;
}

/* Of the float sums: strips of phi^T phi, and of phi^T r. */
static hcsmoe_status flush_float(struct collect *c)
{
    const hcsmoe_kernels *k = c->w->k;
    const int64_t n = c->g->n, width = c->w->width;
    const float *phi = c->phi;
    hcsmoe_status status = HCSMOE_OK;
    int64_t row;

    for (row = 0; row < n && status == HCSMOE_OK; row += STRIP) {
        const int64_t rows = n - row < STRIP ? n - row : STRIP;
        struct compensate s = {
            .high = c->g->h, .low = c->g->other, .x = c->product, .row = row, .ld = n};
        status = k->sgemm(k, 1, 0, rows, row + rows, c->filled, 1, phi + row, n, phi, n, 0,
                          c->product, n);
        if (status == HCSMOE_OK)
            status = spread(c->w, rows, s.columns ? width : row + rows, compensate_part, &s);
        if (status != HCSMOE_OK || !c->r)
            continue;
        s.high = c->g->ct;
        s.low = c->g->wt;
        s.ld = s.columns = width;
        status = k->sgemm(k, 1, 0, rows, width, c->filled, 1, phi + row, n, c->r, width, 0,
                          c->product, width);
        if (status == HCSMOE_OK)
            status = spread(c->w, rows, s.columns ? width : row + rows, compensate_part, &s);
    }
    return status;
}

static hcsmoe_status flush(struct collect *c)
{
    const hcsmoe_kernels *k = c->w->k;
    const int64_t n = c->g->n, width = c->w->width;
    hcsmoe_status status = HCSMOE_OK;

    if (c->w->h->cancelled(c->w->h))
        return HCSMOE_ECANCELLED;
    if (c->filled == 0)
        return HCSMOE_OK;
    if (c->w->dtype == HCSMOE_DTYPE_F32) {
        status = flush_float(c);
    } else {
        status = k->syrk(k, c->w->dtype, n, c->filled, 1, c->phi, n, 1, c->g->h, n);
        if (status == HCSMOE_OK && c->r)
            status = k->dgemm(k, 1, 0, n, width, c->filled, 1, c->phi, n, c->r, width, 1, c->g->ct,
                              width);
    }
    c->filled = 0;
    return status;
}

/* The tile's used tokens, and the sum of their weights. */
static void choose_tokens(struct collect *c, const hcsmoe_group_tile *tile)
{
    const int64_t members = c->w->a->n_members, all = c->w->a->n_tokens;
    int64_t t, e;

    c->n_used = 0;
    for (t = 0; t < tile->n_tokens; t++, c->seen++) {
        c->sum[t] = 0;
        for (e = 0; e < members; e++)
            c->sum[t] += (double)tile->weights[t * members + e];
        if (c->seen * c->g->n_tokens / all != (c->seen + 1) * c->g->n_tokens / all)
            c->used[c->n_used++] = t;
    }
}

static hcsmoe_status collect_tile(void *arg, const hcsmoe_group_tile *tile)
{
    struct collect *c = arg;
    const struct work *w = c->w;
    const float *const made[] = {c->made};
    hcsmoe_status status = HCSMOE_OK;
    int64_t i, n;

    choose_tokens(c, tile);
    c->tile = tile;
    c->source = c->gate ? made : tile->hidden;
    if (c->gate)
        status =
            w->k->swiglu(w->k, tile->n_tokens, w->width, w->ffn, tile->x, c->gate, c->up, c->made);
    if (status == HCSMOE_OK && c->r)
        status = tile_output(c, tile);
    for (c->begin = 0; c->begin < c->n_used && status == HCSMOE_OK; c->begin += n) {
        struct d_job d = {.c = c};
        n = c->n_used - c->begin < c->rows_most - c->filled ? c->n_used - c->begin
                                                            : c->rows_most - c->filled;
        d.n = n;
        status = spread(w, n, c->g->n + w->width, fill_part, c);
        if (status == HCSMOE_OK && !c->gate && !c->g->single)
            status = spread(w, (c->g->n + D_COLUMNS - 1) / D_COLUMNS, D_COLUMNS * n, d_part, &d);
        for (i = 0; i < n && c->r; i++)
            c->g->total += c->square[c->used[c->begin + i]];
        c->filled += n;
        if (status == HCSMOE_OK && c->filled == c->rows_most)
            status = flush(c);
    }
    c->source = NULL;
    return status;
}

static hcsmoe_status collect_open(struct collect *c)
{
    const struct work *w = c->w;
    const hcsmoe_host *h = w->h;
    const int64_t n = c->g->n, tile = HCSMOE_TILE_TOKENS, members = w->a->n_members;
    const int64_t longer = n > w->width ? n : w->width;
    const int r = !c->g->single;
    int64_t j, e = 0;

    c->rows_most = n <= NARROW_MOST ? ROWS / 4 : ROWS;
    c->n_sources = c->gate ? 1 : members;
    c->first = h->scratch(h, (size_t)(c->n_sources + 1) * sizeof *c->first);
    c->phi = h->alloc(h, (size_t)(c->rows_most * n) * w->size);
    c->r = r ? h->alloc(h, (size_t)(c->rows_most * w->width) * w->size) : NULL;
    c->made = c->gate ? h->alloc(h, (size_t)(tile * w->ffn) * 4) : NULL;
    c->output = r ? h->alloc(h, (size_t)(tile * w->width) * 4) : NULL;
    c->in = r ? h->alloc(h, (size_t)(tile * w->ffn) * 4) : NULL;
    c->out = r ? h->alloc(h, (size_t)(tile * w->width) * 4) : NULL;
    c->rows = h->scratch(h, (size_t)tile * sizeof *c->rows);
    c->scale = h->scratch(h, (size_t)tile * sizeof *c->scale);
    c->used = h->scratch(h, (size_t)tile * sizeof *c->used);
    c->sum = h->scratch(h, (size_t)tile * sizeof *c->sum);
    c->square = h->scratch(h, (size_t)tile * sizeof *c->square);
    c->product = w->dtype == HCSMOE_DTYPE_F32 ? h->alloc(h, (size_t)(STRIP * longer) * 4) : NULL;
    if (!c->first || !c->phi || (r && (!c->r || !c->output || !c->in || !c->out)) ||
        (c->gate && !c->made) || !c->rows || !c->scale || !c->used || !c->sum || !c->square ||
        (w->dtype == HCSMOE_DTYPE_F32 && !c->product))
        return HCSMOE_ENOMEM; /* the host has set the message */
    c->first[0] = 0;
    for (j = 0; j < n && !c->gate; j++)
        for (; e < c->g->order[j] / w->ffn; e++)
            c->first[e + 1] = j;
    for (; e < c->n_sources; e++)
        c->first[e + 1] = n;
    return HCSMOE_OK;
}

static void collect_close(struct collect *c)
{
    const hcsmoe_host *h = c->w->h;

    h->free(h, c->phi);
    h->free(h, c->r);
    h->free(h, c->made);
    h->free(h, c->output);
    h->free(h, c->in);
    h->free(h, c->out);
    h->free(h, c->product);
}

/* Of rows begin..end-1: the second float of every sum is added to the first. */
static hcsmoe_status finish_part(void *arg, int64_t begin, int64_t end)
{
    const struct collect *c = arg;
    const int64_t n = c->g->n, width = c->w->width;
    int64_t i, j;

    for (i = begin; i < end; i++) {
        float *h = c->g->h, *ct = c->g->ct;
        const float *h_low = c->g->other, *ct_low = c->g->wt;
        c->g->diagonal[i] = (double)h[i * n + i] + (double)h_low[i * n + i];
        for (j = 0; j <= i; j++)
            h[i * n + j] += h_low[i * n + j];
        for (j = 0; j < width && ct; j++)
            ct[i * width + j] += ct_low[i * width + j];
    }
    return HCSMOE_OK;
}

static hcsmoe_status collect_finish(struct collect *c)
{
    struct gram *g = c->g;
    const struct work *w = c->w;
    hcsmoe_status status = HCSMOE_OK;
    int64_t i;

    if (w->dtype == HCSMOE_DTYPE_F32)
        status = spread(w, g->n, g->n, finish_part, c);
    else
        for (i = 0; i < g->n; i++)
            g->diagonal[i] = get(w, g->h, i * g->n + i);
    /* What is not finite in H or C is not finite here: |H_ij|^2 <= H_ii H_jj, |C_i|^2 <= H_ii r^2.
     */
    if (status == HCSMOE_OK && !isfinite(gram_trace(g) + g->total))
        return hcsmoe_failf(w->h, HCSMOE_EFAILED,
                            "group %d: the activations of its experts are not finite", w->a->group);
    return status;
}

hcsmoe_status gram_collect(const struct work *w, struct gram *g, const hcsmoe_tensor *gate,
                           const hcsmoe_tensor *up)
{
    const size_t square = (size_t)(g->n * g->n) * w->size;
    const size_t flat = (size_t)(g->n * w->width) * w->size;
    const hcsmoe_kernels *k = w->k;
    struct collect c = {.w = w, .g = g, .gate = gate, .up = up};
    hcsmoe_status status = collect_open(&c);

    g->n_tokens = w->a->n_tokens;
    if (w->dtype == HCSMOE_DTYPE_F32 && g->n_tokens > TOKENS_PER_NEURON * g->n)
        g->n_tokens = TOKENS_PER_NEURON * g->n;
    g->weight = g->n_tokens > 0 ? (double)w->a->n_tokens / (double)g->n_tokens : 1;
    if (status == HCSMOE_OK)
        status = k->clear(k, g->h, square);
    if (status == HCSMOE_OK && g->ct)
        status = k->clear(k, g->ct, flat);
    if (status == HCSMOE_OK && w->dtype == HCSMOE_DTYPE_F32)
        status = k->clear(k, g->other, square);
    if (status == HCSMOE_OK && w->dtype == HCSMOE_DTYPE_F32 && g->ct)
        status = k->clear(k, g->wt, flat);
    memset(g->d, 0, (size_t)g->n * sizeof *g->d);
    if (status == HCSMOE_OK)
        status = w->a->tokens(w->a, HCSMOE_TILE_HIDDEN, collect_tile, &c);
    if (status == HCSMOE_OK)
        status = flush(&c);
    if (status == HCSMOE_OK)
        status = collect_finish(&c);
    collect_close(&c);
    return status;
}
