/*
 * config.c - the INI's core keys, the choice of components, and the same run printed back.
 * SPDX-License-Identifier: MIT
 */
#include "run/config_keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/path.h"
#include "model/model.h"

static const char *fallback_of(const char *section, const char *key)
{
    for (size_t i = 0; i < n_core_keys; i++)
        if (!strcmp(core_keys[i].section, section) && !strcmp(core_keys[i].key, key))
            return core_keys[i].fallback;
    return NULL;
}

static bool section_has(const struct config *c, const char *section)
{
    for (size_t i = 0; i < c->ini.n; i++)
        if (!strcmp(c->ini.values[i].section, section))
            return true;
    return false;
}

/* The value of a core key, or NULL when it is neither set nor has a default. An empty value counts
 * as unset. */
struct ini_value *config_value(struct config *c, const char *section, const char *key,
                               struct ini_value *standin)
{
    struct ini_value *v = ini_find(&c->ini, section, key);
    if (v)
        v->used = true;
    if (v && v->value[0])
        return v;
    const char *fallback = fallback_of(section, key);
    if (!fallback)
        return NULL;
    *standin = (struct ini_value){(char *)(uintptr_t)section,
                                  (char *)(uintptr_t)key,
                                  (char *)(uintptr_t)fallback,
                                  0,
                                  false,
                                  true};
    return standin;
}

int config_required(const struct config *c, const char *section, const char *key, const char *why)
{
    return fail(HCSMOE_EINVAL, "%s: [%s] %s is not set: %s", c->ini.path ? c->ini.path : "(no INI)",
                section, key, why);
}

/* Relative paths start at the INI's folder, those of -s at the current one; the result is absolute.
 */
int config_path_of(struct config *c, const struct ini_value *v, const char *text, const char **out)
{
    char *absolute = NULL, *here = NULL;
    int status = 0;

    const char *base = v->overridden || !c->ini.folder ? "." : c->ini.folder;
    char *joined = strcmp(base, ".") ? path_join(base, text) : mem_strdup(text);
    if (joined && joined[0] != '/') {
        here = getcwd(NULL, 0);
        absolute = here ? path_join(here, joined) : NULL;
        free(here); /* from getcwd */
    }
    const char *result = absolute ? absolute : joined;
    *out = result ? arena_strdup(&c->arena, result) : NULL;
    if (!*out)
        status = HCSMOE_ENOMEM;
    mem_free(absolute);
    mem_free(joined);
    return status;
}

int config_path(struct config *c, const char *section, const char *key, const char **out)
{
    struct ini_value s;
    const struct ini_value *v = config_value(c, section, key, &s);

    *out = NULL;
    return v ? config_path_of(c, v, v->value, out) : 0;
}

int config_int(struct config *c, const char *section, const char *key, int64_t lo, int64_t hi,
               int64_t *out)
{
    struct ini_value s;
    const struct ini_value *v = config_value(c, section, key, &s);
    return v ? option_int(&c->ini, v, lo, hi, out) : 0;
}

int config_bool(struct config *c, const char *section, const char *key, bool *out)
{
    struct ini_value s;
    const struct ini_value *v = config_value(c, section, key, &s);
    return v ? option_bool(&c->ini, v, out) : 0;
}

int config_choice(struct config *c, const char *section, const char *key, const char *const *names,
                  size_t n, int *out)
{
    struct ini_value s;
    const struct ini_value *v = config_value(c, section, key, &s);
    return v ? option_choice(&c->ini, v, names, n, out) : 0;
}

/* A component by the value of the key that chooses it; messages start where that value stands. */
int config_choose(struct config *c, uint32_t kind, const char *section, const struct ini_value *v,
                  const char *name, struct instance *out)
{
    const struct component *found;
    int status = registry_find(c->registry, kind, name, &found);
    if (status)
        return v->line || v->overridden ? fail_in(status, "%s", ini_where(&c->ini, v)) : status;
    return instance_init(out, found, &c->ini, section, c->host);
}

static int model_read(struct config *c, bool pipeline)
{
    struct ini_value s;
    const struct ini_value *v = config_value(c, "model", "family", &s);
    int status = config_path(c, "model", "model_name", &c->model_name);

    if (!status)
        status = config_path(c, "model", "model_path", &c->model_path);
    if (!status && pipeline && !c->model_name)
        status = config_required(c, "model", "model_name", "the folder of the checkpoint");
    c->family = arena_strdup(&c->arena, v->value);
    if (!status && !c->family)
        status = HCSMOE_ENOMEM;
    if (!status && strcmp(v->value, "auto")) {
        const struct component *found;
        status = registry_find(c->registry, HCSMOE_KIND_MODEL, v->value, &found);
        if (status)
            fail_in(status, "%s", ini_where(&c->ini, v));
    }
    return status;
}

/* A hub-like name is kept as it was written, so that the message about it can say so. */
static int model_name_hub(struct config *c)
{
    const struct ini_value *v = ini_find(&c->ini, "model", "model_name");
    if (!v || !v->value[0] || path_is_folder(c->model_name))
        return 0;
    if (path_exists(c->model_name))
        return fail(HCSMOE_EINVAL,
                    "%s = %s: not a folder; a checkpoint is the folder that holds config.json",
                    ini_where(&c->ini, v), v->value);
    return fail_in(checkpoint_missing(v->value), "%s", ini_where(&c->ini, v));
}

static int calibration_read(struct config *c)
{
    int status = config_int(c, "calibration", "n_sentences", 1, 1 << 20, &c->n_sentences);
    if (!status)
        status = config_texts(c);
    if (!status)
        status = config_int(c, "calibration", "block_size", 2, 1 << 20, &c->block_size);
    if (!status)
        status = config_int(c, "calibration", "seed", 0, INT64_MAX, &c->seed);
    if (!status)
        status = config_int(c, "calibration", "train_batch_size", 1, 1 << 20, &c->train_batch_size);
    if (!status)
        status = config_int(c, "calibration", "usage_top_k", 1, 1 << 16, &c->usage_top_k);
    if (!status)
        status = config_path(c, "calibration", "statistics", &c->statistics);
    return status;
}

static int output_read(struct config *c)
{
    static const char *const layouts[] = {"mapped", "expanded", "collapsed"};
    static const char *const rows[] = {"centroid", "weighted", "max-member"};
    int layout = 0, row = 0;
    int status = config_path(c, "output", "output_path", &c->output_path);

    if (!status)
        status = config_path(c, "output", "result_path", &c->result_path);
    if (!status)
        status = config_choice(c, "output", "layout", layouts, 3, &layout);
    if (!status)
        status = config_choice(c, "output", "row", rows, 3, &row);
    if (!status)
        status = config_bool(c, "output", "overwrite", &c->overwrite);
    c->layout = (enum layout)layout;
    c->row = (enum router_row)row;
    return status;
}

static int tasks_read(struct config *c, const struct ini_value *v)
{
    char *text = arena_strdup(&c->arena, v->value);
    size_t most = 1;
    for (const char *p = v->value; *p; p++)
        most += *p == ',';
    c->eval.tasks = arena_alloc(&c->arena, most * sizeof *c->eval.tasks);
    if (!text || !c->eval.tasks)
        return HCSMOE_ENOMEM;
    while (text) {
        char *name = config_item(&text);
        if (!*name)
            return fail(HCSMOE_EINVAL, "%s = %s: an empty task name", ini_where(&c->ini, v),
                        v->value);
        c->eval.tasks[c->eval.n_tasks++] = name;
    }
    return 0;
}

static int eval_read(struct config *c)
{
    static const char *const bos[] = {"auto", "no", "yes"};
    struct eval_settings *e = &c->eval;
    struct ini_value s;
    int choice = 0;
    const struct ini_value *v = config_value(c, "eval", "task", &s);

    e->ini = &c->ini;
    if (!v)
        return section_has(c, "eval")
                   ? config_required(c, "eval", "task", "the names of tasks, comma-separated")
                   : 0;
    c->evaluates = true;
    int status = tasks_read(c, v);
    if (!status)
        status = config_path(c, "eval", "data", &e->data);
    if (!status)
        status = config_int(c, "eval", "num_fewshot", 0, 1000, &e->num_fewshot);
    if (!status)
        status = config_int(c, "eval", "eval_batch_size", 1, 1 << 20, &c->eval_batch_size);
    if (!status)
        status = config_bool(c, "eval", "before", &c->before);
    if (!status && (v = config_value(c, "eval", "limit", &s)) != NULL) {
        status = option_real(&c->ini, v, 0, 1e15, &e->limit);
        if (!status && e->limit == 0)
            status = fail(HCSMOE_EINVAL, "%s = %s: must be above 0; unset: all documents",
                          ini_where(&c->ini, v), v->value);
    }
    if (!status)
        status = config_path(c, "eval", "samples", &e->samples);
    if (!status)
        status = config_path(c, "eval", "text", &e->text);
    if (!status)
        status = config_int(c, "eval", "text_tokens", 0, INT64_MAX, &e->text_tokens);
    if (!status)
        status = config_int(c, "eval", "max_length", 2, 1 << 30, &e->max_length);
    if (!status)
        status = config_choice(c, "eval", "add_bos", bos, 3, &choice);
    e->add_bos = choice == 0 ? -1 : choice - 1;
    return status;
}

static int run_read(struct config *c)
{
    struct ini_value s;
    int dtype = 0;
    int status = config_int(c, "run", "threads", 0, 4096, &c->threads);
    if (!status)
        status = config_int(c, "run", "quality_tokens", 0, 1 << 20, &c->quality_tokens);
    if (!status)
        status = config_int(c, "run", "seed", 0, INT64_MAX, &c->run_seed);
    if (!status)
        status = config_choice(c, "run", "dtype", run_dtypes, n_run_dtypes, &dtype);
    if (!status)
        status =
            option_bytes(&c->ini, config_value(c, "run", "memory_limit", &s), &c->memory_limit);
    c->eval.memory = c->memory_limit;
    return status;
}

static int sections_check(const struct config *c)
{
    for (size_t i = 0; i < c->ini.n; i++) {
        const struct ini_value *v = &c->ini.values[i];
        bool known = false;
        for (size_t s = 0; s < n_config_sections; s++)
            known = known || !strcmp(v->section, config_sections[s]);
        if (!known)
            return fail(HCSMOE_EINVAL,
                        "%s: no section [%s] (have: model, calibration, group, merge, output, "
                        "eval, run, plugins)%s",
                        ini_where(&c->ini, v), v->section,
                        did_you_mean(v->section, config_sections, n_config_sections));
    }
    return 0;
}

/* Every key that neither the core nor a chosen component took is an error. */
static int keys_check(const struct config *c, bool pipeline)
{
    for (size_t s = 0; s < n_config_sections; s++) {
        const char *section = config_sections[s];
        const char *keys[CORE_KEYS_MOST];
        const struct instance *of[BASES_MAX + 2];
        size_t n_keys = 0, n = 0;
        for (size_t i = 0; i < n_core_keys; i++)
            if (!strcmp(core_keys[i].section, section))
                keys[n_keys++] = core_keys[i].key;
        if (!strcmp(section, "group") || !strcmp(section, "merge")) {
            /* merge = no groups nothing, whatever stands there; other commands read neither. */
            if (!pipeline || (!strcmp(section, "group") && !c->has_group))
                continue;
            n = config_section_instances(c, section, of);
        } else if (!strcmp(section, "run")) {
            of[n++] = &c->kernels;
        } else if (!strcmp(section, "eval") || !strcmp(section, "model")) {
            continue; /* checked where task and family plugins are chosen */
        }
        int status = options_check_unused(&c->ini, section, keys, n_keys, of, n);
        if (status)
            return status;
    }
    return 0;
}

static int plugins_read(struct config *c, const char *const *files, size_t n)
{
    struct ini_value s;
    const struct ini_value *v = config_value(c, "plugins", "path", &s);
    int status = v ? registry_add_path(c->registry, v->value,
                                       v->overridden || !c->ini.folder ? "." : c->ini.folder)
                   : 0;

    if (status)
        fail_in(status, "%s", ini_where(&c->ini, v));
    for (size_t i = 0; !status && i < n; i++)
        status = registry_load(c->registry, files[i]);
    v = config_value(c, "plugins", "load", &s);
    char *list = v ? mem_strdup(v->value) : NULL, *rest = list;
    while (!status && rest) {
        const char *at = config_item(&rest);
        /* Without a slash it is a name to look for in the plugin folders, as with --plugin. */
        const char *folder = v->overridden || !c->ini.folder ? "." : c->ini.folder;
        char *path = strchr(at, '/') ? path_join(folder, at) : mem_strdup(at);
        status = path ? registry_load(c->registry, path) : HCSMOE_ENOMEM;
        if (status && path)
            fail_in(status, "%s", ini_where(&c->ini, v));
        mem_free(path);
    }
    mem_free(list);
    return status;
}

/* What can be seen to be missing without opening the checkpoint. */
static int presence_check(struct config *c, bool writes)
{
    int status = model_name_hub(c);
    if (status)
        return status;
    if (c->merges && writes && !c->output_path)
        return config_required(c, "output", "output_path", "the folder of the merged checkpoint");
    if (c->merges && (config_needs(c) & HCSMOE_STAT_FORWARD) && !c->data)
        return config_required(c, "calibration", "data",
                               "the chosen methods need calibration text");
    for (size_t i = 0; c->merges && (config_needs(c) & HCSMOE_STAT_FORWARD) && i < c->n_texts; i++)
        if (!path_exists(c->texts[i].path))
            return fail(HCSMOE_EINVAL, "%s: no such file: %s",
                        ini_where(&c->ini, ini_find(&c->ini, "calibration", "data")),
                        c->texts[i].path);
    return 0;
}

int config_open(struct config **out, const char *file, const char *const *assignments,
                size_t n_assignments, const char *const *plugin_files, size_t n_plugin_files,
                enum config_use use)
{
    struct config *c = mem_new(1, sizeof *c);
    int status = c ? 0 : HCSMOE_ENOMEM;

    *out = NULL;
    if (!status && file)
        status = ini_read(&c->ini, file);
    for (size_t i = 0; !status && i < n_assignments; i++)
        status = ini_set(&c->ini, assignments[i]);
    if (!status)
        status = sections_check(c);
    if (!status) {
        /* The option parsers live above the host: it opens with defaults and is set right after
         * [run] was read. */
        status = host_open(&c->host, 0, 0);
    }
    if (!status)
        status = registry_open(&c->registry, c->host);
    if (!status)
        status = run_read(c);
    if (!status) {
        host_set_threads(c->host, (int)c->threads);
        c->host->seed = (uint64_t)c->run_seed;
        status = plugins_read(c, plugin_files, n_plugin_files);
    }
    if (!status)
        status = config_device(c);
    const bool pipeline = use == CONFIG_RUN || use == CONFIG_SWEEP || use == CONFIG_SHOW;
    if (!status)
        status = model_read(c, pipeline);
    if (!status && use != CONFIG_TOOL)
        status = eval_read(c);
    if (!status && (pipeline || use == CONFIG_CONVERT))
        status = calibration_read(c);
    if (!status && pipeline)
        status = config_methods(c);
    if (!status)
        status = output_read(c);
    if (!status && use == CONFIG_EVAL && !c->evaluates)
        status = config_required(c, "eval", "task", "the names of tasks, comma-separated");
    if (!status && pipeline && c->has_group)
        status = config_effects(c);
    if (!status)
        status = keys_check(c, pipeline);
    if (!status && (use == CONFIG_RUN || use == CONFIG_SWEEP))
        status = presence_check(c, use == CONFIG_RUN);
    for (int i = 0; !status && i < c->n_bases; i++)
        status = instance_create(&c->bases[i]);
    if (!status && c->cluster.component)
        status = instance_create(&c->cluster);
    if (!status && c->merges)
        status = instance_create(&c->merge);
    if (status) {
        config_close(c);
        return status;
    }
    *out = c;
    return 0;
}

void config_close(struct config *c)
{
    if (!c)
        return;
    instance_release(&c->merge);
    instance_release(&c->cluster);
    for (int i = 0; i < c->n_bases; i++)
        instance_release(&c->bases[i]);
    instance_release(&c->kernels);
    registry_close(c->registry);
    host_close(c->host);
    ini_release(&c->ini);
    arena_release(&c->arena);
    mem_free(c);
}

const char *config_where(const struct config *c, const char *section, const char *key)
{
    static _Thread_local char text[128];
    const struct ini_value *v = ini_find(&c->ini, section, key);
    if (v)
        return ini_where(&c->ini, v);
    snprintf(text, sizeof text, "[%s] %s", section, key);
    return text;
}

uint64_t config_needs(const struct config *c)
{
    const uint64_t caps = c->cluster.component ? c->cluster.component->c.caps : 0;
    uint64_t needs = 0;
    for (int i = 0; i < c->n_bases; i++)
        needs |= instance_needs(&c->bases[i], caps);
    if (c->cluster.component)
        needs |= instance_needs(&c->cluster, 0);
    if (c->merges)
        needs |= instance_needs(&c->merge, 0);
    if (c->merges && c->layout == LAYOUT_COLLAPSED && c->row != ROW_CENTROID)
        needs |= HCSMOE_STAT_USAGE; /* these rows follow the use of experts */
    return needs;
}
