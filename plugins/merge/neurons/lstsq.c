/*
 * lstsq.c - an average of the experts, or one of them, and its down projection refitted.
 *
 *     V' = V0 + (C - V0 H)(H + mu I)^-1      (gate, up, V0): the base
 *
 * Neuron i of the base is the weighted mean of the members' neurons that belong to it: those of the
 * same number, or those that match. SPDX-License-Identifier: MIT
 */
#include "neurons.h"

struct base {
    const struct work *w;
    int32_t *partner; /* [m, F] the neuron of the base that a member's neuron belongs to */
    double *share;    /* [m] of a member */
    double *sum;      /* [F] of the shares of what belongs to a neuron */
    float *staging;   /* [block, F] */
};

/* Position of the member that most tokens chose, the first of equals. */
static int64_t dominant(const hcsmoe_merge_args *a)
{
    int64_t best = 0;
    int64_t e;

    for (e = 1; e < a->n_members; e++)
        if (a->stats->usage[a->members[e]] > a->stats->usage[a->members[best]])
            best = e;
    return best;
}

/* Position of the core, where the clustering gives none of the dominant member. */
static int64_t core(const hcsmoe_merge_args *a)
{
    int64_t e;

    for (e = 0; e < a->n_members; e++)
        if (a->members[e] == a->core)
            return e;
    return dominant(a);
}

static void set_shares(const struct base *b)
{
    const hcsmoe_merge_args *a = b->w->a;
    const int64_t kind = b->w->o->lstsq_base, one = dominant(a);
    const int by_usage = kind == BASE_FREQ || kind == BASE_ALIGN;
    double sum = 0;
    int64_t e;

    for (e = 0; e < a->n_members; e++)
        sum += a->stats->usage[a->members[e]];
    if (by_usage && !(sum > 0))
        hcsmoe_logf(b->w->h, HCSMOE_LOG_WARN,
                    "layer %d, group %d: no token chose any of its %lld experts: merged by the "
                    "plain mean",
                    a->dims->layer, a->group, (long long)a->n_members);
    for (e = 0; e < a->n_members; e++) {
        if (kind == BASE_DOMINANT)
            b->share[e] = e == one;
        else
            b->share[e] = by_usage && sum > 0 ? a->stats->usage[a->members[e]] / sum
                                              : 1 / (double)a->n_members;
    }
}

/* share and partner. */
static hcsmoe_status base_choose(const struct base *b)
{
    const struct work *w = b->w;
    const hcsmoe_merge_args *a = w->a;
    const int64_t kind = w->o->lstsq_base;
    hcsmoe_status status = HCSMOE_OK;
    int64_t j;

    set_shares(b);
    for (j = 0; j < a->n_members * w->ffn; j++)
        b->partner[j] = (int32_t)(j % w->ffn);
    if (kind == BASE_FIX_DOM_SAME && a->n_tokens < 2)
        hcsmoe_logf(w->h, HCSMOE_LOG_WARN,
                    "layer %d, group %d: %lld tokens are too few to match neurons: merged by the "
                    "plain mean",
                    a->dims->layer, a->group, (long long)a->n_tokens);
    else if (kind == BASE_FIX_DOM_SAME)
        status = match_members(w, core(a), 0, b->partner);
    else if (kind == BASE_ALIGN)
        status = match_members(w, dominant(a), 1, b->partner);
    for (j = 0; j < w->ffn; j++)
        b->sum[j] = 0;
    for (j = 0; j < a->n_members * w->ffn; j++)
        b->sum[b->partner[j]] += b->share[j / w->ffn];
    return status;
}

/* What a member's neuron counts for in the one it belongs to. The shares of a whole group need no
 * division, which would not leave them as they are. */
static double coefficient(const struct base *b, int64_t j)
{
    const double share = b->share[j / b->w->ffn];

    return b->w->o->lstsq_base == BASE_FIX_DOM_SAME ? share / b->sum[b->partner[j]] : share;
}

static hcsmoe_tensor row_of(const hcsmoe_tensor *t, int64_t row)
{
    const int64_t offset = row * t->stride[0] * (int64_t)hcsmoe_dtype_size(t->dtype);

    return hcsmoe_matrix((char *)t->data + offset, t->dtype, 1, t->shape[1]);
}

/* Rows of gate and up, each a weighted sum rounded once. */
static hcsmoe_status write_rows(const struct base *b)
{
    const struct work *w = b->w;
    const hcsmoe_host *h = w->h;
    const hcsmoe_merge_args *a = w->a;
    const hcsmoe_tensor *const from[] = {a->gate, a->up};
    const hcsmoe_tensor *const to[] = {a->out_gate, a->out_up};
    const int64_t all = a->n_members * w->ffn;
    int64_t *next = h->scratch(h, (size_t)all * sizeof *next); /* that belongs to the same; -1 */
    int64_t *head = h->scratch(h, (size_t)w->ffn * sizeof *head);
    hcsmoe_tensor *row = h->scratch(h, (size_t)all * sizeof *row);
    const hcsmoe_tensor **term = h->scratch(h, (size_t)all * sizeof *term);
    double *weight = h->scratch(h, (size_t)all * sizeof *weight);
    int64_t i, j;
    int part;

    if (!next || !head || !row || !term || !weight)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    for (i = 0; i < w->ffn; i++)
        head[i] = -1;
    for (j = all - 1; j >= 0; j--) {
        next[j] = head[b->partner[j]];
        head[b->partner[j]] = j;
    }
    for (part = 0; part < 2; part++)
        for (i = 0; i < w->ffn; i++) {
            hcsmoe_tensor out = row_of(to[part], i);
            hcsmoe_status status;
            int64_t n = 0;
            for (j = head[i]; j >= 0; j = next[j]) {
                weight[n] = coefficient(b, j);
                row[n] = row_of(&from[part][j / w->ffn], j % w->ffn);
                term[n] = &row[n];
                n += weight[n] != 0;
            }
            status = w->k->weighted_sum(w->k, n, term, weight, &out);
            if (status != HCSMOE_OK)
                return status;
        }
    return HCSMOE_OK;
}

struct spread {
    const struct base *b;
    int64_t member;
    void *out;
};

static hcsmoe_status spread_part(void *arg, int64_t begin, int64_t end)
{
    const struct spread *s = arg;
    const struct work *w = s->b->w;
    int64_t i, j;

    for (i = begin; i < end; i++)
        for (j = 0; j < w->ffn; j++) {
            const int64_t neuron = s->member * w->ffn + j;
            const int64_t to = i * w->ffn + s->b->partner[neuron];
            set(w, s->out, to,
                get(w, s->out, to) +
                    coefficient(s->b, neuron) * (double)s->b->staging[i * w->ffn + j]);
        }
    return HCSMOE_OK;
}

/* Rows of V0, not rounded to the stored dtype. */
static hcsmoe_status base_columns(const struct work *w, const struct gram *g, const void *arg,
                                  int64_t row, int64_t rows, void *out)
{
    const struct base *b = arg;
    struct spread s = {.b = b, .out = out};
    hcsmoe_status status = HCSMOE_OK;

    (void)g; /* its rows are the base's neurons in order */
    memset(out, 0, (size_t)(rows * w->ffn) * w->size);
    for (s.member = 0; s.member < w->a->n_members && status == HCSMOE_OK; s.member++) {
        hcsmoe_tensor from = w->a->down[s.member];
        const hcsmoe_tensor to = hcsmoe_matrix(b->staging, HCSMOE_DTYPE_F32, rows, w->ffn);
        if (b->share[s.member] == 0)
            continue;
        from.data =
            (char *)from.data + row * from.stride[0] * (int64_t)hcsmoe_dtype_size(from.dtype);
        from.shape[0] = rows;
        status = w->k->convert(w->k, &from, &to);
        if (status == HCSMOE_OK)
            status = spread(w, rows, w->ffn, spread_part, &s);
    }
    return status;
}

/* A group that no token used keeps V0. */
static hcsmoe_status keep_base(const struct base *b)
{
    const struct work *w = b->w;
    void *block = w->h->scratch(w->h, (size_t)(w->block * w->ffn) * w->size);
    int64_t row;

    if (!block)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    hcsmoe_logf(w->h, HCSMOE_LOG_WARN,
                "layer %d, group %d: no token used its experts: the base is not refitted",
                w->a->dims->layer, w->a->group);
    for (row = 0; row < w->width; row += w->block) {
        const int64_t rows = w->width - row < w->block ? w->width - row : w->block;
        const hcsmoe_tensor from = hcsmoe_matrix(block, w->dtype, rows, w->ffn);
        hcsmoe_tensor to = *w->a->out_down;
        hcsmoe_status status = base_columns(w, NULL, b, row, rows, block);
        to.data = (char *)to.data + row * to.stride[0] * (int64_t)hcsmoe_dtype_size(to.dtype);
        to.shape[0] = rows;
        if (status == HCSMOE_OK)
            status = w->k->convert(w->k, &from, &to);
        if (status != HCSMOE_OK)
            return status;
    }
    *w->a->loss = *w->a->total = 0;
    return HCSMOE_OK;
}

static hcsmoe_status base_open(struct base *b)
{
    const struct work *w = b->w;
    const hcsmoe_host *h = w->h;
    const int64_t members = w->a->n_members;

    b->partner = h->scratch(h, (size_t)(members * w->ffn) * sizeof *b->partner);
    b->share = h->scratch(h, (size_t)members * sizeof *b->share);
    b->sum = h->scratch(h, (size_t)w->ffn * sizeof *b->sum);
    b->staging = h->scratch(h, (size_t)(w->block * w->ffn) * sizeof *b->staging);
    if (!b->partner || !b->share || !b->sum || !b->staging)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    return HCSMOE_OK;
}

hcsmoe_status lstsq_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    const int64_t n = a->dims->ffn;
    int64_t *order = h->scratch(h, (size_t)n * sizeof *order);
    struct work w;
    struct base b = {.w = &w};
    const struct prior prior = {.rows = base_columns, .arg = &b};
    struct gram g = {0};
    hcsmoe_status status;
    int64_t j;
    int silent;

    work_open(&w, self, h, a, n);
    status = base_open(&b);
    if (status != HCSMOE_OK || !order)
        return HCSMOE_ENOMEM;
    for (j = 0; j < n; j++)
        order[j] = j;
    status = base_choose(&b);
    if (status == HCSMOE_OK)
        status = write_rows(&b);
    if (status == HCSMOE_OK)
        status = gram_open(&w, &g, order, n);
    if (status == HCSMOE_OK)
        status = gram_collect(&w, &g, a->out_gate, a->out_up);
    silent = status == HCSMOE_OK && !(gram_trace(&g) > 0);
    if (status == HCSMOE_OK && !silent) {
        warn_few_tokens(&w);
        status = refit(&w, &g, &prior);
    }
    gram_close(&w, &g);
    return silent ? keep_base(&b) : status;
}
