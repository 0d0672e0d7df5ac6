/*
 * loops.c - checks of the inner loops that no kernel shows well: exp to its bound, every 16-bit value, rounding.
 * SPDX-License-Identifier: MIT
 */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/simd.h"
#include "ref/ref.h"

enum { EXP_VALUES = 200000, CODES = 65536, ROUND_VALUES = 20000 };

/* Distance in units of the last place of the float next to the true value. */
static double ulps(float got, double want)
{
    float f = (float)want;
    double ulp = (double)nextafterf(fabsf(f), INFINITY) - (double)fabsf(f);
    return fabs((double)got - want) / ulp;
}

static void check_exp(struct check *c)
{
    float *x = check_block(c, EXP_VALUES * sizeof *x);
    float *y = check_block(c, EXP_VALUES * sizeof *y);
    double worst = 0.0;
    double total = 0.0;
    c->kernel = "exp_minus";
    for (int64_t i = 0; i < EXP_VALUES; i++)
        x[i] = (float)(-87.0 * (double)(check_random(c) >> 11) * 0x1p-53);
    memcpy(y, x, EXP_VALUES * sizeof *x);
    float sum = c->simd->exp_minus(EXP_VALUES, y, 0.0f);
    for (int64_t i = 0; i < EXP_VALUES; i++) {
        worst = fmax(worst, ulps(y[i], exp((double)x[i])));
        total += exp((double)x[i]);
    }
    if (worst > 2.0)
        check_fail(c, "%.2f ulp: must be 2 at most", worst);
    if (fabs((double)sum - total) > 1e-4 * total)
        check_fail(c, "sum %.9g: must be %.9g", (double)sum, total);
    float special[4] = {-INFINITY, -1000.0f, NAN, 0.0f};
    (void)c->simd->exp_minus(4, special, 0.0f);
    if (special[0] != 0.0f || special[1] != 0.0f || !isnan(special[2]) || special[3] != 1.0f)
        check_fail(c, "exp of -inf, -1000, NaN, 0 is %g %g %g %g", (double)special[0],
                   (double)special[1], (double)special[2], (double)special[3]);
}

/* A value must not depend on where in the array it stands, nor on how long that is. */
static void check_places(struct check *c)
{
    float *x = check_floats(c, 80, VALUES_PLAIN, 3.0);
    float *u = check_floats(c, 80, VALUES_PLAIN, 3.0);
    float whole[80];
    float part[80];
    double worst = 0.0;
    c->kernel = "swiglu";
    memcpy(whole, x, sizeof whole);
    c->simd->swiglu(80, whole, u);
    for (int64_t i = 0; i < 80; i++) {
        double g = (double)x[i];
        worst = fmax(worst, ulps(whole[i], g / (1.0 + exp(-g)) * (double)u[i]));
    }
    if (worst > 4.0)
        check_fail(c, "%.2f ulp: must be 4 at most", worst);
    for (int64_t begin = 0; begin < 40; begin++) {
        for (int64_t n = 0; n < 40; n++) {
            memcpy(part, x + begin, (size_t)n * sizeof *x);
            c->simd->swiglu(n, part, u + begin);
            if (memcmp(part, whole + begin, (size_t)n * sizeof *x) != 0) {
                check_fail(c, "elements %lld..%lld differ alone", (long long)begin,
                           (long long)(begin + n));
                return;
            }
        }
    }
}

/* All 65536 codes to float and back. */
static void check_codes(struct check *c, uint32_t dtype)
{
    uint16_t *codes = check_block(c, CODES * sizeof *codes);
    uint16_t *back = check_block(c, CODES * sizeof *back);
    float *wide = check_block(c, CODES * sizeof *wide);
    double *wider = check_block(c, CODES * sizeof *wider);
    hcsmoe_tensor t = hcsmoe_matrix(codes, dtype, 1, CODES);
    for (int i = 0; i < CODES; i++)
        codes[i] = (uint16_t)i;
    c->kernel = dtype == HCSMOE_DTYPE_F16 ? "f16" : "bf16";
    if (dtype == HCSMOE_DTYPE_F16)
        c->simd->widen_f16(CODES - 1, codes, wide); /* one less: a tail */
    else
        c->simd->widen_bf16(CODES - 1, codes, wide);
    c->simd->widen_double(CODES - 1, wide, wider);
    if (dtype == HCSMOE_DTYPE_F16)
        c->simd->round_f16(CODES - 1, wider, back);
    else
        c->simd->round_bf16(CODES - 1, wider, back);
    for (int i = 0; i < CODES - 1; i++) {
        double want = ref_get(&t, i);
        hcsmoe_tensor one = hcsmoe_matrix(&back[i], dtype, 1, 1);
        int same = isnan(want) ? isnan(wide[i]) && isnan(ref_get(&one, 0))
                               : (double)wide[i] == want && back[i] == codes[i];
        if (!same) {
            check_fail(c, "code %04x: %g, back %04x", (unsigned)i, (double)wide[i],
                       (unsigned)back[i]);
            return;
        }
    }
}

/* Doubles at, and a hair beside, the middle of two neighbours. */
static void check_rounding(struct check *c, uint32_t dtype)
{
    uint16_t code = 0;
    hcsmoe_tensor t = hcsmoe_matrix(&code, dtype, 1, 1);
    double *x = check_block(c, ROUND_VALUES * sizeof *x);
    uint16_t *got = check_block(c, ROUND_VALUES * sizeof *got);
    c->kernel = dtype == HCSMOE_DTYPE_F16 ? "round_f16" : "round_bf16";
    for (int i = 0; i < ROUND_VALUES; i++) {
        code = (uint16_t)check_below(c, dtype == HCSMOE_DTYPE_F16 ? 0x7c00 : 0x7f80);
        double low = ref_get(&t, 0);
        code++;
        double high = ref_get(&t, 0);
        double middle = isinf(high) ? low * 1.001 : low + (high - low) / 2.0;
        middle *= 1.0 + (double)(check_below(c, 5) - 2) * 0x1p-40;
        x[i] = check_below(c, 2) == 0 ? middle : -middle;
    }
    if (dtype == HCSMOE_DTYPE_F16)
        c->simd->round_f16(ROUND_VALUES, x, got);
    else
        c->simd->round_bf16(ROUND_VALUES, x, got);
    for (int i = 0; i < ROUND_VALUES; i++) {
        ref_set(&t, 0, x[i]);
        if (got[i] != code) {
            check_fail(c, "%.17g gives %04x: must be %04x", x[i], (unsigned)got[i], (unsigned)code);
            return;
        }
    }
}

void check_loops(struct check *c)
{
    (void)snprintf(c->shape, sizeof c->shape, "%s", c->simd->name);
    check_exp(c);
    check_places(c);
    check_codes(c, HCSMOE_DTYPE_F16);
    check_codes(c, HCSMOE_DTYPE_BF16);
    check_rounding(c, HCSMOE_DTYPE_F16);
    check_rounding(c, HCSMOE_DTYPE_BF16);
    c->comparisons += 6;
}
