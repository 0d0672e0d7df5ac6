/*
 * kernels.c - a device of plain loops, as slow as it is short: what a Mixtral run calls, and refusals for the rest.
 *
 * Frozen with the headers beside it: not to be edited after release 1.0.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include <hcsmoe/kernels.h>
#include <hcsmoe/plugin.h>

#define K const hcsmoe_kernels *k

static double load(const hcsmoe_tensor *t, int64_t i)
{
    const uint16_t *half = t->data;
    float f;
    uint32_t bits;

    if (t->dtype == HCSMOE_DTYPE_F64)
        return ((const double *)t->data)[i];
    if (t->dtype == HCSMOE_DTYPE_F32)
        return (double)((const float *)t->data)[i];
    bits = (uint32_t)half[i] << 16; /* BF16 */
    memcpy(&f, &bits, sizeof f);
    return (double)f;
}

static void store(const hcsmoe_tensor *t, int64_t i, double value)
{
    const float f = (float)value;
    uint32_t bits;

    memcpy(&bits, &f, sizeof bits);
    if (t->dtype == HCSMOE_DTYPE_F64)
        ((double *)t->data)[i] = value;
    else if (t->dtype == HCSMOE_DTYPE_F32)
        ((float *)t->data)[i] = f;
    else
        ((uint16_t *)t->data)[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static double dot(const float *x, const hcsmoe_tensor *w, int64_t row, int64_t n)
{
    double sum = 0;
    int64_t i;

    for (i = 0; i < n; i++)
        sum += (double)x[i] * load(w, row * n + i);
    return sum;
}

static hcsmoe_status lacking(K)
{
    return k->host->fail(k->host, HCSMOE_EUNSUPPORTED, "this frozen device has no such kernel");
}

static hcsmoe_status k_alloc(K, size_t bytes, void **p)
{
    *p = k->host->alloc(k->host, bytes);
    return *p ? HCSMOE_OK : HCSMOE_ENOMEM;
}

static void k_free(K, void *p)
{
    k->host->free(k->host, p);
}

static hcsmoe_status k_upload(K, int32_t queue, void *to, const void *from, size_t bytes)
{
    (void)k;
    (void)queue;
    memmove(to, from, bytes);
    return HCSMOE_OK;
}

static hcsmoe_status k_clear(K, void *p, size_t bytes)
{
    (void)k;
    memset(p, 0, bytes);
    return HCSMOE_OK;
}

static hcsmoe_status k_mark(K, int32_t queue, uint64_t *ticket)
{
    (void)k;
    (void)queue;
    *ticket = 0;
    return HCSMOE_OK;
}

static hcsmoe_status k_wait(K, int32_t queue, uint64_t ticket)
{
    (void)k;
    (void)queue;
    (void)ticket;
    return HCSMOE_OK;
}

static hcsmoe_status k_embed(K, int64_t n, int64_t width, const hcsmoe_tensor *table,
                             const int32_t *ids, float *out)
{
    int64_t t, i;

    (void)k;
    for (t = 0; t < n; t++)
        for (i = 0; i < width; i++)
            out[t * width + i] = (float)load(table, ids[t] * width + i);
    return HCSMOE_OK;
}

static hcsmoe_status k_rmsnorm(K, int64_t n, int64_t width, const float *x,
                               const hcsmoe_tensor *weight, double eps, float *y)
{
    int64_t t, i;

    (void)k;
    for (t = 0; t < n; t++) {
        double sum = 0, scale;
        for (i = 0; i < width; i++)
            sum += (double)x[t * width + i] * (double)x[t * width + i];
        scale = 1 / sqrt(sum / (double)width + eps);
        for (i = 0; i < width; i++)
            y[t * width + i] = (float)((double)x[t * width + i] * scale * load(weight, i));
    }
    return HCSMOE_OK;
}

static hcsmoe_status k_linear(K, int64_t m, int64_t n, int64_t kk, const float *x,
                              const hcsmoe_tensor *weight, const hcsmoe_tensor *bias, int32_t add,
                              float *y)
{
    int64_t t, i;

    (void)k;
    for (t = 0; t < m; t++)
        for (i = 0; i < n; i++)
            y[t * n + i] = (float)((add ? (double)y[t * n + i] : 0) +
                                   dot(x + t * kk, weight, i, kk) + (bias ? load(bias, i) : 0));
    return HCSMOE_OK;
}

static hcsmoe_status k_rope(K, int64_t n, int64_t heads, int64_t head_dim, int64_t dim,
                            const int64_t *position, const double *inverse_frequency, float *x)
{
    int64_t t, h, i;

    (void)k;
    for (t = 0; t < n; t++)
        for (h = 0; h < heads; h++)
            for (i = 0; i < dim / 2; i++) {
                float *a = &x[(t * heads + h) * head_dim + i], *b = a + dim / 2;
                const double angle = (double)position[t] * inverse_frequency[i];
                const double p = (double)*a, q = (double)*b;
                *a = (float)(p * cos(angle) - q * sin(angle));
                *b = (float)(q * cos(angle) + p * sin(angle));
            }
    return HCSMOE_OK;
}

/* Key number i of a sequence: rows of its spans, then its own. */
static int64_t key_row(const hcsmoe_attention_args *a, const hcsmoe_sequence *s, int64_t i)
{
    int64_t at;

    for (at = 0; at < s->n_spans; at++) {
        const hcsmoe_span *span = &a->spans[s->first_span + at];
        if (i < span->count)
            return span->begin + i;
        i -= span->count;
    }
    return s->begin + i;
}

static void attend(const hcsmoe_attention_args *a, const hcsmoe_sequence *s, int64_t t,
                   int64_t head, double *p)
{
    const int64_t last = s->prefix + t, kv = head / (a->n_heads / a->n_kv_heads);
    const int64_t first = a->window > 0 && last >= a->window ? last - a->window + 1 : 0;
    const float *q = a->q + ((s->begin + t) * a->n_heads + head) * a->head_dim;
    float *out = a->out + ((s->begin + t) * a->n_heads + head) * a->v_head_dim;
    double most = -INFINITY, sum = 0;
    int64_t i, d;

    for (i = first; i <= last; i++) {
        const float *key = a->k + (key_row(a, s, i) * a->n_kv_heads + kv) * a->head_dim;
        p[i] = 0;
        for (d = 0; d < a->head_dim; d++)
            p[i] += (double)q[d] * (double)key[d] * a->scale;
        most = fmax(most, p[i]);
    }
    for (i = first; i <= last; i++)
        sum += p[i] = exp(p[i] - most);
    for (d = 0; d < a->v_head_dim; d++) {
        double mean = 0;
        for (i = first; i <= last; i++)
            mean += p[i] / sum *
                    (double)a->v[(key_row(a, s, i) * a->n_kv_heads + kv) * a->v_head_dim + d];
        out[d] = (float)mean;
    }
}

static hcsmoe_status k_attention(K, const hcsmoe_attention_args *a)
{
    int64_t i, t, head;

    for (i = 0; i < a->n_sequences; i++) {
        const hcsmoe_sequence *s = &a->sequences[i];
        double *p = k->host->alloc(k->host, (size_t)(s->prefix + s->count) * sizeof *p);
        if (!p)
            return HCSMOE_ENOMEM;
        for (t = 0; t < s->count; t++)
            for (head = 0; head < a->n_heads; head++)
                attend(a, s, t, head, p);
        k->host->free(k->host, p);
    }
    return HCSMOE_OK;
}

/* The best expert of a row that is not among the first n of ids. */
static int32_t best_of(const float *row, const int64_t *mask, int64_t e, const int32_t *ids,
                       int32_t n)
{
    int32_t best = -1, s;
    int64_t i;

    for (i = 0; i < e; i++) {
        int taken = mask && mask[i] < 0;
        for (s = 0; s < n; s++)
            taken |= ids[s] == i;
        if (!taken && (best < 0 || row[i] > row[best]))
            best = (int32_t)i;
    }
    return best;
}

static hcsmoe_status k_route(K, int64_t n, int64_t e, int32_t top_k, int32_t renormalise,
                             const float *logits, const int64_t *mask, float *probabilities,
                             int32_t *ids, float *weights)
{
    int64_t t, i;
    int32_t s;

    (void)k;
    for (t = 0; t < n; t++) {
        const float *row = logits + t * e;
        double sum = 0, kept = 0;
        for (s = 0; s < top_k; s++)
            ids[t * top_k + s] = best_of(row, mask, e, ids + t * top_k, s);
        for (i = 0; i < e; i++) /* the logits of a router are small */
            sum += mask && mask[i] < 0 ? 0 : exp((double)row[i]);
        for (i = 0; i < e && probabilities; i++)
            probabilities[t * e + i] = mask && mask[i] < 0 ? 0 : (float)(exp((double)row[i]) / sum);
        for (s = 0; s < top_k; s++)
            kept += ids[t * top_k + s] < 0 ? 0 : exp((double)row[ids[t * top_k + s]]);
        for (s = 0; s < top_k; s++)
            weights[t * top_k + s] =
                ids[t * top_k + s] < 0
                    ? 0
                    : (float)(exp((double)row[ids[t * top_k + s]]) / (renormalise ? kept : sum));
    }
    return HCSMOE_OK;
}

static hcsmoe_status k_map_experts(K, int64_t n, int32_t top_k, const int64_t *map, int32_t *ids,
                                   float *weights)
{
    int64_t t;
    int32_t s, before;

    (void)k;
    for (t = 0; t < n * top_k; t += top_k)
        for (s = 0; s < top_k; s++) {
            ids[t + s] = ids[t + s] < 0 ? -1 : (int32_t)map[ids[t + s]];
            for (before = 0; before < s && ids[t + s] >= 0; before++)
                if (ids[t + before] == ids[t + s]) {
                    weights[t + before] += weights[t + s];
                    ids[t + s] = -1;
                    weights[t + s] = 0;
                }
        }
    return HCSMOE_OK;
}

static hcsmoe_status k_swiglu(K, int64_t n, int64_t width, int64_t ffn, const float *x,
                              const hcsmoe_tensor *gate, const hcsmoe_tensor *up, float *h)
{
    int64_t t, f;

    (void)k;
    for (t = 0; t < n; t++)
        for (f = 0; f < ffn; f++) {
            const double g = dot(x + t * width, gate, f, width);
            h[t * ffn + f] = (float)(g / (1 + exp(-g)) * dot(x + t * width, up, f, width));
        }
    return HCSMOE_OK;
}

static hcsmoe_status k_experts(K, const hcsmoe_experts_args *a)
{
    float *h = k->host->alloc(k->host, (size_t)a->ffn * sizeof *h);
    int64_t t, e, i;
    int32_t s;

    for (t = 0; h && t < a->n_tokens; t++)
        for (e = 0; e < a->n_experts; e++) {
            (void)k_swiglu(k, 1, a->width, a->ffn, a->x + t * a->width, &a->gate[e], &a->up[e], h);
            for (i = 0; a->hidden_sum && i < a->ffn; i++)
                a->hidden_sum[e * a->ffn + i] += (double)h[i];
            for (s = 0; a->out && s < a->top_k; s++)
                for (i = 0; a->ids[t * a->top_k + s] == e && i < a->width; i++)
                    a->out[t * a->width + i] +=
                        a->weights[t * a->top_k + s] * (float)dot(h, &a->down[e], i, a->ffn);
        }
    k->host->free(k->host, h);
    return h ? HCSMOE_OK : HCSMOE_ENOMEM;
}

static hcsmoe_status k_gather(K, int64_t n, int64_t width, const float *x, const int64_t *rows,
                              float *out)
{
    int64_t i;

    (void)k;
    for (i = 0; i < n; i++)
        memmove(out + i * width, x + rows[i] * width, (size_t)width * sizeof *out);
    return HCSMOE_OK;
}

static hcsmoe_status k_token_logprobs(K, int64_t n, int64_t width, const float *x,
                                      const hcsmoe_tensor *head, const int32_t *target,
                                      float *logprob, uint8_t *greedy)
{
    int64_t t, v;

    (void)k;
    for (t = 0; t < n; t++) {
        const double own = dot(x + t * width, head, target[t], width);
        double sum = 0;
        greedy[t] = 1;
        for (v = 0; v < head->shape[0]; v++) {
            const double logit = dot(x + t * width, head, v, width);
            sum += exp(logit - own);
            greedy[t] &= v < target[t] ? logit < own : logit <= own;
        }
        logprob[t] = (float)-log(sum);
    }
    return HCSMOE_OK;
}

static hcsmoe_status k_column_sum(K, int64_t n, int64_t width, const float *x, double *sum)
{
    int64_t i;

    (void)k;
    for (i = 0; i < n * width; i++)
        sum[i % width] += (double)x[i];
    return HCSMOE_OK;
}

static hcsmoe_status k_gram_columns(K, int64_t n, int64_t e, const float *z, double *g)
{
    int64_t i, j, t;

    (void)k;
    for (i = 0; i < e; i++)
        for (j = 0; j < e; j++)
            for (t = 0; t < n; t++)
                g[i * e + j] += (double)z[t * e + i] * (double)z[t * e + j];
    return HCSMOE_OK;
}

static hcsmoe_status k_gram_tensors(K, int64_t e, const hcsmoe_tensor *const *t, int32_t centre,
                                    double *g)
{
    const int64_t n = hcsmoe_tensor_elements(t[0]);
    int64_t at, i, j;

    (void)k;
    for (at = 0; at < n; at++) {
        double mean = 0;
        for (i = 0; centre && i < e; i++)
            mean += load(t[i], at) / (double)e;
        for (i = 0; i < e; i++)
            for (j = 0; j < e; j++)
                g[i * e + j] += (load(t[i], at) - mean) * (load(t[j], at) - mean);
    }
    return HCSMOE_OK;
}

static hcsmoe_status k_weighted_sum(K, int64_t n, const hcsmoe_tensor *const *t,
                                    const double *coefficient, const hcsmoe_tensor *out)
{
    int64_t at, i;

    (void)k;
    for (at = 0; at < hcsmoe_tensor_elements(out); at++) {
        double sum = 0;
        for (i = 0; i < n; i++)
            sum += coefficient[i] * load(t[i], at);
        store(out, at, sum);
    }
    return HCSMOE_OK;
}

static hcsmoe_status k_convert(K, const hcsmoe_tensor *from, const hcsmoe_tensor *to)
{
    int64_t at;

    (void)k;
    for (at = 0; at < hcsmoe_tensor_elements(to); at++)
        store(to, at, load(from, at));
    return HCSMOE_OK;
}

static hcsmoe_status k_dgemm(K, int32_t trans_a, int32_t trans_b, int64_t m, int64_t n, int64_t kk,
                             double alpha, const double *a, int64_t lda, const double *b,
                             int64_t ldb, double beta, double *c, int64_t ldc)
{
    int64_t i, j, l;

    (void)k;
    for (i = 0; i < m; i++)
        for (j = 0; j < n; j++) {
            double sum = 0;
            for (l = 0; l < kk; l++)
                sum += (trans_a ? a[l * lda + i] : a[i * lda + l]) *
                       (trans_b ? b[j * ldb + l] : b[l * ldb + j]);
            c[i * ldc + j] = alpha * sum + (beta != 0 ? beta * c[i * ldc + j] : 0);
        }
    return HCSMOE_OK;
}

static hcsmoe_status k_has_nonfinite(K, const hcsmoe_tensor *t, int32_t *found)
{
    int64_t at;

    (void)k;
    *found = 0;
    for (at = 0; at < hcsmoe_tensor_elements(t); at++)
        *found |= !isfinite(load(t, at));
    return HCSMOE_OK;
}

static hcsmoe_status k_mlp(K, const hcsmoe_mlp_args *a)
{
    (void)a;
    return lacking(k);
}

static hcsmoe_status k_sigmoid_dot(K, int64_t n, int64_t width, const float *x,
                                   const hcsmoe_tensor *w, float *s)
{
    int64_t t;

    (void)k;
    for (t = 0; t < n; t++)
        s[t] = (float)(1 / (1 + exp(-dot(x + t * width, w, 0, width))));
    return HCSMOE_OK;
}

static hcsmoe_status k_scatter_add(K, int64_t n, int64_t width, const float *y, const int64_t *rows,
                                   const float *scale, float *x)
{
    int64_t i, d;

    (void)k;
    for (i = 0; i < n; i++)
        for (d = 0; d < width; d++)
            x[rows[i] * width + d] += scale[i] * y[i * width + d];
    return HCSMOE_OK;
}

static hcsmoe_status k_sgemm(K, int32_t trans_a, int32_t trans_b, int64_t m, int64_t n, int64_t kk,
                             float alpha, const float *a, int64_t lda, const float *b, int64_t ldb,
                             float beta, float *c, int64_t ldc)
{
    (void)trans_a, (void)trans_b, (void)m, (void)n, (void)kk, (void)alpha, (void)a, (void)lda;
    (void)b, (void)ldb, (void)beta, (void)c, (void)ldc;
    return lacking(k);
}

static hcsmoe_status k_syrk(K, uint32_t dtype, int64_t n, int64_t kk, double alpha, const void *a,
                            int64_t lda, double beta, void *c, int64_t ldc)
{
    (void)dtype, (void)n, (void)kk, (void)alpha, (void)a, (void)lda, (void)beta, (void)c;
    (void)ldc;
    return lacking(k);
}

static hcsmoe_status k_cholesky(K, uint32_t dtype, int64_t n, void *a, int64_t lda, int64_t *failed)
{
    (void)dtype, (void)n, (void)a, (void)lda, (void)failed;
    return lacking(k);
}

static hcsmoe_status k_cholesky_solve(K, uint32_t dtype, int64_t m, int64_t n, const void *l,
                                      int64_t ldl, void *b, int64_t ldb)
{
    (void)dtype, (void)m, (void)n, (void)l, (void)ldl, (void)b, (void)ldb;
    return lacking(k);
}

static hcsmoe_status k_cholesky_inverse(K, uint32_t dtype, int64_t n, void *l, int64_t ldl)
{
    (void)dtype, (void)n, (void)l, (void)ldl;
    return lacking(k);
}

static int32_t frozen_probe(const hcsmoe_host *h)
{
    (void)h;
    return 1; /* only by its name */
}

static hcsmoe_status frozen_create(const hcsmoe_host *h, const void *opts, void **self)
{
    const hcsmoe_kernels table = {
        .struct_size = sizeof table,
        .device = HCSMOE_DEVICE_HOST,
        .name = "frozen",
        .host = h,
        .alloc = k_alloc,
        .free = k_free,
        .upload = k_upload,
        .download = k_upload,
        .clear = k_clear,
        .mark = k_mark,
        .wait = k_wait,
        .embed = k_embed,
        .rmsnorm = k_rmsnorm,
        .linear = k_linear,
        .rope = k_rope,
        .attention = k_attention,
        .route = k_route,
        .map_experts = k_map_experts,
        .mlp = k_mlp,
        .experts = k_experts,
        .swiglu = k_swiglu,
        .sigmoid_dot = k_sigmoid_dot,
        .gather = k_gather,
        .scatter_add = k_scatter_add,
        .token_logprobs = k_token_logprobs,
        .column_sum = k_column_sum,
        .gram_columns = k_gram_columns,
        .gram_tensors = k_gram_tensors,
        .weighted_sum = k_weighted_sum,
        .convert = k_convert,
        .sgemm = k_sgemm,
        .dgemm = k_dgemm,
        .has_nonfinite = k_has_nonfinite,
        .syrk = k_syrk,
        .cholesky = k_cholesky,
        .cholesky_solve = k_cholesky_solve,
        .cholesky_inverse = k_cholesky_inverse,
    };
    hcsmoe_kernels *own = h->alloc(h, sizeof *own);

    (void)opts;
    if (!own)
        return HCSMOE_ENOMEM;
    memcpy(own, &table, sizeof table);
    *self = own;
    return HCSMOE_OK;
}

static void frozen_destroy(const hcsmoe_host *h, void *self)
{
    h->free(h, self);
}

static hcsmoe_status frozen_table(void *self, const hcsmoe_host *h, int32_t device_index,
                                  const hcsmoe_kernels **out)
{
    if (device_index != 0)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "there is only frozen:0");
    *out = self;
    return HCSMOE_OK;
}

static int64_t frozen_working_bytes(void *self, const hcsmoe_host *h,
                                    const hcsmoe_experts_args *experts,
                                    const hcsmoe_attention_args *attention, int64_t vocabulary)
{
    (void)self;
    (void)h;
    (void)attention;
    return (experts ? experts->ffn * 4 : 0) + vocabulary;
}

static const hcsmoe_kernels_ops ops = {.struct_size = sizeof ops,
                                       .probe = frozen_probe,
                                       .table = frozen_table,
                                       .working_bytes = frozen_working_bytes};

static const hcsmoe_component frozen = {
    .struct_size = sizeof frozen,
    .kind = HCSMOE_KIND_KERNELS,
    .name = "frozen",
    .summary = "plain loops",
    .ops = &ops,
    .caps = HCSMOE_CAP_DETERMINISTIC,
    .create = frozen_create,
    .destroy = frozen_destroy,
};

HCSMOE_PLUGIN("hcsmoe.test.v1-0.kernels", "1.0.0", "MIT", &frozen)
