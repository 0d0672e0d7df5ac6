/*
 * cluster.c - joins the two nearest clusters until few enough are left, with a budget over all layers.
 *
 * Frozen with the headers beside it: not to be edited after release 1.0.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>

#include <hcsmoe/budget.h>
#include <hcsmoe/cluster.h>

enum { STATE_TOKENS, N_STATES };

static int32_t frozen_states(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                             hcsmoe_state *states, int32_t most)
{
    (void)self;
    (void)h;
    (void)dims;
    if (most < N_STATES)
        return -1;
    states[STATE_TOKENS] =
        (hcsmoe_state){.name = "tokens", .dtype = HCSMOE_DTYPE_I64, .shape = {1, 1, 1, 1}};
    return N_STATES;
}

static hcsmoe_status frozen_accumulate(void *self, const hcsmoe_host *h,
                                       const hcsmoe_cluster_args *a, const hcsmoe_tile *tile)
{
    (void)self;
    (void)h;
    *(int64_t *)a->states[STATE_TOKENS].data += tile->n_tokens;
    return HCSMOE_OK;
}

/* Largest distance between members of two clusters, the lowest of the two members and something of
 * every base. */
static double linkage(const hcsmoe_cluster_args *a, int32_t x, int32_t y)
{
    const int64_t n = a->dims->n_experts;
    double most = 0;
    int64_t i, j, b;

    for (i = 0; i < n; i++)
        for (j = 0; j < n; j++) {
            if (a->labels[i] != x || a->labels[j] != y)
                continue;
            most = fmax(most, a->distances[i * n + j]);
            for (b = 0; b < a->n_bases; b++)
                most += 1e-3 * a->base_distances[b][i * n + j] / (double)a->base_sizes[b];
        }
    return most;
}

static void join(const hcsmoe_cluster_args *a, int32_t x, int32_t y, double height, double next)
{
    hcsmoe_join *step = &a->joins[(*a->n_joins)++];
    int64_t i;

    step->a = x;
    step->b = y;
    step->height = height;
    step->gap = next > 0 ? (next - height) / height : INFINITY;
    for (i = 0; i < a->dims->n_experts; i++)
        if (a->labels[i] == y)
            a->labels[i] = x;
}

/* The experts whose label is x: the one used most is the core of group g. */
static void group_close(const hcsmoe_cluster_args *a, int32_t x, int32_t g)
{
    int32_t e;

    for (e = 0; e < (int32_t)a->dims->n_experts; e++)
        if (a->labels[e] == x &&
            (a->cores[g] < 0 || a->stats->usage[e] > a->stats->usage[a->cores[g]]))
            a->cores[g] = e;
    for (e = 0; e < (int32_t)a->dims->n_experts; e++)
        if (a->labels[e] == x)
            a->labels[e] = -1 - g; /* not to be met again */
}

static hcsmoe_status frozen_cluster(void *self, const hcsmoe_host *h, const hcsmoe_cluster_args *a)
{
    const int32_t n = (int32_t)a->dims->n_experts;
    int64_t left = n;
    int32_t e, x, y;

    (void)self;
    if (*(const int64_t *)a->states[STATE_TOKENS].data != a->dims->n_tokens || a->similarities)
        return hcsmoe_failf(h, HCSMOE_EFAILED, "not what was asked for");
    for (e = 0; e < n; e++)
        a->labels[e] = e;
    *a->n_joins = 0;
    for (; left > a->n_groups; left--) {
        double best = INFINITY, next = 0;
        int32_t at = 0, to = 0;
        for (x = 0; x < n; x++)
            for (y = x + 1; y < n; y++) {
                const double height =
                    a->labels[x] == x && a->labels[y] == y ? linkage(a, x, y) : INFINITY;
                if (height < best) {
                    next = best < INFINITY ? best : 0;
                    best = height;
                    at = x;
                    to = y;
                }
            }
        join(a, at, to, best, next);
    }
    *a->groups = 0;
    for (e = 0; e < n; e++)
        a->cores[e] = -1;
    for (e = 0; e < n; e++)
        if (a->labels[e] >= 0)
            group_close(a, a->labels[e], (int32_t)(*a->groups)++);
    for (e = 0; e < n; e++)
        a->labels[e] = -1 - a->labels[e];
    return HCSMOE_OK;
}

static hcsmoe_status frozen_budget(void *self, const hcsmoe_host *h, hcsmoe_budget_args *a)
{
    (void)self;
    if (a->widths || a->ffn < 1)
        return hcsmoe_failf(h, HCSMOE_EFAILED, "the number of groups is not given");
    return hcsmoe_budget_usage(h, a);
}

static int32_t frozen_wants_budget(void *self, const hcsmoe_host *h)
{
    (void)self;
    (void)h;
    return 1;
}

static const hcsmoe_cluster_ops ops = {
    .struct_size = sizeof ops,
    .cluster = frozen_cluster,
    .budget = frozen_budget,
    .wants_budget = frozen_wants_budget,
    .accumulate = frozen_accumulate,
};

static const hcsmoe_component frozen = {
    .struct_size = sizeof frozen,
    .kind = HCSMOE_KIND_CLUSTER,
    .name = "frozen",
    .summary = "the two nearest, again and again",
    .ops = &ops,
    .needs = HCSMOE_STAT_TILES | HCSMOE_STAT_USAGE,
    .caps = HCSMOE_CAP_DISTANCES_IN | HCSMOE_CAP_CORES_OUT | HCSMOE_CAP_DETERMINISTIC,
    .states = frozen_states,
};

HCSMOE_PLUGIN("hcsmoe.test.v1-0.cluster", "1.0.0", "MIT", &frozen)
