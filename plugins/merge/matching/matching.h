/*
 * matching.h - what zipit and fix-dom-same share: pooled tokens, correlations, putting features
 * together.
 *
 * A feature is one neuron of an expert: a row of gate, the same row of up, the same column of down.
 * Both methods correlate the features of a group's experts, decide which of them are one, and
 * average what is one. A group's features are numbered position * F + row, position 0 being the
 * member of lowest index. SPDX-License-Identifier: MIT
 */
#ifndef PLUGINS_MERGE_MATCHING_H
#define PLUGINS_MERGE_MATCHING_H

#include <hcsmoe/merge.h>

enum {
    MATCHING_ROWS = 1024, /* of a feature matrix that are held at once */
    MATCHING_BLOCK = 512, /* features of a block of correlations, at most */
    /* Up to so many features are correlated in double. Beyond, memory and time count more than the
     * seventh digit: products are float32, and what is added to them is rounded to it. */
    MATCHING_WIDE_MOST = 4096
};

/* Added to the product of two standard deviations, as the reference program of HC-SMoE does. */
#define MATCHING_EPSILON 1e-7

/* Bits of mode and of ingredient. */
enum { MODE_SCALED = 1, MODE_SHARES = 2 };
enum { INGREDIENT_ACT = 1, INGREDIENT_WEIGHT = 2 };

typedef struct matching_opts {
    int64_t mode, ingredient, data_limit;
} matching_opts;

/* The descriptors' common parts. */
extern const hcsmoe_option matching_options[];
enum { MATCHING_OPTIONS = 3 };
uint64_t matching_needs(const void *opts, uint64_t caps);
int32_t matching_has_effect(const void *opts, uint64_t caps, const char *option);
hcsmoe_status matching_create(const hcsmoe_host *h, const void *opts, void **self);
/* Rows that a group of so many members pools, if tokens are spread evenly. */
double matching_rows(const matching_opts *o, const hcsmoe_layer_dims *dims, int64_t n_members);
extern const hcsmoe_component matching_zipit, matching_fix_dom_same;

/* One group at work. All memory is scratch: it goes when the call returns. */
struct matching {
    const hcsmoe_host *h;
    const hcsmoe_kernels *k;
    const hcsmoe_merge_args *a;
    const matching_opts *o;
};

/*
 * pool.c: the rows on which activations are compared. A row is a token routed to a member: one that
 * is routed to two of them is there twice. With MODE_SCALED it is the token times the member's
 * probability. Beyond data_limit rows a uniformly random subset is taken.
 */
struct pool {
    const struct matching *m;
    int64_t n_tokens;     /* of the group, before the limit */
    int64_t n_rows;       /* with repetition */
    unsigned char *taken; /* [rows before the limit]; NULL: all */
    float *x;             /* [MATCHING_ROWS, D] room for a pass, and for */
    double *times;        /* [MATCHING_ROWS] how often each of them counts */
};

struct pool_rows {
    int64_t n;           /* 1..MATCHING_ROWS */
    const float *x;      /* [n, D] */
    const double *times; /* [n] how often the row counts */
};

hcsmoe_status pool_open(struct pool *p, const struct matching *m);
/* Every stride-th of the rows, MATCHING_ROWS at a time. */
hcsmoe_status pool_each(const struct pool *p, int64_t stride,
                        hcsmoe_status (*see)(void *arg, const struct pool_rows *rows), void *arg);

/*
 * A matrix of correlations in square blocks, row >= column: the lower triangle of blocks, or, as a
 * rectangle, those of the second half's rows in the first half's columns. Each expert's features
 * begin with a block; the last of its blocks may be wider than what is left of them. Blocks on the
 * diagonal are whole.
 */
struct matrix {
    void *data;
    int64_t block, n_blocks; /* features in a block, blocks to a side */
    int32_t wide;            /* 1: double, 0: float */
    int32_t rectangle;
};

/* Element 0 of the block in block row i and block column j <= i. */
static inline int64_t matrix_block(const struct matrix *x, int64_t i, int64_t j)
{
    const int64_t half = x->n_blocks / 2;
    const int64_t number = x->rectangle ? (i - half) * half + j : i * (i + 1) / 2 + j;

    return number * x->block * x->block;
}

static inline double matrix_get(const struct matrix *x, int64_t at)
{
    return x->wide ? ((const double *)x->data)[at] : (double)((const float *)x->data)[at];
}

static inline void matrix_set(const struct matrix *x, int64_t at, double value)
{
    if (x->wide)
        ((double *)x->data)[at] = value;
    else
        ((float *)x->data)[at] = (float)value;
}

/* correlation.c: the features of some of a group's experts. */
struct correlation {
    const struct matching *m;
    int32_t *side;                /* [n_sides] positions in the group */
    int64_t n_sides, side_blocks; /* blocks of one expert */
    int64_t n_features, n_pairs;  /* n_features: with what fills up the last blocks */
    struct matrix c;
    double *mean, *deviation; /* [n_features] */
    float *shift;             /* [n_features] subtracted from activations */
    float *hidden;            /* [MATCHING_ROWS, F] */
    void *panels;             /* [n_blocks] of [MATCHING_ROWS, block] */
    double *centre;           /* [n_features] means of weights */
    void *buffers;            /* correlation_buffers */
    int64_t n_summed;         /* 0: nothing in c yet */
};

/* Memory for n_sides experts; the caller then fills side. rectangle: two, the second by the first. */
hcsmoe_status correlation_open(struct correlation *c, const struct matching *m, int64_t n_sides,
                               int32_t rectangle);
/* c := the correlation of the ingredient, the sum of the two of act+weight. p: NULL for weight. */
hcsmoe_status correlation_fill(struct correlation *c, const struct pool *p);
/* Bytes of working memory of a group, the pool's included. */
int64_t correlation_bytes(const hcsmoe_host *h, const matching_opts *o,
                          const hcsmoe_layer_dims *dims, int64_t n_sides, int32_t rectangle);
/* The arithmetic of one fill from so many rows. */
double correlation_flops(const matching_opts *o, const hcsmoe_layer_dims *dims, int64_t n_sides,
                         int32_t rectangle, double n_rows);

/* For weights.c: where blocks lie and what becomes of their sums of products. */
int64_t correlation_width(const struct correlation *c, int64_t block);
void correlation_pair(const struct correlation *c, int64_t number, int64_t *i, int64_t *j);
/* sums: of the block; offset[n_features]: what each feature's mean is off, NULL: nothing. */
void correlation_divide(struct correlation *c, int64_t i, int64_t j, const void *sums,
                        const double *offset, int64_t n_rows, int32_t add);
/* mean: holds sums, deviation: sums of squares. Fails on what is not finite. */
hcsmoe_status correlation_moments(struct correlation *c, const char *what, int64_t n_rows);

/* weights.c. buffers: the bytes that it needs for all threads. add: to what is there. */
size_t correlation_buffers(const hcsmoe_host *h, const struct correlation *c);
hcsmoe_status correlation_of_weights(struct correlation *c, int32_t add);

/*
 * greedy.c: merges the two features of highest correlation until n_merges are merged. present[n] of
 * the n = block * n_blocks rows says which are features; those that are left stay present.
 * into[n]: the feature that each was merged into (always a lower one), or itself.
 */
hcsmoe_status greedy_merge(const hcsmoe_host *h, struct matrix *c, int64_t n_merges,
                           unsigned char *present, int64_t *into);

/* combine.c: features of the result as weighted means of features of the group. */
struct combination {
    int64_t n_slots;
    int64_t *first;      /* [n_slots + 1] where each slot's features begin in: */
    int64_t *feature;    /* position * F + row */
    double *coefficient; /* of one slot: sum 1 */
};

/* zipit.c, without the correlations: the slots of the result. into: of greedy_merge, and spoiled. */
hcsmoe_status zipit_slots(const struct matching *m, const struct correlation *x, int64_t *into,
                          struct combination *c);

/*
 * fix_dom_same.c, without the correlations: the core's feature that each feature of the second
 * expert goes to; and from match[members, F] (the core's own match themselves) the slots of the
 * result. c has room for all features, next and sum for F.
 */
void fix_matches(const struct correlation *c, int64_t ffn, int64_t *match);
void fix_slots(const struct matching *m, const int64_t *match, int64_t core, const double *share,
               int64_t *next, double *sum, struct combination *c);

/* What each member counts, [n_members]: 1, or with MODE_SHARES the rows routed to it. */
void combine_shares(const struct matching *m, double *share);
hcsmoe_status combine(const struct matching *m, const struct combination *c);
/* For a group of fewer than two tokens: the plain mean, with a warning. */
hcsmoe_status combine_plain(const struct matching *m, int64_t n_tokens);

#endif
