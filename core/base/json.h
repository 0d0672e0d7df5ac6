/*
 * json.h - JSON that comes from outside, whoever reads it: no key twice, no depth without end.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_BASE_JSON_H
#define CORE_BASE_JSON_H

#include <jansson.h>
#include <stddef.h>

/* Published files nest 8 deep at most; what walks a tree by recursion (plugins do) must not be led to the end of its
 * stack. */
enum { JSON_DEPTH_MAX = 64 };

/* json_loadb (new reference, or NULL with *error filled in), which also refuses a key that an object has twice: two
 * readers of such a file may take different ones. flags: further ones of jansson's. */
json_t *json_take(const char *text, size_t size, size_t flags, json_error_t *error);

#endif
