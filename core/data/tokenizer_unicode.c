/*
 * tokenizer_unicode.c - NFC, NFD, NFKC and NFKD by the tables of utf8proc.
 * SPDX-License-Identifier: MIT
 *
 * utf8proc orders combining marks by swapping neighbours, which takes minutes for a text of 100,000
 * marks in a row. So the marks are ordered here and utf8proc does the rest.
 */
#include "data/tokenizer_internal.h"

#include <stdlib.h>

#include <utf8proc.h>

enum {
    PARTS_MAX = 32,    /* characters that one can decompose into; Unicode has 18 at most */
    NFC_CHANGES = 0xcc /* first byte of U+0300, below which nothing changes under NFC */
};

struct chars {
    utf8proc_int32_t *items;
    size_t n, capacity;
};

static int decompose(const char *text, size_t n, int form, struct chars *out)
{
    for (size_t i = 0; i < n;) {
        utf8proc_int32_t parts[PARTS_MAX];
        int boundary = 0;
        size_t len;
        utf8proc_int32_t c = (utf8proc_int32_t)utf8_decode(text + i, &len);
        utf8proc_ssize_t n_parts =
            utf8proc_decompose_char(c, parts, PARTS_MAX, (utf8proc_option_t)form, &boundary);
        if (n_parts < 0 || n_parts > PARTS_MAX) {
            return fail(HCSMOE_EFAILED, "unicode normal form of U+%04X: %s", (unsigned)c,
                        n_parts < 0 ? utf8proc_errmsg(n_parts) : "too long");
        }
        for (utf8proc_ssize_t k = 0; k < n_parts; k++) {
            if (mem_grow(&out->items, out->n, &out->capacity, sizeof *out->items) < 0) {
                return HCSMOE_ENOMEM;
            }
            out->items[out->n++] = parts[k];
        }
        i += len;
    }
    return 0;
}

/* A mark as one number that sorts by class, then by place: class 8 bits, place 35, character 21. */
static int compare_keys(const void *pa, const void *pb)
{
    uint64_t a = *(const uint64_t *)pa;
    uint64_t b = *(const uint64_t *)pb;

    return a < b ? -1 : a > b;
}

static int order_run(utf8proc_int32_t *marks, size_t n)
{
    uint64_t *keys = mem_new_raw(n, sizeof *keys);

    if (!keys) {
        return HCSMOE_ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t class = (uint64_t)utf8proc_get_property(marks[i])->combining_class;
        keys[i] = class << 56 | (uint64_t)i << 21 | (uint64_t)marks[i];
    }
    qsort(keys, n, sizeof *keys, compare_keys);
    for (size_t i = 0; i < n; i++) {
        marks[i] = (utf8proc_int32_t)(keys[i] & 0x1fffff);
    }
    mem_free(keys);
    return 0;
}

/* Canonical ordering: every run of characters with a combining class, by class. */
static int order_marks(struct chars *chars)
{
    size_t start = 0; /* of the run */
    bool sorted = true;
    utf8proc_propval_t before = 0;
    int rc = 0;

    for (size_t i = 0; i <= chars->n && rc >= 0; i++) {
        utf8proc_propval_t class =
            i < chars->n ? utf8proc_get_property(chars->items[i])->combining_class : 0;
        if (class == 0) {
            rc = sorted ? 0 : order_run(chars->items + start, i - start);
            start = i + 1;
            sorted = true;
        } else if (class < before) {
            sorted = false;
        }
        before = class;
    }
    return rc;
}

int add_normal_form(const char *text, size_t n, int form, struct str *out)
{
    struct chars chars = {0};
    unsigned char changes =
        (form & UTF8PROC_COMPOSE) && !(form & UTF8PROC_COMPAT) ? NFC_CHANGES : 0x80;
    size_t plain = 0;

    while (plain < n && (unsigned char)text[plain] < changes) {
        plain++;
    }
    if (plain == n) {
        str_add_bytes(out, text, n);
        return 0;
    }
    int rc = decompose(text, n, form, &chars);
    rc = rc < 0 ? rc : order_marks(&chars);
    if (rc >= 0 && (form & UTF8PROC_COMPOSE)) {
        utf8proc_ssize_t left = utf8proc_normalize_utf32(chars.items, (utf8proc_ssize_t)chars.n,
                                                         (utf8proc_option_t)form);
        if (left < 0) {
            rc = fail(HCSMOE_EFAILED, "unicode normal form of a text of %zu bytes: %s", n,
                      utf8proc_errmsg(left));
        }
        chars.n = left < 0 ? 0 : (size_t)left;
    }
    for (size_t i = 0; i < chars.n && rc >= 0; i++) {
        char bytes[4];
        str_add_bytes(out, bytes, utf8_encode((uint32_t)chars.items[i], bytes));
    }
    mem_free(chars.items);
    return rc;
}
