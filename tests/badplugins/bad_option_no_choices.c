/*
 * bad_option_no_choices.c - a choice among nothing.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bad.h"

typedef struct bad_opts {
    int64_t how;
} bad_opts;

static const hcsmoe_option options[] = {
    HCSMOE_ENUM(bad_opts, how, 0, NULL, "which way"),
};
static const hcsmoe_component bad = {
    GOOD_COMPONENT,
    HCSMOE_OPTIONS(bad_opts, options),
};

BAD_PLUGIN(&bad)
