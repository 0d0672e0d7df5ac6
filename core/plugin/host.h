/*
 * host.h - the host vtable behind include/hcsmoe/host.h, and the frame around every call into a plugin.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_PLUGIN_HOST_H
#define CORE_PLUGIN_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include <hcsmoe/host.h>
#include <hcsmoe/json.h>
#include <hcsmoe/kernels.h>

#include "base/error.h"

struct host {
    hcsmoe_host abi; /* first: a plugin's const hcsmoe_host * is this */
    int threads;
    uint64_t seed;
    const hcsmoe_kernels *kernels;
    void (*warned)(void *arg, const char *message); /* see host_listen */
    void *warned_arg;
};

/* threads 0: all. Sets OpenMP's number of threads and OpenBLAS's to 1, and says which of its
 * kernels suit the processor (blas.h): before any plugin is loaded. */
int host_open(struct host **h, int threads, uint64_t seed) MUST_CHECK;
void host_close(struct host *h);
void host_set_threads(struct host *h, int threads);
void host_set_kernels(struct host *h, const hcsmoe_kernels *k);

/* The frame of a plugin call, on the calling thread (frames nest): names it for messages ("merge/freq, layer 3"; layer
 * -1: without), gives h->random a stream of its own (seed, name, layer: independent of what ran before), owns its
 * scratch. host_leave frees the scratch; a failed status without a message is blamed on the plugin; else the name is
 * put in front. A call that succeeds leaves the message that was there before it: cleanup may follow a failure. */
void host_enter(struct host *h, const char *plugin, int layer);
int host_leave(struct host *h, int status) MUST_CHECK;

/* The plugin call that this thread is in; NULL: none. Async-signal-safe, for crash.c. */
const char *host_frame(int *layer);

/* From now on hands every warning that a plugin logs to fn too, one at a time; NULL: to nobody. */
void host_listen(struct host *h, void (*fn)(void *arg, const char *message), void *arg);

/* SIGINT and SIGTERM: sets the flag behind h->cancelled. Async-signal-safe. */
void host_cancel(void);
bool host_cancelled(void);

/* jansson's json_t as hcsmoe_json: the cast is the whole conversion. */
extern const hcsmoe_json_api host_json;

#endif
