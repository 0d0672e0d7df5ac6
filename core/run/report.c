/*
 * report.c - what a run saw and did, for programs and for people.
 * SPDX-License-Identifier: MIT
 */
#include "run/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/path.h"
#include "base/sha256.h"
#include "base/version.h"

enum { TOKENS_PER_NEURON = 2, MATRIX_DIGITS = 6 };

static const double near_tie =
    1e-3; /* a relative gap below it means that a little noise would have joined another pair */

static json_t *numbers(const double *x, int64_t n)
{
    json_t *a = json_array();
    for (int64_t i = 0; i < n; i++)
        json_array_append_new(a, json_real(x[i]));
    return a;
}

/* One printed line: a section, "key = value", or on an indented line more of the value before. */
static void config_line(char *line, json_t *root, json_t **section, const char **key)
{
    char *equals = strstr(line, " = ");
    if (line[0] == '[') {
        line[strlen(line) - 1] = '\0';
        *section = json_object();
        json_object_set_new(root, line + 1, *section);
    } else if (line[0] == ' ' && *section && *key) {
        const char *before = json_string_value(json_object_get(*section, *key));
        json_object_set_new(*section, *key, json_sprintf("%s%s", before, line + 4));
    } else if (equals && *section) {
        *equals = '\0';
        const char *dot = strrchr(line, '.'); /* "hierarchical.linkage" is the option `linkage` */
        *key = dot ? dot + 1 : line;
        json_object_set_new(*section, *key, json_string(equals + 3));
    }
}

/* {"section": {"key": "value"}} of the effective configuration. */
static json_t *config_object(const struct config *c)
{
    struct str text = {0};
    json_t *root = json_object(), *section = NULL;
    const char *key = NULL;

    if (!root || config_print(c, false, &text)) {
        str_release(&text);
        json_decref(root);
        return NULL;
    }
    for (char *line = text.text, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        config_line(line, root, &section, &key);
    }
    str_release(&text);
    return root;
}

int report_open(struct report *r, const struct config *c, const struct prepared *p)
{
    const struct model *m = p->m;
    int64_t experts = 0, top_k = 0;

    *r = (struct report){0};
    for (int l = m->desc.n_layers - 1; l >= 0; l--)
        if (m->layers[l].desc.is_moe) {
            experts = m->layers[l].desc.n_experts;
            top_k = m->layers[l].desc.top_k;
        }
    json_t *config = config_object(c);
    if (!config)
        return fail_memory(0);
    r->layers = json_array();
    r->root =
        json_pack("{s:i, s:s, s:o, s:{s:s, s:s, s:i, s:I, s:I, s:I, s:I}}", "format", 1, "version",
                  HCSMOE_VERSION, "config", config, "model", "name", path_base(m->folder), "family",
                  m->family.component->c.name, "layers", m->desc.n_layers, "experts",
                  (json_int_t)experts, "top_k", (json_int_t)top_k, "parameters",
                  (json_int_t)m->parameters, "bytes", (json_int_t)m->shards.bytes);
    if (!r->root || !r->layers)
        return fail_memory(0);
    struct str names = {0};
    config_text_names(c, &names);
    if (p->blocks.n_blocks)
        json_object_set_new(r->root, "calibration",
                            json_pack("{s:s, s:I, s:I, s:I, s:s}", "data", str_text(&names),
                                      "documents", (json_int_t)p->blocks.n_documents, "blocks",
                                      (json_int_t)p->blocks.n_blocks, "tokens",
                                      (json_int_t)p->batch.n_tokens, "sha256", p->blocks.sha256));
    str_release(&names);
    return 0;
}

static json_t *joins(const struct grouping *g, json_t *warnings)
{
    json_t *a = json_array();
    for (int64_t i = 0; i < g->n_joins; i++) {
        const hcsmoe_join *j = &g->joins[i];
        json_t *o = json_pack("{s:i, s:i, s:f}", "a", j->a, "b", j->b, "height", j->height);
        json_object_set_new(o, "gap", isfinite(j->gap) ? json_real(j->gap) : json_null());
        json_array_append_new(a, o);
        if (i < g->n_experts - g->n_groups && j->gap < near_tie)
            json_array_append_new(
                warnings,
                json_sprintf(
                    "near tie: joining %d and %d at %.6g was ahead of the next pair by %.2g", j->a,
                    j->b, j->height, j->gap));
    }
    return a;
}

/* The pairs i < j in order of rows, as SciPy's condensed form. Six digits: they are for looking
 * at, and 60 experts in 24 layers have 42,480 of them. */
static json_t *pairs(const double *matrix, int64_t e)
{
    json_t *a = json_array();
    for (int64_t i = 0; i < e; i++)
        for (int64_t j = i + 1; j < e; j++) {
            char text[32];
            (void)snprintf(text, sizeof text, "%.*g", MATRIX_DIGITS, matrix[i * e + j]);
            json_array_append_new(a, json_real(strtod(text, NULL)));
        }
    return a;
}

/* A refit from fewer tokens than this per neuron follows the text it saw too closely (beyond.md
 * section 9.3). */
static void tokens_warn(const struct merged *x, json_t *warnings)
{
    for (int64_t g = 0; x->tokens && g < x->layer.n_stored; g++)
        if (x->tokens[g] > 0 && x->tokens[g] < TOKENS_PER_NEURON * x->layer.ffn)
            json_array_append_new(
                warnings,
                json_sprintf("group %lld was refitted on %lld tokens, %.2g for each of %lld kept "
                             "neurons: at least %d are advised (more n_sentences)",
                             (long long)g, (long long)x->tokens[g],
                             (double)x->tokens[g] / (double)x->layer.ffn, (long long)x->layer.ffn,
                             TOKENS_PER_NEURON));
}

int report_layer(struct report *r, const struct layer_stats *s, const struct grouping *g,
                 const struct merged *x, const struct loss *loss, const json_t *said)
{
    json_t *o = json_pack("{s:i}", "layer", s->dims.layer), *warnings = json_array(),
           *groups = json_array();

    for (int64_t e = 0; e < x->layer.n_experts; e++)
        json_array_append_new(groups, json_integer(x->map[e]));
    json_object_set_new(o, "groups", groups);
    if (g->cores[0] >= 0) {
        json_t *cores = json_array();
        for (int64_t k = 0; k < g->n_groups; k++)
            json_array_append_new(cores, json_integer(g->cores[k]));
        json_object_set_new(o, "dominant", cores);
    }
    if (s->usage) {
        json_t *counts = json_array();
        json_object_set_new(o, "usage", numbers(s->usage, s->dims.n_experts));
        for (int64_t e = 0; e < s->dims.n_experts; e++)
            json_array_append_new(counts, json_integer(s->usage_counts[e]));
        json_object_set_new(o, "usage_counts", counts);
    }
    if (g->n_joins)
        json_object_set_new(o, "merges", joins(g, warnings));
    if (r->matrices && g->matrix)
        json_object_set_new(o, g->similarities ? "similarities" : "distances",
                            pairs(g->matrix, g->n_experts));
    for (size_t i = 0; i < json_array_size(said); i++)
        json_array_append(warnings, json_array_get(said, i));
    if (x->routed) {
        json_t *routed = json_array();
        for (int64_t e = 0; e < s->dims.n_experts; e++)
            json_array_append_new(routed, json_integer(x->routed[e]));
        json_object_set_new(o, "routed_tokens", routed);
    }
    if (x->total > 0)
        tokens_warn(x, warnings);
    if (x->total > 0)
        json_object_set_new(o, "predicted_error", json_real(x->loss / x->total));
    if (loss->error >= 0)
        json_object_set_new(o, "output_error", json_real(loss->error));
    if (loss->overlap >= 0)
        json_object_set_new(o, "collapsed",
                            json_pack("{s:f, s:f}", "routing_overlap", loss->overlap,
                                      "output_error", loss->collapsed_error));
    json_object_set_new(o, "warnings", warnings);
    return json_array_append_new(r->layers, o) ? fail_memory(0) : 0;
}

int report_result(struct report *r, const struct prepared *p, const struct output *o)
{
    json_t *experts = json_array();
    for (int l = 0; l < p->m->desc.n_layers; l++) {
        char key[16];
        if (!p->m->layers[l].desc.is_moe)
            continue;
        snprintf(key, sizeof key, "%d", l);
        json_t *written = json_object_get(json_object_get(o->layers, key), "experts");
        json_array_append_new(experts, written ? json_copy(written)
                                               : json_integer(p->m->layers[l].n_stored));
    }
    int bad =
        json_object_set_new(r->root, "result",
                            json_pack("{s:I, s:I, s:o}", "parameters", (json_int_t)o->parameters,
                                      "bytes", (json_int_t)o->bytes, "experts_per_layer", experts));
    bad |= json_object_set(r->root, "layers", r->layers);
    return bad ? fail_memory(0) : 0;
}

int report_eval(struct report *r, const char *when, json_t *result)
{
    json_t *eval = json_object_get(r->root, "eval");
    if (!eval) {
        eval = json_pack("{s:n, s:n}", "before", "after");
        if (json_object_set_new(r->root, "eval", eval)) {
            json_decref(result);
            return fail_memory(0);
        }
    }
    return json_object_set_new(eval, when, result) ? fail_memory(0) : 0;
}

int report_plan(struct report *r, const struct plan *plan)
{
    json_t *o = json_pack("{s:i, s:f, s:f, s:f, s:I, s:I, s:I, s:I}", "passes", plan->passes,
                          "flops", plan->flops, "merge_flops", plan->merge_flops, "eval_flops",
                          plan->eval_flops, "read_bytes", (json_int_t)plan->read_bytes,
                          "write_bytes", (json_int_t)plan->write_bytes, "disk_bytes",
                          (json_int_t)plan->disk_bytes, "peak_bytes", (json_int_t)plan->peak_bytes);
    return json_object_set_new(r->root, "plan", o) ? fail_memory(0) : 0;
}

int report_io(struct report *r, int64_t n_read, int64_t n_written)
{
    json_t *o = json_pack("{s:I, s:I}", "read_bytes", (json_int_t)n_read, "written_bytes",
                          (json_int_t)n_written);
    return json_object_set_new(r->root, "io", o) ? fail_memory(0) : 0;
}

int report_again(struct report *r, const struct str *ini, const char *key)
{
    struct sha256 sum;
    char hex[65];

    sha256_init(&sum);
    sha256_add(&sum, str_text(ini), ini->len);
    sha256_hex(&sum, hex);
    json_t *o = json_pack("{s:s, s:s, s:s}", "run_ini", str_text(ini), "run_ini_sha256", hex,
                          "statistics_key", key);
    return json_object_set_new(r->root, "reproduce", o) ? fail_memory(0) : 0;
}

int report_end(struct report *r, const struct times *t, int64_t planned)
{
    int bad = json_object_set_new(r->root, "time_s",
                                  json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "total", t->total,
                                            "read", t->read, "calibrate", t->calibrate, "merge",
                                            t->merge, "write", t->write, "eval", t->eval));
    bad |=
        json_object_set_new(r->root, "memory",
                            json_pack("{s:I, s:I}", "peak_rss_bytes", (json_int_t)memory_peak_rss(),
                                      "planned_bytes", (json_int_t)planned));
    return bad ? fail_memory(0) : 0;
}

/* jansson writes 0.10000000000000001; 0.1 reads back as the same number. */
static void reals_shorten(const char *json, struct str *out)
{
    for (const char *p = json; *p;) {
        const char *from = p;
        if (*p == '"') {
            for (p++; *p != '"'; p++)
                p += *p == '\\';
            str_add_bytes(out, from, (size_t)(++p - from));
        } else if (*p == '-' || (*p >= '0' && *p <= '9')) {
            p += strspn(p, "-+.eE0123456789");
            if (strcspn(from, ".eE") < (size_t)(p - from))
                str_add_real(out, strtod(from, NULL));
            else
                str_add_bytes(out, from, (size_t)(p - from));
        } else {
            p += strcspn(p, "\"-0123456789");
            str_add_bytes(out, from, (size_t)(p - from));
        }
    }
}

int report_json(const struct report *r, struct str *out)
{
    char *text = json_dumps(r->root, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    if (!text)
        return fail_memory(0);
    reals_shorten(text, out);
    free(text); /* from json_dumps */
    return str_check(out);
}

static void layer_text(const json_t *o, struct str *out)
{
    const json_t *groups = json_object_get(o, "groups"), *usage = json_object_get(o, "usage"), *x;
    size_t i;
    int64_t n = 0;

    json_array_foreach((json_t *)(uintptr_t)groups, i, x) if (json_integer_value(x) >= n) n =
        json_integer_value(x) + 1;
    str_addf(out, "layer %3lld  ", (long long)json_integer_value(json_object_get(o, "layer")));
    for (int64_t g = 0; g < n; g++) {
        bool first = true;
        str_add(out, g ? " {" : "{");
        json_array_foreach((json_t *)(uintptr_t)groups, i, x) if (json_integer_value(x) == g)
        {
            str_addf(out, "%s%zu", first ? "" : " ", i);
            if (json_array_size(usage) == json_array_size(groups))
                str_addf(out, ":%.0f%%", 100 * json_real_value(json_array_get(usage, i)));
            first = false;
        }
        str_add(out, "}");
    }
    const json_t *predicted = json_object_get(o, "predicted_error"),
                 *error = json_object_get(o, "output_error"),
                 *collapsed = json_object_get(o, "collapsed");
    if (predicted)
        str_addf(out, "  predicted %.4f", json_real_value(predicted));
    if (error)
        str_addf(out, "  output error %.4f", json_real_value(error));
    if (collapsed)
        str_addf(out, "; collapsed: %.0f%% of the routing, output error %.4f",
                 100 * json_real_value(json_object_get(collapsed, "routing_overlap")),
                 json_real_value(json_object_get(collapsed, "output_error")));
    str_add(out, "\n");
    json_array_foreach(json_object_get(o, "warnings"), i, x)
        str_addf(out, "           warning: %s\n", json_string_value(x));
}

static int64_t member_int(const json_t *root, const char *object, const char *key)
{
    return json_integer_value(json_object_get(json_object_get(root, object), key));
}

int report_text(const struct report *r, struct str *out)
{
    const json_t *root = r->root, *x;
    size_t i;

    if (json_object_get(root, "result")) {
        str_addf(out, "%s: ",
                 json_string_value(json_object_get(json_object_get(root, "model"), "name")));
        bytes_print(out, member_int(root, "model", "bytes"));
        str_add(out, " -> ");
        bytes_print(out, member_int(root, "result", "bytes"));
        str_addf(out, ", %lld -> %lld parameters\nexperts and their share of use, by group:\n",
                 (long long)member_int(root, "model", "parameters"),
                 (long long)member_int(root, "result", "parameters"));
        json_array_foreach(json_object_get(root, "layers"), i, x) layer_text(x, out);
    }
    if (r->table_before.len)
        str_addf(out, "\nbefore\n%s", r->table_before.text);
    if (r->table_exact.len)
        str_addf(out, "\nafter, under the exact router\n%s", r->table_exact.text);
    if (r->table_after.len)
        str_addf(out, "%s%s",
                 r->table_exact.len    ? "\nafter, collapsed\n"
                 : r->table_before.len ? "\nafter\n"
                                       : "",
                 r->table_after.text);
    const json_t *t = json_object_get(root, "time_s");
    if (t) {
        str_addf(out,
                 "\ntime %.1f s: calibrate %.1f, merge %.1f, write %.1f, evaluate %.1f (reading, "
                 "in the background: %.1f)\nmemory ",
                 json_real_value(json_object_get(t, "total")),
                 json_real_value(json_object_get(t, "calibrate")),
                 json_real_value(json_object_get(t, "merge")),
                 json_real_value(json_object_get(t, "write")),
                 json_real_value(json_object_get(t, "eval")),
                 json_real_value(json_object_get(t, "read")));
        bytes_print(out, member_int(root, "memory", "peak_rss_bytes"));
        str_add(out, " at most, ");
        bytes_print(out, member_int(root, "memory", "planned_bytes"));
        str_add(out, " planned\n");
    }
    return str_check(out);
}

json_t *report_method(const struct config *c, const struct prepared *p)
{
    struct str bases = {0};
    for (int i = 0; i < c->n_bases; i++)
        str_addf(&bases, "%s%s", i ? "+" : "", c->bases[i].component->c.name);
    json_t *method = json_pack("{s:s}", "merge", c->merge.component->c.name);
    if (method && c->n_bases)
        json_object_set_new(method, "similarity_base", json_string(str_text(&bases)));
    if (method && c->cluster.component)
        json_object_set_new(
            method, c->cluster.component->c.caps & HCSMOE_CAP_DOMINANT ? "dominant" : "cluster",
            json_string(c->cluster.component->c.name));
    str_release(&bases);
    const struct instance *const of[] = {&c->merge, &c->cluster};
    for (int k = 0; method && k < (c->cluster.component ? 2 : 1); k++)
        for (uint32_t o = 0; o < of[k]->component->c.n_options; o++) {
            struct str value = {0};
            option_print(&of[k]->component->options[o], of[k]->opts, &value);
            json_object_set_new(method, of[k]->component->options[o].name,
                                json_string(str_text(&value)));
            str_release(&value);
        }
    json_t *h = json_pack("{s:i, s:s, s:s, s:o}", "format", 1, "version", HCSMOE_VERSION, "model",
                          path_base(p->m->folder), "method", method);
    if (h && p->blocks.n_blocks)
        json_object_set_new(h, "calibration",
                            json_pack("{s:I, s:s}", "tokens", (json_int_t)p->batch.n_tokens,
                                      "sha256", p->blocks.sha256));
    return h;
}

void report_release(struct report *r)
{
    json_decref(r->root);
    json_decref(r->layers);
    str_release(&r->table_before);
    str_release(&r->table_exact);
    str_release(&r->table_after);
    *r = (struct report){0};
}

int result_append(const struct config *c, const char *model, const char *text)
{
    struct str out = {0};
    char date[32];
    const time_t now = time(NULL);
    struct tm tm;

    if (!c->result_path)
        return 0;
    strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", localtime_r(&now, &tm));
    str_addf(&out, "== %s, %s, %s ==\n%s\n", date, model,
             c->ini.path ? path_base(c->ini.path) : "-", text);
    char *folder = path_folder(c->result_path);
    int status = folder ? str_check(&out) : HCSMOE_ENOMEM;
    if (!status)
        status = path_make_folder(folder);
    if (!status)
        status = path_append(c->result_path, out.text, out.len);
    mem_free(folder);
    str_release(&out);
    return status;
}
