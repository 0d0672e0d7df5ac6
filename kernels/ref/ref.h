/*
 * ref.h - the reference kernels: plain C, one file each, sums in double, on one thread. They say what
 * every other table must compute; no speed is asked of them. Used by the tables of kernels/ and by tests.
 * SPDX-License-Identifier: MIT
 */
#ifndef KERNELS_REF_H
#define KERNELS_REF_H

#include <hcsmoe/kernels.h>

/* Fills every function of the table but leaves struct_size, device, name, ctx and host to the caller. */
void ref_table(hcsmoe_kernels *t);

/* Element i, counted row-major over the shape whatever the strides, of an F32, F16, BF16 or F64 tensor. */
double ref_get(const hcsmoe_tensor *t, int64_t i);
/* Rounds once, to nearest even; too large becomes infinity, NaN stays NaN. */
void ref_set(const hcsmoe_tensor *t, int64_t i, double value);

/* Entry at of an F32 matrix, or of an F64 one. */
static inline double ref_entry(uint32_t dtype, const void *x, int64_t at)
{
    return dtype == HCSMOE_DTYPE_F64 ? ((const double *)x)[at] : (double)((const float *)x)[at];
}
static inline void ref_set_entry(uint32_t dtype, void *x, int64_t at, double value)
{
    if (dtype == HCSMOE_DTYPE_F64)
        ((double *)x)[at] = value;
    else
        ((float *)x)[at] = (float)value;
}

/* Host memory, from the host; the queues are always idle. */
hcsmoe_status ref_alloc(const hcsmoe_kernels *k, size_t bytes, void **p);
void ref_free(const hcsmoe_kernels *k, void *p);
hcsmoe_status ref_upload(const hcsmoe_kernels *k, int32_t queue, void *to, const void *from_host,
                         size_t bytes);
hcsmoe_status ref_download(const hcsmoe_kernels *k, int32_t queue, void *to_host, const void *from,
                           size_t bytes);
hcsmoe_status ref_clear(const hcsmoe_kernels *k, void *p, size_t bytes);
hcsmoe_status ref_mark(const hcsmoe_kernels *k, int32_t queue, uint64_t *ticket);
hcsmoe_status ref_wait(const hcsmoe_kernels *k, int32_t queue, uint64_t ticket);

/* The kernels: see hcsmoe/kernels.h for each. */
hcsmoe_status ref_embed(const hcsmoe_kernels *k, int64_t n, int64_t width,
                        const hcsmoe_tensor *table, const int32_t *ids, float *out);
hcsmoe_status ref_rmsnorm(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                          const hcsmoe_tensor *weight, double eps, float *y);
hcsmoe_status ref_linear(const hcsmoe_kernels *k, int64_t m, int64_t n, int64_t kk, const float *x,
                         const hcsmoe_tensor *weight, const hcsmoe_tensor *bias, int32_t add,
                         float *y);
hcsmoe_status ref_rope(const hcsmoe_kernels *k, int64_t n, int64_t heads, int64_t head_dim,
                       int64_t dim, const int64_t *position, const double *inverse_frequency,
                       float *x);
hcsmoe_status ref_attention(const hcsmoe_kernels *k, const hcsmoe_attention_args *a);
hcsmoe_status ref_route(const hcsmoe_kernels *k, int64_t n, int64_t e, int32_t top_k,
                        int32_t renormalise, const float *logits, const int64_t *mask,
                        float *probabilities, int32_t *ids, float *weights);
hcsmoe_status ref_map_experts(const hcsmoe_kernels *k, int64_t n, int32_t top_k, const int64_t *map,
                              int32_t *ids, float *weights);
hcsmoe_status ref_mlp(const hcsmoe_kernels *k, const hcsmoe_mlp_args *a);
hcsmoe_status ref_experts(const hcsmoe_kernels *k, const hcsmoe_experts_args *a);
hcsmoe_status ref_swiglu(const hcsmoe_kernels *k, int64_t n, int64_t width, int64_t ffn,
                         const float *x, const hcsmoe_tensor *gate, const hcsmoe_tensor *up,
                         float *h);
hcsmoe_status ref_sigmoid_dot(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                              const hcsmoe_tensor *w, float *s);
hcsmoe_status ref_gather(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                         const int64_t *rows, float *out);
hcsmoe_status ref_scatter_add(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *y,
                              const int64_t *rows, const float *scale, float *x);
hcsmoe_status ref_token_logprobs(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                                 const hcsmoe_tensor *head, const int32_t *target, float *logprob,
                                 uint8_t *greedy);
hcsmoe_status ref_column_sum(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                             double *sum);
hcsmoe_status ref_gram_columns(const hcsmoe_kernels *k, int64_t n, int64_t e, const float *z,
                               double *g);
hcsmoe_status ref_gram_tensors(const hcsmoe_kernels *k, int64_t e, const hcsmoe_tensor *const *t,
                               int32_t centre, double *g);
hcsmoe_status ref_weighted_sum(const hcsmoe_kernels *k, int64_t n, const hcsmoe_tensor *const *t,
                               const double *coefficient, const hcsmoe_tensor *out);
hcsmoe_status ref_convert(const hcsmoe_kernels *k, const hcsmoe_tensor *from,
                          const hcsmoe_tensor *to);
hcsmoe_status ref_sgemm(const hcsmoe_kernels *k, int32_t trans_a, int32_t trans_b, int64_t m,
                        int64_t n, int64_t kk, float alpha, const float *a, int64_t lda,
                        const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
hcsmoe_status ref_dgemm(const hcsmoe_kernels *k, int32_t trans_a, int32_t trans_b, int64_t m,
                        int64_t n, int64_t kk, double alpha, const double *a, int64_t lda,
                        const double *b, int64_t ldb, double beta, double *c, int64_t ldc);
hcsmoe_status ref_has_nonfinite(const hcsmoe_kernels *k, const hcsmoe_tensor *t, int32_t *found);
hcsmoe_status ref_syrk(const hcsmoe_kernels *k, uint32_t dtype, int64_t n, int64_t kk, double alpha,
                       const void *a, int64_t lda, double beta, void *c, int64_t ldc);
hcsmoe_status ref_cholesky(const hcsmoe_kernels *k, uint32_t dtype, int64_t n, void *a, int64_t lda,
                           int64_t *failed);
hcsmoe_status ref_cholesky_solve(const hcsmoe_kernels *k, uint32_t dtype, int64_t m, int64_t n,
                                 const void *l, int64_t ldl, void *b, int64_t ldb);
hcsmoe_status ref_cholesky_inverse(const hcsmoe_kernels *k, uint32_t dtype, int64_t n, void *l,
                                   int64_t ldl);

#endif
