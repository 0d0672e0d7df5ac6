/*
 * merge.c - the front half of the weighted mean of a group; members that no token chose are pruned.
 *
 * Frozen with the headers beside it: not to be edited after release 1.0.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>

#include <hcsmoe/merge.h>

/* What the tokens of a group say of its members. */
struct seen {
    const hcsmoe_host *h;
    const hcsmoe_merge_args *a;
    double *weight; /* [n_members] */
    int64_t n;
};

static hcsmoe_status frozen_shape(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                                  hcsmoe_merge_shape *shape)
{
    (void)self;
    (void)h;
    shape->n_experts = shape->n_target;
    shape->ffn = dims->ffn / 2;
    return HCSMOE_OK;
}

static hcsmoe_status frozen_cost(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                                 const hcsmoe_merge_shape *shape, int64_t n_members,
                                 hcsmoe_merge_cost *cost)
{
    (void)self;
    (void)h;
    cost->bytes = n_members * shape->ffn * 8;
    cost->flops = (double)(n_members * dims->width * shape->ffn);
    cost->less = "fewer members";
    return HCSMOE_OK;
}

static hcsmoe_status see(void *arg, const hcsmoe_group_tile *tile)
{
    struct seen *s = arg;
    const int64_t m = s->a->n_members, f = s->a->dims->ffn, d = s->a->dims->width;
    int64_t t, i;

    for (t = 0; t < tile->n_tokens; t++)
        for (i = 0; i < m; i++)
            s->weight[i] += fabs((double)tile->x[t * d] * (double)tile->hidden[i][t * f]) +
                            (double)tile->weights[t * m + i] +
                            (double)tile->probabilities[t * m + i] + 1e-6 * (double)tile->tokens[t];
    s->n += tile->n_tokens;
    return HCSMOE_OK;
}

static hcsmoe_status piece(void *arg, int64_t begin, int64_t end)
{
    struct seen *s = arg;
    int64_t i;

    for (i = begin; i < end; i++)
        s->weight[i] += (double)s->a->routed[i] + s->a->stats->usage[s->a->members[i]];
    return HCSMOE_OK;
}

/* The first rows of a matrix, or its first columns: the neurons that stay. */
static hcsmoe_status half_sum(const struct seen *s, const hcsmoe_tensor *from, int columns,
                              const hcsmoe_tensor *to)
{
    const hcsmoe_kernels *k = s->h->kernels(s->h);
    const int64_t m = s->a->n_members;
    hcsmoe_tensor *part = s->h->scratch(s->h, (size_t)m * sizeof *part), out;
    const hcsmoe_tensor **list = s->h->scratch(s->h, (size_t)m * sizeof *list);
    hcsmoe_status status = part && list ? HCSMOE_OK : HCSMOE_ENOMEM;
    int64_t row, i;

    if (!columns && status == HCSMOE_OK) {
        for (i = 0; i < m; i++) {
            part[i] = from[i];
            part[i].shape[0] = to->shape[0];
            list[i] = &part[i];
        }
        return k->weighted_sum(k, m, list, s->weight, to);
    }
    for (row = 0; row < to->shape[0] && status == HCSMOE_OK; row++) {
        const size_t size = hcsmoe_dtype_size(to->dtype);
        for (i = 0; i < m; i++) {
            part[i] = hcsmoe_matrix((char *)from[i].data + (size_t)(row * from[i].stride[0]) * size,
                                    from[i].dtype, 1, to->shape[1]);
            list[i] = &part[i];
        }
        out = hcsmoe_matrix((char *)to->data + (size_t)(row * to->stride[0]) * size, to->dtype, 1,
                            to->shape[1]);
        status = k->weighted_sum(k, m, list, s->weight, &out);
    }
    return status;
}

static hcsmoe_status frozen_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    struct seen s = {.h = h, .a = a};
    double sum = 0;
    hcsmoe_status status;
    int64_t i;

    (void)self;
    s.weight = h->alloc(h, (size_t)a->n_members * sizeof *s.weight);
    if (!s.weight)
        return HCSMOE_ENOMEM;
    for (i = 0; i < a->n_members; i++)
        s.weight[i] =
            1e-3 + (a->members[i] == a->core ? 0.25 : 0) + (double)(h->random(h) >> 11) * 0x1p-53;
    status = a->tokens(a, HCSMOE_TILE_HIDDEN | HCSMOE_TILE_PROBABILITIES, see, &s);
    if (status == HCSMOE_OK && s.n != a->n_tokens)
        status = hcsmoe_failf(h, HCSMOE_EFAILED, "group %d: %lld tokens", a->group, (long long)s.n);
    if (status == HCSMOE_OK)
        status = h->parallel_for(h, a->n_members, piece, &s);
    for (i = 0; i < a->n_members; i++)
        sum += s.weight[i];
    for (i = 0; i < a->n_members; i++)
        s.weight[i] /= sum;
    if (status == HCSMOE_OK)
        status = half_sum(&s, a->gate, 0, a->out_gate);
    if (status == HCSMOE_OK)
        status = half_sum(&s, a->up, 0, a->out_up);
    if (status == HCSMOE_OK)
        status = half_sum(&s, a->down, 1, a->out_down);
    for (i = 1; i < a->n_members; i++)
        a->pruned[i] = a->routed[i] == 0;
    *a->loss = sum;
    *a->total = sum + (double)a->n_groups;
    h->free(h, s.weight);
    return status;
}

static const hcsmoe_merge_ops ops = {
    .struct_size = sizeof ops,
    .shape = frozen_shape,
    .cost = frozen_cost,
    .merge = frozen_merge,
    .singletons = 1,
};

static const hcsmoe_component frozen = {
    .struct_size = sizeof frozen,
    .kind = HCSMOE_KIND_MERGE,
    .name = "frozen",
    .summary = "half of the mean",
    .ops = &ops,
    .needs = HCSMOE_STAT_WEIGHTS | HCSMOE_STAT_USAGE | HCSMOE_STAT_LAYER_INPUT,
    .caps = HCSMOE_CAP_CORES_IN | HCSMOE_CAP_PRUNES | HCSMOE_CAP_DETERMINISTIC,
};

HCSMOE_PLUGIN("hcsmoe.test.v1-0.merge", "1.0.0", "MIT", &frozen)
