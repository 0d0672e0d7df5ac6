/*
 * bad_merge_function.c - merge ops without what they must have.
 *
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/merge.h>

static const hcsmoe_merge_ops ops = {.struct_size = sizeof(hcsmoe_merge_ops)};
static const hcsmoe_component bad = {
    .struct_size = sizeof(hcsmoe_component),
    .kind = HCSMOE_KIND_MERGE,
    .name = "bad",
    .summary = "a bad one",
    .ops = &ops,
};

HCSMOE_PLUGIN("hcsmoe.test.bad", "1.0.0", "MIT", &bad)
