/*
 * host.h - what hcsmoe gives a plugin: memory, messages, threads, random numbers, kernels.
 *
 * Thread tags used in all headers: [main] the main thread, during loading, create, destroy, fini;
 * [call] only inside a plugin call, on the thread that made it or inside its parallel_for;
 * [any] any thread, between entry and fini. All strings are UTF-8.
 * SPDX-License-Identifier: MIT
 */
#ifndef HCSMOE_HOST_H
#define HCSMOE_HOST_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HCSMOE_ABI_MAJOR 0
#define HCSMOE_ABI_MINOR_LATEST 2
/* The minor that a plugin needs: the lowest, unless it is compiled with -DHCSMOE_ABI_MINOR=N; what
 * is newer is hidden from it. While the major is 0 it must be the host's own. */
#ifndef HCSMOE_ABI_MINOR
#if HCSMOE_ABI_MAJOR == 0
#define HCSMOE_ABI_MINOR HCSMOE_ABI_MINOR_LATEST
#else
#define HCSMOE_ABI_MINOR 0
#endif
#endif
#if HCSMOE_ABI_MINOR > HCSMOE_ABI_MINOR_LATEST
#error "HCSMOE_ABI_MINOR is newer than these headers"
#endif

/* 0 or negative. Never renumbered. */
typedef int32_t hcsmoe_status;
enum {
    HCSMOE_OK = 0,
    HCSMOE_EINVAL = -1,       /* the input or a setting is wrong */
    HCSMOE_ENOMEM = -2,       /* memory could not be had */
    HCSMOE_EIO = -3,          /* reading or writing failed */
    HCSMOE_EUNSUPPORTED = -4, /* valid, but not something this program can do */
    HCSMOE_EFAILED = -5,      /* the computation failed (NaN, no convergence) */
    HCSMOE_ECANCELLED = -6,   /* the user stopped the run */
    HCSMOE_EPLUGIN = -7       /* a plugin broke the rules of these headers */
};

enum { HCSMOE_LOG_ERROR = 0, HCSMOE_LOG_WARN = 1, HCSMOE_LOG_INFO = 2, HCSMOE_LOG_VERBOSE = 3 };

/* True when the struct that p points to, as its owner sized it, has the member. */
#define HCSMOE_HAS(p, member)                                                                      \
    ((size_t)((const char *)(&(p)->member + 1) - (const char *)(p)) <= (p)->struct_size)

typedef struct hcsmoe_host hcsmoe_host;
struct hcsmoe_kernels;
struct hcsmoe_json_api;

struct hcsmoe_host {
    uint32_t struct_size;
    uint16_t abi_major, abi_minor;
    void *ctx; /* the host's own */
    /* [any] 64-byte aligned, not zeroed; NULL when it cannot be had (the message is set). */
    void *(*alloc)(const hcsmoe_host *h, size_t bytes);
    void (*free)(const hcsmoe_host *h, void *p); /* [any] p may be NULL */
    /* [call] as alloc, gone when the call returns; per thread inside parallel_for (gone at its
     * end). */
    void *(*scratch)(const hcsmoe_host *h, size_t bytes);
    void (*log)(const hcsmoe_host *h, int32_t level, const char *msg); /* [any] */
    /* [call] sets the message and returns code. */
    hcsmoe_status (*fail)(const hcsmoe_host *h, hcsmoe_status code, const char *msg);
    int32_t (*cancelled)(
        const hcsmoe_host *h); /* [any] poll in long loops; then return HCSMOE_ECANCELLED */
    /*
     * [call] fn over 0..n-1 in pieces [begin, end), on several threads, in no order. Returns the
     * first failure in order of begin. Not nested: inside fn it runs on the calling thread alone.
     * fn may be called with any piece sizes: results must depend on neither them nor the number of
     * threads.
     */
    hcsmoe_status (*parallel_for)(const hcsmoe_host *h, int64_t n,
                                  hcsmoe_status (*fn)(void *arg, int64_t begin, int64_t end),
                                  void *arg);
    int32_t (*threads)(const hcsmoe_host *h); /* [any] the most that parallel_for uses at once */
    int32_t (*thread)(
        const hcsmoe_host *h); /* [call] 0..threads-1: this one, inside parallel_for */
    uint64_t (*random)(const hcsmoe_host *h); /* [call] 64 bits, from [run] seed, per call site:
                                                 layer, component */
    const struct hcsmoe_kernels *(*kernels)(
        const hcsmoe_host *h);          /* [call] NULL before a device is chosen */
    const struct hcsmoe_json_api *json; /* reads values handed over as hcsmoe_json (json.h) */
    const void *(*extension)(const hcsmoe_host *h, const char *id); /* [main] NULL: not known */
};

#if defined(__GNUC__)
#define HCSMOE_PRINTF_(f, a) __attribute__((format(printf, f, a), unused))
#else
#define HCSMOE_PRINTF_(f, a)
#endif

/* No format string crosses the boundary: these make the text on the plugin's side. */
HCSMOE_PRINTF_(3, 4)
static inline hcsmoe_status hcsmoe_failf(const hcsmoe_host *h, hcsmoe_status code, const char *fmt,
                                         ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return h->fail(h, code, text);
}

HCSMOE_PRINTF_(3, 4)
static inline void hcsmoe_logf(const hcsmoe_host *h, int32_t level, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    h->log(h, level, text);
}

#ifdef __cplusplus
}
#endif
#endif
