/*
 * weight.c - experts are alike when their matrices are.
 *
 * Row e is gate, down and up of expert e, flattened. The rows, gigabytes in a large model, are
 * never held: the core gives their inner products. For distances the mean row is subtracted first,
 * which leaves them as they are and takes the cancellation out of |W_i|^2 - 2 W_i.W_j + |W_j|^2.
 * Cosines do change with the mean: they have products of the rows as they are. No text is needed.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>

#include <hcsmoe/similarity.h>

/* The least norm that a row is divided by: a row of zeros is then half alike to every other. */
#define NORM_LEAST 1e-7

static hcsmoe_status weight_distances(void *self, const hcsmoe_host *h,
                                      const hcsmoe_similarity_args *a, double *d)
{
    const int64_t n = a->dims->n_experts;
    const double *gram = a->stats->weight_gram;
    int64_t i, j;

    (void)self;
    for (i = 0; i < n; i++) {
        d[i * n + i] = 0;
        for (j = 0; j < i; j++) {
            const double squared = gram[i * n + i] - 2 * gram[i * n + j] + gram[j * n + j];
            if (!isfinite(squared))
                return hcsmoe_failf(
                    h, HCSMOE_EFAILED,
                    "experts %lld and %lld: the distance of their weights is not finite",
                    (long long)j, (long long)i);
            /* Rounding can leave a little less than zero between equal experts. */
            d[i * n + j] = d[j * n + i] = sqrt(fmax(0, squared));
        }
    }
    return HCSMOE_OK;
}

/* (cosine + 1) / 2: between 0 and 1. */
static hcsmoe_status weight_similarities(void *self, const hcsmoe_host *h,
                                         const hcsmoe_similarity_args *a, double *s)
{
    const int64_t n = a->dims->n_experts;
    const double *product = a->stats->weight_product;
    double *norm = h->scratch(h, (size_t)n * sizeof *norm);
    int64_t i, j;

    (void)self;
    if (!norm)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    for (i = 0; i < n; i++) {
        norm[i] = fmax(sqrt(fmax(0, product[i * n + i])), NORM_LEAST);
        for (j = 0; j <= i; j++) {
            if (!isfinite(product[i * n + j]))
                return hcsmoe_failf(
                    h, HCSMOE_EFAILED,
                    "experts %lld and %lld: the product of their weights is not finite",
                    (long long)j, (long long)i);
            s[i * n + j] = s[j * n + i] = (product[i * n + j] / norm[i] / norm[j] + 1) / 2;
        }
        s[i * n + i] = 1;
    }
    return HCSMOE_OK;
}

static int64_t weight_feature_size(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims)
{
    (void)self;
    (void)h;
    return 3 * dims->width * dims->ffn;
}

static uint64_t weight_needs(const void *opts, uint64_t caps)
{
    (void)opts;
    return (caps & HCSMOE_CAP_DISTANCES_IN ? HCSMOE_STAT_WEIGHT_GRAM : 0) |
           (caps & HCSMOE_CAP_SIMILARITIES_IN ? HCSMOE_STAT_WEIGHT_PRODUCT : 0);
}

static const hcsmoe_similarity_ops ops = {
    .struct_size = sizeof ops,
    .distances = weight_distances,
    .similarities = weight_similarities,
    .feature_size = weight_feature_size,
};

static const hcsmoe_component weight = {
    .struct_size = sizeof weight,
    .kind = HCSMOE_KIND_SIMILARITY,
    .name = "weight",
    .summary = "matrices of every expert; needs no calibration text",
    .ops = &ops,
    .needs = HCSMOE_STAT_WEIGHT_GRAM,
    .caps = HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DETERMINISTIC,
    .needs_for = weight_needs,
};

HCSMOE_PLUGIN("hcsmoe.similarity.weight", "1.0.0", "MIT", &weight)
