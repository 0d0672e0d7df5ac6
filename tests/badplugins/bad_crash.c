/*
 * bad_crash.c - a merge method that the loader takes, and that ends the program as its options say.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <signal.h>
#include <string.h>

#include "bad.h"

enum { SEGV, BUS, FPE, ILL, ABRT };
enum { CREATE, MERGE, PIECE, STACK };

typedef struct crash_opts {
    int64_t how, where;
} crash_opts;

static const hcsmoe_choice hows[] = {
    {"segv", SEGV, NULL}, {"bus", BUS, NULL},   {"fpe", FPE, NULL},
    {"ill", ILL, NULL},   {"abrt", ABRT, NULL}, {NULL, 0, NULL},
};
static const hcsmoe_choice wheres[] = {
    {"create", CREATE, NULL}, {"merge", MERGE, NULL}, {"piece", PIECE, NULL},
    {"stack", STACK, NULL},   {NULL, 0, NULL},
};
static const hcsmoe_option options[] = {
    HCSMOE_ENUM(crash_opts, how, SEGV, hows, "by which signal"),
    HCSMOE_ENUM(crash_opts, where, MERGE, wheres, "where"),
};

static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

static void crash(const crash_opts *o)
{
    volatile int *nowhere = NULL;

    if (o->how == SEGV)
        *nowhere = 1;
    (void)raise(signals[o->how]);
}

/* Larger than any stack after a while; the square root keeps it from becoming a loop. */
static double deeper(volatile double *below, int64_t n)
{
    volatile double here[1024];

    here[n % 1024] = *below + 1;
    return n > 0 ? sqrt(deeper(&here[n % 1024], n - 1)) + here[0] : here[0];
}

static hcsmoe_status piece(void *arg, int64_t begin, int64_t end)
{
    if (begin <= 700 && end > 700)
        crash(arg);
    return HCSMOE_OK;
}

static hcsmoe_status crash_create(const hcsmoe_host *h, const void *opts, void **self)
{
    crash_opts *o = h->alloc(h, sizeof *o);

    if (!o)
        return HCSMOE_ENOMEM;
    *o = *(const crash_opts *)opts;
    *self = o;
    if (o->where == CREATE)
        crash(o);
    return HCSMOE_OK;
}

static void crash_destroy(const hcsmoe_host *h, void *self)
{
    h->free(h, self);
}

static hcsmoe_status crash_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    const hcsmoe_tensor *const out[] = {a->out_gate, a->out_up, a->out_down};
    const crash_opts *o = self;
    volatile double start = 0;
    int i;

    for (i = 0; i < 3; i++)
        memset(out[i]->data, 0,
               (size_t)hcsmoe_tensor_elements(out[i]) * hcsmoe_dtype_size(out[i]->dtype));
    if (a->dims->layer != 2)
        return HCSMOE_OK;
    if (o->where == PIECE)
        return h->parallel_for(h, 1000, piece, self);
    if (o->where == STACK)
        return deeper(&start, 1 << 24) > 0 ? HCSMOE_OK : HCSMOE_EFAILED;
    crash(o);
    return HCSMOE_OK;
}

static const hcsmoe_merge_ops ops = {.struct_size = sizeof ops, .merge = crash_merge};
static const hcsmoe_component bad = {
    .struct_size = sizeof bad,
    .kind = HCSMOE_KIND_MERGE,
    .name = "crash",
    .summary = "a bad one",
    .ops = &ops,
    HCSMOE_OPTIONS(crash_opts, options),
    .create = crash_create,
    .destroy = crash_destroy,
};

BAD_PLUGIN(&bad)
