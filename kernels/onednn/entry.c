/*
 * entry.c - the plugin "cpu-onednn-bf16" of kind KERNELS. SPDX-License-Identifier: MIT
 */
#include <hcsmoe/plugin.h>

#include "onednn.h"

/* More than that of the tables that only round to bfloat16. */
enum { PREFERENCE = 20 };

static int32_t onednn_probe(const hcsmoe_host *h)
{
    return onednn_can_run(h) != 0 ? PREFERENCE : 0;
}

static hcsmoe_status onednn_create(const hcsmoe_host *h, const void *opts, void **self)
{
    (void)opts;
    if (onednn_can_run(h) == 0)
        return HCSMOE_EUNSUPPORTED;
    *self = onednn_table(h, cpu_simd_sets()[0]);
    return *self != NULL ? HCSMOE_OK : HCSMOE_EFAILED;
}

static void onednn_destroy(const hcsmoe_host *h, void *self)
{
    onednn_table_free(h, self);
}

static const hcsmoe_kernels_ops ops = {.struct_size = sizeof(ops),
                                       .probe = onednn_probe,
                                       .table = cpu_table_get,
                                       .working_bytes = onednn_working_bytes};

static const hcsmoe_component onednn = {
    .struct_size = sizeof(onednn),
    .kind = HCSMOE_KIND_KERNELS,
    .name = "cpu-onednn-bf16",
    .summary = "the processor, products of bf16 by oneDNN: AVX512-BF16 or AMX",
    .ops = &ops,
    .caps = HCSMOE_CAP_DETERMINISTIC,
    .option_size = sizeof(hcsmoe_option),
    .create = onednn_create,
    .destroy = onednn_destroy};

HCSMOE_PLUGIN("hcsmoe.kernels.cpu-onednn-bf16", "1.0.0", "MIT", &onednn)
