/*
 * table.c - the CPU's table: the references, overridden by what is faster. SPDX-License-Identifier: MIT
 */
#include "cpu.h"

#include <cblas.h>
#include <stdio.h>
#include <string.h>

#include "../ref/ref.h"

const struct cpu_simd *const *cpu_simd_sets(void)
{
    static const struct cpu_simd *const sets[] = {&simd_avx512, &simd_avx2, &simd_plain, NULL};
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return sets + 2;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq"))
        return sets + 1;
    return sets;
}

static void override(hcsmoe_kernels *t)
{
    t->embed = cpu_embed;
    t->rmsnorm = cpu_rmsnorm;
    t->linear = cpu_linear;
    t->rope = cpu_rope;
    t->attention = cpu_attention;
    t->route = cpu_route;
    t->mlp = cpu_mlp;
    t->experts = cpu_experts;
    t->swiglu = cpu_swiglu;
    t->sigmoid_dot = cpu_sigmoid_dot;
    t->gather = cpu_gather;
    t->scatter_add = cpu_scatter_add;
    t->token_logprobs = cpu_token_logprobs;
    t->column_sum = cpu_column_sum;
    t->gram_columns = cpu_gram_columns;
    t->gram_tensors = cpu_gram_tensors;
    t->weighted_sum = cpu_weighted_sum;
    t->convert = cpu_convert;
    t->sgemm = cpu_sgemm;
    t->dgemm = cpu_dgemm;
    t->has_nonfinite = cpu_has_nonfinite;
    t->syrk = cpu_syrk;
    t->cholesky = cpu_cholesky;
    t->cholesky_solve = cpu_cholesky_solve;
    t->cholesky_inverse = cpu_cholesky_inverse;
}

struct cpu *cpu_table(const hcsmoe_host *h, const struct cpu_simd *simd,
                      const struct cpu_product *product)
{
    const char *blas = openblas_get_config(); /* "OpenBLAS 0.3.21 ..." */
    size_t word = strcspn(blas, " ");
    size_t length = word + (blas[word] == ' ' ? 1 + strcspn(blas + word + 1, " ") : 0);
    struct cpu *c = h->alloc(h, sizeof *c);
    if (c == NULL)
        return NULL;
    memset(c, 0, sizeof *c);
    c->simd = simd;
    c->product = product;
    (void)snprintf(c->name, sizeof c->name, "cpu (%s, %.*s %s%s)", simd->name,
                   (int)(length < 48 ? length : 48), blas, openblas_get_corename(), product->note);
    ref_table(&c->table);
    override(&c->table);
    c->table.struct_size = sizeof c->table;
    c->table.device = HCSMOE_DEVICE_HOST;
    c->table.name = c->name;
    c->table.ctx = c;
    c->table.host = h;
    return c;
}

/* The largest of what does not run at the same time. */
int64_t cpu_working_bytes(void *self, const hcsmoe_host *h, const hcsmoe_experts_args *experts,
                          const hcsmoe_attention_args *attention, int64_t vocabulary)
{
    const struct cpu *c = self;
    int64_t bytes = cpu_mlp_bytes(c);
    int64_t other = 0;
    if (experts != NULL)
        other = cpu_experts_bytes(c, experts);
    bytes = bytes > other ? bytes : other;
    if (attention != NULL)
        other = cpu_attention_bytes(h, attention);
    bytes = bytes > other ? bytes : other;
    if (experts != NULL && vocabulary > 0)
        other = cpu_token_logprobs_bytes(c, experts->width, vocabulary);
    return bytes > other ? bytes : other;
}

hcsmoe_status cpu_table_get(void *self, const hcsmoe_host *h, int32_t device_index,
                            const hcsmoe_kernels **out)
{
    const struct cpu *c = self;
    if (device_index != 0)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "cpu:%d: there is only cpu:0", (int)device_index);
    *out = &c->table;
    return HCSMOE_OK;
}

void cpu_table_free(const hcsmoe_host *h, struct cpu *c)
{
    h->free(h, c);
}
