/*
 * swiglu.c - h = silu(gate x) * (up x). SPDX-License-Identifier: MIT
 */
#include "ref.h"

#include <math.h>

static double dot(int64_t width, const float *x, const hcsmoe_tensor *w, int64_t row)
{
    double sum = 0.0;
    for (int64_t i = 0; i < width; i++)
        sum += (double)x[i] * ref_get(w, row * width + i);
    return sum;
}

hcsmoe_status ref_swiglu(const hcsmoe_kernels *k, int64_t n, int64_t width, int64_t ffn,
                         const float *x, const hcsmoe_tensor *gate, const hcsmoe_tensor *up,
                         float *h)
{
    (void)k;
    for (int64_t t = 0; t < n; t++) {
        for (int64_t f = 0; f < ffn; f++) {
            double g = dot(width, x + t * width, gate, f);
            double u = dot(width, x + t * width, up, f);
            h[t * ffn + f] = (float)(g / (1.0 + exp(-g)) * u);
        }
    }
    return HCSMOE_OK;
}
