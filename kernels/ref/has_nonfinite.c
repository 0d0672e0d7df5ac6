/*
 * has_nonfinite.c - whether a tensor holds NaN or infinity. SPDX-License-Identifier: MIT
 */
#include "ref.h"

#include <math.h>

hcsmoe_status ref_has_nonfinite(const hcsmoe_kernels *k, const hcsmoe_tensor *t, int32_t *found)
{
    int64_t elements = hcsmoe_tensor_elements(t);
    (void)k;
    *found = 0;
    for (int64_t i = 0; i < elements && *found == 0; i++)
        *found = !isfinite(ref_get(t, i));
    return HCSMOE_OK;
}
