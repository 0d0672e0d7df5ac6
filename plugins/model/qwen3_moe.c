/*
 * qwen3_moe.c - the Qwen3-MoE family: config.json to a description, roles to names.
 *
 * Queries and keys are normed head by head; there is no shared expert. SPDX-License-Identifier: MIT
 */
#include <hcsmoe/family.h>

static const char *experts_key(const hcsmoe_config *c)
{
    return hcsmoe_config_experts_key(c, "num_experts", "num_local_experts");
}

static int32_t qwen_probe(const hcsmoe_host *h, const hcsmoe_json *config)
{
    return hcsmoe_config_probe(h, config, "qwen3_moe", "Qwen3MoeForCausalLM");
}

static hcsmoe_status qwen_describe(void *self, const hcsmoe_host *h, const hcsmoe_model_args *a,
                                   hcsmoe_model_desc *d)
{
    hcsmoe_family *f = self;
    hcsmoe_config c = {.h = h, .json = a->config};

    hcsmoe_config_decoder(&c, d);
    hcsmoe_config_heads(&c, d);
    hcsmoe_config_rope(&c, NULL, &d->rope_theta);
    hcsmoe_config_bool(&c, "attention_bias", &d->attention_bias);
    d->output_bias = d->attention_bias;
    d->qk_norm = HCSMOE_NORM_PER_HEAD;
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
    hcsmoe_config_bool(&c, "norm_topk_prob", &d->renormalise);
    return c.status;
}

static int32_t qwen_tensor_name(void *self, const hcsmoe_host *h, int32_t role, int32_t layer,
                                int32_t expert, int32_t variant, char *name, size_t size)
{
    (void)h;
    return hcsmoe_family_name(self, NULL, 0, role, layer, expert, variant, name, size);
}

static const hcsmoe_model_ops ops = {
    .struct_size = sizeof ops,
    .probe = qwen_probe,
    .describe = qwen_describe,
    .describe_layer = qwen_describe_layer,
    .tensor_name = qwen_tensor_name,
};

static const hcsmoe_component qwen3_moe = {
    .struct_size = sizeof qwen3_moe,
    .kind = HCSMOE_KIND_MODEL,
    .name = "qwen3_moe",
    .summary = "Qwen3-30B-A3B, Qwen3-235B-A22B and other Qwen3-MoE models",
    .ops = &ops,
    .create = hcsmoe_family_create,
    .destroy = hcsmoe_family_destroy,
};

HCSMOE_PLUGIN("hcsmoe.model.qwen3_moe", "1.0.0", "MIT", &qwen3_moe)
