/*
 * attention.c - causal softmax attention, block by block with a running maximum.
 *
 * A unit is a block of queries with all query heads of one key-value head: their rows share every block of keys
 * and values, which is read in place or, where spans meet, gathered. Short sequences that follow each other and
 * begin with the same keys (branches of one tree) form one unit: the common keys are done for all their rows at
 * once, the rest for each alone. Keys that no query of a unit sees are never touched. A NaN or infinity in v may
 * reach the rows that share its block. SPDX-License-Identifier: MIT
 */
#include "cpu.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

enum {
    ATTENTION_ROWS = 256,    /* queries times heads of a unit */
    ATTENTION_QUERIES = 128, /* more would waste arithmetic on keys that most of them do not see */
    ATTENTION_KEYS = 256,    /* of a block */
    ATTENTION_FEW = 4,       /* rows below which BLAS packs more than it multiplies */
    ATTENTION_COMMON = 32    /* keys in common that make joining sequences worth it */
};

/* Queries of one sequence, or all queries of n > 1 sequences that begin with `common` same keys. */
struct unit {
    int64_t sequence, n;
    int64_t query, queries; /* of the sequence when n = 1 */
    int64_t common;
};

struct attention {
    const hcsmoe_attention_args *a;
    const struct cpu_simd *simd;
    int64_t group;      /* query heads of a key-value head */
    int64_t block;      /* queries of a unit, at most */
    struct unit *units; /* each of them for every key-value head */
    int64_t n_units;
    struct cpu_work work;
};

/* A unit at work. Rows are (query, head of the group); positions are those of the query's own sequence. */
struct room {
    const struct attention *t;
    const struct unit *u;
    int64_t kv;
    int64_t first_key, keys; /* the block of keys now at work */
    const float *k, *v;      /* its first rows, ldk and ldv apart */
    int64_t ldk, ldv;
    int64_t *token;    /* [queries] row of q */
    int64_t *position; /* [queries] */
    float *q;          /* [rows, head_dim], scaled */
    float *p;          /* [rows, ATTENTION_KEYS] scores, then weights */
    float *o;          /* [rows, v_head_dim] */
    float *k_room, *v_room;
    float *max, *sum; /* [rows] so far */
};

static int64_t group_of(const hcsmoe_attention_args *a)
{
    return a->n_kv_heads > 0 ? a->n_heads / a->n_kv_heads : 1;
}

static int64_t block_of(const hcsmoe_attention_args *a)
{
    int64_t group = group_of(a);
    int64_t queries = group > 0 && group < ATTENTION_ROWS ? ATTENTION_ROWS / group : 1;
    return queries < ATTENTION_QUERIES ? queries : ATTENTION_QUERIES;
}

static size_t room_bytes(const hcsmoe_attention_args *a)
{
    int64_t rows = block_of(a) * group_of(a);
    return 2 * cpu_work_size(block_of(a), 8) + cpu_work_size(rows * a->head_dim, 4) +
           cpu_work_size(rows * ATTENTION_KEYS, 4) + cpu_work_size(rows * a->v_head_dim, 4) +
           cpu_work_size(ATTENTION_KEYS * a->head_dim, 4) +
           cpu_work_size(ATTENTION_KEYS * a->v_head_dim, 4) + 2 * cpu_work_size(rows, 4);
}

static struct room room_of(const struct attention *t)
{
    const hcsmoe_attention_args *a = t->a;
    int64_t rows = t->block * t->group;
    char *block = cpu_work_mine(&t->work);
    struct room m = {.t = t};
    m.token = cpu_work_take(&block, t->block, sizeof(int64_t));
    m.position = cpu_work_take(&block, t->block, sizeof(int64_t));
    m.q = cpu_work_take(&block, rows * a->head_dim, sizeof(float));
    m.p = cpu_work_take(&block, rows * ATTENTION_KEYS, sizeof(float));
    m.o = cpu_work_take(&block, rows * a->v_head_dim, sizeof(float));
    m.k_room = cpu_work_take(&block, ATTENTION_KEYS * a->head_dim, sizeof(float));
    m.v_room = cpu_work_take(&block, ATTENTION_KEYS * a->v_head_dim, sizeof(float));
    m.max = cpu_work_take(&block, rows, sizeof(float));
    m.sum = cpu_work_take(&block, rows, sizeof(float));
    return m;
}

/* The row of a key of the sequence, and how many keys from it on lie in the rows that follow. */
static int64_t key_row(const hcsmoe_attention_args *a, const hcsmoe_sequence *s, int64_t key,
                       int64_t *run)
{
    const hcsmoe_span *span = a->spans + s->first_span;
    if (key >= s->prefix) {
        *run = s->count - (key - s->prefix);
        return s->begin + key - s->prefix;
    }
    for (; key >= span->count; span++)
        key -= span->count;
    *run = span->count - key;
    return span->begin + key;
}

static void load_keys(struct room *m, const hcsmoe_sequence *s, int64_t first, int64_t keys)
{
    const hcsmoe_attention_args *a = m->t->a;
    int64_t ldk = a->n_kv_heads * a->head_dim;
    int64_t ldv = a->n_kv_heads * a->v_head_dim;
    const float *k = a->k + m->kv * a->head_dim;
    const float *v = a->v + m->kv * a->v_head_dim;
    int64_t run;
    int64_t row = key_row(a, s, first, &run);

    m->first_key = first;
    m->keys = keys;
    if (run >= keys) {
        m->k = k + row * ldk;
        m->v = v + row * ldv;
        m->ldk = ldk;
        m->ldv = ldv;
        return;
    }
    for (int64_t i = 0; i < keys; i++, row++, run--) {
        if (run == 0)
            row = key_row(a, s, first + i, &run);
        memcpy(m->k_room + i * a->head_dim, k + row * ldk, (size_t)a->head_dim * sizeof *k);
        memcpy(m->v_room + i * a->v_head_dim, v + row * ldv, (size_t)a->v_head_dim * sizeof *v);
    }
    m->k = m->k_room;
    m->v = m->v_room;
    m->ldk = a->head_dim;
    m->ldv = a->v_head_dim;
}

/* p = q k^T */
static void score(const struct room *m, int64_t row, int64_t rows)
{
    int64_t hd = m->t->a->head_dim;
    const float *q = m->q + row * hd;
    float *p = m->p + row * ATTENTION_KEYS;
    if (rows <= ATTENTION_FEW || hd == 0)
        m->t->simd->few_rows(HCSMOE_DTYPE_F32, rows, m->keys, hd, q, hd, m->k, m->ldk, 0, p,
                             ATTENTION_KEYS);
    else
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)m->keys, (int)hd, 1.0f,
                    q, (int)hd, m->k, (int)m->ldk, 0.0f, p, ATTENTION_KEYS);
}

static int64_t first_visible(const hcsmoe_attention_args *a, int64_t position)
{
    return a->window > 0 && position >= a->window ? position - a->window + 1 : 0;
}

/* Scores to exp(score - running maximum); what was summed under an older maximum is scaled down. */
static void soften(const struct room *m, int64_t row)
{
    const hcsmoe_attention_args *a = m->t->a;
    const struct cpu_simd *simd = m->t->simd;
    int64_t last = m->position[row / m->t->group];
    int64_t first = first_visible(a, last);
    int64_t from = first > m->first_key ? first - m->first_key : 0;
    int64_t to = last + 1 - m->first_key < m->keys ? last + 1 - m->first_key : m->keys;
    float *p = m->p + row * ATTENTION_KEYS;
    float *o = m->o + row * a->v_head_dim;

    if (from >= to) {
        memset(p, 0, (size_t)m->keys * sizeof *p);
        return;
    }
    float max = simd->max(to - from, p + from);
    max = max > m->max[row] ? max : m->max[row];
    float sum = simd->exp_minus(to - from, p + from, max);
    if (max > m->max[row]) {
        float shrink = expf(m->max[row] - max);
        m->sum[row] *= shrink;
        simd->scale(a->v_head_dim, shrink, o, o);
    }
    m->max[row] = max;
    m->sum[row] += sum;
    memset(p, 0, (size_t)from * sizeof *p);
    memset(p + to, 0, (size_t)(m->keys - to) * sizeof *p);
}

/* o += p v */
static void add_values(const struct room *m, int64_t row, int64_t rows)
{
    int64_t vd = m->t->a->v_head_dim;
    const float *p = m->p + row * ATTENTION_KEYS;
    float *o = m->o + row * vd;
    if (rows > ATTENTION_FEW && vd > 0) {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)vd, (int)m->keys,
                    1.0f, p, ATTENTION_KEYS, m->v, (int)m->ldv, 1.0f, o, (int)vd);
        return;
    }
    for (int64_t i = 0; i < m->keys; i++)
        for (int64_t r = 0; r < rows; r++)
            m->t->simd->axpy(vd, p[r * ATTENTION_KEYS + i], m->v + i * m->ldv, o + r * vd);
}

/* Some rows against the keys key..end-1 of a sequence. */
static void attend(struct room *m, const hcsmoe_sequence *s, int64_t key, int64_t end, int64_t row,
                   int64_t rows)
{
    for (; key < end; key += ATTENTION_KEYS) {
        load_keys(m, s, key, end - key < ATTENTION_KEYS ? end - key : ATTENTION_KEYS);
        score(m, row, rows);
        for (int64_t r = row; r < row + rows; r++)
            soften(m, r);
        add_values(m, row, rows);
    }
}

/* Lists the queries; returns the first key that any of them sees. */
static int64_t list_queries(struct room *m)
{
    const hcsmoe_attention_args *a = m->t->a;
    int64_t n = 0;
    int64_t first = INT64_MAX;
    for (int64_t i = 0; i < m->u->n; i++) {
        const hcsmoe_sequence *s = &a->sequences[m->u->sequence + i];
        int64_t query = m->u->n == 1 ? m->u->query : 0;
        int64_t end = m->u->n == 1 ? query + m->u->queries : s->count;
        int64_t visible = first_visible(a, s->prefix + query);
        first = end > query && visible < first ? visible : first;
        for (; query < end; query++, n++) {
            m->token[n] = s->begin + query;
            m->position[n] = s->prefix + query;
        }
    }
    return first;
}

static void unit_run(struct room *m)
{
    const struct attention *t = m->t;
    const hcsmoe_attention_args *a = t->a;
    int64_t rows = m->u->queries * t->group;
    int64_t first = list_queries(m);
    int64_t row = 0;

    for (int64_t r = 0; r < rows; r++) {
        int64_t at = m->token[r / t->group] * a->n_heads + m->kv * t->group + r % t->group;
        t->simd->scale(a->head_dim, (float)a->scale, a->q + at * a->head_dim,
                       m->q + r * a->head_dim);
        m->max[r] = -INFINITY;
        m->sum[r] = 0.0f;
    }
    memset(m->o, 0, (size_t)(rows * a->v_head_dim) * sizeof *m->o);
    attend(m, &a->sequences[m->u->sequence], first, m->u->common, 0, rows);
    for (int64_t i = 0; i < m->u->n; i++) {
        const hcsmoe_sequence *s = &a->sequences[m->u->sequence + i];
        int64_t queries = m->u->n == 1 ? m->u->queries : s->count;
        int64_t query = row / t->group;
        if (queries == 0)
            continue;
        int64_t key = first_visible(a, m->position[query]);
        key = key > m->u->common ? key : m->u->common;
        attend(m, s, key, m->position[query] + queries, row, queries * t->group);
        row += queries * t->group;
    }
    for (int64_t r = 0; r < rows; r++) {
        int64_t at = m->token[r / t->group] * a->n_heads + m->kv * t->group + r % t->group;
        t->simd->scale(a->v_head_dim, 1.0f / m->sum[r], m->o + r * a->v_head_dim,
                       a->out + at * a->v_head_dim);
    }
}

static hcsmoe_status run_units(void *arg, int64_t begin, int64_t end)
{
    const struct attention *t = arg;
    struct room m = room_of(t);
    for (int64_t i = begin; i < end; i++) {
        m.u = &t->units[i / t->a->n_kv_heads];
        m.kv = i % t->a->n_kv_heads;
        unit_run(&m);
    }
    return HCSMOE_OK;
}

/* How many keys two sequences' prefixes have in common at their start. */
static int64_t common_keys(const hcsmoe_attention_args *a, const hcsmoe_sequence *s,
                           const hcsmoe_sequence *other)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->n_spans && i < other->n_spans; i++) {
        const hcsmoe_span *x = &a->spans[s->first_span + i];
        const hcsmoe_span *y = &a->spans[other->first_span + i];
        if (x->begin != y->begin)
            break;
        n += x->count < y->count ? x->count : y->count;
        if (x->count != y->count)
            break;
    }
    return n;
}

/* Joins to a unit of one whole sequence those behind it, while its rows last and most keys are common. */
static void unit_extend(const struct attention *t, struct unit *u)
{
    const hcsmoe_attention_args *a = t->a;
    const hcsmoe_sequence *s = &a->sequences[u->sequence];
    int64_t common = s->prefix;
    for (int64_t i = u->sequence + 1; i < a->n_sequences; i++) {
        const hcsmoe_sequence *other = &a->sequences[i];
        int64_t both = common_keys(a, s, other);
        both = both < common ? both : common;
        if (other->count > t->block - u->queries || both < ATTENTION_COMMON ||
            both < s->prefix / 2 || both < other->prefix / 2)
            break;
        common = both;
        u->queries += other->count;
        u->n++;
        u->common = common;
    }
}

static void list_units(struct attention *t)
{
    for (int64_t i = 0; i < t->a->n_sequences;) {
        int64_t count = t->a->sequences[i].count;
        for (int64_t query = 0; query < count; query += t->block) {
            int64_t queries = count - query < t->block ? count - query : t->block;
            t->units[t->n_units++] =
                (struct unit){.sequence = i, .n = 1, .query = query, .queries = queries};
        }
        if (count > 0 && count <= t->block) {
            unit_extend(t, &t->units[t->n_units - 1]);
            i += t->units[t->n_units - 1].n;
        } else {
            i++;
        }
    }
}

static int64_t units_most(const hcsmoe_attention_args *a)
{
    return a->n_sequences + a->n_tokens / block_of(a);
}

int64_t cpu_attention_bytes(const hcsmoe_host *h, const hcsmoe_attention_args *a)
{
    return (int64_t)room_bytes(a) * h->threads(h) + units_most(a) * (int64_t)sizeof(struct unit);
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

/* A row in no sequence would stay unwritten, one in two would be written by two threads. */
static hcsmoe_status check_cover(const hcsmoe_host *h, const hcsmoe_attention_args *a)
{
    hcsmoe_status status = HCSMOE_OK;
    char *seen = cpu_new(h, a->n_tokens, 1);
    if (seen == NULL)
        return HCSMOE_ENOMEM;
    memset(seen, 0, (size_t)a->n_tokens);
    for (int64_t i = 0; i < a->n_sequences && status == HCSMOE_OK; i++) {
        const hcsmoe_sequence *s = &a->sequences[i];
        for (int64_t r = s->begin; r < s->begin + s->count && status == HCSMOE_OK; r++) {
            if (seen[r] != 0)
                status = hcsmoe_failf(h, HCSMOE_EINVAL,
                                      "attention: sequence %lld: row %lld is in another one too",
                                      (long long)i, (long long)r);
            seen[r] = 1;
        }
    }
    for (int64_t r = 0; r < a->n_tokens && status == HCSMOE_OK; r++)
        if (seen[r] == 0)
            status = hcsmoe_failf(h, HCSMOE_EINVAL, "attention: row %lld is in no sequence",
                                  (long long)r);
    h->free(h, seen);
    return status;
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
    return status == HCSMOE_OK ? check_cover(h, a) : status;
}

hcsmoe_status cpu_attention(const hcsmoe_kernels *k, const hcsmoe_attention_args *a)
{
    const hcsmoe_host *h = k->host;
    struct attention t = {.a = a, .simd = cpu_simd_of(k)};
    hcsmoe_status status = check(h, a);
    if (status != HCSMOE_OK || a->n_sequences == 0)
        return status;
    t.group = group_of(a);
    t.block = block_of(a);
    t.units = cpu_new(h, units_most(a), sizeof *t.units);
    if (t.units == NULL)
        return HCSMOE_ENOMEM;
    list_units(&t);
    status = cpu_work_new(&t.work, h, room_bytes(a));
    if (status == HCSMOE_OK)
        status = h->parallel_for(h, t.n_units * a->n_kv_heads, run_units, &t);
    cpu_work_free(&t.work);
    h->free(h, t.units);
    return status;
}
