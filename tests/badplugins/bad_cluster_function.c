/*
 * bad_cluster_function.c - cluster ops without what they must have.
 *
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/cluster.h>

static const hcsmoe_cluster_ops ops = {.struct_size = sizeof(hcsmoe_cluster_ops)};
static const hcsmoe_component bad = {
    .struct_size = sizeof(hcsmoe_component),
    .kind = HCSMOE_KIND_CLUSTER,
    .name = "bad",
    .summary = "a bad one",
    .ops = &ops,
};

HCSMOE_PLUGIN("hcsmoe.test.bad", "1.0.0", "MIT", &bad)
