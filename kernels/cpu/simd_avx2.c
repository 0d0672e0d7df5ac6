/*
 * simd_avx2.c - the inner loops on 8 lanes. SPDX-License-Identifier: MIT
 */
#include <immintrin.h>
#include <stdint.h>

#define TARGET __attribute__((target("avx2,fma,f16c")))
#define OP static inline TARGET

enum { LANES = 8, HALF = 4, PANEL_ROWS = 4, MAGIC_BITS = 0x4B400000 };
#define PANEL_EACH(X) X(0) X(1) X(2) X(3)
static const float MAGIC = 12582912.0f; /* 1.5 * 2^23, whose bits are MAGIC_BITS */

typedef __m256 vf;
typedef __m256d vd;

OP vf vf_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
OP void vf_store(float *p, vf a)
{
    _mm256_storeu_ps(p, a);
}
OP vf vf_set(float a)
{
    return _mm256_set1_ps(a);
}
OP vf vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}
OP vf vf_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}
OP vf vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}
OP vf vf_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}
OP vf vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}
OP vf vf_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}
OP vf vf_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}

OP float vf_sum(vf a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

OP float vf_top(vf a)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

OP vf vf_bf16(const uint16_t *p)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

OP void vf_to_bf16(uint16_t *p, vf a)
{
    __m256i bits = _mm256_castps_si256(a);
    __m256i even = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(_mm256_set1_epi32(0x7fff), even));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
    __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    rounded = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
    _mm_storeu_si128((void *)p, _mm_packus_epi32(_mm256_castsi256_si128(rounded),
                                                 _mm256_extracti128_si256(rounded, 1)));
}

OP vf vf_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p));
}

/* In two steps, as 2^n alone may be beyond the range while the product is not. */
OP vf vf_scale2(vf p, vf t)
{
    __m256i n = _mm256_sub_epi32(_mm256_castps_si256(t), _mm256_set1_epi32(MAGIC_BITS));
    __m256i a = _mm256_srai_epi32(n, 1);
    __m256i b = _mm256_sub_epi32(n, a);
    __m256i bias = _mm256_set1_epi32(127);
    a = _mm256_slli_epi32(_mm256_add_epi32(a, bias), 23);
    b = _mm256_slli_epi32(_mm256_add_epi32(b, bias), 23);
    return vf_mul(vf_mul(p, _mm256_castsi256_ps(a)), _mm256_castsi256_ps(b));
}

OP vd vd_load(const double *p)
{
    return _mm256_loadu_pd(p);
}
OP void vd_store(double *p, vd a)
{
    _mm256_storeu_pd(p, a);
}
OP vd vd_set(double a)
{
    return _mm256_set1_pd(a);
}
OP vd vd_add(vd a, vd b)
{
    return _mm256_add_pd(a, b);
}
OP vd vd_mul(vd a, vd b)
{
    return _mm256_mul_pd(a, b);
}
OP vd vd_fma(vd a, vd b, vd c)
{
    return _mm256_fmadd_pd(a, b, c);
}
OP vd vd_widen(const float *p)
{
    return _mm256_cvtps_pd(_mm_loadu_ps(p));
}
OP void vd_f32(float *p, vd a)
{
    _mm_storeu_ps(p, _mm256_cvtpd_ps(a));
}

OP double vd_sum(vd a)
{
    __m128d s = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

/* The low halves of four 64-bit masks. */
OP __m128i narrow_mask(vd mask)
{
    __m256i lanes = _mm256_permutevar8x32_epi32(_mm256_castpd_si256(mask),
                                                _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
    return _mm256_castsi256_si128(lanes);
}

/* Towards zero, the last bit set when that was not exact: a second rounding is then as good as one. */
OP __m128 round_odd(vd a)
{
    vd sign = vd_set(-0.0);
    __m128 f = _mm256_cvtpd_ps(a);
    vd back = _mm256_cvtps_pd(f);
    __m128i away = narrow_mask(
        _mm256_cmp_pd(_mm256_andnot_pd(sign, back), _mm256_andnot_pd(sign, a), _CMP_GT_OQ));
    __m128i inexact = narrow_mask(_mm256_cmp_pd(back, a, _CMP_NEQ_OQ));
    __m128i bits = _mm_add_epi32(_mm_castps_si128(f), away); /* a mask is -1 */
    return _mm_castsi128_ps(_mm_or_si128(bits, _mm_srli_epi32(inexact, 31)));
}

OP void vd_bf16(uint16_t *p, vd a)
{
    __m128 f = round_odd(a);
    __m128i bits = _mm_castps_si128(f);
    __m128i even = _mm_and_si128(_mm_srli_epi32(bits, 16), _mm_set1_epi32(1));
    __m128i rounded = _mm_add_epi32(bits, _mm_add_epi32(_mm_set1_epi32(0x7fff), even));
    __m128i nan = _mm_castps_si128(_mm_cmpunord_ps(f, f));
    __m128i quiet = _mm_or_si128(bits, _mm_set1_epi32(0x400000));
    rounded = _mm_srli_epi32(_mm_blendv_epi8(rounded, quiet, nan), 16);
    _mm_storel_epi64((void *)p, _mm_packus_epi32(rounded, rounded));
}

OP void vd_f16(uint16_t *p, vd a)
{
    _mm_storel_epi64((void *)p, _mm_cvtps_ph(round_odd(a), _MM_FROUND_TO_NEAREST_INT));
}

/* The low (high) pairs of floats of each half of a and b. */
OP vf pairs(vf a, vf b, int high)
{
    __m256d x = _mm256_castps_pd(a);
    __m256d y = _mm256_castps_pd(b);
    return _mm256_castpd_ps(high ? _mm256_unpackhi_pd(x, y) : _mm256_unpacklo_pd(x, y));
}

/* rows[i][j] = rows[j][i] of a square of LANES. */
OP void vf_transpose(vf r[LANES])
{
    vf t[LANES];
#define PAIR(i)                                                                                    \
    t[2 * (i)] = _mm256_unpacklo_ps(r[2 * (i)], r[2 * (i) + 1]);                                   \
    t[2 * (i) + 1] = _mm256_unpackhi_ps(r[2 * (i)], r[2 * (i) + 1]);
#define FOUR(i)                                                                                    \
    r[4 * (i)] = pairs(t[4 * (i)], t[4 * (i) + 2], 0);                                             \
    r[4 * (i) + 1] = pairs(t[4 * (i)], t[4 * (i) + 2], 1);                                         \
    r[4 * (i) + 2] = pairs(t[4 * (i) + 1], t[4 * (i) + 3], 0);                                     \
    r[4 * (i) + 3] = pairs(t[4 * (i) + 1], t[4 * (i) + 3], 1);
    PAIR(0)
    PAIR(1)
    PAIR(2)
    PAIR(3)
    FOUR(0)
    FOUR(1)
    /* Now half q of r[4 i + j] is column 4 q + j of rows 4 i .. 4 i + 3. */
#define HALVES(j)                                                                                  \
    t[j] = _mm256_permute2f128_ps(r[j], r[4 + (j)], 0x20);                                         \
    t[4 + (j)] = _mm256_permute2f128_ps(r[j], r[4 + (j)], 0x31);
        HALVES(0) HALVES(1) HALVES(2) HALVES(3)
#define BACK(j) r[j] = t[j];
            BACK(0) BACK(1) BACK(2) BACK(3) BACK(4) BACK(5) BACK(6) BACK(7)
#undef PAIR
#undef FOUR
#undef HALVES
#undef BACK
}

#include "simd_body.h"

const struct cpu_simd simd_avx2 = {.name = "AVX2", .few_most = 64, SIMD_FUNCTIONS};
