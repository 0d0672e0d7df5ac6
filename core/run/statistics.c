/*
 * statistics.c - writes statistics.safetensors.
 * SPDX-License-Identifier: MIT
 */
#include "run/statistics.h"

#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "base/sha256.h"
#include "base/version.h"

/* One statistic of a layer as a tensor. */
struct part {
    const char *name;
    uint32_t dtype;
    const void *bytes; /* NULL: not collected */
    int64_t shape[2];
};

enum { PARTS = 6 };

static void parts_of(const struct layer_stats *s, const struct model *m, struct part part[PARTS])
{
    const int64_t e = s->dims.n_experts, rows = m->layers[s->dims.layer].desc.n_experts;
    const struct part all[PARTS] = {
        {"usage_counts", HCSMOE_DTYPE_I64, s->usage_counts, {e, 0}},
        {"usage", HCSMOE_DTYPE_F64, s->usage, {e, 0}},
        {"score_sum", HCSMOE_DTYPE_F64, s->score_sum, {rows, 0}},
        {"router_gram", HCSMOE_DTYPE_F64, s->router_gram, {e, e}},
        {"output_mean", HCSMOE_DTYPE_F64, s->output_mean, {e, s->dims.width}},
        {"weight_gram", HCSMOE_DTYPE_F64, s->weight_gram, {e, e}},
    };
    memcpy(part, all, sizeof all);
}

/* What the statistics depend on: config.json, the shards' sizes, the tokens, how usage is counted.
 */
static void key_of(const struct config *c, const struct prepared *p, char hex[65])
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

int statistics_write(const char *path, const struct config *c, const struct prepared *p,
                     struct layer_stats *const *layers, size_t n)
{
    struct st_writer w = {0};
    struct part part[PARTS];
    char name[SAFETENSORS_NAME_MAX + 1], key[65];
    uint64_t reserve = 1024;

    for (size_t i = 0; i < n; i++) {
        reserve += PARTS * st_header_bytes("layer.00000.usage_counts", 2);
        for (int b = 0; b < c->n_bases; b++)
            for (int k = 0; k < layers[i]->base[b].n; k++)
                reserve += st_header_bytes("layer.00000.", 4) + 2 * SAFETENSORS_NAME_MAX;
        for (int k = 0; k < layers[i]->cluster.n; k++)
            reserve += st_header_bytes("layer.00000.", 4) + 2 * SAFETENSORS_NAME_MAX;
    }
    int status = st_create(&w, path, reserve);
    for (size_t i = 0; !status && i < n; i++) {
        const struct layer_stats *s = layers[i];
        parts_of(s, p->m, part);
        for (int k = 0; !status && k < PARTS; k++) {
            snprintf(name, sizeof name, "layer.%d.%s", s->dims.layer, part[k].name);
            if (part[k].bytes)
                status = st_add(&w, name, part[k].dtype, part[k].shape[1] ? 2 : 1, part[k].shape,
                                part[k].bytes);
        }
        for (int b = 0; !status && b <= c->n_bases; b++) {
            const struct states *states = b < c->n_bases ? &s->base[b] : &s->cluster;
            const struct instance *of = b < c->n_bases ? &c->bases[b] : &c->cluster;
            for (int k = 0; !status && k < states->n; k++) {
                snprintf(name, sizeof name, "layer.%d.%s.%s", s->dims.layer, of->component->c.name,
                         states->desc[k].name);
                status = st_add(&w, name, states->desc[k].dtype, 4, states->tensor[k].shape,
                                states->tensor[k].data);
            }
        }
    }
    key_of(c, p, key);
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
