/*
 * bad_name.c - a name with characters that are not allowed.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bad.h"

static const hcsmoe_component bad = {
    GOOD_SIZE,
    .kind = HCSMOE_KIND_MERGE,
    .name = "../bad",
    .ops = &good_ops,
};

BAD_PLUGIN(&bad)
