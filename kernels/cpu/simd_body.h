/*
 * simd_body.h - the loops of simd.h, written once over vector operations that the including file defines.
 *
 * Needed: TARGET (the function attribute), LANES, HALF = LANES / 2 (1 for one lane), and
 *     vf  LANES floats:  vf_load vf_store vf_set vf_add vf_sub vf_mul vf_div vf_fma (a b + c, fused)
 *                        vf_max vf_min (the second operand when either is NaN) vf_sum vf_top (across)
 *                        vf_bf16 vf_f16 (loads, widened) vf_to_bf16 (stores, rounded)
 *                        vf_scale2 (p 2^(bits of t - bits of MAGIC))
 *     vd  HALF doubles:  vd_load vd_store vd_set vd_mul vd_add vd_fma vd_sum vd_widen (HALF floats loaded)
 *                        vd_f32 vd_bf16 vd_f16 (stored as HALF values of that type, rounded once)
 * and what simd_products.h needs. Included by simd_*.c only. SPDX-License-Identifier: MIT
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

TARGET static void narrow_bf16(int64_t n, const float *x, uint16_t *y)
{
    int64_t i = 0;
    WHOLE(n, LANES, i, vf_to_bf16(y + i, vf_load(x + i)))
    if (i < n) {
        float from[LANES] = {0};
        uint16_t to[LANES];
        memcpy(from, x + i, (size_t)(n - i) * sizeof *x);
        vf_to_bf16(to, vf_load(from));
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

/* Some rows of x, up to FEW_X, against FEW_W of w; rows is a constant where this is inlined. */
enum { FEW_X = 3, FEW_W = 4, FEW_KK = 1024 };

TARGET INLINE void few_block(uint32_t dtype, int rows, int64_t kk, const float *const x[FEW_X],
                             const void *const w[FEW_W], vf sum[FEW_X * FEW_W])
{
    vf a0 = sum[0], a1 = sum[1], a2 = sum[2], a3 = sum[3];
    vf b0 = sum[4], b1 = sum[5], b2 = sum[6], b3 = sum[7];
    vf c0 = sum[8], c1 = sum[9], c2 = sum[10], c3 = sum[11];
    for (int64_t i = 0; i < kk; i += LANES) {
        vf a = vf_load(x[0] + i);
        vf b = rows > 1 ? vf_load(x[1] + i) : a;
        vf c = rows > 2 ? vf_load(x[2] + i) : a;
        vf v = load_as(dtype, w[0], i);
        a0 = vf_fma(a, v, a0);
        b0 = rows > 1 ? vf_fma(b, v, b0) : b0;
        c0 = rows > 2 ? vf_fma(c, v, c0) : c0;
        v = load_as(dtype, w[1], i);
        a1 = vf_fma(a, v, a1);
        b1 = rows > 1 ? vf_fma(b, v, b1) : b1;
        c1 = rows > 2 ? vf_fma(c, v, c1) : c1;
        v = load_as(dtype, w[2], i);
        a2 = vf_fma(a, v, a2);
        b2 = rows > 1 ? vf_fma(b, v, b2) : b2;
        c2 = rows > 2 ? vf_fma(c, v, c2) : c2;
        v = load_as(dtype, w[3], i);
        a3 = vf_fma(a, v, a3);
        b3 = rows > 1 ? vf_fma(b, v, b3) : b3;
        c3 = rows > 2 ? vf_fma(c, v, c3) : c3;
    }
    sum[0] = a0;
    sum[1] = a1;
    sum[2] = a2;
    sum[3] = a3;
    sum[4] = b0;
    sum[5] = b1;
    sum[6] = b2;
    sum[7] = b3;
    sum[8] = c0;
    sum[9] = c1;
    sum[10] = c2;
    sum[11] = c3;
}

/* The last kk (below LANES) columns of the same rows, from zeroed copies. */
TARGET INLINE void few_tail(uint32_t dtype, int rows, int64_t kk, const float *const x[FEW_X],
                            const void *const w[FEW_W], vf sum[FEW_X * FEW_W])
{
    float xs[FEW_X][LANES] = {{0}};
    float ws[FEW_W][LANES] = {{0}}; /* as large as the widest dtype */
    for (int r = 0; r < rows; r++)
        memcpy(xs[r], x[r], (size_t)kk * sizeof xs[0][0]);
    for (int c = 0; c < FEW_W; c++)
        memcpy(ws[c], w[c], (size_t)kk * (dtype == HCSMOE_DTYPE_F32 ? 4 : 2));
    const float *const xp[FEW_X] = {xs[0], xs[1], xs[2]};
    const void *const wp[FEW_W] = {ws[0], ws[1], ws[2], ws[3]};
    few_block(dtype, rows, LANES, xp, wp, sum);
}

/* One block of y: rows by columns (FEW_W at most; w repeats its last row where there are fewer). */
TARGET INLINE void few_out(uint32_t dtype, int rows, int columns, int64_t kk, const float *x,
                           int64_t ldx, const void *const w[FEW_W], int add, float *y, int64_t ldy)
{
    const float *const xp[FEW_X] = {x, rows > 1 ? x + ldx : x, rows > 2 ? x + 2 * ldx : x};
    vf sum[FEW_X * FEW_W];
    int64_t whole = kk / LANES * LANES;
    for (int i = 0; i < FEW_X * FEW_W; i++)
        sum[i] = vf_set(0.0f);
    few_block(dtype, rows, whole, xp, w, sum);
    if (whole < kk) {
        const float *const xt[FEW_X] = {xp[0] + whole, xp[1] + whole, xp[2] + whole};
        const void *wt[FEW_W];
        for (int c = 0; c < FEW_W; c++)
            wt[c] = (const char *)w[c] + whole * (dtype == HCSMOE_DTYPE_F32 ? 4 : 2);
        few_tail(dtype, rows, kk - whole, xt, wt, sum);
    }
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++)
            y[r * ldy + c] = vf_sum(sum[r * FEW_W + c]) + (add ? y[r * ldy + c] : 0.0f);
}

/* All m rows of x against the columns (rows of w) of one block. */
TARGET INLINE void few_column(uint32_t dtype, int64_t m, int columns, int64_t kk, const float *x,
                              int64_t ldx, const void *const w[FEW_W], int add, float *y,
                              int64_t ldy)
{
    int64_t i = 0;
    for (; m - i >= FEW_X && m - i != 4; i += FEW_X)
        few_out(dtype, FEW_X, columns, kk, x + i * ldx, ldx, w, add, y + i * ldy, ldy);
    for (; m - i >= 2; i += 2) /* twice two rather than three and one */
        few_out(dtype, 2, columns, kk, x + i * ldx, ldx, w, add, y + i * ldy, ldy);
    if (m - i == 1)
        few_out(dtype, 1, columns, kk, x + i * ldx, ldx, w, add, y + i * ldy, ldy);
}

/* FEW_W rows of w, from row j on; of n. */
TARGET INLINE int few_weights(int64_t j, int64_t n, const char *w, int64_t bytes,
                              const void *wp[FEW_W])
{
    int columns = n - j < FEW_W ? (int)(n - j) : FEW_W;
    for (int c = 0; c < FEW_W; c++)
        wp[c] = w + (c < columns ? j + c : n - 1) * bytes;
    return columns;
}

/* With very few rows of x, w is widened on the way, every time it is read. */
TARGET INLINE void few_direct(uint32_t dtype, int64_t m, int64_t n, int64_t kk, const float *x,
                              int64_t ldx, const char *w, int64_t ldw, int add, float *y,
                              int64_t ldy)
{
    const void *wp[FEW_W];
    for (int64_t j = 0; j < n; j += FEW_W) {
        int columns = few_weights(j, n, w, ldw * (dtype == HCSMOE_DTYPE_F32 ? 4 : 2), wp);
        few_column(dtype, m, columns, kk, x, ldx, wp, add, y + j, ldy);
    }
}

/* With more, stretches of FEW_W rows of w wait in the first cache, as float, while x goes by. More
 * than one stretch a row costs sums across the lanes, and jumps through w. */
TARGET static void few_staged(uint32_t dtype, int64_t m, int64_t n, int64_t kk, const float *x,
                              int64_t ldx, const char *w, int64_t ldw, int add, float *y,
                              int64_t ldy)
{
    int64_t size = dtype == HCSMOE_DTYPE_F32 ? 4 : 2;
    float room[FEW_W][FEW_KK];
    const void *wp[FEW_W];
    for (int64_t k = 0; k < kk; k += FEW_KK) {
        int64_t part = kk - k < FEW_KK ? kk - k : FEW_KK;
        for (int64_t j = 0; j < n; j += FEW_W) {
            int columns = few_weights(j, n, w + k * size, ldw * size, wp);
            for (int c = 0; c < FEW_W && dtype != HCSMOE_DTYPE_F32; c++) {
                if (dtype == HCSMOE_DTYPE_BF16)
                    widen_bf16(part, wp[c], room[c]);
                else
                    widen_f16(part, wp[c], room[c]);
                wp[c] = room[c];
            }
            few_column(HCSMOE_DTYPE_F32, m, columns, part, x + k, ldx, wp, add != 0 || k > 0, y + j,
                       ldy);
        }
    }
}

TARGET static void few_rows(uint32_t dtype, int64_t m, int64_t n, int64_t kk, const float *x,
                            int64_t ldx, const void *w, int64_t ldw, int add, float *y, int64_t ldy)
{
    if (kk > 0 && m > (kk <= FEW_KK ? 8 : 32))
        few_staged(dtype, m, n, kk, x, ldx, w, ldw, add, y, ldy);
    else if (dtype == HCSMOE_DTYPE_BF16)
        few_direct(HCSMOE_DTYPE_BF16, m, n, kk, x, ldx, w, ldw, add, y, ldy);
    else if (dtype == HCSMOE_DTYPE_F16)
        few_direct(HCSMOE_DTYPE_F16, m, n, kk, x, ldx, w, ldw, add, y, ldy);
    else
        few_direct(HCSMOE_DTYPE_F32, m, n, kk, x, ldx, w, ldw, add, y, ldy);
}

#include "simd_products.h"

/* The set of this file. */
#define SIMD_FUNCTIONS                                                                             \
    .widen_bf16 = widen_bf16, .narrow_bf16 = narrow_bf16, .widen_f16 = widen_f16,                  \
    .widen_double = widen_double, .round_f32 = round_f32, .round_bf16 = round_bf16,                \
    .round_f16 = round_f16, .any_masked16 = any_masked16, .any_masked32 = any_masked32,            \
    .sum_squares = sum_squares, .dot_double = dot_double, .scale_by = scale_by, .scale = scale,    \
    .axpy = axpy, .axpy_double = axpy_double, .rotate = rotate, .column_sum = column_sum,          \
    .swiglu = swiglu, .max = max, .exp_minus = exp_minus, .few_rows = few_rows, .panel = PANEL,    \
    .panel_rows = PANEL_ROWS, .inner_products = inner_products, .band = BAND, .band_in = band_in,  \
    .band_product = band_product, .band_out = band_out, .band_sums = band_sums,                    \
    .panel_pack = panel_pack, .panel_product = panel_product
