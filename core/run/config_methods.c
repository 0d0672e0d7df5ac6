/*
 * config_methods.c - which methods [group] and [merge] choose, whether they go together, and which
 * keys change nothing with them.
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/similarity.h>

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "run/config_keys.h"

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
                config_choose(c, HCSMOE_KIND_SIMILARITY, "group", v, at, &c->bases[c->n_bases]);
        if (!status)
            c->n_bases++;
        at = plus ? plus + 1 : NULL;
    }
    mem_free(text);
    return status;
}

/* The values of `dominant` are the clusterings that say so of themselves, those of `cluster` all
 * others. */
static int value_check(const struct config *c, const struct ini_value *v, bool dominant)
{
    const char *names[64] = {"no"};
    const struct component *const *list;
    struct str have = {0};
    size_t n, n_names = dominant;
    bool known = false;
    int status = registry_list(c->registry, HCSMOE_KIND_CLUSTER, &list, &n);

    for (size_t i = 0; !status && i < n && n_names < sizeof names / sizeof *names; i++)
        if (!(list[i]->c.caps & HCSMOE_CAP_DOMINANT) != dominant)
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

/* Do the bases give what the clustering reads? */
static int bases_check(const struct config *c, const struct ini_value *chosen)
{
    const uint64_t caps = c->cluster.component->c.caps;

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
    if ((caps & HCSMOE_CAP_SIMILARITIES_IN) && c->n_bases > 1)
        return fail(HCSMOE_EINVAL, "%s: %s = %s compares experts by one base, not by a sum of %d",
                    config_where(c, "group", "similarity_base"), chosen->key, chosen->value,
                    c->n_bases);
    return 0;
}

/* `dominant` other than no, or `cluster`, names the clustering. */
static int cluster_read(struct config *c)
{
    struct ini_value s, s2;
    const struct ini_value *dominant = config_value(c, "group", "dominant", &s);
    const struct ini_value *v = config_value(c, "group", "cluster", &s2);
    const struct ini_value *chosen = strcmp(dominant->value, "no") ? dominant : v;
    int status = chosen == dominant ? value_check(c, dominant, true) : 0;

    if (!status)
        status = config_choose(c, HCSMOE_KIND_CLUSTER, "group", chosen, chosen->value, &c->cluster);
    if (status && chosen == v) { /* the registry's list holds the values of both keys */
        char said[1024];
        snprintf(said, sizeof said, "%s", fail_message());
        return value_check(c, v, false) ? HCSMOE_EINVAL : fail(status, "%s", said);
    }
    if (status)
        return status;
    const uint64_t caps = c->cluster.component->c.caps;
    if (!(caps & HCSMOE_CAP_DOMINANT) != (chosen == v))
        return fail(HCSMOE_EINVAL, "%s: '%s' is a value of %s", ini_where(&c->ini, chosen),
                    chosen->value,
                    chosen == v ? "dominant, not of cluster" : "cluster, not of dominant");
    if (caps & (HCSMOE_CAP_DISTANCES_IN | HCSMOE_CAP_SIMILARITIES_IN))
        status = bases_read(c);
    return status ? status : bases_check(c, chosen);
}

/* A method that takes every expert alone is not to be thought to obey [group]. */
static int group_refuse(const struct config *c)
{
    for (size_t i = 0; i < c->ini.n; i++) {
        const struct ini_value *v = &c->ini.values[i];
        if (!strcmp(v->section, "group") && strcmp(v->key, "num_average_groups") &&
            strcmp(v->key, "start_layer"))
            return fail(HCSMOE_EINVAL,
                        "%s: merge = %s takes every expert alone and groups nothing (it takes: "
                        "num_average_groups, start_layer)",
                        ini_where(&c->ini, v), c->merge.component->c.name);
    }
    return 0;
}

static int group_read(struct config *c)
{
    int status = config_int(c, "group", "num_average_groups", 1, 1 << 16, &c->num_average_groups);

    if (!status && !c->num_average_groups)
        status = config_required(c, "group", "num_average_groups",
                                 "how many experts a layer shall keep");
    if (!status)
        status = config_int(c, "group", "start_layer", 0, 1 << 16, &c->start_layer);
    if (!status)
        status =
            c->merge.component->c.caps & HCSMOE_CAP_NO_GROUPS ? group_refuse(c) : cluster_read(c);
    c->has_group = !status;
    return status;
}

/* Do the clustering and the merge go together? */
static int pair_check(const struct config *c, const struct ini_value *v)
{
    const uint64_t merge = c->merge.component->c.caps,
                   cluster = c->cluster.component ? c->cluster.component->c.caps : 0;

    if ((merge & HCSMOE_CAP_CORES_IN) && !(cluster & HCSMOE_CAP_CORES_OUT))
        return fail(HCSMOE_EINVAL, "%s = %s needs a core in every group, '%s' gives none",
                    ini_where(&c->ini, v), v->value,
                    c->cluster.component ? c->cluster.component->c.name : "no clustering");
    if ((merge & HCSMOE_CAP_CORES_IN) && c->n_bases > 1)
        return fail(HCSMOE_EINVAL,
                    "%s = %s needs a core in every group: several bases together give none",
                    ini_where(&c->ini, v), v->value);
    if ((cluster & HCSMOE_CAP_LEAVES_OUT) && !(merge & HCSMOE_CAP_PRUNES))
        return fail(HCSMOE_EINVAL,
                    "%s = %s keeps every expert in a group, '%s' leaves experts out: choose merge "
                    "= prune or another clustering",
                    ini_where(&c->ini, v), v->value, c->cluster.component->c.name);
    return 0;
}

int config_methods(struct config *c)
{
    struct ini_value s;
    const struct ini_value *v = config_value(c, "merge", "merge", &s);

    c->partition = 1;
    c->merges = strcmp(v->value, "no") != 0;
    if (!c->merges)
        return c->evaluates ? 0
                            : fail(HCSMOE_EINVAL,
                                   "%s = no evaluates the model as it is: it needs an [eval] "
                                   "section with a task",
                                   ini_where(&c->ini, v));
    int status = config_choose(c, HCSMOE_KIND_MERGE, "merge", v, v->value, &c->merge);
    if (!status)
        status = group_read(c);
    if (!status)
        status = pair_check(c, v);
    if (!status)
        status = config_int(c, "merge", "partition", 1, 1 << 16, &c->partition);
    return status;
}

size_t config_section_instances(const struct config *c, const char *section,
                                const struct instance **of)
{
    size_t n = 0;
    if (!strcmp(section, "group")) {
        for (int i = 0; i < c->n_bases; i++)
            of[n++] = &c->bases[i];
        if (c->cluster.component)
            of[n++] = &c->cluster;
    } else if (!strcmp(section, "merge") && c->merges) {
        of[n++] = &c->merge;
    }
    return n;
}

bool config_key_counts(const struct config *c, const char *section, const char *key)
{
    const bool group = !strcmp(section, "group");
    const bool own =
        group && c->cluster.component && (c->cluster.component->c.caps & HCSMOE_CAP_DOMINANT);

    if (group && !strcmp(key, "similarity_base"))
        return c->n_bases > 0;
    if (group && !strcmp(key, "dominant"))
        return c->cluster.component != NULL;
    if (group && !strcmp(key, "cluster"))
        return c->cluster.component && !own;
    if (!strcmp(section, "merge") && !strcmp(key, "partition"))
        return c->merges && (instance_needs(&c->merge, 0) & HCSMOE_STAT_LAYER_INPUT);
    if (!strcmp(section, "output") && !strcmp(key, "row"))
        return c->layout == LAYOUT_COLLAPSED;
    if (!strcmp(section, "calibration") && !strcmp(key, "usage_top_k"))
        return config_needs(c) & HCSMOE_STAT_USAGE;
    if (!strcmp(section, "calibration") && (!strcmp(key, "data") || !strcmp(key, "mix")))
        return config_needs(c) & HCSMOE_STAT_FORWARD;
    return true;
}

/* An option of a chosen component that the component itself says changes nothing. */
static void option_effect(const struct config *c, const struct ini_value *v)
{
    const struct instance *of[BASES_MAX + 2];
    const size_t n = config_section_instances(c, v->section, of);
    const char *dot = strchr(v->key, '.');

    for (size_t i = 0; i < n; i++) {
        const hcsmoe_component *k = &of[i]->component->c;
        const bool similarity = k->kind == HCSMOE_KIND_SIMILARITY;
        const uint64_t caps = similarity ? c->cluster.component->c.caps : 0;
        if (dot && (strlen(k->name) != (size_t)(dot - v->key) ||
                    strncmp(k->name, v->key, (size_t)(dot - v->key))))
            continue;
        for (uint32_t o = 0; o < k->n_options; o++)
            if (!strcmp(of[i]->component->options[o].name, dot ? dot + 1 : v->key) &&
                k->has_effect && !k->has_effect(of[i]->opts, caps, dot ? dot + 1 : v->key))
                log_line(LOG_WARN, "%s = %s has no effect with %s as the other keys are",
                         ini_where(&c->ini, v), v->value, k->name);
    }
}

/* A key that no chosen component took but that another of the section's kinds would: a left-over of
 * another experiment, worth a warning. The text of who that is, "" when nobody. */
static int owner_find(const struct config *c, const struct ini_value *v, uint32_t kind,
                      const char **owner)
{
    const struct component *const *list;
    const char *dot = strchr(v->key, '.');
    size_t n;
    int status = registry_list(c->registry, kind, &list, &n);

    for (size_t i = 0; !status && !*owner && i < n; i++)
        for (uint32_t o = 0; o < list[i]->c.n_options; o++)
            if (!strcmp(list[i]->options[o].name, dot ? dot + 1 : v->key) &&
                (!dot || (strlen(list[i]->c.name) == (size_t)(dot - v->key) &&
                          !strncmp(list[i]->c.name, v->key, (size_t)(dot - v->key)))))
                *owner = list[i]->c.name;
    return status;
}

static int key_effect(const struct config *c, struct ini_value *v)
{
    const bool group = !strcmp(v->section, "group");
    const char *owner = NULL;
    int status = owner_find(c, v, group ? HCSMOE_KIND_CLUSTER : HCSMOE_KIND_MERGE, &owner);

    if (!status && !owner && group)
        status = owner_find(c, v, HCSMOE_KIND_SIMILARITY, &owner);
    if (status || !owner)
        return status; /* nobody's: the check of unused keys refuses it */
    v->used = true;
    log_line(LOG_WARN, "%s = %s has no effect: it is an option of %s, which is not chosen",
             ini_where(&c->ini, v), v->value, owner);
    return 0;
}

int config_effects(struct config *c)
{
    int status = 0;

    for (size_t i = 0; !status && i < c->ini.n; i++) {
        struct ini_value *v = &c->ini.values[i];
        const bool methods = !strcmp(v->section, "group") || !strcmp(v->section, "merge");
        bool core = false;
        for (size_t k = 0; k < n_core_keys; k++)
            core = core ||
                   (!strcmp(core_keys[k].section, v->section) && !strcmp(core_keys[k].key, v->key));
        if (core && v->value[0] && !config_key_counts(c, v->section, v->key)) {
            v->used = true;
            log_line(LOG_WARN, "%s = %s has no effect with the chosen methods",
                     ini_where(&c->ini, v), v->value);
        } else if (methods && v->used && !core) {
            option_effect(c, v);
        } else if (methods && !v->used && !core) {
            status = key_effect(c, v);
        }
    }
    if (!status && c->partition > 1 && !config_key_counts(c, "merge", "partition"))
        c->partition = 1;
    return status;
}
