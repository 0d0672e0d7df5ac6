/*
 * plugin_test.h - loads a built plugin into a stand-in host: what the tests of plugins share.
 *
 * The host runs everything on one thread, keeps the last message and log line, counts what alloc
 * gave out, and fails allocations on demand. JSON is the core's own. To be included before
 * cmocka.h. SPDX-License-Identifier: MIT
 */
#ifndef TESTS_UNIT_PLUGIN_TEST_H
#define TESTS_UNIT_PLUGIN_TEST_H

#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hcsmoe/kernels.h>
#include <hcsmoe/plugin.h>

#include "base/mem.h"
#include "plugin/host.h"

/* Last: it has a macro fail() of its own. */
#include <cmocka.h>

#define TEST_UNUSED __attribute__((unused))
#define SCRATCH_BLOCKS_MAX 4096

struct fake_host {
    hcsmoe_host abi; /* first: a plugin's const hcsmoe_host * is this */
    char message[1024];
    char log[1024];
    int32_t log_level; /* of the last line; -1: none */
    uint64_t random;
    const hcsmoe_kernels *kernels;
    void *scratch[SCRATCH_BLOCKS_MAX];
    size_t n_scratch;
    int64_t n_alloc;       /* blocks not freed yet */
    int64_t alloc_allowed; /* how many more may be had; below 0: no limit */
    int32_t cancelled;
};

static inline struct fake_host *fake_host_of(const hcsmoe_host *h)
{
    return h->ctx;
}

static void *fake_alloc(const hcsmoe_host *h, size_t bytes)
{
    struct fake_host *t = fake_host_of(h);
    unsigned char *p;

    if (t->alloc_allowed == 0) {
        (void)snprintf(t->message, sizeof t->message, "no memory");
        return NULL;
    }
    t->alloc_allowed -= t->alloc_allowed > 0;
    p = mem_new_raw(1, bytes);
    assert_non_null(p);
    memset(p, 0xa5, bytes); /* nobody may count on zeros */
    t->n_alloc++;
    return p;
}

static void fake_free(const hcsmoe_host *h, void *p)
{
    fake_host_of(h)->n_alloc -= p != NULL;
    mem_free(p);
}

static void *fake_scratch(const hcsmoe_host *h, size_t bytes)
{
    struct fake_host *t = fake_host_of(h);
    void *p = fake_alloc(h, bytes);

    if (!p)
        return NULL;
    t->n_alloc--;
    assert_true(t->n_scratch < SCRATCH_BLOCKS_MAX);
    t->scratch[t->n_scratch++] = p;
    return p;
}

static void fake_log(const hcsmoe_host *h, int32_t level, const char *msg)
{
    struct fake_host *t = fake_host_of(h);

    t->log_level = level;
    (void)snprintf(t->log, sizeof t->log, "%s", msg);
}

static hcsmoe_status fake_fail(const hcsmoe_host *h, hcsmoe_status code, const char *msg)
{
    struct fake_host *t = fake_host_of(h);

    assert_true(code < 0);
    (void)snprintf(t->message, sizeof t->message, "%s", msg);
    return code;
}

static int32_t fake_cancelled(const hcsmoe_host *h)
{
    return fake_host_of(h)->cancelled;
}

static hcsmoe_status fake_parallel_for(const hcsmoe_host *h, int64_t n,
                                       hcsmoe_status (*fn)(void *arg, int64_t begin, int64_t end),
                                       void *arg)
{
    (void)h;
    return n > 0 ? fn(arg, 0, n) : HCSMOE_OK;
}

static int32_t fake_threads(const hcsmoe_host *h)
{
    (void)h;
    return 1;
}

static int32_t fake_thread(const hcsmoe_host *h)
{
    (void)h;
    return 0;
}

/* SplitMix64. */
static uint64_t fake_random(const hcsmoe_host *h)
{
    uint64_t z = fake_host_of(h)->random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static const hcsmoe_kernels *fake_kernels(const hcsmoe_host *h)
{
    return fake_host_of(h)->kernels;
}

static const void *fake_extension(const hcsmoe_host *h, const char *id)
{
    (void)h;
    (void)id;
    return NULL;
}

static TEST_UNUSED void fake_host_open(struct fake_host *t)
{
    memset(t, 0, sizeof *t);
    t->log_level = -1;
    t->alloc_allowed = -1;
    t->abi = (hcsmoe_host){
        .struct_size = sizeof t->abi,
        .abi_major = HCSMOE_ABI_MAJOR,
        .abi_minor = HCSMOE_ABI_MINOR_LATEST,
        .ctx = t,
        .alloc = fake_alloc,
        .free = fake_free,
        .scratch = fake_scratch,
        .log = fake_log,
        .fail = fake_fail,
        .cancelled = fake_cancelled,
        .parallel_for = fake_parallel_for,
        .threads = fake_threads,
        .thread = fake_thread,
        .random = fake_random,
        .kernels = fake_kernels,
        .json = &host_json,
        .extension = fake_extension,
    };
}

/* Ends a plugin call: scratch goes, and nothing of alloc may be left. */
static TEST_UNUSED void fake_host_leave(struct fake_host *t)
{
    while (t->n_scratch > 0)
        mem_free(t->scratch[--t->n_scratch]);
}

static TEST_UNUSED void fake_host_close(struct fake_host *t)
{
    fake_host_leave(t);
    assert_int_equal(t->n_alloc, 0);
}

/* The first component of a plugin file; checks what every plugin must say of itself. */
static TEST_UNUSED const hcsmoe_component *plugin_load(struct fake_host *t, const char *file)
{
    char path[4096];
    hcsmoe_entry entry = NULL;
    const hcsmoe_plugin *p;
    void *library, *symbol;

    (void)snprintf(path, sizeof path, "%s/%s", PLUGINS, file);
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        fail_msg("%s", dlerror());
    symbol = dlsym(library, "hcsmoe_plugin_v1");
    assert_non_null(symbol);
    memcpy(&entry, &symbol, sizeof entry);
    p = entry(&t->abi);
    assert_non_null(p);
    assert_int_equal(p->abi_major, HCSMOE_ABI_MAJOR);
    assert_non_null(p->components[0]);
    assert_non_null(p->components[0]->summary);
    assert_int_equal(p->components[0]->needs & ~HCSMOE_STAT_KNOWN, 0);
    assert_int_equal(p->components[0]->caps & ~HCSMOE_CAP_KNOWN, 0);
    return p->components[0];
}

static const hcsmoe_option *option_of(const hcsmoe_component *c, const char *name)
{
    uint32_t i;

    for (i = 0; i < c->n_options; i++)
        if (strcmp(c->options[i].name, name) == 0)
            return &c->options[i];
    fail_msg("%s has no option %s", c->name, name);
    return NULL;
}

/* Sets BOOL, STR and ENUM options as an INI would. The text must outlive opts. */
static TEST_UNUSED void option_set(const hcsmoe_component *c, void *opts, const char *name,
                                   const char *value)
{
    const hcsmoe_option *o = option_of(c, name);
    char *field = (char *)opts + o->offset;
    const hcsmoe_choice *choice;
    int32_t yes = strcmp(value, "yes") == 0;

    if (o->type == HCSMOE_OPTION_STR) {
        memcpy(field, &value, sizeof value);
    } else if (o->type == HCSMOE_OPTION_BOOL) {
        memcpy(field, &yes, sizeof yes);
    } else {
        assert_int_equal(o->type, HCSMOE_OPTION_ENUM);
        for (choice = o->choices; choice->name && strcmp(choice->name, value) != 0; choice++)
            continue;
        assert_non_null(choice->name);
        memcpy(field, &choice->value, sizeof choice->value);
    }
}

/* A block of the component's options with their defaults; mem_free it. */
static TEST_UNUSED void *options_new(const hcsmoe_component *c)
{
    char *opts = mem_new(1, c->opts_size + 1);
    uint32_t i;

    assert_non_null(opts);
    for (i = 0; i < c->n_options; i++) {
        const hcsmoe_option *o = &c->options[i];
        char *field = opts + o->offset;
        const int32_t yes = (int32_t)o->def.i;
        if (o->type == HCSMOE_OPTION_BOOL)
            memcpy(field, &yes, sizeof yes);
        else /* all other types have 8 bytes, of which the union holds the same */
            memcpy(field, &o->def, sizeof o->def);
    }
    return opts;
}

#define assert_near(got, expected, tolerance)                                                      \
    near_check((got), (expected), (tolerance), __FILE__, __LINE__)

/* Infinity is near to itself; NaN is near to nothing. */
static TEST_UNUSED void near_check(double got, double expected, double tolerance, const char *file,
                                   int line)
{
    if (fabs(got - expected) <= tolerance || (isinf(got) && isinf(expected)))
        return;
    print_error("%.17g is not %.17g within %g\n", got, expected, tolerance);
    _fail(file, line);
}

/* Uniform in [0, 1) for tests' own data. */
static TEST_UNUSED double fake_uniform(struct fake_host *t)
{
    return (double)(fake_random(&t->abi) >> 11) * 0x1p-53;
}

#endif
