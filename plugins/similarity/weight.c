/*
 * weight.c - experts are alike when their matrices are.
 *
 * Row e is gate, down and up of expert e, flattened. The rows, gigabytes in a large model, are
 * never held: the core gives their inner products after the mean row was subtracted, which leaves
 * distances as they are and takes the cancellation out of |W_i|^2 - 2 W_i.W_j + |W_j|^2. Cosines do
 * change with the mean, so this base has distances only. No text is needed.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>

#include <hcsmoe/similarity.h>

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

static int64_t weight_feature_size(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims)
{
    (void)self;
    (void)h;
    return 3 * dims->width * dims->ffn;
}

static const hcsmoe_similarity_ops ops = {
    .struct_size = sizeof ops,
    .distances = weight_distances,
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
};

HCSMOE_PLUGIN("hcsmoe.similarity.weight", "1.0.0", "MIT", &weight)
