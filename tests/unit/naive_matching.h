/*
 * naive_matching.h - zipit and fix-dom-same as they are published, in double, one thing after the other.
 *
 * To be included after merge_test.h. SPDX-License-Identifier: MIT
 */
#ifndef TESTS_UNIT_NAIVE_MATCHING_H
#define TESTS_UNIT_NAIVE_MATCHING_H

/* What the naive versions work on: M = members * F features, rows of a feature matrix. */
struct naive {
    const struct test_group *g;
    int64_t ffn, n;
    double *rows, *c; /* [n_rows, n], [n, n] */
    int64_t n_rows;
};

static double silu_gated(const struct test_group *g, int64_t member, int64_t f, const double *x)
{
    double gate = 0, up = 0;
    int64_t d;

    for (d = 0; d < g->dims.width; d++) {
        gate += x[d] * (double)test_value(&g->in[0][member], f, d);
        up += x[d] * (double)test_value(&g->in[1][member], f, d);
    }
    return gate / (1 + exp(-gate)) * up;
}

/* A row for every token and member that it is routed to. */
static void naive_activations(struct naive *s, int scaled)
{
    const struct test_group *g = s->g;
    const int64_t members = g->args.n_members, width = g->dims.width;
    int64_t t, e, d, m;
    double x[64];

    s->n_rows = 0;
    for (t = 0; t < g->n_tokens; t++)
        for (e = 0; e < members; e++) {
            const double p = scaled ? (double)g->probabilities[t * members + e] : 1;
            if (g->weights[t * members + e] == 0)
                continue;
            for (d = 0; d < width; d++)
                x[d] = (double)(float)(p * (double)g->x[t * width + d]);
            for (m = 0; m < s->n; m++)
                s->rows[s->n_rows * s->n + m] = silu_gated(g, m / s->ffn, m % s->ffn, x);
            s->n_rows++;
        }
}

static void naive_weights(struct naive *s)
{
    const struct test_group *g = s->g;
    int64_t d, m;

    s->n_rows = 3 * g->dims.width;
    for (d = 0; d < g->dims.width; d++)
        for (m = 0; m < s->n; m++) {
            const int64_t e = m / s->ffn, f = m % s->ffn;
            s->rows[3 * d * s->n + m] = (double)test_value(&g->in[0][e], f, d);
            s->rows[(3 * d + 1) * s->n + m] = (double)test_value(&g->in[2][e], d, f);
            s->rows[(3 * d + 2) * s->n + m] = (double)test_value(&g->in[1][e], f, d);
        }
}

/* Adds the correlation of the rows to c. */
static void naive_correlate(struct naive *s)
{
    const int64_t n = s->n;
    double *deviation = mem_new((size_t)n, sizeof *deviation);
    int64_t a, b, r;

    for (a = 0; a < n; a++) {
        double mean = 0, square = 0;
        for (r = 0; r < s->n_rows; r++)
            mean += s->rows[r * n + a] / (double)s->n_rows;
        for (r = 0; r < s->n_rows; r++) {
            s->rows[r * n + a] -= mean;
            square += s->rows[r * n + a] * s->rows[r * n + a];
        }
        deviation[a] = sqrt(square / (double)(s->n_rows - 1));
    }
    for (a = 0; a < n; a++)
        for (b = 0; b < n; b++) {
            double sum = 0;
            for (r = 0; r < s->n_rows; r++)
                sum += s->rows[r * n + a] * s->rows[r * n + b];
            s->c[a * n + b] += sum / (double)(s->n_rows - 1) / (deviation[a] * deviation[b] + 1e-7);
        }
    mem_free(deviation);
}

static void naive_open(struct naive *s, const struct test_group *g, const char *mode,
                       const char *ingredient)
{
    const int scaled = strcmp(mode, "all") == 0 || mode[0] == 'a';
    size_t rows = (size_t)(2 * g->n_tokens + 3 * g->dims.width);

    *s = (struct naive){.g = g, .ffn = g->dims.ffn, .n = g->dims.ffn * g->args.n_members};
    s->rows = mem_new(rows * (size_t)s->n, sizeof *s->rows);
    s->c = mem_new((size_t)(s->n * s->n), sizeof *s->c);
    assert_true(s->rows && s->c && g->dims.width <= 64);
    if (strncmp(ingredient, "act", 3) == 0) {
        naive_activations(s, scaled);
        naive_correlate(s);
    }
    if (strstr(ingredient, "weight")) {
        naive_weights(s);
        naive_correlate(s);
    }
}

static void naive_close(struct naive *s)
{
    mem_free(s->rows);
    mem_free(s->c);
}

/* The result is the weighted means of the features whose slot[n] is the same, within rounding. */
static void naive_check(const struct naive *s, const int64_t *slot, const double *weight)
{
    const struct test_group *g = s->g;
    const int64_t slots = s->ffn;
    int64_t part, row, column, m, i, wrong = 0;
    double *total = mem_new((size_t)slots, sizeof *total);

    for (m = 0; m < s->n; m++)
        total[slot[m]] += weight[m];
    for (part = 0; part < 3; part++)
        for (i = 0; i < g->dims.width * slots; i++) {
            double sum = 0;
            row = part == 2 ? i / slots : i / g->dims.width;
            column = part == 2 ? i % slots : i % g->dims.width;
            for (m = 0; m < s->n; m++)
                if (slot[m] == (part == 2 ? column : row))
                    sum +=
                        weight[m] / total[slot[m]] *
                        (double)test_value(&g->in[part][m / s->ffn], part == 2 ? row : m % s->ffn,
                                           part == 2 ? m % s->ffn : column);
            wrong += fabs(sum - (double)test_value(&g->out[part], row, column)) > 1e-6;
        }
    assert_int_equal(wrong, 0);
    mem_free(total);
}

/* coefficient of every feature; a set without any is taken as it is. */
static void feature_weights(const struct naive *s, const char *mode, double *weight)
{
    const int shares = strcmp(mode, "all") == 0 || mode[0] == 'i';
    int64_t m;

    for (m = 0; m < s->n; m++)
        weight[m] = shares ? (double)s->g->routed[m / s->ffn] : 1;
}

static void naive_zipit(struct naive *s, const char *mode)
{
    const int64_t n = s->n;
    int64_t *slot = mem_new((size_t)n, sizeof *slot);
    double *weight = mem_new((size_t)n, sizeof *weight);
    int64_t left, a, b, i, j, k, next = 0;

    for (i = 0; i < n; i++)
        slot[i] = i;
    for (left = n; left > s->ffn; left--) {
        double best = -INFINITY;
        a = b = -1;
        for (i = 0; i < n; i++)
            for (j = i + 1; j < n && slot[i] == i; j++)
                if (slot[j] == j && s->c[i * n + j] > best) {
                    best = s->c[i * n + j];
                    a = i;
                    b = j;
                }
        for (k = 0; k < n; k++)
            s->c[a * n + k] = s->c[k * n + a] = 0.1 * fmin(s->c[a * n + k], s->c[b * n + k]);
        for (k = 0; k < n; k++)
            slot[k] = slot[k] == b ? a : slot[k];
    }
    for (i = 0; i < n; i++)
        slot[i] = slot[i] == i ? next++ : slot[slot[i]];
    assert_int_equal(next, s->ffn);
    feature_weights(s, mode, weight);
    for (k = 0; k < s->ffn; k++) {
        double sum = 0;
        for (i = 0; i < n; i++)
            sum += slot[i] == k ? weight[i] : 0;
        for (i = 0; i < n && sum == 0; i++)
            weight[i] = slot[i] == k ? 1 : weight[i];
    }
    naive_check(s, slot, weight);
    mem_free(slot);
    mem_free(weight);
}

static void naive_fix(struct naive *s, const char *mode, int64_t core)
{
    const int64_t n = s->n, ffn = s->ffn;
    int64_t *slot = mem_new((size_t)n, sizeof *slot);
    double *weight = mem_new((size_t)n, sizeof *weight);
    int64_t m, i, k;

    for (m = 0; m < n; m++) {
        slot[m] = m / ffn == core ? m % ffn : 0;
        for (i = 1; i < ffn && m / ffn != core; i++)
            if (s->c[(core * ffn + i) * n + m] > s->c[(core * ffn + slot[m]) * n + m])
                slot[m] = i;
    }
    feature_weights(s, mode, weight);
    for (k = 0; k < ffn; k++) {
        double sum = 0;
        for (i = 0; i < n; i++)
            sum += slot[i] == k ? weight[i] : 0;
        if (sum == 0)
            weight[core * ffn + k] = 1;
    }
    naive_check(s, slot, weight);
    mem_free(slot);
    mem_free(weight);
}

#endif
