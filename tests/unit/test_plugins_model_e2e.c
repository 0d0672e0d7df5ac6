/*
 * test_plugins_model_e2e.c - OLMoE, Qwen3-MoE and DeepSeek-V2 from end to end: log-probabilities
 * against recorded ones, a merge in every layout, checkpoints that do not fit their config.
 *
 * The three models and their numbers come from transformers 5.24.0, in float32: random weights, a
 * byte-level tokenizer. SPDX-License-Identifier: MIT
 */
#include "e2e.h"

#define LOGPROB_MOST 2e-4
#define EQUAL_MOST 1e-5

static const char *const models[] = {"olmoe", "qwen3-moe", "deepseek-v2"};
enum { MODELS = 3 };

static const json_t *sequences_of(const char *model)
{
    json_t *all = json_read(TEST_DATA "/e2e/families.json"), *c;
    size_t i;

    json_array_foreach(all, i, c)
    {
        if (!strcmp(json_string_value(json_at(c, "model")), model))
            return json_at(c, "sequences");
    }
    fail_msg("no case %s", model);
    return NULL;
}

static json_t *score_model(const char *folder, const char *model)
{
    struct result r =
        run_input(requests_of(sequences_of(model)), "score", "-m", folder, "-s", "run.threads=2");
    expect_status(r, 0);
    return answers(r.out);
}

static void test_families_give_reference_logprobs(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++) {
        const json_t *want = sequences_of(models[i]);
        const double off =
            answers_difference(score_model(model_folder(models[i]), models[i]), want);
        if (!(off <= LOGPROB_MOST))
            fail_msg("%s: log-probabilities off by %g", models[i], off);
    }
}

/* The most likely token of every position is found, and no other is taken for it. */
static void test_families_find_the_most_likely_token(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++) {
        const json_t *s = json_array_get(sequences_of(models[i]), 0);
        const json_t *tokens = json_at(s, "tokens"), *best = json_at(s, "best");
        json_t *line = json_array();
        struct str input = {0};
        size_t n = 0;
        for (size_t p = 0; p + 1 < 24; p++) {
            const json_int_t most = json_integer_value(json_array_get(best, p));
            json_array_append(line, json_array_get(tokens, p));
            for (json_int_t t = most; most >= 0 && t <= most + 1; t++, n++) {
                json_t *with = json_copy(line);
                json_array_append_new(with, json_integer(t % 256));
                char *text_ = json_dumps(with, JSON_COMPACT);
                str_addf(&input, "{\"tokens\": %s, \"from\": %zu}\n", text_, p + 1);
                free(text_); /* from json_dumps */
                json_decref(with);
            }
        }
        struct result r = run_input(str_text(&input), "score", "-m", model_folder(models[i]));
        str_release(&input);
        json_decref(line);
        expect_status(r, 0);
        const json_t *a = answers(r.out);
        assert_int_equal(json_array_size(a), n);
        assert_true(n >= 30);
        for (size_t k = 0; k < n; k++)
            assert_int_equal(json_is_true(json_at(json_array_get(a, k), "greedy")), k % 2 == 0);
    }
}

static const char *merge_run(const char *model, const char *layout, int groups)
{
    const char *out = work(text("%s-%s", model, layout));
    const char *ini = ini_write("families.ini", model_folder(model), out);

    expect_status(run("-q", "-c", ini, "-s", text("output.layout=%s", layout), "-s",
                      text("group.num_average_groups=%d", groups)),
                  0);
    return out;
}

static void test_merged_families_are_equal_in_mapped_and_expanded(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++) {
        const char *mapped = merge_run(models[i], "mapped", 4);
        const char *expanded = merge_run(models[i], "expanded", 4);
        const json_t *a = score_model(mapped, models[i]);
        const json_t *config = json_read(text("%s/config.json", mapped));
        assert_true(strstr(json_string_value(json_at(config, "model_type")), "hcsmoe_"));
        assert_true(answers_difference(a, score_model(expanded, models[i])) <= EQUAL_MOST);
        /* Merging did something. */
        assert_true(answers_difference(a, sequences_of(models[i])) > 0.01);
    }
}

static void test_collapsed_families_are_plain_models_with_fewer_experts(void **state)
{
    static const char *const keys[] = {"num_experts", "num_local_experts", "n_routed_experts"};
    static const char *const types[] = {"olmoe", "qwen3_moe", "deepseek_v2"};

    (void)state;
    for (int i = 0; i < MODELS; i++) {
        const char *out = merge_run(models[i], "collapsed", 4);
        const json_t *config = json_read(text("%s/config.json", out));
        struct shards s;
        assert_int_equal(json_integer_value(json_at(config, keys[i])), 4);
        assert_string_equal(json_string_value(json_at(config, "model_type")), types[i]);
        shards_of(&s, out);
        const struct st_entry *router = shards_find(&s, "model.layers.2.mlp.gate.weight");
        if (!router)
            router = shards_find(&s, "model.layers.1.mlp.gate.weight");
        assert_non_null(router);
        assert_int_equal(router->shape[0], 4);
        shards_close(&s);
        assert_int_equal(json_array_size(score_model(out, models[i])), 2);
    }
}

static void test_collapsed_routers_keep_their_groups_even(void **state)
{
    const char *ini = ini_write("uneven.ini", model_folder("deepseek-v2"), work("uneven"));

    (void)state;
    struct result r =
        run("-q", "-c", ini, "-s", "output.layout=collapsed", "-s", "group.num_average_groups=6");
    expect_status(r, 1);
    expect_text(r.err, "6 experts do not divide into the 4 groups of 'n_group'");
    expect_clean();
}

/* A copy of the DeepSeek-V2 model whose config has changes, of which the program must say
 * something. */
static void config_refused(const char *key, json_t *value, const char *message)
{
    const char *folder = work(text("deepseek-%s", key));
    json_t *config = json_read(text("%s/config.json", model_folder("deepseek-v2")));
    size_t size;
    const char *weights =
        file_text(text("%s/model.safetensors", model_folder("deepseek-v2")), &size);

    assert_int_equal(path_make_folder(folder), 0);
    assert_int_equal(path_write(text("%s/model.safetensors", folder), weights, size), 0);
    assert_int_equal(json_object_set_new(config, key, value), 0);
    assert_int_equal(json_dump_file(config, text("%s/config.json", folder), JSON_INDENT(2)), 0);
    struct result r = run_input("{\"tokens\": [1, 2, 3]}\n", "score", "-m", folder);
    expect_status(r, 2);
    expect_text(r.err, message);
}

static void test_latent_attention_is_checked_before_it_computes(void **state)
{
    (void)state;
    config_refused("kv_lora_rank", json_integer(11),
                   "tensor 'model.layers.0.self_attn.kv_a_proj_with_mqa.weight' has shape "
                   "[18, 36], config.json says [19, 36]");
    config_refused("v_head_dim", json_integer(9),
                   "tensor 'model.layers.0.self_attn.o_proj.weight' has shape [36, 144], "
                   "config.json says [36, 162]");
    config_refused("q_lora_rank", json_null(),
                   "no tensor 'model.layers.0.self_attn.q_proj.weight' in the checkpoint");
    config_refused("attention_bias", json_true(),
                   "no tensor 'model.layers.0.self_attn.q_a_proj.bias' in the checkpoint");
    config_refused("qk_rope_head_dim", json_integer(16), "config.json says [396, 12]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families_give_reference_logprobs),
        cmocka_unit_test(test_families_find_the_most_likely_token),
        cmocka_unit_test(test_merged_families_are_equal_in_mapped_and_expanded),
        cmocka_unit_test(test_collapsed_families_are_plain_models_with_fewer_experts),
        cmocka_unit_test(test_collapsed_routers_keep_their_groups_even),
        cmocka_unit_test(test_latent_attention_is_checked_before_it_computes),
    };
    return cmocka_run_group_tests(tests, e2e_begin, e2e_end);
}
