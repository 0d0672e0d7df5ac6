/*
 * deepseek_v2.c - the DeepSeek-V2 family: latent attention, shared experts, routing limited to
 * groups of experts.
 *
 * Queries pass through a low rank, except in the Lite models. Keys and values of all heads come from
 * one latent vector per token; beside them a key has a part that is rotated and that all heads
 * share. Where programs read config.json differently, the authors' own is followed.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include <hcsmoe/family.h>

/* HEADS_AT_ONCE keeps queries, keys and values of a chunk small: 118 MB for 2,048 tokens of
 * DeepSeek-V2, whose 128 heads at once would take 823 MB. */
enum { ROTARY_MOST = 1024, SHARED_EXPERTS_MOST = 1024, HEADS_AT_ONCE = 16 };

#define LATENT_EPS 1e-6 /* of the norms inside attention, whatever rms_norm_eps says */

struct deepseek {
    hcsmoe_family family;    /* first: helpers take self for it */
    int64_t nope, rotary, v; /* dimensions of a head */
    int64_t q_rank, kv_rank; /* q_rank 0: queries are projected from the width */
    int64_t heads;           /* at once in attention */
    int64_t n_groups, n_groups_kept;
    double weight_scale, softmax_scale;
    double rotary_scale; /* multiplies the product of the rotated parts */
    double inverse_frequency[ROTARY_MOST / 2];
    int32_t renormalise, reserved0;
};

static int32_t deepseek_probe(const hcsmoe_host *h, const hcsmoe_json *config)
{
    return hcsmoe_config_probe(h, config, "deepseek_v2", "DeepseekV2ForCausalLM");
}

static double yarn_magnitude(double factor, double m)
{
    return factor > 1 ? 1 + 0.1 * m * log(factor) : 1;
}

/* The dimension whose pair turns so many times within the original context. */
static double yarn_dimension(double turns, double dimensions, double theta, double context)
{
    const double pi = 3.14159265358979323846;
    return dimensions * log(context / (turns * 2 * pi)) / (2 * log(theta));
}

/* YaRN: pairs that turn fast stay, slow ones are slowed down by the factor, with a ramp between. */
static void read_yarn(struct deepseek *s, hcsmoe_config *c, double theta)
{
    double factor = 1, fast = 32, slow = 1, m = 1, m_all = 0;
    int64_t context = 1;

    hcsmoe_config_real(c, "factor", &factor);
    hcsmoe_config_int(c, "original_max_position_embeddings", 1, INT32_MAX, &context);
    hcsmoe_config_real_or(c, "beta_fast", &fast);
    hcsmoe_config_real_or(c, "beta_slow", &slow);
    hcsmoe_config_real_or(c, "mscale", &m);
    hcsmoe_config_real_or(c, "mscale_all_dim", &m_all);
    if (c->status == HCSMOE_OK && theta <= 1)
        c->status = hcsmoe_failf(c->h, HCSMOE_EINVAL,
                                 "'rope_theta' is %g: must be above 1 with yarn", theta);
    if (c->status != HCSMOE_OK)
        return;
    const double n = (double)s->rotary;
    const double low = fmax(floor(yarn_dimension(fast, n, theta, (double)context)), 0);
    const double high = fmin(ceil(yarn_dimension(slow, n, theta, (double)context)), n - 1);
    const double width = high == low ? 0.001 : high - low;
    for (int64_t i = 0; i < s->rotary / 2; i++) {
        const double slowed = fmin(fmax(((double)i - low) / width, 0), 1);
        s->inverse_frequency[i] *= slowed / factor + (1 - slowed);
    }
    const double all = yarn_magnitude(factor, m_all), ratio = yarn_magnitude(factor, m) / all;
    s->rotary_scale = ratio * ratio;
    s->softmax_scale *= all * all;
}

static void read_attention(struct deepseek *s, hcsmoe_config *c, hcsmoe_model_desc *d)
{
    hcsmoe_config_int(c, "num_attention_heads", 1, HCSMOE_HEADS_MOST, &d->n_heads);
    hcsmoe_config_int_or(c, "num_key_value_heads", d->n_heads, d->n_heads, &d->n_kv_heads);
    hcsmoe_config_int(c, "qk_nope_head_dim", 1, HCSMOE_SIZE_MOST, &s->nope);
    hcsmoe_config_int(c, "qk_rope_head_dim", 1, ROTARY_MOST, &s->rotary);
    hcsmoe_config_int(c, "v_head_dim", 1, HCSMOE_SIZE_MOST, &s->v);
    hcsmoe_config_int(c, "kv_lora_rank", 1, HCSMOE_SIZE_MOST, &s->kv_rank);
    hcsmoe_config_int_or(c, "q_lora_rank", 1, HCSMOE_SIZE_MOST, &s->q_rank);
    hcsmoe_config_bool(c, "attention_bias", &d->attention_bias);
    if (c->status == HCSMOE_OK && s->rotary % 2 != 0)
        c->status = hcsmoe_failf(c->h, HCSMOE_EINVAL,
                                 "'qk_rope_head_dim' is %lld: must be even, pairs are rotated",
                                 (long long)s->rotary);
    const hcsmoe_json *scaling = hcsmoe_config_rope(c, "yarn", &d->rope_theta);
    if (c->status != HCSMOE_OK)
        return;
    d->output_bias = d->attention_bias;
    d->n_kv_heads = d->n_heads;
    d->head_dim = s->nope + s->rotary;
    d->v_head_dim = s->v;
    d->rotary_dim = s->rotary;
    s->rotary_scale = 1;
    s->softmax_scale = 1 / sqrt((double)d->head_dim);
    for (int64_t i = 0; i < s->rotary / 2; i++)
        s->inverse_frequency[i] = pow(d->rope_theta, -2.0 * (double)i / (double)s->rotary);
    if (scaling) {
        hcsmoe_config yarn = {.h = c->h, .json = scaling};
        read_yarn(s, &yarn, d->rope_theta);
        c->status = yarn.status;
    }
}

static void read_routing(struct deepseek *s, hcsmoe_config *c)
{
    s->n_groups = s->n_groups_kept = 1;
    s->weight_scale = 1;
    hcsmoe_config_one_of(c, "scoring_func", "softmax", NULL);
    hcsmoe_config_one_of(c, "topk_method", "greedy", "group_limited_greedy");
    if (hcsmoe_text_is(hcsmoe_config_text(c, "topk_method", ""), "group_limited_greedy")) {
        hcsmoe_config_int(c, "n_group", 1, HCSMOE_EXPERTS_MOST, &s->n_groups);
        hcsmoe_config_int(c, "topk_group", 1, s->n_groups, &s->n_groups_kept);
    }
    hcsmoe_config_bool(c, "norm_topk_prob", &s->renormalise);
    hcsmoe_config_real_or(c, "routed_scaling_factor", &s->weight_scale);
}

/* The first layers are dense; of the others every moe_layer_freq-th has experts. */
static void read_layers(struct deepseek *s, hcsmoe_config *c, int32_t n_layers)
{
    int64_t dense = 0, step = 1;
    int32_t mlp_bias = 0;

    hcsmoe_config_int_or(c, "first_k_dense_replace", 0, HCSMOE_LAYERS_MOST, &dense);
    hcsmoe_config_int_or(c, "moe_layer_freq", 1, HCSMOE_LAYERS_MOST, &step);
    hcsmoe_config_bool(c, "mlp_bias", &mlp_bias);
    if (c->status == HCSMOE_OK && mlp_bias)
        c->status = hcsmoe_failf(c->h, HCSMOE_EUNSUPPORTED,
                                 "'mlp_bias' is true: not supported (have: false)");
    for (int32_t l = 0; l < n_layers && c->status == HCSMOE_OK; l++)
        s->family.is_moe[l] = l >= dense && l % step == 0;
}

static hcsmoe_status deepseek_describe(void *self, const hcsmoe_host *h, const hcsmoe_model_args *a,
                                       hcsmoe_model_desc *d)
{
    struct deepseek *s = self;
    hcsmoe_config c = {.h = h, .json = a->config};

    hcsmoe_config_decoder(&c, d);
    read_attention(s, &c, d);
    read_routing(s, &c);
    read_layers(s, &c, d->n_layers);
    if (c.status != HCSMOE_OK)
        return c.status;
    const double width = (double)d->width, q_in = (double)(s->q_rank ? s->q_rank : d->width);
    const double head =
        q_in * (double)d->head_dim + (double)(s->kv_rank * (s->nope + s->v)) + width * (double)s->v;
    d->attention_flops =
        2 * (width * (double)(s->q_rank + s->kv_rank + s->rotary) + (double)d->n_heads * head);
    s->heads = d->n_heads < HEADS_AT_ONCE ? d->n_heads : HEADS_AT_ONCE;
    d->attention_bytes =
        (s->q_rank + s->kv_rank + s->rotary + s->heads * (2 * d->head_dim + 2 * s->v + s->nope)) *
        (int64_t)sizeof(float);
    d->key_n_experts = "n_routed_experts";
    d->key_top_k = "num_experts_per_tok";
    /* No key_expert_ffn: moe_intermediate_size says the shared experts' width as well. */
    s->family.desc = *d;
    return HCSMOE_OK;
}

static hcsmoe_status deepseek_describe_layer(void *self, const hcsmoe_host *h,
                                             const hcsmoe_model_args *a, hcsmoe_layer_desc *d)
{
    const struct deepseek *s = self;
    hcsmoe_config c = {.h = h, .json = a->config};
    int64_t n_shared = 0;

    d->is_moe = s->family.is_moe[a->layer];
    if (!d->is_moe) {
        hcsmoe_config_int(&c, "intermediate_size", 1, HCSMOE_SIZE_MOST, &d->ffn);
        return c.status;
    }
    hcsmoe_config_experts(&c, "n_routed_experts", d);
    hcsmoe_config_int(&c, "moe_intermediate_size", 1, HCSMOE_SIZE_MOST, &d->ffn);
    hcsmoe_config_int_or(&c, "n_shared_experts", 0, SHARED_EXPERTS_MOST, &n_shared);
    if (c.status != HCSMOE_OK)
        return c.status;
    d->shared_ffn = n_shared * d->ffn; /* side by side in one block */
    d->renormalise = s->renormalise;
    d->weight_scale = s->weight_scale;
    if (d->n_experts % s->n_groups != 0)
        c.status = hcsmoe_failf(h, HCSMOE_EINVAL,
                                "'n_routed_experts' is %lld: must be a multiple of 'n_group', %lld",
                                (long long)d->n_experts, (long long)s->n_groups);
    return c.status;
}

static const hcsmoe_role_name names[] = {
    {.role = HCSMOE_ROLE_Q_A, .name = "self_attn.q_a_proj.weight"},
    {.role = HCSMOE_ROLE_Q_A_NORM, .name = "self_attn.q_a_layernorm.weight"},
    {.role = HCSMOE_ROLE_Q_B, .name = "self_attn.q_b_proj.weight"},
    {.role = HCSMOE_ROLE_KV_A, .name = "self_attn.kv_a_proj_with_mqa.weight"},
    {.role = HCSMOE_ROLE_KV_A_NORM, .name = "self_attn.kv_a_layernorm.weight"},
    {.role = HCSMOE_ROLE_KV_B, .name = "self_attn.kv_b_proj.weight"},
    {.role = HCSMOE_ROLE_Q_BIAS, .name = "self_attn.q_a_proj.bias"},
    {.role = HCSMOE_ROLE_K_BIAS, .name = "self_attn.kv_a_proj_with_mqa.bias"},
    {.role = HCSMOE_ROLE_SHARED_GATE, .name = "mlp.shared_experts.gate_proj.weight"},
    {.role = HCSMOE_ROLE_SHARED_UP, .name = "mlp.shared_experts.up_proj.weight"},
    {.role = HCSMOE_ROLE_SHARED_DOWN, .name = "mlp.shared_experts.down_proj.weight"},
};

static int32_t deepseek_tensor_shape(void *self, const hcsmoe_host *h, int32_t role, int32_t layer,
                                     int64_t shape[2])
{
    const struct deepseek *s = self;
    const hcsmoe_model_desc *d = &s->family.desc;
    const int64_t q = d->n_heads * d->head_dim;
    const struct {
        int32_t role, there;
        int64_t rows, columns;
    } shapes[] = {
        {HCSMOE_ROLE_Q, s->q_rank == 0, q, d->width},
        {HCSMOE_ROLE_Q_A, s->q_rank != 0, s->q_rank, d->width},
        {HCSMOE_ROLE_Q_A_NORM, s->q_rank != 0, s->q_rank, 0},
        {HCSMOE_ROLE_Q_B, s->q_rank != 0, q, s->q_rank},
        {HCSMOE_ROLE_Q_BIAS, s->q_rank != 0 && d->output_bias, s->q_rank, 0},
        {HCSMOE_ROLE_KV_A, 1, s->kv_rank + s->rotary, d->width},
        {HCSMOE_ROLE_KV_A_NORM, 1, s->kv_rank, 0},
        {HCSMOE_ROLE_KV_B, 1, d->n_heads * (s->nope + s->v), s->kv_rank},
        {HCSMOE_ROLE_K_BIAS, d->output_bias, s->kv_rank + s->rotary, 0},
        {HCSMOE_ROLE_O, 1, d->width, d->n_heads * s->v},
    };

    (void)h;
    (void)layer;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        if (shapes[i].role != role || !shapes[i].there)
            continue;
        shape[0] = shapes[i].rows;
        shape[1] = shapes[i].columns;
        return shape[1] > 0 ? 2 : 1;
    }
    return 0;
}

static int32_t deepseek_tensor_name(void *self, const hcsmoe_host *h, int32_t role, int32_t layer,
                                    int32_t expert, int32_t variant, char *name, size_t size)
{
    int64_t shape[2];

    if (role >= HCSMOE_ROLE_Q && role <= HCSMOE_ROLE_KV_B && role != HCSMOE_ROLE_O_BIAS &&
        !deepseek_tensor_shape(self, h, role, layer, shape))
        return 0;
    return hcsmoe_family_name(self, names, sizeof names / sizeof names[0], role, layer, expert,
                              variant, name, size);
}

/* One call of `attention` at work. The first failure stays in status, and nothing is computed after
 * it. */
struct latent {
    const struct deepseek *s;
    const hcsmoe_kernels *k;
    const hcsmoe_model_attention_args *a;
    const hcsmoe_tensor *q_b, *kv_a, *kv_b;
    float *q_low, *low, *shared; /* [n, q_rank], [n, kv_rank], [n, rotary] */
    float *q, *keys, *v, *out;   /* [n, heads, ...] */
    void *w_shared, *b_shared, *w_q, *w_k, *w_v;
    hcsmoe_status status;
};

static void *take(char *room, size_t *at, int64_t elements, size_t size)
{
    void *p = room ? room + *at : NULL;
    *at += ((size_t)elements * size + 63) & ~(size_t)63;
    return p;
}

/* Lays the buffers out in room; NULL: only to learn its size. */
static size_t lay_out(struct latent *l, char *room)
{
    const struct deepseek *s = l->s;
    const int64_t n = l->a->n_tokens, dim = s->nope + s->rotary;
    const size_t f = sizeof(float), kv_size = hcsmoe_dtype_size(l->kv_b->dtype);
    size_t at = 0;

    l->q_low = take(room, &at, n * s->q_rank, f);
    l->low = take(room, &at, n * s->kv_rank, f);
    l->shared = take(room, &at, n * s->rotary, f);
    l->q = take(room, &at, n * s->heads * dim, f);
    l->keys = take(room, &at, n * s->heads * dim, f);
    l->v = take(room, &at, n * s->heads * s->v, f);
    l->out = take(room, &at, n * s->heads * (s->nope + s->v), f);
    l->w_shared =
        take(room, &at, s->rotary * s->family.desc.width, hcsmoe_dtype_size(l->kv_a->dtype));
    l->b_shared = take(room, &at, s->rotary, f);
    l->w_q = take(room, &at, s->heads * dim * l->q_b->shape[1], hcsmoe_dtype_size(l->q_b->dtype));
    l->w_k = take(room, &at, s->heads * s->nope * s->kv_rank, kv_size);
    l->w_v = take(room, &at, s->heads * s->v * s->kv_rank, kv_size);
    return at;
}

static const hcsmoe_tensor *tensor(const struct latent *l, int32_t role)
{
    return l->a->tensors->get(l->a->tensors->ctx, role, -1);
}

static void linear(struct latent *l, const float *x, const hcsmoe_tensor *w,
                   const hcsmoe_tensor *bias, float *y)
{
    if (l->status == HCSMOE_OK)
        l->status = l->k->linear(l->k, l->a->n_tokens, w->shape[0], w->shape[1], x, w, bias, 0, y);
}

static void norm(struct latent *l, int64_t width, const hcsmoe_tensor *weight, float *x)
{
    if (l->status == HCSMOE_OK)
        l->status = l->k->rmsnorm(l->k, l->a->n_tokens, width, x, weight, LATENT_EPS, x);
}

static void rotate(struct latent *l, int64_t heads, int64_t dim, float *x)
{
    if (l->status == HCSMOE_OK)
        l->status = l->k->rope(l->k, l->a->n_tokens, heads, dim, l->s->rotary, l->a->position,
                               l->s->inverse_frequency, x);
}

/* Some rows of every head of a matrix, which has `head` rows a head, from row `first` on, as `parts`
 * runs. apart: a run has every parts-th row. */
static hcsmoe_tensor rows_view(const hcsmoe_tensor *m, int64_t first, int64_t head, int64_t heads,
                               int64_t rows, int64_t parts, int32_t apart)
{
    const int64_t row = m->stride[0], columns = m->ndim > 1 ? m->shape[1] : 1;
    const int64_t shape[4] = {heads, parts, rows / parts, columns};
    const int64_t stride[4] = {head * row, apart ? row : rows / parts * row,
                               apart ? parts * row : row, 1};
    hcsmoe_tensor t = *m;

    t.data = (char *)m->data + (size_t)(first * row) * hcsmoe_dtype_size(m->dtype);
    t.ndim = 4;
    memcpy(t.shape, shape, sizeof shape);
    memcpy(t.stride, stride, sizeof stride);
    return t;
}

/*
 * Copies rows of weights, of every head. The family pairs neighbouring dimensions where the rotation
 * kernel pairs halves, so rotated rows are put in that order: products of queries and keys do not
 * change when the dimensions of both move alike.
 */
static void copy_rows(struct latent *l, const hcsmoe_tensor *from, int64_t from_first,
                      int64_t from_head, const hcsmoe_tensor *to, int64_t to_first, int64_t to_head,
                      int64_t heads, int64_t rows, int32_t rotated)
{
    const int64_t parts = rotated ? 2 : 1;
    const hcsmoe_tensor f = rows_view(from, from_first, from_head, heads, rows, parts, 1);
    const hcsmoe_tensor t = rows_view(to, to_first, to_head, heads, rows, parts, 0);

    if (l->status == HCSMOE_OK)
        l->status = l->k->convert(l->k, &f, &t);
}

/* The latent vectors, and the part of the keys that all heads share, rotated. */
static void project_latent(struct latent *l)
{
    const struct deepseek *s = l->s;
    const hcsmoe_tensor *bias = tensor(l, HCSMOE_ROLE_K_BIAS);
    hcsmoe_tensor w_low = *l->kv_a, b_low = w_low;
    hcsmoe_tensor w = hcsmoe_matrix(l->w_shared, l->kv_a->dtype, s->rotary, s->family.desc.width);
    hcsmoe_tensor b = hcsmoe_matrix(l->b_shared, HCSMOE_DTYPE_F32, s->rotary, 1);

    w_low.shape[0] = s->kv_rank;
    copy_rows(l, l->kv_a, s->kv_rank, 0, &w, 0, 0, 1, s->rotary, 1);
    if (bias) {
        b_low = *bias;
        b_low.shape[0] = s->kv_rank;
        copy_rows(l, bias, s->kv_rank, 0, &b, 0, 0, 1, s->rotary, 1);
    }
    linear(l, l->a->x, &w_low, bias ? &b_low : NULL, l->low);
    norm(l, s->kv_rank, tensor(l, HCSMOE_ROLE_KV_A_NORM), l->low);
    linear(l, l->a->x, &w, bias ? &b : NULL, l->shared);
    rotate(l, 1, s->rotary, l->shared);
}

/* Queries of some heads: the rotated dimensions come first, where the kernel expects them. */
static void head_queries(struct latent *l, int64_t first, int64_t heads)
{
    const struct deepseek *s = l->s;
    const int64_t dim = s->nope + s->rotary;
    hcsmoe_tensor w = hcsmoe_matrix(l->w_q, l->q_b->dtype, heads * dim, l->q_b->shape[1]);

    copy_rows(l, l->q_b, first * dim + s->nope, dim, &w, 0, dim, heads, s->rotary, 1);
    copy_rows(l, l->q_b, first * dim, dim, &w, s->rotary, dim, heads, s->nope, 0);
    linear(l, s->q_rank ? l->q_low : l->a->x, &w, NULL, l->q);
    rotate(l, heads, dim, l->q);
}

/* Keys and values of some heads from the latent vectors. */
static void head_keys(struct latent *l, int64_t first, int64_t heads)
{
    const struct deepseek *s = l->s;
    const int64_t dim = s->nope + s->rotary, both = s->nope + s->v, n = l->a->n_tokens;
    hcsmoe_tensor w_k = hcsmoe_matrix(l->w_k, l->kv_b->dtype, heads * s->nope, s->kv_rank);
    hcsmoe_tensor w_v = hcsmoe_matrix(l->w_v, l->kv_b->dtype, heads * s->v, s->kv_rank);
    hcsmoe_tensor plain = hcsmoe_matrix(l->out, HCSMOE_DTYPE_F32, n * heads, s->nope);
    hcsmoe_tensor keys = hcsmoe_matrix(l->keys, HCSMOE_DTYPE_F32, n * heads, dim);
    hcsmoe_tensor shared = hcsmoe_matrix(l->shared, HCSMOE_DTYPE_F32, n, s->rotary);
    const hcsmoe_tensor *const shared_of_all = &shared;

    copy_rows(l, l->kv_b, first * both, both, &w_k, 0, s->nope, heads, s->nope, 0);
    copy_rows(l, l->kv_b, first * both + s->nope, both, &w_v, 0, s->v, heads, s->v, 0);
    linear(l, l->low, &w_k, NULL, l->out);
    linear(l, l->low, &w_v, NULL, l->v);
    keys.shape[1] = s->nope;
    keys.data = l->keys + s->rotary;
    if (l->status == HCSMOE_OK)
        l->status = l->k->convert(l->k, &plain, &keys);
    /* Every head of a token gets the same row. */
    keys.shape[1] = s->rotary;
    keys.data = l->keys;
    shared = rows_view(&shared, 0, 1, n, heads, 1, 0);
    shared.stride[2] = 0;
    if (l->status == HCSMOE_OK)
        l->status = l->k->weighted_sum(l->k, 1, &shared_of_all, &s->rotary_scale, &keys);
}

/* residual += O attention, as far as some heads go. */
static void head_attention(struct latent *l, int64_t first, int64_t heads)
{
    const struct deepseek *s = l->s;
    const hcsmoe_model_attention_args *m = l->a;
    hcsmoe_tensor o = *tensor(l, HCSMOE_ROLE_O);
    const hcsmoe_attention_args a = {
        .struct_size = sizeof a,
        .n_tokens = m->n_tokens,
        .n_heads = heads,
        .n_kv_heads = heads,
        .head_dim = s->nope + s->rotary,
        .v_head_dim = s->v,
        .scale = s->softmax_scale,
        .q = l->q,
        .k = l->keys,
        .v = l->v,
        .out = l->out,
        .sequences = m->sequences,
        .spans = m->spans,
        .n_sequences = m->n_sequences,
        .n_spans = m->n_spans,
    };

    o.data = (char *)o.data + (size_t)(first * s->v) * hcsmoe_dtype_size(o.dtype);
    o.shape[1] = heads * s->v;
    if (l->status == HCSMOE_OK)
        l->status = l->k->attention(l->k, &a);
    if (l->status == HCSMOE_OK)
        l->status = l->k->linear(l->k, m->n_tokens, o.shape[0], o.shape[1], l->out, &o,
                                 first == 0 ? tensor(l, HCSMOE_ROLE_O_BIAS) : NULL, 1, m->residual);
}

static hcsmoe_status deepseek_attention(void *self, const hcsmoe_host *h,
                                        const hcsmoe_model_attention_args *a)
{
    struct latent l = {.s = self, .k = h->kernels(h), .a = a};
    const struct deepseek *s = self;
    const int64_t n_heads = s->family.desc.n_heads;
    void *room = NULL;

    l.q_b = tensor(&l, s->q_rank ? HCSMOE_ROLE_Q_B : HCSMOE_ROLE_Q);
    l.kv_a = tensor(&l, HCSMOE_ROLE_KV_A);
    l.kv_b = tensor(&l, HCSMOE_ROLE_KV_B);
    l.status = l.k->alloc(l.k, lay_out(&l, NULL), &room);
    if (l.status != HCSMOE_OK)
        return l.status;
    (void)lay_out(&l, room);
    if (s->q_rank) {
        linear(&l, a->x, tensor(&l, HCSMOE_ROLE_Q_A), tensor(&l, HCSMOE_ROLE_Q_BIAS), l.q_low);
        norm(&l, s->q_rank, tensor(&l, HCSMOE_ROLE_Q_A_NORM), l.q_low);
    }
    project_latent(&l);
    for (int64_t i = 0; i < n_heads && l.status == HCSMOE_OK; i += s->heads) {
        const int64_t heads = n_heads - i < s->heads ? n_heads - i : s->heads;
        head_queries(&l, i, heads);
        head_keys(&l, i, heads);
        head_attention(&l, i, heads);
    }
    l.k->free(l.k, room);
    return l.status;
}

/*
 * Keeps the best of one token's experts, which come in descending order of weight. Groups are ranked
 * by their best expert, so they are met in the order of their rank. Where the groups kept have fewer
 * experts than a token is to have, the rest are none.
 */
static void choose(const struct deepseek *s, const hcsmoe_model_route_args *a, int64_t wide,
                   const int32_t *ids, const float *weights, uint8_t *kept, int32_t *chosen,
                   float *w)
{
    const int64_t size = a->n_experts / s->n_groups;
    int64_t n = 0, groups = 0;
    float sum = 0;

    memset(kept, 0, (size_t)s->n_groups);
    for (int64_t i = 0; i < wide && n < a->top_k && ids[i] >= 0; i++) {
        uint8_t *in = &kept[ids[i] / size];
        if (!*in && groups == s->n_groups_kept)
            continue;
        groups += !*in;
        *in = 1;
        chosen[n] = ids[i];
        w[n] = weights[i];
        sum += w[n++];
    }
    /* Weights are either made to sum to one or scaled. */
    const float scale = s->renormalise && a->top_k > 1 ? 1 / sum : (float)s->weight_scale;
    for (int64_t i = 0; i < n; i++)
        w[i] *= scale;
    for (; n < a->top_k; n++) {
        chosen[n] = -1;
        w[n] = 0;
    }
}

static hcsmoe_status wait(const hcsmoe_kernels *k, hcsmoe_status status)
{
    uint64_t ticket = 0;

    if (status == HCSMOE_OK)
        status = k->mark(k, 0, &ticket);
    return status == HCSMOE_OK ? k->wait(k, -1, ticket) : status;
}

/* All experts of every token in order, or the top k where there are no groups; the choice among them
 * is little work, done on the host. */
static hcsmoe_status deepseek_route(void *self, const hcsmoe_host *h,
                                    const hcsmoe_model_route_args *a)
{
    const struct deepseek *s = self;
    const hcsmoe_kernels *k = h->kernels(h);
    const int64_t n = a->n_tokens, wide = s->n_groups > 1 ? a->n_experts : a->top_k;
    const size_t all = (size_t)(n * wide) * sizeof(float);
    const size_t few = (size_t)(n * a->top_k) * sizeof(float);
    int32_t *ids = h->scratch(h, 2 * all), *chosen = h->scratch(h, few);
    float *w = h->scratch(h, few);
    uint8_t *kept = h->scratch(h, (size_t)s->n_groups);
    void *room = NULL;

    if (!ids || !chosen || !w || !kept)
        return HCSMOE_ENOMEM;
    if (a->n_experts % s->n_groups != 0) /* a router with fewer rows than config.json says */
        return hcsmoe_failf(h, HCSMOE_EUNSUPPORTED,
                            "%lld experts do not divide into the %lld groups of 'n_group'",
                            (long long)a->n_experts, (long long)s->n_groups);
    hcsmoe_status status = k->alloc(k, 2 * all, &room);
    if (status != HCSMOE_OK)
        return status;
    status = k->route(k, n, a->n_experts, (int32_t)wide, 0, a->logits, a->mask, a->probabilities,
                      room, (float *)room + n * wide);
    if (status == HCSMOE_OK)
        status = k->download(k, 0, ids, room, 2 * all);
    status = wait(k, status);
    const float *weights = (const float *)(const void *)(ids + n * wide);
    for (int64_t t = 0; t < n && status == HCSMOE_OK; t++)
        choose(s, a, wide, ids + t * wide, weights + t * wide, kept, chosen + t * a->top_k,
               w + t * a->top_k);
    if (status == HCSMOE_OK)
        status = k->upload(k, 0, a->ids, chosen, few);
    if (status == HCSMOE_OK)
        status = k->upload(k, 0, a->weights, w, few);
    status = wait(k, status); /* the buffers go when this returns */
    k->free(k, room);
    return status;
}

static hcsmoe_status deepseek_create(const hcsmoe_host *h, const void *opts, void **self)
{
    (void)opts; /* the family has no options */
    return hcsmoe_family_new(h, sizeof(struct deepseek), self);
}

static const hcsmoe_model_ops ops = {
    .struct_size = sizeof ops,
    .probe = deepseek_probe,
    .describe = deepseek_describe,
    .describe_layer = deepseek_describe_layer,
    .tensor_name = deepseek_tensor_name,
    .attention = deepseek_attention,
    .route = deepseek_route,
    .tensor_shape = deepseek_tensor_shape,
};

static const hcsmoe_component deepseek_v2 = {
    .struct_size = sizeof deepseek_v2,
    .kind = HCSMOE_KIND_MODEL,
    .name = "deepseek_v2",
    .summary = "DeepSeek-V2, DeepSeek-V2-Lite and DeepSeek-Coder-V2",
    .ops = &ops,
    .create = deepseek_create,
    .destroy = hcsmoe_family_destroy,
};

HCSMOE_PLUGIN("hcsmoe.model.deepseek_v2", "1.0.0", "MIT", &deepseek_v2)
