/*
 * json.c - jansson with the two limits that it leaves to the caller.
 * SPDX-License-Identifier: MIT
 */
#include "base/json.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The byte that goes too deep; size: none does. What is no JSON may be counted wrongly: the parser finds it. */
static size_t depth_find(const char *text, size_t size)
{
    bool quoted = false;
    size_t depth = 0;

    for (size_t i = 0; i < size; i++) {
        const char c = text[i];
        if (quoted) {
            i += c == '\\';
            quoted = c != '"';
        } else if (c == '"') {
            quoted = true;
        } else if (c == '[' || c == '{') {
            if (++depth > JSON_DEPTH_MAX)
                return i;
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
    }
    return size;
}

/* Says it as jansson would, whose own limit of 2048 cannot be set when it runs. */
static void depth_refuse(const char *text, size_t at, json_error_t *error)
{
    int line = 1, column = 1;

    for (size_t i = 0; i < at; i++) {
        column = text[i] == '\n' ? 1 : column + (column < INT_MAX);
        line += text[i] == '\n' && line < INT_MAX;
    }
    memset(error, 0, sizeof *error);
    error->line = line;
    error->column = column;
    error->position = at < INT_MAX ? (int)at : INT_MAX;
    (void)snprintf(error->source, sizeof error->source, "<buffer>");
    (void)snprintf(error->text, sizeof error->text, "nested deeper than %d levels", JSON_DEPTH_MAX);
    error->text[sizeof error->text - 1] = (char)json_error_stack_overflow;
}

json_t *json_take(const char *text, size_t size, size_t flags, json_error_t *error)
{
    const size_t deep = depth_find(text, size);

    if (deep < size) {
        depth_refuse(text, deep, error);
        return NULL;
    }
    return json_loadb(text, size, flags | JSON_REJECT_DUPLICATES, error);
}
