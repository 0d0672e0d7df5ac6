/*
 * simd_body.h - the loops of simd.h, written once over vector operations that the including file defines.
 *
 * Needed: TARGET (the function attribute), LANES, HALF = LANES / 2 (1 for one lane), and
 *     vf  LANES floats:  vf_load vf_store vf_set vf_add vf_sub vf_mul vf_div vf_fma (a b + c, fused)
 *                        vf_max vf_min (the second operand when either is NaN) vf_sum vf_top (across)
 *                        vf_bf16 vf_f16 (loads, widened) vf_scale2 (p 2^(bits of t - bits of MAGIC))
 *     vd  HALF doubles:  vd_load vd_store vd_set vd_mul vd_add vd_fma vd_sum vd_widen (HALF floats loaded)
 *                        vd_f32 vd_bf16 vd_f16 (stored as HALF values of that type, rounded once)
 * Included by simd_*.c only. SPDX-License-Identifier: MIT
 */
#include "simd.h"

#include <hcsmoe/tensor.h>

#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* Runs STEP(i) for whole vectors of N elements. What is left, n - i of them, is the caller's. */
#define WHOLE(n, N, i, STEP)                                                                       \
    for (; (n) - (i) >= (N); (i) += (N)) {                                                         \
        STEP;                                                                                      \
    }

TARGET static void widen_bf16(int64_t n, const uint16_t *x, float *y)
{
    int64_t i = 0;
    WHOLE(n, LANES, i, vf_store(y + i, vf_bf16(x + i)))
    if (i < n) {
        uint16_t from[LANES] = {0};
        float to[LANES];
        memcpy(from, x + i, (size_t)(n - i) * sizeof *x);
        vf_store(to, vf_bf16(from));
        memcpy(y + i, to, (size_t)(n - i) * sizeof *y);
    }
}

TARGET static void widen_f16(int64_t n, const uint16_t *x, float *y)
{
    int64_t i = 0;
    WHOLE(n, LANES, i, vf_store(y + i, vf_f16(x + i)))
    if (i < n) {
        uint16_t from[LANES] = {0};
        float to[LANES];
        memcpy(from, x + i, (size_t)(n - i) * sizeof *x);
        vf_store(to, vf_f16(from));
        memcpy(y + i, to, (size_t)(n - i) * sizeof *y);
    }
}

TARGET static void widen_double(int64_t n, const float *x, double *y)
{
    int64_t i = 0;
    WHOLE(n, HALF, i, vd_store(y + i, vd_widen(x + i)))
    for (; i < n; i++)
        y[i] = (double)x[i];
}

TARGET static void round_f32(int64_t n, const double *x, float *y)
{
    int64_t i = 0;
    WHOLE(n, HALF, i, vd_f32(y + i, vd_load(x + i)))
    for (; i < n; i++)
        y[i] = (float)x[i];
}

TARGET static void round_bf16(int64_t n, const double *x, uint16_t *y)
{
    int64_t i = 0;
    WHOLE(n, HALF, i, vd_bf16(y + i, vd_load(x + i)))
    if (i < n) {
        double from[HALF] = {0};
        uint16_t to[HALF];
        memcpy(from, x + i, (size_t)(n - i) * sizeof *x);
        vd_bf16(to, vd_load(from));
        memcpy(y + i, to, (size_t)(n - i) * sizeof *y);
    }
}

TARGET static void round_f16(int64_t n, const double *x, uint16_t *y)
{
    int64_t i = 0;
    WHOLE(n, HALF, i, vd_f16(y + i, vd_load(x + i)))
    if (i < n) {
        double from[HALF] = {0};
        uint16_t to[HALF];
        memcpy(from, x + i, (size_t)(n - i) * sizeof *x);
        vd_f16(to, vd_load(from));
        memcpy(y + i, to, (size_t)(n - i) * sizeof *y);
    }
}

/* Compilers vectorise the loop over a block, as its length is known. */
enum { MASK_BLOCK = 1024 };

TARGET static int any_masked16(int64_t n, const uint16_t *x, uint16_t mask)
{
    int64_t i = 0;
    for (; n - i >= MASK_BLOCK; i += MASK_BLOCK) {
        uint16_t any = 0;
        for (int j = 0; j < MASK_BLOCK; j++)
            any |= (x[i + j] & mask) == mask;
        if (any != 0)
            return 1;
    }
    for (; i < n; i++)
        if ((x[i] & mask) == mask)
            return 1;
    return 0;
}

TARGET static int any_masked32(int64_t n, const uint32_t *x, uint32_t mask)
{
    int64_t i = 0;
    for (; n - i >= MASK_BLOCK; i += MASK_BLOCK) {
        uint32_t any = 0;
        for (int j = 0; j < MASK_BLOCK; j++)
            any |= (x[i + j] & mask) == mask;
        if (any != 0)
            return 1;
    }
    for (; i < n; i++)
        if ((x[i] & mask) == mask)
            return 1;
    return 0;
}

TARGET static double dot_double(int64_t n, const float *x, const float *y)
{
    vd a = vd_set(0.0);
    vd b = vd_set(0.0);
    int64_t i = 0;
    WHOLE(n, 2 * HALF, i, a = vd_fma(vd_widen(x + i), vd_widen(y + i), a);
          b = vd_fma(vd_widen(x + i + HALF), vd_widen(y + i + HALF), b))
    double sum = vd_sum(vd_add(a, b));
    for (; i < n; i++)
        sum += (double)x[i] * (double)y[i];
    return sum;
}

TARGET static double sum_squares(int64_t n, const float *x)
{
    return dot_double(n, x, x);
}

TARGET static void scale_by(int64_t n, const float *x, double a, const float *w, float *y)
{
    vd factor = vd_set(a);
    int64_t i = 0;
    WHOLE(n, HALF, i, vd_f32(y + i, vd_mul(vd_mul(vd_widen(x + i), factor), vd_widen(w + i))))
    for (; i < n; i++)
        y[i] = (float)((double)x[i] * a * (double)w[i]);
}

TARGET static void scale(int64_t n, float a, const float *x, float *y)
{
    vf factor = vf_set(a);
    int64_t i = 0;
    WHOLE(n, LANES, i, vf_store(y + i, vf_mul(factor, vf_load(x + i))))
    for (; i < n; i++)
        y[i] = a * x[i];
}

TARGET static void axpy(int64_t n, float a, const float *x, float *y)
{
    vf factor = vf_set(a);
    int64_t i = 0;
    WHOLE(n, LANES, i, vf_store(y + i, vf_fma(factor, vf_load(x + i), vf_load(y + i))))
    for (; i < n; i++)
        y[i] = fmaf(a, x[i], y[i]);
}

TARGET static void axpy_double(int64_t n, double a, const double *x, double *y)
{
    vd factor = vd_set(a);
    int64_t i = 0;
    WHOLE(n, HALF, i, vd_store(y + i, vd_fma(factor, vd_load(x + i), vd_load(y + i))))
    for (; i < n; i++)
        y[i] = fma(a, x[i], y[i]);
}

TARGET INLINE void rotate_step(const float *c, const float *s, float *x1, float *x2)
{
    vf a = vf_load(x1);
    vf b = vf_load(x2);
    vf cosine = vf_load(c);
    vf sine = vf_load(s);
    vf_store(x1, vf_fma(a, cosine, vf_mul(vf_sub(vf_set(0.0f), b), sine)));
    vf_store(x2, vf_fma(b, cosine, vf_mul(a, sine)));
}

TARGET static void rotate(int64_t n, const float *c, const float *s, float *x1, float *x2)
{
    int64_t i = 0;
    WHOLE(n, LANES, i, rotate_step(c + i, s + i, x1 + i, x2 + i))
    if (i < n) {
        float part[4][LANES] = {{0}};
        size_t bytes = (size_t)(n - i) * sizeof *c;
        memcpy(part[0], c + i, bytes);
        memcpy(part[1], s + i, bytes);
        memcpy(part[2], x1 + i, bytes);
        memcpy(part[3], x2 + i, bytes);
        rotate_step(part[0], part[1], part[2], part[3]);
        memcpy(x1 + i, part[2], bytes);
        memcpy(x2 + i, part[3], bytes);
    }
}

TARGET static void column_sum(int64_t rows, int64_t n, const float *x, int64_t ldx, double *sum)
{
    int64_t i = 0;
    for (; n - i >= 4 * HALF; i += 4 * HALF) {
        vd a = vd_load(sum + i);
        vd b = vd_load(sum + i + HALF);
        vd c = vd_load(sum + i + 2 * HALF);
        vd d = vd_load(sum + i + 3 * HALF);
        for (int64_t r = 0; r < rows; r++) {
            const float *row = x + r * ldx + i;
            a = vd_add(a, vd_widen(row));
            b = vd_add(b, vd_widen(row + HALF));
            c = vd_add(c, vd_widen(row + 2 * HALF));
            d = vd_add(d, vd_widen(row + 3 * HALF));
        }
        vd_store(sum + i, a);
        vd_store(sum + i + HALF, b);
        vd_store(sum + i + 2 * HALF, c);
        vd_store(sum + i + 3 * HALF, d);
    }
    for (; i < n; i++)
        for (int64_t r = 0; r < rows; r++)
            sum[i] += (double)x[r * ldx + i];
}

/*
 * e^x: x = n ln 2 + r with |r| <= ln 2 / 2, e^r by a polynomial of degree 7, times 2^n. Adding MAGIC rounds
 * x / ln 2 to an integer that then stands in the low bits. ln 2 in two parts, the first with few bits, keeps r exact.
 * The bounds are where the result is 0 or infinity; NaN passes through.
 */
TARGET INLINE vf exp_of(vf x)
{
    x = vf_min(vf_set(89.0f), vf_max(vf_set(-104.0f), x));
    vf t = vf_fma(x, vf_set(1.44269504088896341f), vf_set(MAGIC));
    vf n = vf_sub(t, vf_set(MAGIC));
    vf r = vf_fma(n, vf_set(-0.693359375f), x);
    r = vf_fma(n, vf_set(2.12194440e-4f), r);
    vf p = vf_fma(r, vf_set(1.9875691500e-4f), vf_set(1.3981999507e-3f));
    p = vf_fma(p, r, vf_set(8.3334519073e-3f));
    p = vf_fma(p, r, vf_set(4.1665795894e-2f));
    p = vf_fma(p, r, vf_set(1.6666665459e-1f));
    p = vf_fma(p, r, vf_set(5.0000001201e-1f));
    p = vf_add(vf_fma(vf_mul(r, r), p, r), vf_set(1.0f));
    return vf_scale2(p, t);
}

TARGET INLINE vf silu_times(vf g, vf u)
{
    vf one = vf_set(1.0f);
    vf e = exp_of(vf_sub(vf_set(0.0f), g));
    return vf_mul(vf_div(g, vf_add(one, e)), u);
}

TARGET static void swiglu(int64_t n, float *g, const float *u)
{
    int64_t i = 0;
    WHOLE(n, LANES, i, vf_store(g + i, silu_times(vf_load(g + i), vf_load(u + i))))
    if (i < n) {
        float gate[LANES] = {0};
        float up[LANES] = {0};
        memcpy(gate, g + i, (size_t)(n - i) * sizeof *g);
        memcpy(up, u + i, (size_t)(n - i) * sizeof *u);
        vf_store(gate, silu_times(vf_load(gate), vf_load(up)));
        memcpy(g + i, gate, (size_t)(n - i) * sizeof *g);
    }
}

TARGET static float max(int64_t n, const float *x)
{
    vf top = vf_set(-INFINITY);
    int64_t i = 0;
    WHOLE(n, LANES, i, top = vf_max(vf_load(x + i), top))
    float best = vf_top(top);
    for (; i < n; i++)
        best = x[i] > best ? x[i] : best;
    return best;
}

TARGET static float exp_minus(int64_t n, float *x, float max_of)
{
    vf top = vf_set(max_of);
    vf sum = vf_set(0.0f);
    int64_t i = 0;
    WHOLE(n, LANES, i, vf e = exp_of(vf_sub(vf_load(x + i), top)); vf_store(x + i, e);
          sum = vf_add(sum, e))
    if (i < n) {
        float part[LANES];
        for (int j = 0; j < LANES; j++)
            part[j] = -INFINITY;
        memcpy(part, x + i, (size_t)(n - i) * sizeof *x);
        vf e = exp_of(vf_sub(vf_load(part), top));
        vf_store(part, e);
        sum = vf_add(sum, e);
        memcpy(x + i, part, (size_t)(n - i) * sizeof *x);
    }
    return vf_sum(sum);
}

/* dtype is a constant where this is inlined. */
TARGET INLINE vf load_as(uint32_t dtype, const void *w, int64_t i)
{
    if (dtype == HCSMOE_DTYPE_BF16)
        return vf_bf16((const uint16_t *)w + i);
    if (dtype == HCSMOE_DTYPE_F16)
        return vf_f16((const uint16_t *)w + i);
    return vf_load((const float *)w + i);
}

/* Two rows of x against four of w, which are widened once for both. */
TARGET INLINE void few_block(uint32_t dtype, int64_t kk, const float *const x[2],
                             const void *const w[4], vf sum[8])
{
    vf a0 = vf_set(0.0f), a1 = a0, a2 = a0, a3 = a0;
    vf b0 = a0, b1 = a0, b2 = a0, b3 = a0;
    for (int64_t i = 0; i < kk; i += LANES) {
        vf a = vf_load(x[0] + i);
        vf b = vf_load(x[1] + i);
        vf v = load_as(dtype, w[0], i);
        a0 = vf_fma(a, v, a0);
        b0 = vf_fma(b, v, b0);
        v = load_as(dtype, w[1], i);
        a1 = vf_fma(a, v, a1);
        b1 = vf_fma(b, v, b1);
        v = load_as(dtype, w[2], i);
        a2 = vf_fma(a, v, a2);
        b2 = vf_fma(b, v, b2);
        v = load_as(dtype, w[3], i);
        a3 = vf_fma(a, v, a3);
        b3 = vf_fma(b, v, b3);
    }
    sum[0] = vf_add(sum[0], a0);
    sum[1] = vf_add(sum[1], a1);
    sum[2] = vf_add(sum[2], a2);
    sum[3] = vf_add(sum[3], a3);
    sum[4] = vf_add(sum[4], b0);
    sum[5] = vf_add(sum[5], b1);
    sum[6] = vf_add(sum[6], b2);
    sum[7] = vf_add(sum[7], b3);
}

/* The last kk (below LANES) columns of the same rows, from zeroed copies. */
TARGET INLINE void few_tail(uint32_t dtype, int64_t kk, int64_t size, const float *const x[2],
                            const char *const w[4], vf sum[8])
{
    float xs[2][LANES] = {{0}};
    float ws[4][LANES] = {{0}}; /* as large as the widest dtype */
    for (int r = 0; r < 2; r++)
        memcpy(xs[r], x[r], (size_t)kk * sizeof xs[0][0]);
    for (int c = 0; c < 4; c++)
        memcpy(ws[c], w[c], (size_t)(kk * size));
    const float *const xp[2] = {xs[0], xs[1]};
    const void *const wp[4] = {ws[0], ws[1], ws[2], ws[3]};
    few_block(dtype, LANES, xp, wp, sum);
}

TARGET INLINE void few_of(uint32_t dtype, int64_t m, int64_t n, int64_t kk, const float *x,
                          int64_t ldx, const char *w, int64_t ldw, int add, float *y, int64_t ldy)
{
    int64_t size = dtype == HCSMOE_DTYPE_F32 ? 4 : 2;
    int64_t whole = kk / LANES * LANES;
    for (int64_t j = 0; j < n; j += 4) {
        for (int64_t i = 0; i < m; i += 2) {
            /* Past an edge the last row is taken again and its result dropped. */
            const float *const xp[2] = {x + i * ldx, x + (i + 1 < m ? i + 1 : i) * ldx};
            const char *wp[4];
            const void *wv[4];
            vf sum[8];
            for (int c = 0; c < 4; c++) {
                wp[c] = w + (j + c < n ? j + c : n - 1) * ldw * size;
                wv[c] = wp[c];
            }
            for (int c = 0; c < 8; c++)
                sum[c] = vf_set(0.0f);
            few_block(dtype, whole, xp, wv, sum);
            if (whole < kk) {
                const float *const xt[2] = {xp[0] + whole, xp[1] + whole};
                const char *const wt[4] = {wp[0] + whole * size, wp[1] + whole * size,
                                           wp[2] + whole * size, wp[3] + whole * size};
                few_tail(dtype, kk - whole, size, xt, wt, sum);
            }
            for (int c = 0; c < 8; c++) {
                int64_t row = i + c / 4;
                int64_t column = j + c % 4;
                if (row < m && column < n)
                    y[row * ldy + column] = vf_sum(sum[c]) + (add ? y[row * ldy + column] : 0.0f);
            }
        }
    }
}

TARGET static void few_rows(uint32_t dtype, int64_t m, int64_t n, int64_t kk, const float *x,
                            int64_t ldx, const void *w, int64_t ldw, int add, float *y, int64_t ldy)
{
    if (dtype == HCSMOE_DTYPE_BF16)
        few_of(HCSMOE_DTYPE_BF16, m, n, kk, x, ldx, w, ldw, add, y, ldy);
    else if (dtype == HCSMOE_DTYPE_F16)
        few_of(HCSMOE_DTYPE_F16, m, n, kk, x, ldx, w, ldw, add, y, ldy);
    else
        few_of(HCSMOE_DTYPE_F32, m, n, kk, x, ldx, w, ldw, add, y, ldy);
}

/* The set of this file. */
#define SIMD_FUNCTIONS                                                                             \
    .widen_bf16 = widen_bf16, .widen_f16 = widen_f16, .widen_double = widen_double,                \
    .round_f32 = round_f32, .round_bf16 = round_bf16, .round_f16 = round_f16,                      \
    .any_masked16 = any_masked16, .any_masked32 = any_masked32, .sum_squares = sum_squares,        \
    .dot_double = dot_double, .scale_by = scale_by, .scale = scale, .axpy = axpy,                  \
    .axpy_double = axpy_double, .rotate = rotate, .column_sum = column_sum, .swiglu = swiglu,      \
    .max = max, .exp_minus = exp_minus, .few_rows = few_rows
