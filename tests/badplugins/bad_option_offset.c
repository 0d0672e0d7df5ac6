/*
 * bad_option_offset.c - a field outside the options struct.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bad.h"

typedef struct bad_opts {
    int64_t n;
} bad_opts;

static const hcsmoe_option options[] = {
    {"n", "how many", HCSMOE_OPTION_INT, 4096, {1}, 1, 9, NULL, 0, 0},
};
static const hcsmoe_component bad = {
    GOOD_COMPONENT,
    HCSMOE_OPTIONS(bad_opts, options),
};

BAD_PLUGIN(&bad)
