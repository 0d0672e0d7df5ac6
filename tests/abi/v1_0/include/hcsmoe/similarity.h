/*
 * similarity.h - similarity bases: how alike the experts of one layer are.
 * SPDX-License-Identifier: MIT
 */
#ifndef HCSMOE_SIMILARITY_H
#define HCSMOE_SIMILARITY_H

#include <hcsmoe/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hcsmoe_similarity_args {
    uint32_t struct_size, reserved0;
    const hcsmoe_layer_dims *dims;
    const hcsmoe_stats *stats;
    const hcsmoe_tensor *states; /* this component's, in the order it declared them; NULL without */
    int32_t n_states, reserved1;
} hcsmoe_similarity_args;

/* At least one of distances and similarities. All [call]. Outputs belong to the host. */
typedef struct hcsmoe_similarity_ops {
    uint32_t struct_size, reserved0;
    /* d[E, E]: Euclidean distances between the experts' features: symmetric, zero diagonal, >= 0.
     */
    hcsmoe_status (*distances)(void *self, const hcsmoe_host *h, const hcsmoe_similarity_args *a,
                               double *d);
    /* s[E, E]: larger is more alike: symmetric; the diagonal is 1. */
    hcsmoe_status (*similarities)(void *self, const hcsmoe_host *h, const hcsmoe_similarity_args *a,
                                  double *s);
    /* Every tile of calibration tokens, in order, never two at once for one layer; writes only its
     * states. */
    hcsmoe_status (*accumulate)(void *self, const hcsmoe_host *h, const hcsmoe_similarity_args *a,
                                const hcsmoe_tile *tile);
    /* Number of columns of the features (k-means of combined bases divides by it); NULL: 1. */
    int64_t (*feature_size)(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims);
} hcsmoe_similarity_ops;

#ifdef __cplusplus
}
#endif
#endif
