/*
 * hangs.c - a merge method that does not come back.
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/merge.h>

static hcsmoe_status hangs_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    volatile int64_t n = a->n_members;

    (void)self;
    (void)h;
    while (n > 0)
        n = a->n_members;
    return HCSMOE_OK;
}

static const hcsmoe_merge_ops ops = {.struct_size = sizeof ops, .merge = hangs_merge};
static const hcsmoe_component hangs = {.struct_size = sizeof hangs,
                                       .kind = HCSMOE_KIND_MERGE,
                                       .name = "hangs",
                                       .summary = "breaks a rule",
                                       .ops = &ops,
                                       .needs = HCSMOE_STAT_WEIGHTS};

HCSMOE_PLUGIN("hcsmoe.test.verify.hangs", "1.0.0", "MIT", &hangs)
