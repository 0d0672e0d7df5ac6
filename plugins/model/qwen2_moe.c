/*
 * qwen2_moe.c - the Qwen2-MoE family: config.json to a description, roles to names.
 *
 * Beside the routed experts a layer has a shared one, scaled by a gate of its own; some layers may
 * be dense. SPDX-License-Identifier: MIT
 */
#include <hcsmoe/family.h>

static const char *experts_key(const hcsmoe_config *c)
{
    return hcsmoe_config_experts_key(c, "num_experts", "num_local_experts");
}

static int32_t qwen_probe(const hcsmoe_host *h, const hcsmoe_json *config)
{
    return hcsmoe_config_probe(h, config, "qwen2_moe", "Qwen2MoeForCausalLM");
}

static hcsmoe_status qwen_describe(void *self, const hcsmoe_host *h, const hcsmoe_model_args *a,
                                   hcsmoe_model_desc *d)
{
    hcsmoe_family *f = self;
    hcsmoe_config c = {.h = h, .json = a->config};

    hcsmoe_config_decoder(&c, d);
    hcsmoe_config_heads(&c, d);
    hcsmoe_config_rope(&c, NULL, &d->rope_theta);
    d->attention_bias = 1; /* what a config without the key means */
    hcsmoe_config_bool(&c, "qkv_bias", &d->attention_bias);
    for (int32_t layer = 0; layer < d->n_layers; layer++)
        f->is_moe[layer] = hcsmoe_config_is_moe(&c, layer) != 0;
    d->key_n_experts = experts_key(&c);
    d->key_expert_ffn = "moe_intermediate_size";
    d->key_top_k = "num_experts_per_tok";
    f->desc = *d;
    return c.status;
}

static hcsmoe_status qwen_describe_layer(void *self, const hcsmoe_host *h,
                                         const hcsmoe_model_args *a, hcsmoe_layer_desc *d)
{
    const hcsmoe_family *f = self;
    hcsmoe_config c = {.h = h, .json = a->config};

    d->is_moe = f->is_moe[a->layer];
    hcsmoe_config_window(&c, a->layer, &d->window);
    if (!d->is_moe) {
        hcsmoe_config_int(&c, "intermediate_size", 1, HCSMOE_SIZE_MOST, &d->ffn);
        return c.status;
    }
    hcsmoe_config_experts(&c, experts_key(&c), d);
    hcsmoe_config_int(&c, "moe_intermediate_size", 1, HCSMOE_SIZE_MOST, &d->ffn);
    hcsmoe_config_int(&c, "shared_expert_intermediate_size", 1, HCSMOE_SIZE_MOST, &d->shared_ffn);
    d->shared_router = 1;
    hcsmoe_config_bool(&c, "norm_topk_prob", &d->renormalise);
    return c.status;
}

static const hcsmoe_role_name names[] = {
    {.role = HCSMOE_ROLE_SHARED_GATE, .name = "mlp.shared_expert.gate_proj.weight"},
    {.role = HCSMOE_ROLE_SHARED_UP, .name = "mlp.shared_expert.up_proj.weight"},
    {.role = HCSMOE_ROLE_SHARED_DOWN, .name = "mlp.shared_expert.down_proj.weight"},
    {.role = HCSMOE_ROLE_SHARED_ROUTER, .name = "mlp.shared_expert_gate.weight"},
};

static int32_t qwen_tensor_name(void *self, const hcsmoe_host *h, int32_t role, int32_t layer,
                                int32_t expert, int32_t variant, char *name, size_t size)
{
    (void)h;
    return hcsmoe_family_name(self, names, sizeof names / sizeof names[0], role, layer, expert,
                              variant, name, size);
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
    .create = hcsmoe_family_create,
    .destroy = hcsmoe_family_destroy,
};

HCSMOE_PLUGIN("hcsmoe.model.qwen2_moe", "1.0.0", "MIT", &qwen2_moe)
