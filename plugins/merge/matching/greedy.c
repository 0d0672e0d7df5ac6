/*
 * greedy.c - merges features pair by pair, the two that correlate most first.
 *
 * When j goes into i < j, i's correlation with every other k becomes ALPHA min(C_ik, C_jk). Of equal
 * values the pair with the smallest i, then the smallest j is taken. Every row j remembers the
 * largest value left of its diagonal and the smallest i that has it, so that a step reads two rows
 * and what few others have lost theirs: some M^2 in all instead of M^3.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>

#include "matching.h"

/* What a merged feature keeps of its correlations, as the reference program of HC-SMoE has it. */
#define ALPHA 0.1

enum {
    PARALLEL_LEAST = 16, /* blocks: fewer are sooner done than threads are woken */
    AHEAD = 8            /* features */
};

struct greedy {
    struct matrix *c;
    unsigned char *present;
    double *best;     /* [n] of the row, left of the diagonal; -INFINITY: nothing there */
    int64_t *partner; /* [n] the smallest column that has it */
};

/* Element (i, first feature of block b), and the distance from it to the block's next. */
static int64_t segment(const struct matrix *c, int64_t i, int64_t b, int64_t *step)
{
    const int64_t own = i / c->block, row = i % c->block;

    *step = b <= own ? 1 : c->block;
    return b <= own ? matrix_block(c, own, b) + row * c->block : matrix_block(c, b, own) + row;
}

static void rescan(struct greedy *g, int64_t i)
{
    const int64_t size = g->c->block;
    double best = -INFINITY;
    int64_t partner = -1, b, x, step;

    for (b = 0; b * size < i; b++) {
        const int64_t at = segment(g->c, i, b, &step);
        const int64_t n = i - b * size < size ? i - b * size : size;
        for (x = 0; x < n; x++) {
            const double value = matrix_get(g->c, at + x);
            if (value > best && g->present[b * size + x]) {
                best = value;
                partner = b * size + x;
            }
        }
    }
    g->best[i] = best;
    g->partner[i] = partner;
}

/* Columns lie far apart in memory: without this, waiting for it takes most of the time. */
static void prefetch(const struct matrix *c, int64_t at)
{
    __builtin_prefetch((const char *)c->data + (size_t)at * (c->wide ? 8 : 4));
}

/* Row k > i after its value for i has changed and j has gone. */
static void offer(struct greedy *g, int64_t k, int64_t i, int64_t j, double value)
{
    const int64_t partner = g->partner[k];

    if (partner == j || (partner == i && value < g->best[k])) {
        rescan(g, k);
    } else if (value > g->best[k] || (value == g->best[k] && i < partner)) {
        g->best[k] = value;
        g->partner[k] = i;
    }
}

/* j goes into i. */
struct step {
    struct greedy *g;
    int64_t i, j;
};

/* i's correlations with the features of some blocks: these share nothing. */
static hcsmoe_status merge_blocks(void *arg, int64_t begin, int64_t end)
{
    const struct step *s = arg;
    struct greedy *g = s->g;
    const struct matrix *c = g->c;
    const int64_t size = c->block, own = s->i / size;
    int64_t b, x, step_i, step_j;

    for (b = begin; b < end; b++) {
        const int64_t row_i = segment(c, s->i, b, &step_i), row_j = segment(c, s->j, b, &step_j);
        const int64_t mirror = b == own ? matrix_block(c, b, b) + s->i % size : -1;
        for (x = 0; x < size; x++) {
            const int64_t k = b * size + x, at = row_i + x * step_i;
            double value, other;
            prefetch(c, at + AHEAD * step_i);
            prefetch(c, row_j + (x + AHEAD) * step_j);
            if (!g->present[k] || k == s->i)
                continue;
            value = matrix_get(c, at);
            other = matrix_get(c, row_j + x * step_j);
            matrix_set(c, at, ALPHA * (other < value ? other : value));
            value = matrix_get(c, at); /* as it is rounded */
            if (mirror >= 0)
                matrix_set(c, mirror + x * size, value);
            if (k > s->i)
                offer(g, k, s->i, s->j, value);
        }
    }
    return HCSMOE_OK;
}

static hcsmoe_status merge(struct greedy *g, const hcsmoe_host *h, int64_t i, int64_t j)
{
    struct step s = {.g = g, .i = i, .j = j};
    const int64_t n = g->c->n_blocks;
    hcsmoe_status status;

    g->present[j] = 0;
    g->best[j] = -INFINITY;
    status = n < PARALLEL_LEAST ? merge_blocks(&s, 0, n) : h->parallel_for(h, n, merge_blocks, &s);
    rescan(g, i);
    return status;
}

/* The row that holds the largest value of all; its partner is the lower feature of the pair. */
static int64_t choose(const struct greedy *g)
{
    const int64_t n = g->c->block * g->c->n_blocks;
    int64_t chosen = 0, k;

    for (k = 1; k < n; k++)
        if (g->best[k] > g->best[chosen] ||
            (g->best[k] == g->best[chosen] && g->partner[k] < g->partner[chosen]))
            chosen = k;
    return chosen;
}

hcsmoe_status greedy_merge(const hcsmoe_host *h, struct matrix *c, int64_t n_merges,
                           unsigned char *present, int64_t *into)
{
    const int64_t n = c->block * c->n_blocks;
    struct greedy g = {.c = c, .present = present};
    hcsmoe_status status = HCSMOE_OK;
    int64_t i, j, step;

    g.best = h->scratch(h, (size_t)n * sizeof *g.best);
    g.partner = h->scratch(h, (size_t)n * sizeof *g.partner);
    if (!g.best || !g.partner)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    for (i = 0; i < n; i++) {
        into[i] = i;
        g.best[i] = -INFINITY;
        g.partner[i] = -1;
        if (present[i])
            rescan(&g, i);
    }
    for (step = 0; step < n_merges && status == HCSMOE_OK; step++) {
        if (h->cancelled(h))
            return HCSMOE_ECANCELLED;
        j = choose(&g);
        i = g.partner[j];
        into[j] = i;
        status = merge(&g, h, i, j);
    }
    return status;
}
