/*
 * qwen2_moe.c - the Qwen2-MoE family: config.json to a description, roles to names.
 *
 * Beside the routed experts a layer has a shared one, scaled by a gate of its own; some layers may
 * be dense. The core puts the path of config.json in front of every message.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <hcsmoe/model.h>

/* Far above every published model, and small enough that the elements of one layer can be counted
 * in 64 bits. */
enum { LAYERS_MOST = 4096, EXPERTS_MOST = 65536, HEADS_MOST = 65536, SIZE_MOST = 1 << 20 };

/* What config.json said that decides which roles exist: tensor_name does not see it. Written by
 * describe. */
struct qwen {
    int32_t attention_bias;
    uint8_t is_moe[LAYERS_MOST];
};

static int is_set(const hcsmoe_host *h, const hcsmoe_json *v)
{
    return h->json->type(v) != HCSMOE_JSON_NULL;
}

static hcsmoe_status read_int(const hcsmoe_host *h, const hcsmoe_json *config, const char *key,
                              int64_t least, int64_t most, int64_t *out)
{
    const hcsmoe_json *v = h->json->get(config, key);

    if (!is_set(h, v))
        return hcsmoe_failf(h, HCSMOE_EINVAL, "no '%s'", key);
    *out = h->json->integer(v, INT64_MIN);
    if (*out == INT64_MIN)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "'%s' is not an integer: must be %lld..%lld", key,
                            (long long)least, (long long)most);
    if (*out < least || *out > most)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "'%s' is %lld: must be %lld..%lld", key,
                            (long long)*out, (long long)least, (long long)most);
    return HCSMOE_OK;
}

/* As read_int; *out stays when there is no such key. */
static hcsmoe_status read_int_or(const hcsmoe_host *h, const hcsmoe_json *config, const char *key,
                                 int64_t least, int64_t most, int64_t *out)
{
    if (!is_set(h, h->json->get(config, key)))
        return HCSMOE_OK;
    return read_int(h, config, key, least, most, out);
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
    hcsmoe_status status = read_int(h, config, "num_attention_heads", 1, HEADS_MOST, &d->n_heads);

    if (status == HCSMOE_OK)
        status = read_int(h, config, "num_key_value_heads", 1, HEADS_MOST, &d->n_kv_heads);
    if (status != HCSMOE_OK)
        return status;
    if (d->n_heads % d->n_kv_heads != 0)
        return hcsmoe_failf(
            h, HCSMOE_EINVAL,
            "'num_attention_heads' is %lld: must be a multiple of 'num_key_value_heads', %lld",
            (long long)d->n_heads, (long long)d->n_kv_heads);
    if (is_set(h, h->json->get(config, "head_dim"))) {
        status = read_int(h, config, "head_dim", 1, SIZE_MOST, &d->head_dim);
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
    if (!is_set(h, h->json->get(config, "num_experts")) &&
        is_set(h, h->json->get(config, "num_local_experts")))
        return "num_local_experts";
    return "num_experts";
}

/* A layer has experts unless it is listed as dense; of the others every decoder_sparse_step-th has
 * them. */
static hcsmoe_status read_is_moe(const hcsmoe_host *h, const hcsmoe_json *config, int32_t layer,
                                 int32_t *is_moe)
{
    const hcsmoe_json *dense = h->json->get(config, "mlp_only_layers");
    int64_t i, step = 1;
    hcsmoe_status status = read_int_or(h, config, "decoder_sparse_step", 1, LAYERS_MOST, &step);

    if (status != HCSMOE_OK)
        return status;
    if (is_set(h, dense) && h->json->type(dense) != HCSMOE_JSON_ARRAY)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "'mlp_only_layers' must be a list of layers");
    if (h->json->size(dense) > LAYERS_MOST)
        return hcsmoe_failf(h, HCSMOE_EINVAL,
                            "'mlp_only_layers' has %lld items: must be at most %d",
                            (long long)h->json->size(dense), LAYERS_MOST);
    *is_moe = (layer + 1) % step == 0;
    for (i = 0; i < h->json->size(dense); i++) {
        const int64_t listed = h->json->integer(h->json->at(dense, i), -1);
        if (listed < 0)
            return hcsmoe_failf(h, HCSMOE_EINVAL, "'mlp_only_layers' item %lld is not a layer",
                                (long long)i);
        if (listed == layer)
            *is_moe = 0;
    }
    return HCSMOE_OK;
}

/*
 * Without layer_types, as documented and as in transformers 4.46: the first max_window_layers
 * layers see everything, the others the window. Later versions changed that rule but write the
 * outcome down in layer_types, which therefore wins.
 */
static hcsmoe_status read_window(const hcsmoe_host *h, const hcsmoe_json *config, int32_t layer,
                                 int64_t *window)
{
    const hcsmoe_json *types = h->json->get(config, "layer_types");
    const char *type = h->json->string(h->json->at(types, layer), "?");
    int64_t full = 28; /* the family's default for max_window_layers */
    int64_t length = 0;
    int32_t used = 0;
    hcsmoe_status status = read_bool(h, config, "use_sliding_window", &used);

    if (status != HCSMOE_OK || !used)
        return status;
    status = read_int_or(h, config, "sliding_window", 1, INT32_MAX, &length);
    if (status == HCSMOE_OK)
        status = read_int_or(h, config, "max_window_layers", 0, INT32_MAX, &full);
    if (status != HCSMOE_OK)
        return status;
    if (!is_set(h, types))
        *window = layer >= full ? length : 0;
    else if (strcmp(type, "sliding_attention") == 0)
        *window = length;
    else if (strcmp(type, "full_attention") != 0)
        return hcsmoe_failf(
            h, HCSMOE_EUNSUPPORTED,
            "'layer_types' says '%s': not supported (have: full_attention, sliding_attention)",
            type);
    return HCSMOE_OK;
}

static int32_t qwen_probe(const hcsmoe_host *h, const hcsmoe_json *config)
{
    const hcsmoe_json *names = h->json->get(config, "architectures");
    const char *name = h->json->string(h->json->at(names, 0), "");
    const char *type = h->json->string(h->json->get(config, "model_type"), "");

    /* The second is what merged checkpoints with an expert map say, so that no other program takes
     * them for the first. */
    if (strcmp(type, "qwen2_moe") == 0 || strcmp(type, "hcsmoe_qwen2_moe") == 0)
        return 100;
    return strcmp(name, "Qwen2MoeForCausalLM") == 0 ? 80 : 0;
}

static hcsmoe_status read_sizes(const hcsmoe_host *h, const hcsmoe_json *config,
                                hcsmoe_model_desc *d)
{
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

    for (i = 0; i < sizeof sizes / sizeof sizes[0] && status == HCSMOE_OK; i++)
        status = read_int(h, config, sizes[i].key, 1, sizes[i].most, sizes[i].out);
    d->n_layers = (int32_t)n_layers;
    return status;
}

static hcsmoe_status qwen_describe(void *self, const hcsmoe_host *h, const hcsmoe_model_args *a,
                                   hcsmoe_model_desc *d)
{
    struct qwen *q = self;
    const hcsmoe_json *act = h->json->get(a->config, "hidden_act");
    hcsmoe_status status;
    int32_t layer;

    if (is_set(h, act) && strcmp(h->json->string(act, "?"), "silu") != 0)
        return hcsmoe_failf(h, HCSMOE_EUNSUPPORTED,
                            "'hidden_act' is '%s': not supported (have: silu)",
                            h->json->string(act, "?"));
    status = read_sizes(h, a->config, d);
    if (status == HCSMOE_OK)
        status = read_heads(h, a->config, d);
    if (status == HCSMOE_OK)
        status = read_real(h, a->config, "rms_norm_eps", &d->norm_eps);
    if (status == HCSMOE_OK)
        status = read_rope(h, a->config, &d->rope_theta);
    if (status == HCSMOE_OK)
        status = read_bool(h, a->config, "tie_word_embeddings", &d->tied_embeddings);
    d->attention_bias = 1; /* what a config without the key means */
    if (status == HCSMOE_OK)
        status = read_bool(h, a->config, "qkv_bias", &d->attention_bias);
    q->attention_bias = d->attention_bias;
    for (layer = 0; layer < d->n_layers && status == HCSMOE_OK; layer++) {
        int32_t is_moe = 0;
        status = read_is_moe(h, a->config, layer, &is_moe);
        q->is_moe[layer] = is_moe != 0;
    }
    d->v_head_dim = d->head_dim;
    d->key_n_experts = experts_key(h, a->config);
    d->key_expert_ffn = "moe_intermediate_size";
    d->key_top_k = "num_experts_per_tok";
    return status;
}

static hcsmoe_status describe_experts(const hcsmoe_host *h, const hcsmoe_json *config,
                                      hcsmoe_layer_desc *d)
{
    const char *key = experts_key(h, config);
    hcsmoe_status status = read_int(h, config, key, 1, EXPERTS_MOST, &d->n_experts);

    if (status == HCSMOE_OK)
        status = read_int(h, config, "num_experts_per_tok", 1, EXPERTS_MOST, &d->top_k);
    if (status == HCSMOE_OK && d->top_k > d->n_experts)
        status = hcsmoe_failf(h, HCSMOE_EINVAL,
                              "'num_experts_per_tok' is %lld: must be 1..%lld, as '%s' says",
                              (long long)d->top_k, (long long)d->n_experts, key);
    if (status == HCSMOE_OK)
        status = read_int(h, config, "moe_intermediate_size", 1, SIZE_MOST, &d->ffn);
    if (status == HCSMOE_OK)
        status =
            read_int(h, config, "shared_expert_intermediate_size", 1, SIZE_MOST, &d->shared_ffn);
    if (status == HCSMOE_OK)
        status = read_bool(h, config, "norm_topk_prob", &d->renormalise);
    d->shared_router = 1;
    return status;
}

static hcsmoe_status qwen_describe_layer(void *self, const hcsmoe_host *h,
                                         const hcsmoe_model_args *a, hcsmoe_layer_desc *d)
{
    hcsmoe_status status = read_is_moe(h, a->config, a->layer, &d->is_moe);

    (void)self;
    if (status == HCSMOE_OK)
        status = read_window(h, a->config, a->layer, &d->window);
    if (status != HCSMOE_OK)
        return status;
    if (!d->is_moe)
        return read_int(h, a->config, "intermediate_size", 1, SIZE_MOST, &d->ffn);
    return describe_experts(h, a->config, d);
}

/* Which layers have a role, and the prefix of its name: the expert's, the layer's or none. */
enum { PER_MODEL, PER_LAYER, WITH_BIAS, IN_DENSE, IN_MOE, PER_EXPERT };

struct role_name {
    int32_t role, where;
    const char *name; /* behind the prefix */
};

/* Fused experts are how newer libraries hold the model in memory; tools that dump a state
 * dictionary write them. */
static const struct role_name names[] = {
    {.role = HCSMOE_ROLE_EMBED, .where = PER_MODEL, .name = "model.embed_tokens.weight"},
    {.role = HCSMOE_ROLE_FINAL_NORM, .where = PER_MODEL, .name = "model.norm.weight"},
    {.role = HCSMOE_ROLE_LM_HEAD, .where = PER_MODEL, .name = "lm_head.weight"},
    {.role = HCSMOE_ROLE_ATTN_NORM, .where = PER_LAYER, .name = "input_layernorm.weight"},
    {.role = HCSMOE_ROLE_Q, .where = PER_LAYER, .name = "self_attn.q_proj.weight"},
    {.role = HCSMOE_ROLE_K, .where = PER_LAYER, .name = "self_attn.k_proj.weight"},
    {.role = HCSMOE_ROLE_V, .where = PER_LAYER, .name = "self_attn.v_proj.weight"},
    {.role = HCSMOE_ROLE_O, .where = PER_LAYER, .name = "self_attn.o_proj.weight"},
    {.role = HCSMOE_ROLE_Q_BIAS, .where = WITH_BIAS, .name = "self_attn.q_proj.bias"},
    {.role = HCSMOE_ROLE_K_BIAS, .where = WITH_BIAS, .name = "self_attn.k_proj.bias"},
    {.role = HCSMOE_ROLE_V_BIAS, .where = WITH_BIAS, .name = "self_attn.v_proj.bias"},
    {.role = HCSMOE_ROLE_FFN_NORM, .where = PER_LAYER, .name = "post_attention_layernorm.weight"},
    {.role = HCSMOE_ROLE_DENSE_GATE, .where = IN_DENSE, .name = "mlp.gate_proj.weight"},
    {.role = HCSMOE_ROLE_DENSE_UP, .where = IN_DENSE, .name = "mlp.up_proj.weight"},
    {.role = HCSMOE_ROLE_DENSE_DOWN, .where = IN_DENSE, .name = "mlp.down_proj.weight"},
    {.role = HCSMOE_ROLE_ROUTER, .where = IN_MOE, .name = "mlp.gate.weight"},
    {.role = HCSMOE_ROLE_EXPERT_MAP, .where = IN_MOE, .name = "mlp.expert_map"},
    {.role = HCSMOE_ROLE_SHARED_GATE,
     .where = IN_MOE,
     .name = "mlp.shared_expert.gate_proj.weight"},
    {.role = HCSMOE_ROLE_SHARED_UP, .where = IN_MOE, .name = "mlp.shared_expert.up_proj.weight"},
    {.role = HCSMOE_ROLE_SHARED_DOWN,
     .where = IN_MOE,
     .name = "mlp.shared_expert.down_proj.weight"},
    {.role = HCSMOE_ROLE_SHARED_ROUTER, .where = IN_MOE, .name = "mlp.shared_expert_gate.weight"},
    {.role = HCSMOE_ROLE_GATE, .where = PER_EXPERT, .name = "gate_proj.weight"},
    {.role = HCSMOE_ROLE_UP, .where = PER_EXPERT, .name = "up_proj.weight"},
    {.role = HCSMOE_ROLE_DOWN, .where = PER_EXPERT, .name = "down_proj.weight"},
    {.role = HCSMOE_ROLE_FUSED_GATE_UP, .where = IN_MOE, .name = "mlp.experts.gate_up_proj"},
    {.role = HCSMOE_ROLE_FUSED_DOWN, .where = IN_MOE, .name = "mlp.experts.down_proj"},
};

static int has_role(const struct qwen *q, int32_t where, int32_t layer)
{
    if (where == PER_MODEL)
        return 1;
    if (layer < 0 || layer >= LAYERS_MOST)
        return 0;
    switch (where) {
    case WITH_BIAS:
        return q->attention_bias;
    case IN_DENSE:
        return !q->is_moe[layer];
    case IN_MOE:
    case PER_EXPERT:
        return q->is_moe[layer];
    default:
        return 1;
    }
}

static int32_t qwen_tensor_name(void *self, const hcsmoe_host *h, int32_t role, int32_t layer,
                                int32_t expert, int32_t variant, char *name, size_t size)
{
    size_t i;
    int n;

    (void)h;
    for (i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct role_name *r = &names[i];
        if (r->role != role || variant != 0 || !has_role(self, r->where, layer))
            continue;
        if (r->where == PER_MODEL)
            n = snprintf(name, size, "%s", r->name);
        else if (r->where == PER_EXPERT)
            n = snprintf(name, size, "model.layers.%d.mlp.experts.%d.%s", layer, expert, r->name);
        else
            n = snprintf(name, size, "model.layers.%d.%s", layer, r->name);
        return n > 0 && (size_t)n < size;
    }
    return 0;
}

static hcsmoe_status qwen_create(const hcsmoe_host *h, const void *opts, void **self)
{
    struct qwen *q = h->alloc(h, sizeof *q);

    (void)opts; /* the family has no options */
    if (!q)
        return HCSMOE_ENOMEM;
    memset(q, 0, sizeof *q);
    *self = q;
    return HCSMOE_OK;
}

static void qwen_destroy(const hcsmoe_host *h, void *self)
{
    h->free(h, self);
}

static const hcsmoe_model_ops ops = {
    .struct_size = sizeof ops,
    .probe = qwen_probe,
    .describe = qwen_describe,
    .describe_layer = qwen_describe_layer,
    .tensor_name = qwen_tensor_name,
};

static const hcsmoe_component qwen2_moe = {
    .struct_size = sizeof qwen2_moe,
    .kind = HCSMOE_KIND_MODEL,
    .name = "qwen2_moe",
    .summary = "Qwen1.5-MoE and other Qwen2-MoE models",
    .ops = &ops,
    .create = qwen_create,
    .destroy = qwen_destroy,
};

HCSMOE_PLUGIN("hcsmoe.model.qwen2_moe", "1.0.0", "MIT", &qwen2_moe)
