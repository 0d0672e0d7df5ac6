/*
 * cluster.h - clusterings: which experts of a layer form a group, and how many groups a layer gets.
 * SPDX-License-Identifier: MIT
 */
#ifndef HCSMOE_CLUSTER_H
#define HCSMOE_CLUSTER_H

#include <hcsmoe/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One step of an agglomeration. Frozen: 24 bytes. */
typedef struct hcsmoe_join {
    int32_t a, b;  /* a < b: lowest members of the two clusters joined */
    double height; /* value of the linkage, SciPy's scale */
    double gap;    /* (runner-up - chosen) / chosen; infinity when there was no other pair */
} hcsmoe_join;

typedef struct hcsmoe_cluster_args {
    uint32_t struct_size;
    int32_t n_bases; /* similarity bases, a+b+c in order */
    const hcsmoe_layer_dims *dims;
    const hcsmoe_stats *stats;
    int64_t n_groups;        /* wanted, 1..E */
    int64_t ffn;             /* width of the merged experts */
    const double *distances; /* [E, E]; of several bases: the sum of each divided by its mean over
                                the pairs; NULL unless HCSMOE_CAP_DISTANCES_IN */
    const double *similarities;          /* [E, E]; NULL unless HCSMOE_CAP_SIMILARITIES_IN */
    const double *const *base_distances; /* [n_bases] of [E, E] */
    const int64_t *base_sizes;           /* [n_bases] columns of each base's features */
    const hcsmoe_tensor *states;         /* this component's own; NULL without */
    int32_t n_states, reserved1;
    /* results, all owned by the host */
    int32_t *labels;    /* [E] 0..groups-1; the host renumbers by first occurrence. -1: in no group,
                           with HCSMOE_CAP_LEAVES_OUT */
    int32_t *cores;     /* [E] core of label g in cores[g]; -1: none */
    int64_t *groups;    /* how many labels there are */
    hcsmoe_join *joins; /* [E - 1] in order, also beyond the cut */
    int64_t *n_joins;   /* 0: no tree */
} hcsmoe_cluster_args;

/* One layer of a decision over all layers. */
typedef struct hcsmoe_budget_layer {
    uint32_t struct_size, reserved0;
    const hcsmoe_layer_dims *dims;
    const hcsmoe_stats *stats;
    const hcsmoe_tensor *states;
    int64_t n_groups; /* in: the target; out: what this layer gets, 1..E, of what `cluster` is then
                         asked for */
} hcsmoe_budget_layer;

typedef struct hcsmoe_budget_args {
    uint32_t struct_size, reserved0;
    int64_t n_layers;
    hcsmoe_budget_layer *const *layers; /* [n_layers], ascending */
    /* [E + 1] width of the merged experts for every number of groups from the target to E, when the
     * merge method leaves it to the clustering (HCSMOE_CAP_CHOOSES_GROUPS) how many there are: all
     * layers get the same number then. NULL: the number is given. */
    const int64_t *widths;
    int64_t ffn; /* width of the merged experts when the number is given */
} hcsmoe_budget_args;

typedef struct hcsmoe_cluster_ops {
    uint32_t struct_size, reserved0;
    hcsmoe_status (*cluster)(void *self, const hcsmoe_host *h, const hcsmoe_cluster_args *a);
    /* Groups per layer, from what was observed in all of them. Its presence, if wants_budget says
     * so (NULL: always), makes the run observe every layer first and merge in a second loop. */
    hcsmoe_status (*budget)(void *self, const hcsmoe_host *h, hcsmoe_budget_args *a);
    int32_t (*wants_budget)(void *self, const hcsmoe_host *h);
    /* Every tile of calibration tokens, in order; writes only its states. */
    hcsmoe_status (*accumulate)(void *self, const hcsmoe_host *h, const hcsmoe_cluster_args *a,
                                const hcsmoe_tile *tile);
} hcsmoe_cluster_ops;

#ifdef __cplusplus
}
#endif
#endif
