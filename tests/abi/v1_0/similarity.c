/*
 * similarity.c - a base that looks at every statistic and every part of a tile, with options of every type.
 *
 * Frozen with the headers beside it: not to be edited after release 1.0.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include <hcsmoe/kernels.h>
#include <hcsmoe/similarity.h>

enum { PLAIN = 3, SQUARED = 5 };

typedef struct frozen_opts {
    int32_t flip;
    int32_t reserved0;
    int64_t power;
    double scale;
    int64_t how;
    const char *word;
    const char *file;
} frozen_opts;

static const hcsmoe_choice hows[] = {
    {"plain", PLAIN, "as they are"},
    {"squared", SQUARED, "squares"},
    {NULL, 0, NULL},
};
static const hcsmoe_option options[] = {
    HCSMOE_BOOL(frozen_opts, flip, 0, "negative"),
    HCSMOE_INT(frozen_opts, power, 1, 1, 3, "power of the scale"),
    HCSMOE_REAL(frozen_opts, scale, 2.5, 0, 10, "factor"),
    HCSMOE_ENUM(frozen_opts, how, PLAIN, hows, "which differences"),
    HCSMOE_STR(frozen_opts, word, "word", "its length is added"),
    HCSMOE_PATH(frozen_opts, file, NULL, "its presence is added"),
};

#define EVERYTHING                                                                                 \
    (HCSMOE_STAT_WEIGHTS | HCSMOE_STAT_ROUTER_WEIGHT | HCSMOE_STAT_USAGE |                         \
     HCSMOE_STAT_ROUTING_SCORE | HCSMOE_STAT_ROUTER_GRAM | HCSMOE_STAT_OUTPUT_MEAN |               \
     HCSMOE_STAT_LAYER_INPUT | HCSMOE_STAT_HIDDEN | HCSMOE_STAT_OUTPUT | HCSMOE_STAT_WEIGHT_GRAM | \
     HCSMOE_STAT_TILES | HCSMOE_STAT_WEIGHT_PRODUCT | HCSMOE_STAT_ENERGY |                         \
     HCSMOE_STAT_ENERGY_SCALED)

enum { STATE_SUM, STATE_TILES, N_STATES };

static hcsmoe_status frozen_create(const hcsmoe_host *h, const void *opts, void **self)
{
    frozen_opts *o = h->alloc(h, sizeof *o);

    if (!o)
        return HCSMOE_ENOMEM;
    memcpy(o, opts, sizeof *o);
    *self = o;
    return HCSMOE_OK;
}

static void frozen_destroy(const hcsmoe_host *h, void *self)
{
    h->free(h, self);
}

static uint64_t frozen_needs(const void *opts, uint64_t caps)
{
    (void)opts;
    return caps & HCSMOE_CAP_DISTANCES_IN ? EVERYTHING : HCSMOE_STAT_USAGE;
}

static int32_t frozen_has_effect(const void *opts, uint64_t caps, const char *option)
{
    (void)opts;
    return (caps & HCSMOE_CAP_DISTANCES_IN) != 0 || strcmp(option, "flip") != 0;
}

static int32_t frozen_states(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                             hcsmoe_state *states, int32_t most)
{
    (void)self;
    (void)h;
    if (most < N_STATES)
        return -1;
    states[STATE_SUM] = (hcsmoe_state){
        .name = "sum", .dtype = HCSMOE_DTYPE_F64, .shape = {dims->n_experts, 1, 1, 1}};
    states[STATE_TILES] =
        (hcsmoe_state){.name = "tiles", .dtype = HCSMOE_DTYPE_I64, .shape = {2, 1, 1, 1}};
    return N_STATES;
}

static hcsmoe_status frozen_accumulate(void *self, const hcsmoe_host *h,
                                       const hcsmoe_similarity_args *a, const hcsmoe_tile *tile)
{
    const hcsmoe_layer_dims *d = a->dims;
    double *sum = a->states[STATE_SUM].data;
    int64_t *tiles = a->states[STATE_TILES].data;
    int64_t e, t, s;

    (void)self;
    if (a->n_states != N_STATES || tile->first_token != tiles[1])
        return hcsmoe_failf(h, HCSMOE_EFAILED, "a tile begins at %lld",
                            (long long)tile->first_token);
    tiles[0]++;
    tiles[1] += tile->n_tokens;
    for (t = 0; t < tile->n_tokens; t++) {
        for (e = 0; e < d->n_experts; e++)
            sum[e] += (double)tile->x[t * d->width + e % d->width] +
                      (double)tile->logits[t * d->n_experts + e] +
                      (double)tile->probabilities[t * d->n_experts + e] +
                      (double)tile->hidden[e][t * d->ffn] + (double)tile->output[e][t * d->width];
        for (s = 0; s < d->top_k; s++)
            sum[tile->ids[t * d->top_k + s]] += (double)tile->weights[t * d->top_k + s];
    }
    return HCSMOE_OK;
}

static double of_tensor(const hcsmoe_host *h, const hcsmoe_tensor *t)
{
    const hcsmoe_kernels *k = h->kernels(h);
    double *wide = h->scratch(h, (size_t)hcsmoe_tensor_elements(t) * sizeof *wide), sum = 0;
    hcsmoe_tensor to = *t;
    int64_t i;

    to.data = wide;
    to.dtype = HCSMOE_DTYPE_F64;
    if (!wide || k->convert(k, t, &to) != HCSMOE_OK)
        return NAN;
    for (i = 0; i < hcsmoe_tensor_elements(t); i++)
        sum += wide[i] * (double)(i % 7);
    return sum;
}

/* Of everything that is known of one expert, something. */
static double of_expert(const hcsmoe_host *h, const hcsmoe_similarity_args *a, int64_t e)
{
    const hcsmoe_stats *s = a->stats;
    const int64_t n = a->dims->n_experts, f = a->dims->ffn, d = a->dims->width;
    const hcsmoe_tensor row =
        hcsmoe_matrix((char *)s->router->data +
                          (size_t)(e * s->router->stride[0]) * hcsmoe_dtype_size(s->router->dtype),
                      s->router->dtype, 1, d);
    double sum = (double)s->usage_counts[e] + s->usage[e] + s->score_sum[e];
    int64_t i;

    for (i = 0; i < n; i++)
        sum += s->router_gram[e * n + i] + s->weight_gram[e * n + i] + s->weight_product[e * n + i];
    for (i = 0; i < d; i++)
        sum += s->output_mean[e * d + i] * (double)(i % 5);
    for (i = 0; i < n * f; i++)
        sum += s->energy[e * n * f + i] + s->energy_scaled[e * n * f + i];
    return sum + of_tensor(h, &row) + of_tensor(h, &s->gate[e]) + of_tensor(h, &s->up[e]) +
           of_tensor(h, &s->down[e]) + ((const double *)a->states[STATE_SUM].data)[e];
}

static hcsmoe_status frozen_distances(void *self, const hcsmoe_host *h,
                                      const hcsmoe_similarity_args *a, double *d)
{
    const frozen_opts *o = self;
    const int64_t n = a->dims->n_experts;
    double *value = h->scratch(h, (size_t)n * sizeof *value);
    int64_t i, j;

    if (!value)
        return HCSMOE_ENOMEM;
    for (i = 0; i < n; i++)
        value[i] = of_expert(h, a, i) * pow(o->scale, (double)o->power);
    for (i = 0; i < n; i++)
        for (j = 0; j < n; j++) {
            const double off = fabs(value[i] - value[j]);
            d[i * n + j] = o->how == SQUARED ? off * off : off;
            if (i != j)
                d[i * n + j] += (double)strlen(o->word) + (o->file ? 1 : 0) + (o->flip ? 0.5 : 0);
        }
    return HCSMOE_OK;
}

static hcsmoe_status frozen_similarities(void *self, const hcsmoe_host *h,
                                         const hcsmoe_similarity_args *a, double *s)
{
    const int64_t n = a->dims->n_experts;
    int64_t i, j;

    (void)self;
    (void)h;
    for (i = 0; i < n; i++)
        for (j = 0; j < n; j++)
            s[i * n + j] = i == j ? 1 : 1 / (1 + fabs(a->stats->usage[i] - a->stats->usage[j]));
    return HCSMOE_OK;
}

static int64_t frozen_feature_size(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims)
{
    (void)self;
    (void)h;
    return dims->width + dims->ffn;
}

static const hcsmoe_similarity_ops ops = {
    .struct_size = sizeof ops,
    .distances = frozen_distances,
    .similarities = frozen_similarities,
    .accumulate = frozen_accumulate,
    .feature_size = frozen_feature_size,
};

static const hcsmoe_component frozen = {
    .struct_size = sizeof frozen,
    .kind = HCSMOE_KIND_SIMILARITY,
    .name = "frozen",
    .summary = "all that there is",
    .ops = &ops,
    .needs = HCSMOE_STAT_USAGE,
    .caps = HCSMOE_CAP_DETERMINISTIC,
    HCSMOE_OPTIONS(frozen_opts, options),
    .needs_for = frozen_needs,
    .create = frozen_create,
    .destroy = frozen_destroy,
    .states = frozen_states,
    .has_effect = frozen_has_effect,
};

HCSMOE_PLUGIN("hcsmoe.test.v1-0.similarity", "1.0.0", "MIT", &frozen)
