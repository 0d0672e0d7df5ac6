/*
 * test_verify.c - the bench that plugins are verified on; plugins that hang or leave.
 *
 * SPDX-License-Identifier: MIT
 */
#include "run/verify.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "run/verify_bench.h"
#include "run/verify_suite.h"

#include <cmocka.h>

#define VERIFY_PLUGINS BAD_PLUGINS "/../verify"

static int open_host(void **state)
{
    struct verify *v = mem_new(1, sizeof *v);

    assert_non_null(v);
    assert_int_equal(host_open(&v->host, 1, 0), 0);
    assert_int_equal(registry_open(&v->registry, v->host), 0);
    assert_int_equal(verify_kernels(v), 0);
    *state = v;
    return 0;
}

static int close_host(void **state)
{
    struct verify *v = *state;

    instance_release(&v->kernels);
    registry_close(v->registry);
    host_close(v->host);
    mem_free(v);
    return 0;
}

static void near(const double *a, const double *b, int64_t n, double most)
{
    for (int64_t i = 0; i < n; i++)
        assert_true(fabs(a[i] - b[i]) <= most * (1 + fabs(b[i])));
}

/* Inner products of the experts' weights as the kernels make them. */
static void grams(const struct verify *v, const struct bench *b, int32_t centre, double *g)
{
    const hcsmoe_tensor *const parts[] = {b->gate, b->up, b->down};
    const hcsmoe_tensor *list[16];
    const int64_t e = b->dims.n_experts;

    memset(g, 0, (size_t)(e * e) * sizeof *g);
    for (int p = 0; p < 3; p++) {
        for (int64_t i = 0; i < e; i++)
            list[i] = &parts[p][i];
        assert_int_equal(v->host->kernels->gram_tensors(v->host->kernels, e, list, centre, g), 0);
    }
}

static void test_bench_statistics_are_those_of_the_kernels(void **state)
{
    const struct verify *v = *state;
    const hcsmoe_kernels *k = v->host->kernels;
    struct bench b;
    double g[64] = {0};

    assert_int_equal(bench_open(&b, &bench_ordinary, k), 0);
    const int64_t e = b.dims.n_experts, n = b.dims.n_tokens, d = b.dims.width, f = b.dims.ffn;
    assert_int_equal(k->gram_columns(k, n, e, b.logits, g), 0);
    near(g, b.router_gram, e * e, 1e-12);
    grams(v, &b, 1, g);
    near(g, b.weight_gram, e * e, 1e-12);
    grams(v, &b, 0, g);
    near(g, b.weight_product, e * e, 1e-12);

    float *h = mem_new((size_t)(n * f), sizeof *h), *y = mem_new((size_t)(n * d), sizeof *y);
    assert_non_null(h);
    assert_non_null(y);
    for (int64_t i = 0; i < e; i++) {
        assert_int_equal(k->swiglu(k, n, d, f, b.x, &b.gate[i], &b.up[i], h), 0);
        assert_int_equal(k->linear(k, n, d, f, h, &b.down[i], NULL, 0, y), 0);
        for (int64_t at = 0; at < n * f; at++)
            assert_true(fabsf(h[at] - b.hidden[i][at]) < 1e-5F);
        for (int64_t at = 0; at < n * d; at++)
            assert_true(fabsf(y[at] - b.output[i][at]) < 1e-5F);
    }
    mem_free(h);
    mem_free(y);
    bench_release(&b);
}

static void test_bench_routes_as_the_kernels_do(void **state)
{
    const struct verify *v = *state;
    const hcsmoe_kernels *k = v->host->kernels;
    int32_t ids[800];
    float weights[800];
    struct bench b;
    int64_t chosen = 0;

    assert_int_equal(bench_open(&b, &bench_ordinary, k), 0);
    const int64_t n = b.dims.n_tokens, e = b.dims.n_experts;
    assert_int_equal(k->route(k, n, e, 2, 1, b.logits, NULL, NULL, ids, weights), 0);
    assert_memory_equal(ids, b.ids, sizeof ids);
    for (int i = 0; i < 800; i++)
        assert_true(fabsf(weights[i] - b.weights[i]) < 1e-6F);
    for (int64_t i = 0; i < e; i++) {
        assert_true(b.usage_counts[i] > 0);
        chosen += b.usage_counts[i];
    }
    assert_int_equal(chosen, n * 2);
    bench_release(&b);
}

/* energy(e', e, i) is what neuron i of e would put out: summed over i for e = e' it is at least the
 * square of what the expert really put out, divided by the neurons. */
static void test_bench_energy_bounds_the_output(void **state)
{
    const struct verify *v = *state;
    struct bench b;

    assert_int_equal(bench_open(&b, &bench_ordinary, v->host->kernels), 0);
    const int64_t e = b.dims.n_experts, f = b.dims.ffn, d = b.dims.width;
    for (int64_t i = 0; i < e; i++) {
        double energy = 0, output = 0;
        for (int64_t j = 0; j < f; j++)
            energy += b.energy[(i * e + i) * f + j];
        for (int64_t t = 0; t < b.dims.n_tokens; t++)
            for (int64_t r = t * 2; r < t * 2 + 2; r++)
                for (int64_t c = 0; b.ids[r] == i && c < d; c++) {
                    const double y = (double)b.weights[r] * (double)b.output[i][t * d + c];
                    output += y * y;
                }
        assert_true(output > 0);
        assert_true(energy * (double)f >= output);
        assert_true(energy < output * 100);
    }
    bench_release(&b);
}

static void test_bench_shows_what_was_asked_for(void **state)
{
    const struct verify *v = *state;
    const struct {
        uint64_t bit;
        size_t offset;
    } members[] = {
        {HCSMOE_STAT_USAGE, offsetof(hcsmoe_stats, usage)},
        {HCSMOE_STAT_USAGE, offsetof(hcsmoe_stats, usage_counts)},
        {HCSMOE_STAT_ROUTING_SCORE, offsetof(hcsmoe_stats, score_sum)},
        {HCSMOE_STAT_ROUTER_GRAM, offsetof(hcsmoe_stats, router_gram)},
        {HCSMOE_STAT_OUTPUT_MEAN, offsetof(hcsmoe_stats, output_mean)},
        {HCSMOE_STAT_WEIGHT_GRAM, offsetof(hcsmoe_stats, weight_gram)},
        {HCSMOE_STAT_WEIGHT_PRODUCT, offsetof(hcsmoe_stats, weight_product)},
        {HCSMOE_STAT_ENERGY, offsetof(hcsmoe_stats, energy)},
        {HCSMOE_STAT_ENERGY_SCALED, offsetof(hcsmoe_stats, energy_scaled)},
        {HCSMOE_STAT_ROUTER_WEIGHT, offsetof(hcsmoe_stats, router)},
        {HCSMOE_STAT_WEIGHTS, offsetof(hcsmoe_stats, gate)},
        {HCSMOE_STAT_WEIGHTS, offsetof(hcsmoe_stats, down)},
    };
    const size_t n = sizeof members / sizeof *members;
    struct bench b;

    assert_int_equal(bench_open(&b, &bench_tiny, v->host->kernels), 0);
    for (size_t i = 0; i < n; i++) {
        const hcsmoe_stats s = bench_stats(&b, members[i].bit);
        for (size_t j = 0; j < n; j++) {
            const void *p;
            memcpy(&p, (const char *)&s + members[j].offset, sizeof p);
            if (members[j].bit == members[i].bit)
                assert_non_null(p);
            else
                assert_null(p);
        }
    }
    bench_release(&b);
}

static void test_bench_is_the_same_each_time_and_notices_a_bit(void **state)
{
    const struct verify *v = *state;
    struct bench a, b;

    assert_int_equal(bench_open(&a, &bench_ordinary, v->host->kernels), 0);
    assert_int_equal(bench_open(&b, &bench_ordinary, v->host->kernels), 0);
    const uint64_t before = bench_hash(&a);
    assert_memory_equal(a.x, b.x, 400 * 16 * sizeof(float));
    assert_memory_equal(a.energy_scaled, b.energy_scaled, 6 * 6 * 12 * sizeof(double));
    a.usage[5] += 1e-12;
    assert_true(bench_hash(&a) != before);
    bench_release(&a);
    bench_release(&b);
}

static void test_bench_variants_are_what_they_say(void **state)
{
    const struct verify *v = *state;
    struct bench_spec spec = bench_ordinary;
    struct bench b;

    spec.alike = spec.unused = true;
    assert_int_equal(bench_open(&b, &spec, v->host->kernels), 0);
    assert_int_equal(b.usage_counts[1], 0);
    assert_true(b.usage_counts[0] > 0);
    assert_memory_equal(b.output[0], b.output[5], 400 * 16 * sizeof(float));
    bench_release(&b);

    spec = bench_ordinary;
    spec.nan = NAN_EXPERT;
    assert_int_equal(bench_open(&b, &spec, v->host->kernels), 0);
    assert_true(isnan(b.output_mean[0]) != 0);
    assert_true(isnan(b.output_mean[16]) == 0);
    assert_true(isnan(b.weight_gram[0]) == 0);
    bench_release(&b);

    spec.nan = NAN_TOKEN;
    assert_int_equal(bench_open(&b, &spec, v->host->kernels), 0);
    assert_true(isnan(b.score_sum[3]) != 0);
    assert_true(isnan(b.usage[3]) == 0);
    bench_release(&b);
}

static void test_guards_notice_a_byte_on_either_side(void **state)
{
    struct verify *v = *state;
    struct guards g = {0};
    unsigned char *p = guards_add(&g, "p", 24, GUARD_FILL);

    assert_non_null(p);
    assert_int_equal(p[23], 0xff);
    assert_int_equal(guards_check(v, &g), 0);
    p[24] = 0;
    assert_int_equal(guards_check(v, &g), HCSMOE_EPLUGIN);
    assert_string_equal(fail_message(), "writes behind the end of 'p' (24 bytes)");
    p[24] = 0xa5;
    p[-1] = 0;
    assert_int_equal(guards_check(v, &g), HCSMOE_EPLUGIN);
    assert_string_equal(fail_message(), "writes in front of 'p'");
    guards_release(&g);
    v->broken = false;
}

/* ---- the whole command ---- */

struct said {
    int of[3];
    char text[4096];
};

static void say(void *arg, enum verify_outcome outcome, const char *component, const char *check,
                const char *text)
{
    struct said *s = arg;

    s->of[outcome]++;
    if (outcome == VERIFY_FAILED)
        (void)snprintf(s->text, sizeof s->text, "%s: %s: %s", component ? component : "", check,
                       text);
}

static void test_a_plugin_that_hangs_is_ended(void **state)
{
    const struct verify_request r = {.file = VERIFY_PLUGINS "/hangs.so", .seconds = 1};
    struct said s = {{0}, ""};
    const double before = now_s();

    (void)state;
    assert_int_equal(verify_plugin(&r, say, &s), 0);
    assert_int_equal(s.of[VERIFY_FAILED], 1);
    assert_string_equal(s.text, "merge/hangs: groups of one to groups of all, from what it asked "
                                "for alone: it takes longer than 1 s");
    assert_true(now_s() - before < 30);
}

static void test_a_file_that_is_not_there_is_what_the_loader_says(void **state)
{
    const struct verify_request r = {.file = "/nonexistent/hcsmoe-merge-none.so"};
    struct said s = {{0}, ""};

    (void)state;
    assert_int_equal(verify_plugin(&r, say, &s), 0);
    assert_int_equal(s.of[VERIFY_FAILED], 1);
    assert_int_equal(s.of[VERIFY_OK], 0);
    assert_non_null(strstr(s.text, "cannot open plugin"));
}

int main(void)
{
    /* First, while this process has no threads: the checks run in children of it. */
    const struct CMUnitTest commands[] = {
        cmocka_unit_test(test_a_plugin_that_hangs_is_ended),
        cmocka_unit_test(test_a_file_that_is_not_there_is_what_the_loader_says),
    };
    const struct CMUnitTest benches[] = {
        cmocka_unit_test(test_bench_statistics_are_those_of_the_kernels),
        cmocka_unit_test(test_bench_routes_as_the_kernels_do),
        cmocka_unit_test(test_bench_energy_bounds_the_output),
        cmocka_unit_test(test_bench_shows_what_was_asked_for),
        cmocka_unit_test(test_bench_is_the_same_each_time_and_notices_a_bit),
        cmocka_unit_test(test_bench_variants_are_what_they_say),
        cmocka_unit_test(test_guards_notice_a_byte_on_either_side),
    };
    const int failed = cmocka_run_group_tests(commands, NULL, NULL);

    return failed + cmocka_run_group_tests(benches, open_host, close_host);
}
