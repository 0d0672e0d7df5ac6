/*
 * bf16_bench.c - the rates of the kernels that multiply bfloat16, beside oneDNN alone and beside float32.
 *
 * usage: bf16_bench [REPEATS [NAME]]. Threads: OMP_NUM_THREADS. oneDNN multiplies the same matrices, all rows of an
 * expert at once, from operands rounded before the clock starts: "stored" from weights as they are, "packed" from
 * weights that were brought into the layout it likes best before the clock starts. All take turns; the best of each
 * counts, by processor time. SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../kernels/onednn/onednn.h"
#include "../kernels/host.h"

enum { STORED, PACKED, LAYOUTS };

/* One kind of product, on any matrices of its shape. */
struct product {
    int64_t m, n, kk;
    dnnl_primitive_t primitive, pack; /* pack NULL: the weights stay as they are stored */
    dnnl_memory_t x, w, y, stored;
    size_t bytes; /* of the weights in its layout */
};

struct bench {
    const hcsmoe_kernels *f32, *bf16;
    int repeats;
    const char *only;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
};

static void must(dnnl_status_t status)
{
    if (status != dnnl_success) {
        fprintf(stderr, "bf16_bench: oneDNN: status %d\n", (int)status);
        exit(1);
    }
}

/* Of the process: what else runs on the machine does not count. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *block(size_t bytes)
{
    void *p = aligned_alloc(64, bytes / 64 * 64 + 64);
    if (p == NULL) {
        fputs("bf16_bench: out of memory\n", stderr);
        exit(1);
    }
    memset(p, 0, bytes);
    return p;
}

/* 0.008..0.03, either sign: as operands, or as floats of these values. */
static uint16_t *codes(int64_t n)
{
    uint16_t *x = block((size_t)n * 2);
    uint32_t state = 7;
    for (int64_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (uint16_t)(0x3c00 | (state >> 16 & 0x80ff));
    }
    return x;
}

static float *floats(int64_t n)
{
    float *x = block((size_t)n * 4);
    uint32_t state = 1;
    for (int64_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(state >> 8) * 0x1p-23f - 1.0f;
    }
    return x;
}

static void product_open(const struct bench *b, struct product *p, int layout)
{
    const dnnl_dims_t xs = {p->m, p->kk}, ws = {p->kk, p->n}, ys = {p->m, p->n};
    const dnnl_dims_t rows = {1, p->kk};
    dnnl_memory_desc_t x, w, stored, y;
    dnnl_matmul_desc_t d;
    dnnl_primitive_desc_t pd, pack;
    must(dnnl_memory_desc_init_by_tag(&x, 2, xs, dnnl_bf16, dnnl_ab));
    must(dnnl_memory_desc_init_by_tag(&y, 2, ys, dnnl_f32, dnnl_ab));
    must(dnnl_memory_desc_init_by_strides(&stored, 2, ws, dnnl_bf16, rows));
    w = stored;
    if (layout == PACKED)
        must(dnnl_memory_desc_init_by_tag(&w, 2, ws, dnnl_bf16, dnnl_format_tag_any));
    must(dnnl_matmul_desc_init(&d, &x, &w, NULL, &y));
    must(dnnl_primitive_desc_create(&pd, &d, NULL, b->engine, NULL));
    const dnnl_memory_desc_t *own = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    p->bytes = dnnl_memory_desc_get_size(own);
    must(dnnl_primitive_create(&p->primitive, pd));
    must(dnnl_memory_create(&p->x, &x, b->engine, DNNL_MEMORY_NONE));
    must(dnnl_memory_create(&p->w, own, b->engine, DNNL_MEMORY_NONE));
    must(dnnl_memory_create(&p->y, &y, b->engine, DNNL_MEMORY_NONE));
    must(dnnl_memory_create(&p->stored, &stored, b->engine, DNNL_MEMORY_NONE));
    p->pack = NULL;
    if (layout == PACKED) {
        must(dnnl_reorder_primitive_desc_create(&pack, &stored, b->engine, own, b->engine, NULL));
        must(dnnl_primitive_create(&p->pack, pack));
        must(dnnl_primitive_desc_destroy(pack));
    }
    must(dnnl_primitive_desc_destroy(pd));
}

static void product_close(struct product *p)
{
    must(dnnl_memory_destroy(p->stored));
    must(dnnl_memory_destroy(p->y));
    must(dnnl_memory_destroy(p->w));
    must(dnnl_memory_destroy(p->x));
    must(dnnl_primitive_destroy(p->pack));
    must(dnnl_primitive_destroy(p->primitive));
}

/* The weights in the product's layout, in memory of their own. */
static void *product_pack(const struct bench *b, const struct product *p, void *w)
{
    void *to = block(p->bytes);
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, p->stored}, {DNNL_ARG_TO, p->w}};
    if (p->pack == NULL) {
        memcpy(to, w, p->bytes);
        return to;
    }
    must(dnnl_memory_set_data_handle(p->stored, w));
    must(dnnl_memory_set_data_handle(p->w, to));
    must(dnnl_primitive_execute(p->pack, b->stream, 2, args));
    return to;
}

static void product_run(const struct bench *b, const struct product *p, void *x, void *w, void *y)
{
    const dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, p->x}, {DNNL_ARG_WEIGHTS, p->w}, {DNNL_ARG_DST, p->y}};
    must(dnnl_memory_set_data_handle(p->x, x));
    must(dnnl_memory_set_data_handle(p->w, w));
    must(dnnl_memory_set_data_handle(p->y, y));
    must(dnnl_primitive_execute(p->primitive, b->stream, 3, args));
}

/* Seconds of oneDNN for `count` experts: `wide` products up and, unless down is 0, one down. */
struct baseline {
    int64_t count, wide, down;
    struct product up[LAYOUTS], back[LAYOUTS];
    void **weights[LAYOUTS]; /* [count, 3] */
    void *x, *h, *y;
};

static void baseline_open(const struct bench *b, struct baseline *s, int64_t m, int64_t width,
                          int64_t ffn)
{
    s->x = codes(m * width);
    s->h = codes(m * ffn);
    s->y = block((size_t)(m * (width > ffn ? width : ffn)) * 4);
    void *w = codes(width * ffn);
    for (int layout = STORED; layout < LAYOUTS; layout++) {
        s->up[layout] = (struct product){.m = m, .n = ffn, .kk = width};
        s->back[layout] = (struct product){.m = m, .n = width, .kk = ffn};
        product_open(b, &s->up[layout], layout);
        product_open(b, &s->back[layout], layout);
        s->weights[layout] = block((size_t)s->count * 3 * sizeof(void *));
        for (int64_t i = 0; i < 3 * s->count; i++)
            s->weights[layout][i] =
                product_pack(b, i % 3 < 2 ? &s->up[layout] : &s->back[layout], w);
    }
    free(w);
}

static double baseline_run(const struct bench *b, const struct baseline *s, int layout)
{
    double start = now();
    for (int64_t e = 0; e < s->count; e++) {
        for (int64_t i = 0; i < s->wide; i++)
            product_run(b, &s->up[layout], s->x, s->weights[layout][3 * e + i], s->y);
        if (s->down)
            product_run(b, &s->back[layout], s->h, s->weights[layout][3 * e + 2], s->y);
    }
    return now() - start;
}

static void baseline_close(struct baseline *s)
{
    for (int layout = STORED; layout < LAYOUTS; layout++) {
        for (int64_t i = 0; i < 3 * s->count; i++)
            free(s->weights[layout][i]);
        free(s->weights[layout]);
        product_close(&s->up[layout]);
        product_close(&s->back[layout]);
    }
    free(s->x);
    free(s->h);
    free(s->y);
}

typedef hcsmoe_status call(const hcsmoe_kernels *k, const void *args);

static double seconds(const hcsmoe_kernels *k, call *f, const void *args)
{
    double start = now();
    if (f(k, args) != HCSMOE_OK) {
        fputs("bf16_bench: a kernel failed\n", stderr);
        exit(1);
    }
    return now() - start;
}

static void measure(const struct bench *b, const char *name, double flops, struct baseline *s,
                    call *f, const void *args)
{
    double own[LAYOUTS] = {INFINITY, INFINITY};
    double bf16 = INFINITY, f32 = INFINITY;
    for (int i = 0; i < b->repeats; i++) {
        for (int layout = STORED; layout < LAYOUTS; layout++)
            own[layout] = fmin(own[layout], baseline_run(b, s, layout));
        bf16 = fmin(bf16, seconds(b->bf16, f, args));
        if (i == 0)
            f32 = seconds(b->f32, f, args);
    }
    printf("%-38s %7.1f ms %6.0f GF/s; oneDNN %6.0f GF/s stored, %6.0f packed; ratio %.2f, %.2f; "
           "%.1f x f32\n",
           name, bf16 * 1e3, flops / bf16 * 1e-9, flops / own[STORED] * 1e-9,
           flops / own[PACKED] * 1e-9, own[STORED] / bf16, own[PACKED] / bf16, f32 / bf16);
    fflush(stdout);
}

static hcsmoe_tensor *weights(int64_t count, int64_t rows, int64_t columns)
{
    hcsmoe_tensor *t = block((size_t)count * sizeof *t);
    uint16_t *data = codes(count * rows * columns);
    for (int64_t i = 0; i < count; i++)
        t[i] = hcsmoe_matrix(data + i * rows * columns, HCSMOE_DTYPE_BF16, rows, columns);
    return t;
}

static void weights_free(hcsmoe_tensor *t)
{
    free(t->data);
    free(t);
}

static hcsmoe_status call_experts(const hcsmoe_kernels *k, const void *args)
{
    return k->experts(k, args);
}

static hcsmoe_status call_mlp(const hcsmoe_kernels *k, const void *args)
{
    return k->mlp(k, args);
}

/* `rows` rows for every expert; with sums all experts see all tokens, and `rows` of them are routed. */
static void bench_experts(const struct bench *b, int64_t width, int64_t ffn, int64_t experts,
                          int64_t rows, int sums)
{
    char name[80];
    hcsmoe_experts_args a = {.struct_size = sizeof a,
                             .top_k = 1,
                             .n_tokens = rows * experts,
                             .width = width,
                             .n_experts = experts,
                             .ffn = ffn};
    (void)snprintf(name, sizeof name, "experts D%lld F%lld E%lld rows%lld%s", (long long)width,
                   (long long)ffn, (long long)experts, (long long)rows, sums ? " sums" : "");
    if (b->only != NULL && strstr(name, b->only) == NULL)
        return;
    int32_t *ids = block((size_t)a.n_tokens * 4);
    for (int64_t i = 0; i < a.n_tokens; i++)
        ids[i] = (int32_t)(i * 7 % experts); /* every expert as often, if 7 does not divide E */
    float *x = floats(a.n_tokens * width);
    float *w = floats(a.n_tokens);
    hcsmoe_tensor *gate = weights(experts, ffn, width);
    hcsmoe_tensor *up = weights(experts, ffn, width);
    hcsmoe_tensor *down = weights(experts, width, ffn);
    double *sum = block((size_t)(experts * ffn) * 8);
    a.x = x;
    a.ids = ids;
    a.weights = w;
    a.gate = gate;
    a.up = up;
    a.down = down;
    a.out = floats(a.n_tokens * width);
    a.hidden_sum = sums ? sum : NULL;
    double matrix = 2.0 * (double)width * (double)ffn * (double)a.n_tokens;
    struct baseline s = {.count = experts, .wide = 2, .down = !sums};
    baseline_open(b, &s, sums ? a.n_tokens : rows, width, ffn);
    measure(b, name, sums ? matrix * 2.0 * (double)experts : 3.0 * matrix, &s, call_experts, &a);
    baseline_close(&s);
    weights_free(gate);
    weights_free(up);
    weights_free(down);
    free(ids);
    free(x);
    free(w);
    free(sum);
    free(a.out);
}

static void bench_mlp(const struct bench *b, int64_t width, int64_t ffn, int64_t rows)
{
    char name[80];
    hcsmoe_mlp_args a = {.struct_size = sizeof a, .n_tokens = rows, .width = width, .ffn = ffn};
    (void)snprintf(name, sizeof name, "mlp D%lld F%lld rows%lld", (long long)width, (long long)ffn,
                   (long long)rows);
    if (b->only != NULL && strstr(name, b->only) == NULL)
        return;
    float *x = floats(rows * width);
    hcsmoe_tensor *gate = weights(1, ffn, width);
    hcsmoe_tensor *up = weights(1, ffn, width);
    hcsmoe_tensor *down = weights(1, width, ffn);
    a.x = x;
    a.gate = gate;
    a.up = up;
    a.down = down;
    a.out = floats(rows * width);
    struct baseline s = {.count = 1, .wide = 2, .down = 1};
    baseline_open(b, &s, rows, width, ffn);
    measure(b, name, 6.0 * (double)width * (double)ffn * (double)rows, &s, call_mlp, &a);
    baseline_close(&s);
    weights_free(gate);
    weights_free(up);
    weights_free(down);
    free(x);
    free(a.out);
}

struct linear {
    int64_t m, n, kk;
    float *x, *y;
    hcsmoe_tensor *w;
};

static hcsmoe_status call_linear(const hcsmoe_kernels *k, const void *args)
{
    const struct linear *a = args;
    return k->linear(k, a->m, a->n, a->kk, a->x, a->w, NULL, 0, a->y);
}

static void bench_linear(const struct bench *b, int64_t m, int64_t n, int64_t kk)
{
    char name[80];
    (void)snprintf(name, sizeof name, "linear m%lld n%lld k%lld", (long long)m, (long long)n,
                   (long long)kk);
    if (b->only != NULL && strstr(name, b->only) == NULL)
        return;
    struct linear a = {m, n, kk, floats(m * kk), floats(m * n), weights(1, n, kk)};
    struct baseline s = {.count = 1, .wide = 1};
    baseline_open(b, &s, m, kk, n);
    measure(b, name, 2.0 * (double)m * (double)n * (double)kk, &s, call_linear, &a);
    baseline_close(&s);
    weights_free(a.w);
    free(a.x);
    free(a.y);
}

int main(int argc, char **argv)
{
    static const int64_t rows[] = {8, 32, 128, 512, 2048};
    struct host h;
    struct bench b = {.repeats = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 5,
                      .only = argc > 2 ? argv[2] : NULL};
    host_init(&h, omp_get_max_threads(), 1);
    if (onednn_can_run(&h.abi) == 0) {
        printf("bf16_bench: %s\n", h.message);
        return 77;
    }
    struct cpu *f32 = cpu_table(&h.abi, cpu_simd_sets()[0], &cpu_product_f32);
    struct cpu *bf16 = onednn_table(&h.abi, cpu_simd_sets()[0]);
    if (f32 == NULL || bf16 == NULL)
        return 1;
    b.f32 = &f32->table;
    b.bf16 = &bf16->table;
    must(dnnl_engine_create(&b.engine, dnnl_cpu, 0));
    must(dnnl_stream_create(&b.stream, b.engine, dnnl_stream_default_flags));
    printf("%s, %d threads, best of %d, by processor time\n", b.bf16->name, (int)h.threads,
           b.repeats);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        bench_experts(&b, 1024, 3584, 8, rows[i], 0);
    bench_experts(&b, 1024, 3584, 8, 256, 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows - 1; i++)
        bench_experts(&b, 2048, 1408, 60, rows[i], 0);
    bench_mlp(&b, 2048, 5632, 2048);
    bench_linear(&b, 4096, 1024, 1024);
    bench_linear(&b, 4096, 2048, 2048);
    bench_linear(&b, 64, 4096, 4096);
    must(dnnl_stream_destroy(b.stream));
    must(dnnl_engine_destroy(b.engine));
    onednn_table_free(&h.abi, bf16);
    cpu_table_free(&h.abi, f32);
    return 0;
}
