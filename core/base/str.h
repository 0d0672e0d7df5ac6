/*
 * str.h - a growing byte string for text that is built piece by piece.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_BASE_STR_H
#define CORE_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Zeroed struct is an empty string. text is always NUL-terminated once something was added.
 * After a failed allocation `failed` stays true and later additions do nothing: check it once. */
struct str {
    char *text;
    size_t len, capacity;
    bool failed;
};

void str_add(struct str *s, const char *text);
void str_add_bytes(struct str *s, const void *bytes, size_t n);
void str_addf(struct str *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The shortest text that reads back as the same number, always a real in JSON: 0.1, 2.0, 1e-07.
 * x is finite. */
void str_add_real(struct str *s, double x);
void str_clear(struct str *s);                 /* len = 0, keeps the memory */
const char *str_text(const struct str *s);     /* "" when empty */
int str_check(const struct str *s) MUST_CHECK; /* HCSMOE_ENOMEM with message if failed */
void str_release(struct str *s);

bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);

/* For tables in memory only: another one in every process, so that no file can be made of names that all collide. */
uint64_t str_hash(const char *text, size_t n);
uint64_t hash_seed(void);

#endif
