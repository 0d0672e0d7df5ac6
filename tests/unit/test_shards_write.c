/*
 * test_shards_write.c - checkpoint folders as they are written: files cut, named and indexed.
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
    (void)snprintf(base, sizeof base, "%s/test_shards_write.XXXXXX", tmp ? tmp : "/tmp");
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

static bool is_there(const char *name)
{
    char path[500];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path_exists(path);
}

/* A tensor of size bytes, all of them the first letter of its name. */
static void add(struct shard_writer *w, const char *name, int64_t size)
{
    char bytes[1000];
    assert_true(size <= (int64_t)sizeof bytes);
    memset(bytes, name[0], sizeof bytes);
    assert_int_equal(shard_writer_add(w, name, HCSMOE_DTYPE_U8, 1, &size, bytes), 0);
}

static void test_shards_write_one_file_without_index(void **state)
{
    struct shard_writer w;
    struct shards s;
    char bytes[100];
    (void)state;
    assert_int_equal(shard_writer_create(&w, folder, 0), 0);
    assert_int_equal(w.limit, 5000000000u);
    add(&w, "b", 100);
    assert_true(is_there("shard-00001.tmp"));
    assert_false(is_there("model.safetensors"));
    add(&w, "a", 50);
    assert_int_equal(shard_writer_finish(&w), 0);
    shard_writer_release(&w);
    assert_false(is_there("shard-00001.tmp"));
    assert_false(is_there("model.safetensors.index.json"));
    assert_true(is_there("model.safetensors"));
    assert_int_equal(shards_open(&s, folder), 0);
    assert_int_equal(s.n_tensors, 2);
    assert_string_equal(s.files[0].metadata, "{\"format\":\"pt\"}");
    assert_int_equal(shards_read(&s, shards_find(&s, "b"), bytes), 0);
    assert_int_equal(bytes[0], 'b');
    assert_int_equal(bytes[99], 'b');
    shards_close(&s);
}

static void test_shards_write_cuts_files_and_an_index(void **state)
{
    static const char expected[] = "{\n"
                                   "  \"metadata\": {\n"
                                   "    \"total_size\": 460\n"
                                   "  },\n"
                                   "  \"weight_map\": {\n"
                                   "    \"B\": \"model-00003-of-00003.safetensors\",\n"
                                   "    \"a\\\"\": \"model-00003-of-00003.safetensors\",\n"
                                   "    \"m\": \"model-00001-of-00003.safetensors\",\n"
                                   "    \"n\": \"model-00001-of-00003.safetensors\",\n"
                                   "    \"o\": \"model-00001-of-00003.safetensors\",\n"
                                   "    \"x\": \"model-00002-of-00003.safetensors\"\n"
                                   "  }\n"
                                   "}\n";
    struct shard_writer w;
    struct shards s;
    char path[500];
    char *text;
    size_t size;
    (void)state;
    assert_int_equal(shard_writer_create(&w, folder, 10000), 0);
    w.limit = 100;
    add(&w, "n", 60);
    add(&w, "m", 40);  /* exactly full */
    add(&w, "o", 0);   /* no bytes: needs no new file */
    add(&w, "x", 300); /* larger than the limit: alone */
    add(&w, "B", 59);
    add(&w, "a\"", 1);
    assert_int_equal(shard_writer_finish(&w), 0);
    shard_writer_release(&w);
    (void)snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
    assert_int_equal(path_read(path, 10000, &text, &size), 0);
    assert_string_equal(text, expected);
    mem_free(text);
    assert_false(is_there("shard-00001.tmp"));
    assert_false(is_there("shard-00003.tmp"));
    assert_int_equal(shards_open(&s, folder), 0);
    assert_int_equal(s.n_files, 3);
    assert_int_equal(s.n_tensors, 6);
    assert_int_equal(s.bytes, 460);
    for (size_t i = 0; i < s.n_tensors; i++) {
        const struct st_entry *e = shards_at(&s, i);
        char bytes[300];
        assert_int_equal(shards_read(&s, e, bytes), 0);
        for (size_t j = 0; j < e->size; j++) {
            assert_int_equal(bytes[j], e->name[0]);
        }
    }
    shards_close(&s);
}

static void test_shards_write_takes_pieces(void **state)
{
    const int64_t shape[] = {2, 3};
    struct shard_writer w;
    struct shards s;
    char bytes[6];
    (void)state;
    assert_int_equal(shard_writer_create(&w, folder, 0), 0);
    assert_int_equal(shard_writer_append(&w, "ab", 2), HCSMOE_EFAILED);
    assert_non_null(strstr(fail_message(), ": 2 bytes of no tensor"));
    assert_int_equal(shard_writer_begin(&w, "x", HCSMOE_DTYPE_U8, 2, shape), 0);
    assert_int_equal(shard_writer_append(&w, "ab", 2), 0);
    assert_int_equal(shard_writer_begin(&w, "y", HCSMOE_DTYPE_U8, 2, shape), HCSMOE_EFAILED);
    assert_non_null(strstr(fail_message(), "tensor 'x': 2 of its 6 bytes were written"));
    assert_int_equal(shard_writer_append(&w, "cdef", 4), 0);
    assert_int_equal(shard_writer_finish(&w), 0);
    shard_writer_release(&w);
    assert_int_equal(shards_open(&s, folder), 0);
    assert_int_equal(shards_read(&s, shards_find(&s, "x"), bytes), 0);
    assert_memory_equal(bytes, "abcdef", 6);
    shards_close(&s);
}

static void test_shards_write_begins_a_file_when_a_header_is_full(void **state)
{
    struct shard_writer w;
    struct shards s;
    (void)state;
    assert_int_equal(shard_writer_create(&w, folder, 0), 0);
    for (int i = 0; i < 200; i++) {
        char name[20];
        (void)snprintf(name, sizeof name, "tensor %d", i);
        add(&w, name, 1);
    }
    assert_int_equal(shard_writer_finish(&w), 0);
    assert_true(w.n_files > 1);
    shard_writer_release(&w);
    assert_int_equal(shards_open(&s, folder), 0);
    assert_int_equal(s.n_tensors, 200);
    shards_close(&s);
    assert_int_equal(shard_writer_create(&w, folder, UINT64_MAX), 0);
    assert_int_equal(w.reserve, 16 * 1024 * 1024);
    shard_writer_release(&w);
}

static void test_shards_write_begins_tensors_at_multiples_of_their_element(void **state)
{
    static const int64_t map[2] = {1, 2};
    const int64_t two = 2;
    struct shard_writer w;
    struct shards s;
    (void)state;
    assert_int_equal(shard_writer_create(&w, folder, 0), 0);
    add(&w, "a", 8);
    assert_int_equal(shard_writer_add(&w, "map 0", HCSMOE_DTYPE_I64, 1, &two, map), 0);
    add(&w, "b", 3);
    assert_int_equal(shard_writer_add(&w, "map 1", HCSMOE_DTYPE_I64, 1, &two, map), 0);
    assert_int_equal(shard_writer_finish(&w), 0);
    shard_writer_release(&w);
    assert_int_equal(shards_open(&s, folder), 0);
    assert_int_equal(s.n_files, 2);
    assert_int_equal(s.files[0].n, 3);
    assert_int_equal(shards_find(&s, "map 0")->offset % 8, 0);
    assert_int_equal(shards_find(&s, "map 1")->offset % 8, 0);
    shards_close(&s);
}

static void test_shards_write_takes_no_tensors(void **state)
{
    struct shard_writer w;
    struct shards s;
    (void)state;
    assert_int_equal(shard_writer_create(&w, folder, 0), 0);
    assert_int_equal(shard_writer_finish(&w), 0);
    shard_writer_release(&w);
    assert_int_equal(shards_open(&s, folder), 0);
    assert_int_equal(s.n_tensors, 0);
    assert_null(shards_find(&s, "a"));
    shards_close(&s);
}

static void test_shards_write_refuses_a_name_in_two_files(void **state)
{
    struct shard_writer w;
    (void)state;
    assert_int_equal(shard_writer_create(&w, folder, 0), 0);
    w.limit = 10;
    add(&w, "a", 8);
    add(&w, "b", 8);
    add(&w, "a", 8);
    assert_int_equal(shard_writer_finish(&w), HCSMOE_EFAILED);
    assert_non_null(strstr(fail_message(), ": tensor 'a' was written twice"));
    assert_true(is_there("shard-00003.tmp"));
    shard_writer_release(&w);
    assert_false(is_there("shard-00001.tmp"));
    assert_false(is_there("shard-00003.tmp"));
    assert_false(is_there("model-00001-of-00003.safetensors"));
}

static void test_shards_write_refuses_bad_tensors(void **state)
{
    const int64_t negative = -1;
    const int64_t one = 1;
    struct shard_writer w;
    (void)state;
    assert_int_equal(shard_writer_create(&w, folder, 0), 0);
    add(&w, "a", 8);
    assert_int_equal(shard_writer_begin(&w, "b", HCSMOE_DTYPE_U8, 1, &negative), HCSMOE_EINVAL);
    assert_non_null(strstr(fail_message(), "tensor 'b': its shape is negative or too large"));
    assert_int_equal(shard_writer_begin(&w, "b", 99, 1, &one), HCSMOE_EFAILED);
    assert_non_null(strstr(fail_message(), "tensor 'b': no dtype has the number 99"));
    assert_int_equal(shard_writer_begin(&w, "b", HCSMOE_DTYPE_U8, 9, &one), HCSMOE_EINVAL);
    assert_int_equal(w.n, 1);
    shard_writer_release(&w);
}

static void test_shards_write_removes_what_is_unfinished(void **state)
{
    const int64_t shape = 100;
    struct shard_writer w;
    (void)state;
    assert_int_equal(shard_writer_create(&w, folder, 0), 0);
    w.limit = 10;
    add(&w, "a", 8);
    assert_int_equal(shard_writer_begin(&w, "b", HCSMOE_DTYPE_U8, 1, &shape), 0);
    assert_int_equal(shard_writer_append(&w, "b", 1), 0);
    assert_true(is_there("shard-00001.tmp"));
    assert_true(is_there("shard-00002.tmp"));
    shard_writer_release(&w);
    assert_true(path_folder_is_empty(folder));
    shard_writer_release(&w);
}

static void test_shards_write_wants_an_existing_folder(void **state)
{
    struct shard_writer w;
    char path[500];
    (void)state;
    (void)snprintf(path, sizeof path, "%s/none", folder);
    assert_int_equal(shard_writer_create(&w, path, 0), HCSMOE_EINVAL);
    assert_non_null(strstr(fail_message(), "/none: no such folder"));
    shard_writer_release(&w);
}

static void test_shards_write_says_what_cannot_be_renamed(void **state)
{
    struct shard_writer w;
    char path[500];
    (void)state;
    (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
    assert_int_equal(path_make_folder(path), 0);
    assert_int_equal(shard_writer_create(&w, folder, 0), 0);
    add(&w, "a", 8);
    assert_int_equal(shard_writer_finish(&w), HCSMOE_EIO);
    assert_non_null(strstr(fail_message(),
                           "/model.safetensors: shard-00001.tmp cannot be renamed to "
                           "this: Is a directory"));
    shard_writer_release(&w);
    assert_false(is_there("shard-00001.tmp"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_shards_write_one_file_without_index, folder_next),
        cmocka_unit_test_setup(test_shards_write_cuts_files_and_an_index, folder_next),
        cmocka_unit_test_setup(test_shards_write_takes_pieces, folder_next),
        cmocka_unit_test_setup(test_shards_write_begins_a_file_when_a_header_is_full, folder_next),
        cmocka_unit_test_setup(test_shards_write_begins_tensors_at_multiples_of_their_element,
                               folder_next),
        cmocka_unit_test_setup(test_shards_write_takes_no_tensors, folder_next),
        cmocka_unit_test_setup(test_shards_write_refuses_a_name_in_two_files, folder_next),
        cmocka_unit_test_setup(test_shards_write_refuses_bad_tensors, folder_next),
        cmocka_unit_test_setup(test_shards_write_removes_what_is_unfinished, folder_next),
        cmocka_unit_test_setup(test_shards_write_wants_an_existing_folder, folder_next),
        cmocka_unit_test_setup(test_shards_write_says_what_cannot_be_renamed, folder_next),
    };
    return cmocka_run_group_tests(tests, base_make, base_remove);
}
