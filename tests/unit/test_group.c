/*
 * test_group.c - from statistics to groups: numbering, combined distances, what is refused.
 *
 * The configuration is that of the demo; statistics are made up. Where a clustering has to
 * misbehave, or to show what it got, one of the test's own stands in for the chosen one.
 * SPDX-License-Identifier: MIT
 */
#include "run/group.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

#include <cmocka.h> /* last: its macro fail() would hide ours */

enum { E = 5, D = 2 };
#define NEAR 1e-12

static void must(int status)
{
    if (status)
        fail_msg("%d: %s", status, fail_message());
}

static void must_say(int status, const char *part)
{
    assert_true(status < 0);
    if (!strstr(fail_message(), part))
        fail_msg("'%s' does not hold '%s'", fail_message(), part);
}

/* ---- a clustering that does what it is told ---- */

static struct {
    int32_t labels[E], cores[E];
    int64_t n_groups, n_joins;
    int n_bases;
    double distances[E * E], similarities[E * E], base[BASES_MAX][E * E];
    int64_t sizes[BASES_MAX];
    bool has_distances, has_similarities;
    int64_t wanted;
} told;

static hcsmoe_status told_cluster(void *self, const hcsmoe_host *h, const hcsmoe_cluster_args *a)
{
    (void)self;
    (void)h;
    memcpy(a->labels, told.labels, sizeof told.labels);
    memcpy(a->cores, told.cores, sizeof told.cores);
    *a->groups = told.n_groups;
    *a->n_joins = told.n_joins;
    told.n_bases = a->n_bases;
    told.wanted = a->n_groups;
    told.has_distances = a->distances != NULL;
    if (a->distances)
        memcpy(told.distances, a->distances, sizeof told.distances);
    told.has_similarities = a->similarities != NULL;
    if (a->similarities)
        memcpy(told.similarities, a->similarities, sizeof told.similarities);
    for (int i = 0; i < a->n_bases; i++) {
        memcpy(told.base[i], a->base_distances[i], sizeof told.base[i]);
        told.sizes[i] = a->base_sizes[i];
    }
    return HCSMOE_OK;
}

static int64_t told_budget_groups[2];
static const int64_t *told_budget_widths;

static hcsmoe_status told_budget(void *self, const hcsmoe_host *h, hcsmoe_budget_args *a)
{
    (void)self;
    (void)h;
    for (int64_t i = 0; i < a->n_layers; i++)
        a->layers[i]->n_groups = told_budget_groups[i];
    told_budget_widths = a->widths;
    return HCSMOE_OK;
}

static const hcsmoe_cluster_ops told_ops = {
    .struct_size = sizeof told_ops, .cluster = told_cluster, .budget = told_budget};

static struct component told_component = {
    .c = {.struct_size = sizeof(hcsmoe_component),
          .kind = HCSMOE_KIND_CLUSTER,
          .name = "told",
          .ops = &told_ops,
          .caps = HCSMOE_CAP_DISTANCES_IN | HCSMOE_CAP_CORES_OUT},
};

/* ---- configuration, statistics and result of one test ---- */

struct fixture {
    struct config *c;
    struct layer_stats s;
    struct layer_states states;
    struct aim aim;
    struct grouping g;
    const struct component *chosen;
    double mean[E * D], gram[E * E];
};

static void fixture_open(struct fixture *f, const char *bases)
{
    /* Points on a line: 0 1 | 4 | 10 12. */
    static const double at[E] = {10, 0, 4, 12, 1};
    char base[128];
    const char *const assignments[] = {"plugins.path=" PLUGINS, "run.threads=1", base};

    log_level_set(LOG_ERROR);
    *f = (struct fixture){0};
    (void)snprintf(base, sizeof base, "group.similarity_base=%s", bases);
    must(
        config_open(&f->c, SOURCE_DIR "/config/tiny_hc.ini", assignments, 3, NULL, 0, CONFIG_SHOW));
    for (int e = 0; e < E; e++) {
        f->mean[e * D] = 0.6 * at[e];
        f->mean[e * D + 1] = 0.8 * at[e];
        for (int i = 0; i < E; i++) /* inner products of rows sqrt(e+1) times a unit vector */
            f->gram[e * E + i] = e == i ? e + 1 : 0;
    }
    f->s.dims = (hcsmoe_layer_dims){.struct_size = sizeof f->s.dims,
                                    .layer = 3,
                                    .n_experts = E,
                                    .top_k = 2,
                                    .width = D,
                                    .ffn = 4,
                                    .n_tokens = 9};
    f->s.view = (hcsmoe_stats){
        .struct_size = sizeof f->s.view, .output_mean = f->mean, .router_gram = f->gram};
    f->aim = (struct aim){.target = 3, .n_groups = 3, .ffn = 4};
    must(grouping_open(&f->g, E));
}

static void fixture_close(struct fixture *f)
{
    if (f->chosen)
        f->c->cluster.component = f->chosen;
    told_component.c.caps = HCSMOE_CAP_DISTANCES_IN | HCSMOE_CAP_CORES_OUT;
    grouping_release(&f->g);
    config_close(f->c);
}

static void tell(struct fixture *f, int64_t n_groups, const int32_t *labels, const int32_t *cores)
{
    if (!f->chosen)
        f->chosen = f->c->cluster.component;
    f->c->cluster.component = &told_component;
    memset(&told, 0, sizeof told);
    told.n_groups = n_groups;
    memcpy(told.labels, labels, sizeof told.labels);
    memcpy(told.cores, cores, sizeof told.cores);
}

static void expect_groups(const struct grouping *g, int64_t n, const int32_t *labels,
                          const int32_t *cores)
{
    assert_int_equal(g->n_groups, n);
    for (int e = 0; e < E; e++)
        assert_int_equal(g->labels[e], labels[e]);
    for (int64_t k = 0; k < n; k++)
        assert_int_equal(g->cores[k], cores[k]);
}

#define LIST(...) ((const int32_t[E]){__VA_ARGS__})

static void test_identity_is_every_expert_alone(void **state)
{
    struct grouping g;

    (void)state;
    must(grouping_open(&g, E));
    g.n_joins = 2;
    grouping_identity(&g);
    expect_groups(&g, E, LIST(0, 1, 2, 3, 4), LIST(0, 1, 2, 3, 4));
    assert_int_equal(g.n_joins, 0);
    grouping_release(&g);
    assert_null(g.labels);
}

static void test_near_experts_form_groups_numbered_by_lowest_member(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, "expert-output");
    must(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim));
    /* {10, 12}, {0, 1}, {4}: of two members either is as near to their mean, the lower counts. */
    expect_groups(&f.g, 3, LIST(0, 1, 2, 0, 1), LIST(0, 1, 2));
    assert_int_equal(f.g.n_joins, E - 1);
    assert_int_equal(f.g.joins[0].a, 1);
    assert_int_equal(f.g.joins[0].b, 4);
    assert_true(fabs(f.g.joins[0].height - 1) < NEAR);
    assert_int_equal(f.g.joins[1].a, 0);
    assert_int_equal(f.g.joins[1].b, 3);
    assert_true(fabs(f.g.joins[1].height - 2) < NEAR);
    fixture_close(&f);
}

static void test_one_group_and_as_many_as_experts_work(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, "expert-output");
    f.aim.n_groups = 1;
    must(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim));
    assert_int_equal(f.g.n_groups, 1);
    f.aim.n_groups = E;
    must(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim));
    expect_groups(&f.g, E, LIST(0, 1, 2, 3, 4), LIST(0, 1, 2, 3, 4));
    fixture_close(&f);
}

static void test_labels_are_renumbered_by_first_occurrence_and_cores_follow(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, "expert-output");
    tell(&f, 3, LIST(2, 0, 2, 1, 0), LIST(4, 3, 2));
    must(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim));
    expect_groups(&f.g, 3, LIST(0, 1, 0, 2, 1), LIST(2, 4, 3));
    tell(&f, 2, LIST(1, 1, 0, 0, 1), LIST(-1, 4)); /* a group may lack a core */
    must(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim));
    expect_groups(&f.g, 2, LIST(0, 0, 1, 1, 0), LIST(4, -1));
    fixture_close(&f);
}

static void test_labels_without_meaning_are_refused(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, "expert-output");
    tell(&f, 3, LIST(0, 1, 3, 2, 0), LIST(0, 1, 3));
    must_say(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim),
             "told: label 3 of expert 2 is not in 0..2");
    tell(&f, 3, LIST(0, -1, 1, 2, 0), LIST(0, 1, 3));
    must_say(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim),
             "told: label -1 of expert 1 is not in 0..2");
    tell(&f, 3, LIST(0, 2, 2, 2, 0), LIST(0, 1, 1));
    must_say(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim), "told: 3 groups, 1 of them empty");
    fixture_close(&f);
}

static void test_cores_outside_their_group_are_refused(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, "expert-output");
    tell(&f, 2, LIST(0, 0, 1, 1, 1), LIST(0, 1));
    must_say(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim),
             "told: core 1 is not a member of its group");
    tell(&f, 2, LIST(0, 0, 1, 1, 1), LIST(0, E));
    must_say(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim),
             "told: core 5 is not a member of its group");
    fixture_close(&f);
}

static void test_counts_out_of_range_are_refused(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, "expert-output");
    f.aim.n_groups = 0;
    must_say(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim),
             "layer 3: 0 groups wanted of 5 experts");
    f.aim.n_groups = E + 1;
    must_say(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim),
             "layer 3: 6 groups wanted of 5 experts");
    f.aim.n_groups = 2;
    tell(&f, 0, LIST(0, 0, 0, 0, 0), LIST(0));
    must_say(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim),
             "told, layer 3: 0 groups, 0 joins of 5 experts");
    tell(&f, E + 1, LIST(0, 0, 0, 0, 0), LIST(0));
    must_say(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim), "told, layer 3: 6 groups");
    tell(&f, 1, LIST(0, 0, 0, 0, 0), LIST(0));
    told.n_joins = E;
    must_say(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim),
             "told, layer 3: 1 groups, 5 joins of 5 experts");
    told.n_joins = -1;
    must_say(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim), "-1 joins of 5 experts");
    fixture_close(&f);
}

static void test_one_base_hands_its_distances_on_as_they_are(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, "expert-output");
    tell(&f, 1, LIST(0, 0, 0, 0, 0), LIST(0));
    must(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim));
    assert_int_equal(told.n_bases, 1);
    assert_int_equal(told.wanted, 3);
    assert_false(told.has_similarities);
    assert_int_equal(told.sizes[0], D);
    assert_memory_equal(told.distances, told.base[0], sizeof told.distances);
    assert_true(fabs(told.distances[0 * E + 1] - 10) < NEAR);
    assert_true(fabs(told.distances[3 * E + 2] - 8) < NEAR);
    fixture_close(&f);
}

/* Mean over the pairs i < j. */
static double pairs_mean(const double *d)
{
    double sum = 0;
    for (int i = 0; i < E; i++)
        for (int j = i + 1; j < E; j++)
            sum += d[i * E + j];
    return sum / (E * (E - 1) / 2);
}

static void test_several_bases_add_distances_divided_by_their_means(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, "expert-output+router-logits");
    tell(&f, 1, LIST(0, 0, 0, 0, 0), LIST(0));
    must(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim));
    assert_int_equal(told.n_bases, 2);
    assert_int_equal(told.sizes[0], D);
    assert_true(fabs(told.base[1][0 * E + 1] - sqrt(3)) < NEAR); /* |Z_0|^2 + |Z_1|^2 = 1 + 2 */
    const double a = pairs_mean(told.base[0]), b = pairs_mean(told.base[1]);
    for (int i = 0; i < E * E; i++)
        assert_true(fabs(told.distances[i] - told.base[0][i] / a - told.base[1][i] / b) < NEAR);
    assert_true(fabs(pairs_mean(told.distances) - 2) < NEAR);
    fixture_close(&f);
}

static void test_base_without_any_difference_adds_nothing(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, "expert-output+router-logits");
    memset(f.mean, 0, sizeof f.mean);
    tell(&f, 1, LIST(0, 0, 0, 0, 0), LIST(0));
    must(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim));
    assert_true(fabs(pairs_mean(told.distances) - 1) < NEAR); /* and no division by zero */
    fixture_close(&f);
}

static void test_similarities_go_to_those_who_take_them(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, "expert-output");
    told_component.c.caps = HCSMOE_CAP_SIMILARITIES_IN | HCSMOE_CAP_CORES_OUT;
    tell(&f, 1, LIST(0, 0, 0, 0, 0), LIST(0));
    must(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim));
    assert_true(told.has_similarities);
    assert_true(fabs(told.similarities[0 * E + 3] - 1) < NEAR);   /* the same direction */
    assert_true(fabs(told.similarities[0 * E + 1] - 0.5) < NEAR); /* no direction at all */
    assert_false(told.has_distances);                             /* not asked for */
    fixture_close(&f);
}

static void test_statistics_that_are_not_finite_are_refused(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, "expert-output");
    f.mean[2 * D + 1] = (double)NAN;
    must_say(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim),
             "expert 2: its mean output is not finite");
    must_say(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim), "expert-output");
    f.mean[2 * D + 1] = 1e200; /* finite, but the square of the distance is not */
    must_say(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim),
             "experts 0 and 2: not a finite number");
    fixture_close(&f);
}

static void test_budget_sets_groups_of_every_layer(void **state)
{
    static const int64_t widths[E + 1] = {0, 4, 2, 1, 1, 1};
    struct fixture f;
    struct layer_stats second;
    struct aim aim = {.target = 2, .n_groups = 2, .ffn = 4};

    (void)state;
    fixture_open(&f, "expert-output");
    assert_false(grouping_wants_budget(f.c));
    tell(&f, 1, LIST(0, 0, 0, 0, 0), LIST(0));
    assert_true(grouping_wants_budget(f.c));
    second = f.s;
    second.dims.layer = 4;
    const struct layer_stats *layers[] = {&f.s, &second};
    const struct layer_states *states[] = {&f.states, &f.states};
    struct aim *aims[] = {&f.aim, &aim};
    told_budget_groups[0] = 1;
    told_budget_groups[1] = E;
    must(grouping_budget(f.c, layers, states, aims, 2, NULL));
    assert_null(told_budget_widths);
    assert_int_equal(f.aim.target, 1);
    assert_int_equal(aim.target, E);
    assert_int_equal(aim.n_groups, 2);
    /* A number that the merge left open is the groups' number, not a new target. */
    must(grouping_budget(f.c, layers, states, aims, 2, widths));
    assert_ptr_equal(told_budget_widths, widths);
    assert_int_equal(aim.n_groups, E);
    told_budget_groups[1] = E + 1;
    must_say(grouping_budget(f.c, layers, states, aims, 2, NULL),
             "told: layer 4 gets 6 groups of 5 experts");
    told_budget_groups[1] = 0;
    must_say(grouping_budget(f.c, layers, states, aims, 2, NULL),
             "told: layer 4 gets 0 groups of 5 experts");
    fixture_close(&f);
}

static void test_experts_may_be_left_out_by_those_who_say_so(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, "expert-output");
    tell(&f, 2, LIST(-1, 1, -1, 0, 1), LIST(3, 1));
    must_say(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim), "label -1 of expert 0");
    told_component.c.caps |= HCSMOE_CAP_LEAVES_OUT;
    must(grouping_make(&f.g, f.c, &f.s, &f.states, &f.aim));
    expect_groups(&f.g, 2, LIST(-1, 0, -1, 1, 0), LIST(1, 3));
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity_is_every_expert_alone),
        cmocka_unit_test(test_near_experts_form_groups_numbered_by_lowest_member),
        cmocka_unit_test(test_one_group_and_as_many_as_experts_work),
        cmocka_unit_test(test_labels_are_renumbered_by_first_occurrence_and_cores_follow),
        cmocka_unit_test(test_labels_without_meaning_are_refused),
        cmocka_unit_test(test_cores_outside_their_group_are_refused),
        cmocka_unit_test(test_counts_out_of_range_are_refused),
        cmocka_unit_test(test_one_base_hands_its_distances_on_as_they_are),
        cmocka_unit_test(test_several_bases_add_distances_divided_by_their_means),
        cmocka_unit_test(test_base_without_any_difference_adds_nothing),
        cmocka_unit_test(test_similarities_go_to_those_who_take_them),
        cmocka_unit_test(test_statistics_that_are_not_finite_are_refused),
        cmocka_unit_test(test_budget_sets_groups_of_every_layer),
        cmocka_unit_test(test_experts_may_be_left_out_by_those_who_say_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
