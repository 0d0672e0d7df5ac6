/*
 * bad_table.c - a device whose table of kernels lacks what HCSMOE_TEST_BAD names: all of it, or one.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include <hcsmoe/kernels.h>
#include <hcsmoe/plugin.h>

static hcsmoe_kernels table;

/* Stands where a kernel should: nobody calls it. */
static hcsmoe_status nothing(const hcsmoe_kernels *k, hcsmoe_kernels *t, int32_t n)
{
    (void)k;
    (void)t;
    (void)n;
    return HCSMOE_EFAILED;
}

static int32_t bad_probe(const hcsmoe_host *h)
{
    (void)h;
    return 1;
}

static hcsmoe_status bad_give(void *self, const hcsmoe_host *h, int32_t device_index,
                              const hcsmoe_kernels **out)
{
    const char *wanted = getenv("HCSMOE_TEST_BAD");
    hcsmoe_status (*kernel)(const hcsmoe_kernels *, hcsmoe_kernels *, int32_t) = nothing;
    size_t at;

    (void)self;
    (void)device_index;
    memset(&table, 0, sizeof table);
    for (at = offsetof(hcsmoe_kernels, alloc); at < sizeof table; at += sizeof kernel)
        memcpy((char *)&table + at, &kernel, sizeof kernel);
    table.struct_size = sizeof table;
    table.host = h;
    if (wanted && strcmp(wanted, "size") == 0)
        table.struct_size = 40;
    if (wanted && strcmp(wanted, "route") == 0)
        table.route = NULL;
    if (wanted && strcmp(wanted, "host") == 0)
        table.host = NULL;
    if (wanted && strcmp(wanted, "device") == 0)
        table.device = 5;
    *out = wanted && strcmp(wanted, "none") == 0 ? NULL : &table;
    return HCSMOE_OK;
}

static const hcsmoe_kernels_ops ops = {
    .struct_size = sizeof(hcsmoe_kernels_ops), .probe = bad_probe, .table = bad_give};
static const hcsmoe_component bad = {
    .struct_size = sizeof(hcsmoe_component),
    .kind = HCSMOE_KIND_KERNELS,
    .name = "bad-table",
    .summary = "a bad one",
    .ops = &ops,
};

HCSMOE_PLUGIN("hcsmoe.test.bad-table", "1.0.0", "MIT", &bad)
