/*
 * bad_no_summary.c - a component without a summary.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bad.h"

static const hcsmoe_component bad = {
    GOOD_SIZE,
    .kind = HCSMOE_KIND_MERGE,
    .name = "bad",
    .ops = &good_ops,
};

BAD_PLUGIN(&bad)
