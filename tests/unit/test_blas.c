/*
 * test_blas.c - which of OpenBLAS's kernels are asked for. SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "plugin/blas.h"

static void test_blas_takes_the_kernels_of_what_the_processor_can_do(void **state)
{
    const char *core;

    (void)state;
    assert_int_equal(unsetenv("OPENBLAS_CORETYPE"), 0);
    blas_prefer_core();
    core = getenv("OPENBLAS_CORETYPE");
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
        assert_non_null(core);
        assert_string_equal(core, "SkylakeX");
    } else if (core != NULL) {
        assert_string_equal(core, "Haswell");
        assert_true(__builtin_cpu_supports("avx2"));
    }
}

static void test_blas_leaves_the_users_choice(void **state)
{
    (void)state;
    assert_int_equal(setenv("OPENBLAS_CORETYPE", "Nehalem", 1), 0);
    blas_prefer_core();
    assert_string_equal(getenv("OPENBLAS_CORETYPE"), "Nehalem");
    assert_int_equal(unsetenv("OPENBLAS_CORETYPE"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blas_takes_the_kernels_of_what_the_processor_can_do),
        cmocka_unit_test(test_blas_leaves_the_users_choice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
