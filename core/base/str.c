/*
 * str.c - a growing byte string.
 * SPDX-License-Identifier: MIT
 */
#include "base/str.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

enum { CAPACITY_FIRST = 64 };

/* Room for n bytes more and the NUL behind them. */
static bool str_reserve(struct str *s, size_t n)
{
    if (s->failed) {
        return false;
    }
    if (n >= SIZE_MAX / 2 - s->len) {
        s->failed = true;
        return false;
    }
    size_t need = s->len + n + 1;
    if (need <= s->capacity) {
        return true;
    }
    size_t capacity = s->capacity < CAPACITY_FIRST ? CAPACITY_FIRST : s->capacity;
    while (capacity < need) {
        capacity *= 2; /* need is below SIZE_MAX / 2, so this cannot wrap */
    }
    char *grown = realloc(s->text, capacity);
    if (!grown) {
        s->failed = true;
        return false;
    }
    s->text = grown;
    s->capacity = capacity;
    return true;
}

void str_add_bytes(struct str *s, const void *bytes, size_t n)
{
    if (!str_reserve(s, n)) {
        return;
    }
    if (n > 0) {
        memcpy(s->text + s->len, bytes, n);
    }
    s->len += n;
    s->text[s->len] = '\0';
}

void str_add(struct str *s, const char *text)
{
    str_add_bytes(s, text, strlen(text));
}

void str_addf(struct str *s, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) {
        s->failed = true;
        return;
    }
    if (!str_reserve(s, (size_t)n)) {
        return;
    }
    va_start(ap, fmt);
    (void)vsnprintf(s->text + s->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    s->len += (size_t)n;
}

void str_add_real(struct str *s, double x)
{
    enum {
        DIGITS_SURE = 15,
        DIGITS_ALL = 17
    }; /* that a double always keeps, and that always tell it */
    char text[32];

    for (int digits = DIGITS_SURE; digits <= DIGITS_ALL; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x) {
            break;
        }
    }
    str_add(s, text);
    if (!strpbrk(text, ".e")) {
        str_add(s, ".0");
    }
}

void str_clear(struct str *s)
{
    s->len = 0;
    if (s->text) {
        s->text[0] = '\0';
    }
}

const char *str_text(const struct str *s)
{
    return s->text ? s->text : "";
}

int str_check(const struct str *s)
{
    return s->failed ? fail_memory(s->len) : 0;
}

void str_release(struct str *s)
{
    free(s->text);
    *s = (struct str){0};
}

bool str_starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
    size_t n = strlen(s);
    size_t m = strlen(suffix);

    return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

uint64_t hash_seed(void)
{
    /* 16 random bytes that the kernel gives every program. */
    const void *random = (const void *)getauxval(AT_RANDOM);
    uint64_t seed = 0xcbf29ce484222325u;

    if (random) {
        memcpy(&seed, random, sizeof seed);
    }
    return seed;
}

uint64_t str_hash(const char *text, size_t n)
{
    uint64_t h = hash_seed();

    /* FNV-1a: short, and good enough for names. */
    for (size_t i = 0; i < n; i++) {
        h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    }
    h ^= h >> 32; /* tables use the low bits */
    h *= 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}
