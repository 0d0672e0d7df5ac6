/*
 * bad_option_default.c - a default outside the range.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bad.h"

typedef struct bad_opts {
    int64_t n;
} bad_opts;

static const hcsmoe_option options[] = {
    HCSMOE_INT(bad_opts, n, 0, 1, 9, "how many"),
};
static const hcsmoe_component bad = {
    GOOD_COMPONENT,
    HCSMOE_OPTIONS(bad_opts, options),
};

BAD_PLUGIN(&bad)
