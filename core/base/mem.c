/*
 * mem.c - checked allocation, 64-byte aligned blocks and arenas.
 * SPDX-License-Identifier: MIT
 */
#include "base/mem.h"

#include <assert.h>
#include <malloc.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    BLOCK_ALIGN = 64,      /* a cache line, and the widest SIMD register */
    GROW_ITEMS_FIRST = 16, /* items of a list that starts growing */
    ARENA_ALIGN = 16,
    ARENA_BLOCK_FIRST = 4096, /* blocks double from here, so that small arenas stay small */
    ARENA_BLOCK_MAX = 1024 * 1024,
    MAPPED_BYTES =
        4 * 1024 *
        1024, /* scratch of a kernel call and up: its page faults are nothing beside its work */
    KEPT_BYTES =
        16 *
        MAPPED_BYTES /* free at the heap's end: smaller blocks, which come again with every call */
};

/* From here on pages of 2 MB save more than what they round up to: a layer of a large model has a million small ones,
 * and each costs a fault. */
static const size_t huge_bytes = (size_t)32 * 1024 * 1024, page_bytes = 4096;

struct arena_block {
    struct arena_block *next;
    size_t used, size;
    alignas(ARENA_ALIGN) char bytes[];
};

void mem_start(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES);
    (void)mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
}

int size_mul(size_t a, size_t b, size_t *out)
{
    return __builtin_mul_overflow(a, b, out) ? HCSMOE_EINVAL : 0;
}

int size_add(size_t a, size_t b, size_t *out)
{
    return __builtin_add_overflow(a, b, out) ? HCSMOE_EINVAL : 0;
}

void *mem_new_raw(size_t n, size_t size)
{
    size_t bytes, padded;

    if (size_mul(n, size, &bytes) < 0 || size_add(bytes, BLOCK_ALIGN - 1, &padded) < 0) {
        (void)fail(HCSMOE_ENOMEM, "out of memory: cannot have %zu times %zu bytes", n, size);
        return NULL;
    }
    /* C11 wants a multiple of the alignment; zero bytes still give a block. */
    padded -= padded % BLOCK_ALIGN;
    void *p = aligned_alloc(BLOCK_ALIGN, padded ? padded : BLOCK_ALIGN);
    if (!p) {
        (void)fail_memory(bytes);
    } else if (padded >= huge_bytes) {
        const size_t in = (page_bytes - (uintptr_t)p % page_bytes) % page_bytes;
        (void)madvise((char *)p + in, (padded - in) / page_bytes * page_bytes, MADV_HUGEPAGE);
    }
    return p;
}

void *mem_new(size_t n, size_t size)
{
    void *p = mem_new_raw(n, size);

    if (p) {
        memset(p, 0, n * size);
    }
    return p;
}

void mem_free(void *p)
{
    free(p);
}

int mem_grow(void *p, size_t n, size_t *capacity, size_t size)
{
    void *old;
    size_t more = GROW_ITEMS_FIRST;

    assert(n <= *capacity);
    assert(size > 0);
    if (n < *capacity) {
        return 0;
    }
    if (*capacity >= GROW_ITEMS_FIRST && size_mul(*capacity, 2, &more) < 0) {
        return fail(HCSMOE_ENOMEM, "out of memory: cannot have %zu items more", *capacity);
    }
    void *grown = mem_new_raw(more, size);
    if (!grown) {
        return HCSMOE_ENOMEM;
    }
    /* p points to a pointer of any type: copying its bytes breaks no aliasing rule. */
    memcpy(&old, p, sizeof old);
    if (n > 0) {
        memcpy(grown, old, n * size);
    }
    memcpy(p, &grown, sizeof grown);
    mem_free(old);
    *capacity = more;
    return 0;
}

char *mem_strndup(const char *s, size_t n)
{
    size_t bytes;

    if (size_add(n, 1, &bytes) < 0) {
        (void)fail_memory(n);
        return NULL;
    }
    char *copy = malloc(bytes);
    if (!copy) {
        (void)fail_memory(bytes);
        return NULL;
    }
    if (n > 0) {
        memcpy(copy, s, n);
    }
    copy[n] = '\0';
    return copy;
}

char *mem_strdup(const char *s)
{
    return mem_strndup(s, strlen(s));
}

char *mem_printf(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) {
        (void)fail(HCSMOE_ENOMEM, "out of memory: a text is too long to be printed");
        return NULL;
    }
    size_t bytes = (size_t)n + 1;
    char *text = malloc(bytes);
    if (!text) {
        (void)fail_memory(bytes);
        return NULL;
    }
    va_start(ap, fmt);
    (void)vsnprintf(text, bytes, fmt, ap);
    va_end(ap);
    return text;
}

static struct arena_block *arena_block_new(size_t size)
{
    size_t bytes;

    if (size_add(size, sizeof(struct arena_block), &bytes) < 0) {
        (void)fail_memory(size);
        return NULL;
    }
    struct arena_block *b = mem_new(1, bytes);
    if (b) {
        b->size = size;
    }
    return b;
}

/* The block that takes `need` more bytes: the head, or a new one. */
static struct arena_block *arena_room(struct arena *a, size_t need)
{
    struct arena_block *head = a->head;

    if (head && need <= head->size - head->used) {
        return head;
    }
    size_t size = ARENA_BLOCK_FIRST;
    if (head) {
        size = head->size < ARENA_BLOCK_MAX / 2 ? head->size * 2 : ARENA_BLOCK_MAX;
    }
    struct arena_block *b = arena_block_new(need > size ? need : size);
    if (!b) {
        return NULL;
    }
    if (head && need > size) {
        /* Made to measure: it goes behind the head, which still has room for small pieces. */
        b->next = head->next;
        head->next = b;
    } else {
        b->next = head;
        a->head = b;
    }
    return b;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    size_t need;

    if (size_add(bytes, ARENA_ALIGN - 1, &need) < 0) {
        (void)fail_memory(bytes);
        return NULL;
    }
    need -= need % ARENA_ALIGN;
    if (need == 0) {
        need = ARENA_ALIGN;
    }
    struct arena_block *b = arena_room(a, need);
    if (!b) {
        return NULL;
    }
    char *p = b->bytes + b->used;
    b->used += need;
    return p;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
    size_t bytes;

    if (size_add(n, 1, &bytes) < 0) {
        (void)fail_memory(n);
        return NULL;
    }
    char *copy = arena_alloc(a, bytes);
    if (copy && n > 0) {
        memcpy(copy, s, n);
    }
    return copy;
}

char *arena_strdup(struct arena *a, const char *s)
{
    return arena_strndup(a, s, strlen(s));
}

void arena_release(struct arena *a)
{
    struct arena_block *b = a->head;

    while (b) {
        struct arena_block *next = b->next;
        mem_free(b);
        b = next;
    }
    a->head = NULL;
}
