/*
 * value.c - one element of a tensor as a double, and back. SPDX-License-Identifier: MIT
 */
#include "ref.h"

#include <math.h>

/* Where element i (row-major over the shape) lies, in elements from data. */
static int64_t offset_of(const hcsmoe_tensor *t, int64_t i)
{
    int64_t offset = 0;
    for (int d = 3; d >= 0; d--) {
        offset += i % t->shape[d] * t->stride[d];
        i /= t->shape[d];
    }
    return offset;
}

/* A 16-bit float with this many exponent and fraction bits: (5, 10) is F16, (8, 7) is BF16. */
static double decode16(uint16_t code, int exponent_bits, int fraction_bits)
{
    int bias = (1 << (exponent_bits - 1)) - 1;
    int exponent = (code >> fraction_bits) & ((1 << exponent_bits) - 1);
    int fraction = code & ((1 << fraction_bits) - 1);
    double sign = (code & 0x8000) != 0 ? -1.0 : 1.0;

    if (exponent == (1 << exponent_bits) - 1)
        return fraction != 0 ? NAN : sign * INFINITY;
    if (exponent == 0)
        return sign * ldexp(fraction, 1 - bias - fraction_bits);
    return sign * ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
}

static uint16_t encode16(double value, int exponent_bits, int fraction_bits)
{
    int bias = (1 << (exponent_bits - 1)) - 1;
    int infinity = ((1 << exponent_bits) - 1) << fraction_bits;
    int sign = signbit(value) ? 0x8000 : 0;
    int exponent;

    if (isnan(value))
        return (uint16_t)(sign | infinity | (1 << (fraction_bits - 1)));
    if (value == 0.0)
        return (uint16_t)sign;
    (void)frexp(value, &exponent);
    exponent--; /* value = 1.f * 2^exponent */
    if (exponent > bias || isinf(value))
        return (uint16_t)(sign | infinity);
    if (exponent < 1 - bias)
        exponent = 1 - bias; /* subnormal: the same spacing as the smallest normal */
    /* The fraction with its leading one, rounded; a carry runs on into the exponent as it should. */
    int steps = (int)rint(ldexp(fabs(value), fraction_bits - exponent));
    int code = ((exponent + bias - 1) << fraction_bits) + steps;
    return (uint16_t)(sign | (code < infinity ? code : infinity));
}

double ref_get(const hcsmoe_tensor *t, int64_t i)
{
    int64_t at = offset_of(t, i);
    switch (t->dtype) {
    case HCSMOE_DTYPE_F64:
        return ((const double *)t->data)[at];
    case HCSMOE_DTYPE_F32:
        return (double)((const float *)t->data)[at];
    case HCSMOE_DTYPE_F16:
        return decode16(((const uint16_t *)t->data)[at], 5, 10);
    case HCSMOE_DTYPE_BF16:
        return decode16(((const uint16_t *)t->data)[at], 8, 7);
    default:
        return NAN;
    }
}

void ref_set(const hcsmoe_tensor *t, int64_t i, double value)
{
    int64_t at = offset_of(t, i);
    switch (t->dtype) {
    case HCSMOE_DTYPE_F64:
        ((double *)t->data)[at] = value;
        break;
    case HCSMOE_DTYPE_F32:
        ((float *)t->data)[at] = (float)value;
        break;
    case HCSMOE_DTYPE_F16:
        ((uint16_t *)t->data)[at] = encode16(value, 5, 10);
        break;
    case HCSMOE_DTYPE_BF16:
        ((uint16_t *)t->data)[at] = encode16(value, 8, 7);
        break;
    default:
        break;
    }
}
