/*
 * plugin.c - the plugin of zipit and fix-dom-same, and the options that they share.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "matching.h"

static const hcsmoe_choice modes[] = {
    {"normal", 0, "tokens as they are, experts count alike"},
    {"activation-with-router-logits", MODE_SCALED,
     "tokens are multiplied by the router's probability of the expert they were routed to"},
    {"input-weight", MODE_SHARES, "experts count by the tokens that were routed to them"},
    {"all", MODE_SCALED | MODE_SHARES, "both"},
    {NULL, 0, NULL},
};

static const hcsmoe_choice ingredients[] = {
    {"act", INGREDIENT_ACT, "activations on the group's tokens"},
    {"weight", INGREDIENT_WEIGHT, "weights of gate, up and down; needs no tokens"},
    {"act+weight", INGREDIENT_ACT | INGREDIENT_WEIGHT, "the sum of both correlations"},
    {NULL, 0, NULL},
};

const hcsmoe_option matching_options[MATCHING_OPTIONS] = {
    HCSMOE_ENUM(matching_opts, mode, 0, modes, "how tokens and experts are weighed"),
    HCSMOE_ENUM(matching_opts, ingredient, INGREDIENT_ACT, ingredients,
                "what of the experts' neurons is compared"),
    HCSMOE_INT(matching_opts, data_limit, 50000, 0, 1e15,
               "most tokens of a group that are compared, drawn at random; 0: no limit"),
};

uint64_t matching_needs(const void *opts, uint64_t caps)
{
    const matching_opts *o = opts;
    const int tokens = (o->ingredient & INGREDIENT_ACT) != 0 || (o->mode & MODE_SHARES) != 0;

    (void)caps;
    return HCSMOE_STAT_WEIGHTS | (tokens ? HCSMOE_STAT_LAYER_INPUT : 0);
}

/* Without activations no token is looked at: they cannot be limited, and scaling them changes
 * nothing. */
int32_t matching_has_effect(const void *opts, uint64_t caps, const char *option)
{
    const matching_opts *o = opts;

    (void)caps;
    if (o->ingredient & INGREDIENT_ACT)
        return 1;
    return strcmp(option, "data_limit") != 0 &&
           !(strcmp(option, "mode") == 0 && o->mode == MODE_SCALED);
}

/* The state is the options themselves. */
hcsmoe_status matching_create(const hcsmoe_host *h, const void *opts, void **self)
{
    const matching_opts *o = opts;

    if (o->data_limit == 1)
        return hcsmoe_failf(h, HCSMOE_EINVAL,
                            "data_limit = 1: must be 0 (no limit) or at least 2, since one token "
                            "has no correlations");
    *self = (void *)o;
    return HCSMOE_OK;
}

double matching_rows(const matching_opts *o, const hcsmoe_layer_dims *dims, int64_t n_members)
{
    const double rows =
        (double)dims->n_tokens * (double)dims->top_k * (double)n_members / (double)dims->n_experts;

    return o->data_limit > 0 && rows > (double)o->data_limit ? (double)o->data_limit : rows;
}

HCSMOE_PLUGIN("hcsmoe.merge.matching", "1.0.0", "MIT", &matching_zipit, &matching_fix_dom_same)
