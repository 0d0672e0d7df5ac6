/*
 * config_print.c - a configuration as an INI that gives the same run.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "run/config_keys.h"

enum { LINE_COLUMNS = 160 }; /* inih takes 199 bytes */

static void instance_print(const struct config *c, const struct instance *i, const char *section,
                           bool sources, struct str *out)
{
    for (uint32_t o = 0; o < i->component->c.n_options; o++) {
        const hcsmoe_option *option = &i->component->options[o];
        char *prefixed = mem_printf("%s.%s", i->component->c.name, option->name);
        const struct ini_value *v = prefixed ? ini_find(&c->ini, section, prefixed) : NULL;
        if (!v)
            v = ini_find(&c->ini, section, option->name);
        /* One without effect would be warned of when the run is repeated. */
        const uint64_t caps = i->component->c.kind == HCSMOE_KIND_SIMILARITY && c->cluster.component
                                  ? c->cluster.component->c.caps
                                  : 0;
        if (i->component->c.has_effect &&
            !i->component->c.has_effect(i->opts, caps, option->name)) {
            mem_free(prefixed);
            continue;
        }
        if ((option->type == HCSMOE_OPTION_STR || option->type == HCSMOE_OPTION_PATH) && i->opts &&
            !*(const char *const *)(const void *)((const char *)i->opts + option->offset)) {
            mem_free(prefixed);
            continue;
        }
        str_addf(out, "%s.%s = ", i->component->c.name, option->name);
        option_print(option, i->opts, out);
        if (sources)
            str_addf(out, "    ; %s", v ? ini_where(&c->ini, v) : "default");
        str_add(out, "\n");
        mem_free(prefixed);
    }
}

/* "key = value"; a list that would pass inih's line limit goes on on indented lines, after its
 * commas. */
static void value_print(const char *key, const char *text, struct str *out)
{
    size_t column = strlen(key) + 3;

    str_addf(out, "%s = ", key);
    for (const char *at = text, *next; *at; at = next) {
        const char *comma = strchr(at, ',');
        next = comma ? comma + 1 : at + strlen(at);
        if (at != text && column + (size_t)(next - at) > LINE_COLUMNS) {
            str_add(out, "\n    ");
            column = 4;
        }
        str_add_bytes(out, at, (size_t)(next - at));
        column += (size_t)(next - at);
    }
}

int config_print(const struct config *c, bool sources, struct str *out)
{
    struct config *mine =
        (struct config *)(uintptr_t)c; /* value() marks keys as used: they are already */
    for (size_t s = 0; s < n_config_sections; s++) {
        const char *section = config_sections[s];
        struct str body = {0};
        if ((!strcmp(section, "eval") && !c->evaluates) ||
            ((!strcmp(section, "group") || !strcmp(section, "calibration")) && !c->has_group))
            continue;
        for (size_t i = 0; i < n_core_keys; i++) {
            struct ini_value standin;
            if (strcmp(core_keys[i].section, section))
                continue;
            const struct ini_value *v = config_value(mine, section, core_keys[i].key, &standin);
            /* Printing it would be a setting, and one without effect is warned of or refused. */
            if (!v || (c->has_group && !config_key_counts(c, section, core_keys[i].key)))
                continue;
            const bool texts = !strcmp(section, "calibration") && !strcmp(v->key, "data");
            const char *text = texts ? c->data : v->value;
            if (core_keys[i].path) {
                int status = config_path(mine, section, core_keys[i].key, &text);
                if (status) {
                    str_release(&body);
                    return status;
                }
            }
            value_print(core_keys[i].key, text, &body);
            if (sources)
                str_addf(&body, "    ; %s", v == &standin ? "default" : ini_where(&c->ini, v));
            str_add(&body, "\n");
        }
        if (!strcmp(section, "group")) {
            for (int i = 0; i < c->n_bases; i++)
                instance_print(c, &c->bases[i], section, sources, &body);
            if (c->cluster.component)
                instance_print(c, &c->cluster, section, sources, &body);
        }
        if (!strcmp(section, "merge") && c->merges)
            instance_print(c, &c->merge, section, sources, &body);
        if (body.len)
            str_addf(out, "[%s]\n%s\n", section, body.text);
        str_release(&body);
    }
    return str_check(out);
}
