/*
 * refusals.c - what the CPU's kernels must refuse, and with which words. SPDX-License-Identifier: MIT
 */
#include "check.h"

#include <stdio.h>
#include <string.h>

#include "host.h"

static void refused(struct check *c, const char *kernel, hcsmoe_status status, const char *message)
{
    c->kernel = kernel;
    c->comparisons++;
    if (status == HCSMOE_OK)
        check_fail(c, "accepted what is refused with \"%s\"", message);
    else if (strcmp(c->host->message, message) != 0)
        check_fail(c, "says \"%s\": must be \"%s\"", c->host->message, message);
}

static void check_weights(struct check *c, const hcsmoe_kernels *k)
{
    float x[16] = {0};
    float y[16];
    int32_t ids[1] = {4};
    hcsmoe_tensor w = hcsmoe_matrix(x, HCSMOE_DTYPE_F32, 4, 4);
    hcsmoe_tensor wide = hcsmoe_matrix(x, HCSMOE_DTYPE_F64, 2, 2);
    refused(c, "linear", k->linear(k, 1, 4, 3, x, &w, NULL, 0, y),
            "linear weight: shape [4, 4]: must be [4, 3]");
    refused(c, "linear", k->linear(k, 1, 4, (int64_t)1 << 40, x, &w, NULL, 0, y),
            "linear: size 1099511627776: must be 0..2147483647");
    refused(c, "linear", k->linear(k, 1, 2, 2, x, &wide, NULL, 0, y),
            "linear weight: dtype 4: must be F32, F16 or BF16");
    w.stride[0] = 3;
    refused(c, "linear", k->linear(k, 1, 4, 4, x, &w, NULL, 0, y),
            "linear weight: its rows must be contiguous");
    w.stride[0] = 4;
    refused(c, "embed", k->embed(k, 1, 4, &w, ids, y), "token 0: id 4: must be 0..3");
    refused(c, "rmsnorm", k->rmsnorm(k, 1, 4, x, &w, 0.0, y), "norm: 16 elements: must be 4");
    uint8_t greedy[1];
    refused(c, "token_logprobs", k->token_logprobs(k, 1, 4, x, &w, ids, y, greedy),
            "row 0: token 4: must be 0..3");
    refused(c, "sgemm", k->sgemm(k, 0, 0, 4, 4, 4, 1.0f, x, 4, x, 3, 0.0f, y, 4),
            "gemm: a row stride is less than the row");
    hcsmoe_tensor out = hcsmoe_matrix(y, HCSMOE_DTYPE_I32, 4, 4);
    refused(c, "convert", k->convert(k, &w, &out),
            "convert: dtype 6: must be F32, F16, BF16 or F64");
}

static void check_expert_ids(struct check *c, const hcsmoe_kernels *k)
{
    float x[4] = {0};
    float out[2] = {0};
    int32_t ids[2] = {0, 2};
    hcsmoe_tensor w[2] = {hcsmoe_matrix(x, HCSMOE_DTYPE_F32, 2, 2),
                          hcsmoe_matrix(x, HCSMOE_DTYPE_F32, 2, 2)};
    hcsmoe_experts_args a = {.struct_size = sizeof a,
                             .top_k = 2,
                             .n_tokens = 1,
                             .width = 2,
                             .n_experts = 2,
                             .ffn = 2,
                             .x = x,
                             .gate = w,
                             .up = w,
                             .down = w,
                             .ids = ids,
                             .weights = x,
                             .out = out};
    refused(c, "experts", k->experts(k, &a), "token 0: expert 2: must be -1..1");
    ids[1] = 0;
    refused(c, "experts", k->experts(k, &a), "token 0: expert 0 is there twice");
    ids[1] = -2;
    refused(c, "experts", k->experts(k, &a), "token 0: expert -2: must be -1..1");
    a.top_k = 4097;
    refused(c, "experts", k->experts(k, &a), "experts: top 4097: must be 0..4096");
}

static void check_sequences(struct check *c, const hcsmoe_kernels *k)
{
    float x[8] = {0};
    float out[8];
    hcsmoe_span span = {.begin = 0, .count = 2};
    hcsmoe_sequence s = {.begin = 2, .count = 2, .prefix = 2, .first_span = 0, .n_spans = 1};
    hcsmoe_attention_args a = {.struct_size = sizeof a,
                               .n_tokens = 4,
                               .n_heads = 2,
                               .n_kv_heads = 1,
                               .head_dim = 1,
                               .v_head_dim = 1,
                               .scale = 1.0,
                               .q = x,
                               .k = x,
                               .v = x,
                               .out = out,
                               .sequences = &s,
                               .spans = &span,
                               .n_sequences = 1,
                               .n_spans = 1};
    refused(c, "attention", k->attention(k, &a), "attention: row 0 is in no sequence");
    hcsmoe_sequence twice[2] = {{.begin = 0, .count = 3}, {.begin = 2, .count = 1}};
    a.sequences = twice;
    a.n_sequences = 2;
    refused(c, "attention", k->attention(k, &a),
            "attention: sequence 1: row 2 is in another one too");
    a.sequences = &s;
    a.n_sequences = 1;
    s.prefix = 3;
    refused(c, "attention", k->attention(k, &a),
            "attention: sequence 0: its spans have 2 rows: must be 3");
    s.n_spans = 2;
    refused(c, "attention", k->attention(k, &a), "attention: sequence 0: spans out of range");
    s.n_spans = 1;
    s.count = 3;
    refused(c, "attention", k->attention(k, &a), "attention: sequence 0: rows out of range");
    s.count = 2;
    span.count = INT64_MAX;
    refused(c, "attention", k->attention(k, &a), "attention: span 0: rows out of range");
    a.n_kv_heads = 3;
    refused(c, "attention", k->attention(k, &a), "attention: 2 heads, 3 of keys and values");
}

static void check_symmetric(struct check *c, const hcsmoe_kernels *k)
{
    double x[16] = {0};
    int64_t failed;
    uint32_t f64 = HCSMOE_DTYPE_F64;
    refused(c, "syrk", k->syrk(k, HCSMOE_DTYPE_F16, 2, 2, 1.0, x, 2, 0.0, x, 2),
            "syrk: dtype 2: must be F32 or F64");
    refused(c, "syrk", k->syrk(k, f64, 2, -1, 1.0, x, 2, 0.0, x, 2),
            "syrk: size -1: must be 0..2147483647");
    refused(c, "syrk", k->syrk(k, f64, 3, 2, 1.0, x, 2, 0.0, x, 3),
            "syrk: row stride 2: must be 3 at least");
    refused(c, "syrk", k->syrk(k, f64, 3, 2, 1.0, x, 3, 0.0, x, 2),
            "syrk: row stride 2: must be 3 at least");
    refused(c, "cholesky", k->cholesky(k, HCSMOE_DTYPE_BF16, 2, x, 2, &failed),
            "cholesky: dtype 3: must be F32 or F64");
    refused(c, "cholesky", k->cholesky(k, f64, -3, x, 2, &failed),
            "cholesky: size -3: must be 0..2147483647");
    refused(c, "cholesky", k->cholesky(k, f64, 3, x, 2, &failed),
            "cholesky: row stride 2: must be 3 at least");
    refused(c, "cholesky_solve", k->cholesky_solve(k, 99, 1, 2, x, 2, x, 2),
            "cholesky_solve: dtype 99: must be F32 or F64");
    refused(c, "cholesky_solve", k->cholesky_solve(k, f64, -1, 2, x, 2, x, 2),
            "cholesky_solve: size -1: must be 0..2147483647");
    refused(c, "cholesky_solve", k->cholesky_solve(k, f64, 1, 3, x, 2, x, 3),
            "cholesky_solve: row stride 2: must be 3 at least");
    refused(c, "cholesky_solve", k->cholesky_solve(k, f64, 1, 3, x, 3, x, 2),
            "cholesky_solve: row stride 2: must be 3 at least");
    refused(c, "cholesky_inverse", k->cholesky_inverse(k, HCSMOE_DTYPE_I32, 2, x, 2),
            "cholesky_inverse: dtype 6: must be F32 or F64");
    refused(c, "cholesky_inverse", k->cholesky_inverse(k, f64, -1, x, 2),
            "cholesky_inverse: size -1: must be 0..2147483647");
    refused(c, "cholesky_inverse", k->cholesky_inverse(k, f64, 3, x, 2),
            "cholesky_inverse: row stride 2: must be 3 at least");
    x[0] = 1.0;
    refused(c, "cholesky_inverse", k->cholesky_inverse(k, f64, 2, x, 2),
            "cholesky_inverse: row 1: pivot 0: must be positive and finite");
    x[3] = -2.0;
    refused(c, "cholesky_solve", k->cholesky_solve(k, f64, 1, 2, x, 2, x + 4, 2),
            "cholesky_solve: row 1: pivot -2: must be positive and finite");
}

void check_refusals(struct check *c)
{
    (void)snprintf(c->shape, sizeof c->shape, "refusals");
    check_weights(c, c->tables[0]);
    check_expert_ids(c, c->tables[0]);
    check_sequences(c, c->tables[0]);
    check_symmetric(c, c->tables[0]);
}
