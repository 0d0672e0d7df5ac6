/*
 * rounded.c - references for tables whose products round operands to bfloat16: kernels/ref on rounded operands.
 * SPDX-License-Identifier: MIT
 */
#include "check.h"

#include <stdlib.h>

#include "ref/ref.h"

static double rounded(double x)
{
    uint16_t code;
    hcsmoe_tensor t = hcsmoe_matrix(&code, HCSMOE_DTYPE_BF16, 1, 1);
    ref_set(&t, 0, x);
    return ref_get(&t, 0);
}

static float *round_rows(const hcsmoe_host *h, int64_t n, const float *x)
{
    float *y = h->alloc(h, (size_t)n * sizeof *y);
    for (int64_t i = 0; i < n && y != NULL; i++)
        y[i] = (float)rounded((double)x[i]);
    return y;
}

/* count matrices of the same shape; their memory is that of the first. */
static hcsmoe_tensor *round_weights(const hcsmoe_host *h, int64_t count, const hcsmoe_tensor *w)
{
    int64_t each = count > 0 ? hcsmoe_tensor_elements(&w[0]) : 0;
    hcsmoe_tensor *t = h->alloc(h, (size_t)count * sizeof *t);
    float *data = h->alloc(h, (size_t)(count * each) * sizeof *data);
    if (t == NULL || data == NULL)
        abort();
    for (int64_t c = 0; c < count; c++) {
        t[c] = hcsmoe_matrix(data + c * each, HCSMOE_DTYPE_F32, w[c].shape[0], w[c].shape[1]);
        for (int64_t i = 0; i < each; i++)
            data[c * each + i] = (float)rounded(ref_get(&w[c], i));
    }
    if (count == 0)
        h->free(h, data);
    return t;
}

static void weights_free(const hcsmoe_host *h, int64_t count, hcsmoe_tensor *t)
{
    if (count > 0)
        h->free(h, t[0].data);
    h->free(h, t);
}

static hcsmoe_status linear(const hcsmoe_kernels *k, int64_t m, int64_t n, int64_t kk,
                            const float *x, const hcsmoe_tensor *weight, const hcsmoe_tensor *bias,
                            int32_t add, float *y)
{
    const hcsmoe_host *h = k->host;
    if (weight->flags & HCSMOE_TENSOR_EXACT)
        return ref_linear(k, m, n, kk, x, weight, bias, add, y);
    float *operands = round_rows(h, m * kk, x);
    hcsmoe_tensor *w = round_weights(h, 1, weight);
    hcsmoe_status status = ref_linear(k, m, n, kk, operands, w, bias, add, y);
    weights_free(h, 1, w);
    h->free(h, operands);
    return status;
}

static hcsmoe_status swiglu(const hcsmoe_kernels *k, int64_t n, int64_t width, int64_t ffn,
                            const float *x, const hcsmoe_tensor *gate, const hcsmoe_tensor *up,
                            float *out)
{
    const hcsmoe_host *h = k->host;
    float *operands = round_rows(h, n * width, x);
    hcsmoe_tensor *g = round_weights(h, 1, gate);
    hcsmoe_tensor *u = round_weights(h, 1, up);
    hcsmoe_status status = ref_swiglu(k, n, width, ffn, operands, g, u, out);
    weights_free(h, 1, u);
    weights_free(h, 1, g);
    h->free(h, operands);
    return status;
}

static hcsmoe_status mlp(const hcsmoe_kernels *k, const hcsmoe_mlp_args *a)
{
    const hcsmoe_host *h = k->host;
    float *hidden = h->alloc(h, (size_t)(a->n_tokens * a->ffn) * sizeof *hidden);
    hcsmoe_status status = swiglu(k, a->n_tokens, a->width, a->ffn, a->x, a->gate, a->up, hidden);
    for (int64_t i = 0; i < a->n_tokens * a->ffn && a->scale != NULL; i++)
        hidden[i] *= a->scale[i / a->ffn];
    if (status == HCSMOE_OK)
        status = linear(k, a->n_tokens, a->width, a->ffn, hidden, a->down, NULL, 1, a->out);
    h->free(h, hidden);
    return status;
}

/* out[token] += weight * down h, all rounded but the weight. */
static void add_output(const hcsmoe_experts_args *a, int64_t token, double weight,
                       const hcsmoe_tensor *down, const float *h)
{
    for (int64_t d = 0; d < a->width; d++) {
        float *out = &a->out[token * a->width + d];
        double sum = 0.0;
        for (int64_t f = 0; f < a->ffn; f++)
            sum += rounded((double)h[f]) * ref_get(down, d * a->ffn + f);
        *out = (float)((double)*out + weight * sum);
    }
}

static hcsmoe_status experts(const hcsmoe_kernels *k, const hcsmoe_experts_args *a)
{
    const hcsmoe_host *host = k->host;
    int64_t n = a->n_experts;
    float *x = round_rows(host, a->n_tokens * a->width, a->x);
    float *h = host->alloc(host, (size_t)a->ffn * sizeof *h);
    hcsmoe_tensor *gate = round_weights(host, n, a->gate);
    hcsmoe_tensor *up = round_weights(host, n, a->up);
    hcsmoe_tensor *down = round_weights(host, n, a->down);
    for (int64_t i = 0; i < a->n_tokens * n; i++) {
        int64_t t = i / n;
        int64_t e = i % n;
        int32_t s = 0;
        while (s < a->top_k && a->ids[t * a->top_k + s] != e)
            s++;
        if (a->hidden_sum == NULL && s == a->top_k)
            continue;
        (void)ref_swiglu(k, 1, a->width, a->ffn, x + t * a->width, &gate[e], &up[e], h);
        for (int64_t f = 0; f < a->ffn && a->hidden_sum != NULL; f++)
            a->hidden_sum[e * a->ffn + f] += (double)h[f];
        if (s < a->top_k && a->out != NULL)
            add_output(a, t, (double)a->weights[t * a->top_k + s], &down[e], h);
    }
    weights_free(host, n, down);
    weights_free(host, n, up);
    weights_free(host, n, gate);
    host->free(host, h);
    host->free(host, x);
    return HCSMOE_OK;
}

static hcsmoe_status token_logprobs(const hcsmoe_kernels *k, int64_t n, int64_t width,
                                    const float *x, const hcsmoe_tensor *head,
                                    const int32_t *target, float *logprob, uint8_t *greedy)
{
    const hcsmoe_host *h = k->host;
    float *operands = round_rows(h, n * width, x);
    hcsmoe_tensor *w = round_weights(h, 1, head);
    hcsmoe_status status = ref_token_logprobs(k, n, width, operands, w, target, logprob, greedy);
    weights_free(h, 1, w);
    h->free(h, operands);
    return status;
}

void check_rounded_table(hcsmoe_kernels *t)
{
    t->linear = linear;
    t->swiglu = swiglu;
    t->mlp = mlp;
    t->experts = experts;
    t->token_logprobs = token_logprobs;
}
