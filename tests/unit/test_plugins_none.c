/*
 * test_plugins_none.c - pruning baselines: who stays, by which score, over all layers.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cluster_test.h"

enum { EXPERTS = 4, WIDTH = 3, FFN = 2, TOP_K = 2, TOKENS = 5 };

static struct fake_host host;
static const hcsmoe_component *none;
static struct clustering clustering;
static int failing; /* which kernel fails: 1 gather, 2 swiglu, 3 linear */

static hcsmoe_status fake_gather(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                                 const int64_t *rows, float *out)
{
    int64_t i;

    (void)k;
    for (i = 0; i < n; i++)
        memcpy(&out[i * width], &x[rows[i] * width], (size_t)width * sizeof *out);
    return failing == 1 ? HCSMOE_EIO : HCSMOE_OK;
}

static double dot(const float *x, const float *y, int64_t n)
{
    double sum = 0;
    int64_t i;

    for (i = 0; i < n; i++)
        sum += (double)x[i] * (double)y[i];
    return sum;
}

static hcsmoe_status fake_swiglu(const hcsmoe_kernels *k, int64_t n, int64_t width, int64_t ffn,
                                 const float *x, const hcsmoe_tensor *gate, const hcsmoe_tensor *up,
                                 float *h)
{
    int64_t t, i;

    (void)k;
    for (t = 0; t < n; t++)
        for (i = 0; i < ffn; i++) {
            const double g = dot(&x[t * width], (const float *)gate->data + i * width, width);
            h[t * ffn + i] =
                (float)(g / (1 + exp(-g)) *
                        dot(&x[t * width], (const float *)up->data + i * width, width));
        }
    return failing == 2 ? HCSMOE_EIO : HCSMOE_OK;
}

static hcsmoe_status fake_linear(const hcsmoe_kernels *k, int64_t m, int64_t n, int64_t kk,
                                 const float *x, const hcsmoe_tensor *weight,
                                 const hcsmoe_tensor *bias, int32_t add, float *y)
{
    int64_t t, i;

    (void)k;
    assert_null(bias);
    assert_int_equal(add, 0);
    for (t = 0; t < m; t++)
        for (i = 0; i < n; i++)
            y[t * n + i] = (float)dot(&x[t * kk], (const float *)weight->data + i * kk, kk);
    return failing == 3 ? HCSMOE_EIO : HCSMOE_OK;
}

static int host_setup(void **state)
{
    static hcsmoe_kernels kernels = {.struct_size = sizeof kernels,
                                     .gather = fake_gather,
                                     .swiglu = fake_swiglu,
                                     .linear = fake_linear};
    (void)state;
    fake_host_open(&host);
    host.kernels = &kernels;
    none = plugin_component(&host, "hcsmoe-cluster-none.so", "none");
    return 0;
}

static int host_teardown(void **state)
{
    (void)state;
    fake_host_close(&host);
    return 0;
}

static void *options_of(const char *score)
{
    void *opts = options_new(none);

    option_set(none, opts, "score", score);
    return opts;
}

static hcsmoe_status run(const char *score)
{
    void *opts = options_of(score);
    hcsmoe_status status = clustering_run(&host, none, opts, &clustering);

    mem_free(opts);
    return status;
}

static void test_none_keeps_the_best_experts_each_for_itself(void **state)
{
    static const double usage[] = {.1, .3, .1, .3, .2};

    (void)state;
    clustering_init(&clustering, 5, 3);
    clustering.stats.usage = usage;
    assert_int_equal(run("frequency"), 0);
    assert_int_equal(clustering.groups, 3);
    assert_int_equal(clustering.n_joins, 0);
    assert_digits(clustering.labels, "-0-12");
    assert_digits(clustering.cores, "134--");
    /* Of equally good ones the lower stays. */
    clustering.n_groups = 4;
    assert_int_equal(run("frequency"), 0);
    assert_digits(clustering.labels, "30-12");
}

static void test_none_can_go_by_the_routers_probabilities(void **state)
{
    static const double usage[] = {.4, .3, .2, .1}, score[] = {1, 2, 4, 3};

    (void)state;
    clustering_init(&clustering, 4, 2);
    clustering.stats.usage = usage;
    clustering.stats.score_sum = score;
    assert_int_equal(run("routing-score"), 0);
    assert_digits(clustering.labels, "--01");
}

static void test_none_collects_only_what_the_score_takes(void **state)
{
    static const char *const names[] = {"frequency", "routing-score", "output-norm"};
    static const uint64_t needs[] = {HCSMOE_STAT_USAGE, HCSMOE_STAT_ROUTING_SCORE,
                                     HCSMOE_STAT_TILES | HCSMOE_STAT_WEIGHTS};
    const hcsmoe_layer_dims dims = {.struct_size = sizeof dims, .n_experts = EXPERTS};
    hcsmoe_state states[4];
    int i;

    (void)state;
    for (i = 0; i < 3; i++) {
        void *opts = options_of(names[i]);
        assert_int_equal(none->needs_for(opts, 0), needs[i]);
        assert_int_equal(none->states(opts, &host.abi, &dims, states, 4), i == 2 ? 2 : 0);
        mem_free(opts);
    }
    assert_string_equal(states[0].name, "norm_sum");
    assert_int_equal(states[0].dtype, HCSMOE_DTYPE_F64);
    assert_int_equal(states[0].shape[0], EXPERTS);
    assert_string_equal(states[1].name, "norm_count");
    assert_int_equal(states[1].dtype, HCSMOE_DTYPE_I64);
    assert_int_equal(states[1].shape[0], EXPERTS);
    assert_int_equal(none->caps & HCSMOE_CAP_LEAVES_OUT, HCSMOE_CAP_LEAVES_OUT);
}

/* A small layer: matrices, and states that a host would keep. */
struct layer {
    float gate[EXPERTS][FFN * WIDTH], up[EXPERTS][FFN * WIDTH], down[EXPERTS][WIDTH * FFN];
    hcsmoe_tensor tensors[3][EXPERTS];
    float x[TOKENS * WIDTH];
    double sum[EXPERTS];
    int64_t count[EXPERTS];
    hcsmoe_tensor states[2];
};

static struct layer layer;

/* Expert 3 is never chosen, expert 1 once, and one choice is denied. */
static const int32_t ids[TOKENS * TOP_K] = {0, 2, 2, 0, 1, 2, 2, -1, 0, 2};

static void random_fill(float *x, int n)
{
    int i;

    for (i = 0; i < n; i++)
        x[i] = (float)(fake_uniform(&host) - 0.5);
}

static void layer_init(void)
{
    int e;

    memset(&layer, 0, sizeof layer);
    for (e = 0; e < EXPERTS; e++) {
        random_fill(layer.gate[e], FFN * WIDTH);
        random_fill(layer.up[e], FFN * WIDTH);
        random_fill(layer.down[e], WIDTH * FFN);
        layer.tensors[0][e] = hcsmoe_matrix(layer.gate[e], HCSMOE_DTYPE_F32, FFN, WIDTH);
        layer.tensors[1][e] = hcsmoe_matrix(layer.up[e], HCSMOE_DTYPE_F32, FFN, WIDTH);
        layer.tensors[2][e] = hcsmoe_matrix(layer.down[e], HCSMOE_DTYPE_F32, WIDTH, FFN);
    }
    random_fill(layer.x, TOKENS * WIDTH);
    layer.states[0] = hcsmoe_matrix(layer.sum, HCSMOE_DTYPE_F64, EXPERTS, 1);
    layer.states[1] = hcsmoe_matrix(layer.count, HCSMOE_DTYPE_I64, EXPERTS, 1);
    clustering_init(&clustering, EXPERTS, 2);
    clustering.dims.top_k = TOP_K;
    clustering.dims.width = WIDTH;
    clustering.dims.ffn = FFN;
    clustering.stats.gate = layer.tensors[0];
    clustering.stats.up = layer.tensors[1];
    clustering.stats.down = layer.tensors[2];
    clustering.states = layer.states;
    clustering.n_states = 2;
}

static hcsmoe_status show(int64_t first, int64_t n)
{
    const hcsmoe_cluster_ops *ops = none->ops;
    const hcsmoe_cluster_args a = clustering_args(&clustering);
    const hcsmoe_tile tile = {.struct_size = sizeof tile,
                              .first_token = first,
                              .n_tokens = n,
                              .x = &layer.x[first * WIDTH],
                              .ids = &ids[first * TOP_K]};
    void *opts = options_of("output-norm");
    hcsmoe_status status = ops->accumulate(opts, &host.abi, &a, &tile);

    fake_host_leave(&host);
    mem_free(opts);
    return status;
}

/* |y_e(x_t)| */
static double norm(int e, int t)
{
    float h[FFN], y[WIDTH];

    (void)fake_swiglu(NULL, 1, WIDTH, FFN, &layer.x[t * WIDTH], &layer.tensors[0][e],
                      &layer.tensors[1][e], h);
    (void)fake_linear(NULL, 1, WIDTH, FFN, h, &layer.tensors[2][e], NULL, 0, y);
    return sqrt(dot(y, y, WIDTH));
}

static void test_none_averages_the_norm_of_routed_outputs(void **state)
{
    static const int64_t counts[] = {3, 1, 5, 0};
    double mean[EXPERTS];
    int e;

    (void)state;
    layer_init();
    assert_int_equal(show(0, 2), 0);
    assert_int_equal(show(2, 3), 0);
    for (e = 0; e < EXPERTS; e++)
        assert_int_equal(layer.count[e], counts[e]);
    assert_near(layer.sum[0], norm(0, 0) + norm(0, 1) + norm(0, 4), 1e-7);
    assert_near(layer.sum[1], norm(1, 2), 1e-7);
    assert_near(layer.sum[2], norm(2, 0) + norm(2, 1) + norm(2, 2) + norm(2, 3) + norm(2, 4), 1e-7);
    assert_near(layer.sum[3], 0, 0);
    assert_true(layer.sum[0] > 0 && layer.sum[1] > 0 && layer.sum[2] > 0);
    /* Means, not sums, decide; an expert without tokens goes first. */
    for (e = 0; e < 3; e++)
        mean[e] = layer.sum[e] / (double)counts[e];
    clustering.n_groups = 3;
    assert_int_equal(run("output-norm"), 0);
    assert_int_equal(clustering.labels[3], -1);
    for (e = 0; e < 2; e++)
        assert_true(mean[clustering.cores[e]] >= mean[clustering.cores[e + 1]]);
}

static void test_none_passes_failures_of_kernels_on(void **state)
{
    (void)state;
    for (failing = 1; failing <= 3; failing++) {
        layer_init();
        assert_int_equal(show(0, TOKENS), HCSMOE_EIO);
    }
    failing = 0;
}

static void test_none_shares_experts_out_over_all_layers(void **state)
{
    static const char *const names[] = {"frequency", "routing-score", "output-norm"};
    static double first[] = {.40, .30, .20, .10}, second[] = {.70, .15, .10, .05};
    static int64_t count[] = {2, 2, 2, 2};
    static double first_sum[] = {.80, .60, .40, .20}, second_sum[] = {1.4, .30, .20, .10};
    const hcsmoe_tensor states[2][2] = {{hcsmoe_matrix(first_sum, HCSMOE_DTYPE_F64, 4, 1),
                                         hcsmoe_matrix(count, HCSMOE_DTYPE_I64, 4, 1)},
                                        {hcsmoe_matrix(second_sum, HCSMOE_DTYPE_F64, 4, 1),
                                         hcsmoe_matrix(count, HCSMOE_DTYPE_I64, 4, 1)}};
    const hcsmoe_cluster_ops *ops = none->ops;
    struct budget b;
    int i, l;

    (void)state;
    assert_null(ops->wants_budget);
    for (i = 0; i < 3; i++) {
        void *opts = options_of(names[i]);
        budget_init(&b, 2, 4, 2);
        for (l = 0; l < 2; l++) {
            b.stats[l].usage = i == 0 ? (l ? second : first) : NULL;
            b.stats[l].score_sum = i == 1 ? (l ? second : first) : NULL;
            b.layers[l].states = states[l];
        }
        assert_int_equal(ops->budget(opts, &host.abi, &b.args), 0);
        assert_int_equal(b.layers[0].n_groups, 3);
        assert_int_equal(b.layers[1].n_groups, 1);
        fake_host_leave(&host);
        mem_free(opts);
    }
}

static void test_none_refuses_bad_numbers_of_experts(void **state)
{
    static const double usage[] = {.4, .3, .2, .1};

    (void)state;
    clustering_init(&clustering, 4, 5);
    clustering.stats.usage = usage;
    assert_int_equal(run("frequency"), HCSMOE_EINVAL);
    assert_string_equal(host.message, "5 of 4 experts to keep: must be 1..4");
    clustering.n_groups = 0;
    assert_int_equal(run("frequency"), HCSMOE_EINVAL);
}

static void test_none_reports_missing_memory(void **state)
{
    const hcsmoe_cluster_ops *ops = none->ops;
    struct budget b;
    int64_t allowed;

    (void)state;
    layer_init();
    for (allowed = 0; allowed < 4; allowed++) {
        void *opts = options_of("output-norm");
        host.alloc_allowed = allowed;
        if (allowed < 2)
            assert_int_equal(clustering_run(&host, none, opts, &clustering), HCSMOE_ENOMEM);
        host.alloc_allowed = allowed;
        assert_int_equal(show(0, TOKENS), HCSMOE_ENOMEM);
        budget_init(&b, 1, EXPERTS, 2);
        b.layers[0].states = layer.states;
        host.alloc_allowed = allowed;
        if (allowed < 2)
            assert_int_equal(ops->budget(opts, &host.abi, &b.args), HCSMOE_ENOMEM);
        host.alloc_allowed = -1;
        fake_host_leave(&host);
        mem_free(opts);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none_keeps_the_best_experts_each_for_itself),
        cmocka_unit_test(test_none_can_go_by_the_routers_probabilities),
        cmocka_unit_test(test_none_collects_only_what_the_score_takes),
        cmocka_unit_test(test_none_averages_the_norm_of_routed_outputs),
        cmocka_unit_test(test_none_passes_failures_of_kernels_on),
        cmocka_unit_test(test_none_shares_experts_out_over_all_layers),
        cmocka_unit_test(test_none_refuses_bad_numbers_of_experts),
        cmocka_unit_test(test_none_reports_missing_memory),
    };

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
