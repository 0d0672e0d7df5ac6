/*
 * random.c - groups that are drawn: what a grouping that knows something has to beat.
 *
 * Every group has one expert for certain, each further expert draws its group, and then all change
 * places. The seed is [run] seed. SPDX-License-Identifier: MIT
 */
#include <hcsmoe/cluster.h>

/* Uniform in 0..n-1: draws above the last multiple of n would favour low numbers. */
static int64_t draw_index(const hcsmoe_host *h, int64_t n)
{
    const uint64_t most = UINT64_MAX - UINT64_MAX % (uint64_t)n;
    uint64_t x;

    do
        x = h->random(h);
    while (x >= most);
    return (int64_t)(x % (uint64_t)n);
}

static hcsmoe_status random_cluster(void *self, const hcsmoe_host *h, const hcsmoe_cluster_args *a)
{
    const int64_t n = a->dims->n_experts, m = a->n_groups;
    int64_t i;

    (void)self; /* random has no options */
    if (m < 1 || m > n)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "%lld groups of %lld experts: must be 1..%lld",
                            (long long)m, (long long)n, (long long)n);
    for (i = 0; i < n; i++)
        a->labels[i] = (int32_t)(i < m ? i : draw_index(h, m));
    for (i = n - 1; i > 0; i--) { /* Fisher and Yates */
        const int64_t j = draw_index(h, i + 1);
        const int32_t label = a->labels[i];
        a->labels[i] = a->labels[j];
        a->labels[j] = label;
    }
    for (i = 0; i < m; i++)
        a->cores[i] = -1;
    *a->groups = m;
    *a->n_joins = 0;
    return HCSMOE_OK;
}

static const hcsmoe_cluster_ops ops = {.struct_size = sizeof ops, .cluster = random_cluster};

static const hcsmoe_component component = {
    .struct_size = sizeof component,
    .kind = HCSMOE_KIND_CLUSTER,
    .name = "random",
    .summary = "groups drawn at random: the baseline",
    .ops = &ops,
    .caps = HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DETERMINISTIC | HCSMOE_CAP_DOMINANT,
};

HCSMOE_PLUGIN("hcsmoe.cluster.random", "1.0.0", "MIT", &component)
