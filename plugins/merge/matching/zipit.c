/*
 * zipit.c - merges the features of all experts of a group until one expert's number is left.
 *
 * ZipIt: the two features that correlate most are one from then on, whichever experts they are of,
 * the same one included. What is merged is averaged, columns of down included.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "matching.h"

/* The features of every slot, in order; the slots in order of their first feature. */
static hcsmoe_status slots_of(const struct matching *m, const struct correlation *x, int64_t *place,
                              struct combination *c)
{
    const hcsmoe_host *h = m->h;
    const int64_t ffn = m->a->dims->ffn, members = m->a->n_members, n = members * ffn;
    const int64_t each = x->side_blocks * x->c.block;
    int64_t *next = h->scratch(h, (size_t)ffn * sizeof *next);
    int64_t i, f, slot;

    c->first = h->scratch(h, (size_t)(ffn + 1) * sizeof *c->first);
    c->feature = h->scratch(h, (size_t)n * sizeof *c->feature);
    c->coefficient = h->scratch(h, (size_t)n * sizeof *c->coefficient);
    if (!next || !c->first || !c->feature || !c->coefficient)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    memset(c->first, 0, (size_t)(ffn + 1) * sizeof *c->first);
    c->n_slots = 0;
    for (i = 0; i < n; i++) {
        f = i / ffn * each + i % ffn;
        /* A feature goes into a lower one, whose slot is known by then. */
        place[f] = place[f] == f ? c->n_slots++ : place[place[f]];
        c->first[place[f] + 1]++;
    }
    for (slot = 0; slot < c->n_slots; slot++) {
        c->first[slot + 1] += c->first[slot];
        next[slot] = c->first[slot];
    }
    for (i = 0; i < n; i++)
        c->feature[next[place[i / ffn * each + i % ffn]]++] = i;
    return HCSMOE_OK;
}

/* A slot none of whose experts had a token: the plain mean. */
static hcsmoe_status weigh(const struct matching *m, struct combination *c)
{
    const int64_t ffn = m->a->dims->ffn;
    double *share = m->h->scratch(m->h, (size_t)m->a->n_members * sizeof *share);
    int64_t slot, i;

    if (!share)
        return HCSMOE_ENOMEM;
    combine_shares(m, share);
    for (slot = 0; slot < c->n_slots; slot++) {
        double sum = 0;
        for (i = c->first[slot]; i < c->first[slot + 1]; i++)
            sum += share[c->feature[i] / ffn];
        for (i = c->first[slot]; i < c->first[slot + 1]; i++)
            c->coefficient[i] = sum > 0 ? share[c->feature[i] / ffn] / sum
                                        : 1.0 / (double)(c->first[slot + 1] - c->first[slot]);
    }
    return HCSMOE_OK;
}

hcsmoe_status zipit_slots(const struct matching *m, const struct correlation *x, int64_t *into,
                          struct combination *c)
{
    const hcsmoe_status status = slots_of(m, x, into, c);

    return status == HCSMOE_OK ? weigh(m, c) : status;
}

static hcsmoe_status reduce(const struct matching *m, struct correlation *x)
{
    const hcsmoe_host *h = m->h;
    const int64_t ffn = m->a->dims->ffn;
    unsigned char *present = h->scratch(h, (size_t)x->n_features);
    int64_t *into = h->scratch(h, (size_t)x->n_features * sizeof *into);
    struct combination c = {0};
    hcsmoe_status status = present && into ? HCSMOE_OK : HCSMOE_ENOMEM;
    int64_t i;

    if (status == HCSMOE_OK) {
        for (i = 0; i < x->n_features; i++)
            present[i] = i % (x->side_blocks * x->c.block) < ffn;
        status = greedy_merge(h, &x->c, (m->a->n_members - 1) * ffn, present, into);
    }
    if (status == HCSMOE_OK)
        status = zipit_slots(m, x, into, &c);
    return status == HCSMOE_OK ? combine(m, &c) : status;
}

static hcsmoe_status zipit_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    const struct matching m = {.h = h, .k = h->kernels(h), .a = a, .o = self};
    const int act = (m.o->ingredient & INGREDIENT_ACT) != 0;
    struct pool pool = {0};
    struct correlation c;
    hcsmoe_status status = HCSMOE_OK;
    int64_t i;

    if (act)
        status = pool_open(&pool, &m);
    if (status == HCSMOE_OK && act && pool.n_tokens < 2)
        return combine_plain(&m, pool.n_tokens);
    if (status == HCSMOE_OK)
        status = correlation_open(&c, &m, a->n_members, 0);
    if (status != HCSMOE_OK)
        return status;
    for (i = 0; i < a->n_members; i++)
        c.side[i] = (int32_t)i;
    status = correlation_fill(&c, &pool);
    return status == HCSMOE_OK ? reduce(&m, &c) : status;
}

static hcsmoe_status zipit_cost(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                                const hcsmoe_merge_shape *shape, int64_t n_members,
                                hcsmoe_merge_cost *cost)
{
    const matching_opts *o = self;
    const double features = (double)n_members * (double)dims->ffn;

    (void)shape;
    cost->bytes = correlation_bytes(h, o, dims, n_members, 0) + (int64_t)features * 64;
    cost->flops = correlation_flops(o, dims, n_members, 0, matching_rows(o, dims, n_members)) +
                  features * features + 6 * features * (double)dims->width;
    return HCSMOE_OK;
}

static const hcsmoe_merge_ops ops = {
    .struct_size = sizeof ops, .merge = zipit_merge, .cost = zipit_cost};

const hcsmoe_component matching_zipit = {
    .struct_size = sizeof matching_zipit,
    .kind = HCSMOE_KIND_MERGE,
    .name = "zipit",
    .summary = "ZipIt: the neurons of a group that correlate most are averaged, whoever has them",
    .ops = &ops,
    .needs = HCSMOE_STAT_WEIGHTS | HCSMOE_STAT_LAYER_INPUT,
    .caps = HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DETERMINISTIC,
    .options = matching_options,
    .n_options = MATCHING_OPTIONS,
    .option_size = sizeof(hcsmoe_option),
    .opts_size = sizeof(matching_opts),
    .needs_for = matching_needs,
    .create = matching_create,
    .has_effect = matching_has_effect,
};
