/*
 * bad_missing_function.c - calls a function that nobody has: dlopen must refuse it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bad.h"

hcsmoe_status hcsmoe_nowhere(void);

static hcsmoe_status create(const hcsmoe_host *h, const void *opts, void **self)
{
    (void)h;
    (void)opts;
    (void)self;
    return hcsmoe_nowhere();
}

static const hcsmoe_component bad = {GOOD_COMPONENT, .create = create};

BAD_PLUGIN(&bad)
