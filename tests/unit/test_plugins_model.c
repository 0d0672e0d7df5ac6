/*
 * test_plugins_model.c - config.json of the model families, their tensor names, and what they
 * refuse.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model_test.h"

static struct family mixtral = {
    .config =
        "{'architectures': ['MixtralForCausalLM'], 'model_type': 'mixtral', 'hidden_act': 'silu',"
        " 'hidden_size': 4096, 'intermediate_size': 14336, 'max_position_embeddings': 32768,"
        " 'num_attention_heads': 32, 'num_experts_per_tok': 2, 'num_hidden_layers': 32,"
        " 'num_key_value_heads': 8, 'num_local_experts': 8, 'rms_norm_eps': 1e-05,"
        " 'rope_theta': 1000000.0, 'sliding_window': null, 'tie_word_embeddings': false,"
        " 'vocab_size': 32000}"};

static struct family qwen = {
    .config =
        "{'architectures': ['Qwen2MoeForCausalLM'], 'model_type': 'qwen2_moe', 'hidden_act': "
        "'silu',"
        " 'decoder_sparse_step': 1, 'hidden_size': 2048, 'intermediate_size': 5632,"
        " 'max_position_embeddings': 8192, 'max_window_layers': 21, 'moe_intermediate_size': 1408,"
        " 'norm_topk_prob': false, 'num_attention_heads': 16, 'num_experts': 60,"
        " 'num_experts_per_tok': 4, 'num_hidden_layers': 24, 'num_key_value_heads': 16,"
        " 'rms_norm_eps': 1e-06, 'rope_theta': 1000000.0, 'shared_expert_intermediate_size': 5632,"
        " 'sliding_window': 32768, 'tie_word_embeddings': false, 'use_sliding_window': false,"
        " 'vocab_size': 151936}"};

static int host_setup(void **state)
{
    (void)state;
    fake_host_open(&host);
    mixtral.c = plugin_load(&host, "hcsmoe-model-mixtral.so");
    qwen.c = plugin_load(&host, "hcsmoe-model-qwen2_moe.so");
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
    assert_int_equal(probe(&mixtral, mixtral.config), 100);
    assert_int_equal(probe(&qwen, qwen.config), 100);
    assert_int_equal(probe(&mixtral, qwen.config), 0);
    assert_int_equal(probe(&qwen, mixtral.config), 0);
    assert_int_equal(probe(&mixtral, "{'model_type': 'hcsmoe_mixtral'}"), 100);
    assert_int_equal(probe(&qwen, "{'model_type': 'hcsmoe_qwen2_moe'}"), 100);
    assert_in_range(probe(&mixtral, "{'architectures': ['MixtralForCausalLM']}"), 1, 99);
    assert_in_range(probe(&qwen, "{'architectures': ['Qwen2MoeForCausalLM']}"), 1, 99);
    assert_int_equal(probe(&qwen, "{'architectures': 7, 'model_type': []}"), 0);
    assert_int_equal(probe(&mixtral, "{}"), 0);
}

static void test_mixtral_describes_the_published_model(void **state)
{
    struct model m;
    hcsmoe_layer_desc d;

    (void)state;
    assert_int_equal(model_open(&m, &mixtral, "{}"), 0);
    assert_int_equal(m.desc.n_layers, 32);
    assert_int_equal(m.desc.width, 4096);
    assert_int_equal(m.desc.vocabulary, 32000);
    assert_int_equal(m.desc.max_position, 32768);
    assert_int_equal(m.desc.n_heads, 32);
    assert_int_equal(m.desc.n_kv_heads, 8);
    assert_int_equal(m.desc.head_dim, 128);
    assert_near(m.desc.rope_theta, 1e6, 0);
    assert_near(m.desc.norm_eps, 1e-5, 0);
    assert_int_equal(m.desc.attention_bias, 0);
    assert_string_equal(m.desc.key_n_experts, "num_local_experts");
    assert_int_equal(describe_layer(&m, 31, &d), 0);
    assert_int_equal(d.is_moe, 1);
    assert_int_equal(d.n_experts, 8);
    assert_int_equal(d.top_k, 2);
    assert_int_equal(d.ffn, 14336);
    assert_int_equal(d.renormalise, 1);
    assert_int_equal(d.shared_ffn, 0);
    assert_int_equal(d.window, 0);
    model_close(&m);
}

static void test_mixtral_reads_newer_spellings(void **state)
{
    struct model m;
    hcsmoe_layer_desc d;

    (void)state;
    assert_int_equal(model_open(&m, &mixtral,
                                "{'rope_theta': null, 'head_dim': null, 'dtype': 'bfloat16',"
                                " 'num_local_experts': null, 'num_experts': 6, 'rope_parameters':"
                                " {'rope_theta': 5e5, 'rope_type': 'default'}}"),
                     0);
    assert_near(m.desc.rope_theta, 5e5, 0);
    assert_int_equal(m.desc.head_dim, 128);
    assert_string_equal(m.desc.key_n_experts, "num_experts");
    assert_int_equal(describe_layer(&m, 0, &d), 0);
    assert_int_equal(d.n_experts, 6);
    model_close(&m);
    assert_int_equal(model_open(&m, &mixtral,
                                "{'head_dim': 32, 'sliding_window': 64, 'hidden_size': 72,"
                                " 'num_attention_heads': 3, 'num_key_value_heads': 1,"
                                " 'hidden_act': null, 'rope_scaling': null}"),
                     0);
    assert_int_equal(m.desc.head_dim, 32);
    assert_int_equal(describe_layer(&m, 0, &d), 0);
    assert_int_equal(d.window, 64);
    model_close(&m);
}

static void test_mixtral_names_tensors_per_expert_and_fused(void **state)
{
    struct model m;

    (void)state;
    assert_int_equal(model_open(&m, &mixtral, "{}"), 0);
    check_name(&m, HCSMOE_ROLE_EMBED, -1, -1, 0, "model.embed_tokens.weight");
    check_name(&m, HCSMOE_ROLE_FINAL_NORM, -1, -1, 0, "model.norm.weight");
    check_name(&m, HCSMOE_ROLE_LM_HEAD, -1, -1, 0, "lm_head.weight");
    check_name(&m, HCSMOE_ROLE_ATTN_NORM, 3, -1, 0, "model.layers.3.input_layernorm.weight");
    check_name(&m, HCSMOE_ROLE_Q, 3, -1, 0, "model.layers.3.self_attn.q_proj.weight");
    check_name(&m, HCSMOE_ROLE_O, 31, -1, 0, "model.layers.31.self_attn.o_proj.weight");
    check_name(&m, HCSMOE_ROLE_FFN_NORM, 3, -1, 0,
               "model.layers.3.post_attention_layernorm.weight");
    check_name(&m, HCSMOE_ROLE_ROUTER, 3, -1, 0, "model.layers.3.block_sparse_moe.gate.weight");
    check_name(&m, HCSMOE_ROLE_ROUTER, 3, -1, 1, "model.layers.3.mlp.gate.weight");
    check_name(&m, HCSMOE_ROLE_ROUTER, 3, -1, 2, NULL);
    check_name(&m, HCSMOE_ROLE_EXPERT_MAP, 3, -1, 0, "model.layers.3.block_sparse_moe.expert_map");
    check_name(&m, HCSMOE_ROLE_GATE, 3, 7, 0,
               "model.layers.3.block_sparse_moe.experts.7.w1.weight");
    check_name(&m, HCSMOE_ROLE_UP, 3, 7, 0, "model.layers.3.block_sparse_moe.experts.7.w3.weight");
    check_name(&m, HCSMOE_ROLE_DOWN, 3, 7, 0,
               "model.layers.3.block_sparse_moe.experts.7.w2.weight");
    check_name(&m, HCSMOE_ROLE_FUSED_GATE_UP, 3, -1, 0, "model.layers.3.mlp.experts.gate_up_proj");
    check_name(&m, HCSMOE_ROLE_FUSED_DOWN, 3, -1, 0, "model.layers.3.mlp.experts.down_proj");
    check_name(&m, HCSMOE_ROLE_Q_BIAS, 3, -1, 0, NULL);
    check_name(&m, HCSMOE_ROLE_SHARED_GATE, 3, -1, 0, NULL);
    check_name(&m, HCSMOE_ROLE_DENSE_GATE, 3, -1, 0, NULL);
    model_close(&m);
}

static void test_tensor_name_gives_nothing_where_the_name_does_not_fit(void **state)
{
    struct model m;
    char name[18];

    (void)state;
    assert_int_equal(model_open(&m, &mixtral, "{}"), 0);
    assert_int_equal(
        m.ops->tensor_name(m.self, &host.abi, HCSMOE_ROLE_FINAL_NORM, -1, -1, 0, name, 17), 0);
    assert_int_equal(
        m.ops->tensor_name(m.self, &host.abi, HCSMOE_ROLE_FINAL_NORM, -1, -1, 0, name, 18), 1);
    model_close(&m);
}

static void test_qwen2_moe_describes_the_published_model(void **state)
{
    struct model m;
    hcsmoe_layer_desc d;

    (void)state;
    assert_int_equal(model_open(&m, &qwen, "{}"), 0);
    assert_int_equal(m.desc.n_layers, 24);
    assert_int_equal(m.desc.head_dim, 128);
    assert_int_equal(m.desc.attention_bias, 1);
    assert_int_equal(m.desc.output_bias, 0);
    assert_near(m.desc.norm_eps, 1e-6, 0);
    assert_string_equal(m.desc.key_n_experts, "num_experts");
    assert_string_equal(m.desc.key_expert_ffn, "moe_intermediate_size");
    assert_string_equal(m.desc.key_top_k, "num_experts_per_tok");
    assert_int_equal(describe_layer(&m, 23, &d), 0);
    assert_int_equal(d.is_moe, 1);
    assert_int_equal(d.n_experts, 60);
    assert_int_equal(d.top_k, 4);
    assert_int_equal(d.ffn, 1408);
    assert_int_equal(d.renormalise, 0);
    assert_int_equal(d.shared_ffn, 5632);
    assert_int_equal(d.shared_router, 1);
    assert_int_equal(d.window, 0); /* a window is there, but not used */
    model_close(&m);
}

static void test_qwen2_moe_has_dense_layers_where_the_config_says(void **state)
{
    static const int is_moe[] = {0, 0, 0, 1, 0, 1};
    struct model m;
    hcsmoe_layer_desc d;
    int32_t layer;

    (void)state;
    assert_int_equal(model_open(&m, &qwen,
                                "{'mlp_only_layers': [1, 0, 99], 'decoder_sparse_step': 2,"
                                " 'num_hidden_layers': 6, 'norm_topk_prob': true,"
                                " 'tie_word_embeddings': true, 'qkv_bias': false}"),
                     0);
    assert_int_equal(m.desc.tied_embeddings, 1);
    assert_int_equal(m.desc.attention_bias, 0);
    for (layer = 0; layer < 6; layer++) {
        assert_int_equal(describe_layer(&m, layer, &d), 0);
        assert_int_equal(d.is_moe, is_moe[layer]);
        assert_int_equal(d.ffn, is_moe[layer] ? 1408 : 5632);
        assert_int_equal(d.renormalise, is_moe[layer]);
    }
    check_name(&m, HCSMOE_ROLE_DENSE_UP, 1, -1, 0, "model.layers.1.mlp.up_proj.weight");
    check_name(&m, HCSMOE_ROLE_DENSE_UP, 3, -1, 0, NULL);
    check_name(&m, HCSMOE_ROLE_ROUTER, 1, -1, 0, NULL);
    check_name(&m, HCSMOE_ROLE_GATE, 1, 0, 0, NULL);
    check_name(&m, HCSMOE_ROLE_GATE, 3, 0, 0, "model.layers.3.mlp.experts.0.gate_proj.weight");
    check_name(&m, HCSMOE_ROLE_Q_BIAS, 3, -1, 0, NULL);
    model_close(&m);
}

static void test_qwen2_moe_windows_the_layers_behind_max_window_layers(void **state)
{
    struct model m;
    hcsmoe_layer_desc d;

    (void)state;
    assert_int_equal(model_open(&m, &qwen, "{'use_sliding_window': true}"), 0);
    assert_int_equal(describe_layer(&m, 20, &d), 0);
    assert_int_equal(d.window, 0);
    assert_int_equal(describe_layer(&m, 21, &d), 0);
    assert_int_equal(d.window, 32768);
    model_close(&m);
    assert_int_equal(model_open(&m, &qwen,
                                "{'use_sliding_window': true, 'num_hidden_layers': 2,"
                                " 'layer_types': ['sliding_attention', 'full_attention']}"),
                     0);
    assert_int_equal(describe_layer(&m, 0, &d), 0);
    assert_int_equal(d.window, 32768);
    assert_int_equal(describe_layer(&m, 1, &d), 0);
    assert_int_equal(d.window, 0);
    model_close(&m);
}

static void test_qwen2_moe_names_tensors_per_expert_and_fused(void **state)
{
    struct model m;

    (void)state;
    assert_int_equal(model_open(&m, &qwen, "{'num_experts': null, 'num_local_experts': 60}"), 0);
    assert_string_equal(m.desc.key_n_experts, "num_local_experts");
    check_name(&m, HCSMOE_ROLE_K_BIAS, 3, -1, 0, "model.layers.3.self_attn.k_proj.bias");
    check_name(&m, HCSMOE_ROLE_O_BIAS, 3, -1, 0, NULL);
    check_name(&m, HCSMOE_ROLE_ROUTER, 3, -1, 0, "model.layers.3.mlp.gate.weight");
    check_name(&m, HCSMOE_ROLE_EXPERT_MAP, 3, -1, 0, "model.layers.3.mlp.expert_map");
    check_name(&m, HCSMOE_ROLE_SHARED_GATE, 3, -1, 0,
               "model.layers.3.mlp.shared_expert.gate_proj.weight");
    check_name(&m, HCSMOE_ROLE_SHARED_DOWN, 3, -1, 0,
               "model.layers.3.mlp.shared_expert.down_proj.weight");
    check_name(&m, HCSMOE_ROLE_SHARED_ROUTER, 3, -1, 0,
               "model.layers.3.mlp.shared_expert_gate.weight");
    check_name(&m, HCSMOE_ROLE_UP, 3, 59, 0, "model.layers.3.mlp.experts.59.up_proj.weight");
    check_name(&m, HCSMOE_ROLE_DOWN, 3, 59, 0, "model.layers.3.mlp.experts.59.down_proj.weight");
    check_name(&m, HCSMOE_ROLE_FUSED_GATE_UP, 3, -1, 0, "model.layers.3.mlp.experts.gate_up_proj");
    check_name(&m, HCSMOE_ROLE_FUSED_DOWN, 3, -1, 0, "model.layers.3.mlp.experts.down_proj");
    check_name(&m, HCSMOE_ROLE_FUSED_DOWN, 3, -1, 1, NULL);
    model_close(&m);
}

static void test_families_refuse_what_they_cannot_compute(void **state)
{
    const struct family *const families[] = {&mixtral, &qwen};
    size_t i;

    (void)state;
    for (i = 0; i < 2; i++) {
        const struct family *c = families[i];
        assert_int_equal(refuse(c, "{'hidden_act': 'gelu'}",
                                "'hidden_act' is 'gelu': not supported (have: silu)"),
                         HCSMOE_EUNSUPPORTED);
        assert_int_equal(refuse(c, "{'rope_scaling': {'type': 'linear', 'factor': 2.0}}",
                                "'rope_scaling.type' is 'linear': this scaling of positions is not"
                                " supported (have: default)"),
                         HCSMOE_EUNSUPPORTED);
        assert_int_equal(refuse(c, "{'rope_parameters': {'rope_type': 'yarn', 'rope_theta': 1.0}}",
                                "'rope_parameters.rope_type' is 'yarn': this scaling of positions"
                                " is not supported (have: default)"),
                         HCSMOE_EUNSUPPORTED);
    }
    assert_int_equal(refuse(&qwen,
                            "{'use_sliding_window': true, 'layer_types': ['linear_attention']}",
                            "'layer_types' says 'linear_attention': not supported (have:"
                            " full_attention, sliding_attention)"),
                     HCSMOE_EUNSUPPORTED);
}

static void test_families_refuse_missing_keys_and_nonsense(void **state)
{
    static const struct refusal both[] = {
        {.changes = "{'hidden_size': null}", .message = "no 'hidden_size'"},
        {.changes = "{'rope_theta': null}", .message = "no 'rope_theta'"},
        {.changes = "{'rms_norm_eps': null}", .message = "no 'rms_norm_eps'"},
        {.changes = "{'num_experts_per_tok': null}", .message = "no 'num_experts_per_tok'"},
        {.changes = "{'num_hidden_layers': 0}",
         .message = "'num_hidden_layers' is 0: must be 1..4096"},
        {.changes = "{'num_hidden_layers': 9000000000000000000}",
         .message = "'num_hidden_layers' is 9000000000000000000: must be 1..4096"},
        {.changes = "{'vocab_size': -3}", .message = "'vocab_size' is -3: must be 1..2147483647"},
        {.changes = "{'vocab_size': 1.5}",
         .message = "'vocab_size' is not an integer: must be 1..2147483647"},
        {.changes = "{'hidden_size': 'big'}",
         .message = "'hidden_size' is not an integer: must be 1..1048576"},
        {.changes = "{'num_attention_heads': 12, 'num_key_value_heads': 5}",
         .message = "'num_attention_heads' is 12: must be a multiple of 'num_key_value_heads', 5"},
        {.changes = "{'hidden_size': 100, 'num_attention_heads': 3, 'num_key_value_heads': 1}",
         .message = "'hidden_size' is 100: must be a multiple of 'num_attention_heads', 3, where"
                    " there is no 'head_dim'"},
        {.changes = "{'head_dim': 3}",
         .message = "heads have 3 dimensions: must be even, they are rotated in pairs"},
        {.changes = "{'head_dim': 0}", .message = "'head_dim' is 0: must be 1..1048576"},
        {.changes = "{'rope_theta': 0}", .message = "'rope_theta' must be a number above 0"},
        {.changes = "{'rms_norm_eps': 'x'}", .message = "'rms_norm_eps' must be a number above 0"},
        {.changes = "{'rope_scaling': 'x'}", .message = "'rope_scaling' must be null or an object"},
        {.changes = "{'tie_word_embeddings': 1}",
         .message = "'tie_word_embeddings' must be true or false"},
    };
    static const struct refusal only_mixtral[] = {
        {.changes = "{'num_local_experts': null}", .message = "no 'num_local_experts'"},
        {.changes = "{'num_experts_per_tok': 9}",
         .message = "'num_experts_per_tok' is 9: must be 1..8, as 'num_local_experts' says"},
        {.changes = "{'intermediate_size': 0}",
         .message = "'intermediate_size' is 0: must be 1..1048576"},
        {.changes = "{'sliding_window': 0}",
         .message = "'sliding_window' is 0: must be 1..2147483647"},
    };
    static const struct refusal only_qwen[] = {
        {.changes = "{'num_experts': null}", .message = "no 'num_experts'"},
        {.changes = "{'num_experts': 3}",
         .message = "'num_experts_per_tok' is 4: must be 1..3, as 'num_experts' says"},
        {.changes = "{'shared_expert_intermediate_size': null}",
         .message = "no 'shared_expert_intermediate_size'"},
        {.changes = "{'decoder_sparse_step': 0}",
         .message = "'decoder_sparse_step' is 0: must be 1..4096"},
        {.changes = "{'mlp_only_layers': 3}",
         .message = "'mlp_only_layers' must be a list of layers"},
        {.changes = "{'mlp_only_layers': [0, 'x']}",
         .message = "'mlp_only_layers' item 1 is not a layer"},
        {.changes = "{'mlp_only_layers': [0], 'intermediate_size': null}",
         .message = "no 'intermediate_size'"},
        {.changes = "{'qkv_bias': 1}", .message = "'qkv_bias' must be true or false"},
        {.changes = "{'use_sliding_window': true, 'max_window_layers': -1}",
         .message = "'max_window_layers' is -1: must be 0..2147483647"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof both / sizeof both[0]; i++) {
        assert_int_equal(refuse(&mixtral, both[i].changes, both[i].message), HCSMOE_EINVAL);
        assert_int_equal(refuse(&qwen, both[i].changes, both[i].message), HCSMOE_EINVAL);
    }
    for (i = 0; i < sizeof only_mixtral / sizeof only_mixtral[0]; i++)
        assert_int_equal(refuse(&mixtral, only_mixtral[i].changes, only_mixtral[i].message),
                         HCSMOE_EINVAL);
    for (i = 0; i < sizeof only_qwen / sizeof only_qwen[0]; i++)
        assert_int_equal(refuse(&qwen, only_qwen[i].changes, only_qwen[i].message), HCSMOE_EINVAL);
}

static void test_qwen2_moe_reports_missing_memory(void **state)
{
    void *self = NULL;

    (void)state;
    host.alloc_allowed = 0;
    assert_int_equal(qwen.c->create(&host.abi, NULL, &self), HCSMOE_ENOMEM);
    host.alloc_allowed = -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families_know_their_configs),
        cmocka_unit_test(test_mixtral_describes_the_published_model),
        cmocka_unit_test(test_mixtral_reads_newer_spellings),
        cmocka_unit_test(test_mixtral_names_tensors_per_expert_and_fused),
        cmocka_unit_test(test_tensor_name_gives_nothing_where_the_name_does_not_fit),
        cmocka_unit_test(test_qwen2_moe_describes_the_published_model),
        cmocka_unit_test(test_qwen2_moe_has_dense_layers_where_the_config_says),
        cmocka_unit_test(test_qwen2_moe_windows_the_layers_behind_max_window_layers),
        cmocka_unit_test(test_qwen2_moe_names_tensors_per_expert_and_fused),
        cmocka_unit_test(test_families_refuse_what_they_cannot_compute),
        cmocka_unit_test(test_families_refuse_missing_keys_and_nonsense),
        cmocka_unit_test(test_qwen2_moe_reports_missing_memory),
    };

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
