/*
 * cluster_test.h - one layer to be clustered, and components that are not the first of their file.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TESTS_UNIT_CLUSTER_TEST_H
#define TESTS_UNIT_CLUSTER_TEST_H

#include "plugin_test.h"

#include <hcsmoe/cluster.h>

enum { CLUSTER_EXPERTS_MAX = 64 };

/* What a clustering is given, and what it answers. */
struct clustering {
    hcsmoe_layer_dims dims;
    hcsmoe_stats stats;
    int64_t n_groups;
    int32_t n_bases;
    const double *distances, *similarities;
    const hcsmoe_tensor *states;
    int32_t n_states;
    int32_t labels[CLUSTER_EXPERTS_MAX], cores[CLUSTER_EXPERTS_MAX];
    hcsmoe_join joins[CLUSTER_EXPERTS_MAX];
    int64_t groups, n_joins;
};

static TEST_UNUSED void clustering_init(struct clustering *c, int64_t n_experts, int64_t n_groups)
{
    *c = (struct clustering){
        .dims = {.struct_size = sizeof c->dims, .layer = 3, .n_experts = n_experts, .top_k = 2},
        .stats = {.struct_size = sizeof c->stats},
        .n_groups = n_groups,
        .n_bases = 1,
    };
}

static TEST_UNUSED hcsmoe_cluster_args clustering_args(struct clustering *c)
{
    return (hcsmoe_cluster_args){
        .struct_size = sizeof(hcsmoe_cluster_args),
        .n_bases = c->n_bases,
        .dims = &c->dims,
        .stats = &c->stats,
        .n_groups = c->n_groups,
        .distances = c->distances,
        .similarities = c->similarities,
        .states = c->states,
        .n_states = c->n_states,
        .labels = c->labels,
        .cores = c->cores,
        .groups = &c->groups,
        .joins = c->joins,
        .n_joins = &c->n_joins,
    };
}

/* self is made and destroyed as the host would. */
static TEST_UNUSED hcsmoe_status clustering_run(struct fake_host *t, const hcsmoe_component *k,
                                                void *opts, struct clustering *c)
{
    const hcsmoe_cluster_ops *ops = k->ops;
    const hcsmoe_cluster_args a = clustering_args(c);
    void *self = opts;
    hcsmoe_status status = k->create ? k->create(&t->abi, opts, &self) : HCSMOE_OK;

    if (status == HCSMOE_OK) {
        status = ops->cluster(self, &t->abi, &a);
        if (k->destroy)
            k->destroy(&t->abi, self);
    }
    fake_host_leave(t);
    return status;
}

/* The component of this name in a plugin file that has several. */
static TEST_UNUSED const hcsmoe_component *plugin_component(struct fake_host *t, const char *file,
                                                            const char *name)
{
    char path[4096];
    hcsmoe_entry entry = NULL;
    void *library, *symbol;
    size_t i;

    (void)plugin_load(t, file);
    (void)snprintf(path, sizeof path, "%s/%s", PLUGINS, file);
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(library);
    symbol = dlsym(library, "hcsmoe_plugin_v1");
    memcpy(&entry, &symbol, sizeof entry);
    for (i = 0; entry(&t->abi)->components[i]; i++) {
        const hcsmoe_component *c = entry(&t->abi)->components[i];
        if (strcmp(c->name, name) != 0)
            continue;
        assert_non_null(c->summary);
        assert_int_equal(c->needs & ~HCSMOE_STAT_KNOWN, 0);
        assert_int_equal(c->caps & ~HCSMOE_CAP_KNOWN, 0);
        return c;
    }
    fail_msg("%s has no component %s", file, name);
    return NULL;
}

/* Sets an INT option; option_set does the other types. */
static TEST_UNUSED void option_set_int(const hcsmoe_component *c, void *opts, const char *name,
                                       int64_t value)
{
    const hcsmoe_option *o = option_of(c, name);

    assert_int_equal(o->type, HCSMOE_OPTION_INT);
    memcpy((char *)opts + o->offset, &value, sizeof value);
}

/* One digit for each label or core; '-' for -1. */
static TEST_UNUSED void assert_digits(const int32_t *got, const char *expected)
{
    char text[CLUSTER_EXPERTS_MAX + 1] = "";
    size_t i;

    for (i = 0; i < strlen(expected); i++) {
        assert_in_range(got[i] + 1, 0, 10);
        text[i] = (char)(got[i] < 0 ? '-' : '0' + got[i]);
    }
    assert_string_equal(text, expected);
}

/* d[n, n] between points of one coordinate. */
static TEST_UNUSED void distances_of(const double *x, int64_t n, double *d)
{
    int64_t i, j;

    for (i = 0; i < n; i++)
        for (j = 0; j < n; j++)
            d[i * n + j] = fabs(x[i] - x[j]);
}

enum { BUDGET_LAYERS_MAX = 6 };

/* Layers whose groups are to be decided together. */
struct budget {
    hcsmoe_layer_dims dims[BUDGET_LAYERS_MAX];
    hcsmoe_stats stats[BUDGET_LAYERS_MAX];
    hcsmoe_budget_layer layers[BUDGET_LAYERS_MAX];
    hcsmoe_budget_layer *list[BUDGET_LAYERS_MAX];
    hcsmoe_budget_args args;
};

static TEST_UNUSED void budget_init(struct budget *b, int64_t n_layers, int64_t n_experts,
                                    int64_t n_groups)
{
    int64_t l;

    memset(b, 0, sizeof *b);
    for (l = 0; l < n_layers; l++) {
        b->dims[l] = (hcsmoe_layer_dims){.struct_size = sizeof b->dims[l],
                                         .layer = (int32_t)(2 * l + 1),
                                         .n_experts = n_experts};
        b->stats[l].struct_size = sizeof b->stats[l];
        b->layers[l] = (hcsmoe_budget_layer){.struct_size = sizeof b->layers[l],
                                             .dims = &b->dims[l],
                                             .stats = &b->stats[l],
                                             .n_groups = n_groups};
        b->list[l] = &b->layers[l];
    }
    b->args = (hcsmoe_budget_args){
        .struct_size = sizeof b->args, .n_layers = n_layers, .layers = b->list};
}

#endif
