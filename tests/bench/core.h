/*
 * core.h - a benchmark that links OpenBLAS starts itself again with the kernels that plugins get (see plugin/blas.h):
 * OpenBLAS has chosen before main.
 * SPDX-License-Identifier: MIT
 */
#ifndef TESTS_BENCH_CORE_H
#define TESTS_BENCH_CORE_H

#include <stdlib.h>
#include <unistd.h>

#include "plugin/blas.h"

static inline void core_restart(char **argv)
{
    if (getenv("OPENBLAS_CORETYPE"))
        return;
    blas_prefer_core();
    if (getenv("OPENBLAS_CORETYPE"))
        (void)execv("/proc/self/exe", argv);
}

#endif
