/*
 * bad_declines.c - cannot run here and says why.
 *
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/plugin.h>

HCSMOE_EXPORT const hcsmoe_plugin *hcsmoe_plugin_v1(const hcsmoe_host *h);

HCSMOE_EXPORT const hcsmoe_plugin *hcsmoe_plugin_v1(const hcsmoe_host *h)
{
    (void)hcsmoe_failf(h, HCSMOE_EUNSUPPORTED, "no fish in %s", "this pond");
    return NULL;
}
