/*
 * bad_option_twice.c - the same option twice.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bad.h"

typedef struct bad_opts {
    int64_t n;
} bad_opts;

static const hcsmoe_option options[] = {
    HCSMOE_INT(bad_opts, n, 1, 1, 9, "how many"),
    HCSMOE_INT(bad_opts, n, 2, 1, 9, "how many again"),
};
static const hcsmoe_component bad = {
    GOOD_COMPONENT,
    HCSMOE_OPTIONS(bad_opts, options),
};

BAD_PLUGIN(&bad)
