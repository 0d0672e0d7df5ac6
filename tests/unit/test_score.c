/*
 * test_score.c - log-likelihoods by the bundled model: however requests are laid out, the same.
 * SPDX-License-Identifier: MIT
 */
#include "run/score.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "model/batch.h"
#include "model/model.h"
#include "run/config.h"

#include <cmocka.h> /* last: its macro fail() would hide ours */

enum { TREE = 7, LENGTH = 12, LONG = 128, PROBE = 80 };
#define NEAR 1e-5

struct fixture {
    struct config *c;
    struct model *m;
};
static struct fixture fixture;

static void must(int status)
{
    if (status)
        fail_msg("%d: %s", status, fail_message());
}

static void must_say(int status, const char *part)
{
    assert_true(status < 0);
    if (!strstr(fail_message(), part))
        fail_msg("'%s' does not hold '%s'", fail_message(), part);
}

static int model_setup(void **state)
{
    const char *const assignments[] = {"plugins.path=" PLUGINS, "run.threads=1"};

    (void)state;
    log_level_set(LOG_ERROR);
    int status = config_open(&fixture.c, NULL, assignments, 2, NULL, 0, CONFIG_TOOL);
    if (!status)
        status = model_open(&fixture.m, SOURCE_DIR "/config/data/tiny-mixtral", NULL, "auto", NULL,
                            fixture.c->registry, fixture.c->host);
    return status;
}

static int model_teardown(void **state)
{
    (void)state;
    model_close(fixture.m);
    config_close(fixture.c);
    return 0;
}

/* Sequences that branch off each other at several depths; the last two are the same one. */
struct tree {
    int32_t tokens[TREE][LENGTH];
    float logprobs[TREE][LENGTH];
    struct score_request requests[TREE];
};

static void tree_make(struct tree *t)
{
    static const int64_t n[TREE] = {12, 12, 9, 12, 5, 10, 10};
    static const int64_t shared[TREE] = {0, 8, 6, 9, 3, 0, 10}; /* with the one before */
    static const int64_t from[TREE] = {1, 8, 3, 11, 4, 2, 9};
    const uint64_t vocabulary = (uint64_t)fixture.m->desc.vocabulary;
    struct mt19937 rng;

    *t = (struct tree){0};
    mt19937_seed(&rng, 11);
    for (int s = 0; s < TREE; s++) {
        for (int64_t i = 0; i < n[s]; i++)
            t->tokens[s][i] = i < shared[s] ? t->tokens[s - 1][i]
                                            : (int32_t)mt19937_below(&rng, vocabulary);
        t->requests[s] = (struct score_request){
            .tokens = t->tokens[s], .n = n[s], .from = from[s], .logprobs = t->logprobs[s]};
    }
}

static void expect_near(const struct score_request *got, const struct score_request *want)
{
    assert_int_equal(got->n, want->n);
    assert_int_equal(got->from, want->from);
    for (int64_t i = 0; i < want->n - want->from; i++)
        if (!(fabs((double)got->logprobs[i] - (double)want->logprobs[i]) <= NEAR))
            fail_msg("token %lld: %.8g, expected %.8g", (long long)(want->from + i),
                     (double)got->logprobs[i], (double)want->logprobs[i]);
    assert_true(fabs(got->sum - want->sum) <= NEAR * (double)want->n);
    assert_int_equal(got->greedy, want->greedy);
}

static void test_shared_prefixes_score_as_each_sequence_alone(void **state)
{
    struct tree together, alone;

    (void)state;
    tree_make(&together);
    tree_make(&alone);
    must(score_run(fixture.m, together.requests, TREE, 0));
    for (int s = 0; s < TREE; s++) {
        must(score_run(fixture.m, &alone.requests[s], 1, 0));
        expect_near(&together.requests[s], &alone.requests[s]);
    }
}

static void test_results_are_log_probabilities_and_their_sum(void **state)
{
    struct tree t;

    (void)state;
    tree_make(&t);
    must(score_run(fixture.m, t.requests, TREE, 0));
    for (int s = 0; s < TREE; s++) {
        double sum = 0;
        for (int64_t i = 0; i < t.requests[s].n - t.requests[s].from; i++) {
            assert_true(t.logprobs[s][i] < 0);
            sum += (double)t.logprobs[s][i];
        }
        assert_true(fabs(sum - t.requests[s].sum) <= NEAR);
    }
}

static void test_all_next_tokens_together_have_probability_one(void **state)
{
    const int64_t vocabulary = fixture.m->desc.vocabulary;
    int32_t (*tokens)[3] = mem_new((size_t)vocabulary, sizeof *tokens);
    float *logprobs = mem_new((size_t)vocabulary, sizeof *logprobs);
    struct score_request *requests = mem_new((size_t)vocabulary, sizeof *requests);
    double sum = 0;
    int64_t best = 0, n_greedy = 0;

    (void)state;
    assert_true(tokens && logprobs && requests);
    for (int64_t v = 0; v < vocabulary; v++) {
        tokens[v][0] = 1;
        tokens[v][1] = 300;
        tokens[v][2] = (int32_t)v;
        requests[v] = (struct score_request){
            .tokens = tokens[v], .n = 3, .from = 2, .logprobs = &logprobs[v]};
    }
    must(score_run(fixture.m, requests, (size_t)vocabulary, 0));
    for (int64_t v = 0; v < vocabulary; v++) {
        sum += exp((double)logprobs[v]);
        best = logprobs[v] > logprobs[best] ? v : best;
        n_greedy += requests[v].greedy;
    }
    assert_true(fabs(sum - 1) < 1e-4);
    assert_int_equal(n_greedy, 1);
    assert_true(requests[best].greedy);
    mem_free(tokens);
    mem_free(logprobs);
    mem_free(requests);
}

/* Each sequence starts with the same tokens, so that a wave's first would have liked to share. */
static void test_little_memory_takes_waves_to_the_same_result(void **state)
{
    /* However little there is, a wave takes one chunk of rows: the count makes three of them. */
    const size_t n = (size_t)(2 * batch_chunk_tokens(fixture.m->desc.width) / LONG + 8);
    int32_t (*tokens)[LONG] = mem_new(n, sizeof *tokens);
    float *little = mem_new(n, sizeof *little), *alone = mem_new(n, sizeof *alone);
    struct score_request *a = mem_new(n, sizeof *a), *b = mem_new(n, sizeof *b);
    struct mt19937 rng;

    (void)state;
    assert_true(tokens && little && alone && a && b);
    mt19937_seed(&rng, 5);
    for (size_t s = 0; s < n; s++) {
        for (int i = 0; i < LONG; i++)
            tokens[s][i] =
                i < 3 ? i + 1 : (int32_t)mt19937_below(&rng, (uint64_t)fixture.m->desc.vocabulary);
        a[s] = b[s] = (struct score_request){.tokens = tokens[s], .n = LONG, .from = LONG - 1};
        a[s].logprobs = &little[s];
        b[s].logprobs = &alone[s];
    }
    must(score_run(fixture.m, a, n, 1));
    for (size_t s = 0; s < n; s += PROBE) {
        must(score_run(fixture.m, &b[s], 1, 0));
        expect_near(&a[s], &b[s]);
    }
    for (size_t s = 0; s < n; s++)
        assert_true(little[s] < 0); /* everyone was answered */
    mem_free(tokens);
    mem_free(little);
    mem_free(alone);
    mem_free(a);
    mem_free(b);
}

static void test_order_of_requests_does_not_matter(void **state)
{
    static const int order[TREE] = {4, 6, 0, 3, 5, 2, 1};
    struct tree t, u;
    struct score_request shuffled[TREE];

    (void)state;
    tree_make(&t);
    tree_make(&u);
    must(score_run(fixture.m, t.requests, TREE, 0));
    for (int s = 0; s < TREE; s++)
        shuffled[s] = u.requests[order[s]];
    must(score_run(fixture.m, shuffled, TREE, 0));
    for (int s = 0; s < TREE; s++)
        expect_near(&shuffled[s], &t.requests[order[s]]);
}

static void test_token_ids_out_of_range_are_refused(void **state)
{
    int32_t tokens[] = {1, 2, 3, 4};
    float logprobs[3];
    struct score_request q = {.tokens = tokens, .n = 4, .from = 3, .logprobs = logprobs};

    (void)state;
    assert_int_equal(fixture.m->desc.vocabulary, 2048);
    tokens[1] = 2048; /* fed to the model */
    must_say(score_run(fixture.m, &q, 1, 0),
             "token id 2048 is not in the model's vocabulary of 2048");
    tokens[1] = -1;
    must_say(score_run(fixture.m, &q, 1, 0), "token id -1 is not in the model's vocabulary");
    tokens[1] = 2;
    tokens[3] = 2048; /* only scored */
    must_say(score_run(fixture.m, &q, 1, 0), "token id 2048 is not");
    tokens[3] = INT32_MIN;
    must_say(score_run(fixture.m, &q, 1, 0), "token id -2147483648 is not");
    tokens[3] = 2047;
    must(score_run(fixture.m, &q, 1, 0));
}

static void test_requests_without_anything_to_score_are_refused(void **state)
{
    static const int64_t bad[][2] = {{1, 1}, {3, 0}, {3, 3}, {3, -1}, {0, 0}};
    const int32_t tokens[] = {1, 2, 3};
    float logprobs[3];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct score_request q = {
            .tokens = tokens, .n = bad[i][0], .from = bad[i][1], .logprobs = logprobs};
        must_say(score_run(fixture.m, &q, 1, 0), "nothing to score");
    }
}

static void test_no_requests_are_no_work(void **state)
{
    (void)state;
    must(score_run(fixture.m, NULL, 0, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_prefixes_score_as_each_sequence_alone),
        cmocka_unit_test(test_results_are_log_probabilities_and_their_sum),
        cmocka_unit_test(test_all_next_tokens_together_have_probability_one),
        cmocka_unit_test(test_little_memory_takes_waves_to_the_same_result),
        cmocka_unit_test(test_order_of_requests_does_not_matter),
        cmocka_unit_test(test_token_ids_out_of_range_are_refused),
        cmocka_unit_test(test_requests_without_anything_to_score_are_refused),
        cmocka_unit_test(test_no_requests_are_no_work),
    };
    return cmocka_run_group_tests(tests, model_setup, model_teardown);
}
