/*
 * token_logprobs.c - log-likelihood of one token per row, without ever holding all logits.
 *
 * A unit is a block of rows times a stretch of the vocabulary. It leaves per row the maximum, where it first
 * stands, and the sum of exponentials under it; stretches are joined in order. SPDX-License-Identifier: MIT
 */
#include "cpu.h"

#include <math.h>

enum { LOGPROB_ROWS = 512, LOGPROB_STRETCH = 4096, LOGPROB_CHUNK = 8192 };

struct part {
    double sum;
    float max;
    int32_t first; /* token of the maximum */
};

struct logprobs {
    const struct cpu *c;
    const hcsmoe_host *h;
    int64_t n, width, vocabulary;
    struct cpu_split rows, stretches;
    const float *x;
    const hcsmoe_tensor *head;
    const int32_t *target;
    struct part *parts; /* [n, stretches] */
    float *logit;       /* [n] of the target */
    float *logprob;
    uint8_t *greedy;
    struct cpu_work work;
};

/* Joins a panel's logits of one row, tokens first.. of them, to what is known of the row. They are spoilt. */
static void part_add(const struct cpu_simd *s, struct part *p, int64_t n, float *logits,
                     int64_t first)
{
    float max = s->max(n, logits);
    if (max > p->max) {
        int64_t i = 0;
        while (i < n - 1 && logits[i] != max)
            i++;
        p->sum *= exp((double)p->max - (double)max);
        p->max = max;
        p->first = (int32_t)(first + i);
    }
    p->sum += (double)s->exp_minus(n, logits, p->max);
}

static hcsmoe_status unit_run(const struct logprobs *l, int64_t block, int64_t stretch)
{
    int64_t row = cpu_split_begin(&l->rows, block);
    int64_t rows = cpu_split_begin(&l->rows, block + 1) - row;
    int64_t from = cpu_split_begin(&l->stretches, stretch);
    int64_t tokens = cpu_split_begin(&l->stretches, stretch + 1) - from;
    const struct cpu_product *product = l->c->product;
    struct cpu_split panels = cpu_panels(product, tokens, l->width);
    int64_t widest = cpu_split_widest(&panels);
    char *room = cpu_work_mine(&l->work);
    float *logits = cpu_work_take(&room, rows * widest, sizeof *logits);
    void *panel = cpu_work_take(&room, widest * l->width, product->element);
    const void *x = l->x + row * l->width;
    hcsmoe_status status = HCSMOE_OK;

    if (product->operand != NULL) {
        product->operand(l->c->simd, rows * l->width, x, room);
        x = room;
    }
    for (int64_t r = row; r < row + rows; r++)
        l->parts[r * l->stretches.parts + stretch] =
            (struct part){.sum = 0.0, .max = -INFINITY, .first = (int32_t)from};
    for (int64_t p = 0; p < panels.parts && status == HCSMOE_OK; p++) {
        int64_t first = from + cpu_split_begin(&panels, p);
        int64_t n = from + cpu_split_begin(&panels, p + 1) - first;
        status = product->multiply(l->c, rows, x, l->width, l->head, first, n, panel, 0, logits, n);
        for (int64_t r = 0; r < rows && status == HCSMOE_OK; r++) {
            int64_t target = l->target[row + r] - first;
            if (target >= 0 && target < n)
                l->logit[row + r] = logits[r * n + target];
            part_add(l->c->simd, &l->parts[(row + r) * l->stretches.parts + stretch], n,
                     logits + r * n, first);
        }
    }
    return status;
}

/* Units are numbered stretch by stretch, so that threads share its weights. */
static hcsmoe_status run_units(void *arg, int64_t begin, int64_t end)
{
    const struct logprobs *l = arg;
    for (int64_t i = begin; i < end; i++) {
        hcsmoe_status status = cpu_check_cancelled(l->h);
        if (status == HCSMOE_OK)
            status = unit_run(l, i % l->rows.parts, i / l->rows.parts);
        if (status != HCSMOE_OK)
            return status;
    }
    return HCSMOE_OK;
}

static hcsmoe_status join_rows(void *arg, int64_t begin, int64_t end)
{
    const struct logprobs *l = arg;
    for (int64_t r = begin; r < end; r++) {
        const struct part *part = l->parts + r * l->stretches.parts;
        struct part all = part[0];
        double sum = 0.0;
        for (int64_t i = 1; i < l->stretches.parts; i++)
            if (part[i].max > all.max)
                all = part[i];
        for (int64_t i = 0; i < l->stretches.parts; i++)
            sum += part[i].sum * exp((double)part[i].max - (double)all.max);
        l->logprob[r] = (float)((double)l->logit[r] - (double)all.max - log(sum));
        l->greedy[r] = l->target[r] == all.first;
    }
    return HCSMOE_OK;
}

static size_t unit_bytes(const struct cpu_product *p, int64_t width, int64_t vocabulary)
{
    struct cpu_split stretches = cpu_split_of(vocabulary, LOGPROB_STRETCH);
    struct cpu_split panels = cpu_panels(p, cpu_split_widest(&stretches), width);
    int64_t widest = cpu_split_widest(&panels);
    int64_t operands = p->operand != NULL ? LOGPROB_ROWS * width : 0;
    return cpu_work_size(LOGPROB_ROWS * widest, 4) + cpu_work_size(widest * width, p->element) +
           cpu_work_size(operands, p->element);
}

int64_t cpu_token_logprobs_bytes(const struct cpu *c, int64_t width, int64_t vocabulary)
{
    const hcsmoe_host *h = c->table.host;
    struct cpu_split stretches = cpu_split_of(vocabulary, LOGPROB_STRETCH);
    return (int64_t)unit_bytes(c->product, width, vocabulary) * h->threads(h) +
           LOGPROB_CHUNK * (stretches.parts * (int64_t)sizeof(struct part) + 4);
}

static hcsmoe_status chunk_run(struct logprobs *l)
{
    hcsmoe_status status = HCSMOE_ENOMEM;
    l->rows = cpu_split_of(l->n, LOGPROB_ROWS);
    l->parts = cpu_new(l->h, l->n * l->stretches.parts, sizeof *l->parts);
    l->logit = cpu_new(l->h, l->n, sizeof *l->logit);
    if (l->parts != NULL && l->logit != NULL)
        status = cpu_work_new(&l->work, l->h, unit_bytes(l->c->product, l->width, l->vocabulary));
    if (status == HCSMOE_OK)
        status = l->h->parallel_for(l->h, l->rows.parts * l->stretches.parts, run_units, l);
    if (status == HCSMOE_OK)
        status = l->h->parallel_for(l->h, l->n, join_rows, l);
    cpu_work_free(&l->work);
    l->h->free(l->h, l->logit);
    l->h->free(l->h, l->parts);
    return status;
}

hcsmoe_status cpu_token_logprobs(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                                 const hcsmoe_tensor *head, const int32_t *target, float *logprob,
                                 uint8_t *greedy)
{
    const hcsmoe_host *h = k->host;
    int64_t vocabulary = head->shape[0];
    hcsmoe_status status = cpu_check_sizes(h, "token_logprobs", width, vocabulary, 0);
    if (status == HCSMOE_OK)
        status = cpu_check_matrix(h, "lm head", head, vocabulary, width);
    for (int64_t i = 0; i < n && status == HCSMOE_OK; i++)
        if (target[i] < 0 || target[i] >= vocabulary)
            return hcsmoe_failf(h, HCSMOE_EINVAL, "row %lld: token %d: must be 0..%lld",
                                (long long)i, (int)target[i], (long long)vocabulary - 1);
    for (int64_t i = 0; i < n && status == HCSMOE_OK; i += LOGPROB_CHUNK) {
        struct logprobs l = {.c = cpu_of(k),
                             .h = h,
                             .width = width,
                             .vocabulary = vocabulary,
                             .x = x + i * width,
                             .head = head,
                             .target = target + i,
                             .logprob = logprob + i,
                             .greedy = greedy + i};
        l.n = n - i < LOGPROB_CHUNK ? n - i : LOGPROB_CHUNK;
        l.stretches = cpu_split_of(vocabulary, LOGPROB_STRETCH);
        status = chunk_run(&l);
    }
    return status;
}
