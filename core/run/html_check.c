/*
 * html_check.c - a report.json from outside: what a page takes from it is there and of the
 * documented types.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/path.h"
#include "run/html_parts.h"

enum {
    FORMAT = 1,
    EXPERTS_MAX = 4096, /* of a layer: its matrix is drawn as a picture of so many lines */
    FILE_MAX = 1024 * 1024 * 1024 /* 94 layers of 128 experts take 12 MB */
};

enum kind { INTEGER, NUMBER, STRING, OBJECT, ARRAY };
static const char *const kind_names[] = {"an integer", "a number", "a string", "an object",
                                         "an array"};

struct member {
    const char *path;
    enum kind kind;
    bool required;
};

static const struct member members[] = {
    {"format", INTEGER, true},
    {"version", STRING, true},
    {"config", OBJECT, true},
    {"config.group", OBJECT, false},
    {"config.merge", OBJECT, false},
    {"model", OBJECT, true},
    {"model.name", STRING, false},
    {"model.family", STRING, true},
    {"model.layers", INTEGER, false},
    {"model.experts", INTEGER, true},
    {"model.parameters", INTEGER, true},
    {"model.bytes", INTEGER, true},
    {"result", OBJECT, true},
    {"result.parameters", INTEGER, true},
    {"result.bytes", INTEGER, true},
    {"result.experts_per_layer", ARRAY, false},
    {"calibration", OBJECT, false},
    {"calibration.data", STRING, false},
    {"calibration.documents", INTEGER, false},
    {"calibration.tokens", INTEGER, false},
    {"calibration.sha256", STRING, false},
    {"layers", ARRAY, true},
    {"eval", OBJECT, false},
    {"eval.before", OBJECT, false},
    {"eval.exact", OBJECT, false},
    {"eval.after", OBJECT, false},
    {"time_s", OBJECT, true},
    {"time_s.total", NUMBER, true},
    {"time_s.read", NUMBER, false},
    {"time_s.calibrate", NUMBER, false},
    {"time_s.merge", NUMBER, false},
    {"time_s.write", NUMBER, false},
    {"time_s.eval", NUMBER, false},
    {"memory", OBJECT, true},
    {"memory.peak_rss_bytes", INTEGER, true},
    {"memory.planned_bytes", INTEGER, false},
    {"plan", OBJECT, false},
    {"plan.passes", INTEGER, false},
    {"plan.flops", NUMBER, false},
    {"plan.merge_flops", NUMBER, false},
    {"plan.eval_flops", NUMBER, false},
    {"plan.read_bytes", INTEGER, false},
    {"plan.write_bytes", INTEGER, false},
    {"plan.disk_bytes", INTEGER, false},
    {"io", OBJECT, false},
    {"io.read_bytes", INTEGER, false},
    {"io.written_bytes", INTEGER, false},
    {"reproduce", OBJECT, false},
    {"reproduce.run_ini", STRING, false},
    {"reproduce.run_ini_sha256", STRING, false},
    {"reproduce.statistics_key", STRING, false},
};

static const struct member layer_members[] = {
    {"layer", INTEGER, true},
    {"groups", ARRAY, true},
    {"dominant", ARRAY, false},
    {"usage", ARRAY, false},
    {"usage_counts", ARRAY, false},
    {"merges", ARRAY, false},
    {"distances", ARRAY, false},
    {"similarities", ARRAY, false},
    {"output_error", NUMBER, false},
    {"predicted_error", NUMBER, false},
    {"collapsed", OBJECT, false},
    {"collapsed.output_error", NUMBER, false},
    {"collapsed.routing_overlap", NUMBER, false},
    {"routed_tokens", ARRAY, false},
    {"warnings", ARRAY, false},
};

static bool is_kind(const json_t *x, enum kind kind)
{
    switch (kind) {
    case INTEGER:
        return json_is_integer(x);
    case NUMBER:
        return json_is_number(x);
    case STRING:
        return json_is_string(x);
    case OBJECT:
        return json_is_object(x);
    case ARRAY:
        return json_is_array(x);
    }
    return false;
}

static int members_check(json_t *o, const struct member *m, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        json_t *x = html_at(o, m[i].path);
        if (!x && m[i].required)
            return fail(HCSMOE_EINVAL, "'%s' is missing", m[i].path);
        if (x && !is_kind(x, m[i].kind))
            return fail(HCSMOE_EINVAL, "'%s' must be %s", m[i].path, kind_names[m[i].kind]);
        if (x && json_is_integer(x) && json_integer_value(x) < 0)
            return fail(HCSMOE_EINVAL, "'%s' = %lld: must be 0 or more", m[i].path,
                        (long long)json_integer_value(x));
    }
    return 0;
}

/* An array of so many elements (-1: any number) of a kind; integers lie in least..most. */
static int array_check(json_t *o, const char *key, int64_t n, enum kind kind, int64_t least,
                       int64_t most)
{
    json_t *a = html_at(o, key), *x;
    size_t i;

    if (a && n >= 0 && (int64_t)json_array_size(a) != n)
        return fail(HCSMOE_EINVAL, "'%s' has %zu elements, expected %lld", key, json_array_size(a),
                    (long long)n);
    json_array_foreach(a, i, x)
    {
        if (!is_kind(x, kind))
            return fail(HCSMOE_EINVAL, "'%s'[%zu] must be %s", key, i, kind_names[kind]);
        if (kind == INTEGER && (json_integer_value(x) < least || json_integer_value(x) > most))
            return fail(HCSMOE_EINVAL, "'%s'[%zu] = %lld is not in %lld..%lld", key, i,
                        (long long)json_integer_value(x), (long long)least, (long long)most);
    }
    return 0;
}

/* a and b of every join have to be the lowest members of two clusters that are still there. */
static int merges_check(json_t *merges, int64_t n)
{
    bool *gone = mem_new((size_t)n, sizeof *gone);
    json_t *join;
    size_t i;
    int status = gone ? 0 : HCSMOE_ENOMEM;

    json_array_foreach(merges, i, join)
    {
        static const struct member parts[] = {{"a", INTEGER, true},
                                              {"b", INTEGER, true},
                                              {"height", NUMBER, true},
                                              {"gap", NUMBER, false}};
        if (!status && !json_is_object(join))
            status = fail(HCSMOE_EINVAL, "must be an object");
        if (!status)
            status = members_check(join, parts, sizeof parts / sizeof *parts);
        const int64_t a = html_int(join, "a"), b = html_int(join, "b");
        if (!status && (a >= b || b >= n || gone[a] || gone[b]))
            status = fail(HCSMOE_EINVAL,
                          "%lld and %lld are not the lowest members of two clusters, lower first",
                          (long long)a, (long long)b);
        if (status) {
            status = fail_in(status, "'merges'[%zu]", i);
            break;
        }
        gone[b] = true;
    }
    mem_free(gone);
    return status;
}

static int layer_check(json_t *layer)
{
    if (!json_is_object(layer))
        return fail(HCSMOE_EINVAL, "must be an object");
    int status = members_check(layer, layer_members, sizeof layer_members / sizeof *layer_members);
    const int64_t n = (int64_t)json_array_size(html_at(layer, "groups"));

    if (!status && (n < 1 || n > EXPERTS_MAX))
        status = fail(HCSMOE_EINVAL, "'groups' has %lld elements, expected 1..%d", (long long)n,
                      EXPERTS_MAX);
    if (!status)
        status = array_check(layer, "groups", n, INTEGER, -1, n - 1);
    if (!status)
        status = array_check(layer, "dominant", -1, INTEGER, -1, n - 1);
    if (!status)
        status = array_check(layer, "usage", n, NUMBER, 0, 0);
    if (!status)
        status = array_check(layer, "usage_counts", n, INTEGER, 0, INT64_MAX);
    if (!status)
        status = array_check(layer, "routed_tokens", n, INTEGER, 0, INT64_MAX);
    if (!status)
        status = array_check(layer, "distances", n * (n - 1) / 2, NUMBER, 0, 0);
    if (!status)
        status = array_check(layer, "similarities", n * (n - 1) / 2, NUMBER, 0, 0);
    if (!status)
        status = array_check(layer, "warnings", -1, STRING, 0, 0);
    return status ? status : merges_check(html_at(layer, "merges"), n);
}

static int config_check(json_t *config)
{
    const char *section, *key;
    json_t *keys, *value;

    json_object_foreach(config, section, keys)
    {
        if (!json_is_object(keys))
            return fail(HCSMOE_EINVAL, "'config.%s' must be an object", section);
        json_object_foreach(keys, key, value) if (!json_is_string(value)) return fail(
            HCSMOE_EINVAL, "'config.%s.%s' must be a string", section, key);
    }
    return 0;
}

/* Metrics are numbers, or null where a perplexity overflowed; their errors may be "N/A". */
static int tasks_check(json_t *report, const char *path)
{
    const char *name;
    json_t *task;

    json_object_foreach(html_at(report, path), name, task)
    {
        if (!json_is_object(task))
            return fail(HCSMOE_EINVAL, "'%s.%s' must be an object", path, name);
        for (size_t i = 0; i < n_html_metrics; i++) {
            json_t *x = html_at(task, html_metrics[i].name);
            if (x && !json_is_number(x))
                return fail(HCSMOE_EINVAL, "'%s.%s.%s' must be a number", path, name,
                            html_metrics[i].name);
        }
    }
    return 0;
}

int html_check(json_t *report)
{
    json_t *layer;
    size_t i;
    int status;

    if (!json_is_object(report))
        return fail(HCSMOE_EINVAL, "must be an object");
    status = members_check(report, members, sizeof members / sizeof *members);
    if (!status && html_int(report, "format") != FORMAT)
        status = fail(HCSMOE_EINVAL, "'format' = %lld: this program reads %d",
                      (long long)html_int(report, "format"), FORMAT);
    if (!status)
        status = array_check(report, "result.experts_per_layer", -1, INTEGER, 0, INT64_MAX);
    if (!status)
        status = config_check(html_at(report, "config"));
    if (!status)
        status = tasks_check(report, "eval.before");
    if (!status)
        status = tasks_check(report, "eval.exact");
    if (!status)
        status = tasks_check(report, "eval.after");
    json_array_foreach(html_at(report, "layers"), i, layer)
    {
        if (!status) {
            status = layer_check(layer);
            if (status)
                status = fail_in(status, "'layers'[%zu]", i);
        }
    }
    return status;
}

int html_read(const char *folder, json_t **report)
{
    char *path = mem_printf("%s/hcsmoe/report.json", folder), *text = NULL;
    json_error_t error;
    size_t size;
    int status = path ? path_read(path, FILE_MAX, &text, &size) : HCSMOE_ENOMEM;

    *report = NULL;
    if (!status) {
        *report = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
        if (!*report)
            status = fail(HCSMOE_EINVAL, "%s:%d: %s", path, error.line, error.text);
    }
    if (!status) {
        status = html_check(*report);
        if (status)
            status = fail_in(status, "%s", path);
    }
    if (status) {
        json_decref(*report);
        *report = NULL;
    }
    mem_free(text);
    mem_free(path);
    return status;
}
