/*
 * test_prompts.c - contexts, continuations, windows and few-shot draws.
 * SPDX-License-Identifier: MIT
 */
#include "run/prompts.h"

#include "eval.h"

/* What a context and a continuation give: the tokens are bytes. */
struct pair {
    struct token_ids ids;
    int64_t from;
};

static int pair_try(const struct encoder *e, const char *context, const char *continuation,
                    struct pair *p)
{
    struct context c;
    int status = context_init(&c, e, context, strlen(context));

    *p = (struct pair){0};
    if (!status)
        status = context_continue(&c, e, continuation, strlen(continuation), &p->ids, &p->from);
    context_release(&c);
    return status;
}

/* first: a token in front of the text, or -1. */
static void expect_pair(const struct encoder *e, const char *context, const char *continuation,
                        int first, const char *context_tokens, const char *scored)
{
    struct pair p;
    size_t at = 0;

    must(pair_try(e, context, continuation, &p));
    assert_int_equal(p.ids.n, (first >= 0) + strlen(context_tokens) + strlen(scored));
    assert_int_equal((size_t)p.from, (first >= 0) + strlen(context_tokens));
    if (first >= 0)
        assert_int_equal(p.ids.ids[at++], first);
    for (const char *s = context_tokens; *s; s++)
        assert_int_equal(p.ids.ids[at++], (unsigned char)*s);
    for (const char *s = scored; *s; s++)
        assert_int_equal(p.ids.ids[at++], (unsigned char)*s);
    token_ids_release(&p.ids);
}

static void test_prompts_move_white_space_to_the_continuation(void **state)
{
    struct world w;
    struct encoder e;
    (void)state;

    world_open(&w, "bytes");
    must(encoder_init(&e, w.tokenizer, -1, 4096));
    expect_pair(&e, "from rome smiles ", " puts the loaf.", -1, "from rome smiles",
                "  puts the loaf.");
    expect_pair(&e, "line \n", " x", -1, "line", " \n x");
    expect_pair(&e, "a\xc2\xa0\xe3\x80\x80", " x", -1, "a", "\xc2\xa0\xe3\x80\x80 x");
    expect_pair(&e, "a\xe2\x80\x8b", " x", -1, "a\xe2\x80\x8b", " x");
    expect_pair(&e, "a\x1c\xc2\x85", " x", -1, "a", "\x1c\xc2\x85 x");
    encoder_release(&e);
    world_close(&w);
}

static void test_prompts_put_bos_where_the_tokenizer_does(void **state)
{
    struct world w;
    struct encoder e;
    (void)state;

    world_open(&w, "bytes-bos");
    must(encoder_init(&e, w.tokenizer, -1, 4096));
    assert_int_equal(e.prefix, BOS);
    expect_pair(&e, "ab", " c", BOS, "ab", " c");
    /* Text that begins with BOS gets no second one. */
    expect_pair(&e, "<s>ab", " c", BOS, "ab", " c");
    /* Nothing is left of this context but BOS. */
    expect_pair(&e, " \n", "c", BOS, "", " \nc");
    encoder_release(&e);
    must(encoder_init(&e, w.tokenizer, 0, 4096));
    expect_pair(&e, "ab", " c", -1, "ab", " c");
    encoder_release(&e);
    must(encoder_init(&e, w.tokenizer, 1, 4096));
    expect_pair(&e, "ab", " c", BOS, "ab", " c");
    encoder_release(&e);
    world_close(&w);
}

static void test_prompts_put_the_prefix_for_an_empty_context(void **state)
{
    struct world w;
    struct encoder e;
    (void)state;

    world_open(&w, "bytes-bos");
    must(encoder_init(&e, w.tokenizer, -1, 4096));
    expect_pair(&e, "", "abc", BOS, "", "abc");
    expect_pair(&e, "", "<s>abc", BOS, "", "abc");
    encoder_release(&e);
    world_close(&w);
    world_open(&w, "bytes");
    must(encoder_init(&e, w.tokenizer, -1, 4096));
    expect_pair(&e, "", "abc", EOS, "", "abc");
    encoder_release(&e);
    world_close(&w);
}

static void test_prompts_cut_the_context_on_the_left(void **state)
{
    struct world w;
    struct encoder e;
    (void)state;

    world_open(&w, "bytes");
    must(encoder_init(&e, w.tokenizer, -1, 8));
    expect_pair(&e, "0123456789", "abc", -1, "456789", "abc");
    expect_pair(&e, "0123456789", "abcdefgh", -1, "9", "abcdefgh");
    expect_pair(&e, "01234", "abcd", -1, "01234", "abcd");
    encoder_release(&e);
    world_close(&w);
}

static void test_prompts_refuse_what_has_no_token(void **state)
{
    struct world w;
    struct encoder e;
    struct pair p;
    (void)state;

    world_open(&w, "bytes");
    must(encoder_init(&e, w.tokenizer, -1, 8));
    must_say(pair_try(&e, "abc", "", &p), "the continuation adds no token to the context's");
    must_say(pair_try(&e, " ", "abc", &p), "the context has no token");
    must_say(pair_try(&e, "abc", "123456789", &p),
             "the continuation has 9 tokens, more than max_length = 8");
    encoder_release(&e);
    world_close(&w);
}

/* Windows over n tokens, each as "first of its context..first scored..last". */
static void expect_windows(int64_t n, int64_t max_length, const int64_t (*want)[3])
{
    int64_t done = 0;

    for (size_t i = 0; done < n; i++) {
        int64_t first, count, from;
        const int64_t scored = rolling_window(n, done, max_length, &first, &count, &from);
        /* Token i of the text lies at i + 1, behind the prefix. */
        assert_int_equal(first - 1, want[i][0]);
        assert_int_equal(first + from - 1, want[i][1]);
        assert_int_equal(first + count - 2, want[i][2]);
        assert_int_equal(scored, count - from);
        done += scored;
    }
}

static void test_prompts_roll_windows_over_a_document(void **state)
{
    int64_t first, count, from;
    (void)state;

    expect_windows(10, 4, (const int64_t[][3]){{-1, 0, 3}, {3, 4, 7}, {5, 8, 9}});
    expect_windows(5, 4, (const int64_t[][3]){{-1, 0, 3}, {0, 4, 4}});
    expect_windows(4, 4, (const int64_t[][3]){{-1, 0, 3}});
    expect_windows(9, 4, (const int64_t[][3]){{-1, 0, 3}, {3, 4, 7}, {4, 8, 8}});
    expect_windows(2, 4, (const int64_t[][3]){{-1, 0, 1}});
    assert_int_equal(rolling_window(0, 0, 4, &first, &count, &from), 0);
}

static void test_prompts_put_bos_twice_in_front_of_a_document(void **state)
{
    struct world w;
    struct encoder e;
    struct token_ids ids = {0};
    int64_t n = 0;
    (void)state;

    world_open(&w, "bytes-bos");
    must(encoder_init(&e, w.tokenizer, -1, 8));
    must(rolling_encode(&e, "ab", 2, &ids, &n));
    assert_int_equal(n, 3);
    assert_int_equal(ids.ids[0], BOS);
    assert_int_equal(ids.ids[1], BOS);
    assert_int_equal(ids.ids[2], 'a');
    token_ids_release(&ids);
    encoder_release(&e);
    world_close(&w);
}

/* Examples of the first documents, num_fewshot each. */
static void expect_draws(int kind, int64_t population, int64_t n_shots, int64_t n_docs,
                         const int64_t *want)
{
    struct record *docs = mem_new((size_t)n_docs, sizeof *docs);
    struct record *shots = mem_new((size_t)population, sizeof *shots);
    int64_t *draws = mem_new((size_t)(n_docs * n_shots), sizeof *draws);

    assert_true(docs && shots && draws);
    for (int64_t i = 0; i < n_docs; i++)
        (void)snprintf(docs[i].key, sizeof docs[i].key, "doc");
    must(fewshot_draw(kind, docs, n_docs, shots, population, n_shots, draws));
    for (int64_t i = 0; i < n_docs * n_shots; i++)
        assert_int_equal(draws[i], want[i]);
    mem_free(draws);
    mem_free(shots);
    mem_free(docs);
}

static void test_prompts_draw_the_examples_that_the_harness_draws(void **state)
{
    (void)state;
    /* winogrande, rte, boolq, hellaswag draw a spare; arc and openbookqa do not. */
    expect_draws(HCSMOE_FEWSHOT_DRAW_SPARE, 40398, 5, 3,
                 (const int64_t[]){28883, 7657, 490, 5940, 38156, 5500, 6450, 23241, 15519, 1142,
                                   1038, 22681, 31735, 40358, 30379});
    expect_draws(HCSMOE_FEWSHOT_DRAW_SPARE, 2490, 5, 2,
                 (const int64_t[]){1805, 478, 30, 371, 2384, 343, 403, 1452, 969, 71});
    expect_draws(HCSMOE_FEWSHOT_DRAW_SPARE, 9427, 5, 2,
                 (const int64_t[]){7220, 1914, 122, 1485, 572, 1612, 5810, 3879, 285, 504});
    expect_draws(HCSMOE_FEWSHOT_DRAW_SPARE, 39905, 10, 2,
                 (const int64_t[]){28883, 7657,  490,   5940,  38156, 2288,  5500,
                                   6450,  23241, 15519, 2019,  1038,  22681, 31735,
                                   30379, 9735,  5982,  11999, 7498,  958});
    expect_draws(HCSMOE_FEWSHOT_DRAW, 2251, 5, 3,
                 (const int64_t[]){1805, 478, 30, 371, 143, 343, 403, 1452, 969, 71, 126, 64, 1417,
                                   1983, 1898});
    expect_draws(HCSMOE_FEWSHOT_DRAW, 4957, 5, 2,
                 (const int64_t[]){3610, 957, 61, 742, 4769, 286, 687, 806, 2905, 1939});
    expect_draws(HCSMOE_FEWSHOT_DRAW, 1119, 25, 1,
                 (const int64_t[]){902, 239, 15,  185, 71,  171, 201, 726,  484, 35,  63,  32,  708,
                                   991, 949, 304, 186, 374, 234, 29,  1030, 996, 511, 132, 1108});
    expect_draws(HCSMOE_FEWSHOT_DRAW_SPARE, 40, 2, 2, (const int64_t[]){28, 7, 5, 37});
    expect_draws(HCSMOE_FEWSHOT_DRAW, 40, 2, 2, (const int64_t[]){28, 7, 0, 5});
    expect_draws(HCSMOE_FEWSHOT_FIRST, 5, 3, 2, (const int64_t[]){0, 1, 2, 0, 1, 2});
}

static void test_prompts_drop_drawn_examples_that_equal_the_record(void **state)
{
    struct record doc = {.key = "same", .line = 9};
    struct record shots[40] = {0};
    int64_t draws[2];
    (void)state;

    (void)snprintf(shots[28].key, sizeof shots[28].key, "same");
    must(fewshot_draw(HCSMOE_FEWSHOT_DRAW_SPARE, &doc, 1, shots, 40, 2, draws));
    assert_int_equal(draws[0], 7);
    assert_int_not_equal(draws[1], 28);
    (void)snprintf(shots[7].key, sizeof shots[7].key, "same");
    must_say(fewshot_draw(HCSMOE_FEWSHOT_DRAW_SPARE, &doc, 1, shots, 40, 2, draws),
             "for the evaluated record of line 9: 1 few-shot examples are left of 3 drawn");
    must_say(fewshot_draw(HCSMOE_FEWSHOT_DRAW_SPARE, &doc, 1, shots, 2, 2, draws),
             "2 records for few-shot examples: 3 are drawn for num_fewshot = 2");
}

static void test_prompts_write_examples_in_front_of_the_question(void **state)
{
    struct str text = {0};
    const struct record with = {.question = "q", .answer = "a"};
    const struct record empty = {.question = "The cat sat on rug", .answer = ""};
    const struct record unknown = {.question = "q", .line = 3, .gold = 7, .n_choices = 2};
    (void)state;

    must(fewshot_add(&with, &text));
    must(fewshot_add(&empty, &text));
    assert_string_equal(str_text(&text), "q a\n\nThe cat sat on rug");
    must_say(fewshot_add(&unknown, &text),
             "line 3: a few-shot example whose right choice (7) is none of its 2");
    str_release(&text);
}

static void test_prompts_count_characters_not_bytes(void **state)
{
    (void)state;
    assert_int_equal(text_length(""), 0);
    assert_int_equal(text_length("abc"), 3);
    assert_int_equal(text_length("éé"), 2);
    assert_int_equal(text_length("a\xf0\x9f\x98\x80"), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prompts_move_white_space_to_the_continuation),
        cmocka_unit_test(test_prompts_put_bos_where_the_tokenizer_does),
        cmocka_unit_test(test_prompts_put_the_prefix_for_an_empty_context),
        cmocka_unit_test(test_prompts_cut_the_context_on_the_left),
        cmocka_unit_test(test_prompts_refuse_what_has_no_token),
        cmocka_unit_test(test_prompts_roll_windows_over_a_document),
        cmocka_unit_test(test_prompts_put_bos_twice_in_front_of_a_document),
        cmocka_unit_test(test_prompts_draw_the_examples_that_the_harness_draws),
        cmocka_unit_test(test_prompts_drop_drawn_examples_that_equal_the_record),
        cmocka_unit_test(test_prompts_write_examples_in_front_of_the_question),
        cmocka_unit_test(test_prompts_count_characters_not_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
