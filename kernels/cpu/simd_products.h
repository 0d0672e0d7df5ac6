/*
 * simd_products.h - the part of simd_body.h that multiplies: panels of doubles, bands of floats. A tile of
 * the result stays in registers: PANEL_ROWS rows of three vectors. Further needed: PANEL_ROWS, PANEL_EACH(X) (X(0)
 * X(1) ... for every row), vf_transpose (a square of LANES vectors, in place).
 * SPDX-License-Identifier: MIT
 */

enum { PANEL = 3 * HALF };

TARGET static void panel_pack(int64_t kk, const double *a, int64_t ld, double *to)
{
    for (int64_t k = 0; k < kk; k++, a += ld, to += PANEL) {
        vd_store(to, vd_load(a));
        vd_store(to + HALF, vd_load(a + HALF));
        vd_store(to + 2 * HALF, vd_load(a + 2 * HALF));
    }
}

/* vectors is a constant where this is inlined. PANEL_EACH repeats a statement for every row, so that their sums stay in
 * registers. */
TARGET INLINE void panel_rows_product(int64_t kk, int vectors, const double *a, const double *b,
                                      double *out)
{
    const vd zero = vd_set(0.0);
#define PANEL_SUMS(r) vd x##r = zero, y##r = zero, z##r = zero;
    PANEL_EACH(PANEL_SUMS)
    for (int64_t k = 0; k < kk; k++, a += PANEL, b += PANEL) {
        const vd u = vd_load(b);
        const vd v = vectors > 1 ? vd_load(b + HALF) : zero;
        const vd w = vectors > 2 ? vd_load(b + 2 * HALF) : zero;
#define PANEL_STEP(r)                                                                              \
    {                                                                                              \
        const vd s = vd_set(a[r]);                                                                 \
        x##r = vd_fma(s, u, x##r);                                                                 \
        y##r = vectors > 1 ? vd_fma(s, v, y##r) : y##r;                                            \
        z##r = vectors > 2 ? vd_fma(s, w, z##r) : z##r;                                            \
    }
        PANEL_EACH(PANEL_STEP)
    }
#define PANEL_OUT(r)                                                                               \
    vd_store(out + (r)*PANEL, x##r);                                                               \
    vd_store(out + (r)*PANEL + HALF, y##r);                                                        \
    vd_store(out + (r)*PANEL + 2 * HALF, z##r);
    PANEL_EACH(PANEL_OUT)
#undef PANEL_SUMS
#undef PANEL_STEP
#undef PANEL_OUT
}

TARGET static void panel_product(int64_t kk, int vectors, const double *a, const double *b,
                                 double *out)
{
    if (vectors == 1)
        panel_rows_product(kk, 1, a, b, out);
    else if (vectors == 2)
        panel_rows_product(kk, 2, a, b, out);
    else
        panel_rows_product(kk, 3, a, b, out);
}

/* Four rows at a time: the sums of 16 products stay in registers. */
TARGET static void inner_products(int64_t n, const double *const a[4], const double *const b[4],
                                  double *sum)
{
    const vd zero = vd_set(0.0);
    int64_t i = 0;
#define INNER_EACH(X) X(0) X(1) X(2) X(3)
#define INNER_SUMS(r) vd s##r = zero, t##r = zero, u##r = zero, v##r = zero;
    INNER_EACH(INNER_SUMS)
    for (; n - i >= HALF; i += HALF) {
        const vd w = vd_load(b[0] + i);
        const vd x = vd_load(b[1] + i);
        const vd y = vd_load(b[2] + i);
        const vd z = vd_load(b[3] + i);
#define INNER_STEP(r)                                                                              \
    {                                                                                              \
        const vd row = vd_load(a[r] + i);                                                          \
        s##r = vd_fma(row, w, s##r);                                                               \
        t##r = vd_fma(row, x, t##r);                                                               \
        u##r = vd_fma(row, y, u##r);                                                               \
        v##r = vd_fma(row, z, v##r);                                                               \
    }
        INNER_EACH(INNER_STEP)
    }
#define INNER_OUT(r)                                                                               \
    sum[4 * (r)] += vd_sum(s##r);                                                                  \
    sum[4 * (r) + 1] += vd_sum(t##r);                                                              \
    sum[4 * (r) + 2] += vd_sum(u##r);                                                              \
    sum[4 * (r) + 3] += vd_sum(v##r);
    INNER_EACH(INNER_OUT)
    for (; i < n; i++)
        for (int r = 0; r < 4; r++)
            for (int c = 0; c < 4; c++)
                sum[4 * r + c] += a[r][i] * b[c][i];
#undef INNER_EACH
#undef INNER_SUMS
#undef INNER_STEP
#undef INNER_OUT
}

enum { BAND = 3 * LANES };

/* vectors is a constant where this is inlined. */
TARGET INLINE void band_rows_product(int64_t kk, int vectors, const float *w, int64_t ldw,
                                     const float *x, int add, float *out)
{
    const vf zero = vf_set(0.0f);
#define BAND_SUMS(r)                                                                               \
    vf x##r = add ? vf_load(out + (r)*BAND) : zero;                                                \
    vf y##r = add ? vf_load(out + (r)*BAND + LANES) : zero;                                        \
    vf z##r = add ? vf_load(out + (r)*BAND + 2 * LANES) : zero;
    PANEL_EACH(BAND_SUMS)
    for (int64_t k = 0; k < kk; k++, w++, x += BAND) {
        const vf u = vf_load(x);
        const vf v = vectors > 1 ? vf_load(x + LANES) : zero;
        const vf t = vectors > 2 ? vf_load(x + 2 * LANES) : zero;
#define BAND_STEP(r)                                                                               \
    {                                                                                              \
        const vf s = vf_set(w[(r)*ldw]);                                                           \
        x##r = vf_fma(s, u, x##r);                                                                 \
        y##r = vectors > 1 ? vf_fma(s, v, y##r) : y##r;                                            \
        z##r = vectors > 2 ? vf_fma(s, t, z##r) : z##r;                                            \
    }
        PANEL_EACH(BAND_STEP)
    }
#define BAND_OUT(r)                                                                                \
    vf_store(out + (r)*BAND, x##r);                                                                \
    vf_store(out + (r)*BAND + LANES, y##r);                                                        \
    vf_store(out + (r)*BAND + 2 * LANES, z##r);
    PANEL_EACH(BAND_OUT)
#undef BAND_SUMS
#undef BAND_STEP
#undef BAND_OUT
}

TARGET static void band_product(int64_t kk, int vectors, const float *w, int64_t ldw,
                                const float *x, int add, float *out)
{
    if (vectors == 1)
        band_rows_product(kk, 1, w, ldw, x, add, out);
    else if (vectors == 2)
        band_rows_product(kk, 2, w, ldw, x, add, out);
    else
        band_rows_product(kk, 3, w, ldw, x, add, out);
}

/* Tokens first.. of a band, LANES of them at most, into its third. */
TARGET static void band_third_in(int64_t tokens, int64_t kk, const float *const *rows, float *third)
{
    int64_t k = 0;
    for (; kk - k >= LANES; k += LANES) {
        vf square[LANES];
        for (int64_t t = 0; t < LANES; t++)
            square[t] = t < tokens ? vf_load(rows[t] + k) : vf_set(0.0f);
        vf_transpose(square);
        for (int64_t i = 0; i < LANES; i++)
            vf_store(third + (k + i) * BAND, square[i]);
    }
    for (; k < kk; k++)
        for (int64_t t = 0; t < LANES; t++)
            third[k * BAND + t] = t < tokens ? rows[t][k] : 0.0f;
}

TARGET static void band_in(int64_t tokens, int64_t kk, const float *const *rows, float *band)
{
    for (int64_t first = 0; first < BAND; first += LANES)
        band_third_in(tokens > first ? tokens - first : 0, kk, rows + first, band + first);
}

TARGET static void band_out(int64_t tokens, int64_t n, const float *band, const float *scale,
                            float *const *rows)
{
    for (int64_t first = 0; first < tokens; first += LANES) {
        const int64_t most = tokens - first < LANES ? tokens - first : LANES;
        int64_t j = 0;
        for (; n - j >= LANES; j += LANES) {
            vf square[LANES];
            for (int64_t i = 0; i < LANES; i++)
                square[i] = vf_load(band + (j + i) * BAND + first);
            vf_transpose(square);
            for (int64_t t = 0; t < most; t++)
                vf_store(rows[first + t] + j, vf_mul(vf_set(scale[first + t]), square[t]));
        }
        for (; j < n; j++)
            for (int64_t t = 0; t < most; t++)
                rows[first + t][j] = scale[first + t] * band[j * BAND + first + t];
    }
}

TARGET static void band_sums(int64_t n, const float *band, double *sum)
{
    for (int64_t j = 0; j < n; j++, band += BAND) {
        vd s = vd_set(0.0);
        for (int64_t i = 0; i < BAND; i += HALF)
            s = vd_add(s, vd_widen(band + i));
        sum[j] += vd_sum(s);
    }
}
