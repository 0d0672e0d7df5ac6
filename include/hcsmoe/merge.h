/*
 * merge.h - merge methods: the experts of one group to one expert.
 *
 * A method of one file: read the members by role, write gate, up and down of the result.
 * SPDX-License-Identifier: MIT
 */
#ifndef HCSMOE_MERGE_H
#define HCSMOE_MERGE_H

#include <hcsmoe/kernels.h>
#include <hcsmoe/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the result of a layer looks like. Before grouping n_groups is the target; asked again with
 * the real number. */
typedef struct hcsmoe_merge_shape {
    uint32_t struct_size, reserved0;
    int64_t n_experts; /* in: groups; out: experts written (slim: E) */
    int64_t ffn;       /* in: F; out: width of every expert written */
    int32_t no_groups; /* out: 1 when the method takes every expert as a group of its own: nothing
                          is clustered */
    int32_t reserved1;
} hcsmoe_merge_shape;

/* Tokens of one group for `accumulate`: those routed to a member (or all, if the method asks), in
 * order, in tiles. */
typedef struct hcsmoe_group_tile {
    uint32_t struct_size, reserved0;
    int64_t n_tokens;
    const int64_t *tokens; /* [n] indices of calibration tokens, ascending */
    const float *x;        /* [n, D] MoE inputs */
    const float
        *weights; /* [n, members] weight of each member in the forward pass, 0: not routed to it */
    const float *probabilities; /* [n, members] softmax over all experts */
    const float *const
        *hidden; /* [members] of [n, F]: h of each member; NULL unless HCSMOE_STAT_HIDDEN */
} hcsmoe_group_tile;

typedef struct hcsmoe_merge_args {
    uint32_t struct_size;
    int32_t group; /* label */
    const hcsmoe_layer_dims *dims;
    const hcsmoe_stats *stats;
    int64_t n_members, n_groups;
    const int32_t *members; /* [n_members] ascending */
    int32_t core;           /* expert index, -1: the clustering gives none */
    int32_t n_states;
    const hcsmoe_tensor *states; /* this component's; zero when a group begins unless per_run */
    const hcsmoe_tensor *gate, *up, *down; /* [n_members] the members' matrices, as stored */
    const hcsmoe_tensor *out_gate, *out_up,
        *out_down; /* merged: same dtype as stored, shapes of `shape` */
} hcsmoe_merge_args;

typedef struct hcsmoe_merge_ops {
    uint32_t struct_size, reserved0;
    /* NULL: n_experts = groups, ffn unchanged. */
    hcsmoe_status (*shape)(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                           hcsmoe_merge_shape *shape);
    /* After the groups are known, before merge: the tiles of one group, in order. Needs
     * HCSMOE_STAT_LAYER_INPUT. */
    hcsmoe_status (*accumulate)(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a,
                                const hcsmoe_group_tile *tile);
    /* Writes out_gate, out_up, out_down. A group of one at unchanged width is kept bit for bit by
     * the host without asking, unless `singletons` says otherwise. */
    hcsmoe_status (*merge)(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a);
    /* map[E]: expert -> group, may be changed to -1 (pruned). NULL: the groups' labels. */
    hcsmoe_status (*map)(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                         const hcsmoe_stats *stats, int64_t *map);
    int32_t singletons; /* 1: merge is also called for groups of one */
    int32_t reserved1;
} hcsmoe_merge_ops;

#ifdef __cplusplus
}
#endif
#endif
