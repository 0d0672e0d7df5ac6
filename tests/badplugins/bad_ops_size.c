/*
 * bad_ops_size.c - ops that are too small.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bad.h"

static const hcsmoe_merge_ops ops = {.struct_size = 8, .merge = merge_nothing};
static const hcsmoe_component bad = {
    GOOD_START,
    .ops = &ops,
};

BAD_PLUGIN(&bad)
