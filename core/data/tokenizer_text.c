/*
 * tokenizer_text.c - UTF-8 and the two character classes that added tokens ask for.
 * SPDX-License-Identifier: MIT
 */
#include "data/tokenizer_internal.h"

#include <string.h>

#include <utf8proc.h>

enum { BMP_2_BYTES = 0x800, BMP_1_BYTE = 0x80, BMP_END = 0x10000 };

/* A character, or the longest start of one that breaks off (Unicode 3.9, "maximal subpart"),
 * which is what one U+FFFD stands for. */
size_t utf8_step(const char *text, size_t n, bool *valid)
{
    const unsigned char *s = (const unsigned char *)text;
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    size_t more = 0;

    *valid = true;
    if (s[0] < 0x80) {
        return 1;
    }
    if (s[0] >= 0xc2 && s[0] <= 0xdf) {
        more = 1;
    } else if (s[0] >= 0xe0 && s[0] <= 0xef) {
        more = 2;
        low = s[0] == 0xe0 ? 0xa0 : low;
        high = s[0] == 0xed ? 0x9f : high; /* no surrogates */
    } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        more = 3;
        low = s[0] == 0xf0 ? 0x90 : low;
        high = s[0] == 0xf4 ? 0x8f : high; /* nothing above U+10FFFF */
    } else {
        *valid = false;
        return 1;
    }
    for (size_t i = 1; i <= more; i++) {
        if (i >= n || s[i] < low || s[i] > high) {
            *valid = false;
            return i;
        }
        low = 0x80;
        high = 0xbf;
    }
    return more + 1;
}

bool utf8_is_valid(const char *text, size_t n)
{
    bool valid = true;

    for (size_t i = 0; i < n && valid;) {
        i += utf8_step(text + i, n - i, &valid);
    }
    return valid;
}

void utf8_add_lossy(struct str *out, const char *text, size_t n)
{
    size_t from = 0;

    for (size_t i = 0; i < n;) {
        bool valid;
        size_t step = utf8_step(text + i, n - i, &valid);
        if (!valid) {
            str_add_bytes(out, text + from, i - from);
            str_add(out, "\xef\xbf\xbd");
            from = i + step;
        }
        i += step;
    }
    str_add_bytes(out, text + from, n - from);
}

uint32_t utf8_decode(const char *text, size_t *len)
{
    const unsigned char *s = (const unsigned char *)text;

    if (s[0] < 0x80) {
        *len = 1;
        return s[0];
    }
    if (s[0] < 0xe0) {
        *len = 2;
        return (uint32_t)(s[0] & 0x1f) << 6 | (s[1] & 0x3f);
    }
    if (s[0] < 0xf0) {
        *len = 3;
        return (uint32_t)(s[0] & 0x0f) << 12 | (uint32_t)(s[1] & 0x3f) << 6 | (s[2] & 0x3f);
    }
    *len = 4;
    return (uint32_t)(s[0] & 0x07) << 18 | (uint32_t)(s[1] & 0x3f) << 12 |
           (uint32_t)(s[2] & 0x3f) << 6 | (s[3] & 0x3f);
}

size_t utf8_encode(uint32_t c, char out[4])
{
    if (c < BMP_1_BYTE) {
        out[0] = (char)c;
        return 1;
    }
    if (c < BMP_2_BYTES) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < BMP_END) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

bool char_is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

/* Alphabetic, marks, decimal digits, connectors and the two joiners (Unicode UTS 18, annex C). */
bool char_is_word(uint32_t c)
{
    if (c == 0x200c || c == 0x200d) {
        return true;
    }
    /* The only symbols that are Alphabetic: circled and squared letters. */
    if ((c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
        (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189)) {
        return true;
    }
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return false;
    }
}

size_t text_space_left(const char *text, size_t n)
{
    size_t i = 0;

    while (i < n) {
        size_t len;
        if (!char_is_space(utf8_decode(text + i, &len))) {
            break;
        }
        i += len;
    }
    return i;
}

size_t text_space_right(const char *text, size_t n)
{
    size_t end = n;

    while (end > 0) {
        size_t at = end - 1;
        size_t len;
        while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80) {
            at--;
        }
        if (!char_is_space(utf8_decode(text + at, &len))) {
            break;
        }
        end = at;
    }
    return n - end;
}
