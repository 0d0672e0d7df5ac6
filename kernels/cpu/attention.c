/*
 * attention.c - causal softmax attention, block by block with a running maximum.
 *
 * A unit is a block of queries of one sequence with all query heads of one key-value head: their rows share
 * every block of keys and values, which is read in place or, where spans meet, gathered. Keys that no query of
 * the block sees are never touched. SPDX-License-Identifier: MIT
 */
#include "cpu.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

enum {
    ATTENTION_ROWS = 128, /* queries times heads of a unit */
    ATTENTION_KEYS = 256, /* of a block */
    ATTENTION_FEW = 4     /* rows below which BLAS packs more than it multiplies */
};

struct attention {
    const hcsmoe_attention_args *a;
    const struct cpu_simd *simd;
    const hcsmoe_host *h;
    int64_t group;       /* query heads of a key-value head */
    int64_t block;       /* queries of a unit */
    int64_t *first_unit; /* [n_sequences + 1] */
    struct cpu_work work;
};

/* One unit at work. Rows are (query, head of the group). */
struct unit {
    const struct attention *t;
    const hcsmoe_sequence *s;
    int64_t kv, query, queries, rows; /* query: of the sequence */
    int64_t first_key;                /* of the block */
    int64_t keys;
    const float *k, *v; /* the block's first rows, ldk and ldv apart */
    int64_t ldk, ldv;
    float *q; /* [rows, head_dim], scaled */
    float *p; /* [rows, ATTENTION_KEYS] scores, then weights */
    float *o; /* [rows, v_head_dim] */
    float *k_room, *v_room;
    float *max, *sum; /* [rows] so far */
};

static int64_t block_of(const hcsmoe_attention_args *a)
{
    int64_t group = a->n_kv_heads > 0 ? a->n_heads / a->n_kv_heads : 1;
    return group > 0 && group < ATTENTION_ROWS ? ATTENTION_ROWS / group : 1;
}

static size_t unit_bytes(const hcsmoe_attention_args *a)
{
    int64_t rows = block_of(a) * (a->n_kv_heads > 0 ? a->n_heads / a->n_kv_heads : 1);
    return cpu_work_size(rows * a->head_dim, 4) + cpu_work_size(rows * ATTENTION_KEYS, 4) +
           cpu_work_size(rows * a->v_head_dim, 4) + cpu_work_size(ATTENTION_KEYS * a->head_dim, 4) +
           cpu_work_size(ATTENTION_KEYS * a->v_head_dim, 4) + 2 * cpu_work_size(rows, 4);
}

int64_t cpu_attention_bytes(const hcsmoe_host *h, const hcsmoe_attention_args *a)
{
    return (int64_t)unit_bytes(a) * h->threads(h) + (a->n_sequences + 1) * 8;
}

static void unit_room(struct unit *u)
{
    const hcsmoe_attention_args *a = u->t->a;
    int64_t rows = u->t->block * u->t->group;
    char *block = cpu_work_mine(&u->t->work);
    u->q = cpu_work_take(&block, rows * a->head_dim, sizeof(float));
    u->p = cpu_work_take(&block, rows * ATTENTION_KEYS, sizeof(float));
    u->o = cpu_work_take(&block, rows * a->v_head_dim, sizeof(float));
    u->k_room = cpu_work_take(&block, ATTENTION_KEYS * a->head_dim, sizeof(float));
    u->v_room = cpu_work_take(&block, ATTENTION_KEYS * a->v_head_dim, sizeof(float));
    u->max = cpu_work_take(&block, rows, sizeof(float));
    u->sum = cpu_work_take(&block, rows, sizeof(float));
}

/* The row of a key of the sequence, and how many keys from it on lie in the rows that follow. */
static int64_t key_row(const struct unit *u, int64_t key, int64_t *run)
{
    const hcsmoe_span *span = u->t->a->spans + u->s->first_span;
    if (key >= u->s->prefix) {
        *run = u->s->count - (key - u->s->prefix);
        return u->s->begin + key - u->s->prefix;
    }
    for (; key >= span->count; span++)
        key -= span->count;
    *run = span->count - key;
    return span->begin + key;
}

static void load_keys(struct unit *u, int64_t first, int64_t keys)
{
    const hcsmoe_attention_args *a = u->t->a;
    int64_t ldk = a->n_kv_heads * a->head_dim;
    int64_t ldv = a->n_kv_heads * a->v_head_dim;
    const float *k = a->k + u->kv * a->head_dim;
    const float *v = a->v + u->kv * a->v_head_dim;
    int64_t run;
    int64_t row = key_row(u, first, &run);

    u->first_key = first;
    u->keys = keys;
    if (run >= keys) {
        u->k = k + row * ldk;
        u->v = v + row * ldv;
        u->ldk = ldk;
        u->ldv = ldv;
        return;
    }
    for (int64_t i = 0; i < keys; i++) {
        row = key_row(u, first + i, &run);
        memcpy(u->k_room + i * a->head_dim, k + row * ldk, (size_t)a->head_dim * sizeof *k);
        memcpy(u->v_room + i * a->v_head_dim, v + row * ldv, (size_t)a->v_head_dim * sizeof *v);
    }
    u->k = u->k_room;
    u->v = u->v_room;
    u->ldk = a->head_dim;
    u->ldv = a->v_head_dim;
}

/* p = q k^T */
static void score(const struct unit *u)
{
    int64_t hd = u->t->a->head_dim;
    if (u->rows <= ATTENTION_FEW)
        u->t->simd->few_rows(HCSMOE_DTYPE_F32, u->rows, u->keys, hd, u->q, hd, u->k, u->ldk, 0,
                             u->p, ATTENTION_KEYS);
    else
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)u->rows, (int)u->keys, (int)hd,
                    1.0f, u->q, (int)hd, u->k, (int)u->ldk, 0.0f, u->p, ATTENTION_KEYS);
}

/* Scores to exp(score - running maximum); what was summed under an older maximum is scaled down. */
static void soften(const struct unit *u, int64_t row)
{
    const hcsmoe_attention_args *a = u->t->a;
    const struct cpu_simd *simd = u->t->simd;
    int64_t last = u->s->prefix + u->query + row / u->t->group;
    int64_t first = a->window > 0 && last >= a->window ? last - a->window + 1 : 0;
    int64_t from = first > u->first_key ? first - u->first_key : 0;
    int64_t to = last + 1 - u->first_key < u->keys ? last + 1 - u->first_key : u->keys;
    float *p = u->p + row * ATTENTION_KEYS;

    if (from >= to) {
        memset(p, 0, (size_t)u->keys * sizeof *p);
        return;
    }
    float max = simd->max(to - from, p + from);
    max = max > u->max[row] ? max : u->max[row];
    float sum = simd->exp_minus(to - from, p + from, max);
    if (max > u->max[row]) {
        float shrink = expf(u->max[row] - max);
        u->sum[row] *= shrink;
        if (shrink > 0.0f)
            simd->scale(a->v_head_dim, shrink, u->o + row * a->v_head_dim,
                        u->o + row * a->v_head_dim);
        else
            memset(u->o + row * a->v_head_dim, 0, (size_t)a->v_head_dim * sizeof *u->o);
    }
    u->max[row] = max;
    u->sum[row] += sum;
    memset(p, 0, (size_t)from * sizeof *p);
    memset(p + to, 0, (size_t)(u->keys - to) * sizeof *p);
}

/* o += p v */
static void add_values(const struct unit *u)
{
    int64_t vd = u->t->a->v_head_dim;
    if (u->rows > ATTENTION_FEW) {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)u->rows, (int)vd, (int)u->keys,
                    1.0f, u->p, ATTENTION_KEYS, u->v, (int)u->ldv, 1.0f, u->o, (int)vd);
        return;
    }
    for (int64_t i = 0; i < u->keys; i++)
        for (int64_t r = 0; r < u->rows; r++)
            u->t->simd->axpy(vd, u->p[r * ATTENTION_KEYS + i], u->v + i * u->ldv, u->o + r * vd);
}

static void unit_run(struct unit *u)
{
    const struct attention *t = u->t;
    const hcsmoe_attention_args *a = t->a;
    int64_t position = u->s->prefix + u->query;
    int64_t end = position + u->queries;
    int64_t key = a->window > 0 && position >= a->window ? position - a->window + 1 : 0;

    for (int64_t r = 0; r < u->rows; r++) {
        int64_t token = u->s->begin + u->query + r / t->group;
        int64_t head = u->kv * t->group + r % t->group;
        t->simd->scale(a->head_dim, (float)a->scale,
                       a->q + (token * a->n_heads + head) * a->head_dim, u->q + r * a->head_dim);
        u->max[r] = -INFINITY;
        u->sum[r] = 0.0f;
    }
    memset(u->o, 0, (size_t)(u->rows * a->v_head_dim) * sizeof *u->o);
    for (; key < end; key += ATTENTION_KEYS) {
        load_keys(u, key, end - key < ATTENTION_KEYS ? end - key : ATTENTION_KEYS);
        score(u);
        for (int64_t r = 0; r < u->rows; r++)
            soften(u, r);
        add_values(u);
    }
    for (int64_t r = 0; r < u->rows; r++) {
        int64_t token = u->s->begin + u->query + r / t->group;
        int64_t head = u->kv * t->group + r % t->group;
        t->simd->scale(a->v_head_dim, 1.0f / u->sum[r], u->o + r * a->v_head_dim,
                       a->out + (token * a->n_heads + head) * a->v_head_dim);
    }
}

static hcsmoe_status run_units(void *arg, int64_t begin, int64_t end)
{
    const struct attention *t = arg;
    struct unit u = {.t = t};
    int64_t low = 0;
    int64_t high = t->a->n_sequences;

    unit_room(&u);
    while (high - low > 1) { /* the sequence of unit begin */
        int64_t middle = low + (high - low) / 2;
        if (t->first_unit[middle] <= begin)
            low = middle;
        else
            high = middle;
    }
    for (int64_t i = begin; i < end; i++) {
        while (t->first_unit[low + 1] <= i)
            low++;
        int64_t in = i - t->first_unit[low];
        u.s = &t->a->sequences[low];
        u.kv = in % t->a->n_kv_heads;
        u.query = in / t->a->n_kv_heads * t->block;
        u.queries = u.s->count - u.query < t->block ? u.s->count - u.query : t->block;
        u.rows = u.queries * t->group;
        unit_run(&u);
    }
    return HCSMOE_OK;
}

static hcsmoe_status check_sequence(const hcsmoe_host *h, const hcsmoe_attention_args *a, int64_t i)
{
    const hcsmoe_sequence *s = &a->sequences[i];
    int64_t keys = 0;
    if (s->begin < 0 || s->count < 0 || s->begin > a->n_tokens || s->count > a->n_tokens - s->begin)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "attention: sequence %lld: rows out of range",
                            (long long)i);
    if (s->n_spans < 0 || s->first_span < 0 || s->first_span > a->n_spans ||
        s->n_spans > a->n_spans - s->first_span)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "attention: sequence %lld: spans out of range",
                            (long long)i);
    for (int64_t j = 0; j < s->n_spans; j++) {
        const hcsmoe_span *span = &a->spans[s->first_span + j];
        if (span->begin < 0 || span->count < 0 || span->begin > a->n_tokens ||
            span->count > a->n_tokens - span->begin)
            return hcsmoe_failf(h, HCSMOE_EINVAL, "attention: span %lld: rows out of range",
                                (long long)(s->first_span + j));
        keys += span->count;
    }
    if (keys != s->prefix)
        return hcsmoe_failf(h, HCSMOE_EINVAL,
                            "attention: sequence %lld: its spans have %lld rows: must be %lld",
                            (long long)i, (long long)keys, (long long)s->prefix);
    return HCSMOE_OK;
}

static hcsmoe_status check(const hcsmoe_host *h, const hcsmoe_attention_args *a)
{
    hcsmoe_status status = cpu_check_sizes(h, "attention", a->n_heads, a->head_dim, a->v_head_dim);
    if (status == HCSMOE_OK && (a->n_kv_heads < 1 || a->n_heads % a->n_kv_heads != 0))
        return hcsmoe_failf(h, HCSMOE_EINVAL, "attention: %lld heads, %lld of keys and values",
                            (long long)a->n_heads, (long long)a->n_kv_heads);
    if (status == HCSMOE_OK)
        status = cpu_check_sizes(h, "attention", a->n_kv_heads * a->head_dim,
                                 a->n_kv_heads * a->v_head_dim, a->n_heads);
    for (int64_t i = 0; i < a->n_sequences && status == HCSMOE_OK; i++)
        status = check_sequence(h, a, i);
    return status;
}

hcsmoe_status cpu_attention(const hcsmoe_kernels *k, const hcsmoe_attention_args *a)
{
    const hcsmoe_host *h = k->host;
    struct attention t = {.a = a, .simd = cpu_simd_of(k), .h = h, .block = block_of(a)};
    hcsmoe_status status = check(h, a);
    if (status != HCSMOE_OK || a->n_sequences == 0)
        return status;
    t.group = a->n_heads / a->n_kv_heads;
    t.first_unit = cpu_new(h, a->n_sequences + 1, sizeof *t.first_unit);
    if (t.first_unit == NULL)
        return HCSMOE_ENOMEM;
    t.first_unit[0] = 0;
    for (int64_t i = 0; i < a->n_sequences; i++) {
        int64_t blocks = (a->sequences[i].count + t.block - 1) / t.block;
        t.first_unit[i + 1] = t.first_unit[i] + blocks * a->n_kv_heads;
    }
    status = cpu_work_new(&t.work, h, unit_bytes(a));
    if (status == HCSMOE_OK)
        status = h->parallel_for(h, t.first_unit[a->n_sequences], run_units, &t);
    cpu_work_free(&t.work);
    h->free(h, t.first_unit);
    return status;
}
