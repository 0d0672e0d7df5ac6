/*
 * tokens.h - the calibration tokens of one group, as a merge method asks for them
 * (hcsmoe_merge_args.tokens).
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_TOKENS_H
#define CORE_RUN_TOKENS_H

#include <hcsmoe/merge.h>

#include "run/observe.h"

/* Everything it is made from is the caller's and stays as it is meanwhile. */
struct group_tokens {
    const struct config *config;
    const struct layer *layer;
    const struct observation *o;
    const int32_t *members;         /* [n_members] */
    const hcsmoe_tensor *gate, *up; /* [n_members] */
    int64_t n_members;
    int64_t *list; /* [n] tokens routed to a member, ascending */
    int64_t n;
    int64_t *routed; /* [n_members] */
    /* of one tile; made when first asked for */
    float *x, *weights, *probabilities, *logits, *all, *space, **hidden, *route_weights;
    int32_t *route_ids;
};

int group_tokens_open(struct group_tokens *t) MUST_CHECK; /* the upper half is filled in */
void group_tokens_release(struct group_tokens *t);

/* hcsmoe_merge_args.tokens, whose ctx is a struct group_tokens. */
hcsmoe_status group_tokens_show(const hcsmoe_merge_args *a, uint32_t want,
                                hcsmoe_status (*see)(void *arg, const hcsmoe_group_tile *tile),
                                void *arg);

/* Bytes of the buffers for a group of so many members: for the plan. */
int64_t group_tokens_bytes(const hcsmoe_layer_dims *dims, int64_t n_members, bool hidden);

#endif
