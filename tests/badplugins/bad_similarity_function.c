/*
 * bad_similarity_function.c - similarity ops without what they must have.
 *
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/similarity.h>

static const hcsmoe_similarity_ops ops = {.struct_size = sizeof(hcsmoe_similarity_ops)};
static const hcsmoe_component bad = {
    .struct_size = sizeof(hcsmoe_component),
    .kind = HCSMOE_KIND_SIMILARITY,
    .name = "bad",
    .summary = "a bad one",
    .ops = &ops,
};

HCSMOE_PLUGIN("hcsmoe.test.bad", "1.0.0", "MIT", &bad)
