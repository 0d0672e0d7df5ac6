/*
 * neurons.h - what the files of this plugin share: a group's neurons, their Gram matrix, and the
 * two steps that slim, select and lstsq are made of.
 *
 * D width, F width of a member, F' of the result, M neurons to choose from. A neuron j of a group
 * puts out phi_j(t) = (sum of the members' weights at token t) * h_j(x_t), and
 *
 *     H = sum over t of phi phi^T     C = sum over t of r phi^T     r: the group's output at t
 *
 * H is kept as its lower triangle, C transposed, both in double where two matrices of H's size are
 * not too large, else in float. SPDX-License-Identifier: MIT
 */
#ifndef PLUGINS_MERGE_NEURONS_H
#define PLUGINS_MERGE_NEURONS_H

#include <math.h>
#include <string.h>

#include <hcsmoe/merge.h>

enum {
    ROWS = 1024, /* tokens whose products are added to H at once */
    STRIP = 512, /* rows of a product that is held before it is added */
    BLOCK = 512  /* rows of the down projection that are done at once, at most */
};

/* In float, where a matrix of M neurons takes seconds per thousand tokens, more than this many
 * tokens for each neuron bring nothing: evenly spaced ones are taken. */
enum { TOKENS_PER_NEURON = 4 };

/* Two matrices of H's size in double have at most so many bytes: M = 11585. That is all of Qwen's
 * shapes, while Mixtral's single expert (3.3 GB) has to do with float. */
static const double BYTES_MOST = 2147483648.0;

enum { BACKWARD, FORWARD };
enum { BASE_FREQ, BASE_MEAN, BASE_FIX_DOM_SAME, BASE_ALIGN, BASE_DOMINANT };
enum { GROUPS_AUTO = -1 };

/* Options of all three; each component's table names those that it has. */
typedef struct neurons_opts {
    const char *groups;
    int64_t selector;
    double ridge, select_ridge;
    int64_t select_block;
    int64_t pool;
    int64_t width_multiple;
    int64_t lstsq_base;
    int64_t min_tokens;
} neurons_opts;

struct neurons {
    const neurons_opts *o;
    int64_t groups;    /* GROUPS_AUTO, 0: as many as wanted, or a number */
    double bytes_most; /* BYTES_MOST */
};

/* One merge. */
struct work {
    const hcsmoe_host *h;
    const hcsmoe_kernels *k;
    const hcsmoe_merge_args *a;
    const neurons_opts *o;
    int64_t width, ffn, kept;  /* D, F, F' */
    uint32_t dtype;            /* of the arithmetic */
    size_t size;               /* of one of its numbers */
    const struct loops *loops; /* on them */
    int64_t block;             /* rows of the down projection that are done at once */
    double bytes_most;         /* of matrices in double */
};

struct gram {
    int64_t n;            /* M */
    int32_t single;       /* the group is one expert: phi is its output, C = V H and is not kept */
    int64_t *order;       /* [M] which of the group's m * F neurons a row belongs to */
    int64_t *neuron;      /* [M] which one of its member that is */
    void *h;              /* [M, M] */
    void *other;          /* [M, M]: H's rounding errors, then (H + mu I)^-1, then a factor */
    void *ct;             /* [M, D] C^T */
    void *wt;             /* [M, D]: C's rounding errors, then W^T */
    double *diagonal, *d; /* [M] of H; sum over t of psi phi, psi: phi in the model as it was */
    int64_t n_tokens;     /* used */
    double weight;        /* tokens of the group for each one used */
    double total;         /* sum of r^2, unless single */
};

/* loops.c: numbers of the work's dtype. */
struct loops;
const struct loops *loops_of(uint32_t dtype);
/* parallel_for over n rows of `each` numbers, unless that is too little to divide. */
hcsmoe_status spread(const struct work *w, int64_t n, int64_t each,
                     hcsmoe_status (*fn)(void *arg, int64_t begin, int64_t end), void *arg);
void *at(const struct work *w, const void *base, int64_t offset);
double get(const struct work *w, const void *base, int64_t offset);
void set(const struct work *w, void *base, int64_t offset, double value);
/* out[j] = factor[j] * scale * in[index[j]]; index NULL: j, no factors; factor NULL: 1. */
void gather(const struct work *w, void *out, const float *in, const int64_t *index, int64_t n,
            const double *factor, double scale);
double dot(const struct work *w, const void *x, const void *y, int64_t n);
/* row -= the sum of factor[k] x[k], of x[count, n]; what is left, squared and summed. */
double subtract(const struct work *w, void *row, const void *x, int64_t count, const double *factor,
                int64_t n);
void add_squares(const struct work *w, double *sum, const void *x, int64_t n, double factor);
/* sum += factor x */
void add_scaled(const struct work *w, void *sum, const void *x, int64_t n, double factor);
void exchange(const struct work *w, void *a, int64_t ld, int64_t n, int64_t i, int64_t k);
void exchange_rows(const struct work *w, void *a, int64_t ld, int64_t i, int64_t k);
hcsmoe_status mirror(const struct work *w, void *a, int64_t ld, int64_t n);
hcsmoe_status transpose(const struct work *w, void *out, int64_t ldo, const void *in, int64_t ldi,
                        int64_t rows, int64_t columns);
/* Sum over the rows of x . y, each of n of its ld numbers. */
hcsmoe_status rows_dot(const struct work *w, const void *x, const void *y, int64_t ld, int64_t rows,
                       int64_t n, double *sum);
/* C[m, n] = alpha op(A) op(B) + beta C */
hcsmoe_status gemm(const struct work *w, int trans_a, int trans_b, int64_t m, int64_t n, int64_t kk,
                   double alpha, const void *a, int64_t lda, const void *b, int64_t ldb,
                   double beta, void *c, int64_t ldc);

/* gram.c */
/* Bytes of a number: 8, or 4 where two matrices of n rows would be too large. */
int64_t arithmetic_size(double bytes_most, int64_t n);
/* Of `order` (owned by the caller, n of them); to be closed also after a failure. */
hcsmoe_status gram_open(const struct work *w, struct gram *g, int64_t *order, int64_t n);
void gram_close(const struct work *w, struct gram *g);
/* H, C, d over the group's tokens. gate, up NULL: of the members' own neurons, else of an expert
 * with these matrices, whose n neurons are the rows. */
hcsmoe_status gram_collect(const struct work *w, struct gram *g, const hcsmoe_tensor *gate,
                           const hcsmoe_tensor *up);
/* to[n, n] (ld: n) := the Cholesky factor of the first n rows of H + mu I; mu = ridge times the
 * mean of the diagonal, or ten times as much, as often as it takes. option: whose value ridge is.
 */
hcsmoe_status gram_factor(const struct work *w, const struct gram *g, int64_t n, double ridge,
                          const char *option, void *to, double *mu);
double gram_trace(const struct gram *g);
/* Rows kept[n] come first, in their order. */
void gram_arrange(const struct work *w, struct gram *g, const int64_t *kept, int64_t n);
/* out[rows, end - begin] = columns of the down projections that belong to rows begin..end-1 of the
 * Gram matrix, times factor (NULL: 1); rows row..row+rows-1. staging: [rows, F]. */
hcsmoe_status down_columns(const struct work *w, const struct gram *g, int64_t row, int64_t rows,
                           int64_t begin, int64_t end, const double *factor, float *staging,
                           void *out);

/* eliminate.c, forward.c: the F' rows to be kept, ascending. */
int64_t eliminate_block(const neurons_opts *o, int64_t n);
hcsmoe_status eliminate(const struct work *w, struct gram *g, int64_t *kept);
hcsmoe_status select_forward(const struct work *w, struct gram *g, int64_t *kept);

/* What the refitted down projection is drawn towards: rows row.. of W0 into out[rows, F']. */
struct prior {
    hcsmoe_status (*rows)(const struct work *w, const struct gram *g, const void *arg, int64_t row,
                          int64_t rows, void *out);
    const void *arg;
};

/* refit.c: V' of the first F' rows of the Gram matrix into out_down; loss and total. */
hcsmoe_status refit(const struct work *w, struct gram *g, const struct prior *prior);

/* select.c, lstsq.c */
/* How many of n neurons `pool` leaves to select from. */
int64_t pool_size(const neurons_opts *o, int64_t n, int64_t ffn);
void work_open(struct work *w, const struct neurons *self, const hcsmoe_host *h,
               const hcsmoe_merge_args *a, int64_t n);
void warn_few_tokens(const struct work *w);
hcsmoe_status select_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a);
hcsmoe_status lstsq_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a);

/* cost.c */
hcsmoe_status select_cost(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                          const hcsmoe_merge_shape *shape, int64_t n_members,
                          hcsmoe_merge_cost *cost);
hcsmoe_status lstsq_cost(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                         const hcsmoe_merge_shape *shape, int64_t n_members,
                         hcsmoe_merge_cost *cost);

/* match.c: partner[m, F]: of every neuron of a member the neuron of member `reference` that it
 * belongs to: the most correlated one, or with assign the one that makes correlations and cosines
 * largest in sum, each one once. */
hcsmoe_status match_members(const struct work *w, int64_t reference, int assign, int32_t *partner);
/* Bytes that it takes. */
double match_bytes(double bytes_most, const hcsmoe_layer_dims *dims, int64_t n_members);

/* assign.c: partner[j] = i: the permutation with the largest sum of score[i, j]. */
hcsmoe_status assign_largest(const hcsmoe_host *h, int64_t n, const double *score,
                             int32_t *partner);

#endif
