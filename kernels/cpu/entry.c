/*
 * entry.c - the plugin "cpu" of kind KERNELS. SPDX-License-Identifier: MIT
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
    const hcsmoe_kernels *k = cpu_table(h, cpu_simd_sets()[0]);
    (void)opts;
    if (k == NULL)
        return HCSMOE_ENOMEM;
    *self = k->ctx;
    return HCSMOE_OK;
}

static void cpu_destroy(const hcsmoe_host *h, void *self)
{
    const struct cpu *c = self;
    if (c != NULL)
        cpu_table_free(h, &c->table);
}

static hcsmoe_status cpu_get(void *self, const hcsmoe_host *h, int32_t device_index,
                             const hcsmoe_kernels **out)
{
    const struct cpu *c = self;
    if (device_index != 0)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "cpu:%d: there is only cpu:0", (int)device_index);
    *out = &c->table;
    return HCSMOE_OK;
}

/* The largest of what does not run at the same time. */
static int64_t cpu_working_bytes(void *self, const hcsmoe_host *h,
                                 const hcsmoe_experts_args *experts,
                                 const hcsmoe_attention_args *attention, int64_t vocabulary)
{
    int64_t bytes = cpu_mlp_bytes(h);
    int64_t other = 0;
    if (experts != NULL)
        other = cpu_experts_bytes(h, ((const struct cpu *)self)->simd, experts);
    bytes = bytes > other ? bytes : other;
    if (attention != NULL)
        other = cpu_attention_bytes(h, attention);
    bytes = bytes > other ? bytes : other;
    if (experts != NULL && vocabulary > 0)
        other = cpu_token_logprobs_bytes(h, experts->width, vocabulary);
    return bytes > other ? bytes : other;
}

static const hcsmoe_kernels_ops ops = {.struct_size = sizeof(ops),
                                       .probe = cpu_probe,
                                       .table = cpu_get,
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

HCSMOE_PLUGIN("hcsmoe.kernels.cpu", "1.0.0", "MIT", &cpu)
