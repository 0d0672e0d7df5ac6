/*
 * leaves.c - a plugin whose entry ends the program.
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/plugin.h>

#include <stdlib.h>

HCSMOE_EXPORT const hcsmoe_plugin *hcsmoe_plugin_v1(const hcsmoe_host *h);

HCSMOE_EXPORT const hcsmoe_plugin *hcsmoe_plugin_v1(const hcsmoe_host *h)
{
    (void)h;
    exit(4);
}
