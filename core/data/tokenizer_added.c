/*
 * tokenizer_added.c - finding added tokens in a text: leftmost, then longest.
 * SPDX-License-Identifier: MIT
 *
 * The sorted list of tokens serves as the trie: all that start with the bytes read so far stand
 * together.
 */
#include "data/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

/* Puts tokens of one order behind all of a lower one; more than there can be ids. */
#define ORDER_STEP ((size_t)1 << 32)

int added_add(struct added_set *set, const struct added_token *token)
{
    int rc = mem_grow(&set->tokens, set->n, &set->capacity, sizeof *set->tokens);
    if (rc < 0) {
        return rc;
    }
    set->tokens[set->n] = *token;
    set->tokens[set->n].order = token->order * ORDER_STEP + set->n;
    set->n++;
    set->starts[(unsigned char)token->text[0]] = true;
    return 0;
}

static int compare(const void *pa, const void *pb)
{
    const struct added_token *a = pa;
    const struct added_token *b = pb;
    int order = memcmp(a->text, b->text, a->len < b->len ? a->len : b->len);

    if (order != 0) {
        return order;
    }
    if (a->len != b->len) {
        return a->len < b->len ? -1 : 1;
    }
    return a->order < b->order ? -1 : a->order > b->order;
}

void added_sort(struct added_set *set)
{
    if (set->n > 1) {
        qsort(set->tokens, set->n, sizeof *set->tokens, compare);
    }
}

/* The first of tokens[low..high), all longer than depth, whose byte at depth is at least (or
 * above) byte. */
static size_t edge(const struct added_set *set, size_t low, size_t high, size_t depth,
                   unsigned char byte, bool above)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        unsigned char c = (unsigned char)set->tokens[middle].text[depth];
        if (c < byte || (above && c == byte)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The longest token that text starts with, or NULL. */
static const struct added_token *longest(const struct added_set *set, const char *text, size_t n)
{
    const struct added_token *best = NULL;
    size_t low = 0;
    size_t high = set->n;

    for (size_t depth = 0; depth < n && low < high; depth++) {
        unsigned char byte = (unsigned char)text[depth];
        low = edge(set, low, high, depth, byte, false);
        high = edge(set, low, high, depth, byte, true);
        if (low < high && set->tokens[low].len == depth + 1) {
            best = &set->tokens[low];
            while (low < high && set->tokens[low].len == depth + 1) {
                low++; /* the shorter ones have no byte to look at further on */
            }
        }
    }
    return best;
}

static bool is_single_word(const char *text, size_t n, size_t start, size_t end)
{
    size_t len;

    if (start > 0) {
        size_t before = start - 1;
        while (before > 0 && ((unsigned char)text[before] & 0xc0) == 0x80) {
            before--;
        }
        if (char_is_word(utf8_decode(text + before, &len))) {
            return false;
        }
    }
    return end == n || !char_is_word(utf8_decode(text + end, &len));
}

int32_t added_next(struct added_walk *w, size_t *plain_at, size_t *plain_len)
{
    const struct added_set *set = w->set;

    *plain_at = w->done;
    while (set->n > 0 && w->at < w->n) {
        if (!set->starts[(unsigned char)w->text[w->at]]) {
            w->at++;
            continue;
        }
        const struct added_token *token = longest(set, w->text + w->at, w->n - w->at);
        if (!token) {
            w->at++;
            continue;
        }
        size_t start = w->at;
        size_t end = start + token->len;
        /* The search goes on behind the token itself, even where white space behind it was
         * taken. */
        w->at = end;
        if (token->single_word && !is_single_word(w->text, w->n, start, end)) {
            continue;
        }
        /* White space that the token before took may have this token in it: found, but maybe
         * empty. */
        size_t from = start < w->done ? w->done : start;
        if (token->lstrip) {
            from -= text_space_right(w->text + w->done, from - w->done);
            start = from;
        }
        if (token->rstrip) {
            /* White space that was taken already is not looked at again, however many tokens it
             * is made of. */
            end = end < w->done ? w->done : end;
            end += text_space_left(w->text + end, w->n - end);
        }
        *plain_len = from - w->done;
        w->done = end;
        if (start >= end) {
            *plain_at = end;
            continue;
        }
        return token->id;
    }
    *plain_len = w->n - w->done;
    w->done = w->n;
    return -1;
}
