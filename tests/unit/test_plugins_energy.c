/*
 * test_plugins_energy.c - grouping by energies: the worked example, brute force, budgets, refusals.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin_test.h"

#include <hcsmoe/cluster.h>

enum { EXPERTS_MAX = 12, FFN_MAX = 40, LAYERS_MAX = 3, UNIFORM = 0, GLOBAL = 1 };

static struct fake_host host;
static const hcsmoe_component *component;

struct layer {
    hcsmoe_layer_dims dims;
    hcsmoe_stats stats;
    double energy[EXPERTS_MAX * EXPERTS_MAX * FFN_MAX];
    int32_t labels[EXPERTS_MAX], cores[EXPERTS_MAX];
    hcsmoe_join joins[EXPERTS_MAX];
    int64_t groups, n_joins;
};

static struct layer layers[LAYERS_MAX];

/* P of the worked example. */
static const double example[] = {
    0.8554111190, 3.8715812272, 0.1756728044, 2.7157313740, 0.1275035129, 0.0626665578,
    0.0521915669, 0.3048191071, 0.4168902858, 0.2883351974, 0.7608945840, 0.0469830683,
    0.5739755538, 0.7853157361, 0.1199990488, 1.5394045035, 0.0113617294, 0.0650459349,
};

static int host_setup(void **state)
{
    (void)state;
    fake_host_open(&host);
    component = plugin_load(&host, "hcsmoe-cluster-energy.so");
    return 0;
}

static int host_teardown(void **state)
{
    (void)state;
    fake_host_close(&host);
    return 0;
}

static void set_layer(struct layer *l, int64_t experts, int64_t ffn, const double *energy)
{
    memset(l, 0, sizeof *l);
    l->dims = (hcsmoe_layer_dims){.struct_size = sizeof l->dims,
                                  .layer = (int32_t)(l - layers) + 3,
                                  .n_experts = experts,
                                  .ffn = ffn};
    l->stats = (hcsmoe_stats){.struct_size = sizeof l->stats, .energy = l->energy};
    if (energy)
        memcpy(l->energy, energy, (size_t)(experts * experts * ffn) * sizeof *energy);
}

static void set_random(struct layer *l, int64_t experts, int64_t ffn)
{
    int64_t i;

    set_layer(l, experts, ffn, NULL);
    for (i = 0; i < experts * experts * ffn; i++)
        l->energy[i] = pow(fake_uniform(&host), 4);
}

struct settings {
    int64_t budget, limit;
};

static void *settings_new(struct settings s)
{
    void *opts = options_new(component);

    memcpy((char *)opts + option_of(component, "budget")->offset, &s.budget, sizeof s.budget);
    memcpy((char *)opts + option_of(component, "group_limit")->offset, &s.limit, sizeof s.limit);
    return opts;
}

static hcsmoe_status run(struct layer *l, struct settings s, int64_t n_groups, int64_t ffn)
{
    const hcsmoe_cluster_ops *ops = component->ops;
    void *opts = settings_new(s);
    const hcsmoe_cluster_args args = {
        .struct_size = sizeof args,
        .dims = &l->dims,
        .stats = &l->stats,
        .n_groups = n_groups,
        .ffn = ffn,
        .labels = l->labels,
        .cores = l->cores,
        .groups = &l->groups,
        .joins = l->joins,
        .n_joins = &l->n_joins,
    };
    const hcsmoe_status status = ops->cluster(opts, &host.abi, &args);

    assert_int_equal(host.n_alloc, 0);
    fake_host_leave(&host);
    mem_free(opts);
    return status;
}

static const struct settings plain;

static void check_digits(const int32_t *got, const char *expected)
{
    char text[64] = "";
    size_t used = 0, i;

    for (i = 0; i < strlen(expected); i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%d", got[i]);
    assert_string_equal(text, expected);
}

static void test_energy_groups_the_worked_example(void **state)
{
    struct layer *l = layers;

    (void)state;
    set_layer(l, 3, 2, example);
    assert_int_equal(run(l, plain, 2, 2), 0);
    check_digits(l->labels, "011");
    assert_int_equal(l->groups, 2);
    assert_int_equal(l->n_joins, 2);
    assert_true(l->joins[0].a == 1 && l->joins[0].b == 2);
    assert_near(l->joins[0].height, 0.4124348278, 1e-9);
    assert_near(l->joins[0].gap, 1.0369873353 / 0.4124348278 - 1, 1e-8);
    assert_true(l->joins[1].a == 0 && l->joins[1].b == 1);
    assert_true(isinf(l->joins[1].gap));
    assert_true(l->cores[0] == -1 && l->cores[1] == -1);
}

static int descending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return x > y ? -1 : x < y;
}

/* loss of the experts in set, by its definition. */
static double loss_of(const struct layer *l, uint32_t set, int64_t kept)
{
    const int64_t n = l->dims.n_experts, ffn = l->dims.ffn;
    static double b[EXPERTS_MAX * FFN_MAX];
    double loss = 0;
    int64_t e, f, i, size = 0;

    if ((set & (set - 1)) == 0 && kept == ffn)
        return 0;
    for (e = 0; e < n; e++)
        for (i = 0; i < ffn && (set >> e & 1); i++) {
            const double o = l->energy[(e * n + e) * ffn + i];
            double q = 0;
            for (f = 0; f < n; f++)
                q += set >> f & 1 ? l->energy[(f * n + e) * ffn + i] : 0;
            b[size++] = q > 0 ? o * o / q : 0;
            loss += o;
        }
    qsort(b, (size_t)size, sizeof *b, descending);
    for (i = 0; i < size && i < kept; i++)
        loss -= b[i];
    return loss;
}

/* Down to n_groups; the groups as sets by their lowest expert, 0: none. */
static double agglomerate(const struct layer *l, int64_t kept, int64_t n_groups, int64_t limit,
                          uint32_t *set, double *rise)
{
    const int64_t n = l->dims.n_experts;
    int64_t left, a, b, steps = 0;
    double sum = 0;

    for (a = 0; a < n; a++)
        set[a] = (uint32_t)1 << a;
    for (left = n; left > n_groups; left--) {
        int64_t best_a = -1, best_b = -1;
        double least = INFINITY;
        for (a = 0; a < n; a++)
            for (b = a + 1; b < n; b++) {
                double d;
                if (!set[a] || !set[b] ||
                    (limit && __builtin_popcount(set[a] | set[b]) > (int)limit))
                    continue;
                d = loss_of(l, set[a] | set[b], kept) - loss_of(l, set[a], kept) -
                    loss_of(l, set[b], kept);
                if (d < least) {
                    least = d;
                    best_a = a;
                    best_b = b;
                }
            }
        if (best_a < 0)
            return INFINITY;
        set[best_a] |= set[best_b];
        set[best_b] = 0;
        if (rise)
            rise[steps++] = least;
    }
    for (a = 0; a < n; a++)
        sum += set[a] ? loss_of(l, set[a], kept) : 0;
    return sum;
}

static void test_energy_agrees_with_the_definition_on_random_energies(void **state)
{
    struct layer *l = layers;
    int round;

    (void)state;
    for (round = 0; round < 40; round++) {
        const int64_t n = 2 + round % (EXPERTS_MAX - 1), ffn = 1 + round % FFN_MAX;
        const int64_t kept = round % 3 ? 1 + ffn / 2 : ffn, wanted = 1 + round % n;
        const int64_t limit = round % 4 == 3 ? n - 1 : 0;
        uint32_t set[EXPERTS_MAX];
        double rise[EXPERTS_MAX];
        int64_t e, f;
        set_random(l, n, ffn);
        if (isinf(agglomerate(l, kept, wanted, limit, set, rise))) {
            assert_int_equal(run(l, (struct settings){UNIFORM, limit}, wanted, kept),
                             HCSMOE_EINVAL);
            continue;
        }
        assert_int_equal(run(l, (struct settings){UNIFORM, limit}, wanted, kept), 0);
        assert_int_equal(l->groups, wanted);
        for (e = 0; e < n; e++)
            for (f = e; f < n && set[e]; f++)
                assert_int_equal(l->labels[f] == l->labels[e], set[e] >> f & 1);
        for (e = 0; e < n - wanted; e++)
            assert_near(l->joins[e].height, rise[e], 1e-11);
        assert_true(limit > 0 || l->n_joins == n - 1);
    }
}

/* Energies that are all alike: every pair loses the same. */
static void test_energy_gives_ties_to_the_lowest_pair(void **state)
{
    struct layer *l = layers;
    int64_t i;

    (void)state;
    set_layer(l, 4, 3, NULL); /* no token anywhere: nothing is lost */
    assert_int_equal(run(l, plain, 2, 3), 0);
    check_digits(l->labels, "0001");
    assert_true(l->joins[0].gap == 0 && l->joins[0].height == 0);
    for (i = 0; i < 4 * 4 * 3; i++)
        l->energy[i] = 1;
    assert_int_equal(run(l, plain, 3, 3), 0);
    check_digits(l->labels, "0012");
}

static void test_energy_keeps_every_expert_when_as_many_groups_are_wanted(void **state)
{
    struct layer *l = layers;

    (void)state;
    set_random(l, 5, 4);
    assert_int_equal(run(l, plain, 5, 2), 0);
    check_digits(l->labels, "01234");
    set_random(l, 1, 4);
    assert_int_equal(run(l, plain, 1, 4), 0);
    assert_int_equal(l->n_joins, 0);
}

static void test_energy_does_not_join_beyond_the_limit(void **state)
{
    struct layer *l = layers;

    (void)state;
    set_random(l, 6, 4);
    assert_int_equal(run(l, (struct settings){UNIFORM, 2}, 3, 4), 0);
    assert_int_equal(l->n_joins, 3);
    assert_int_equal(run(l, (struct settings){UNIFORM, 2}, 2, 4), HCSMOE_EINVAL);
    assert_string_equal(host.message, "group_limit = 2 leaves 3 groups of 6 experts: 2 "
                                      "are wanted, which takes a larger limit");
}

static void test_energy_refuses_numbers_that_are_none(void **state)
{
    struct layer *l = layers;

    (void)state;
    set_random(l, 3, 2);
    l->energy[(1 * 3 + 2) * 2 + 1] = NAN;
    assert_int_equal(run(l, plain, 2, 2), HCSMOE_EFAILED);
    assert_string_equal(host.message, "neuron 1 of expert 2 of layer 3 has the energy nan on the "
                                      "tokens of expert 1");
    assert_int_equal(run(l, plain, 4, 2), HCSMOE_EINVAL);
    assert_string_equal(host.message, "4 groups of 3 experts: must be 1..3");
    assert_int_equal(run(l, plain, 0, 2), HCSMOE_EINVAL);
}

static hcsmoe_status budget(struct settings s, int64_t n_layers, int64_t target,
                            const int64_t *widths, int64_t ffn, int64_t *chosen)
{
    const hcsmoe_cluster_ops *ops = component->ops;
    hcsmoe_budget_layer budget_layers[LAYERS_MAX], *list[LAYERS_MAX];
    hcsmoe_budget_args args = {.struct_size = sizeof args,
                               .n_layers = n_layers,
                               .layers = list,
                               .widths = widths,
                               .ffn = ffn};
    void *opts = settings_new(s);
    hcsmoe_status status;
    int64_t i;

    for (i = 0; i < n_layers; i++) {
        budget_layers[i] = (hcsmoe_budget_layer){.struct_size = sizeof budget_layers[i],
                                                 .dims = &layers[i].dims,
                                                 .stats = &layers[i].stats,
                                                 .n_groups = target};
        list[i] = &budget_layers[i];
    }
    status = ops->budget(opts, &host.abi, &args);
    assert_int_equal(host.n_alloc, 0);
    for (i = 0; i < n_layers; i++)
        chosen[i] = budget_layers[i].n_groups;
    fake_host_leave(&host);
    mem_free(opts);
    return status;
}

/* groups = auto is the largest number whose prediction is within 1.25 of the least. */
static void test_energy_chooses_the_number_of_groups(void **state)
{
    int round;

    (void)state;
    for (round = 0; round < 12; round++) {
        const int64_t n = 8, ffn = 24, target = 3 + round % 3;
        int64_t widths[9] = {0}, chosen[LAYERS_MAX], m, l, expected = -1;
        double loss[9] = {0}, least = INFINITY;
        for (l = 0; l < LAYERS_MAX; l++) {
            int64_t e, i;
            set_random(&layers[l], n, ffn);
            for (e = 0; e < n; e++) /* experts of unequal use, so that fewer groups pay */
                for (i = 0; i < n * ffn; i++)
                    layers[l].energy[e * n * ffn + i] *= pow(0.5, (double)(e * (round % 4)));
        }
        for (m = target; m <= n; m++) {
            widths[m] = ffn * target / m;
            for (l = 0; l < LAYERS_MAX; l++) {
                uint32_t set[EXPERTS_MAX];
                double whole = 0;
                int64_t e, i;
                for (e = 0; e < n; e++)
                    for (i = 0; i < ffn; i++)
                        whole += layers[l].energy[(e * n + e) * ffn + i];
                loss[m] += agglomerate(&layers[l], widths[m], m, 0, set, NULL) / whole;
            }
            least = fmin(least, loss[m]);
        }
        for (m = target; m <= n; m++)
            expected = loss[m] <= 1.25 * least ? m : expected;
        assert_int_equal(budget(plain, LAYERS_MAX, target, widths, 0, chosen), 0);
        for (l = 0; l < LAYERS_MAX; l++)
            assert_int_equal(chosen[l], expected);
        assert_non_null(strstr(host.log, "groups = auto: "));
    }
}

static void test_energy_chooses_within_the_limit_or_refuses(void **state)
{
    const int64_t widths[5] = {0, 4, 2, 1, 1};
    int64_t chosen[LAYERS_MAX];

    (void)state;
    set_random(&layers[0], 4, 4);
    assert_int_equal(budget((struct settings){UNIFORM, 1}, 1, 1, widths, 0, chosen), 0);
    assert_int_equal(chosen[0], 4);
    set_random(&layers[0], 5, 4);
    assert_int_equal(
        budget((struct settings){UNIFORM, 1}, 1, 1, (const int64_t[6]){0, 4, 2, 1, 1}, 0, chosen),
        HCSMOE_EINVAL);
    assert_string_equal(host.message, "groups = auto: no number of groups from 1 to 5 leaves a "
                                      "neuron and keeps group_limit = 1");
}

/* Layers that lose less get fewer groups; the sum stays. */
static void test_energy_spreads_the_groups_over_the_layers(void **state)
{
    int round;

    (void)state;
    for (round = 0; round < 10; round++) {
        double rise[LAYERS_MAX][EXPERTS_MAX + 1];
        int64_t chosen[LAYERS_MAX], expected[LAYERS_MAX], l, left, n = 6, target = 2 + round % 3;
        for (l = 0; l < LAYERS_MAX; l++) {
            uint32_t set[EXPERTS_MAX];
            int64_t i;
            set_random(&layers[l], n, 10);
            for (i = 0; i < n * n * 10; i++)
                layers[l].energy[i] *= (double)(1 + 3 * l);
            (void)agglomerate(&layers[l], 10, 1, 0, set, rise[l]);
            rise[l][n - 1] = INFINITY;
            expected[l] = n;
            layers[l].stats.energy_scaled = layers[l].stats.energy;
            layers[l].stats.energy = NULL; /* not asked for */
        }
        for (left = LAYERS_MAX * (n - target); left > 0; left--) {
            int64_t best = 0;
            for (l = 1; l < LAYERS_MAX; l++)
                if (rise[l][n - expected[l]] < rise[best][n - expected[best]])
                    best = l;
            expected[best]--;
        }
        assert_int_equal(budget((struct settings){GLOBAL, 0}, LAYERS_MAX, target, NULL, 10, chosen),
                         0);
        for (l = 0; l < LAYERS_MAX; l++)
            assert_int_equal(chosen[l], expected[l]);
        assert_int_equal(run(&layers[0], (struct settings){GLOBAL, 0}, chosen[0], 10), 0);
        assert_near(layers[0].joins[0].height, rise[0][0], 1e-11);
    }
}

static void test_energy_refuses_budgets_that_cannot_be(void **state)
{
    const int64_t widths[7] = {0, 10, 10, 10, 10, 10, 10};
    int64_t chosen[LAYERS_MAX], l;

    (void)state;
    for (l = 0; l < LAYERS_MAX; l++) {
        set_random(&layers[l], 6, 10);
        layers[l].stats.energy_scaled = layers[l].energy;
    }
    assert_int_equal(budget((struct settings){GLOBAL, 0}, 2, 3, widths, 0, chosen), HCSMOE_EINVAL);
    assert_string_equal(host.message, "budget = global spreads groups of full width over the "
                                      "layers: [merge] groups must be 0");
    assert_int_equal(budget((struct settings){GLOBAL, 0}, 2, 3, NULL, 5, chosen), HCSMOE_EINVAL);
    assert_int_equal(budget((struct settings){GLOBAL, 2}, 2, 2, NULL, 10, chosen), HCSMOE_EINVAL);
    assert_string_equal(host.message, "budget = global: group_limit = 2 leaves 2 groups too many");
    set_random(&layers[1], 5, 10);
    assert_int_equal(budget((struct settings){UNIFORM, 0}, 2, 2, widths, 0, chosen),
                     HCSMOE_EUNSUPPORTED);
    assert_string_equal(host.message, "layer 3 has 6 experts, layer 4 5: a budget over layers "
                                      "needs equal numbers");
    assert_int_equal(budget(plain, 0, 2, NULL, 10, chosen), 0);
}

static void test_energy_asks_for_what_it_reads(void **state)
{
    const hcsmoe_cluster_ops *ops = component->ops;
    void *uniform = settings_new(plain), *global = settings_new((struct settings){GLOBAL, 0});

    (void)state;
    assert_int_equal(component->needs_for(uniform, 0), HCSMOE_STAT_ENERGY);
    assert_int_equal(component->needs_for(global, 0), HCSMOE_STAT_ENERGY_SCALED);
    assert_int_equal(ops->wants_budget(uniform, &host.abi), 0);
    assert_int_equal(ops->wants_budget(global, &host.abi), 1);
    assert_true(component->caps & HCSMOE_CAP_CHOOSES_GROUPS);
    assert_false(component->caps & (HCSMOE_CAP_DISTANCES_IN | HCSMOE_CAP_CORES_OUT));
    mem_free(uniform);
    mem_free(global);
}

static void test_energy_passes_on_that_memory_is_missing_or_the_run_cancelled(void **state)
{
    hcsmoe_status status = HCSMOE_ENOMEM;
    int64_t allowed;

    (void)state;
    set_random(&layers[0], 4, 6);
    for (allowed = 0; status == HCSMOE_ENOMEM; allowed++) {
        host.alloc_allowed = allowed;
        status = run(&layers[0], plain, 2, 6);
        host.alloc_allowed = -1;
    }
    assert_int_equal(status, 0);
    assert_true(allowed > 6);
    host.cancelled = 1;
    assert_int_equal(run(&layers[0], plain, 2, 6), HCSMOE_ECANCELLED);
    host.cancelled = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_energy_groups_the_worked_example),
        cmocka_unit_test(test_energy_agrees_with_the_definition_on_random_energies),
        cmocka_unit_test(test_energy_gives_ties_to_the_lowest_pair),
        cmocka_unit_test(test_energy_keeps_every_expert_when_as_many_groups_are_wanted),
        cmocka_unit_test(test_energy_does_not_join_beyond_the_limit),
        cmocka_unit_test(test_energy_refuses_numbers_that_are_none),
        cmocka_unit_test(test_energy_chooses_the_number_of_groups),
        cmocka_unit_test(test_energy_chooses_within_the_limit_or_refuses),
        cmocka_unit_test(test_energy_spreads_the_groups_over_the_layers),
        cmocka_unit_test(test_energy_refuses_budgets_that_cannot_be),
        cmocka_unit_test(test_energy_asks_for_what_it_reads),
        cmocka_unit_test(test_energy_passes_on_that_memory_is_missing_or_the_run_cancelled),
    };

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
