/*
 * router_logits.c - experts are alike when the router scores them alike.
 *
 * Row e is expert e's logit on every calibration token. The rows, as long as the calibration text,
 * are never held: their inner products say all. With G = Z Z^T, |Z_i - Z_j|^2 = G_ii - 2 G_ij +
 * G_jj. SPDX-License-Identifier: MIT
 */
#include <math.h>

#include <hcsmoe/similarity.h>

/* The least norm that a row is divided by: a row of zeros is then half alike to every other. */
#define NORM_LEAST 1e-7

static hcsmoe_status check_gram(const hcsmoe_host *h, const hcsmoe_similarity_args *a)
{
    const int64_t n = a->dims->n_experts;
    int64_t i;

    for (i = 0; i < n * n; i++)
        if (!isfinite(a->stats->router_gram[i]))
            return hcsmoe_failf(
                h, HCSMOE_EFAILED,
                "experts %lld and %lld: the product of their router logits is not finite",
                (long long)(i / n), (long long)(i % n));
    return HCSMOE_OK;
}

static hcsmoe_status logit_distances(void *self, const hcsmoe_host *h,
                                     const hcsmoe_similarity_args *a, double *d)
{
    const int64_t n = a->dims->n_experts;
    const double *gram = a->stats->router_gram;
    hcsmoe_status status = check_gram(h, a);
    int64_t i, j;

    (void)self;
    for (i = 0; i < n && status == HCSMOE_OK; i++) {
        d[i * n + i] = 0;
        for (j = 0; j < i; j++) {
            const double squared = gram[i * n + i] - 2 * gram[i * n + j] + gram[j * n + j];
            /* Rounding can leave a little less than zero between equal rows. */
            d[i * n + j] = d[j * n + i] = sqrt(fmax(0, squared));
        }
    }
    return status;
}

/* (cosine + 1) / 2: between 0 and 1. */
static hcsmoe_status logit_similarities(void *self, const hcsmoe_host *h,
                                        const hcsmoe_similarity_args *a, double *s)
{
    const int64_t n = a->dims->n_experts;
    const double *gram = a->stats->router_gram;
    double *norm = h->scratch(h, (size_t)n * sizeof *norm);
    hcsmoe_status status = check_gram(h, a);
    int64_t i, j;

    (void)self;
    if (!norm)
        return HCSMOE_ENOMEM;
    for (i = 0; i < n && status == HCSMOE_OK; i++) {
        norm[i] = fmax(sqrt(fmax(0, gram[i * n + i])), NORM_LEAST);
        s[i * n + i] = 1;
        for (j = 0; j < i; j++)
            s[i * n + j] = s[j * n + i] = (gram[i * n + j] / norm[i] / norm[j] + 1) / 2;
    }
    return status;
}

static int64_t logit_feature_size(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims)
{
    (void)self;
    (void)h;
    return dims->n_tokens > 0 ? dims->n_tokens : 1;
}

static const hcsmoe_similarity_ops ops = {
    .struct_size = sizeof ops,
    .distances = logit_distances,
    .similarities = logit_similarities,
    .feature_size = logit_feature_size,
};

static const hcsmoe_component router_logits = {
    .struct_size = sizeof router_logits,
    .kind = HCSMOE_KIND_SIMILARITY,
    .name = "router-logits",
    .summary = "router logits of every expert on the calibration tokens",
    .ops = &ops,
    .needs = HCSMOE_STAT_ROUTER_GRAM,
    .caps = HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DETERMINISTIC,
};

HCSMOE_PLUGIN("hcsmoe.similarity.router-logits", "1.0.0", "MIT", &router_logits)
