/*
 * bad_option_flag.c - an option with a flag that there is not.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bad.h"

typedef struct bad_opts {
    int64_t n;
} bad_opts;

static const hcsmoe_option options[] = {
    {"n", "how many", HCSMOE_OPTION_INT, offsetof(bad_opts, n), {1}, 1, 9, NULL, 1u << 5, 0},
};
static const hcsmoe_component bad = {
    GOOD_COMPONENT,
    HCSMOE_OPTIONS(bad_opts, options),
};

BAD_PLUGIN(&bad)
