/*
 * similarity.c - a template: experts are alike whose mean outputs point the same way.
 *
 * The features are the mean outputs, each divided by its length: the distance of two is the chord
 * between them on the unit sphere, the similarity their cosine. The file is C11 and C++17.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>

#include <hcsmoe/similarity.h>

/* The cosine of the mean outputs of experts i and j. */
static double cosine(const hcsmoe_similarity_args *a, int64_t i, int64_t j)
{
    const int64_t width = a->dims->width;
    const double *x = a->stats->output_mean + i * width;
    const double *y = a->stats->output_mean + j * width;
    double xx = 0, yy = 0, xy = 0;
    int64_t c;

    for (c = 0; c < width; c++) {
        xx += x[c] * x[c];
        yy += y[c] * y[c];
        xy += x[c] * y[c];
    }
    return xx > 0 && yy > 0 ? fmax(-1, fmin(1, xy / sqrt(xx) / sqrt(yy))) : 0;
}

/* For clusterings that read distances (hierarchical, kmeans). */
static hcsmoe_status mine_distances(void *self, const hcsmoe_host *h,
                                    const hcsmoe_similarity_args *a, double *d)
{
    const int64_t n = a->dims->n_experts;
    int64_t i, j;

    (void)self; /* no options */
    (void)h;    /* nothing to allocate, nothing that can fail */
    for (i = 0; i < n; i++) {
        d[i * n + i] = 0;
        for (j = 0; j < i; j++)
            d[i * n + j] = d[j * n + i] = sqrt(2 - 2 * cosine(a, i, j));
    }
    return HCSMOE_OK;
}

/* For clusterings that read similarities (dominant = frequency). */
static hcsmoe_status mine_similarities(void *self, const hcsmoe_host *h,
                                       const hcsmoe_similarity_args *a, double *s)
{
    const int64_t n = a->dims->n_experts;
    int64_t i, j;

    (void)self;
    (void)h;
    for (i = 0; i < n; i++) {
        s[i * n + i] = 1;
        for (j = 0; j < i; j++)
            s[i * n + j] = s[j * n + i] = cosine(a, i, j);
    }
    return HCSMOE_OK;
}

HCSMOE_TABLE(hcsmoe_similarity_ops, ops, HCSMOE_SET(distances, mine_distances),
             HCSMOE_SET(similarities, mine_similarities));

HCSMOE_TABLE(hcsmoe_component, mine,                   /* one row of `hcsmoe plugins` */
             HCSMOE_SET(kind, HCSMOE_KIND_SIMILARITY), /* [group] */
             HCSMOE_SET(name, "mine"),                 /* similarity_base = mine */
             HCSMOE_SET(summary, "directions of the experts' mean outputs"), /* one line */
             HCSMOE_SET(ops, &ops),                                          /* what it does */
             HCSMOE_SET(needs, HCSMOE_STAT_OUTPUT_MEAN), /* what must be observed (stats.h) */
             HCSMOE_SET(caps, HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DETERMINISTIC));

HCSMOE_PLUGIN("org.example.similarity.mine", "1.0.0", "MIT", &mine)
