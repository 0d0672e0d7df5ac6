/*
 * memory.c - device memory of a table whose device is the host. SPDX-License-Identifier: MIT
 */
#include "ref.h"

#include <string.h>

hcsmoe_status ref_alloc(const hcsmoe_kernels *k, size_t bytes, void **p)
{
    *p = k->host->alloc(k->host, bytes);
    return *p != NULL ? HCSMOE_OK : HCSMOE_ENOMEM;
}

void ref_free(const hcsmoe_kernels *k, void *p)
{
    k->host->free(k->host, p);
}

hcsmoe_status ref_upload(const hcsmoe_kernels *k, int32_t queue, void *to, const void *from_host,
                         size_t bytes)
{
    (void)k;
    (void)queue;
    if (bytes > 0)
        memmove(to, from_host, bytes);
    return HCSMOE_OK;
}

hcsmoe_status ref_download(const hcsmoe_kernels *k, int32_t queue, void *to_host, const void *from,
                           size_t bytes)
{
    (void)k;
    (void)queue;
    if (bytes > 0)
        memmove(to_host, from, bytes);
    return HCSMOE_OK;
}

hcsmoe_status ref_clear(const hcsmoe_kernels *k, void *p, size_t bytes)
{
    (void)k;
    if (bytes > 0)
        memset(p, 0, bytes);
    return HCSMOE_OK;
}

/* All work is done when a call returns, so any ticket has passed. */
hcsmoe_status ref_mark(const hcsmoe_kernels *k, int32_t queue, uint64_t *ticket)
{
    (void)k;
    (void)queue;
    *ticket = 0;
    return HCSMOE_OK;
}

hcsmoe_status ref_wait(const hcsmoe_kernels *k, int32_t queue, uint64_t ticket)
{
    (void)k;
    (void)queue;
    (void)ticket;
    return HCSMOE_OK;
}
