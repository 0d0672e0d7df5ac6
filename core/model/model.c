/*
 * model.c - opens a checkpoint: config.json, family, every tensor found and checked before a byte
 * of it is read.
 * SPDX-License-Identifier: MIT
 */
#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"

enum {
    CONFIG_BYTES_MAX = 16 * 1024 * 1024, /* published config.json files are a few kB */
    LAYERS_MAX = 4096,
    EXPERTS_MAX = 65536,
    NAME_BYTES = SAFETENSORS_NAME_MAX + 1,
    VARIANTS_MAX = 8,
};

/* What a role's tensor must look like; -1: not used. */
struct role_shape {
    int role;
    bool required;
    int64_t rows, columns; /* columns 0: a vector */
};

/* Remembers the small files that are read: before they are, so that no change goes unnoticed. */
static int files_stamp(struct model *m, const char *weights)
{
    static const char *const names[MODEL_FILES] = {
        "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
        "model.safetensors.index.json"};
    int status = 0;

    for (size_t i = 0; !status && i < MODEL_FILES; i++) {
        struct model_file *f = &m->files[m->n_files];
        f->path = path_join(i + 1 < MODEL_FILES ? m->folder : weights, names[i]);
        if (!f->path)
            return HCSMOE_ENOMEM;
        if (path_exists(f->path)) {
            status = path_stamp(&f->stamp, f->path, -1);
            m->n_files++;
        } else {
            mem_free(f->path);
            f->path = NULL;
        }
    }
    return status;
}

int model_unchanged(const struct model *m)
{
    int status = shards_unchanged(&m->shards);

    for (size_t i = 0; !status && i < m->n_files; i++)
        status = path_stamp_check(&m->files[i].stamp, m->files[i].path, -1);
    return status;
}

static int config_read(struct model *m)
{
    char *path = path_join(m->folder, "config.json");
    char *text = NULL;
    size_t size = 0;
    json_error_t je;
    int status = 0;

    if (!path)
        return HCSMOE_ENOMEM;
    if (!path_exists(path))
        status = fail(HCSMOE_EINVAL, "%s: no config.json here: not a checkpoint folder", m->folder);
    else
        status = path_read(path, CONFIG_BYTES_MAX, &text, &size);
    if (!status) {
        m->config = json_take(text, size, 0, &je);
        if (!m->config)
            status = fail(HCSMOE_EINVAL, "%s:%d:%d: %s", path, je.line, je.column, je.text);
        else if (!json_is_object(m->config))
            status = fail(HCSMOE_EINVAL, "%s: not a JSON object", path);
    }
    mem_free(text);
    mem_free(path);
    return status;
}

/* The family with the highest probe; none: says what the config calls itself. */
static int family_probe(struct model *m, struct registry *r, const struct component **best)
{
    const struct component *const *list;
    size_t n;
    int32_t most = 0;
    int status = registry_list(r, HCSMOE_KIND_MODEL, &list, &n);

    *best = NULL;
    for (size_t i = 0; !status && i < n; i++) {
        const hcsmoe_model_ops *ops = list[i]->c.ops;
        component_enter(list[i], m->host, -1);
        int32_t sure = ops->probe(&m->host->abi, (const hcsmoe_json *)m->config);
        status = host_leave(m->host, 0);
        if (sure > most) {
            most = sure;
            *best = list[i];
        }
    }
    if (status || *best)
        return status;
    const json_t *a = json_array_get(json_object_get(m->config, "architectures"), 0);
    const char *type = json_string_value(json_object_get(m->config, "model_type"));
    struct str have = {0};
    for (size_t i = 0; i < n; i++)
        str_addf(&have, "%s%s", i ? ", " : "", list[i]->c.name);
    status = fail(HCSMOE_EUNSUPPORTED,
                  "%s/config.json: no plugin knows architecture '%s' (model_type '%s'); have: %s",
                  m->folder, json_string_value(a) ? json_string_value(a) : "?", type ? type : "?",
                  str_text(&have));
    str_release(&have);
    return status;
}

static int describe(struct model *m)
{
    hcsmoe_model_args a = {sizeof a, -1, (const hcsmoe_json *)m->config};
    int status;

    m->desc.struct_size = sizeof m->desc;
    instance_enter(&m->family, -1);
    status = host_leave(m->host, m->ops->describe(m->family.self, &m->host->abi, &a, &m->desc));
    if (status)
        return fail_in(status, "%s/config.json", m->folder);
    hcsmoe_model_desc *d = &m->desc;
    if (d->n_layers < 1 || d->n_layers > LAYERS_MAX || d->width < 1 || d->vocabulary < 1 ||
        d->n_heads < 1 || d->n_kv_heads < 1 || d->head_dim < 1 || d->width > INT32_MAX ||
        d->vocabulary > INT32_MAX || d->n_heads > INT32_MAX / d->head_dim)
        return fail(HCSMOE_EINVAL,
                    "%s/config.json: %d layers of width %lld, vocabulary %lld, %lld heads of %lld: "
                    "out of range",
                    m->folder, d->n_layers, (long long)d->width, (long long)d->vocabulary,
                    (long long)d->n_heads, (long long)d->head_dim);
    if (!d->v_head_dim)
        d->v_head_dim = d->head_dim;
    if (!d->rotary_dim)
        d->rotary_dim = d->head_dim;
    if (d->attention_scale == 0)
        d->attention_scale = 1.0 / sqrt((double)d->head_dim);
    m->context = d->max_position;
    m->layers = mem_new((size_t)d->n_layers, sizeof *m->layers);
    m->inverse_frequency = mem_new((size_t)d->rotary_dim / 2 + 1, sizeof(double));
    if (!m->layers || !m->inverse_frequency)
        return HCSMOE_ENOMEM;
    for (int64_t i = 0; i < d->rotary_dim / 2; i++)
        m->inverse_frequency[i] = pow(d->rope_theta, -2.0 * (double)i / (double)d->rotary_dim);
    for (int l = 0; l < d->n_layers; l++) {
        hcsmoe_layer_desc *ld = &m->layers[l].desc;
        a.layer = l;
        ld->struct_size = sizeof *ld;
        instance_enter(&m->family, l);
        status = host_leave(m->host, m->ops->describe_layer(m->family.self, &m->host->abi, &a, ld));
        if (status)
            return fail_in(status, "%s/config.json", m->folder);
        if (ld->ffn < 1 || ld->ffn > INT32_MAX || ld->shared_ffn < 0 ||
            ld->shared_ffn > INT32_MAX ||
            (ld->is_moe && (ld->n_experts < 1 || ld->n_experts > EXPERTS_MAX || ld->top_k < 1 ||
                            ld->top_k > ld->n_experts)))
            return fail(
                HCSMOE_EINVAL,
                "%s/config.json: layer %d: %lld of %lld experts of width %lld: out of range",
                m->folder, l, (long long)ld->top_k, (long long)ld->n_experts, (long long)ld->ffn);
        if (ld->weight_scale == 0)
            ld->weight_scale = 1;
        m->n_moe_layers += ld->is_moe;
    }
    return 0;
}

static int name_variant(const struct model *m, int role, int layer, int expert, int variant,
                        char *name)
{
    instance_enter(&m->family, layer);
    int32_t got = m->ops->tensor_name(m->family.self, &m->host->abi, role, layer, expert, variant,
                                      name, NAME_BYTES);
    int status = host_leave(m->host, 0);
    return status ? status : got;
}

int model_tensor_name(const struct model *m, int role, int layer, int expert, char *name,
                      size_t size)
{
    char text[NAME_BYTES];
    if (name_variant(m, role, layer, expert, 0, text) != 1)
        return fail(HCSMOE_EPLUGIN, "family %s gives no name for role %d",
                    m->family.component->c.name, role);
    if ((size_t)snprintf(name, size, "%s", text) >= size)
        return fail(HCSMOE_EPLUGIN, "family %s gives a name longer than %zu bytes",
                    m->family.component->c.name, size);
    return 0;
}

/* The entry of a role under any of its names; *e NULL when the checkpoint has none. */
static int entry_find(const struct model *m, int role, int layer, int expert,
                      const struct st_entry **e)
{
    char name[NAME_BYTES];
    *e = NULL;
    for (int variant = 0; variant < VARIANTS_MAX && !*e; variant++) {
        int got = name_variant(m, role, layer, expert, variant, name);
        if (got < 0)
            return got;
        if (!got)
            break;
        *e = shards_find(&m->shards, name);
    }
    return 0;
}

static int entry_missing(const struct model *m, int role, int layer, int expert)
{
    char name[NAME_BYTES];
    if (name_variant(m, role, layer, expert, 0, name) != 1)
        return fail(HCSMOE_EPLUGIN, "family %s gives no name for role %d",
                    m->family.component->c.name, role);
    return fail(HCSMOE_EINVAL, "%s: no tensor '%s' in the checkpoint", m->shards.folder, name);
}

static int entry_check(const struct model *m, const struct st_entry *e, uint32_t ndim,
                       const int64_t *shape)
{
    const char *file = path_base(shards_file(&m->shards, e)->path);
    bool equal = e->ndim == ndim;
    if (e->dtype != HCSMOE_DTYPE_F32 && e->dtype != HCSMOE_DTYPE_F16 &&
        e->dtype != HCSMOE_DTYPE_BF16)
        return fail(HCSMOE_EUNSUPPORTED, "%s: tensor '%s' is %s: weights must be F32, F16 or BF16",
                    file, e->name, st_dtype_name(e->dtype));
    for (uint32_t i = 0; equal && i < ndim; i++)
        equal = e->shape[i] == shape[i];
    if (equal)
        return 0;
    struct str is = {0}, want = {0};
    for (uint32_t i = 0; i < e->ndim; i++)
        str_addf(&is, "%s%lld", i ? ", " : "", (long long)e->shape[i]);
    for (uint32_t i = 0; i < ndim; i++)
        str_addf(&want, "%s%lld", i ? ", " : "", (long long)shape[i]);
    int status = fail(HCSMOE_EINVAL, "%s: tensor '%s' has shape [%s], config.json says [%s]", file,
                      e->name, str_text(&is), str_text(&want));
    str_release(&is);
    str_release(&want);
    return status;
}

static int role_resolve(const struct model *m, int layer, const struct role_shape *rs,
                        const struct st_entry **e)
{
    int status = entry_find(m, rs->role, layer, -1, e);
    if (status)
        return status;
    if (!*e)
        return rs->required ? entry_missing(m, rs->role, layer, -1) : 0;
    if (rs->rows < 0)
        return 0;
    const int64_t shape[2] = {rs->rows, rs->columns};
    return entry_check(m, *e, rs->columns ? 2 : 1, shape);
}

/* Asks the family for a shape that its description does not tell. */
static int role_asked(const struct model *m, int layer, struct role_shape *rs)
{
    int64_t shape[2] = {0, 0};
    if (rs->rows >= 0 || !m->ops->tensor_shape)
        return 0;
    instance_enter(&m->family, layer);
    const int32_t ndim =
        m->ops->tensor_shape(m->family.self, &m->host->abi, rs->role, layer, shape);
    const int status = host_leave(m->host, 0);
    if (!status && ndim > 0)
        *rs = (struct role_shape){rs->role, true, shape[0], ndim > 1 ? shape[1] : 0};
    return status;
}

static int experts_resolve(struct model *m, int l)
{
    struct layer_source *s = &m->layers[l];
    const int64_t d = m->desc.width, f = s->desc.ffn, n = s->n_stored;
    const int64_t up[3] = {n, 2 * f, d}, down[3] = {n, d, f};
    int status = entry_find(m, HCSMOE_ROLE_FUSED_GATE_UP, l, -1, &s->fused_gate_up);

    if (!status)
        status = entry_find(m, HCSMOE_ROLE_FUSED_DOWN, l, -1, &s->fused_down);
    if (status)
        return status;
    if (s->fused_gate_up && s->fused_down) {
        status = entry_check(m, s->fused_gate_up, 3, up);
        return status ? status : entry_check(m, s->fused_down, 3, down);
    }
    s->fused_gate_up = s->fused_down = NULL;
    s->gate = mem_new((size_t)n, sizeof *s->gate);
    s->up = mem_new((size_t)n, sizeof *s->up);
    s->down = mem_new((size_t)n, sizeof *s->down);
    if (!s->gate || !s->up || !s->down)
        return HCSMOE_ENOMEM;
    const struct {
        int role;
        const struct st_entry **to;
        const int64_t *shape;
    } part[3] = {{HCSMOE_ROLE_GATE, s->gate, up + 1},
                 {HCSMOE_ROLE_UP, s->up, up + 1},
                 {HCSMOE_ROLE_DOWN, s->down, down + 1}};
    const int64_t gate_shape[2] = {f, d};
    for (int64_t e = 0; e < n; e++)
        for (int p = 0; p < 3; p++) {
            status = entry_find(m, part[p].role, l, (int)e, &part[p].to[e]);
            if (!status && !part[p].to[e])
                status = entry_missing(m, part[p].role, l, (int)e);
            if (!status)
                status = entry_check(m, part[p].to[e], 2, p == 2 ? part[p].shape : gate_shape);
            if (status)
                return status;
        }
    return 0;
}

/* The expert map of a mapped checkpoint says how many matrices a layer stores. */
static int map_resolve(struct model *m, int l)
{
    struct layer_source *s = &m->layers[l];
    const struct st_entry *e;
    int status = entry_find(m, HCSMOE_ROLE_EXPERT_MAP, l, -1, &e);

    s->n_stored = s->desc.n_experts;
    if (status || !e)
        return status;
    if (e->dtype != HCSMOE_DTYPE_I64 || e->ndim != 1 || e->shape[0] != s->desc.n_experts)
        return fail(HCSMOE_EINVAL, "%s: tensor '%s' must be I64 [%lld]",
                    path_base(shards_file(&m->shards, e)->path), e->name,
                    (long long)s->desc.n_experts);
    s->map = mem_new((size_t)s->desc.n_experts, sizeof *s->map);
    if (!s->map)
        return HCSMOE_ENOMEM;
    status = shards_read(&m->shards, e, s->map);
    s->n_stored = 0;
    for (int64_t i = 0; !status && i < s->desc.n_experts; i++) {
        if (s->map[i] < -1 || s->map[i] >= s->desc.n_experts)
            return fail(HCSMOE_EINVAL, "%s: tensor '%s': expert %lld maps to %lld",
                        path_base(shards_file(&m->shards, e)->path), e->name, (long long)i,
                        (long long)s->map[i]);
        if (s->map[i] >= s->n_stored)
            s->n_stored = s->map[i] + 1;
    }
    if (!status && !s->n_stored)
        return fail(HCSMOE_EINVAL, "layer %d: the expert map keeps no expert", l);
    s->role[HCSMOE_ROLE_EXPERT_MAP] = e;
    return status;
}

static uint64_t aligned(uint64_t bytes)
{
    return (bytes + 63) & ~(uint64_t)63;
}

static int layer_resolve(struct model *m, int l)
{
    struct layer_source *s = &m->layers[l];
    const hcsmoe_model_desc *d = &m->desc;
    const bool own_attention = m->ops->attention != NULL;
    const int64_t qk_q = d->qk_norm == HCSMOE_NORM_WHOLE ? d->n_heads * d->head_dim : d->head_dim;
    const int64_t qk_k =
        d->qk_norm == HCSMOE_NORM_WHOLE ? d->n_kv_heads * d->head_dim : d->head_dim;
    const int64_t q = d->n_heads * d->head_dim, kv = d->n_kv_heads * d->head_dim,
                  v = d->n_kv_heads * d->v_head_dim;
    const bool plain = !own_attention, bias = plain && d->attention_bias,
               norm = plain && d->qk_norm;
    const bool dense = !s->desc.is_moe, shared = s->desc.is_moe && s->desc.shared_ffn;
    const struct role_shape roles[] = {
        {HCSMOE_ROLE_ATTN_NORM, true, d->width, 0},
        {HCSMOE_ROLE_Q, plain, plain ? q : -1, d->width},
        {HCSMOE_ROLE_K, plain, plain ? kv : -1, d->width},
        {HCSMOE_ROLE_V, plain, plain ? v : -1, d->width},
        {HCSMOE_ROLE_O, true, plain ? d->width : -1, d->n_heads * d->v_head_dim},
        {HCSMOE_ROLE_Q_BIAS, bias, plain ? q : -1, 0},
        {HCSMOE_ROLE_K_BIAS, bias, plain ? kv : -1, 0},
        {HCSMOE_ROLE_V_BIAS, bias, plain ? v : -1, 0},
        {HCSMOE_ROLE_O_BIAS, d->output_bias, d->width, 0},
        {HCSMOE_ROLE_Q_NORM, norm, plain ? qk_q : -1, 0},
        {HCSMOE_ROLE_K_NORM, norm, plain ? qk_k : -1, 0},
        {HCSMOE_ROLE_Q_A, false, -1, 0},
        {HCSMOE_ROLE_Q_A_NORM, false, -1, 0},
        {HCSMOE_ROLE_Q_B, false, -1, 0},
        {HCSMOE_ROLE_KV_A, false, -1, 0},
        {HCSMOE_ROLE_KV_A_NORM, false, -1, 0},
        {HCSMOE_ROLE_KV_B, false, -1, 0},
        {HCSMOE_ROLE_FFN_NORM, true, d->width, 0},
        {HCSMOE_ROLE_ROUTER, s->desc.is_moe, s->desc.n_experts, d->width},
        {HCSMOE_ROLE_ROUTER_BIAS, false, s->desc.n_experts, 0},
        {HCSMOE_ROLE_DENSE_GATE, dense, s->desc.ffn, d->width},
        {HCSMOE_ROLE_DENSE_UP, dense, s->desc.ffn, d->width},
        {HCSMOE_ROLE_DENSE_DOWN, dense, d->width, s->desc.ffn},
        {HCSMOE_ROLE_SHARED_GATE, shared, s->desc.shared_ffn, d->width},
        {HCSMOE_ROLE_SHARED_UP, shared, s->desc.shared_ffn, d->width},
        {HCSMOE_ROLE_SHARED_DOWN, shared, d->width, s->desc.shared_ffn},
        {HCSMOE_ROLE_SHARED_ROUTER, shared && s->desc.shared_router, 1, d->width},
    };
    int status = s->desc.is_moe ? map_resolve(m, l) : 0;

    for (size_t i = 0; !status && i < sizeof roles / sizeof *roles; i++) {
        const int r = roles[i].role;
        const bool moe_only = r == HCSMOE_ROLE_ROUTER || r == HCSMOE_ROLE_ROUTER_BIAS ||
                              (r >= HCSMOE_ROLE_SHARED_GATE && r <= HCSMOE_ROLE_SHARED_ROUTER);
        const bool dense_only = r >= HCSMOE_ROLE_DENSE_GATE && r <= HCSMOE_ROLE_DENSE_DOWN;
        if ((moe_only && dense) || (dense_only && !dense))
            continue;
        struct role_shape rs = roles[i];
        status = role_asked(m, l, &rs);
        if (!status)
            status = role_resolve(m, l, &rs, &s->role[r]);
        if (!status && s->role[r])
            s->bytes += aligned(s->role[r]->size);
    }
    if (status || dense)
        return status;
    status = experts_resolve(m, l);
    if (!status && s->fused_gate_up)
        s->bytes += aligned(s->fused_gate_up->size) + aligned(s->fused_down->size);
    for (int64_t e = 0; !status && !s->fused_gate_up && e < s->n_stored; e++)
        s->bytes += aligned(s->gate[e]->size) + aligned(s->up[e]->size) + aligned(s->down[e]->size);
    return status;
}

static int tensors_resolve(struct model *m)
{
    const hcsmoe_model_desc *d = &m->desc;
    const struct role_shape embed = {HCSMOE_ROLE_EMBED, true, d->vocabulary, d->width};
    const struct role_shape norm = {HCSMOE_ROLE_FINAL_NORM, true, d->width, 0};
    const struct role_shape head = {HCSMOE_ROLE_LM_HEAD, !d->tied_embeddings, d->vocabulary,
                                    d->width};
    int status = role_resolve(m, -1, &embed, &m->embed);

    if (!status)
        status = role_resolve(m, -1, &norm, &m->final_norm);
    if (!status)
        status = role_resolve(m, -1, &head, &m->head);
    if (!status && (d->tied_embeddings || !m->head))
        m->head = m->embed;
    for (int l = 0; !status && l < d->n_layers; l++) {
        status = layer_resolve(m, l);
        if (m->layers[l].bytes > m->layer_bytes_max)
            m->layer_bytes_max = m->layers[l].bytes;
    }
    for (size_t i = 0; !status && i < m->shards.n_tensors; i++) {
        const struct st_entry *e = shards_at(&m->shards, i);
        int64_t n = 1;
        for (uint32_t j = 0; j < e->ndim; j++)
            n *= e->shape[j];
        if (e->dtype != HCSMOE_DTYPE_I64)
            m->parameters += n;
    }
    return status;
}

int checkpoint_missing(const char *name)
{
    const char *slash = strchr(name, '/');
    const bool hub = slash && name[0] != '/' && name[0] != '.' && !strchr(slash + 1, '/');

    if (!hub)
        return fail(HCSMOE_EINVAL, "%s: no such folder", name);
    return fail(HCSMOE_EINVAL,
                "%s: no such folder; if this is a hub name, fetch it first: "
                "huggingface-cli download %s --local-dir FOLDER",
                name, name);
}

int model_open(struct model **out, const char *folder, const char *weights, const char *family,
               const struct ini *ini, struct registry *r, struct host *h)
{
    struct model *m = mem_new(1, sizeof *m);
    const struct component *c = NULL;
    int status;

    *out = NULL;
    if (!m)
        return HCSMOE_ENOMEM;
    m->host = h;
    m->k = h->kernels;
    m->folder = mem_strdup(folder);
    if (!m->folder)
        status = HCSMOE_ENOMEM;
    else if (!path_is_folder(folder))
        status = path_exists(folder)
                     ? fail(HCSMOE_EINVAL,
                            "%s: not a folder; a checkpoint is the folder that holds config.json",
                            folder)
                     : checkpoint_missing(folder);
    else
        status = files_stamp(m, weights ? weights : folder);
    if (!status)
        status = config_read(m);
    if (!status)
        status = !family || !strcmp(family, "auto")
                     ? family_probe(m, r, &c)
                     : registry_find(r, HCSMOE_KIND_MODEL, family, &c);
    const struct ini none = {0};
    if (!status)
        status = instance_init(&m->family, c, ini ? ini : &none, "model", h);
    if (!status)
        status = instance_create(&m->family);
    if (!status) {
        m->ops = instance_ops(&m->family);
        status = describe(m);
    }
    if (!status)
        status = shards_open(&m->shards, weights ? weights : folder);
    if (!status)
        status = tensors_resolve(m);
    if (status) {
        model_close(m);
        return status;
    }
    *out = m;
    return 0;
}

void model_close(struct model *m)
{
    if (!m)
        return;
    for (int l = 0; m->layers && l < m->desc.n_layers; l++) {
        mem_free(m->layers[l].gate);
        mem_free(m->layers[l].up);
        mem_free(m->layers[l].down);
        mem_free(m->layers[l].map);
    }
    mem_free(m->layers);
    mem_free(m->inverse_frequency);
    shards_close(&m->shards);
    for (size_t i = 0; i < MODEL_FILES; i++)
        mem_free(m->files[i].path);
    instance_release(&m->family);
    json_decref(m->config);
    mem_free(m->folder);
    mem_free(m);
}
