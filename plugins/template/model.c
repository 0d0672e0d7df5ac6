/*
 * model.c - a template: a family that is built as Mixtral and has a config and names of its own.
 *
 * The core runs the decoder from what `describe` and `describe_layer` say: norms, rotary attention
 * with grouped keys and values, biases, norms of queries and keys, windows, dense layers, shared
 * experts. What that does not express is computed by an `attention` or a `route` of the family
 * (model.h). The file is C11 and C++17. SPDX-License-Identifier: MIT
 */
#include <hcsmoe/family.h>

/* The key of config.json that counts the experts. */
static const char key_experts[] = "num_local_experts";
static const char key_ffn[] = "intermediate_size";
static const char key_top_k[] = "num_experts_per_tok";

/* Is this config.json mine? By its model_type, or else by its architecture. */
static int32_t mine_probe(const hcsmoe_host *h, const hcsmoe_json *config)
{
    return hcsmoe_config_probe(h, config, "mine", "MineForCausalLM");
}

/* The model as a whole. The readers of family.h name a key that is missing or wrong. */
static hcsmoe_status mine_describe(void *self, const hcsmoe_host *h, const hcsmoe_model_args *a,
                                   hcsmoe_model_desc *d)
{
    hcsmoe_family *f = (hcsmoe_family *)self;
    hcsmoe_config c = {h, a->config, HCSMOE_OK, 0};
    int32_t layer;

    hcsmoe_config_decoder(&c, d); /* hidden_size, num_hidden_layers, vocab_size ... */
    hcsmoe_config_heads(&c, d);   /* num_attention_heads, num_key_value_heads, head_dim */
    hcsmoe_config_rope(&c, NULL, &d->rope_theta);
    hcsmoe_config_bool(&c, "attention_bias", &d->attention_bias);
    d->qk_norm = HCSMOE_NORM_NONE;
    /* Written when a merged model has another shape. */
    d->key_n_experts = key_experts;
    d->key_expert_ffn = key_ffn;
    d->key_top_k = key_top_k;
    for (layer = 0; layer < d->n_layers; layer++)
        f->is_moe[layer] = 1;
    f->desc = *d; /* for tensor_name, which does not see config.json */
    return c.status;
}

/* One layer. Here all are alike; a->layer tells which one is asked for. */
static hcsmoe_status mine_describe_layer(void *self, const hcsmoe_host *h,
                                         const hcsmoe_model_args *a, hcsmoe_layer_desc *d)
{
    hcsmoe_config c = {h, a->config, HCSMOE_OK, 0};

    (void)self;
    d->is_moe = 1;
    d->renormalise = 1; /* the weights of the chosen experts sum to 1 */
    hcsmoe_config_experts(&c, key_experts, d);
    hcsmoe_config_int(&c, key_ffn, 1, HCSMOE_SIZE_MOST, &d->ffn);
    hcsmoe_config_int_or(&c, "sliding_window", 1, INT32_MAX, &d->window);
    return c.status;
}

/* The names that are not those of hcsmoe_common_names: role, spelling 0, 1, ..., the part behind
 * "model.layers.L.", and of an expert's matrices the part behind its number. Where to write the
 * map of a merged layer is part of it. */
static const hcsmoe_role_name names[] = {
    {HCSMOE_ROLE_ROUTER, 0, "block_sparse_moe.gate.weight", NULL},
    {HCSMOE_ROLE_EXPERT_MAP, 0, "block_sparse_moe.expert_map", NULL},
    {HCSMOE_ROLE_GATE, 0, "block_sparse_moe.experts", "w1.weight"},
    {HCSMOE_ROLE_UP, 0, "block_sparse_moe.experts", "w3.weight"},
    {HCSMOE_ROLE_DOWN, 0, "block_sparse_moe.experts", "w2.weight"},
};

static int32_t mine_tensor_name(void *self, const hcsmoe_host *h, int32_t role, int32_t layer,
                                int32_t expert, int32_t variant, char *name, size_t size)
{
    (void)h;
    return hcsmoe_family_name((const hcsmoe_family *)self, names, sizeof names / sizeof names[0],
                              role, layer, expert, variant, name, size);
}

HCSMOE_TABLE(hcsmoe_model_ops, ops, HCSMOE_SET(probe, mine_probe),
             HCSMOE_SET(describe, mine_describe), HCSMOE_SET(describe_layer, mine_describe_layer),
             HCSMOE_SET(tensor_name, mine_tensor_name));

HCSMOE_TABLE(hcsmoe_component, mine,                   /* one row of `hcsmoe plugins` */
             HCSMOE_SET(kind, HCSMOE_KIND_MODEL),      /* [model] */
             HCSMOE_SET(name, "mine"),                 /* family = mine; auto asks `probe` */
             HCSMOE_SET(summary, "my family"),         /* one line */
             HCSMOE_SET(ops, &ops),                    /* what it does */
             HCSMOE_SET(create, hcsmoe_family_create), /* self is a hcsmoe_family */
             HCSMOE_SET(destroy, hcsmoe_family_destroy));

HCSMOE_PLUGIN("org.example.model.mine", "1.0.0", "MIT", &mine)
