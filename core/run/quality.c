/*
 * quality.c - output error and routing overlap of merged layers.
 * SPDX-License-Identifier: MIT
 */
#include "run/quality.h"

#include <string.h>

#include "base/mem.h"

int quality_open(struct quality *q, const struct observation *o, struct workspace *w)
{
    const int64_t width = o->m->desc.width;

    *q = (struct quality){.o = o, .workspace = w, .width = width};
    if (!o->quality_x || !w->rows)
        return 0;
    q->before = mem_new_raw((size_t)(o->quality_tokens * width), sizeof(float));
    q->after = mem_new_raw((size_t)(o->quality_tokens * width), sizeof(float));
    if (!q->before || !q->after) {
        quality_release(q);
        return HCSMOE_ENOMEM;
    }
    q->n = o->quality_tokens;
    return 0;
}

void quality_release(struct quality *q)
{
    mem_free(q->before);
    mem_free(q->after);
    mem_free(q->exact);
    mem_free(q->choice);
    *q = (struct quality){0};
}

/* MoE(x) in pieces that the workspace holds; ids [n, K]: the experts run, -1: none; NULL. */
static int outputs(struct quality *q, const struct layer *l, float *out, int32_t *ids)
{
    const int64_t most = q->workspace->rows, k = l->top_k;
    int status = 0;

    for (int64_t i = 0; !status && i < q->n; i += most) {
        const int64_t n = q->n - i < most ? q->n - i : most;
        const int32_t *chosen = q->workspace->ids;
        status = decoder_moe(q->o->m, l, q->workspace, n, q->o->quality_x + i * q->width,
                             out + i * q->width);
        for (int64_t j = 0; !status && ids && j < n * k; j++)
            ids[i * k + j] = chosen[j] < 0 || !l->map ? chosen[j] : (int32_t)l->map[chosen[j]];
    }
    return status;
}

int quality_before(struct quality *q, const struct layer *l)
{
    return outputs(q, l, q->before, NULL);
}

static double error_of(const float *before, const float *after, int64_t n, int64_t width)
{
    double sum = 0;
    int64_t counted = 0;
    for (int64_t t = 0; t < n; t++) {
        double off = 0, norm = 0;
        for (int64_t i = t * width; i < (t + 1) * width; i++) {
            const double d = (double)after[i] - (double)before[i];
            off += d * d;
            norm += (double)before[i] * (double)before[i];
        }
        if (norm > 0) {
            sum += off / norm;
            counted++;
        }
    }
    return counted ? sum / (double)counted : 0;
}

int quality_error(struct quality *q, const struct layer *l, double *error)
{
    int status = outputs(q, l, q->after, NULL);
    *error = status ? -1 : error_of(q->before, q->after, q->n, q->width);
    return status;
}

static bool among(const int32_t *list, int64_t n, int32_t id)
{
    for (int64_t i = 0; i < n; i++)
        if (list[i] == id)
            return true;
    return false;
}

int quality_overlap(struct quality *q, const struct layer *exact, const struct layer *other,
                    double *overlap)
{
    const int64_t k = exact->top_k, k2 = other->top_k;
    double sum = 0;
    int status = 0;

    mem_free(q->exact);
    mem_free(q->choice);
    q->exact = mem_new((size_t)(q->n * k), sizeof *q->exact);
    q->choice = mem_new((size_t)(q->n * k2), sizeof *q->choice);
    if (!q->exact || !q->choice)
        return HCSMOE_ENOMEM;
    status = outputs(q, exact, q->after, q->exact);
    if (!status)
        status = outputs(q, other, q->after, q->choice);
    for (int64_t t = 0; t < q->n; t++) {
        const int32_t *a = q->exact + t * k, *b = q->choice + t * k2;
        int64_t all = 0, same = 0;
        for (int64_t i = 0; i < k; i++) {
            if (a[i] < 0 || among(a, i, a[i]))
                continue;
            all++;
            same += among(b, k2, a[i]);
        }
        sum += all ? (double)same / (double)all : 1;
    }
    *overlap = q->n ? sum / (double)q->n : 1;
    return status;
}
