/*
 * verify_kernels.h - a device under the eyes of its checks: memory on it, and what came out.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_VERIFY_KERNELS_H
#define CORE_RUN_VERIFY_KERNELS_H

#include "base/rng.h"
#include "run/verify_suite.h"

/* Odd sizes: no multiple of what a vector or a tile holds. */
enum { ROWS = 7, IN = 37, OUT = 19, EXPERTS = 5, TOP_K = 2, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 6 };

/* A device, what was taken from it, and all that was computed. */
struct bench_device {
    struct verify *v;
    struct instance i;
    const hcsmoe_kernels *k;
    struct pcg64 random;
    void *taken[64];
    int n_taken;
    struct str *out; /* NULL: not wanted */
    bool bf16;       /* rounds the operands of products (NAME-bf16) */
};

/* A copy on the device; NULL: message set. */
void *device_put(struct bench_device *d, const void *from, size_t size);
/* n random numbers of -1..1, here and there. */
float *device_draw(struct bench_device *d, int64_t n, float *here);
/* A contiguous matrix of what lies there. */
hcsmoe_tensor device_matrix(const struct bench_device *d, void *data, uint32_t dtype, int64_t rows,
                            int64_t columns);
int device_get(struct bench_device *d, void *here, const void *there, size_t size) MUST_CHECK;
/* Compares what lies there with what it must be. */
int device_compare(struct bench_device *d, const char *kernel, const float *there,
                   const double *want, int64_t n) MUST_CHECK;

/* ---- verify_values.c: one kernel each ---- */

int embed_try(struct bench_device *d) MUST_CHECK;
int rope_try(struct bench_device *d) MUST_CHECK;
int convert_try(struct bench_device *d) MUST_CHECK;
int nonfinite_try(struct bench_device *d) MUST_CHECK;
int cholesky_try(struct bench_device *d) MUST_CHECK;

#endif
