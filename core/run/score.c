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
struct wave {
    struct batch batch;
    int64_t *row; /* [n_targets] */
    int32_t *target;
    float *logprob;
    uint8_t *greedy;
    int64_t n_targets, capacity;
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

static void wave_release(struct wave *w)
{
    batch_release(&w->batch);
    mem_free(w->row);
    mem_free(w->target);
    mem_free(w->logprob);
    mem_free(w->greedy);
    *w = (struct wave){0};
}

static int targets_reserve(struct wave *w, int64_t more)
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

static int wave_add(struct wave *w, const struct score_request *q,
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

static int wave_run(struct model *m, struct wave *w, const char *what)
{
    struct forward f = {0};
    struct layer_reader *reader = NULL;
    double total = 0;
    int status = 0;

    for (int l = 0; l < m->desc.n_layers; l++)
        total += forward_flops(m, &w->batch, l);
    w->logprob = mem_new((size_t)w->n_targets, sizeof *w->logprob);
    w->greedy = mem_new((size_t)w->n_targets, sizeof *w->greedy);
    if (!w->logprob || !w->greedy)
        return HCSMOE_ENOMEM;
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
        status = forward_logprobs(&f, w->n_targets, w->row, w->target, w->logprob, w->greedy);
    forward_release(&f);
    progress_end();
    return status;
}

static int wave_answer(const struct wave *w, struct score_request **sorted, size_t n)
{
    int64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        struct score_request *q = sorted[i];
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
    return 0;
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

int score_run(struct model *m, struct score_request *requests, size_t n, int64_t memory)
{
    struct score_request **sorted = mem_new_raw(n + 1, sizeof(struct score_request *));
    const int64_t most = rows_most(m, memory);
    int status = sorted ? 0 : HCSMOE_ENOMEM;

    for (size_t i = 0; !status && i < n; i++) {
        if (requests[i].n < 2 || requests[i].from < 1 || requests[i].from >= requests[i].n)
            status = fail(HCSMOE_EINVAL, "nothing to score: %lld tokens, from %lld",
                          (long long)requests[i].n, (long long)requests[i].from);
        sorted[i] = &requests[i];
    }
    if (!status && n)
        qsort(sorted, n, sizeof(struct score_request *), by_tokens);
    for (size_t i = 0; !status && i < n;) {
        struct wave w = {0};
        const size_t first = i;
        batch_init(&w.batch, m->desc.width);
        while (!status && i < n && (i == first || w.batch.n_tokens + sorted[i]->n <= most)) {
            status = wave_add(&w, sorted[i], i > first ? sorted[i - 1] : NULL);
            i++;
        }
        log_line(LOG_VERBOSE, "scoring %zu of %zu sequences: %lld rows in %zu chunks", i - first, n,
                 (long long)w.batch.n_tokens, w.batch.n_chunks);
        if (!status)
            status = wave_run(m, &w, "evaluate");
        if (!status)
            status = wave_answer(&w, sorted + first, i - first);
        wave_release(&w);
    }
    mem_free(sorted);
    return status;
}
