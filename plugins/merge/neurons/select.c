/*
 * select.c - slim and select: the best neurons of a group's experts, whole and unchanged, and their
 * down projection refitted. slim is select on groups of one.
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>

#include "neurons.h"

void work_open(struct work *w, const struct neurons *self, const hcsmoe_host *h,
               const hcsmoe_merge_args *a, int64_t n)
{
    *w = (struct work){.h = h, .k = h->kernels(h), .a = a, .o = self->o};
    w->width = a->dims->width;
    w->ffn = a->dims->ffn;
    w->kept = a->out_gate->shape[0];
    w->block = w->width < BLOCK ? w->width : BLOCK;
    w->bytes_most = self->bytes_most;
    w->size = (size_t)arithmetic_size(w->bytes_most, n);
    w->dtype = w->size == 8 ? HCSMOE_DTYPE_F64 : HCSMOE_DTYPE_F32;
    w->loops = loops_of(w->dtype);
}

void warn_few_tokens(const struct work *w)
{
    const double each = (double)w->a->n_tokens / (double)w->kept;

    if (each < (double)w->o->min_tokens)
        hcsmoe_logf(w->h, HCSMOE_LOG_WARN,
                    "layer %d, group %d: %lld tokens for %lld neurons, %.2f each: min_tokens = "
                    "%lld asks for more calibration text",
                    w->a->dims->layer, w->a->group, (long long)w->a->n_tokens, (long long)w->kept,
                    each, (long long)w->o->min_tokens);
    else if (each < 1)
        hcsmoe_logf(w->h, HCSMOE_LOG_WARN,
                    "layer %d, group %d: fewer tokens (%lld) than neurons (%lld)",
                    w->a->dims->layer, w->a->group, (long long)w->a->n_tokens, (long long)w->kept);
}

struct ranked {
    double value;
    int64_t index;
};

/* Largest first, ties by the lower index. */
static int by_value(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    if (x->value != y->value)
        return x->value > y->value ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static int by_index(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    return x->index < y->index ? -1 : 1;
}

/* index[most]: those of the n ranked that are largest, ascending. */
static void take_largest(struct ranked *r, int64_t n, int64_t most, int64_t *index)
{
    int64_t j;

    qsort(r, (size_t)n, sizeof *r, by_value);
    qsort(r, (size_t)most, sizeof *r, by_index);
    for (j = 0; j < most; j++)
        index[j] = r[j].index;
}

int64_t pool_size(const neurons_opts *o, int64_t n, int64_t ffn)
{
    return o->pool > 0 && n / ffn > o->pool ? o->pool * ffn : n;
}

/* The union, or the n neurons of it that explain most of their own expert's output when they serve
 * the whole group: o^2 / q of the energies. */
static hcsmoe_status choose_pool(const struct work *w, int64_t *order, int64_t n)
{
    const hcsmoe_merge_args *a = w->a;
    const int64_t all = a->n_members * w->ffn, experts = a->dims->n_experts;
    struct ranked *r;
    int64_t j, m;

    if (n == all) {
        for (j = 0; j < n; j++)
            order[j] = j;
        return HCSMOE_OK;
    }
    r = w->h->scratch(w->h, (size_t)all * sizeof *r);
    if (!r)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    for (j = 0; j < all; j++) {
        const int64_t e = a->members[j / w->ffn], i = j % w->ffn;
        const double own = a->stats->energy[(e * experts + e) * w->ffn + i];
        double q = 0;
        for (m = 0; m < a->n_members; m++)
            q += a->stats->energy[(a->members[m] * experts + e) * w->ffn + i];
        r[j] = (struct ranked){.value = q > 0 ? own * (own / q) : 0, .index = j};
    }
    take_largest(r, all, n, order);
    return HCSMOE_OK;
}

/* Row i of an expert's matrix becomes row j of the result, bit for bit. */
static void copy_row(const hcsmoe_tensor *to, int64_t j, const hcsmoe_tensor *from, int64_t i)
{
    const size_t size = hcsmoe_dtype_size(from->dtype);

    memcpy((char *)to->data + j * to->stride[0] * (int64_t)size,
           (const char *)from->data + i * from->stride[0] * (int64_t)size,
           (size_t)from->shape[1] * size);
}

/* Gate and up of the neurons index[F'] of the union. */
static void write_neurons(const struct work *w, const int64_t *index)
{
    int64_t j;

    for (j = 0; j < w->kept; j++) {
        const int64_t member = index[j] / w->ffn, i = index[j] % w->ffn;
        copy_row(w->a->out_gate, j, &w->a->gate[member], i);
        copy_row(w->a->out_up, j, &w->a->up[member], i);
    }
}

/* Their columns of the down projections, as stored. */
static void write_columns(const struct work *w, const int64_t *index)
{
    const hcsmoe_tensor *to = w->a->out_down;
    const size_t size = hcsmoe_dtype_size(to->dtype);
    int64_t d, j;

    for (d = 0; d < w->width; d++)
        for (j = 0; j < w->kept; j++) {
            const hcsmoe_tensor *from = &w->a->down[index[j] / w->ffn];
            memcpy((char *)to->data + (d * to->stride[0] + j) * (int64_t)size,
                   (const char *)from->data +
                       (d * from->stride[0] + index[j] % w->ffn) * (int64_t)size,
                   size);
        }
}

/* |u_i| |v_i| of the first member's neurons. */
static hcsmoe_status rank_by_norm(const struct work *w, struct ranked *r)
{
    const hcsmoe_host *h = w->h;
    const hcsmoe_tensor *from[] = {&w->a->up[0], &w->a->down[0]};
    const int64_t rows[] = {w->ffn, w->width}, columns[] = {w->width, w->ffn};
    double *square[2];
    int64_t i, j;
    int part;

    for (part = 0; part < 2; part++) {
        const size_t elements = (size_t)(rows[part] * columns[part]);
        float *x = h->scratch(h, elements * sizeof *x);
        hcsmoe_tensor to = hcsmoe_matrix(x, HCSMOE_DTYPE_F32, rows[part], columns[part]);
        hcsmoe_status status;
        square[part] = h->scratch(h, (size_t)w->ffn * sizeof *square[part]);
        if (!x || !square[part])
            return HCSMOE_ENOMEM; /* scratch has set the message */
        status = w->k->convert(w->k, from[part], &to);
        if (status != HCSMOE_OK)
            return status;
        memset(square[part], 0, (size_t)w->ffn * sizeof *square[part]);
        for (i = 0; i < rows[part]; i++)
            for (j = 0; j < columns[part]; j++)
                square[part][part == 0 ? i : j] +=
                    (double)x[i * columns[part] + j] * (double)x[i * columns[part] + j];
    }
    for (i = 0; i < w->ffn; i++)
        r[i] = (struct ranked){.value = sqrt(square[0][i] * square[1][i]), .index = i};
    return HCSMOE_OK;
}

/* Neurons index[F'] with the columns of the down projection that they have. */
static void copy_neurons(const struct work *w, const int64_t *index)
{
    write_neurons(w, index);
    write_columns(w, index);
    *w->a->loss = *w->a->total = 0;
}

/* A group that no token used, or whose neurons were silent: there is nothing to fit to. */
static hcsmoe_status keep_by_norm(const struct work *w, int64_t *kept)
{
    struct ranked *r = w->h->scratch(w->h, (size_t)w->ffn * sizeof *r);
    hcsmoe_status status;

    if (!r)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    hcsmoe_logf(w->h, HCSMOE_LOG_WARN,
                "layer %d, group %d: no token used its experts: expert %d keeps its neurons of "
                "largest weights",
                w->a->dims->layer, w->a->group, w->a->members[0]);
    status = rank_by_norm(w, r);
    if (status != HCSMOE_OK)
        return status;
    take_largest(r, w->ffn, w->kept, kept);
    copy_neurons(w, kept);
    return HCSMOE_OK;
}

/* W0 = alpha_j V_j, alpha the best scale of a neuron on its own. */
static hcsmoe_status own_columns(const struct work *w, const struct gram *g, const void *arg,
                                 int64_t row, int64_t rows, void *out)
{
    const double *alpha = arg;
    float *staging = w->h->alloc(w->h, (size_t)(w->block * w->ffn) * sizeof *staging);
    hcsmoe_status status;

    if (!staging)
        return HCSMOE_ENOMEM; /* alloc has set the message */
    status = down_columns(w, g, row, rows, 0, w->kept, alpha, staging, out);
    w->h->free(w->h, staging);
    return status;
}

/* From the Gram matrix to the result. kept, alpha: [F'] of working memory. */
static hcsmoe_status select_neurons(const struct work *w, struct gram *g, int64_t *kept,
                                    double *alpha)
{
    const struct prior prior = {.rows = own_columns, .arg = alpha};
    hcsmoe_status status = HCSMOE_OK;
    int64_t j;

    warn_few_tokens(w);
    if (w->kept < g->n) {
        status = w->o->selector == FORWARD ? select_forward(w, g, kept) : eliminate(w, g, kept);
        if (status != HCSMOE_OK)
            return status;
        gram_arrange(w, g, kept, w->kept);
    }
    /* Of a single expert alpha is 1, also for a neuron that was silent. */
    for (j = 0; j < w->kept; j++)
        alpha[j] = g->single ? 1 : g->diagonal[j] > 0 ? g->d[j] / g->diagonal[j] : 0;
    write_neurons(w, g->order);
    return refit(w, g, &prior);
}

hcsmoe_status select_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    const struct neurons *s = self;
    const int64_t n = pool_size(s->o, a->n_members * a->dims->ffn, a->dims->ffn);
    struct gram g = {0};
    struct work w;
    int64_t *order, *kept;
    double *alpha;
    hcsmoe_status status;
    int silent;

    work_open(&w, s, h, a, n);
    order = h->scratch(h, (size_t)n * sizeof *order);
    kept = h->scratch(h, (size_t)w.kept * sizeof *kept);
    alpha = h->scratch(h, (size_t)w.kept * sizeof *alpha);
    if (!order || !kept || !alpha)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    status = choose_pool(&w, order, n);
    if (status == HCSMOE_OK && a->n_members == 1 && w.kept == w.ffn) {
        copy_neurons(&w, order);
        return HCSMOE_OK;
    }
    if (status == HCSMOE_OK)
        status = gram_open(&w, &g, order, n);
    if (status == HCSMOE_OK)
        status = gram_collect(&w, &g, NULL, NULL);
    silent = status == HCSMOE_OK && !(gram_trace(&g) > 0);
    if (status == HCSMOE_OK && !silent)
        status = select_neurons(&w, &g, kept, alpha);
    gram_close(&w, &g);
    return silent ? keep_by_norm(&w, kept) : status;
}
