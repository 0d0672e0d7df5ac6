/*
 * record.h - what task plugins do with records: members as text, white space, joined text.
 *
 * Inline only: nothing here crosses the boundary. All text is UTF-8; what is made here lies in
 * h->scratch.
 * SPDX-License-Identifier: MIT
 */
#ifndef HCSMOE_RECORD_H
#define HCSMOE_RECORD_H

#include <hcsmoe/host.h>
#include <hcsmoe/json.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Bytes of the white space character that s[0..n) starts with, 0 if it starts with none. These are
 * the 29 characters that Python's str.strip and regular expressions take: the common harness is
 * written in it, and prompts depend on the set.
 */
static inline size_t hcsmoe_space(const char *s, size_t n)
{
    const unsigned char *u = (const unsigned char *)s;
    if (n >= 1 && ((u[0] >= 0x09 && u[0] <= 0x0d) || (u[0] >= 0x1c && u[0] <= 0x20)))
        return 1;
    if (n >= 2 && u[0] == 0xc2)
        return u[1] == 0x85 || u[1] == 0xa0 ? 2 : 0; /* U+0085, U+00A0 */
    if (n < 3 || u[0] < 0xe1 || u[0] > 0xe3)
        return 0;
    const unsigned code = (u[0] & 15u) << 12 | (u[1] & 63u) << 6 | (u[2] & 63u);
    const int is_space = code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
                         code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
    return is_space ? 3 : 0;
}

/* Bytes of white space at the front of s[0..n). */
static inline size_t hcsmoe_space_before(const char *s, size_t n)
{
    size_t at = 0;
    for (size_t step; (step = hcsmoe_space(s + at, n - at)) > 0;)
        at += step;
    return at;
}

/* Bytes of white space at the end of s[0..n). */
static inline size_t hcsmoe_space_behind(const char *s, size_t n)
{
    size_t end = n;
    while (end > 0) {
        size_t at = end - 1;
        while (at > 0 && end - at < 3 && ((unsigned char)s[at] & 0xc0) == 0x80)
            at--;
        if (hcsmoe_space(s + at, end - at) != end - at)
            break;
        end = at;
    }
    return n - end;
}

/* Words as the common harness counts them for a perplexity: runs of white space, at the ends too,
 * and one more. */
static inline int64_t hcsmoe_words(const char *s, size_t n)
{
    int64_t words = 1;
    for (size_t at = 0; at < n;) {
        const size_t run = hcsmoe_space_before(s + at, n - at);
        words += run > 0;
        at += run > 0 ? run : 1;
    }
    return words;
}

/* The format filled in. NULL: the message is set. */
HCSMOE_PRINTF_(2, 3)
static inline char *hcsmoe_textf(const hcsmoe_host *h, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) {
        (void)h->fail(h, HCSMOE_EINVAL, "a text is longer than 2 GiB");
        return NULL;
    }
    char *text = (char *)h->scratch(h, (size_t)n + 1);
    if (!text)
        return NULL;
    va_start(ap, fmt);
    (void)vsnprintf(text, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return text;
}

/* The string member `key`, borrowed from the record. */
static inline hcsmoe_status hcsmoe_record_text(const hcsmoe_host *h, const hcsmoe_json *record,
                                               const char *key, const char **text)
{
    const hcsmoe_json *v = h->json->get(record, key);
    *text = h->json->string(v, NULL);
    if (*text)
        return HCSMOE_OK;
    if (v)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "member '%s' is no string", key);
    return hcsmoe_failf(h, HCSMOE_EINVAL, "no member '%s'", key);
}

/* The member `key`, an array of *n strings, at least one. */
static inline hcsmoe_status hcsmoe_record_texts(const hcsmoe_host *h, const hcsmoe_json *record,
                                                const char *key, const char *const **texts,
                                                int64_t *n)
{
    const hcsmoe_json *v = h->json->get(record, key);
    if (!v)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "no member '%s'", key);
    *n = h->json->type(v) == HCSMOE_JSON_ARRAY ? h->json->size(v) : 0;
    if (*n == 0)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "member '%s' is no array with something in it", key);
    const char **list = (const char **)h->scratch(h, (size_t)*n * sizeof *list);
    if (!list)
        return HCSMOE_ENOMEM;
    for (int64_t i = 0; i < *n; i++) {
        list[i] = h->json->string(h->json->at(v, i), NULL);
        if (!list[i])
            return hcsmoe_failf(h, HCSMOE_EINVAL, "item %lld of member '%s' is no string",
                                (long long)i, key);
    }
    *texts = list;
    return HCSMOE_OK;
}

/* The integer member `key`. */
static inline hcsmoe_status hcsmoe_record_integer(const hcsmoe_host *h, const hcsmoe_json *record,
                                                  const char *key, int64_t *value)
{
    const hcsmoe_json *v = h->json->get(record, key);
    *value = h->json->integer(v, INT64_MIN);
    if (*value != INT64_MIN)
        return HCSMOE_OK;
    if (v)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "member '%s' is no integer", key);
    return hcsmoe_failf(h, HCSMOE_EINVAL, "no member '%s'", key);
}

#ifdef __cplusplus
}
#endif
#endif
