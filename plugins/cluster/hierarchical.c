/*
 * hierarchical.c - joins the two closest clusters until as many are left as are wanted.
 *
 * Textbook linkages (Lance and Williams 1967), heights as SciPy gives them. A cluster is named by
 * its lowest expert; of equally close pairs the lexicographically smallest is joined. The core of a
 * cluster is the expert nearest to its mean. SPDX-License-Identifier: MIT
 */
#include <math.h>

#include <hcsmoe/cluster.h>

/* Sums of squares of anything smaller are finite. */
#define DISTANCE_MOST 1e140

/* Sums that differ by less, relatively, differ by rounding: the two experts of a pair are equally
 * near to their mean. */
#define TIE 1e-12

enum { SINGLE, COMPLETE, AVERAGE, WARD };

typedef struct hierarchical_opts {
    int64_t linkage;
} hierarchical_opts;

static const hcsmoe_choice linkages[] = {
    {.name = "single", .value = SINGLE, .help = "the nearest two experts"},
    {.name = "complete", .value = COMPLETE, .help = "the farthest two experts"},
    {.name = "average", .value = AVERAGE, .help = "the mean over all pairs of experts"},
    {.name = "ward", .value = WARD, .help = "the growth of the squares within clusters"},
    {.name = NULL},
};

static const hcsmoe_option options[] = {
    HCSMOE_ENUM(hierarchical_opts, linkage, AVERAGE, linkages,
                "what the distance of two clusters is"),
};

/* The clusters so far. */
struct forest {
    int64_t n_experts;
    int64_t linkage;
    double *kept;   /* [E, E] per pair: average the sum over pairs of experts, ward the square, else
                       the distance */
    int64_t *size;  /* [E] experts in the cluster that expert e names; 0: e names none */
    int32_t *named; /* [E] who names the expert's cluster */
};

static hcsmoe_status forest_plant(struct forest *f, const hcsmoe_host *h,
                                  const hcsmoe_cluster_args *a, int64_t linkage)
{
    const int64_t n = a->dims->n_experts;
    int64_t i;

    f->n_experts = n;
    f->linkage = linkage;
    f->kept = h->scratch(h, (size_t)(n * n) * sizeof *f->kept);
    f->size = h->scratch(h, (size_t)n * sizeof *f->size);
    f->named = h->scratch(h, (size_t)n * sizeof *f->named);
    if (!f->kept || !f->size || !f->named)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    for (i = 0; i < n * n; i++) {
        const double d = a->distances[i];
        if (!(d >= 0 && d <= DISTANCE_MOST))
            return hcsmoe_failf(h, HCSMOE_EFAILED, "the distance of experts %lld and %lld is %g",
                                (long long)(i / n), (long long)(i % n), d);
        f->kept[i] = linkage == WARD ? d * d : d;
    }
    for (i = 0; i < n; i++) {
        f->size[i] = 1;
        f->named[i] = (int32_t)i;
    }
    return HCSMOE_OK;
}

/* The linkage of clusters a and b. */
static double forest_distance(const struct forest *f, int64_t a, int64_t b)
{
    const double kept = f->kept[a * f->n_experts + b];

    /* Divided last: sums of whole numbers are exact, so that equal means compare equal. */
    if (f->linkage == AVERAGE)
        return kept / ((double)f->size[a] * (double)f->size[b]);
    return f->linkage == WARD ? sqrt(kept) : kept;
}

/* How much farther the next pair was. Two pairs at distance 0 are a tie, not an infinite gap. */
static double gap_between(double chosen, double runner_up)
{
    if (isinf(runner_up))
        return INFINITY;
    if (chosen > 0)
        return (runner_up - chosen) / chosen;
    return runner_up > 0 ? INFINITY : 0;
}

/* The first of the closest pairs. */
static hcsmoe_join forest_closest(const struct forest *f)
{
    hcsmoe_join closest = {.a = -1, .b = -1, .height = INFINITY};
    double runner_up = INFINITY;
    int64_t a, b;

    for (a = 0; a < f->n_experts; a++) {
        if (f->size[a] == 0)
            continue;
        for (b = a + 1; b < f->n_experts; b++) {
            double d;
            if (f->size[b] == 0)
                continue;
            d = forest_distance(f, a, b);
            if (d < closest.height) {
                runner_up = closest.height;
                closest.height = d;
                closest.a = (int32_t)a;
                closest.b = (int32_t)b;
            } else if (d < runner_up) {
                runner_up = d;
            }
        }
    }
    closest.gap = gap_between(closest.height, runner_up);
    return closest;
}

/* What is kept for cluster c and the union of a and b. */
static double kept_joined(const struct forest *f, int64_t a, int64_t b, int64_t c)
{
    const int64_t n = f->n_experts;
    const double ac = f->kept[a * n + c], bc = f->kept[b * n + c], ab = f->kept[a * n + b];
    const double na = (double)f->size[a], nb = (double)f->size[b], nc = (double)f->size[c];

    switch (f->linkage) {
    case SINGLE:
        return fmin(ac, bc);
    case COMPLETE:
        return fmax(ac, bc);
    case AVERAGE:
        return ac + bc;
    default:
        return ((na + nc) * ac + (nb + nc) * bc - nc * ab) / (na + nb + nc);
    }
}

static void forest_join(struct forest *f, int64_t a, int64_t b)
{
    const int64_t n = f->n_experts;
    int64_t c;

    for (c = 0; c < n; c++) {
        if (c != a && c != b && f->size[c] > 0)
            f->kept[a * n + c] = f->kept[c * n + a] = kept_joined(f, a, b, c);
        if (f->named[c] == b)
            f->named[c] = (int32_t)a;
    }
    f->size[a] += f->size[b];
    f->size[b] = 0;
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

/* The core of each cluster. |X_i - mean|^2 is the mean of d_ij^2 over the members j less a constant
 * of the cluster, so that the sum of squares orders the members. */
static void find_cores(const hcsmoe_cluster_args *a)
{
    const int64_t n = a->dims->n_experts;
    int64_t i, j, label;

    for (label = 0; label < a->n_groups; label++) {
        double least = INFINITY;
        for (i = 0; i < n; i++) {
            double sum = 0;
            if (a->labels[i] != label)
                continue;
            for (j = 0; j < n; j++)
                if (a->labels[j] == label)
                    sum += a->distances[i * n + j] * a->distances[i * n + j];
            if (isinf(least) || sum < least * (1 - TIE)) {
                least = sum;
                a->cores[label] = (int32_t)i;
            }
        }
    }
}

static hcsmoe_status hierarchical_cluster(void *self, const hcsmoe_host *h,
                                          const hcsmoe_cluster_args *a)
{
    const hierarchical_opts *opts = self;
    const int64_t n = a->dims->n_experts;
    struct forest f;
    hcsmoe_status status;
    int64_t i;

    if (a->n_groups < 1 || a->n_groups > n)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "%lld groups of %lld experts: must be 1..%lld",
                            (long long)a->n_groups, (long long)n, (long long)n);
    status = forest_plant(&f, h, a, opts->linkage);
    if (status != HCSMOE_OK)
        return status;
    /* Up to a single cluster: the report shows the whole tree, and how clear the cut was. */
    for (i = 0; i < n; i++) {
        if (n - i == a->n_groups)
            forest_label(&f, a->labels);
        if (i == n - 1)
            break;
        if (h->cancelled(h))
            return HCSMOE_ECANCELLED;
        a->joins[i] = forest_closest(&f);
        forest_join(&f, a->joins[i].a, a->joins[i].b);
    }
    *a->groups = a->n_groups;
    *a->n_joins = n - 1;
    /* Distances added up over several bases belong to no points: there is no mean to be near to. */
    for (i = 0; i < a->n_groups; i++)
        a->cores[i] = -1;
    if (a->n_bases <= 1)
        find_cores(a);
    return HCSMOE_OK;
}

static const hcsmoe_cluster_ops ops = {.struct_size = sizeof ops, .cluster = hierarchical_cluster};

static const hcsmoe_component hierarchical = {
    .struct_size = sizeof hierarchical,
    .kind = HCSMOE_KIND_CLUSTER,
    .name = "hierarchical",
    .summary = "joins the closest clusters until the wanted number is left",
    .ops = &ops,
    .caps = HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DETERMINISTIC | HCSMOE_CAP_DISTANCES_IN |
            HCSMOE_CAP_CORES_OUT,
    HCSMOE_OPTIONS(hierarchical_opts, options),
};

HCSMOE_PLUGIN("hcsmoe.cluster.hierarchical", "1.0.0", "MIT", &hierarchical)
