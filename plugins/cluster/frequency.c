/*
 * frequency.c - the experts that are used most become cores, the others join the most similar one.
 *
 * The single-shot grouping of M-SMoE. Of the experts of all layers the best are cores, so that a
 * layer with many of them gets many groups. A group that grows beyond group_limit expels the member
 * that is least similar to its core, which goes to the next core that did not expel it; that can
 * expel another there. routing-score is the same with the router's probabilities in place of its
 * choices. SPDX-License-Identifier: MIT
 */
#include <assert.h>
#include <string.h>

#include <hcsmoe/budget.h>
#include <hcsmoe/cluster.h>

typedef struct frequency_opts {
    int64_t group_limit;
} frequency_opts;

static const hcsmoe_option options[] = {
    HCSMOE_INT(frequency_opts, group_limit, 4, 0, 65536,
               "the most experts in a group, its core included; 0: no limit"),
};

/* The groups of one layer while they fill: E experts, n cores. */
struct groups {
    int64_t n_experts, n_cores;
    int64_t limit;              /* experts of a group */
    const double *similarities; /* [E, E] */
    const int32_t *cores;       /* [n] */
    int32_t *labels;            /* [E] */
    int32_t *members;           /* [n, E] in the order in which they came: the core is the first */
    int64_t *size;              /* [n] */
    unsigned char *expelled;    /* [E, n] 1: the expert never comes back to this core */
    int64_t n_expelled;
};

static hcsmoe_status groups_open(struct groups *x, const hcsmoe_host *h,
                                 const hcsmoe_cluster_args *a, int64_t limit)
{
    const int64_t n = a->dims->n_experts, m = a->n_groups;

    *x = (struct groups){.n_experts = n,
                         .n_cores = m,
                         .limit = limit > 0 ? limit : n,
                         .similarities = a->similarities,
                         .cores = a->cores,
                         .labels = a->labels};
    x->members = h->scratch(h, (size_t)(m * n) * sizeof *x->members);
    x->size = h->scratch(h, (size_t)m * sizeof *x->size);
    x->expelled = h->scratch(h, (size_t)(n * m));
    if (!x->members || !x->size || !x->expelled)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    memset(x->size, 0, (size_t)m * sizeof *x->size);
    memset(x->expelled, 0, (size_t)(n * m));
    return HCSMOE_OK;
}

static void group_add(struct groups *x, int64_t g, int32_t expert)
{
    x->members[g * x->n_experts + x->size[g]++] = expert;
    x->labels[expert] = (int32_t)g;
}

/* The core that the expert is most similar to, of those that did not expel it. */
static int64_t group_of(const struct groups *x, int32_t expert)
{
    const double *s = &x->similarities[expert * x->n_experts];
    int64_t best = -1, g;

    for (g = 0; g < x->n_cores; g++)
        if (!x->expelled[expert * x->n_cores + g] &&
            (best < 0 || s[x->cores[g]] > s[x->cores[best]]))
            best = g;
    /* A group that expelled someone stays full, so that one expelled by all would mean that there
     * is no room for all: limit_check has seen that there is. */
    assert(best >= 0);
    return best;
}

/* Takes the member that is least similar to the core out of its group. */
static int32_t group_expel(struct groups *x, int64_t g)
{
    const double *s = &x->similarities[x->cores[g] * x->n_experts];
    int32_t *members = &x->members[g * x->n_experts];
    int64_t least = 0, i;
    int32_t expert;

    for (i = 1; i < x->size[g]; i++)
        if (s[members[i]] < s[members[least]])
            least = i;
    if (least == 0) /* nobody is less similar to the core than itself: it stays all the same */
        least = 1;
    expert = members[least];
    x->size[g]--;
    memmove(&members[least], &members[least + 1], (size_t)(x->size[g] - least) * sizeof *members);
    x->expelled[expert * x->n_cores + g] = 1;
    x->n_expelled++;
    /* Every pair of an expert and a core once at most. */
    assert(x->n_expelled <= (x->n_experts - x->n_cores) * x->n_cores);
    return expert;
}

static void groups_fill(struct groups *x)
{
    int64_t g;
    int32_t e;

    for (e = 0; e < x->n_experts; e++)
        x->labels[e] = -1;
    for (g = 0; g < x->n_cores; g++)
        group_add(x, g, x->cores[g]);
    for (e = 0; e < x->n_experts; e++) {
        int32_t expert = e;
        if (x->labels[e] >= 0)
            continue;
        for (g = group_of(x, expert);; g = group_of(x, expert)) {
            group_add(x, g, expert);
            if (x->size[g] <= x->limit)
                break;
            expert = group_expel(x, g);
        }
    }
}

/* Is there room for all experts of a layer in so many groups? */
static hcsmoe_status limit_check(const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                                 int64_t n_groups, int64_t limit)
{
    const int64_t n = dims->n_experts;

    if (limit == 0 || n_groups * limit >= n)
        return HCSMOE_OK;
    return hcsmoe_failf(h, HCSMOE_EINVAL,
                        "layer %d: its %lld experts do not fit into %lld groups of at most "
                        "group_limit = %lld: must be %lld or more, or 0 for no limit",
                        dims->layer, (long long)n, (long long)n_groups, (long long)limit,
                        (long long)((n + n_groups - 1) / n_groups));
}

/* score[E] says which experts are cores. */
static hcsmoe_status single_shot(const frequency_opts *opts, const hcsmoe_host *h,
                                 const hcsmoe_cluster_args *a, const double *score)
{
    const int64_t n = a->dims->n_experts;
    struct groups x;
    hcsmoe_status status;
    int64_t i;

    if (a->n_groups < 1 || a->n_groups > n)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "%lld groups of %lld experts: must be 1..%lld",
                            (long long)a->n_groups, (long long)n, (long long)n);
    if (a->n_bases > 1)
        return hcsmoe_failf(h, HCSMOE_EINVAL,
                            "similarity_base has %d bases: grouping around cores compares experts "
                            "by one, must be a single name",
                            a->n_bases);
    status = limit_check(h, a->dims, a->n_groups, opts->group_limit);
    if (status == HCSMOE_OK)
        status = groups_open(&x, h, a, opts->group_limit);
    if (status != HCSMOE_OK)
        return status;
    hcsmoe_budget_order(score, n, a->cores); /* the first n_groups are the cores */
    groups_fill(&x);
    for (i = a->n_groups; i < n; i++)
        a->cores[i] = -1;
    *a->groups = a->n_groups;
    *a->n_joins = 0;
    return HCSMOE_OK;
}

/* After the budget: every layer is checked before the first one is merged. */
static hcsmoe_status limits_check(const frequency_opts *opts, const hcsmoe_host *h,
                                  const hcsmoe_budget_args *a)
{
    hcsmoe_status status = HCSMOE_OK;
    int64_t l;

    for (l = 0; l < a->n_layers && status == HCSMOE_OK; l++)
        status = limit_check(h, a->layers[l]->dims, a->layers[l]->n_groups, opts->group_limit);
    return status;
}

static hcsmoe_status frequency_cluster(void *self, const hcsmoe_host *h,
                                       const hcsmoe_cluster_args *a)
{
    return single_shot(self, h, a, a->stats->usage);
}

static hcsmoe_status frequency_budget(void *self, const hcsmoe_host *h, hcsmoe_budget_args *a)
{
    hcsmoe_status status = hcsmoe_budget_usage(h, a);

    return status == HCSMOE_OK ? limits_check(self, h, a) : status;
}

static hcsmoe_status score_cluster(void *self, const hcsmoe_host *h, const hcsmoe_cluster_args *a)
{
    return single_shot(self, h, a, a->stats->score_sum);
}

static hcsmoe_status score_budget(void *self, const hcsmoe_host *h, hcsmoe_budget_args *a)
{
    const double **scores = h->scratch(h, (size_t)a->n_layers * sizeof *scores);
    hcsmoe_status status;
    int64_t l;

    if (!scores)
        return HCSMOE_ENOMEM;
    for (l = 0; l < a->n_layers; l++) /* comparable: each layer's are of the same tokens */
        scores[l] = a->layers[l]->stats->score_sum;
    status = hcsmoe_budget_exact(h, a, scores);
    return status == HCSMOE_OK ? limits_check(self, h, a) : status;
}

static const hcsmoe_cluster_ops frequency_ops = {
    .struct_size = sizeof frequency_ops,
    .cluster = frequency_cluster,
    .budget = frequency_budget,
};

static const hcsmoe_cluster_ops score_ops = {
    .struct_size = sizeof score_ops,
    .cluster = score_cluster,
    .budget = score_budget,
};

#define CAPS                                                                                       \
    (HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DETERMINISTIC | HCSMOE_CAP_DOMINANT |                        \
     HCSMOE_CAP_SIMILARITIES_IN | HCSMOE_CAP_CORES_OUT)

static const hcsmoe_component frequency = {
    .struct_size = sizeof frequency,
    .kind = HCSMOE_KIND_CLUSTER,
    .name = "frequency",
    .summary = "groups around the experts that tokens choose most often",
    .ops = &frequency_ops,
    .needs = HCSMOE_STAT_USAGE,
    .caps = CAPS,
    HCSMOE_OPTIONS(frequency_opts, options),
};

static const hcsmoe_component routing_score = {
    .struct_size = sizeof routing_score,
    .kind = HCSMOE_KIND_CLUSTER,
    .name = "routing-score",
    .summary = "groups around the experts that get most of the router's probability",
    .ops = &score_ops,
    .needs = HCSMOE_STAT_ROUTING_SCORE,
    .caps = CAPS,
    HCSMOE_OPTIONS(frequency_opts, options),
};

HCSMOE_PLUGIN("hcsmoe.cluster.frequency", "1.0.0", "MIT", &frequency, &routing_score)
