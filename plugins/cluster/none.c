/*
 * none.c - keeps the best experts as they are and leaves out the rest: the pruning baselines.
 *
 * The best are those with the highest score of all layers, at least one in every layer. output-norm
 * is the mean of |y_e(x)| over the tokens x that are routed to e, without routing weight; an expert
 * that no token chose scores 0. SPDX-License-Identifier: MIT
 */
#include <math.h>

#include <hcsmoe/budget.h>
#include <hcsmoe/cluster.h>
#include <hcsmoe/kernels.h>

enum { FREQUENCY, ROUTING_SCORE, OUTPUT_NORM };

/* Of output-norm. */
enum { STATE_SUM, STATE_COUNT, N_STATES };

typedef struct none_opts {
    int64_t score;
} none_opts;

static const hcsmoe_choice scores[] = {
    {.name = "frequency", .value = FREQUENCY, .help = "how often tokens choose it"},
    {.name = "routing-score", .value = ROUTING_SCORE, .help = "the router's probability of it"},
    {.name = "output-norm", .value = OUTPUT_NORM, .help = "how large its outputs are"},
    {.name = NULL},
};

static const hcsmoe_option options[] = {
    HCSMOE_ENUM(none_opts, score, FREQUENCY, scores, "by what experts are kept"),
};

static uint64_t none_needs(const void *opts, uint64_t caps)
{
    (void)caps;
    switch (((const none_opts *)opts)->score) {
    case FREQUENCY:
        return HCSMOE_STAT_USAGE;
    case ROUTING_SCORE:
        return HCSMOE_STAT_ROUTING_SCORE;
    default:
        return HCSMOE_STAT_TILES | HCSMOE_STAT_WEIGHTS;
    }
}

static int32_t none_states(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                           hcsmoe_state *states, int32_t most)
{
    (void)h;
    if (((const none_opts *)self)->score != OUTPUT_NORM || most < N_STATES)
        return 0;
    states[STATE_SUM] = (hcsmoe_state){
        .name = "norm_sum", .dtype = HCSMOE_DTYPE_F64, .shape = {dims->n_experts, 1, 1, 1}};
    states[STATE_COUNT] = (hcsmoe_state){
        .name = "norm_count", .dtype = HCSMOE_DTYPE_I64, .shape = {dims->n_experts, 1, 1, 1}};
    return N_STATES;
}

/* Working memory for the tokens of one expert. */
struct routed {
    int64_t *rows; /* [n] of the tile */
    float *x, *hidden, *y;
};

static hcsmoe_status routed_open(struct routed *r, const hcsmoe_host *h,
                                 const hcsmoe_layer_dims *dims, int64_t n)
{
    r->rows = h->scratch(h, (size_t)n * sizeof *r->rows);
    r->x = h->scratch(h, (size_t)(n * dims->width) * sizeof *r->x);
    r->hidden = h->scratch(h, (size_t)(n * dims->ffn) * sizeof *r->hidden);
    r->y = h->scratch(h, (size_t)(n * dims->width) * sizeof *r->y);
    return r->rows && r->x && r->hidden && r->y ? HCSMOE_OK : HCSMOE_ENOMEM;
}

/* Puts the tile's tokens that chose the expert into rows; returns how many. */
static int64_t routed_find(struct routed *r, const hcsmoe_tile *tile, int64_t top_k, int64_t expert)
{
    int64_t n = 0, t, s;

    for (t = 0; t < tile->n_tokens; t++)
        for (s = 0; s < top_k; s++)
            if (tile->ids[t * top_k + s] == expert) {
                r->rows[n++] = t;
                break;
            }
    return n;
}

static hcsmoe_status routed_run(struct routed *r, const hcsmoe_host *h,
                                const hcsmoe_cluster_args *a, const hcsmoe_tile *tile, int64_t e,
                                int64_t n)
{
    const hcsmoe_kernels *k = h->kernels(h);
    const int64_t width = a->dims->width, ffn = a->dims->ffn;
    const hcsmoe_stats *s = a->stats;
    hcsmoe_status status = k->gather(k, n, width, tile->x, r->rows, r->x);

    if (status == HCSMOE_OK)
        status = k->swiglu(k, n, width, ffn, r->x, &s->gate[e], &s->up[e], r->hidden);
    if (status == HCSMOE_OK)
        status = k->linear(k, n, width, ffn, r->hidden, &s->down[e], NULL, 0, r->y);
    return status;
}

static hcsmoe_status none_accumulate(void *self, const hcsmoe_host *h, const hcsmoe_cluster_args *a,
                                     const hcsmoe_tile *tile)
{
    const int64_t width = a->dims->width;
    double *sum = a->states[STATE_SUM].data;
    int64_t *count = a->states[STATE_COUNT].data;
    struct routed r;
    hcsmoe_status status = routed_open(&r, h, a->dims, tile->n_tokens);
    int64_t e, t, i;

    (void)self;
    for (e = 0; e < a->dims->n_experts && status == HCSMOE_OK; e++) {
        const int64_t n = routed_find(&r, tile, a->dims->top_k, e);
        if (n > 0)
            status = routed_run(&r, h, a, tile, e, n);
        for (t = 0; t < n && status == HCSMOE_OK; t++) {
            double squares = 0;
            for (i = 0; i < width; i++)
                squares += (double)r.y[t * width + i] * (double)r.y[t * width + i];
            sum[e] += sqrt(squares);
        }
        count[e] += n;
    }
    return status;
}

/* The score of each of a layer's n experts; NULL: no memory. */
static const double *scores_of(const none_opts *opts, const hcsmoe_host *h,
                               const hcsmoe_stats *stats, const hcsmoe_tensor *states, int64_t n)
{
    const double *sum;
    const int64_t *count;
    double *mean, all = 0;
    int64_t e;

    if (opts->score == FREQUENCY)
        return stats->usage;
    if (opts->score == ROUTING_SCORE)
        return stats->score_sum;
    sum = states[STATE_SUM].data;
    count = states[STATE_COUNT].data;
    mean = h->scratch(h, (size_t)n * sizeof *mean);
    for (e = 0; mean && e < n; e++) {
        mean[e] = count[e] > 0 ? sum[e] / (double)count[e] : 0;
        all += mean[e];
    }
    /* Shares, as usage is: norms grow and shrink from layer to layer, and the budget compares all. */
    for (e = 0; mean && all > 0 && e < n; e++)
        mean[e] /= all;
    return mean;
}

static hcsmoe_status none_budget(void *self, const hcsmoe_host *h, hcsmoe_budget_args *a)
{
    const double **of_layers = h->scratch(h, (size_t)a->n_layers * sizeof *of_layers);
    int64_t l;

    if (!of_layers)
        return HCSMOE_ENOMEM;
    for (l = 0; l < a->n_layers; l++) {
        const hcsmoe_budget_layer *layer = a->layers[l];
        of_layers[l] = scores_of(self, h, layer->stats, layer->states, layer->dims->n_experts);
        if (!of_layers[l])
            return HCSMOE_ENOMEM;
    }
    return hcsmoe_budget_exact(h, a, of_layers);
}

static hcsmoe_status none_cluster(void *self, const hcsmoe_host *h, const hcsmoe_cluster_args *a)
{
    const int64_t n = a->dims->n_experts;
    int32_t *order = h->scratch(h, (size_t)n * sizeof *order);
    const double *score = scores_of(self, h, a->stats, a->states, n);
    int64_t i;

    if (!order || !score)
        return HCSMOE_ENOMEM;
    if (a->n_groups < 1 || a->n_groups > n)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "%lld of %lld experts to keep: must be 1..%lld",
                            (long long)a->n_groups, (long long)n, (long long)n);
    hcsmoe_budget_order(score, n, order);
    for (i = 0; i < n; i++) {
        a->labels[order[i]] = i < a->n_groups ? (int32_t)i : -1;
        a->cores[i] = i < a->n_groups ? order[i] : -1;
    }
    *a->groups = a->n_groups;
    *a->n_joins = 0;
    return HCSMOE_OK;
}

static const hcsmoe_cluster_ops ops = {
    .struct_size = sizeof ops,
    .cluster = none_cluster,
    .budget = none_budget,
    .accumulate = none_accumulate,
};

static const hcsmoe_component none = {
    .struct_size = sizeof none,
    .kind = HCSMOE_KIND_CLUSTER,
    .name = "none",
    .summary = "merges nothing: the best experts stay, the others are left out",
    .ops = &ops,
    .caps = HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DETERMINISTIC | HCSMOE_CAP_CORES_OUT |
            HCSMOE_CAP_LEAVES_OUT,
    HCSMOE_OPTIONS(none_opts, options),
    .needs_for = none_needs,
    .states = none_states,
};

HCSMOE_PLUGIN("hcsmoe.cluster.none", "1.0.0", "MIT", &none)
