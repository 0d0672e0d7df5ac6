/*
 * merge.h - merge methods: the experts of one group to one expert.
 *
 * A method of one file: read the members by role, look at the group's tokens as often as needed,
 * write gate, up and down of the result.
 * SPDX-License-Identifier: MIT
 */
#ifndef HCSMOE_MERGE_H
#define HCSMOE_MERGE_H

#include <hcsmoe/kernels.h>
#include <hcsmoe/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the result of a layer looks like. Asked once for a layer before it is grouped, and for the
 * plan. */
typedef struct hcsmoe_merge_shape {
    uint32_t struct_size, reserved0;
    int64_t n_target; /* in: groups that the user, or a budget over all layers, wants */
    /* in: 0, or the number of groups that was chosen after an answer of 0; out: groups to be made
     * (as n_target, for most), 0: the clustering shall choose between n_target and E. With
     * HCSMOE_CAP_NO_GROUPS it is E. */
    int64_t n_experts;
    int64_t ffn; /* in: F; out: width of every expert written, at most F */
} hcsmoe_merge_shape;

/* What merging one group takes beside its arguments and the tiles. The host zeroes it. */
typedef struct hcsmoe_merge_cost {
    uint32_t struct_size;
    uint32_t tiles;   /* HCSMOE_TILE_* that it will ask for: the host counts those */
    int64_t bytes;    /* of working memory at once */
    double flops;     /* floating-point operations, 2 for a multiply-add */
    const char *less; /* static: the option that makes bytes smaller ("pool = 1"); NULL: none */
} hcsmoe_merge_cost;

/* What a tile of tokens holds beside x and weights. */
#define HCSMOE_TILE_PROBABILITIES ((uint32_t)1 << 0)
#define HCSMOE_TILE_HIDDEN ((uint32_t)1 << 1) /* costs gate and up of every member on every token */
enum { HCSMOE_TILE_TOKENS = 1024 };           /* no tile has more */

/* Tokens that the model routes to a member of the group, in order. */
typedef struct hcsmoe_group_tile {
    uint32_t struct_size, reserved0;
    int64_t n_tokens;
    const int64_t *tokens; /* [n] indices of calibration tokens, ascending */
    const float *x;        /* [n, D] MoE inputs */
    const float
        *weights; /* [n, members] weight of each member in the forward pass, 0: not routed to it */
    const float *probabilities; /* [n, members] softmax over all experts; NULL unless asked for */
    const float *const *hidden; /* [members] of [n, F]: h of each member; NULL unless asked for */
} hcsmoe_group_tile;

typedef struct hcsmoe_merge_args hcsmoe_merge_args;
struct hcsmoe_merge_args {
    uint32_t struct_size;
    int32_t group; /* label */
    const hcsmoe_layer_dims *dims;
    const hcsmoe_stats *stats;
    int64_t n_members, n_groups;
    const int32_t *members; /* [n_members] ascending */
    int32_t core;           /* expert index, -1: the clustering gives none */
    int32_t reserved0;
    const hcsmoe_tensor *gate, *up, *down; /* [n_members] the members' matrices, as stored */
    const hcsmoe_tensor *out_gate, *out_up,
        *out_down; /* merged: same dtype as stored, shapes of `shape` */
    /* Needs HCSMOE_STAT_LAYER_INPUT; else NULL. [n_members] tokens routed to each member by the
     * model's own top-k, and tokens routed to any of them. */
    const int64_t *routed;
    int64_t n_tokens;
    /* Needs HCSMOE_STAT_LAYER_INPUT; else NULL. Shows the group's tokens tile by tile, the same
     * tiles each time and for any number of threads; want: HCSMOE_TILE_*. Returns the first failure
     * of see. [call] */
    hcsmoe_status (*tokens)(const hcsmoe_merge_args *a, uint32_t want,
                            hcsmoe_status (*see)(void *arg, const hcsmoe_group_tile *tile),
                            void *arg);
    const void *ctx; /* the host's own */
    /* out: [n_members], zero: 1: the router never selects this member again (HCSMOE_CAP_PRUNES). */
    int32_t *pruned;
    /* out, for methods that can say: sum over the group's tokens of the squared error that the
     * method expects of the group's share of the layer's output, and of that share's square. */
    double *loss, *total;
};

typedef struct hcsmoe_merge_ops {
    uint32_t struct_size, reserved0;
    /* NULL: n_experts = n_target, ffn unchanged. */
    hcsmoe_status (*shape)(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                           hcsmoe_merge_shape *shape);
    /* For a group of so many members in a layer of this shape; NULL: next to nothing. */
    hcsmoe_status (*cost)(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                          const hcsmoe_merge_shape *shape, int64_t n_members,
                          hcsmoe_merge_cost *cost);
    /* Writes out_gate, out_up, out_down. A group of one at unchanged width is kept bit for bit by
     * the host without asking, unless `singletons` says otherwise. */
    hcsmoe_status (*merge)(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a);
    int32_t singletons; /* 1: merge is also called for groups of one */
    int32_t reserved1;
} hcsmoe_merge_ops;

#ifdef __cplusplus
}
#endif
#endif
