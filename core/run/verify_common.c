/*
 * verify_common.c - the checks that similarities, clusterings and merge methods share.
 *
 * Each of them opens a bench, lets the kind's own function perform everything on it, and judges
 * what came back.
 * SPDX-License-Identifier: MIT
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "run/verify_bench.h"
#include "run/verify_suite.h"

enum { THREADS = 2, REFUSALS_MAX = 512 };

int verify_perform(struct verify *v, const struct instance *i, const struct bench *b,
                   perform_function *perform, struct str *out)
{
    const uint64_t before = bench_hash(b);
    int status = perform(v, i, b, out);

    if (!v->broken && bench_hash(b) != before)
        status = verify_broken(v, "writes to its inputs, which belong to the host");
    return status ? status : out ? str_check(out) : 0;
}

/* Opens everything, with the options of the request: what is asked of every plugin has to work. */
static int perform_spec(struct verify *v, const struct bench_spec *spec, perform_function *perform,
                        struct str *out)
{
    struct instance i = {0};
    struct bench b = {0};
    int status = verify_kernels(v);

    if (!status)
        status = bench_open(&b, spec, v->host->kernels);
    if (!status)
        status = verify_open(v, &i);
    if (!status)
        status = verify_perform(v, &i, &b, perform, out);
    instance_release(&i);
    bench_release(&b);
    return status;
}

int verify_ordinary(struct verify *v, perform_function *perform)
{
    return perform_spec(v, &bench_ordinary, perform, NULL);
}

int verify_small(struct verify *v, perform_function *perform)
{
    return perform_spec(v, &bench_tiny, perform, NULL);
}

int verify_alike(struct verify *v, perform_function *perform)
{
    struct bench_spec spec = bench_ordinary;
    spec.alike = true;
    return perform_spec(v, &spec, perform, NULL);
}

int verify_unused(struct verify *v, perform_function *perform)
{
    struct bench_spec spec = bench_ordinary;
    spec.unused = true;
    return perform_spec(v, &spec, perform, NULL);
}

int verify_dtypes(struct verify *v, perform_function *perform)
{
    static const uint32_t dtypes[] = {HCSMOE_DTYPE_F32, HCSMOE_DTYPE_F16};
    static const char *const names[] = {"float32", "float16"};
    int status = 0;

    for (int n = 0; !status && n < 2; n++) {
        struct bench_spec spec = bench_ordinary;
        spec.dtype = dtypes[n];
        status = perform_spec(v, &spec, perform, NULL);
        if (status)
            status = fail_in(status, "weights of %s", names[n]);
    }
    return status;
}

int verify_nan(struct verify *v, perform_function *perform)
{
    static const char *const where[] = {
        [NAN_EXPERT] = "expert 0 gives NaN for every token, and so does what follows from it",
        [NAN_TOKEN] = "one token holds NaN, and so does what follows from it"};
    int status = 0;

    for (enum bench_nan n = NAN_EXPERT; !status && n <= NAN_TOKEN; n++) {
        struct bench_spec spec = bench_ordinary;
        spec.nan = n;
        status = perform_spec(v, &spec, perform, NULL);
        if (status && !v->broken)
            status = 0; /* refused, with a message: as good as a result */
        if (status)
            status = fail_in(status, "%s", where[n]);
    }
    return status;
}

bool verify_same(const struct str *a, const struct str *b)
{
    return a->len == b->len && !memcmp(str_text(a), str_text(b), a->len);
}

/* One instance for this layer, another one, and this one again. */
static int layers_between(struct verify *v, perform_function *perform, const struct str *first)
{
    struct bench_spec spec = bench_ordinary;
    struct bench here = {0}, there = {0};
    struct instance i = {0};
    struct str out = {0};
    int status = bench_open(&here, &spec, v->host->kernels);

    spec.layer = 7;
    spec.unused = true;
    if (!status)
        status = bench_open(&there, &spec, v->host->kernels);
    if (!status)
        status = verify_open(v, &i);
    if (!status)
        status = verify_perform(v, &i, &there, perform, NULL);
    if (!status)
        status = verify_perform(v, &i, &here, perform, &out);
    if (!status && !verify_same(first, &out))
        status = verify_broken(v, "a layer gives other bytes when another one came before it: "
                                  "'self' keeps nothing of a layer");
    instance_release(&i);
    bench_release(&here);
    bench_release(&there);
    str_release(&out);
    return status;
}

int verify_deterministic(struct verify *v, perform_function *perform)
{
    /* The first is what the others are compared with; the second is the same once more. */
    static const int threads[] = {1, 1, 2, 3};
    struct str first = {0}, other = {0};
    int status = 0;

    if (!(v->component->c.caps & HCSMOE_CAP_DETERMINISTIC))
        return verify_skip("it does not claim HCSMOE_CAP_DETERMINISTIC");
    for (int n = 0; !status && n < 4; n++) {
        struct str *out = n ? &other : &first;
        host_set_threads(v->host, threads[n]);
        str_clear(&other);
        status = perform_spec(v, &bench_ordinary, perform, out);
        if (!status && n && !verify_same(&first, out))
            status = n == 1 ? verify_broken(v, "the same inputs give other bytes the second time, "
                                               "against HCSMOE_CAP_DETERMINISTIC")
                            : verify_broken(v,
                                            "%d threads give other bytes than one, against "
                                            "HCSMOE_CAP_DETERMINISTIC",
                                            threads[n]);
    }
    if (!status)
        status = layers_between(v, perform, &first);
    str_release(&first);
    str_release(&other);
    return status;
}

/* A layer of its own on a thread of its own. */
struct visit {
    struct verify v;
    const struct instance *instance;
    const struct bench *bench;
    perform_function *perform;
    struct str out;
    int status;
    char message[1024];
};

static void *visit_run(void *arg)
{
    struct visit *x = arg;
    x->status = verify_perform(&x->v, x->instance, x->bench, x->perform, &x->out);
    if (x->status)
        (void)snprintf(x->message, sizeof x->message, "%s", fail_message());
    return NULL;
}

static int visits_run(struct verify *v, struct visit *x, bool at_once)
{
    pthread_t thread[THREADS];
    int started = 0, status = 0;

    for (int n = 0; n < THREADS; n++) {
        str_clear(&x[n].out);
        if (!at_once)
            (void)visit_run(&x[n]);
        else if (!status && pthread_create(&thread[n], NULL, visit_run, &x[n]))
            status = fail(HCSMOE_EFAILED, "a thread cannot be started");
        else
            started += !status;
    }
    for (int n = 0; n < started; n++)
        (void)pthread_join(thread[n], NULL);
    for (int n = 0; !status && n < THREADS; n++) {
        v->broken = v->broken || x[n].v.broken;
        if (x[n].status)
            status = fail(x[n].status, "%s: %s", at_once ? "two layers at once" : "one layer",
                          x[n].message);
    }
    return status;
}

int verify_parallel(struct verify *v, perform_function *perform)
{
    enum { ROUNDS = 5 };
    struct visit x[THREADS] = {0};
    struct bench b[THREADS] = {0};
    struct str expected[THREADS] = {0};
    struct instance i = {0};
    int status = 0;

    if (!(v->component->c.caps & HCSMOE_CAP_PARALLEL))
        return verify_skip("it does not claim HCSMOE_CAP_PARALLEL");
    host_set_threads(v->host, 2);
    status = verify_kernels(v);
    if (!status)
        status = verify_open(v, &i);
    for (int n = 0; !status && n < THREADS; n++) {
        struct bench_spec spec = bench_ordinary;
        spec.layer = n;
        spec.unused = n == 1; /* another layer */
        status = bench_open(&b[n], &spec, v->host->kernels);
        x[n] = (struct visit){.v = *v, .instance = &i, .bench = &b[n], .perform = perform};
    }
    if (!status)
        status = visits_run(v, x, false);
    for (int n = 0; !status && n < THREADS; n++)
        str_add_bytes(&expected[n], str_text(&x[n].out), x[n].out.len);
    for (int round = 0; !status && round < ROUNDS; round++) {
        status = visits_run(v, x, true);
        for (int n = 0; !status && n < THREADS; n++)
            if (!verify_same(&x[n].out, &expected[n]))
                status = verify_broken(v, "calls for two layers at once give other bytes than one "
                                          "after the other, against HCSMOE_CAP_PARALLEL");
    }
    for (int n = 0; n < THREADS; n++) {
        str_release(&x[n].out);
        str_release(&expected[n]);
        bench_release(&b[n]);
    }
    instance_release(&i);
    return status;
}

/* Created, used and destroyed while the n-th request for memory is refused (-1: none is). */
static int memory_round(struct verify *v, const struct bench *b, perform_function *perform,
                        int64_t refuse, bool *done)
{
    struct instance i = {0};
    int status = verify_init(v, &i);
    const int64_t before = verify_memory_held();

    if (status)
        return status;
    verify_watch_memory(v, refuse);
    status = verify_create(v, &i);
    if (!status)
        status = verify_perform(v, &i, b, perform, NULL);
    *done = !verify_memory_refused();
    verify_watch_memory(v, -1);
    instance_release(&i);
    if (!v->broken && verify_memory_held() != before)
        return verify_broken(v, "keeps %lld blocks of h->alloc after destroy",
                             (long long)(verify_memory_held() - before));
    return status;
}

int verify_memory(struct verify *v, perform_function *perform)
{
    struct bench b = {0};
    bool done = false;
    int status = verify_kernels(v);

    host_set_threads(v->host, 1);
    if (!status)
        status = bench_open(&b, &bench_tiny, v->host->kernels);
    for (int64_t n = -1; !status && n < REFUSALS_MAX; n++) {
        status = memory_round(v, &b, perform, n, &done);
        if (n >= 0 && !v->broken && !done)
            status = 0; /* refused, as it has to be, or done without */
        if (status && n >= 0)
            status = fail_in(status, "when request %lld for memory is refused", (long long)n + 1);
        if (n >= 0 && done)
            break;
    }
    bench_release(&b);
    return status;
}

static int32_t always_cancelled(const hcsmoe_host *h)
{
    (void)h;
    return 1;
}

int verify_cancelled(struct verify *v, perform_function *perform)
{
    v->host->abi.cancelled = always_cancelled;
    const int status = perform_spec(v, &bench_ordinary, perform, NULL);
    if (status == HCSMOE_ECANCELLED && !v->broken)
        return 0;
    return status ? fail_in(status, "when the user stops the run") : 0;
}
