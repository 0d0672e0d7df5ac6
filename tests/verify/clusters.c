/*
 * clusters.c - clusterings that put expert e into group e mod n and break one rule each.
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/cluster.h>

static void deal(const hcsmoe_cluster_args *a)
{
    for (int32_t e = 0; e < a->dims->n_experts; e++)
        a->labels[e] = e % (int32_t)a->n_groups;
    for (int32_t g = 0; g < a->n_groups; g++)
        a->cores[g] = g;
    *a->groups = a->n_groups;
    *a->n_joins = 0;
}

static hcsmoe_status unused_cluster(void *self, const hcsmoe_host *h, const hcsmoe_cluster_args *a)
{
    (void)self;
    (void)h;
    deal(a);
    if (a->n_groups == 2)
        for (int64_t e = 0; e < a->dims->n_experts; e++)
            a->labels[e] = 0;
    a->cores[1 % a->n_groups] = a->n_groups == 2 ? -1 : a->cores[1 % a->n_groups];
    return HCSMOE_OK;
}

static hcsmoe_status leaves_cluster(void *self, const hcsmoe_host *h, const hcsmoe_cluster_args *a)
{
    (void)self;
    (void)h;
    deal(a);
    a->labels[a->dims->n_experts - 1] = -1;
    return HCSMOE_OK;
}

static hcsmoe_status cores_cluster(void *self, const hcsmoe_host *h, const hcsmoe_cluster_args *a)
{
    (void)self;
    (void)h;
    deal(a);
    a->cores[0] = a->n_groups > 1 ? 1 : 0;
    return HCSMOE_OK;
}

static hcsmoe_status coreless_cluster(void *self, const hcsmoe_host *h,
                                      const hcsmoe_cluster_args *a)
{
    (void)self;
    (void)h;
    deal(a);
    a->cores[0] = -1;
    return HCSMOE_OK;
}

static hcsmoe_status joins_cluster(void *self, const hcsmoe_host *h, const hcsmoe_cluster_args *a)
{
    (void)self;
    (void)h;
    deal(a);
    a->joins[0] = (hcsmoe_join){1, 0, 0, 0};
    *a->n_joins = 1;
    return HCSMOE_OK;
}

static hcsmoe_status refuses_cluster(void *self, const hcsmoe_host *h, const hcsmoe_cluster_args *a)
{
    (void)self;
    deal(a);
    return h->fail(h, HCSMOE_EUNSUPPORTED, "not today");
}

static hcsmoe_status gives_cluster(void *self, const hcsmoe_host *h, const hcsmoe_cluster_args *a)
{
    (void)self;
    (void)h;
    deal(a);
    return HCSMOE_OK;
}

/* More than there are. */
static hcsmoe_status gives_budget(void *self, const hcsmoe_host *h, hcsmoe_budget_args *a)
{
    (void)self;
    (void)h;
    for (int64_t l = 0; l < a->n_layers; l++)
        a->layers[l]->n_groups += l;
    return HCSMOE_OK;
}

#define BAD(name_, budget_, caps_)                                                                 \
    static const hcsmoe_cluster_ops name_##_ops = {                                                \
        .struct_size = sizeof(hcsmoe_cluster_ops), .cluster = name_##_cluster, .budget = budget_}; \
    static const hcsmoe_component name_ = {.struct_size = sizeof(hcsmoe_component),                \
                                           .kind = HCSMOE_KIND_CLUSTER,                            \
                                           .name = #name_,                                         \
                                           .summary = "breaks a rule",                             \
                                           .ops = &name_##_ops,                                    \
                                           .caps = (caps_)}

BAD(unused, NULL, 0);
BAD(leaves, NULL, 0);
BAD(cores, NULL, 0);
BAD(coreless, NULL, HCSMOE_CAP_CORES_OUT);
BAD(joins, NULL, 0);
BAD(refuses, NULL, 0);
BAD(gives, gives_budget, 0);

HCSMOE_PLUGIN("hcsmoe.test.verify.clusters", "1.0.0", "MIT", &unused, &leaves, &cores, &coreless,
              &joins, &refuses, &gives)
