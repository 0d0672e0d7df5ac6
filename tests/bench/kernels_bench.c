/*
 * kernels_bench.c - the rates of the CPU's large kernels, beside what OpenBLAS reaches alone on the same threads.
 *
 * usage: kernels_bench [REPEATS [NAME]]. Threads: OMP_NUM_THREADS. Kernel and BLAS take turns; the best of each
 * counts, so that what else runs on the machine spoils both or neither. SPDX-License-Identifier: MIT
 */
#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../kernels/cpu/cpu.h"
#include "../kernels/host.h"
#include "core.h"

struct bench {
    const hcsmoe_kernels *k;
    int threads, repeats;
    const char *only;
};

/* One measurement: call does flops of arithmetic; BLAS multiplies [m, kk] by [n, kk]^T for comparison. */
struct job {
    const char *name;
    double flops;
    int64_t m, n, kk;
    hcsmoe_status (*call)(const hcsmoe_kernels *k, void *args);
    void *args;
};

/* Seconds on the wall and of the processor. On a machine that does other work too only the second means something,
 * and only with OMP_WAIT_POLICY=passive, so that threads that wait take no time. */
struct clock {
    double wall, cpu;
};

static double seconds(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct clock now(void)
{
    return (struct clock){.wall = seconds(CLOCK_MONOTONIC),
                          .cpu = seconds(CLOCK_PROCESS_CPUTIME_ID)};
}

/* best = what has passed since start, if that is less. */
static void best_since(const struct clock *start, struct clock *best)
{
    struct clock end = now();
    best->wall = fmin(best->wall, end.wall - start->wall);
    best->cpu = fmin(best->cpu, end.cpu - start->cpu);
}

static void *block(int64_t bytes)
{
    void *p = aligned_alloc(64, ((size_t)bytes + 63) / 64 * 64);
    if (p == NULL) {
        fputs("kernels_bench: out of memory\n", stderr);
        exit(1);
    }
    return p;
}

static float *floats(int64_t n, float scale)
{
    float *x = block(n * 4);
    uint32_t state = 1;
    for (int64_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = ((float)(state >> 8) * 0x1p-23f - 1.0f) * scale;
    }
    return x;
}

/* count bf16 matrices, in memory one after the other. */
static hcsmoe_tensor *weights(int64_t count, int64_t rows, int64_t columns)
{
    hcsmoe_tensor *t = block(count * (int64_t)sizeof *t);
    uint16_t *data = block(count * rows * columns * 2);
    uint32_t state = 7;
    for (int64_t i = 0; i < count * rows * columns; i++) {
        state = state * 1664525u + 1013904223u;
        data[i] = (uint16_t)(0x3c00 | (state >> 16 & 0x80ff)); /* 0.008..0.03, either sign */
    }
    for (int64_t i = 0; i < count; i++)
        t[i] = hcsmoe_matrix(data + i * rows * columns, HCSMOE_DTYPE_BF16, rows, columns);
    return t;
}

static void release(int n, void *const p[])
{
    for (int i = 0; i < n; i++)
        free(p[i]);
}

static void measure(const struct bench *b, const struct job *j)
{
    struct clock kernel = {INFINITY, INFINITY};
    struct clock blas = kernel;
    double blas_flops = 2.0 * (double)j->m * (double)j->n * (double)j->kk;
    float *x = floats(j->m * j->kk, 1.0f);
    float *w = floats(j->n * j->kk, 1.0f);
    float *y = floats(j->m * j->n, 1.0f);
    for (int i = 0; i < b->repeats; i++) {
        openblas_set_num_threads(b->threads);
        struct clock start = now();
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)j->m, (int)j->n, (int)j->kk, 1.0f,
                    x, (int)j->kk, w, (int)j->kk, 0.0f, y, (int)j->n);
        best_since(&start, &blas);
        openblas_set_num_threads(1);
        start = now();
        if (j->call(b->k, j->args) != HCSMOE_OK) {
            printf("%s: failed\n", j->name);
            break;
        }
        best_since(&start, &kernel);
    }
    double rate = j->flops * 1e-9;
    double blas_rate = blas_flops * 1e-9;
    printf("%-44s %8.3f s %7.1f GF/s; sgemm %lld x %lld x %lld %7.1f GF/s; ratio %.3f, "
           "by processor time %.3f\n",
           j->name, kernel.wall, rate / kernel.wall, (long long)j->m, (long long)j->n,
           (long long)j->kk, blas_rate / blas.wall, rate / kernel.wall / (blas_rate / blas.wall),
           rate / kernel.cpu / (blas_rate / blas.cpu));
    fflush(stdout);
    release(3, (void *[]){x, w, y});
}

static int wanted(const struct bench *b, const char *name)
{
    return b->only == NULL || strstr(name, b->only) != NULL;
}

static hcsmoe_status call_experts(const hcsmoe_kernels *k, void *args)
{
    return k->experts(k, args);
}

static void bench_experts(const struct bench *b, const char *name, int64_t tokens, int64_t width,
                          int64_t ffn, int64_t experts, int32_t top_k, int sums)
{
    hcsmoe_experts_args a = {.struct_size = sizeof a,
                             .top_k = top_k,
                             .n_tokens = tokens,
                             .width = width,
                             .n_experts = experts,
                             .ffn = ffn};
    if (!wanted(b, name))
        return;
    int32_t *ids = block(tokens * top_k * 4);
    for (int64_t i = 0; i < tokens; i++)
        for (int64_t s = 0; s < top_k; s++)
            ids[i * top_k + s] = (int32_t)((i * 7 + i / 5 + s * (1 + i % 3)) % experts);
    float *x = floats(tokens * width, 1.0f);
    float *w = floats(tokens * top_k, 1.0f);
    hcsmoe_tensor *gate = weights(experts, ffn, width);
    hcsmoe_tensor *up = weights(experts, ffn, width);
    hcsmoe_tensor *down = weights(experts, width, ffn);
    float *out = floats(tokens * width, 1.0f);
    double *sum = block(experts * ffn * 8);
    memset(sum, 0, (size_t)(experts * ffn) * 8);
    a.x = x;
    a.gate = gate;
    a.up = up;
    a.down = down;
    a.ids = ids;
    a.weights = w;
    a.out = out;
    a.hidden_sum = sums ? sum : NULL;
    double matrix = 2.0 * (double)width * (double)ffn * (double)tokens;
    struct job j = {
        .name = name, .m = 4096, .n = ffn, .kk = width, .call = call_experts, .args = &a};
    j.flops = matrix * (sums ? 2.0 * (double)experts + top_k : 3.0 * top_k);
    measure(b, &j);
    release(11, (void *[]){x, w, ids, out, sum, gate->data, up->data, down->data, gate, up, down});
}

struct linear {
    int64_t m, n, kk;
    float *x, *y;
    hcsmoe_tensor *w;
    int32_t *target;
    uint8_t *greedy;
};

static hcsmoe_status call_linear(const hcsmoe_kernels *k, void *args)
{
    const struct linear *a = args;
    return k->linear(k, a->m, a->n, a->kk, a->x, a->w, NULL, 0, a->y);
}

static hcsmoe_status call_logprobs(const hcsmoe_kernels *k, void *args)
{
    const struct linear *a = args;
    return k->token_logprobs(k, a->m, a->kk, a->x, a->w, a->target, a->y, a->greedy);
}

static void bench_linear(const struct bench *b, const char *name, int64_t m, int64_t n, int64_t kk,
                         int logprobs)
{
    struct linear a = {.m = m, .n = n, .kk = kk};
    if (!wanted(b, name))
        return;
    a.x = floats(m * kk, 1.0f);
    a.y = block(logprobs ? m * 4 : m * n * 4);
    a.w = weights(1, n, kk);
    a.target = block(m * 4);
    a.greedy = block(m);
    memset(a.target, 0, (size_t)m * 4);
    struct job j = {.name = name,
                    .m = m < 4096 ? m : 4096,
                    .n = n < 4096 ? n : 4096,
                    .kk = kk,
                    .flops = 2.0 * (double)m * (double)n * (double)kk,
                    .call = logprobs ? call_logprobs : call_linear,
                    .args = &a};
    measure(b, &j);
    release(6, (void *[]){a.x, a.y, a.w->data, a.w, a.target, a.greedy});
}

static hcsmoe_status call_attention(const hcsmoe_kernels *k, void *args)
{
    return k->attention(k, args);
}

/* count sequences of `rows` rows, each behind the same `prefix` rows. */
static void bench_attention(const struct bench *b, const char *name, int64_t count, int64_t rows,
                            int64_t prefix, int64_t heads, int64_t kv, int64_t dim)
{
    int64_t n = prefix + count * rows;
    hcsmoe_attention_args a = {.struct_size = sizeof a,
                               .n_tokens = n,
                               .n_heads = heads,
                               .n_kv_heads = kv,
                               .head_dim = dim,
                               .v_head_dim = dim,
                               .scale = 1.0 / sqrt((double)dim),
                               .n_sequences = count + 1,
                               .n_spans = 1};
    hcsmoe_span span = {.begin = 0, .count = prefix};
    if (!wanted(b, name))
        return;
    hcsmoe_sequence *s = block((count + 1) * (int64_t)sizeof *s);
    s[0] = (hcsmoe_sequence){.begin = 0, .count = prefix};
    for (int64_t i = 0; i < count; i++)
        s[i + 1] = (hcsmoe_sequence){
            .begin = prefix + i * rows, .count = rows, .prefix = prefix, .n_spans = prefix > 0};
    float *q = floats(n * heads * dim, 1.0f);
    float *k = floats(n * kv * dim, 1.0f);
    float *v = floats(n * kv * dim, 1.0f);
    a.q = q;
    a.k = k;
    a.v = v;
    a.out = block(n * heads * dim * 4);
    a.sequences = s;
    a.spans = &span;
    double pairs = (double)prefix * ((double)prefix + 1.0) / 2.0;
    pairs += (double)count * (double)rows * ((double)prefix + ((double)rows + 1.0) / 2.0);
    struct job j = {.name = name,
                    .m = 2048,
                    .n = 4096,
                    .kk = 1024,
                    .flops = pairs * 4.0 * (double)dim * (double)heads,
                    .call = call_attention,
                    .args = &a};
    measure(b, &j);
    release(5, (void *[]){s, q, k, v, a.out});
}

/* One cblas call per matrix and expert, on all threads and on weights that are float32 already: what the kernel, which
 * reads them as they are stored, has to beat where there are few rows. */
static void experts_blas(const hcsmoe_experts_args *a, int64_t rows, const float *const w[3],
                         float *h, float *up, float *y)
{
    int d = (int)a->width;
    int f = (int)a->ffn;
    int64_t size = a->width * a->ffn;
    for (int64_t e = 0; e < a->n_experts; e++) {
        const float *x = a->x + e * rows * a->width;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, f, d, 1.0f, x, d,
                    w[0] + e * size, d, 0.0f, h, f);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, f, d, 1.0f, x, d,
                    w[1] + e * size, d, 0.0f, up, f);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, d, f, 1.0f, h, f,
                    w[2] + e * size, f, 0.0f, y, d);
    }
}

/* Every one of a->n_experts experts with the same number of rows. */
static void measure_rows(const struct bench *b, hcsmoe_experts_args *a, int64_t rows,
                         const float *const w[3])
{
    struct clock kernel = {INFINITY, INFINITY};
    struct clock blas = kernel;
    float *room = floats(2 * rows * a->ffn + rows * a->width, 1.0f);
    a->n_tokens = rows * a->n_experts;
    for (int i = 0; i < b->repeats; i++) {
        openblas_set_num_threads(b->threads);
        struct clock start = now();
        experts_blas(a, rows, w, room, room + rows * a->ffn, room + 2 * rows * a->ffn);
        best_since(&start, &blas);
        openblas_set_num_threads(1);
        start = now();
        if (b->k->experts(b->k, a) != HCSMOE_OK)
            printf("experts: failed\n");
        best_since(&start, &kernel);
    }
    double rate = 6e-9 * (double)a->n_tokens * (double)a->width * (double)a->ffn;
    printf("rows %5lld per expert: %7.2f ms %7.1f GF/s; one sgemm each %7.1f GF/s; ratio %.3f, "
           "by processor time %.3f\n",
           (long long)rows, 1e3 * kernel.wall, rate / kernel.wall, rate / blas.wall,
           blas.wall / kernel.wall, blas.cpu / kernel.cpu);
    fflush(stdout);
    free(room);
}

/* The curve from one row an expert to 1024. */
static void bench_rows(const struct bench *b, int64_t width, int64_t ffn, int64_t experts)
{
    enum { ROWS_MOST = 1024 };
    if (!wanted(b, "rows"))
        return;
    int64_t n = ROWS_MOST * experts;
    hcsmoe_tensor *t[3] = {weights(experts, ffn, width), weights(experts, ffn, width),
                           weights(experts, width, ffn)};
    float *w[3];
    int32_t *ids = block(n * 4);
    float *x = floats(n * width, 1.0f);
    float *scale = floats(n, 1.0f);
    float *out = floats(n * width, 1.0f);
    for (int i = 0; i < 3; i++)
        w[i] = floats(experts * ffn * width, 0.02f);
    hcsmoe_experts_args a = {.struct_size = sizeof a,
                             .top_k = 1,
                             .width = width,
                             .n_experts = experts,
                             .ffn = ffn,
                             .x = x,
                             .gate = t[0],
                             .up = t[1],
                             .down = t[2],
                             .ids = ids,
                             .weights = scale,
                             .out = out};
    for (int64_t rows = 1; rows <= ROWS_MOST; rows *= 2) {
        for (int64_t i = 0; i < rows * experts; i++)
            ids[i] = (int32_t)(i % experts);
        measure_rows(b, &a, rows, (const float *const *)w);
    }
    for (int i = 0; i < 3; i++) {
        free(t[i]->data);
        free(t[i]);
        free(w[i]);
    }
    release(4, (void *[]){ids, x, scale, out});
}

/* Kernels that move more than they compute, on [8192, 4096] floats; gather of rows in order is a mere copy. */
enum { MOVE_GATHER, MOVE_SCATTER, MOVE_NORM, MOVE_ROPE, MOVE_NARROW, MOVE_WIDEN, MOVES };
enum { MOVE_ROWS = 8192, MOVE_WIDTH = 4096, MOVE_DIM = 128 };

static hcsmoe_status move(const hcsmoe_kernels *k, int what, float *x, float *y, uint16_t *narrow,
                          const int64_t *rows)
{
    int64_t n = MOVE_ROWS;
    int64_t width = MOVE_WIDTH;
    hcsmoe_tensor wide = hcsmoe_matrix(x, HCSMOE_DTYPE_F32, n, width);
    hcsmoe_tensor half = hcsmoe_matrix(narrow, HCSMOE_DTYPE_BF16, n, width);
    hcsmoe_tensor weight = hcsmoe_matrix(narrow, HCSMOE_DTYPE_BF16, 1, width);
    double frequency[MOVE_DIM / 2];
    for (int i = 0; i < MOVE_DIM / 2; i++)
        frequency[i] = pow(10000.0, -2.0 * i / MOVE_DIM);
    switch (what) {
    case MOVE_GATHER:
        return k->gather(k, n, width, x, rows, y);
    case MOVE_SCATTER:
        return k->scatter_add(k, n, width, x, rows, NULL, y);
    case MOVE_NORM:
        return k->rmsnorm(k, n, width, x, &weight, 1e-6, y);
    case MOVE_ROPE:
        return k->rope(k, n, width / MOVE_DIM, MOVE_DIM, MOVE_DIM, rows, frequency, x);
    case MOVE_NARROW:
        return k->convert(k, &wide, &half);
    default:
        return k->convert(k, &half, &wide);
    }
}

static void bench_moves(const struct bench *b)
{
    static const char *const names[MOVES] = {"gather", "scatter_add", "rmsnorm",
                                             "rope",   "f32 to bf16", "bf16 to f32"};
    static const int bytes[MOVES] = {8, 12, 8, 8, 6, 6};
    int64_t n = (int64_t)MOVE_ROWS * MOVE_WIDTH;
    if (!wanted(b, "moves"))
        return;
    float *x = floats(n, 1.0f);
    float *y = floats(n, 1.0f);
    uint16_t *narrow = block(n * 2);
    int64_t *rows = block(MOVE_ROWS * 8);
    memset(narrow, 0, (size_t)n * 2);
    for (int64_t i = 0; i < MOVE_ROWS; i++)
        rows[i] = i;
    for (int what = 0; what < MOVES; what++) {
        struct clock best = {INFINITY, INFINITY};
        for (int i = 0; i < b->repeats; i++) {
            struct clock start = now();
            if (move(b->k, what, x, y, narrow, rows) != HCSMOE_OK)
                printf("%s: failed\n", names[what]);
            best_since(&start, &best);
        }
        printf("moves %-16s %8.2f ms %6.1f GB/s, by processor time %.1f a core\n", names[what],
               1e3 * best.wall, 1e-9 * (double)(n * bytes[what]) / best.wall,
               1e-9 * (double)(n * bytes[what]) / best.cpu);
    }
    release(4, (void *[]){x, y, narrow, rows});
}

void spotrf_(const char *uplo, const int *n, float *a, const int *lda, int *info);
void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info);
void spotri_(const char *uplo, const int *n, float *a, const int *lda, int *info);
void dpotri_(const char *uplo, const int *n, double *a, const int *lda, int *info);

enum { DENSE_SYRK, DENSE_CHOLESKY, DENSE_SOLVE, DENSE_INVERSE };

/* What is done to x, [n, n] of dtype: by the kernel, or by BLAS and LAPACK on all threads. y: an argument. */
struct dense_job {
    int what;
    uint32_t dtype;
    int64_t n;
    void *x;
    const void *y;
};

static int dense_kernel(const hcsmoe_kernels *k, const struct dense_job *j)
{
    int64_t failed = 0;
    hcsmoe_status status;
    if (j->what == DENSE_SYRK)
        status = k->syrk(k, j->dtype, j->n, j->n, 1.0, j->y, j->n, 0.0, j->x, j->n);
    else if (j->what == DENSE_CHOLESKY)
        status = k->cholesky(k, j->dtype, j->n, j->x, j->n, &failed);
    else if (j->what == DENSE_SOLVE)
        status = k->cholesky_solve(k, j->dtype, j->n, j->n, j->y, j->n, j->x, j->n);
    else
        status = k->cholesky_inverse(k, j->dtype, j->n, j->x, j->n);
    return status == HCSMOE_OK && failed == 0;
}

static int dense_blas_double(const struct dense_job *j)
{
    int n = (int)j->n;
    int info = 0;
    if (j->what == DENSE_SYRK)
        cblas_dsyrk(CblasRowMajor, CblasLower, CblasTrans, n, n, 1.0, j->y, n, 0.0, j->x, n);
    else if (j->what == DENSE_CHOLESKY)
        dpotrf_("U", &n, j->x, &n, &info);
    else if (j->what == DENSE_INVERSE)
        dpotri_("U", &n, j->x, &n, &info);
    for (int i = 0; i < 2 && j->what == DENSE_SOLVE; i++)
        cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, i == 0 ? CblasTrans : CblasNoTrans,
                    CblasNonUnit, n, n, 1.0, j->y, n, j->x, n);
    return info == 0;
}

static int dense_blas(const struct dense_job *j)
{
    int n = (int)j->n;
    int info = 0;
    if (j->dtype == HCSMOE_DTYPE_F64)
        return dense_blas_double(j);
    if (j->what == DENSE_SYRK)
        cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, n, n, 1.0f, j->y, n, 0.0f, j->x, n);
    else if (j->what == DENSE_CHOLESKY)
        spotrf_("U", &n, j->x, &n, &info);
    else if (j->what == DENSE_INVERSE)
        spotri_("U", &n, j->x, &n, &info);
    for (int i = 0; i < 2 && j->what == DENSE_SOLVE; i++)
        cblas_strsm(CblasRowMajor, CblasRight, CblasLower, i == 0 ? CblasTrans : CblasNoTrans,
                    CblasNonUnit, n, n, 1.0f, j->y, n, j->x, n);
    return info == 0;
}

/* A symmetric matrix with small entries and a large diagonal, so that it has a factor. */
static void *definite(uint32_t dtype, int64_t n)
{
    float *x = floats(n * n, 1.0f / (float)n);
    for (int64_t i = 0; i < n; i++)
        x[i * n + i] = 2.0f;
    if (dtype != HCSMOE_DTYPE_F64)
        return x;
    double *y = block(n * n * 8);
    for (int64_t i = 0; i < n * n; i++)
        y[i] = (double)x[i];
    free(x);
    return y;
}

static void measure_dense(const struct bench *b, const char *name, struct dense_job *j,
                          const void *initial)
{
    static const double flops[] = {1.0, 1.0 / 3.0, 2.0, 2.0 / 3.0};
    size_t bytes = (size_t)(j->n * j->n) * (j->dtype == HCSMOE_DTYPE_F64 ? 8 : 4);
    struct clock kernel = {INFINITY, INFINITY};
    struct clock blas = kernel;
    int done = 1;
    for (int i = 0; i < b->repeats && done; i++) {
        memcpy(j->x, initial, bytes);
        openblas_set_num_threads(b->threads);
        struct clock start = now();
        done = dense_blas(j);
        best_since(&start, &blas);
        openblas_set_num_threads(1);
        memcpy(j->x, initial, bytes);
        start = now();
        done = dense_kernel(b->k, j) && done;
        best_since(&start, &kernel);
    }
    double rate = flops[j->what] * 1e-9 * (double)j->n * (double)j->n * (double)j->n;
    if (!done)
        printf("%s: failed\n", name);
    printf("%-44s %8.3f s %7.1f GF/s; BLAS %7.1f GF/s; ratio %.3f, by processor time %.3f\n", name,
           kernel.wall, rate / kernel.wall, rate / blas.wall, blas.wall / kernel.wall,
           blas.cpu / kernel.cpu);
    fflush(stdout);
}

static void bench_dense(const struct bench *b, int what, uint32_t dtype, int64_t n)
{
    static const char *const names[] = {"syrk", "cholesky", "cholesky_solve", "cholesky_inverse"};
    char name[64];
    (void)snprintf(name, sizeof name, "%s %s n%lld", names[what],
                   dtype == HCSMOE_DTYPE_F64 ? "f64" : "f32", (long long)n);
    if (!wanted(b, name))
        return;
    void *a = definite(dtype, n);
    void *x = block(n * n * (dtype == HCSMOE_DTYPE_F64 ? 8 : 4));
    struct dense_job j = {.what = what, .dtype = dtype, .n = n, .x = x, .y = a};
    struct dense_job factor = {.what = DENSE_CHOLESKY, .dtype = dtype, .n = n, .x = a};
    if (what == DENSE_SYRK || what == DENSE_CHOLESKY || dense_kernel(b->k, &factor))
        measure_dense(b, name, &j, a);
    free(a);
    free(x);
}

int main(int argc, char **argv)
{
    core_restart(argv);
    struct host h;
    struct bench b = {.threads = omp_get_max_threads(),
                      .repeats = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 3,
                      .only = argc > 2 ? argv[2] : NULL};
    host_init(&h, b.threads, 1);
    struct cpu *cpu = cpu_table(&h.abi, cpu_simd_sets()[0], &cpu_product_f32);
    if (cpu == NULL)
        return 1;
    b.k = &cpu->table;
    printf("%s, %d threads, best of %d\n", b.k->name, b.threads, b.repeats);
    bench_experts(&b, "experts D1024 F3584 E8 top2 n8192 sums", 8192, 1024, 3584, 8, 2, 1);
    bench_experts(&b, "experts D1024 F3584 E8 top2 n8192", 8192, 1024, 3584, 8, 2, 0);
    bench_experts(&b, "experts D2048 F1408 E60 top4 n8192 sums", 8192, 2048, 1408, 60, 4, 1);
    bench_experts(&b, "experts D2048 F1408 E60 top4 n8192", 8192, 2048, 1408, 60, 4, 0);
    bench_experts(&b, "experts D2048 F1408 E60 top4 n512", 512, 2048, 1408, 60, 4, 0);
    bench_experts(&b, "experts D2048 F1408 E60 top4 n64", 64, 2048, 1408, 60, 4, 0);
    bench_rows(&b, 1024, 3584, 8);
    bench_linear(&b, "linear m8192 n4096 k1024", 8192, 4096, 1024, 0);
    bench_linear(&b, "linear m8192 n2048 k2048", 8192, 2048, 2048, 0);
    bench_linear(&b, "linear m64 n4096 k4096", 64, 4096, 4096, 0);
    bench_linear(&b, "linear m1 n4096 k4096", 1, 4096, 4096, 0);
    bench_linear(&b, "token_logprobs n2048 k1024 v32000", 2048, 32000, 1024, 1);
    bench_linear(&b, "token_logprobs n256 k2048 v151936", 256, 151936, 2048, 1);
    bench_attention(&b, "attention 8 x 2048, 32/8 heads of 128", 8, 2048, 0, 32, 8, 128);
    bench_attention(&b, "attention 400 x 12 behind 600, 32/8 of 128", 400, 12, 600, 32, 8, 128);
    bench_attention(&b, "attention 400 x 12 behind 600, 16/16 of 128", 400, 12, 600, 16, 16, 128);
    bench_attention(&b, "attention 4000 x 1 behind 100, 32/8 of 128", 4000, 1, 100, 32, 8, 128);
    bench_moves(&b);
    for (int what = DENSE_SYRK; what <= DENSE_INVERSE; what++) {
        bench_dense(&b, what, HCSMOE_DTYPE_F32, 1024);
        bench_dense(&b, what, HCSMOE_DTYPE_F32, 3584);
        bench_dense(&b, what, HCSMOE_DTYPE_F64, 1024);
        bench_dense(&b, what, HCSMOE_DTYPE_F64, 3584);
        /* Minutes and gigabytes: only when it is asked for by name. */
        if (b.only != NULL && strstr(b.only, "n14336") != NULL) {
            bench_dense(&b, what, HCSMOE_DTYPE_F32, 14336);
            bench_dense(&b, what, HCSMOE_DTYPE_F64, 14336);
        }
    }
    cpu_table_free(&h.abi, cpu);
    return 0;
}
