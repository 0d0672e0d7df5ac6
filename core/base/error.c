/*
 * error.c - the message of this thread's last failure, and suggestions for misspelt names.
 * SPDX-License-Identifier: MIT
 */
#include "base/error.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    MESSAGE_BYTES = 4096, /* a path may be that long by itself; the rest is cut and marked */
    NAME_BYTES_MAX = 64   /* no name we offer is longer, and nobody misspells a longer one */
};

static _Thread_local char message[MESSAGE_BYTES];
static _Thread_local char suggestion[NAME_BYTES_MAX + 32];

/* Marks a text that filled its buffer, without leaving half a UTF-8 character before the mark. */
static void mark_cut(char text[MESSAGE_BYTES])
{
    size_t at = MESSAGE_BYTES - sizeof "...";

    while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80) {
        at--;
    }
    memcpy(text + at, "...", sizeof "...");
}

int fail(int status, const char *fmt, ...)
{
    /* The arguments may point into the message itself, so it is built beside it. */
    char text[MESSAGE_BYTES];
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0) {
        text[0] = '\0';
    } else if ((size_t)n >= sizeof text) {
        mark_cut(text);
    }
    memcpy(message, text, sizeof message);
    return status;
}

int fail_in(int status, const char *fmt, ...)
{
    char prefix[MESSAGE_BYTES];
    char text[MESSAGE_BYTES];
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(prefix, sizeof prefix, fmt, ap);
    va_end(ap);
    if (n < 0) {
        return status;
    }
    n = snprintf(text, sizeof text, "%s%s%s", prefix, message[0] ? ": " : "", message);
    if (n < 0 || (size_t)n >= sizeof text) {
        mark_cut(text);
    }
    memcpy(message, text, sizeof message);
    return status;
}

int fail_memory(size_t bytes)
{
    return fail(HCSMOE_ENOMEM, "out of memory: cannot have %zu bytes more", bytes);
}

int fail_errno(const char *path, const char *what)
{
    return fail(HCSMOE_EIO, "%s: %s: %s", path, what, strerror(errno));
}

const char *fail_message(void)
{
    return message;
}

void fail_clear(void)
{
    message[0] = '\0';
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edits (insert, delete, replace, swap of neighbours) from a to b, both at most NAME_BYTES_MAX
 * bytes; case does not count. */
static size_t edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t rows[3][NAME_BYTES_MAX + 1];
    size_t *before = rows[0];
    size_t *last = rows[1];
    size_t *row = rows[2];

    memset(rows, 0, sizeof rows);
    for (size_t j = 0; j <= b_len; j++) {
        last[j] = j;
    }
    for (size_t i = 1; i <= a_len; i++) {
        int x = tolower((unsigned char)a[i - 1]);
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            int y = tolower((unsigned char)b[j - 1]);
            size_t best = min_size(last[j], row[j - 1]) + 1;
            best = min_size(best, last[j - 1] + (x == y ? 0 : 1));
            if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
                y == tolower((unsigned char)a[i - 2])) {
                best = min_size(best, before[j - 2] + 1);
            }
            row[j] = best;
        }
        size_t *free_row = before;
        before = last;
        last = row;
        row = free_row;
    }
    return last[b_len];
}

const char *did_you_mean(const char *word, const char *const *names, size_t n)
{
    size_t len = strlen(word);
    size_t near = len / 3 > 1 ? len / 3 : 1;
    const char *best = NULL;

    suggestion[0] = '\0';
    if (len == 0 || len > NAME_BYTES_MAX) {
        return suggestion;
    }
    for (size_t i = 0; i < n; i++) {
        size_t name_len = strlen(names[i]);
        if (name_len == 0 || name_len > NAME_BYTES_MAX) {
            continue;
        }
        size_t d = edit_distance(word, len, names[i], name_len);
        if (best ? d < near : d <= near) {
            best = names[i];
            near = d;
        }
    }
    if (best) {
        (void)snprintf(suggestion, sizeof suggestion, "; did you mean '%s'?", best);
    }
    return suggestion;
}
