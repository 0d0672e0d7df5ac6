/*
 * products.c - checks of the kernels that multiply matrices.
 * SPDX-License-Identifier: MIT
 */
#include "check.h"

#include <math.h>
#include <stdio.h>

struct products {
    int64_t m, n, kk;
    const float *x;
    const hcsmoe_tensor *w, *bias;
    int32_t add;
    const int32_t *target;
    hcsmoe_mlp_args mlp;
    hcsmoe_experts_args experts;
    hcsmoe_attention_args attention;
};

static double bound(int64_t kk)
{
    return 2e-6 * sqrt((double)(kk > 0 ? kk : 1));
}

/* What an output may differ by because elements of h, as large as a few times h_usual, stood in the middle of two
 * operands and were rounded to either. */
static double flips(const struct check *c, double h_usual)
{
    return c->flip * 0.2 * 30.0 * h_usual;
}

static hcsmoe_status call_linear(const hcsmoe_kernels *k, void *args, void *const *out)
{
    const struct products *a = args;
    return k->linear(k, a->m, a->n, a->kk, a->x, a->w, a->bias, a->add, out[0]);
}

static void check_linear(struct check *c, int values, int64_t m, int64_t n, int64_t kk)
{
    struct products a = {.m = m, .n = n, .kk = kk, .add = (int32_t)check_below(c, 2)};
    a.x = check_floats(c, m * kk, values, 1.0);
    hcsmoe_tensor *w = check_tensors(c, 1, n, kk, 0.3);
    w->flags = check_below(c, 4) == 0 ? HCSMOE_TENSOR_EXACT : 0;
    a.w = w;
    if (check_below(c, 2) == 0) {
        hcsmoe_tensor *bias = check_tensors(c, 1, 1, n, 0.3);
        bias->shape[0] = n;
        bias->shape[1] = bias->stride[0] = 1;
        bias->stride[1] = 0;
        bias->ndim = 1;
        a.bias = bias;
    }
    double usual = (a.add != 0 ? 1.0 : 0.0) + 0.3 * sqrt((double)kk) * check_magnitude(values);
    struct output o = {.rows = m,
                       .columns = n,
                       .relative = bound(kk),
                       .absolute = bound(kk) * usual,
                       .initial = check_floats(c, m * n, VALUES_PLAIN, 1.0)};
    c->kernel = "linear";
    (void)snprintf(c->shape, sizeof c->shape,
                   "m %lld, n %lld, k %lld, dtype %u, flags %u, values %d", (long long)m,
                   (long long)n, (long long)kk, (unsigned)w->dtype, (unsigned)w->flags, values);
    check_outputs(c, call_linear, &a, &o, 1);
}

static hcsmoe_status call_mlp(const hcsmoe_kernels *k, void *args, void *const *out)
{
    struct products *a = args;
    a->mlp.out = out[0];
    return k->mlp(k, &a->mlp);
}

static hcsmoe_status call_swiglu(const hcsmoe_kernels *k, void *args, void *const *out)
{
    const struct products *a = args;
    return k->swiglu(k, a->mlp.n_tokens, a->mlp.width, a->mlp.ffn, a->mlp.x, a->mlp.gate, a->mlp.up,
                     out[0]);
}

static void check_mlp(struct check *c, int values)
{
    struct products a = {.m = check_size(c, 40), .kk = check_size(c, 70), .n = check_size(c, 70)};
    double scale = 1.0 / sqrt((double)a.kk + 1.0);
    a.mlp =
        (hcsmoe_mlp_args){.struct_size = sizeof a.mlp, .n_tokens = a.m, .width = a.kk, .ffn = a.n};
    a.mlp.x = check_floats(c, a.m * a.kk, values, 1.0);
    a.mlp.gate = check_tensors(c, 1, a.n, a.kk, scale);
    a.mlp.up = check_tensors(c, 1, a.n, a.kk, scale);
    a.mlp.down = check_tensors(c, 1, a.kk, a.n, 0.2);
    a.mlp.scale = check_below(c, 2) == 0 ? check_floats(c, a.m, VALUES_PLAIN, 1.0) : NULL;
    (void)snprintf(c->shape, sizeof c->shape, "n %lld, width %lld, ffn %lld, values %d",
                   (long long)a.m, (long long)a.kk, (long long)a.n, values);
    double h_usual = check_magnitude(values) * check_magnitude(values);
    double usual = 1.0 + 0.2 * sqrt((double)a.n) * h_usual;
    struct output o = {.rows = a.m,
                       .columns = a.kk,
                       .relative = bound(a.kk),
                       .absolute = bound(a.kk) * usual + flips(c, h_usual),
                       .initial = check_floats(c, a.m * a.kk, VALUES_PLAIN, 1.0)};
    c->kernel = "mlp";
    check_outputs(c, call_mlp, &a, &o, 1);
    struct output h = {.rows = a.m,
                       .columns = a.n,
                       .relative = bound(a.kk),
                       .absolute = bound(a.kk) * h_usual + 1e-38};
    c->kernel = "swiglu";
    check_outputs(c, call_swiglu, &a, &h, 1);
}

static hcsmoe_status call_experts(const hcsmoe_kernels *k, void *args, void *const *out)
{
    struct products *a = args;
    if (a->experts.out != NULL)
        a->experts.out = out[0];
    if (a->experts.hidden_sum != NULL)
        a->experts.hidden_sum = out[1];
    return k->experts(k, &a->experts);
}

/* Experts for every token: distinct, some of them none; now and then all tokens want the same. */
static int32_t *draw_ids(struct check *c, int64_t tokens, int32_t top_k, int64_t experts)
{
    int32_t *ids = check_block(c, (size_t)(tokens * top_k) * sizeof *ids);
    int64_t spread = check_below(c, 3) == 0 ? 1 : experts;
    for (int64_t t = 0; t < tokens; t++) {
        int64_t first = check_below(c, spread);
        for (int32_t s = 0; s < top_k; s++) {
            int64_t turned = t % 2 == 0 ? first + s : first + top_k - 1 - s;
            ids[t * top_k + s] = check_below(c, 8) == 0 ? -1 : (int32_t)(turned % experts);
        }
    }
    return ids;
}

static void check_experts(struct check *c, int values, int64_t tokens, int64_t width, int64_t ffn)
{
    int64_t e = 1 + check_below(c, 5);
    int32_t top_k = (int32_t)(1 + check_below(c, e));
    int64_t wanted = check_below(c, 3); /* 0: both, 1: out, 2: sums */
    double *sums = check_block(c, (size_t)(e * ffn) * sizeof *sums);
    double scale = 1.0 / sqrt((double)width + 1.0);
    struct products a = {.m = tokens};
    for (int64_t i = 0; i < e * ffn; i++)
        sums[i] = check_normal(c);
    a.experts = (hcsmoe_experts_args){.struct_size = sizeof a.experts,
                                      .top_k = top_k,
                                      .n_tokens = tokens,
                                      .width = width,
                                      .n_experts = e,
                                      .ffn = ffn};
    a.experts.x = check_floats(c, tokens * width, values, 1.0);
    a.experts.gate = check_tensors(c, e, ffn, width, scale);
    a.experts.up = check_tensors(c, e, ffn, width, scale);
    a.experts.down = check_tensors(c, e, width, ffn, 0.2);
    a.experts.ids = draw_ids(c, tokens, top_k, e);
    a.experts.weights = check_floats(c, tokens * top_k, VALUES_PLAIN, 1.0);
    a.experts.out = wanted != 2 ? (float *)(void *)sums : NULL; /* call_experts sets where */
    a.experts.hidden_sum = wanted != 1 ? sums : NULL;
    double h_usual = check_magnitude(values) * check_magnitude(values);
    double usual = 1.0 + 0.2 * sqrt((double)(ffn * top_k)) * h_usual;
    struct output o[2] = {{.rows = wanted != 2 ? tokens : 0,
                           .columns = width,
                           .relative = bound(width),
                           .absolute = bound(width) * usual + flips(c, h_usual),
                           .initial = check_floats(c, tokens * width, VALUES_PLAIN, 1.0)},
                          {.type = OUTPUT_F64,
                           .rows = wanted != 1 ? e : 0,
                           .columns = ffn,
                           .relative = bound(width),
                           .absolute = bound(width) * (1.0 + h_usual * sqrt((double)tokens)),
                           .initial = sums}};
    c->kernel = "experts";
    (void)snprintf(c->shape, sizeof c->shape,
                   "n %lld, width %lld, ffn %lld, experts %lld, top %d, wanted %d, values %d",
                   (long long)tokens, (long long)width, (long long)ffn, (long long)e, (int)top_k,
                   (int)wanted, values);
    check_outputs(c, call_experts, &a, o, 2);
}

static hcsmoe_status call_attention(const hcsmoe_kernels *k, void *args, void *const *out)
{
    struct products *a = args;
    a->attention.out = out[0];
    return k->attention(k, &a->attention);
}

enum { SEQUENCES = 6, SPANS = 12 };

/* Two spans of rows before sequence i: anywhere, or, in a tree, of sequence 0 and of the one before. */
static void draw_spans(struct check *c, int tree, const hcsmoe_sequence *s, int i, hcsmoe_span *two)
{
    int64_t rows = s[i].begin;
    for (int j = 0; j < 2 && !tree; j++) {
        two[j].begin = check_below(c, rows);
        two[j].count = check_below(c, rows - two[j].begin + 1);
    }
    if (tree) {
        two[0] = (hcsmoe_span){.begin = 0, .count = s[0].count};
        if (check_below(c, 4) == 0)
            two[0].count = check_below(c, s[0].count + 1);
        two[1].begin = s[i - 1].begin;
        two[1].count = check_below(c, s[i - 1].count + 1);
    }
}

/* Sequences of up to `most` rows; each may stand behind one or two spans. */
static int64_t draw_sequences(struct check *c, int64_t most, hcsmoe_sequence *s, hcsmoe_span *spans,
                              int64_t *n_spans)
{
    int64_t rows = 0;
    int tree = check_below(c, 2) == 0;
    *n_spans = 0;
    for (int i = 0; i < SEQUENCES; i++) {
        int64_t count = check_size(c, tree && i > 0 ? 12 : most);
        s[i] = (hcsmoe_sequence){.begin = rows, .count = count, .first_span = *n_spans};
        s[i].n_spans = rows > 0 ? check_below(c, 3) : 0;
        if (rows > 0)
            draw_spans(c, tree, s, i, &spans[*n_spans]);
        for (int64_t j = 0; j < s[i].n_spans; j++)
            s[i].prefix += spans[*n_spans + j].count;
        *n_spans += s[i].n_spans;
        rows += count;
    }
    return rows;
}

static void check_attention(struct check *c, int values, int64_t most)
{
    hcsmoe_sequence sequences[SEQUENCES];
    hcsmoe_span spans[SPANS];
    struct products a = {0};
    hcsmoe_attention_args *t = &a.attention;
    int64_t rows = draw_sequences(c, most, sequences, spans, &t->n_spans);
    t->struct_size = sizeof *t;
    t->n_tokens = rows;
    t->n_kv_heads = 1 + check_below(c, 3);
    t->n_heads = t->n_kv_heads * (1 + check_below(c, 5));
    t->head_dim = 1 + check_below(c, 40);
    t->v_head_dim = check_below(c, 2) == 0 ? t->head_dim : 1 + check_below(c, 40);
    t->window = check_below(c, 2) == 0 ? 0 : 1 + check_below(c, most);
    t->scale = 1.0 / sqrt((double)t->head_dim);
    t->sequences = sequences;
    t->spans = spans;
    t->n_sequences = SEQUENCES;
    t->q = check_floats(c, rows * t->n_heads * t->head_dim,
                        values == VALUES_HUGE ? VALUES_PLAIN : values, 1.0);
    t->k = check_floats(c, rows * t->n_kv_heads * t->head_dim,
                        values == VALUES_NAN ? VALUES_NAN : VALUES_PLAIN, 1.0);
    t->v = check_floats(c, rows * t->n_kv_heads * t->v_head_dim,
                        values == VALUES_NAN ? VALUES_PLAIN : values, 1.0);
    struct output o = {.rows = rows,
                       .columns = t->n_heads * t->v_head_dim,
                       .relative = 5e-6,
                       .absolute = 5e-6 * check_magnitude(values)};
    c->kernel = "attention";
    (void)snprintf(c->shape, sizeof c->shape,
                   "rows %lld, heads %lld/%lld of %lld/%lld, window %lld, values %d",
                   (long long)rows, (long long)t->n_heads, (long long)t->n_kv_heads,
                   (long long)t->head_dim, (long long)t->v_head_dim, (long long)t->window, values);
    check_outputs(c, call_attention, &a, &o, 1);
}

static hcsmoe_status call_logprobs(const hcsmoe_kernels *k, void *args, void *const *out)
{
    const struct products *a = args;
    return k->token_logprobs(k, a->m, a->kk, a->x, a->w, a->target, out[0], out[1]);
}

static void check_logprobs(struct check *c, int values, int64_t n, int64_t width,
                           int64_t vocabulary)
{
    struct products a = {.m = n, .n = vocabulary, .kk = width};
    int32_t *target = check_block(c, (size_t)n * sizeof *target);
    a.x = check_floats(c, n * width, values == VALUES_HUGE ? VALUES_PLAIN : values, 1.0);
    a.w = check_tensors(c, 1, vocabulary, width, 1.0);
    for (int64_t i = 0; i < n; i++)
        target[i] = (int32_t)check_below(c, vocabulary);
    a.target = target;
    /* With NaN no logit is the largest, and tiny ones are all but equal: there greedy is anybody's guess. */
    int clear = values == VALUES_PLAIN || values == VALUES_HUGE;
    struct output o[2] = {{.rows = n, .columns = 1, .absolute = 1e-5},
                          {.type = clear ? OUTPUT_EXACT8 : OUTPUT_ANY8, .rows = n, .columns = 1}};
    c->kernel = "token_logprobs";
    (void)snprintf(c->shape, sizeof c->shape, "n %lld, width %lld, vocabulary %lld, values %d",
                   (long long)n, (long long)width, (long long)vocabulary, values);
    check_outputs(c, call_logprobs, &a, o, 2);
}

void check_products(struct check *c)
{
    int values = (int)check_below(c, VALUES_KINDS);
    check_linear(c, values, check_size(c, 60), check_size(c, 60), check_size(c, 60));
    check_mlp(c, values);
    check_experts(c, values, check_size(c, 50), check_size(c, 40), check_size(c, 40));
    check_attention(c, values, 40);
    check_logprobs(c, values, check_size(c, 30), check_size(c, 20), 1 + check_size(c, 90));
    if (check_below(c, 12) != 0)
        return;
    /* Now and then beyond one tile, panel, stretch or block. */
    check_linear(c, values, 1020 + check_below(c, 20), 7, 1 + check_below(c, 9));
    check_linear(c, values, 65, 1000 + check_below(c, 90), 1 + check_below(c, 9));
    check_linear(c, values, 30 + check_below(c, 30), 1 + check_below(c, 9),
                 1020 + check_below(c, 1100));
    check_experts(c, values, 8200, 2, 3);
    check_attention(c, values, 300);
    check_logprobs(c, values, 17 + check_below(c, 9), 3, 4090 + check_below(c, 20));
}
