/*
 * pool.c - the rows on which a group's activations are compared. SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "matching.h"

/* A pass over the group's tokens that puts rows together. */
struct pass {
    const struct pool *p;
    int64_t stride;
    int64_t row;  /* rows of the group that were met */
    int64_t kept; /* of what is to be seen: those met, before stride is applied */
    int64_t n;    /* in the pool's x and times */
    hcsmoe_status (*see)(void *arg, const struct pool_rows *rows);
    void *arg;
};

static hcsmoe_status count_rows(void *arg, const hcsmoe_group_tile *tile)
{
    struct pool *p = arg;
    const int64_t n = tile->n_tokens * p->m->a->n_members;
    int64_t i;

    p->n_tokens += tile->n_tokens;
    for (i = 0; i < n; i++)
        p->n_rows += tile->weights[i] != 0;
    return HCSMOE_OK;
}

/* Uniform in 0..n-1: draws above the last multiple of n would favour low numbers. */
static int64_t draw_index(const hcsmoe_host *h, int64_t n)
{
    const uint64_t most = UINT64_MAX - UINT64_MAX % (uint64_t)n;
    uint64_t x;

    do
        x = h->random(h);
    while (x >= most);
    return (int64_t)(x % (uint64_t)n);
}

/* Selection sampling: each row is taken with the probability that leaves exactly limit of them. */
static hcsmoe_status draw_rows(struct pool *p, int64_t limit)
{
    const hcsmoe_host *h = p->m->h;
    int64_t left = limit, i;

    p->taken = h->scratch(h, (size_t)p->n_rows);
    if (!p->taken)
        return HCSMOE_ENOMEM;
    for (i = 0; i < p->n_rows; i++) {
        p->taken[i] = draw_index(h, p->n_rows - i) < left;
        left -= p->taken[i];
    }
    p->n_rows = limit;
    return HCSMOE_OK;
}

hcsmoe_status pool_open(struct pool *p, const struct matching *m)
{
    const int64_t limit = m->o->data_limit;
    hcsmoe_status status;

    *p = (struct pool){.m = m};
    p->x = m->h->scratch(m->h, (size_t)(MATCHING_ROWS * m->a->dims->width) * sizeof *p->x);
    p->times = m->h->scratch(m->h, MATCHING_ROWS * sizeof *p->times);
    if (!p->x || !p->times)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    status = m->a->tokens(m->a, 0, count_rows, p);
    if (status == HCSMOE_OK && limit > 0 && p->n_rows > limit)
        status = draw_rows(p, limit);
    return status;
}

static hcsmoe_status pass_flush(struct pass *s)
{
    const struct pool_rows rows = {.n = s->n, .x = s->p->x, .times = s->p->times};

    if (s->n == 0)
        return HCSMOE_OK;
    s->n = 0;
    return s->see(s->arg, &rows);
}

static hcsmoe_status pass_add(struct pass *s, const float *x, float scale, double times)
{
    const int64_t width = s->p->m->a->dims->width;
    float *to = s->p->x + s->n * width;
    int64_t i;

    if (s->kept++ % s->stride != 0)
        return HCSMOE_OK;
    for (i = 0; i < width; i++)
        to[i] = scale * x[i];
    s->p->times[s->n++] = times;
    return s->n == MATCHING_ROWS ? pass_flush(s) : HCSMOE_OK;
}

static hcsmoe_status add_tile(void *arg, const hcsmoe_group_tile *tile)
{
    struct pass *s = arg;
    const struct matching *m = s->p->m;
    const int64_t members = m->a->n_members, width = m->a->dims->width;
    const int scaled = (m->o->mode & MODE_SCALED) != 0;
    hcsmoe_status status = HCSMOE_OK;
    int64_t t, i;

    for (t = 0; t < tile->n_tokens && status == HCSMOE_OK; t++) {
        int64_t times = 0;
        for (i = t * members; i < (t + 1) * members && status == HCSMOE_OK; i++) {
            const int routed = tile->weights[i] != 0;
            const int taken = routed && (!s->p->taken || s->p->taken[s->row]);
            s->row += routed;
            if (taken && scaled)
                status = pass_add(s, tile->x + t * width, tile->probabilities[i], 1);
            times += taken;
        }
        if (times > 0 && !scaled)
            status = pass_add(s, tile->x + t * width, 1, (double)times);
    }
    return status;
}

hcsmoe_status pool_each(const struct pool *p, int64_t stride,
                        hcsmoe_status (*see)(void *arg, const struct pool_rows *rows), void *arg)
{
    const struct matching *m = p->m;
    const uint32_t want = m->o->mode & MODE_SCALED ? HCSMOE_TILE_PROBABILITIES : 0;
    struct pass s = {.p = p, .stride = stride, .see = see, .arg = arg};
    hcsmoe_status status = m->a->tokens(m->a, want, add_tile, &s);

    return status == HCSMOE_OK ? pass_flush(&s) : status;
}
