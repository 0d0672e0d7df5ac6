/*
 * test_plugins_cluster.c - hierarchical clustering: worked examples, brute force, ties and
 * refusals.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin_test.h"

#include <hcsmoe/cluster.h>

enum { EXPERTS_MAX = 64, WIDTH_MAX = 8 };

static struct fake_host host;
static const hcsmoe_component *component;

/* One clustering: points, or distances alone. */
struct problem {
    int64_t n, width, n_groups;
    int32_t n_bases;
    double x[EXPERTS_MAX][WIDTH_MAX];
    double d[EXPERTS_MAX * EXPERTS_MAX];
    int32_t labels[EXPERTS_MAX], cores[EXPERTS_MAX];
    hcsmoe_join joins[EXPERTS_MAX];
    int64_t groups, n_joins;
};

static struct problem problem;

static int host_setup(void **state)
{
    (void)state;
    fake_host_open(&host);
    component = plugin_load(&host, "hcsmoe-cluster-hierarchical.so");
    return 0;
}

static int host_teardown(void **state)
{
    (void)state;
    fake_host_close(&host);
    return 0;
}

static double point_distance(const struct problem *p, int64_t i, int64_t j)
{
    double sum = 0;
    int64_t k;

    for (k = 0; k < p->width; k++)
        sum += (p->x[i][k] - p->x[j][k]) * (p->x[i][k] - p->x[j][k]);
    return sqrt(sum);
}

static void measure(struct problem *p)
{
    int64_t i, j;

    for (i = 0; i < p->n; i++)
        for (j = 0; j < p->n; j++)
            p->d[i * p->n + j] = point_distance(p, i, j);
}

static void set_points(struct problem *p, int64_t n, const double *x)
{
    int64_t i;

    memset(p, 0, sizeof *p);
    p->n = n;
    p->width = 1;
    p->n_bases = 1;
    for (i = 0; i < n; i++)
        p->x[i][0] = x[i];
    measure(p);
}

static hcsmoe_status run(struct problem *p, const char *linkage)
{
    const hcsmoe_cluster_ops *ops = component->ops;
    const hcsmoe_layer_dims dims = {.struct_size = sizeof dims, .layer = 3, .n_experts = p->n};
    const double *const bases[] = {p->d, p->d};
    const int64_t sizes[] = {1, 1};
    void *opts = options_new(component);
    const hcsmoe_cluster_args args = {
        .struct_size = sizeof args,
        .n_bases = p->n_bases,
        .dims = &dims,
        .n_groups = p->n_groups,
        .distances = p->d,
        .base_distances = bases,
        .base_sizes = sizes,
        .labels = p->labels,
        .cores = p->cores,
        .groups = &p->groups,
        .joins = p->joins,
        .n_joins = &p->n_joins,
    };
    hcsmoe_status status;

    if (linkage)
        option_set(component, opts, "linkage", linkage);
    status = ops->cluster(opts, &host.abi, &args);
    fake_host_leave(&host);
    mem_free(opts);
    return status;
}

static void check_labels(const int32_t *got, const char *expected)
{
    char text[256] = "";
    size_t used = 0;
    size_t i;

    for (i = 0; i < strlen(expected); i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%d", got[i]);
    assert_string_equal(text, expected);
}

struct example {
    const char *linkage;
    double heights[4];
    int a[4], b[4];
    const char *labels_3, *cores_3, *labels_2, *cores_2;
};

static const struct example examples[] = {
    {.linkage = "single",
     .heights = {10, 20, 31, 39},
     .a = {0, 0, 0, 0},
     .b = {1, 2, 3, 4},
     .labels_3 = "00012",
     .cores_3 = "134",
     .labels_2 = "00001",
     .cores_2 = "24"},
    {.linkage = "average",
     .heights = {10, 25, 39, 67.1666666667},
     .a = {0, 0, 3, 0},
     .b = {1, 2, 4, 3},
     .labels_3 = "00012",
     .cores_3 = "134",
     .labels_2 = "00011",
     .cores_2 = "13"},
    {.linkage = "complete",
     .heights = {10, 30, 39, 100},
     .a = {0, 0, 3, 0},
     .b = {1, 2, 4, 3},
     .labels_3 = "00012",
     .cores_3 = "134",
     .labels_2 = "00011",
     .cores_2 = "13"},
    {.linkage = "ward",
     .heights = {10, 28.8675134595, 39, 104.0541819794},
     .a = {0, 0, 3, 0},
     .b = {1, 2, 4, 3},
     .labels_3 = "00012",
     .cores_3 = "134",
     .labels_2 = "00011",
     .cores_2 = "13"},
};

static const double five_points[] = {0, 10, 30, 61, 100};

static void test_hierarchical_gives_the_worked_example_with_each_linkage(void **state)
{
    size_t i;
    int k;

    (void)state;
    for (i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        const struct example *x = &examples[i];
        set_points(&problem, 5, five_points);
        problem.n_groups = 3;
        assert_int_equal(run(&problem, x->linkage), 0);
        assert_int_equal(problem.groups, 3);
        assert_int_equal(problem.n_joins, 4);
        for (k = 0; k < 4; k++) {
            assert_near(problem.joins[k].height, x->heights[k], 1e-4);
            assert_int_equal(problem.joins[k].a, x->a[k]);
            assert_int_equal(problem.joins[k].b, x->b[k]);
        }
        check_labels(problem.labels, x->labels_3);
        check_labels(problem.cores, x->cores_3);
        problem.n_groups = 2;
        assert_int_equal(run(&problem, x->linkage), 0);
        check_labels(problem.labels, x->labels_2);
        check_labels(problem.cores, x->cores_2);
    }
}

static void test_hierarchical_averages_unless_told_otherwise(void **state)
{
    (void)state;
    set_points(&problem, 5, five_points);
    problem.n_groups = 2;
    assert_int_equal(run(&problem, NULL), 0);
    assert_near(problem.joins[1].height, 25, 1e-12);
}

static void test_hierarchical_reports_how_much_farther_the_next_pair_was(void **state)
{
    (void)state;
    set_points(&problem, 5, five_points);
    problem.n_groups = 1;
    assert_int_equal(run(&problem, "single"), 0);
    /* After 10 the next is 20; after 20 it is 31; after 31 it is 39; then no other pair is left. */
    assert_near(problem.joins[0].gap, 1.0, 1e-12);
    assert_near(problem.joins[1].gap, 11.0 / 20, 1e-12);
    assert_near(problem.joins[2].gap, 8.0 / 31, 1e-12);
    assert_true(isinf(problem.joins[3].gap));
    check_labels(problem.labels, "00000");
}

static void test_hierarchical_breaks_ties_towards_the_smallest_pair(void **state)
{
    static const double even[] = {0, 1, 2, 3, 4, 5};
    static const char *const linkages[] = {"single", "complete", "average", "ward"};
    size_t i;

    (void)state;
    for (i = 0; i < 4; i++) {
        set_points(&problem, 6, even);
        problem.n_groups = 3;
        assert_int_equal(run(&problem, linkages[i]), 0);
        assert_int_equal(problem.joins[0].a, 0);
        assert_int_equal(problem.joins[0].b, 1);
        assert_near(problem.joins[0].gap, 0, 0);
        check_labels(problem.labels, i == 0 ? "000012" : "001122");
        check_labels(problem.cores, i == 0 ? "145" : "024");
    }
}

static void test_hierarchical_joins_identical_experts_without_end_or_nan(void **state)
{
    static const double same[EXPERTS_MAX] = {0};
    static const char *const linkages[] = {"single", "complete", "average", "ward"};
    size_t i;
    int k;

    (void)state;
    for (i = 0; i < 4; i++) {
        set_points(&problem, 5, same);
        problem.n_groups = 2;
        assert_int_equal(run(&problem, linkages[i]), 0);
        check_labels(problem.labels, "00001");
        check_labels(problem.cores, "04");
        for (k = 0; k < 3; k++) {
            assert_near(problem.joins[k].height, 0, 0);
            assert_near(problem.joins[k].gap, 0, 0);
        }
        assert_true(isinf(problem.joins[3].gap));
    }
}

static void test_hierarchical_has_an_infinite_gap_after_duplicates(void **state)
{
    static const double x[] = {5, 1, 5};

    (void)state;
    set_points(&problem, 3, x);
    problem.n_groups = 2;
    assert_int_equal(run(&problem, "average"), 0);
    check_labels(problem.labels, "010");
    check_labels(problem.cores, "01");
    assert_true(isinf(problem.joins[0].gap));
}

static void test_hierarchical_takes_one_expert_and_as_many_groups_as_experts(void **state)
{
    (void)state;
    set_points(&problem, 1, five_points);
    problem.n_groups = 1;
    assert_int_equal(run(&problem, "ward"), 0);
    assert_int_equal(problem.n_joins, 0);
    check_labels(problem.labels, "0");
    check_labels(problem.cores, "0");
    set_points(&problem, 5, five_points);
    problem.n_groups = 5;
    assert_int_equal(run(&problem, "ward"), 0);
    assert_int_equal(problem.n_joins, 4);
    check_labels(problem.labels, "01234");
    check_labels(problem.cores, "01234");
}

static void test_hierarchical_gives_no_cores_for_several_bases(void **state)
{
    (void)state;
    set_points(&problem, 5, five_points);
    problem.n_groups = 2;
    problem.n_bases = 2;
    problem.cores[0] = problem.cores[1] = 7;
    assert_int_equal(run(&problem, "average"), 0);
    check_labels(problem.labels, "00011");
    assert_int_equal(problem.cores[0], -1);
    assert_int_equal(problem.cores[1], -1);
}

static void test_hierarchical_refuses_bad_numbers_of_groups_and_distances(void **state)
{
    static const double bad[] = {NAN, INFINITY, -1, 1e200};
    size_t i;

    (void)state;
    set_points(&problem, 5, five_points);
    problem.n_groups = 6;
    assert_int_equal(run(&problem, "single"), HCSMOE_EINVAL);
    assert_string_equal(host.message, "6 groups of 5 experts: must be 1..5");
    problem.n_groups = 0;
    assert_int_equal(run(&problem, "single"), HCSMOE_EINVAL);
    problem.n_groups = 2;
    for (i = 0; i < 4; i++) {
        problem.d[1 * 5 + 3] = bad[i];
        assert_int_equal(run(&problem, "single"), HCSMOE_EFAILED);
        assert_non_null(strstr(host.message, "the distance of experts 1 and 3 is "));
    }
}

static void test_hierarchical_stops_when_asked_and_without_memory(void **state)
{
    int64_t allowed;

    (void)state;
    set_points(&problem, 5, five_points);
    problem.n_groups = 2;
    host.cancelled = 1;
    assert_int_equal(run(&problem, "single"), HCSMOE_ECANCELLED);
    host.cancelled = 0;
    for (allowed = 0; allowed < 4; allowed++) {
        host.alloc_allowed = allowed;
        assert_int_equal(run(&problem, "single"), HCSMOE_ENOMEM);
    }
    host.alloc_allowed = -1;
}

/* Brute force: the linkage of two sets of experts from its definition. */
static double definition(const struct problem *p, const int32_t *name, int a, int b,
                         const char *linkage)
{
    double least = INFINITY, most = 0, sum = 0, na = 0, nb = 0, between = 0;
    int64_t i, j, k;

    for (i = 0; i < p->n; i++) {
        na += name[i] == a;
        nb += name[i] == b;
        for (j = 0; j < p->n; j++) {
            if (name[i] != a || name[j] != b)
                continue;
            least = fmin(least, point_distance(p, i, j));
            most = fmax(most, point_distance(p, i, j));
            sum += point_distance(p, i, j);
        }
    }
    for (k = 0; k < p->width; k++) {
        double difference = 0;
        for (i = 0; i < p->n; i++)
            difference += name[i] == a ? p->x[i][k] / na : name[i] == b ? -p->x[i][k] / nb : 0;
        between += difference * difference;
    }
    if (strcmp(linkage, "single") == 0)
        return least;
    if (strcmp(linkage, "complete") == 0)
        return most;
    if (strcmp(linkage, "average") == 0)
        return sum / (na * nb);
    return sqrt(2 * na * nb / (na + nb) * between);
}

/* The next join of the clusters in name, and the join done. */
static double brute_join(const struct problem *p, int32_t *name, const char *linkage)
{
    double least = INFINITY;
    int64_t i;
    int best_a = -1, best_b = -1, a, b;

    for (a = 0; a < p->n; a++) {
        for (b = a + 1; b < p->n; b++) {
            double d;
            if (name[a] != a || name[b] != b)
                continue;
            d = definition(p, name, a, b, linkage);
            if (d < least) {
                least = d;
                best_a = a;
                best_b = b;
            }
        }
    }
    for (i = 0; i < p->n; i++)
        if (name[i] == best_b)
            name[i] = best_a;
    return least;
}

static int32_t brute_core(const struct problem *p, int32_t label)
{
    double mean[WIDTH_MAX] = {0}, size = 0, least = INFINITY;
    int32_t core = -1;
    int64_t i, k;

    for (i = 0; i < p->n; i++)
        size += p->labels[i] == label;
    for (i = 0; i < p->n; i++)
        for (k = 0; k < p->width; k++)
            mean[k] += p->labels[i] == label ? p->x[i][k] / size : 0;
    for (i = 0; i < p->n; i++) {
        double squared = 0;
        for (k = 0; k < p->width; k++)
            squared += (p->x[i][k] - mean[k]) * (p->x[i][k] - mean[k]);
        if (p->labels[i] == label && squared < least * (1 - 1e-9)) {
            least = squared;
            core = (int32_t)i;
        }
    }
    return core;
}

static void random_points(struct problem *p, int64_t n, int64_t width)
{
    int64_t i, k;

    memset(p, 0, sizeof *p);
    p->n = n;
    p->width = width;
    p->n_bases = 1;
    for (i = 0; i < n; i++)
        for (k = 0; k < width; k++)
            p->x[i][k] = fake_uniform(&host) - 0.5;
    measure(p);
}

static void check_against_brute_force(struct problem *p, const char *linkage)
{
    int32_t name[EXPERTS_MAX];
    int64_t i, j;

    assert_int_equal(run(p, linkage), 0);
    assert_int_equal(p->n_joins, p->n - 1);
    for (i = 0; i < p->n; i++)
        name[i] = (int32_t)i;
    for (i = 0; i < p->n - 1; i++) {
        if (p->n - i == p->n_groups)
            for (j = 0; j < p->n; j++)
                assert_int_equal(p->labels[j], p->labels[name[j]]);
        assert_near(p->joins[i].height, brute_join(p, name, linkage), 1e-9);
        assert_int_equal(name[p->joins[i].b], p->joins[i].a);
    }
    for (j = 0; j < p->n_groups; j++)
        assert_int_equal(p->cores[j], brute_core(p, (int32_t)j));
}

static void test_hierarchical_agrees_with_the_definitions_on_random_points(void **state)
{
    static const char *const linkages[] = {"single", "complete", "average", "ward"};
    int round;

    (void)state;
    for (round = 0; round < 80; round++) {
        random_points(&problem, 2 + round % 13, 1 + round % WIDTH_MAX);
        problem.n_groups = 1 + round % problem.n;
        check_against_brute_force(&problem, linkages[round % 4]);
    }
}

static void test_hierarchical_clusters_sixty_experts(void **state)
{
    int32_t seen[EXPERTS_MAX] = {0};
    int i;

    (void)state;
    random_points(&problem, 60, 8);
    problem.n_groups = 15;
    assert_int_equal(run(&problem, "average"), 0);
    assert_int_equal(problem.groups, 15);
    for (i = 0; i < 60; i++) {
        assert_in_range(problem.labels[i], 0, 14);
        seen[problem.labels[i]]++;
    }
    for (i = 0; i < 15; i++) {
        assert_true(seen[i] > 0);
        assert_int_equal(problem.labels[problem.cores[i]], i);
    }
    for (i = 1; i < 59; i++)
        assert_true(problem.joins[i].height >= problem.joins[i - 1].height - 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hierarchical_gives_the_worked_example_with_each_linkage),
        cmocka_unit_test(test_hierarchical_averages_unless_told_otherwise),
        cmocka_unit_test(test_hierarchical_reports_how_much_farther_the_next_pair_was),
        cmocka_unit_test(test_hierarchical_breaks_ties_towards_the_smallest_pair),
        cmocka_unit_test(test_hierarchical_joins_identical_experts_without_end_or_nan),
        cmocka_unit_test(test_hierarchical_has_an_infinite_gap_after_duplicates),
        cmocka_unit_test(test_hierarchical_takes_one_expert_and_as_many_groups_as_experts),
        cmocka_unit_test(test_hierarchical_gives_no_cores_for_several_bases),
        cmocka_unit_test(test_hierarchical_refuses_bad_numbers_of_groups_and_distances),
        cmocka_unit_test(test_hierarchical_stops_when_asked_and_without_memory),
        cmocka_unit_test(test_hierarchical_agrees_with_the_definitions_on_random_points),
        cmocka_unit_test(test_hierarchical_clusters_sixty_experts),
    };

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
