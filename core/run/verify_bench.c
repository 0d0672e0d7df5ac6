/*
 * verify_bench.c - a layer, its tokens and their statistics, by plain loops.
 * SPDX-License-Identifier: MIT
 */
#include "run/verify_bench.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"

const struct bench_spec bench_ordinary = {.layer = 3,
                                          .experts = 6,
                                          .top_k = 2,
                                          .width = 16,
                                          .ffn = 12,
                                          .tokens = 400,
                                          .dtype = HCSMOE_DTYPE_BF16};
const struct bench_spec bench_tiny = {.layer = 0,
                                      .experts = 2,
                                      .top_k = 1,
                                      .width = 5,
                                      .ffn = 3,
                                      .tokens = 40,
                                      .dtype = HCSMOE_DTYPE_F32};

enum { SEED = 20240917, UNIFORM_TERMS = 12 };
/* The router's first column against the tokens' first: what keeps all of them from expert 1. */
static const double away = -40, bias = 2;

/* Memory that plugins are shown: zeroed, and part of the hash. */
static void *show_new(struct bench *b, int64_t n, size_t size)
{
    struct bench_block *block = arena_alloc(&b->arena, sizeof *block);
    void *p = block ? mem_new((size_t)n, size) : NULL;
    if (!p)
        return NULL;
    *block = (struct bench_block){b->blocks, p, (size_t)n * size};
    b->blocks = block;
    return p;
}

/* Normal enough: the sum of twelve uniform numbers. */
static double normal(struct pcg64 *g)
{
    double sum = -UNIFORM_TERMS / 2;
    for (int i = 0; i < UNIFORM_TERMS; i++)
        sum += pcg64_real(g);
    return sum;
}

/* values[rows, columns] rounded to a tensor of its own, and read back. */
static int tensor_make(struct bench *b, const hcsmoe_kernels *k, uint32_t dtype, int64_t rows,
                       int64_t columns, float *values, hcsmoe_tensor *t)
{
    void *bytes = show_new(b, rows * columns, hcsmoe_dtype_size(dtype));
    if (!bytes)
        return HCSMOE_ENOMEM;
    *t = hcsmoe_matrix(bytes, dtype, rows, columns);
    const hcsmoe_tensor plain = hcsmoe_matrix(values, HCSMOE_DTYPE_F32, rows, columns);
    const int status = k->convert(k, &plain, t);
    return status ? status : k->convert(k, t, &plain);
}

/* What the loops below read: the weights as they are stored, widened. */
struct plain {
    float *router, *part[3]; /* [E, D]; [E] of gate, up, down */
};

static int weights_make(struct bench *b, const hcsmoe_kernels *k, struct plain *w)
{
    const int64_t e = b->dims.n_experts, d = b->dims.width, f = b->dims.ffn, n = d * f;
    struct pcg64 g;
    int status = 0;

    pcg64_seed(&g, SEED);
    for (int64_t i = 0; i < e * d; i++)
        w->router[i] = (float)(0.5 * normal(&g));
    for (int64_t i = 0; b->spec.unused && i < e; i++)
        w->router[i * d] = i == 1 ? (float)away : 0;
    for (int p = 0; p < 3; p++)
        for (int64_t i = 0; i < e * n; i++) {
            w->part[p][i] = b->spec.alike && i >= n ? w->part[p][i % n] : (float)(0.3 * normal(&g));
        }
    status = tensor_make(b, k, b->spec.dtype, e, d, w->router, &b->router);
    hcsmoe_tensor *const to[3] = {b->gate, b->up, b->down};
    for (int64_t i = 0; !status && i < e; i++)
        for (int p = 0; !status && p < 3; p++)
            status = tensor_make(b, k, b->spec.dtype, p < 2 ? f : d, p < 2 ? d : f,
                                 w->part[p] + i * n, &to[p][i]);
    return status;
}

static void tokens_make(struct bench *b)
{
    const int64_t t = b->dims.n_tokens, d = b->dims.width;
    struct pcg64 g;

    pcg64_seed(&g, SEED + 1);
    for (int64_t i = 0; i < t * d; i++)
        b->x[i] = (float)normal(&g);
    for (int64_t i = 0; i < t; i++)
        b->x[i * d] = (float)bias;
    if (b->spec.nan == NAN_TOKEN)
        b->x[(t / 2) * d + 1] = NAN;
}

/* out[rows] = w[rows, n] x[n], in double, rounded once. */
static void product(const float *w, const float *x, int64_t rows, int64_t n, float *out)
{
    for (int64_t r = 0; r < rows; r++) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += (double)w[r * n + i] * (double)x[i];
        out[r] = (float)sum;
    }
}

/* Softmax over all, the K largest (ties to the lowest), their weights with sum 1. */
static void route_token(struct bench *b, int64_t t)
{
    const int64_t e = b->dims.n_experts, k = b->dims.top_k;
    const float *z = b->logits + t * e;
    float *p = b->probabilities + t * e;
    double sum = 0, most = (double)z[0], chosen = 0;

    for (int64_t i = 1; i < e; i++)
        most = (double)z[i] > most ? (double)z[i] : most;
    for (int64_t i = 0; i < e; i++)
        sum += exp((double)z[i] - most);
    for (int64_t i = 0; i < e; i++)
        p[i] = (float)(exp((double)z[i] - most) / sum);
    for (int64_t rank = 0; rank < k; rank++) {
        int64_t best = -1;
        for (int64_t i = 0; i < e; i++) {
            bool taken = false;
            for (int64_t r = 0; r < rank; r++)
                taken = taken || b->ids[t * k + r] == i;
            if (!taken && (best < 0 || z[i] > z[best]))
                best = i;
        }
        b->ids[t * k + rank] = (int32_t)best;
        chosen += (double)p[best];
    }
    for (int64_t rank = 0; rank < k; rank++)
        b->weights[t * k + rank] = (float)((double)p[b->ids[t * k + rank]] / chosen);
}

static void experts_run(struct bench *b, const struct plain *w, float *up)
{
    const int64_t e = b->dims.n_experts, d = b->dims.width, f = b->dims.ffn, n = d * f;

    for (int64_t t = 0; t < b->dims.n_tokens; t++) {
        const float *x = b->x + t * d;
        product(w->router, x, e, d, b->logits + t * e);
        route_token(b, t);
        for (int64_t i = 0; i < e; i++) {
            float *h = b->hidden[i] + t * f;
            product(w->part[0] + i * n, x, f, d, h);
            product(w->part[1] + i * n, x, f, d, up);
            for (int64_t j = 0; j < f; j++)
                h[j] = (float)((double)h[j] / (1 + exp(-(double)h[j])) * (double)up[j]);
            if (b->spec.nan == NAN_EXPERT && i == 0)
                h[0] = NAN;
            product(w->part[2] + i * n, h, d, f, b->output[i] + t * d);
        }
    }
}

static void routing_count(struct bench *b)
{
    const int64_t e = b->dims.n_experts, k = b->dims.top_k, n = b->dims.n_tokens;

    for (int64_t i = 0; i < n * k; i++)
        b->usage_counts[b->ids[i]]++;
    for (int64_t i = 0; i < e; i++)
        b->usage[i] = (double)b->usage_counts[i] / (double)(n * k);
    for (int64_t t = 0; t < n; t++)
        for (int64_t i = 0; i < e; i++) {
            b->score_sum[i] += (double)b->probabilities[t * e + i];
            for (int64_t j = 0; j < e; j++)
                b->router_gram[i * e + j] +=
                    (double)b->logits[t * e + i] * (double)b->logits[t * e + j];
            for (int64_t j = 0; j < b->dims.width; j++)
                b->output_mean[i * b->dims.width + j] +=
                    (double)b->output[i][t * b->dims.width + j] / (double)n;
        }
}

/* Inner products of the experts' weights, as they are and without their mean. */
static void weights_compare(struct bench *b, const struct plain *w)
{
    const int64_t e = b->dims.n_experts, n = b->dims.width * b->dims.ffn;

    for (int p = 0; p < 3; p++)
        for (int64_t at = 0; at < n; at++) {
            double mean = 0;
            for (int64_t i = 0; i < e; i++)
                mean += (double)w->part[p][i * n + at] / (double)e;
            for (int64_t i = 0; i < e; i++)
                for (int64_t j = 0; j < e; j++) {
                    const double a = (double)w->part[p][i * n + at],
                                 c = (double)w->part[p][j * n + at];
                    b->weight_product[i * e + j] += a * c;
                    b->weight_gram[i * e + j] += (a - mean) * (c - mean);
                }
        }
}

/* 1 / (mean square of a row + 1e-6): stats.h divides it by its mean over the tokens later. */
static double omega_of(const struct bench *b, int64_t t)
{
    double sum = 0;
    for (int64_t i = t * b->dims.width; i < (t + 1) * b->dims.width; i++)
        sum += (double)b->x[i] * (double)b->x[i];
    return 1 / (sum / (double)b->dims.width + 1e-6);
}

static void energy_make(struct bench *b, const struct plain *w)
{
    const int64_t e = b->dims.n_experts, d = b->dims.width, f = b->dims.ffn, k = b->dims.top_k;
    double mean = 0;

    for (int64_t t = 0; t < b->dims.n_tokens; t++)
        mean += omega_of(b, t) / (double)b->dims.n_tokens;
    for (int64_t t = 0; t < b->dims.n_tokens; t++)
        for (int64_t r = 0; r < k; r++)
            for (int64_t i = 0; i < e; i++)
                for (int64_t j = 0; j < f; j++) {
                    const double one =
                        (double)b->weights[t * k + r] * (double)b->hidden[i][t * f + j];
                    const int64_t at = (b->ids[t * k + r] * e + i) * f + j;
                    b->energy[at] += one * one;
                    b->energy_scaled[at] += one * one * omega_of(b, t) / mean;
                }
    for (int64_t i = 0; i < e; i++)
        for (int64_t j = 0; j < f; j++) {
            double norm = 0;
            for (int64_t r = 0; r < d; r++)
                norm += (double)w->part[2][(i * d + r) * f + j] *
                        (double)w->part[2][(i * d + r) * f + j];
            for (int64_t to = 0; to < e; to++) {
                b->energy[(to * e + i) * f + j] *= norm;
                b->energy_scaled[(to * e + i) * f + j] *= norm;
            }
        }
}

static int memory_take(struct bench *b)
{
    const int64_t e = b->dims.n_experts, d = b->dims.width, f = b->dims.ffn, k = b->dims.top_k,
                  t = b->dims.n_tokens;
    const struct {
        void *to;
        int64_t n;
        size_t size;
    } parts[] = {
        {&b->x, t * d, sizeof(float)},
        {&b->logits, t * e, sizeof(float)},
        {&b->probabilities, t * e, sizeof(float)},
        {&b->weights, t * k, sizeof(float)},
        {&b->ids, t * k, sizeof(int32_t)},
        {&b->usage_counts, e, sizeof(int64_t)},
        {&b->usage, e, sizeof(double)},
        {&b->score_sum, e, sizeof(double)},
        {&b->router_gram, e * e, sizeof(double)},
        {&b->output_mean, e * d, sizeof(double)},
        {&b->weight_gram, e * e, sizeof(double)},
        {&b->weight_product, e * e, sizeof(double)},
        {&b->energy, e * e * f, sizeof(double)},
        {&b->energy_scaled, e * e * f, sizeof(double)},
        {&b->hidden, e, sizeof(float *)},
        {&b->output, e, sizeof(float *)},
        {&b->gate, e, sizeof(hcsmoe_tensor)},
        {&b->up, e, sizeof(hcsmoe_tensor)},
        {&b->down, e, sizeof(hcsmoe_tensor)},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        void *p = show_new(b, parts[i].n, parts[i].size);
        if (!p)
            return HCSMOE_ENOMEM;
        memcpy(parts[i].to, &p, sizeof p);
    }
    for (int64_t i = 0; i < e; i++) {
        b->hidden[i] = show_new(b, t * f, sizeof(float));
        b->output[i] = show_new(b, t * d, sizeof(float));
        if (!b->hidden[i] || !b->output[i])
            return HCSMOE_ENOMEM;
    }
    return 0;
}

int bench_open(struct bench *b, const struct bench_spec *spec, const hcsmoe_kernels *k)
{
    *b = (struct bench){
        .spec = *spec,
        .dims = {sizeof b->dims, spec->layer, spec->experts, spec->top_k, spec->width, spec->ffn,
                 spec->tokens},
    };
    const size_t e = (size_t)spec->experts, n = (size_t)(spec->width * spec->ffn);
    struct plain w = {
        .router = arena_alloc(&b->arena, e * (size_t)spec->width * sizeof(float)),
        .part = {arena_alloc(&b->arena, e * n * sizeof(float)),
                 arena_alloc(&b->arena, e * n * sizeof(float)),
                 arena_alloc(&b->arena, e * n * sizeof(float))},
    };
    float *up = arena_alloc(&b->arena, (size_t)spec->ffn * sizeof *up);
    int status =
        w.router && w.part[0] && w.part[1] && w.part[2] && up ? memory_take(b) : HCSMOE_ENOMEM;

    if (!status)
        status = weights_make(b, k, &w);
    if (!status) {
        tokens_make(b);
        experts_run(b, &w, up);
        routing_count(b);
        weights_compare(b, &w);
        energy_make(b, &w);
    } else {
        bench_release(b);
    }
    return status;
}

void bench_release(struct bench *b)
{
    for (struct bench_block *x = b->blocks; x; x = x->next)
        mem_free(x->bytes);
    arena_release(&b->arena);
    *b = (struct bench){0};
}

hcsmoe_stats bench_stats(const struct bench *b, uint64_t needs)
{
    hcsmoe_stats s = {.struct_size = sizeof s};
    if (needs & HCSMOE_STAT_USAGE) {
        s.usage_counts = b->usage_counts;
        s.usage = b->usage;
    }
    if (needs & HCSMOE_STAT_ROUTING_SCORE)
        s.score_sum = b->score_sum;
    if (needs & HCSMOE_STAT_ROUTER_GRAM)
        s.router_gram = b->router_gram;
    if (needs & HCSMOE_STAT_OUTPUT_MEAN)
        s.output_mean = b->output_mean;
    if (needs & HCSMOE_STAT_WEIGHT_GRAM)
        s.weight_gram = b->weight_gram;
    if (needs & HCSMOE_STAT_WEIGHT_PRODUCT)
        s.weight_product = b->weight_product;
    if (needs & HCSMOE_STAT_ENERGY)
        s.energy = b->energy;
    if (needs & HCSMOE_STAT_ENERGY_SCALED)
        s.energy_scaled = b->energy_scaled;
    if (needs & HCSMOE_STAT_ROUTER_WEIGHT)
        s.router = &b->router;
    if (needs & HCSMOE_STAT_WEIGHTS) {
        s.gate = b->gate;
        s.up = b->up;
        s.down = b->down;
    }
    return s;
}

/* FNV-1a. */
uint64_t bench_hash(const struct bench *b)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (const struct bench_block *x = b->blocks; x; x = x->next)
        for (size_t i = 0; i < x->size; i++)
            hash = (hash ^ ((const unsigned char *)x->bytes)[i]) * 0x100000001b3u;
    return hash;
}
