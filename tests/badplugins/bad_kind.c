/*
 * bad_kind.c - a kind that there is not.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bad.h"

static const hcsmoe_component bad = {
    GOOD_SIZE,
    .kind = 9,
    .name = "bad",
    .ops = &good_ops,
};

BAD_PLUGIN(&bad)
