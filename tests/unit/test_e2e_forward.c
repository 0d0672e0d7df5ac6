/*
 * test_e2e_forward.c - hcsmoe score against recorded log-probabilities of every family and file
 * layout.
 *
 * SPDX-License-Identifier: MIT
 */
#include "e2e.h"

#define LOGPROB_MOST 2e-4

/* Requests that end in one token: the most likely one, or the one that stands there. */
static void greedy_add(struct str *s, const json_t *tokens, size_t n, json_int_t last)
{
    str_add(s, "{\"tokens\": [");
    for (size_t i = 0; i < n; i++)
        str_addf(s, "%lld, ", (long long)json_integer_value(json_array_get(tokens, i)));
    str_addf(s, "%lld], \"from\": %zu}\n", (long long)last, n);
}

static void greedy_check(const char *model, const json_t *sequence)
{
    static const size_t positions[] = {0, 3, 17, 40, 90};
    const json_t *tokens = json_at(sequence, "tokens"), *best = json_at(sequence, "best");
    struct str s = {0};
    bool expected[16];
    size_t n = 0;

    for (size_t i = 0; i < sizeof positions / sizeof *positions; i++) {
        const size_t p = positions[i];
        const json_int_t most = json_integer_value(json_array_get(best, p)),
                         there = json_integer_value(json_array_get(tokens, p + 1));
        if (most < 0) /* a near tie */
            continue;
        greedy_add(&s, tokens, p + 1, most);
        expected[n++] = true;
        greedy_add(&s, tokens, p + 1, there);
        expected[n++] = there == most;
    }
    struct result r = run_input(str_text(&s), "score", "-m", model_folder(model));
    str_release(&s);
    expect_status(r, 0);
    const json_t *a = answers(r.out);
    assert_int_equal(json_array_size(a), n);
    assert_true(n >= 4);
    for (size_t i = 0; i < n; i++)
        if (json_is_true(json_at(json_array_get(a, i), "greedy")) != expected[i])
            fail_msg("%s: request %zu: greedy is %d", model, i, !expected[i]);
}

static void model_check(const char *model)
{
    json_t *sequences = json_at(forward_case(model), "sequences");
    const json_t *a = score_folder(model_folder(model), model);

    assert_int_equal(json_array_size(a), json_array_size(sequences));
    for (size_t i = 0; i < json_array_size(a); i++) {
        const json_t *answer = json_array_get(a, i), *want = json_array_get(sequences, i);
        const double off = list_difference(json_at(answer, "logprobs"), json_at(want, "logprobs"));
        double sum = 0;
        if (!(off <= LOGPROB_MOST))
            fail_msg("%s, sequence %zu: log-probabilities off by %g", model, i, off);
        for (size_t k = 0; k < json_array_size(json_at(answer, "logprobs")); k++)
            sum += json_number_value(json_array_get(json_at(answer, "logprobs"), k));
        assert_true(fabs(sum - json_number_value(json_at(answer, "loglikelihood"))) <
                    1e-5 * (1 - sum));
        assert_int_equal(json_integer_value(json_at(answer, "tokens")),
                         json_array_size(json_at(want, "tokens")) - 1);
    }
    greedy_check(model, json_array_get(sequences, 0));
}

static void test_tiny_mixtral_gives_reference_logprobs(void **state)
{
    (void)state;
    model_check("tiny-mixtral");
}

static void test_tiny_qwen_gives_reference_logprobs(void **state)
{
    (void)state;
    model_check("tiny-qwen2-moe");
}

static void test_fused_experts_give_reference_logprobs(void **state)
{
    (void)state;
    model_check("mixtral-fused");
}

static void test_dense_layer_tied_embeddings_and_shards_give_reference_logprobs(void **state)
{
    (void)state;
    model_check("qwen2-moe-mixed");
}

static void test_f16_head_dim_and_window_give_reference_logprobs(void **state)
{
    (void)state;
    model_check("mixtral-f16-window");
}

static void test_text_request_scores_like_its_tokens(void **state)
{
    (void)state;
    struct result t = run_input("The boy went to the river", "tokenize", "-m", TINY_MIXTRAL);
    expect_status(t, 0);
    json_t *tokens = json_keep(json_loads(t.out, 0, NULL));
    struct result c = run_input("The boy went to", "tokenize", "-m", TINY_MIXTRAL);
    json_t *context = json_keep(json_loads(c.out, 0, NULL));
    const char *input =
        text("{\"context\": \"The boy went to\", \"continuation\": \" the river\"}\n"
             "{\"tokens\": %s, \"from\": %zu}\n",
             t.out, json_array_size(context));
    /* The ids are printed as one line, whose end would cut the request in two. */
    char *copy = mem_strdup(input), *end = strchr(strchr(copy, '\n') + 1, '\n');
    *end = ' ';
    struct result r = run_input(copy, "score", "-m", TINY_MIXTRAL);
    mem_free(copy);
    expect_status(r, 0);
    const json_t *a = answers(r.out);
    assert_int_equal(json_array_size(a), 2);
    assert_int_equal(json_integer_value(json_at(json_array_get(a, 0), "tokens")),
                     json_array_size(tokens) - json_array_size(context));
    assert_true(list_difference(json_at(json_array_get(a, 0), "logprobs"),
                                json_at(json_array_get(a, 1), "logprobs")) < 1e-6);
}

static void test_bad_lines_are_answered_in_place_with_status_1(void **state)
{
    static const char *const wrong[] = {"not JSON",  "not an object",     "neither 'context'",
                                        "at least",  "must be 1..2",      "is not an id below 2048",
                                        "not an id", "not a whole number"};
    (void)state;
    struct result r = run_input("{\"tokens\": [1, 2, 3]\n"
                                "[1]\n"
                                "{\"context\": \"a\"}\n"
                                "{\"tokens\": [1]}\n"
                                "{\"tokens\": [1, 2, 3], \"from\": 3}\n"
                                "{\"tokens\": [1, 2048]}\n"
                                "{\"tokens\": [1, \"x\"]}\n"
                                "{\"tokens\": [1, 2], \"from\": 1.5}\n"
                                "{\"tokens\": [1, 2]}\n",
                                "score", "-m", TINY_MIXTRAL);
    expect_status(r, 1);
    const json_t *a = answers(r.out);
    assert_int_equal(json_array_size(a), 9);
    for (size_t i = 0; i < 8; i++) {
        const char *e = json_string_value(json_at(json_array_get(a, i), "error"));
        expect_text(e, text("line %zu: ", i + 1));
        expect_text(e, wrong[i]);
    }
    assert_true(json_number_value(json_at(json_array_get(a, 8), "loglikelihood")) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tiny_mixtral_gives_reference_logprobs),
        cmocka_unit_test(test_tiny_qwen_gives_reference_logprobs),
        cmocka_unit_test(test_fused_experts_give_reference_logprobs),
        cmocka_unit_test(test_dense_layer_tied_embeddings_and_shards_give_reference_logprobs),
        cmocka_unit_test(test_f16_head_dim_and_window_give_reference_logprobs),
        cmocka_unit_test(test_text_request_scores_like_its_tokens),
        cmocka_unit_test(test_bad_lines_are_answered_in_place_with_status_1),
    };
    return cmocka_run_group_tests(tests, e2e_begin, e2e_end);
}
