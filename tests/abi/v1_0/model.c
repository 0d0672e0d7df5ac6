/*
 * model.c - Mixtral with attention and routing of its own, made of kernels.
 *
 * Frozen with the headers beside it: not to be edited after release 1.0.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <hcsmoe/model.h>

typedef struct family {
    hcsmoe_model_desc desc;
    int64_t n_experts, top_k, ffn, window;
} family;

static hcsmoe_status family_create(const hcsmoe_host *h, const void *opts, void **self)
{
    family *f = h->alloc(h, sizeof *f);

    (void)opts;
    if (!f)
        return HCSMOE_ENOMEM;
    memset(f, 0, sizeof *f);
    *self = f;
    return HCSMOE_OK;
}

static void family_destroy(const hcsmoe_host *h, void *self)
{
    h->free(h, self);
}

static int32_t family_probe(const hcsmoe_host *h, const hcsmoe_json *config)
{
    (void)h;
    (void)config;
    return 0; /* only by its name */
}

static hcsmoe_status family_describe(void *self, const hcsmoe_host *h, const hcsmoe_model_args *a,
                                     hcsmoe_model_desc *out)
{
    const hcsmoe_json_api *j = h->json;
    family *f = self;

    out->n_layers = (int32_t)j->integer(j->get(a->config, "num_hidden_layers"), 0);
    out->width = j->integer(j->get(a->config, "hidden_size"), 0);
    out->vocabulary = j->integer(j->get(a->config, "vocab_size"), 0);
    out->max_position = j->integer(j->get(a->config, "max_position_embeddings"), 0);
    out->n_heads = j->integer(j->get(a->config, "num_attention_heads"), 1);
    out->n_kv_heads = j->integer(j->get(a->config, "num_key_value_heads"), 1);
    out->head_dim = out->v_head_dim =
        j->integer(j->get(a->config, "head_dim"), out->width / out->n_heads);
    out->rope_theta = j->real(j->get(a->config, "rope_theta"), 0);
    out->norm_eps = j->real(j->get(a->config, "rms_norm_eps"), 0);
    out->attention_bytes = out->width * 4 * (int64_t)sizeof(float);
    out->attention_flops = 8 * (double)out->width * (double)out->width;
    out->key_n_experts = "num_local_experts";
    out->key_expert_ffn = "intermediate_size";
    out->key_top_k = "num_experts_per_tok";
    f->desc = *out;
    f->n_experts = j->integer(j->get(a->config, "num_local_experts"), 0);
    f->top_k = j->integer(j->get(a->config, "num_experts_per_tok"), 0);
    f->ffn = j->integer(j->get(a->config, "intermediate_size"), 0);
    f->window = j->integer(j->get(a->config, "sliding_window"), 0);
    return HCSMOE_OK;
}

static hcsmoe_status family_layer(void *self, const hcsmoe_host *h, const hcsmoe_model_args *a,
                                  hcsmoe_layer_desc *out)
{
    const family *f = self;

    (void)h;
    (void)a;
    out->is_moe = 1;
    out->n_experts = f->n_experts;
    out->top_k = f->top_k;
    out->ffn = f->ffn;
    return HCSMOE_OK;
}

static int32_t family_name(void *self, const hcsmoe_host *h, int32_t role, int32_t layer,
                           int32_t expert, int32_t variant, char *name, size_t size)
{
    static const struct {
        int32_t role;
        const char *format; /* of layer and expert */
    } names[] = {
        {HCSMOE_ROLE_EMBED, "model.embed_tokens.weight"},
        {HCSMOE_ROLE_FINAL_NORM, "model.norm.weight"},
        {HCSMOE_ROLE_LM_HEAD, "lm_head.weight"},
        {HCSMOE_ROLE_ATTN_NORM, "input_layernorm.weight"},
        {HCSMOE_ROLE_Q, "self_attn.q_proj.weight"},
        {HCSMOE_ROLE_K, "self_attn.k_proj.weight"},
        {HCSMOE_ROLE_V, "self_attn.v_proj.weight"},
        {HCSMOE_ROLE_O, "self_attn.o_proj.weight"},
        {HCSMOE_ROLE_FFN_NORM, "post_attention_layernorm.weight"},
        {HCSMOE_ROLE_ROUTER, "block_sparse_moe.gate.weight"},
        {HCSMOE_ROLE_EXPERT_MAP, "block_sparse_moe.expert_map"},
        {HCSMOE_ROLE_GATE, "w1.weight"},
        {HCSMOE_ROLE_UP, "w3.weight"},
        {HCSMOE_ROLE_DOWN, "w2.weight"},
    };
    size_t i;

    (void)self;
    (void)h;
    for (i = 0; i < sizeof names / sizeof names[0] && variant == 0; i++) {
        if (names[i].role != role)
            continue;
        if (expert >= 0)
            (void)snprintf(name, size, "model.layers.%d.block_sparse_moe.experts.%d.%s", layer,
                           expert, names[i].format);
        else if (layer >= 0)
            (void)snprintf(name, size, "model.layers.%d.%s", layer, names[i].format);
        else
            (void)snprintf(name, size, "%s", names[i].format);
        return 1;
    }
    return 0;
}

/* x -> y[n, heads * head_dim], rotated if it is a query or a key. */
static hcsmoe_status project(const family *f, const hcsmoe_host *h,
                             const hcsmoe_model_attention_args *a, int32_t role, int64_t heads,
                             float *y)
{
    const hcsmoe_kernels *k = h->kernels(h);
    const hcsmoe_tensor *weight = a->tensors->get(a->tensors->ctx, role, -1);
    const int64_t dim = f->desc.head_dim;
    double *frequency = h->scratch(h, (size_t)dim * sizeof *frequency);
    hcsmoe_status status;
    int64_t i;

    if (!frequency)
        return HCSMOE_ENOMEM;
    if (!weight || weight->shape[0] != heads * dim || weight->shape[1] != f->desc.width)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "layer %d: role %d has another shape", a->layer,
                            role);
    for (i = 0; i < dim / 2; i++)
        frequency[i] = pow(f->desc.rope_theta, -2.0 * (double)i / (double)dim);
    status = k->linear(k, a->n_tokens, heads * dim, f->desc.width, a->x, weight, NULL, 0, y);
    if (status == HCSMOE_OK && role != HCSMOE_ROLE_V)
        status = k->rope(k, a->n_tokens, heads, dim, dim, a->position, frequency, y);
    return status;
}

static hcsmoe_status family_attention(void *self, const hcsmoe_host *h,
                                      const hcsmoe_model_attention_args *a)
{
    const family *f = self;
    const hcsmoe_kernels *k = h->kernels(h);
    const int64_t n = a->n_tokens, q = f->desc.n_heads * f->desc.head_dim,
                  kv = f->desc.n_kv_heads * f->desc.head_dim;
    float *space = h->scratch(h, (size_t)(n * (2 * q + 2 * kv)) * sizeof *space);
    hcsmoe_attention_args b = {.struct_size = sizeof b};
    hcsmoe_status status;

    if (!space)
        return HCSMOE_ENOMEM;
    b.n_tokens = n;
    b.n_heads = f->desc.n_heads;
    b.n_kv_heads = f->desc.n_kv_heads;
    b.head_dim = b.v_head_dim = f->desc.head_dim;
    b.window = f->window;
    b.scale = 1.0 / sqrt((double)f->desc.head_dim);
    b.q = space;
    b.k = space + n * q;
    b.v = space + n * (q + kv);
    b.out = space + n * (q + 2 * kv);
    b.sequences = a->sequences;
    b.spans = a->spans;
    b.n_sequences = a->n_sequences;
    b.n_spans = a->n_spans;
    status = project(f, h, a, HCSMOE_ROLE_Q, f->desc.n_heads, space);
    if (status == HCSMOE_OK)
        status = project(f, h, a, HCSMOE_ROLE_K, f->desc.n_kv_heads, space + n * q);
    if (status == HCSMOE_OK)
        status = project(f, h, a, HCSMOE_ROLE_V, f->desc.n_kv_heads, space + n * (q + kv));
    if (status == HCSMOE_OK)
        status = k->attention(k, &b);
    if (status == HCSMOE_OK)
        status =
            k->linear(k, n, f->desc.width, q, b.out,
                      a->tensors->get(a->tensors->ctx, HCSMOE_ROLE_O, -1), NULL, 1, a->residual);
    return status;
}

static hcsmoe_status family_route(void *self, const hcsmoe_host *h,
                                  const hcsmoe_model_route_args *a)
{
    const hcsmoe_kernels *k = h->kernels(h);

    (void)self;
    return k->route(k, a->n_tokens, a->n_experts, (int32_t)a->top_k, 1, a->logits, a->mask,
                    a->probabilities, a->ids, a->weights);
}

static int32_t family_shape(void *self, const hcsmoe_host *h, int32_t role, int32_t layer,
                            int64_t shape[2])
{
    const family *f = self;
    const int64_t heads = role == HCSMOE_ROLE_Q ? f->desc.n_heads : f->desc.n_kv_heads;

    (void)h;
    (void)layer;
    if (role < HCSMOE_ROLE_Q || role > HCSMOE_ROLE_V)
        return 0;
    shape[0] = heads * f->desc.head_dim;
    shape[1] = f->desc.width;
    return 2;
}

static const hcsmoe_model_ops family_ops = {
    .struct_size = sizeof family_ops,
    .probe = family_probe,
    .describe = family_describe,
    .describe_layer = family_layer,
    .tensor_name = family_name,
    .attention = family_attention,
    .route = family_route,
    .tensor_shape = family_shape,
};

static const hcsmoe_component frozen = {
    .struct_size = sizeof frozen,
    .kind = HCSMOE_KIND_MODEL,
    .name = "frozen",
    .summary = "Mixtral with attention and routing of its own",
    .ops = &family_ops,
    .create = family_create,
    .destroy = family_destroy,
};

HCSMOE_PLUGIN("hcsmoe.test.v1-0.model", "1.0.0", "MIT", &frozen)
