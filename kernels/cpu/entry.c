/*
 * entry.c - the plugin "cpu" of kind KERNELS: all in float32, and with operands rounded to bfloat16.
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/kernels.h>
#include <hcsmoe/plugin.h>

#include "cpu.h"

/* It runs everywhere, so that any accelerator that is found is to be preferred. */
enum { PREFERENCE = 10 };

static int32_t cpu_probe(const hcsmoe_host *h)
{
    (void)h;
    return PREFERENCE;
}

/* self is the table: there is nothing else to an instance. */
static hcsmoe_status cpu_create(const hcsmoe_host *h, const void *opts, void **self)
{
    (void)opts;
    *self = cpu_table(h, cpu_simd_sets()[0], &cpu_product_f32);
    return *self != NULL ? HCSMOE_OK : HCSMOE_ENOMEM;
}

static hcsmoe_status rounded_create(const hcsmoe_host *h, const void *opts, void **self)
{
    (void)opts;
    *self = cpu_table(h, cpu_simd_sets()[0], &cpu_product_rounded);
    if (*self == NULL)
        return HCSMOE_ENOMEM;
    h->log(h, HCSMOE_LOG_INFO,
           "bf16: operands are rounded and multiplied in float32: no faster than f32 (that takes a "
           "processor with AVX512-BF16 or AMX, and the plugin cpu-onednn-bf16)");
    return HCSMOE_OK;
}

static void cpu_destroy(const hcsmoe_host *h, void *self)
{
    cpu_table_free(h, self);
}

static const hcsmoe_kernels_ops ops = {.struct_size = sizeof(ops),
                                       .probe = cpu_probe,
                                       .table = cpu_table_get,
                                       .working_bytes = cpu_working_bytes};

static const hcsmoe_component cpu = {.struct_size = sizeof(cpu),
                                     .kind = HCSMOE_KIND_KERNELS,
                                     .name = "cpu",
                                     .summary = "the processor: OpenBLAS, AVX-512 or AVX2",
                                     .ops = &ops,
                                     .caps = HCSMOE_CAP_DETERMINISTIC,
                                     .option_size = sizeof(hcsmoe_option),
                                     .create = cpu_create,
                                     .destroy = cpu_destroy};

static const hcsmoe_component rounded = {
    .struct_size = sizeof(rounded),
    .kind = HCSMOE_KIND_KERNELS,
    .name = "cpu-bf16",
    .summary = "the processor, operands of products rounded to bf16; no faster than cpu",
    .ops = &ops,
    .caps = HCSMOE_CAP_DETERMINISTIC,
    .option_size = sizeof(hcsmoe_option),
    .create = rounded_create,
    .destroy = cpu_destroy};

HCSMOE_PLUGIN("hcsmoe.kernels.cpu", "1.0.0", "MIT", &cpu, &rounded)
