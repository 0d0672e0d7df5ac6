/*
 * tokenizer_bpe.c - byte pair encoding of one word: lowest rank first, leftmost on ties.
 * SPDX-License-Identifier: MIT
 *
 * A word can be a whole document (a file without pre-tokenizer). Candidates wait in a heap, so n
 * characters cost O(n log n). Besides, a long word is cut where no merge can ever reach across:
 * between characters a and b when no merge has a last in its left and b first in its right half.
 * Symbols are made of neighbouring characters, so the parts are independent and the ids stay the
 * same; the heap then fits into the cache.
 */
#include "data/tokenizer_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    TABLE_MIN = 16,
    CUT_BYTES_MIN = 48, /* shorter words are not worth looking for cuts */
    BYTE_PIECE = 8      /* "<0xNN>" and a NUL */
};

#define NOBODY UINT32_MAX /* no neighbour */

static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static uint64_t hash_pair(uint32_t a, uint32_t b)
{
    return mix(((uint64_t)a << 32 | b) ^ hash_seed());
}

/* A power of two that n entries fill to half at most. */
static size_t table_size(size_t n)
{
    size_t size = TABLE_MIN;

    while (size / 2 < n) {
        size *= 2;
    }
    return size;
}

int bpe_index_pieces(struct tokenizer *t)
{
    struct bpe *b = &t->bpe;
    size_t size = table_size((size_t)t->n_ids);

    b->slots = mem_new(size, sizeof *b->slots);
    if (!b->slots) {
        return HCSMOE_ENOMEM;
    }
    b->slot_mask = size - 1;
    for (int32_t id = 0; id < t->n_ids; id++) {
        if (!t->texts[id]) {
            continue;
        }
        size_t i = str_hash(t->texts[id], t->lens[id]) & b->slot_mask;
        while (b->slots[i] != 0) {
            i = (i + 1) & b->slot_mask;
        }
        b->slots[i] = id + 1;
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        char name[BYTE_PIECE];
        (void)snprintf(name, sizeof name, "<0x%02X>", byte);
        b->byte_ids[byte] = bpe_find(t, name, strlen(name));
    }
    return 0;
}

int32_t bpe_find(const struct tokenizer *t, const char *text, size_t n)
{
    const struct bpe *b = &t->bpe;

    for (size_t i = str_hash(text, n) & b->slot_mask; b->slots[i] != 0;
         i = (i + 1) & b->slot_mask) {
        int32_t id = b->slots[i] - 1;
        if (t->lens[id] == n && memcmp(t->texts[id], text, n) == 0) {
            return id;
        }
    }
    return -1;
}

/* The slot of a pair, or the free one where it would stand. */
static size_t merge_slot(const struct bpe *b, int32_t left, int32_t right)
{
    size_t i = hash_pair((uint32_t)left, (uint32_t)right) & b->merge_mask;

    while (b->merge_slots[i].rank_plus_one != 0 &&
           (b->merge_slots[i].left != left || b->merge_slots[i].right != right)) {
        i = (i + 1) & b->merge_mask;
    }
    return i;
}

static size_t joint_slot(const struct bpe *b, uint32_t before, uint32_t after)
{
    uint64_t key = ((uint64_t)before << 32 | after) + 1; /* 0 is a free slot */
    size_t i = hash_pair(before, after) & b->joint_mask;

    while (b->joints[i] != 0 && b->joints[i] != key) {
        i = (i + 1) & b->joint_mask;
    }
    return i;
}

/* Whether every symbol that can merge is made of exactly the characters that it shows, and
 * neighbours in the text are neighbours as symbols: no character vanishes for want of a token. */
static bool can_cut(const struct tokenizer *t)
{
    const struct bpe *b = &t->bpe;
    bool keeps_all = b->byte_fallback;

    for (int byte = 0; byte < 256; byte++) {
        keeps_all = keeps_all && b->byte_ids[byte] >= 0;
    }
    if (b->prefix_len > 0 || b->suffix_len > 0 || (!keeps_all && b->unk_id < 0)) {
        return false;
    }
    for (size_t i = 0; i < b->n_merges; i++) {
        int32_t ids[2] = {b->merges[i].left, b->merges[i].right};
        for (int k = 0; k < 2; k++) {
            const char *text = t->texts[ids[k]];
            bool is_byte = b->byte_fallback && str_starts(text, "<0x");
            if (is_byte || ids[k] == b->unk_id || text[0] == '\0') {
                return false;
            }
        }
    }
    return true;
}

static uint32_t last_char(const char *text, size_t n)
{
    size_t at = n - 1;
    size_t len;

    while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80) {
        at--;
    }
    return utf8_decode(text + at, &len);
}

static int index_joints(struct tokenizer *t)
{
    struct bpe *b = &t->bpe;
    size_t size = table_size(b->n_merges);

    b->joints = mem_new(size, sizeof *b->joints);
    if (!b->joints) {
        return HCSMOE_ENOMEM;
    }
    b->joint_mask = size - 1;
    for (size_t i = 0; i < b->n_merges; i++) {
        const struct merge *m = &b->merges[i];
        size_t len;
        uint32_t before = last_char(t->texts[m->left], t->lens[m->left]);
        uint32_t after = utf8_decode(t->texts[m->right], &len);
        b->joints[joint_slot(b, before, after)] = ((uint64_t)before << 32 | after) + 1;
    }
    return 0;
}

int bpe_index_merges(struct tokenizer *t, size_t *duplicate)
{
    struct bpe *b = &t->bpe;
    size_t size = table_size(b->n_merges);

    *duplicate = SIZE_MAX;
    b->merge_slots = mem_new(size, sizeof *b->merge_slots);
    if (!b->merge_slots) {
        return HCSMOE_ENOMEM;
    }
    b->merge_mask = size - 1;
    for (size_t i = 0; i < b->n_merges; i++) {
        const struct merge *m = &b->merges[i];
        struct merge_slot *slot = &b->merge_slots[merge_slot(b, m->left, m->right)];
        if (slot->rank_plus_one != 0) {
            *duplicate = i;
            return HCSMOE_EINVAL;
        }
        *slot = (struct merge_slot){
            .left = m->left, .right = m->right, .rank_plus_one = (uint32_t)i + 1};
    }
    return can_cut(t) ? index_joints(t) : 0;
}

static int heap_push(struct scratch *x, uint64_t key)
{
    if (x->n_heap == x->heap_capacity &&
        mem_grow(&x->heap, x->n_heap, &x->heap_capacity, sizeof *x->heap) < 0) {
        return HCSMOE_ENOMEM;
    }
    size_t i = x->n_heap++;
    while (i > 0 && x->heap[(i - 1) / 2] > key) {
        x->heap[i] = x->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    x->heap[i] = key;
    return 0;
}

static uint64_t heap_pop(struct scratch *x)
{
    uint64_t top = x->heap[0];
    uint64_t key = x->heap[--x->n_heap];
    size_t n = x->n_heap;
    size_t i = 0;

    for (size_t child = 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && x->heap[child + 1] < x->heap[child]) {
            child++;
        }
        if (x->heap[child] >= key) {
            break;
        }
        x->heap[i] = x->heap[child];
        i = child;
    }
    if (n > 0) {
        x->heap[i] = key;
    }
    return top;
}

/* Remembers that the symbol at pos may merge with the one behind it. */
static int propose(const struct bpe *b, struct scratch *x, uint32_t pos)
{
    uint32_t next = x->symbols[pos].next;
    if (next == NOBODY) {
        return 0;
    }
    const struct merge_slot *slot =
        &b->merge_slots[merge_slot(b, x->symbols[pos].id, x->symbols[next].id)];
    if (slot->rank_plus_one == 0) {
        return 0;
    }
    return heap_push(x, (uint64_t)(slot->rank_plus_one - 1) << 32 | pos);
}

static int merge_symbols(const struct bpe *b, struct scratch *x)
{
    int rc = 0;

    x->n_heap = 0;
    for (size_t i = 0; i < x->n_symbols && rc >= 0; i++) {
        x->symbols[i].prev = i > 0 ? (uint32_t)(i - 1) : NOBODY;
        x->symbols[i].next = i + 1 < x->n_symbols ? (uint32_t)(i + 1) : NOBODY;
    }
    for (size_t i = 0; i + 1 < x->n_symbols && rc >= 0; i++) {
        rc = propose(b, x, (uint32_t)i);
    }
    while (x->n_heap > 0 && rc >= 0) {
        uint64_t top = heap_pop(x);
        uint32_t pos = (uint32_t)top;
        const struct merge *m = &b->merges[top >> 32];
        struct symbol *left = &x->symbols[pos];
        if (left->id != m->left || left->next == NOBODY || x->symbols[left->next].id != m->right) {
            continue; /* one of the two has merged since */
        }
        struct symbol *right = &x->symbols[left->next];
        left->id = m->result;
        right->id = -1;
        left->next = right->next;
        if (right->next != NOBODY) {
            x->symbols[right->next].prev = pos;
        }
        if (left->prev != NOBODY) {
            rc = propose(b, x, left->prev);
        }
        rc = rc < 0 ? rc : propose(b, x, pos);
    }
    return rc;
}

static int add_symbol(struct scratch *x, int32_t id)
{
    if (x->n_symbols == x->symbols_capacity &&
        mem_grow(&x->symbols, x->n_symbols, &x->symbols_capacity, sizeof *x->symbols) < 0) {
        return HCSMOE_ENOMEM;
    }
    if (x->n_symbols >= NOBODY) {
        return fail(HCSMOE_EINVAL, "a word of more than %" PRIu32 " characters is too long",
                    NOBODY - 1);
    }
    x->symbols[x->n_symbols++].id = id;
    return 0;
}

/* Merges what was collected and appends the ids. */
static int flush_symbols(const struct tokenizer *t, struct scratch *x, struct token_ids *out)
{
    int rc = merge_symbols(&t->bpe, x);

    for (size_t i = 0; i < x->n_symbols && rc >= 0; i++) {
        if (x->symbols[i].id >= 0) {
            rc = token_ids_add(out, x->symbols[i].id);
        }
    }
    x->n_symbols = 0;
    return rc;
}

/* 1: all bytes of a piece became <0xNN> tokens; 0: there are no such tokens. */
static int add_bytes(const struct tokenizer *t, struct scratch *x, const char *piece, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (t->bpe.byte_ids[(unsigned char)piece[i]] < 0) {
            return 0;
        }
    }
    for (size_t i = 0; i < n; i++) {
        int rc = add_symbol(x, t->bpe.byte_ids[(unsigned char)piece[i]]);
        if (rc < 0) {
            return rc;
        }
    }
    return 1;
}

/* One character as the vocabulary writes it: with the prefix unless it is first, the suffix if
 * it is last. */
static int add_char(const struct tokenizer *t, struct scratch *x, const char *text, size_t n,
                    bool first, bool last, bool *unknown)
{
    const struct bpe *b = &t->bpe;

    if ((!first && b->prefix_len > 0) || (last && b->suffix_len > 0)) {
        str_clear(&x->affixed);
        str_add_bytes(&x->affixed, b->prefix, first ? 0 : b->prefix_len);
        str_add_bytes(&x->affixed, text, n);
        str_add_bytes(&x->affixed, b->suffix, last ? b->suffix_len : 0);
        int rc = str_check(&x->affixed);
        if (rc < 0) {
            return rc;
        }
        text = x->affixed.text;
        n = x->affixed.len;
    }
    int32_t id = bpe_find(t, text, n);
    if (id >= 0) {
        int rc = *unknown ? add_symbol(x, b->unk_id) : 0;
        *unknown = false;
        return rc < 0 ? rc : add_symbol(x, id);
    }
    if (b->byte_fallback) {
        /* An unknown piece that waits stays behind these bytes, as in the library that defines
         * this. */
        int rc = add_bytes(t, x, text, n);
        if (rc != 0) {
            return rc < 0 ? rc : 0;
        }
    }
    if (b->unk_id >= 0) {
        int rc = *unknown && !b->fuse_unk ? add_symbol(x, b->unk_id) : 0;
        *unknown = true;
        return rc;
    }
    if (b->unk_missing) {
        return fail(HCSMOE_EINVAL,
                    "'%.*s' has no token, and the unk_token of tokenizer.json is no piece "
                    "of its vocabulary",
                    (int)n, text);
    }
    return 0; /* no token for it: it vanishes */
}

int bpe_encode(const struct tokenizer *t, struct scratch *x, const char *word, size_t n,
               struct token_ids *out)
{
    const struct bpe *b = &t->bpe;
    bool cut = b->joints && n >= CUT_BYTES_MIN;
    bool unknown = false; /* an unknown piece that the next one may be fused with */
    uint32_t before = 0;
    int rc = 0;

    assert(b->merge_slots);
    x->n_symbols = 0;
    if (b->ignore_merges) {
        int32_t id = bpe_find(t, word, n);
        if (id >= 0) {
            return token_ids_add(out, id);
        }
    }
    for (size_t i = 0; i < n && rc >= 0;) {
        size_t len;
        uint32_t c = utf8_decode(word + i, &len);
        if (cut && i > 0 && !unknown && b->joints[joint_slot(b, before, c)] == 0) {
            rc = flush_symbols(t, x, out);
        }
        rc = rc < 0 ? rc : add_char(t, x, word + i, len, i == 0, i + len == n, &unknown);
        before = c;
        i += len;
    }
    if (rc >= 0 && unknown) {
        rc = add_symbol(x, b->unk_id);
    }
    return rc < 0 ? rc : flush_symbols(t, x, out);
}
