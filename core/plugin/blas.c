/*
 * blas.c - OpenBLAS as plugins bring it. SPDX-License-Identifier: MIT
 */
#include "plugin/blas.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* What the processor can do decides, not what it is called: OpenBLAS 0.3.21 takes a server of 2024 for a Prescott, at
 * a quarter of its rate. Its kernels for later processors with AVX-512 are those of SkylakeX but for bfloat16's. AMD's
 * without AVX-512 it knows, and their kernels are Haswell's. */
static const char *core_of_processor(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        return "SkylakeX";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return __builtin_cpu_is("intel") ? "Haswell" : NULL;
    return NULL;
}

void blas_prefer_core(void)
{
    const char *core = core_of_processor();

    if (core != NULL)
        (void)setenv("OPENBLAS_CORETYPE", core, 0);
}

void blas_single_thread(void *library)
{
    void *symbol = dlsym(library ? library : RTLD_DEFAULT, "openblas_set_num_threads");
    void (*set_num_threads)(int) = NULL;

    if (symbol == NULL)
        return;
    memcpy(&set_num_threads, &symbol, sizeof symbol);
    set_num_threads(1);
}
