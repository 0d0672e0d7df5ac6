/*
 * ties.c - merges a group by TIES: trim, elect a sign, merge what agrees.
 *
 * The base is the plain mean of the group, an expert's task vector its distance from that. In every
 * matrix each expert keeps the `density` largest magnitudes of its task vector (all that are as
 * large as the smallest kept one) and the rest counts as 0. An element's sign is that of the sum of
 * what is left; the experts that have it are averaged; scale times that is added to the base. With
 * equal weights two experts always disagree and their mean is what comes out: the default weighs by
 * usage. Members are read row by row, four times. SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include <hcsmoe/merge.h>

/* A sum that is smaller, relatively, is nothing but rounding: no sign is elected. */
#define TIE 1e-10

typedef struct ties_opts {
    double density, scale;
    int64_t weights;
} ties_opts;

enum { WEIGHTS_USAGE, WEIGHTS_EQUAL };

static const hcsmoe_choice weights[] = {
    {"usage", WEIGHTS_USAGE, "by how often tokens chose them"},
    {"equal", WEIGHTS_EQUAL, "all alike, as published"},
    {NULL, 0, NULL},
};

static const hcsmoe_option options[] = {
    HCSMOE_REAL(ties_opts, density, 0.2, 0, 1,
                "share of its differences from the mean that an expert keeps"),
    HCSMOE_REAL(ties_opts, scale, 1, 0, 100, "multiplies what is added to the mean"),
    HCSMOE_ENUM(ties_opts, weights, WEIGHTS_USAGE, weights, "how experts count"),
};

/* The smallest magnitude that is kept is found by its bits as a float, some at a time from the top:
 * positive floats are in the order of their bits. */
enum { DIGITS = 3, BINS = 2048 };
static const int shifts[DIGITS] = {20, 10, 0};
static const uint32_t masks[DIGITS] = {0x7ff, 0x3ff, 0x3ff};

struct work {
    const hcsmoe_host *h;
    const hcsmoe_kernels *k;
    const ties_opts *o;
    int64_t n, columns; /* members; columns of the matrix at hand */
    const hcsmoe_tensor *in, *out;
    const double *weight;
    int64_t *bins;       /* [threads, n, BINS] */
    uint32_t *threshold; /* [n] as far as it is known: the digits above `digit` */
    int64_t *left;       /* [n] how many are to be kept of those that agree with it so far */
    int digit;
};

static hcsmoe_tensor row_of(const hcsmoe_tensor *t, int64_t row)
{
    hcsmoe_tensor r = *t;

    r.data = (char *)t->data + (size_t)(row * t->stride[0]) * hcsmoe_dtype_size(t->dtype);
    r.shape[0] = 1;
    return r;
}

/* A row of every task vector, delta[n, columns], and of the base. */
static hcsmoe_status read_row(const struct work *w, int64_t row, double *delta, double *base)
{
    hcsmoe_status status = HCSMOE_OK;
    int64_t e, i;

    for (e = 0; e < w->n && status == HCSMOE_OK; e++) {
        const hcsmoe_tensor from = row_of(&w->in[e], row);
        const hcsmoe_tensor to =
            hcsmoe_matrix(delta + e * w->columns, HCSMOE_DTYPE_F64, 1, w->columns);
        status = w->k->convert(w->k, &from, &to);
    }
    for (i = 0; i < w->columns && status == HCSMOE_OK; i++) {
        double sum = 0;
        for (e = 0; e < w->n; e++)
            sum += delta[e * w->columns + i];
        base[i] = sum / (double)w->n;
        for (e = 0; e < w->n; e++)
            delta[e * w->columns + i] -= base[i];
    }
    return status;
}

static uint32_t magnitude(double x)
{
    const float f = (float)fabs(x);
    uint32_t bits;

    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static hcsmoe_status count_rows(void *arg, int64_t begin, int64_t end)
{
    const struct work *w = arg;
    const int shift = shifts[w->digit];
    const uint32_t mask = masks[w->digit], above = ~(mask << shift | ((1u << shift) - 1));
    int64_t *bins = w->bins + (int64_t)w->h->thread(w->h) * w->n * BINS;
    double *delta = w->h->scratch(w->h, (size_t)((w->n + 1) * w->columns) * sizeof *delta);
    hcsmoe_status status = delta ? HCSMOE_OK : HCSMOE_ENOMEM;
    int64_t row, e, i;

    for (row = begin; row < end && status == HCSMOE_OK; row++) {
        if (w->h->cancelled(w->h))
            return HCSMOE_ECANCELLED;
        status = read_row(w, row, delta, delta + w->n * w->columns);
        for (e = 0; e < w->n; e++)
            for (i = 0; i < w->columns; i++) {
                const uint32_t bits = magnitude(delta[e * w->columns + i]);
                if ((bits & above) == w->threshold[e])
                    bins[e * BINS + (bits >> shift & mask)]++;
            }
    }
    return status;
}

/* The digit in which the last one to be kept lies. */
static void digit_choose(struct work *w, int64_t e)
{
    const int32_t threads = w->h->threads(w->h);
    int64_t bin = masks[w->digit], count;
    int32_t t;

    for (;; bin--) {
        for (t = 0, count = 0; t < threads; t++)
            count += w->bins[(t * w->n + e) * BINS + bin];
        if (count >= w->left[e] || bin == 0)
            break;
        w->left[e] -= count;
    }
    w->threshold[e] |= (uint32_t)bin << shifts[w->digit];
}

static hcsmoe_status thresholds_find(struct work *w, int64_t rows)
{
    const size_t bytes = (size_t)w->h->threads(w->h) * (size_t)w->n * BINS * sizeof *w->bins;
    const double kept = floor(w->o->density * (double)(rows * w->columns) + 0.5);
    hcsmoe_status status = HCSMOE_OK;
    int64_t e;

    for (e = 0; e < w->n; e++) {
        w->threshold[e] = 0;
        w->left[e] = (int64_t)kept;
    }
    for (w->digit = 0; w->digit < DIGITS && status == HCSMOE_OK; w->digit++) {
        memset(w->bins, 0, bytes);
        status = w->h->parallel_for(w->h, rows, count_rows, w);
        for (e = 0; e < w->n; e++)
            digit_choose(w, e);
    }
    for (e = 0; e < w->n && kept < 1; e++)
        w->threshold[e] = UINT32_MAX; /* more than any magnitude */
    return status;
}

/* What the experts that agree add to an element, delta[n] being columns apart. */
static double agreement(const struct work *w, const double *delta)
{
    double sum = 0, total = 0, elected = 0, all = 0;
    int64_t e;

    for (e = 0; e < w->n; e++)
        if (magnitude(delta[e * w->columns]) >= w->threshold[e]) {
            elected += w->weight[e] * delta[e * w->columns];
            all += w->weight[e] * fabs(delta[e * w->columns]);
        }
    if (fabs(elected) <= TIE * all)
        return 0;
    for (e = 0; e < w->n; e++) {
        const double d = delta[e * w->columns];
        if (magnitude(d) >= w->threshold[e] && d * elected > 0) {
            sum += w->weight[e] * d;
            total += w->weight[e];
        }
    }
    return total > 0 ? sum / total : 0;
}

static hcsmoe_status merge_rows(void *arg, int64_t begin, int64_t end)
{
    const struct work *w = arg;
    double *delta = w->h->scratch(w->h, (size_t)((w->n + 1) * w->columns) * sizeof *delta);
    double *base = delta ? delta + w->n * w->columns : NULL;
    hcsmoe_status status = delta ? HCSMOE_OK : HCSMOE_ENOMEM;
    int64_t row, i;

    for (row = begin; row < end && status == HCSMOE_OK; row++) {
        const hcsmoe_tensor from = hcsmoe_matrix(base, HCSMOE_DTYPE_F64, 1, w->columns);
        const hcsmoe_tensor to = row_of(w->out, row);
        if (w->h->cancelled(w->h))
            return HCSMOE_ECANCELLED;
        status = read_row(w, row, delta, base);
        for (i = 0; i < w->columns && status == HCSMOE_OK; i++)
            base[i] += w->o->scale * agreement(w, delta + i);
        if (status == HCSMOE_OK)
            status = w->k->convert(w->k, &from, &to);
    }
    return status;
}

static void member_weights(const ties_opts *o, const hcsmoe_host *h, const hcsmoe_merge_args *a,
                           double *weight)
{
    double sum = 0;
    int64_t i;

    for (i = 0; i < a->n_members; i++) {
        weight[i] = o->weights == WEIGHTS_USAGE ? a->stats->usage[a->members[i]] : 1;
        sum += weight[i];
    }
    if (sum > 0)
        return;
    for (i = 0; i < a->n_members; i++)
        weight[i] = 1;
    hcsmoe_logf(h, HCSMOE_LOG_WARN,
                "layer %d, group %d: no token chose any of its %lld experts: all count alike",
                a->dims->layer, a->group, (long long)a->n_members);
}

static hcsmoe_status ties_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    const hcsmoe_tensor *const members[] = {a->gate, a->up, a->down};
    const hcsmoe_tensor *const merged[] = {a->out_gate, a->out_up, a->out_down};
    const size_t n = (size_t)a->n_members;
    struct work w = {.h = h, .k = h->kernels(h), .o = self, .n = a->n_members};
    double *weight = h->scratch(h, n * sizeof *weight);
    hcsmoe_status status = HCSMOE_OK;
    int part;

    w.threshold = h->scratch(h, n * sizeof *w.threshold);
    w.left = h->scratch(h, n * sizeof *w.left);
    w.bins = h->scratch(h, (size_t)h->threads(h) * n * BINS * sizeof *w.bins);
    if (!weight || !w.threshold || !w.left || !w.bins)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    member_weights(self, h, a, weight);
    w.weight = weight;
    for (part = 0; part < 3 && status == HCSMOE_OK; part++) {
        w.in = members[part];
        w.out = merged[part];
        w.columns = w.in->shape[1];
        status = thresholds_find(&w, w.in->shape[0]);
        if (status == HCSMOE_OK)
            status = h->parallel_for(h, w.in->shape[0], merge_rows, &w);
    }
    return status;
}

static uint64_t ties_needs(const void *opts, uint64_t caps)
{
    const ties_opts *o = opts;

    (void)caps;
    return HCSMOE_STAT_WEIGHTS | (o->weights == WEIGHTS_USAGE ? HCSMOE_STAT_USAGE : 0);
}

static hcsmoe_status ties_cost(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                               const hcsmoe_merge_shape *shape, int64_t n_members,
                               hcsmoe_merge_cost *cost)
{
    const int64_t longest = dims->width > dims->ffn ? dims->width : dims->ffn;
    const int64_t row = (n_members + 1) * longest + n_members * BINS;

    (void)self;
    (void)shape;
    cost->bytes = (int64_t)h->threads(h) * row * (int64_t)sizeof(double);
    /* Four readings of subtracting, and comparing or adding. */
    cost->flops = 16 * (double)n_members * 3 * (double)dims->width * (double)dims->ffn;
    return HCSMOE_OK;
}

static const hcsmoe_merge_ops ops = {
    .struct_size = sizeof ops, .merge = ties_merge, .cost = ties_cost};

static const hcsmoe_component ties = {
    .struct_size = sizeof ties,
    .kind = HCSMOE_KIND_MERGE,
    .name = "ties",
    .summary = "TIES: the mean, and what most experts' largest differences from it agree on",
    .ops = &ops,
    .needs = HCSMOE_STAT_WEIGHTS | HCSMOE_STAT_USAGE,
    .caps = HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DETERMINISTIC,
    HCSMOE_OPTIONS(ties_opts, options),
    .needs_for = ties_needs,
};

HCSMOE_PLUGIN("hcsmoe.merge.ties", "1.0.0", "MIT", &ties)
