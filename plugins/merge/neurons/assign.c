/*
 * assign.c - linear assignment by shortest augmenting paths (Jonker and Volgenant 1987), O(n^3).
 * SPDX-License-Identifier: MIT
 */
#include "neurons.h"

struct assignment {
    int64_t n;
    const double *score;              /* [n, n] */
    double *row_price, *column_price; /* score[i, j] <= row_price[i] + column_price[j] */
    int32_t *row_of;                  /* [n] of a column; -1: free */
    int32_t *before;  /* [n] column from which the shortest path comes to a column; -1: the start */
    double *distance; /* [n] to a column */
    uint8_t *done;    /* [n] columns whose distance is final */
};

/* Gives the free row a column, along the path that costs least, and moves the rows on it. */
static void assign_row(struct assignment *x, int64_t row)
{
    const int64_t n = x->n;
    int64_t at = row, column = -1;
    double reached = 0;
    int64_t j;

    for (j = 0; j < n; j++) {
        x->distance[j] = INFINITY;
        x->done[j] = 0;
        x->before[j] = -1;
    }
    for (;;) {
        int64_t next = -1;
        for (j = 0; j < n; j++) {
            double d;
            if (x->done[j])
                continue;
            d = reached + (x->row_price[at] + x->column_price[j] - x->score[at * n + j]);
            if (d < x->distance[j]) {
                x->distance[j] = d;
                x->before[j] = (int32_t)column;
            }
            if (next < 0 || x->distance[j] < x->distance[next])
                next = j;
        }
        x->done[next] = 1;
        reached = x->distance[next];
        column = next;
        if (x->row_of[column] < 0)
            break;
        at = x->row_of[column];
    }
    /* Prices under which all of the path is tight. */
    x->row_price[row] -= reached;
    for (j = 0; j < n; j++)
        if (x->done[j] && j != column) {
            x->column_price[j] += reached - x->distance[j];
            x->row_price[x->row_of[j]] -= reached - x->distance[j];
        }
    while (x->before[column] >= 0) {
        x->row_of[column] = x->row_of[x->before[column]];
        column = x->before[column];
    }
    x->row_of[column] = (int32_t)row;
}

hcsmoe_status assign_largest(const hcsmoe_host *h, int64_t n, const double *score, int32_t *partner)
{
    struct assignment x = {.n = n, .score = score, .row_of = partner};
    int64_t i, j;

    x.row_price = h->scratch(h, (size_t)n * sizeof *x.row_price);
    x.column_price = h->scratch(h, (size_t)n * sizeof *x.column_price);
    x.before = h->scratch(h, (size_t)n * sizeof *x.before);
    x.distance = h->scratch(h, (size_t)n * sizeof *x.distance);
    x.done = h->scratch(h, (size_t)n);
    if (!x.row_price || !x.column_price || !x.before || !x.distance || !x.done)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    for (i = 0; i < n; i++) {
        x.column_price[i] = 0;
        x.row_of[i] = -1;
        x.row_price[i] = -INFINITY;
        for (j = 0; j < n; j++)
            x.row_price[i] = fmax(x.row_price[i], score[i * n + j]);
    }
    for (i = 0; i < n; i++) {
        if (h->cancelled(h))
            return HCSMOE_ECANCELLED;
        assign_row(&x, i);
    }
    return HCSMOE_OK;
}
