/*
 * bad_component_size.c - a component that is too small.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bad.h"

static const hcsmoe_component bad = {
    .struct_size = 16,
    .kind = HCSMOE_KIND_MERGE,
    .name = "bad",
    .ops = &good_ops,
};

BAD_PLUGIN(&bad)
