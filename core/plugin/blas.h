/*
 * blas.h - OpenBLAS as plugins bring it: which of its kernels it takes, and how many threads.
 *
 * The core links no BLAS; a plugin's own is found through its handle. SPDX-License-Identifier: MIT
 */
#ifndef CORE_PLUGIN_BLAS_H
#define CORE_PLUGIN_BLAS_H

/* Says in the environment which processor's kernels an OpenBLAS that is loaded later is to take (OPENBLAS_CORETYPE,
 * unless it is set): the releases in use do not know the processors that came after them, and take those for 20 years
 * old. Not thread-safe, as setenv is not. */
void blas_prefer_core(void);

/* Its number of threads to 1, where library (a dlopen handle, with what it depends on; NULL: the program) has one. */
void blas_single_thread(void *library);

#endif
