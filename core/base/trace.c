/*
 * trace.c - spans in memory, written as Chrome's trace events.
 * SPDX-License-Identifier: MIT
 */
#include "base/trace.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"

struct span {
    const char *name;
    double begin, end;
    int layer, thread;
};

/* The process has one trace, as it has one log. */
static struct {
    char *path; /* NULL: nothing is recorded */
    double begin;
    pthread_mutex_t lock;
    struct span *spans;
    size_t n, capacity;
    bool lost; /* memory ran out */
} trace = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int thread_number(void)
{
    static atomic_int threads;
    static _Thread_local int mine; /* 0: none yet */

    if (!mine)
        mine = atomic_fetch_add(&threads, 1) + 1;
    return mine;
}

int trace_open(const char *path)
{
    char *folder = path_folder(path);
    int status = folder ? 0 : HCSMOE_ENOMEM;

    if (!status && !path_is_folder(folder))
        status = fail(HCSMOE_EINVAL, "%s: no folder '%s' to write the trace to", path, folder);
    mem_free(folder);
    if (status)
        return status;
    trace.path = mem_strdup(path);
    if (!trace.path)
        return HCSMOE_ENOMEM;
    trace.begin = now_s();
    (void)thread_number(); /* the first thread is the first */
    return 0;
}

const char *trace_path(void)
{
    return trace.path;
}

double trace_begin(void)
{
    return trace.path ? now_s() : 0;
}

double trace_end(const char *name, int layer, double begin)
{
    if (!trace.path)
        return 0;
    const double end = now_s();
    const int thread = thread_number();
    pthread_mutex_lock(&trace.lock);
    if (mem_grow(&trace.spans, trace.n, &trace.capacity, sizeof *trace.spans))
        trace.lost = true;
    else
        trace.spans[trace.n++] = (struct span){name, begin, end, layer, thread};
    pthread_mutex_unlock(&trace.lock);
    return end;
}

static void span_print(const struct span *s, struct str *out)
{
    str_addf(out, "{\"name\":\"%s\",\"ph\":\"X\",\"pid\":1,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f",
             s->name, s->thread, (s->begin - trace.begin) * 1e6, (s->end - s->begin) * 1e6);
    if (s->layer >= 0)
        str_addf(out, ",\"args\":{\"layer\":%d}", s->layer);
    str_add(out, "}");
}

void trace_drop(void)
{
    mem_free(trace.spans);
    mem_free(trace.path);
    trace.path = NULL;
    trace.spans = NULL;
    trace.n = trace.capacity = 0;
    trace.lost = false;
}

int trace_close(void)
{
    struct str out = {0};
    int status = 0;

    if (!trace.path)
        return 0;
    str_add(&out, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[");
    for (size_t i = 0; i < trace.n; i++) {
        str_add(&out, i ? ",\n" : "\n");
        span_print(&trace.spans[i], &out);
    }
    str_add(&out, "\n]}\n");
    status = trace.lost ? fail(HCSMOE_ENOMEM, "%s: not written: out of memory", trace.path)
                        : str_check(&out);
    if (!status)
        status = path_write(trace.path, out.text, out.len);
    str_release(&out);
    trace_drop();
    return status;
}
