/*
 * embed.c - rows of a table, widened. SPDX-License-Identifier: MIT
 */
#include "ref.h"

hcsmoe_status ref_embed(const hcsmoe_kernels *k, int64_t n, int64_t width,
                        const hcsmoe_tensor *table, const int32_t *ids, float *out)
{
    (void)k;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j++)
            out[i * width + j] = (float)ref_get(table, ids[i] * width + j);
    return HCSMOE_OK;
}
