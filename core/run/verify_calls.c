/*
 * verify_calls.c - calls into the plugin under the eyes of a check: statuses, memory, outputs.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/path.h"
#include "plugin/check.h"
#include "run/verify_suite.h"

enum { GUARD_BYTES = 256, GUARD_BYTE = 0xa5, TEXT_BYTES = 2048 };

int verify_skip(const char *fmt, ...)
{
    char text[TEXT_BYTES];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    (void)fail(HCSMOE_EUNSUPPORTED, "%s", text);
    return VERIFY_SKIPPED;
}

static char note[TEXT_BYTES];

void verify_note(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(note, sizeof note, fmt, ap);
    va_end(ap);
}

const char *verify_noted(void)
{
    return note;
}

int verify_broken(struct verify *v, const char *fmt, ...)
{
    char text[TEXT_BYTES];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    v->broken = true;
    return fail(HCSMOE_EPLUGIN, "%s", text);
}

int verify_leave(struct verify *v, int status)
{
    const bool silent = status < 0 && status != HCSMOE_ECANCELLED && fail_message()[0] == '\0';

    if (status > 0 || silent)
        v->broken = true;
    if (silent)
        (void)fail(status,
                   "failed with status %d and no message: every failure goes through "
                   "h->fail",
                   status);
    if (status > 0)
        status = fail(HCSMOE_EPLUGIN, "returned %d: a status is 0 or negative", status);
    return host_leave(v->host, status);
}

int refusal_keep(struct verify *v, struct refusal *r, int status)
{
    if (!status || v->broken)
        return status;
    if (!r->status) {
        r->status = status;
        (void)snprintf(r->message, sizeof r->message, "%s", fail_message());
    }
    return 0;
}

int refusal_give(const struct refusal *r)
{
    return r->status ? fail(r->status, "%s", r->message) : 0;
}

/* ../share/hcsmoe of where the program lies, in the build tree as in an installation. */
char *verify_share(const char *name)
{
    char *folder = path_executable_folder();
    char *prefix = folder ? path_folder(folder) : NULL;
    char *path = prefix ? mem_printf("%s/share/hcsmoe/%s", prefix, name) : NULL;

    mem_free(prefix);
    mem_free(folder);
    return path;
}

int verify_kernels(struct verify *v)
{
    const struct component *c = NULL;
    const hcsmoe_kernels *table = NULL;
    int status = 0;

    if (v->kernels.created)
        return 0;
    status = registry_find(v->registry, HCSMOE_KIND_KERNELS, "cpu", &c);

    if (!status)
        status = instance_init(&v->kernels, c, NULL, "run", v->host);
    if (!status)
        status = instance_create(&v->kernels);
    if (status)
        return status;
    const hcsmoe_kernels_ops *ops = instance_ops(&v->kernels);
    component_enter(c, v->host, -1);
    status = ops->table(v->kernels.self, &v->host->abi, 0, &table);
    status = host_leave(v->host, status ? status : check_kernels(table));
    if (!status)
        host_set_kernels(v->host, table);
    return status;
}

int verify_init(struct verify *v, struct instance *i)
{
    /* The section of the INI that chooses a component of the kind. */
    static const char *const sections[] = {
        [HCSMOE_KIND_MODEL] = "model",   [HCSMOE_KIND_SIMILARITY] = "group",
        [HCSMOE_KIND_CLUSTER] = "group", [HCSMOE_KIND_MERGE] = "merge",
        [HCSMOE_KIND_TASK] = "eval",     [HCSMOE_KIND_KERNELS] = "run"};
    return instance_init(i, v->component, &v->ini, sections[v->component->c.kind], v->host);
}

int verify_create(struct verify *v, struct instance *i)
{
    const hcsmoe_component *c = &i->component->c;
    int status = 0;

    i->self = i->opts;
    if (c->create) {
        i->self = NULL;
        instance_enter(i, -1);
        status = verify_leave(v, c->create(&v->host->abi, i->opts, &i->self));
    }
    i->created = !status;
    return status;
}

int verify_open(struct verify *v, struct instance *i)
{
    int status = verify_init(v, i);
    if (!status)
        status = verify_create(v, i);
    if (status)
        instance_release(i);
    return status;
}

uint64_t verify_needs(struct verify *v, const struct instance *i, uint64_t caps)
{
    instance_enter(i, -1);
    const uint64_t needs = instance_needs(i, caps);
    return host_leave(v->host, 0) ? 0 : needs;
}

/* What the host gives out, counted. One plugin is looked at in a process, so one set will do. */
static struct {
    hcsmoe_host usual;
    bool watches;
    _Atomic int64_t held, requests;
    int64_t refuse;
} memory;

static bool refused(size_t bytes)
{
    if (atomic_fetch_add(&memory.requests, 1) != memory.refuse)
        return false;
    (void)fail_memory(bytes);
    return true;
}

static void *watched_alloc(const hcsmoe_host *h, size_t bytes)
{
    void *p = refused(bytes) ? NULL : memory.usual.alloc(h, bytes);
    if (p)
        atomic_fetch_add(&memory.held, 1);
    return p;
}

static void watched_free(const hcsmoe_host *h, void *p)
{
    if (p)
        atomic_fetch_sub(&memory.held, 1);
    memory.usual.free(h, p);
}

static void *watched_scratch(const hcsmoe_host *h, size_t bytes)
{
    return refused(bytes) ? NULL : memory.usual.scratch(h, bytes);
}

void verify_watch_memory(struct verify *v, int64_t refuse)
{
    if (!memory.watches)
        memory.usual = v->host->abi;
    memory.watches = true;
    atomic_store(&memory.requests, 0);
    memory.refuse = refuse;
    v->host->abi.alloc = watched_alloc;
    v->host->abi.free = watched_free;
    v->host->abi.scratch = watched_scratch;
}

int64_t verify_memory_held(void)
{
    return atomic_load(&memory.held);
}

bool verify_memory_refused(void)
{
    return memory.refuse >= 0 && atomic_load(&memory.requests) > memory.refuse;
}

void *guards_add(struct guards *g, const char *name, size_t size, int fill)
{
    unsigned char *block = mem_new_raw(1, size + 2 * GUARD_BYTES);

    if (!block || g->n == GUARDS_MAX) {
        mem_free(block);
        return NULL;
    }
    memset(block, GUARD_BYTE, size + 2 * GUARD_BYTES);
    memset(block + GUARD_BYTES, fill, size);
    g->all[g->n++] = (struct guard){name, block, size};
    return block + GUARD_BYTES;
}

int guards_check(struct verify *v, const struct guards *g)
{
    for (int n = 0; n < g->n; n++) {
        const struct guard *x = &g->all[n];
        for (size_t i = 0; i < GUARD_BYTES; i++) {
            if (x->block[i] != GUARD_BYTE)
                return verify_broken(v, "writes in front of '%s'", x->name);
            if (x->block[GUARD_BYTES + x->size + i] != GUARD_BYTE)
                return verify_broken(v, "writes behind the end of '%s' (%zu bytes)", x->name,
                                     x->size);
        }
    }
    return 0;
}

void guards_release(struct guards *g)
{
    for (int n = 0; n < g->n; n++)
        mem_free(g->all[n].block);
    g->n = 0;
}

int finite_check(struct verify *v, const char *name, const double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return verify_broken(v, "'%s' holds %s at %lld, or was not written there", name,
                                 isnan(x[i]) ? "NaN" : "infinity", (long long)i);
    return 0;
}
