/*
 * test_plugins_model_deepseek.c - DeepSeek-V2: config.json, tensor names, refusals.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model_test.h"

static struct family deepseek = {.config = DEEPSEEK_V2};

static int host_setup(void **state)
{
    (void)state;
    fake_host_open(&host);
    deepseek.c = plugin_load(&host, "hcsmoe-model-deepseek_v2.so");
    return 0;
}

static int host_teardown(void **state)
{
    (void)state;
    fake_host_close(&host);
    return 0;
}

static void test_deepseek_v2_knows_its_configs(void **state)
{
    (void)state;
    assert_int_equal(probe(&deepseek, deepseek.config), 100);
    assert_int_equal(probe(&deepseek, "{'model_type': 'hcsmoe_deepseek_v2'}"), 100);
    assert_in_range(probe(&deepseek, "{'architectures': ['DeepseekV2ForCausalLM']}"), 1, 99);
    assert_int_equal(probe(&deepseek, "{'model_type': 'deepseek_v3'}"), 0);
}

static void test_deepseek_v2_describes_the_published_model(void **state)
{
    struct model m;
    hcsmoe_layer_desc d;

    (void)state;
    assert_int_equal(model_open(&m, &deepseek, "{}"), 0);
    assert_int_equal(m.desc.n_layers, 60);
    assert_int_equal(m.desc.n_heads, 128);
    assert_int_equal(m.desc.n_kv_heads, 128);
    assert_int_equal(m.desc.head_dim, 192);
    assert_int_equal(m.desc.v_head_dim, 128);
    assert_int_equal(m.desc.rotary_dim, 64);
    /* Q_A, KV_A; per head Q_B, KV_B, O. */
    assert_near(m.desc.attention_flops,
                2.0 * (5120 * (1536 + 576) + 128 * (1536 * 192 + 512 * 256 + 128 * 5120)), 0);
    /* 16 heads at once. */
    assert_int_equal(m.desc.attention_bytes, 4 * (1536 + 576 + 16 * (2 * 192 + 128 + 256)));
    assert_string_equal(m.desc.key_n_experts, "n_routed_experts");
    assert_null(m.desc.key_expert_ffn);
    assert_int_equal(describe_layer(&m, 0, &d), 0);
    assert_int_equal(d.is_moe, 0);
    assert_int_equal(d.ffn, 12288);
    assert_int_equal(describe_layer(&m, 59, &d), 0);
    assert_int_equal(d.is_moe, 1);
    assert_int_equal(d.n_experts, 160);
    assert_int_equal(d.top_k, 6);
    assert_int_equal(d.ffn, 1536);
    assert_int_equal(d.shared_ffn, 3072);
    assert_int_equal(d.shared_router, 0);
    model_close(&m);
}

static void check_shape(const struct model *m, int32_t role, int32_t ndim, int64_t rows,
                        int64_t columns)
{
    int64_t shape[2] = {0, 0};

    assert_int_equal(m->ops->tensor_shape(m->self, &host.abi, role, 1, shape), ndim);
    if (ndim > 0)
        assert_int_equal(shape[0], rows);
    if (ndim > 1)
        assert_int_equal(shape[1], columns);
}

static void test_deepseek_v2_names_and_sizes_what_its_attention_reads(void **state)
{
    struct model m;

    (void)state;
    assert_int_equal(model_open(&m, &deepseek, "{}"), 0);
    check_name(&m, HCSMOE_ROLE_Q_A, 1, -1, 0, "model.layers.1.self_attn.q_a_proj.weight");
    check_name(&m, HCSMOE_ROLE_Q_A_NORM, 1, -1, 0, "model.layers.1.self_attn.q_a_layernorm.weight");
    check_name(&m, HCSMOE_ROLE_Q_B, 1, -1, 0, "model.layers.1.self_attn.q_b_proj.weight");
    check_name(&m, HCSMOE_ROLE_KV_A, 1, -1, 0,
               "model.layers.1.self_attn.kv_a_proj_with_mqa.weight");
    check_name(&m, HCSMOE_ROLE_KV_A_NORM, 1, -1, 0,
               "model.layers.1.self_attn.kv_a_layernorm.weight");
    check_name(&m, HCSMOE_ROLE_KV_B, 1, -1, 0, "model.layers.1.self_attn.kv_b_proj.weight");
    check_name(&m, HCSMOE_ROLE_O, 1, -1, 0, "model.layers.1.self_attn.o_proj.weight");
    check_name(&m, HCSMOE_ROLE_Q, 1, -1, 0, NULL);
    check_name(&m, HCSMOE_ROLE_K, 1, -1, 0, NULL);
    check_name(&m, HCSMOE_ROLE_Q_BIAS, 1, -1, 0, NULL);
    check_name(&m, HCSMOE_ROLE_SHARED_DOWN, 1, -1, 0,
               "model.layers.1.mlp.shared_experts.down_proj.weight");
    check_name(&m, HCSMOE_ROLE_SHARED_DOWN, 0, -1, 0, NULL);
    check_name(&m, HCSMOE_ROLE_DENSE_DOWN, 0, -1, 0, "model.layers.0.mlp.down_proj.weight");
    check_name(&m, HCSMOE_ROLE_GATE, 1, 159, 0, "model.layers.1.mlp.experts.159.gate_proj.weight");
    check_shape(&m, HCSMOE_ROLE_Q_A, 2, 1536, 5120);
    check_shape(&m, HCSMOE_ROLE_Q_A_NORM, 1, 1536, 0);
    check_shape(&m, HCSMOE_ROLE_Q_B, 2, 128 * 192, 1536);
    check_shape(&m, HCSMOE_ROLE_KV_A, 2, 576, 5120);
    check_shape(&m, HCSMOE_ROLE_KV_A_NORM, 1, 512, 0);
    check_shape(&m, HCSMOE_ROLE_KV_B, 2, 128 * 256, 512);
    check_shape(&m, HCSMOE_ROLE_O, 2, 5120, 128 * 128);
    check_shape(&m, HCSMOE_ROLE_Q, 0, 0, 0);
    check_shape(&m, HCSMOE_ROLE_K_BIAS, 0, 0, 0);
    model_close(&m);
    assert_int_equal(model_open(&m, &deepseek, "{'q_lora_rank': null, 'attention_bias': true}"), 0);
    check_name(&m, HCSMOE_ROLE_Q, 1, -1, 0, "model.layers.1.self_attn.q_proj.weight");
    check_name(&m, HCSMOE_ROLE_Q_A, 1, -1, 0, NULL);
    check_name(&m, HCSMOE_ROLE_Q_BIAS, 1, -1, 0, NULL);
    check_name(&m, HCSMOE_ROLE_K_BIAS, 1, -1, 0,
               "model.layers.1.self_attn.kv_a_proj_with_mqa.bias");
    check_name(&m, HCSMOE_ROLE_O_BIAS, 1, -1, 0, "model.layers.1.self_attn.o_proj.bias");
    check_shape(&m, HCSMOE_ROLE_Q, 2, 128 * 192, 5120);
    check_shape(&m, HCSMOE_ROLE_K_BIAS, 1, 576, 0);
    model_close(&m);
}

static void test_deepseek_v2_has_experts_where_the_config_says(void **state)
{
    static const int is_moe[] = {0, 0, 1, 0, 1};
    struct model m;
    hcsmoe_layer_desc d;
    int32_t layer;

    (void)state;
    assert_int_equal(model_open(&m, &deepseek,
                                "{'first_k_dense_replace': 1, 'moe_layer_freq': 2,"
                                " 'num_hidden_layers': 5, 'n_shared_experts': null}"),
                     0);
    for (layer = 0; layer < 5; layer++) {
        assert_int_equal(describe_layer(&m, layer, &d), 0);
        assert_int_equal(d.is_moe, is_moe[layer]);
        assert_int_equal(d.shared_ffn, 0);
    }
    model_close(&m);
}

static void test_deepseek_v2_refuses_what_it_cannot_compute(void **state)
{
    static const struct refusal unsupported[] = {
        {.changes = "{'scoring_func': 'sigmoid'}",
         .message = "'scoring_func' is 'sigmoid': not supported (have: softmax)"},
        {.changes = "{'topk_method': 'noaux_tc'}",
         .message = "'topk_method' is 'noaux_tc': not supported (have: greedy, "
                    "group_limited_greedy)"},
        {.changes = "{'hidden_act': 'relu'}",
         .message = "'hidden_act' is 'relu': not supported (have: silu)"},
        {.changes = "{'mlp_bias': true}",
         .message = "'mlp_bias' is true: not supported (have: false)"},
        {.changes = "{'rope_scaling': {'type': 'linear', 'factor': 2}}",
         .message = "'rope_scaling.type' is 'linear': this scaling of positions is not supported"
                    " (have: default, yarn)"},
    };
    static const struct refusal wrong[] = {
        {.changes = "{'num_key_value_heads': 8}",
         .message = "'num_key_value_heads' is 8: must be 128..128"},
        {.changes = "{'qk_rope_head_dim': 7}",
         .message = "'qk_rope_head_dim' is 7: must be even, pairs are rotated"},
        {.changes = "{'qk_rope_head_dim': 2048}",
         .message = "'qk_rope_head_dim' is 2048: must be 1..1024"},
        {.changes = "{'kv_lora_rank': null}", .message = "no 'kv_lora_rank'"},
        {.changes = "{'q_lora_rank': 0}", .message = "'q_lora_rank' is 0: must be 1..1048576"},
        {.changes = "{'v_head_dim': 'x'}",
         .message = "'v_head_dim' is not an integer: must be 1..1048576"},
        {.changes = "{'n_group': 7}",
         .message = "'n_routed_experts' is 160: must be a multiple of 'n_group', 7"},
        {.changes = "{'n_group': null}", .message = "no 'n_group'"},
        {.changes = "{'topk_group': 9}", .message = "'topk_group' is 9: must be 1..8"},
        {.changes = "{'num_experts_per_tok': 161}",
         .message = "'num_experts_per_tok' is 161: must be 1..160, as 'n_routed_experts' says"},
        {.changes = "{'routed_scaling_factor': 0}",
         .message = "'routed_scaling_factor' must be a number above 0"},
        {.changes = "{'first_k_dense_replace': -1}",
         .message = "'first_k_dense_replace' is -1: must be 0..4096"},
        {.changes = "{'moe_layer_freq': 0}", .message = "'moe_layer_freq' is 0: must be 1..4096"},
        {.changes = "{'rope_scaling': {'type': 'yarn'}}", .message = "no 'factor'"},
        {.changes = "{'rope_scaling': {'type': 'yarn', 'factor': 4}}",
         .message = "no 'original_max_position_embeddings'"},
        {.changes = "{'rope_scaling': {'type': 'yarn', 'factor': 4, 'beta_slow': 'x',"
                    " 'original_max_position_embeddings': 4096}}",
         .message = "'beta_slow' must be a number above 0"},
        {.changes = "{'rope_theta': 1}", .message = "'rope_theta' is 1: must be above 1 with yarn"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof unsupported / sizeof unsupported[0]; i++)
        assert_int_equal(refuse(&deepseek, unsupported[i].changes, unsupported[i].message),
                         HCSMOE_EUNSUPPORTED);
    for (i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(refuse(&deepseek, wrong[i].changes, wrong[i].message), HCSMOE_EINVAL);
}

static void test_deepseek_v2_reports_missing_memory(void **state)
{
    void *self = NULL;

    (void)state;
    host.alloc_allowed = 0;
    assert_int_equal(deepseek.c->create(&host.abi, NULL, &self), HCSMOE_ENOMEM);
    host.alloc_allowed = -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deepseek_v2_knows_its_configs),
        cmocka_unit_test(test_deepseek_v2_describes_the_published_model),
        cmocka_unit_test(test_deepseek_v2_names_and_sizes_what_its_attention_reads),
        cmocka_unit_test(test_deepseek_v2_has_experts_where_the_config_says),
        cmocka_unit_test(test_deepseek_v2_refuses_what_it_cannot_compute),
        cmocka_unit_test(test_deepseek_v2_reports_missing_memory),
    };

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
