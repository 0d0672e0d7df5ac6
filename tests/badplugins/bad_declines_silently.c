/*
 * bad_declines_silently.c - gives NULL and no reason.
 *
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/plugin.h>

HCSMOE_EXPORT const hcsmoe_plugin *hcsmoe_plugin_v1(const hcsmoe_host *h);

HCSMOE_EXPORT const hcsmoe_plugin *hcsmoe_plugin_v1(const hcsmoe_host *h)
{
    (void)h;
    return NULL;
}
