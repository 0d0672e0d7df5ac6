/*
 * bad_needs.c - needs a statistic that there is not.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bad.h"

static const hcsmoe_component bad = {
    GOOD_COMPONENT,
    .needs = HCSMOE_STAT_WEIGHTS | (uint64_t)1 << 40,
};

BAD_PLUGIN(&bad)
