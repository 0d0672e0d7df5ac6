/*
 * map_experts.c - experts to the groups that they were merged into. SPDX-License-Identifier: MIT
 */
#include "ref.h"

static void map_row(int32_t top_k, const int64_t *map, int32_t *ids, float *weights)
{
    for (int32_t s = 0; s < top_k; s++) {
        int32_t group = ids[s] >= 0 ? (int32_t)map[ids[s]] : -1;
        for (int32_t before = 0; before < s && group >= 0; before++) {
            if (ids[before] == group) {
                weights[before] += weights[s];
                group = -1;
            }
        }
        ids[s] = group >= 0 ? group : -1;
        if (group < 0)
            weights[s] = 0.0f;
    }
}

hcsmoe_status ref_map_experts(const hcsmoe_kernels *k, int64_t n, int32_t top_k, const int64_t *map,
                              int32_t *ids, float *weights)
{
    (void)k;
    for (int64_t t = 0; t < n; t++)
        map_row(top_k, map, ids + t * top_k, weights + t * top_k);
    return HCSMOE_OK;
}
