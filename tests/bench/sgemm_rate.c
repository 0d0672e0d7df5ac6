/*
 * sgemm_rate.c - the rate that the BLAS reaches alone: best of repeated calls, in FLOP/s.
 *
 * usage: sgemm_rate M N K SECONDS, for C[M,N] = A[M,K] B[N,K]^T. Threads: OMP_NUM_THREADS.
 * SPDX-License-Identifier: MIT
 */
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core.h"

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *matrix(size_t rows, size_t columns, unsigned period)
{
    size_t n = rows * columns;
    float *a = malloc(n * sizeof(*a));

    if (!a) {
        fputs("sgemm_rate: out of memory\n", stderr);
        exit(1);
    }
    for (size_t i = 0; i < n; i++)
        a[i] = 0.1f * (float)(i % period);
    return a;
}

int main(int argc, char **argv)
{
    core_restart(argv);
    if (argc != 5) {
        fputs("usage: sgemm_rate M N K SECONDS\n", stderr);
        return 2;
    }
    int m = (int)strtol(argv[1], NULL, 10), n = (int)strtol(argv[2], NULL, 10), k = (int)strtol(argv[3], NULL, 10);
    double end = now() + strtod(argv[4], NULL), best = 0;
    if (m < 1 || n < 1 || k < 1) {
        fputs("sgemm_rate: sizes must be positive\n", stderr);
        return 2;
    }
    float *a = matrix((size_t)m, (size_t)k, 7), *b = matrix((size_t)n, (size_t)k, 5);
    float *c = matrix((size_t)m, (size_t)n, 1);

    do {
        double start = now();
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1, a, k, b, k, 0, c, n);
        double rate = 2.0 * m * n * k / (now() - start);
        if (rate > best)
            best = rate;
    } while (now() < end);
    printf("%.6g\n", best);
    free(a);
    free(b);
    free(c);
    return 0;
}
