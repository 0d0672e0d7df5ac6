/*
 * verify_kernels.c - does a device compute what the table of kernels says?
 *
 * Small shapes, against plain loops in double. Every pointer goes through the device's own memory.
 * SPDX-License-Identifier: MIT
 */
#include "run/verify_kernels.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "plugin/check.h"

/* Of the largest entry: kernels.h has the bounds, this is above all of them at these sizes. A hidden
 * activation between two bfloat16 values may become either: some of its last bit is taken then. */
static const double most = 1e-4, most_hidden = 4e-3;

static int device_open(struct bench_device *d, struct verify *v)
{
    const hcsmoe_kernels_ops *ops = v->component->c.ops;
    int status;

    *d = (struct bench_device){.v = v, .bf16 = str_ends(v->component->c.name, "-bf16")};
    pcg64_seed(&d->random, 7);
    component_enter(v->component, v->host, -1);
    const int32_t score = ops->probe(&v->host->abi);
    const bool reason = fail_message()[0] != '\0';
    char *why = mem_strdup(fail_message());
    status = host_leave(v->host, 0);
    if (score < 0 || score > 100)
        status = verify_broken(v, "probe says %d: must be 0..100", score);
    else if (!score && !reason)
        status = verify_broken(v, "probe says 0 and no reason");
    else if (!score)
        status = verify_skip("cannot run here: %s", why ? why : "");
    mem_free(why);
    if (!status)
        status = verify_open(v, &d->i);
    if (status)
        return status;
    component_enter(v->component, v->host, -1);
    status = verify_leave(v, ops->table(d->i.self, &v->host->abi, 0, &d->k));
    if (!status && check_kernels(d->k))
        status = verify_broken(v, "%s", fail_message());
    if (!status)
        host_set_kernels(v->host, d->k);
    return status;
}

static void device_close(struct bench_device *d)
{
    for (int n = 0; n < d->n_taken; n++)
        d->k->free(d->k, d->taken[n]);
    instance_release(&d->i);
}

void *device_put(struct bench_device *d, const void *from, size_t size)
{
    uint64_t ticket = 0;
    void *p = NULL;
    if (d->n_taken == 64 || d->k->alloc(d->k, size, &p))
        return NULL;
    d->taken[d->n_taken++] = p;
    if (d->k->upload(d->k, 0, p, from, size) || d->k->mark(d->k, 0, &ticket) ||
        d->k->wait(d->k, -1, ticket))
        return NULL;
    return p;
}

float *device_draw(struct bench_device *d, int64_t n, float *here)
{
    for (int64_t i = 0; i < n; i++)
        here[i] = (float)(2 * pcg64_real(&d->random) - 1);
    return device_put(d, here, (size_t)n * sizeof *here);
}

hcsmoe_tensor device_matrix(const struct bench_device *d, void *data, uint32_t dtype, int64_t rows,
                            int64_t columns)
{
    hcsmoe_tensor t = hcsmoe_matrix(data, dtype, rows, columns);
    t.device = d->k->device;
    return t;
}

int device_get(struct bench_device *d, void *here, const void *there, size_t size)
{
    uint64_t ticket = 0;
    int status = d->k->download(d->k, 0, here, there, size);
    if (!status)
        status = d->k->mark(d->k, 0, &ticket);
    if (!status)
        status = d->k->wait(d->k, -1, ticket);
    if (!status && d->out)
        str_add_bytes(d->out, here, size);
    return status;
}

static int compare(struct bench_device *d, const char *kernel, const float *there,
                   const double *want, int64_t n, double share)
{
    float *got = mem_new((size_t)n, sizeof *got);
    double largest = 1;
    int status = got ? device_get(d, got, there, (size_t)n * sizeof *got) : HCSMOE_ENOMEM;

    for (int64_t i = 0; !status && i < n; i++)
        largest = fabs(want[i]) > largest ? fabs(want[i]) : largest;
    for (int64_t i = 0; !status && i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= share * largest))
            status = verify_broken(d->v, "%s: entry %lld is %.7g: must be %.7g", kernel,
                                   (long long)i, (double)got[i], want[i]);
    mem_free(got);
    return status;
}

int device_compare(struct bench_device *d, const char *kernel, const float *there,
                   const double *want, int64_t n)
{
    return compare(d, kernel, there, want, n, most);
}

/* What enters a product: to the nearest bfloat16, ties to even, where the device does so. */
static double operand(bool bf16, float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    if (bf16)
        memcpy(&x, &bits, sizeof bits);
    return (double)x;
}

static hcsmoe_tensor matrix(const struct bench_device *d, void *data, int64_t rows, int64_t columns)
{
    return device_matrix(d, data, HCSMOE_DTYPE_F32, rows, columns);
}

/* ---- one kernel each ---- */

/* y[m, n] = x[m, k] w[n, k]^T */
static void product(bool bf16, const float *x, const float *w, int64_t m, int64_t n, int64_t k,
                    double *y)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            y[i * n + j] = 0;
            for (int64_t c = 0; c < k; c++)
                y[i * n + j] += operand(bf16, x[i * k + c]) * operand(bf16, w[j * k + c]);
        }
}

static int linear_try(struct bench_device *d)
{
    float x[ROWS * IN], w[OUT * IN], y[ROWS * OUT];
    double want[ROWS * OUT];
    float *dx = device_draw(d, ROWS * IN, x), *dw = device_draw(d, OUT * IN, w),
          *dy = device_draw(d, ROWS * OUT, y);

    if (!dx || !dw || !dy)
        return HCSMOE_ENOMEM;
    hcsmoe_tensor t = matrix(d, dw, OUT, IN);
    product(d->bf16, x, w, ROWS, OUT, IN, want);
    int status = d->k->linear(d->k, ROWS, OUT, IN, dx, &t, NULL, 0, dy);
    if (!status)
        status = device_compare(d, "linear", dy, want, ROWS * OUT);
    for (int64_t i = 0; i < ROWS * OUT; i++)
        want[i] *= 2;
    if (!status)
        status = d->k->linear(d->k, ROWS, OUT, IN, dx, &t, NULL, 1, dy);
    if (!status)
        status = device_compare(d, "linear, added", dy, want, ROWS * OUT);
    t.flags = HCSMOE_TENSOR_EXACT;
    product(false, x, w, ROWS, OUT, IN, want);
    if (!status)
        status = d->k->linear(d->k, ROWS, OUT, IN, dx, &t, NULL, 0, dy);
    return status ? status
                  : device_compare(d, "linear, of a weight that is exact", dy, want, ROWS * OUT);
}

static int rmsnorm_try(struct bench_device *d)
{
    float x[ROWS * IN], w[IN];
    double want[ROWS * IN];
    const double eps = 1e-5;
    float *dx = device_draw(d, ROWS * IN, x), *dw = device_draw(d, IN, w);

    if (!dx || !dw)
        return HCSMOE_ENOMEM;
    hcsmoe_tensor t = matrix(d, dw, IN, 1);
    t.ndim = 1;
    t.stride[0] = 1;
    t.stride[1] = 0;
    for (int64_t r = 0; r < ROWS; r++) {
        double sum = 0;
        for (int64_t i = 0; i < IN; i++)
            sum += (double)x[r * IN + i] * (double)x[r * IN + i];
        for (int64_t i = 0; i < IN; i++)
            want[r * IN + i] = (double)x[r * IN + i] / sqrt(sum / IN + eps) * (double)w[i];
    }
    const int status = d->k->rmsnorm(d->k, ROWS, IN, dx, &t, eps, dx);
    return status ? status : device_compare(d, "rmsnorm, in place", dx, want, ROWS * IN);
}

/* out[IN] += scale * down(silu(gate x) * up x), of width OUT. */
static void expert(bool bf16, const float *x, const float *gate, const float *up, const float *down,
                   double scale, double *out)
{
    for (int64_t j = 0; j < OUT; j++) {
        double g = 0, u = 0;
        for (int64_t i = 0; i < IN; i++) {
            g += operand(bf16, gate[j * IN + i]) * operand(bf16, x[i]);
            u += operand(bf16, up[j * IN + i]) * operand(bf16, x[i]);
        }
        const double h = operand(bf16, (float)(scale * (g / (1 + exp(-g)) * u)));
        for (int64_t i = 0; i < IN; i++)
            out[i] += operand(bf16, down[i * OUT + j]) * h;
    }
}

/* want: probabilities, weights; ids. */
static void route_plain(const float *logits, double *p, double *weights, int32_t *ids)
{
    double sum = 0, chosen = 0;

    for (int64_t e = 0; e < EXPERTS; e++)
        sum += exp((double)logits[e]);
    for (int64_t e = 0; e < EXPERTS; e++)
        p[e] = exp((double)logits[e]) / sum;
    for (int64_t k = 0; k < TOP_K; k++) {
        ids[k] = -1;
        for (int32_t e = 0; e < EXPERTS; e++)
            if ((!k || e != ids[0]) && (ids[k] < 0 || logits[e] > logits[ids[k]]))
                ids[k] = e;
        chosen += p[ids[k]];
    }
    for (int64_t k = 0; k < TOP_K; k++)
        weights[k] = p[ids[k]] / chosen;
}

static int route_try(struct bench_device *d)
{
    float logits[ROWS * EXPERTS], space[ROWS * EXPERTS];
    double p[ROWS * EXPERTS], weights[ROWS * TOP_K];
    int32_t ids[ROWS * TOP_K], got[ROWS * TOP_K] = {0};
    float *dl = device_draw(d, ROWS * EXPERTS, logits), *dp = device_draw(d, ROWS * EXPERTS, space),
          *dw = device_draw(d, ROWS * TOP_K, space);
    int32_t *di = device_put(d, got, sizeof got);

    if (!dl || !dp || !dw || !di)
        return HCSMOE_ENOMEM;
    for (int64_t r = 0; r < ROWS; r++)
        route_plain(logits + r * EXPERTS, p + r * EXPERTS, weights + r * TOP_K, ids + r * TOP_K);
    int status = d->k->route(d->k, ROWS, EXPERTS, TOP_K, 1, dl, NULL, dp, di, dw);
    if (!status)
        status = device_compare(d, "route, probabilities", dp, p, ROWS * EXPERTS);
    if (!status)
        status = device_compare(d, "route, weights", dw, weights, ROWS * TOP_K);
    if (!status)
        status = device_get(d, got, di, sizeof got);
    if (!status && memcmp(got, ids, sizeof ids))
        status = verify_broken(d->v, "route: other experts than the ones with the largest logits");
    return status;
}

static int experts_try(struct bench_device *d)
{
    enum { PART = OUT * IN };
    static float part[3][EXPERTS * PART];
    float x[ROWS * IN], w[ROWS * TOP_K], y[ROWS * IN];
    int32_t ids[ROWS * TOP_K];
    double want[ROWS * IN];
    hcsmoe_tensor t[3][EXPERTS];
    float *dx = device_draw(d, ROWS * IN, x), *dw = device_draw(d, ROWS * TOP_K, w),
          *dy = device_draw(d, ROWS * IN, y);

    for (int64_t i = 0; i < ROWS * TOP_K; i++)
        ids[i] = i % TOP_K == 0 ? (int32_t)(i % EXPERTS) : (int32_t)((i + 1) % EXPERTS);
    for (int64_t r = 0; r < ROWS; r++)
        if (ids[r * TOP_K] == ids[r * TOP_K + 1])
            ids[r * TOP_K + 1] = -1;
    int32_t *di = device_put(d, ids, sizeof ids);
    for (int p = 0; p < 3; p++)
        for (int64_t e = 0; e < EXPERTS; e++) {
            void *there = device_draw(d, PART, part[p] + e * PART);
            if (!there)
                return HCSMOE_ENOMEM;
            t[p][e] = matrix(d, there, p < 2 ? OUT : IN, p < 2 ? IN : OUT);
        }
    if (!dx || !dw || !dy || !di)
        return HCSMOE_ENOMEM;
    for (int64_t i = 0; i < ROWS * IN; i++)
        want[i] = (double)y[i];
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t k = r * TOP_K; k < (r + 1) * TOP_K; k++)
            if (ids[k] >= 0)
                expert(d->bf16, x + r * IN, part[0] + ids[k] * PART, part[1] + ids[k] * PART,
                       part[2] + ids[k] * PART, (double)w[k], want + r * IN);
    const hcsmoe_experts_args a = {.struct_size = sizeof a,
                                   .top_k = TOP_K,
                                   .n_tokens = ROWS,
                                   .width = IN,
                                   .n_experts = EXPERTS,
                                   .ffn = OUT,
                                   .x = dx,
                                   .gate = t[0],
                                   .up = t[1],
                                   .down = t[2],
                                   .ids = di,
                                   .weights = dw,
                                   .out = dy};
    const int status = d->k->experts(d->k, &a);
    return status ? status
                  : compare(d, "experts", dy, want, ROWS * IN, d->bf16 ? most_hidden : most);
}

/* One causal sequence, grouped keys. */
static void attention_plain(const float *q, const float *k, const float *v, double scale,
                            double *out)
{
    for (int64_t t = 0; t < ROWS; t++)
        for (int64_t h = 0; h < HEADS; h++) {
            const int64_t kv = h * KV_HEADS / HEADS;
            double score[ROWS], sum = 0;
            for (int64_t s = 0; s <= t; s++) {
                score[s] = 0;
                for (int64_t i = 0; i < HEAD_DIM; i++)
                    score[s] += (double)q[(t * HEADS + h) * HEAD_DIM + i] *
                                (double)k[(s * KV_HEADS + kv) * HEAD_DIM + i];
                score[s] = exp(scale * score[s]);
                sum += score[s];
            }
            for (int64_t i = 0; i < HEAD_DIM; i++) {
                double *o = &out[(t * HEADS + h) * HEAD_DIM + i];
                *o = 0;
                for (int64_t s = 0; s <= t; s++)
                    *o += score[s] / sum * (double)v[(s * KV_HEADS + kv) * HEAD_DIM + i];
            }
        }
}

static int attention_try(struct bench_device *d)
{
    enum { Q = ROWS * HEADS * HEAD_DIM, KV = ROWS * KV_HEADS * HEAD_DIM };
    float q[Q], k[KV], v[KV], out[Q];
    double want[Q];
    const hcsmoe_sequence whole = {0, ROWS, 0, 0, 0};
    float *dq = device_draw(d, Q, q), *dk = device_draw(d, KV, k), *dv = device_draw(d, KV, v),
          *dout = device_draw(d, Q, out);

    if (!dq || !dk || !dv || !dout)
        return HCSMOE_ENOMEM;
    const hcsmoe_attention_args a = {.struct_size = sizeof a,
                                     .n_tokens = ROWS,
                                     .n_heads = HEADS,
                                     .n_kv_heads = KV_HEADS,
                                     .head_dim = HEAD_DIM,
                                     .v_head_dim = HEAD_DIM,
                                     .scale = 0.4,
                                     .q = dq,
                                     .k = dk,
                                     .v = dv,
                                     .out = dout,
                                     .sequences = &whole,
                                     .n_sequences = 1};
    attention_plain(q, k, v, a.scale, want);
    const int status = d->k->attention(d->k, &a);
    return status ? status : device_compare(d, "attention", dout, want, Q);
}

static int weighted_sum_try(struct bench_device *d)
{
    float part[2][OUT * IN], out[OUT * IN];
    double want[OUT * IN];
    const double coefficient[2] = {0.25, 0.75};
    float *da = device_draw(d, OUT * IN, part[0]), *db = device_draw(d, OUT * IN, part[1]),
          *dy = device_draw(d, OUT * IN, out);

    if (!da || !db || !dy)
        return HCSMOE_ENOMEM;
    const hcsmoe_tensor a = matrix(d, da, OUT, IN), b = matrix(d, db, OUT, IN),
                        y = matrix(d, dy, OUT, IN);
    const hcsmoe_tensor *const all[2] = {&a, &b};
    for (int64_t i = 0; i < OUT * IN; i++)
        want[i] = coefficient[0] * (double)part[0][i] + coefficient[1] * (double)part[1][i];
    const int status = d->k->weighted_sum(d->k, 2, all, coefficient, &y);
    return status ? status : device_compare(d, "weighted_sum", dy, want, OUT * IN);
}

static int with_device(struct verify *v, int (*fn)(struct bench_device *d), struct str *out)
{
    struct bench_device d;
    int status = device_open(&d, v);

    d.out = out;
    if (!status) {
        instance_enter(&d.i, -1);
        status = host_leave(v->host, fn(&d));
    }
    device_close(&d);
    return status;
}

static int nothing(struct bench_device *d)
{
    (void)d;
    return 0;
}

static int check_options(struct verify *v)
{
    return verify_options(v, NULL);
}

static int check_table(struct verify *v)
{
    return with_device(v, nothing, NULL);
}

#define TRY(name)                                                                                  \
    static int check_##name(struct verify *v)                                                      \
    {                                                                                              \
        return with_device(v, name##_try, NULL);                                                   \
    }
TRY(embed)
TRY(linear)
TRY(rmsnorm)
TRY(rope)
TRY(attention)
TRY(route)
TRY(experts)
TRY(weighted_sum)
TRY(convert)
TRY(nonfinite)
TRY(cholesky)

static int check_threads(struct verify *v)
{
    static int (*const all[])(struct bench_device * d) = {
        embed_try, linear_try,  rmsnorm_try,      rope_try,    attention_try,
        route_try, experts_try, weighted_sum_try, convert_try, cholesky_try};
    struct str out[2] = {{0}, {0}};
    int status = 0;

    for (int n = 0; !status && n < 2; n++) {
        host_set_threads(v->host, n ? 3 : 1);
        for (size_t i = 0; !status && i < sizeof all / sizeof *all; i++)
            status = with_device(v, all[i], &out[n]);
    }
    if (!status &&
        (out[0].len != out[1].len || memcmp(str_text(&out[0]), str_text(&out[1]), out[0].len)))
        status = verify_broken(v, "3 threads give other bytes than one");
    str_release(&out[0]);
    str_release(&out[1]);
    return status;
}

const struct check verify_kernels_checks[] = {
    {.name = "its table is complete", .run = check_table, .first = true},
    {.name = "option values", .run = check_options},
    {.name = "embed", .run = check_embed},
    {.name = "linear", .run = check_linear},
    {.name = "rmsnorm", .run = check_rmsnorm},
    {.name = "rope", .run = check_rope},
    {.name = "attention", .run = check_attention},
    {.name = "route", .run = check_route},
    {.name = "experts", .run = check_experts},
    {.name = "weighted_sum", .run = check_weighted_sum},
    {.name = "convert", .run = check_convert},
    {.name = "has_nonfinite", .run = check_nonfinite},
    {.name = "syrk and cholesky", .run = check_cholesky},
    {.name = "same bytes for 1 and 3 threads", .run = check_threads},
    {.name = NULL},
};
