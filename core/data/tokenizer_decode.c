/*
 * tokenizer_decode.c - the decoder steps, from tokens back to text.
 * SPDX-License-Identifier: MIT
 */
#include "data/tokenizer_internal.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>

enum { BYTE_CHARS = 0x144, BYTE_PIECE_LEN = 6 /* <0xNN> */ };

/* The byte that a "<0xNN>" token stands for, or -1. */
static int byte_of(const char *token, size_t n)
{
    static const char digits[] = "0123456789abcdef";

    if (n != BYTE_PIECE_LEN || memcmp(token, "<0x", 3) != 0 || token[5] != '>' ||
        !isxdigit((unsigned char)token[3]) || !isxdigit((unsigned char)token[4])) {
        return -1;
    }
    const char *high = strchr(digits, tolower((unsigned char)token[3]));
    const char *low = strchr(digits, tolower((unsigned char)token[4]));
    return (int)((high - digits) * 16 + (low - digits));
}

/* A run of byte tokens is text when it is UTF-8 as a whole, else one U+FFFD a byte. */
static int close_bytes(struct pieces *out, struct str *bytes)
{
    if (bytes->len == 0) {
        return 0;
    }
    size_t from = out->text.len;
    if (utf8_is_valid(bytes->text, bytes->len)) {
        str_add_bytes(&out->text, bytes->text, bytes->len);
    } else {
        for (size_t i = 0; i < bytes->len; i++) {
            str_add(&out->text, "\xef\xbf\xbd");
        }
    }
    str_clear(bytes);
    return pieces_close(out, from, false);
}

static int fall_back(const struct pieces *in, struct pieces *out)
{
    struct str bytes = {0};
    int rc = 0;

    for (size_t i = 0; i < in->n && rc >= 0; i++) {
        const char *token = in->text.text + in->spans[i].at;
        int byte = byte_of(token, in->spans[i].len);
        if (byte >= 0) {
            char c = (char)byte;
            str_add_bytes(&bytes, &c, 1);
            continue;
        }
        rc = close_bytes(out, &bytes);
        size_t from = out->text.len;
        str_add_bytes(&out->text, token, in->spans[i].len);
        rc = rc < 0 ? rc : pieces_close(out, from, false);
    }
    rc = rc < 0 ? rc : close_bytes(out, &bytes);
    rc = rc < 0 ? rc : str_check(&bytes);
    str_release(&bytes);
    return rc;
}

/* Tokens of which some character stands for no byte (added ones) are taken as they are. */
static void add_bytes_of(const char *token, size_t n, struct str *out)
{
    unsigned char bytes[BYTE_CHARS] = {0};
    bool known[BYTE_CHARS] = {false};
    size_t from = out->len;

    for (unsigned b = 0; b < 256; b++) {
        uint32_t c = byte_to_char((unsigned char)b);
        bytes[c] = (unsigned char)b;
        known[c] = true;
    }
    for (size_t i = 0; i < n;) {
        size_t len;
        uint32_t c = utf8_decode(token + i, &len);
        if (c >= BYTE_CHARS || !known[c]) {
            out->len = from;
            str_add_bytes(out, token, n);
            return;
        }
        str_add_bytes(out, &bytes[c], 1);
        i += len;
    }
}

static int join(const struct pieces *in, struct pieces *out, bool bytes)
{
    struct str joined = {0};

    for (size_t i = 0; i < in->n; i++) {
        const char *token = in->text.text + in->spans[i].at;
        if (bytes) {
            add_bytes_of(token, in->spans[i].len, &joined);
        } else {
            str_add_bytes(&joined, token, in->spans[i].len);
        }
    }
    int rc = str_check(&joined);
    if (rc >= 0 && bytes) {
        utf8_add_lossy(&out->text, str_text(&joined), joined.len);
    } else {
        str_add_bytes(&out->text, str_text(&joined), joined.len);
    }
    str_release(&joined);
    return rc < 0 ? rc : pieces_close(out, 0, false);
}

static void replace_all(const char *text, size_t n, const struct step *s, const char *by,
                        size_t by_len, struct str *out)
{
    size_t done = 0;

    for (size_t i = 0; i + s->content_len <= n;) {
        if (memcmp(text + i, s->content, s->content_len) != 0) {
            i++;
            continue;
        }
        str_add_bytes(out, text + done, i - done);
        str_add_bytes(out, by, by_len);
        i += s->content_len;
        done = i;
    }
    str_add_bytes(out, text + done, n - done);
}

static void strip(const struct step *s, const char *text, size_t n, struct str *out)
{
    size_t at = 0;

    for (size_t i = 0; i < s->n_left && n - at >= s->content_len &&
                       memcmp(text + at, s->content, s->content_len) == 0;
         i++) {
        at += s->content_len;
    }
    for (size_t i = 0; i < s->n_right && n - at >= s->content_len &&
                       memcmp(text + n - s->content_len, s->content, s->content_len) == 0;
         i++) {
        n -= s->content_len;
    }
    str_add_bytes(out, text + at, n - at);
}

static int each_token(const struct step *s, struct scratch *x, const struct pieces *in,
                      struct pieces *out)
{
    int rc = 0;

    for (size_t i = 0; i < in->n && rc >= 0; i++) {
        const char *text = in->text.text + in->spans[i].at;
        size_t n = in->spans[i].len;
        size_t from = out->text.len;
        bool bare = false; /* nothing in place of the mark */
        switch (s->kind) {
        case DECODE_REPLACE:
            rc = step_replace(s, x, text, n, &out->text);
            break;
        case DECODE_STRIP:
            strip(s, text, n, &out->text);
            break;
        case DECODE_METASPACE:
            bare = i == 0 && s->scheme != PREPEND_NEVER;
            replace_all(text, n, s, " ", bare ? 0 : 1, &out->text);
            break;
        default:
            assert(s->kind == DECODE_BPE);
            bare = i + 1 == in->n;
            replace_all(text, n, s, " ", bare ? 0 : 1, &out->text);
            break;
        }
        rc = rc < 0 ? rc : pieces_close(out, from, false);
    }
    return rc;
}

static int decode_step(const struct step *s, struct scratch *x, const struct pieces *in,
                       struct pieces *out)
{
    int rc;

    pieces_clear(out);
    if (s->kind == DECODE_BYTE_FALLBACK) {
        rc = fall_back(in, out);
    } else if (s->kind == DECODE_FUSE || s->kind == DECODE_BYTES) {
        rc = join(in, out, s->kind == DECODE_BYTES);
    } else {
        rc = each_token(s, x, in, out);
    }
    return rc < 0 ? rc : scratch_check(x, &out->text);
}

int decode_tokens(const struct tokenizer *t, struct scratch *x, const int32_t *ids, size_t n,
                  struct str *out)
{
    struct pieces *pair = x->pre;
    size_t now = 0;
    int rc = 0;

    pieces_clear(&pair[0]);
    for (size_t i = 0; i < n && rc >= 0; i++) {
        const char *text = tokenizer_text(t, ids[i]);
        if (!text) {
            continue; /* models have more rows than their tokenizer has ids */
        }
        size_t from = pair[0].text.len;
        str_add_bytes(&pair[0].text, text, t->lens[ids[i]]);
        rc = pieces_close(&pair[0], from, false);
    }
    rc = rc < 0 ? rc : str_check(&pair[0].text);
    scratch_budget(x, pair[0].text.len);
    for (size_t i = 0; i < t->decoder.n && rc >= 0; i++) {
        rc = decode_step(&t->decoder.items[i], x, &pair[now], &pair[1 - now]);
        now = 1 - now;
    }
    for (size_t i = 0; i < pair[now].n && rc >= 0; i++) {
        if (i > 0 && t->decoder.n == 0) {
            str_add(out, " "); /* without a decoder, tokens stand side by side */
        }
        str_add_bytes(out, pair[now].text.text + pair[now].spans[i].at, pair[now].spans[i].len);
    }
    return rc < 0 ? rc : str_check(out);
}
