/*
 * test_corpus.c - calibration blocks against the original's, and files that give none.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/mem.h"
#include "base/path.h"
#include "base/rng.h"
#include "base/str.h"
#include "data/corpus.h"

/* Last: it has a macro fail() of its own. */
#include <cmocka.h>

#define DOCUMENTS TEST_DATA "/calibration/short-docs.jsonl"

enum { BLOCKS = 100, BLOCK_SIZE = 200, SEED = 42, BATCH = 1000 };

static char folder[256];
static struct tokenizer *tiny;  /* one BOS in front of each document */
static struct tokenizer *chars; /* one token a character: 'a' is 0, and so on; nothing added */

static const char chars_json[] = "{\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"a\":0,"
                                 "\"b\":1,\"c\":2,\"d\":3,\" \":4}}}";

static char *in_folder(const char *name)
{
    char *path = path_join(folder, name);
    assert_non_null(path);
    return path;
}

static void write_file(const char *name, const char *text)
{
    char *path = in_folder(name);
    assert_int_equal(path_write(path, text, strlen(text)), 0);
    mem_free(path);
}

static int group_setup(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    (void)snprintf(folder, sizeof folder, "%s/test_corpus.XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(folder)) {
        return -1;
    }
    write_file("tokenizer.json", chars_json);
    if (tokenizer_open(&chars, folder) < 0 ||
        tokenizer_open(&tiny, TEST_DATA "/tokenizers/tiny-mixtral") < 0) {
        print_error("%s\n", fail_message());
        return -1;
    }
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    tokenizer_close(tiny);
    tokenizer_close(chars);
    return path_remove_tree(folder);
}

static void test_blocks_are_those_of_the_original(void **state)
{
    (void)state;
    struct corpus_blocks b;
    char *want;
    size_t n;

    assert_int_equal(path_read(TEST_DATA "/calibration/tiny-mixtral.short.i32", 1 << 20, &want, &n),
                     0);
    assert_int_equal(n, BLOCKS * BLOCK_SIZE * sizeof(int32_t));
    assert_int_equal(corpus_read(&b, DOCUMENTS, tiny, BLOCKS, BLOCK_SIZE, SEED), 0);
    assert_int_equal(b.n_blocks, BLOCKS);
    assert_int_equal(b.block_size, BLOCK_SIZE);
    assert_int_equal(b.n_documents, 16 * BLOCKS);
    assert_int_equal(b.n_available, 127);
    assert_memory_equal(b.ids, want, n);
    assert_string_equal(b.sha256,
                        "03179d39de3b8051f5a0b80926b1ab530ba339142f93530a88a36f123b2f000a");
    corpus_release(&b);
    assert_null(b.ids);
    mem_free(want);
}

static void test_another_seed_gives_other_blocks(void **state)
{
    (void)state;
    struct corpus_blocks a;
    struct corpus_blocks b;

    assert_int_equal(corpus_read(&a, DOCUMENTS, tiny, 2, 64, SEED), 0);
    assert_int_equal(corpus_read(&b, DOCUMENTS, tiny, 2, 64, SEED + 1), 0);
    assert_int_equal(a.n_documents, 32);
    assert_string_not_equal(a.sha256, b.sha256);
    corpus_release(&a);
    corpus_release(&b);
}

static void test_block_size_stays_below_model_max_length(void **state)
{
    (void)state;
    struct corpus_blocks b;

    assert_int_equal(corpus_read(&b, DOCUMENTS, tiny, 1, 100000, SEED), HCSMOE_EINVAL);
    assert_non_null(strstr(fail_message(), "less than one block of 2048"));
}

/* Reads text of one name with the character tokenizer. */
static int read_text(struct corpus_blocks *b, const char *name, const char *text, int64_t n,
                     int64_t size)
{
    char *path = in_folder(name);

    write_file(name, text);
    int rc = corpus_read(b, path, chars, n, size, SEED);
    mem_free(path);
    return rc;
}

static void expect_refusal(const char *name, const char *text, int64_t n, int64_t size,
                           const char *message)
{
    struct corpus_blocks b;

    assert_int_equal(read_text(&b, name, text, n, size), HCSMOE_EINVAL);
    assert_null(b.ids);
    if (!strstr(fail_message(), message)) {
        print_error("want: %s\ngot: %s\n", message, fail_message());
        assert_true(false);
    }
}

/* Three documents in the order of the shuffle, run together. */
static void expect_order(const struct corpus_blocks *b)
{
    int64_t order[3];

    pcg64_permutation(SEED, 3, order);
    assert_int_equal(b->n_documents, 3);
    assert_int_equal(b->n_blocks, 2);
    assert_int_equal(b->n_available, 3);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(b->ids[i], order[i / 2]);
    }
}

static void test_plain_text_is_a_document_a_line(void **state)
{
    (void)state;
    struct corpus_blocks b;

    assert_int_equal(read_text(&b, "lines.txt", "aa\n\n \t\nbb\r\ncc", 2, 2), 0);
    expect_order(&b);
    corpus_release(&b);
}

static void test_json_lines_give_text_or_the_first_string(void **state)
{
    (void)state;
    struct corpus_blocks b;

    assert_int_equal(
        read_text(&b, "docs.jsonl",
                  "{\"url\":\"d\",\"text\":\"aa\"}\n\n {\"n\":1,\"body\":\"bb\",\"x\":\"dd\"} \n"
                  "{\"text\":\"\\u0063c\"}\n",
                  2, 2),
        0);
    expect_order(&b);
    corpus_release(&b);
}

static void test_gzip_files_are_unpacked(void **state)
{
    (void)state;
    struct corpus_blocks b;
    char *path = in_folder("docs.json.gz");
    static const char text[] = "{\"text\":\"aa\"}\n{\"text\":\"bb\"}\n{\"text\":\"cc\"}\n";

    gzFile f = gzopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(gzwrite(f, text, sizeof text - 1), sizeof text - 1);
    assert_int_equal(gzclose(f), Z_OK);
    assert_int_equal(corpus_read(&b, path, chars, 2, 2, SEED), 0);
    expect_order(&b);
    corpus_release(&b);
    mem_free(path);
}

static void test_the_rest_of_a_batch_is_dropped(void **state)
{
    (void)state;
    struct corpus_blocks b;
    struct str text = {0};

    /* 1,008 documents of 3 tokens: 1,000 give 750 blocks of 4, then 8 give 6; without the cut
     * 756. */
    for (int i = 0; i < BATCH + 8; i++) {
        str_add(&text, "abc\n");
    }
    assert_int_equal(read_text(&b, "batch.txt", text.text, 63, 4), 0);
    assert_int_equal(b.n_documents, BATCH + 8);
    assert_int_equal(b.n_available, 756);
    corpus_release(&b);
    /* Blocks of 7: 428 and 4 tokens over, then 3 and 3 over; run together they would be 432. */
    assert_int_equal(read_text(&b, "batch.txt", text.text, 63, 7), 0);
    assert_int_equal(b.n_available, 428 + 3);
    corpus_release(&b);
    /* Blocks of 30: 100, then 24 tokens that are one short block. */
    assert_int_equal(read_text(&b, "batch.txt", text.text, 63, 30), 0);
    assert_int_equal(b.n_available, 100 + 1);
    corpus_release(&b);
    str_release(&text);
}

static void test_one_more_block_than_asked_has_to_be_there(void **state)
{
    (void)state;
    struct corpus_blocks b;

    expect_refusal(
        "few.txt", "ab\ncd\n", 2, 2,
        "few.txt: 2 documents give 2 blocks of 2 tokens, but 2 need 3; use fewer or smaller");
    assert_int_equal(read_text(&b, "few.txt", "ab\ncd\n", 1, 2), 0);
    assert_int_equal(b.n_available, 2);
    corpus_release(&b);
}

static void test_files_without_documents_are_refused(void **state)
{
    (void)state;
    struct corpus_blocks b;

    expect_refusal("empty.txt", "\n \n", 1, 2, "empty.txt: no documents in it");
    expect_refusal(
        "array.json", "[{\"text\":\"a\"}]\n", 1, 2,
        "array.json:1: not a JSON object on one line (an array has to be split into lines)");
    expect_refusal("cut.jsonl", "{\"text\":\"aa\"}\n{\"text\":\"b", 1, 2,
                   "cut.jsonl:2: not a JSON object on one line");
    expect_refusal("bad.jsonl", "\n{\"text\" \"aa\"}\n", 1, 2, "bad.jsonl:2:");
    expect_refusal("none.jsonl", "{\"n\":1}\n", 1, 2, "none.jsonl:1: no member that is a string");
    expect_refusal("null.jsonl", "{\"s\":\"a\",\"text\":null}\n", 1, 2,
                   "null.jsonl:1: 'text' is not a string");
    assert_int_equal(corpus_read(&b, "/nowhere/docs.txt", chars, 1, 2, SEED), HCSMOE_EIO);
    assert_non_null(strstr(fail_message(), "/nowhere/docs.txt"));
}

static void expect_counts(const double *shares, size_t n, int64_t n_blocks, const int64_t *want)
{
    struct corpus_source s[4];
    int64_t counts[4];

    for (size_t i = 0; i < n; i++) {
        s[i] = (struct corpus_source){.share = shares[i]};
    }
    corpus_counts(s, n, n_blocks, counts);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(counts[i], want[i]);
    }
}

static void test_shares_are_rounded_by_largest_remainder(void **state)
{
    (void)state;
    expect_counts((double[]){1}, 1, 5, (int64_t[]){5});
    expect_counts((double[]){7, 1}, 2, 32, (int64_t[]){28, 4});
    expect_counts((double[]){0.7, 0.1}, 2, 32, (int64_t[]){28, 4});
    /* 8.75 and 1.25: the rest goes to the larger remainder. */
    expect_counts((double[]){7, 1}, 2, 10, (int64_t[]){9, 1});
    /* 3.33 each: ties go to the file named first. */
    expect_counts((double[]){1, 1, 1}, 3, 10, (int64_t[]){4, 3, 3});
    expect_counts((double[]){1, 1, 1}, 3, 11, (int64_t[]){4, 4, 3});
    /* 0.97, 0.02, 0.01 of 1 block, and of none. */
    expect_counts((double[]){97, 2, 1}, 3, 1, (int64_t[]){1, 0, 0});
    expect_counts((double[]){97, 2, 1}, 3, 0, (int64_t[]){0, 0, 0});
}

/* Files of one letter each, so that a block tells where it came from. */
static void expect_turns(const double *shares, size_t n, int64_t n_blocks, const char *want)
{
    static const char *const names[] = {"a.txt", "b.txt", "c.txt"};
    static const char *const texts[] = {"aaaaaaaaaaaaaaaaaaaa\n", "bbbbbbbbbbbbbbbbbbbb\n",
                                        "cccccccccccccccccccc\n"};
    struct corpus_source s[3];
    struct corpus_blocks b;

    for (size_t i = 0; i < n; i++) {
        write_file(names[i], texts[i]);
        s[i] = (struct corpus_source){.path = in_folder(names[i]), .share = shares[i]};
    }
    assert_int_equal(corpus_mix(&b, s, n, chars, n_blocks, 2, SEED), 0);
    assert_int_equal(b.n_blocks, n_blocks);
    assert_int_equal(b.n_documents, n);
    assert_int_equal(b.n_available, 10 * n);
    for (int64_t i = 0; i < n_blocks; i++) {
        assert_int_equal(b.ids[2 * i], want[i] - 'a');
        assert_int_equal(b.ids[2 * i + 1], want[i] - 'a');
    }
    corpus_release(&b);
    for (size_t i = 0; i < n; i++) {
        mem_free((char *)(uintptr_t)s[i].path);
    }
}

static void test_files_take_turns_by_share(void **state)
{
    (void)state;
    expect_turns((double[]){1, 1}, 2, 6, "ababab");
    expect_turns((double[]){1, 1}, 2, 5, "ababa");
    expect_turns((double[]){7, 1}, 2, 8, "aaaabaaa");
    expect_turns((double[]){1, 2}, 2, 6, "babbab");
    expect_turns((double[]){5, 1, 1}, 3, 7, "aabacaa"); /* the order that nginx documents */
    expect_turns((double[]){1}, 1, 3, "aaa");
}

static void test_each_file_gives_the_blocks_it_gives_alone(void **state)
{
    (void)state;
    enum { SIZE = 64, OTHER = 300 };
    struct corpus_blocks alone[2], mixed;
    struct str text = {0};
    size_t at[2] = {0};
    char *other = in_folder("other.txt");

    for (int i = 0; i < OTHER; i++) {
        str_addf(&text, "line %d of another text\n", i);
    }
    write_file("other.txt", text.text);
    const struct corpus_source s[] = {{.path = DOCUMENTS, .share = 3}, {.path = other, .share = 1}};
    assert_int_equal(corpus_read(&alone[0], DOCUMENTS, tiny, 6, SIZE, SEED), 0);
    assert_int_equal(corpus_read(&alone[1], other, tiny, 2, SIZE, SEED), 0);
    assert_int_equal(corpus_mix(&mixed, s, 2, tiny, 8, SIZE, SEED), 0);
    assert_int_equal(mixed.block_size, SIZE);
    assert_int_equal(mixed.n_documents, alone[0].n_documents + alone[1].n_documents);
    assert_int_equal(mixed.n_available, alone[0].n_available + alone[1].n_available);
    for (size_t i = 0; i < 8; i++) {
        const size_t from = i % 4 == 2; /* aaba, twice */
        assert_memory_equal(mixed.ids + i * SIZE, alone[from].ids + at[from]++ * SIZE,
                            SIZE * sizeof *mixed.ids);
    }
    assert_string_not_equal(mixed.sha256, alone[0].sha256);
    corpus_release(&mixed);
    /* A single file: the same in every respect. */
    assert_int_equal(corpus_mix(&mixed, s, 1, tiny, 6, SIZE, SEED), 0);
    assert_string_equal(mixed.sha256, alone[0].sha256);
    assert_int_equal(mixed.n_available, alone[0].n_available);
    corpus_release(&mixed);
    corpus_release(&alone[0]);
    corpus_release(&alone[1]);
    str_release(&text);
    mem_free(other);
}

static void test_a_short_file_among_several_is_named(void **state)
{
    (void)state;
    char *a = in_folder("long.txt"), *b = in_folder("short.txt");
    const struct corpus_source s[] = {{.path = a, .share = 1}, {.path = b, .share = 1}},
                               gone[] = {{.path = a, .share = 1},
                                         {.path = "/nowhere/b.txt", .share = 1}};
    struct corpus_blocks blocks;

    write_file("long.txt", "aaaaaaaaaaaaaaaaaaaa\n");
    write_file("short.txt", "abcd\n");
    assert_int_equal(corpus_mix(&blocks, s, 2, chars, 4, 2, SEED), HCSMOE_EINVAL);
    assert_non_null(strstr(fail_message(), "short.txt: 1 documents give 2 blocks of 2 tokens, but "
                                           "2 need 3"));
    assert_null(blocks.ids);
    assert_int_equal(corpus_mix(&blocks, gone, 2, chars, 4, 2, SEED), HCSMOE_EIO);
    assert_non_null(strstr(fail_message(), "/nowhere/b.txt"));
    mem_free(a);
    mem_free(b);
}

static void test_counts_below_one_are_refused(void **state)
{
    (void)state;
    expect_refusal("a.txt", "aa\n", 0, 2, "0 blocks of 2 tokens: both have to be from 1 on");
    expect_refusal("a.txt", "aa\n", 1, 0, "1 blocks of 0 tokens");
    expect_refusal("a.txt", "aa\n", INT64_MAX, INT64_MAX, "both have to be from 1 on");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_are_those_of_the_original),
        cmocka_unit_test(test_another_seed_gives_other_blocks),
        cmocka_unit_test(test_block_size_stays_below_model_max_length),
        cmocka_unit_test(test_plain_text_is_a_document_a_line),
        cmocka_unit_test(test_json_lines_give_text_or_the_first_string),
        cmocka_unit_test(test_gzip_files_are_unpacked),
        cmocka_unit_test(test_the_rest_of_a_batch_is_dropped),
        cmocka_unit_test(test_one_more_block_than_asked_has_to_be_there),
        cmocka_unit_test(test_files_without_documents_are_refused),
        cmocka_unit_test(test_shares_are_rounded_by_largest_remainder),
        cmocka_unit_test(test_files_take_turns_by_share),
        cmocka_unit_test(test_each_file_gives_the_blocks_it_gives_alone),
        cmocka_unit_test(test_a_short_file_among_several_is_named),
        cmocka_unit_test(test_counts_below_one_are_refused),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
