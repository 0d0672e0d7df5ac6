/*
 * expert_output.c - experts are alike when their mean outputs are.
 *
 * Row e is the mean of expert e's output over all calibration tokens, routed to it or not, without
 * routing weight. SPDX-License-Identifier: MIT
 */
#include <math.h>

#include <hcsmoe/similarity.h>

/* The least norm that a row is divided by: a row of zeros is then half alike to every other. */
#define NORM_LEAST 1e-7

static hcsmoe_status check_means(const hcsmoe_host *h, const hcsmoe_similarity_args *a)
{
    const int64_t width = a->dims->width;
    int64_t e, i;

    for (e = 0; e < a->dims->n_experts; e++)
        for (i = 0; i < width; i++)
            if (!isfinite(a->stats->output_mean[e * width + i]))
                return hcsmoe_failf(h, HCSMOE_EFAILED, "expert %lld: its mean output is not finite",
                                    (long long)e);
    return HCSMOE_OK;
}

static double inner_product(const double *x, const double *y, int64_t n)
{
    double sum = 0;
    int64_t i;

    for (i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

/* Differences first: no cancellation between the large squares of nearly equal rows. */
static double distance(const double *x, const double *y, int64_t n)
{
    double sum = 0;
    int64_t i;

    for (i = 0; i < n; i++)
        sum += (x[i] - y[i]) * (x[i] - y[i]);
    return sqrt(sum);
}

static hcsmoe_status output_distances(void *self, const hcsmoe_host *h,
                                      const hcsmoe_similarity_args *a, double *d)
{
    const int64_t n = a->dims->n_experts, width = a->dims->width;
    const double *mean = a->stats->output_mean;
    hcsmoe_status status = check_means(h, a);
    int64_t i, j;

    (void)self;
    for (i = 0; i < n && status == HCSMOE_OK; i++) {
        d[i * n + i] = 0;
        for (j = 0; j < i; j++)
            d[i * n + j] = d[j * n + i] = distance(&mean[i * width], &mean[j * width], width);
    }
    return status;
}

/* (cosine + 1) / 2: between 0 and 1. */
static hcsmoe_status output_similarities(void *self, const hcsmoe_host *h,
                                         const hcsmoe_similarity_args *a, double *s)
{
    const int64_t n = a->dims->n_experts, width = a->dims->width;
    const double *mean = a->stats->output_mean;
    double *norm = h->scratch(h, (size_t)n * sizeof *norm);
    hcsmoe_status status = check_means(h, a);
    int64_t i, j;

    (void)self;
    if (!norm)
        return HCSMOE_ENOMEM;
    for (i = 0; i < n && status == HCSMOE_OK; i++) {
        norm[i] = sqrt(inner_product(&mean[i * width], &mean[i * width], width));
        norm[i] = fmax(norm[i], NORM_LEAST);
        s[i * n + i] = 1;
        for (j = 0; j < i; j++) {
            const double product = inner_product(&mean[i * width], &mean[j * width], width);
            s[i * n + j] = s[j * n + i] = (product / norm[i] / norm[j] + 1) / 2;
        }
    }
    return status;
}

static int64_t output_feature_size(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims)
{
    (void)self;
    (void)h;
    return dims->width;
}

static const hcsmoe_similarity_ops ops = {
    .struct_size = sizeof ops,
    .distances = output_distances,
    .similarities = output_similarities,
    .feature_size = output_feature_size,
};

static const hcsmoe_component expert_output = {
    .struct_size = sizeof expert_output,
    .kind = HCSMOE_KIND_SIMILARITY,
    .name = "expert-output",
    .summary = "mean output of every expert over all calibration tokens",
    .ops = &ops,
    .needs = HCSMOE_STAT_OUTPUT_MEAN,
    .caps = HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DETERMINISTIC,
};

HCSMOE_PLUGIN("hcsmoe.similarity.expert-output", "1.0.0", "MIT", &expert_output)
