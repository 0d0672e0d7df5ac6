/*
 * config.c - the INI's core keys, the choice of components, and the same run printed back.
 * SPDX-License-Identifier: MIT
 */
#include "run/config_keys.h"

#include <hcsmoe/similarity.h>

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

static int required(const struct config *c, const char *section, const char *key, const char *why)
{
    return fail(HCSMOE_EINVAL, "%s: [%s] %s is not set: %s", c->ini.path ? c->ini.path : "(no INI)",
                section, key, why);
}

/* Relative paths start at the INI's folder, those of -s at the current one; the result is absolute.
 */
int config_path(struct config *c, const char *section, const char *key, const char **out)
{
    struct ini_value s;
    const struct ini_value *v = config_value(c, section, key, &s);
    char *absolute = NULL, *here = NULL;
    int status = 0;

    *out = NULL;
    if (!v)
        return 0;
    const char *base = v->overridden || !c->ini.folder ? "." : c->ini.folder;
    char *joined = strcmp(base, ".") ? path_join(base, v->value) : mem_strdup(v->value);
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

static int int_value(struct config *c, const char *section, const char *key, int64_t lo, int64_t hi,
                     int64_t *out)
{
    struct ini_value s;
    const struct ini_value *v = config_value(c, section, key, &s);
    return v ? option_int(&c->ini, v, lo, hi, out) : 0;
}

static int bool_value(struct config *c, const char *section, const char *key, bool *out)
{
    struct ini_value s;
    const struct ini_value *v = config_value(c, section, key, &s);
    return v ? option_bool(&c->ini, v, out) : 0;
}

static int choice_value(struct config *c, const char *section, const char *key,
                        const char *const *names, size_t n, int *out)
{
    struct ini_value s;
    const struct ini_value *v = config_value(c, section, key, &s);
    return v ? option_choice(&c->ini, v, names, n, out) : 0;
}

/* A component by the value of the key that chooses it; messages start where that value stands. */
static int component_choose(struct config *c, uint32_t kind, const char *section,
                            const struct ini_value *v, const char *name, struct instance *out)
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
        status = required(c, "model", "model_name", "the folder of the checkpoint");
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
    int status = config_path(c, "calibration", "data", &c->data);
    if (!status)
        status = int_value(c, "calibration", "n_sentences", 1, 1 << 20, &c->n_sentences);
    if (!status)
        status = int_value(c, "calibration", "block_size", 2, 1 << 20, &c->block_size);
    if (!status)
        status = int_value(c, "calibration", "seed", 0, INT64_MAX, &c->seed);
    if (!status)
        status = int_value(c, "calibration", "train_batch_size", 1, 1 << 20, &c->train_batch_size);
    if (!status)
        status = int_value(c, "calibration", "usage_top_k", 1, 1 << 16, &c->usage_top_k);
    return status;
}

static int bases_read(struct config *c)
{
    struct ini_value s;
    const struct ini_value *v = config_value(c, "group", "similarity_base", &s);
    char *text = mem_strdup(v->value), *at = text;
    int status = text ? 0 : HCSMOE_ENOMEM;

    while (!status && at) {
        char *plus = strchr(at, '+');
        if (plus)
            *plus = '\0';
        if (c->n_bases == BASES_MAX)
            status = fail(HCSMOE_EINVAL, "%s = %s: at most %d bases", ini_where(&c->ini, v),
                          v->value, BASES_MAX);
        for (int i = 0; !status && i < c->n_bases; i++)
            if (!strcmp(c->bases[i].component->c.name, at))
                status = fail(HCSMOE_EINVAL, "%s = %s: '%s' is given twice", ini_where(&c->ini, v),
                              v->value, at);
        if (!status)
            status =
                component_choose(c, HCSMOE_KIND_SIMILARITY, "group", v, at, &c->bases[c->n_bases]);
        if (!status)
            c->n_bases++;
        at = plus ? plus + 1 : NULL;
    }
    mem_free(text);
    return status;
}

/* The values of `dominant` are the clusterings that say so of themselves. */
static int dominant_check(const struct config *c, const struct ini_value *v)
{
    const char *names[64] = {"no"};
    const struct component *const *list;
    struct str have = {0};
    size_t n, n_names = 1;
    bool known = false;
    int status = registry_list(c->registry, HCSMOE_KIND_CLUSTER, &list, &n);

    for (size_t i = 0; !status && i < n && n_names < sizeof names / sizeof *names; i++)
        if (list[i]->c.caps & HCSMOE_CAP_DOMINANT)
            names[n_names++] = list[i]->c.name;
    for (size_t i = 0; i < n_names; i++) {
        known = known || !strcmp(names[i], v->value);
        str_addf(&have, "%s%s", i ? ", " : "", names[i]);
    }
    if (!status && !known)
        status = fail(HCSMOE_EINVAL, "%s: no '%s' (have: %s)%s", ini_where(&c->ini, v), v->value,
                      str_text(&have), did_you_mean(v->value, names, n_names));
    str_release(&have);
    return status;
}

/* [group]: `dominant` other than no, or `cluster`, names the clustering. */
static int group_read(struct config *c)
{
    struct ini_value s, s2;
    const struct ini_value *dominant = config_value(c, "group", "dominant", &s);
    const struct ini_value *v = config_value(c, "group", "cluster", &s2);
    const struct ini_value *chosen = strcmp(dominant->value, "no") ? dominant : v;
    int status = int_value(c, "group", "num_average_groups", 1, 1 << 16, &c->num_average_groups);

    if (!status && !c->num_average_groups)
        status = required(c, "group", "num_average_groups", "how many experts a layer shall keep");
    if (!status)
        status = int_value(c, "group", "start_layer", 0, 1 << 16, &c->start_layer);
    if (!status)
        status = bases_read(c);
    if (!status && chosen == dominant)
        status = dominant_check(c, dominant);
    if (!status)
        status =
            component_choose(c, HCSMOE_KIND_CLUSTER, "group", chosen, chosen->value, &c->cluster);
    if (status)
        return status;
    const uint64_t caps = c->cluster.component->c.caps;
    if (!(caps & HCSMOE_CAP_DOMINANT) != (chosen == v))
        return fail(HCSMOE_EINVAL, "%s: '%s' is a value of %s", ini_where(&c->ini, chosen),
                    chosen->value,
                    chosen == v ? "dominant, not of cluster" : "cluster, not of dominant");
    for (int i = 0; i < c->n_bases; i++) {
        const hcsmoe_similarity_ops *ops = instance_ops(&c->bases[i]);
        if ((caps & HCSMOE_CAP_DISTANCES_IN) && !ops->distances)
            return fail(HCSMOE_EINVAL,
                        "%s = %s needs distances, similarity_base = %s gives similarities only",
                        ini_where(&c->ini, chosen), chosen->value, c->bases[i].component->c.name);
        if ((caps & HCSMOE_CAP_SIMILARITIES_IN) && !ops->similarities)
            return fail(HCSMOE_EINVAL,
                        "%s = %s needs similarities, similarity_base = %s gives distances only",
                        ini_where(&c->ini, chosen), chosen->value, c->bases[i].component->c.name);
    }
    c->has_group = true;
    return 0;
}

static int merge_read(struct config *c)
{
    struct ini_value s;
    const struct ini_value *v = config_value(c, "merge", "merge", &s);

    c->merges = strcmp(v->value, "no") != 0;
    if (!c->merges)
        return c->evaluates ? 0
                            : fail(HCSMOE_EINVAL,
                                   "%s = no evaluates the model as it is: it needs an [eval] "
                                   "section with a task",
                                   ini_where(&c->ini, v));
    int status = component_choose(c, HCSMOE_KIND_MERGE, "merge", v, v->value, &c->merge);
    if (!status)
        status = group_read(c);
    if (!status && (c->merge.component->c.caps & HCSMOE_CAP_CORES_IN) &&
        !(c->cluster.component->c.caps & HCSMOE_CAP_CORES_OUT))
        status = fail(HCSMOE_EINVAL, "%s = %s needs a core in every group, '%s' gives none",
                      ini_where(&c->ini, v), v->value, c->cluster.component->c.name);
    return status;
}

static int output_read(struct config *c)
{
    static const char *const layouts[] = {"mapped", "expanded"};
    int layout = 0;
    int status = config_path(c, "output", "output_path", &c->output_path);

    if (!status)
        status = config_path(c, "output", "result_path", &c->result_path);
    if (!status)
        status = choice_value(c, "output", "layout", layouts, 2, &layout);
    if (!status)
        status = bool_value(c, "output", "overwrite", &c->overwrite);
    c->layout = (enum layout)layout;
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
    for (char *at = text, *next; at; at = next) {
        next = strchr(at, ',');
        if (next)
            *next++ = '\0';
        at += strspn(at, " \t");
        for (char *end = at + strlen(at); end > at && (end[-1] == ' ' || end[-1] == '\t');)
            *--end = '\0';
        if (!*at)
            return fail(HCSMOE_EINVAL, "%s = %s: an empty task name", ini_where(&c->ini, v),
                        v->value);
        c->eval.tasks[c->eval.n_tasks++] = at;
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
                   ? required(c, "eval", "task", "the names of tasks, comma-separated")
                   : 0;
    c->evaluates = true;
    int status = tasks_read(c, v);
    if (!status)
        status = config_path(c, "eval", "data", &e->data);
    if (!status)
        status = int_value(c, "eval", "num_fewshot", 0, 1000, &e->num_fewshot);
    if (!status)
        status = int_value(c, "eval", "eval_batch_size", 1, 1 << 20, &c->eval_batch_size);
    if (!status)
        status = bool_value(c, "eval", "before", &c->before);
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
        status = int_value(c, "eval", "text_tokens", 0, INT64_MAX, &e->text_tokens);
    if (!status)
        status = int_value(c, "eval", "max_length", 2, 1 << 30, &e->max_length);
    if (!status)
        status = choice_value(c, "eval", "add_bos", bos, 3, &choice);
    e->add_bos = choice == 0 ? -1 : choice - 1;
    return status;
}

static int run_read(struct config *c)
{
    static const char *const dtypes[] = {"f32"};
    struct ini_value s;
    int dtype = 0;
    int status = int_value(c, "run", "threads", 0, 4096, &c->threads);
    if (!status)
        status = int_value(c, "run", "quality_tokens", 0, 1 << 20, &c->quality_tokens);
    if (!status)
        status = int_value(c, "run", "seed", 0, INT64_MAX, &c->run_seed);
    if (!status)
        status = choice_value(c, "run", "dtype", dtypes, 1, &dtype);
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
        const char *keys[CORE_KEYS_MOST];
        const struct instance *of[BASES_MAX + 2];
        size_t n_keys = 0, n = 0;
        for (size_t i = 0; i < n_core_keys; i++)
            if (!strcmp(core_keys[i].section, config_sections[s]))
                keys[n_keys++] = core_keys[i].key;
        if (!strcmp(config_sections[s], "group") && c->has_group) {
            for (int i = 0; i < c->n_bases; i++)
                of[n++] = &c->bases[i];
            of[n++] = &c->cluster;
        } else if (!strcmp(config_sections[s], "merge") && c->merges) {
            of[n++] = &c->merge;
        } else if (!strcmp(config_sections[s], "run")) {
            of[n++] = &c->kernels;
        } else if (!strcmp(config_sections[s], "eval") || !strcmp(config_sections[s], "model")) {
            continue; /* checked where task and family plugins are chosen */
        }
        /* A section that this command does not read was not checked for its components' options. */
        const bool chosen =
            n > 0 || (strcmp(config_sections[s], "group") && strcmp(config_sections[s], "merge"));
        if (!pipeline && !chosen)
            continue;
        if (!chosen && !strcmp(config_sections[s], "group"))
            continue; /* merge = no: nothing is grouped, whatever stands there */
        int status = options_check_unused(&c->ini, config_sections[s], keys, n_keys, of, n);
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

    for (size_t i = 0; !status && i < n; i++)
        status = registry_load(c->registry, files[i]);
    v = config_value(c, "plugins", "load", &s);
    char *list = v ? mem_strdup(v->value) : NULL;
    for (char *at = list, *next; !status && at; at = next) {
        next = strchr(at, ',');
        if (next)
            *next++ = '\0';
        at += strspn(at, " \t");
        for (char *end = at + strlen(at); end > at && (end[-1] == ' ' || end[-1] == '\t');)
            *--end = '\0';
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
static int presence_check(struct config *c)
{
    int status = model_name_hub(c);
    if (status)
        return status;
    if (c->merges && !c->output_path)
        return required(c, "output", "output_path", "the folder of the merged checkpoint");
    if (c->merges && (config_needs(c) & HCSMOE_STAT_FORWARD) && !c->data)
        return required(c, "calibration", "data", "the chosen methods need calibration text");
    if (c->merges && c->data && (config_needs(c) & HCSMOE_STAT_FORWARD) && !path_exists(c->data))
        return fail(HCSMOE_EINVAL, "%s: no such file: %s",
                    ini_where(&c->ini, ini_find(&c->ini, "calibration", "data")), c->data);
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
    const bool pipeline = use == CONFIG_RUN || use == CONFIG_SHOW;
    if (!status)
        status = model_read(c, pipeline);
    if (!status && use != CONFIG_TOOL)
        status = eval_read(c);
    if (!status && pipeline)
        status = calibration_read(c);
    if (!status && pipeline)
        status = merge_read(c);
    if (!status)
        status = output_read(c);
    if (!status && use == CONFIG_EVAL && !c->evaluates)
        status = required(c, "eval", "task", "the names of tasks, comma-separated");
    if (!status)
        status = keys_check(c, pipeline);
    if (!status && use == CONFIG_RUN)
        status = presence_check(c);
    for (int i = 0; !status && i < c->n_bases; i++)
        status = instance_create(&c->bases[i]);
    if (!status && c->has_group)
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
    uint64_t needs = 0;
    for (int i = 0; i < c->n_bases; i++)
        needs |= instance_needs(&c->bases[i]);
    if (c->has_group)
        needs |= instance_needs(&c->cluster);
    if (c->merges)
        needs |= instance_needs(&c->merge);
    return needs;
}
