/*
 * slim_bench.c - what selecting and refitting the neurons of one group takes, beside the
 * multiply-adds of the method's formulas at the rate that the BLAS's own operations reach at the shape
 * of each step.
 *
 * usage: slim_bench PLUGINS WIDTH FFN KEPT MEMBERS TOKENS [repeat=N] [key=value ...]; OMP_NUM_THREADS.
 * One member: slim, else select. Experts and activations are random, and activations cost nothing.
 * They and the merge take turns; the best of each counts.
 * SPDX-License-Identifier: MIT
 */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <hcsmoe/merge.h>

#include "base/mem.h"
#include "plugin/blas.h"
#include "plugin/host.h"

enum { MEMBERS_MAX = 8 };

/* Seconds on the wall and of the processor: on a busy machine only the second means something. */
struct clock {
    double wall, cpu;
};

struct bench {
    struct host *host;
    const hcsmoe_kernels *k;
    void *blas; /* the library that has brought it */
    int64_t width, ffn, kept, members, tokens;
    uint64_t random;
    float *hidden[MEMBERS_MAX], *factors, *weights;
    struct clock shown; /* spent on making activations */
};

static double seconds(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct clock now(void)
{
    return (struct clock){seconds(CLOCK_MONOTONIC), seconds(CLOCK_PROCESS_CPUTIME_ID)};
}

static struct clock since(struct clock start)
{
    const struct clock end = now();

    return (struct clock){end.wall - start.wall, end.cpu - start.cpu};
}

static void quit(const char *what)
{
    (void)fprintf(stderr, "slim_bench: %s: %s\n", what, fail_message());
    exit(1);
}

static void *block(int64_t bytes)
{
    void *p = mem_new_raw(1, (size_t)bytes);

    if (!p)
        quit("memory");
    return p;
}

/* Around zero, of about unit variance. */
static float draw(struct bench *b)
{
    uint64_t z = b->random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return 1.7F * ((float)(z & 0xffff) + (float)(z >> 16 & 0xffff) - 65535) / 32768 / 1.4F;
}

/* Neurons that share eight directions, with noise of their own. */
static hcsmoe_status show(const hcsmoe_merge_args *a, uint32_t want,
                          hcsmoe_status (*see)(void *arg, const hcsmoe_group_tile *tile), void *arg)
{
    struct bench *b = (struct bench *)(uintptr_t)a->ctx;
    int64_t first, t, e, i;
    int d;

    (void)want;
    b->random = 1;
    for (first = 0; first < b->tokens; first += HCSMOE_TILE_TOKENS) {
        const struct clock start = now();
        const int64_t n =
            b->tokens - first < HCSMOE_TILE_TOKENS ? b->tokens - first : HCSMOE_TILE_TOKENS;
        const hcsmoe_group_tile tile = {.struct_size = sizeof tile,
                                        .n_tokens = n,
                                        .weights = b->weights,
                                        .hidden = (const float *const *)b->hidden};
        struct clock spent;
        hcsmoe_status status;
        for (t = 0; t < n; t++) {
            float common[8];
            for (d = 0; d < 8; d++)
                common[d] = draw(b);
            for (e = 0; e < b->members; e++) {
                b->weights[t * b->members + e] = (t + e) % b->members ? 0 : 0.5F;
                for (i = 0; i < b->ffn; i++) {
                    float *h = &b->hidden[e][t * b->ffn + i];
                    *h = 0.7F * draw(b);
                    for (d = 0; d < 8; d++)
                        *h += common[d] * b->factors[8 * (e * b->ffn + i) + d];
                }
            }
        }
        spent = since(start);
        b->shown.wall += spent.wall;
        b->shown.cpu += spent.cpu;
        status = see(arg, &tile);
        if (status != HCSMOE_OK)
            return status;
    }
    return HCSMOE_OK;
}

static const hcsmoe_component *component(struct bench *b, const char *folder, const char *file,
                                         const char *name)
{
    char path[4096];
    const hcsmoe_component *const *c;
    hcsmoe_entry entry = NULL;
    void *library, *symbol;

    (void)snprintf(path, sizeof path, "%s/%s", folder, file);
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    symbol = library ? dlsym(library, "hcsmoe_plugin_v1") : NULL;
    if (!symbol) {
        (void)fprintf(stderr, "slim_bench: %s\n", dlerror());
        exit(1);
    }
    blas_single_thread(library);
    if (!b->blas)
        b->blas = library;
    memcpy(&entry, &symbol, sizeof entry);
    for (c = entry(&b->host->abi)->components; *c; c++)
        if (strcmp((*c)->name, name) == 0)
            return *c;
    quit(name);
    return NULL;
}

/* The defaults, and what the arguments set. */
static void *options(const hcsmoe_component *c, char **argv, int argc)
{
    char *opts = mem_new(1, c->opts_size);
    uint32_t i;
    int a;

    for (i = 0; i < c->n_options; i++) {
        const hcsmoe_option *o = &c->options[i];
        memcpy(opts + o->offset, &o->def, 8);
        for (a = 0; a < argc; a++) {
            const size_t n = strlen(o->name);
            int64_t whole;
            double real;
            if (strncmp(argv[a], o->name, n) != 0 || argv[a][n] != '=')
                continue;
            whole = strtoll(argv[a] + n + 1, NULL, 10);
            real = strtod(argv[a] + n + 1, NULL);
            memcpy(opts + o->offset, o->type == HCSMOE_OPTION_REAL ? (void *)&real : (void *)&whole,
                   8);
        }
    }
    return opts;
}

/* A step of the method: its multiply-adds by the formulas, and the BLAS's own operation of the shape that it works on:
 * a product, or the inverse by a Cholesky factor of a matrix with k = 0. */
struct step {
    double flops;
    int trans_a;
    int64_t m, n, k;
    struct clock rate; /* FLOP per second that this operation reaches */
};

enum { STEPS = 4, SIDE_MOST = 1536, TILE_ROWS = 1024 };

static int64_t side(double n)
{
    return n < SIDE_MOST ? (int64_t)n : SIDE_MOST;
}

/* pool bounds what is selected from. */
static void steps_of(const struct bench *b, double pool, struct step *s)
{
    const double f = (double)b->ffn, kept = (double)b->kept, d = (double)b->width;
    const double m = b->members == 1 ? f : fmin((double)b->members, pool) * f;
    const double t = (double)b->tokens;

    /* H and C of the tokens, a tile of them at a time */
    s[0] = (struct step){t * m * m + (b->members == 1 ? 0 : 2 * t * d * m),
                         1,
                         side(m),
                         side(m),
                         t < TILE_ROWS ? (int64_t)t : TILE_ROWS,
                         {0, 0}};
    s[1] = (struct step){2 * m * m * m, 0, side(m), side(m), 0, {0, 0}}; /* inverse */
    /* elimination */
    s[2] = (struct step){2 * ((m * m * m - kept * kept * kept) / 3 + d * (m * m - kept * kept) / 2),
                         0,
                         side(m),
                         side(m),
                         side(m),
                         {0, 0}};
    /* refit */
    s[3] = (struct step){2 * (kept * kept * kept / 3 + 2 * d * kept * kept),
                         0,
                         side(d),
                         side(kept),
                         side(kept),
                         {0, 0}};
}

/* The BLAS's: it comes with the plugin of the kernels. */
struct lapack {
    void (*factor)(const char *uplo, const int *n, void *a, const int *lda, int *info);
    void (*invert)(const char *uplo, const int *n, void *a, const int *lda, int *info);
};

static struct lapack lapack_of(const struct bench *b, uint32_t dtype)
{
    const int is_double = dtype == HCSMOE_DTYPE_F64;
    void *factor = dlsym(b->blas, is_double ? "dpotrf_" : "spotrf_");
    void *invert = dlsym(b->blas, is_double ? "dpotri_" : "spotri_");
    struct lapack l;

    if (!factor || !invert)
        quit("no LAPACK");
    memcpy(&l.factor, &factor, sizeof factor);
    memcpy(&l.invert, &invert, sizeof invert);
    return l;
}

/* Once: x of ones, or of ones and a diagonal of n. */
static struct clock run(const struct bench *b, uint32_t dtype, const struct step *s, void *x,
                        void *y, void *z)
{
    const int64_t m = s->m, n = s->n, k = s->k, lda = s->trans_a ? m : k;
    const int side = (int)n;
    struct clock start;
    hcsmoe_status status = HCSMOE_OK;
    int info = 0;

    if (k == 0) {
        const struct lapack l = lapack_of(b, dtype);
        int64_t i;
        for (i = 0; i < n * n; i++)
            if (dtype == HCSMOE_DTYPE_F64)
                ((double *)z)[i] = i % (n + 1) == 0 ? (double)n : 1;
            else
                ((float *)z)[i] = i % (n + 1) == 0 ? (float)n : 1;
        start = now();
        l.factor("U", &side, z, &side, &info);
        l.invert("U", &side, z, &side, &info);
    } else {
        start = now();
        status = dtype == HCSMOE_DTYPE_F64
                     ? b->k->dgemm(b->k, s->trans_a, 0, m, n, k, 1, x, lda, y, n, 0, z, n)
                     : b->k->sgemm(b->k, s->trans_a, 0, m, n, k, 1, x, lda, y, n, 0, z, n);
    }
    if (status != HCSMOE_OK || info != 0)
        quit("the BLAS");
    return since(start);
}

/* The better of it and of s->rate. */
static void rate(const struct bench *b, uint32_t dtype, struct step *s)
{
    const int64_t size = dtype == HCSMOE_DTYPE_F64 ? 8 : 4;
    const int64_t m = s->m, n = s->n, k = s->k;
    const double flops = 2.0 * (double)m * (double)n * (double)(k > 0 ? k : n);
    void *x = block(m * k * size + 1), *y = block(k * n * size + 1), *z = block(m * n * size);
    int64_t i;
    int round;

    for (i = 0; i < m * k * size / 4; i++)
        ((float *)x)[i] = 1;
    for (i = 0; i < k * n * size / 4; i++)
        ((float *)y)[i] = 1;
    for (round = 0; round < 3; round++) {
        const struct clock spent = run(b, dtype, s, x, y, z);
        s->rate.wall = fmax(s->rate.wall, flops / spent.wall);
        s->rate.cpu = fmax(s->rate.cpu, flops / spent.cpu);
    }
    mem_free(x);
    mem_free(y);
    mem_free(z);
}

static hcsmoe_tensor random_matrix(struct bench *b, int64_t rows, int64_t columns)
{
    uint16_t *x = block(rows * columns * 2);
    int64_t i;

    for (i = 0; i < rows * columns; i++) {
        const float value = draw(b);
        uint32_t bits;
        memcpy(&bits, &value, 4);
        x[i] = (uint16_t)(bits >> 16);
    }
    return hcsmoe_matrix(x, HCSMOE_DTYPE_BF16, rows, columns);
}

static void allocate(struct bench *b)
{
    int64_t e, i;

    b->factors = block(b->members * b->ffn * 8 * 4);
    b->weights = block(HCSMOE_TILE_TOKENS * b->members * 4);
    for (e = 0; e < b->members; e++)
        b->hidden[e] = block(HCSMOE_TILE_TOKENS * b->ffn * 4);
    for (i = 0; i < b->members * b->ffn * 8; i++)
        b->factors[i] = 0.3F * draw(b);
}

/* The group and what is made of it. */
struct group {
    hcsmoe_layer_dims dims;
    hcsmoe_stats stats;
    hcsmoe_tensor gate[MEMBERS_MAX], up[MEMBERS_MAX], down[MEMBERS_MAX], out[3];
    int32_t members[MEMBERS_MAX], pruned[MEMBERS_MAX];
    double loss, total;
    hcsmoe_merge_args args;
};

static void group_open(struct bench *b, struct group *g)
{
    double *energy = mem_new((size_t)(b->members * b->members * b->ffn), sizeof *energy);
    int64_t e;

    for (e = 0; e < b->members * b->members * b->ffn; e++)
        energy[e] = 1;
    *g = (struct group){.dims = {.struct_size = sizeof g->dims,
                                 .n_experts = b->members,
                                 .top_k = 1,
                                 .width = b->width,
                                 .ffn = b->ffn,
                                 .n_tokens = b->tokens},
                        .stats = {.struct_size = sizeof g->stats, .energy = energy}};
    for (e = 0; e < b->members; e++) {
        g->members[e] = (int32_t)e;
        g->gate[e] = random_matrix(b, b->ffn, b->width);
        g->up[e] = random_matrix(b, b->ffn, b->width);
        g->down[e] = random_matrix(b, b->width, b->ffn);
    }
    g->out[0] = random_matrix(b, b->kept, b->width);
    g->out[1] = random_matrix(b, b->kept, b->width);
    g->out[2] = random_matrix(b, b->width, b->kept);
    g->args = (hcsmoe_merge_args){.struct_size = sizeof g->args,
                                  .dims = &g->dims,
                                  .stats = &g->stats,
                                  .n_members = b->members,
                                  .n_groups = 1,
                                  .members = g->members,
                                  .core = -1,
                                  .gate = g->gate,
                                  .up = g->up,
                                  .down = g->down,
                                  .out_gate = &g->out[0],
                                  .out_up = &g->out[1],
                                  .out_down = &g->out[2],
                                  .n_tokens = b->tokens,
                                  .tokens = show,
                                  .ctx = b,
                                  .pruned = g->pruned,
                                  .loss = &g->loss,
                                  .total = &g->total};
}

/* The best of merging and of the products, which take turns. */
static void measure(struct bench *b, const hcsmoe_merge_ops *ops, void *self, struct group *g,
                    uint32_t dtype, int repeats, struct clock *best, struct step *steps)
{
    *best = (struct clock){INFINITY, INFINITY};
    for (; repeats > 0; repeats--) {
        struct clock start, spent;
        int i;
        b->shown = (struct clock){0, 0};
        host_enter(b->host, "bench", -1);
        start = now();
        if (ops->merge(self, &b->host->abi, &g->args) != HCSMOE_OK)
            quit("merge");
        spent = since(start);
        if (host_leave(b->host, HCSMOE_OK) != HCSMOE_OK)
            quit("leave");
        best->wall = fmin(best->wall, spent.wall - b->shown.wall);
        best->cpu = fmin(best->cpu, spent.cpu - b->shown.cpu);
        for (i = 0; i < STEPS; i++)
            rate(b, dtype, &steps[i]);
    }
}

static void report(struct bench *b, const hcsmoe_component *c, const void *opts, double pool,
                   int repeats)
{
    static const char *const names[STEPS] = {"Gram matrix", "inverse", "elimination", "refit"};
    const hcsmoe_merge_ops *ops = c->ops;
    const hcsmoe_merge_shape shape = {
        .struct_size = sizeof shape, .n_target = 1, .n_experts = 1, .ffn = b->kept};
    const double selected = (double)b->ffn * (b->members > 1 ? pool : 1);
    hcsmoe_merge_cost cost = {.struct_size = sizeof cost};
    struct clock best, limit = {0, 0};
    struct step steps[STEPS];
    struct rusage before, after;
    struct group g;
    void *self = NULL;
    int i;

    group_open(b, &g);
    steps_of(b, pool, steps);
    host_enter(b->host, "bench", -1);
    if (c->create(&b->host->abi, opts, &self) != HCSMOE_OK ||
        ops->cost(self, &b->host->abi, &g.dims, &shape, b->members, &cost) != HCSMOE_OK ||
        host_leave(b->host, HCSMOE_OK) != HCSMOE_OK)
        quit("create");
    getrusage(RUSAGE_SELF, &before);
    measure(b, ops, self, &g, selected > 11585 ? HCSMOE_DTYPE_F32 : HCSMOE_DTYPE_F64, repeats,
            &best, steps);
    getrusage(RUSAGE_SELF, &after);
    printf("%s: D %lld, F %lld -> %lld, %lld members, %lld tokens: loss %.4f\n", c->name,
           (long long)b->width, (long long)b->ffn, (long long)b->kept, (long long)b->members,
           (long long)b->tokens, g.loss / g.total);
    for (i = 0; i < STEPS; i++) {
        printf("%s: %.3g FLOP; %s [%lld, %lld, %lld] %.1f GFLOP/s\n", names[i], steps[i].flops,
               steps[i].k > 0 ? "gemm" : "potrf, potri", (long long)steps[i].m,
               (long long)steps[i].n, (long long)(steps[i].k > 0 ? steps[i].k : steps[i].n),
               steps[i].rate.cpu / 1e9);
        limit.wall += steps[i].flops / steps[i].rate.wall;
        limit.cpu += steps[i].flops / steps[i].rate.cpu;
    }
    printf("wall %.4g s, processor %.4g s; formulas at the BLAS's rates: %.4g s (x%.2f), %.4g s "
           "(x%.2f)\n",
           best.wall, best.cpu, limit.wall, best.wall / limit.wall, limit.cpu,
           best.cpu / limit.cpu);
    printf("plan: %.3g FLOP, %.1f MB; peak grew by %.1f MB\n", cost.flops, (double)cost.bytes / 1e6,
           (double)(after.ru_maxrss - before.ru_maxrss) * 1024 / 1e6);
}

int main(int argc, char **argv)
{
    struct bench b = {.random = 7};
    const hcsmoe_component *kernels, *c;
    const char *threads = getenv("OMP_NUM_THREADS");
    void *self = NULL, *opts;
    double pool = 2;
    int i, repeats = 1;

    mem_start();
    if (argc < 7) {
        (void)fputs("usage: slim_bench PLUGINS WIDTH FFN KEPT MEMBERS TOKENS [repeat=N] "
                    "[key=value ...]\n",
                    stderr);
        return 2;
    }
    b.width = strtoll(argv[2], NULL, 10);
    b.ffn = strtoll(argv[3], NULL, 10);
    b.kept = strtoll(argv[4], NULL, 10);
    b.members = strtoll(argv[5], NULL, 10);
    b.tokens = strtoll(argv[6], NULL, 10);
    if (b.width < 1 || b.ffn < 1 || b.kept < 1 || b.kept > b.ffn || b.members < 1 ||
        b.members > MEMBERS_MAX || b.tokens < 1) {
        (void)fputs("slim_bench: sizes must be positive, KEPT at most FFN, MEMBERS at most 8\n",
                    stderr);
        return 2;
    }
    for (i = 7; i < argc; i++)
        if (strncmp(argv[i], "pool=", 5) == 0)
            pool = strtod(argv[i] + 5, NULL);
        else if (strncmp(argv[i], "repeat=", 7) == 0)
            repeats = (int)strtol(argv[i] + 7, NULL, 10);
    if (host_open(&b.host, threads ? (int)strtol(threads, NULL, 10) : 0, 0) != 0)
        quit("host");
    kernels = component(&b, argv[1], "hcsmoe-kernels-cpu.so", "cpu");
    if (kernels->create(&b.host->abi, NULL, &self) != HCSMOE_OK ||
        ((const hcsmoe_kernels_ops *)kernels->ops)->table(self, &b.host->abi, 0, &b.k) != HCSMOE_OK)
        quit("kernels");
    host_set_kernels(b.host, b.k);
    c = component(&b, argv[1], "hcsmoe-merge-neurons.so", b.members == 1 ? "slim" : "select");
    opts = options(c, argv + 7, argc - 7);
    allocate(&b);
    report(&b, c, opts, pool == 0 ? (double)b.members : pool, repeats);
    return 0;
}
