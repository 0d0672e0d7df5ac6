/*
 * cluster.c - a template: groups around centres that are far from each other.
 *
 * The first centre is the expert with the least sum of distances, the next ones are each the expert
 * farthest from the centres so far; every expert joins its nearest centre. Ties go to the lowest
 * index, as everywhere in hcsmoe. The file is C11 and C++17. SPDX-License-Identifier: MIT
 */
#include <math.h>

#include <hcsmoe/cluster.h>

static int32_t first_centre(const double *d, int64_t n)
{
    double least = INFINITY;
    int64_t i, j, best = 0;

    for (i = 0; i < n; i++) {
        double sum = 0;
        for (j = 0; j < n; j++)
            sum += d[i * n + j];
        if (sum < least) {
            least = sum;
            best = i;
        }
    }
    return (int32_t)best;
}

static hcsmoe_status mine_cluster(void *self, const hcsmoe_host *h, const hcsmoe_cluster_args *a)
{
    const int64_t n = a->dims->n_experts;
    const double *d = a->distances; /* [n, n], asked for with HCSMOE_CAP_DISTANCES_IN */
    double *nearest = (double *)h->scratch(h, (size_t)n * sizeof *nearest);
    int64_t i, g;

    (void)self; /* no options */
    if (!nearest)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    for (i = 0; i < n * n; i++)
        if (!(d[i] < INFINITY)) /* also where it is not a number: nothing is nearest then */
            return hcsmoe_failf(h, HCSMOE_EFAILED, "experts %lld and %lld: their distance is %g",
                                (long long)(i / n), (long long)(i % n), d[i]);
    for (i = 0; i < n; i++)
        nearest[i] = INFINITY;
    a->cores[0] = first_centre(d, n);
    for (g = 0; g < a->n_groups; g++) {
        int64_t farthest = 0;
        for (i = 0; i < n; i++) {
            const double to_centre = d[i * n + a->cores[g]];
            /* A centre is its own, even where another has distance 0 from it. */
            if (to_centre < nearest[i] || i == a->cores[g]) {
                nearest[i] = i == a->cores[g] ? -1 : to_centre;
                a->labels[i] = (int32_t)g;
            }
            if (nearest[i] > nearest[farthest])
                farthest = i;
        }
        if (g + 1 < a->n_groups)
            a->cores[g + 1] = (int32_t)farthest;
    }
    *a->groups = a->n_groups;
    *a->n_joins = 0; /* no tree */
    return HCSMOE_OK;
}

HCSMOE_TABLE(hcsmoe_cluster_ops, ops, HCSMOE_SET(cluster, mine_cluster));

HCSMOE_TABLE(hcsmoe_component, mine,                /* one row of `hcsmoe plugins` */
             HCSMOE_SET(kind, HCSMOE_KIND_CLUSTER), /* [group] */
             HCSMOE_SET(name, "mine"),              /* cluster = mine */
             HCSMOE_SET(summary, "groups around centres that are far apart"), /* one line */
             HCSMOE_SET(ops, &ops),                                           /* what it does */
             HCSMOE_SET(caps, HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DETERMINISTIC |
                                  HCSMOE_CAP_DISTANCES_IN | HCSMOE_CAP_CORES_OUT));

HCSMOE_PLUGIN("org.example.cluster.mine", "1.0.0", "MIT", &mine)
