/*
 * gram.c - the Gram matrix of a group's neurons: its memory, its order of rows, its factors.
 * SPDX-License-Identifier: MIT
 */
#include "neurons.h"

/* How often a ridge that leaves H singular is multiplied by ten. */
enum { RIDGE_TRIES = 6 };

int64_t arithmetic_size(double bytes_most, int64_t n)
{
    return 2.0 * 8.0 * (double)n * (double)n <= bytes_most ? 8 : 4;
}

static void gram_name_neurons(const struct work *w, struct gram *g)
{
    int64_t j;

    for (j = 0; j < g->n; j++)
        g->neuron[j] = g->order[j] % w->ffn;
}

hcsmoe_status gram_open(const struct work *w, struct gram *g, int64_t *order, int64_t n)
{
    const size_t square = (size_t)n * (size_t)n * w->size;
    const size_t flat = (size_t)n * (size_t)w->width * w->size;
    const hcsmoe_host *h = w->h;

    *g = (struct gram){.n = n, .single = w->a->n_members == 1, .order = order, .weight = 1};
    g->h = h->alloc(h, square);
    g->other = h->alloc(h, square);
    g->wt = h->alloc(h, flat);
    g->ct = g->single ? NULL : h->alloc(h, flat);
    g->diagonal = h->alloc(h, (size_t)n * sizeof *g->diagonal);
    g->d = h->alloc(h, (size_t)n * sizeof *g->d);
    g->neuron = h->alloc(h, (size_t)n * sizeof *g->neuron);
    if (!g->h || !g->other || !g->wt || (!g->single && !g->ct) || !g->diagonal || !g->d ||
        !g->neuron)
        return HCSMOE_ENOMEM; /* alloc has set the message */
    gram_name_neurons(w, g);
    return HCSMOE_OK;
}

void gram_close(const struct work *w, struct gram *g)
{
    w->h->free(w->h, g->h);
    w->h->free(w->h, g->other);
    w->h->free(w->h, g->wt);
    w->h->free(w->h, g->ct);
    w->h->free(w->h, g->diagonal);
    w->h->free(w->h, g->d);
    w->h->free(w->h, g->neuron);
}

double gram_trace(const struct gram *g)
{
    double trace = 0;
    int64_t j;

    for (j = 0; j < g->n; j++)
        trace += g->diagonal[j];
    return trace;
}

struct copy {
    const struct work *w;
    const struct gram *g;
    void *to;
    int64_t n;
    double mu;
};

static hcsmoe_status copy_rows(void *arg, int64_t begin, int64_t end)
{
    const struct copy *c = arg;
    int64_t i;

    for (i = begin; i < end; i++) {
        memcpy(at(c->w, c->to, i * c->n), at(c->w, c->g->h, i * c->g->n),
               (size_t)(i + 1) * c->w->size);
        set(c->w, c->to, i * c->n + i, c->g->diagonal[i] + c->mu);
    }
    return HCSMOE_OK;
}

hcsmoe_status gram_factor(const struct work *w, const struct gram *g, int64_t n, double ridge,
                          const char *option, void *to, double *mu)
{
    const hcsmoe_host *h = w->h;
    struct copy c = {.w = w, .g = g, .to = to, .n = n};
    double trace = 0;
    int64_t i;
    int tries;

    for (i = 0; i < n; i++)
        trace += g->diagonal[i];
    c.mu = ridge * trace / (double)n;
    for (tries = 0; tries <= RIDGE_TRIES; tries++, c.mu *= 10) {
        int64_t failed = 0;
        hcsmoe_status status = spread(w, n, n, copy_rows, &c);
        if (status == HCSMOE_OK)
            status = w->k->cholesky(w->k, w->dtype, n, to, n, &failed);
        if (status != HCSMOE_OK)
            return status;
        if (failed == 0) {
            if (tries > 0)
                hcsmoe_logf(h, HCSMOE_LOG_WARN,
                            "layer %d, group %d: the Gram matrix of %lld neurons is singular: %s "
                            "raised from %g to %g",
                            w->a->dims->layer, w->a->group, (long long)n, option, ridge,
                            ridge * pow(10, tries));
            *mu = c.mu;
            return HCSMOE_OK;
        }
        if (c.mu == 0)
            break;
    }
    return hcsmoe_failf(h, HCSMOE_EFAILED,
                        "group %d: the Gram matrix of %lld neurons is singular at %s = "
                        "%g: a larger one is needed",
                        w->a->group, (long long)n, option, ridge);
}

void gram_arrange(const struct work *w, struct gram *g, const int64_t *kept, int64_t n)
{
    int64_t p, i;

    /* kept ascends, and kept[p] >= p: earlier exchanges have not touched row kept[p]. */
    for (p = 0; p < n; p++) {
        const int64_t order = g->order[p];
        const double diagonal = g->diagonal[p], d = g->d[p];
        i = kept[p];
        if (i == p)
            continue;
        exchange(w, g->h, g->n, g->n, p, i);
        if (g->ct)
            exchange_rows(w, g->ct, w->width, p, i);
        g->order[p] = g->order[i];
        g->diagonal[p] = g->diagonal[i];
        g->d[p] = g->d[i];
        g->order[i] = order;
        g->diagonal[i] = diagonal;
        g->d[i] = d;
    }
    gram_name_neurons(w, g);
}

struct columns {
    const struct work *w;
    const float *in;
    void *out;
    const int64_t *index;
    const double *factor;
    int64_t n, ld;
};

static hcsmoe_status columns_part(void *arg, int64_t begin, int64_t end)
{
    const struct columns *c = arg;
    int64_t i;

    for (i = begin; i < end; i++)
        gather(c->w, at(c->w, c->out, i * c->ld), c->in + i * c->w->ffn, c->index, c->n, c->factor,
               1);
    return HCSMOE_OK;
}

hcsmoe_status down_columns(const struct work *w, const struct gram *g, int64_t row, int64_t rows,
                           int64_t begin, int64_t end, const double *factor, float *staging,
                           void *out)
{
    hcsmoe_status status = HCSMOE_OK;
    int64_t first, last;

    for (first = begin; first < end && status == HCSMOE_OK; first = last) {
        const int64_t member = g->order[first] / w->ffn;
        hcsmoe_tensor from = w->a->down[member];
        const hcsmoe_tensor to = hcsmoe_matrix(staging, HCSMOE_DTYPE_F32, rows, w->ffn);
        struct columns c = {.w = w, .in = staging, .out = at(w, out, first - begin)};
        for (last = first + 1; last < end && g->order[last] / w->ffn == member; last++)
            continue;
        from.data =
            (char *)from.data + row * from.stride[0] * (int64_t)hcsmoe_dtype_size(from.dtype);
        from.shape[0] = rows;
        c.index = &g->neuron[first];
        c.factor = factor ? &factor[first - begin] : NULL;
        c.n = last - first;
        c.ld = end - begin;
        status = w->k->convert(w->k, &from, &to);
        if (status == HCSMOE_OK)
            status = spread(w, rows, c.n, columns_part, &c);
    }
    return status;
}
