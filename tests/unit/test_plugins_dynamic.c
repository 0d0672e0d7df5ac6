/*
 * test_plugins_dynamic.c - numbers of groups that the data decide: silhouette, dynamic_group.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cluster_test.h"

static struct fake_host host;
static const hcsmoe_component *hierarchical, *dynamic, *hirarchical, *kmeans;
static struct clustering clustering;
static double d[CLUSTER_EXPERTS_MAX * CLUSTER_EXPERTS_MAX];

static int host_setup(void **state)
{
    (void)state;
    fake_host_open(&host);
    hierarchical = plugin_component(&host, "hcsmoe-cluster-hierarchical.so", "hierarchical");
    dynamic = plugin_component(&host, "hcsmoe-cluster-hierarchical.so", "hierarchical-dynamic");
    hirarchical = plugin_component(&host, "hcsmoe-cluster-hierarchical.so", "hirarchical");
    kmeans = plugin_component(&host, "hcsmoe-cluster-kmeans.so", "kmeans");
    return 0;
}

static int host_teardown(void **state)
{
    (void)state;
    fake_host_close(&host);
    return 0;
}

/* Points in a line; linkage NULL: the default. */
static hcsmoe_status run(const hcsmoe_component *c, const double *x, int64_t n, int64_t n_groups,
                         const char *linkage)
{
    void *opts = options_new(c);
    hcsmoe_status status;

    clustering_init(&clustering, n, n_groups);
    distances_of(x, n, d);
    clustering.distances = d;
    if (linkage)
        option_set(c, opts, "linkage", linkage);
    status = clustering_run(&host, c, opts, &clustering);
    mem_free(opts);
    return status;
}

static const double five_points[] = {0, 10, 30, 61, 100};

static void test_dynamic_cuts_the_worked_example_where_the_silhouette_is_best(void **state)
{
    (void)state;
    /* algorithms.md 11.1, a singleton scores 0: k = 4 0.2333, k = 3 0.3143, k = 2 0.5551. */
    assert_int_equal(run(dynamic, five_points, 5, 4, NULL), 0);
    assert_int_equal(clustering.groups, 2);
    assert_digits(clustering.labels, "00011");
    assert_digits(clustering.cores, "13");
    assert_int_equal(clustering.n_joins, 4);
    assert_near(clustering.joins[1].height, 25, 1e-12);
    assert_near(clustering.joins[3].height, 67.1666666667, 1e-9);
}

static void test_dynamic_takes_more_groups_when_they_fit_better(void **state)
{
    static const double x[] = {0, 1, 10, 11, 20, 21, 50};

    (void)state;
    assert_int_equal(run(dynamic, x, 7, 6, NULL), 0);
    assert_digits(clustering.labels, "0011223");
    assert_digits(clustering.cores, "0246");
    /* No more than are wanted, though four fit best. */
    assert_int_equal(run(dynamic, x, 7, 3, NULL), 0);
    assert_int_equal(clustering.groups, 2);
    assert_digits(clustering.labels, "0000001");
}

static void test_dynamic_takes_one_group_only_when_one_is_wanted(void **state)
{
    (void)state;
    assert_int_equal(run(dynamic, five_points, 5, 1, NULL), 0);
    assert_int_equal(clustering.groups, 1);
    assert_digits(clustering.labels, "00000");
    assert_digits(clustering.cores, "2");
    assert_int_equal(run(dynamic, five_points, 1, 1, NULL), 0);
    assert_digits(clustering.labels, "0");
    assert_int_equal(run(dynamic, five_points, 2, 2, NULL), 0);
    assert_digits(clustering.labels, "01");
}

static void test_dynamic_keeps_more_groups_when_fewer_are_no_better(void **state)
{
    static const double same[5] = {0};

    (void)state;
    /* Every silhouette of identical experts is 0. */
    assert_int_equal(run(dynamic, same, 5, 4, "ward"), 0);
    assert_int_equal(clustering.groups, 4);
    assert_digits(clustering.labels, "00123");
}

/* The silhouette from its definition. */
static double silhouette(const int32_t *labels, int64_t n, int64_t k)
{
    double total = 0;
    int64_t i, j, c;

    for (i = 0; i < n; i++) {
        double own = 0, nearest = INFINITY;
        int64_t size = 0;
        for (c = 0; c < k; c++) {
            double sum = 0, members = 0;
            for (j = 0; j < n; j++) {
                sum += labels[j] == c ? d[i * n + j] : 0;
                members += labels[j] == c;
            }
            if (labels[i] == c) {
                size = (int64_t)members;
                own = size > 1 ? sum / (members - 1) : 0;
            } else {
                nearest = fmin(nearest, sum / members);
            }
        }
        total += size > 1 ? (nearest - own) / fmax(nearest, own) : 0;
    }
    return total / (double)n;
}

static void test_silhouette_of_the_worked_example_is_the_textbooks(void **state)
{
    static const double expected[] = {0.5551, 0.3143, 0.2333};
    int64_t k;

    (void)state;
    for (k = 2; k <= 4; k++) {
        assert_int_equal(run(hierarchical, five_points, 5, k, NULL), 0);
        assert_near(silhouette(clustering.labels, 5, k), expected[k - 2], 5e-5);
    }
}

static void test_dynamic_agrees_with_the_definition_on_random_points(void **state)
{
    static const char *const linkages[] = {"single", "complete", "average", "ward"};
    int round, i;

    (void)state;
    for (round = 0; round < 60; round++) {
        const int64_t n = 3 + round % 12, most = 2 + round % (n - 1);
        double x[16], best = -INFINITY;
        int32_t labels[16];
        int64_t k, best_k = 0;
        for (i = 0; i < n; i++)
            x[i] = fake_uniform(&host);
        for (k = most; k >= 2; k--) {
            assert_int_equal(run(hierarchical, x, n, k, linkages[round % 4]), 0);
            if (silhouette(clustering.labels, n, k) > best + 1e-12) {
                best = silhouette(clustering.labels, n, k);
                best_k = k;
                memcpy(labels, clustering.labels, sizeof labels);
            }
        }
        assert_int_equal(run(dynamic, x, n, most, linkages[round % 4]), 0);
        assert_int_equal(clustering.groups, best_k);
        assert_memory_equal(clustering.labels, labels, (size_t)n * sizeof *labels);
    }
}

static void test_dynamic_refuses_what_hierarchical_refuses(void **state)
{
    int64_t allowed;

    (void)state;
    assert_int_equal(run(dynamic, five_points, 5, 6, NULL), HCSMOE_EINVAL);
    assert_string_equal(host.message, "6 groups of 5 experts: must be 1..5");
    host.cancelled = 1;
    assert_int_equal(run(dynamic, five_points, 5, 2, NULL), HCSMOE_ECANCELLED);
    host.cancelled = 0;
    for (allowed = 0; allowed < 4; allowed++) {
        host.alloc_allowed = allowed;
        assert_int_equal(run(dynamic, five_points, 5, 2, NULL), HCSMOE_ENOMEM);
    }
    host.alloc_allowed = -1;
}

static void test_dynamic_knows_the_silhouette_only(void **state)
{
    const hcsmoe_option *o = option_of(dynamic, "hierarchical_stopping_metric");
    uint32_t i;

    (void)state;
    assert_string_equal(o->choices[0].name, "silhouette");
    assert_null(o->choices[1].name);
    for (i = 0; i < hierarchical->n_options; i++)
        assert_string_not_equal(hierarchical->options[i].name, "hierarchical_stopping_metric");
}

static void test_hirarchical_is_hierarchical_with_a_warning(void **state)
{
    (void)state;
    host.log_level = -1;
    assert_int_equal(run(hirarchical, five_points, 5, 3, "single"), 0);
    assert_digits(clustering.labels, "00012");
    assert_near(clustering.joins[1].height, 20, 0);
    assert_int_equal(host.log_level, HCSMOE_LOG_WARN);
    assert_non_null(strstr(host.log, "cluster = hirarchical: read as 'hierarchical'"));
    assert_non_null(strstr(host.log, "ran k-means for this spelling and ignored linkage"));
    host.log_level = -1;
    assert_int_equal(run(hierarchical, five_points, 5, 3, "single"), 0);
    assert_int_equal(host.log_level, -1);
}

/* With dynamic_group: needs usage, wants a budget, and gives 11.3's numbers for n = 2. */
static void check_dynamic_group(const hcsmoe_component *c)
{
    static const double first[] = {.40, .30, .20, .10}, second[] = {.70, .15, .10, .05};
    const hcsmoe_cluster_ops *ops = c->ops;
    struct budget b;
    void *opts = options_new(c), *self = opts;
    int dynamic_group;

    for (dynamic_group = 0; dynamic_group < 2; dynamic_group++) {
        option_set(c, opts, "dynamic_group", dynamic_group ? "yes" : "no");
        self = opts;
        if (c->create)
            assert_int_equal(c->create(&host.abi, opts, &self), 0);
        assert_int_equal(c->needs_for(opts, 0), dynamic_group ? HCSMOE_STAT_USAGE : 0);
        assert_int_equal(ops->wants_budget(self, &host.abi), dynamic_group);
        budget_init(&b, 2, 4, 2);
        b.stats[0].usage = first;
        b.stats[1].usage = second;
        assert_int_equal(ops->budget(self, &host.abi, &b.args), 0);
        assert_int_equal(b.layers[0].n_groups, 3);
        assert_int_equal(b.layers[1].n_groups, 1);
        if (c->destroy)
            c->destroy(&host.abi, self);
        fake_host_leave(&host);
    }
    mem_free(opts);
}

static void test_dynamic_group_lets_usage_decide_with_every_clustering(void **state)
{
    (void)state;
    check_dynamic_group(hierarchical);
    check_dynamic_group(dynamic);
    check_dynamic_group(hirarchical);
    check_dynamic_group(kmeans);
}

static void test_kmeans_draws_only_with_kmeans_plus_plus(void **state)
{
    void *opts = options_new(kmeans);

    (void)state;
    assert_int_equal(kmeans->has_effect(opts, 0, "random_start_center"), 1);
    option_set(kmeans, opts, "start", "first");
    assert_int_equal(kmeans->has_effect(opts, 0, "random_start_center"), 0);
    assert_int_equal(kmeans->has_effect(opts, 0, "start"), 1);
    option_set(kmeans, opts, "start", "0,2");
    assert_int_equal(kmeans->has_effect(opts, 0, "random_start_center"), 0);
    mem_free(opts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dynamic_cuts_the_worked_example_where_the_silhouette_is_best),
        cmocka_unit_test(test_dynamic_takes_more_groups_when_they_fit_better),
        cmocka_unit_test(test_dynamic_takes_one_group_only_when_one_is_wanted),
        cmocka_unit_test(test_dynamic_keeps_more_groups_when_fewer_are_no_better),
        cmocka_unit_test(test_silhouette_of_the_worked_example_is_the_textbooks),
        cmocka_unit_test(test_dynamic_agrees_with_the_definition_on_random_points),
        cmocka_unit_test(test_dynamic_refuses_what_hierarchical_refuses),
        cmocka_unit_test(test_dynamic_knows_the_silhouette_only),
        cmocka_unit_test(test_hirarchical_is_hierarchical_with_a_warning),
        cmocka_unit_test(test_dynamic_group_lets_usage_decide_with_every_clustering),
        cmocka_unit_test(test_kmeans_draws_only_with_kmeans_plus_plus),
    };

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
