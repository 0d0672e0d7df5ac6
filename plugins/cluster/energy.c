/*
 * energy.c - joins the experts that lose least when a group keeps only its best neurons.
 *
 * Of a set g of experts, neuron (e, i) has the energy o = P[e, e, i] on the tokens of its own
 * expert, and q = sum over e' in g of P[e', e, i] on those of all of them. Scaled to serve all of g
 * it explains b = o^2 / q of its own output, so that g, reduced to F' neurons, loses
 *
 *     loss(g) = sum of o - (sum of the F' largest b)
 *
 * The pair whose union adds least to the loss is joined, the lexicographically smallest of equals.
 * The same prediction says how many groups of a smaller width are best (groups = auto), and which
 * layers can do with fewer groups (budget = global). SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include <hcsmoe/cluster.h>

/* Of groups = auto: as many groups as lose at most so much more than the best number. The
 * prediction ignores what refitting gains, and more groups are safer off the calibration's domain.
 */
static const double AUTO_SLACK = 1.25;

enum { UNIFORM, GLOBAL };
enum { SORT_LEAST = 16 }; /* shorter runs are sorted by insertion */

typedef struct energy_opts {
    int64_t budget;
    int64_t group_limit;
} energy_opts;

static const hcsmoe_choice budgets[] = {
    {.name = "uniform", .value = UNIFORM, .help = "every layer gets the same number of groups"},
    {.name = "global", .value = GLOBAL, .help = "layers that lose less get fewer groups"},
    {.name = NULL},
};

static const hcsmoe_option options[] = {
    HCSMOE_ENUM(energy_opts, budget, UNIFORM, budgets,
                "how the groups are spread over the layers; the sum is the same"),
    HCSMOE_INT(energy_opts, group_limit, 0, 0, 1 << 20, "most experts of a group; 0: no limit"),
};

/* The clusters so far; a cluster is named by its lowest expert. */
struct forest {
    const hcsmoe_host *h;
    int64_t n_experts, ffn, kept; /* E, F, F' */
    int64_t limit;                /* most experts of a cluster */
    int64_t n_clusters;
    const double *energy; /* [E, E, F] */
    double *heard;        /* [E, E, F] per cluster: q of every neuron of the layer */
    double *loss;         /* [E] per cluster */
    double *rise;         /* [E, E] of the loss, per pair a < b; infinite: too large a union */
    int64_t *size;        /* [E] experts of the cluster that e names; 0: e names none */
    int32_t *named;       /* [E] who names the expert's cluster */
    int32_t *pairs;       /* [E * E] pairs to be evaluated, a * E + b */
};

static void swap(double *x, double *y)
{
    const double kept = *x;

    *x = *y;
    *y = kept;
}

static void insertion_sort(double *x, int64_t n)
{
    int64_t i, j;

    for (i = 1; i < n; i++)
        for (j = i; j > 0 && x[j] > x[j - 1]; j--)
            swap(&x[j], &x[j - 1]);
}

/* Parts x so that what stands before the returned index is not smaller than what follows; both
 * sides have something. n > 2. */
static int64_t part(double *x, int64_t n)
{
    int64_t i = -1, j = n;
    double pivot;

    /* The middle one of three, moved off the end. */
    if (x[n / 2] > x[0])
        swap(&x[n / 2], &x[0]);
    if (x[n - 1] > x[0])
        swap(&x[n - 1], &x[0]);
    if (x[n - 1] > x[n / 2])
        swap(&x[n - 1], &x[n / 2]);
    pivot = x[n / 2];
    for (;;) {
        do
            i++;
        while (x[i] > pivot);
        do
            j--;
        while (x[j] < pivot);
        if (i >= j)
            return j + 1;
        swap(&x[i], &x[j]);
    }
}

/* The sum of the largest values, added up from the largest down; x is reordered. */
static double sum_largest(double *x, int64_t n, int64_t largest)
{
    struct {
        int64_t begin, end;
    } waiting[64];
    int depth = 0;
    double sum = 0;
    int64_t i;

    waiting[depth].begin = 0;
    waiting[depth++].end = n;
    while (depth > 0) {
        int64_t begin = waiting[--depth].begin;
        int64_t end = waiting[depth].end;
        while (end - begin > SORT_LEAST && begin < largest) {
            const int64_t middle = begin + part(x + begin, end - begin);
            /* The longer side waits: no more than one per halving do. */
            if (middle - begin > end - middle) {
                waiting[depth].begin = begin;
                waiting[depth++].end = middle;
                begin = middle;
            } else {
                waiting[depth].begin = middle;
                waiting[depth++].end = end;
                end = middle;
            }
        }
        if (begin < largest)
            insertion_sort(x + begin, end - begin);
    }
    for (i = 0; i < n && i < largest; i++)
        sum += x[i];
    return sum;
}

/* The loss of cluster a, or with b >= 0 of its union with b. values: [size * F]. */
static double forest_loss(const struct forest *f, int64_t a, int64_t b, double *values)
{
    const int64_t n_experts = f->n_experts, ffn = f->ffn;
    const double *heard_a = &f->heard[a * n_experts * ffn];
    const double *heard_b = b < 0 ? NULL : &f->heard[b * n_experts * ffn];
    double whole = 0;
    int64_t n = 0;
    int64_t e, i;

    if (b < 0 && f->size[a] == 1 && f->kept == ffn)
        return 0; /* it loses nothing, which rounding would not quite say */
    for (e = 0; e < n_experts; e++) {
        if (f->named[e] != a && (b < 0 || f->named[e] != b))
            continue;
        for (i = 0; i < ffn; i++) {
            const double o = f->energy[(e * n_experts + e) * ffn + i];
            const double q = heard_a[e * ffn + i] + (heard_b ? heard_b[e * ffn + i] : 0);
            whole += o;
            values[n++] = q > 0 ? o * (o / q) : 0;
        }
    }
    return whole - sum_largest(values, n, f->kept);
}

/* Pairs are independent of each other. */
static hcsmoe_status evaluate(void *arg, int64_t begin, int64_t end)
{
    struct forest *f = arg;
    double *values;
    int64_t most = 0;
    int64_t i;

    for (i = begin; i < end; i++) {
        const int64_t size =
            f->size[f->pairs[i] / f->n_experts] + f->size[f->pairs[i] % f->n_experts];
        most = size > most ? size : most;
    }
    values = f->h->scratch(f->h, (size_t)(most * f->ffn) * sizeof *values);
    if (!values)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    for (i = begin; i < end; i++) {
        const int64_t a = f->pairs[i] / f->n_experts, b = f->pairs[i] % f->n_experts;
        f->rise[f->pairs[i]] = a == b ? forest_loss(f, a, -1, values)
                                      : forest_loss(f, a, b, values) - f->loss[a] - f->loss[b];
    }
    return HCSMOE_OK;
}

/* The rise of the loss of all pairs, or of those that cluster `joined` is part of. */
static hcsmoe_status forest_rises(struct forest *f, int64_t joined)
{
    const int64_t n = f->n_experts;
    int64_t n_pairs = 0;
    int64_t a, b;

    for (a = 0; a < n; a++) {
        for (b = a + 1; b < n; b++) {
            if (f->size[a] == 0 || f->size[b] == 0 || (joined >= 0 && a != joined && b != joined))
                continue;
            if (f->size[a] + f->size[b] > f->limit)
                f->rise[a * n + b] = INFINITY;
            else
                f->pairs[n_pairs++] = (int32_t)(a * n + b);
        }
    }
    return f->h->parallel_for(f->h, n_pairs, evaluate, f);
}

static hcsmoe_status forest_check(const struct forest *f, int32_t layer)
{
    const int64_t n = f->n_experts * f->n_experts * f->ffn;
    int64_t i;

    for (i = 0; i < n; i++)
        if (!(f->energy[i] >= 0 && f->energy[i] < INFINITY))
            return hcsmoe_failf(
                f->h, HCSMOE_EFAILED,
                "neuron %lld of expert %lld of layer %d has the energy %g on the tokens of expert "
                "%lld",
                (long long)(i % f->ffn), (long long)(i / f->ffn % f->n_experts), layer,
                f->energy[i], (long long)(i / f->ffn / f->n_experts));
    return HCSMOE_OK;
}

static void forest_close(struct forest *f)
{
    f->h->free(f->h, f->heard);
    f->h->free(f->h, f->loss);
    f->h->free(f->h, f->rise);
    f->h->free(f->h, f->size);
    f->h->free(f->h, f->named);
    f->h->free(f->h, f->pairs);
}

/* Every expert a cluster of its own. To be closed also after a failure. */
static hcsmoe_status forest_plant(struct forest *f, const hcsmoe_host *h,
                                  const hcsmoe_layer_dims *dims, const double *energy, int64_t kept,
                                  int64_t limit)
{
    const int64_t n = dims->n_experts;
    hcsmoe_status status;
    int64_t e;

    *f = (struct forest){.h = h, .n_experts = n, .ffn = dims->ffn, .kept = kept, .energy = energy};
    f->limit = limit > 0 ? limit : n;
    f->n_clusters = n;
    f->heard = h->alloc(h, (size_t)(n * n * dims->ffn) * sizeof *f->heard);
    f->loss = h->alloc(h, (size_t)n * sizeof *f->loss);
    f->rise = h->alloc(h, (size_t)(n * n) * sizeof *f->rise);
    f->size = h->alloc(h, (size_t)n * sizeof *f->size);
    f->named = h->alloc(h, (size_t)n * sizeof *f->named);
    f->pairs = h->alloc(h, (size_t)(n * n) * sizeof *f->pairs);
    if (!f->heard || !f->loss || !f->rise || !f->size || !f->named || !f->pairs)
        return HCSMOE_ENOMEM; /* alloc has set the message */
    memcpy(f->heard, energy, (size_t)(n * n * dims->ffn) * sizeof *f->heard);
    for (e = 0; e < n; e++) {
        f->size[e] = 1;
        f->named[e] = (int32_t)e;
        f->pairs[e] = (int32_t)(e * n + e); /* of an expert with itself: its own loss */
    }
    status = forest_check(f, dims->layer);
    if (status == HCSMOE_OK)
        status = h->parallel_for(h, n, evaluate, f);
    for (e = 0; e < n && status == HCSMOE_OK; e++)
        f->loss[e] = f->rise[e * n + e];
    return status == HCSMOE_OK ? forest_rises(f, -1) : status;
}

/* How much more the next pair would have lost. Two pairs that lose nothing are a tie, not an
 * infinite gap. */
static double gap_between(double chosen, double runner_up)
{
    if (isinf(runner_up))
        return INFINITY;
    if (chosen > 0)
        return (runner_up - chosen) / chosen;
    return runner_up > chosen ? INFINITY : 0;
}

/* The first of the pairs that lose least; a < 0 when no two clusters may be joined. */
static hcsmoe_join forest_cheapest(const struct forest *f)
{
    hcsmoe_join cheapest = {.a = -1, .b = -1, .height = INFINITY};
    double runner_up = INFINITY;
    int64_t a, b;

    for (a = 0; a < f->n_experts; a++) {
        for (b = a + 1; b < f->n_experts; b++) {
            double rise;
            if (f->size[a] == 0 || f->size[b] == 0)
                continue;
            rise = f->rise[a * f->n_experts + b];
            if (rise < cheapest.height) {
                runner_up = cheapest.height;
                cheapest.height = rise;
                cheapest.a = (int32_t)a;
                cheapest.b = (int32_t)b;
            } else if (rise < runner_up) {
                runner_up = rise;
            }
        }
    }
    cheapest.gap = gap_between(cheapest.height, runner_up);
    return cheapest;
}

/* Joins the cheapest pair; join->a < 0 when there is none. */
static hcsmoe_status forest_step(struct forest *f, hcsmoe_join *join)
{
    const int64_t n = f->n_experts, row = n * f->ffn;
    int64_t a, b, i;

    *join = forest_cheapest(f);
    if (f->h->cancelled(f->h))
        return HCSMOE_ECANCELLED;
    if (join->a < 0)
        return HCSMOE_OK;
    a = join->a;
    b = join->b;
    f->loss[a] += f->loss[b] + join->height;
    f->size[a] += f->size[b];
    f->size[b] = 0;
    f->n_clusters--;
    for (i = 0; i < n; i++)
        if (f->named[i] == b)
            f->named[i] = (int32_t)a;
    for (i = 0; i < row; i++)
        f->heard[a * row + i] += f->heard[b * row + i];
    return forest_rises(f, a);
}

/* Labels by first occurrence. A cluster's name is its first expert, so that one has its label when
 * others come. */
static void forest_label(const struct forest *f, int32_t *labels)
{
    int32_t next = 0;
    int64_t e;

    for (e = 0; e < f->n_experts; e++)
        labels[e] = f->named[e] == e ? next++ : labels[f->named[e]];
}

static const double *energy_of(const energy_opts *o, const hcsmoe_stats *stats)
{
    return o->budget == GLOBAL ? stats->energy_scaled : stats->energy;
}

static hcsmoe_status fail_limit(const hcsmoe_host *h, const energy_opts *o, const struct forest *f,
                                int64_t n_groups)
{
    return hcsmoe_failf(h, HCSMOE_EINVAL,
                        "group_limit = %lld leaves %lld groups of %lld experts: %lld are "
                        "wanted, which takes a larger limit",
                        (long long)o->group_limit, (long long)f->n_clusters,
                        (long long)f->n_experts, (long long)n_groups);
}

static hcsmoe_status energy_cluster(void *self, const hcsmoe_host *h, const hcsmoe_cluster_args *a)
{
    const energy_opts *o = self;
    const int64_t n = a->dims->n_experts;
    struct forest f;
    hcsmoe_status status;
    int64_t i;

    if (a->n_groups < 1 || a->n_groups > n)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "%lld groups of %lld experts: must be 1..%lld",
                            (long long)a->n_groups, (long long)n, (long long)n);
    status = forest_plant(&f, h, a->dims, energy_of(o, a->stats), a->ffn, o->group_limit);
    *a->n_joins = 0;
    /* Up to a single cluster: the report shows the whole tree, and how clear the cut was. */
    while (status == HCSMOE_OK) {
        hcsmoe_join join = {.a = -1};
        if (f.n_clusters == a->n_groups)
            forest_label(&f, a->labels);
        if (f.n_clusters > 1)
            status = forest_step(&f, &join);
        if (status == HCSMOE_OK && join.a < 0 && f.n_clusters > a->n_groups)
            status = fail_limit(h, o, &f, a->n_groups);
        if (status != HCSMOE_OK || join.a < 0)
            break;
        a->joins[(*a->n_joins)++] = join;
    }
    forest_close(&f);
    for (i = 0; i < a->n_groups; i++)
        a->cores[i] = -1;
    *a->groups = a->n_groups;
    return status;
}

/* What a layer loses, relatively, with so many groups of width `kept`; infinity when group_limit
 * does not allow as few. */
static hcsmoe_status layer_loss(const hcsmoe_host *h, const energy_opts *o,
                                const hcsmoe_budget_layer *layer, int64_t n_groups, int64_t kept,
                                double *loss)
{
    const int64_t n = layer->dims->n_experts, ffn = layer->dims->ffn;
    struct forest f;
    double lost = 0, whole = 0;
    hcsmoe_status status =
        forest_plant(&f, h, layer->dims, layer->stats->energy, kept, o->group_limit);
    int64_t e, i;

    while (status == HCSMOE_OK && f.n_clusters > n_groups) {
        hcsmoe_join join;
        status = forest_step(&f, &join);
        if (join.a < 0)
            break;
    }
    for (e = 0; e < n && status == HCSMOE_OK; e++) {
        if (f.size[e] > 0)
            lost += f.loss[e];
        for (i = 0; i < ffn; i++)
            whole += f.energy[(e * n + e) * ffn + i];
    }
    *loss = f.n_clusters > n_groups ? INFINITY : whole > 0 ? lost / whole : 0;
    forest_close(&f);
    return status;
}

/* groups = auto: the largest number of groups that loses little more than the best one. */
static hcsmoe_status choose_number(const hcsmoe_host *h, const energy_opts *o,
                                   hcsmoe_budget_args *a)
{
    const int64_t n = a->layers[0]->dims->n_experts, target = a->layers[0]->n_groups;
    double *loss = h->scratch(h, (size_t)(n + 1) * sizeof *loss);
    int64_t best = -1, chosen = -1;
    int64_t m, l;

    if (!loss)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    for (m = target; m <= n; m++) {
        loss[m] = a->widths[m] > 0 ? 0 : INFINITY;
        for (l = 0; l < a->n_layers && loss[m] < INFINITY; l++) {
            double lost;
            const hcsmoe_status status = layer_loss(h, o, a->layers[l], m, a->widths[m], &lost);
            if (status != HCSMOE_OK)
                return status;
            loss[m] += lost;
        }
        if (loss[m] < INFINITY && (best < 0 || loss[m] < loss[best]))
            best = m;
    }
    for (m = target; m <= n && best >= 0; m++)
        if (loss[m] <= AUTO_SLACK * loss[best])
            chosen = m;
    if (chosen < 0)
        return hcsmoe_failf(h, HCSMOE_EINVAL,
                            "groups = auto: no number of groups from %lld to %lld leaves a neuron "
                            "and keeps group_limit = %lld",
                            (long long)target, (long long)n, (long long)o->group_limit);
    for (l = 0; l < a->n_layers; l++)
        a->layers[l]->n_groups = chosen;
    hcsmoe_logf(h, HCSMOE_LOG_INFO,
                "groups = auto: %lld groups of width %lld, predicted loss %.4f of a layer (%lld of "
                "width %lld: %.4f)",
                (long long)chosen, (long long)a->widths[chosen], loss[chosen] / (double)a->n_layers,
                (long long)best, (long long)a->widths[best], loss[best] / (double)a->n_layers);
    return HCSMOE_OK;
}

/* rise[0..n-2] of the layer's joins in order; infinity from where group_limit allows no more. */
static hcsmoe_status layer_rises(const hcsmoe_host *h, const energy_opts *o,
                                 const hcsmoe_budget_layer *layer, int64_t kept, double *rise)
{
    const int64_t n = layer->dims->n_experts;
    struct forest f;
    hcsmoe_status status =
        forest_plant(&f, h, layer->dims, layer->stats->energy_scaled, kept, o->group_limit);
    int64_t i;

    for (i = 0; i < n; i++)
        rise[i] = INFINITY;
    for (i = 0; i < n - 1 && status == HCSMOE_OK; i++) {
        hcsmoe_join join;
        status = forest_step(&f, &join);
        rise[i] = join.height;
    }
    forest_close(&f);
    return status;
}

/* Again and again the layer whose next join is cheapest, until as many groups are left as wanted. */
static hcsmoe_status spread_groups(const hcsmoe_host *h, const energy_opts *o,
                                   hcsmoe_budget_args *a)
{
    const int64_t n = a->layers[0]->dims->n_experts;
    double *rise = h->scratch(h, (size_t)(a->n_layers * n) * sizeof *rise);
    int64_t left = 0;
    int64_t l;

    if (!rise)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    for (l = 0; l < a->n_layers; l++) {
        const hcsmoe_status status = layer_rises(h, o, a->layers[l], a->ffn, &rise[l * n]);
        if (status != HCSMOE_OK)
            return status;
        left += n - a->layers[l]->n_groups;
        a->layers[l]->n_groups = n;
    }
    for (; left > 0; left--) {
        int64_t cheapest = -1;
        double least = INFINITY;
        for (l = 0; l < a->n_layers; l++) {
            const double next = rise[l * n + n - a->layers[l]->n_groups];
            if (next < least) {
                least = next;
                cheapest = l;
            }
        }
        if (cheapest < 0)
            return hcsmoe_failf(h, HCSMOE_EINVAL,
                                "budget = global: group_limit = %lld leaves %lld groups too many",
                                (long long)o->group_limit, (long long)left);
        a->layers[cheapest]->n_groups--;
    }
    return HCSMOE_OK;
}

static hcsmoe_status energy_budget(void *self, const hcsmoe_host *h, hcsmoe_budget_args *a)
{
    const energy_opts *o = self;
    int64_t l;

    if (a->n_layers == 0)
        return HCSMOE_OK;
    for (l = 1; l < a->n_layers; l++)
        if (a->layers[l]->dims->n_experts != a->layers[0]->dims->n_experts)
            return hcsmoe_failf(h, HCSMOE_EUNSUPPORTED,
                                "layer %d has %lld experts, layer %d %lld: a budget over layers "
                                "needs equal numbers",
                                a->layers[0]->dims->layer, (long long)a->layers[0]->dims->n_experts,
                                a->layers[l]->dims->layer,
                                (long long)a->layers[l]->dims->n_experts);
    if (o->budget == GLOBAL && (a->widths || a->ffn != a->layers[0]->dims->ffn))
        return hcsmoe_failf(h, HCSMOE_EINVAL,
                            "budget = global spreads groups of full width over the layers: [merge] "
                            "groups must be 0");
    if (a->widths)
        return choose_number(h, o, a);
    return o->budget == GLOBAL ? spread_groups(h, o, a) : HCSMOE_OK;
}

/* The host asks the budget as well when the merge leaves the number of groups open. */
static int32_t energy_wants_budget(void *self, const hcsmoe_host *h)
{
    const energy_opts *o = self;

    (void)h;
    return o->budget == GLOBAL;
}

static uint64_t energy_needs(const void *opts, uint64_t caps)
{
    const energy_opts *o = opts;

    (void)caps;
    return o->budget == GLOBAL ? HCSMOE_STAT_ENERGY_SCALED : HCSMOE_STAT_ENERGY;
}

static const hcsmoe_cluster_ops ops = {
    .struct_size = sizeof ops,
    .cluster = energy_cluster,
    .budget = energy_budget,
    .wants_budget = energy_wants_budget,
};

static const hcsmoe_component energy = {
    .struct_size = sizeof energy,
    .kind = HCSMOE_KIND_CLUSTER,
    .name = "energy",
    .summary = "joins the experts that lose least when a group keeps only its best neurons",
    .ops = &ops,
    .needs = HCSMOE_STAT_ENERGY,
    .caps = HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DETERMINISTIC | HCSMOE_CAP_CHOOSES_GROUPS,
    HCSMOE_OPTIONS(energy_opts, options),
    .needs_for = energy_needs,
};

HCSMOE_PLUGIN("hcsmoe.cluster.energy", "1.0.0", "MIT", &energy)
