/*
 * rope.c - rotary position embedding, "rotate half" pairing. SPDX-License-Identifier: MIT
 */
#include "ref.h"

#include <math.h>

hcsmoe_status ref_rope(const hcsmoe_kernels *k, int64_t n, int64_t heads, int64_t head_dim,
                       int64_t dim, const int64_t *position, const double *inverse_frequency,
                       float *x)
{
    int64_t half = dim / 2;
    (void)k;
    for (int64_t t = 0; t < n; t++) {
        for (int64_t h = 0; h < heads; h++) {
            float *head = x + (t * heads + h) * head_dim;
            for (int64_t i = 0; i < half; i++) {
                double angle = (double)position[t] * inverse_frequency[i];
                double a = (double)head[i];
                double b = (double)head[i + half];
                head[i] = (float)(a * cos(angle) - b * sin(angle));
                head[i + half] = (float)(b * cos(angle) + a * sin(angle));
            }
        }
    }
    return HCSMOE_OK;
}
