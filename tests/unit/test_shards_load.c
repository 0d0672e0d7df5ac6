/*
 * test_shards_load.c - tensors read several pieces at a time: every byte, and the first of several errors.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/path.h"
#include "data/shards.h"

/* Last: it has a macro fail() of its own. */
#include <cmocka.h>

/* Small ones, an empty one, and some that are read in pieces, the last of them not whole. */
static const struct {
    const char *name;
    uint32_t dtype;
    int64_t n;
} tensors[] = {
    {"a", HCSMOE_DTYPE_BF16, 3},
    {"b", HCSMOE_DTYPE_F32, 5000001},
    {"c", HCSMOE_DTYPE_F32, 0},
    {"d", HCSMOE_DTYPE_F16, 2097152},
    {"e", HCSMOE_DTYPE_F64, 1},
    {"f", HCSMOE_DTYPE_I64, 70000},
    {"g", HCSMOE_DTYPE_BF16, 4 * 1048576},
};
enum { N = sizeof tensors / sizeof *tensors };

static char folder[64];
static unsigned char *written[N], *got[N];

static size_t size_of(size_t i)
{
    return (size_t)tensors[i].n * hcsmoe_dtype_size(tensors[i].dtype);
}

static int make(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/hcsmoe-load-XXXXXX");
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < N; i++) {
        written[i] = mem_new_raw(1, size_of(i));
        got[i] = mem_new_raw(1, size_of(i));
        for (size_t j = 0; j < size_of(i); j++) /* no byte that a whole exponent could be made of */
            written[i][j] = (unsigned char)((j * 7 + j / 251 + i) % 63);
    }
    return 0;
}

static int clean(void **state)
{
    (void)state;
    for (size_t i = 0; i < N; i++) {
        mem_free(written[i]);
        mem_free(got[i]);
    }
    return path_remove_tree(folder);
}

static void open_written(struct shards *s, struct shard_load loads[N])
{
    struct st_writer w;
    char *path = path_join(folder, "model.safetensors");
    assert_int_equal(st_create(&w, path, 4096), 0);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(
            st_add(&w, tensors[i].name, tensors[i].dtype, 1, &tensors[i].n, written[i]), 0);
    assert_int_equal(st_finish(&w, NULL), 0);
    mem_free(path);
    assert_int_equal(shards_open(s, folder), 0);
    for (size_t i = 0; i < N; i++) {
        loads[i] = (struct shard_load){shards_find(s, tensors[i].name), got[i]};
        assert_non_null(loads[i].entry);
        memset(got[i], 0xee, size_of(i));
    }
}

static void test_shards_load_reads_every_byte(void **state)
{
    struct shard_load loads[N];
    struct shards s;
    (void)state;
    open_written(&s, loads);
    assert_int_equal(shards_load(&s, loads, N), 0);
    for (size_t i = 0; i < N; i++)
        assert_memory_equal(got[i], written[i], size_of(i));
    /* So few bytes that no thread is started; and none. */
    memset(got[0], 0, size_of(0));
    assert_int_equal(shards_load(&s, loads, 1), 0);
    assert_memory_equal(got[0], written[0], size_of(0));
    assert_int_equal(shards_load(&s, loads, 0), 0);
    shards_close(&s);
}

static void refuses(size_t tensor, size_t at, const void *value, size_t size)
{
    struct shard_load loads[N];
    struct shards s;
    char expected[200];
    unsigned char kept[8];
    unsigned char *place = written[tensor] + at * size;
    memcpy(kept, place, size);
    memcpy(place, value, size);
    open_written(&s, loads);
    (void)snprintf(expected, sizeof expected,
                   "%s/model.safetensors: tensor '%s' holds NaN or infinity", folder,
                   tensors[tensor].name);
    assert_int_equal(shards_load(&s, loads, N), HCSMOE_EINVAL);
    assert_string_equal(fail_message(), expected);
    shards_close(&s);
    memcpy(place, kept, size);
}

static void test_shards_load_refuses_what_is_not_finite(void **state)
{
    const uint16_t bf16 = 0xff80, f16 = 0x7c01;
    const float f32 = -INFINITY;
    const double f64 = (double)f32;
    (void)state;
    refuses(0, 2, &bf16, 2);
    refuses(1, 5000000, &f32, 4);
    refuses(3, 1048577, &f16, 2);
    refuses(4, 0, &f64, 8);
    refuses(6, 4194303, &bf16, 2);
}

static void test_shards_load_names_the_first_of_several(void **state)
{
    const float nan32 = -INFINITY;
    const uint16_t bf16 = 0x7f80;
    (void)state;
    memcpy(written[6], &bf16, 2);
    for (int i = 0; i < 5; i++)
        refuses(1, 4900000, &nan32, 4);
    memset(written[6], 0, 2);
}

static void test_shards_load_reports_a_file_that_got_shorter(void **state)
{
    struct shard_load loads[N];
    struct shards s;
    char *path = path_join(folder, "model.safetensors");
    (void)state;
    open_written(&s, loads);
    assert_int_equal(truncate(path, 20000000), 0);
    assert_true(shards_load(&s, loads, N) < 0);
    assert_non_null(strstr(fail_message(), path));
    shards_close(&s);
    mem_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shards_load_reads_every_byte),
        cmocka_unit_test(test_shards_load_refuses_what_is_not_finite),
        cmocka_unit_test(test_shards_load_names_the_first_of_several),
        cmocka_unit_test(test_shards_load_reports_a_file_that_got_shorter),
    };

    return cmocka_run_group_tests(tests, make, clean);
}
