/*
 * test_shards.c - checkpoint folders with one file and with many, and indexes that lie.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/path.h"
#include "data/shards.h"

/* Last: it has a macro fail() of its own. */
#include <cmocka.h>

static char base[256];
static char folder[300]; /* a new one within base for each test */
static int n_folders;

static int base_make(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    (void)snprintf(base, sizeof base, "%s/test_shards.XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(base) ? 0 : -1;
}

static int base_remove(void **state)
{
    (void)state;
    return path_remove_tree(base);
}

static int folder_next(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "%s/%d", base, n_folders++);
    return path_make_folder(folder);
}

static void path_of(char path[500], const char *name)
{
    (void)snprintf(path, 500, "%s/%s", folder, name);
}

/* A file of U8 tensors of two bytes: one for each letter of names, with the letter and its place as
 * bytes. */
static void write_file(const char *name, const char *names)
{
    const int64_t shape[] = {2};
    char path[500];
    struct st_writer w;
    path_of(path, name);
    assert_int_equal(st_create(&w, path, 1000), 0);
    for (const char *c = names; *c; c++) {
        const char tensor[] = {*c, '\0'};
        const char bytes[] = {*c, (char)('0' + (c - names))};
        assert_int_equal(st_add(&w, tensor, HCSMOE_DTYPE_U8, 1, shape, bytes), 0);
    }
    assert_int_equal(st_finish(&w, NULL), 0);
}

static void write_index(const char *text)
{
    char path[500];
    path_of(path, "model.safetensors.index.json");
    assert_int_equal(path_write(path, text, strlen(text)), 0);
}

/* Opening fails with HCSMOE_EINVAL and exactly "folder/name: text". */
static void refused(const char *name, const char *text)
{
    char path[500];
    char expected[1000];
    struct shards s;
    path_of(path, name);
    (void)snprintf(expected, sizeof expected, "%s: %s", path, text);
    assert_int_equal(shards_open(&s, folder), HCSMOE_EINVAL);
    assert_string_equal(fail_message(), expected);
    assert_null(s.folder);
    shards_close(&s);
}

static void index_refused(const char *index, const char *text)
{
    write_index(index);
    refused("model.safetensors.index.json", text);
}

static void test_shards_reads_a_single_file(void **state)
{
    struct shards s;
    const struct st_entry *e;
    char bytes[2];
    (void)state;
    write_file("model.safetensors", "abc");
    write_index("no JSON, and never looked at");
    assert_int_equal(shards_open(&s, folder), 0);
    assert_int_equal(s.n_files, 1);
    assert_int_equal(s.n_tensors, 3);
    assert_int_equal(s.bytes, 6);
    assert_null(shards_find(&s, "d"));
    assert_null(shards_find(&s, ""));
    e = shards_find(&s, "b");
    assert_non_null(e);
    assert_ptr_equal(e, shards_at(&s, 1));
    assert_ptr_equal(shards_file(&s, e), &s.files[0]);
    assert_int_equal(shards_read(&s, e, bytes), 0);
    assert_memory_equal(bytes, "b1", 2);
    shards_close(&s);
    shards_close(&s); /* twice is fine */
}

static void test_shards_reads_what_the_index_lists(void **state)
{
    static const char *const order = "deab";
    struct shards s;
    char bytes[2];
    (void)state;
    write_file("z.safetensors", "ab");
    write_file("y.safetensors", "dxe"); /* x is not listed */
    write_index("{\"metadata\":{\"total_size\":8},\"weight_map\":{\"a\":\"z.safetensors\","
                "\"d\":\"y.safetensors\",\"b\":\"z.safetensors\",\"e\":\"y.safetensors\"}}");
    assert_int_equal(shards_open(&s, folder), 0);
    assert_int_equal(s.n_files, 2);
    assert_int_equal(s.n_tensors, 4);
    assert_int_equal(s.bytes, 8);
    assert_null(shards_find(&s, "x"));
    for (size_t i = 0; i < 4; i++) {
        const struct st_entry *e = shards_at(&s, i);
        assert_int_equal(e->name[0], order[i]);
        assert_ptr_equal(shards_find(&s, e->name), e);
        assert_ptr_equal(shards_file(&s, e), &s.files[i / 2]);
        assert_int_equal(shards_read(&s, e, bytes), 0);
        assert_int_equal(bytes[0], order[i]);
    }
    shards_close(&s);
}

static void test_shards_reads_parts(void **state)
{
    struct shards s;
    const struct st_entry *e;
    char bytes[2] = {0};
    (void)state;
    write_file("model.safetensors", "ab");
    assert_int_equal(shards_open(&s, folder), 0);
    e = shards_find(&s, "a");
    assert_int_equal(shards_read_part(&s, e, 1, bytes, 1), 0);
    assert_memory_equal(bytes, "0\0", 2);
    assert_int_equal(shards_read_part(&s, e, 2, bytes, 0), 0);
    assert_int_equal(shards_read_part(&s, e, 1, bytes, 2), HCSMOE_EINVAL);
    assert_non_null(
        strstr(fail_message(),
               "model.safetensors: tensor 'a': 2 bytes at its byte 1 asked for, it has 2"));
    assert_int_equal(shards_read_part(&s, e, UINT64_MAX, bytes, 2), HCSMOE_EINVAL);
    shards_close(&s);
}

static void test_shards_finds_each_of_many(void **state)
{
    enum { N = 3000 };
    struct st_writer w;
    struct shards s;
    char path[500];
    char name[40];
    (void)state;
    path_of(path, "model.safetensors");
    assert_int_equal(st_create(&w, path, 100 * N), 0);
    for (int i = 0; i < N; i++) {
        (void)snprintf(name, sizeof name, "model.layers.%d.weight", i);
        assert_int_equal(st_add(&w, name, HCSMOE_DTYPE_I32, 0, NULL, &i), 0);
    }
    assert_int_equal(st_finish(&w, NULL), 0);
    assert_int_equal(shards_open(&s, folder), 0);
    for (int i = 0; i < N; i++) {
        int got = -1;
        (void)snprintf(name, sizeof name, "model.layers.%d.weight", i);
        assert_non_null(shards_find(&s, name));
        assert_int_equal(shards_read(&s, shards_find(&s, name), &got), 0);
        assert_int_equal(got, i);
    }
    shards_close(&s);
}

static void test_shards_reports_a_folder_without_checkpoint(void **state)
{
    char expected[600];
    struct shards s;
    (void)state;
    (void)snprintf(expected, sizeof expected,
                   "%s: no checkpoint in it: neither model.safetensors nor "
                   "model.safetensors.index.json is there",
                   folder);
    assert_int_equal(shards_open(&s, folder), HCSMOE_EINVAL);
    assert_string_equal(fail_message(), expected);
    (void)snprintf(folder, sizeof folder, "%s/none", base);
    (void)snprintf(expected, sizeof expected, "%s: no such folder", folder);
    assert_int_equal(shards_open(&s, folder), HCSMOE_EINVAL);
    assert_string_equal(fail_message(), expected);
}

static void test_shards_reports_a_broken_file(void **state)
{
    char path[500];
    (void)state;
    path_of(path, "model.safetensors");
    assert_int_equal(path_write(path, "{}", 2), 0);
    refused("model.safetensors",
            "2 bytes are too few for a safetensors file, which starts with 8 bytes "
            "of header length");
}

static void test_shards_reports_a_bad_index(void **state)
{
    (void)state;
    index_refused("", "not JSON at byte 0: '[' or '{' expected near end of file");
    index_refused("{\"weight_map\": nope}", "not JSON at byte 19: invalid token near 'nope'");
    index_refused("[]", "not a JSON object");
    index_refused("{}", "no weight_map, an object from tensor to shard, in it");
    index_refused("{\"weight_map\":[]}", "no weight_map, an object from tensor to shard, in it");
    index_refused("{\"weight_map\":{}}", "weight_map is empty");
    index_refused("{\"weight_map\":{\"a\":1}}",
                  "weight_map: the shard of tensor 'a' is not a string");
    index_refused("{\"weight_map\":{\"a\":\"x\",\"a\":\"x\"}}",
                  "'a' occurs twice, the second time at byte 26");
}

static void test_shards_refuses_an_index_that_is_too_large(void **state)
{
    char path[500];
    struct shards s;
    (void)state;
    write_index("{}");
    path_of(path, "model.safetensors.index.json");
    assert_int_equal(truncate(path, 100000001), 0); /* a hole: takes no room on disk */
    assert_true(shards_open(&s, folder) < 0);
    assert_non_null(strstr(fail_message(), "model.safetensors.index.json: "));
}

static void test_shards_refuses_names_outside_the_folder(void **state)
{
    (void)state;
    index_refused(
        "{\"weight_map\":{\"a\":\"../x.safetensors\"}}",
        "shard '../x.safetensors' of tensor 'a' is not a plain file name: '/' and '..' are "
        "not allowed");
    index_refused(
        "{\"weight_map\":{\"a\":\"/etc/passwd\"}}",
        "shard '/etc/passwd' of tensor 'a' is not a plain file name: '/' and '..' are not "
        "allowed");
    index_refused(
        "{\"weight_map\":{\"a\":\"..\"}}",
        "shard '..' of tensor 'a' is not a plain file name: '/' and '..' are not allowed");
    index_refused("{\"weight_map\":{\"a\":\"m\\u0000/../x\"}}",
                  "not JSON at byte 33: \\u0000 is not allowed without JSON_ALLOW_NUL near "
                  "'\"m\\u0000/../x\"'");
    index_refused("{\"weight_map\":{\"a\\u0000\":\"m\"}}",
                  "not JSON at byte 24: NUL byte in object key not supported near '\"a\\u0000\"'");
    index_refused("{\"weight_map\":{\"a\":\"\"}}",
                  "shard '' of tensor 'a' is not a plain file name: '/' and '..' are not allowed");
}

static void test_shards_names_a_missing_shard(void **state)
{
    (void)state;
    write_file("m-1", "a");
    write_file("m-3", "c");
    index_refused("{\"weight_map\":{\"c\":\"m-3\",\"a\":\"m-1\",\"b\":\"m-2\"}}",
                  "shard 'm-2' (2 of 3) is missing");
}

static void test_shards_names_a_tensor_that_its_shard_lacks(void **state)
{
    (void)state;
    write_file("m-1", "ab");
    write_file("m-2", "c");
    index_refused("{\"weight_map\":{\"a\":\"m-1\",\"b\":\"m-1\",\"c\":\"m-2\",\"d\":\"m-2\"}}",
                  "tensor 'd' is placed in 'm-2', which lacks it");
    index_refused("{\"weight_map\":{\"a\":\"m-1\",\"b\":\"m-2\",\"c\":\"m-2\"}}",
                  "tensor 'b' is placed in 'm-2', which lacks it; 'm-1' has it");
}

static void test_shards_names_a_tensor_in_two_shards(void **state)
{
    (void)state;
    write_file("m-1", "ab");
    write_file("m-2", "cb");
    index_refused("{\"weight_map\":{\"a\":\"m-1\",\"b\":\"m-1\",\"c\":\"m-2\"}}",
                  "tensor 'b' is in two shards: 'm-1' and 'm-2'");
}

static void test_shards_reports_the_file_that_became_shorter(void **state)
{
    char path[500];
    char bytes[2];
    struct shards s;
    (void)state;
    write_file("model.safetensors", "ab");
    assert_int_equal(shards_open(&s, folder), 0);
    path_of(path, "model.safetensors");
    assert_int_equal(truncate(path, (off_t)s.files[0].file_size - 1), 0);
    assert_int_equal(shards_read(&s, shards_find(&s, "a"), bytes), 0);
    assert_int_equal(shards_read(&s, shards_find(&s, "b"), bytes), HCSMOE_EIO);
    assert_non_null(strstr(fail_message(), "model.safetensors: became shorter while in use: "));
    shards_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_shards_reads_a_single_file, folder_next),
        cmocka_unit_test_setup(test_shards_reads_what_the_index_lists, folder_next),
        cmocka_unit_test_setup(test_shards_reads_parts, folder_next),
        cmocka_unit_test_setup(test_shards_finds_each_of_many, folder_next),
        cmocka_unit_test_setup(test_shards_reports_a_folder_without_checkpoint, folder_next),
        cmocka_unit_test_setup(test_shards_reports_a_broken_file, folder_next),
        cmocka_unit_test_setup(test_shards_reports_a_bad_index, folder_next),
        cmocka_unit_test_setup(test_shards_refuses_an_index_that_is_too_large, folder_next),
        cmocka_unit_test_setup(test_shards_refuses_names_outside_the_folder, folder_next),
        cmocka_unit_test_setup(test_shards_names_a_missing_shard, folder_next),
        cmocka_unit_test_setup(test_shards_names_a_tensor_that_its_shard_lacks, folder_next),
        cmocka_unit_test_setup(test_shards_names_a_tensor_in_two_shards, folder_next),
        cmocka_unit_test_setup(test_shards_reports_the_file_that_became_shorter, folder_next),
    };
    return cmocka_run_group_tests(tests, base_make, base_remove);
}
