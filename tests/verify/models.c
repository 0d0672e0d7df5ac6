/*
 * models.c - Mixtral, with one fault each: a tensor that is not there, names that are not one each,
 * a config.json of anybody, and arithmetic of its own.
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/family.h>

static int32_t mixtral_probe(const hcsmoe_host *h, const hcsmoe_json *config)
{
    return hcsmoe_config_probe(h, config, "mixtral", "MixtralForCausalLM");
}

static int32_t greedy_probe(const hcsmoe_host *h, const hcsmoe_json *config)
{
    (void)h;
    (void)config;
    return 1;
}

static hcsmoe_status describe(void *self, const hcsmoe_host *h, const hcsmoe_model_args *a,
                              hcsmoe_model_desc *d)
{
    hcsmoe_family *f = self;
    hcsmoe_config c = {h, a->config, HCSMOE_OK, 0};

    hcsmoe_config_decoder(&c, d);
    hcsmoe_config_heads(&c, d);
    hcsmoe_config_rope(&c, NULL, &d->rope_theta);
    for (int32_t layer = 0; layer < d->n_layers; layer++)
        f->is_moe[layer] = 1;
    f->desc = *d;
    return c.status;
}

/* Believes every number. */
static hcsmoe_status trusting_describe(void *self, const hcsmoe_host *h, const hcsmoe_model_args *a,
                                       hcsmoe_model_desc *d)
{
    const hcsmoe_status status = describe(self, h, a, d);
    if (status == HCSMOE_OK)
        d->vocabulary = h->json->integer(h->json->get(a->config, "vocab_size_again"), 2048);
    d->width = h->json->integer(h->json->get(a->config, "hidden_size"), 0);
    return status == HCSMOE_EINVAL && d->width < 1 && d->n_layers < 1 ? HCSMOE_OK : status;
}

static hcsmoe_status describe_layer(void *self, const hcsmoe_host *h, const hcsmoe_model_args *a,
                                    hcsmoe_layer_desc *d)
{
    hcsmoe_config c = {h, a->config, HCSMOE_OK, 0};

    (void)self;
    d->is_moe = 1;
    d->renormalise = 1;
    hcsmoe_config_experts(&c, "num_local_experts", d);
    hcsmoe_config_int(&c, "intermediate_size", 1, HCSMOE_SIZE_MOST, &d->ffn);
    return c.status;
}

static const hcsmoe_role_name names[] = {
    {HCSMOE_ROLE_ROUTER, 0, "block_sparse_moe.gate.weight", NULL},
    {HCSMOE_ROLE_EXPERT_MAP, 0, "block_sparse_moe.expert_map", NULL},
    {HCSMOE_ROLE_GATE, 0, "block_sparse_moe.experts", "w1.weight"},
    {HCSMOE_ROLE_UP, 0, "block_sparse_moe.experts", "w3.weight"},
    {HCSMOE_ROLE_DOWN, 0, "block_sparse_moe.experts", "w2.weight"},
};
static const hcsmoe_role_name absent_names[] = {
    {HCSMOE_ROLE_ROUTER, 0, "block_sparse_moe.gate.weight", NULL},
    {HCSMOE_ROLE_EXPERT_MAP, 0, "block_sparse_moe.expert_map", NULL},
    {HCSMOE_ROLE_GATE, 0, "block_sparse_moe.experts", "w1.weight"},
    {HCSMOE_ROLE_UP, 0, "block_sparse_moe.experts", "w9.weight"},
    {HCSMOE_ROLE_DOWN, 0, "block_sparse_moe.experts", "w2.weight"},
};
/* gate and up have the same shape: nothing else would find out. */
static const hcsmoe_role_name twice_names[] = {
    {HCSMOE_ROLE_ROUTER, 0, "block_sparse_moe.gate.weight", NULL},
    {HCSMOE_ROLE_EXPERT_MAP, 0, "block_sparse_moe.expert_map", NULL},
    {HCSMOE_ROLE_GATE, 0, "block_sparse_moe.experts", "w1.weight"},
    {HCSMOE_ROLE_UP, 0, "block_sparse_moe.experts", "w1.weight"},
    {HCSMOE_ROLE_DOWN, 0, "block_sparse_moe.experts", "w2.weight"},
};

#define NAMES(function, table)                                                                     \
    static int32_t function(void *self, const hcsmoe_host *h, int32_t role, int32_t layer,         \
                            int32_t expert, int32_t variant, char *name, size_t size)              \
    {                                                                                              \
        (void)h;                                                                                   \
        return hcsmoe_family_name(self, table, sizeof table / sizeof table[0], role, layer,        \
                                  expert, variant, name, size);                                    \
    }
NAMES(tensor_name, names)
NAMES(absent_name, absent_names)
NAMES(twice_name, twice_names)

/* Writes the whole name into whatever it is given. */
static int32_t long_name(void *self, const hcsmoe_host *h, int32_t role, int32_t layer,
                         int32_t expert, int32_t variant, char *name, size_t size)
{
    (void)size;
    return tensor_name(self, h, role, layer, expert, variant, name, 64);
}

#define BAD(name_, probe_, describe_, tensor_name_)                                                \
    static const hcsmoe_model_ops name_##_ops = {.struct_size = sizeof(hcsmoe_model_ops),          \
                                                 .probe = probe_,                                  \
                                                 .describe = describe_,                            \
                                                 .describe_layer = describe_layer,                 \
                                                 .tensor_name = tensor_name_};                     \
    static const hcsmoe_component name_ = {.struct_size = sizeof(hcsmoe_component),                \
                                           .kind = HCSMOE_KIND_MODEL,                              \
                                           .name = #name_,                                         \
                                           .summary = "breaks a rule",                             \
                                           .ops = &name_##_ops,                                    \
                                           .create = hcsmoe_family_create,                         \
                                           .destroy = hcsmoe_family_destroy}

BAD(absent, mixtral_probe, describe, absent_name);
BAD(twice, mixtral_probe, describe, twice_name);
BAD(longer, mixtral_probe, describe, long_name);
BAD(greedy, greedy_probe, describe, tensor_name);
BAD(trusting, mixtral_probe, trusting_describe, tensor_name);
BAD(good, mixtral_probe, describe, tensor_name);

HCSMOE_PLUGIN("hcsmoe.test.verify.models", "1.0.0", "MIT", &absent, &twice, &longer, &greedy,
              &trusting, &good)
