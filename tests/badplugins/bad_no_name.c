/*
 * bad_no_name.c - a component without a name.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bad.h"

static const hcsmoe_component bad = {
    GOOD_SIZE,
    .kind = HCSMOE_KIND_MERGE,
    .ops = &good_ops,
};

BAD_PLUGIN(&bad)
