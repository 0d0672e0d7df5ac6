/*
 * simd_avx512.c - the inner loops on 16 lanes. SPDX-License-Identifier: MIT
 */
#include <immintrin.h>
#include <stdint.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")))
#define OP static inline TARGET

enum { LANES = 16, HALF = 8, PANEL_ROWS = 8, MAGIC_BITS = 0x4B400000 };
#define PANEL_EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
static const float MAGIC = 12582912.0f; /* 1.5 * 2^23, whose bits are MAGIC_BITS */

typedef __m512 vf;
typedef __m512d vd;

OP vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
OP void vf_store(float *p, vf a)
{
    _mm512_storeu_ps(p, a);
}
OP vf vf_set(float a)
{
    return _mm512_set1_ps(a);
}
OP vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}
OP vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
OP vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
OP vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
OP vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}
OP vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
OP vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}
OP float vf_sum(vf a)
{
    return _mm512_reduce_add_ps(a);
}
OP float vf_top(vf a)
{
    return _mm512_reduce_max_ps(a);
}

OP vf vf_bf16(const uint16_t *p)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

OP void vf_to_bf16(uint16_t *p, vf a)
{
    __m512i bits = _mm512_castps_si512(a);
    __m512i even = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(_mm512_set1_epi32(0x7fff), even));
    __mmask16 nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
    rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
    _mm256_storeu_si256((void *)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}

OP vf vf_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p));
}

/* In two steps, as 2^n alone may be beyond the range while the product is not. */
OP vf vf_scale2(vf p, vf t)
{
    __m512i n = _mm512_sub_epi32(_mm512_castps_si512(t), _mm512_set1_epi32(MAGIC_BITS));
    __m512i a = _mm512_srai_epi32(n, 1);
    __m512i b = _mm512_sub_epi32(n, a);
    __m512i bias = _mm512_set1_epi32(127);
    a = _mm512_slli_epi32(_mm512_add_epi32(a, bias), 23);
    b = _mm512_slli_epi32(_mm512_add_epi32(b, bias), 23);
    return vf_mul(vf_mul(p, _mm512_castsi512_ps(a)), _mm512_castsi512_ps(b));
}

OP vd vd_load(const double *p)
{
    return _mm512_loadu_pd(p);
}
OP void vd_store(double *p, vd a)
{
    _mm512_storeu_pd(p, a);
}
OP vd vd_set(double a)
{
    return _mm512_set1_pd(a);
}
OP vd vd_add(vd a, vd b)
{
    return _mm512_add_pd(a, b);
}
OP vd vd_mul(vd a, vd b)
{
    return _mm512_mul_pd(a, b);
}
OP vd vd_fma(vd a, vd b, vd c)
{
    return _mm512_fmadd_pd(a, b, c);
}
OP double vd_sum(vd a)
{
    return _mm512_reduce_add_pd(a);
}
OP vd vd_widen(const float *p)
{
    return _mm512_cvtps_pd(_mm256_loadu_ps(p));
}
OP void vd_f32(float *p, vd a)
{
    _mm256_storeu_ps(p, _mm512_cvtpd_ps(a));
}

/* Towards zero, the last bit set when that was not exact: a second rounding is then as good as one. */
OP __m256 round_odd(vd a)
{
    __m256 f = _mm512_cvt_roundpd_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
    __mmask8 inexact = _mm512_cmp_pd_mask(_mm512_cvtps_pd(f), a, _CMP_NEQ_OQ);
    __m256i bits = _mm256_castps_si256(f);
    return _mm256_castsi256_ps(_mm256_mask_or_epi32(bits, inexact, bits, _mm256_set1_epi32(1)));
}

OP void vd_bf16(uint16_t *p, vd a)
{
    __m256 f = round_odd(a);
    __m256i bits = _mm256_castps_si256(f);
    __m256i half =
        _mm256_add_epi32(_mm256_set1_epi32(0x7fff),
                         _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1)));
    __m256i rounded = _mm256_add_epi32(bits, half);
    __mmask8 nan = _mm256_cmp_ps_mask(f, f, _CMP_UNORD_Q);
    rounded = _mm256_mask_or_epi32(rounded, nan, bits, _mm256_set1_epi32(0x400000));
    _mm_storeu_si128((void *)p, _mm256_cvtepi32_epi16(_mm256_srli_epi32(rounded, 16)));
}

OP void vd_f16(uint16_t *p, vd a)
{
    _mm_storeu_si128((void *)p, _mm256_cvtps_ph(round_odd(a), _MM_FROUND_TO_NEAREST_INT));
}

/* The low (high) pairs of floats of every quarter of a and b. */
OP vf pairs(vf a, vf b, int high)
{
    __m512d x = _mm512_castps_pd(a);
    __m512d y = _mm512_castps_pd(b);
    return _mm512_castpd_ps(high ? _mm512_unpackhi_pd(x, y) : _mm512_unpacklo_pd(x, y));
}

/* rows[i][j] = rows[j][i] of a square of LANES. */
OP void vf_transpose(vf r[LANES])
{
    vf t[LANES];
#define PAIR(i)                                                                                    \
    t[2 * (i)] = _mm512_unpacklo_ps(r[2 * (i)], r[2 * (i) + 1]);                                   \
    t[2 * (i) + 1] = _mm512_unpackhi_ps(r[2 * (i)], r[2 * (i) + 1]);
#define FOUR(i)                                                                                    \
    r[4 * (i)] = pairs(t[4 * (i)], t[4 * (i) + 2], 0);                                             \
    r[4 * (i) + 1] = pairs(t[4 * (i)], t[4 * (i) + 2], 1);                                         \
    r[4 * (i) + 2] = pairs(t[4 * (i) + 1], t[4 * (i) + 3], 0);                                     \
    r[4 * (i) + 3] = pairs(t[4 * (i) + 1], t[4 * (i) + 3], 1);
    PAIR(0)
    PAIR(1)
    PAIR(2)
    PAIR(3)
    PAIR(4)
    PAIR(5) PAIR(6) PAIR(7) FOUR(0) FOUR(1) FOUR(2) FOUR(3)
    /* Now quarter q of r[4 i + j] is column 4 q + j of rows 4 i .. 4 i + 3. */
#define QUARTERS(j)                                                                                \
    t[j] = _mm512_shuffle_f32x4(r[j], r[4 + (j)], 0x88);                                           \
    t[4 + (j)] = _mm512_shuffle_f32x4(r[j], r[4 + (j)], 0xdd);                                     \
    t[8 + (j)] = _mm512_shuffle_f32x4(r[8 + (j)], r[12 + (j)], 0x88);                              \
    t[12 + (j)] = _mm512_shuffle_f32x4(r[8 + (j)], r[12 + (j)], 0xdd);
#define HALVES(j)                                                                                  \
    r[j] = _mm512_shuffle_f32x4(t[j], t[8 + (j)], 0x88);                                           \
    r[4 + (j)] = _mm512_shuffle_f32x4(t[4 + (j)], t[12 + (j)], 0x88);                              \
    r[8 + (j)] = _mm512_shuffle_f32x4(t[j], t[8 + (j)], 0xdd);                                     \
    r[12 + (j)] = _mm512_shuffle_f32x4(t[4 + (j)], t[12 + (j)], 0xdd);
        QUARTERS(0) QUARTERS(1) QUARTERS(2) QUARTERS(3) HALVES(0) HALVES(1) HALVES(2) HALVES(3)
#undef PAIR
#undef FOUR
#undef QUARTERS
#undef HALVES
}

#include "simd_body.h"

const struct cpu_simd simd_avx512 = {.name = "AVX-512", .few_most = 64, SIMD_FUNCTIONS};
