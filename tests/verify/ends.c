/*
 * ends.c - a plugin that crashes at its end.
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/merge.h>

static hcsmoe_status merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    (void)self;
    (void)a;
    return h->fail(h, HCSMOE_EUNSUPPORTED, "never called");
}

static void fini(const hcsmoe_host *h)
{
    volatile int *nowhere = NULL;

    (void)h;
    *nowhere = 1;
}

static const hcsmoe_merge_ops ops = {.struct_size = sizeof ops, .merge = merge};
static const hcsmoe_component ends = {.struct_size = sizeof ends,
                                      .kind = HCSMOE_KIND_MERGE,
                                      .name = "ends",
                                      .summary = "breaks a rule",
                                      .ops = &ops};
static const hcsmoe_component *const components[] = {&ends, NULL};
static const hcsmoe_plugin plugin = {.struct_size = sizeof plugin,
                                     .abi_major = HCSMOE_ABI_MAJOR,
                                     .abi_minor = HCSMOE_ABI_MINOR,
                                     .id = "hcsmoe.test.verify.ends",
                                     .version = "1.0.0",
                                     .components = components,
                                     .fini = fini};

HCSMOE_EXPORT const hcsmoe_plugin *hcsmoe_plugin_v1(const hcsmoe_host *h);

HCSMOE_EXPORT const hcsmoe_plugin *hcsmoe_plugin_v1(const hcsmoe_host *h)
{
    (void)h;
    return &plugin;
}
