/*
 * simd.h - the inner loops of the CPU kernels, one set per instruction set, chosen at run time.
 *
 * A loop's tail does the same arithmetic as its body, so an element's value never depends on where it
 * stands. Sums are over running lanes: they differ between sets in the last bits, never between calls.
 * SPDX-License-Identifier: MIT
 */
#ifndef KERNELS_CPU_SIMD_H
#define KERNELS_CPU_SIMD_H

#include <stddef.h>
#include <stdint.h>

struct cpu_simd {
    const char *name;
    int64_t few_most; /* up to this many rows few_rows is faster than unpacking for BLAS */

    void (*widen_bf16)(int64_t n, const uint16_t *x, float *y);
    void (*widen_f16)(int64_t n, const uint16_t *x, float *y);
    void (*widen_double)(int64_t n, const float *x, double *y);
    /* To nearest even in one rounding; NaN stays NaN. */
    void (*round_f32)(int64_t n, const double *x, float *y);
    void (*round_bf16)(int64_t n, const double *x, uint16_t *y);
    void (*narrow_bf16)(int64_t n, const float *x, uint16_t *y);
    void (*round_f16)(int64_t n, const double *x, uint16_t *y);
    /* 1 when an element has all bits of mask; the mask of the exponent asks for NaN or infinity. */
    int (*any_masked16)(int64_t n, const uint16_t *x, uint16_t mask);
    int (*any_masked32)(int64_t n, const uint32_t *x, uint32_t mask);

    double (*sum_squares)(int64_t n, const float *x);                /* in double */
    double (*dot_double)(int64_t n, const float *x, const float *y); /* in double */
    /* y = x a w in double, rounded once; y may be x. */
    void (*scale_by)(int64_t n, const float *x, double a, const float *w, float *y);
    void (*scale)(int64_t n, float a, const float *x, float *y);          /* y = a x; y may be x */
    void (*axpy)(int64_t n, float a, const float *x, float *y);           /* y += a x, fused */
    void (*axpy_double)(int64_t n, double a, const double *x, double *y); /* the same */
    /* (x1, x2) = (x1 c - x2 s, x2 c + x1 s) */
    void (*rotate)(int64_t n, const float *c, const float *s, float *x1, float *x2);
    /* sum[n] += the rows of x[rows, n], in order, in double. */
    void (*column_sum)(int64_t rows, int64_t n, const float *x, int64_t ldx, double *sum);

    void (*swiglu)(int64_t n, float *g, const float *u); /* g = silu(g) u, silu to 4 ulp */
    float (*max)(int64_t n, const float *x); /* -infinity when n = 0; NaN may be skipped */
    float (*exp_minus)(int64_t n, float *x, float max); /* x = exp(x - max), to 2 ulp; their sum */

    /* y[m, n] = (add ? y : 0) + x[m, kk] w[n, kk]^T straight from the stored dtype (HCSMOE_DTYPE_F32, F16,
     * BF16): for the few rows x where unpacking and packing all of w would cost more than the product. */
    void (*few_rows)(uint32_t dtype, int64_t m, int64_t n, int64_t kk, const float *x, int64_t ldx,
                     const void *w, int64_t ldw, int add, float *y, int64_t ldy);

    /* sum[4, 4] += the inner products, over n, of four rows a with four rows b. */
    void (*inner_products)(int64_t n, const double *const a[4], const double *const b[4],
                           double *sum);

    /* Bands of tokens: [kk, band] floats, a column for each of `band` tokens, zero where there are fewer. band_in
     * gathers rows[tokens] into one, band_out takes rows[tokens][n] = scale[tokens] * columns out of one.
     * band_product: out[panel_rows, band] = (add ? out : 0) + w[panel_rows, kk] x of the first `vectors` thirds of a
     * band x; the others of out stay, or become zero. band_sums: sum[n] += the sums of its rows, in double. */
    int64_t band;
    void (*band_in)(int64_t tokens, int64_t kk, const float *const *rows, float *band);
    void (*band_product)(int64_t kk, int vectors, const float *w, int64_t ldw, const float *x,
                         int add, float *out);
    void (*band_out)(int64_t tokens, int64_t n, const float *band, const float *scale,
                     float *const *rows);
    void (*band_sums)(int64_t n, const float *band, double *sum);

    /* Products of the columns of a matrix, packed into panels [kk, panel]. panel_product adds up over kk those of
     * panel_rows columns of one (a: its first of them) with the first `vectors` thirds of another's, as
     * out[panel_rows, panel]. */
    int64_t panel, panel_rows;
    void (*panel_pack)(int64_t kk, const double *a, int64_t ld, double *to);
    void (*panel_product)(int64_t kk, int vectors, const double *a, const double *b, double *out);
};

extern const struct cpu_simd simd_plain;  /* any processor */
extern const struct cpu_simd simd_avx2;   /* AVX2, FMA, F16C */
extern const struct cpu_simd simd_avx512; /* AVX-512 F, BW, VL, DQ */

#endif
