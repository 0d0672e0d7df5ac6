/*
 * tokenizer_steps.c - the steps of normaliser and pre-tokenizer, each over all pieces.
 * SPDX-License-Identifier: MIT
 */
#include "data/tokenizer_internal.h"

#include <string.h>

#include <utf8proc.h>

enum {
    BYTES_AT_ONCE = 512,
    CAPITAL_I_WITH_DOT = 0x130 /* the one character whose lower case is two */
};

struct step *steps_add(struct steps *s, enum step_kind kind)
{
    if (mem_grow(&s->items, s->n, &s->capacity, sizeof *s->items) < 0) {
        return NULL;
    }
    s->items[s->n] = (struct step){.kind = kind};
    return &s->items[s->n++];
}

void steps_release(struct steps *s)
{
    for (size_t i = 0; i < s->n; i++) {
        pattern_release(&s->items[i].pattern);
    }
    mem_free(s->items);
    *s = (struct steps){0};
}

void pieces_clear(struct pieces *p)
{
    str_clear(&p->text);
    p->n = 0;
}

void pieces_release(struct pieces *p)
{
    str_release(&p->text);
    mem_free(p->spans);
    *p = (struct pieces){0};
}

int pieces_close(struct pieces *p, size_t from, bool first)
{
    if (p->n == p->capacity && mem_grow(&p->spans, p->n, &p->capacity, sizeof *p->spans) < 0) {
        return HCSMOE_ENOMEM;
    }
    p->spans[p->n++] = (struct span){.at = from, .len = p->text.len - from, .first = first};
    return 0;
}

int pieces_set(struct pieces *p, const char *text, size_t n, bool first)
{
    pieces_clear(p);
    str_add_bytes(&p->text, text, n);
    int rc = str_check(&p->text);
    return rc < 0 ? rc : pieces_close(p, 0, first);
}

/* An empty piece is none: the library that defines the format drops them too. */
static int add_piece(struct pieces *p, const char *text, size_t n, bool first)
{
    if (n == 0) {
        return 0;
    }
    size_t from = p->text.len;
    str_add_bytes(&p->text, text, n);
    return pieces_close(p, from, first);
}

/* Whether a stretch goes on from the one before it, by whether each is a match. */
static bool goes_on(enum split_behavior behavior, bool before, bool now)
{
    switch (behavior) {
    case SPLIT_CONTIGUOUS:
        return before == now;
    case SPLIT_MERGED_WITH_PREVIOUS:
        return now && !before;
    case SPLIT_MERGED_WITH_NEXT:
        return before && !now;
    default:
        return false;
    }
}

struct splitter {
    const struct step *step;
    const char *text;
    struct pieces *out;
    bool first;   /* the text starts where the whole text starts */
    bool open;    /* there is a stretch that may go on */
    bool matched; /* the last stretch was a match */
    size_t at;    /* where the open stretch starts */
};

static int split_flush(struct splitter *s, size_t end)
{
    if (!s->open) {
        return 0;
    }
    s->open = false;
    return add_piece(s->out, s->text + s->at, end - s->at, s->first && s->at == 0);
}

static int split_take(struct splitter *s, size_t start, bool match)
{
    bool now = match != s->step->invert;

    if (!s->open || !goes_on(s->step->behavior, s->matched, now)) {
        int rc = split_flush(s, start);
        if (rc < 0) {
            return rc;
        }
        s->at = start;
        s->open = !(s->step->behavior == SPLIT_REMOVED && now);
    }
    s->matched = now;
    return 0;
}

static int split_text(const struct step *step, struct scratch *x, const char *text, size_t n,
                      bool first, struct pieces *out)
{
    struct splitter s = {.step = step, .text = text, .out = out, .first = first};
    struct finder f = {.pattern = &step->pattern, .x = x, .text = text, .n = n};
    size_t done = 0;
    size_t start;
    size_t end;
    int rc;

    while ((rc = finder_next(&f, &start, &end)) > 0) {
        if (start > done) {
            rc = split_take(&s, done, false);
        }
        rc = rc < 0 ? rc : split_take(&s, start, true);
        if (rc < 0) {
            return rc;
        }
        done = end;
    }
    if (rc == 0 && done < n) {
        rc = split_take(&s, done, false);
    }
    return rc < 0 ? rc : split_flush(&s, n);
}

int step_replace(const struct step *s, struct scratch *x, const char *text, size_t n,
                 struct str *out)
{
    struct finder f = {.pattern = &s->pattern, .x = x, .text = text, .n = n};
    size_t done = 0;
    size_t start;
    size_t end;
    int rc;

    while ((rc = finder_next(&f, &start, &end)) > 0) {
        str_add_bytes(out, text + done, start - done);
        str_add_bytes(out, s->content, s->content_len);
        done = end;
        if (scratch_check(x, out) < 0) {
            return HCSMOE_EINVAL;
        }
    }
    str_add_bytes(out, text + done, n - done);
    return rc;
}

static void add_lower_case(const char *text, size_t n, struct str *out)
{
    for (size_t i = 0; i < n;) {
        size_t len;
        char lower[4];
        uint32_t c = utf8_decode(text + i, &len);
        i += len;
        if (c == CAPITAL_I_WITH_DOT) {
            str_add(out, "i\xcc\x87");
            continue;
        }
        len = utf8_encode((uint32_t)utf8proc_tolower((utf8proc_int32_t)c), lower);
        str_add_bytes(out, lower, len);
    }
}

/* Printable Latin-1 stands for itself, the other 68 bytes for U+0100 on, in their order. */
uint32_t byte_to_char(unsigned char byte)
{
    if (byte <= 0x20) {
        return 0x100u + byte;
    }
    if (byte >= 0x7f && byte <= 0xa0) {
        return 0x121u + byte - 0x7f;
    }
    return byte == 0xad ? 0x143 : byte;
}

static void add_byte_chars(const char *text, size_t n, struct str *out)
{
    char chars[BYTES_AT_ONCE + 4];
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        len += utf8_encode(byte_to_char((unsigned char)text[i]), chars + len);
        if (len >= BYTES_AT_ONCE) {
            str_add_bytes(out, chars, len);
            len = 0;
        }
    }
    str_add_bytes(out, chars, len);
}

static void add_metaspace(const struct step *s, const char *text, size_t n, bool first,
                          struct str *out)
{
    bool starts =
        text[0] == ' ' || (n >= s->content_len && memcmp(text, s->content, s->content_len) == 0);

    if (!starts && (s->scheme == PREPEND_ALWAYS || (s->scheme == PREPEND_FIRST && first))) {
        str_add_bytes(out, s->content, s->content_len);
    }
    while (n > 0) {
        const char *space = memchr(text, ' ', n);
        size_t len = space ? (size_t)(space - text) : n;
        str_add_bytes(out, text, len);
        if (space) {
            str_add_bytes(out, s->content, s->content_len);
            len++;
        }
        text += len;
        n -= len;
    }
}

/* One piece, which is not empty, through a step that keeps it one piece. */
static int rewrite(const struct step *s, struct scratch *x, const char *text, size_t n, bool first,
                   struct str *out)
{
    size_t left = 0;
    size_t right = 0;

    switch (s->kind) {
    case STEP_PREPEND:
        str_add_bytes(out, s->content, s->content_len);
        str_add_bytes(out, text, n);
        return 0;
    case STEP_SPACE:
        if (text[0] != ' ') {
            str_add(out, " ");
        }
        str_add_bytes(out, text, n);
        return 0;
    case STEP_REPLACE:
        return step_replace(s, x, text, n, out);
    case STEP_UNICODE:
        return add_normal_form(text, n, s->unicode_form, out);
    case STEP_LOWERCASE:
        add_lower_case(text, n, out);
        return 0;
    case STEP_STRIP:
        left = s->strip_left ? text_space_left(text, n) : 0;
        right = s->strip_right ? text_space_right(text + left, n - left) : 0;
        str_add_bytes(out, text + left, n - left - right);
        return 0;
    case STEP_BYTES:
        add_byte_chars(text, n, out);
        return 0;
    case STEP_METASPACE:
        add_metaspace(s, text, n, first, out);
        return 0;
    default:
        return fail(HCSMOE_EFAILED, "step %d stands where it cannot", (int)s->kind);
    }
}

static int step_run(const struct step *s, struct scratch *x, const struct pieces *in,
                    struct pieces *out)
{
    int rc = 0;

    pieces_clear(out);
    for (size_t i = 0; i < in->n && rc >= 0; i++) {
        const char *text = in->text.text + in->spans[i].at;
        size_t n = in->spans[i].len;
        bool first = in->spans[i].first;
        if (n == 0) {
            continue;
        }
        if (s->kind == STEP_SPLIT) {
            rc = split_text(s, x, text, n, first, out);
            continue;
        }
        size_t from = out->text.len;
        rc = rewrite(s, x, text, n, first, &out->text);
        rc = rc < 0 ? rc : scratch_check(x, &out->text);
        if (rc >= 0 && out->text.len > from) {
            rc = pieces_close(out, from, first);
        }
    }
    return rc < 0 ? rc : str_check(&out->text);
}

int steps_run(const struct steps *steps, struct scratch *x, struct pieces pair[2],
              struct pieces **result)
{
    size_t now = 0;

    for (size_t i = 0; i < steps->n; i++) {
        int rc = step_run(&steps->items[i], x, &pair[now], &pair[1 - now]);
        if (rc < 0) {
            return rc;
        }
        now = 1 - now;
    }
    *result = &pair[now];
    return 0;
}
