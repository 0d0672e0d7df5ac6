/*
 * kernels.h - the kernel table: all heavy arithmetic of a run, for one device.
 *
 * A kind-KERNELS plugin fills one. Pointers are memory of that device (host memory for the CPU),
 * from its alloc. Matrices are row-major and contiguous, activations float32. Weights come as
 * tensors in the dtype they are stored in (F32, F16, BF16), contiguous in their last dimension, and
 * are never copied to float32 as a whole. Work is queued in order on queue 0; a CPU table has
 * finished when the call returns. Every kernel gives the same bits for any number of threads.
 * A table whose name ends in -bf16 rounds what enters the products of linear, mlp, experts, swiglu and
 * token_logprobs to bfloat16, to nearest even: x, the weights, and the hidden activations (times
 * scale) before down; BF16 weights are taken as they are stored. Sums, what is between products,
 * hidden_sum and all outputs are float32 or better as elsewhere; linear rounds nothing when the weight
 * has HCSMOE_TENSOR_EXACT. Errors hold against the references on rounded operands; a hidden
 * activation that lies between two bfloat16 values by less than its error may become either.
 *
 * "error" is the bound that tests hold a table to against kernels/ref, relative to the largest
 * magnitude in the row unless said otherwise.
 * SPDX-License-Identifier: MIT
 */
#ifndef HCSMOE_KERNELS_H
#define HCSMOE_KERNELS_H

#include <hcsmoe/host.h>
#include <hcsmoe/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Rows begin..begin+count-1. Frozen, 16 bytes. */
typedef struct hcsmoe_span {
    int64_t begin, count;
} hcsmoe_span;

/*
 * One sequence, or one branch of a tree of sequences that share prefixes. Its queries are the rows
 * begin..begin+count-1. They see, first, all rows of its spans (the shared prefix, in order of
 * position), then its own rows up to themselves. The first query has position prefix = the sum of
 * the spans' counts. Frozen, 40 bytes.
 */
typedef struct hcsmoe_sequence {
    int64_t begin, count;
    int64_t prefix;
    int64_t first_span; /* index into the array of spans */
    int64_t n_spans;
} hcsmoe_sequence;

typedef struct hcsmoe_attention_args {
    uint32_t struct_size, reserved0;
    int64_t n_tokens; /* rows of q, k, v, out */
    int64_t n_heads, n_kv_heads;
    int64_t head_dim, v_head_dim;
    int64_t window; /* a query sees at most the last window keys, itself included; 0: no limit */
    double scale;   /* multiplies q.k */
    const float *q; /* [n_tokens, n_heads * head_dim] */
    const float *k; /* [n_tokens, n_kv_heads * head_dim] */
    const float *v; /* [n_tokens, n_kv_heads * v_head_dim] */
    float *out;     /* [n_tokens, n_heads * v_head_dim] */
    const hcsmoe_sequence *sequences; /* host memory; their rows cover 0..n_tokens-1 exactly once */
    const hcsmoe_span *spans;         /* host memory */
    int64_t n_sequences, n_spans;
} hcsmoe_attention_args;

/* A SwiGLU block: out[t] += scale[t] * down( silu(gate x[t]) * (up x[t]) ). */
typedef struct hcsmoe_mlp_args {
    uint32_t struct_size, reserved0;
    int64_t n_tokens, width, ffn;
    const float *x;                        /* [n_tokens, width] */
    const hcsmoe_tensor *gate, *up, *down; /* [ffn, width], [ffn, width], [width, ffn] */
    const float *scale;                    /* [n_tokens]; NULL: 1 */
    float *out;                            /* [n_tokens, width], added to */
} hcsmoe_mlp_args;

/*
 * All experts of one layer on one set of tokens:
 * out[t] += sum over s of weights[t,s] * expert ids[t,s] (x[t]), added in ascending order of the
 * expert.
 */
typedef struct hcsmoe_experts_args {
    uint32_t struct_size;
    int32_t top_k;
    int64_t n_tokens, width;
    int64_t n_experts; /* matrices present */
    int64_t ffn;       /* of every expert */
    const float *x;    /* [n_tokens, width] */
    const hcsmoe_tensor *gate, *up,
        *down;            /* arrays of n_experts: [ffn, width], [ffn, width], [width, ffn] */
    const int32_t *ids;   /* [n_tokens, top_k], -1: none; no expert twice in a row */
    const float *weights; /* [n_tokens, top_k] */
    float *out;           /* [n_tokens, width], added to; NULL: only hidden_sum is wanted */
    double *hidden_sum;   /* [n_experts, ffn] += sum over ALL n_tokens rows, routed or not, of
                             silu(gate x) * (up x); NULL: not wanted */
} hcsmoe_experts_args;

typedef struct hcsmoe_kernels hcsmoe_kernels;
struct hcsmoe_kernels {
    uint32_t struct_size;
    uint32_t device;  /* HCSMOE_DEVICE_* that its pointers are of */
    const char *name; /* "cpu (AVX-512, OpenBLAS 0.3.21)": for people */
    void *ctx;
    const hcsmoe_host *host;

    /* memory; tickets order the two queues: 0 computes, 1 copies. A CPU table ignores them. */
    hcsmoe_status (*alloc)(const hcsmoe_kernels *k, size_t bytes, void **p);
    void (*free)(const hcsmoe_kernels *k, void *p);
    hcsmoe_status (*upload)(const hcsmoe_kernels *k, int32_t queue, void *to, const void *from_host,
                            size_t bytes);
    hcsmoe_status (*download)(const hcsmoe_kernels *k, int32_t queue, void *to_host,
                              const void *from, size_t bytes);
    hcsmoe_status (*clear)(const hcsmoe_kernels *k, void *p, size_t bytes);
    hcsmoe_status (*mark)(const hcsmoe_kernels *k, int32_t queue, uint64_t *ticket);
    hcsmoe_status (*wait)(const hcsmoe_kernels *k, int32_t queue,
                          uint64_t ticket); /* queue -1: the calling thread waits */

    /* out[n, width] = rows ids of table, widened. Exact. */
    hcsmoe_status (*embed)(const hcsmoe_kernels *k, int64_t n, int64_t width,
                           const hcsmoe_tensor *table, const int32_t *ids, float *out);
    /* y[n, width] = x / sqrt(mean(x^2) + eps) * weight. y may be x. error 1e-6 */
    hcsmoe_status (*rmsnorm)(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                             const hcsmoe_tensor *weight, double eps, float *y);
    /* y[m, n] = (add ? y : 0) + x[m, kk] weight[n, kk]^T + bias[n] (bias may be NULL). error 2e-6 *
     * sqrt(kk) */
    hcsmoe_status (*linear)(const hcsmoe_kernels *k, int64_t m, int64_t n, int64_t kk,
                            const float *x, const hcsmoe_tensor *weight, const hcsmoe_tensor *bias,
                            int32_t add, float *y);
    /* Rotates pairs (i, i + dim/2) of the first dim elements of every head of x[n, heads, head_dim]
     * in place by position[t] * inverse_frequency[i], i < dim/2. sine and cosine from double
     * angles. error 1e-6 */
    hcsmoe_status (*rope)(const hcsmoe_kernels *k, int64_t n, int64_t heads, int64_t head_dim,
                          int64_t dim, const int64_t *position, const double *inverse_frequency,
                          float *x);
    /* Causal softmax attention, softmax in float32 with running maximum. error 5e-6 */
    hcsmoe_status (*attention)(const hcsmoe_kernels *k, const hcsmoe_attention_args *a);
    /* logits[n, e] -> probabilities (softmax over all e; may be NULL), ids[n, top_k] by descending
     * logit, ties to the lower index, weights[n, top_k]: softmax values, renormalised to sum 1 if
     * asked. ids exact, weights error 1e-6. expert i with mask[i] < 0 is never selected and its
     * logit counts as -infinity (mask may be NULL). */
    hcsmoe_status (*route)(const hcsmoe_kernels *k, int64_t n, int64_t e, int32_t top_k,
                           int32_t renormalise, const float *logits, const int64_t *mask,
                           float *probabilities, int32_t *ids, float *weights);
    /* Replaces ids by map[id]; when two of a row meet in one group the first keeps the summed
     * weight, the other becomes -1. */
    hcsmoe_status (*map_experts)(const hcsmoe_kernels *k, int64_t n, int32_t top_k,
                                 const int64_t *map, int32_t *ids, float *weights);
    hcsmoe_status (*mlp)(const hcsmoe_kernels *k,
                         const hcsmoe_mlp_args *a); /* error 2e-6 * sqrt(width) */
    hcsmoe_status (*experts)(const hcsmoe_kernels *k,
                             const hcsmoe_experts_args *a); /* error 2e-6 * sqrt(width) */
    /* h[n, ffn] = silu(gate x) * (up x) */
    hcsmoe_status (*swiglu)(const hcsmoe_kernels *k, int64_t n, int64_t width, int64_t ffn,
                            const float *x, const hcsmoe_tensor *gate, const hcsmoe_tensor *up,
                            float *h);
    /* s[n] = sigmoid(x[n, width] . w[width]) */
    hcsmoe_status (*sigmoid_dot)(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                                 const hcsmoe_tensor *w, float *s);
    /* out[n, width] = x[rows[i]]; and x[rows[i]] += scale[i] * y[i] (rows distinct). Exact / one
     * rounding. */
    hcsmoe_status (*gather)(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                            const int64_t *rows, float *out);
    hcsmoe_status (*scatter_add)(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *y,
                                 const int64_t *rows, const float *scale, float *x);
    /* For every row of x[n, width]: logits = head x; logprob[i] = log softmax at target[i] (x - max
     * - log sum exp in float32 or better), greedy[i] = 1 if target is the first largest logit.
     * Logits are never all held. error 1e-5 absolute */
    hcsmoe_status (*token_logprobs)(const hcsmoe_kernels *k, int64_t n, int64_t width,
                                    const float *x, const hcsmoe_tensor *head,
                                    const int32_t *target, float *logprob, uint8_t *greedy);
    /* sum[width] += column sums of x[n, width], in double, rows in order. */
    hcsmoe_status (*column_sum)(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                                double *sum);
    /* g[e, e] += z^T z of z[n, e], products and sums in double. */
    hcsmoe_status (*gram_columns)(const hcsmoe_kernels *k, int64_t n, int64_t e, const float *z,
                                  double *g);
    /* g[e, e] += inner products of e tensors of equal size (n tensors flattened), in double;
     * centre: the mean over the e tensors is subtracted at every position first (distances stay,
     * cancellation goes). */
    hcsmoe_status (*gram_tensors)(const hcsmoe_kernels *k, int64_t e, const hcsmoe_tensor *const *t,
                                  int32_t centre, double *g);
    /* out = sum_i coefficient[i] * t[i], elementwise in double, rounded once to out's dtype,
     * nearest even. */
    hcsmoe_status (*weighted_sum)(const hcsmoe_kernels *k, int64_t n, const hcsmoe_tensor *const *t,
                                  const double *coefficient, const hcsmoe_tensor *out);
    /* Elementwise conversion between F32, F16, BF16 (nearest even) and F64. */
    hcsmoe_status (*convert)(const hcsmoe_kernels *k, const hcsmoe_tensor *from,
                             const hcsmoe_tensor *to);
    /* C[m, n] = alpha op(A) op(B) + beta C, float32 and double; lda.. are row strides. For methods
     * that bring their own mathematics. */
    hcsmoe_status (*sgemm)(const hcsmoe_kernels *k, int32_t trans_a, int32_t trans_b, int64_t m,
                           int64_t n, int64_t kk, float alpha, const float *a, int64_t lda,
                           const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
    hcsmoe_status (*dgemm)(const hcsmoe_kernels *k, int32_t trans_a, int32_t trans_b, int64_t m,
                           int64_t n, int64_t kk, double alpha, const double *a, int64_t lda,
                           const double *b, int64_t ldb, double beta, double *c, int64_t ldc);
    /* 0 when all values of a tensor (F32, F16, BF16) are finite, else 1. [any] */
    hcsmoe_status (*has_nonfinite)(const hcsmoe_kernels *k, const hcsmoe_tensor *t, int32_t *found);
    /* Symmetric matrices, F32 or F64: only the entries of row i, column j <= i are read and written.
     * c[n, n] = alpha a^T a + beta c of a[kk, n]. error 2e-6 * sqrt(kk), 4e-15 * sqrt(kk) */
    hcsmoe_status (*syrk)(const hcsmoe_kernels *k, uint32_t dtype, int64_t n, int64_t kk,
                          double alpha, const void *a, int64_t lda, double beta, void *c,
                          int64_t ldc);
    /* a[n, n] = l l^T, l in place of a. *failed: 0, or 1 + the first row whose pivot is not positive
     * and finite: a is spoiled then. */
    hcsmoe_status (*cholesky)(const hcsmoe_kernels *k, uint32_t dtype, int64_t n, void *a,
                              int64_t lda, int64_t *failed);
    /* Every row of b[m, n] := row (l l^T)^-1. */
    hcsmoe_status (*cholesky_solve)(const hcsmoe_kernels *k, uint32_t dtype, int64_t m, int64_t n,
                                    const void *l, int64_t ldl, void *b, int64_t ldb);
    /* (l l^T)^-1 in place of l. */
    hcsmoe_status (*cholesky_inverse)(const hcsmoe_kernels *k, uint32_t dtype, int64_t n, void *l,
                                      int64_t ldl);
};

/* ops of a kind-KERNELS component; its name is a value of [run] device. With dtype = bf16 the host
 * takes, of the components NAME-bf16 and NAME-...-bf16, the one that can run and is preferred. */
typedef struct hcsmoe_kernels_ops {
    uint32_t struct_size, reserved0;
    /* 0: cannot run here (reason set by h->fail), else how much it is to be preferred, 1..100. */
    int32_t (*probe)(const hcsmoe_host *h);
    /* The table of an instance (self from create); owned by the plugin until destroy. device_index:
     * [run] device = cuda:1. */
    hcsmoe_status (*table)(void *self, const hcsmoe_host *h, int32_t device_index,
                           const hcsmoe_kernels **out);
    /* Bytes of working memory that the largest call of these sizes takes beside its arguments: for
     * the plan. */
    int64_t (*working_bytes)(void *self, const hcsmoe_host *h, const hcsmoe_experts_args *experts,
                             const hcsmoe_attention_args *attention, int64_t vocabulary);
} hcsmoe_kernels_ops;

#ifdef __cplusplus
}
#endif
#endif
