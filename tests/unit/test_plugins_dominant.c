/*
 * test_plugins_dominant.c - values of dominant: groups around cores, kick-outs, random groups.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cluster_test.h"

static struct fake_host host;
static const hcsmoe_component *frequency, *routing_score, *drawn;
static struct clustering clustering;
static double similarities[CLUSTER_EXPERTS_MAX * CLUSTER_EXPERTS_MAX];

static int host_setup(void **state)
{
    (void)state;
    fake_host_open(&host);
    frequency = plugin_component(&host, "hcsmoe-cluster-frequency.so", "frequency");
    routing_score = plugin_component(&host, "hcsmoe-cluster-frequency.so", "routing-score");
    drawn = plugin_component(&host, "hcsmoe-cluster-random.so", "random");
    return 0;
}

static int host_teardown(void **state)
{
    (void)state;
    fake_host_close(&host);
    return 0;
}

/* Everything is 0.01 alike but to itself. */
static void start(int64_t n, int64_t n_groups, const double *usage)
{
    int64_t i;

    clustering_init(&clustering, n, n_groups);
    for (i = 0; i < n * n; i++)
        similarities[i] = i / n == i % n ? 1 : 0.01;
    clustering.similarities = similarities;
    clustering.stats.usage = usage;
}

static void alike(int64_t i, int64_t j, double s)
{
    const int64_t n = clustering.dims.n_experts;

    similarities[i * n + j] = similarities[j * n + i] = s;
}

static hcsmoe_status run(const hcsmoe_component *c, int64_t limit)
{
    void *opts = options_new(c);
    hcsmoe_status status;

    option_set_int(c, opts, "group_limit", limit);
    status = clustering_run(&host, c, opts, &clustering);
    mem_free(opts);
    return status;
}

static const double six[] = {.30, .25, .15, .12, .10, .08};

static void test_frequency_gives_the_worked_example(void **state)
{
    /* algorithms.md 11.4 (a): expert 4 comes, 3 is expelled; 5 comes and is expelled itself. */
    static const double s[4][2] = {{.90, .50}, {.70, .65}, {.80, .20}, {.60, .30}};
    int64_t e, g;

    (void)state;
    start(6, 2, six);
    for (e = 2; e < 6; e++)
        for (g = 0; g < 2; g++)
            alike(e, g, s[e - 2][g]);
    assert_int_equal(run(frequency, 3), 0);
    assert_digits(clustering.labels, "010101");
    assert_digits(clustering.cores, "01----");
    assert_int_equal(clustering.groups, 2);
    assert_int_equal(clustering.n_joins, 0);
    assert_int_equal(run(frequency, 0), 0);
    assert_digits(clustering.labels, "010000");
}

static void test_frequency_expels_in_a_cascade_as_in_the_worked_example(void **state)
{
    /* algorithms.md 11.4 (b). */
    static const double s[3][3] = {{.90, .10, .20}, {.80, .70, .30}, {.85, .75, .10}};
    int64_t e, g;

    (void)state;
    start(6, 3, six);
    for (e = 3; e < 6; e++)
        for (g = 0; g < 3; g++)
            alike(e, g, s[e - 3][g]);
    assert_int_equal(run(frequency, 2), 0);
    assert_digits(clustering.labels, "012021");
}

static void test_frequency_refuses_a_limit_without_room_for_all(void **state)
{
    (void)state;
    /* algorithms.md 11.4 (c): endless there. */
    start(5, 2, six);
    assert_int_equal(run(frequency, 2), HCSMOE_EINVAL);
    assert_string_equal(host.message,
                        "layer 3: its 5 experts do not fit into 2 groups of at most group_limit = "
                        "2: must be 3 or more, or 0 for no limit");
    assert_int_equal(run(frequency, 3), 0);
    start(5, 1, six);
    assert_int_equal(run(frequency, 4), HCSMOE_EINVAL);
    assert_non_null(strstr(host.message, "must be 5 or more, or 0"));
    start(5, 5, six);
    assert_int_equal(run(frequency, 1), 0);
    assert_digits(clustering.labels, "01234");
}

static void test_frequency_prefers_lower_experts_and_earlier_cores(void **state)
{
    static const double usage[] = {.1, .3, .3, .1, .2};

    (void)state;
    start(5, 3, usage);
    assert_int_equal(run(frequency, 0), 0);
    assert_digits(clustering.cores, "124--");
    assert_digits(clustering.labels, "00102");
    /* Equally dissimilar members: the one that came first goes. */
    assert_int_equal(run(frequency, 2), 0);
    assert_digits(clustering.labels, "10102");
}

static void test_frequency_never_expels_a_core(void **state)
{
    static const double usage[] = {.4, .3, .2, .1};

    (void)state;
    /* Another's base may call others more alike than an expert is to itself. Then the member that
     * came first goes, though the second is less alike. */
    start(4, 2, usage);
    alike(0, 2, 3);
    alike(0, 3, 2);
    assert_int_equal(run(frequency, 2), 0);
    assert_digits(clustering.labels, "0110");
    assert_digits(clustering.cores, "01--");
}

static void test_routing_score_groups_around_the_highest_probabilities(void **state)
{
    static const double score[] = {10, 300, 20, 200};

    (void)state;
    start(4, 2, NULL);
    clustering.stats.score_sum = score;
    alike(0, 3, 0.9);
    alike(2, 1, 0.8);
    assert_int_equal(run(routing_score, 2), 0);
    assert_digits(clustering.cores, "13--");
    assert_digits(clustering.labels, "1001");
}

/* The assignment as algorithms.md 3.3 and 3.4 tell it, with -100 written into a matrix. */
static void by_definition(int64_t n, int64_t m, int64_t limit, const int32_t *cores, double *s,
                          int32_t *labels)
{
    int32_t list[CLUSTER_EXPERTS_MAX][CLUSTER_EXPERTS_MAX], u;
    int64_t size[CLUSTER_EXPERTS_MAX], g, k, q, e;

    for (e = 0; e < n; e++)
        labels[e] = -1;
    for (g = 0; g < m; g++) {
        list[g][0] = cores[g];
        size[g] = 1;
        labels[cores[g]] = (int32_t)g;
    }
    for (e = 0; e < n; e++) {
        if (labels[e] >= 0)
            continue;
        for (g = 0, k = 1; k < m; k++)
            if (s[e * n + cores[k]] > s[e * n + cores[g]])
                g = k;
        labels[e] = (int32_t)g;
        list[g][size[g]++] = (int32_t)e;
        while (size[g] > limit) {
            for (q = 0, k = 1; k < size[g]; k++)
                if (s[cores[g] * n + list[g][k]] < s[cores[g] * n + list[g][q]])
                    q = k;
            q = q ? q : 1;
            u = list[g][q];
            for (k = q; k < size[g] - 1; k++)
                list[g][k] = list[g][k + 1];
            size[g]--;
            s[u * n + cores[g]] = s[cores[g] * n + u] = -100;
            for (g = 0, k = 1; k < m; k++)
                if (s[u * n + cores[k]] > s[u * n + cores[g]])
                    g = k;
            labels[u] = (int32_t)g;
            list[g][size[g]++] = u;
        }
    }
}

static void test_frequency_agrees_with_the_definition_up_to_full_groups(void **state)
{
    int round;

    (void)state;
    for (round = 0; round < 200; round++) {
        const int64_t n = 2 + round % 30;
        const int64_t m = 1 + (int64_t)(fake_uniform(&host) * (double)n);
        const int64_t limit = (n + m - 1) / m + round % 2;
        double usage[CLUSTER_EXPERTS_MAX];
        int32_t expected[CLUSTER_EXPERTS_MAX], size[CLUSTER_EXPERTS_MAX] = {0};
        int64_t i, j;

        for (i = 0; i < n; i++)
            usage[i] = fake_uniform(&host);
        start(n, m, usage);
        for (i = 0; i < n; i++)
            for (j = 0; j < i; j++) /* few values: ties */
                alike(i, j, floor(fake_uniform(&host) * 12) / 12);
        assert_int_equal(run(frequency, limit), 0);
        by_definition(n, m, limit, clustering.cores, similarities, expected);
        assert_memory_equal(clustering.labels, expected, (size_t)n * sizeof *expected);
        for (i = 0; i < n; i++) {
            assert_in_range(clustering.labels[i], 0, m - 1);
            size[clustering.labels[i]]++;
            if (i + 1 < m)
                assert_true(usage[clustering.cores[i]] >= usage[clustering.cores[i + 1]]);
        }
        for (i = 0; i < m; i++)
            assert_in_range(size[i], 1, limit);
    }
}

static void test_frequency_refuses_sums_of_bases_and_bad_numbers_of_groups(void **state)
{
    (void)state;
    start(6, 2, six);
    clustering.n_bases = 2;
    assert_int_equal(run(frequency, 0), HCSMOE_EINVAL);
    assert_string_equal(host.message,
                        "similarity_base has 2 bases: grouping around cores compares experts by "
                        "one, must be a single name");
    start(6, 7, six);
    assert_int_equal(run(frequency, 0), HCSMOE_EINVAL);
    assert_string_equal(host.message, "7 groups of 6 experts: must be 1..6");
    start(6, 0, six);
    assert_int_equal(run(routing_score, 0), HCSMOE_EINVAL);
}

static void test_frequency_reports_missing_memory(void **state)
{
    const hcsmoe_cluster_ops *ops = routing_score->ops;
    struct budget b;
    int64_t allowed;

    (void)state;
    budget_init(&b, 1, 4, 2);
    host.alloc_allowed = 0;
    assert_int_equal(ops->budget(NULL, &host.abi, &b.args), HCSMOE_ENOMEM);
    host.alloc_allowed = -1;
    start(6, 2, six);
    for (allowed = 0; allowed < 3; allowed++) {
        void *opts = options_new(frequency);
        host.alloc_allowed = allowed;
        assert_int_equal(clustering_run(&host, frequency, opts, &clustering), HCSMOE_ENOMEM);
        host.alloc_allowed = -1;
        mem_free(opts);
    }
}

/* 11.3's numbers for n = 2, and every layer's room looked at before one is merged. */
static void check_budget(const hcsmoe_component *c, int by_score)
{
    static const double first[] = {.40, .30, .20, .10}, second[] = {.70, .15, .10, .05};
    const hcsmoe_cluster_ops *ops = c->ops;
    void *opts = options_new(c);
    struct budget b;
    int i;

    assert_null(ops->wants_budget);
    for (i = 0; i < 2; i++) {
        budget_init(&b, 2, 4, 2);
        if (by_score) {
            b.stats[0].score_sum = first;
            b.stats[1].score_sum = second;
        } else {
            b.stats[0].usage = first;
            b.stats[1].usage = second;
        }
        option_set_int(c, opts, "group_limit", i == 0 ? 4 : 3);
        assert_int_equal(ops->budget(opts, &host.abi, &b.args), i == 0 ? 0 : HCSMOE_EINVAL);
        assert_int_equal(b.layers[0].n_groups, 3);
        assert_int_equal(b.layers[1].n_groups, 1);
        fake_host_leave(&host);
    }
    assert_non_null(strstr(host.message, "layer 3: its 4 experts do not fit into 1 groups"));
    mem_free(opts);
}

static void test_frequency_and_routing_score_share_groups_out_by_their_scores(void **state)
{
    (void)state;
    check_budget(frequency, 0);
    check_budget(routing_score, 1);
    assert_int_equal(frequency->needs, HCSMOE_STAT_USAGE);
    assert_int_equal(routing_score->needs, HCSMOE_STAT_ROUTING_SCORE);
    assert_int_equal(option_of(frequency, "group_limit")->def.i, 4);
}

static void draw(int64_t n, int64_t m, uint64_t seed)
{
    clustering_init(&clustering, n, m);
    host.random = seed;
    assert_int_equal(clustering_run(&host, drawn, NULL, &clustering), 0);
    assert_int_equal(clustering.groups, m);
    assert_int_equal(clustering.n_joins, 0);
}

static void test_random_fills_every_group_and_gives_no_cores(void **state)
{
    uint64_t seed;
    int64_t i;

    (void)state;
    for (seed = 0; seed < 200; seed++) {
        const int64_t n = 1 + (int64_t)seed % 20, m = 1 + (int64_t)seed % n;
        int64_t size[CLUSTER_EXPERTS_MAX] = {0};
        draw(n, m, seed);
        for (i = 0; i < n; i++) {
            assert_in_range(clustering.labels[i], 0, m - 1);
            size[clustering.labels[i]]++;
        }
        for (i = 0; i < m; i++) {
            assert_true(size[i] > 0);
            assert_int_equal(clustering.cores[i], -1);
        }
    }
}

static void test_random_depends_on_the_hosts_numbers_alone(void **state)
{
    int32_t first[12];

    (void)state;
    draw(12, 4, 5);
    memcpy(first, clustering.labels, sizeof first);
    draw(12, 4, 5);
    assert_memory_equal(first, clustering.labels, sizeof first);
    draw(12, 4, 6);
    assert_memory_not_equal(first, clustering.labels, sizeof first);
}

static void test_random_gives_every_expert_every_group_equally_often(void **state)
{
    enum { DRAWS = 6000, N = 6, M = 3 };
    int64_t count[N][M] = {{0}};
    uint64_t seed;
    int64_t i, g;

    (void)state;
    for (seed = 0; seed < DRAWS; seed++) {
        draw(N, M, seed * 977);
        for (i = 0; i < N; i++)
            count[i][clustering.labels[i]]++;
    }
    /* The deviation of a count is about 37: six of them. */
    for (i = 0; i < N; i++)
        for (g = 0; g < M; g++)
            assert_in_range(count[i][g], DRAWS / M - 220, DRAWS / M + 220);
}

static void test_random_refuses_bad_numbers_of_groups(void **state)
{
    (void)state;
    clustering_init(&clustering, 4, 5);
    assert_int_equal(clustering_run(&host, drawn, NULL, &clustering), HCSMOE_EINVAL);
    assert_string_equal(host.message, "5 groups of 4 experts: must be 1..4");
    clustering_init(&clustering, 4, 0);
    assert_int_equal(clustering_run(&host, drawn, NULL, &clustering), HCSMOE_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frequency_gives_the_worked_example),
        cmocka_unit_test(test_frequency_expels_in_a_cascade_as_in_the_worked_example),
        cmocka_unit_test(test_frequency_refuses_a_limit_without_room_for_all),
        cmocka_unit_test(test_frequency_prefers_lower_experts_and_earlier_cores),
        cmocka_unit_test(test_frequency_never_expels_a_core),
        cmocka_unit_test(test_routing_score_groups_around_the_highest_probabilities),
        cmocka_unit_test(test_frequency_agrees_with_the_definition_up_to_full_groups),
        cmocka_unit_test(test_frequency_refuses_sums_of_bases_and_bad_numbers_of_groups),
        cmocka_unit_test(test_frequency_reports_missing_memory),
        cmocka_unit_test(test_frequency_and_routing_score_share_groups_out_by_their_scores),
        cmocka_unit_test(test_random_fills_every_group_and_gives_no_cores),
        cmocka_unit_test(test_random_depends_on_the_hosts_numbers_alone),
        cmocka_unit_test(test_random_gives_every_expert_every_group_equally_often),
        cmocka_unit_test(test_random_refuses_bad_numbers_of_groups),
    };

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
