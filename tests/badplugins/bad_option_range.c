/*
 * bad_option_range.c - a range that is empty.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bad.h"

typedef struct bad_opts {
    double x;
} bad_opts;

static const hcsmoe_option options[] = {
    HCSMOE_REAL(bad_opts, x, 5, 9, 1, "how much"),
};
static const hcsmoe_component bad = {
    GOOD_COMPONENT,
    HCSMOE_OPTIONS(bad_opts, options),
};

BAD_PLUGIN(&bad)
