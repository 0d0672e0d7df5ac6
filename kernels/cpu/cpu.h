/*
 * cpu.h - what the CPU kernels share: the table object, working memory per thread, tiles, weights.
 *
 * Every kernel cuts its work into tiles whose bounds depend on the sizes alone, runs them with the host's
 * parallel_for, and adds up what tiles share in a fixed order. BLAS runs on one thread inside a tile.
 * SPDX-License-Identifier: MIT
 */
#ifndef KERNELS_CPU_CPU_H
#define KERNELS_CPU_CPU_H

#include <hcsmoe/kernels.h>

#include "simd.h"

struct cpu;

/*
 * How activations and stored weights enter matrix products. What is rounded is called an operand: activations
 * are made into operands once, weights panel by panel.
 */
struct cpu_product {
    const char *note;       /* of the table's name */
    int64_t tile_rows;      /* activations that one panel of weights serves */
    int64_t panel_rows;     /* at most; and of so many elements */
    int64_t panel_elements; /* a panel should stay in the caches */
    size_t element;         /* bytes of an operand's element, and of a panel's */
    /* n activations as operands; NULL: they are used where they are. */
    void (*operand)(const struct cpu_simd *s, int64_t n, const float *x, void *to);
    /* y[m, rows] = (add ? y : 0) + x[m, kk] w[first..first+rows-1]^T. x: operands, ldx elements from row to row.
     * panel: room for rows * kk elements. */
    hcsmoe_status (*multiply)(const struct cpu *c, int64_t m, const void *x, int64_t ldx,
                              const hcsmoe_tensor *w, int64_t first, int64_t rows, void *panel,
                              int add, float *y, int64_t ldy);
};
extern const struct cpu_product cpu_product_f32; /* all in float32 */
extern const struct cpu_product
    cpu_product_rounded; /* operands rounded to bfloat16, kept as float32 */

struct cpu {
    hcsmoe_kernels table;
    const struct cpu_simd *simd;
    const struct cpu_product *product;
    void *product_state; /* the product's own */
    char name[112];
};

/* The sets of loops that this processor can run, best first, ended by NULL. */
const struct cpu_simd *const *cpu_simd_sets(void);
/* A table on these loops; NULL with the message set when memory is lacking. */
struct cpu *cpu_table(const hcsmoe_host *h, const struct cpu_simd *simd,
                      const struct cpu_product *product);
void cpu_table_free(const hcsmoe_host *h, struct cpu *c); /* c may be NULL */
/* The ops of a plugin whose instance is such a table. */
hcsmoe_status cpu_table_get(void *self, const hcsmoe_host *h, int32_t device_index,
                            const hcsmoe_kernels **out);
int64_t cpu_working_bytes(void *self, const hcsmoe_host *h, const hcsmoe_experts_args *experts,
                          const hcsmoe_attention_args *attention, int64_t vocabulary);

static inline const struct cpu *cpu_of(const hcsmoe_kernels *k)
{
    return k->ctx;
}
static inline const struct cpu_simd *cpu_simd_of(const hcsmoe_kernels *k)
{
    return cpu_of(k)->simd;
}

/* Working memory of a call: a block for each thread that parallel_for may use. */
struct cpu_work {
    const hcsmoe_host *h;
    char *base;
    size_t each;
};
hcsmoe_status cpu_work_new(struct cpu_work *w, const hcsmoe_host *h, size_t bytes_each);
void cpu_work_free(struct cpu_work *w);
/* The calling thread's block; the first 64-byte line of everything laid out in it is aligned. */
void *cpu_work_mine(const struct cpu_work *w);
/* Cuts count items of size bytes off *block. */
void *cpu_work_take(char **block, int64_t count, size_t size);
/* What cpu_work_take uses for them. */
size_t cpu_work_size(int64_t count, size_t size);
/* n items from the host's memory, with a message when they cannot be had. */
void *cpu_new(const hcsmoe_host *h, int64_t n, size_t size);

/* 0..n-1 in parts as even as possible, of at most `most`, with bounds at multiples of 16. */
struct cpu_split {
    int64_t n, parts;
};
struct cpu_split cpu_split_of(int64_t n, int64_t most);
int64_t cpu_split_begin(const struct cpu_split *s, int64_t part); /* part = parts: n */
int64_t cpu_split_widest(const struct cpu_split *s);              /* no part is larger */

/* How weights [n, kk] are cut into panels. */
struct cpu_split cpu_panels(const struct cpu_product *p, int64_t n, int64_t kk);
/* *out: n activations as operands, in memory that the caller frees (*room), or where they are (NULL). */
hcsmoe_status cpu_operands(const struct cpu *c, const struct cpu_product *p, int64_t n,
                           const float *x, void **room, const void **out);
/* Rows first.. of a matrix, rounded to bfloat16 and without gaps. */
void cpu_narrow_rows(const struct cpu_simd *s, const hcsmoe_tensor *w, int64_t first, int64_t rows,
                     uint16_t *to);
/* n elements that follow each other from `offset` on, as they are stored, to float. */
void cpu_widen_run(const struct cpu_simd *s, uint32_t dtype, const void *data, int64_t offset,
                   int64_t n, float *to);

/* Elements begin..begin+n-1, counted row-major, of an F32, F16 or BF16 tensor; with _double also F64. */
void cpu_read(const struct cpu_simd *s, const hcsmoe_tensor *t, int64_t begin, int64_t n,
              float *to);
void cpu_read_double(const struct cpu_simd *s, const hcsmoe_tensor *t, int64_t begin, int64_t n,
                     double *to);
void cpu_write_double(const struct cpu_simd *s, const hcsmoe_tensor *t, int64_t begin, int64_t n,
                      const double *from);
/* The same elements of an F32 tensor from one that is no wider. */
void cpu_widen(const struct cpu_simd *s, const hcsmoe_tensor *from, const hcsmoe_tensor *to,
               int64_t begin, int64_t n);
enum { CPU_READ_MOST = 4096 }; /* n of the double ones: they convert by way of the stack */

/* Refusals: a matrix [rows, columns] or n elements of F32, F16, BF16 (any_float: or F64), rows contiguous. */
hcsmoe_status cpu_check_matrix(const hcsmoe_host *h, const char *what, const hcsmoe_tensor *t,
                               int64_t rows, int64_t columns);
hcsmoe_status cpu_check_elements(const hcsmoe_host *h, const char *what, const hcsmoe_tensor *t,
                                 int64_t n, int any_float);
/* None of the sizes may be negative or more than BLAS counts. */
hcsmoe_status cpu_check_sizes(const hcsmoe_host *h, const char *what, int64_t a, int64_t b,
                              int64_t c);
hcsmoe_status cpu_check_cancelled(const hcsmoe_host *h);

/* The kernels: see hcsmoe/kernels.h for each. */
hcsmoe_status cpu_embed(const hcsmoe_kernels *k, int64_t n, int64_t width,
                        const hcsmoe_tensor *table, const int32_t *ids, float *out);
hcsmoe_status cpu_rmsnorm(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                          const hcsmoe_tensor *weight, double eps, float *y);
hcsmoe_status cpu_linear(const hcsmoe_kernels *k, int64_t m, int64_t n, int64_t kk, const float *x,
                         const hcsmoe_tensor *weight, const hcsmoe_tensor *bias, int32_t add,
                         float *y);
hcsmoe_status cpu_rope(const hcsmoe_kernels *k, int64_t n, int64_t heads, int64_t head_dim,
                       int64_t dim, const int64_t *position, const double *inverse_frequency,
                       float *x);
hcsmoe_status cpu_attention(const hcsmoe_kernels *k, const hcsmoe_attention_args *a);
int64_t cpu_attention_bytes(const hcsmoe_host *h, const hcsmoe_attention_args *a);
hcsmoe_status cpu_route(const hcsmoe_kernels *k, int64_t n, int64_t e, int32_t top_k,
                        int32_t renormalise, const float *logits, const int64_t *mask,
                        float *probabilities, int32_t *ids, float *weights);
hcsmoe_status cpu_mlp(const hcsmoe_kernels *k, const hcsmoe_mlp_args *a);
int64_t cpu_mlp_bytes(const struct cpu *c);
hcsmoe_status cpu_experts(const hcsmoe_kernels *k, const hcsmoe_experts_args *a);
int64_t cpu_experts_bytes(const struct cpu *c, const hcsmoe_experts_args *a);
hcsmoe_status cpu_swiglu(const hcsmoe_kernels *k, int64_t n, int64_t width, int64_t ffn,
                         const float *x, const hcsmoe_tensor *gate, const hcsmoe_tensor *up,
                         float *h);
hcsmoe_status cpu_sigmoid_dot(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                              const hcsmoe_tensor *w, float *s);
hcsmoe_status cpu_gather(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                         const int64_t *rows, float *out);
hcsmoe_status cpu_scatter_add(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *y,
                              const int64_t *rows, const float *scale, float *x);
hcsmoe_status cpu_token_logprobs(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                                 const hcsmoe_tensor *head, const int32_t *target, float *logprob,
                                 uint8_t *greedy);
int64_t cpu_token_logprobs_bytes(const struct cpu *c, int64_t width, int64_t vocabulary);
hcsmoe_status cpu_column_sum(const hcsmoe_kernels *k, int64_t n, int64_t width, const float *x,
                             double *sum);
hcsmoe_status cpu_gram_columns(const hcsmoe_kernels *k, int64_t n, int64_t e, const float *z,
                               double *g);
hcsmoe_status cpu_gram_tensors(const hcsmoe_kernels *k, int64_t e, const hcsmoe_tensor *const *t,
                               int32_t centre, double *g);
hcsmoe_status cpu_weighted_sum(const hcsmoe_kernels *k, int64_t n, const hcsmoe_tensor *const *t,
                               const double *coefficient, const hcsmoe_tensor *out);
hcsmoe_status cpu_convert(const hcsmoe_kernels *k, const hcsmoe_tensor *from,
                          const hcsmoe_tensor *to);
hcsmoe_status cpu_sgemm(const hcsmoe_kernels *k, int32_t trans_a, int32_t trans_b, int64_t m,
                        int64_t n, int64_t kk, float alpha, const float *a, int64_t lda,
                        const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
hcsmoe_status cpu_dgemm(const hcsmoe_kernels *k, int32_t trans_a, int32_t trans_b, int64_t m,
                        int64_t n, int64_t kk, double alpha, const double *a, int64_t lda,
                        const double *b, int64_t ldb, double beta, double *c, int64_t ldc);
hcsmoe_status cpu_has_nonfinite(const hcsmoe_kernels *k, const hcsmoe_tensor *t, int32_t *found);
hcsmoe_status cpu_syrk(const hcsmoe_kernels *k, uint32_t dtype, int64_t n, int64_t kk, double alpha,
                       const void *a, int64_t lda, double beta, void *c, int64_t ldc);
hcsmoe_status cpu_cholesky(const hcsmoe_kernels *k, uint32_t dtype, int64_t n, void *a, int64_t lda,
                           int64_t *failed);
hcsmoe_status cpu_cholesky_solve(const hcsmoe_kernels *k, uint32_t dtype, int64_t m, int64_t n,
                                 const void *l, int64_t ldl, void *b, int64_t ldb);
hcsmoe_status cpu_cholesky_inverse(const hcsmoe_kernels *k, uint32_t dtype, int64_t n, void *l,
                                   int64_t ldl);

#endif
