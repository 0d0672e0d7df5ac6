/*
 * test_safetensors_write.c - what the writer puts on disk, read back, and its refusals.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/path.h"
#include "data/safetensors.h"

/* Last: it has a macro fail() of its own. */
#include <cmocka.h>

static char folder[256];
static char file[300];

static int folder_make(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    (void)snprintf(folder, sizeof folder, "%s/test_st_write.XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(folder)) {
        return -1;
    }
    (void)snprintf(file, sizeof file, "%s/a.safetensors", folder);
    return 0;
}

static int folder_remove(void **state)
{
    (void)state;
    return path_remove_tree(folder);
}

/* The last message is exactly "file: text". */
static void message_is(const char *text)
{
    char expected[1000];
    (void)snprintf(expected, sizeof expected, "%s: %s", file, text);
    assert_string_equal(fail_message(), expected);
}

static const int64_t shape_2_3[] = {2, 3};

static void test_safetensors_write_gives_these_bytes(void **state)
{
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"},"
        "\"b\":{\"dtype\":\"U8\",\"shape\":[2,3],\"data_offsets\":[0,6]},"
        "\"a\\\"\\n\xc3\xa9\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[6,8]}}";
    struct st_writer w;
    char *text;
    size_t size;
    uint64_t reserve;
    (void)state;
    assert_int_equal(
        st_create(&w, file, st_header_bytes("b", 2) + st_header_bytes("a\"\n\xc3\xa9", 0)), 0);
    reserve = w.reserve;
    assert_int_equal(reserve % 64, 0);
    assert_int_equal(st_begin(&w, "b", HCSMOE_DTYPE_U8, 2, shape_2_3), 0);
    assert_int_equal(st_append(&w, "abcd", 4), 0);
    assert_int_equal(st_append(&w, "ef", 2), 0);
    assert_int_equal(st_add(&w, "a\"\n\xc3\xa9", HCSMOE_DTYPE_BF16, 0, NULL, "gh"), 0);
    assert_int_equal(st_finish(&w, NULL), 0);
    st_abandon(&w); /* does nothing after st_finish */
    assert_int_equal(path_read(file, 10000, &text, &size), 0);
    assert_int_equal(size, reserve + 8);
    assert_int_equal((unsigned char)text[0] | (unsigned char)text[1] << 8, reserve - 8);
    assert_memory_equal(text + 2, "\0\0\0\0\0\0", 6);
    assert_memory_equal(text + 8, header, sizeof header - 1);
    for (size_t i = 8 + sizeof header - 1; i < reserve; i++) {
        assert_int_equal(text[i], ' ');
    }
    assert_memory_equal(text + reserve, "abcdefgh", 8);
    mem_free(text);
}

static void test_safetensors_write_is_read_back(void **state)
{
    static const float values[6] = {1, 2, 3, 4, 5, 6};
    static const int64_t empty[] = {0, 7};
    struct st_writer w;
    struct st_file f;
    float got[6];
    (void)state;
    assert_int_equal(st_create(&w, file, 1000), 0);
    assert_int_equal(st_add(&w, "first", HCSMOE_DTYPE_F32, 2, shape_2_3, values), 0);
    assert_int_equal(st_add(&w, "empty", HCSMOE_DTYPE_F32, 2, empty, NULL), 0);
    assert_int_equal(st_add(&w, "", HCSMOE_DTYPE_F16, 2, shape_2_3, values), 0);
    assert_int_equal(st_finish(&w, "{\"made by\":\"test\"}"), 0);
    assert_int_equal(st_open(&f, file), 0);
    assert_string_equal(f.metadata, "{\"made by\":\"test\",\"format\":\"pt\"}");
    assert_int_equal(f.n, 3);
    assert_string_equal(f.entries[1].name, "empty");
    assert_int_equal(f.entries[1].size, 0);
    assert_string_equal(f.entries[2].name, "");
    assert_int_equal(f.entries[2].size, 12);
    assert_int_equal(f.entries[0].offset % 64, 0);
    assert_int_equal(st_read(&f, f.entries[0].offset, got, sizeof got), 0);
    assert_memory_equal(got, values, sizeof got);
    st_close(&f);
}

static void test_safetensors_write_takes_no_tensors(void **state)
{
    struct st_writer w;
    struct st_file f;
    (void)state;
    assert_int_equal(st_create(&w, file, 0), 0);
    assert_int_equal(st_finish(&w, NULL), 0);
    assert_int_equal(st_open(&f, file), 0);
    assert_int_equal(f.n, 0);
    assert_string_equal(f.metadata, "{\"format\":\"pt\"}");
    st_close(&f);
}

static void test_safetensors_header_bytes_are_enough(void **state)
{
    static const char name[] = "\1\2\3\4 long \"name\" \\ with everything \t\xf0\x9f\x98\x80";
    const int64_t shape[SAFETENSORS_DIMS_MAX] = {0, INT64_MAX, 1, 1, 1, 1, 1, 1};
    struct st_writer w;
    (void)state;
    assert_int_equal(st_create(&w, file, 100 * st_header_bytes(name, 8)), 0);
    for (int i = 0; i < 100; i++) {
        char numbered[100];
        (void)snprintf(numbered, sizeof numbered, "%02d%s", i, name + 2);
        assert_int_equal(st_add(&w, numbered, HCSMOE_DTYPE_F8_E4M3, 8, shape, NULL), 0);
    }
    assert_int_equal(st_finish(&w, NULL), 0);
}

static void test_safetensors_write_refuses_incomplete_tensors(void **state)
{
    struct st_writer w;
    (void)state;
    assert_int_equal(st_create(&w, file, 1000), 0);
    assert_int_equal(st_append(&w, "a", 1), HCSMOE_EFAILED);
    message_is("tensor '(none)': 1 bytes more, 0 are left");
    assert_int_equal(st_begin(&w, "x", HCSMOE_DTYPE_U8, 2, shape_2_3), 0);
    assert_int_equal(st_append(&w, "abcd", 4), 0);
    assert_int_equal(st_begin(&w, "y", HCSMOE_DTYPE_U8, 2, shape_2_3), HCSMOE_EFAILED);
    message_is("tensor 'x': 4 of its 6 bytes were written");
    assert_int_equal(st_finish(&w, NULL), HCSMOE_EFAILED);
    message_is("tensor 'x': 4 of its 6 bytes were written");
    assert_int_equal(st_append(&w, "efg", 3), HCSMOE_EFAILED);
    message_is("tensor 'x': 3 bytes more, 2 are left");
    st_abandon(&w);
    assert_false(path_exists(file));
    st_abandon(&w);
}

static void test_safetensors_write_refuses_bad_tensors(void **state)
{
    static const int64_t negative[] = {-1};
    static const int64_t huge[] = {INT64_MAX, 2};
    char name[SAFETENSORS_NAME_MAX + 2];
    struct st_writer w;
    (void)state;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(st_create(&w, file, 1000), 0);
    assert_int_equal(st_begin(&w, name, HCSMOE_DTYPE_U8, 2, shape_2_3), HCSMOE_EINVAL);
    message_is("a tensor name of 513 bytes: at most 512");
    assert_int_equal(st_begin(&w, "x\xff", HCSMOE_DTYPE_U8, 2, shape_2_3), HCSMOE_EINVAL);
    message_is("tensor name 'x\xff' is not UTF-8");
    assert_int_equal(st_begin(&w, "__metadata__", HCSMOE_DTYPE_U8, 2, shape_2_3), HCSMOE_EINVAL);
    message_is("a tensor must not be named '__metadata__'");
    assert_int_equal(st_begin(&w, "x", 77, 2, shape_2_3), HCSMOE_EFAILED);
    message_is("tensor 'x': no dtype has the number 77");
    assert_int_equal(st_begin(&w, "x", HCSMOE_DTYPE_U8, 9, shape_2_3), HCSMOE_EINVAL);
    message_is("tensor 'x': 9 dimensions, at most 8 are taken");
    assert_int_equal(st_begin(&w, "x", HCSMOE_DTYPE_U8, 1, negative), HCSMOE_EINVAL);
    message_is("tensor 'x': its shape is negative or too large");
    assert_int_equal(st_begin(&w, "x", HCSMOE_DTYPE_U8, 2, huge), HCSMOE_EINVAL);
    message_is("tensor 'x': its shape is negative or too large");
    assert_int_equal(st_begin(&w, "x", HCSMOE_DTYPE_U8, 1, huge), HCSMOE_EINVAL);
    message_is("tensor 'x': its shape is negative or too large");
    assert_int_equal(w.n, 0);
    st_abandon(&w);
}

static void test_safetensors_write_refuses_a_name_twice(void **state)
{
    struct st_writer w;
    (void)state;
    assert_int_equal(st_create(&w, file, 1000), 0);
    assert_int_equal(st_add(&w, "x", HCSMOE_DTYPE_U8, 0, NULL, "a"), 0);
    assert_int_equal(st_add(&w, "y", HCSMOE_DTYPE_U8, 0, NULL, "a"), 0);
    assert_int_equal(st_add(&w, "x", HCSMOE_DTYPE_U8, 0, NULL, "a"), 0);
    assert_int_equal(st_finish(&w, NULL), HCSMOE_EFAILED);
    message_is("tensor 'x' was written twice");
    st_abandon(&w);
}

static void test_safetensors_write_refuses_a_header_beyond_its_reserve(void **state)
{
    struct st_writer w;
    (void)state;
    assert_int_equal(st_create(&w, file, 100000000), HCSMOE_EINVAL);
    message_is("a header of 100000000 bytes is beyond the format's limit of 100000000");
    assert_int_equal(st_create(&w, file, UINT64_MAX), HCSMOE_EINVAL);
    assert_int_equal(st_create(&w, file, 0), 0);
    assert_int_equal(w.reserve, 64);
    assert_int_equal(st_add(&w, "x", HCSMOE_DTYPE_U8, 0, NULL, "a"), 0);
    assert_int_equal(st_finish(&w, NULL), HCSMOE_EFAILED);
    message_is("the header takes 91 bytes, 64 were kept for it");
    st_abandon(&w);
}

static void test_safetensors_write_refuses_bad_metadata(void **state)
{
    struct st_writer w;
    (void)state;
    assert_int_equal(st_create(&w, file, 1000), 0);
    assert_int_equal(st_finish(&w, "{\"a\":1}"), HCSMOE_EINVAL);
    message_is("__metadata__: 'a' is not a string");
    assert_int_equal(st_finish(&w, "[]"), HCSMOE_EINVAL);
    message_is("not a JSON object");
    assert_int_equal(st_finish(&w, "{"), HCSMOE_EINVAL);
    message_is("not JSON at byte 1: string or '}' expected near end of file");
    assert_int_equal(st_finish(&w, "{}"), 0);
}

static void test_safetensors_write_says_what_cannot_be_created(void **state)
{
    char path[400];
    struct st_writer w;
    (void)state;
    (void)snprintf(path, sizeof path, "%s/none/x", folder);
    assert_int_equal(st_create(&w, path, 0), HCSMOE_EIO);
    assert_non_null(strstr(fail_message(), "/none/x: cannot create: No such file or directory"));
    st_abandon(&w);
}

static void test_safetensors_write_says_that_a_file_is_too_large(void **state)
{
    static char bytes[100000];
    const int64_t shape[] = {sizeof bytes};
    struct rlimit old;
    struct rlimit small;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    struct st_writer w;
    int status;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 50000;
    assert_int_equal(st_create(&w, file, 1000), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    /* The first pwrite is cut short at the limit, the second one fails. */
    status = st_add(&w, "x", HCSMOE_DTYPE_U8, 1, shape, bytes);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_equal(status, HCSMOE_EIO);
    message_is("cannot write: File too large");
    st_abandon(&w);
    assert_false(path_exists(file));
}

static void test_safetensors_write_says_that_the_disk_is_full(void **state)
{
    struct st_writer w;
    (void)state;
    /* Through a link, so that st_abandon removes the link and not the device. */
    if (access("/dev/full", W_OK) != 0 || symlink("/dev/full", file) != 0) {
        skip();
    }
    assert_int_equal(st_create(&w, file, 1000), 0);
    assert_int_equal(st_add(&w, "x", HCSMOE_DTYPE_U8, 0, NULL, "a"), HCSMOE_EIO);
    message_is("disk full: No space left on device");
    st_abandon(&w);
    assert_false(path_exists(file));
    assert_int_equal(access("/dev/full", W_OK), 0);
}

static void test_safetensors_write_notices_a_file_cut_behind_its_back(void **state)
{
    struct st_writer w;
    (void)state;
    assert_int_equal(st_create(&w, file, 1000), 0);
    assert_int_equal(st_add(&w, "x", HCSMOE_DTYPE_U8, 2, shape_2_3, "abcdef"), 0);
    assert_int_equal(truncate(file, 10), 0);
    assert_int_equal(st_finish(&w, NULL), HCSMOE_EIO);
    message_is("has 1088 bytes on disk, 1094 were written");
    st_abandon(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safetensors_write_gives_these_bytes),
        cmocka_unit_test(test_safetensors_write_is_read_back),
        cmocka_unit_test(test_safetensors_write_takes_no_tensors),
        cmocka_unit_test(test_safetensors_header_bytes_are_enough),
        cmocka_unit_test(test_safetensors_write_refuses_incomplete_tensors),
        cmocka_unit_test(test_safetensors_write_refuses_bad_tensors),
        cmocka_unit_test(test_safetensors_write_refuses_a_name_twice),
        cmocka_unit_test(test_safetensors_write_refuses_a_header_beyond_its_reserve),
        cmocka_unit_test(test_safetensors_write_refuses_bad_metadata),
        cmocka_unit_test(test_safetensors_write_says_what_cannot_be_created),
        cmocka_unit_test(test_safetensors_write_says_that_a_file_is_too_large),
        cmocka_unit_test(test_safetensors_write_says_that_the_disk_is_full),
        cmocka_unit_test(test_safetensors_write_notices_a_file_cut_behind_its_back),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
