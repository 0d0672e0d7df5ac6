/*
 * bad.h - what the bad plugins share: a merge method that is as it must be, so that one thing at a time is wrong.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TESTS_BADPLUGINS_BAD_H
#define TESTS_BADPLUGINS_BAD_H

#include <hcsmoe/merge.h>

static hcsmoe_status merge_nothing(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    (void)self;
    (void)h;
    (void)a;
    return HCSMOE_OK;
}

static const hcsmoe_merge_ops good_ops = {
    .struct_size = sizeof(hcsmoe_merge_ops),
    .merge = merge_nothing,
};

/* The first members of a component that has nothing wrong so far. */
#define GOOD_SIZE .struct_size = sizeof(hcsmoe_component)
#define GOOD_START GOOD_SIZE, .kind = HCSMOE_KIND_MERGE, .name = "bad", .summary = "a bad one"
#define GOOD_COMPONENT GOOD_START, .ops = &good_ops

#define BAD_PLUGIN(component) HCSMOE_PLUGIN("hcsmoe.test.bad", "1.0.0", "MIT", component)

#endif
