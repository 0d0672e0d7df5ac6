/*
 * bad_option_no_help.c - an option that nobody explains.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bad.h"

typedef struct bad_opts {
    int64_t n;
} bad_opts;

static const hcsmoe_option options[] = {
    {"n", NULL, HCSMOE_OPTION_INT, offsetof(bad_opts, n), {1}, 1, 9, NULL, 0, 0},
};
static const hcsmoe_component bad = {
    GOOD_COMPONENT,
    HCSMOE_OPTIONS(bad_opts, options),
};

BAD_PLUGIN(&bad)
