/*
 * verify_config.c - does a model family read its config.json, and refuse what is wrong in it?
 * SPDX-License-Identifier: MIT
 */
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include <hcsmoe/model.h>

#include "base/mem.h"
#include "base/path.h"
#include "run/verify_model.h"

enum {
    CONFIG_BYTES_MAX = 16 << 20,
    LAYERS_MAX = 4096, /* the core takes no more */
    LAYERS_TRIED = 8,  /* of a config that was changed: the first and the last ones */
    SURE = 100
};

static const hcsmoe_model_ops *ops_of(const struct verify *v)
{
    return v->component->c.ops;
}

static const hcsmoe_json *handed(const json_t *config)
{
    return (const hcsmoe_json *)(const void *)config;
}

static int probe(struct verify *v, const json_t *config, int32_t *score)
{
    component_enter(v->component, v->host, -1);
    *score = ops_of(v)->probe(&v->host->abi, handed(config));
    const int status = host_leave(v->host, 0);
    if (*score < 0 || *score > SURE)
        return verify_broken(v, "probe says %d: must be 0..%d", *score, SURE);
    return status;
}

char *verify_model_folder(const struct verify *v)
{
    return v->request->model ? mem_strdup(v->request->model)
                             : verify_share("config/data/tiny-mixtral");
}

/* The config.json of the checkpoint, if it is of this family; else a skip, or a failure when the
 * checkpoint was asked for. New. */
int verify_model_config(struct verify *v, struct json_t **config)
{
    char *folder = verify_model_folder(v);
    char *path = folder ? path_join(folder, "config.json") : NULL;
    char *text = NULL;
    size_t size = 0;
    int32_t score = 0;
    int status = path ? 0 : HCSMOE_ENOMEM;

    *config = NULL;
    if (!status && !v->request->model && !path_exists(path))
        status = verify_skip("no checkpoint: give -m FOLDER");
    if (!status)
        status = path_read(path, CONFIG_BYTES_MAX, &text, &size);
    if (!status) {
        json_error_t e;
        *config = json_loadb(text, size, 0, &e);
        if (!json_is_object(*config))
            status = fail(HCSMOE_EINVAL, "%s: line %d: %s", path, e.line, e.text);
    }
    if (!status)
        status = probe(v, *config, &score);
    if (!status && !score)
        status = v->request->model
                     ? fail(HCSMOE_EINVAL, "%s is not of this family: probe says 0", folder)
                     : verify_skip("the bundled checkpoint is not of this family: give -m FOLDER");
    if (status) {
        json_decref(*config);
        *config = NULL;
    }
    mem_free(text);
    mem_free(path);
    mem_free(folder);
    return status;
}

static int desc_check(struct verify *v, const hcsmoe_model_desc *d)
{
    if (d->n_layers < 1 || d->n_layers > LAYERS_MAX || d->width < 1 || d->width > INT32_MAX ||
        d->vocabulary < 1 || d->vocabulary > INT32_MAX || d->max_position < 0)
        return verify_broken(v,
                             "describes %d layers of width %lld, vocabulary %lld, %lld "
                             "positions",
                             d->n_layers, (long long)d->width, (long long)d->vocabulary,
                             (long long)d->max_position);
    if (d->n_heads < 1 || d->n_kv_heads < 1 || d->head_dim < 1 || d->v_head_dim < 0 ||
        d->rotary_dim < 0 || d->n_heads > INT32_MAX / d->head_dim)
        return verify_broken(v, "describes %lld heads, %lld of keys, of %lld, %lld, %lld rotated",
                             (long long)d->n_heads, (long long)d->n_kv_heads,
                             (long long)d->head_dim, (long long)d->v_head_dim,
                             (long long)d->rotary_dim);
    if (!ops_of(v)->attention && d->n_heads % d->n_kv_heads)
        return verify_broken(v, "describes %lld heads of queries and %lld of keys, no multiple",
                             (long long)d->n_heads, (long long)d->n_kv_heads);
    if (!isfinite(d->rope_theta) || !isfinite(d->norm_eps) || d->norm_eps < 0 ||
        !isfinite(d->attention_scale) || d->attention_bytes < 0 || !(d->attention_flops >= 0))
        return verify_broken(v, "describes rope_theta %g, norm_eps %g, attention_scale %g",
                             d->rope_theta, d->norm_eps, d->attention_scale);
    return 0;
}

static int layer_check(struct verify *v, const hcsmoe_layer_desc *d, int layer)
{
    if (d->ffn < 1 || d->ffn > INT32_MAX || d->shared_ffn < 0 || d->shared_ffn > INT32_MAX ||
        d->window < 0 || !isfinite(d->weight_scale) ||
        (d->is_moe && (d->n_experts < 1 || d->top_k < 1 || d->top_k > d->n_experts)))
        return verify_broken(v,
                             "describes layer %d as %lld of %lld experts of width %lld, %lld "
                             "shared, window %lld",
                             layer, (long long)d->top_k, (long long)d->n_experts, (long long)d->ffn,
                             (long long)d->shared_ffn, (long long)d->window);
    return 0;
}

/* What it says of a config; *n_layers: 0 when it refused it. */
int verify_describe(struct verify *v, const struct instance *i, const struct json_t *config,
                    hcsmoe_model_desc *d)
{
    hcsmoe_model_args a = {sizeof a, -1, handed(config)};

    *d = (hcsmoe_model_desc){.struct_size = sizeof *d};
    instance_enter(i, -1);
    int status = verify_leave(v, ops_of(v)->describe(i->self, &v->host->abi, &a, d));
    if (!status)
        status = desc_check(v, d);
    for (int32_t l = 0; !status && l < d->n_layers; l++) {
        hcsmoe_layer_desc layer = {.struct_size = sizeof layer};
        if (l >= LAYERS_TRIED && l < d->n_layers - LAYERS_TRIED)
            continue;
        a.layer = l;
        instance_enter(i, l);
        status = verify_leave(v, ops_of(v)->describe_layer(i->self, &v->host->abi, &a, &layer));
        if (!status)
            status = layer_check(v, &layer, l);
    }
    return status;
}

/* On an instance of its own: a family keeps what it described. */
static int config_try(struct verify *v, const json_t *config, bool *refused)
{
    struct instance i = {0};
    hcsmoe_model_desc d;
    int32_t score;
    int status = probe(v, config, &score);

    if (!status)
        status = verify_open(v, &i);
    if (!status)
        status = verify_describe(v, &i, config, &d);
    *refused = status && !v->broken;
    instance_release(&i);
    return status;
}

int verify_model_probe(struct verify *v)
{
    static const char *const texts[] = {"{}",
                                        "[]",
                                        "\"mixtral\"",
                                        "7",
                                        "{\"model_type\": 7, \"architectures\": {}}",
                                        "{\"model_type\": null, \"architectures\": [null, 7, []]}",
                                        "{\"architectures\": []}"};
    int status = 0;

    for (size_t n = 0; !status && n <= sizeof texts / sizeof *texts; n++) {
        const char *text = n ? texts[n - 1] : "without a config.json";
        json_t *config = n ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
        int32_t score = 0;
        bool refused = false;
        status = probe(v, config, &score);
        if (!status && score)
            status = verify_broken(v, "probe says %d of a config.json that names no family", score);
        if (!status) {
            status = config_try(v, config, &refused);
            if (refused)
                status = 0;
            else if (!status)
                status = verify_broken(v, "describe takes it: must say what it lacks");
        }
        if (status)
            status = fail_in(status, n ? "config.json is %s" : "%s", text);
        json_decref(config);
    }
    return status;
}

/* A value that a key of config.json may wrongly have. New; NULL: no more. */
static json_t *value_of(int n)
{
    switch (n) {
    case 0:
        return json_null();
    case 1:
        return json_true();
    case 2:
        return json_integer(0);
    case 3:
        return json_integer(-1);
    case 4:
        return json_integer(INT64_MAX);
    case 5:
        return json_real(1e300);
    case 6:
        return json_real(0.5);
    case 7:
        return json_string("");
    case 8:
        return json_array();
    case 9:
        return json_object();
    case 10:
        return json_pack("[i, n, {}]", -1);
    default:
        return NULL;
    }
}

static int changed_try(struct verify *v, const json_t *config, const char *key, int n)
{
    json_t *changed = json_deep_copy(config), *other = n < 0 ? NULL : value_of(n);
    char *text = other ? json_dumps(other, JSON_ENCODE_ANY) : NULL;
    bool refused = false;
    int status = 0;

    if (!changed ||
        (n < 0 ? json_object_del(changed, key) : json_object_set_new(changed, key, other)))
        status = fail_memory(0);
    if (!status)
        status = config_try(v, changed, &refused);
    if (refused)
        status = 0;
    if (status && n < 0)
        status = fail_in(status, "without '%s'", key);
    else if (status)
        status = fail_in(status, "'%s': %s", key, text ? text : "?");
    free(text); /* from json_dumps */
    json_decref(changed);
    return status;
}

int verify_model_changed(struct verify *v)
{
    json_t *config = NULL, *value;
    const char *key;
    bool refused = false;
    int status = verify_model_config(v, &config);

    if (!status)
        status = config_try(v, config, &refused);
    if (!status)
        json_object_foreach(config, key, value) for (int n = -1; !status && n < 11; n++) status =
            changed_try(v, config, key, n);
    json_decref(config);
    return status;
}
