/*
 * olmoe.c - the OLMoE family: config.json to a description, roles to names.
 *
 * Queries and keys are normed over all heads at once. SPDX-License-Identifier: MIT
 */
#include <string.h>

#include <hcsmoe/family.h>

static const char *experts_key(const hcsmoe_config *c)
{
    return hcsmoe_config_experts_key(c, "num_experts", "num_local_experts");
}

static int32_t olmoe_probe(const hcsmoe_host *h, const hcsmoe_json *config)
{
    return hcsmoe_config_probe(h, config, "olmoe", "OlmoeForCausalLM");
}

static hcsmoe_status olmoe_describe(void *self, const hcsmoe_host *h, const hcsmoe_model_args *a,
                                    hcsmoe_model_desc *d)
{
    hcsmoe_family *f = self;
    hcsmoe_config c = {.h = h, .json = a->config};

    hcsmoe_config_decoder(&c, d);
    hcsmoe_config_heads(&c, d);
    hcsmoe_config_rope(&c, NULL, &d->rope_theta);
    hcsmoe_config_bool(&c, "attention_bias", &d->attention_bias);
    d->output_bias = d->attention_bias;
    d->qk_norm = HCSMOE_NORM_WHOLE;
    if (c.status == HCSMOE_OK && hcsmoe_config_has(&c, "clip_qkv"))
        c.status = hcsmoe_failf(h, HCSMOE_EUNSUPPORTED,
                                "'clip_qkv' is set: clipped projections are not supported "
                                "(have: null)");
    memset(f->is_moe, 1, sizeof f->is_moe);
    d->key_n_experts = experts_key(&c);
    d->key_expert_ffn = "intermediate_size";
    d->key_top_k = "num_experts_per_tok";
    f->desc = *d;
    return c.status;
}

/* All layers are alike. */
static hcsmoe_status olmoe_describe_layer(void *self, const hcsmoe_host *h,
                                          const hcsmoe_model_args *a, hcsmoe_layer_desc *d)
{
    hcsmoe_config c = {.h = h, .json = a->config};

    (void)self;
    d->is_moe = 1;
    hcsmoe_config_experts(&c, experts_key(&c), d);
    hcsmoe_config_int(&c, "intermediate_size", 1, HCSMOE_SIZE_MOST, &d->ffn);
    hcsmoe_config_bool(&c, "norm_topk_prob", &d->renormalise);
    return c.status;
}

static int32_t olmoe_tensor_name(void *self, const hcsmoe_host *h, int32_t role, int32_t layer,
                                 int32_t expert, int32_t variant, char *name, size_t size)
{
    (void)h;
    return hcsmoe_family_name(self, NULL, 0, role, layer, expert, variant, name, size);
}

static const hcsmoe_model_ops ops = {
    .struct_size = sizeof ops,
    .probe = olmoe_probe,
    .describe = olmoe_describe,
    .describe_layer = olmoe_describe_layer,
    .tensor_name = olmoe_tensor_name,
};

static const hcsmoe_component olmoe = {
    .struct_size = sizeof olmoe,
    .kind = HCSMOE_KIND_MODEL,
    .name = "olmoe",
    .summary = "OLMoE-1B-7B",
    .ops = &ops,
    .create = hcsmoe_family_create,
    .destroy = hcsmoe_family_destroy,
};

HCSMOE_PLUGIN("hcsmoe.model.olmoe", "1.0.0", "MIT", &olmoe)
