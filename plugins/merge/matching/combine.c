/*
 * combine.c - the result's features from those of the group, in double, rounded once.
 * SPDX-License-Identifier: MIT
 */
#include "matching.h"

hcsmoe_status combine_plain(const struct matching *m, int64_t n_tokens)
{
    const hcsmoe_merge_args *a = m->a;
    const hcsmoe_tensor *const members[] = {a->gate, a->up, a->down};
    const hcsmoe_tensor *const merged[] = {a->out_gate, a->out_up, a->out_down};
    const size_t n = (size_t)a->n_members;
    double *share = m->h->scratch(m->h, n * sizeof *share);
    const hcsmoe_tensor **terms = m->h->scratch(m->h, n * sizeof *terms);
    hcsmoe_status status = HCSMOE_OK;
    int64_t i;
    int part;

    if (!share || !terms)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    hcsmoe_logf(m->h, HCSMOE_LOG_WARN,
                "layer %d, group %d: tokens routed to its %lld experts: %lld, too few to compare "
                "activations: merged by the plain mean",
                a->dims->layer, a->group, (long long)a->n_members, (long long)n_tokens);
    for (part = 0; part < 3 && status == HCSMOE_OK; part++) {
        for (i = 0; i < a->n_members; i++) {
            share[i] = 1.0 / (double)a->n_members;
            terms[i] = &members[part][i];
        }
        status = m->k->weighted_sum(m->k, a->n_members, terms, share, merged[part]);
    }
    return status;
}

void combine_shares(const struct matching *m, double *share)
{
    int64_t i;

    for (i = 0; i < m->a->n_members; i++)
        share[i] = m->o->mode & MODE_SHARES ? (double)m->a->routed[i] : 1;
}

struct work {
    const struct matching *m;
    const struct combination *c;
    int64_t most; /* features of a slot */
};

static hcsmoe_tensor row_of(const hcsmoe_tensor *t, int64_t row)
{
    hcsmoe_tensor r = *t;

    r.data = (char *)t->data + (size_t)(row * t->stride[0]) * hcsmoe_dtype_size(t->dtype);
    r.shape[0] = 1;
    return r;
}

/* Rows of gate and up. */
static hcsmoe_status combine_slots(void *arg, int64_t begin, int64_t end)
{
    const struct work *w = arg;
    const struct combination *c = w->c;
    const hcsmoe_host *h = w->m->h;
    const hcsmoe_kernels *k = w->m->k;
    const hcsmoe_merge_args *a = w->m->a;
    const hcsmoe_tensor *const from[] = {a->gate, a->up};
    const hcsmoe_tensor *const to[] = {a->out_gate, a->out_up};
    hcsmoe_tensor *rows = h->scratch(h, (size_t)w->most * sizeof *rows);
    const hcsmoe_tensor **terms = h->scratch(h, (size_t)w->most * sizeof *terms);
    hcsmoe_status status = HCSMOE_OK;
    int64_t s, i;
    int part;

    if (!rows || !terms)
        return HCSMOE_ENOMEM;
    for (s = begin; s < end; s++)
        for (part = 0; part < 2 && status == HCSMOE_OK; part++) {
            const int64_t first = c->first[s], n = c->first[s + 1] - first;
            const hcsmoe_tensor out = row_of(to[part], s);
            for (i = 0; i < n; i++) {
                const int64_t feature = c->feature[first + i];
                rows[i] = row_of(&from[part][feature / a->dims->ffn], feature % a->dims->ffn);
                terms[i] = &rows[i];
            }
            status = k->weighted_sum(k, n, terms, c->coefficient + first, &out);
        }
    return status;
}

/* Columns of down, which lie across: row by row. */
static hcsmoe_status combine_rows(void *arg, int64_t begin, int64_t end)
{
    const struct work *w = arg;
    const struct combination *c = w->c;
    const hcsmoe_host *h = w->m->h;
    const hcsmoe_kernels *k = w->m->k;
    const hcsmoe_merge_args *a = w->m->a;
    const int64_t ffn = a->dims->ffn;
    double *x = h->scratch(h, (size_t)(a->n_members * ffn) * sizeof *x);
    double *y = h->scratch(h, (size_t)c->n_slots * sizeof *y);
    hcsmoe_status status = x && y ? HCSMOE_OK : HCSMOE_ENOMEM;
    int64_t d, e, s, i;

    for (d = begin; d < end && status == HCSMOE_OK; d++) {
        const hcsmoe_tensor sum = hcsmoe_matrix(y, HCSMOE_DTYPE_F64, 1, c->n_slots);
        const hcsmoe_tensor out = row_of(a->out_down, d);
        for (e = 0; e < a->n_members && status == HCSMOE_OK; e++) {
            const hcsmoe_tensor row = row_of(&a->down[e], d);
            const hcsmoe_tensor wide = hcsmoe_matrix(x + e * ffn, HCSMOE_DTYPE_F64, 1, ffn);
            status = k->convert(k, &row, &wide);
        }
        for (s = 0; s < c->n_slots; s++) {
            y[s] = c->coefficient[c->first[s]] * x[c->feature[c->first[s]]];
            for (i = c->first[s] + 1; i < c->first[s + 1]; i++)
                y[s] += c->coefficient[i] * x[c->feature[i]];
        }
        if (status == HCSMOE_OK)
            status = k->convert(k, &sum, &out);
    }
    return status;
}

hcsmoe_status combine(const struct matching *m, const struct combination *c)
{
    const hcsmoe_host *h = m->h;
    struct work w = {.m = m, .c = c};
    hcsmoe_status status;
    int64_t s;

    for (s = 0; s < c->n_slots; s++)
        if (c->first[s + 1] - c->first[s] > w.most)
            w.most = c->first[s + 1] - c->first[s];
    status = h->parallel_for(h, c->n_slots, combine_slots, &w);
    if (status == HCSMOE_OK)
        status = h->parallel_for(h, m->a->dims->width, combine_rows, &w);
    return status;
}
