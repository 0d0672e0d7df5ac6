/*
 * json_api.c - jansson behind the JSON reader that plugins get: a cast and the type checks.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>

#include <jansson.h>

#include "plugin/host.h"

/* 2^63: the first double that is no int64_t. */
#define INT64_END 9223372036854775808.0

static const json_t *value_of(const hcsmoe_json *v)
{
    return (const json_t *)(const void *)v;
}

static const hcsmoe_json *handle_of(const json_t *v)
{
    return (const hcsmoe_json *)(const void *)v;
}

static int32_t api_type(const hcsmoe_json *v)
{
    if (v == NULL)
        return HCSMOE_JSON_NULL;
    switch (json_typeof(value_of(v))) {
    case JSON_OBJECT:
        return HCSMOE_JSON_OBJECT;
    case JSON_ARRAY:
        return HCSMOE_JSON_ARRAY;
    case JSON_STRING:
        return HCSMOE_JSON_STRING;
    case JSON_INTEGER:
        return HCSMOE_JSON_INTEGER;
    case JSON_REAL:
        return HCSMOE_JSON_REAL;
    case JSON_TRUE:
    case JSON_FALSE:
        return HCSMOE_JSON_BOOL;
    case JSON_NULL:
        break;
    }
    return HCSMOE_JSON_NULL;
}

static const hcsmoe_json *api_get(const hcsmoe_json *object, const char *key)
{
    return key != NULL ? handle_of(json_object_get(value_of(object), key)) : NULL;
}

static int64_t api_size(const hcsmoe_json *v)
{
    const json_t *j = value_of(v);

    if (json_is_array(j))
        return (int64_t)json_array_size(j);
    if (json_is_object(j))
        return (int64_t)json_object_size(j);
    return json_is_string(j) ? (int64_t)json_string_length(j) : 0;
}

static const hcsmoe_json *api_at(const hcsmoe_json *array, int64_t i)
{
    return i >= 0 ? handle_of(json_array_get(value_of(array), (size_t)i)) : NULL;
}

static const char *api_string(const hcsmoe_json *v, const char *fallback)
{
    const char *s = json_string_value(value_of(v));

    return s != NULL ? s : fallback;
}

static int64_t api_integer(const hcsmoe_json *v, int64_t fallback)
{
    const json_t *j = value_of(v);
    double d;

    if (json_is_integer(j))
        return (int64_t)json_integer_value(j);
    if (!json_is_real(j))
        return fallback;
    d = json_real_value(j);
    if (!(d >= -INT64_END && d < INT64_END) || trunc(d) != d)
        return fallback;
    return (int64_t)d;
}

static double api_real(const hcsmoe_json *v, double fallback)
{
    const json_t *j = value_of(v);

    return json_is_number(j) ? json_number_value(j) : fallback;
}

static int32_t api_boolean(const hcsmoe_json *v, int32_t fallback)
{
    const json_t *j = value_of(v);

    return json_is_boolean(j) ? (json_is_true(j) ? 1 : 0) : fallback;
}

const hcsmoe_json_api host_json = {
    .struct_size = sizeof(hcsmoe_json_api),
    .type = api_type,
    .get = api_get,
    .size = api_size,
    .at = api_at,
    .string = api_string,
    .integer = api_integer,
    .real = api_real,
    .boolean = api_boolean,
};
