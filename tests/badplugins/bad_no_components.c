/*
 * bad_no_components.c - has no components.
 *
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/plugin.h>

static const hcsmoe_component *const components[] = {NULL};
static const hcsmoe_plugin plugin = {
    .struct_size = sizeof(hcsmoe_plugin),
    .abi_major = HCSMOE_ABI_MAJOR,
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
