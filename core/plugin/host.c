/*
 * host.c - the functions that plugins call, and the frame around every call into one.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin/host.h"

#include <assert.h>
#include <omp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "plugin/blas.h"
#include "plugin/crash.h"

/* Pieces of one parallel_for. Their bounds depend on n alone: random numbers drawn inside a piece and the choice of
 * the failure that is reported are then the same for any number of threads. Enough to balance 128 threads. */
#define PIECES_MAX 1024

#define THREADS_MAX 4096 /* a slip of the keyboard, not a machine */
#define FRAMES_MAX 32    /* host_enter inside host_enter: the core nests three or four deep */
#define NAME_BYTES 256
#define MESSAGE_BYTES 4096 /* as much as fail() keeps */

/* A scratch block; the bytes follow it, 64-byte aligned as the block itself is. */
struct block {
    struct block *next;
    char pad[64 - sizeof(struct block *)];
};

/* One call into a plugin, or one piece of a parallel_for on the thread that runs it. */
struct frame {
    struct frame *below;
    const char *name; /* NULL: a piece of work of the core's own */
    int layer;
    uint64_t stream;
    struct block *scratch;
};

/* What host_enter keeps: frames need no allocation, so entering cannot fail. */
struct call {
    struct frame frame;
    char name[NAME_BYTES];
    char *message; /* the thread's message from before the call */
};

struct job {
    const struct host *host;
    int64_t n, size;
    hcsmoe_status (*fn)(void *arg, int64_t begin, int64_t end);
    void *arg;
    const struct frame *caller;
    uint64_t stream;
    _Atomic int64_t failed_begin; /* n: none */
    hcsmoe_status status;
    char message[MESSAGE_BYTES];
};

static _Thread_local struct call calls[FRAMES_MAX];
static _Thread_local int n_calls;
static _Thread_local struct frame *top;
static _Thread_local bool in_piece;
static _Thread_local int32_t thread_index;

static atomic_int cancel_flag;

static struct host *host_of(const hcsmoe_host *h)
{
    return h->ctx;
}

/* SplitMix64 (Steele, Lea, Flood 2014): any 64-bit state starts an independent stream. */
static uint64_t stream_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t stream_mix(uint64_t state, uint64_t word)
{
    uint64_t mixed = state ^ word;

    return stream_next(&mixed);
}

/* FNV-1a of the name behind the kind: "kmeans" of "cluster/kmeans". */
static uint64_t hash_name(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    const char *slash = strrchr(name, '/');

    if (slash != NULL)
        name = slash + 1;
    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    return hash;
}

static void scratch_release(struct frame *f)
{
    struct block *b = f->scratch;

    while (b != NULL) {
        struct block *next = b->next;
        mem_free(b);
        b = next;
    }
    f->scratch = NULL;
}

static void *api_alloc(const hcsmoe_host *h, size_t bytes)
{
    (void)h;
    return mem_new_raw(1, bytes);
}

static void api_free(const hcsmoe_host *h, void *p)
{
    (void)h;
    mem_free(p);
}

static void *api_scratch(const hcsmoe_host *h, size_t bytes)
{
    struct block *b;
    size_t total;

    (void)h;
    if (top == NULL) {
        (void)fail(HCSMOE_EPLUGIN, "scratch memory was asked for outside a plugin call");
        return NULL;
    }
    if (size_add(bytes, sizeof(struct block), &total) != 0) {
        (void)fail_memory(bytes);
        return NULL;
    }
    b = mem_new_raw(1, total);
    if (b == NULL)
        return NULL;
    b->next = top->scratch;
    top->scratch = b;
    return b + 1;
}

static void api_log(const hcsmoe_host *h, int32_t level, const char *msg)
{
    if (msg == NULL)
        return;
    if (level < LOG_ERROR)
        level = LOG_ERROR;
    if (level > LOG_VERBOSE)
        level = LOG_VERBOSE;
    if (log_level() >= LOG_VERBOSE && top != NULL && top->name != NULL)
        log_line(level, "%s: %s", top->name, msg);
    else
        log_line(level, "%s", msg);
    if (level == LOG_WARN && host_of(h)->warned) {
#pragma omp critical(host_warned)
        host_of(h)->warned(host_of(h)->warned_arg, msg);
    }
}

static hcsmoe_status api_fail(const hcsmoe_host *h, hcsmoe_status code, const char *msg)
{
    (void)h;
    /* A failure that says "all is well" would be lost on the way up. */
    if (code >= 0)
        code = HCSMOE_EPLUGIN;
    return fail(code, "%s", msg != NULL ? msg : "");
}

static int32_t api_cancelled(const hcsmoe_host *h)
{
    (void)h;
    return host_cancelled() ? 1 : 0;
}

static void piece_failed(struct job *job, int64_t begin, hcsmoe_status status)
{
#pragma omp critical(host_piece_failed)
    if (begin < atomic_load(&job->failed_begin)) {
        atomic_store(&job->failed_begin, begin);
        job->status = status;
        (void)snprintf(job->message, sizeof job->message, "%s", fail_message());
    }
}

static void piece_run(struct job *job, int64_t index, int32_t thread)
{
    int64_t begin = index * job->size;
    int64_t end = job->n - begin < job->size ? job->n : begin + job->size;
    struct frame frame = {.below = top, .stream = stream_mix(job->stream, (uint64_t)begin)};
    bool was_in_piece = in_piece;
    int32_t was_thread = thread_index;
    hcsmoe_status status;

    crash_watch_thread();
    /* Pieces before the first failure still run: another may fail earlier in order. */
    if (begin > atomic_load(&job->failed_begin))
        return;
    if (job->caller != NULL) {
        frame.name = job->caller->name;
        frame.layer = job->caller->layer;
    }
    /* A worker's message is from some other call; the calling thread's may be one that is on its way up. */
    if (thread != 0 && !was_in_piece)
        fail_clear();
    top = &frame;
    in_piece = true;
    thread_index = thread;
    status = job->fn(job->arg, begin, end);
    if (status != HCSMOE_OK)
        piece_failed(job, begin, status);
    top = frame.below;
    in_piece = was_in_piece;
    thread_index = was_thread;
    scratch_release(&frame);
}

static hcsmoe_status api_parallel_for(const hcsmoe_host *h, int64_t n,
                                      hcsmoe_status (*fn)(void *arg, int64_t begin, int64_t end),
                                      void *arg)
{
    struct job job = {.host = host_of(h), .n = n, .fn = fn, .arg = arg, .caller = top};
    int64_t pieces;
    int64_t i;

    if (n <= 0)
        return HCSMOE_OK;
    job.size = n / PIECES_MAX + (n % PIECES_MAX != 0 ? 1 : 0);
    pieces = n / job.size + (n % job.size != 0 ? 1 : 0);
    job.stream = top != NULL ? stream_next(&top->stream) : job.host->seed;
    atomic_init(&job.failed_begin, n);
    if (in_piece || job.host->threads == 1 || pieces == 1) {
        for (i = 0; i < pieces; i++)
            piece_run(&job, i, thread_index);
    } else {
        /* Always all threads, however few the pieces: OpenMP would end the threads it does not need and start them
         * anew for the next loop. */
#pragma omp parallel for schedule(dynamic, 1) num_threads(job.host->threads)
        for (i = 0; i < pieces; i++)
            piece_run(&job, i, omp_get_thread_num());
    }
    if (job.status == HCSMOE_OK)
        return HCSMOE_OK;
    return fail(job.status, "%s", job.message);
}

static int32_t api_threads(const hcsmoe_host *h)
{
    return host_of(h)->threads;
}

static int32_t api_thread(const hcsmoe_host *h)
{
    (void)h;
    return thread_index;
}

static uint64_t api_random(const hcsmoe_host *h)
{
    uint64_t outside = host_of(h)->seed;

    return stream_next(top != NULL ? &top->stream : &outside);
}

static const hcsmoe_kernels *api_kernels(const hcsmoe_host *h)
{
    return host_of(h)->kernels;
}

static const void *api_extension(const hcsmoe_host *h, const char *id)
{
    (void)h;
    (void)id;
    return NULL; /* this minor of the ABI has no extension */
}

int host_open(struct host **out, int threads, uint64_t seed)
{
    struct host *h;

    *out = NULL;
    if (threads < 0 || threads > THREADS_MAX)
        return fail(HCSMOE_EINVAL, "threads = %d: must be 0..%d", threads, THREADS_MAX);
    h = mem_new(1, sizeof *h);
    if (h == NULL)
        return HCSMOE_ENOMEM;
    h->seed = seed;
    h->abi = (hcsmoe_host){
        .struct_size = sizeof(hcsmoe_host),
        .abi_major = HCSMOE_ABI_MAJOR,
        .abi_minor = HCSMOE_ABI_MINOR_LATEST,
        .ctx = h,
        .alloc = api_alloc,
        .free = api_free,
        .scratch = api_scratch,
        .log = api_log,
        .fail = api_fail,
        .cancelled = api_cancelled,
        .parallel_for = api_parallel_for,
        .threads = api_threads,
        .thread = api_thread,
        .random = api_random,
        .kernels = api_kernels,
        .json = &host_json,
        .extension = api_extension,
    };
    host_set_threads(h, threads);
    blas_prefer_core();
    blas_single_thread(NULL);
    *out = h;
    return 0;
}

void host_close(struct host *h)
{
    mem_free(h);
}

void host_set_threads(struct host *h, int threads)
{
    assert(threads >= 0);
    h->threads = threads > 0 ? threads : omp_get_num_procs();
    omp_set_dynamic(0);
    /* Loops name their number of threads; this one is what OpenBLAS built on OpenMP takes outside of them, whatever
     * openblas_set_num_threads said: with more than one it cuts products elsewhere and rounds differently. */
    omp_set_num_threads(1);
}

void host_listen(struct host *h, void (*fn)(void *arg, const char *message), void *arg)
{
    h->warned = fn;
    h->warned_arg = arg;
}

void host_set_kernels(struct host *h, const hcsmoe_kernels *k)
{
    h->kernels = k;
}

void host_enter(struct host *h, const char *plugin, int layer)
{
    struct call *c;

    assert(plugin != NULL);
    assert(n_calls < FRAMES_MAX);
    c = &calls[n_calls++];
    (void)snprintf(c->name, sizeof c->name, "%s", plugin);
    c->frame = (struct frame){.below = top, .name = c->name, .layer = layer};
    c->frame.stream = stream_mix(stream_mix(h->seed, hash_name(plugin)), (uint64_t)(int64_t)layer);
    /* A call made while a failure is on its way up (destroy, after an error) must not lose its message; and an old
     * message must not pass for the plugin's. */
    c->message = fail_message()[0] != '\0' ? mem_strdup(fail_message()) : NULL;
    fail_clear();
    top = &c->frame;
}

/* A call has failed: the message gets the name of the plugin, and the plugin the blame when there is none. */
static int call_failed(const struct frame *f, int status)
{
    if (status > 0)
        status = HCSMOE_EPLUGIN;
    if (fail_message()[0] == '\0' && status == HCSMOE_ECANCELLED)
        (void)fail(status, "stopped on request");
    else if (fail_message()[0] == '\0')
        (void)fail(status, "failed with status %d and no message: a fault of the plugin", status);
    if (f->layer >= 0)
        return fail_in(status, "%s, layer %d", f->name, f->layer);
    return fail_in(status, "%s", f->name);
}

int host_leave(struct host *h, int status)
{
    struct call *c;

    (void)h;
    assert(n_calls > 0);
    c = &calls[n_calls - 1];
    assert(top == &c->frame);
    scratch_release(&c->frame);
    if (status != 0) {
        status = call_failed(&c->frame, status);
    } else {
        fail_clear();
        if (c->message != NULL)
            (void)fail(HCSMOE_EFAILED, "%s", c->message);
    }
    mem_free(c->message);
    c->message = NULL;
    top = c->frame.below;
    n_calls--;
    return status;
}

const char *host_frame(int *layer)
{
    *layer = top != NULL ? top->layer : -1;
    return top != NULL ? top->name : NULL;
}

void host_cancel(void)
{
    atomic_store(&cancel_flag, 1);
}

bool host_cancelled(void)
{
    return atomic_load(&cancel_flag) != 0;
}
