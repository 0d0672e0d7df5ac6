/*
 * json.h - reading JSON values that the host hands over (config.json, one line of a task's
 * records).
 *
 * Values are borrowed: valid for the call in which they arrived.
 * SPDX-License-Identifier: MIT
 */
#ifndef HCSMOE_JSON_H
#define HCSMOE_JSON_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hcsmoe_json hcsmoe_json; /* one value; NULL stands for "not there" everywhere */

enum {
    HCSMOE_JSON_NULL = 0, /* also: not there */
    HCSMOE_JSON_BOOL = 1,
    HCSMOE_JSON_INTEGER = 2,
    HCSMOE_JSON_REAL = 3,
    HCSMOE_JSON_STRING = 4,
    HCSMOE_JSON_ARRAY = 5,
    HCSMOE_JSON_OBJECT = 6
};

/* [any] All take NULL and values of another type, and then give NULL, 0 or the fallback. */
typedef struct hcsmoe_json_api {
    uint32_t struct_size, reserved0;
    int32_t (*type)(const hcsmoe_json *v);
    const hcsmoe_json *(*get)(const hcsmoe_json *object, const char *key);
    int64_t (*size)(
        const hcsmoe_json *v); /* items of an array, members of an object, bytes of a string */
    const hcsmoe_json *(*at)(const hcsmoe_json *array, int64_t i);
    const char *(*string)(const hcsmoe_json *v, const char *fallback); /* UTF-8, NUL-terminated */
    int64_t (*integer)(const hcsmoe_json *v,
                       int64_t fallback); /* a real with an integral value counts */
    double (*real)(const hcsmoe_json *v, double fallback); /* integers count */
    int32_t (*boolean)(const hcsmoe_json *v, int32_t fallback);
} hcsmoe_json_api;

#ifdef __cplusplus
}
#endif
#endif
