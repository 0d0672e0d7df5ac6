/*
 * similarities.c - similarity bases that break one rule each.
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/similarity.h>

/* |i - j|: distances of points on a line. */
static void line(const hcsmoe_similarity_args *a, double *d)
{
    const int64_t e = a->dims->n_experts;
    for (int64_t i = 0; i < e; i++)
        for (int64_t j = 0; j < e; j++)
            d[i * e + j] = (double)(i > j ? i - j : j - i);
}

/* Reads what it did not ask for. */
static hcsmoe_status unasked_distances(void *self, const hcsmoe_host *h,
                                       const hcsmoe_similarity_args *a, double *d)
{
    (void)self;
    (void)h;
    line(a, d);
    d[0] = a->stats->output_mean[0] * 0;
    return HCSMOE_OK;
}

static hcsmoe_status lopsided_distances(void *self, const hcsmoe_host *h,
                                        const hcsmoe_similarity_args *a, double *d)
{
    (void)self;
    (void)h;
    line(a, d);
    d[1] = 1.5;
    return HCSMOE_OK;
}

static hcsmoe_status squared_distances(void *self, const hcsmoe_host *h,
                                       const hcsmoe_similarity_args *a, double *d)
{
    const int64_t e = a->dims->n_experts;
    (void)self;
    (void)h;
    line(a, d);
    for (int64_t i = 0; i < e * e; i++)
        d[i] *= d[i];
    return HCSMOE_OK;
}

/* Leaves the diagonal to the host. */
static hcsmoe_status diagonal_distances(void *self, const hcsmoe_host *h,
                                        const hcsmoe_similarity_args *a, double *d)
{
    const double before = d[0];
    (void)self;
    (void)h;
    line(a, d);
    d[0] = before;
    return HCSMOE_OK;
}

static int64_t empty_feature_size(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims)
{
    (void)self;
    (void)h;
    (void)dims;
    return 0;
}

static hcsmoe_status empty_distances(void *self, const hcsmoe_host *h,
                                     const hcsmoe_similarity_args *a, double *d)
{
    (void)self;
    (void)h;
    line(a, d);
    return HCSMOE_OK;
}

static int32_t named_states(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                            hcsmoe_state *states, int32_t most)
{
    (void)self;
    (void)h;
    (void)dims;
    (void)most;
    states[0] = (hcsmoe_state){"My State", HCSMOE_DTYPE_F64, 0, {1, 1, 1, 1}, {0}};
    return 1;
}

#define BAD(name_, size_, states_, needs_)                                                         \
    static const hcsmoe_similarity_ops name_##_ops = {.struct_size =                               \
                                                          sizeof(hcsmoe_similarity_ops),           \
                                                      .distances = name_##_distances,              \
                                                      .feature_size = size_};                      \
    static const hcsmoe_component name_ = {.struct_size = sizeof(hcsmoe_component),                \
                                           .kind = HCSMOE_KIND_SIMILARITY,                         \
                                           .name = #name_,                                         \
                                           .summary = "breaks a rule",                             \
                                           .ops = &name_##_ops,                                    \
                                           .needs = needs_,                                        \
                                           .states = states_}

static hcsmoe_status named_distances(void *self, const hcsmoe_host *h,
                                     const hcsmoe_similarity_args *a, double *d)
{
    return empty_distances(self, h, a, d);
}

BAD(unasked, NULL, NULL, HCSMOE_STAT_USAGE);
BAD(lopsided, NULL, NULL, 0);
BAD(squared, NULL, NULL, 0);
BAD(diagonal, NULL, NULL, 0);
BAD(empty, empty_feature_size, NULL, 0);
BAD(named, NULL, named_states, HCSMOE_STAT_TILES);

HCSMOE_PLUGIN("hcsmoe.test.verify.similarities", "1.0.0", "MIT", &unasked, &lopsided, &squared,
              &diagonal, &empty, &named)
