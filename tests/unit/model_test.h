/*
 * model_test.h - a model family of a built plugin, asked about configs: what the tests of families
 * share.
 *
 * The program defines the host. SPDX-License-Identifier: MIT
 */
#ifndef TESTS_UNIT_MODEL_TEST_H
#define TESTS_UNIT_MODEL_TEST_H

#include "plugin_test.h"

#include <jansson.h>

#include <hcsmoe/model.h>

/* A family and a config of it, in JSON with single quotes. */
struct family {
    const hcsmoe_component *c;
    const char *config;
};

/* DeepSeek-V2 as it was published. */
#define DEEPSEEK_V2                                                                                \
    "{'architectures': ['DeepseekV2ForCausalLM'], 'model_type': 'deepseek_v2',"                    \
    " 'attention_bias': false, 'first_k_dense_replace': 1, 'hidden_act': 'silu',"                  \
    " 'hidden_size': 5120, 'intermediate_size': 12288, 'kv_lora_rank': 512,"                       \
    " 'max_position_embeddings': 163840, 'moe_intermediate_size': 1536, 'moe_layer_freq': 1,"      \
    " 'n_group': 8, 'n_routed_experts': 160, 'n_shared_experts': 2, 'norm_topk_prob': false,"      \
    " 'num_attention_heads': 128, 'num_experts_per_tok': 6, 'num_hidden_layers': 60,"              \
    " 'num_key_value_heads': 128, 'q_lora_rank': 1536, 'qk_nope_head_dim': 128,"                   \
    " 'qk_rope_head_dim': 64, 'rms_norm_eps': 1e-06, 'rope_scaling': {'beta_fast': 32,"            \
    " 'beta_slow': 1, 'factor': 40, 'mscale': 0.707, 'mscale_all_dim': 0.707,"                     \
    " 'original_max_position_embeddings': 4096, 'type': 'yarn'}, 'rope_theta': 10000,"             \
    " 'routed_scaling_factor': 16.0, 'scoring_func': 'softmax', 'tie_word_embeddings': false,"     \
    " 'topk_group': 3, 'topk_method': 'group_limited_greedy', 'v_head_dim': 128,"                  \
    " 'vocab_size': 102400}"

static struct fake_host host;

static inline json_t *parse(const char *text)
{
    char json[4096];
    size_t i;
    json_t *v;

    assert_true(strlen(text) < sizeof json);
    for (i = 0; i <= strlen(text); i++)
        json[i] = text[i] == '\'' ? '"' : text[i];
    v = json_loads(json, 0, NULL);
    assert_non_null(v);
    return v;
}

static inline const hcsmoe_json *handle(const json_t *v)
{
    return (const hcsmoe_json *)(const void *)v;
}

/* A model of a family: its config with changes, described. */
struct model {
    const hcsmoe_component *c;
    const hcsmoe_model_ops *ops;
    void *self;
    json_t *config;
    hcsmoe_model_desc desc;
};

static inline hcsmoe_status model_open(struct model *m, const struct family *f, const char *changes)
{
    json_t *change = parse(changes);
    hcsmoe_model_args args = {.struct_size = sizeof args, .layer = -1};

    *m = (struct model){.c = f->c, .ops = f->c->ops, .desc = {.struct_size = sizeof m->desc}};
    m->config = parse(f->config);
    assert_int_equal(json_object_update(m->config, change), 0);
    json_decref(change);
    args.config = handle(m->config);
    assert_int_equal(m->c->create(&host.abi, NULL, &m->self), 0);
    return m->ops->describe(m->self, &host.abi, &args, &m->desc);
}

static inline void model_close(struct model *m)
{
    m->c->destroy(&host.abi, m->self);
    json_decref(m->config);
    fake_host_leave(&host);
}

static inline hcsmoe_status describe_layer(const struct model *m, int32_t layer,
                                           hcsmoe_layer_desc *d)
{
    const hcsmoe_model_args args = {
        .struct_size = sizeof args, .layer = layer, .config = handle(m->config)};

    *d = (hcsmoe_layer_desc){.struct_size = sizeof *d};
    return m->ops->describe_layer(m->self, &host.abi, &args, d);
}

struct refusal {
    const char *changes, *message;
};

/* The first message of describe, or of describing any layer. */
static inline hcsmoe_status refuse(const struct family *f, const char *changes, const char *message)
{
    struct model m;
    hcsmoe_layer_desc d;
    hcsmoe_status status;
    int32_t layer;

    host.message[0] = '\0';
    status = model_open(&m, f, changes);
    for (layer = 0; layer < m.desc.n_layers && status == HCSMOE_OK; layer++)
        status = describe_layer(&m, layer, &d);
    model_close(&m);
    if (status == HCSMOE_OK || strcmp(host.message, message) != 0)
        fail_msg("%s\ngives  '%s'\nnot    '%s'", changes, host.message, message);
    return status;
}

static inline void check_name(const struct model *m, int32_t role, int32_t layer, int32_t expert,
                              int32_t variant, const char *expected)
{
    char name[128] = "";
    const int32_t got =
        m->ops->tensor_name(m->self, &host.abi, role, layer, expert, variant, name, sizeof name);

    if (!expected) {
        assert_int_equal(got, 0);
        return;
    }
    assert_int_equal(got, 1);
    assert_string_equal(name, expected);
}

static inline int32_t probe(const struct family *f, const char *config)
{
    const hcsmoe_model_ops *ops = f->c->ops;
    json_t *v = parse(config);
    const int32_t sure = ops->probe(&host.abi, handle(v));

    json_decref(v);
    return sure;
}

#endif
