/*
 * statistics.c - statistics.safetensors: written by one run, read by the next.
 *
 * A run that differs from an earlier one in grouping or merging only needs no text any more. The
 * key in the metadata is a hash of what the numbers depend on; a tensor's name says which statistic
 * or which component's state it is.
 * SPDX-License-Identifier: MIT
 */
#include "run/statistics.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/path.h"
#include "base/sha256.h"
#include "base/version.h"
#include "run/plan.h"

/* One statistic of a layer as a tensor. */
struct part {
    const char *name;
    uint32_t dtype;
    void *bytes; /* NULL: not collected */
    uint32_t ndim;
    int64_t shape[3];
};

enum { PARTS = 9 };

static void parts_of(const struct layer_stats *s, struct part part[PARTS])
{
    const int64_t e = s->dims.n_experts, f = s->dims.ffn;
    const struct part all[PARTS] = {
        {"usage_counts", HCSMOE_DTYPE_I64, s->usage_counts, 1, {e}},
        {"usage", HCSMOE_DTYPE_F64, s->usage, 1, {e}},
        {"score_sum", HCSMOE_DTYPE_F64, s->score_sum, 1, {e}},
        {"router_gram", HCSMOE_DTYPE_F64, s->router_gram, 2, {e, e}},
        {"output_mean", HCSMOE_DTYPE_F64, s->output_mean, 2, {e, s->dims.width}},
        {"weight_gram", HCSMOE_DTYPE_F64, s->weight_gram, 2, {e, e}},
        {"weight_product", HCSMOE_DTYPE_F64, s->weight_product, 2, {e, e}},
        {"energy", HCSMOE_DTYPE_F64, s->energy, 3, {e, e, f}},
        {"energy_scaled", HCSMOE_DTYPE_F64, s->energy_scaled, 3, {e, e, f}},
    };
    memcpy(part, all, sizeof all);
}

void statistics_key(const struct config *c, const struct prepared *p, char hex[65])
{
    struct sha256 sum;
    char *config = json_dumps(p->m->config, JSON_COMPACT | JSON_SORT_KEYS);
    char text[128];

    sha256_init(&sum);
    if (config)
        sha256_add(&sum, config, strlen(config));
    free(config); /* from json_dumps */
    for (size_t i = 0; i < p->m->shards.n_files; i++) {
        const struct st_file *f = &p->m->shards.files[i];
        snprintf(text, sizeof text, "%llu ", (unsigned long long)f->file_size);
        sha256_add(&sum, path_base(f->path), strlen(path_base(f->path)) + 1);
        sha256_add(&sum, text, strlen(text));
    }
    snprintf(text, sizeof text, "%s %lld", p->blocks.sha256, (long long)c->usage_top_k);
    sha256_add(&sum, text, strlen(text));
    sha256_hex(&sum, hex);
}

/* The k-th component of c that may have states, and those in s. */
static const struct instance *component_at(const struct config *c, int k)
{
    return k < c->n_bases ? &c->bases[k] : &c->cluster;
}

static struct states *states_at(const struct layer_states *s, const struct config *c, int k)
{
    struct layer_states *all = (struct layer_states *)(uintptr_t)s;
    return k < c->n_bases ? &all->base[k] : &all->cluster;
}

static void state_name(const struct config *c, const struct states *states, int k, int i, int layer,
                       char name[SAFETENSORS_NAME_MAX + 1])
{
    snprintf(name, SAFETENSORS_NAME_MAX + 1, "layer.%d.%s.%s", layer,
             component_at(c, k)->component->c.name, states->desc[i].name);
}

static int layer_write(struct st_writer *w, const struct config *c, const struct layer_stats *s,
                       const struct layer_states *states)
{
    struct part part[PARTS];
    char name[SAFETENSORS_NAME_MAX + 1];
    int status = 0;

    parts_of(s, part);
    for (int k = 0; !status && k < PARTS; k++) {
        snprintf(name, sizeof name, "layer.%d.%s", s->dims.layer, part[k].name);
        if (part[k].bytes)
            status = st_add(w, name, part[k].dtype, part[k].ndim, part[k].shape, part[k].bytes);
    }
    for (int k = 0; !status && k <= c->n_bases; k++) {
        const struct states *of = states_at(states, c, k);
        for (int i = 0; !status && i < of->n; i++) {
            state_name(c, of, k, i, s->dims.layer, name);
            status = st_add(w, name, of->desc[i].dtype, 4, of->tensor[i].shape, of->tensor[i].data);
        }
    }
    return status;
}

int statistics_write(const char *path, const struct config *c, const struct prepared *p,
                     const struct layer_stats *const *layers,
                     const struct layer_states *const *states, size_t n)
{
    struct st_writer w = {0};
    char key[65];
    uint64_t reserve = 1024;

    for (size_t i = 0; i < n; i++) {
        reserve += PARTS * st_header_bytes("layer.00000.weight_product", 3);
        for (int k = 0; k <= c->n_bases; k++)
            reserve += (uint64_t)states_at(states[i], c, k)->n *
                       (st_header_bytes("layer.00000.", 4) + 2 * SAFETENSORS_NAME_MAX);
    }
    int status = st_create(&w, path, reserve);
    for (size_t i = 0; !status && i < n; i++)
        status = layer_write(&w, c, layers[i], states[i]);
    statistics_key(c, p, key);
    json_t *meta =
        json_pack("{s:s, s:s, s:s}", "format", "pt", "hcsmoe", HCSMOE_VERSION, "key", key);
    char *text = meta ? json_dumps(meta, JSON_COMPACT) : NULL;
    if (!status)
        status = text ? st_finish(&w, text) : fail_memory(0);
    st_abandon(&w);
    free(text); /* from json_dumps */
    json_decref(meta);
    return status;
}

struct statistics {
    struct st_file file;
};

static const struct st_entry *entry_find(const struct statistics *s, const char *name)
{
    for (size_t i = 0; i < s->file.n; i++)
        if (!strcmp(s->file.entries[i].name, name))
            return &s->file.entries[i];
    return NULL;
}

/* Reads a tensor into bytes, or (NULL) only looks whether it is there as it should be. *found is
 * cleared when it is not. */
static int tensor_take(const struct statistics *s, const char *name, uint32_t dtype, uint32_t ndim,
                       const int64_t *shape, void *bytes, const char **lacks)
{
    const struct st_entry *e = entry_find(s, name);
    bool same = e && e->dtype == dtype && e->ndim == ndim;

    for (uint32_t i = 0; same && i < ndim; i++)
        same = e->shape[i] == shape[i];
    if (!same) {
        *lacks = e ? "another shape" : "nothing";
        return 0;
    }
    return bytes ? st_read(&s->file, e->offset, bytes, e->size) : 0;
}

/* All tensors of a layer: into their places, or (look) only looked for. */
static int layer_take(const struct statistics *s, const struct config *c, struct layer_stats *stats,
                      struct layer_states *states, bool look,
                      char lacking[SAFETENSORS_NAME_MAX + 1])
{
    struct part part[PARTS];
    const char *lacks = NULL;
    int status = 0;

    parts_of(stats, part);
    for (int k = 0; !status && !lacks && k < PARTS; k++) {
        snprintf(lacking, SAFETENSORS_NAME_MAX + 1, "layer.%d.%s", stats->dims.layer, part[k].name);
        if (part[k].bytes)
            status = tensor_take(s, lacking, part[k].dtype, part[k].ndim, part[k].shape,
                                 look ? NULL : part[k].bytes, &lacks);
    }
    for (int k = 0; !status && k <= c->n_bases; k++) {
        const struct states *of = states_at(states, c, k);
        for (int i = 0; !status && !lacks && i < of->n; i++) {
            state_name(c, of, k, i, stats->dims.layer, lacking);
            status = tensor_take(s, lacking, of->desc[i].dtype, 4, of->tensor[i].shape,
                                 look ? NULL : of->tensor[i].data, &lacks);
        }
    }
    if (!status && lacks)
        return fail(HCSMOE_EINVAL, "holds %s of '%s'", lacks, lacking);
    return status;
}

/* Is the file about this run's model and text? */
static int key_check(const struct statistics *s, const struct config *c, const struct prepared *p)
{
    char key[65];
    json_error_t error;
    json_t *meta =
        s->file.metadata ? json_take(s->file.metadata, strlen(s->file.metadata), 0, &error) : NULL;
    const char *has = json_string_value(json_object_get(meta, "key"));
    int status = 0;

    statistics_key(c, p, key);
    if (!has)
        status = fail(HCSMOE_EINVAL, "not a statistics file of hcsmoe");
    else if (strcmp(has, key))
        status = fail(HCSMOE_EINVAL, "made with another model, other text or another usage_top_k");
    json_decref(meta);
    return status;
}

/* Whether every touched layer finds all it needs. */
static int holds_check(const struct statistics *s, const struct config *c, const struct prepared *p)
{
    char name[SAFETENSORS_NAME_MAX + 1];
    int status = 0;

    for (int l = 0; !status && l < p->m->desc.n_layers; l++) {
        struct layer_stats stats = {0};
        if (!layer_touched(c, p->m, l))
            continue;
        status = layer_stats_open(&stats, p->m, l, p->batch.n_tokens, p->needs);
        if (!status)
            status = layer_take(s, c, &stats, &p->v.states[l], true, name);
        layer_stats_release(&stats);
    }
    return status;
}

int statistics_find(struct statistics **out, const struct config *c, const struct prepared *p)
{
    const uint64_t kept = HCSMOE_STAT_WEIGHTS | HCSMOE_STAT_ROUTER_WEIGHT | HCSMOE_STAT_LAYER_INPUT;
    char *usual = !c->statistics && c->output_path
                      ? mem_printf("%s/hcsmoe/statistics.safetensors", c->output_path)
                      : NULL;
    const char *path = c->statistics ? c->statistics : usual;
    struct statistics *s = NULL;
    int status = 0;

    *out = NULL;
    if (!path || (!c->statistics && !path_exists(path)) || !(p->needs & ~kept)) {
        mem_free(usual);
        return 0;
    }
    s = mem_new(1, sizeof *s);
    status = s ? st_open(&s->file, path) : HCSMOE_ENOMEM;
    if (!status)
        status = key_check(s, c, p);
    if (!status) {
        status = holds_check(s, c, p);
        if (status == HCSMOE_EINVAL) { /* of the right run, but that one needed less */
            log_line(LOG_INFO, "%s: %s: calibrating anew", path, fail_message());
            statistics_close(s);
            s = NULL;
            status = 0;
        }
    } else if (!c->statistics && status != HCSMOE_ENOMEM) {
        log_line(LOG_INFO, "%s is not used: %s", path, fail_message());
        statistics_close(s);
        s = NULL;
        status = 0;
    } else {
        fail_in(status, "%s: %s", config_where(c, "calibration", "statistics"), path);
    }
    if (status) {
        statistics_close(s);
        s = NULL;
    }
    mem_free(usual);
    *out = s;
    return status;
}

int statistics_load(const struct statistics *s, const struct config *c, struct layer_stats *stats,
                    struct layer_states *states)
{
    char name[SAFETENSORS_NAME_MAX + 1];
    int status = layer_take(s, c, stats, states, false, name);
    return status ? fail_in(status, "%s", s->file.path) : 0;
}

const char *statistics_path(const struct statistics *s)
{
    return s->file.path;
}

void statistics_close(struct statistics *s)
{
    if (!s)
        return;
    st_close(&s->file);
    mem_free(s);
}
