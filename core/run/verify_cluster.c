/*
 * verify_cluster.c - does a clustering give groups, whatever it is asked for?
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include <hcsmoe/cluster.h>

#include "base/mem.h"
#include "run/verify_bench.h"
#include "run/verify_suite.h"

enum { BASES = 2 };

/* What similarity bases would have made of the bench, and room for the results of one call. */
struct table {
    double *base[BASES], *distances, *similarities;
    int64_t sizes[BASES];
    int32_t *labels, *cores;
    int64_t *groups, *n_joins;
    hcsmoe_join *joins;
    struct guards inputs, outputs;
};

/* Distances between the rows of features [e, n]. */
static void distances_make(const double *features, int64_t e, int64_t n, double *d)
{
    for (int64_t i = 0; i < e; i++)
        for (int64_t j = 0; j < e; j++) {
            double sum = 0;
            for (int64_t k = 0; k < n; k++) {
                const double one = features[i * n + k] - features[j * n + k];
                sum += one * one;
            }
            d[i * e + j] = sqrt(sum);
        }
}

static double mean_of(const double *d, int64_t e)
{
    double sum = 0;
    for (int64_t i = 0; i < e; i++)
        for (int64_t j = i + 1; j < e; j++)
            sum += d[i * e + j];
    return sum > 0 ? sum / (double)(e * (e - 1) / 2) : 1;
}

/* n_bases bases: the mean outputs, and the inner products of the weights. */
static int table_open(struct table *t, const struct bench *b, int n_bases)
{
    const int64_t e = b->dims.n_experts;
    const size_t size = (size_t)(e * e) * sizeof(double);

    *t = (struct table){.sizes = {b->dims.width, e}};
    t->base[0] = guards_add(&t->inputs, "base_distances", size, 0);
    t->base[1] = guards_add(&t->inputs, "base_distances", size, 0);
    t->distances = guards_add(&t->inputs, "distances", size, 0);
    t->similarities = guards_add(&t->inputs, "similarities", size, 0);
    if (!t->base[0] || !t->base[1] || !t->distances || !t->similarities)
        return HCSMOE_ENOMEM;
    distances_make(b->output_mean, e, b->dims.width, t->base[0]);
    distances_make(b->weight_product, e, e, t->base[1]);
    for (int64_t i = 0; i < e * e; i++) {
        for (int n = 0; n < n_bases; n++)
            t->distances[i] += t->base[n][i] / (n_bases > 1 ? mean_of(t->base[n], e) : 1);
        t->similarities[i] = 1 / (1 + t->distances[i]);
    }
    return 0;
}

/* Fresh results: cores are -1 and the counts 0, as the host has them; the rest is not written. */
static int results_open(struct table *t, int64_t e)
{
    guards_release(&t->outputs);
    t->labels = guards_add(&t->outputs, "labels", (size_t)e * sizeof *t->labels, 0x7f);
    t->cores = guards_add(&t->outputs, "cores", (size_t)e * sizeof *t->cores, 0xff);
    t->groups = guards_add(&t->outputs, "groups", sizeof *t->groups, 0);
    t->joins = guards_add(&t->outputs, "joins", (size_t)(e - 1) * sizeof *t->joins, GUARD_FILL);
    t->n_joins = guards_add(&t->outputs, "n_joins", sizeof *t->n_joins, 0);
    return t->labels && t->cores && t->groups && t->joins && t->n_joins ? 0 : HCSMOE_ENOMEM;
}

static void table_close(struct table *t)
{
    guards_release(&t->inputs);
    guards_release(&t->outputs);
}

static int labels_check(struct verify *v, const struct table *t, int64_t e)
{
    const bool leaves_out = v->component->c.caps & HCSMOE_CAP_LEAVES_OUT;
    const int64_t n = *t->groups;

    if (n < 1 || n > e)
        return verify_broken(v, "groups is %lld: must be 1..%lld", (long long)n, (long long)e);
    for (int64_t i = 0; i < e; i++)
        if ((t->labels[i] < 0 && !(leaves_out && t->labels[i] == -1)) || t->labels[i] >= n)
            return verify_broken(v, "the label of expert %lld is %d: must be 0..%lld%s",
                                 (long long)i, t->labels[i], (long long)n - 1,
                                 t->labels[i] == -1 ? " without HCSMOE_CAP_LEAVES_OUT" : "");
    for (int64_t g = 0; g < n; g++) {
        int64_t members = 0;
        for (int64_t i = 0; i < e; i++)
            members += t->labels[i] == g;
        if (!members)
            return verify_broken(v, "groups is %lld, and no expert has the label %lld",
                                 (long long)n, (long long)g);
    }
    return 0;
}

/* Of several bases nobody asks for cores: there is no one distance to say what is central. */
static int cores_check(struct verify *v, const struct table *t, int64_t e, int n_bases)
{
    const bool gives = n_bases == 1 && (v->component->c.caps & HCSMOE_CAP_CORES_OUT);

    for (int64_t g = 0; g < *t->groups; g++) {
        const int32_t core = t->cores[g];
        if (core < -1 || core >= e || (core >= 0 && t->labels[core] != g))
            return verify_broken(v, "the core of group %lld is %d, which is not one of its members",
                                 (long long)g, core);
        if (core < 0 && gives)
            return verify_broken(v, "group %lld has no core, against HCSMOE_CAP_CORES_OUT",
                                 (long long)g);
    }
    return 0;
}

/* Replays the joins: each names the lowest members of two clusters that there are. lowest[e]: of
 * every expert's cluster. */
static int joins_check(struct verify *v, const struct table *t, int64_t e)
{
    int64_t *lowest = mem_new((size_t)e, sizeof *lowest);
    int status = lowest ? 0 : HCSMOE_ENOMEM;

    for (int64_t i = 0; !status && i < e; i++)
        lowest[i] = i;
    if (!status && (*t->n_joins < 0 || *t->n_joins >= e))
        status = verify_broken(v, "n_joins is %lld: must be 0..%lld", (long long)*t->n_joins,
                               (long long)e - 1);
    for (int64_t n = 0; !status && n < *t->n_joins; n++) {
        const hcsmoe_join *j = &t->joins[n];
        if (j->a < 0 || j->b >= e || j->a >= j->b || lowest[j->a] != j->a || lowest[j->b] != j->b)
            status = verify_broken(v,
                                   "join %lld is of %d and %d: must be the lowest members of two "
                                   "clusters, the lower first",
                                   (long long)n, j->a, j->b);
        else if (!isfinite(j->height) || isnan(j->gap) || j->gap < 0)
            status = verify_broken(v, "join %lld has height %g and gap %g", (long long)n, j->height,
                                   j->gap);
        for (int64_t i = 0; !status && i < e; i++)
            lowest[i] = lowest[i] == j->b ? j->a : lowest[i];
    }
    mem_free(lowest);
    return status;
}

static hcsmoe_cluster_args args_of(const struct instance *i, const struct bench *b,
                                   const hcsmoe_stats *stats, const struct kept_states *s,
                                   const struct table *t, int n_bases, int64_t n_groups)
{
    const uint64_t caps = i->component->c.caps;
    return (hcsmoe_cluster_args){
        .struct_size = sizeof(hcsmoe_cluster_args),
        .n_bases = n_bases,
        .dims = &b->dims,
        .stats = stats,
        .n_groups = n_groups,
        .ffn = b->dims.ffn,
        .distances = caps & HCSMOE_CAP_DISTANCES_IN ? t->distances : NULL,
        .similarities = caps & HCSMOE_CAP_SIMILARITIES_IN ? t->similarities : NULL,
        .base_distances = (const double *const *)t->base,
        .base_sizes = t->sizes,
        .states = s->n ? s->tensor : NULL,
        .n_states = s->n,
        .labels = t->labels,
        .cores = t->cores,
        .groups = t->groups,
        .joins = t->joins,
        .n_joins = t->n_joins,
    };
}

static hcsmoe_status tile_show(const struct instance *i, const struct bench *b,
                               const struct kept_states *s, const hcsmoe_stats *stats,
                               const hcsmoe_tile *tile)
{
    const hcsmoe_cluster_ops *ops = instance_ops(i);
    const hcsmoe_cluster_args a = {.struct_size = sizeof a,
                                   .n_bases = 1,
                                   .dims = &b->dims,
                                   .stats = stats,
                                   .n_groups = 1,
                                   .states = s->n ? s->tensor : NULL,
                                   .n_states = s->n};
    return ops->accumulate(i->self, &i->host->abi, &a, tile);
}

static int cluster_once(struct verify *v, const struct instance *i, const struct bench *b,
                        const hcsmoe_stats *stats, const struct kept_states *s, struct table *t,
                        int n_bases, int64_t n_groups, struct str *out)
{
    const hcsmoe_cluster_ops *ops = instance_ops(i);
    const int64_t e = b->dims.n_experts;
    int status = results_open(t, e);

    if (status)
        return status;
    const hcsmoe_cluster_args a = args_of(i, b, stats, s, t, n_bases, n_groups);
    instance_enter(i, b->dims.layer);
    status = verify_leave(v, ops->cluster(i->self, &v->host->abi, &a));
    if (!status)
        status = guards_check(v, &t->outputs);
    if (!status)
        status = labels_check(v, t, e);
    if (!status)
        status = cores_check(v, t, e, n_bases);
    if (!status)
        status = joins_check(v, t, e);
    if (!status && out) {
        str_add_bytes(out, t->labels, (size_t)e * sizeof *t->labels);
        str_add_bytes(out, t->cores, (size_t)*t->groups * sizeof *t->cores);
        str_add_bytes(out, t->joins, (size_t)*t->n_joins * sizeof *t->joins);
    }
    return status ? fail_in(status, "%lld groups of %lld experts, %d base%s", (long long)n_groups,
                            (long long)e, n_bases, n_bases > 1 ? "s" : "")
                  : 0;
}

/* Three layers that are this one, n_groups wanted of each. widths: the clustering chooses. */
static int budget_once(struct verify *v, const struct instance *i, const struct bench *b,
                       const hcsmoe_stats *stats, const struct kept_states *s, int64_t n_groups,
                       const int64_t *widths, struct str *out)
{
    enum { LAYERS = 3 };
    const hcsmoe_cluster_ops *ops = instance_ops(i);
    hcsmoe_layer_dims dims[LAYERS] = {b->dims, b->dims, b->dims};
    hcsmoe_budget_layer layers[LAYERS], *list[LAYERS];

    for (int32_t l = 0; l < LAYERS; l++) {
        dims[l].layer = l;
        layers[l] = (hcsmoe_budget_layer){sizeof layers[l],        0,       &dims[l], stats,
                                          s->n ? s->tensor : NULL, n_groups};
        list[l] = &layers[l];
    }
    hcsmoe_budget_args a = {sizeof a, 0, LAYERS, list, widths, b->dims.ffn};
    instance_enter(i, -1);
    const int status = verify_leave(v, ops->budget(i->self, &v->host->abi, &a));
    for (int l = 0; !status && l < LAYERS; l++) {
        const long long n = (long long)layers[l].n_groups;
        if (n < 1 || n > dims[l].n_experts)
            return verify_broken(v, "budget of %lld: layer %d gets %lld groups of %lld experts",
                                 (long long)n_groups, l, n, (long long)dims[l].n_experts);
        if (widths && n != layers[0].n_groups)
            return verify_broken(v,
                                 "budget: layers get %lld and %lld groups: all get the same "
                                 "number when it is chosen",
                                 (long long)layers[0].n_groups, n);
        if (out)
            str_add_bytes(out, &layers[l].n_groups, sizeof layers[l].n_groups);
    }
    return status;
}

static bool wants_budget(struct verify *v, const struct instance *i)
{
    const hcsmoe_cluster_ops *ops = instance_ops(i);
    bool wants = ops->budget;

    if (wants && ops->wants_budget) {
        instance_enter(i, -1);
        wants = ops->wants_budget(i->self, &v->host->abi);
        wants = !host_leave(v->host, 0) && wants;
    }
    return wants;
}

/* Half as many groups as experts, of one base, have to work; other numbers may be refused, as where
 * an option limits the groups' size. */
static int64_t middle(const struct bench *b)
{
    return (b->dims.n_experts + 1) / 2;
}

static int budget_perform(struct verify *v, const struct instance *i, const struct bench *b,
                          const hcsmoe_stats *stats, const struct kept_states *s, struct str *out,
                          struct refusal *refused)
{
    const int64_t e = b->dims.n_experts;
    int64_t *widths = mem_new((size_t)e + 1, sizeof *widths);
    const bool wants = wants_budget(v, i);
    int status = widths ? 0 : HCSMOE_ENOMEM;

    for (int64_t n = 1; !status && n <= e; n++)
        widths[n] = b->dims.ffn / n > 0 ? b->dims.ffn / n : 1;
    for (int64_t n = 1; !status && wants && n <= e; n++) {
        struct refusal corner = {0};
        struct refusal *r = n == middle(b) ? refused : &corner;
        status = refusal_keep(v, r, budget_once(v, i, b, stats, s, n, NULL, out));
        if (!status && (v->component->c.caps & HCSMOE_CAP_CHOOSES_GROUPS))
            status = refusal_keep(v, r, budget_once(v, i, b, stats, s, n, widths, out));
    }
    mem_free(widths);
    return status;
}

static int perform(struct verify *v, const struct instance *i, const struct bench *b,
                   struct str *out)
{
    const hcsmoe_cluster_ops *ops = instance_ops(i);
    const uint64_t needs = verify_needs(v, i, 0);
    const hcsmoe_stats stats = bench_stats(b, needs);
    struct refusal refused = {0};
    struct table t = {0};
    struct kept_states s;
    int status = states_make(v, i, b, needs, &s);

    if (!status && (needs & HCSMOE_STAT_ACCUMULATE) && ops->accumulate)
        status = states_fill(v, i, b, needs, &s, tile_show);
    if (!status)
        status = budget_perform(v, i, b, &stats, &s, out, &refused);
    for (int n_bases = 1; !status && n_bases <= BASES; n_bases++) {
        status = table_open(&t, b, n_bases);
        for (int64_t n = 1; !status && n <= b->dims.n_experts; n++) {
            struct refusal corner = {0};
            status = refusal_keep(v, n_bases == 1 && n == middle(b) ? &refused : &corner,
                                  cluster_once(v, i, b, &stats, &s, &t, n_bases, n, out));
        }
        if (!status)
            status = guards_check(v, &t.inputs);
        table_close(&t);
    }
    if (!status)
        status = guards_check(v, &s.guards);
    guards_release(&s.guards);
    return status ? status : refusal_give(&refused);
}

VERIFY_WRAP_ALL(perform)

const struct check verify_cluster_checks[] = {
    {.name = "one group to as many as experts, from what it asked for alone",
     .run = check_ordinary,
     true,
     HINT_NEEDS},
    {.name = "option values", .run = check_options},
    {.name = "two experts", .run = check_small},
    {.name = "experts that are all the same", .run = check_alike},
    {.name = "an expert that no token chose", .run = check_unused},
    {.name = "weights of float32 and float16", .run = check_dtypes},
    {.name = "NaN in its inputs", .run = check_nan},
    {.name = "memory that is refused, and given back", .run = check_memory, .hint = HINT_MEMORY},
    {.name = "a run that is stopped", .run = check_cancelled},
    {.name = "same bytes for 1, 2 and 3 threads", .run = check_deterministic},
    {.name = "two instances with other options", .run = check_instances},
    {.name = "two layers at once", .run = check_parallel},
    {.name = NULL},
};
