/*
 * tokenizer_regex.c - expressions of tokenizer.json, written for Oniguruma, run by PCRE2.
 * SPDX-License-Identifier: MIT
 *
 * The two agree on nearly everything that tokenizers use. Where they read the same text
 * differently, the expression is rewritten; what cannot be rewritten is refused, because a wrong
 * cut would go unnoticed.
 */
#include "data/tokenizer_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* White_Space; PCRE2's own \s has U+180E as well. */
#define SPACE                                                                                      \
    "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{"    \
    "205f}\\x{3000}"
#define NOT_SPACE                                                                                  \
    "\\x00-\\x08\\x0e-\\x1f\\x21-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}"       \
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{"   \
    "10ffff}"
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
/* Outside a set, and for \b, Oniguruma takes the Latin-1 digits and fractions for letters as
 * well. */
#define WORD_LATIN WORD "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"
#define HEX "0-9A-Fa-f"
#define EDGE                                                                                       \
    "(?:(?<=[" WORD_LATIN "])(?![" WORD_LATIN "])|(?<![" WORD_LATIN "])(?=[" WORD_LATIN "]))"
#define NO_EDGE                                                                                    \
    "(?:(?<=[" WORD_LATIN "])(?=[" WORD_LATIN "])|(?<![" WORD_LATIN "])(?![" WORD_LATIN "]))"

/* Escapes that mean something else in PCRE2; NULL: cannot be written there. */
static const struct {
    char letter;
    const char *outside, *in_class;
} escapes[] = {
    {.letter = 's', .outside = "[" SPACE "]", .in_class = SPACE},
    {.letter = 'S', .outside = "[^" SPACE "]", .in_class = NOT_SPACE},
    {.letter = 'w', .outside = "[" WORD_LATIN "]", .in_class = WORD},
    {.letter = 'W', .outside = "[^" WORD_LATIN "]", .in_class = NULL},
    {.letter = 'h', .outside = "[" HEX "]", .in_class = HEX},
    {.letter = 'H', .outside = "[^" HEX "]", .in_class = NULL},
    {.letter = 'b', .outside = EDGE, .in_class = "\\x08"},
    {.letter = 'B', .outside = NO_EDGE, .in_class = NULL},
};

/* [:name:] inside a set */
static const struct {
    const char *name, *written;
} posix_classes[] = {
    {.name = "alpha", .written = "\\p{Alphabetic}"},
    {.name = "digit", .written = "\\p{Nd}"},
    {.name = "alnum", .written = "\\p{Alphabetic}\\p{Nd}"},
    {.name = "upper", .written = "\\p{Uppercase}"},
    {.name = "lower", .written = "\\p{Lowercase}"},
    {.name = "space", .written = SPACE},
    {.name = "punct", .written = "\\p{P}\\p{S}"},
    {.name = "cntrl", .written = "\\p{Cc}"},
    {.name = "xdigit", .written = HEX},
    {.name = "word", .written = WORD},
};

enum {
    N_ESCAPES = sizeof escapes / sizeof escapes[0],
    N_POSIX_CLASSES = sizeof posix_classes / sizeof posix_classes[0],
    PROPERTY_BYTES_MAX = 64,        /* \p{name} */
    UNICODE_DIGITS = 4,             /* \uHHHH */
    MATCH_HEAP_KIB_MAX = 96 * 1024, /* for the interpreter, when the JIT's stack is too small */
    PATTERN_BYTES_MAX = 16 * 1024,  /* the longest published one has 400 */
    STEPS_FIRST = 256,              /* of every place at first */
    MATCHES_A_LOOK = 64,            /* at the clock */
    PLACES_AT_ONCE = 4096,
    MESSAGE_BYTES = 160
};

struct translation {
    const char *text;
    size_t n, at;
    bool in_class;
    struct str *out;
    const char *why; /* set when it cannot be written for PCRE2 */
};

static char peek(const struct translation *r, size_t ahead)
{
    return ahead < r->n - r->at ? r->text[r->at + ahead] : '\0';
}

static void copy(struct translation *r, size_t n)
{
    size_t left = r->n - r->at;
    size_t m = n < left ? n : left;

    str_add_bytes(r->out, r->text + r->at, m);
    r->at += m;
}

/* \p{Han}: a script is the one property of a character for Oniguruma; PCRE2 would take every
 * character that is used with it, unless it is told. There is no list of scripts to ask, so
 * PCRE2 is asked. */
static void translate_property(struct translation *r)
{
    char probe[PROPERTY_BYTES_MAX];
    int code;
    PCRE2_SIZE offset;
    size_t at = peek(r, 3) == '^' ? 4 : 3;
    size_t n = 0;

    while (isalpha((unsigned char)peek(r, at + n)) || peek(r, at + n) == '_') {
        n++;
    }
    if (peek(r, at + n) != '}' || n <= 2 || n > PROPERTY_BYTES_MAX / 2) {
        copy(r, 2);
        return;
    }
    int len = snprintf(probe, sizeof probe, "\\p{sc:%.*s}", (int)n, r->text + r->at + at);
    pcre2_code *script =
        pcre2_compile((PCRE2_SPTR)probe, (size_t)len, PCRE2_UTF, &code, &offset, NULL);
    copy(r, at);
    if (script) {
        str_add(r->out, "sc:");
        pcre2_code_free(script);
    }
    copy(r, n + 1);
}

static void translate_escape(struct translation *r)
{
    char letter = peek(r, 1);

    if ((letter == 'p' || letter == 'P') && peek(r, 2) == '{') {
        translate_property(r);
        return;
    }

    for (size_t i = 0; i < N_ESCAPES; i++) {
        if (escapes[i].letter == letter) {
            const char *written = r->in_class ? escapes[i].in_class : escapes[i].outside;
            if (!written) {
                r->why = "\\W, \\H or \\B inside [...]";
                return;
            }
            str_add(r->out, written);
            r->at += 2;
            return;
        }
    }
    size_t n_hex = 0;
    while (letter == 'u' && n_hex < UNICODE_DIGITS && isxdigit((unsigned char)peek(r, 2 + n_hex))) {
        n_hex++;
    }
    if (n_hex == UNICODE_DIGITS) {
        str_addf(r->out, "\\x{%.4s}", r->text + r->at + 2);
        r->at += 2 + UNICODE_DIGITS;
        return;
    }
    copy(r, 2);
}

static void translate_posix_class(struct translation *r)
{
    const char *name = r->text + r->at + 2;
    size_t left = r->n - r->at - 2;

    for (size_t i = 0; i < N_POSIX_CLASSES; i++) {
        size_t n = strlen(posix_classes[i].name);
        if (left >= n + 2 && memcmp(name, posix_classes[i].name, n) == 0 && name[n] == ':' &&
            name[n + 1] == ']') {
            str_add(r->out, posix_classes[i].written);
            r->at += n + 4;
            return;
        }
    }
    r->why = "this [:class:]";
}

static void translate_in_class(struct translation *r)
{
    char c = peek(r, 0);

    if (c == '[' && peek(r, 1) == ':') {
        translate_posix_class(r);
    } else if (c == '[') {
        r->why = "a set inside a set ([a[b]])";
    } else if (c == '&' && peek(r, 1) == '&') {
        r->why = "an intersection of sets (&&)";
    } else {
        r->in_class = c != ']';
        copy(r, 1);
    }
}

/* {n}, {n,}, {,m} or {n,m}: there is no "{,m}" in PCRE2, and it reads a + or ? behind
 * differently. */
static void translate_interval(struct translation *r)
{
    size_t low = 1;
    while (isdigit((unsigned char)peek(r, low))) {
        low++;
    }
    bool comma = peek(r, low) == ',';
    size_t high = comma ? low + 1 : low;
    while (isdigit((unsigned char)peek(r, high))) {
        high++;
    }
    if (peek(r, high) != '}' || high == 1 || (comma && high == 2)) {
        copy(r, 1); /* a brace, no interval */
        return;
    }
    if (peek(r, high + 1) == '+') {
        r->why = "{n,m}+";
    } else if (!comma && peek(r, high + 1) == '?') {
        r->why = "{n}?";
    }
    copy(r, 1);
    if (low == 1) {
        str_add(r->out, "0");
    }
    copy(r, high);
}

/* (?m) lets a dot match line ends in Oniguruma; PCRE2 calls that s. */
static void translate_group(struct translation *r)
{
    size_t i = 1;

    copy(r, 1);
    if (peek(r, 0) != '?') {
        return;
    }
    while (peek(r, i) != '\0' && strchr("imx-", peek(r, i))) {
        i++;
    }
    if (peek(r, i) != ':' && peek(r, i) != ')') {
        return;
    }
    for (size_t k = 0; k < i; k++) {
        char c = peek(r, k);
        str_add(r->out, c == 'm' ? "s" : (char[]){c, '\0'});
    }
    r->at += i;
}

static const char *translate(const char *text, size_t n, struct str *out)
{
    struct translation r = {.text = text, .n = n, .out = out};

    while (r.at < n && !r.why) {
        char c = peek(&r, 0);
        if (c == '\\') {
            translate_escape(&r);
        } else if (r.in_class) {
            translate_in_class(&r);
        } else if (c == '[') {
            r.in_class = true;
            copy(&r, peek(&r, 1) == '^' ? 2 : 1);
            if (peek(&r, 0) == ']') {
                copy(&r, 1);
            }
        } else if (c == '{') {
            translate_interval(&r);
        } else if (c == '(') {
            translate_group(&r);
        } else {
            copy(&r, 1);
        }
    }
    return r.why;
}

int pattern_compile(struct pattern *p, const char *source, size_t n, bool literal)
{
    pcre2_compile_context *context = NULL;
    struct str text = {0};
    PCRE2_UCHAR message[MESSAGE_BYTES] = "";
    PCRE2_SIZE offset;
    int code;
    int rc;
    uint32_t options = PCRE2_UTF | PCRE2_USE_OFFSET_LIMIT;

    if (n == 0) {
        return fail(HCSMOE_EINVAL, "the pattern is empty");
    }
    if (n > PATTERN_BYTES_MAX) {
        return fail(HCSMOE_EINVAL, "the pattern has %zu bytes, at most %d", n, PATTERN_BYTES_MAX);
    }
    if (literal) {
        options |= PCRE2_LITERAL;
        str_add_bytes(&text, source, n);
    } else {
        options |=
            PCRE2_UCP | PCRE2_MULTILINE; /* ^ and $ stand at every line in Oniguruma's syntax */
        const char *why = translate(source, n, &text);
        if (why) {
            rc =
                fail(HCSMOE_EUNSUPPORTED, "regex '%.*s': %s is not supported", (int)n, source, why);
            goto out;
        }
    }
    rc = str_check(&text);
    if (rc < 0) {
        goto out;
    }
    context = pcre2_compile_context_create(NULL);
    p->source = mem_strndup(source, n);
    if (!context || !p->source) {
        rc = fail_memory(n);
        goto out;
    }
    (void)pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    p->code = pcre2_compile((PCRE2_SPTR)text.text, text.len, options, &code, &offset, context);
    if (!p->code) {
        (void)pcre2_get_error_message(code, message, sizeof message);
        rc = fail(HCSMOE_EINVAL, "regex '%s' is wrong: %s", p->source, (const char *)message);
        goto out;
    }
    (void)pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE); /* without a JIT it only takes longer */
out:
    pcre2_compile_context_free(context);
    str_release(&text);
    return rc;
}

void pattern_release(struct pattern *p)
{
    pcre2_code_free(p->code);
    mem_free(p->source);
    *p = (struct pattern){0};
}

uint64_t thread_time_ns(void)
{
    struct timespec t = {0};

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

pcre2_match_context *pattern_limits(void)
{
    pcre2_match_context *context = pcre2_match_context_create(NULL);

    if (!context) {
        (void)fail_memory(sizeof context);
        return NULL;
    }
    /* Depth is limited by memory, steps by match_next. */
    (void)pcre2_set_depth_limit(context, UINT32_MAX);
    (void)pcre2_set_heap_limit(context, MATCH_HEAP_KIB_MAX);
    return context;
}

/* The text is known to be valid UTF-8. Checking it again at every call would make a long text take
 * quadratic time. A match that begins at [at, at + window), each place of which may take so many
 * steps. */
static int match_at(const struct finder *f, size_t at, size_t window, uint32_t steps)
{
    uint32_t options = PCRE2_NO_UTF_CHECK;
    PCRE2_SPTR text = (PCRE2_SPTR)f->text;
    pcre2_match_context *context = f->x->limits;

    (void)pcre2_set_offset_limit(context, at + window - 1);
    (void)pcre2_set_match_limit(context, steps);
    int n = pcre2_match(f->pattern->code, text, f->n, at, options, f->x->match, context);
    if (n == PCRE2_ERROR_JIT_STACKLIMIT) {
        options |= PCRE2_NO_JIT;
        n = pcre2_match(f->pattern->code, text, f->n, at, options, f->x->match, context);
    }
    return n;
}

/* Has matching taken all its time? */
static bool time_is_up(const struct scratch *x)
{
    return thread_time_ns() > x->time_end_ns;
}

/* A match that begins at this very place, in as many steps as it takes while there is time. A step
 * can cost as much as the text is long, and nobody looks at the clock meanwhile: so steps are given
 * out in growing portions. */
static int match_dearly(const struct finder *f, size_t at)
{
    int n = PCRE2_ERROR_MATCHLIMIT;

    for (uint32_t steps = STEPS_FIRST; n == PCRE2_ERROR_MATCHLIMIT && steps <= UINT32_MAX / 2;) {
        if (time_is_up(f->x)) {
            break;
        }
        steps *= 2;
        n = match_at(f, at, 1, steps);
    }
    return n;
}

/* Where the next character begins; 1 behind the text. */
static size_t place_next(const struct finder *f, size_t at)
{
    at++;
    while (at < f->n && ((unsigned char)f->text[at] & 0xc0) == 0x80) {
        at++;
    }
    return at;
}

/* The places of [at, end) one by one. */
static int match_singly(const struct finder *f, size_t at, size_t end)
{
    for (; at < end; at = place_next(f, at)) {
        int n = match_at(f, at, 1, STEPS_FIRST);
        n = n == PCRE2_ERROR_MATCHLIMIT ? match_dearly(f, at) : n;
        if (n != PCRE2_ERROR_NOMATCH) {
            return n;
        }
    }
    return PCRE2_ERROR_NOMATCH;
}

/* The first match from f->at on. PCRE2's limit holds for each place where a match may begin, and
 * counts neither what a possessive or lazy loop takes nor what a look-ahead does: it keeps an
 * expression from exploding, but not from taking the whole text at every place. That takes the clock,
 * which only such expressions of strangers ever run out of. */
static int match_next(const struct finder *f)
{
    size_t at = f->at;
    int n = PCRE2_ERROR_NOMATCH;

    if (f->x->n_matches++ % MATCHES_A_LOOK == 0 && time_is_up(f->x)) {
        return PCRE2_ERROR_MATCHLIMIT;
    }
    while (at <= f->n && n == PCRE2_ERROR_NOMATCH) {
        size_t end = f->n - at < PLACES_AT_ONCE ? f->n + 1 : place_next(f, at + PLACES_AT_ONCE - 1);
        n = match_at(f, at, end - at, STEPS_FIRST);
        n = n == PCRE2_ERROR_MATCHLIMIT ? match_singly(f, at, end) : n;
        at = end;
    }
    return n;
}

int finder_next(struct finder *f, size_t *start, size_t *end)
{
    while (f->at <= f->n) {
        int n = match_next(f);
        if (n == PCRE2_ERROR_NOMATCH) {
            f->at = f->n + 1;
            return 0;
        }
        if (n < 0) {
            PCRE2_UCHAR message[MESSAGE_BYTES] = "";
            (void)pcre2_get_error_message(n, message, sizeof message);
            return fail(HCSMOE_EFAILED, "regex '%s' gave up on a text of %zu bytes: %s",
                        f->pattern->source, f->n, (const char *)message);
        }
        const PCRE2_SIZE *place = pcre2_get_ovector_pointer(f->x->match);
        *start = place[0] < place[1] ? place[0] : place[1]; /* \K can turn them round */
        *end = place[1];
        if (*start == *end && f->found && f->last_end == *end) {
            /* An empty match right behind a match is none; look on from the next character. */
            bool valid;
            f->at += f->at < f->n ? utf8_step(f->text + f->at, f->n - f->at, &valid) : 1;
            continue;
        }
        f->found = true;
        f->last_end = f->at = *end;
        return 1;
    }
    return 0;
}
