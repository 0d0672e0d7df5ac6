/*
 * table.c - a table of all references. SPDX-License-Identifier: MIT
 */
#include "ref.h"

void ref_table(hcsmoe_kernels *t)
{
    t->alloc = ref_alloc;
    t->free = ref_free;
    t->upload = ref_upload;
    t->download = ref_download;
    t->clear = ref_clear;
    t->mark = ref_mark;
    t->wait = ref_wait;
    t->embed = ref_embed;
    t->rmsnorm = ref_rmsnorm;
    t->linear = ref_linear;
    t->rope = ref_rope;
    t->attention = ref_attention;
    t->route = ref_route;
    t->map_experts = ref_map_experts;
    t->mlp = ref_mlp;
    t->experts = ref_experts;
    t->swiglu = ref_swiglu;
    t->sigmoid_dot = ref_sigmoid_dot;
    t->gather = ref_gather;
    t->scatter_add = ref_scatter_add;
    t->token_logprobs = ref_token_logprobs;
    t->column_sum = ref_column_sum;
    t->gram_columns = ref_gram_columns;
    t->gram_tensors = ref_gram_tensors;
    t->weighted_sum = ref_weighted_sum;
    t->convert = ref_convert;
    t->sgemm = ref_sgemm;
    t->dgemm = ref_dgemm;
    t->has_nonfinite = ref_has_nonfinite;
    t->syrk = ref_syrk;
    t->cholesky = ref_cholesky;
    t->cholesky_solve = ref_cholesky_solve;
    t->cholesky_inverse = ref_cholesky_inverse;
}
