/*
 * cholesky.c - Cholesky factors, and what is done with them.
 *
 * All of them work in place, a stripe of the matrix at a time, and leave most of the arithmetic to updates of
 * what remains: tiles that parallel_for spreads. SPDX-License-Identifier: MIT
 */
#include "dense.h"

#include <string.h>

/* Rows and columns of a stripe: wide ones make better products, narrow ones leave less to a single thread. */
enum { STRIPES = 16, STRIPE_LEAST = 64, STRIPE_MOST = 256, SOLVE_LEAST = 32, SOLVE_MOST = 256 };

static int64_t stripe_of(int64_t n)
{
    int64_t width = n / STRIPES / 16 * 16;
    width = width < STRIPE_MOST ? width : STRIPE_MOST;
    return width > STRIPE_LEAST ? width : STRIPE_LEAST;
}

/* b[m, n] := b (l^T)^-1, and then l^-1 too when both is set: its rows are independent. */
struct solve {
    struct cpu_split rows;
    int64_t n;
    int both;
    struct dense l, b;
};

static hcsmoe_status solve_part(void *arg, int64_t begin, int64_t end)
{
    const struct solve *s = arg;
    for (int64_t part = begin; part < end; part++) {
        int64_t row = cpu_split_begin(&s->rows, part);
        int64_t m = cpu_split_begin(&s->rows, part + 1) - row;
        struct dense b = dense_at(&s->b, row, 0);
        dense_trsm(0, 1, m, s->n, &s->l, &b);
        if (s->both != 0)
            dense_trsm(0, 0, m, s->n, &s->l, &b);
    }
    return HCSMOE_OK;
}

static hcsmoe_status solve_run(const hcsmoe_host *h, int64_t m, struct solve *s)
{
    int64_t tile = m / STRIPES;
    tile = tile < SOLVE_MOST ? tile : SOLVE_MOST;
    s->rows = cpu_split_of(m, tile > SOLVE_LEAST ? tile : SOLVE_LEAST);
    return h->parallel_for(h, s->rows.parts, solve_part, s);
}

/* The stripe's square is factored, the rows below it are solved, what lies to their right is updated. */
hcsmoe_status cpu_cholesky(const hcsmoe_kernels *k, uint32_t dtype, int64_t n, void *a, int64_t lda,
                           int64_t *failed)
{
    const hcsmoe_host *h = k->host;
    struct dense all = {.dtype = dtype, .data = a, .ld = lda};
    int64_t stripe = stripe_of(n);
    hcsmoe_status status = dense_check(h, "cholesky", &all, n, n);
    *failed = 0;
    for (int64_t i = 0; i < n && status == HCSMOE_OK; i += stripe) {
        int64_t width = n - i < stripe ? n - i : stripe;
        int64_t below = n - i - width;
        struct dense rest = dense_at(&all, i + width, i + width);
        struct solve s = {.n = width, .l = dense_at(&all, i, i), .b = dense_at(&all, i + width, i)};
        int64_t bad = dense_factor(width, &s.l);
        if (bad != 0) {
            *failed = i + bad;
            return HCSMOE_OK;
        }
        struct dense_update u = dense_update_of(0, below, width, -1.0, &s.b, 1.0, &rest);
        status = solve_run(h, below, &s);
        if (status == HCSMOE_OK)
            status = dense_update_run(h, &u);
        if (status == HCSMOE_OK)
            status = cpu_check_cancelled(h);
    }
    return status;
}

hcsmoe_status cpu_cholesky_solve(const hcsmoe_kernels *k, uint32_t dtype, int64_t m, int64_t n,
                                 const void *l, int64_t ldl, void *b, int64_t ldb)
{
    struct solve s = {.n = n,
                      .both = 1,
                      .l = {.dtype = dtype, .data = (void *)(uintptr_t)l, .ld = ldl},
                      .b = {.dtype = dtype, .data = b, .ld = ldb}};
    hcsmoe_status status = dense_check(k->host, "cholesky_solve", &s.l, n, n);
    if (status == HCSMOE_OK)
        status = dense_check(k->host, "cholesky_solve", &s.b, m, n);
    if (status == HCSMOE_OK)
        status = dense_check_pivots(k->host, "cholesky_solve", n, &s.l);
    return status == HCSMOE_OK ? solve_run(k->host, m, &s) : status;
}

/*
 * Both steps of the inverse, x = l^-1 and x^T x, in one pass over stripes of rows. Where the pass stands:
 *
 *   rows above the stripe   x^T x of the rows so far
 *   left of the square      rows of the stripe and below: -(l x) of the columns so far
 *   the square and below    still l
 *
 * A stripe turns its own rows into rows of x, and adds to the two parts what these bring. The columns of l below
 * the square are needed until the end of the step, but become a part of -(l x): they are copied first.
 */
struct inverse {
    int64_t n;
    struct dense l;
    struct dense kept; /* [n, stripe]: columns of l */
    int64_t at, width; /* the stripe */
    struct cpu_split left, below;
    struct dense square;
    struct dense row; /* left of the square */
    struct dense_update above;
};

static int64_t part_of(const struct cpu_split *s, int64_t part, int64_t *begin)
{
    *begin = cpu_split_begin(s, part);
    return cpu_split_begin(s, part + 1) - *begin;
}

/* The stripe's rows left of the square become rows of x; and l below the square is kept. */
static hcsmoe_status inverse_rows(void *arg, int64_t begin, int64_t end)
{
    const struct inverse *v = arg;
    size_t size = v->l.dtype == HCSMOE_DTYPE_F64 ? 8 : 4;
    for (int64_t part = begin; part < end; part++) {
        int64_t at;
        if (part < v->left.parts) {
            int64_t n = part_of(&v->left, part, &at);
            struct dense b = dense_at(&v->row, 0, at);
            dense_trsm(1, 0, v->width, n, &v->square, &b);
            continue;
        }
        int64_t m = part_of(&v->below, part - v->left.parts, &at);
        for (int64_t i = at; i < at + m; i++) {
            struct dense from = dense_at(&v->square, v->width + i, 0);
            struct dense to = dense_at(&v->kept, i, 0);
            memcpy(to.data, from.data, (size_t)v->width * size);
        }
    }
    return HCSMOE_OK;
}

/* One of the tiles below the stripe: those left of the square, then those below the square. */
static void inverse_below(const struct inverse *v, int64_t part)
{
    int64_t row;
    int64_t column;
    int64_t m = part_of(&v->below, part % v->below.parts, &row);
    if (part / v->below.parts == v->left.parts) {
        struct dense b = dense_at(&v->square, v->width + row, 0);
        dense_trmm(0, 0, m, v->width, -1.0, &v->square, &b);
        return;
    }
    int64_t n = part_of(&v->left, part / v->below.parts, &column);
    struct dense a = dense_at(&v->kept, row, 0);
    struct dense b = dense_at(&v->row, 0, column);
    struct dense c = dense_at(&v->row, v->width + row, column);
    dense_gemm(0, m, n, v->width, -1.0, &a, &b, &c);
}

static hcsmoe_status inverse_updates(void *arg, int64_t begin, int64_t end)
{
    const struct inverse *v = arg;
    int64_t above = dense_update_tiles(&v->above);
    for (int64_t part = begin; part < end; part++) {
        if (part < above)
            dense_update_tile(&v->above, part);
        else
            inverse_below(v, part - above);
    }
    return HCSMOE_OK;
}

/* The stripe's rows of x become rows of x^T x, as far as they alone go. */
static hcsmoe_status inverse_close(void *arg, int64_t begin, int64_t end)
{
    const struct inverse *v = arg;
    for (int64_t part = begin; part < end; part++) {
        int64_t at;
        int64_t n = part_of(&v->left, part, &at);
        struct dense b = dense_at(&v->row, 0, at);
        dense_trmm(1, 1, v->width, n, 1.0, &v->square, &b);
    }
    return HCSMOE_OK;
}

static hcsmoe_status inverse_stripe(const hcsmoe_host *h, struct inverse *v)
{
    v->square = dense_at(&v->l, v->at, v->at);
    v->row = dense_at(&v->l, v->at, 0);
    v->left = dense_split(v->at);
    v->below = dense_split(v->n - v->at - v->width);
    v->above = dense_update_of(1, v->at, v->width, 1.0, &v->row, 1.0, &v->l);
    int64_t updates = dense_update_tiles(&v->above) + (v->left.parts + 1) * v->below.parts;
    hcsmoe_status status = h->parallel_for(h, v->left.parts + v->below.parts, inverse_rows, v);
    if (status != HCSMOE_OK)
        return status;
    dense_invert(v->width, &v->square);
    status = h->parallel_for(h, updates, inverse_updates, v);
    if (status == HCSMOE_OK)
        status = h->parallel_for(h, v->left.parts, inverse_close, v);
    if (status == HCSMOE_OK)
        dense_square(v->width, &v->square);
    return status;
}

hcsmoe_status cpu_cholesky_inverse(const hcsmoe_kernels *k, uint32_t dtype, int64_t n, void *l,
                                   int64_t ldl)
{
    const hcsmoe_host *h = k->host;
    struct inverse v = {.n = n, .l = {.dtype = dtype, .data = l, .ld = ldl}};
    int64_t stripe = stripe_of(n);
    hcsmoe_status status = dense_check(h, "cholesky_inverse", &v.l, n, n);
    if (status == HCSMOE_OK)
        status = dense_check_pivots(h, "cholesky_inverse", n, &v.l);
    if (status != HCSMOE_OK)
        return status;
    v.kept = (struct dense){.dtype = dtype, .data = cpu_new(h, n * stripe, 8), .ld = stripe};
    if (v.kept.data == NULL)
        return HCSMOE_ENOMEM;
    for (; v.at < n && status == HCSMOE_OK; v.at += v.width) {
        v.width = n - v.at < stripe ? n - v.at : stripe;
        status = inverse_stripe(h, &v);
        if (status == HCSMOE_OK)
            status = cpu_check_cancelled(h);
    }
    h->free(h, v.kept.data);
    return status;
}
