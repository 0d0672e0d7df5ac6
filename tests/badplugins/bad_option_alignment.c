/*
 * bad_option_alignment.c - a field where none can be.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bad.h"

typedef struct bad_opts {
    int64_t n, m;
} bad_opts;

static const hcsmoe_option options[] = {
    {"n", "how many", HCSMOE_OPTION_INT, 4, {1}, 1, 9, NULL, 0, 0},
};
static const hcsmoe_component bad = {
    GOOD_COMPONENT,
    HCSMOE_OPTIONS(bad_opts, options),
};

BAD_PLUGIN(&bad)
