/*
 * bad_model_function.c - model ops without what they must have.
 *
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/model.h>

static const hcsmoe_model_ops ops = {.struct_size = sizeof(hcsmoe_model_ops)};
static const hcsmoe_component bad = {
    .struct_size = sizeof(hcsmoe_component),
    .kind = HCSMOE_KIND_MODEL,
    .name = "bad",
    .summary = "a bad one",
    .ops = &ops,
};

HCSMOE_PLUGIN("hcsmoe.test.bad", "1.0.0", "MIT", &bad)
