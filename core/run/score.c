/*
 * score.c - log-likelihoods of many sequences in one pass over the layers.
 * SPDX-License-Identifier: MIT
 */
#include "run/score.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "model/forward.h"

/* One wave: requests whose hidden states fit the memory together. */
struct score_wave {
    struct score_request **sorted; /* [n] borrowed from the caller's list */
    size_t n;
    struct batch batch;
    int64_t *row; /* [n_targets] */
    int32_t *target;
    float *logprob;
    uint8_t *greedy;
    int64_t n_targets, capacity;
};

struct score_rows {
    struct score_request **sorted;
    struct score_wave wave;
};

static int by_tokens(const void *a, const void *b)
{
    const struct score_request *p = *(struct score_request *const *)a,
                               *q = *(struct score_request *const *)b;
    const int64_t n = p->n < q->n ? p->n - 1 : q->n - 1;

    for (int64_t i = 0; i < n; i++)
        if (p->tokens[i] != q->tokens[i])
            return p->tokens[i] < q->tokens[i] ? -1 : 1;
    if (p->n != q->n)
        return p->n < q->n ? -1 : 1;
    return p < q ? -1 : p > q;
}

static int64_t prefix_shared(const struct score_request *p, const struct score_request *q)
{
    const int64_t n = p->n < q->n ? p->n - 1 : q->n - 1;
    int64_t i = 0;
    while (i < n && p->tokens[i] == q->tokens[i])
        i++;
    return i;
}

static void wave_release(struct score_wave *w)
{
    batch_release(&w->batch);
    mem_free(w->row);
    mem_free(w->target);
    mem_free(w->logprob);
    mem_free(w->greedy);
    *w = (struct score_wave){0};
}

static int targets_reserve(struct score_wave *w, int64_t more)
{
    if (w->n_targets + more <= w->capacity)
        return 0;
    const int64_t want = (w->n_targets + more) * 2;
    int64_t *row = mem_new_raw((size_t)want, sizeof *row);
    int32_t *target = mem_new_raw((size_t)want, sizeof *target);
    if (!row || !target) {
        mem_free(row);
        mem_free(target);
        return HCSMOE_ENOMEM;
    }
    if (w->n_targets) {
        memcpy(row, w->row, (size_t)w->n_targets * sizeof *row);
        memcpy(target, w->target, (size_t)w->n_targets * sizeof *target);
    }
    mem_free(w->row);
    mem_free(w->target);
    w->row = row;
    w->target = target;
    w->capacity = want;
    return 0;
}

static int wave_add(struct score_wave *w, const struct score_request *q,
                    const struct score_request *before)
{
    int64_t *rows = mem_new_raw((size_t)q->n, sizeof *rows);
    int status = rows ? targets_reserve(w, q->n - q->from) : HCSMOE_ENOMEM;

    if (!status)
        status =
            batch_add(&w->batch, q->tokens, q->n - 1, before ? prefix_shared(before, q) : 0, rows);
    for (int64_t i = q->from; !status && i < q->n; i++) {
        w->row[w->n_targets] = rows[i - 1];
        w->target[w->n_targets++] = q->tokens[i];
    }
    mem_free(rows);
    return status;
}

/* Answers the requests from what the last layer left. */
static int wave_answer(struct score_wave *w, struct forward *f)
{
    int64_t at = 0;
    int status = forward_logprobs(f, w->n_targets, w->row, w->target, w->logprob, w->greedy);

    for (size_t i = 0; !status && i < w->n; i++) {
        struct score_request *q = w->sorted[i];
        double sum = 0;
        q->greedy = true;
        for (int64_t j = 0; j < q->n - q->from; j++, at++) {
            q->logprobs[j] = w->logprob[at];
            sum += (double)w->logprob[at];
            q->greedy = q->greedy && w->greedy[at];
        }
        q->sum = (double)(float)sum; /* a float32 sum, as the harness has it, without its order */
        if (sum != sum)
            return fail(HCSMOE_EFAILED, "the model gives NaN for a sequence of %lld tokens",
                        (long long)q->n);
    }
    return status;
}

static int wave_run(struct model *m, struct score_wave *w, const char *what)
{
    struct forward f = {0};
    struct layer_reader *reader = NULL;
    double total = 0;
    int status = 0;

    for (int l = 0; l < m->desc.n_layers; l++)
        total += forward_flops(m, &w->batch, l);
    progress_start(what, total);
    status = forward_open(&f, m, &w->batch, false);
    if (!status)
        status = layers_start(&reader, m);
    for (int l = 0; !status && l < m->desc.n_layers; l++) {
        struct layer *layer;
        char stage[64];
        snprintf(stage, sizeof stage, "layer %d/%d", l + 1, m->desc.n_layers);
        progress_stage(stage);
        status = layers_next(reader, &layer);
        if (!status)
            status = forward_layer(&f, layer, NULL);
    }
    layers_stop(reader);
    if (!status)
        status = wave_answer(w, &f);
    forward_release(&f);
    progress_end();
    return status;
}

/* Rows that may be held at once. */
static int64_t rows_most(const struct model *m, int64_t memory)
{
    const int64_t chunk = batch_chunk_tokens(m->desc.width);
    const int64_t fixed = 2 * (int64_t)m->layer_bytes_max + workspace_bytes(m, chunk, false);
    int64_t have = memory ? memory : memory_physical() / 2;
    int64_t rows = (have - fixed) / (m->desc.width * (int64_t)sizeof(float) + 64);
    return rows > chunk ? rows : chunk;
}

/* The requests in an order in which shared prefixes follow each other; mem_free it. */
static int requests_sort(struct score_request *requests, size_t n, struct score_request ***out)
{
    struct score_request **sorted = mem_new_raw(n + 1, sizeof(struct score_request *));

    *out = sorted;
    if (!sorted)
        return HCSMOE_ENOMEM;
    for (size_t i = 0; i < n; i++) {
        if (requests[i].n < 2 || requests[i].from < 1 || requests[i].from >= requests[i].n)
            return fail(HCSMOE_EINVAL, "nothing to score: %lld tokens, from %lld",
                        (long long)requests[i].n, (long long)requests[i].from);
        sorted[i] = &requests[i];
    }
    if (n)
        qsort(sorted, n, sizeof(struct score_request *), by_tokens);
    return 0;
}

/* Takes requests from sorted[n] until there are `most` rows; at least one. */
static int wave_open(struct score_wave *w, const struct model *m, struct score_request **sorted,
                     size_t n, int64_t most)
{
    int status = 0;

    *w = (struct score_wave){.sorted = sorted};
    batch_init(&w->batch, m->desc.width);
    while (!status && w->n < n && (!w->n || w->batch.n_tokens + sorted[w->n]->n <= most)) {
        status = wave_add(w, sorted[w->n], w->n ? sorted[w->n - 1] : NULL);
        w->n++;
    }
    w->logprob = mem_new((size_t)w->n_targets, sizeof *w->logprob);
    w->greedy = mem_new((size_t)w->n_targets, sizeof *w->greedy);
    return status ? status : w->logprob && w->greedy ? 0 : HCSMOE_ENOMEM;
}

int score_run(struct model *m, struct score_request *requests, size_t n, int64_t memory)
{
    struct score_request **sorted;
    const int64_t most = rows_most(m, memory);
    int status = requests_sort(requests, n, &sorted);

    for (size_t i = 0; !status && i < n;) {
        struct score_wave w;
        status = wave_open(&w, m, sorted + i, n - i, most);
        log_line(LOG_VERBOSE, "scoring %zu of %zu sequences: %lld rows in %zu chunks", w.n, n,
                 (long long)w.batch.n_tokens, w.batch.n_chunks);
        if (!status)
            status = wave_run(m, &w, "evaluate");
        i += w.n;
        wave_release(&w);
    }
    mem_free(sorted);
    return status;
}

int score_rows_open(struct score_rows **out, const struct model *m, struct score_request *requests,
                    size_t n)
{
    struct score_rows *r = *out = mem_new(1, sizeof *r);
    int status = r ? requests_sort(requests, n, &r->sorted) : HCSMOE_ENOMEM;
    if (!status)
        status = wave_open(&r->wave, m, r->sorted, n, INT64_MAX);
    return status;
}

const struct batch *score_rows_batch(const struct score_rows *r)
{
    return &r->wave.batch;
}

int score_rows_answer(struct score_rows *r, struct forward *f)
{
    return wave_answer(&r->wave, f);
}

void score_rows_close(struct score_rows *r)
{
    if (!r)
        return;
    wave_release(&r->wave);
    mem_free(r->sorted);
    mem_free(r);
}
