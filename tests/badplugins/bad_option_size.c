/*
 * bad_option_size.c - an option table with entries that are too small.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bad.h"

typedef struct bad_opts {
    int64_t n;
} bad_opts;

static const hcsmoe_option options[] = {
    HCSMOE_INT(bad_opts, n, 1, 1, 9, "how many"),
};
static const hcsmoe_component bad = {
    GOOD_COMPONENT,
    .options = options,
    .n_options = 1,
    .option_size = 8,
    .opts_size = sizeof(bad_opts),
};

BAD_PLUGIN(&bad)
