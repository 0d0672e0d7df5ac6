/*
 * bad_option_bool.c - a default that is neither yes nor no.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bad.h"

typedef struct bad_opts {
    int32_t b;
} bad_opts;

static const hcsmoe_option options[] = {
    HCSMOE_BOOL(bad_opts, b, 2, "whether"),
};
static const hcsmoe_component bad = {
    GOOD_COMPONENT,
    HCSMOE_OPTIONS(bad_opts, options),
};

BAD_PLUGIN(&bad)
