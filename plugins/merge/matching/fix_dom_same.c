/*
 * fix_dom_same.c - matches every other expert's features to those of the group's core.
 *
 * A feature of another expert goes to the core's feature that it correlates with most; of equal ones
 * to the lowest. What meets there is averaged. A core's feature may get none or many.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "matching.h"

void fix_matches(const struct correlation *c, int64_t ffn, int64_t *match)
{
    const int64_t size = c->c.block;
    int64_t f, i, b;

    for (f = 0; f < ffn; f++) {
        const int64_t block = c->side_blocks + f / size;
        double best = 0;
        match[f] = -1;
        for (b = 0; b < c->side_blocks; b++) {
            const int64_t at = matrix_block(&c->c, block, b) + f % size * size;
            const int64_t width = correlation_width(c, b);
            for (i = 0; i < width; i++) {
                const double value = matrix_get(&c->c, at + i);
                if (match[f] < 0 || value > best) {
                    best = value;
                    match[f] = b * size + i;
                }
            }
        }
    }
}

/* match[members, F] of all but the core, whose features match themselves. */
static hcsmoe_status match_all(const struct matching *m, const struct pool *pool, int32_t core,
                               int64_t *match)
{
    const int64_t ffn = m->a->dims->ffn;
    struct correlation c;
    hcsmoe_status status = correlation_open(&c, m, 2, 1);
    int32_t e;
    int64_t f;

    for (e = 0; e < m->a->n_members && status == HCSMOE_OK; e++) {
        if (e == core) {
            for (f = 0; f < ffn; f++)
                match[e * ffn + f] = f;
            continue;
        }
        c.side[0] = core;
        c.side[1] = e;
        status = correlation_fill(&c, pool);
        if (status == HCSMOE_OK)
            fix_matches(&c, ffn, match + e * ffn);
    }
    return status;
}

/* The core's feature comes first in its slot. What counts nothing is left out, but a slot in which
 * nothing counts keeps the core's feature. */
void fix_slots(const struct matching *m, const int64_t *match, int64_t core, const double *share,
               int64_t *next, double *sum, struct combination *c)
{
    const int64_t ffn = m->a->dims->ffn, n = m->a->n_members * ffn;
    int64_t s, i;

    c->n_slots = ffn;
    for (s = 0; s < ffn; s++)
        sum[s] = 0;
    for (i = 0; i < n; i++)
        sum[match[i]] += share[i / ffn];
    memset(c->first, 0, (size_t)(ffn + 1) * sizeof *c->first);
    for (i = 0; i < n; i++)
        c->first[match[i] + 1] += i / ffn == core || share[i / ffn] > 0;
    for (s = 0; s < ffn; s++) {
        c->first[s + 1] += c->first[s];
        c->feature[c->first[s]] = core * ffn + s;
        c->coefficient[c->first[s]] = sum[s] > 0 ? share[core] / sum[s] : 1;
        next[s] = c->first[s] + 1;
    }
    for (i = 0; i < n; i++)
        if (i / ffn != core && share[i / ffn] > 0) {
            c->feature[next[match[i]]] = i;
            c->coefficient[next[match[i]]++] = share[i / ffn] / sum[match[i]];
        }
}

static hcsmoe_status fix(const struct matching *m, const struct pool *pool, int32_t core)
{
    const hcsmoe_host *h = m->h;
    const int64_t ffn = m->a->dims->ffn, members = m->a->n_members;
    const size_t n = (size_t)(members * ffn);
    int64_t *match = h->scratch(h, n * sizeof *match);
    int64_t *next = h->scratch(h, (size_t)ffn * sizeof *next);
    double *share = h->scratch(h, (size_t)members * sizeof *share);
    double *sum = h->scratch(h, (size_t)ffn * sizeof *sum);
    struct combination c = {0};
    hcsmoe_status status;

    c.first = h->scratch(h, (size_t)(ffn + 1) * sizeof *c.first);
    c.feature = h->scratch(h, n * sizeof *c.feature);
    c.coefficient = h->scratch(h, n * sizeof *c.coefficient);
    if (!match || !next || !share || !sum || !c.first || !c.feature || !c.coefficient)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    status = match_all(m, pool, core, match);
    if (status != HCSMOE_OK)
        return status;
    combine_shares(m, share);
    fix_slots(m, match, core, share, next, sum, &c);
    return combine(m, &c);
}

static hcsmoe_status fix_dom_same_merge(void *self, const hcsmoe_host *h,
                                        const hcsmoe_merge_args *a)
{
    const struct matching m = {.h = h, .k = h->kernels(h), .a = a, .o = self};
    const int act = (m.o->ingredient & INGREDIENT_ACT) != 0;
    struct pool pool = {0};
    hcsmoe_status status = HCSMOE_OK;
    int32_t core;

    for (core = 0; core < a->n_members && a->members[core] != a->core; core++)
        continue;
    if (core == a->n_members)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "group %d: its core is expert %d, which is not in it",
                            a->group, a->core);
    if (act)
        status = pool_open(&pool, &m);
    if (status == HCSMOE_OK && act && pool.n_tokens < 2)
        return combine_plain(&m, pool.n_tokens);
    return status == HCSMOE_OK ? fix(&m, &pool, core) : status;
}

static hcsmoe_status fix_dom_same_cost(void *self, const hcsmoe_host *h,
                                       const hcsmoe_layer_dims *dims,
                                       const hcsmoe_merge_shape *shape, int64_t n_members,
                                       hcsmoe_merge_cost *cost)
{
    const matching_opts *o = self;
    const double features = (double)n_members * (double)dims->ffn;

    (void)shape;
    cost->bytes = correlation_bytes(h, o, dims, 2, 1) + (int64_t)features * 64;
    cost->flops = (double)(n_members - 1) *
                      correlation_flops(o, dims, 2, 1, matching_rows(o, dims, n_members)) +
                  6 * features * (double)dims->width;
    return HCSMOE_OK;
}

static const hcsmoe_merge_ops ops = {
    .struct_size = sizeof ops, .merge = fix_dom_same_merge, .cost = fix_dom_same_cost};

const hcsmoe_component matching_fix_dom_same = {
    .struct_size = sizeof matching_fix_dom_same,
    .kind = HCSMOE_KIND_MERGE,
    .name = "fix-dom-same",
    .summary =
        "neurons of a group's experts are averaged with those of its core they resemble most",
    .ops = &ops,
    .needs = HCSMOE_STAT_WEIGHTS | HCSMOE_STAT_LAYER_INPUT,
    .caps = HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DETERMINISTIC | HCSMOE_CAP_CORES_IN,
    .options = matching_options,
    .n_options = MATCHING_OPTIONS,
    .option_size = sizeof(hcsmoe_option),
    .opts_size = sizeof(matching_opts),
    .needs_for = matching_needs,
    .create = matching_create,
    .has_effect = matching_has_effect,
};
