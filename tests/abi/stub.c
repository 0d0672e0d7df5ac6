/*
 * stub.c - methods that nobody wants, to try the parts of the ABI that the shipped ones leave alone.
 *
 * Each checks what the host hands it and fails with a message where that breaks a promise of the
 * headers. SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include <hcsmoe/cluster.h>
#include <hcsmoe/merge.h>
#include <hcsmoe/similarity.h>

#define NEAR 1e-4 /* between the same float32 result got in two ways, relative to its size */

static hcsmoe_state state(const char *name, uint32_t dtype, int64_t rows, int64_t columns)
{
    const hcsmoe_state s = {.name = name, .dtype = dtype, .shape = {rows, columns, 1, 1}};
    return s;
}

static int near(double a, double b, double size)
{
    return fabs(a - b) <= NEAR * (size + 1e-3);
}

/*
 * stub-budget: the more evenly a layer uses its experts, the more groups it gets. Counts for itself
 * what the host counts too, and compares.
 */
enum { BUDGET_TOKENS, BUDGET_COUNTS, BUDGET_STATES };

static int32_t budget_states(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                             hcsmoe_state *states, int32_t most)
{
    (void)self;
    (void)h;
    if (most < BUDGET_STATES)
        return -1;
    states[BUDGET_TOKENS] = state("tokens", HCSMOE_DTYPE_I64, 1, 1);
    states[BUDGET_COUNTS] = state("counts", HCSMOE_DTYPE_I64, dims->n_experts, 1);
    return BUDGET_STATES;
}

static hcsmoe_status budget_accumulate(void *self, const hcsmoe_host *h,
                                       const hcsmoe_cluster_args *a, const hcsmoe_tile *tile)
{
    int64_t *tokens = a->states[BUDGET_TOKENS].data, *counts = a->states[BUDGET_COUNTS].data;
    int64_t i;

    (void)self;
    if (a->n_states != BUDGET_STATES || tile->first_token != *tokens)
        return hcsmoe_failf(h, HCSMOE_EPLUGIN, "a tile begins at %lld, expected %lld",
                            (long long)tile->first_token, (long long)*tokens);
    *tokens += tile->n_tokens;
    for (i = 0; i < tile->n_tokens * a->dims->top_k; i++)
        counts[tile->ids[i]]++;
    return HCSMOE_OK;
}

/* Sum of squared shares: 1/E when all are used alike, 1 when one is used alone. */
static double concentration(const hcsmoe_budget_layer *l)
{
    const int64_t *counts = l->states[BUDGET_COUNTS].data;
    const double all = (double)(l->dims->n_tokens * l->dims->top_k);
    double sum = 0;
    int64_t e;

    for (e = 0; e < l->dims->n_experts; e++)
        sum += (double)counts[e] / all * ((double)counts[e] / all);
    return sum;
}

static hcsmoe_status budget_check(const hcsmoe_host *h, const hcsmoe_budget_layer *l)
{
    const int64_t *counts = l->states[BUDGET_COUNTS].data;
    const int64_t tokens = *(const int64_t *)l->states[BUDGET_TOKENS].data;
    int64_t e;

    if (tokens != l->dims->n_tokens || tokens == 0)
        return hcsmoe_failf(h, HCSMOE_EPLUGIN, "layer %d: %lld of %lld tokens were seen",
                            l->dims->layer, (long long)tokens, (long long)l->dims->n_tokens);
    for (e = 0; e < l->dims->n_experts; e++)
        if (counts[e] != l->stats->usage_counts[e])
            return hcsmoe_failf(h, HCSMOE_EPLUGIN,
                                "layer %d: expert %lld was chosen %lld times, the host says %lld",
                                l->dims->layer, (long long)e, (long long)counts[e],
                                (long long)l->stats->usage_counts[e]);
    return HCSMOE_OK;
}

/* The most concentrated layer gets a group less, the least concentrated a group more. */
static hcsmoe_status budget_budget(void *self, const hcsmoe_host *h, hcsmoe_budget_args *a)
{
    hcsmoe_budget_layer *most = a->layers[0], *least = a->layers[0];
    int64_t i;

    (void)self;
    for (i = 0; i < a->n_layers; i++) {
        const hcsmoe_status status = budget_check(h, a->layers[i]);
        if (status != HCSMOE_OK)
            return status;
        if (concentration(a->layers[i]) > concentration(most))
            most = a->layers[i];
        if (concentration(a->layers[i]) < concentration(least))
            least = a->layers[i];
    }
    if (most != least && most->n_groups > 1 && least->n_groups < least->dims->n_experts) {
        most->n_groups--;
        least->n_groups++;
    }
    return HCSMOE_OK;
}

/* Expert e joins group e mod n. Labels count down, so that the host has something to renumber; the
 * core of a group is its last member. */
static hcsmoe_status budget_cluster(void *self, const hcsmoe_host *h, const hcsmoe_cluster_args *a)
{
    int32_t e;

    (void)self;
    (void)h;
    for (e = 0; e < (int32_t)a->dims->n_experts; e++) {
        a->labels[e] = (int32_t)a->n_groups - 1 - e % (int32_t)a->n_groups;
        a->cores[a->labels[e]] = e;
    }
    *a->groups = a->n_groups;
    *a->n_joins = 0;
    return HCSMOE_OK;
}

static const hcsmoe_cluster_ops budget_ops = {
    .struct_size = sizeof budget_ops,
    .cluster = budget_cluster,
    .budget = budget_budget,
    .accumulate = budget_accumulate,
};

static const hcsmoe_component stub_budget = {
    .struct_size = sizeof stub_budget,
    .kind = HCSMOE_KIND_CLUSTER,
    .name = "stub-budget",
    .summary = "for tests: another number of groups for every layer",
    .ops = &budget_ops,
    .needs = HCSMOE_STAT_TILES | HCSMOE_STAT_USAGE,
    .caps = HCSMOE_CAP_DISTANCES_IN | HCSMOE_CAP_CORES_OUT,
    .states = budget_states,
};

/*
 * stub-tiles: the distances of expert-output, from every token's output instead of the mean of the
 * intermediate.
 */
enum { TILES_TOKENS, TILES_SUM, TILES_STATES };

static int32_t tiles_states(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                            hcsmoe_state *states, int32_t most)
{
    (void)self;
    (void)h;
    if (most < TILES_STATES)
        return -1;
    states[TILES_TOKENS] = state("tokens", HCSMOE_DTYPE_I64, 1, 1);
    states[TILES_SUM] = state("output_sum", HCSMOE_DTYPE_F64, dims->n_experts, dims->width);
    return TILES_STATES;
}

/* The first token of the tile: y = down h for every expert, and the softmax sums to 1. */
static hcsmoe_status tile_check(const hcsmoe_host *h, const hcsmoe_similarity_args *a,
                                const hcsmoe_tile *tile)
{
    const hcsmoe_kernels *k = h->kernels(h);
    const int64_t width = a->dims->width;
    float *y = h->scratch(h, (size_t)width * sizeof *y);
    double sum = 0;
    int64_t e, i;

    if (!y)
        return HCSMOE_ENOMEM;
    for (e = 0; e < a->dims->n_experts; e++) {
        const hcsmoe_status status =
            k->linear(k, 1, width, a->dims->ffn, tile->hidden[e], &a->stats->down[e], NULL, 0, y);
        if (status != HCSMOE_OK)
            return status;
        for (i = 0; i < width; i++)
            if (!near(y[i], tile->output[e][i], 1))
                return hcsmoe_failf(h, HCSMOE_EPLUGIN, "expert %lld: y is not down times h",
                                    (long long)e);
        sum += tile->probabilities[e];
    }
    return near(sum, 1, 1) ? HCSMOE_OK
                           : hcsmoe_failf(h, HCSMOE_EPLUGIN, "probabilities sum to %g", sum);
}

static hcsmoe_status tiles_accumulate(void *self, const hcsmoe_host *h,
                                      const hcsmoe_similarity_args *a, const hcsmoe_tile *tile)
{
    const int64_t width = a->dims->width;
    int64_t *tokens = a->states[TILES_TOKENS].data;
    double *sum = a->states[TILES_SUM].data;
    int64_t e, t, i;

    (void)self;
    if (!tile->hidden || !tile->output || !a->stats->down || tile->first_token != *tokens)
        return hcsmoe_failf(h, HCSMOE_EPLUGIN, "tile at %lld: lacks h, y or a place behind %lld",
                            (long long)tile->first_token, (long long)*tokens);
    *tokens += tile->n_tokens;
    for (e = 0; e < a->dims->n_experts; e++)
        for (t = 0; t < tile->n_tokens; t++)
            for (i = 0; i < width; i++)
                sum[e * width + i] += (double)tile->output[e][t * width + i];
    return tile_check(h, a, tile);
}

static hcsmoe_status tiles_distances(void *self, const hcsmoe_host *h,
                                     const hcsmoe_similarity_args *a, double *d)
{
    const int64_t n = a->dims->n_experts, width = a->dims->width;
    const int64_t tokens = *(const int64_t *)a->states[TILES_TOKENS].data;
    const double *sum = a->states[TILES_SUM].data;
    int64_t i, j, c;

    (void)self;
    if (tokens != a->dims->n_tokens || tokens == 0)
        return hcsmoe_failf(h, HCSMOE_EPLUGIN, "%lld of %lld tokens were seen", (long long)tokens,
                            (long long)a->dims->n_tokens);
    for (i = 0; i < n; i++)
        for (j = 0; j < n; j++) {
            double square = 0;
            for (c = 0; c < width; c++) {
                const double off = (sum[i * width + c] - sum[j * width + c]) / (double)tokens;
                square += off * off;
            }
            d[i * n + j] = sqrt(square);
        }
    return HCSMOE_OK;
}

static const hcsmoe_similarity_ops tiles_ops = {
    .struct_size = sizeof tiles_ops,
    .distances = tiles_distances,
    .accumulate = tiles_accumulate,
};

static const hcsmoe_component stub_tiles = {
    .struct_size = sizeof stub_tiles,
    .kind = HCSMOE_KIND_SIMILARITY,
    .name = "stub-tiles",
    .summary = "for tests: expert-output, token by token",
    .ops = &tiles_ops,
    .needs = HCSMOE_STAT_HIDDEN | HCSMOE_STAT_OUTPUT | HCSMOE_STAT_WEIGHTS,
    .states = tiles_states,
};

/*
 * stub-half: the front half of the lowest member. Looks at every token of the group before it
 * decides, twice.
 */
struct half_seen {
    const hcsmoe_host *h;
    const hcsmoe_merge_args *a;
    int64_t tokens, pairs, last;
    double sum; /* of all h of the lowest member */
};

static hcsmoe_status half_shape(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                                hcsmoe_merge_shape *shape)
{
    (void)self;
    if (dims->ffn < 2)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "experts of width %lld have no half",
                            (long long)dims->ffn);
    shape->n_experts = shape->n_target;
    shape->ffn = dims->ffn / 2;
    return HCSMOE_OK;
}

/* h of the lowest member for the tile's first token, computed again. */
static hcsmoe_status half_check(const hcsmoe_host *h, const hcsmoe_merge_args *a,
                                const hcsmoe_group_tile *tile)
{
    const hcsmoe_kernels *k = h->kernels(h);
    const int64_t ffn = a->dims->ffn;
    float *own = h->scratch(h, (size_t)ffn * sizeof *own);
    hcsmoe_status status;
    int64_t i;

    if (!own)
        return HCSMOE_ENOMEM;
    status = k->swiglu(k, 1, a->dims->width, ffn, tile->x, &a->gate[0], &a->up[0], own);
    for (i = 0; i < ffn && status == HCSMOE_OK; i++)
        if (!near(own[i], tile->hidden[0][i], 1))
            status = hcsmoe_failf(h, HCSMOE_EPLUGIN, "h of expert %d is not that of its tokens",
                                  a->members[0]);
    return status;
}

static hcsmoe_status half_token(struct half_seen *seen, const hcsmoe_group_tile *tile, int64_t t)
{
    const hcsmoe_merge_args *a = seen->a;
    double weight = 0;
    int likely = 1; /* renormalised: no member weighs less than its probability */
    int64_t m, i;

    if ((seen->tokens > 0 && tile->tokens[t] <= seen->last) || tile->tokens[t] >= a->dims->n_tokens)
        return hcsmoe_failf(seen->h, HCSMOE_EPLUGIN, "token %lld after token %lld of %lld",
                            (long long)tile->tokens[t], (long long)seen->last,
                            (long long)a->dims->n_tokens);
    seen->last = tile->tokens[t];
    seen->tokens++;
    for (m = 0; m < a->n_members; m++) {
        const double w = (double)tile->weights[t * a->n_members + m];
        weight += w;
        likely =
            likely && (w == 0 || w + NEAR >= (double)tile->probabilities[t * a->n_members + m]);
        seen->pairs += w > 0;
    }
    if (!(weight > 0) || weight > 1 + NEAR || !likely)
        return hcsmoe_failf(seen->h, HCSMOE_EPLUGIN, "token %lld: weights sum to %g%s",
                            (long long)seen->last, weight, likely ? "" : ", below probability");
    for (i = 0; i < a->dims->ffn; i++)
        seen->sum += (double)tile->hidden[0][t * a->dims->ffn + i];
    return HCSMOE_OK;
}

static hcsmoe_status half_see(void *arg, const hcsmoe_group_tile *tile)
{
    struct half_seen *seen = arg;
    hcsmoe_status status = HCSMOE_OK;
    int64_t t;

    if (!tile->hidden || !tile->probabilities || tile->n_tokens > HCSMOE_TILE_TOKENS)
        return hcsmoe_failf(seen->h, HCSMOE_EPLUGIN, "tile of %lld tokens lacks what was asked for",
                            (long long)tile->n_tokens);
    for (t = 0; t < tile->n_tokens && status == HCSMOE_OK; t++)
        status = half_token(seen, tile, t);
    return status == HCSMOE_OK ? half_check(seen->h, seen->a, tile) : status;
}

static void rows_copy(const hcsmoe_tensor *from, const hcsmoe_tensor *to)
{
    const size_t size = hcsmoe_dtype_size(to->dtype), bytes = (size_t)to->shape[1] * size;
    int64_t i;

    for (i = 0; i < to->shape[0]; i++)
        memcpy((char *)to->data + (size_t)(i * to->stride[0]) * size,
               (const char *)from->data + (size_t)(i * from->stride[0]) * size, bytes);
}

static hcsmoe_status half_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    struct half_seen once = {.h = h, .a = a}, again = {.h = h, .a = a};
    const uint32_t want = HCSMOE_TILE_HIDDEN | HCSMOE_TILE_PROBABILITIES;
    int64_t chosen = 0, routed = 0, i;
    hcsmoe_status status = a->tokens(a, want, half_see, &once);

    (void)self;
    if (status == HCSMOE_OK)
        status = a->tokens(a, want, half_see, &again);
    if (status != HCSMOE_OK)
        return status;
    for (i = 0; i < a->n_members; i++) {
        chosen += a->stats->usage_counts[a->members[i]];
        routed += a->routed[i];
    }
    if (once.pairs != chosen || routed != chosen || once.tokens != a->n_tokens)
        return hcsmoe_failf(h, HCSMOE_EPLUGIN, "group %d was chosen %lld times, %lld were shown",
                            a->group, (long long)chosen, (long long)once.pairs);
    if (once.tokens != again.tokens || once.sum != again.sum)
        return hcsmoe_failf(h, HCSMOE_EPLUGIN, "group %d: other tokens the second time", a->group);
    rows_copy(&a->gate[0], a->out_gate);
    rows_copy(&a->up[0], a->out_up);
    rows_copy(&a->down[0], a->out_down);
    return HCSMOE_OK;
}

static const hcsmoe_merge_ops half_ops = {
    .struct_size = sizeof half_ops,
    .shape = half_shape,
    .merge = half_merge,
};

static const hcsmoe_component stub_half = {
    .struct_size = sizeof stub_half,
    .kind = HCSMOE_KIND_MERGE,
    .name = "stub-half",
    .summary = "for tests: the front half of each group's first expert",
    .ops = &half_ops,
    .needs = HCSMOE_STAT_WEIGHTS | HCSMOE_STAT_USAGE | HCSMOE_STAT_LAYER_INPUT,
};

/* stub-prune: the lowest member alone, and no other is ever chosen again. */
typedef struct prune_opts {
    int64_t nan_layer;
} prune_opts;

static const hcsmoe_option prune_options[] = {
    HCSMOE_INT(prune_opts, nan_layer, -1, -1, 4096, "layer whose result is spoiled; -1: none"),
};

static hcsmoe_status prune_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    const prune_opts *o = self;
    int64_t i;

    (void)h;
    for (i = 1; i < a->n_members; i++)
        a->pruned[i] = 1;
    rows_copy(&a->gate[0], a->out_gate);
    rows_copy(&a->up[0], a->out_up);
    rows_copy(&a->down[0], a->out_down);
    if (o->nan_layer == a->dims->layer)
        memset(a->out_down->data, 0xff, hcsmoe_dtype_size(a->out_down->dtype));
    return HCSMOE_OK;
}

static const hcsmoe_merge_ops prune_ops = {
    .struct_size = sizeof prune_ops,
    .merge = prune_merge,
};

static const hcsmoe_component stub_prune = {
    .struct_size = sizeof stub_prune,
    .kind = HCSMOE_KIND_MERGE,
    .name = "stub-prune",
    .summary = "for tests: each group's first expert; the others are pruned",
    .ops = &prune_ops,
    .needs = HCSMOE_STAT_WEIGHTS,
    .caps = HCSMOE_CAP_PRUNES,
    HCSMOE_OPTIONS(prune_opts, prune_options),
};

HCSMOE_PLUGIN("hcsmoe.test.stub", "1.0.0", "MIT", &stub_budget, &stub_tiles, &stub_half,
              &stub_prune)
