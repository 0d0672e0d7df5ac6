/*
 * simd_plain.c - the inner loops on one lane, for any processor. SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define TARGET
#define OP static inline

enum { LANES = 1, HALF = 1, PANEL_ROWS = 3, MAGIC_BITS = 0x4B400000 };
#define PANEL_EACH(X) X(0) X(1) X(2)
static const float MAGIC = 12582912.0f; /* 1.5 * 2^23, whose bits are MAGIC_BITS */

typedef float vf;
typedef double vd;

OP vf vf_load(const float *p)
{
    return *p;
}
OP void vf_store(float *p, vf a)
{
    *p = a;
}
OP vf vf_set(float a)
{
    return a;
}
OP vf vf_add(vf a, vf b)
{
    return a + b;
}
OP vf vf_sub(vf a, vf b)
{
    return a - b;
}
OP vf vf_mul(vf a, vf b)
{
    return a * b;
}
OP vf vf_div(vf a, vf b)
{
    return a / b;
}
OP vf vf_fma(vf a, vf b, vf c)
{
    return fmaf(a, b, c);
}
OP vf vf_max(vf a, vf b)
{
    return a > b ? a : b;
}
OP vf vf_min(vf a, vf b)
{
    return a < b ? a : b;
}
OP float vf_sum(vf a)
{
    return a;
}
OP float vf_top(vf a)
{
    return a;
}

OP float float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

OP uint32_t bits_of(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

OP vf vf_bf16(const uint16_t *p)
{
    return float_of((uint32_t)*p << 16);
}

OP void vf_to_bf16(uint16_t *p, vf a)
{
    uint32_t bits = bits_of(a);
    if (isnan(a))
        *p = (uint16_t)((bits | 0x400000) >> 16);
    else
        *p = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Exponent and fraction in place, 112 = 127 - 15 taken off by a multiplication, which normalises subnormals too. */
OP vf vf_f16(const uint16_t *p)
{
    uint32_t sign = (uint32_t)(*p & 0x8000) << 16;
    uint32_t rest = (uint32_t)(*p & 0x7fff) << 13;
    if (rest >= 0x0f800000) /* infinity and NaN */
        return float_of(sign | 0x7f800000 | rest | (rest > 0x0f800000 ? 0x400000 : 0));
    return float_of(sign | bits_of(float_of(rest) * 0x1p112f));
}

/* In two steps, as 2^n alone may be beyond the range while the product is not. */
OP vf vf_scale2(vf p, vf t)
{
    uint32_t n = bits_of(t) - MAGIC_BITS + 512; /* 512: so that halving needs no signed shift */
    uint32_t a = (n >> 1) - 256;
    uint32_t b = n - 512 - a;
    return p * float_of((a + 127) << 23) * float_of((b + 127) << 23);
}

OP vd vd_load(const double *p)
{
    return *p;
}
OP void vd_store(double *p, vd a)
{
    *p = a;
}
OP vd vd_set(double a)
{
    return a;
}
OP vd vd_add(vd a, vd b)
{
    return a + b;
}
OP vd vd_mul(vd a, vd b)
{
    return a * b;
}
OP vd vd_fma(vd a, vd b, vd c)
{
    return fma(a, b, c);
}
OP double vd_sum(vd a)
{
    return a;
}
OP vd vd_widen(const float *p)
{
    return (double)*p;
}
OP void vd_f32(float *p, vd a)
{
    *p = (float)a;
}

/* Towards zero, the last bit set when that was not exact: a second rounding is then as good as one. */
OP uint32_t round_odd(vd a)
{
    float f = (float)a;
    uint32_t bits = bits_of(f);
    if (fabs((double)f) > fabs(a))
        bits--;
    return isnan(a) || (double)f == a ? bits : bits | 1;
}

OP void vd_bf16(uint16_t *p, vd a)
{
    uint32_t bits = round_odd(a);
    if (isnan(a))
        *p = (uint16_t)((bits | 0x400000) >> 16);
    else
        *p = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

OP void vd_f16(uint16_t *p, vd a)
{
    uint32_t bits = round_odd(a);
    uint32_t sign = bits >> 16 & 0x8000;
    uint32_t rest = bits & 0x7fffffff;
    uint32_t code;

    if (rest > 0x7f800000) {
        code = 0x7e00 | (rest >> 13 & 0x3ff);
    } else if (rest >= 0x47800000) { /* 2^16 and above */
        code = 0x7c00;
    } else if (rest >= 0x38800000) { /* normal; a carry runs on into the exponent, up to infinity */
        code = (rest - 0x38000000 + 0xfff + (rest >> 13 & 1)) >> 13;
    } else { /* subnormal: adding 0.5 lines the fraction up, and the addition rounds to nearest even */
        code = bits_of(float_of(rest) + 0.5f) - 0x3f000000;
    }
    *p = (uint16_t)(sign | code);
}

OP void vf_transpose(vf r[LANES])
{
    (void)r;
}

#include "simd_body.h"

const struct cpu_simd simd_plain = {.name = "plain C", .few_most = 1, SIMD_FUNCTIONS};
