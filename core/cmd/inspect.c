/*
 * inspect.c - hcsmoe inspect: what a checkpoint is.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cmd/cmd.h"
#include "run/plan.h"

static void dtypes_print(const struct model *m, struct str *out)
{
    bool seen[16] = {false};
    for (size_t i = 0; i < m->shards.n_tensors; i++)
        seen[shards_at(&m->shards, i)->dtype & 15] = true;
    for (uint32_t d = 0, first = 1; d < 16; d++)
        if (seen[d]) {
            str_addf(out, "%s%s", first ? "" : ", ", st_dtype_name(d));
            first = 0;
        }
}

static void merged_print(const struct model *m, const json_t *h, struct str *out)
{
    const char *key;
    json_t *value;
    str_addf(out, "merged      by hcsmoe %s from %s, layout %s\nmethod     ",
             json_string_value(json_object_get(h, "version")),
             json_string_value(json_object_get(h, "model")),
             json_string_value(json_object_get(h, "layout")));
    json_object_foreach(json_object_get(h, "method"), key, value)
        str_addf(out, " %s = %s;", key, json_string_value(value) ? json_string_value(value) : "?");
    const json_t *calibration = json_object_get(h, "calibration");
    if (calibration)
        str_addf(out, "\ncalibrated  on %lld tokens, sha256 %.16s...",
                 (long long)json_integer_value(json_object_get(calibration, "tokens")),
                 json_string_value(json_object_get(calibration, "sha256"))
                     ? json_string_value(json_object_get(calibration, "sha256"))
                     : "?");
    str_add(out, "\n");
    for (int l = 0; l < m->desc.n_layers; l++) {
        char name[16];
        size_t i;
        snprintf(name, sizeof name, "%d", l);
        const json_t *layer = json_object_get(json_object_get(h, "layers"), name);
        if (!layer)
            continue;
        str_addf(out, "layer %3d   %lld experts: groups", l,
                 (long long)json_integer_value(json_object_get(layer, "experts")));
        json_array_foreach(json_object_get(layer, "groups"), i, value)
            str_addf(out, " %lld", (long long)json_integer_value(value));
        str_add(out, "\n");
    }
}

int cmd_inspect(const struct args *a)
{
    struct config *c = args_config(a, CONFIG_TOOL);
    struct model *m = NULL;
    struct str out = {0};

    if (!c)
        return EXIT_USAGE;
    int status = model_open(&m, a->words[0], NULL, c->family, &c->ini, c->registry, c->host);
    if (!status) {
        const struct layer_source *first = NULL;
        for (int l = 0; l < m->desc.n_layers && !first; l++)
            first = m->layers[l].desc.is_moe ? &m->layers[l] : NULL;
        str_addf(&out, "%s\nfamily      %s, %d layers (%lld MoE), width %lld, vocabulary %lld\n",
                 a->words[0], m->family.component->c.name, m->desc.n_layers,
                 (long long)m->n_moe_layers, (long long)m->desc.width,
                 (long long)m->desc.vocabulary);
        if (first)
            str_addf(&out, "experts     %lld per MoE layer, top-%lld, width %lld%s\n",
                     (long long)first->desc.n_experts, (long long)first->desc.top_k,
                     (long long)first->desc.ffn,
                     first->desc.shared_ffn ? ", and a shared one" : "");
        str_addf(&out, "weights     %lld parameters, ", (long long)m->parameters);
        bytes_print(&out, (int64_t)m->shards.bytes);
        str_addf(&out, " in %zu file%s, ", m->shards.n_files, m->shards.n_files == 1 ? "" : "s");
        dtypes_print(m, &out);
        str_add(&out, "\n");
        const json_t *h = json_object_get(m->config, "hcsmoe");
        if (h)
            merged_print(m, h, &out);
        fputs(str_text(&out), stdout);
        status = fflush(stdout) ? fail_errno("standard output", "cannot be written") : 0;
    }
    const int exit_status = status ? say_failure(status, m != NULL) : EXIT_DONE;
    str_release(&out);
    model_close(m);
    config_close(c);
    return exit_status;
}
