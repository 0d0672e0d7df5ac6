/*
 * experts.c - all experts of a layer at once.
 *
 * A unit is one expert and a block of its tokens: gather the rows of x, gate and up piece by piece, and for
 * routed tokens down; few tokens straight from the stored weights, many as bands. Units of all experts run in one
 * parallel loop, the dearest first. What they share they leave in places of their own (a slot per token and chosen
 * expert, column sums per unit), which are added up afterwards in a fixed order. SPDX-License-Identifier: MIT
 */
#include "bands.h"

#include <stdlib.h>
#include <string.h>

enum { EXPERTS_TOKENS = 8192, EXPERTS_ROWS_LEAST = 256, EXPERTS_TOP_K = 4096 };
static const int64_t EXPERTS_SLOT_BYTES = (int64_t)256 << 20;  /* of all slots of one chunk */
static const int64_t EXPERTS_HIDDEN_BYTES = (int64_t)64 << 20; /* of one thread's block of h */

/* A token of the chunk that an expert works on. */
struct entry {
    int32_t token;
    int32_t choice; /* token * top_k + s; -1: not routed here, only its h is summed */
};

struct unit {
    int64_t expert, first, rows; /* entries first..first+rows-1 */
    int64_t index;               /* in order of expert and entries: where its column sums lie */
    int routed;
};

/* What one chunk of tokens needs, in host memory. */
struct chunk {
    const hcsmoe_experts_args *a;
    const struct cpu *c;
    const struct cpu_simd *simd;
    const struct cpu_product *product;
    const hcsmoe_host *h;
    int64_t begin, n;  /* tokens */
    int64_t rows_most; /* of a unit */
    int64_t *start;    /* [2E + 1] entries of expert e: routed from 2e, the others from 2e + 1 */
    struct entry *entries;
    int32_t *slot;      /* [n, top_k] rank of the expert among those of the token; -1 */
    struct unit *units; /* dearest first */
    int64_t n_units;
    int64_t *unit_start; /* [E + 1] */
    float *y;            /* [n, top_k, width] weighted outputs by slot */
    double *sums;        /* [n_units, ffn] */
    struct cpu_split up, down;
    struct cpu_work work;
};

static int64_t rows_most(const struct cpu_product *p, const hcsmoe_experts_args *a)
{
    int64_t rows = EXPERTS_HIDDEN_BYTES / 4 / (a->ffn > 0 ? a->ffn : 1) / 16 * 16;
    rows = rows < p->tile_rows ? rows : p->tile_rows;
    return rows > EXPERTS_ROWS_LEAST ? rows : EXPERTS_ROWS_LEAST;
}

/* Tokens that are done at once: fewer when their slots would take too much memory. */
static int64_t chunk_tokens(const hcsmoe_experts_args *a)
{
    int64_t row = (int64_t)a->top_k * a->width * 4;
    int64_t most = a->out != NULL && row > 0 ? EXPERTS_SLOT_BYTES / row : EXPERTS_TOKENS;
    most = most < EXPERTS_TOKENS ? most : EXPERTS_TOKENS;
    return most > EXPERTS_ROWS_LEAST ? most : EXPERTS_ROWS_LEAST;
}

/* Of bands: x, the hidden activations, one strip each of gate and up (or of down), weights, rows and scales. */
static size_t bands_bytes(const struct cpu *c, const hcsmoe_experts_args *a)
{
    int64_t tokens = bands_number(c->simd, rows_most(c->product, a)) * c->simd->band;
    int64_t room = bands_room(a->width > a->ffn ? a->width : a->ffn);
    return cpu_work_size(tokens * a->width, 4) + cpu_work_size(tokens * (a->ffn + BANDS_ROWS), 4) +
           2 * cpu_work_size(tokens * BANDS_ROWS, 4) + cpu_work_size(room, 4) +
           cpu_work_size(tokens, sizeof(float *)) + cpu_work_size(tokens, 4);
}

static size_t rows_bytes(const struct cpu_product *p, const hcsmoe_experts_args *a)
{
    struct cpu_split up = cpu_panels(p, a->ffn, a->width);
    struct cpu_split down = cpu_panels(p, a->width, a->ffn);
    int64_t wide_up = cpu_split_widest(&up);
    int64_t wide_down = cpu_split_widest(&down);
    int64_t wide = wide_up > wide_down ? wide_up : wide_down;
    int64_t panel = wide_up * a->width;
    int64_t rows = rows_most(p, a);
    panel = panel > wide_down * a->ffn ? panel : wide_down * a->ffn;
    return cpu_work_size(rows * a->width, p->element) + cpu_work_size(rows * a->ffn, p->element) +
           cpu_work_size(rows * wide, 4) + cpu_work_size(panel, p->element) +
           (p->operand != NULL ? cpu_work_size(rows * wide_up, 4) : 0);
}

/* Bands are float32. */
static int has_bands(const struct cpu_product *p)
{
    return p->operand == NULL;
}

static size_t work_bytes(const struct cpu *c, const hcsmoe_experts_args *a)
{
    size_t few = rows_bytes(c->product, a);
    size_t many = has_bands(c->product) ? bands_bytes(c, a) : 0;
    return few > many ? few : many;
}

/* Units of one chunk of n tokens at most: each list of entries may end in a unit that is not full. */
static int64_t units_most(const struct cpu_product *p, const hcsmoe_experts_args *a, int64_t n)
{
    int64_t entries = a->hidden_sum != NULL ? n * a->n_experts : n * a->top_k;
    return entries / (rows_most(p, a) / 2) + 2 * a->n_experts;
}

int64_t cpu_experts_bytes(const struct cpu *c, const hcsmoe_experts_args *a)
{
    int64_t n = a->n_tokens < chunk_tokens(a) ? a->n_tokens : chunk_tokens(a);
    int64_t entries = a->hidden_sum != NULL ? n * a->n_experts : n * a->top_k;
    int64_t units = units_most(c->product, a, n);
    int64_t bytes = (int64_t)work_bytes(c, a) * c->table.host->threads(c->table.host);
    bytes += entries * (int64_t)sizeof(struct entry) + n * a->top_k * 4;
    if (a->out != NULL)
        bytes += n * a->top_k * a->width * 4;
    if (a->hidden_sum != NULL)
        bytes += units * a->ffn * 8;
    return bytes + units * (int64_t)sizeof(struct unit);
}

/* slot[t, s]: in which order the experts of a token are added. */
static void rank_choices(struct chunk *c)
{
    int32_t top_k = c->a->top_k;
    for (int64_t t = 0; t < c->n; t++) {
        const int32_t *ids = c->a->ids + (c->begin + t) * top_k;
        for (int32_t s = 0; s < top_k; s++) {
            int32_t rank = 0;
            for (int32_t other = 0; other < top_k; other++)
                rank += ids[other] >= 0 && ids[other] < ids[s];
            c->slot[t * top_k + s] = ids[s] >= 0 ? rank : -1;
        }
    }
}

/* A counting sort of the tokens by expert; within an expert they keep their order. */
static void list_entries(struct chunk *c)
{
    const hcsmoe_experts_args *a = c->a;
    int64_t at = 0;
    int64_t *routed = c->unit_start; /* borrowed: the lists' ends, then, while they fill */

    memset(routed, 0, (size_t)(a->n_experts + 1) * sizeof *routed);
    for (int64_t i = 0; i < c->n * a->top_k; i++)
        if (a->ids[c->begin * a->top_k + i] >= 0)
            routed[a->ids[c->begin * a->top_k + i]]++;
    for (int64_t e = 0; e < a->n_experts; e++) {
        c->start[2 * e] = at;
        c->start[2 * e + 1] = at + routed[e];
        at = a->hidden_sum != NULL ? at + c->n : at + routed[e];
        routed[e] = c->start[2 * e];
    }
    c->start[2 * a->n_experts] = at;
    for (int64_t t = 0; t < c->n; t++) {
        for (int32_t s = 0; s < a->top_k; s++) {
            int32_t choice = (int32_t)(t * a->top_k + s);
            int32_t e = a->ids[c->begin * a->top_k + choice];
            if (e >= 0)
                c->entries[routed[e]++] = (struct entry){.token = (int32_t)t, .choice = choice};
        }
    }
    for (int64_t e = 0; e < a->n_experts && a->hidden_sum != NULL; e++) {
        int64_t next = c->start[2 * e];
        int64_t end = c->start[2 * e + 1];
        at = end;
        for (int64_t t = 0; t < c->n; t++) {
            if (next < end && c->entries[next].token == t)
                next++;
            else
                c->entries[at++] = (struct entry){.token = (int32_t)t, .choice = -1};
        }
    }
}

static int64_t unit_cost(const struct unit *u)
{
    return u->rows * (u->routed != 0 ? 3 : 2); /* matrices that its rows go through */
}

static int by_cost(const void *a, const void *b)
{
    const struct unit *x = a;
    const struct unit *y = b;
    if (unit_cost(x) != unit_cost(y))
        return unit_cost(x) > unit_cost(y) ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static void list_units(struct chunk *c)
{
    c->n_units = 0;
    for (int64_t e = 0; e < c->a->n_experts; e++) {
        c->unit_start[e] = c->n_units;
        for (int64_t list = 2 * e; list < 2 * e + 2; list++) {
            struct cpu_split s = cpu_split_of(c->start[list + 1] - c->start[list], c->rows_most);
            for (int64_t i = 0; i < s.parts; i++) {
                int64_t begin = cpu_split_begin(&s, i);
                c->units[c->n_units] = (struct unit){.expert = e,
                                                     .first = c->start[list] + begin,
                                                     .rows = cpu_split_begin(&s, i + 1) - begin,
                                                     .index = c->n_units,
                                                     .routed = list == 2 * e};
                c->n_units++;
            }
        }
    }
    c->unit_start[c->a->n_experts] = c->n_units;
    qsort(c->units, (size_t)c->n_units, sizeof *c->units, by_cost);
}

/* The unit's rows of x, as operands: in place where they follow each other and are used as they are. */
static const void *gather(const struct chunk *c, const struct unit *u, char *room)
{
    const struct entry *e = c->entries + u->first;
    const struct cpu_product *p = c->product;
    int64_t width = c->a->width;
    const float *x = c->a->x + c->begin * width;
    if (p->operand == NULL && e[u->rows - 1].token - e[0].token == u->rows - 1)
        return x + e[0].token * width;
    for (int64_t r = 0; r < u->rows; r++) {
        char *to = room + (size_t)(r * width) * p->element;
        if (p->operand != NULL)
            p->operand(c->simd, width, x + e[r].token * width, to);
        else
            memcpy(to, x + e[r].token * width, (size_t)width * sizeof *x);
    }
    return room;
}

/* A unit's memory when it runs row by row. */
struct rows_room {
    char *x, *hidden; /* operands [rows_most, width], [rows_most, ffn] */
    float *gate;      /* [rows_most, a panel of up]; NULL: the gate's place is in hidden */
    float *y;         /* [rows_most, a panel] */
    void *panel;
};

static struct rows_room rows_room_of(const struct chunk *c)
{
    const hcsmoe_experts_args *a = c->a;
    const struct cpu_product *p = c->product;
    int64_t wide_up = cpu_split_widest(&c->up);
    int64_t wide_down = cpu_split_widest(&c->down);
    char *block = cpu_work_mine(&c->work);
    struct rows_room m = {.x = cpu_work_take(&block, c->rows_most * a->width, p->element)};
    m.hidden = cpu_work_take(&block, c->rows_most * a->ffn, p->element);
    m.y = cpu_work_take(&block, c->rows_most * (wide_up > wide_down ? wide_up : wide_down),
                        sizeof *m.y);
    if (p->operand != NULL)
        m.gate = cpu_work_take(&block, c->rows_most * wide_up, sizeof *m.gate);
    m.panel = block;
    return m;
}

static hcsmoe_status unit_down(const struct chunk *c, const struct unit *u,
                               const struct rows_room *m)
{
    const hcsmoe_experts_args *a = c->a;
    const float *weights = a->weights + c->begin * a->top_k;
    for (int64_t p = 0; p < c->down.parts; p++) {
        int64_t first = cpu_split_begin(&c->down, p);
        int64_t columns = cpu_split_begin(&c->down, p + 1) - first;
        hcsmoe_status status =
            c->product->multiply(c->c, u->rows, m->hidden, a->ffn, &a->down[u->expert], first,
                                 columns, m->panel, 0, m->y, columns);
        if (status != HCSMOE_OK)
            return status;
        for (int64_t r = 0; r < u->rows; r++) {
            const struct entry *e = &c->entries[u->first + r];
            int64_t slot = (int64_t)e->token * a->top_k + c->slot[e->choice];
            c->simd->scale(columns, weights[e->choice], m->y + r * columns,
                           c->y + slot * a->width + first);
        }
    }
    return HCSMOE_OK;
}

/* Columns first.. of the hidden activations: added to the sums, and kept for down. */
static hcsmoe_status unit_up(const struct chunk *c, const struct unit *u, const struct rows_room *m,
                             const void *x, int64_t first, int64_t columns)
{
    const hcsmoe_experts_args *a = c->a;
    const struct cpu_product *p = c->product;
    int down = u->routed != 0 && a->out != NULL;
    int inside = down && p->operand == NULL;
    float *h = inside ? (float *)(void *)m->hidden + first : m->gate;
    int64_t ldh = inside ? a->ffn : columns;
    if (h == NULL)
        h = (float *)(void *)m->hidden;
    hcsmoe_status status = p->multiply(c->c, u->rows, x, a->width, &a->gate[u->expert], first,
                                       columns, m->panel, 0, h, ldh);
    if (status == HCSMOE_OK)
        status = p->multiply(c->c, u->rows, x, a->width, &a->up[u->expert], first, columns,
                             m->panel, 0, m->y, columns);
    for (int64_t r = 0; r < u->rows && status == HCSMOE_OK; r++) {
        c->simd->swiglu(columns, h + r * ldh, m->y + r * columns);
        if (down && p->operand != NULL)
            p->operand(c->simd, columns, h + r * ldh,
                       m->hidden + (size_t)(r * a->ffn + first) * p->element);
    }
    if (status == HCSMOE_OK && a->hidden_sum != NULL) {
        double *sum = c->sums + u->index * a->ffn + first;
        memset(sum, 0, (size_t)columns * sizeof *sum);
        c->simd->column_sum(u->rows, columns, h, ldh, sum);
    }
    return status;
}

static hcsmoe_status unit_rows(const struct chunk *c, const struct unit *u)
{
    const struct rows_room m = rows_room_of(c);
    const void *x = gather(c, u, m.x);
    hcsmoe_status status = HCSMOE_OK;
    for (int64_t p = 0; p < c->up.parts && status == HCSMOE_OK; p++) {
        int64_t first = cpu_split_begin(&c->up, p);
        status = unit_up(c, u, &m, x, first, cpu_split_begin(&c->up, p + 1) - first);
    }
    if (status == HCSMOE_OK && u->routed != 0 && c->a->out != NULL)
        status = unit_down(c, u, &m);
    return status;
}

/* A unit's memory when it runs as bands. */
struct room {
    struct bands x, hidden;
    float *gate, *up; /* [bands, BANDS_ROWS, band] */
    float *weights;
    float **rows; /* [tokens] */
    float *scale;
};

static struct room room_of(const struct chunk *c, const struct unit *u)
{
    const hcsmoe_experts_args *a = c->a;
    int64_t tokens = bands_number(c->simd, c->rows_most) * c->simd->band;
    char *block = cpu_work_mine(&c->work);
    struct room m = {.x = {.simd = c->simd, .tokens = u->rows, .kk = a->width},
                     .hidden = {.simd = c->simd, .tokens = u->rows, .kk = a->ffn}};
    m.x.x = cpu_work_take(&block, tokens * a->width, sizeof(float));
    m.hidden.x = cpu_work_take(&block, tokens * (a->ffn + BANDS_ROWS), sizeof(float));
    m.gate = cpu_work_take(&block, tokens * BANDS_ROWS, sizeof(float));
    m.up = cpu_work_take(&block, tokens * BANDS_ROWS, sizeof(float));
    m.weights = cpu_work_take(&block, bands_room(a->width > a->ffn ? a->width : a->ffn), 4);
    m.rows = cpu_work_take(&block, tokens, sizeof(float *));
    m.scale = cpu_work_take(&block, tokens, sizeof(float));
    return m;
}

/* Rows first.. of the hidden activations of every band: summed, and kept for down. */
static void bands_up(const struct chunk *c, const struct unit *u, const struct room *m,
                     int64_t first, int64_t rows, int down)
{
    const hcsmoe_experts_args *a = c->a;
    const int64_t band = c->simd->band, strip = BANDS_ROWS * band;
    const struct bands_piece pieces[] = {{&a->gate[u->expert], first, rows, m->gate},
                                         {&a->up[u->expert], first, rows, m->up}};
    bands_multiply(&m->x, pieces, 2, m->weights);
    for (int64_t p = 0; p * band < u->rows; p++) {
        float *h = m->gate + p * strip;
        c->simd->swiglu(rows * band, h, m->up + p * strip);
        if (a->hidden_sum != NULL)
            c->simd->band_sums(rows, h, c->sums + u->index * a->ffn + first);
        if (down)
            memcpy(m->hidden.x + (p * a->ffn + first) * band, h, (size_t)(rows * band) * sizeof *h);
    }
}

/* A piece of down's result, to the slots of the tokens. */
static void bands_leave(const struct chunk *c, const struct unit *u, const struct room *m,
                        const struct bands_piece *q)
{
    const int64_t band = c->simd->band;
    for (int64_t p = 0; p * band < u->rows; p++) {
        int64_t left = u->rows - p * band;
        c->simd->band_out(left < band ? left : band, q->rows, q->out + p * BANDS_ROWS * band,
                          m->scale + p * band, m->rows + p * band);
        for (int64_t t = 0; t < left && t < band; t++)
            m->rows[p * band + t] += q->rows;
    }
}

static void bands_down(const struct chunk *c, const struct unit *u, const struct room *m)
{
    const hcsmoe_experts_args *a = c->a;
    const float *weights = a->weights + c->begin * a->top_k;
    for (int64_t r = 0; r < u->rows; r++) {
        const struct entry *e = &c->entries[u->first + r];
        int64_t slot = (int64_t)e->token * a->top_k + c->slot[e->choice];
        m->rows[r] = c->y + slot * a->width;
        m->scale[r] = weights[e->choice];
    }
    for (int64_t first = 0; first < a->width;) {
        struct bands_piece pieces[BANDS_PIECES];
        int n = 0;
        for (; n < BANDS_PIECES && first < a->width; first += pieces[n++].rows) {
            int64_t left = a->width - first;
            pieces[n] = (struct bands_piece){.w = &a->down[u->expert],
                                             .first = first,
                                             .rows = left < BANDS_ROWS ? left : BANDS_ROWS,
                                             .out = n == 0 ? m->gate : m->up};
        }
        bands_multiply(&m->hidden, pieces, n, m->weights);
        for (int i = 0; i < n; i++)
            bands_leave(c, u, m, &pieces[i]);
    }
}

static void unit_bands(const struct chunk *c, const struct unit *u)
{
    const hcsmoe_experts_args *a = c->a;
    const float *x = a->x + c->begin * a->width;
    int down = u->routed != 0 && a->out != NULL;
    struct room m = room_of(c, u);
    for (int64_t r = 0; r < u->rows; r++)
        m.rows[r] = (float *)(uintptr_t)(x + c->entries[u->first + r].token * a->width);
    bands_in(&m.x, (const float *const *)m.rows);
    if (a->hidden_sum != NULL)
        memset(c->sums + u->index * a->ffn, 0, (size_t)a->ffn * sizeof *c->sums);
    for (int64_t first = 0; first < a->ffn; first += BANDS_ROWS) {
        int64_t rows = a->ffn - first < BANDS_ROWS ? a->ffn - first : BANDS_ROWS;
        bands_up(c, u, &m, first, rows, down);
    }
    if (down)
        bands_down(c, u, &m);
}

static hcsmoe_status unit_run(const struct chunk *c, const struct unit *u)
{
    if (!has_bands(c->product) || u->rows <= c->simd->few_most || c->a->width == 0 ||
        c->a->ffn == 0)
        return unit_rows(c, u);
    unit_bands(c, u);
    return HCSMOE_OK;
}

static hcsmoe_status run_units(void *arg, int64_t begin, int64_t end)
{
    const struct chunk *c = arg;
    for (int64_t i = begin; i < end; i++) {
        hcsmoe_status status = cpu_check_cancelled(c->h);
        if (status == HCSMOE_OK)
            status = unit_run(c, &c->units[i]);
        if (status != HCSMOE_OK)
            return status;
    }
    return HCSMOE_OK;
}

static hcsmoe_status add_slots(void *arg, int64_t begin, int64_t end)
{
    const struct chunk *c = arg;
    int64_t width = c->a->width;
    int32_t top_k = c->a->top_k;
    for (int64_t t = begin; t < end; t++) {
        int32_t used = 0;
        for (int32_t s = 0; s < top_k; s++)
            used += c->slot[t * top_k + s] >= 0;
        for (int32_t s = 0; s < used; s++)
            c->simd->axpy(width, 1.0f, c->y + (t * top_k + s) * width,
                          c->a->out + (c->begin + t) * width);
    }
    return HCSMOE_OK;
}

static hcsmoe_status add_sums(void *arg, int64_t begin, int64_t end)
{
    const struct chunk *c = arg;
    int64_t ffn = c->a->ffn;
    for (int64_t e = begin; e < end; e++)
        for (int64_t i = c->unit_start[e]; i < c->unit_start[e + 1]; i++)
            c->simd->axpy_double(ffn, 1.0, c->sums + i * ffn, c->a->hidden_sum + e * ffn);
    return HCSMOE_OK;
}

static hcsmoe_status chunk_run(struct chunk *c, int64_t begin, int64_t n)
{
    hcsmoe_status status;
    c->begin = begin;
    c->n = n;
    rank_choices(c);
    list_entries(c);
    list_units(c);
    status = c->h->parallel_for(c->h, c->n_units, run_units, c);
    if (status == HCSMOE_OK && c->a->out != NULL)
        status = c->h->parallel_for(c->h, n, add_slots, c);
    if (status == HCSMOE_OK && c->a->hidden_sum != NULL)
        status = c->h->parallel_for(c->h, c->a->n_experts, add_sums, c);
    return status;
}

static hcsmoe_status check_ids(const hcsmoe_host *h, const hcsmoe_experts_args *a, int64_t t)
{
    const int32_t *ids = a->ids + t * a->top_k;
    for (int32_t s = 0; s < a->top_k; s++) {
        if (ids[s] < -1 || ids[s] >= a->n_experts)
            return hcsmoe_failf(h, HCSMOE_EINVAL, "token %lld: expert %d: must be -1..%lld",
                                (long long)t, (int)ids[s], (long long)a->n_experts - 1);
        for (int32_t before = 0; before < s; before++)
            if (ids[before] == ids[s] && ids[s] >= 0)
                return hcsmoe_failf(h, HCSMOE_EINVAL, "token %lld: expert %d is there twice",
                                    (long long)t, (int)ids[s]);
    }
    return HCSMOE_OK;
}

static hcsmoe_status check(const hcsmoe_host *h, const hcsmoe_experts_args *a)
{
    hcsmoe_status status = cpu_check_sizes(h, "experts", a->width, a->ffn, a->n_experts);
    if (status == HCSMOE_OK && (a->top_k < 0 || a->top_k > EXPERTS_TOP_K))
        return hcsmoe_failf(h, HCSMOE_EINVAL, "experts: top %d: must be 0..%d", (int)a->top_k,
                            (int)EXPERTS_TOP_K);
    for (int64_t e = 0; e < a->n_experts && status == HCSMOE_OK; e++) {
        status = cpu_check_matrix(h, "expert gate", &a->gate[e], a->ffn, a->width);
        if (status == HCSMOE_OK)
            status = cpu_check_matrix(h, "expert up", &a->up[e], a->ffn, a->width);
        if (status == HCSMOE_OK && a->out != NULL)
            status = cpu_check_matrix(h, "expert down", &a->down[e], a->width, a->ffn);
    }
    for (int64_t t = 0; t < a->n_tokens && status == HCSMOE_OK; t++)
        status = check_ids(h, a, t);
    return status;
}

static hcsmoe_status chunk_new(struct chunk *c, int64_t n)
{
    const hcsmoe_experts_args *a = c->a;
    const hcsmoe_host *h = c->h;
    int64_t e = a->n_experts;
    int64_t most = units_most(c->product, a, n);
    int64_t entries = a->hidden_sum != NULL ? n * e : n * a->top_k;
    c->start = cpu_new(h, 2 * e + 1, sizeof *c->start);
    c->unit_start = cpu_new(h, e + 1, sizeof *c->unit_start);
    c->slot = cpu_new(h, n * a->top_k, sizeof *c->slot);
    c->entries = cpu_new(h, entries, sizeof *c->entries);
    c->units = cpu_new(h, most, sizeof *c->units);
    c->y = a->out != NULL ? cpu_new(h, n * a->top_k * a->width, sizeof *c->y) : NULL;
    c->sums = a->hidden_sum != NULL ? cpu_new(h, most * a->ffn, sizeof *c->sums) : NULL;
    if (c->start == NULL || c->unit_start == NULL || c->slot == NULL || c->entries == NULL ||
        c->units == NULL || (a->out != NULL && c->y == NULL) ||
        (a->hidden_sum != NULL && c->sums == NULL))
        return HCSMOE_ENOMEM;
    return cpu_work_new(&c->work, h, work_bytes(c->c, a));
}

static void chunk_free(struct chunk *c)
{
    cpu_work_free(&c->work);
    c->h->free(c->h, c->sums);
    c->h->free(c->h, c->y);
    c->h->free(c->h, c->units);
    c->h->free(c->h, c->entries);
    c->h->free(c->h, c->slot);
    c->h->free(c->h, c->unit_start);
    c->h->free(c->h, c->start);
}

hcsmoe_status cpu_experts(const hcsmoe_kernels *k, const hcsmoe_experts_args *a)
{
    struct chunk c = {.a = a, .c = cpu_of(k), .simd = cpu_simd_of(k), .h = k->host};
    struct cpu_split chunks = cpu_split_of(a->n_tokens, chunk_tokens(a));
    hcsmoe_status status = check(k->host, a);
    if (status != HCSMOE_OK || a->n_tokens <= 0 || a->n_experts == 0)
        return status;
    c.product = c.c->product;
    c.rows_most = rows_most(c.product, a);
    c.up = cpu_panels(c.product, a->ffn, a->width);
    c.down = cpu_panels(c.product, a->width, a->ffn);
    status = chunk_new(&c, cpu_split_widest(&chunks));
    for (int64_t i = 0; i < chunks.parts && status == HCSMOE_OK; i++) {
        int64_t begin = cpu_split_begin(&chunks, i);
        status = chunk_run(&c, begin, cpu_split_begin(&chunks, i + 1) - begin);
    }
    chunk_free(&c);
    return status;
}
