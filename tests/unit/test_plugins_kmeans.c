/*
 * test_plugins_kmeans.c - k-means: worked examples, Lloyd with coordinates, starts and refusals.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin_test.h"

#include <hcsmoe/cluster.h>

enum { EXPERTS_MAX = 64, WIDTH_MAX = 6, BASES_MAX = 3 };

static struct fake_host host;
static const hcsmoe_component *component;

/* Points of one to three bases; each base has its own number of columns. */
struct problem {
    int64_t n, n_groups;
    int32_t n_bases;
    int64_t width[BASES_MAX];
    double x[BASES_MAX][EXPERTS_MAX][WIDTH_MAX];
    double d[BASES_MAX][EXPERTS_MAX * EXPERTS_MAX];
    int32_t labels[EXPERTS_MAX], cores[EXPERTS_MAX];
    int64_t groups, n_joins;
};

static struct problem problem;

static int host_setup(void **state)
{
    (void)state;
    fake_host_open(&host);
    component = plugin_load(&host, "hcsmoe-cluster-kmeans.so");
    return 0;
}

static int host_teardown(void **state)
{
    (void)state;
    fake_host_close(&host);
    return 0;
}

static double squared_distance(const double *x, const double *y, int64_t width)
{
    double sum = 0;
    int64_t k;

    for (k = 0; k < width; k++)
        sum += (x[k] - y[k]) * (x[k] - y[k]);
    return sum;
}

static void measure(struct problem *p)
{
    int64_t i, j;
    int f;

    for (f = 0; f < p->n_bases; f++)
        for (i = 0; i < p->n; i++)
            for (j = 0; j < p->n; j++)
                p->d[f][i * p->n + j] = sqrt(squared_distance(p->x[f][i], p->x[f][j], p->width[f]));
}

/* The same points in a line for every base. */
static void set_points(struct problem *p, int32_t n_bases, int64_t n, const double *x)
{
    int64_t i;
    int f;

    memset(p, 0, sizeof *p);
    p->n = n;
    p->n_bases = n_bases;
    for (f = 0; f < n_bases; f++) {
        p->width[f] = 1;
        for (i = 0; i < n; i++)
            p->x[f][i][0] = x[i];
    }
    measure(p);
}

static void set_random(struct problem *p, int32_t n_bases, int64_t n)
{
    int64_t i, k;
    int f;

    memset(p, 0, sizeof *p);
    p->n = n;
    p->n_bases = n_bases;
    for (f = 0; f < n_bases; f++) {
        p->width[f] = 1 + (n + f) % WIDTH_MAX;
        for (i = 0; i < n; i++)
            for (k = 0; k < p->width[f]; k++)
                p->x[f][i][k] = fake_uniform(&host) - 0.5;
    }
    measure(p);
}

static hcsmoe_status run(struct problem *p, const char *start)
{
    const hcsmoe_cluster_ops *ops = component->ops;
    const hcsmoe_layer_dims dims = {.struct_size = sizeof dims, .layer = 3, .n_experts = p->n};
    const double *const bases[] = {p->d[0], p->d[1], p->d[2]};
    void *opts = options_new(component);
    void *self = NULL;
    const hcsmoe_cluster_args args = {
        .struct_size = sizeof args,
        .n_bases = p->n_bases,
        .dims = &dims,
        .n_groups = p->n_groups,
        .distances = p->d[0], /* of several bases the plugin must read base_distances */
        .base_distances = bases,
        .base_sizes = p->width,
        .labels = p->labels,
        .cores = p->cores,
        .groups = &p->groups,
        .n_joins = &p->n_joins,
    };
    hcsmoe_status status;

    if (start)
        option_set(component, opts, "start", start);
    status = component->create(&host.abi, opts, &self);
    if (status == HCSMOE_OK) {
        status = ops->cluster(self, &host.abi, &args);
        component->destroy(&host.abi, self);
    }
    fake_host_leave(&host);
    mem_free(opts);
    return status;
}

static void check_digits(const int32_t *got, const char *expected)
{
    char text[256] = "";
    size_t used = 0;
    size_t i;

    for (i = 0; i < strlen(expected); i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%d", got[i]);
    assert_string_equal(text, expected);
}

static const double five_points[] = {0, 10, 30, 61, 100};

static void test_kmeans_on_one_base_is_plain_lloyd(void **state)
{
    (void)state;
    set_points(&problem, 1, 5, five_points);
    problem.n_groups = 2;
    assert_int_equal(run(&problem, "0,1"), 0);
    check_digits(problem.labels, "00011");
    check_digits(problem.cores, "13");
    assert_int_equal(problem.groups, 2);
    assert_int_equal(problem.n_joins, 0);
    assert_int_equal(run(&problem, "first"), 0);
    check_digits(problem.labels, "00011");
}

static void test_kmeans_on_several_bases_standardises_distances(void **state)
{
    (void)state;
    set_points(&problem, 2, 5, five_points);
    problem.n_groups = 2;
    assert_int_equal(run(&problem, "0,1"), 0);
    check_digits(problem.labels, "11100");
    check_digits(problem.cores, "31");
}

static void test_kmeans_numbers_labels_in_the_order_of_the_start_centres(void **state)
{
    (void)state;
    set_points(&problem, 1, 5, five_points);
    problem.n_groups = 3;
    assert_int_equal(run(&problem, " 4 , 0,3 "), 0);
    check_digits(problem.labels, "11120");
    check_digits(problem.cores, "413");
}

static void test_kmeans_gives_ties_to_the_lower_index(void **state)
{
    static const double x[] = {0, 2, 1, 7, 7};

    (void)state;
    /* Expert 2 is as far from expert 0 as from expert 1; the two experts of a group from its mean.
     */
    set_points(&problem, 1, 5, x);
    problem.n_groups = 3;
    assert_int_equal(run(&problem, "0,1,3"), 0);
    check_digits(problem.labels, "01022");
    check_digits(problem.cores, "013");
}

static void test_kmeans_takes_one_expert_and_as_many_groups_as_experts(void **state)
{
    int32_t n_bases;

    (void)state;
    for (n_bases = 1; n_bases <= 2; n_bases++) {
        set_points(&problem, n_bases, 1, five_points);
        problem.n_groups = 1;
        assert_int_equal(run(&problem, NULL), 0);
        check_digits(problem.labels, "0");
        check_digits(problem.cores, "0");
        set_points(&problem, n_bases, 5, five_points);
        assert_int_equal((problem.n_groups = 1, run(&problem, NULL)), 0);
        check_digits(problem.labels, "00000");
        check_digits(problem.cores, "2");
    }
    set_points(&problem, 1, 5, five_points);
    problem.n_groups = 5;
    assert_int_equal(run(&problem, "4,3,2,1,0"), 0);
    check_digits(problem.labels, "43210");
    check_digits(problem.cores, "43210");
}

static void test_kmeans_splits_identical_experts_without_nan(void **state)
{
    static const double same[EXPERTS_MAX] = {0};
    int32_t n_bases, size[3];
    int i;

    (void)state;
    for (n_bases = 1; n_bases <= 3; n_bases++) {
        set_points(&problem, n_bases, 7, same);
        problem.n_groups = 3;
        assert_int_equal(run(&problem, "kmeans++"), 0);
        memset(size, 0, sizeof size);
        for (i = 0; i < 7; i++)
            size[problem.labels[i]]++;
        for (i = 0; i < 3; i++) {
            assert_true(size[i] > 0);
            assert_int_equal(problem.labels[problem.cores[i]], i);
        }
    }
}

static void test_kmeans_fills_a_centre_that_lost_its_experts(void **state)
{
    static const double x[] = {0, 0, 0, 9, 20};

    (void)state;
    /* Centres 0, 0 and 0: all experts go to the first. The two empty ones take the farthest. */
    set_points(&problem, 1, 5, x);
    problem.n_groups = 3;
    assert_int_equal(run(&problem, "0,1,2"), 0);
    check_digits(problem.labels, "00021");
    check_digits(problem.cores, "043");
}

/* Assignment by Lloyd, or by the standardised rule of several bases, with coordinates. */
static void brute_assign(const struct problem *p, double c[][EXPERTS_MAX][WIDTH_MAX],
                         int32_t *labels)
{
    static double score[EXPERTS_MAX][EXPERTS_MAX];
    static double a[EXPERTS_MAX][EXPERTS_MAX];
    int64_t e, k;
    int f;

    memset(score, 0, sizeof score);
    for (f = 0; f < p->n_bases; f++) {
        double least = INFINITY;
        for (k = 0; k < p->n_groups; k++) {
            double mean = 0, variance = 0;
            for (e = 0; e < p->n; e++) {
                a[e][k] = sqrt(squared_distance(p->x[f][e], c[f][k], p->width[f]));
                a[e][k] /= p->n_bases > 1 ? (double)p->width[f] : 1;
                mean += a[e][k] / (double)p->n;
            }
            for (e = 0; e < p->n; e++)
                variance += (a[e][k] - mean) * (a[e][k] - mean) / (double)(p->n - 1);
            for (e = 0; e < p->n && p->n_bases > 1; e++)
                a[e][k] = (a[e][k] - mean) / (sqrt(variance) + 1e-6);
            for (e = 0; e < p->n; e++)
                least = fmin(least, a[e][k]);
        }
        for (e = 0; e < p->n; e++)
            for (k = 0; k < p->n_groups; k++)
                score[e][k] += (a[e][k] - least) / 3;
    }
    for (e = 0; e < p->n; e++) {
        labels[e] = 0;
        for (k = 1; k < p->n_groups; k++)
            if (score[e][k] < score[e][labels[e]])
                labels[e] = (int32_t)k;
    }
}

/* From experts 0..n-1 as start centres; 0 when a cluster got empty on the way. */
static int brute_kmeans(const struct problem *p, int32_t *labels, int32_t *cores)
{
    static double c[BASES_MAX][EXPERTS_MAX][WIDTH_MAX];
    double size[EXPERTS_MAX];
    int64_t e, k, i;
    int f, iteration;

    memcpy(c, p->x, sizeof c);
    for (iteration = 0; iteration < 100; iteration++) {
        brute_assign(p, c, labels);
        memset(size, 0, sizeof size);
        memset(c, 0, sizeof c);
        for (e = 0; e < p->n; e++)
            size[labels[e]]++;
        for (k = 0; k < p->n_groups; k++)
            if (!(size[k] > 0))
                return 0;
        for (f = 0; f < p->n_bases; f++)
            for (e = 0; e < p->n; e++)
                for (i = 0; i < p->width[f]; i++)
                    c[f][labels[e]][i] += p->x[f][e][i] / size[labels[e]];
    }
    for (k = 0; k < p->n_groups; k++) {
        double least = INFINITY;
        for (e = 0; e < p->n; e++) {
            double sum = 0;
            for (f = 0; f < p->n_bases; f++)
                sum += sqrt(squared_distance(p->x[f][e], c[f][k], p->width[f]));
            if (labels[e] == k && sum < least - 1e-9) {
                least = sum;
                cores[k] = (int32_t)e;
            }
        }
    }
    return 1;
}

static void test_kmeans_agrees_with_coordinates_on_random_points(void **state)
{
    int32_t labels[EXPERTS_MAX], cores[EXPERTS_MAX];
    int round, compared = 0;
    int64_t i;

    (void)state;
    for (round = 0; round < 120; round++) {
        set_random(&problem, 1 + round % 3, 4 + round % 17);
        problem.n_groups = 2 + round % 4;
        if (problem.n_groups > problem.n || !brute_kmeans(&problem, labels, cores))
            continue;
        assert_int_equal(run(&problem, "first"), 0);
        for (i = 0; i < problem.n; i++)
            assert_int_equal(problem.labels[i], labels[i]);
        for (i = 0; i < problem.n_groups; i++)
            assert_int_equal(problem.cores[i], cores[i]);
        compared++;
    }
    assert_true(compared > 80);
}

static void test_kmeans_draws_the_first_centre_evenly_and_others_by_squared_distance(void **state)
{
    static const double x[] = {0, 1, 3};
    int first[3] = {0}, near = 0;
    int round;

    (void)state;
    set_points(&problem, 1, 3, x);
    problem.n_groups = 3;
    for (round = 0; round < 6000; round++) {
        /* With a group for every expert labels show the order of drawing. */
        int64_t e;
        assert_int_equal(run(&problem, NULL), 0);
        for (e = 0; e < 3; e++)
            first[e] += problem.labels[e] == 0;
        near += problem.labels[0] == 0 && problem.labels[1] == 1;
    }
    assert_in_range(first[0], 1850, 2150);
    assert_in_range(first[1], 1850, 2150);
    assert_in_range(first[2], 1850, 2150);
    /* After expert 0: 1 to 9 between the others. */
    assert_in_range(near * 10, first[0] * 7 / 10, first[0] * 13 / 10);
}

static void test_kmeans_repeats_itself_with_the_same_random_numbers(void **state)
{
    int32_t labels[60];

    (void)state;
    set_random(&problem, 1, 60);
    problem.n_groups = 15;
    host.random = 17;
    assert_int_equal(run(&problem, NULL), 0);
    memcpy(labels, problem.labels, sizeof labels);
    host.random = 17;
    assert_int_equal(run(&problem, NULL), 0);
    assert_memory_equal(labels, problem.labels, sizeof labels);
    assert_int_equal(host.log_level, -1);
}

static void test_kmeans_prints_a_fresh_seed_when_asked_for_one(void **state)
{
    void *opts = options_new(component);
    void *self = NULL;
    char log[1024];
    int i;

    (void)state;
    option_set(component, opts, "random_start_center", "yes");
    for (i = 0; i < 2; i++) {
        memcpy(log, host.log, sizeof log);
        assert_int_equal(component->create(&host.abi, opts, &self), 0);
        component->destroy(&host.abi, self);
        assert_int_equal(host.log_level, HCSMOE_LOG_INFO);
        assert_non_null(strstr(host.log, "kmeans: random_start_center: seed "));
        assert_string_not_equal(host.log, log);
    }
    mem_free(opts);
}

static void test_kmeans_refuses_starts_that_name_no_experts(void **state)
{
    static const struct {
        const char *start, *message;
    } bad[] = {
        {.start = "foo", .message = "start = foo: must be kmeans++, first, or expert indices"},
        {.start = "", .message = "start = : must be kmeans++, first, or expert indices"},
        {.start = "0,1,", .message = "must be kmeans++, first, or expert indices such as 0,3,5"},
        {.start = "0,-1", .message = "must be kmeans++, first, or expert indices such as 0,3,5"},
        {.start = "0 1", .message = "must be kmeans++, first, or expert indices such as 0,3,5"},
        {.start = "0,1", .message = "start = 0,1: 2 experts: must be one for each of 3 groups"},
        {.start = "0,1,2,3", .message = "4 experts: must be one for each of 3 groups"},
        {.start = "0,5,1", .message = "start = 0,5,1: no expert 5: must be 0..4"},
        {.start = "99999999999999999999,5,1", .message = "must be 0..4"},
        {.start = "2,0,2", .message = "start = 2,0,2: expert 2 is there twice"},
    };
    size_t i;

    (void)state;
    set_points(&problem, 1, 5, five_points);
    problem.n_groups = 3;
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(run(&problem, bad[i].start), HCSMOE_EINVAL);
        if (!strstr(host.message, bad[i].message))
            fail_msg("%s is not in '%s'", bad[i].message, host.message);
    }
}

static void test_kmeans_refuses_bad_numbers_of_groups_and_distances(void **state)
{
    (void)state;
    set_points(&problem, 2, 5, five_points);
    problem.n_groups = 6;
    assert_int_equal(run(&problem, NULL), HCSMOE_EINVAL);
    assert_string_equal(host.message, "6 groups of 5 experts: must be 1..5");
    problem.n_groups = 2;
    problem.d[1][1 * 5 + 3] = NAN;
    assert_int_equal(run(&problem, NULL), HCSMOE_EFAILED);
    assert_non_null(strstr(host.message, "the distance of experts 1 and 3 is "));
}

static void test_kmeans_stops_when_asked_and_without_memory(void **state)
{
    int64_t allowed;

    (void)state;
    set_points(&problem, 1, 5, five_points);
    problem.n_groups = 2;
    host.cancelled = 1;
    assert_int_equal(run(&problem, NULL), HCSMOE_ECANCELLED);
    host.cancelled = 0;
    for (allowed = 0; allowed < 7; allowed++) {
        host.alloc_allowed = allowed;
        assert_int_equal(run(&problem, NULL), HCSMOE_ENOMEM);
    }
    host.alloc_allowed = -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kmeans_on_one_base_is_plain_lloyd),
        cmocka_unit_test(test_kmeans_on_several_bases_standardises_distances),
        cmocka_unit_test(test_kmeans_numbers_labels_in_the_order_of_the_start_centres),
        cmocka_unit_test(test_kmeans_gives_ties_to_the_lower_index),
        cmocka_unit_test(test_kmeans_takes_one_expert_and_as_many_groups_as_experts),
        cmocka_unit_test(test_kmeans_splits_identical_experts_without_nan),
        cmocka_unit_test(test_kmeans_fills_a_centre_that_lost_its_experts),
        cmocka_unit_test(test_kmeans_agrees_with_coordinates_on_random_points),
        cmocka_unit_test(test_kmeans_draws_the_first_centre_evenly_and_others_by_squared_distance),
        cmocka_unit_test(test_kmeans_repeats_itself_with_the_same_random_numbers),
        cmocka_unit_test(test_kmeans_prints_a_fresh_seed_when_asked_for_one),
        cmocka_unit_test(test_kmeans_refuses_starts_that_name_no_experts),
        cmocka_unit_test(test_kmeans_refuses_bad_numbers_of_groups_and_distances),
        cmocka_unit_test(test_kmeans_stops_when_asked_and_without_memory),
    };

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
