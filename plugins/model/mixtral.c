/*
 * mixtral.c - the Mixtral family: config.json to a description, roles to tensor names.
 *
 * The core puts the path of config.json in front of every message. SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <hcsmoe/model.h>

/* Far above every published model, and small enough that the elements of one layer can be counted
 * in 64 bits. */
enum { LAYERS_MOST = 4096, EXPERTS_MOST = 65536, HEADS_MOST = 65536, SIZE_MOST = 1 << 20 };

static int is_set(const hcsmoe_host *h, const hcsmoe_json *v)
{
    return h->json->type(v) != HCSMOE_JSON_NULL;
}

static hcsmoe_status read_int(const hcsmoe_host *h, const hcsmoe_json *config, const char *key,
                              int64_t most, int64_t *out)
{
    const hcsmoe_json *v = h->json->get(config, key);

    if (!is_set(h, v))
        return hcsmoe_failf(h, HCSMOE_EINVAL, "no '%s'", key);
    *out = h->json->integer(v, INT64_MIN);
    if (*out == INT64_MIN)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "'%s' is not an integer: must be 1..%lld", key,
                            (long long)most);
    if (*out < 1 || *out > most)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "'%s' is %lld: must be 1..%lld", key, (long long)*out,
                            (long long)most);
    return HCSMOE_OK;
}

static hcsmoe_status read_bool(const hcsmoe_host *h, const hcsmoe_json *config, const char *key,
                               int32_t *out)
{
    const hcsmoe_json *v = h->json->get(config, key);

    if (is_set(h, v) && h->json->type(v) != HCSMOE_JSON_BOOL)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "'%s' must be true or false", key);
    *out = h->json->boolean(v, *out);
    return HCSMOE_OK;
}

/* A positive number. */
static hcsmoe_status read_real(const hcsmoe_host *h, const hcsmoe_json *object, const char *key,
                               double *out)
{
    const hcsmoe_json *v = h->json->get(object, key);

    if (!is_set(h, v))
        return hcsmoe_failf(h, HCSMOE_EINVAL, "no '%s'", key);
    *out = h->json->real(v, NAN);
    if (!(*out > 0 && isfinite(*out)))
        return hcsmoe_failf(h, HCSMOE_EINVAL, "'%s' must be a number above 0", key);
    return HCSMOE_OK;
}

/* The base of the rotation stands at the top level or, since transformers 5, with the kind of
 * scaling in one object. */
static hcsmoe_status read_rope(const hcsmoe_host *h, const hcsmoe_json *config, double *theta)
{
    static const char *const names[] = {"rope_scaling", "rope_parameters"};
    const hcsmoe_json *holder = config;
    size_t i;

    for (i = 0; i < sizeof names / sizeof names[0]; i++) {
        const hcsmoe_json *object = h->json->get(config, names[i]);
        const char *key = is_set(h, h->json->get(object, "rope_type")) ? "rope_type" : "type";
        const hcsmoe_json *type = h->json->get(object, key);
        const char *text = h->json->string(type, is_set(h, type) ? "?" : "default");
        if (is_set(h, object) && h->json->type(object) != HCSMOE_JSON_OBJECT)
            return hcsmoe_failf(h, HCSMOE_EINVAL, "'%s' must be null or an object", names[i]);
        if (strcmp(text, "default") != 0)
            return hcsmoe_failf(
                h, HCSMOE_EUNSUPPORTED,
                "'%s.%s' is '%s': this scaling of positions is not supported (have: default)",
                names[i], key, text);
        if (is_set(h, h->json->get(object, "rope_theta")))
            holder = object;
    }
    return read_real(h, holder, "rope_theta", theta);
}

static hcsmoe_status read_heads(const hcsmoe_host *h, const hcsmoe_json *config,
                                hcsmoe_model_desc *d)
{
    hcsmoe_status status = read_int(h, config, "num_attention_heads", HEADS_MOST, &d->n_heads);

    if (status == HCSMOE_OK)
        status = read_int(h, config, "num_key_value_heads", HEADS_MOST, &d->n_kv_heads);
    if (status != HCSMOE_OK)
        return status;
    if (d->n_heads % d->n_kv_heads != 0)
        return hcsmoe_failf(
            h, HCSMOE_EINVAL,
            "'num_attention_heads' is %lld: must be a multiple of 'num_key_value_heads', %lld",
            (long long)d->n_heads, (long long)d->n_kv_heads);
    if (is_set(h, h->json->get(config, "head_dim"))) {
        status = read_int(h, config, "head_dim", SIZE_MOST, &d->head_dim);
    } else {
        d->head_dim = d->width / d->n_heads;
        if (d->width % d->n_heads != 0)
            status = hcsmoe_failf(
                h, HCSMOE_EINVAL,
                "'hidden_size' is %lld: must be a multiple of 'num_attention_heads', %lld, "
                "where there is no 'head_dim'",
                (long long)d->width, (long long)d->n_heads);
    }
    if (status == HCSMOE_OK && d->head_dim % 2 != 0)
        return hcsmoe_failf(h, HCSMOE_EINVAL,
                            "heads have %lld dimensions: must be even, they are rotated in pairs",
                            (long long)d->head_dim);
    return status;
}

/* Experts in tools' configs are counted under either name. */
static const char *experts_key(const hcsmoe_host *h, const hcsmoe_json *config)
{
    if (!is_set(h, h->json->get(config, "num_local_experts")) &&
        is_set(h, h->json->get(config, "num_experts")))
        return "num_experts";
    return "num_local_experts";
}

static int32_t mixtral_probe(const hcsmoe_host *h, const hcsmoe_json *config)
{
    const hcsmoe_json *names = h->json->get(config, "architectures");
    const char *name = h->json->string(h->json->at(names, 0), "");
    const char *type = h->json->string(h->json->get(config, "model_type"), "");

    /* The second is what merged checkpoints with an expert map say, so that no other program takes
     * them for the first. */
    if (strcmp(type, "mixtral") == 0 || strcmp(type, "hcsmoe_mixtral") == 0)
        return 100;
    return strcmp(name, "MixtralForCausalLM") == 0 ? 80 : 0;
}

static hcsmoe_status mixtral_describe(void *self, const hcsmoe_host *h, const hcsmoe_model_args *a,
                                      hcsmoe_model_desc *d)
{
    const hcsmoe_json *act = h->json->get(a->config, "hidden_act");
    int64_t n_layers = 0;
    const struct {
        const char *key;
        int64_t most;
        int64_t *out;
    } sizes[] = {
        {.key = "num_hidden_layers", .most = LAYERS_MOST, .out = &n_layers},
        {.key = "hidden_size", .most = SIZE_MOST, .out = &d->width},
        {.key = "vocab_size", .most = INT32_MAX, .out = &d->vocabulary},
        {.key = "max_position_embeddings", .most = INT32_MAX, .out = &d->max_position},
    };
    hcsmoe_status status = HCSMOE_OK;
    size_t i;

    (void)self;
    if (is_set(h, act) && strcmp(h->json->string(act, "?"), "silu") != 0)
        return hcsmoe_failf(h, HCSMOE_EUNSUPPORTED,
                            "'hidden_act' is '%s': not supported (have: silu)",
                            h->json->string(act, "?"));
    for (i = 0; i < sizeof sizes / sizeof sizes[0] && status == HCSMOE_OK; i++)
        status = read_int(h, a->config, sizes[i].key, sizes[i].most, sizes[i].out);
    if (status == HCSMOE_OK)
        status = read_heads(h, a->config, d);
    if (status == HCSMOE_OK)
        status = read_real(h, a->config, "rms_norm_eps", &d->norm_eps);
    if (status == HCSMOE_OK)
        status = read_rope(h, a->config, &d->rope_theta);
    if (status == HCSMOE_OK)
        status = read_bool(h, a->config, "tie_word_embeddings", &d->tied_embeddings);
    d->n_layers = (int32_t)n_layers;
    d->v_head_dim = d->head_dim;
    d->key_n_experts = experts_key(h, a->config);
    d->key_expert_ffn = "intermediate_size";
    d->key_top_k = "num_experts_per_tok";
    return status;
}

/* All layers are alike. */
static hcsmoe_status mixtral_describe_layer(void *self, const hcsmoe_host *h,
                                            const hcsmoe_model_args *a, hcsmoe_layer_desc *d)
{
    const char *key = experts_key(h, a->config);
    hcsmoe_status status = read_int(h, a->config, key, EXPERTS_MOST, &d->n_experts);

    (void)self;
    if (status == HCSMOE_OK)
        status = read_int(h, a->config, "num_experts_per_tok", EXPERTS_MOST, &d->top_k);
    if (status == HCSMOE_OK && d->top_k > d->n_experts)
        status = hcsmoe_failf(h, HCSMOE_EINVAL,
                              "'num_experts_per_tok' is %lld: must be 1..%lld, as '%s' says",
                              (long long)d->top_k, (long long)d->n_experts, key);
    if (status == HCSMOE_OK)
        status = read_int(h, a->config, "intermediate_size", SIZE_MOST, &d->ffn);
    if (status == HCSMOE_OK && is_set(h, h->json->get(a->config, "sliding_window")))
        status = read_int(h, a->config, "sliding_window", INT32_MAX, &d->window);
    d->is_moe = 1;
    d->renormalise = 1;
    return status;
}

enum { PER_MODEL, PER_LAYER, PER_EXPERT };

struct role_name {
    int32_t role, per, variant;
    const char *name; /* behind the layer's or the expert's prefix */
};

/* Variants 1, and fused experts, are how newer libraries hold the model in memory; tools that dump
 * a state dictionary write them. */
static const struct role_name names[] = {
    {.role = HCSMOE_ROLE_EMBED, .per = PER_MODEL, .name = "model.embed_tokens.weight"},
    {.role = HCSMOE_ROLE_FINAL_NORM, .per = PER_MODEL, .name = "model.norm.weight"},
    {.role = HCSMOE_ROLE_LM_HEAD, .per = PER_MODEL, .name = "lm_head.weight"},
    {.role = HCSMOE_ROLE_ATTN_NORM, .per = PER_LAYER, .name = "input_layernorm.weight"},
    {.role = HCSMOE_ROLE_Q, .per = PER_LAYER, .name = "self_attn.q_proj.weight"},
    {.role = HCSMOE_ROLE_K, .per = PER_LAYER, .name = "self_attn.k_proj.weight"},
    {.role = HCSMOE_ROLE_V, .per = PER_LAYER, .name = "self_attn.v_proj.weight"},
    {.role = HCSMOE_ROLE_O, .per = PER_LAYER, .name = "self_attn.o_proj.weight"},
    {.role = HCSMOE_ROLE_FFN_NORM, .per = PER_LAYER, .name = "post_attention_layernorm.weight"},
    {.role = HCSMOE_ROLE_ROUTER, .per = PER_LAYER, .name = "block_sparse_moe.gate.weight"},
    {.role = HCSMOE_ROLE_ROUTER, .per = PER_LAYER, .variant = 1, .name = "mlp.gate.weight"},
    {.role = HCSMOE_ROLE_EXPERT_MAP, .per = PER_LAYER, .name = "block_sparse_moe.expert_map"},
    {.role = HCSMOE_ROLE_GATE, .per = PER_EXPERT, .name = "w1.weight"},
    {.role = HCSMOE_ROLE_UP, .per = PER_EXPERT, .name = "w3.weight"},
    {.role = HCSMOE_ROLE_DOWN, .per = PER_EXPERT, .name = "w2.weight"},
    {.role = HCSMOE_ROLE_FUSED_GATE_UP, .per = PER_LAYER, .name = "mlp.experts.gate_up_proj"},
    {.role = HCSMOE_ROLE_FUSED_DOWN, .per = PER_LAYER, .name = "mlp.experts.down_proj"},
};

static int32_t mixtral_tensor_name(void *self, const hcsmoe_host *h, int32_t role, int32_t layer,
                                   int32_t expert, int32_t variant, char *name, size_t size)
{
    size_t i;
    int n;

    (void)self;
    (void)h;
    for (i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct role_name *r = &names[i];
        if (r->role != role || r->variant != variant)
            continue;
        if (r->per == PER_MODEL)
            n = snprintf(name, size, "%s", r->name);
        else if (r->per == PER_LAYER)
            n = snprintf(name, size, "model.layers.%d.%s", layer, r->name);
        else
            n = snprintf(name, size, "model.layers.%d.block_sparse_moe.experts.%d.%s", layer,
                         expert, r->name);
        return n > 0 && (size_t)n < size;
    }
    return 0;
}

static const hcsmoe_model_ops ops = {
    .struct_size = sizeof ops,
    .probe = mixtral_probe,
    .describe = mixtral_describe,
    .describe_layer = mixtral_describe_layer,
    .tensor_name = mixtral_tensor_name,
};

static const hcsmoe_component mixtral = {
    .struct_size = sizeof mixtral,
    .kind = HCSMOE_KIND_MODEL,
    .name = "mixtral",
    .summary = "Mixtral 8x7B and its kin",
    .ops = &ops,
};

HCSMOE_PLUGIN("hcsmoe.model.mixtral", "1.0.0", "MIT", &mixtral)
