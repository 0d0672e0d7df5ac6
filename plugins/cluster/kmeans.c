/*
 * kmeans.c - experts go to the nearest centre, centres to the mean of their experts.
 *
 * Until nothing moves. Works on pairwise distances d alone: a centre is the mean of its experts j
 * (and l), and the squared distance of any expert e to it is
 *
 *     mean over j of d_ej^2 - 1/2 mean over j and l of d_jl^2
 *
 * One base: plain Lloyd. Several: each base's distances are standardised for each centre before
 * they are added, as the reference program of HC-SMoE does. SPDX-License-Identifier: MIT
 */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <hcsmoe/budget.h>
#include <hcsmoe/cluster.h>

enum { ITERATIONS_MOST = 100 };

/* Sums of squares of anything smaller are finite. */
#define DISTANCE_MOST 1e140

/* What differs by less, relatively, differs by rounding: the lower index wins. */
#define TIE 1e-12

/* Added to a standard deviation before dividing by it: the reference program's value. It matters,
 * because distances were divided by the number of columns first: those of long features are then so
 * small that they hardly count. */
#define DEVIATION_LEAST 1e-6

typedef struct kmeans_opts {
    const char *start;
    int32_t random_start_center;
    int32_t dynamic_group;
} kmeans_opts;

static const hcsmoe_option options[] = {
    HCSMOE_STR(kmeans_opts, start, "kmeans++",
               "first centres: kmeans++ (drawn), first, or expert indices such as 0,3,5"),
    HCSMOE_BOOL(kmeans_opts, random_start_center, 0,
                "yes: kmeans++ draws from a fresh seed, which is printed"),
    HCSMOE_BOOL(kmeans_opts, dynamic_group, 0,
                "yes: layers whose experts are used more get more groups, others fewer"),
};

struct kmeans {
    const kmeans_opts *opts;
    uint64_t seed; /* with random_start_center */
};

/* One clustering on its way: E experts, n centres, B bases. */
struct work {
    int64_t n_experts, n_centres, n_bases;
    const double *const *distances; /* [B] of [E, E] */
    const int64_t *sizes;           /* [B] columns */
    double *squared;                /* [B, E, n] squared distance of every expert to every centre */
    double *spread;                 /* [B, n] mean squared distance of a centre's own experts */
    double *score;                  /* [E, n] what an expert compares centres by */
    int32_t *labels;                /* [E] centre of the expert; -1: none yet */
    int32_t *next;                  /* [E] */
    int64_t *size;                  /* [n] experts of the centre */
};

/* The finaliser of SplitMix64. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t draw(const struct kmeans *km, const hcsmoe_host *h)
{
    const uint64_t x = h->random(h);

    return km->opts->random_start_center ? mix(x ^ km->seed) : x;
}

/* Uniform in 0..n-1: draws above the last multiple of n would favour low numbers. */
static int64_t draw_index(const struct kmeans *km, const hcsmoe_host *h, int64_t n)
{
    const uint64_t most = UINT64_MAX - UINT64_MAX % (uint64_t)n;
    uint64_t x;

    do
        x = draw(km, h);
    while (x >= most);
    return (int64_t)(x % (uint64_t)n);
}

/* Uniform in [0, 1). */
static double draw_unit(const struct kmeans *km, const hcsmoe_host *h)
{
    return (double)(draw(km, h) >> 11) * 0x1p-53;
}

/* An index in proportion to weight; the lowest unused one when all weights are 0, as they are with
 * fewer distinct experts than centres. Used experts weigh 0: none is taken twice. */
static int64_t draw_weighted(const struct kmeans *km, const hcsmoe_host *h, const double *weight,
                             const int32_t *labels, int64_t n)
{
    double sum = 0, left;
    int64_t e, last = -1;

    for (e = 0; e < n; e++)
        sum += weight[e];
    left = draw_unit(km, h) * sum;
    for (e = 0; e < n; e++) {
        if (labels[e] >= 0 || (sum > 0 && !(weight[e] > 0)))
            continue;
        last = e;
        left -= weight[e];
        if (!(sum > 0) || left < 0)
            break;
    }
    return last; /* rounding can leave a little at the end: the last that has a weight */
}

/* k-means++ on the first base: every further centre in proportion to its squared distance to the
 * nearest one. */
static void start_drawn(const struct kmeans *km, const hcsmoe_host *h, struct work *w)
{
    const int64_t n = w->n_experts;
    double *weight = w->score; /* n_centres >= 1, so it is large enough, and not in use yet */
    int64_t e, k;
    int64_t centre = draw_index(km, h, n);

    for (e = 0; e < n; e++)
        weight[e] = INFINITY;
    for (k = 0; k < w->n_centres; k++) {
        if (k > 0)
            centre = draw_weighted(km, h, weight, w->labels, n);
        w->labels[centre] = (int32_t)k;
        for (e = 0; e < n; e++) {
            const double d = w->distances[0][e * n + centre];
            weight[e] = w->labels[e] >= 0 ? 0 : fmin(weight[e], d * d);
        }
    }
}

/* The number at *p, of a list with commas. 0: there is none. */
static int list_next(const char **p, long long *value)
{
    char *end;

    while (isspace((unsigned char)**p))
        (*p)++;
    if (!isdigit((unsigned char)**p))
        return 0;
    /* Too large a number becomes the largest, which is no expert either. */
    *value = strtoll(*p, &end, 10);
    while (isspace((unsigned char)*end))
        end++;
    if (*end != '\0' && (*end != ',' || end[1] == '\0'))
        return 0;
    *p = *end == ',' ? end + 1 : end;
    return 1;
}

static hcsmoe_status start_listed(const hcsmoe_host *h, const char *list, struct work *w)
{
    const char *p = list;
    int64_t k;
    long long e;

    for (k = 0; *p != '\0' && list_next(&p, &e); k++) {
        if (e >= w->n_experts)
            return hcsmoe_failf(h, HCSMOE_EINVAL, "start = %s: no expert %lld: must be 0..%lld",
                                list, e, (long long)w->n_experts - 1);
        if (w->labels[e] >= 0)
            return hcsmoe_failf(h, HCSMOE_EINVAL, "start = %s: expert %lld is there twice", list,
                                e);
        w->labels[e] = (int32_t)k;
    }
    if (k != w->n_centres)
        return hcsmoe_failf(h, HCSMOE_EINVAL,
                            "start = %s: %lld experts: must be one for each of %lld groups", list,
                            (long long)k, (long long)w->n_centres);
    return HCSMOE_OK;
}

/* Labels each start centre with its number and all other experts with -1. */
static hcsmoe_status start_choose(const struct kmeans *km, const hcsmoe_host *h, struct work *w)
{
    int64_t e;

    for (e = 0; e < w->n_experts; e++)
        w->labels[e] = -1;
    if (strcmp(km->opts->start, "kmeans++") == 0)
        start_drawn(km, h, w);
    else if (strcmp(km->opts->start, "first") != 0)
        return start_listed(h, km->opts->start, w);
    else
        for (e = 0; e < w->n_centres; e++)
            w->labels[e] = (int32_t)e;
    return HCSMOE_OK;
}

/* squared and spread of one base, for the centres that labels makes. */
static void centres_measure_base(struct work *w, int64_t base)
{
    const int64_t n = w->n_experts, m = w->n_centres;
    const double *d = w->distances[base];
    double *squared = &w->squared[base * n * m], *spread = &w->spread[base * m];
    int64_t e, j, k;

    memset(squared, 0, (size_t)(n * m) * sizeof *squared);
    memset(spread, 0, (size_t)m * sizeof *spread);
    for (e = 0; e < n; e++) {
        for (j = 0; j < n; j++)
            if (w->labels[j] >= 0)
                squared[e * m + w->labels[j]] += d[e * n + j] * d[e * n + j];
        for (k = 0; k < m; k++)
            squared[e * m + k] /= (double)w->size[k];
        if (w->labels[e] >= 0)
            spread[w->labels[e]] += squared[e * m + w->labels[e]];
    }
    for (k = 0; k < m; k++)
        spread[k] /= 2 * (double)w->size[k];
    for (e = 0; e < n; e++)
        for (k = 0; k < m; k++)
            squared[e * m + k] = fmax(0, squared[e * m + k] - spread[k]);
}

static void centres_measure(struct work *w)
{
    int64_t e, base;

    memset(w->size, 0, (size_t)w->n_centres * sizeof *w->size);
    for (e = 0; e < w->n_experts; e++)
        if (w->labels[e] >= 0)
            w->size[w->labels[e]]++;
    for (base = 0; base < w->n_bases; base++)
        centres_measure_base(w, base);
}

/* Adds one base's distances to the scores: divided by the number of columns, standardised over the
 * experts for each centre, moved up to start at 0. */
static void score_standardised(struct work *w, int64_t base)
{
    const int64_t n = w->n_experts, m = w->n_centres;
    double *x = &w->squared[base * n * m]; /* overwritten: measured anew before it is read again */
    double least = INFINITY;
    int64_t e, k;

    for (k = 0; k < m; k++) {
        double mean = 0, variance = 0, deviation;
        for (e = 0; e < n; e++) {
            x[e * m + k] = sqrt(x[e * m + k]) / (double)w->sizes[base];
            mean += x[e * m + k] / (double)n;
        }
        for (e = 0; e < n; e++)
            variance += (x[e * m + k] - mean) * (x[e * m + k] - mean);
        deviation = n > 1 ? sqrt(variance / (double)(n - 1)) : 0;
        for (e = 0; e < n; e++) {
            x[e * m + k] = (x[e * m + k] - mean) / (deviation + DEVIATION_LEAST);
            least = fmin(least, x[e * m + k]);
        }
    }
    for (e = 0; e < n * m; e++)
        w->score[e] += x[e] - least;
}

static void score(struct work *w)
{
    const size_t bytes = (size_t)(w->n_experts * w->n_centres) * sizeof *w->score;
    int64_t base;

    if (w->n_bases == 1) {
        memcpy(w->score, w->squared, bytes);
        return;
    }
    memset(w->score, 0, bytes);
    for (base = 0; base < w->n_bases; base++)
        score_standardised(w, base);
}

/* next: the best centre of every expert, the lower one of two that are equally good. */
static void assign(struct work *w)
{
    const int64_t m = w->n_centres;
    int64_t e, k;

    for (e = 0; e < w->n_experts; e++) {
        const double *score_of = &w->score[e * m];
        int64_t best = 0;
        for (k = 1; k < m; k++) {
            /* A squared distance is a difference, as exact as what was subtracted from. */
            const double scale = w->n_bases == 1 ? score_of[k] + w->spread[k] : 1;
            if (score_of[k] < score_of[best] - TIE * scale)
                best = k;
        }
        w->next[e] = (int32_t)best;
    }
}

/* A centre that lost all its experts takes the one that is farthest from its own, out of a cluster
 * that keeps another. */
static void fill_empty(struct work *w)
{
    const int64_t n = w->n_experts, m = w->n_centres;
    int64_t e, k;

    memset(w->size, 0, (size_t)m * sizeof *w->size);
    for (e = 0; e < n; e++)
        w->size[w->next[e]]++;
    for (k = 0; k < m; k++) {
        int64_t farthest = -1;
        double most = -INFINITY;
        if (w->size[k] > 0)
            continue;
        /* One is found: there are no more centres than experts, so while one is empty another has
         * two. */
        for (e = 0; e < n; e++) {
            const double own = w->score[e * m + w->next[e]];
            if (w->size[w->next[e]] >= 2 && own > most) {
                most = own;
                farthest = e;
            }
        }
        w->size[w->next[farthest]]--;
        w->size[k] = 1;
        w->next[farthest] = (int32_t)k;
    }
}

/* From the start centres in labels to the last labels, whose centres are measured. */
static hcsmoe_status iterate(const hcsmoe_host *h, struct work *w)
{
    const size_t bytes = (size_t)w->n_experts * sizeof *w->labels;
    int i;

    centres_measure(w);
    for (i = 0; i < ITERATIONS_MOST; i++) {
        if (h->cancelled(h))
            return HCSMOE_ECANCELLED;
        score(w);
        assign(w);
        fill_empty(w);
        if (memcmp(w->labels, w->next, bytes) == 0)
            break;
        memcpy(w->labels, w->next, bytes);
        centres_measure(w);
    }
    centres_measure(w); /* again: scoring overwrites it */
    return HCSMOE_OK;
}

/* The core of a cluster is the member nearest to its centre, in the sum over the bases. */
static void find_cores(const struct work *w, int32_t *cores)
{
    const int64_t n = w->n_experts, m = w->n_centres;
    int64_t e, k, base;

    for (k = 0; k < m; k++) {
        double least = INFINITY;
        for (e = 0; e < n; e++) {
            double sum = 0, scale = 0;
            if (w->labels[e] != k)
                continue;
            for (base = 0; base < w->n_bases; base++) {
                const double squared = w->squared[(base * n + e) * m + k];
                sum += w->n_bases == 1 ? squared : sqrt(squared);
                scale += w->n_bases == 1 ? squared + w->spread[base * m + k] : sqrt(squared);
            }
            if (isinf(least) || sum < least - TIE * scale) {
                least = sum;
                cores[k] = (int32_t)e;
            }
        }
    }
}

static hcsmoe_status check_distances(const hcsmoe_host *h, const struct work *w)
{
    const int64_t n = w->n_experts;
    int64_t base, i;

    for (base = 0; base < w->n_bases; base++)
        for (i = 0; i < n * n; i++) {
            const double d = w->distances[base][i];
            if (!(d >= 0 && d <= DISTANCE_MOST))
                return hcsmoe_failf(h, HCSMOE_EFAILED,
                                    "the distance of experts %lld and %lld is %g",
                                    (long long)(i / n), (long long)(i % n), d);
        }
    return HCSMOE_OK;
}

static hcsmoe_status work_open(struct work *w, const hcsmoe_host *h, const hcsmoe_cluster_args *a)
{
    const int64_t n = a->dims->n_experts, m = a->n_groups;

    if (m < 1 || m > n)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "%lld groups of %lld experts: must be 1..%lld",
                            (long long)m, (long long)n, (long long)n);
    *w = (struct work){.n_experts = n, .n_centres = m, .n_bases = a->n_bases > 1 ? a->n_bases : 1};
    w->distances = w->n_bases > 1 ? a->base_distances : &a->distances;
    w->sizes = a->base_sizes;
    w->squared = h->scratch(h, (size_t)(w->n_bases * n * m) * sizeof *w->squared);
    w->spread = h->scratch(h, (size_t)(w->n_bases * m) * sizeof *w->spread);
    w->score = h->scratch(h, (size_t)(n * m) * sizeof *w->score);
    w->labels = h->scratch(h, (size_t)n * sizeof *w->labels);
    w->next = h->scratch(h, (size_t)n * sizeof *w->next);
    w->size = h->scratch(h, (size_t)m * sizeof *w->size);
    if (!w->squared || !w->spread || !w->score || !w->labels || !w->next || !w->size)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    return check_distances(h, w);
}

static hcsmoe_status kmeans_cluster(void *self, const hcsmoe_host *h, const hcsmoe_cluster_args *a)
{
    const struct kmeans *km = self;
    struct work w;
    hcsmoe_status status = work_open(&w, h, a);

    if (status == HCSMOE_OK)
        status = start_choose(km, h, &w);
    if (status == HCSMOE_OK)
        status = iterate(h, &w);
    if (status != HCSMOE_OK)
        return status;
    memcpy(a->labels, w.labels, (size_t)w.n_experts * sizeof *a->labels);
    find_cores(&w, a->cores);
    *a->groups = w.n_centres;
    *a->n_joins = 0;
    return HCSMOE_OK;
}

/* The text of `start`, as far as it can be judged before a model is there. */
static hcsmoe_status check_start(const hcsmoe_host *h, const char *start)
{
    const char *p = start;
    long long e;

    if (strcmp(start, "kmeans++") == 0 || strcmp(start, "first") == 0)
        return HCSMOE_OK;
    do
        if (!list_next(&p, &e))
            return hcsmoe_failf(
                h, HCSMOE_EINVAL,
                "start = %s: must be kmeans++, first, or expert indices such as 0,3,5", start);
    while (*p != '\0');
    return HCSMOE_OK;
}

static hcsmoe_status kmeans_create(const hcsmoe_host *h, const void *opts, void **self)
{
    const kmeans_opts *o = opts;
    hcsmoe_status status = check_start(h, o->start);
    struct kmeans *km;

    if (status != HCSMOE_OK)
        return status;
    km = h->alloc(h, sizeof *km);
    if (!km)
        return HCSMOE_ENOMEM;
    *km = (struct kmeans){.opts = o};
    if (o->random_start_center) {
        struct timespec now = {0};
        (void)timespec_get(&now, TIME_UTC);
        km->seed = mix(mix((uint64_t)now.tv_sec) ^ (uint64_t)now.tv_nsec) ^ mix((uint64_t)getpid());
        hcsmoe_logf(h, HCSMOE_LOG_INFO, "kmeans: random_start_center: seed %llu",
                    (unsigned long long)km->seed);
    }
    *self = km;
    return HCSMOE_OK;
}

static void kmeans_destroy(const hcsmoe_host *h, void *self)
{
    h->free(h, self);
}

static uint64_t kmeans_needs(const void *opts, uint64_t caps)
{
    (void)caps;
    return ((const kmeans_opts *)opts)->dynamic_group ? HCSMOE_STAT_USAGE : 0;
}

static int32_t kmeans_has_effect(const void *opts, uint64_t caps, const char *option)
{
    (void)caps;
    /* Only kmeans++ draws. */
    return strcmp(option, "random_start_center") != 0 ||
           strcmp(((const kmeans_opts *)opts)->start, "kmeans++") == 0;
}

static int32_t kmeans_wants_budget(void *self, const hcsmoe_host *h)
{
    (void)h;
    return ((const struct kmeans *)self)->opts->dynamic_group;
}

static hcsmoe_status kmeans_budget(void *self, const hcsmoe_host *h, hcsmoe_budget_args *a)
{
    (void)self;
    return hcsmoe_budget_usage(h, a);
}

static const hcsmoe_cluster_ops ops = {
    .struct_size = sizeof ops,
    .cluster = kmeans_cluster,
    .budget = kmeans_budget,
    .wants_budget = kmeans_wants_budget,
};

static const hcsmoe_component kmeans = {
    .struct_size = sizeof kmeans,
    .kind = HCSMOE_KIND_CLUSTER,
    .name = "kmeans",
    .summary = "Lloyd's k-means on one base, with standardised distances on several",
    .ops = &ops,
    .caps = HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DETERMINISTIC | HCSMOE_CAP_DISTANCES_IN |
            HCSMOE_CAP_CORES_OUT,
    HCSMOE_OPTIONS(kmeans_opts, options),
    .needs_for = kmeans_needs,
    .has_effect = kmeans_has_effect,
    .create = kmeans_create,
    .destroy = kmeans_destroy,
};

HCSMOE_PLUGIN("hcsmoe.cluster.kmeans", "1.0.0", "MIT", &kmeans)
