/*
 * bad_no_ops.c - a component without ops.
 *
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/plugin.h>

static const hcsmoe_component bad = {
    .struct_size = sizeof(hcsmoe_component),
    .kind = HCSMOE_KIND_MERGE,
    .name = "bad",
    .summary = "a bad one",
};

HCSMOE_PLUGIN("hcsmoe.test.bad", "1.0.0", "MIT", &bad)
