/*
 * hierarchical.c - joins the two closest clusters until as many are left as are wanted.
 *
 * Textbook linkages (Lance and Williams 1967), heights as SciPy gives them. A cluster is named by
 * its lowest expert; of equally close pairs the lexicographically smallest is joined. The core of a
 * cluster is the expert nearest to its mean. hierarchical-dynamic cuts the same tree where the
 * silhouette is best. SPDX-License-Identifier: MIT
 */
#include <math.h>

#include <hcsmoe/budget.h>
#include <hcsmoe/cluster.h>

/* Sums of squares of anything smaller are finite. */
#define DISTANCE_MOST 1e140

/* Sums that differ by less, relatively, differ by rounding: the two experts of a pair are equally
 * near to their mean. */
#define TIE 1e-12

enum { SINGLE, COMPLETE, AVERAGE, WARD };
enum { SILHOUETTE };

typedef struct hierarchical_opts {
    int64_t linkage;
    int64_t hierarchical_stopping_metric; /* hierarchical-dynamic alone has it */
    int32_t dynamic_group;
} hierarchical_opts;

static const hcsmoe_choice linkages[] = {
    {.name = "single", .value = SINGLE, .help = "the nearest two experts"},
    {.name = "complete", .value = COMPLETE, .help = "the farthest two experts"},
    {.name = "average", .value = AVERAGE, .help = "the mean over all pairs of experts"},
    {.name = "ward", .value = WARD, .help = "the growth of the squares within clusters"},
    {.name = NULL},
};

static const hcsmoe_choice metrics[] = {
    {.name = "silhouette", .value = SILHOUETTE, .help = "how much nearer the own group is"},
    {.name = NULL},
};

#define LINKAGE                                                                                    \
    HCSMOE_ENUM(hierarchical_opts, linkage, AVERAGE, linkages,                                     \
                "what the distance of two clusters is")
#define DYNAMIC_GROUP                                                                              \
    HCSMOE_BOOL(hierarchical_opts, dynamic_group, 0,                                               \
                "yes: layers whose experts are used more get more groups, others fewer")

static const hcsmoe_option options[] = {LINKAGE, DYNAMIC_GROUP};

static const hcsmoe_option dynamic_options[] = {
    LINKAGE,
    DYNAMIC_GROUP,
    HCSMOE_ENUM(hierarchical_opts, hierarchical_stopping_metric, SILHOUETTE, metrics,
                "what chooses the number of groups"),
};

/* The clusters so far. */
struct forest {
    int64_t n_experts;
    int64_t linkage;
    double *kept;   /* [E, E] per pair: average the sum over pairs of experts, ward the square, else
                       the distance */
    int64_t *size;  /* [E] experts in the cluster that expert e names; 0: e names none */
    int32_t *named; /* [E] who names the expert's cluster */
    double *near;   /* [E] for silhouette */
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
    f->near = h->scratch(h, (size_t)n * sizeof *f->near);
    if (!f->kept || !f->size || !f->named || !f->near)
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

/* The mean over the experts of (b - a) / max(a, b): a is the mean distance to the others of the own
 * cluster, b that to the nearest other cluster (Rousseeuw 1987). An expert alone scores 0, and so
 * does one that lies on both. */
static double forest_silhouette(const struct forest *f, const double *distances)
{
    const int64_t n = f->n_experts;
    double total = 0;
    int64_t i, j;

    for (i = 0; i < n; i++) {
        const int32_t own = f->named[i];
        double a, b = INFINITY;
        if (f->size[own] < 2)
            continue;
        for (j = 0; j < n; j++)
            f->near[j] = 0;
        for (j = 0; j < n; j++)
            f->near[f->named[j]] += distances[i * n + j];
        a = f->near[own] / (double)(f->size[own] - 1);
        for (j = 0; j < n; j++)
            if (j != own && f->size[j] > 0)
                b = fmin(b, f->near[j] / (double)f->size[j]);
        if (fmax(a, b) > 0)
            total += (b - a) / fmax(a, b);
    }
    return total / (double)n;
}

/* Is the tree to be cut where k clusters are left? best: the best silhouette so far, which a
 * smaller number of clusters has to beat. One cluster has no other to be compared with: it is taken
 * only when it is what is wanted. */
static int cut_here(const struct forest *f, const hcsmoe_cluster_args *a, int64_t k, int dynamic,
                    double *best)
{
    double score;

    if (!dynamic || a->n_groups == 1)
        return k == a->n_groups;
    if (k > a->n_groups || k == 1)
        return 0;
    score = forest_silhouette(f, a->distances);
    if (!(score > *best + TIE))
        return 0;
    *best = score;
    return 1;
}

/* The core of each cluster. |X_i - mean|^2 is the mean of d_ij^2 over the members j less a constant
 * of the cluster, so that the sum of squares orders the members. */
static void find_cores(const hcsmoe_cluster_args *a)
{
    const int64_t n = a->dims->n_experts;
    int64_t i, j, label;

    for (label = 0; label < *a->groups; label++) {
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

static hcsmoe_status tree_make(const hierarchical_opts *opts, const hcsmoe_host *h,
                               const hcsmoe_cluster_args *a, int dynamic)
{
    const int64_t n = a->dims->n_experts;
    double best = -INFINITY;
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
        if (cut_here(&f, a, n - i, dynamic, &best)) {
            forest_label(&f, a->labels);
            *a->groups = n - i;
        }
        if (i == n - 1)
            break;
        if (h->cancelled(h))
            return HCSMOE_ECANCELLED;
        a->joins[i] = forest_closest(&f);
        forest_join(&f, a->joins[i].a, a->joins[i].b);
    }
    *a->n_joins = n - 1;
    /* Distances added up over several bases belong to no points: there is no mean to be near to. */
    for (i = 0; i < *a->groups; i++)
        a->cores[i] = -1;
    if (a->n_bases <= 1)
        find_cores(a);
    return HCSMOE_OK;
}

static hcsmoe_status hierarchical_cluster(void *self, const hcsmoe_host *h,
                                          const hcsmoe_cluster_args *a)
{
    return tree_make(self, h, a, 0);
}

static hcsmoe_status dynamic_cluster(void *self, const hcsmoe_host *h, const hcsmoe_cluster_args *a)
{
    return tree_make(self, h, a, 1);
}

static uint64_t hierarchical_needs(const void *opts, uint64_t caps)
{
    (void)caps;
    return ((const hierarchical_opts *)opts)->dynamic_group ? HCSMOE_STAT_USAGE : 0;
}

static int32_t hierarchical_wants_budget(void *self, const hcsmoe_host *h)
{
    (void)h;
    return ((const hierarchical_opts *)self)->dynamic_group;
}

static hcsmoe_status hierarchical_budget(void *self, const hcsmoe_host *h, hcsmoe_budget_args *a)
{
    (void)self;
    return hcsmoe_budget_usage(h, a);
}

static hcsmoe_status hirarchical_create(const hcsmoe_host *h, const void *opts, void **self)
{
    hcsmoe_logf(h, HCSMOE_LOG_WARN,
                "cluster = hirarchical: read as 'hierarchical', which is the value to write; the "
                "reference program of HC-SMoE ran k-means for this spelling and ignored linkage, "
                "as cluster = kmeans does");
    *self = (void *)opts;
    return HCSMOE_OK;
}

static const hcsmoe_cluster_ops ops = {
    .struct_size = sizeof ops,
    .cluster = hierarchical_cluster,
    .budget = hierarchical_budget,
    .wants_budget = hierarchical_wants_budget,
};

static const hcsmoe_cluster_ops dynamic_ops = {
    .struct_size = sizeof dynamic_ops,
    .cluster = dynamic_cluster,
    .budget = hierarchical_budget,
    .wants_budget = hierarchical_wants_budget,
};

#define CAPS                                                                                       \
    (HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DETERMINISTIC | HCSMOE_CAP_DISTANCES_IN |                    \
     HCSMOE_CAP_CORES_OUT)

static const hcsmoe_component hierarchical = {
    .struct_size = sizeof hierarchical,
    .kind = HCSMOE_KIND_CLUSTER,
    .name = "hierarchical",
    .summary = "joins the closest clusters until the wanted number is left",
    .ops = &ops,
    .caps = CAPS,
    HCSMOE_OPTIONS(hierarchical_opts, options),
    .needs_for = hierarchical_needs,
};

static const hcsmoe_component hierarchical_dynamic = {
    .struct_size = sizeof hierarchical_dynamic,
    .kind = HCSMOE_KIND_CLUSTER,
    .name = "hierarchical-dynamic",
    .summary = "the same, with the number of groups from 2 up to the wanted one that fits best",
    .ops = &dynamic_ops,
    .caps = CAPS,
    HCSMOE_OPTIONS(hierarchical_opts, dynamic_options),
    .needs_for = hierarchical_needs,
};

static const hcsmoe_component hirarchical = {
    .struct_size = sizeof hirarchical,
    .kind = HCSMOE_KIND_CLUSTER,
    .name = "hirarchical",
    .summary = "hierarchical as the reference program of HC-SMoE misspells it; warns",
    .ops = &ops,
    .caps = CAPS,
    HCSMOE_OPTIONS(hierarchical_opts, options),
    .needs_for = hierarchical_needs,
    .create = hirarchical_create,
};

HCSMOE_PLUGIN("hcsmoe.cluster.hierarchical", "1.0.0", "MIT", &hierarchical, &hierarchical_dynamic,
              &hirarchical)
