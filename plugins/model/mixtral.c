/*
 * mixtral.c - the Mixtral family: config.json to a description, roles to tensor names.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include <hcsmoe/family.h>

static const char *experts_key(const hcsmoe_config *c)
{
    return hcsmoe_config_experts_key(c, "num_local_experts", "num_experts");
}

static int32_t mixtral_probe(const hcsmoe_host *h, const hcsmoe_json *config)
{
    return hcsmoe_config_probe(h, config, "mixtral", "MixtralForCausalLM");
}

static hcsmoe_status mixtral_describe(void *self, const hcsmoe_host *h, const hcsmoe_model_args *a,
                                      hcsmoe_model_desc *d)
{
    hcsmoe_family *f = self;
    hcsmoe_config c = {.h = h, .json = a->config};

    hcsmoe_config_decoder(&c, d);
    hcsmoe_config_heads(&c, d);
    hcsmoe_config_rope(&c, NULL, &d->rope_theta);
    memset(f->is_moe, 1, sizeof f->is_moe);
    d->key_n_experts = experts_key(&c);
    d->key_expert_ffn = "intermediate_size";
    d->key_top_k = "num_experts_per_tok";
    f->desc = *d;
    return c.status;
}

/* All layers are alike. */
static hcsmoe_status mixtral_describe_layer(void *self, const hcsmoe_host *h,
                                            const hcsmoe_model_args *a, hcsmoe_layer_desc *d)
{
    hcsmoe_config c = {.h = h, .json = a->config};

    (void)self;
    d->is_moe = 1;
    d->renormalise = 1;
    hcsmoe_config_experts(&c, experts_key(&c), d);
    hcsmoe_config_int(&c, "intermediate_size", 1, HCSMOE_SIZE_MOST, &d->ffn);
    hcsmoe_config_int_or(&c, "sliding_window", 1, INT32_MAX, &d->window);
    return c.status;
}

/* The router of variant 1 goes with fused experts. */
static const hcsmoe_role_name names[] = {
    {.role = HCSMOE_ROLE_ROUTER, .name = "block_sparse_moe.gate.weight"},
    {.role = HCSMOE_ROLE_ROUTER, .variant = 1, .name = "mlp.gate.weight"},
    {.role = HCSMOE_ROLE_EXPERT_MAP, .name = "block_sparse_moe.expert_map"},
    {.role = HCSMOE_ROLE_GATE, .name = "block_sparse_moe.experts", .part = "w1.weight"},
    {.role = HCSMOE_ROLE_UP, .name = "block_sparse_moe.experts", .part = "w3.weight"},
    {.role = HCSMOE_ROLE_DOWN, .name = "block_sparse_moe.experts", .part = "w2.weight"},
};

static int32_t mixtral_tensor_name(void *self, const hcsmoe_host *h, int32_t role, int32_t layer,
                                   int32_t expert, int32_t variant, char *name, size_t size)
{
    (void)h;
    return hcsmoe_family_name(self, names, sizeof names / sizeof names[0], role, layer, expert,
                              variant, name, size);
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
    .create = hcsmoe_family_create,
    .destroy = hcsmoe_family_destroy,
};

HCSMOE_PLUGIN("hcsmoe.model.mixtral", "1.0.0", "MIT", &mixtral)
