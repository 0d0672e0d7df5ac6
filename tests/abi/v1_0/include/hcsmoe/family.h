/*
 * family.h - what plugins of model families share: reading config.json, tensor names.
 *
 * For third parties as well: everything is inline and uses the host alone. Readers of config.json
 * share a struct that keeps the first failure; after it they do nothing, so that a family reads one
 * key after the other and returns the status at the end. What is wrong is named with its key and
 * what is allowed; the core puts the path of config.json in front.
 * SPDX-License-Identifier: MIT
 */
#ifndef HCSMOE_FAMILY_H
#define HCSMOE_FAMILY_H

#include <hcsmoe/json.h>
#include <hcsmoe/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Far above every published model, and small enough that the elements of one layer can be counted
 * in 64 bits. */
enum {
    HCSMOE_LAYERS_MOST = 4096,
    HCSMOE_EXPERTS_MOST = 65536,
    HCSMOE_HEADS_MOST = 65536,
    HCSMOE_SIZE_MOST = 1 << 20
};

/* config.json, or an object of it, being read: {h, config, HCSMOE_OK, 0}. */
typedef struct hcsmoe_config {
    const hcsmoe_host *h;
    const hcsmoe_json *json;
    hcsmoe_status status;
    int32_t reserved0;
} hcsmoe_config;

/* Whether a key is set: there and not null. */
static inline int hcsmoe_config_has(const hcsmoe_config *c, const char *key)
{
    return c->h->json->type(c->h->json->get(c->json, key)) != HCSMOE_JSON_NULL;
}

/* A string; the fallback for what is none. */
static inline const char *hcsmoe_config_text(const hcsmoe_config *c, const char *key,
                                             const char *fallback)
{
    return c->h->json->string(c->h->json->get(c->json, key), fallback);
}

static inline int hcsmoe_text_is(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

/* *out stays when the key is not set. */
static inline void hcsmoe_config_int_or(hcsmoe_config *c, const char *key, int64_t least,
                                        int64_t most, int64_t *out)
{
    if (c->status != HCSMOE_OK || !hcsmoe_config_has(c, key))
        return;
    *out = c->h->json->integer(c->h->json->get(c->json, key), INT64_MIN);
    if (*out == INT64_MIN)
        c->status = hcsmoe_failf(c->h, HCSMOE_EINVAL, "'%s' is not an integer: must be %lld..%lld",
                                 key, (long long)least, (long long)most);
    else if (*out < least || *out > most)
        c->status = hcsmoe_failf(c->h, HCSMOE_EINVAL, "'%s' is %lld: must be %lld..%lld", key,
                                 (long long)*out, (long long)least, (long long)most);
}

static inline void hcsmoe_config_need(hcsmoe_config *c, const char *key)
{
    if (c->status == HCSMOE_OK && !hcsmoe_config_has(c, key))
        c->status = hcsmoe_failf(c->h, HCSMOE_EINVAL, "no '%s'", key);
}

static inline void hcsmoe_config_int(hcsmoe_config *c, const char *key, int64_t least, int64_t most,
                                     int64_t *out)
{
    hcsmoe_config_need(c, key);
    hcsmoe_config_int_or(c, key, least, most, out);
}

/* A number above 0; *out stays when the key is not set. */
static inline void hcsmoe_config_real_or(hcsmoe_config *c, const char *key, double *out)
{
    if (c->status != HCSMOE_OK || !hcsmoe_config_has(c, key))
        return;
    *out = c->h->json->real(c->h->json->get(c->json, key), 0.0);
    if (!(*out > 0.0 && *out <= 1.7e308))
        c->status = hcsmoe_failf(c->h, HCSMOE_EINVAL, "'%s' must be a number above 0", key);
}

static inline void hcsmoe_config_real(hcsmoe_config *c, const char *key, double *out)
{
    hcsmoe_config_need(c, key);
    hcsmoe_config_real_or(c, key, out);
}

/* *out stays when the key is not set. */
static inline void hcsmoe_config_bool(hcsmoe_config *c, const char *key, int32_t *out)
{
    const hcsmoe_json *v = c->h->json->get(c->json, key);

    if (c->status != HCSMOE_OK || !hcsmoe_config_has(c, key))
        return;
    if (c->h->json->type(v) != HCSMOE_JSON_BOOL)
        c->status = hcsmoe_failf(c->h, HCSMOE_EINVAL, "'%s' must be true or false", key);
    *out = c->h->json->boolean(v, *out);
}

/* Refuses by name what is set and is neither of the two; or_have may be NULL. */
static inline void hcsmoe_config_one_of(hcsmoe_config *c, const char *key, const char *have,
                                        const char *or_have)
{
    const char *text = hcsmoe_config_text(c, key, "?");

    if (c->status != HCSMOE_OK || !hcsmoe_config_has(c, key) || hcsmoe_text_is(text, have) ||
        (or_have && hcsmoe_text_is(text, or_have)))
        return;
    c->status =
        hcsmoe_failf(c->h, HCSMOE_EUNSUPPORTED, "'%s' is '%s': not supported (have: %s%s%s)", key,
                     text, have, or_have ? ", " : "", or_have ? or_have : "");
}

/* For probe: model_type decides; "hcsmoe_" and it is what merged checkpoints with an expert map
 * say, so that no other program takes them for the plain model. */
static inline int32_t hcsmoe_config_probe(const hcsmoe_host *h, const hcsmoe_json *config,
                                          const char *model_type, const char *architecture)
{
    static const char prefix[] = "hcsmoe_";
    const hcsmoe_json *names = h->json->get(config, "architectures");
    const char *type = h->json->string(h->json->get(config, "model_type"), "");
    size_t i = 0;

    while (prefix[i] != '\0' && type[i] == prefix[i])
        i++;
    if (hcsmoe_text_is(prefix[i] == '\0' ? type + i : type, model_type))
        return 100;
    return hcsmoe_text_is(h->json->string(h->json->at(names, 0), ""), architecture) ? 80 : 0;
}

/* Sizes, activation, norm and tied embeddings: what the config of every decoder says. */
static inline void hcsmoe_config_decoder(hcsmoe_config *c, hcsmoe_model_desc *d)
{
    int64_t n_layers = 0;

    hcsmoe_config_one_of(c, "hidden_act", "silu", NULL);
    hcsmoe_config_int(c, "num_hidden_layers", 1, HCSMOE_LAYERS_MOST, &n_layers);
    hcsmoe_config_int(c, "hidden_size", 1, HCSMOE_SIZE_MOST, &d->width);
    hcsmoe_config_int(c, "vocab_size", 1, INT32_MAX, &d->vocabulary);
    hcsmoe_config_int(c, "max_position_embeddings", 1, INT32_MAX, &d->max_position);
    hcsmoe_config_real(c, "rms_norm_eps", &d->norm_eps);
    hcsmoe_config_bool(c, "tie_word_embeddings", &d->tied_embeddings);
    d->n_layers = c->status == HCSMOE_OK ? (int32_t)n_layers : 0;
}

/* n_heads, n_kv_heads, and head_dim, which may follow from the width. After the width. */
static inline void hcsmoe_config_heads(hcsmoe_config *c, hcsmoe_model_desc *d)
{
    hcsmoe_config_int(c, "num_attention_heads", 1, HCSMOE_HEADS_MOST, &d->n_heads);
    hcsmoe_config_int(c, "num_key_value_heads", 1, HCSMOE_HEADS_MOST, &d->n_kv_heads);
    hcsmoe_config_int_or(c, "head_dim", 1, HCSMOE_SIZE_MOST, &d->head_dim);
    if (c->status != HCSMOE_OK)
        return;
    if (d->n_heads % d->n_kv_heads != 0)
        c->status = hcsmoe_failf(
            c->h, HCSMOE_EINVAL,
            "'num_attention_heads' is %lld: must be a multiple of 'num_key_value_heads', %lld",
            (long long)d->n_heads, (long long)d->n_kv_heads);
    else if (d->head_dim == 0 && d->width % d->n_heads != 0)
        c->status = hcsmoe_failf(c->h, HCSMOE_EINVAL,
                                 "'hidden_size' is %lld: must be a multiple of "
                                 "'num_attention_heads', %lld, where there is no 'head_dim'",
                                 (long long)d->width, (long long)d->n_heads);
    if (d->head_dim == 0)
        d->head_dim = d->width / d->n_heads;
    if (c->status == HCSMOE_OK && d->head_dim % 2 != 0)
        c->status =
            hcsmoe_failf(c->h, HCSMOE_EINVAL,
                         "heads have %lld dimensions: must be even, they are rotated in pairs",
                         (long long)d->head_dim);
    d->v_head_dim = d->head_dim;
}

/*
 * The base of the rotation stands at the top level or, since transformers 5, with the kind of
 * scaling in one object. scaled: a kind beside "default" that the family computes; NULL: none.
 * Gives the object of that kind; NULL: the positions are not scaled.
 */
static inline const hcsmoe_json *hcsmoe_config_rope(hcsmoe_config *c, const char *scaled,
                                                    double *theta)
{
    static const char *const names[] = {"rope_scaling", "rope_parameters"};
    const hcsmoe_json *scaling = NULL;
    hcsmoe_config holder = *c;
    size_t i;

    for (i = 0; i < 2 && c->status == HCSMOE_OK; i++) {
        const hcsmoe_config object = {c->h, c->h->json->get(c->json, names[i]), HCSMOE_OK, 0};
        const char *key = hcsmoe_config_has(&object, "rope_type") ? "rope_type" : "type";
        const char *type = hcsmoe_config_text(&object, key, "?");
        const int known = scaled && hcsmoe_text_is(type, scaled);
        if (hcsmoe_config_has(c, names[i]) && c->h->json->type(object.json) != HCSMOE_JSON_OBJECT)
            c->status =
                hcsmoe_failf(c->h, HCSMOE_EINVAL, "'%s' must be null or an object", names[i]);
        else if (hcsmoe_config_has(&object, key) && !known && !hcsmoe_text_is(type, "default"))
            c->status = hcsmoe_failf(c->h, HCSMOE_EUNSUPPORTED,
                                     "'%s.%s' is '%s': this scaling of positions is not supported "
                                     "(have: default%s%s)",
                                     names[i], key, type, scaled ? ", " : "", scaled ? scaled : "");
        if (known)
            scaling = object.json;
        if (hcsmoe_config_has(&object, "rope_theta"))
            holder.json = object.json;
    }
    holder.status = c->status;
    hcsmoe_config_real(&holder, "rope_theta", theta);
    c->status = holder.status;
    return scaling;
}

/* Experts are counted under either name, by version and by tool; the first when neither is set. */
static inline const char *hcsmoe_config_experts_key(const hcsmoe_config *c, const char *first,
                                                    const char *second)
{
    return !hcsmoe_config_has(c, first) && hcsmoe_config_has(c, second) ? second : first;
}

/* n_experts from `key`, and top_k. */
static inline void hcsmoe_config_experts(hcsmoe_config *c, const char *key, hcsmoe_layer_desc *d)
{
    hcsmoe_config_int(c, key, 1, HCSMOE_EXPERTS_MOST, &d->n_experts);
    hcsmoe_config_int(c, "num_experts_per_tok", 1, HCSMOE_EXPERTS_MOST, &d->top_k);
    if (c->status == HCSMOE_OK && d->top_k > d->n_experts)
        c->status = hcsmoe_failf(c->h, HCSMOE_EINVAL,
                                 "'num_experts_per_tok' is %lld: must be 1..%lld, as '%s' says",
                                 (long long)d->top_k, (long long)d->n_experts, key);
}

/* As Qwen has it: a layer has experts unless it is listed as dense; of the others every
 * decoder_sparse_step-th has them. */
static inline int hcsmoe_config_is_moe(hcsmoe_config *c, int32_t layer)
{
    const hcsmoe_json *dense = c->h->json->get(c->json, "mlp_only_layers");
    int64_t i, step = 1;
    int is_moe;

    hcsmoe_config_int_or(c, "decoder_sparse_step", 1, HCSMOE_LAYERS_MOST, &step);
    if (c->status != HCSMOE_OK)
        return 0;
    if (hcsmoe_config_has(c, "mlp_only_layers") && c->h->json->type(dense) != HCSMOE_JSON_ARRAY)
        c->status = hcsmoe_failf(c->h, HCSMOE_EINVAL, "'mlp_only_layers' must be a list of layers");
    else if (c->h->json->size(dense) > HCSMOE_LAYERS_MOST)
        c->status = hcsmoe_failf(c->h, HCSMOE_EINVAL,
                                 "'mlp_only_layers' has %lld items: must be at most %d",
                                 (long long)c->h->json->size(dense), HCSMOE_LAYERS_MOST);
    is_moe = (layer + 1) % step == 0;
    for (i = 0; c->status == HCSMOE_OK && i < c->h->json->size(dense); i++) {
        const int64_t listed = c->h->json->integer(c->h->json->at(dense, i), -1);
        if (listed < 0)
            c->status = hcsmoe_failf(c->h, HCSMOE_EINVAL,
                                     "'mlp_only_layers' item %lld is not a layer", (long long)i);
        is_moe = is_moe && listed != layer;
    }
    return is_moe;
}

/*
 * As Qwen has it. Without layer_types, as documented and as in transformers 4.46: the first
 * max_window_layers layers see everything, the others the window. Later versions changed that rule
 * but write the outcome down in layer_types, which therefore wins.
 */
static inline void hcsmoe_config_window(hcsmoe_config *c, int32_t layer, int64_t *window)
{
    const hcsmoe_json *types = c->h->json->get(c->json, "layer_types");
    const char *type = c->h->json->string(c->h->json->at(types, layer), "?");
    int64_t full = 28; /* the families' default for max_window_layers */
    int64_t length = 0;
    int32_t used = 0;

    hcsmoe_config_bool(c, "use_sliding_window", &used);
    if (c->status != HCSMOE_OK || !used)
        return;
    hcsmoe_config_int_or(c, "sliding_window", 1, INT32_MAX, &length);
    hcsmoe_config_int_or(c, "max_window_layers", 0, INT32_MAX, &full);
    if (!hcsmoe_config_has(c, "layer_types"))
        *window = layer >= full ? length : 0;
    else if (hcsmoe_text_is(type, "sliding_attention"))
        *window = length;
    else if (c->status == HCSMOE_OK && !hcsmoe_text_is(type, "full_attention"))
        c->status = hcsmoe_failf(
            c->h, HCSMOE_EUNSUPPORTED,
            "'layer_types' says '%s': not supported (have: full_attention, sliding_attention)",
            type);
}

/* What decides which roles exist, kept by describe for tensor_name, which does not see config.json.
 * A plugin's self may be this, or begin with it. */
typedef struct hcsmoe_family {
    hcsmoe_model_desc desc;
    uint8_t is_moe[HCSMOE_LAYERS_MOST];
} hcsmoe_family;

/* A zeroed self of some size. */
static inline hcsmoe_status hcsmoe_family_new(const hcsmoe_host *h, size_t size, void **self)
{
    unsigned char *p = (unsigned char *)h->alloc(h, size);
    size_t i;

    if (!p)
        return HCSMOE_ENOMEM;
    for (i = 0; i < size; i++)
        p[i] = 0;
    *self = p;
    return HCSMOE_OK;
}

/* For create and destroy of a component without options, whose self is a hcsmoe_family. */
static inline hcsmoe_status hcsmoe_family_create(const hcsmoe_host *h, const void *opts,
                                                 void **self)
{
    (void)opts;
    return hcsmoe_family_new(h, sizeof(hcsmoe_family), self);
}

static inline void hcsmoe_family_destroy(const hcsmoe_host *h, void *self)
{
    h->free(h, self);
}

/* The name of a role: "NAME" of one per model, "model.layers.L.NAME" of one per layer, and with a
 * part "model.layers.L.NAME.E.PART" of one per expert. */
typedef struct hcsmoe_role_name {
    int32_t role, variant;
    const char *name, *part;
} hcsmoe_role_name;

/* Whether a layer has the role at all, as far as the description and is_moe tell. */
static inline int32_t hcsmoe_family_has(const hcsmoe_family *f, int32_t role, int32_t layer)
{
    if (role < HCSMOE_ROLE_ATTN_NORM)
        return 1;
    if (layer < 0 || layer >= HCSMOE_LAYERS_MOST)
        return 0;
    if (role >= HCSMOE_ROLE_DENSE_GATE && role <= HCSMOE_ROLE_DENSE_DOWN)
        return !f->is_moe[layer];
    if (role >= HCSMOE_ROLE_ROUTER)
        return f->is_moe[layer];
    if (role >= HCSMOE_ROLE_Q_BIAS && role <= HCSMOE_ROLE_V_BIAS)
        return f->desc.attention_bias;
    if (role == HCSMOE_ROLE_O_BIAS)
        return f->desc.output_bias;
    if (role == HCSMOE_ROLE_Q_NORM || role == HCSMOE_ROLE_K_NORM)
        return f->desc.qk_norm != HCSMOE_NORM_NONE;
    return 1;
}

/* The names that nearly all families share. Fused experts are how newer libraries hold the model in
 * memory; tools that dump a state dictionary write them. */
static inline const hcsmoe_role_name *hcsmoe_common_names(size_t *n)
{
    static const hcsmoe_role_name names[] = {
        {HCSMOE_ROLE_EMBED, 0, "model.embed_tokens.weight", NULL},
        {HCSMOE_ROLE_FINAL_NORM, 0, "model.norm.weight", NULL},
        {HCSMOE_ROLE_LM_HEAD, 0, "lm_head.weight", NULL},
        {HCSMOE_ROLE_ATTN_NORM, 0, "input_layernorm.weight", NULL},
        {HCSMOE_ROLE_Q, 0, "self_attn.q_proj.weight", NULL},
        {HCSMOE_ROLE_K, 0, "self_attn.k_proj.weight", NULL},
        {HCSMOE_ROLE_V, 0, "self_attn.v_proj.weight", NULL},
        {HCSMOE_ROLE_O, 0, "self_attn.o_proj.weight", NULL},
        {HCSMOE_ROLE_Q_BIAS, 0, "self_attn.q_proj.bias", NULL},
        {HCSMOE_ROLE_K_BIAS, 0, "self_attn.k_proj.bias", NULL},
        {HCSMOE_ROLE_V_BIAS, 0, "self_attn.v_proj.bias", NULL},
        {HCSMOE_ROLE_O_BIAS, 0, "self_attn.o_proj.bias", NULL},
        {HCSMOE_ROLE_Q_NORM, 0, "self_attn.q_norm.weight", NULL},
        {HCSMOE_ROLE_K_NORM, 0, "self_attn.k_norm.weight", NULL},
        {HCSMOE_ROLE_FFN_NORM, 0, "post_attention_layernorm.weight", NULL},
        {HCSMOE_ROLE_DENSE_GATE, 0, "mlp.gate_proj.weight", NULL},
        {HCSMOE_ROLE_DENSE_UP, 0, "mlp.up_proj.weight", NULL},
        {HCSMOE_ROLE_DENSE_DOWN, 0, "mlp.down_proj.weight", NULL},
        {HCSMOE_ROLE_ROUTER, 0, "mlp.gate.weight", NULL},
        {HCSMOE_ROLE_EXPERT_MAP, 0, "mlp.expert_map", NULL},
        {HCSMOE_ROLE_GATE, 0, "mlp.experts", "gate_proj.weight"},
        {HCSMOE_ROLE_UP, 0, "mlp.experts", "up_proj.weight"},
        {HCSMOE_ROLE_DOWN, 0, "mlp.experts", "down_proj.weight"},
        {HCSMOE_ROLE_FUSED_GATE_UP, 0, "mlp.experts.gate_up_proj", NULL},
        {HCSMOE_ROLE_FUSED_DOWN, 0, "mlp.experts.down_proj", NULL},
    };

    *n = sizeof names / sizeof names[0];
    return names;
}

/* For tensor_name: the family's own names first (own may be NULL), then the common ones. A role in
 * `own` has no common names. */
static inline int32_t hcsmoe_family_name(const hcsmoe_family *f, const hcsmoe_role_name *own,
                                         size_t n_own, int32_t role, int32_t layer, int32_t expert,
                                         int32_t variant, char *name, size_t size)
{
    size_t n_common, i, found = 0;
    const hcsmoe_role_name *common = hcsmoe_common_names(&n_common);
    int n;

    if (!hcsmoe_family_has(f, role, layer))
        return 0;
    for (i = 0; i < n_own + n_common && !(i >= n_own && found); i++) {
        const hcsmoe_role_name *r = i < n_own ? &own[i] : &common[i - n_own];
        found += r->role == role;
        if (r->role != role || r->variant != variant)
            continue;
        if (role < HCSMOE_ROLE_ATTN_NORM)
            n = snprintf(name, size, "%s", r->name);
        else if (!r->part)
            n = snprintf(name, size, "model.layers.%d.%s", layer, r->name);
        else
            n = snprintf(name, size, "model.layers.%d.%s.%d.%s", layer, r->name, expert, r->part);
        return n > 0 && (size_t)n < size;
    }
    return 0;
}

#ifdef __cplusplus
}
#endif
#endif
