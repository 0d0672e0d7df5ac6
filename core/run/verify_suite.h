/*
 * verify_suite.h - what the checks of verify.h share. For core/run/verify*.c alone.
 *
 * A check returns 0; verify_skip(...); or a failure, whose message is what is said. Inside of the
 * plugin's calls two kinds of failure are told apart: a refusal is a negative status with a
 * message, which is often allowed; what breaks a rule sets `broken` and is allowed nowhere.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_VERIFY_SUITE_H
#define CORE_RUN_VERIFY_SUITE_H

#include <stdbool.h>
#include <stdint.h>

#include <hcsmoe/kernels.h>
#include <hcsmoe/plugin.h>

#include "base/ini.h"
#include "base/str.h"
#include "plugin/options.h"
#include "run/verify.h"

struct bench;

struct verify {
    const struct verify_request *request;
    struct host *host;
    struct registry *registry;
    const struct component *component;
    struct ini ini;          /* the options of the request */
    struct instance kernels; /* the CPU's, once verify_kernels was called */
    bool broken;
};

struct check {
    const char *name; /* NULL: the last of a suite */
    int (*run)(struct verify *v);
    bool first;       /* the others need not be looked at when this one fails */
    const char *hint; /* what a crash in it is most likely of; NULL */
};

/* All on a layer of the bench: calls whatever the component offers, and checks what it gives
 * against the header of its kind. Appends everything that it computed to out. */
typedef int perform_function(struct verify *v, const struct instance *i, const struct bench *b,
                             struct str *out);

extern const struct check verify_model_checks[], verify_similarity_checks[],
    verify_cluster_checks[], verify_merge_checks[], verify_task_checks[], verify_kernels_checks[];

/* ---- verify_calls.c ---- */

/* The sentence why a check was left out; returns what the check returns. */
int verify_skip(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* What is worth knowing beside that all is well. */
void verify_note(const char *fmt, ...) PRINTF_LIKE(1, 2);
const char *verify_noted(void);
/* A rule of the headers is broken. */
int verify_broken(struct verify *v, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* host_leave, for a call whose status the plugin gave: one without a message breaks a rule. */
int verify_leave(struct verify *v, int status) MUST_CHECK;
/* What is installed with the program, "config/data/eval". New; NULL: message set. */
char *verify_share(const char *name);
/* The first refusal of several calls, kept while the others are made. */
struct refusal {
    int status;
    char message[512];
};
/* Keeps a refusal and returns 0; returns what breaks a rule. */
int refusal_keep(struct verify *v, struct refusal *r, int status) MUST_CHECK;
/* Fails as the kept one did; 0: there was none. */
int refusal_give(const struct refusal *r) MUST_CHECK;

/* The CPU's kernels, for plugins that ask for some. */
int verify_kernels(struct verify *v) MUST_CHECK;

/* A component with its options, not created yet; and created. */
int verify_init(struct verify *v, struct instance *i) MUST_CHECK;
int verify_create(struct verify *v, struct instance *i) MUST_CHECK;
int verify_open(struct verify *v, struct instance *i) MUST_CHECK;

/* What it needs, for a clustering of these caps. */
uint64_t verify_needs(struct verify *v, const struct instance *i, uint64_t caps);

/* From now on counts what plugins take from h->alloc and give back; the n-th request (from 0) for
 * memory, scratch included, is refused, if n >= 0. */
void verify_watch_memory(struct verify *v, int64_t refuse);
int64_t verify_memory_held(void); /* blocks */
bool verify_memory_refused(void); /* since the last verify_watch_memory */

/* Output arrays, with bytes around them that nobody may write. */
enum { GUARDS_MAX = 64 };
struct guards {
    struct guard {
        const char *name;
        unsigned char *block;
        size_t size;
    } all[GUARDS_MAX];
    int n;
};
/* New memory of so many bytes, every byte `fill`; NULL: message set. name: static. */
void *guards_add(struct guards *g, const char *name, size_t size, int fill);
int guards_check(struct verify *v, const struct guards *g) MUST_CHECK;
void guards_release(struct guards *g);
/* Every byte still has its fill: not written at all. */
enum { GUARD_FILL = 0xff };

/* Entry-wise: 0, or broken with the name and the index. */
int finite_check(struct verify *v, const char *name, const double *x, int64_t n) MUST_CHECK;

/* ---- verify_common.c: checks of whatever has a perform_function ---- */

/* perform on a bench; also: its inputs stay as they are. */
int verify_perform(struct verify *v, const struct instance *i, const struct bench *b,
                   perform_function *perform, struct str *out) MUST_CHECK;
bool verify_same(const struct str *a, const struct str *b);

int verify_ordinary(struct verify *v, perform_function *perform);
int verify_small(struct verify *v, perform_function *perform);
int verify_alike(struct verify *v, perform_function *perform);
int verify_unused(struct verify *v, perform_function *perform);
int verify_dtypes(struct verify *v, perform_function *perform);
int verify_nan(struct verify *v, perform_function *perform);
int verify_deterministic(struct verify *v, perform_function *perform);
int verify_parallel(struct verify *v, perform_function *perform);
int verify_memory(struct verify *v, perform_function *perform);
int verify_cancelled(struct verify *v, perform_function *perform);
/* verify_options.c; perform NULL: creating is all. */
int verify_options(struct verify *v, perform_function *perform);
int verify_instances(struct verify *v, perform_function *perform);

/* What crashes are most likely of. */
#define HINT_NEEDS "statistics that it did not ask for are NULL"
#define HINT_MEMORY "h->alloc and h->scratch give NULL when there is no memory"

/* The checks that similarities, clusterings and merge methods share, as a table's rows. */
#define VERIFY_WRAP(name, perform)                                                                 \
    static int check_##name(struct verify *v)                                                      \
    {                                                                                              \
        return verify_##name(v, perform);                                                          \
    }
#define VERIFY_WRAP_ALL(perform)                                                                   \
    VERIFY_WRAP(options, perform)                                                                  \
    VERIFY_WRAP(ordinary, perform)                                                                 \
    VERIFY_WRAP(small, perform)                                                                    \
    VERIFY_WRAP(alike, perform)                                                                    \
    VERIFY_WRAP(unused, perform)                                                                   \
    VERIFY_WRAP(dtypes, perform)                                                                   \
    VERIFY_WRAP(nan, perform)                                                                      \
    VERIFY_WRAP(deterministic, perform)                                                            \
    VERIFY_WRAP(parallel, perform)                                                                 \
    VERIFY_WRAP(memory, perform)                                                                   \
    VERIFY_WRAP(cancelled, perform)                                                                \
    VERIFY_WRAP(instances, perform)

/* ---- verify_states.c: what a component accumulates on a bench ---- */

/* One layer's states, between guards. */
struct kept_states {
    hcsmoe_state desc[16];
    hcsmoe_tensor tensor[16];
    int32_t n;
    struct guards guards;
};
/* needs: what the component asked for; without tiles it has no states. */
int states_make(struct verify *v, const struct instance *i, const struct bench *b, uint64_t needs,
                struct kept_states *s) MUST_CHECK;
/* Shows every tile of the bench, with what needs say and nothing else. */
int states_fill(struct verify *v, const struct instance *i, const struct bench *b, uint64_t needs,
                struct kept_states *s,
                hcsmoe_status (*show)(const struct instance *i, const struct bench *b,
                                      const struct kept_states *s, const hcsmoe_stats *stats,
                                      const hcsmoe_tile *tile)) MUST_CHECK;

#endif
