/*
 * test_safetensors.c - what a safetensors header may say, and every way in which it may be wrong.
 *
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "data/safetensors.h"

/* Last: it has a macro fail() of its own. */
#include <cmocka.h>

static char folder[256];
static char file[300];

static int folder_make(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    (void)snprintf(folder, sizeof folder, "%s/test_safetensors.XXXXXX", tmp ? tmp : "/tmp");
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

/* A file of any length field, header and n_data bytes 0, 1, 2, ... */
static void write_raw(uint64_t length, const char *header, size_t n_header, size_t n_data)
{
    FILE *out = fopen(file, "wb");
    assert_non_null(out);
    for (int i = 0; i < 8; i++) {
        assert_int_not_equal(fputc((int)(length >> 8 * i & 255), out), EOF);
    }
    assert_int_equal(fwrite(header, 1, n_header, out), n_header);
    for (size_t i = 0; i < n_data; i++) {
        assert_int_not_equal(fputc((int)(i & 255), out), EOF);
    }
    assert_int_equal(fclose(out), 0);
}

static void write_file(const char *header, size_t n_data)
{
    write_raw(strlen(header), header, strlen(header), n_data);
}

/* Opening fails with status and exactly "file: text". */
static void refused(int status, const char *text)
{
    char expected[2048];
    struct st_file f;
    (void)snprintf(expected, sizeof expected, "%s: %s", file, text);
    assert_int_equal(st_open(&f, file), status);
    assert_string_equal(fail_message(), expected);
    assert_null(f.path);
    st_close(&f);
}

static void header_refused(const char *header, size_t n_data, const char *text)
{
    write_file(header, n_data);
    refused(HCSMOE_EINVAL, text);
}

#define ENTRY(name, dtype, shape, offsets)                                                         \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void test_safetensors_reads_entries_in_order_of_offset(void **state)
{
    struct st_file f;
    struct stat st;
    uint16_t got[4];
    (void)state;
    write_file("{" ENTRY("b", "BF16", "[2,2]",
                         "[4,12]") ",\"__metadata__\":{\"format\":\"pt\"}," ENTRY("a", "F32", "[]",
                                                                                  "[0,4]") "}   ",
               12);
    assert_int_equal(st_open(&f, file), 0);
    assert_int_equal(f.n, 2);
    assert_string_equal(f.metadata, "{\"format\":\"pt\"}");
    assert_string_equal(f.entries[0].name, "a");
    assert_int_equal(f.entries[0].ndim, 0);
    assert_int_equal(f.entries[0].size, 4);
    assert_string_equal(f.entries[1].name, "b");
    assert_int_equal(f.entries[1].dtype, HCSMOE_DTYPE_BF16);
    assert_int_equal(f.entries[1].ndim, 2);
    assert_int_equal(f.entries[1].shape[1], 2);
    assert_int_equal(f.entries[1].offset, f.file_size - 8);
    assert_int_equal(st_read(&f, f.entries[1].offset, got, 8), 0);
    assert_memory_equal(got, "\4\5\6\7\10\11\12\13", 8);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(f.file_size, st.st_size);
    assert_int_equal(f.stamp.mtime_ns,
                     (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);
    st_close(&f);
    st_close(&f); /* twice is fine */
}

static void test_safetensors_takes_a_file_without_tensors(void **state)
{
    struct st_file f;
    (void)state;
    write_file("{}", 0);
    assert_int_equal(st_open(&f, file), 0);
    assert_int_equal(f.n, 0);
    assert_null(f.metadata);
    st_close(&f);
}

static void test_safetensors_takes_empty_tensors_anywhere_between_others(void **state)
{
    struct st_file f;
    (void)state;
    write_file(
        "{" ENTRY("z", "F32", "[0,3]", "[0,0]") "," ENTRY("a", "U8", "[4]", "[0,4]") "," ENTRY(
            "y", "F32", "[0]", "[4,4]") "," ENTRY("x", "I64", "[2,0]", "[4,4]") "}",
        4);
    assert_int_equal(st_open(&f, file), 0);
    assert_int_equal(f.n, 4);
    assert_string_equal(f.entries[0].name, "z");
    assert_string_equal(f.entries[1].name, "a");
    assert_string_equal(f.entries[2].name, "x");
    assert_string_equal(f.entries[3].name, "y");
    st_close(&f);
    header_refused("{" ENTRY("z", "F32", "[0,3]", "[2,2]") "," ENTRY("a", "U8", "[4]", "[0,4]") "}",
                   4, "tensors 'a' at offsets 0..4 and 'z' at 2..2 overlap");
}

static void test_safetensors_knows_its_dtypes(void **state)
{
    static const char *const names[] = {"F64", "F32", "F16", "BF16", "I64",     "I32",
                                        "I16", "I8",  "U8",  "BOOL", "F8_E4M3", "F8_E5M2"};
    static const size_t sizes[] = {8, 4, 2, 2, 8, 4, 2, 1, 1, 1, 1, 1};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char header[200];
        struct st_file f;
        (void)snprintf(header, sizeof header,
                       "{\"t\":{\"dtype\":\"%s\",\"shape\":[3],\"data_offsets\":[0,%zu]}}",
                       names[i], 3 * sizes[i]);
        write_file(header, 3 * sizes[i]);
        assert_int_equal(st_open(&f, file), 0);
        assert_string_equal(st_dtype_name(f.entries[0].dtype), names[i]);
        assert_int_equal(hcsmoe_dtype_size(f.entries[0].dtype), sizes[i]);
        st_close(&f);
    }
    assert_string_equal(st_dtype_name(HCSMOE_DTYPE_NONE), "?");
    assert_string_equal(st_dtype_name(9999), "?");
}

static void test_safetensors_ignores_unknown_members_of_an_entry(void **state)
{
    struct st_file f;
    (void)state;
    write_file("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"more\":[{}]}}", 1);
    assert_int_equal(st_open(&f, file), 0);
    st_close(&f);
}

static void test_safetensors_opens_many_tensors(void **state)
{
    enum { N = 20000 };
    struct str header = {0};
    struct st_file f;
    (void)state;
    str_add(&header, "{");
    for (int i = N - 1; i >= 0; i--) {
        str_addf(&header,
                 "\"model.layers.%d.weight\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%"
                 "d]}%s",
                 i, i, i + 1, i > 0 ? "," : "}");
    }
    assert_int_equal(str_check(&header), 0);
    write_file(header.text, N);
    str_release(&header);
    assert_int_equal(st_open(&f, file), 0);
    assert_int_equal(f.n, N);
    assert_string_equal(f.entries[N - 1].name, "model.layers.19999.weight");
    st_close(&f);
}

static void test_safetensors_refuses_files_that_are_none(void **state)
{
    char text[400];
    struct st_file f;
    (void)state;
    (void)unlink(file);
    refused(HCSMOE_EIO, "cannot open: No such file or directory");
    assert_int_equal(st_open(&f, folder), HCSMOE_EINVAL);
    (void)snprintf(text, sizeof text, "%s: not a regular file", folder);
    assert_string_equal(fail_message(), text);
    assert_int_equal(mkfifo(file, 0600), 0);
    refused(HCSMOE_EINVAL, "not a regular file");
    assert_int_equal(unlink(file), 0);
    assert_int_equal(path_write(file, "\2\0\0\0\0", 5), 0);
    refused(HCSMOE_EINVAL,
            "5 bytes are too few for a safetensors file, which starts with 8 bytes of "
            "header length");
}

static void test_safetensors_refuses_bad_header_lengths(void **state)
{
    (void)state;
    write_raw(100000001, "{}", 2, 0);
    refused(HCSMOE_EINVAL, "header length 100000001 is beyond the format's limit of 100000000: no "
                           "safetensors file?");
    write_raw(UINT64_MAX, "{}", 2, 0);
    refused(HCSMOE_EINVAL, "header length 18446744073709551615 is beyond the format's limit of "
                           "100000000: no safetensors file?");
    write_raw(100000000, "{}", 2, 0);
    refused(HCSMOE_EINVAL, "header length 100000000, but the file ends at byte 10: truncated?");
    write_raw(3, "{}", 2, 0);
    refused(HCSMOE_EINVAL, "header length 3, but the file ends at byte 10: truncated?");
    write_raw(0, "{}", 2, 0);
    refused(HCSMOE_EINVAL, "header: empty, at least '{}' is needed");
}

static void test_safetensors_says_where_a_header_is_no_json(void **state)
{
    (void)state;
    header_refused("[]", 0, "header: starts with byte 0x5b, not with '{'");
    header_refused(" {}", 0, "header: starts with byte 0x20, not with '{'");
    header_refused("{\"a\":}", 0, "header: not JSON at byte 6: unexpected token near '}'");
    header_refused("{\"a\":1", 0, "header: not JSON at byte 6: '}' expected near end of file");
    header_refused("{} x", 0, "header: not JSON at byte 4: end of file expected near 'x'");
    header_refused("{\"\xff\":1}", 0,
                   "header: not JSON at byte 2: unable to decode byte 0xff near '\"'");
}

static void test_safetensors_refuses_deep_nesting(void **state)
{
    struct str header = {0};
    struct st_file f;
    (void)state;
    str_add(&header, "{\"a\":");
    for (int i = 0; i < 100000; i++) {
        str_add(&header, "[");
    }
    assert_int_equal(str_check(&header), 0);
    write_file(header.text, 0);
    str_release(&header);
    assert_int_equal(st_open(&f, file), HCSMOE_EINVAL);
    assert_non_null(
        strstr(fail_message(), "header: not JSON at byte 68: nested deeper than 64 levels"));
}

static void test_safetensors_names_a_duplicate(void **state)
{
    (void)state;
    header_refused(
        "{" ENTRY("model.layers.0.mlp.gate.weight", "U8", "[1]",
                  "[0,1]") "," ENTRY("model.layers.0.mlp.gate.weight", "U8", "[1]", "[0,1]") "}",
        1, "header: 'model.layers.0.mlp.gate.weight' occurs twice, the second time at byte 114");
    header_refused("{\"q\\\"\\\\\":1, \"q\\\"\\\\\":2}", 0,
                   "header: 'q\\\"\\\\' occurs twice, the second time at byte 19");
    header_refused("{\"\":1,\"\":2}", 0, "header: '' occurs twice, the second time at byte 8");
    header_refused("{\"a\":{\"dtype\":1,\"dtype\":2}}", 0,
                   "header: 'dtype' occurs twice, the second time at byte 23");
}

static void test_safetensors_refuses_names_with_nul(void **state)
{
    (void)state;
    header_refused("{" ENTRY("a\\u0000b", "U8", "[1]", "[0,1]") "}", 1,
                   "header: not JSON at byte 11: NUL byte in object key not supported near "
                   "'\"a\\u0000b\"'");
    header_refused("{" ENTRY("a", "U8\\u0000", "[1]", "[0,1]") "}", 1,
                   "header: not JSON at byte 24: \\u0000 is not allowed without JSON_ALLOW_NUL "
                   "near '\"U8\\u0000\"'");
}

static void test_safetensors_refuses_long_names(void **state)
{
    char name[SAFETENSORS_NAME_MAX + 2];
    struct str header = {0};
    struct st_file f;
    (void)state;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    str_addf(&header, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", name);
    assert_int_equal(str_check(&header), 0);
    header_refused(
        header.text, 1,
        "header: a tensor name of 513 bytes, "
        "'nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn...': at most 512");
    str_clear(&header);
    name[SAFETENSORS_NAME_MAX] = '\0';
    str_addf(&header, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", name);
    write_file(header.text, 1);
    str_release(&header);
    assert_int_equal(st_open(&f, file), 0);
    assert_string_equal(f.entries[0].name, name);
    st_close(&f);
}

static void test_safetensors_refuses_unknown_dtypes_by_name(void **state)
{
    (void)state;
    write_file("{" ENTRY("x", "F4", "[2]", "[0,1]") "}", 1);
    refused(HCSMOE_EUNSUPPORTED,
            "tensor 'x': unknown dtype 'F4'; known: F64, F32, F16, BF16, I64, I32, "
            "I16, I8, U8, BOOL, F8_E4M3, F8_E5M2");
    header_refused("{\"x\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "tensor 'x': no dtype");
    header_refused("{\"x\":{\"dtype\":3,\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
                   "tensor 'x': no dtype");
    header_refused("{\"x\":[]}", 0, "tensor 'x': its entry is not an object");
}

static void test_safetensors_refuses_bad_shapes(void **state)
{
    (void)state;
    header_refused("{" ENTRY("x", "BF16", "[2,3]", "[0,8]") "}", 8,
                   "tensor 'x': BF16 [2, 3] takes 12 bytes, its offsets 0..8 hold 8");
    header_refused("{" ENTRY("x", "F32", "[]", "[0,8]") "}", 8,
                   "tensor 'x': F32 [] takes 4 bytes, its offsets 0..8 hold 8");
    header_refused("{" ENTRY("x", "F32", "7", "[0,8]") "}", 8,
                   "tensor 'x': shape is not a list of integers");
    header_refused("{\"x\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4,
                   "tensor 'x': shape is not a list of integers");
    header_refused("{" ENTRY("x", "F32", "[1,2.0]", "[0,8]") "}", 8,
                   "tensor 'x': shape: item 2 is not an integer");
    header_refused("{" ENTRY("x", "F32", "[\"2\"]", "[0,8]") "}", 8,
                   "tensor 'x': shape: item 1 is not an integer");
    header_refused("{" ENTRY("x", "F32", "[-2]", "[0,8]") "}", 8,
                   "tensor 'x': shape: -2 is negative");
    write_file("{" ENTRY("x", "U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1);
    refused(HCSMOE_EUNSUPPORTED, "tensor 'x': 9 dimensions, at most 8 are taken");
}

static void test_safetensors_refuses_shapes_beyond_63_bits(void **state)
{
    (void)state;
    /* 2^62 * 4 is 0 in 64 bits, which two offsets could agree with. */
    header_refused("{" ENTRY("x", "U8", "[4611686018427387904,4]", "[0,0]") "}", 0,
                   "tensor 'x': U8 [4611686018427387904, 4] is more bytes than 63 bits can count");
    header_refused("{" ENTRY("x", "U8", "[4611686018427387904,2]", "[0,0]") "}", 0,
                   "tensor 'x': U8 [4611686018427387904, 2] is more bytes than 63 bits can count");
    header_refused("{" ENTRY("x", "F64", "[2305843009213693952]", "[0,0]") "}", 0,
                   "tensor 'x': F64 [2305843009213693952] is more bytes than 63 bits can count");
    header_refused(
        "{" ENTRY("x", "U8", "[0,4611686018427387904,4]", "[0,0]") "}", 0,
        "tensor 'x': U8 [0, 4611686018427387904, 4] is more bytes than 63 bits can count");
    header_refused("{" ENTRY("x", "U8", "[18446744073709551616]", "[0,0]") "}", 0,
                   "header: not JSON at byte 48: too big integer near '18446744073709551616'");
    header_refused("{" ENTRY("x", "U8", "[9223372036854775808]", "[0,0]") "}", 0,
                   "header: not JSON at byte 47: too big integer near '9223372036854775808'");
}

static void test_safetensors_refuses_bad_offsets(void **state)
{
    (void)state;
    header_refused("{" ENTRY("x", "U8", "[4]", "[12,8]") "}", 12,
                   "tensor 'x': offsets 12..8 are reversed");
    header_refused(
        "{" ENTRY("x", "U8", "[4]", "[0,4]") "}", 3,
        "tensor 'x': offsets 0..4 go beyond the 3 bytes of data; the file ends at byte 64: "
        "truncated?");
    header_refused(
        "{" ENTRY("x", "U8", "[9223372036854775807]", "[0,9223372036854775807]") "}", 3,
        "tensor 'x': offsets 0..9223372036854775807 go beyond the 3 bytes of data; the file "
        "ends at byte 100: truncated?");
    header_refused("{" ENTRY("x", "U8", "[4]", "[0]") "}", 4,
                   "tensor 'x': data_offsets is not a list of two integers");
    header_refused("{\"x\":{\"dtype\":\"U8\",\"shape\":[4]}}", 4,
                   "tensor 'x': data_offsets is not a list of two integers");
    header_refused("{" ENTRY("x", "U8", "[4]", "[0,4.0]") "}", 4,
                   "tensor 'x': data_offsets: item 2 is not an integer");
    header_refused("{" ENTRY("x", "U8", "[4]", "[-4,0]") "}", 4,
                   "tensor 'x': data_offsets: -4 is negative");
}

static void test_safetensors_names_both_tensors_of_an_overlap(void **state)
{
    (void)state;
    header_refused("{" ENTRY("b", "U8", "[8]", "[4,12]") "," ENTRY("a", "U8", "[8]", "[0,8]") "}",
                   12, "tensors 'a' at offsets 0..8 and 'b' at 4..12 overlap");
    header_refused("{" ENTRY("b", "U8", "[8]", "[0,8]") "," ENTRY("a", "U8", "[8]", "[0,8]") "}", 8,
                   "tensors 'a' at offsets 0..8 and 'b' at 0..8 overlap");
}

static void test_safetensors_refuses_holes(void **state)
{
    (void)state;
    header_refused("{" ENTRY("b", "U8", "[4]", "[8,12]") "," ENTRY("a", "U8", "[4]", "[0,4]") "}",
                   12, "offsets 4..8 before tensor 'b' belong to no tensor");
    header_refused("{" ENTRY("a", "U8", "[4]", "[1,5]") "}", 5,
                   "offsets 0..1 before tensor 'a' belong to no tensor");
    header_refused("{" ENTRY("a", "U8", "[4]", "[0,4]") "}", 7,
                   "the last 3 bytes of the file belong to no tensor");
}

static void test_safetensors_refuses_metadata_that_is_not_strings(void **state)
{
    (void)state;
    header_refused("{\"__metadata__\":[]}", 0, "__metadata__ is not an object of strings");
    header_refused("{\"__metadata__\":{\"a\":\"b\",\"step\":3}}", 0,
                   "__metadata__: 'step' is not a string");
}

static void test_safetensors_says_that_a_file_became_shorter(void **state)
{
    char expected[500];
    char bytes[64];
    struct st_file f;
    (void)state;
    write_file("{" ENTRY("a", "U8", "[64]", "[0,64]") "}", 64);
    assert_int_equal(st_open(&f, file), 0);
    assert_int_equal(truncate(file, (off_t)f.file_size - 60), 0);
    assert_int_equal(st_read(&f, f.entries[0].offset, bytes, 4), 0);
    assert_int_equal(st_read(&f, f.entries[0].offset, bytes, 64), HCSMOE_EIO);
    (void)snprintf(expected, sizeof expected,
                   "%s: became shorter while in use: %" PRIu64 " bytes now, %" PRIu64
                   " when it was opened",
                   file, f.file_size - 60, f.file_size);
    assert_string_equal(fail_message(), expected);
    st_close(&f);
}

static void test_safetensors_refuses_reads_beyond_the_end(void **state)
{
    char bytes[4];
    struct st_file f;
    (void)state;
    write_file("{" ENTRY("a", "U8", "[4]", "[0,4]") "}", 4);
    assert_int_equal(st_open(&f, file), 0);
    assert_int_equal(st_read(&f, f.file_size, bytes, 0), 0);
    assert_int_equal(st_read(&f, f.file_size - 3, bytes, 4), HCSMOE_EINVAL);
    assert_non_null(
        strstr(fail_message(), ": 4 bytes at byte 62 asked for, the file ends at byte 65"));
    assert_int_equal(st_read(&f, UINT64_MAX, bytes, 4), HCSMOE_EINVAL);
    assert_int_equal(st_read(&f, 4, bytes, UINT64_MAX), HCSMOE_EINVAL);
    st_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safetensors_reads_entries_in_order_of_offset),
        cmocka_unit_test(test_safetensors_takes_a_file_without_tensors),
        cmocka_unit_test(test_safetensors_takes_empty_tensors_anywhere_between_others),
        cmocka_unit_test(test_safetensors_knows_its_dtypes),
        cmocka_unit_test(test_safetensors_ignores_unknown_members_of_an_entry),
        cmocka_unit_test(test_safetensors_opens_many_tensors),
        cmocka_unit_test(test_safetensors_refuses_files_that_are_none),
        cmocka_unit_test(test_safetensors_refuses_bad_header_lengths),
        cmocka_unit_test(test_safetensors_says_where_a_header_is_no_json),
        cmocka_unit_test(test_safetensors_refuses_deep_nesting),
        cmocka_unit_test(test_safetensors_names_a_duplicate),
        cmocka_unit_test(test_safetensors_refuses_names_with_nul),
        cmocka_unit_test(test_safetensors_refuses_long_names),
        cmocka_unit_test(test_safetensors_refuses_unknown_dtypes_by_name),
        cmocka_unit_test(test_safetensors_refuses_bad_shapes),
        cmocka_unit_test(test_safetensors_refuses_shapes_beyond_63_bits),
        cmocka_unit_test(test_safetensors_refuses_bad_offsets),
        cmocka_unit_test(test_safetensors_names_both_tensors_of_an_overlap),
        cmocka_unit_test(test_safetensors_refuses_holes),
        cmocka_unit_test(test_safetensors_refuses_metadata_that_is_not_strings),
        cmocka_unit_test(test_safetensors_says_that_a_file_became_shorter),
        cmocka_unit_test(test_safetensors_refuses_reads_beyond_the_end),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
