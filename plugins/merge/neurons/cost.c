/*
 * cost.c - what selecting and refitting takes, for the plan.
 * SPDX-License-Identifier: MIT
 */
#include "neurons.h"

/* The sizes of one merge. */
struct sizes {
    const neurons_opts *o;
    int single, selects;
    double d, f, m, kept; /* D, F, M, F' */
    double tokens;        /* that the group is expected to see */
    double size;          /* bytes of a number */
    double rows;          /* of the down projection that are done at once */
};

static struct sizes sizes_of(const struct neurons *s, const hcsmoe_layer_dims *dims, int64_t n,
                             int64_t kept, int64_t members)
{
    const int64_t size = arithmetic_size(s->bytes_most, n);
    const double all = (double)dims->n_tokens;
    const double routed =
        fmin(all, all * (double)dims->top_k * (double)members / (double)dims->n_experts);

    return (struct sizes){.o = s->o,
                          .single = members == 1,
                          .selects = kept < n,
                          .d = (double)dims->width,
                          .f = (double)dims->ffn,
                          .m = (double)n,
                          .kept = (double)kept,
                          .tokens =
                              size == 8 ? routed : fmin(routed, TOKENS_PER_NEURON * (double)n),
                          .size = (double)size,
                          .rows = fmin(BLOCK, (double)dims->width)};
}

/* H, its inverse or factor; C and W. */
static double matrix_bytes(const struct sizes *x)
{
    return (2 * x->m * x->m + (x->single ? 1 : 2) * x->m * x->d) * x->size + 64 * x->m;
}

static double collect_bytes(const struct sizes *x)
{
    const double product = x->size == 4 ? STRIP * 4 * fmax(x->m, x->d) : 0;
    const double outputs = x->single ? 0 : ROWS * (x->d * (x->size + 8) + x->f * 8);

    return ROWS * x->m * x->size + product + outputs;
}

static double select_bytes(const struct sizes *x)
{
    const double block = (double)eliminate_block(x->o, (int64_t)x->m);
    const double turned = x->single ? x->rows * (2 * x->m * x->size + x->f * 4) : 0;

    if (!x->selects)
        return 0;
    return turned + (x->o->selector == FORWARD
                         ? 0
                         : block * (x->m + x->d) * x->size + block * block * (16 + x->size));
}

static double refit_bytes(const struct sizes *x)
{
    const double gone = x->m - x->kept;
    const double removed = x->single ? (gone + fmax(x->kept, gone)) * x->size : 0;
    const double exact = x->size == 4 ? (2 * x->rows + STRIP) * x->kept * 8 : 0;

    return x->rows * (x->f * 4 + 3 * x->kept * x->size + removed) + exact;
}

static double cube(double x)
{
    return x * x * x;
}

/* Multiply-adds of the selection, and of what it starts from. */
static double select_work(const struct sizes *x)
{
    if (!x->selects)
        return 0;
    if (x->o->selector == FORWARD)
        return x->kept * (x->m * x->m / 2 + x->m * x->d);
    return cube(x->m) / 2 + x->d * x->m * x->m + (cube(x->m) - cube(x->kept)) / 6 +
           x->d * (x->m * x->m - x->kept * x->kept) / 2;
}

static double refit_work(const struct sizes *x)
{
    const double gone = x->m - x->kept;

    /* Of a single expert the removed neurons' part, and twice the squares of the error. */
    return cube(x->kept) / 6 + x->d * (x->single
                                           ? x->kept * x->m + (x->kept * x->kept + gone * gone) / 2
                                           : 2 * x->kept * x->kept);
}

static void cost_set(const struct sizes *x, hcsmoe_merge_cost *cost)
{
    const double steps = fmax(collect_bytes(x), select_bytes(x) + refit_bytes(x));
    const double outputs = x->single ? 0 : x->tokens * x->d * (x->m + x->f);

    cost->bytes = (int64_t)(matrix_bytes(x) + steps);
    cost->flops = 2 * (x->tokens * x->m * x->m / 2 + outputs + select_work(x) + refit_work(x));
}

hcsmoe_status select_cost(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                          const hcsmoe_merge_shape *shape, int64_t n_members,
                          hcsmoe_merge_cost *cost)
{
    const struct neurons *s = self;
    const int64_t n = pool_size(s->o, n_members * dims->ffn, dims->ffn);
    const struct sizes x = sizes_of(s, dims, n, shape->ffn, n_members);

    (void)h;
    if (n_members == 1 && shape->ffn == dims->ffn)
        return HCSMOE_OK; /* copied */
    cost_set(&x, cost);
    if (n > dims->ffn)
        cost->less = "pool = 1";
    return HCSMOE_OK;
}

hcsmoe_status lstsq_cost(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                         const hcsmoe_merge_shape *shape, int64_t n_members,
                         hcsmoe_merge_cost *cost)
{
    const struct neurons *s = self;
    const int64_t kind = s->o->lstsq_base;
    const struct sizes x = sizes_of(s, dims, dims->ffn, dims->ffn, n_members);
    const double others = (double)(n_members - 1);

    (void)h;
    (void)shape;
    cost_set(&x, cost);
    cost->flops += 4 * x.tokens * x.d * x.f; /* the base's own gate and up */
    if (kind != BASE_FIX_DOM_SAME && kind != BASE_ALIGN)
        return HCSMOE_OK;
    /* What matching takes is not given back before the Gram matrix is made. */
    cost->bytes += (int64_t)match_bytes(s->bytes_most, dims, n_members);
    cost->less = "lstsq_base = freq";
    cost->flops += 2 * others * x.tokens * x.f * x.f;
    if (kind == BASE_ALIGN)
        cost->flops += others * (6 * x.d * x.f * x.f + 2 * cube(x.f));
    return HCSMOE_OK;
}
