/*
 * forward.c - greedy selection: again and again the neuron that explains most of what is left of
 * the group's output, then what it explains is taken out of all others.
 *
 * No inverse is needed; but every step is an update of rank one, which memory bounds.
 * SPDX-License-Identifier: MIT
 */
#include "neurons.h"

/* A neuron of whose square less is left is a combination of those selected. */
static const double LEFT_LEAST = 1e-10;

struct selection {
    const struct work *w;
    struct gram *g;
    double *start; /* [M] H_jj at first; below 0: selected */
    double *gain;  /* [M] */
    void *row;     /* [M] row of the selected neuron, divided by the root of its diagonal */
    void *c;       /* [D] likewise */
};

static hcsmoe_status gain_part(void *arg, int64_t begin, int64_t end)
{
    const struct selection *x = arg;
    const struct work *w = x->w;
    int64_t j;

    for (j = begin; j < end; j++) {
        const double h = get(w, x->g->other, j * x->g->n + j);
        const void *c = at(w, x->g->wt, j * w->width);
        x->gain[j] =
            x->start[j] >= 0 && h > LEFT_LEAST * x->start[j] ? dot(w, c, c, w->width) / h : -1;
    }
    return HCSMOE_OK;
}

/* C^T into wt, of a single expert C = V H. */
static hcsmoe_status targets(const struct work *w, struct gram *g)
{
    const int64_t n = g->n, width = w->width;
    hcsmoe_status status;
    void *block, *turned;
    float *staging;
    int64_t row;

    if (!g->single) {
        memcpy(g->wt, g->ct, (size_t)(n * width) * w->size);
        return HCSMOE_OK;
    }
    block = w->h->scratch(w->h, (size_t)(w->block * n) * w->size);
    turned = w->h->scratch(w->h, (size_t)(w->block * n) * w->size);
    staging = w->h->scratch(w->h, (size_t)(w->block * w->ffn) * sizeof *staging);
    if (!block || !turned || !staging)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    status = mirror(w, g->h, n, n);
    for (row = 0; row < width && status == HCSMOE_OK; row += w->block) {
        const int64_t rows = width - row < w->block ? width - row : w->block;
        status = down_columns(w, g, row, rows, 0, n, NULL, staging, block);
        if (status == HCSMOE_OK)
            status = transpose(w, turned, rows, block, n, rows, n);
        if (status == HCSMOE_OK)
            status =
                gemm(w, 0, 0, n, rows, n, 1, g->h, n, turned, rows, 0, at(w, g->wt, row), width);
    }
    return status;
}

/* H + mu I into other, and what the selection needs. */
static hcsmoe_status selection_open(struct selection *x)
{
    const struct work *w = x->w;
    const hcsmoe_host *h = w->h;
    const int64_t n = x->g->n;
    const double mu = w->o->select_ridge * gram_trace(x->g) / (double)n;
    int64_t j;

    x->start = h->scratch(h, (size_t)n * sizeof *x->start);
    x->gain = h->scratch(h, (size_t)n * sizeof *x->gain);
    x->row = h->scratch(h, (size_t)n * w->size);
    x->c = h->scratch(h, (size_t)w->width * w->size);
    if (!x->start || !x->gain || !x->row || !x->c)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    memcpy(x->g->other, x->g->h, (size_t)(n * n) * w->size);
    for (j = 0; j < n; j++) {
        x->start[j] = x->g->diagonal[j] + mu;
        set(w, x->g->other, j * n + j, x->start[j]);
    }
    return targets(w, x->g);
}

/* The first of those that gain most; the first that is left when none gains anything. */
static int64_t best_of(const struct selection *x)
{
    int64_t best = -1;
    int64_t j;

    for (j = 0; j < x->g->n; j++)
        if (x->start[j] >= 0 && (best < 0 || x->gain[j] > x->gain[best]))
            best = j;
    return best;
}

/* Takes what neuron i explains out of all others. */
static hcsmoe_status take(struct selection *x, int64_t i)
{
    const struct work *w = x->w;
    const int64_t n = x->g->n, width = w->width;
    void *p = x->g->other;
    const double root = sqrt(get(w, p, i * n + i));
    int64_t j;
    hcsmoe_status status;

    for (j = 0; j < n; j++)
        set(w, x->row, j, get(w, p, j < i ? i * n + j : j * n + i) / root);
    for (j = 0; j < width; j++)
        set(w, x->c, j, get(w, x->g->wt, i * width + j) / root);
    status = w->k->syrk(w->k, w->dtype, n, 1, -1, x->row, n, 1, p, n);
    if (status == HCSMOE_OK)
        status = gemm(w, 1, 0, n, width, 1, -1, x->row, n, x->c, width, 1, x->g->wt, width);
    return status;
}

hcsmoe_status select_forward(const struct work *w, struct gram *g, int64_t *kept)
{
    struct selection x = {.w = w, .g = g};
    hcsmoe_status status = selection_open(&x);
    int64_t step, j, n = 0;

    for (step = 0; step < w->kept && status == HCSMOE_OK; step++) {
        int64_t i;
        if (w->h->cancelled(w->h))
            return HCSMOE_ECANCELLED;
        status = spread(w, g->n, w->width, gain_part, &x);
        if (status != HCSMOE_OK)
            break;
        i = best_of(&x);
        if (x.gain[i] >= 0)
            status = take(&x, i);
        x.start[i] = -1;
    }
    for (j = 0; j < g->n && status == HCSMOE_OK; j++)
        if (x.start[j] < 0)
            kept[n++] = j;
    return status;
}
