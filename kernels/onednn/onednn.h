/*
 * onednn.h - matrix products of bfloat16 by oneDNN, for a processor with AVX512-BF16 or AMX.
 *
 * All but the products is the table of kernels/cpu. SPDX-License-Identifier: MIT
 */
#ifndef KERNELS_ONEDNN_ONEDNN_H
#define KERNELS_ONEDNN_ONEDNN_H

#include "../cpu/cpu.h"

/* 1, or 0 with the message set: why it cannot run here. */
int onednn_can_run(const hcsmoe_host *h);
/* A table; NULL with the message set. */
struct cpu *onednn_table(const hcsmoe_host *h, const struct cpu_simd *simd);
void onednn_table_free(const hcsmoe_host *h, struct cpu *c); /* c may be NULL */
/* As the ops of the plugin. */
int64_t onednn_working_bytes(void *self, const hcsmoe_host *h, const hcsmoe_experts_args *experts,
                             const hcsmoe_attention_args *attention, int64_t vocabulary);

#endif
