/*
 * bad_caps.c - claims a capability that there is not.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bad.h"

static const hcsmoe_component bad = {
    GOOD_COMPONENT,
    .caps = (uint64_t)1 << 40,
};

BAD_PLUGIN(&bad)
