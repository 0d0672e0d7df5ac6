/*
 * group.c - distances of the bases, their combination, the clustering, labels in canonical order.
 * SPDX-License-Identifier: MIT
 */
#include "run/group.h"

#include <math.h>
#include <string.h>

#include <hcsmoe/similarity.h>

#include "base/mem.h"

int grouping_open(struct grouping *g, int64_t n_experts)
{
    *g = (struct grouping){.n_experts = n_experts};
    g->labels = mem_new((size_t)n_experts, sizeof *g->labels);
    g->cores = mem_new((size_t)n_experts, sizeof *g->cores);
    g->joins = mem_new((size_t)n_experts, sizeof *g->joins);
    if (g->labels && g->cores && g->joins)
        return 0;
    grouping_release(g);
    return HCSMOE_ENOMEM;
}

void grouping_release(struct grouping *g)
{
    mem_free(g->labels);
    mem_free(g->cores);
    mem_free(g->joins);
    mem_free(g->matrix);
    *g = (struct grouping){0};
}

void grouping_identity(struct grouping *g)
{
    g->n_groups = g->n_experts;
    g->n_joins = 0;
    for (int64_t e = 0; e < g->n_experts; e++)
        g->labels[e] = g->cores[e] = (int32_t)e;
}

/* Labels by first occurrence, cores along with them. */
static int labels_renumber(struct grouping *g, const char *who, bool leaves_out)
{
    int32_t *to = mem_new((size_t)g->n_experts, sizeof *to);
    int32_t *cores = mem_new((size_t)g->n_experts, sizeof *cores);
    int32_t next = 0;
    int status = to && cores ? 0 : HCSMOE_ENOMEM;

    for (int64_t i = 0; !status && i < g->n_experts; i++)
        to[i] = -1;
    for (int64_t e = 0; !status && e < g->n_experts; e++) {
        const int32_t label = g->labels[e];
        if (label == -1 && leaves_out)
            continue;
        if (label < 0 || label >= g->n_groups) {
            status = fail(HCSMOE_EPLUGIN, "%s: label %d of expert %lld is not in 0..%lld", who,
                          label, (long long)e, (long long)g->n_groups - 1);
            break;
        }
        if (to[label] < 0) {
            to[label] = next;
            cores[next++] = g->cores[label];
        }
        g->labels[e] = to[label];
    }
    if (!status && next != g->n_groups)
        status = fail(HCSMOE_EPLUGIN, "%s: %lld groups, %d of them empty", who,
                      (long long)g->n_groups, (int)g->n_groups - next);
    for (int32_t k = 0; !status && k < next; k++) {
        if (cores[k] >= g->n_experts || (cores[k] >= 0 && g->labels[cores[k]] != k))
            status =
                fail(HCSMOE_EPLUGIN, "%s: core %d is not a member of its group", who, cores[k]);
        g->cores[k] = cores[k];
    }
    mem_free(to);
    mem_free(cores);
    return status;
}

static int matrix_check(const double *d, int64_t e, const char *who)
{
    for (int64_t i = 0; i < e * e; i++)
        if (!isfinite(d[i]))
            return fail(HCSMOE_EFAILED, "%s: experts %lld and %lld: not a finite number", who,
                        (long long)(i / e), (long long)(i % e));
    return 0;
}

struct matrices {
    double *distances, *similarities, *base[BASES_MAX];
    int64_t sizes[BASES_MAX];
};

/* The matrix that the clustering saw stays with the grouping. */
static void matrix_keep(struct grouping *g, struct matrices *x, bool distances, bool similarities)
{
    mem_free(g->matrix);
    g->matrix = distances ? x->distances : similarities ? x->similarities : NULL;
    g->similarities = !distances && similarities;
    if (distances)
        x->distances = NULL;
    else if (similarities)
        x->similarities = NULL;
}

/* Adds d divided by its mean over the pairs i < j; one base alone stays as it is. */
static void distances_add(const double *d, int64_t e, int n_bases, double *sum)
{
    double mean = 0;
    for (int64_t i = 0; i < e; i++)
        for (int64_t j = i + 1; j < e; j++)
            mean += d[i * e + j];
    mean /= (double)(e > 1 ? e * (e - 1) / 2 : 1);
    if (n_bases == 1 || mean == 0)
        mean = 1;
    for (int64_t i = 0; i < e * e; i++)
        sum[i] += d[i] / mean;
}

static void matrices_release(struct matrices *x)
{
    mem_free(x->distances);
    mem_free(x->similarities);
    for (int i = 0; i < BASES_MAX; i++)
        mem_free(x->base[i]);
}

static int base_run(struct matrices *x, const struct config *c, const struct layer_stats *s,
                    const struct layer_states *states, int i)
{
    const int64_t e = s->dims.n_experts;
    const struct instance *base = &c->bases[i];
    const hcsmoe_similarity_ops *ops = instance_ops(base);
    const uint64_t caps = c->cluster.component->c.caps;
    const char *name = base->component->c.name;
    const hcsmoe_similarity_args a = {
        sizeof a, 0, &s->dims, &s->view, states->base[i].tensor, states->base[i].n, 0};
    int status = 0;

    x->sizes[i] = ops->feature_size ? ops->feature_size(base->self, &c->host->abi, &s->dims) : 1;
    x->base[i] = mem_new((size_t)(e * e), sizeof(double));
    if (!x->base[i])
        return HCSMOE_ENOMEM;
    if ((caps & HCSMOE_CAP_DISTANCES_IN) && ops->distances) {
        instance_enter(base, s->dims.layer);
        status = host_leave(c->host, ops->distances(base->self, &c->host->abi, &a, x->base[i]));
        if (!status)
            status = matrix_check(x->base[i], e, name);
        if (!status)
            distances_add(x->base[i], e, c->n_bases, x->distances);
    }
    if (!status && (caps & HCSMOE_CAP_SIMILARITIES_IN)) {
        instance_enter(base, s->dims.layer);
        status =
            host_leave(c->host, ops->similarities(base->self, &c->host->abi, &a, x->similarities));
        if (!status)
            status = matrix_check(x->similarities, e, name);
    }
    return status;
}

int grouping_make(struct grouping *g, const struct config *c, const struct layer_stats *s,
                  const struct layer_states *states, const struct aim *aim)
{
    const int64_t e = s->dims.n_experts;
    const char *name = c->cluster.component->c.name;
    const hcsmoe_cluster_ops *ops = instance_ops(&c->cluster);
    const uint64_t caps = c->cluster.component->c.caps;
    struct matrices x = {0};
    int status = 0;

    if (aim->n_groups < 1 || aim->n_groups > e)
        return fail(HCSMOE_EINVAL, "layer %d: %lld groups wanted of %lld experts", s->dims.layer,
                    (long long)aim->n_groups, (long long)e);
    x.distances = mem_new((size_t)(e * e), sizeof(double));
    x.similarities = mem_new((size_t)(e * e), sizeof(double));
    if (!x.distances || !x.similarities)
        status = HCSMOE_ENOMEM;
    for (int i = 0; !status && i < c->n_bases; i++)
        status = base_run(&x, c, s, states, i);
    for (int64_t i = 0; i < e; i++)
        g->cores[i] = -1;
    g->n_groups = g->n_joins = 0;
    const hcsmoe_cluster_args a = {
        .struct_size = sizeof a,
        .n_bases = c->n_bases,
        .dims = &s->dims,
        .stats = &s->view,
        .n_groups = aim->n_groups,
        .ffn = aim->ffn,
        .distances = caps & HCSMOE_CAP_DISTANCES_IN ? x.distances : NULL,
        .similarities = caps & HCSMOE_CAP_SIMILARITIES_IN ? x.similarities : NULL,
        .base_distances = (const double *const *)x.base,
        .base_sizes = x.sizes,
        .states = states->cluster.tensor,
        .n_states = states->cluster.n,
        .labels = g->labels,
        .cores = g->cores,
        .groups = &g->n_groups,
        .joins = g->joins,
        .n_joins = &g->n_joins,
    };
    if (!status) {
        instance_enter(&c->cluster, s->dims.layer);
        status = host_leave(c->host, ops->cluster(c->cluster.self, &c->host->abi, &a));
    }
    if (!status &&
        (g->n_groups < 1 || g->n_groups > e || g->n_joins < 0 || g->n_joins >= (e > 1 ? e : 2)))
        status = fail(HCSMOE_EPLUGIN, "%s, layer %d: %lld groups, %lld joins of %lld experts", name,
                      s->dims.layer, (long long)g->n_groups, (long long)g->n_joins, (long long)e);
    if (!status)
        status = labels_renumber(g, name, caps & HCSMOE_CAP_LEAVES_OUT);
    if (!status)
        matrix_keep(g, &x, c->n_bases && (caps & HCSMOE_CAP_DISTANCES_IN),
                    c->n_bases && (caps & HCSMOE_CAP_SIMILARITIES_IN));
    matrices_release(&x);
    return status;
}

bool grouping_wants_budget(const struct config *c)
{
    const hcsmoe_cluster_ops *ops = instance_ops(&c->cluster);
    return ops->budget && (!ops->wants_budget || ops->wants_budget(c->cluster.self, &c->host->abi));
}

int grouping_budget(const struct config *c, const struct layer_stats *const *layers,
                    const struct layer_states *const *states, struct aim *const *aims, size_t n,
                    const int64_t *widths)
{
    const hcsmoe_cluster_ops *ops = instance_ops(&c->cluster);
    const char *name = c->cluster.component->c.name;
    hcsmoe_budget_layer *all = mem_new(n, sizeof *all);
    hcsmoe_budget_layer **list = mem_new(n, sizeof *list);
    int status = all && list ? 0 : HCSMOE_ENOMEM;

    for (size_t i = 0; !status && i < n; i++) {
        all[i] = (hcsmoe_budget_layer){
            sizeof *all,    0, &layers[i]->dims, &layers[i]->view, states[i]->cluster.tensor,
            aims[i]->target};
        list[i] = &all[i];
    }
    if (!status) {
        hcsmoe_budget_args a = {sizeof a, 0, (int64_t)n, list, widths, aims[0]->ffn};
        instance_enter(&c->cluster, -1);
        status = host_leave(c->host, ops->budget(c->cluster.self, &c->host->abi, &a));
    }
    for (size_t i = 0; !status && i < n; i++) {
        if (all[i].n_groups < 1 || all[i].n_groups > layers[i]->dims.n_experts)
            status = fail(HCSMOE_EPLUGIN, "%s: layer %d gets %lld groups of %lld experts", name,
                          layers[i]->dims.layer, (long long)all[i].n_groups,
                          (long long)layers[i]->dims.n_experts);
        if (widths)
            aims[i]->n_groups = all[i].n_groups;
        else
            aims[i]->target = all[i].n_groups;
    }
    mem_free(all);
    mem_free(list);
    return status;
}
