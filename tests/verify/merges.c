/*
 * merges.c - merge methods that are the mean of the experts and break one rule each.
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/merge.h>

#include <stdlib.h>
#include <time.h>

static hcsmoe_status mean(const hcsmoe_host *h, const hcsmoe_merge_args *a, double scale)
{
    const hcsmoe_kernels *k = h->kernels(h);
    const hcsmoe_tensor *const in[] = {a->gate, a->up, a->down};
    const hcsmoe_tensor *const out[] = {a->out_gate, a->out_up, a->out_down};
    double *share = h->scratch(h, (size_t)a->n_members * sizeof *share);
    const hcsmoe_tensor **terms = h->scratch(h, (size_t)a->n_members * sizeof *terms);
    hcsmoe_status status = HCSMOE_OK;

    if (!share || !terms)
        return HCSMOE_ENOMEM;
    for (int64_t i = 0; i < a->n_members; i++)
        share[i] = scale / (double)a->n_members;
    for (int part = 0; part < 3 && status == HCSMOE_OK; part++) {
        for (int64_t i = 0; i < a->n_members; i++)
            terms[i] = &in[part][i];
        status = k->weighted_sum(k, a->n_members, terms, share, out[part]);
    }
    return status;
}

/* Another result for every call. */
static hcsmoe_status counts_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    static int calls;
    (void)self;
    return mean(h, a, 1 + 0.125 * calls++);
}

static hcsmoe_status threads_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    (void)self;
    return mean(h, a, h->threads(h));
}

static hcsmoe_status outside_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    const hcsmoe_tensor *t = a->out_down;
    const size_t size = (size_t)hcsmoe_tensor_elements(t) * hcsmoe_dtype_size(t->dtype);
    (void)self;
    ((unsigned char *)t->data)[size] = 0;
    return mean(h, a, 1);
}

static hcsmoe_status half_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    hcsmoe_merge_args less = *a;
    hcsmoe_tensor up = *a->out_up, from[64];
    (void)self;
    up.shape[0] = up.shape[0] / 2;
    for (int64_t i = 0; i < a->n_members && i < 64; i++) {
        from[i] = a->up[i];
        from[i].shape[0] = up.shape[0];
    }
    less.up = from;
    less.out_up = &up;
    return mean(h, &less, 1);
}

/* By the router's probabilities, whatever they are. */
static hcsmoe_status blind_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    double sum = 0;
    (void)self;
    for (int64_t i = 0; i < a->n_members; i++)
        sum += a->stats->score_sum[a->members[i]];
    return mean(h, a, sum / (sum > 0 ? sum : 1));
}

static hcsmoe_status silent_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    (void)self;
    return a->n_members == a->dims->n_experts ? HCSMOE_EFAILED : mean(h, a, 1);
}

static hcsmoe_status positive_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    const hcsmoe_status status = mean(h, a, 1);
    (void)self;
    return status == HCSMOE_OK ? 1 : status;
}

static hcsmoe_status keeps_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    (void)self;
    return h->alloc(h, 64) ? mean(h, a, 1) : HCSMOE_ENOMEM;
}

static hcsmoe_status prints_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    (void)self;
    printf("merging %lld experts\n", (long long)a->n_members);
    return mean(h, a, 1);
}

static hcsmoe_status exits_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    (void)self;
    if (a->dims->n_experts == 2)
        exit(3);
    return mean(h, a, 1);
}

static hcsmoe_status inputs_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    (void)self;
    *(unsigned char *)a->gate[0].data ^= 1;
    return mean(h, a, 1);
}

/* Takes it that there is memory. */
static hcsmoe_status rich_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    volatile double *p = h->scratch(h, 64);
    (void)self;
    *p = 1;
    return mean(h, a, *p);
}

/* What another thread does meanwhile changes the result. */
static hcsmoe_status shared_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    static volatile int32_t layer;
    const struct timespec moment = {0, 300000};
    (void)self;
    layer = a->dims->layer;
    (void)nanosleep(&moment, NULL);
    return mean(h, a, 1 + layer);
}

/* Keeps in self what the first layer was. */
static hcsmoe_status layers_create(const hcsmoe_host *h, const void *opts, void **self)
{
    int32_t *first = h->alloc(h, sizeof *first);
    (void)opts;
    *self = first;
    if (first)
        *first = -1;
    return first ? HCSMOE_OK : HCSMOE_ENOMEM;
}

static void layers_destroy(const hcsmoe_host *h, void *self)
{
    h->free(h, self);
}

static hcsmoe_status layers_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    int32_t *first = self;
    *first = *first < 0 ? a->dims->layer : *first;
    return mean(h, a, 1 + *first);
}

/* Takes no settings at all, and does not say why. */
static hcsmoe_status takes_create(const hcsmoe_host *h, const void *opts, void **self)
{
    (void)h;
    (void)opts;
    *self = NULL;
    return HCSMOE_EINVAL;
}

/* What the last instance was created with decides for all. */
static double last_scale;

typedef struct global_opts {
    double scale;
} global_opts;

static const hcsmoe_option global_options[] = {
    HCSMOE_REAL(global_opts, scale, 1, 0.5, 2, "of the mean"),
};

static hcsmoe_status global_create(const hcsmoe_host *h, const void *opts, void **self)
{
    (void)h;
    last_scale = ((const global_opts *)opts)->scale;
    *self = (void *)opts;
    return HCSMOE_OK;
}

static hcsmoe_status global_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    (void)self;
    return mean(h, a, last_scale);
}

static hcsmoe_status denies_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    (void)self;
    a->pruned[0] = 1;
    return mean(h, a, 1);
}

static hcsmoe_status wide_shape(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                                hcsmoe_merge_shape *shape)
{
    (void)self;
    (void)h;
    shape->n_experts = shape->n_target;
    shape->ffn = dims->ffn + 1;
    return HCSMOE_OK;
}

static const hcsmoe_merge_ops layers_ops = {.struct_size = sizeof layers_ops,
                                            .merge = layers_merge};
static const hcsmoe_component layers = {.struct_size = sizeof layers,
                                        .kind = HCSMOE_KIND_MERGE,
                                        .name = "layers",
                                        .summary = "breaks a rule",
                                        .ops = &layers_ops,
                                        .needs = HCSMOE_STAT_WEIGHTS,
                                        .caps = HCSMOE_CAP_DETERMINISTIC,
                                        .create = layers_create,
                                        .destroy = layers_destroy};
static const hcsmoe_merge_ops global_ops = {.struct_size = sizeof global_ops,
                                            .merge = global_merge};
static const hcsmoe_component global = {.struct_size = sizeof global,
                                        .kind = HCSMOE_KIND_MERGE,
                                        .name = "global",
                                        .summary = "breaks a rule",
                                        .ops = &global_ops,
                                        .needs = HCSMOE_STAT_WEIGHTS,
                                        .caps = HCSMOE_CAP_DETERMINISTIC,
                                        HCSMOE_OPTIONS(global_opts, global_options),
                                        .create = global_create};
static const hcsmoe_component takes = {.struct_size = sizeof takes,
                                       .kind = HCSMOE_KIND_MERGE,
                                       .name = "takes",
                                       .summary = "breaks a rule",
                                       .ops = &layers_ops,
                                       .create = takes_create};

typedef struct edge_opts {
    int64_t n;
} edge_opts;

static const hcsmoe_option edge_options[] = {
    HCSMOE_INT(edge_opts, n, 4, 0, 8, "divides, and may be 0"),
};

static hcsmoe_status edge_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    const int64_t n = ((const edge_opts *)self)->n;
    return mean(h, a, n ? 1 : 1 / (double)n);
}

#define BAD(name_, caps_, needs_)                                                                  \
    static const hcsmoe_merge_ops name_##_ops = {.struct_size = sizeof(hcsmoe_merge_ops),          \
                                                 .merge = name_##_merge};                          \
    static const hcsmoe_component name_ = {.struct_size = sizeof(hcsmoe_component),                \
                                           .kind = HCSMOE_KIND_MERGE,                              \
                                           .name = #name_,                                         \
                                           .summary = "breaks a rule",                             \
                                           .ops = &name_##_ops,                                    \
                                           .needs = HCSMOE_STAT_WEIGHTS | (needs_),                \
                                           .caps = (caps_)}

BAD(counts, HCSMOE_CAP_DETERMINISTIC, 0);
BAD(threads, HCSMOE_CAP_DETERMINISTIC, 0);
BAD(outside, 0, 0);
BAD(half, 0, 0);
BAD(blind, 0, HCSMOE_STAT_ROUTING_SCORE);
BAD(silent, 0, 0);
BAD(positive, 0, 0);
BAD(keeps, 0, 0);
BAD(prints, 0, 0);
BAD(exits, 0, 0);
BAD(inputs, 0, 0);
BAD(rich, 0, 0);
BAD(shared, HCSMOE_CAP_PARALLEL, 0);
BAD(denies, 0, 0);

static const hcsmoe_merge_ops wide_ops = {
    .struct_size = sizeof wide_ops, .merge = positive_merge, .shape = wide_shape};
static const hcsmoe_component wide = {.struct_size = sizeof wide,
                                      .kind = HCSMOE_KIND_MERGE,
                                      .name = "wide",
                                      .summary = "breaks a rule",
                                      .ops = &wide_ops,
                                      .needs = HCSMOE_STAT_WEIGHTS};
static const hcsmoe_merge_ops edge_ops = {.struct_size = sizeof edge_ops, .merge = edge_merge};
static const hcsmoe_component edge = {.struct_size = sizeof edge,
                                      .kind = HCSMOE_KIND_MERGE,
                                      .name = "edge",
                                      .summary = "breaks a rule",
                                      .ops = &edge_ops,
                                      .needs = HCSMOE_STAT_WEIGHTS,
                                      HCSMOE_OPTIONS(edge_opts, edge_options)};

HCSMOE_PLUGIN("hcsmoe.test.verify.merges", "1.0.0", "MIT", &counts, &threads, &outside, &half,
              &blind, &silent, &positive, &keeps, &prints, &exits, &inputs, &rich, &shared, &denies,
              &wide, &edge, &layers, &takes, &global)
