/*
 * expert_output.c - experts are alike when their outputs are.
 *
 * Row e is the mean of expert e's output over all calibration tokens, routed to it or not, without
 * routing weight. Where similarities are wanted, overlap_metric can compare outputs token by token
 * in place of their means:
 *
 *     kl-divergence  - 1/(2T) sum over t and d of (P_td - Q_td) (ln P_td - ln Q_td)
 *     wasserstein    - 1/(TD) sum over t and d of |sorted(Y_t)_d - sorted(Z_t)_d|
 *
 * with P and Q the softmax over the outputs Y_t and Z_t of two experts. SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include <hcsmoe/similarity.h>

/* The least norm that a row is divided by: a row of zeros is then half alike to every other. */
#define NORM_LEAST 1e-7

/* Added to every probability before its logarithm is taken: the reference program's value. */
#define PROBABILITY_LEAST 1e-10

enum {
    LANES = 8,    /* sums kept side by side: the compiler can add them at once */
    DIGITS = 256, /* radix of the sort */
};

enum { COSINE, KL_DIVERGENCE, WASSERSTEIN };

typedef struct expert_output_opts {
    int64_t overlap_metric;
} expert_output_opts;

static const hcsmoe_choice metrics[] = {
    {.name = "cosine", .value = COSINE, .help = "of the mean outputs"},
    {.name = "kl-divergence", .value = KL_DIVERGENCE, .help = "of the softmax of each output"},
    {.name = "wasserstein", .value = WASSERSTEIN, .help = "of each output's values, sorted"},
    {.name = NULL},
};

static const hcsmoe_option options[] = {
    HCSMOE_ENUM(expert_output_opts, overlap_metric, COSINE, metrics,
                "what similarity is, where a grouping asks for similarities"),
};

static hcsmoe_status check_means(const hcsmoe_host *h, const hcsmoe_similarity_args *a)
{
    const int64_t width = a->dims->width;
    int64_t e, i;

    for (e = 0; e < a->dims->n_experts; e++)
        for (i = 0; i < width; i++)
            if (!isfinite(a->stats->output_mean[e * width + i]))
                return hcsmoe_failf(h, HCSMOE_EFAILED, "expert %lld: its mean output is not finite",
                                    (long long)e);
    return HCSMOE_OK;
}

static double inner_product(const double *x, const double *y, int64_t n)
{
    double sum = 0;
    int64_t i;

    for (i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

/* Differences first: no cancellation between the large squares of nearly equal rows. */
static double distance(const double *x, const double *y, int64_t n)
{
    double sum = 0;
    int64_t i;

    for (i = 0; i < n; i++)
        sum += (x[i] - y[i]) * (x[i] - y[i]);
    return sqrt(sum);
}

static hcsmoe_status output_distances(void *self, const hcsmoe_host *h,
                                      const hcsmoe_similarity_args *a, double *d)
{
    const int64_t n = a->dims->n_experts, width = a->dims->width;
    const double *mean = a->stats->output_mean;
    hcsmoe_status status = check_means(h, a);
    int64_t i, j;

    (void)self;
    for (i = 0; i < n && status == HCSMOE_OK; i++) {
        d[i * n + i] = 0;
        for (j = 0; j < i; j++)
            d[i * n + j] = d[j * n + i] = distance(&mean[i * width], &mean[j * width], width);
    }
    return status;
}

/* (cosine + 1) / 2: between 0 and 1. */
static hcsmoe_status cosine_similarities(const hcsmoe_host *h, const hcsmoe_similarity_args *a,
                                         double *s)
{
    const int64_t n = a->dims->n_experts, width = a->dims->width;
    const double *mean = a->stats->output_mean;
    double *norm = h->scratch(h, (size_t)n * sizeof *norm);
    hcsmoe_status status = check_means(h, a);
    int64_t i, j;

    if (!norm)
        return HCSMOE_ENOMEM;
    for (i = 0; i < n && status == HCSMOE_OK; i++) {
        norm[i] = sqrt(inner_product(&mean[i * width], &mean[i * width], width));
        norm[i] = fmax(norm[i], NORM_LEAST);
        s[i * n + i] = 1;
        for (j = 0; j < i; j++) {
            const double product = inner_product(&mean[i * width], &mean[j * width], width);
            s[i * n + j] = s[j * n + i] = (product / norm[i] / norm[j] + 1) / 2;
        }
    }
    return status;
}

static hcsmoe_status output_similarities(void *self, const hcsmoe_host *h,
                                         const hcsmoe_similarity_args *a, double *s)
{
    const int64_t metric = ((const expert_output_opts *)self)->overlap_metric;
    const int64_t n = a->dims->n_experts;
    double scale = (double)a->dims->n_tokens;
    const double *sums;
    int64_t i, j;

    if (metric == COSINE)
        return cosine_similarities(h, a, s);
    scale *= metric == KL_DIVERGENCE ? 2 : (double)a->dims->width;
    sums = a->states[0].data;
    for (i = 0; i < n; i++) {
        s[i * n + i] = 1;
        for (j = i + 1; j < n; j++)
            s[i * n + j] = s[j * n + i] = -sums[i * n + j] / scale;
    }
    return HCSMOE_OK;
}

/* Comparing all pairs of experts on the tokens of a tile. A thread takes one token at a time, so
 * that the rows of its experts stay in the cache. */
struct overlap {
    const hcsmoe_host *h;
    const hcsmoe_layer_dims *dims;
    const hcsmoe_tile *tile;
    int64_t metric, n_pairs;
    double *p, *log_p; /* [threads, E, D] of kl-divergence */
    float *sorted;     /* [threads, E, D] of wasserstein */
    uint32_t *space;   /* [threads, 2, D] */
    double *values;    /* [n, pairs] */
};

static hcsmoe_status overlap_open(struct overlap *o)
{
    const hcsmoe_host *h = o->h;
    const int64_t width = o->dims->width, threads = h->threads(h);
    const size_t rows = (size_t)(threads * o->dims->n_experts * width);

    o->values = h->scratch(h, (size_t)(o->tile->n_tokens * o->n_pairs) * sizeof *o->values);
    if (o->metric == WASSERSTEIN) {
        o->sorted = h->scratch(h, rows * sizeof *o->sorted);
        o->space = h->scratch(h, (size_t)(threads * 2 * width) * sizeof *o->space);
        return o->values && o->sorted && o->space ? HCSMOE_OK : HCSMOE_ENOMEM;
    }
    o->p = h->scratch(h, rows * sizeof *o->p);
    o->log_p = h->scratch(h, rows * sizeof *o->log_p);
    return o->values && o->p && o->log_p ? HCSMOE_OK : HCSMOE_ENOMEM;
}

static void softmax(const float *y, int64_t n, double *p, double *log_p)
{
    double most = -INFINITY, sum = 0;
    int64_t d;

    for (d = 0; d < n; d++)
        most = (double)y[d] > most ? (double)y[d] : most;
    for (d = 0; d < n; d++) {
        p[d] = exp((double)y[d] - most);
        sum += p[d];
    }
    for (d = 0; d < n; d++) {
        p[d] = p[d] / sum + PROBABILITY_LEAST;
        log_p[d] = log(p[d]);
    }
}

/* Ascending, by digits from the lowest: the bits of a float, with those of negative ones turned
 * over, have the order of whole numbers. space[2, n]. */
static void sort(const float *y, int64_t n, float *sorted, uint32_t *space)
{
    uint32_t *from = space, *to = space + n;
    int64_t d;
    int shift;

    for (d = 0; d < n; d++) {
        uint32_t bits;
        memcpy(&bits, &y[d], sizeof bits);
        from[d] = bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
    }
    for (shift = 0; shift < 32; shift += 8) {
        int64_t at[DIGITS + 1] = {0};
        uint32_t *swap = from;
        for (d = 0; d < n; d++)
            at[(from[d] >> shift) % DIGITS + 1]++;
        for (d = 1; d < DIGITS; d++)
            at[d] += at[d - 1];
        for (d = 0; d < n; d++)
            to[at[(from[d] >> shift) % DIGITS]++] = from[d];
        from = to;
        to = swap;
    }
    for (d = 0; d < n; d++) {
        const uint32_t bits = from[d] ^ (from[d] >> 31 ? 0x80000000u : 0xffffffffu);
        memcpy(&sorted[d], &bits, sizeof bits);
    }
}

static double lanes_sum(const double *lane)
{
    double sum = 0;
    int k;

    for (k = 0; k < LANES; k++)
        sum += lane[k];
    return sum;
}

static double divergence(const double *p, const double *log_p, const double *q, const double *log_q,
                         int64_t n)
{
    double lane[LANES] = {0};
    int64_t d, k;

    for (d = 0; d + LANES <= n; d += LANES)
        for (k = 0; k < LANES; k++)
            lane[k] += (p[d + k] - q[d + k]) * (log_p[d + k] - log_q[d + k]);
    for (; d < n; d++)
        lane[0] += (p[d] - q[d]) * (log_p[d] - log_q[d]);
    return lanes_sum(lane);
}

static double difference(const float *x, const float *y, int64_t n)
{
    double lane[LANES] = {0};
    int64_t d, k;

    for (d = 0; d + LANES <= n; d += LANES)
        for (k = 0; k < LANES; k++)
            lane[k] += fabs((double)x[d + k] - (double)y[d + k]);
    for (; d < n; d++)
        lane[0] += fabs((double)x[d] - (double)y[d]);
    return lanes_sum(lane);
}

/* Makes the output of one expert ready to be compared, in row number at of the thread's. */
static hcsmoe_status row_prepare(const struct overlap *o, int64_t e, int64_t t, int64_t at)
{
    const int64_t width = o->dims->width;
    const float *y = &o->tile->output[e][t * width];
    int64_t d;

    for (d = 0; d < width; d++)
        if (!isfinite(y[d]))
            return hcsmoe_failf(o->h, HCSMOE_EFAILED,
                                "expert %lld: its output for token %lld is not finite",
                                (long long)e, (long long)(o->tile->first_token + t));
    if (o->metric == WASSERSTEIN)
        sort(y, width, &o->sorted[at * width], &o->space[o->h->thread(o->h) * 2 * width]);
    else
        softmax(y, width, &o->p[at * width], &o->log_p[at * width]);
    return HCSMOE_OK;
}

/* Pairs i < j in the order (0,1), (0,2), (1,2), (0,3) ... */
static hcsmoe_status tokens_compare(void *arg, int64_t begin, int64_t end)
{
    const struct overlap *o = arg;
    const int64_t n = o->dims->n_experts, width = o->dims->width;
    const int64_t first = o->h->thread(o->h) * n;
    hcsmoe_status status = HCSMOE_OK;
    int64_t t, i, j;

    for (t = begin; t < end; t++) {
        double *value = &o->values[t * o->n_pairs];
        for (i = 0; i < n && status == HCSMOE_OK; i++)
            status = row_prepare(o, i, t, first + i);
        if (status != HCSMOE_OK)
            return status;
        for (j = 1; j < n; j++)
            for (i = 0; i < j; i++) {
                const int64_t x = (first + i) * width, y = (first + j) * width;
                *value++ = o->metric == WASSERSTEIN
                               ? difference(&o->sorted[x], &o->sorted[y], width)
                               : divergence(&o->p[x], &o->log_p[x], &o->p[y], &o->log_p[y], width);
            }
    }
    return HCSMOE_OK;
}

static hcsmoe_status output_accumulate(void *self, const hcsmoe_host *h,
                                       const hcsmoe_similarity_args *a, const hcsmoe_tile *tile)
{
    const int64_t n = a->dims->n_experts;
    struct overlap o = {.h = h,
                        .dims = a->dims,
                        .tile = tile,
                        .metric = ((const expert_output_opts *)self)->overlap_metric,
                        .n_pairs = n * (n - 1) / 2};
    double *sums = a->states[0].data; /* [E, E]; i < j are used */
    const double *value;
    hcsmoe_status status = overlap_open(&o);
    int64_t t, i, j;

    if (status == HCSMOE_OK)
        status = h->parallel_for(h, tile->n_tokens, tokens_compare, &o);
    if (status != HCSMOE_OK)
        return status;
    for (value = o.values, t = 0; t < tile->n_tokens; t++) /* in order: the same for all tiles */
        for (j = 1; j < n; j++)
            for (i = 0; i < j; i++)
                sums[i * n + j] += *value++;
    return HCSMOE_OK;
}

static int64_t output_feature_size(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims)
{
    (void)self;
    (void)h;
    return dims->width;
}

static int32_t output_states(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                             hcsmoe_state *states, int32_t most)
{
    const int64_t metric = ((const expert_output_opts *)self)->overlap_metric;

    (void)h;
    if (metric == COSINE || most < 1)
        return 0;
    states[0] = (hcsmoe_state){.name = metric == WASSERSTEIN ? "wasserstein" : "kl_divergence",
                               .dtype = HCSMOE_DTYPE_F64,
                               .shape = {dims->n_experts, dims->n_experts, 1, 1}};
    return 1;
}

static uint64_t output_needs(const void *opts, uint64_t caps)
{
    const int64_t metric = ((const expert_output_opts *)opts)->overlap_metric;
    uint64_t needs = 0;

    if (caps & HCSMOE_CAP_DISTANCES_IN)
        needs |= HCSMOE_STAT_OUTPUT_MEAN;
    if (caps & HCSMOE_CAP_SIMILARITIES_IN)
        needs |= metric == COSINE ? HCSMOE_STAT_OUTPUT_MEAN : HCSMOE_STAT_OUTPUT;
    return needs;
}

static int32_t output_has_effect(const void *opts, uint64_t caps, const char *option)
{
    (void)opts;
    (void)option; /* overlap_metric is the only one */
    return (caps & HCSMOE_CAP_SIMILARITIES_IN) != 0;
}

static const hcsmoe_similarity_ops ops = {
    .struct_size = sizeof ops,
    .distances = output_distances,
    .similarities = output_similarities,
    .accumulate = output_accumulate,
    .feature_size = output_feature_size,
};

static const hcsmoe_component expert_output = {
    .struct_size = sizeof expert_output,
    .kind = HCSMOE_KIND_SIMILARITY,
    .name = "expert-output",
    .summary = "outputs of every expert on all calibration tokens",
    .ops = &ops,
    .needs = HCSMOE_STAT_OUTPUT_MEAN,
    .caps = HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DETERMINISTIC,
    HCSMOE_OPTIONS(expert_output_opts, options),
    .needs_for = output_needs,
    .states = output_states,
    .has_effect = output_has_effect,
};

HCSMOE_PLUGIN("hcsmoe.similarity.expert-output", "1.0.0", "MIT", &expert_output)
