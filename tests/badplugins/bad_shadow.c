/*
 * bad_shadow.c - nothing is wrong, but bad_nothing.c has a component of the same name.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bad.h"

static const hcsmoe_component alpha = {
    .struct_size = sizeof(hcsmoe_component),
    .kind = HCSMOE_KIND_MERGE,
    .name = "alpha",
    .summary = "the other first",
    .ops = &good_ops,
};

HCSMOE_PLUGIN("hcsmoe.test.shadow", "2.0.0", "MIT", &alpha)
