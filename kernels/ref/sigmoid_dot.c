/*
 * sigmoid_dot.c - the gate of a shared expert. SPDX-License-Identifier: MIT
 */
#include "ref.h"

#include <math.h>

hcsmoe_status ref_sigmoid_dot(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                              const hcsmoe_tensor *w, float *s)
{
    (void)k;
    for (int64_t t = 0; t < n; t++) {
        double sum = 0.0;
        for (int64_t i = 0; i < width; i++)
            sum += (double)x[t * width + i] * ref_get(w, i);
        s[t] = (float)(1.0 / (1.0 + exp(-sum)));
    }
    return HCSMOE_OK;
}
