/*
 * bad_missing_entry.c - a library without the entry.
 *
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/plugin.h>

HCSMOE_EXPORT int32_t hcsmoe_plugin_v0(void);

HCSMOE_EXPORT int32_t hcsmoe_plugin_v0(void)
{
    return 0;
}
