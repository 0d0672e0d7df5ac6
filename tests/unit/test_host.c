/*
 * test_host.c - what plugins are given: threads, scratch, random numbers, messages, JSON.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin/host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#undef fail /* cmocka's; here it is the core's */

static struct host *open_host(int threads)
{
    struct host *h = NULL;

    assert_int_equal(host_open(&h, threads, 42), 0);
    return h;
}

struct marks {
    const hcsmoe_host *h;
    atomic_int seen[5000];
    uint64_t drawn[5000];
    int64_t bad_from;
};

static hcsmoe_status mark(void *arg, int64_t begin, int64_t end)
{
    struct marks *m = arg;

    for (int64_t i = begin; i < end; i++)
        atomic_fetch_add(&m->seen[i], 1);
    return HCSMOE_OK;
}

static void test_parallel_for_does_every_index_once(void **state)
{
    static const int64_t sizes[] = {0, 1, 2, 3, 1023, 1024, 1025, 5000};
    struct marks *m = calloc(1, sizeof *m);
    struct host *h = open_host(3);

    (void)state;
    assert_non_null(m);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        memset(m, 0, sizeof *m);
        assert_int_equal(h->abi.parallel_for(&h->abi, sizes[s], mark, m), HCSMOE_OK);
        for (int64_t i = 0; i < 5000; i++)
            assert_int_equal(atomic_load(&m->seen[i]), i < sizes[s] ? 1 : 0);
    }
    assert_int_equal(h->abi.parallel_for(&h->abi, -1, mark, m), HCSMOE_OK);
    host_close(h);
    free(m);
}

static hcsmoe_status count_only(void *arg, int64_t begin, int64_t end)
{
    atomic_llong *total = arg;

    atomic_fetch_add(total, end - begin);
    return HCSMOE_OK;
}

static void test_parallel_for_takes_the_largest_n(void **state)
{
    struct host *h = open_host(2);
    atomic_llong total = 0;

    (void)state;
    assert_int_equal(h->abi.parallel_for(&h->abi, INT64_MAX, count_only, &total), HCSMOE_OK);
    assert_true(atomic_load(&total) == INT64_MAX);
    host_close(h);
}

static hcsmoe_status fail_from(void *arg, int64_t begin, int64_t end)
{
    struct marks *m = arg;

    if (end > m->bad_from)
        return hcsmoe_failf(m->h, HCSMOE_EFAILED, "piece %lld is bad", (long long)begin);
    return HCSMOE_OK;
}

static void test_parallel_for_reports_the_first_failure_in_order(void **state)
{
    struct marks *m = calloc(1, sizeof *m);

    (void)state;
    assert_non_null(m);
    for (int threads = 1; threads <= 4; threads++) {
        struct host *h = open_host(threads);
        m->h = &h->abi;
        m->bad_from = 3;
        for (int i = 0; i < 50; i++) {
            fail_clear();
            assert_int_equal(h->abi.parallel_for(&h->abi, 200, fail_from, m), HCSMOE_EFAILED);
            assert_string_equal(fail_message(), "piece 3 is bad");
        }
        host_close(h);
    }
    free(m);
}

static hcsmoe_status silent_failure(void *arg, int64_t begin, int64_t end)
{
    (void)arg;
    (void)end;
    return begin == 7 ? HCSMOE_EFAILED : HCSMOE_OK;
}

static void test_parallel_for_failure_without_message_takes_no_old_one(void **state)
{
    struct host *h = open_host(3);
    struct marks m = {.h = &h->abi, .bad_from = 0};

    (void)state;
    assert_int_equal(h->abi.parallel_for(&h->abi, 64, fail_from, &m), HCSMOE_EFAILED);
    host_enter(h, "merge/freq", -1);
    assert_int_equal(host_leave(h, h->abi.parallel_for(&h->abi, 64, silent_failure, NULL)),
                     HCSMOE_EFAILED);
    assert_string_equal(fail_message(),
                        "merge/freq: failed with status -5 and no message: a fault of the plugin");
    host_close(h);
}

static hcsmoe_status inner(void *arg, int64_t begin, int64_t end)
{
    const int32_t *thread = (const int32_t *)((void **)arg)[0];
    struct marks *m = ((void **)arg)[1];

    /* Nested loops stay on the thread that they were called on. */
    if (m->h->thread(m->h) != *thread)
        return hcsmoe_failf(m->h, HCSMOE_EFAILED, "on another thread");
    return mark(m, begin, end);
}

static hcsmoe_status outer(void *arg, int64_t begin, int64_t end)
{
    struct marks *m = arg;
    int32_t thread = m->h->thread(m->h);
    void *both[2] = {&thread, m};

    (void)begin;
    (void)end;
    if (thread < 0 || thread >= m->h->threads(m->h))
        return hcsmoe_failf(m->h, HCSMOE_EFAILED, "thread %d", thread);
    return m->h->parallel_for(m->h, 2000, inner, both);
}

static void test_nested_parallel_for_runs_on_its_own_thread(void **state)
{
    struct marks *m = calloc(1, sizeof *m);
    struct host *h = open_host(4);

    (void)state;
    assert_non_null(m);
    m->h = &h->abi;
    assert_int_equal(h->abi.threads(&h->abi), 4);
    assert_int_equal(h->abi.parallel_for(&h->abi, 10, outer, m), HCSMOE_OK);
    for (int i = 0; i < 5000; i++)
        assert_int_equal(atomic_load(&m->seen[i]), i < 2000 ? 10 : 0);
    assert_int_equal(h->abi.thread(&h->abi), 0);
    host_close(h);
    free(m);
}

static hcsmoe_status use_scratch(void *arg, int64_t begin, int64_t end)
{
    const hcsmoe_host *h = arg;
    unsigned char *a = h->scratch(h, 1000);
    unsigned char *b = h->scratch(h, 0);

    (void)end;
    if (a == NULL || b == NULL || (uintptr_t)a % 64 != 0 || (uintptr_t)b % 64 != 0)
        return h->fail(h, HCSMOE_EFAILED, "bad scratch");
    memset(a, (int)(begin & 255), 1000);
    return a[999] == (begin & 255) ? HCSMOE_OK : h->fail(h, HCSMOE_EFAILED, "scratch is shared");
}

static void test_scratch_is_aligned_and_per_piece(void **state)
{
    struct host *h = open_host(3);
    char *p;

    (void)state;
    host_enter(h, "merge/freq", 0);
    p = h->abi.scratch(&h->abi, 100);
    assert_non_null(p);
    memset(p, 'x', 100);
    assert_int_equal(h->abi.parallel_for(&h->abi, 3000, use_scratch, &h->abi), HCSMOE_OK);
    host_enter(h, "kernels/cpu", -1);
    assert_non_null(h->abi.scratch(&h->abi, 10));
    assert_int_equal(host_leave(h, 0), 0);
    assert_int_equal(p[99], 'x');
    assert_int_equal(host_leave(h, 0), 0);
    host_close(h);
}

static void test_scratch_outside_a_call_and_too_large_is_refused(void **state)
{
    struct host *h = open_host(1);

    (void)state;
    fail_clear();
    assert_null(h->abi.scratch(&h->abi, 10));
    assert_string_equal(fail_message(), "scratch memory was asked for outside a plugin call");
    host_enter(h, "merge/freq", -1);
    assert_null(h->abi.scratch(&h->abi, SIZE_MAX));
    assert_true(fail_message()[0] != '\0');
    assert_null(h->abi.scratch(&h->abi, SIZE_MAX - 8));
    assert_int_not_equal(host_leave(h, HCSMOE_ENOMEM), 0);
    host_close(h);
}

static hcsmoe_status draw(void *arg, int64_t begin, int64_t end)
{
    struct marks *m = arg;

    for (int64_t i = begin; i < end; i++)
        m->drawn[i] = m->h->random(m->h);
    return HCSMOE_OK;
}

static uint64_t draw_in(struct host *h, const char *name, int layer)
{
    uint64_t value;

    host_enter(h, name, layer);
    value = h->abi.random(&h->abi);
    assert_int_equal(host_leave(h, 0), 0);
    return value;
}

static void test_random_depends_on_seed_name_and_layer_alone(void **state)
{
    struct host *h = open_host(2);
    struct host *other = NULL;
    uint64_t first = draw_in(h, "cluster/kmeans", 3);

    (void)state;
    assert_true(draw_in(h, "cluster/kmeans", 4) != first);
    assert_true(draw_in(h, "cluster/random", 3) != first);
    assert_true(draw_in(h, "cluster/kmeans", 3) == first);
    assert_int_equal(host_open(&other, 1, 43), 0);
    assert_true(draw_in(other, "cluster/kmeans", 3) != first);
    host_enter(h, "cluster/kmeans", 3);
    assert_true(h->abi.random(&h->abi) == first);
    (void)draw_in(h, "other", 1);
    assert_true(h->abi.random(&h->abi) != first);
    assert_int_equal(host_leave(h, 0), 0);
    host_close(other);
    host_close(h);
}

static void test_random_in_parallel_for_is_the_same_for_any_number_of_threads(void **state)
{
    struct marks *m = calloc(2, sizeof *m);

    (void)state;
    assert_non_null(m);
    for (int k = 0; k < 2; k++) {
        struct host *h = open_host(k == 0 ? 1 : 4);
        m[k].h = &h->abi;
        host_enter(h, "merge/zipit", 5);
        assert_int_equal(h->abi.parallel_for(&h->abi, 5000, draw, &m[k]), HCSMOE_OK);
        assert_int_equal(host_leave(h, 0), 0);
        host_close(h);
    }
    assert_memory_equal(m[0].drawn, m[1].drawn, sizeof m[0].drawn);
    assert_true(m[0].drawn[0] != m[0].drawn[1]);
    free(m);
}

static void test_leave_puts_name_and_layer_in_front(void **state)
{
    struct host *h = open_host(1);

    (void)state;
    host_enter(h, "merge/freq", 3);
    assert_int_equal(host_leave(h, h->abi.fail(&h->abi, HCSMOE_EINVAL, "no weights")),
                     HCSMOE_EINVAL);
    assert_string_equal(fail_message(), "merge/freq, layer 3: no weights");
    host_enter(h, "merge/freq", -1);
    assert_int_equal(host_leave(h, hcsmoe_failf(&h->abi, HCSMOE_EIO, "%d of %s", 7, "9")),
                     HCSMOE_EIO);
    assert_string_equal(fail_message(), "merge/freq: 7 of 9");
    host_close(h);
}

static void test_leave_blames_a_failure_without_message_on_the_plugin(void **state)
{
    struct host *h = open_host(1);

    (void)state;
    assert_int_equal(fail(HCSMOE_EIO, "an old one"), HCSMOE_EIO);
    host_enter(h, "task/boolq", -1);
    assert_int_equal(host_leave(h, HCSMOE_EFAILED), HCSMOE_EFAILED);
    assert_string_equal(fail_message(),
                        "task/boolq: failed with status -5 and no message: a fault of the plugin");
    host_enter(h, "task/boolq", 2);
    assert_int_equal(host_leave(h, 5), HCSMOE_EPLUGIN);
    host_enter(h, "task/boolq", 2);
    assert_int_equal(host_leave(h, HCSMOE_ECANCELLED), HCSMOE_ECANCELLED);
    assert_string_equal(fail_message(), "task/boolq, layer 2: stopped on request");
    /* fail never says that all is well. */
    assert_int_equal(h->abi.fail(&h->abi, HCSMOE_OK, "odd"), HCSMOE_EPLUGIN);
    host_close(h);
}

static void test_a_call_that_succeeds_keeps_the_message_on_its_way_up(void **state)
{
    struct host *h = open_host(1);

    (void)state;
    assert_int_equal(fail(HCSMOE_EIO, "the disk is full"), HCSMOE_EIO);
    host_enter(h, "merge/freq", -1);
    assert_string_equal(fail_message(), "");
    (void)h->abi.fail(&h->abi, HCSMOE_EINVAL, "tried something");
    assert_int_equal(host_leave(h, 0), 0);
    assert_string_equal(fail_message(), "the disk is full");
    host_close(h);
}

static void test_frames_nest(void **state)
{
    struct host *h = open_host(1);
    hcsmoe_status s;

    (void)state;
    fail_clear();
    host_enter(h, "model/mixtral", 1);
    host_enter(h, "kernels/cpu", -1);
    s = host_leave(h, h->abi.fail(&h->abi, HCSMOE_EUNSUPPORTED, "dtype 9"));
    assert_int_equal(host_leave(h, s), HCSMOE_EUNSUPPORTED);
    assert_string_equal(fail_message(), "model/mixtral, layer 1: kernels/cpu: dtype 9");
    host_close(h);
}

static void test_open_checks_threads_and_takes_all_for_0(void **state)
{
    struct host *h = NULL;

    (void)state;
    assert_int_equal(host_open(&h, -1, 0), HCSMOE_EINVAL);
    assert_null(h);
    assert_string_equal(fail_message(), "threads = -1: must be 0..4096");
    assert_int_equal(host_open(&h, 0, 0), 0);
    assert_true(h->threads >= 1);
    host_set_threads(h, 2);
    assert_int_equal(h->abi.threads(&h->abi), 2);
    host_close(h);
    host_close(NULL);
}

static void test_host_gives_its_version_kernels_and_no_extension(void **state)
{
    struct host *h = open_host(1);
    hcsmoe_kernels k = {.struct_size = sizeof k};
    void *p = h->abi.alloc(&h->abi, 100);

    (void)state;
    assert_int_equal(h->abi.struct_size, sizeof(hcsmoe_host));
    assert_int_equal(h->abi.abi_major, HCSMOE_ABI_MAJOR);
    assert_int_equal(h->abi.abi_minor, HCSMOE_ABI_MINOR_LATEST);
    assert_null(h->abi.kernels(&h->abi));
    host_set_kernels(h, &k);
    assert_ptr_equal(h->abi.kernels(&h->abi), &k);
    assert_null(h->abi.extension(&h->abi, "hcsmoe.tokenizer/1"));
    assert_true(p != NULL && (uintptr_t)p % 64 == 0);
    h->abi.free(&h->abi, p);
    h->abi.free(&h->abi, NULL);
    assert_null(h->abi.alloc(&h->abi, SIZE_MAX));
    host_close(h);
}

static const hcsmoe_json *json(const json_t *j)
{
    return (const hcsmoe_json *)(const void *)j;
}

static void test_json_reads_values_by_type(void **state)
{
    json_t *j = json_loads("{\"i\": 7, \"r\": 2.0, \"x\": 1.5, \"s\": \"a\\u00e9\", \"t\": true,"
                           " \"n\": null, \"a\": [1, 2, 3], \"big\": 1e300}",
                           0, NULL);
    const hcsmoe_json *o = json(j);
    const hcsmoe_json_api *a = &host_json;

    (void)state;
    assert_non_null(j);
    assert_int_equal(a->type(o), HCSMOE_JSON_OBJECT);
    assert_int_equal(a->size(o), 8);
    assert_int_equal(a->integer(a->get(o, "i"), -1), 7);
    assert_int_equal(a->integer(a->get(o, "r"), -1), 2);
    assert_int_equal(a->integer(a->get(o, "x"), -1), -1);
    assert_int_equal(a->integer(a->get(o, "big"), -1), -1);
    assert_true(a->real(a->get(o, "i"), 0) > 6.5);
    assert_true(a->real(a->get(o, "s"), 3) > 2.5);
    assert_string_equal(a->string(a->get(o, "s"), NULL), "a\xc3\xa9");
    assert_int_equal(a->size(a->get(o, "s")), 3);
    assert_int_equal(a->boolean(a->get(o, "t"), 0), 1);
    assert_int_equal(a->boolean(a->get(o, "i"), 9), 9);
    assert_int_equal(a->type(a->get(o, "n")), HCSMOE_JSON_NULL);
    assert_int_equal(a->type(a->get(o, "t")), HCSMOE_JSON_BOOL);
    assert_int_equal(a->type(a->get(o, "x")), HCSMOE_JSON_REAL);
    assert_int_equal(a->size(a->get(o, "a")), 3);
    assert_int_equal(a->integer(a->at(a->get(o, "a"), 2), 0), 3);
    assert_null(a->at(a->get(o, "a"), 3));
    assert_null(a->at(a->get(o, "a"), -1));
    json_decref(j);
}

static void test_json_takes_null_and_wrong_types(void **state)
{
    json_t *j = json_integer(1);
    const hcsmoe_json_api *a = &host_json;

    (void)state;
    assert_int_equal(a->type(NULL), HCSMOE_JSON_NULL);
    assert_null(a->get(NULL, "x"));
    assert_null(a->get(json(j), "x"));
    assert_null(a->get(json(j), NULL));
    assert_int_equal(a->size(NULL), 0);
    assert_int_equal(a->size(json(j)), 0);
    assert_null(a->at(NULL, 0));
    assert_string_equal(a->string(NULL, "fallback"), "fallback");
    assert_string_equal(a->string(json(j), "fallback"), "fallback");
    assert_int_equal(a->integer(NULL, 5), 5);
    assert_true(a->real(NULL, 5) > 4.5);
    assert_int_equal(a->boolean(NULL, 1), 1);
    json_decref(j);
}

/* Last: nothing takes the flag back. */
static void test_cancel_is_seen_by_plugins(void **state)
{
    struct host *h = open_host(1);

    (void)state;
    assert_int_equal(h->abi.cancelled(&h->abi), 0);
    host_cancel();
    assert_int_equal(h->abi.cancelled(&h->abi), 1);
    assert_true(host_cancelled());
    host_close(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parallel_for_does_every_index_once),
        cmocka_unit_test(test_parallel_for_takes_the_largest_n),
        cmocka_unit_test(test_parallel_for_reports_the_first_failure_in_order),
        cmocka_unit_test(test_parallel_for_failure_without_message_takes_no_old_one),
        cmocka_unit_test(test_nested_parallel_for_runs_on_its_own_thread),
        cmocka_unit_test(test_scratch_is_aligned_and_per_piece),
        cmocka_unit_test(test_scratch_outside_a_call_and_too_large_is_refused),
        cmocka_unit_test(test_random_depends_on_seed_name_and_layer_alone),
        cmocka_unit_test(test_random_in_parallel_for_is_the_same_for_any_number_of_threads),
        cmocka_unit_test(test_leave_puts_name_and_layer_in_front),
        cmocka_unit_test(test_leave_blames_a_failure_without_message_on_the_plugin),
        cmocka_unit_test(test_a_call_that_succeeds_keeps_the_message_on_its_way_up),
        cmocka_unit_test(test_frames_nest),
        cmocka_unit_test(test_open_checks_threads_and_takes_all_for_0),
        cmocka_unit_test(test_host_gives_its_version_kernels_and_no_extension),
        cmocka_unit_test(test_json_reads_values_by_type),
        cmocka_unit_test(test_json_takes_null_and_wrong_types),
        cmocka_unit_test(test_cancel_is_seen_by_plugins),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
