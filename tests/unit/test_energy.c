/*
 * test_energy.c - what every neuron puts out on every expert's tokens: the worked example, and
 * scaling, maps and threads.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/log.h"
#include "run/energy.h"

#include <cmocka.h>

enum { E = 3, F = 2, D = 2, T = 6, K = 3 };

/* beyond.md section 12. */
static const float gate[E][F * D] = {{1, 0, .5F, -1}, {0, 1, 1, .5F}, {-1, .5F, .5F, .5F}};
static const float up[E][F * D] = {{1, 1, 0, 2}, {-1, 1, 2, 0}, {1, 0, -.5F, 1}};
static float down[E][D * F] = {{1, .5F, 0, 1}, {.5F, -1, 1, 0}, {1, 0, -.5F, 1}};
static const float x[T][D] = {{1, 0}, {0, 1}, {1, 1}, {-1, .5F}, {.5F, -1}, {-.5F, -1}};
static const float weight[T][E] = {{.75F, .25F, 0}, {0, .6F, .4F}, {.5F, 0, .5F},
                                   {.2F, .8F, 0},   {.9F, 0, .1F}, {0, .3F, .7F}};
/* [e'][e][i] */
static const double expected[E][E][F] = {
    {{0.8554111190, 3.8715812272}, {0.1756728044, 2.7157313740}, {0.1275035129, 0.0626665578}},
    {{0.0521915669, 0.3048191071}, {0.4168902858, 0.2883351974}, {0.7608945840, 0.0469830683}},
    {{0.5739755538, 0.7853157361}, {0.1199990488, 1.5394045035}, {0.0113617294, 0.0650459349}},
};

struct fixture {
    struct config *c;
    struct model m;
    struct layer l;
    struct layer_stats s;
    struct observation o;
    hcsmoe_tensor down[E];
    float hidden[E][T * F], weights[T * K];
    int32_t ids[T * K];
    double energy[E * E * F], scaled[E * E * F];
};

static void must(int status)
{
    if (status)
        fail_msg("%d: %s", status, fail_message());
}

static void fixture_open(struct fixture *f, const char *threads)
{
    const char *const assignments[] = {"plugins.path=" PLUGINS, threads};

    log_level_set(LOG_ERROR);
    memset(f, 0, sizeof *f);
    must(
        config_open(&f->c, SOURCE_DIR "/config/tiny_hc.ini", assignments, 2, NULL, 0, CONFIG_SHOW));
    f->m.host = f->c->host;
    f->m.k = f->c->host->kernels;
    f->m.desc.width = D;
    for (int e = 0; e < E; e++) {
        f->down[e] = hcsmoe_matrix(down[e], HCSMOE_DTYPE_F32, D, F);
        for (int t = 0; t < T; t++)
            for (int i = 0; i < F; i++) {
                const double a = (double)gate[e][i * D] * (double)x[t][0] +
                                 (double)gate[e][i * D + 1] * (double)x[t][1];
                const double u = (double)up[e][i * D] * (double)x[t][0] +
                                 (double)up[e][i * D + 1] * (double)x[t][1];
                f->hidden[e][t * F + i] = (float)(a / (1 + exp(-a)) * u);
            }
    }
    for (int t = 0; t < T; t++)
        for (int e = 0, k = 0; e < K; e++) {
            f->ids[t * K + e] = -1;
            if (weight[t][e] > 0) {
                f->ids[t * K + k] = e;
                f->weights[t * K + k++] = weight[t][e];
            }
        }
    f->l.n_experts = f->l.n_stored = E;
    f->l.down = f->down;
    f->s.dims = (hcsmoe_layer_dims){.struct_size = sizeof f->s.dims,
                                    .n_experts = E,
                                    .top_k = K,
                                    .width = D,
                                    .ffn = F,
                                    .n_tokens = T};
    f->s.energy = f->energy;
    f->s.energy_scaled = f->scaled;
    f->o = (struct observation){.m = &f->m, .n_tokens = T, .stats = &f->s};
}

static void fixture_close(struct fixture *f)
{
    config_close(f->c);
}

/* The tokens in two tiles. */
static void tokens_add(struct fixture *f, const float *residual)
{
    const float *hidden[E];

    for (int first = 0; first < T; first += 4) {
        for (int e = 0; e < E; e++)
            hidden[e] = &f->hidden[e][first * F];
        const hcsmoe_tile tile = {.struct_size = sizeof tile,
                                  .first_token = first,
                                  .n_tokens = first + 4 < T ? 4 : T - first,
                                  .ids = f->ids + first * K,
                                  .weights = f->weights + first * K,
                                  .hidden = hidden};
        must(energy_add(&f->o, &f->l, &tile, residual + first * D));
    }
    must(energy_finish(&f->o, &f->l));
}

static const float residuals[T * D] = {1, 2, -1, .5F, 3, 0, .25F, .25F, -2, 1, 0, 1};

static void test_worked_example(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, "run.threads=1");
    tokens_add(&f, residuals);
    for (int to = 0; to < E; to++)
        for (int e = 0; e < E; e++)
            for (int i = 0; i < F; i++) /* h is float32 here, as it is in a run */
                if (fabs(f.energy[(to * E + e) * F + i] / expected[to][e][i] - 1) > 1e-6)
                    fail_msg("P[%d, %d, %d] = %.10f is not %.10f", to, e, i,
                             f.energy[(to * E + e) * F + i], expected[to][e][i]);
    fixture_close(&f);
}

/* omega, by hand, from the definition. */
static void test_scaled_energy_divides_tokens_by_the_residual_stream(void **state)
{
    struct fixture f;
    double omega[T], mean = 0;

    (void)state;
    fixture_open(&f, "run.threads=2");
    tokens_add(&f, residuals);
    for (int t = 0; t < T; t++) {
        const double a = (double)residuals[t * D], b = (double)residuals[t * D + 1];
        omega[t] = 1 / ((a * a + b * b) / 2 + 1e-6);
        mean += omega[t] / T;
    }
    for (int to = 0; to < E; to++)
        for (int e = 0; e < E; e++)
            for (int i = 0; i < F; i++) {
                const double v0 = (double)down[e][i], v1 = (double)down[e][F + i];
                double sum = 0;
                for (int t = 0; t < T; t++) {
                    const double h = (double)f.hidden[e][t * F + i], w = (double)weight[t][to];
                    sum += omega[t] / mean * w * w * h * h;
                }
                sum *= v0 * v0 + v1 * v1;
                if (fabs(f.scaled[(to * E + e) * F + i] - sum) > 1e-12 * (1 + sum))
                    fail_msg("scaled P[%d, %d, %d]", to, e, i);
            }
    fixture_close(&f);
}

/* Two router rows that lead to one stored expert are one choice of the summed weight. */
static void test_choices_that_a_map_joins_are_one(void **state)
{
    static const int64_t map[4] = {0, 1, 2, 1};
    struct fixture f, plain;

    (void)state;
    fixture_open(&f, "run.threads=1");
    fixture_open(&plain, "run.threads=1");
    /* Token 1 chooses rows 1 and 3, both of expert 1, in place of experts 1 and 2. */
    f.l.map = map;
    f.l.n_experts = 4;
    f.ids[1 * K + 1] = 3;
    plain.weights[1 * K] = plain.weights[1 * K] + plain.weights[1 * K + 1];
    plain.ids[1 * K + 1] = -1;
    tokens_add(&f, residuals);
    tokens_add(&plain, residuals);
    for (int i = 0; i < E * E * F; i++)
        assert_true(fabs(f.energy[i] - plain.energy[i]) <= 1e-6 * (1 + plain.energy[i]));
    assert_true(fabs(f.energy[(1 * E + 1) * F] - expected[1][1][0]) > 1e-3);
    fixture_close(&plain);
    fixture_close(&f);
}

static void test_threads_change_no_bit(void **state)
{
    struct fixture one, three;

    (void)state;
    fixture_open(&one, "run.threads=1");
    fixture_open(&three, "run.threads=3");
    tokens_add(&one, residuals);
    tokens_add(&three, residuals);
    assert_memory_equal(one.energy, three.energy, sizeof one.energy);
    assert_memory_equal(one.scaled, three.scaled, sizeof one.scaled);
    fixture_close(&three);
    fixture_close(&one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worked_example),
        cmocka_unit_test(test_scaled_energy_divides_tokens_by_the_residual_stream),
        cmocka_unit_test(test_choices_that_a_map_joins_are_one),
        cmocka_unit_test(test_threads_change_no_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
