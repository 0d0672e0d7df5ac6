/*
 * test_plugins_model_latent.c - what DeepSeek-V2 computes itself: latent attention against a plain
 * computation, YaRN against recorded numbers, routing by groups.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model_test.h"

static struct family deepseek = {.config = DEEPSEEK_V2};

static const hcsmoe_component *cpu;
static void *cpu_self;
static const hcsmoe_kernels *cpu_table;

static int host_setup(void **state)
{
    const hcsmoe_kernels_ops *ops;

    (void)state;
    fake_host_open(&host);
    deepseek.c = plugin_load(&host, "hcsmoe-model-deepseek_v2.so");
    cpu = plugin_load(&host, "hcsmoe-kernels-cpu.so");
    ops = cpu->ops;
    assert_int_equal(cpu->create(&host.abi, NULL, &cpu_self), 0);
    assert_int_equal(ops->table(cpu_self, &host.abi, 0, &cpu_table), 0);
    host.kernels = cpu_table;
    return 0;
}

static int host_teardown(void **state)
{
    (void)state;
    cpu->destroy(&host.abi, cpu_self);
    fake_host_close(&host);
    return 0;
}

/* A small layer: 18 heads are more than are computed at once. */
enum { WIDTH = 10, HEADS = 18, Q_RANK = 5, KV_RANK = 6, NOPE = 4, ROTARY = 16, V = 3, TOKENS = 12 };
enum { DIM = NOPE + ROTARY, BOTH = NOPE + V, ROLES = 64 };

static const char small[] =
    "{'hidden_size': 10, 'num_attention_heads': 18, 'num_key_value_heads': 18, 'q_lora_rank': 5,"
    " 'kv_lora_rank': 6, 'qk_nope_head_dim': 4, 'qk_rope_head_dim': 16, 'v_head_dim': 3,"
    " 'rope_scaling': {'beta_fast': 8, 'beta_slow': 1, 'factor': 8, 'mscale': 1.0,"
    " 'mscale_all_dim': 0.5, 'original_max_position_embeddings': 32, 'type': 'yarn'}}";

/* What transformers 5.24.0 computes for that scaling: frequencies, magnitude of sine and cosine, and
 * the factor on 1/sqrt(DIM). */
static const double frequency[ROTARY / 2] = {1,
                                             0.177878112,
                                             0.0125000002,
                                             0.00395284733,
                                             0.00124999997,
                                             0.000395284733,
                                             0.000125000006,
                                             3.95284733e-05};
static const double magnitude = 1.094179988101349, factor = 12 * 0.10156286224842859;

struct layer {
    hcsmoe_tensor role[ROLES];
    float data[ROLES][4096];
};

static const hcsmoe_tensor *layer_get(const void *ctx, int32_t role, int32_t expert)
{
    const struct layer *l = ctx;

    assert_int_equal(expert, -1);
    return l->role[role].data ? &l->role[role] : NULL;
}

static float noise(double scale)
{
    return (float)(scale * (2 * fake_uniform(&host) - 1));
}

/* Random weights of every role that the family names a shape for. */
static void layer_make(struct layer *l, const struct model *m)
{
    memset(l, 0, sizeof *l);
    for (int32_t role = HCSMOE_ROLE_Q; role <= HCSMOE_ROLE_KV_B; role++) {
        int64_t shape[2] = {0, 0};
        int32_t ndim = m->ops->tensor_shape(m->self, &host.abi, role, 0, shape);
        if (role == HCSMOE_ROLE_O_BIAS && m->desc.output_bias) {
            shape[0] = WIDTH;
            ndim = 1;
        }
        const int64_t columns = ndim > 1 ? shape[1] : 1;
        if (!ndim)
            continue;
        assert_true(shape[0] * columns <= 4096);
        l->role[role] = hcsmoe_matrix(l->data[role], HCSMOE_DTYPE_F32, shape[0], columns);
        if (ndim == 1) {
            l->role[role].ndim = 1;
            l->role[role].stride[0] = 1;
            l->role[role].stride[1] = 0;
        }
        for (int64_t i = 0; i < shape[0] * columns; i++)
            l->data[role][i] = noise(1) + (ndim == 1 ? 1.0F : 0.0F);
    }
}

/* y = w x + b, b may be absent. */
static void apply(const struct layer *l, int32_t role, int32_t bias, const double *x, double *y)
{
    const hcsmoe_tensor *w = &l->role[role];

    for (int64_t i = 0; i < w->shape[0]; i++) {
        y[i] = bias && l->role[bias].data ? (double)l->data[bias][i] : 0;
        for (int64_t j = 0; j < w->shape[1]; j++)
            y[i] += (double)l->data[role][i * w->shape[1] + j] * x[j];
    }
}

static void norm(const struct layer *l, int32_t role, double *x, int n)
{
    double square = 0;

    for (int i = 0; i < n; i++)
        square += x[i] * x[i];
    for (int i = 0; i < n; i++)
        x[i] *= (double)l->data[role][i] / sqrt(square / n + 1e-6);
}

/* Neighbouring pairs, as the family has them. */
static void turn(double *x, int64_t position)
{
    for (int i = 0; i < ROTARY / 2; i++) {
        const double c = magnitude * cos((double)position * frequency[i]),
                     s = magnitude * sin((double)position * frequency[i]), a = x[2 * i],
                     b = x[2 * i + 1];
        x[2 * i] = a * c - b * s;
        x[2 * i + 1] = a * s + b * c;
    }
}

struct token {
    double q[HEADS * DIM], low[KV_RANK + ROTARY], kv[HEADS * BOTH];
};

static void token_make(const struct layer *l, const float *row, int64_t position, struct token *t)
{
    double x[WIDTH], q_low[Q_RANK];

    for (int i = 0; i < WIDTH; i++)
        x[i] = (double)row[i];
    if (l->role[HCSMOE_ROLE_Q].data) {
        apply(l, HCSMOE_ROLE_Q, 0, x, t->q);
    } else {
        apply(l, HCSMOE_ROLE_Q_A, HCSMOE_ROLE_Q_BIAS, x, q_low);
        norm(l, HCSMOE_ROLE_Q_A_NORM, q_low, Q_RANK);
        apply(l, HCSMOE_ROLE_Q_B, 0, q_low, t->q);
    }
    apply(l, HCSMOE_ROLE_KV_A, HCSMOE_ROLE_K_BIAS, x, t->low);
    norm(l, HCSMOE_ROLE_KV_A_NORM, t->low, KV_RANK);
    apply(l, HCSMOE_ROLE_KV_B, 0, t->low, t->kv);
    turn(t->low + KV_RANK, position);
    for (int h = 0; h < HEADS; h++)
        turn(t->q + h * DIM + NOPE, position);
}

static double score(const struct token *q, const struct token *k, int h)
{
    double sum = 0;

    for (int i = 0; i < NOPE; i++)
        sum += q->q[h * DIM + i] * k->kv[h * BOTH + i];
    for (int i = 0; i < ROTARY; i++)
        sum += q->q[h * DIM + NOPE + i] * k->low[KV_RANK + i];
    return sum * factor / sqrt(DIM);
}

/* Rows 0..6 are one sequence; rows 7..11 go on behind its first three. */
static int sees(int q, int k)
{
    return q < 7 ? k <= q : k < 3 || (k >= 7 && k <= q);
}

static void attend(const struct layer *l, const struct token *tokens, int row, double *residual)
{
    double out[HEADS * V] = {0}, y[WIDTH];

    for (int h = 0; h < HEADS; h++) {
        double sum = 0;
        for (int k = 0; k < TOKENS; k++) {
            const double p = sees(row, k) ? exp(score(&tokens[row], &tokens[k], h)) : 0;
            sum += p;
            for (int i = 0; i < V; i++)
                out[h * V + i] += p * tokens[k].kv[h * BOTH + NOPE + i];
        }
        for (int i = 0; i < V; i++)
            out[h * V + i] /= sum;
    }
    apply(l, HCSMOE_ROLE_O, HCSMOE_ROLE_O_BIAS, out, y);
    for (int i = 0; i < WIDTH; i++)
        residual[i] += y[i];
}

static void attention_check(const char *changes)
{
    static const int64_t position[TOKENS] = {0, 1, 2, 3, 4, 5, 6, 3, 4, 5, 6, 7};
    static const hcsmoe_sequence sequences[] = {
        {.begin = 0, .count = 7},
        {.begin = 7, .count = 5, .prefix = 3, .first_span = 0, .n_spans = 1}};
    static const hcsmoe_span span = {.begin = 0, .count = 3};
    static struct layer l;
    static struct token tokens[TOKENS];
    struct family f = {.c = deepseek.c};
    struct model m;
    float x[TOKENS * WIDTH], residual[TOKENS * WIDTH];
    json_t *config = parse(deepseek.config), *sizes = parse(small);
    double expected[TOKENS * WIDTH];

    assert_int_equal(json_object_update(config, sizes), 0);
    f.config = json_dumps(config, 0);
    assert_int_equal(model_open(&m, &f, changes), 0);
    layer_make(&l, &m);
    for (int i = 0; i < TOKENS * WIDTH; i++) {
        x[i] = noise(1);
        residual[i] = noise(3);
        expected[i] = (double)residual[i];
    }
    for (int t = 0; t < TOKENS; t++)
        token_make(&l, x + t * WIDTH, position[t], &tokens[t]);
    for (int t = 0; t < TOKENS; t++)
        attend(&l, tokens, t, expected + t * WIDTH);
    const hcsmoe_layer_tensors get = {.struct_size = sizeof get, .ctx = &l, .get = layer_get};
    const hcsmoe_model_attention_args a = {.struct_size = sizeof a,
                                           .tensors = &get,
                                           .sequences = sequences,
                                           .spans = &span,
                                           .n_sequences = 2,
                                           .n_spans = 1,
                                           .n_tokens = TOKENS,
                                           .position = position,
                                           .x = x,
                                           .residual = residual};
    assert_int_equal(m.ops->attention(m.self, &host.abi, &a), 0);
    for (int i = 0; i < TOKENS * WIDTH; i++)
        assert_near((double)residual[i], expected[i], 1e-4);
    host.alloc_allowed = 0;
    assert_int_equal(m.ops->attention(m.self, &host.abi, &a), HCSMOE_ENOMEM);
    host.alloc_allowed = -1;
    model_close(&m);
    free((void *)(uintptr_t)f.config); /* from json_dumps */
    json_decref(config);
    json_decref(sizes);
}

static void test_latent_attention_equals_a_plain_computation(void **state)
{
    (void)state;
    attention_check("{}");
}

static void test_lite_models_project_queries_from_the_width(void **state)
{
    (void)state;
    attention_check("{'q_lora_rank': null}");
}

static void test_latent_attention_adds_biases(void **state)
{
    (void)state;
    attention_check("{'attention_bias': true}");
}

static double seen_frequency[32], seen_scale;

static hcsmoe_status see_rope(const hcsmoe_kernels *k, int64_t n, int64_t heads, int64_t head_dim,
                              int64_t dim, const int64_t *position, const double *inverse_frequency,
                              float *x)
{
    assert_int_equal(dim, 64);
    memcpy(seen_frequency, inverse_frequency, sizeof seen_frequency);
    return cpu_table->rope(k, n, heads, head_dim, dim, position, inverse_frequency, x);
}

static hcsmoe_status see_attention(const hcsmoe_kernels *k, const hcsmoe_attention_args *a)
{
    seen_scale = a->scale;
    return cpu_table->attention(k, a);
}

/* Runs one token through a thin layer with the published scaling of positions, or another. */
static void positions_see(const char *changes)
{
    static struct layer l;
    static const int64_t position = 5;
    static const hcsmoe_sequence sequence = {.begin = 0, .count = 1};
    const float x[WIDTH] = {1};
    float residual[WIDTH] = {0};
    hcsmoe_kernels table = *cpu_table;
    struct model m;
    json_t *config = parse(deepseek.config);
    json_t *sizes = parse("{'hidden_size': 10, 'num_attention_heads': 1, 'q_lora_rank': null,"
                          " 'num_key_value_heads': 1, 'kv_lora_rank': 2}");
    struct family f = {.c = deepseek.c};

    assert_int_equal(json_object_update(config, sizes), 0);
    f.config = json_dumps(config, 0);
    table.rope = see_rope;
    table.attention = see_attention;
    assert_int_equal(model_open(&m, &f, changes), 0);
    layer_make(&l, &m);
    const hcsmoe_layer_tensors get = {.struct_size = sizeof get, .ctx = &l, .get = layer_get};
    const hcsmoe_model_attention_args a = {.struct_size = sizeof a,
                                           .tensors = &get,
                                           .sequences = &sequence,
                                           .n_sequences = 1,
                                           .n_tokens = 1,
                                           .position = &position,
                                           .x = x,
                                           .residual = residual};
    host.kernels = &table;
    assert_int_equal(m.ops->attention(m.self, &host.abi, &a), 0);
    host.kernels = cpu_table;
    model_close(&m);
    free((void *)(uintptr_t)f.config); /* from json_dumps */
    json_decref(config);
    json_decref(sizes);
}

/* The published model's, as transformers 5.24.0 computes them (in float32). */
static void test_yarn_gives_recorded_frequencies_and_scale(void **state)
{
    static const double recorded[32] = {1,
                                        0.749894202,
                                        0.562341332,
                                        0.421696514,
                                        0.316227764,
                                        0.237137362,
                                        0.177827939,
                                        0.133352146,
                                        0.100000001,
                                        0.0749894157,
                                        0.0562341288,
                                        0.0390069261,
                                        0.0268793609,
                                        0.0183781441,
                                        0.012447956,
                                        0.0083345091,
                                        0.00550000044,
                                        0.00356199732,
                                        0.00224936521,
                                        0.00137051346,
                                        0.000790569407,
                                        0.000414990413,
                                        0.00017782794,
                                        3.3338034e-05,
                                        2.49999994e-05,
                                        1.87473543e-05,
                                        1.40585325e-05,
                                        1.05424124e-05,
                                        7.90569447e-06,
                                        5.92843435e-06,
                                        4.44569832e-06,
                                        3.33380353e-06};

    (void)state;
    positions_see("{}");
    for (int i = 0; i < 32; i++)
        assert_near(seen_frequency[i], recorded[i], 3e-7 * recorded[i]);
    assert_near(seen_scale, 0.1147213867929261, 1e-12);
    positions_see("{'rope_scaling': null}");
    for (int i = 0; i < 32; i++)
        assert_near(seen_frequency[i], pow(10000, -i / 32.0), 1e-12);
    assert_near(seen_scale, 1 / sqrt(192), 1e-15);
    /* A factor of one leaves everything as it is. */
    positions_see("{'rope_parameters': {'rope_type': 'yarn', 'rope_theta': 10000, 'factor': 1,"
                  " 'original_max_position_embeddings': 4096}, 'rope_scaling': null}");
    for (int i = 0; i < 32; i++)
        assert_near(seen_frequency[i], pow(10000, -i / 32.0), 1e-12);
    assert_near(seen_scale, 1 / sqrt(192), 1e-15);
}

/* 8 experts, in 4 groups of two; two tokens. */
enum { EXPERTS = 8, K = 3, ROWS = 2 };
static const float logits[ROWS * EXPERTS] = {5, 0, 4, 3, 4.5, -1, 2, 1, //
                                             0, 0, 0, 0, 0,   0,  0, 0};

static double probability(int row, int expert, const int64_t *mask)
{
    double sum = 0;

    for (int e = 0; e < EXPERTS; e++)
        if (!mask || mask[e] >= 0)
            sum += exp((double)logits[row * EXPERTS + e]);
    return exp((double)logits[row * EXPERTS + expert]) / sum;
}

/* scale 0: the weights sum to one. */
static void route_check(const char *changes, const int64_t *mask, double scale,
                        const int32_t expected[ROWS * K])
{
    struct model m;
    float probabilities[ROWS * EXPERTS], weights[ROWS * K];
    int32_t ids[ROWS * K];

    assert_int_equal(model_open(&m, &deepseek, changes), 0);
    const hcsmoe_model_route_args a = {.struct_size = sizeof a,
                                       .n_tokens = ROWS,
                                       .n_experts = EXPERTS,
                                       .top_k = K,
                                       .logits = logits,
                                       .mask = mask,
                                       .probabilities = probabilities,
                                       .ids = ids,
                                       .weights = weights};
    assert_int_equal(m.ops->route(m.self, &host.abi, &a), 0);
    for (int t = 0; t < ROWS; t++) {
        double sum = 0;
        for (int i = 0; i < K; i++)
            sum += expected[t * K + i] < 0 ? 0 : probability(t, expected[t * K + i], mask);
        for (int i = 0; i < K; i++) {
            const int32_t e = expected[t * K + i];
            assert_int_equal(ids[t * K + i], e);
            assert_near((double)weights[t * K + i],
                        e < 0 ? 0 : probability(t, e, mask) * (scale > 0 ? scale : 1 / sum), 2e-6);
        }
        for (int e = 0; e < EXPERTS; e++)
            assert_near((double)probabilities[t * EXPERTS + e],
                        mask && mask[e] < 0 ? 0 : probability(t, e, mask), 1e-6);
    }
    for (int n = 0; n < 4; n++) {
        host.alloc_allowed = n;
        assert_int_equal(m.ops->route(m.self, &host.abi, &a), HCSMOE_ENOMEM);
        host.alloc_allowed = -1;
    }
    model_close(&m);
}

#define GROUPS "'n_routed_experts': 8, 'n_group': 4, 'num_experts_per_tok': 3"

static void test_experts_come_from_the_best_groups(void **state)
{
    static const int32_t two[] = {0, 4, 1, 0, 1, 2}, one[] = {0, 1, -1, 0, 1, -1},
                         all[] = {0, 4, 2, 0, 1, 2};

    (void)state;
    route_check("{" GROUPS ", 'topk_group': 2}", NULL, 16, two);
    route_check("{" GROUPS ", 'topk_group': 1}", NULL, 16, one);
    route_check("{" GROUPS ", 'topk_group': 4, 'routed_scaling_factor': 1.5}", NULL, 1.5, all);
    route_check("{" GROUPS ", 'topk_method': 'greedy', 'topk_group': 2}", NULL, 16, all);
    route_check("{" GROUPS ", 'topk_method': null, 'routed_scaling_factor': null}", NULL, 1, all);
}

static void test_top_k_weights_are_either_normed_or_scaled(void **state)
{
    static const int32_t two[] = {0, 4, 1, 0, 1, 2}, one[] = {0, 1, -1, 0, 1, -1};

    (void)state;
    route_check("{" GROUPS ", 'topk_group': 2, 'norm_topk_prob': true}", NULL, 0, two);
    route_check("{" GROUPS ", 'topk_group': 1, 'norm_topk_prob': true}", NULL, 0, one);
}

static void test_pruned_experts_do_not_stand_for_their_group(void **state)
{
    static const int64_t mask[EXPERTS] = {-1, 0, 1, 2, 3, 4, 5, 6};
    static const int32_t expected[] = {4, 2, 3, 1, 2, 3};

    (void)state;
    route_check("{" GROUPS ", 'topk_group': 2}", mask, 16, expected);
}

static void test_routers_that_do_not_divide_into_groups_are_refused(void **state)
{
    struct model m;
    float weights[K];
    int32_t ids[K];

    (void)state;
    assert_int_equal(model_open(&m, &deepseek, "{" GROUPS ", 'topk_group': 2}"), 0);
    const hcsmoe_model_route_args a = {.struct_size = sizeof a,
                                       .n_tokens = 1,
                                       .n_experts = 6,
                                       .top_k = K,
                                       .logits = logits,
                                       .ids = ids,
                                       .weights = weights};
    assert_int_equal(m.ops->route(m.self, &host.abi, &a), HCSMOE_EUNSUPPORTED);
    assert_string_equal(host.message, "6 experts do not divide into the 4 groups of 'n_group'");
    model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_latent_attention_equals_a_plain_computation),
        cmocka_unit_test(test_lite_models_project_queries_from_the_width),
        cmocka_unit_test(test_latent_attention_adds_biases),
        cmocka_unit_test(test_yarn_gives_recorded_frequencies_and_scale),
        cmocka_unit_test(test_experts_come_from_the_best_groups),
        cmocka_unit_test(test_top_k_weights_are_either_normed_or_scaled),
        cmocka_unit_test(test_pruned_experts_do_not_stand_for_their_group),
        cmocka_unit_test(test_routers_that_do_not_divide_into_groups_are_refused),
    };

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
