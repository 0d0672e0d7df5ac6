/*
 * bad_kernels_function.c - kernels ops without what they must have.
 *
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/kernels.h>
#include <hcsmoe/plugin.h>

static const hcsmoe_kernels_ops ops = {.struct_size = sizeof(hcsmoe_kernels_ops)};
static const hcsmoe_component bad = {
    .struct_size = sizeof(hcsmoe_component),
    .kind = HCSMOE_KIND_KERNELS,
    .name = "bad",
    .summary = "a bad one",
    .ops = &ops,
};

HCSMOE_PLUGIN("hcsmoe.test.bad", "1.0.0", "MIT", &bad)
