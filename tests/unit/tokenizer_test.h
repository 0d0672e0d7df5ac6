/*
 * tokenizer_test.h - writes small tokenizer.json files: what the tests of the tokenizer share.
 * SPDX-License-Identifier: MIT
 *
 * To be included last: it ends with cmocka.h, which has a macro fail() of its own.
 */
#ifndef TESTS_UNIT_TOKENIZER_TEST_H
#define TESTS_UNIT_TOKENIZER_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "data/tokenizer.h"

#include <cmocka.h>

static char folder[256];

static int folder_make(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    log_level_set(LOG_ERROR);
    (void)snprintf(folder, sizeof folder, "%s/test_tokenizer.XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static int folder_remove(void **state)
{
    (void)state;
    return path_remove_tree(folder);
}

static void write_file(const char *name, const char *text, size_t n)
{
    char *path = path_join(folder, name);
    assert_non_null(path);
    assert_int_equal(path_write(path, text, n), 0);
    mem_free(path);
}

static void forget(const char *name)
{
    char *path = path_join(folder, name);
    (void)remove(path);
    mem_free(path);
}

/* The parts of a small tokenizer.json; NULL is null. */
struct file {
    const char *added, *normalizer, *pre, *post, *decoder, *model;
};

/* A model that shows where the text was cut: every word of the vocabulary is one token. */
#define WORDS(list)                                                                                \
    "{\"type\":\"BPE\",\"ignore_merges\":true,\"unk_token\":\"?\",\"fuse_unk\":true,"              \
    "\"vocab\":{\"?\":0," list "},\"merges\":[]}"
#define MERGING                                                                                    \
    "{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"bc\":4,\"abc\":5,\"aa\":6},"  \
    "\"merges\":[\"b c\",\"a b\",\"a a\",[\"a\",\"bc\"]]}"

static void write_tokenizer(const struct file *f)
{
    struct str s = {0};

    forget("tokenizer_config.json");
    forget("special_tokens_map.json");
    str_addf(&s, "{\"added_tokens\": %s,\n\"normalizer\": %s,\n\"pre_tokenizer\": %s,\n",
             f->added ? f->added : "null", f->normalizer ? f->normalizer : "null",
             f->pre ? f->pre : "null");
    str_addf(&s, "\"post_processor\": %s,\n\"decoder\": %s,\n\"model\": %s}\n",
             f->post ? f->post : "null", f->decoder ? f->decoder : "null",
             f->model ? f->model : MERGING);
    assert_int_equal(str_check(&s), 0);
    write_file("tokenizer.json", s.text, s.len);
    str_release(&s);
}

#define SPLIT(regex)                                                                               \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex "\"},\"behavior\":\"Isolated\"}"

#endif
