/*
 * host.h - a stand-in for the host: memory, messages and OpenMP threads, enough to call kernels.
 *
 * parallel_for hands out pieces of changing sizes, so that a kernel whose result depends on them is found out.
 * SPDX-License-Identifier: MIT
 */
#ifndef TESTS_KERNELS_HOST_H
#define TESTS_KERNELS_HOST_H

#include <hcsmoe/host.h>

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

struct host {
    hcsmoe_host abi; /* first: the kernels' const hcsmoe_host * is this */
    int32_t threads;
    int64_t piece_most; /* pieces are of 1..piece_most */
    char message[1024];
};

static struct host *host_of(const hcsmoe_host *h)
{
    return h->ctx;
}

static void *host_alloc(const hcsmoe_host *h, size_t bytes)
{
    (void)h;
    return aligned_alloc(64, bytes / 64 * 64 + 64);
}

static void host_free(const hcsmoe_host *h, void *p)
{
    (void)h;
    free(p);
}

static hcsmoe_status host_fail(const hcsmoe_host *h, hcsmoe_status code, const char *message)
{
#pragma omp critical
    (void)snprintf(host_of(h)->message, sizeof host_of(h)->message, "%s", message);
    return code;
}

static int32_t host_cancelled(const hcsmoe_host *h)
{
    (void)h;
    return 0;
}

static hcsmoe_status host_parallel_for(const hcsmoe_host *h, int64_t n,
                                       hcsmoe_status (*fn)(void *arg, int64_t begin, int64_t end),
                                       void *arg)
{
    hcsmoe_status failed = HCSMOE_OK;
    int64_t most = host_of(h)->piece_most;
    int64_t next = 0;
    int64_t turn = 0;

#pragma omp parallel num_threads(host_of(h)->threads)
    for (;;) {
        int64_t begin;
        int64_t end;
#pragma omp critical
        {
            begin = next;
            end = begin + 1 + turn++ % most;
            end = end < n ? end : n;
            next = end;
        }
        if (begin >= n)
            break;
        hcsmoe_status status = fn(arg, begin, end);
        if (status != HCSMOE_OK) {
#pragma omp critical
            failed = status;
        }
    }
    return failed;
}

static int32_t host_threads(const hcsmoe_host *h)
{
    return host_of(h)->threads;
}

static int32_t host_thread(const hcsmoe_host *h)
{
    (void)h;
    return omp_get_thread_num();
}

static inline void host_init(struct host *h, int32_t threads, int64_t piece_most)
{
    *h = (struct host){.abi = {.struct_size = sizeof h->abi,
                               .abi_major = HCSMOE_ABI_MAJOR,
                               .abi_minor = HCSMOE_ABI_MINOR,
                               .ctx = h,
                               .alloc = host_alloc,
                               .free = host_free,
                               .fail = host_fail,
                               .cancelled = host_cancelled,
                               .parallel_for = host_parallel_for,
                               .threads = host_threads,
                               .thread = host_thread},
                       .threads = threads,
                       .piece_most = piece_most};
}

#endif
