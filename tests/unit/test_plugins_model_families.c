/*
 * test_plugins_model_families.c - OLMoE and Qwen3-MoE: config.json, tensor names, refusals.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model_test.h"

static struct family olmoe = {
    .config =
        "{'architectures': ['OlmoeForCausalLM'], 'model_type': 'olmoe', 'hidden_act': 'silu',"
        " 'attention_bias': false, 'clip_qkv': null, 'hidden_size': 2048,"
        " 'intermediate_size': 1024, 'max_position_embeddings': 4096, 'norm_topk_prob': false,"
        " 'num_attention_heads': 16, 'num_experts': 64, 'num_experts_per_tok': 8,"
        " 'num_hidden_layers': 16, 'num_key_value_heads': 16, 'rms_norm_eps': 1e-05,"
        " 'rope_scaling': null, 'rope_theta': 10000.0, 'tie_word_embeddings': false,"
        " 'vocab_size': 50304}"};

static struct family qwen = {
    .config = "{'architectures': ['Qwen3MoeForCausalLM'], 'model_type': 'qwen3_moe',"
              " 'attention_bias': false, 'decoder_sparse_step': 1, 'head_dim': 128,"
              " 'hidden_act': 'silu', 'hidden_size': 2048, 'intermediate_size': 6144,"
              " 'max_position_embeddings': 40960, 'max_window_layers': 48, 'mlp_only_layers': [],"
              " 'moe_intermediate_size': 768, 'norm_topk_prob': true, 'num_attention_heads': 32,"
              " 'num_experts': 128, 'num_experts_per_tok': 8, 'num_hidden_layers': 48,"
              " 'num_key_value_heads': 4, 'rms_norm_eps': 1e-06, 'rope_scaling': null,"
              " 'rope_theta': 1000000.0, 'sliding_window': null, 'tie_word_embeddings': false,"
              " 'use_sliding_window': false, 'vocab_size': 151936}"};

static int host_setup(void **state)
{
    (void)state;
    fake_host_open(&host);
    olmoe.c = plugin_load(&host, "hcsmoe-model-olmoe.so");
    qwen.c = plugin_load(&host, "hcsmoe-model-qwen3_moe.so");
    return 0;
}

static int host_teardown(void **state)
{
    (void)state;
    fake_host_close(&host);
    return 0;
}

static void test_families_know_their_configs(void **state)
{
    (void)state;
    assert_int_equal(probe(&olmoe, olmoe.config), 100);
    assert_int_equal(probe(&qwen, qwen.config), 100);
    assert_int_equal(probe(&olmoe, qwen.config), 0);
    assert_int_equal(probe(&qwen, olmoe.config), 0);
    assert_int_equal(probe(&olmoe, "{'model_type': 'hcsmoe_olmoe'}"), 100);
    assert_int_equal(probe(&qwen, "{'model_type': 'hcsmoe_qwen3_moe'}"), 100);
    assert_int_equal(probe(&qwen, "{'model_type': 'qwen3_moe_next'}"), 0);
    assert_int_equal(probe(&qwen, "{'model_type': 'hcsmoe_'}"), 0);
    assert_in_range(probe(&olmoe, "{'architectures': ['OlmoeForCausalLM']}"), 1, 99);
    assert_in_range(probe(&qwen, "{'architectures': ['Qwen3MoeForCausalLM']}"), 1, 99);
}

static void test_olmoe_describes_the_published_model(void **state)
{
    struct model m;
    hcsmoe_layer_desc d;

    (void)state;
    assert_int_equal(model_open(&m, &olmoe, "{}"), 0);
    assert_int_equal(m.desc.n_layers, 16);
    assert_int_equal(m.desc.width, 2048);
    assert_int_equal(m.desc.head_dim, 128);
    assert_int_equal(m.desc.v_head_dim, 128);
    assert_int_equal(m.desc.qk_norm, HCSMOE_NORM_WHOLE);
    assert_int_equal(m.desc.attention_bias, 0);
    assert_int_equal(m.desc.output_bias, 0);
    assert_near(m.desc.norm_eps, 1e-5, 0);
    assert_near(m.desc.rope_theta, 1e4, 0);
    assert_string_equal(m.desc.key_n_experts, "num_experts");
    assert_string_equal(m.desc.key_expert_ffn, "intermediate_size");
    assert_int_equal(describe_layer(&m, 15, &d), 0);
    assert_int_equal(d.is_moe, 1);
    assert_int_equal(d.n_experts, 64);
    assert_int_equal(d.top_k, 8);
    assert_int_equal(d.ffn, 1024);
    assert_int_equal(d.renormalise, 0);
    assert_int_equal(d.shared_ffn, 0);
    check_name(&m, HCSMOE_ROLE_Q_NORM, 15, -1, 0, "model.layers.15.self_attn.q_norm.weight");
    check_name(&m, HCSMOE_ROLE_ROUTER, 15, -1, 0, "model.layers.15.mlp.gate.weight");
    check_name(&m, HCSMOE_ROLE_DOWN, 15, 63, 0, "model.layers.15.mlp.experts.63.down_proj.weight");
    check_name(&m, HCSMOE_ROLE_FUSED_DOWN, 15, -1, 0, "model.layers.15.mlp.experts.down_proj");
    check_name(&m, HCSMOE_ROLE_EXPERT_MAP, 15, -1, 0, "model.layers.15.mlp.expert_map");
    check_name(&m, HCSMOE_ROLE_O_BIAS, 15, -1, 0, NULL);
    check_name(&m, HCSMOE_ROLE_SHARED_UP, 15, -1, 0, NULL);
    check_name(&m, HCSMOE_ROLE_DENSE_UP, 15, -1, 0, NULL);
    model_close(&m);
}

static void test_qwen3_moe_describes_the_published_model(void **state)
{
    struct model m;
    hcsmoe_layer_desc d;

    (void)state;
    assert_int_equal(model_open(&m, &qwen, "{}"), 0);
    assert_int_equal(m.desc.n_layers, 48);
    assert_int_equal(m.desc.n_heads, 32);
    assert_int_equal(m.desc.n_kv_heads, 4);
    assert_int_equal(m.desc.head_dim, 128); /* 2048 / 32 would be 64 */
    assert_int_equal(m.desc.qk_norm, HCSMOE_NORM_PER_HEAD);
    assert_int_equal(m.desc.attention_bias, 0);
    assert_string_equal(m.desc.key_expert_ffn, "moe_intermediate_size");
    assert_int_equal(describe_layer(&m, 47, &d), 0);
    assert_int_equal(d.is_moe, 1);
    assert_int_equal(d.n_experts, 128);
    assert_int_equal(d.top_k, 8);
    assert_int_equal(d.ffn, 768);
    assert_int_equal(d.renormalise, 1);
    assert_int_equal(d.window, 0);
    check_name(&m, HCSMOE_ROLE_K_NORM, 47, -1, 0, "model.layers.47.self_attn.k_norm.weight");
    check_name(&m, HCSMOE_ROLE_UP, 47, 127, 0, "model.layers.47.mlp.experts.127.up_proj.weight");
    check_name(&m, HCSMOE_ROLE_Q_BIAS, 47, -1, 0, NULL);
    check_name(&m, HCSMOE_ROLE_SHARED_ROUTER, 47, -1, 0, NULL);
    model_close(&m);
}

static void test_qwen3_moe_reads_newer_spellings(void **state)
{
    struct model m;
    hcsmoe_layer_desc d;

    (void)state;
    assert_int_equal(model_open(&m, &qwen,
                                "{'num_experts': null, 'num_local_experts': 16, 'rope_theta': null,"
                                " 'rope_parameters': {'rope_theta': 5e5, 'rope_type': 'default'}}"),
                     0);
    assert_near(m.desc.rope_theta, 5e5, 0);
    assert_string_equal(m.desc.key_n_experts, "num_local_experts");
    assert_int_equal(describe_layer(&m, 0, &d), 0);
    assert_int_equal(d.n_experts, 16);
    model_close(&m);
}

static void test_biases_come_with_all_four_projections(void **state)
{
    const struct family *const families[] = {&olmoe, &qwen};
    struct model m;
    size_t i;

    (void)state;
    for (i = 0; i < 2; i++) {
        assert_int_equal(model_open(&m, families[i], "{'attention_bias': true}"), 0);
        assert_int_equal(m.desc.attention_bias, 1);
        assert_int_equal(m.desc.output_bias, 1);
        check_name(&m, HCSMOE_ROLE_Q_BIAS, 0, -1, 0, "model.layers.0.self_attn.q_proj.bias");
        check_name(&m, HCSMOE_ROLE_V_BIAS, 0, -1, 0, "model.layers.0.self_attn.v_proj.bias");
        check_name(&m, HCSMOE_ROLE_O_BIAS, 0, -1, 0, "model.layers.0.self_attn.o_proj.bias");
        model_close(&m);
    }
}

static void test_qwen3_moe_has_dense_layers_and_windows_where_the_config_says(void **state)
{
    static const int is_moe[] = {0, 0, 0, 1};
    struct model m;
    hcsmoe_layer_desc d;
    int32_t layer;

    (void)state;
    assert_int_equal(model_open(&m, &qwen,
                                "{'mlp_only_layers': [1], 'decoder_sparse_step': 2,"
                                " 'num_hidden_layers': 4, 'norm_topk_prob': false,"
                                " 'use_sliding_window': true, 'sliding_window': 128,"
                                " 'max_window_layers': 2}"),
                     0);
    for (layer = 0; layer < 4; layer++) {
        assert_int_equal(describe_layer(&m, layer, &d), 0);
        assert_int_equal(d.is_moe, is_moe[layer]);
        assert_int_equal(d.ffn, is_moe[layer] ? 768 : 6144);
        assert_int_equal(d.renormalise, 0);
        assert_int_equal(d.window, layer >= 2 ? 128 : 0);
    }
    check_name(&m, HCSMOE_ROLE_DENSE_GATE, 1, -1, 0, "model.layers.1.mlp.gate_proj.weight");
    check_name(&m, HCSMOE_ROLE_GATE, 1, 0, 0, NULL);
    model_close(&m);
}

static void test_families_refuse_what_they_cannot_compute(void **state)
{
    const struct family *const families[] = {&olmoe, &qwen};
    size_t i;

    (void)state;
    for (i = 0; i < 2; i++) {
        assert_int_equal(refuse(families[i], "{'hidden_act': 'gelu'}",
                                "'hidden_act' is 'gelu': not supported (have: silu)"),
                         HCSMOE_EUNSUPPORTED);
        assert_int_equal(refuse(families[i],
                                "{'rope_scaling': {'rope_type': 'yarn', 'factor': 4.0}}",
                                "'rope_scaling.rope_type' is 'yarn': this scaling of positions is"
                                " not supported (have: default)"),
                         HCSMOE_EUNSUPPORTED);
    }
    assert_int_equal(
        refuse(&olmoe, "{'clip_qkv': 8.0}",
               "'clip_qkv' is set: clipped projections are not supported (have: null)"),
        HCSMOE_EUNSUPPORTED);
}

static void test_families_refuse_missing_keys_and_nonsense(void **state)
{
    static const struct refusal both[] = {
        {.changes = "{'num_experts': null}", .message = "no 'num_experts'"},
        {.changes = "{'num_experts': 7}",
         .message = "'num_experts_per_tok' is 8: must be 1..7, as 'num_experts' says"},
        {.changes = "{'attention_bias': 'yes'}",
         .message = "'attention_bias' must be true or false"},
        {.changes = "{'norm_topk_prob': 1}", .message = "'norm_topk_prob' must be true or false"},
        {.changes = "{'num_attention_heads': 12, 'num_key_value_heads': 5}",
         .message = "'num_attention_heads' is 12: must be a multiple of 'num_key_value_heads', 5"},
        {.changes = "{'rms_norm_eps': -1}", .message = "'rms_norm_eps' must be a number above 0"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof both / sizeof both[0]; i++) {
        assert_int_equal(refuse(&olmoe, both[i].changes, both[i].message), HCSMOE_EINVAL);
        assert_int_equal(refuse(&qwen, both[i].changes, both[i].message), HCSMOE_EINVAL);
    }
    assert_int_equal(refuse(&olmoe, "{'intermediate_size': null}", "no 'intermediate_size'"),
                     HCSMOE_EINVAL);
    assert_int_equal(refuse(&qwen, "{'moe_intermediate_size': null}", "no 'moe_intermediate_size'"),
                     HCSMOE_EINVAL);
    assert_int_equal(
        refuse(&qwen, "{'mlp_only_layers': [-1]}", "'mlp_only_layers' item 0 is not a layer"),
        HCSMOE_EINVAL);
}

static void test_families_report_missing_memory(void **state)
{
    void *self = NULL;

    (void)state;
    host.alloc_allowed = 0;
    assert_int_equal(olmoe.c->create(&host.abi, NULL, &self), HCSMOE_ENOMEM);
    assert_int_equal(qwen.c->create(&host.abi, NULL, &self), HCSMOE_ENOMEM);
    host.alloc_allowed = -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families_know_their_configs),
        cmocka_unit_test(test_olmoe_describes_the_published_model),
        cmocka_unit_test(test_qwen3_moe_describes_the_published_model),
        cmocka_unit_test(test_qwen3_moe_reads_newer_spellings),
        cmocka_unit_test(test_biases_come_with_all_four_projections),
        cmocka_unit_test(test_qwen3_moe_has_dense_layers_and_windows_where_the_config_says),
        cmocka_unit_test(test_families_refuse_what_they_cannot_compute),
        cmocka_unit_test(test_families_refuse_missing_keys_and_nonsense),
        cmocka_unit_test(test_families_report_missing_memory),
    };

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
