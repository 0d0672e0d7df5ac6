/*
 * bad_abi_major.c - needs another major.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bad.h"

static const hcsmoe_component bad = {GOOD_COMPONENT};
static const hcsmoe_component *const components[] = {&bad, NULL};
static const hcsmoe_plugin plugin = {
    .struct_size = sizeof(hcsmoe_plugin),
    .abi_major = HCSMOE_ABI_MAJOR + 1,
    .abi_minor = HCSMOE_ABI_MINOR,
    .id = "hcsmoe.test.bad",
    .version = "1.0.0",
    .components = components,
};

HCSMOE_EXPORT const hcsmoe_plugin *hcsmoe_plugin_v1(const hcsmoe_host *h);

HCSMOE_EXPORT const hcsmoe_plugin *hcsmoe_plugin_v1(const hcsmoe_host *h)
{
    (void)h;
    return &plugin;
}
