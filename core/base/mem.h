/*
 * mem.h - the only callers of malloc: checked sizes, 64-byte aligned blocks, arenas.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_BASE_MEM_H
#define CORE_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Called once by main: blocks of a few MB and more go back to the system when they are freed, smaller ones not before
 * there are many. glibc else raises the size from which it does so with every free, and a heap of large blocks
 * fragments; and gives back what the next call needs again. */
void mem_start(void);

/* a * b into *out; HCSMOE_EINVAL without a message when it overflows. */
int size_mul(size_t a, size_t b, size_t *out) MUST_CHECK;
int size_add(size_t a, size_t b, size_t *out) MUST_CHECK;

/* n * size bytes, 64-byte aligned; NULL with the message set when it cannot be had or overflows.
 * n * size = 0 gives a block that may be freed. mem_new is zeroed, mem_new_raw is not. */
void *mem_new(size_t n, size_t size);
void *mem_new_raw(size_t n, size_t size);
void mem_free(void *p); /* NULL is fine */

/* Grows *p (n used of *capacity items of size bytes) so that one more fits. */
int mem_grow(void *p, size_t n, size_t *capacity, size_t size) MUST_CHECK;

char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n);
char *mem_printf(const char *fmt, ...) PRINTF_LIKE(1, 2); /* NULL with the message set on ENOMEM */

/* An arena: many small allocations with one lifetime. Zeroed struct is an empty arena. */
struct arena_block;
struct arena {
    struct arena_block *head;
};
void *arena_alloc(struct arena *a, size_t bytes); /* zeroed, 16-byte aligned; NULL: message set */
char *arena_strdup(struct arena *a, const char *s);
char *arena_strndup(struct arena *a, const char *s, size_t n);
void arena_release(struct arena *a);

#endif
