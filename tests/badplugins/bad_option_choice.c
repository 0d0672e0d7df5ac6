/*
 * bad_option_choice.c - a default that is none of the choices.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bad.h"

typedef struct bad_opts {
    int64_t how;
} bad_opts;

static const hcsmoe_choice choices[] = {
    {"left", 1, "that way"}, {"right", 2, "this way"}, {NULL, 0, NULL}};
static const hcsmoe_option options[] = {
    HCSMOE_ENUM(bad_opts, how, 3, choices, "which way"),
};
static const hcsmoe_component bad = {
    GOOD_COMPONENT,
    HCSMOE_OPTIONS(bad_opts, options),
};

BAD_PLUGIN(&bad)
