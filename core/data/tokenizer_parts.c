/*
 * tokenizer_parts.c - normalizer, pre_tokenizer and decoder of tokenizer.json as lists of steps.
 * SPDX-License-Identifier: MIT
 *
 * A component that is more than one step in effect (a ByteLevel that splits, a Metaspace that
 * splits) becomes several. A new component is one row in a table here, and a step kind if no other
 * can do it.
 */
#include "data/tokenizer_internal.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>
#include <utf8proc.h>

#define METASPACE "\xe2\x96\x81" /* U+2581 */
#define GPT2_WORDS                                                                                 \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
/* The \w of Whitespace is another than that of patterns in the file: no fractions, but joiners. */
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}"
#define WORDS_OR_MARKS "[" WORD "]+|[^" WORD "\\s]+"

/* A row is read by its function; without one it is a plain split by regex, or a Unicode form. */
struct component {
    const char *type;
    int (*read)(const struct reader *r, const json_t *node, const char *path, struct steps *out);
    const char *regex;
    enum split_behavior behavior;
    bool invert;
    int unicode_form;
    enum step_kind kind; /* when there is nothing to read */
};

static const char *const behavior_names[] = {
    [SPLIT_ISOLATED] = "Isolated",
    [SPLIT_REMOVED] = "Removed",
    [SPLIT_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
    [SPLIT_MERGED_WITH_NEXT] = "MergedWithNext",
    [SPLIT_CONTIGUOUS] = "Contiguous",
};

static const char *const scheme_names[] = {
    [PREPEND_ALWAYS] = "always",
    [PREPEND_FIRST] = "first",
    [PREPEND_NEVER] = "never",
};

enum {
    N_BEHAVIORS = sizeof behavior_names / sizeof behavior_names[0],
    N_SCHEMES = sizeof scheme_names / sizeof scheme_names[0]
};

static int read_choice(const struct reader *r, const json_t *node, const char *path,
                       const char *key, const char *const *names, size_t n_names, int fallback,
                       int *choice)
{
    struct str all = {0};
    const char *text;
    size_t n;

    int rc = read_string(r, node, path, key, names[fallback], &text, &n);
    for (size_t i = 0; i < n_names && rc >= 0; i++) {
        if (strcmp(names[i], text) == 0) {
            *choice = (int)i;
            str_release(&all);
            return 0;
        }
        str_addf(&all, "%s%s", i > 0 ? ", " : "", names[i]);
    }
    if (rc >= 0) {
        rc = fail(HCSMOE_EINVAL, "%s: %s.%s: '%s' is not known (known: %s)", r->file, path, key,
                  text, str_text(&all));
    }
    str_release(&all);
    return rc;
}

static int set_content(const struct reader *r, struct step *s, const char *text, size_t n)
{
    s->content = arena_strndup(&r->t->arena, text, n);
    s->content_len = n;
    return s->content ? 0 : HCSMOE_ENOMEM;
}

static int read_content(const struct reader *r, const json_t *node, const char *path,
                        const char *key, const char *fallback, struct step *s)
{
    const char *text;
    size_t n;

    int rc = read_string(r, node, path, key, fallback, &text, &n);
    return rc < 0 ? rc : set_content(r, s, text, n);
}

static int add_split(const struct reader *r, const char *path, struct steps *out, const char *regex,
                     size_t n, bool literal, enum split_behavior behavior, bool invert)
{
    struct step *s = steps_add(out, STEP_SPLIT);

    if (!s) {
        return HCSMOE_ENOMEM;
    }
    s->behavior = behavior;
    s->invert = invert;
    int rc = pattern_compile(&s->pattern, regex, n, literal);
    return rc < 0 ? fail_in(rc, "%s: %s", r->file, path) : 0;
}

/* "pattern": {"String": "x"} or {"Regex": "x"} */
static int read_pattern(const struct reader *r, const json_t *node, const char *path,
                        const char **text, size_t *n, bool *literal)
{
    const json_t *pattern = json_object_get(node, "pattern");
    const json_t *string = json_object_get(pattern, "String");
    const json_t *regex = json_object_get(pattern, "Regex");
    const json_t *value = json_is_string(string) ? string : regex;

    if (!json_is_string(value)) {
        return fail(HCSMOE_EINVAL,
                    "%s: %s.pattern: has to be an object with a text 'String' or 'Regex'", r->file,
                    path);
    }
    *literal = value == string;
    *text = json_string_value(value);
    *n = json_string_length(value);
    return 0;
}

static int read_split(const struct reader *r, const json_t *node, const char *path,
                      struct steps *out)
{
    const char *text;
    size_t n;
    bool literal;
    bool invert;
    int behavior;

    int rc = read_pattern(r, node, path, &text, &n, &literal);
    rc = rc < 0 ? rc : read_bool(r, node, path, "invert", false, &invert);
    rc = rc < 0 ? rc
                : read_choice(r, node, path, "behavior", behavior_names, N_BEHAVIORS,
                              SPLIT_ISOLATED, &behavior);
    return rc < 0
               ? rc
               : add_split(r, path, out, text, n, literal, (enum split_behavior)behavior, invert);
}

static int read_replace_as(const struct reader *r, const json_t *node, const char *path,
                           struct steps *out, enum step_kind kind)
{
    const char *text;
    size_t n;
    bool literal;
    struct step *s = steps_add(out, kind);

    if (!s) {
        return HCSMOE_ENOMEM;
    }
    int rc = read_pattern(r, node, path, &text, &n, &literal);
    rc = rc < 0 ? rc : read_content(r, node, path, "content", NULL, s);
    if (rc < 0) {
        return rc;
    }
    rc = pattern_compile(&s->pattern, text, n, literal);
    return rc < 0 ? fail_in(rc, "%s: %s", r->file, path) : 0;
}

static int read_replace(const struct reader *r, const json_t *node, const char *path,
                        struct steps *out)
{
    return read_replace_as(r, node, path, out, STEP_REPLACE);
}

static int read_decode_replace(const struct reader *r, const json_t *node, const char *path,
                               struct steps *out)
{
    return read_replace_as(r, node, path, out, DECODE_REPLACE);
}

static int read_prepend(const struct reader *r, const json_t *node, const char *path,
                        struct steps *out)
{
    struct step *s = steps_add(out, STEP_PREPEND);

    return s ? read_content(r, node, path, "prepend", NULL, s) : HCSMOE_ENOMEM;
}

static int read_strip(const struct reader *r, const json_t *node, const char *path,
                      struct steps *out)
{
    struct step *s = steps_add(out, STEP_STRIP);

    if (!s) {
        return HCSMOE_ENOMEM;
    }
    int rc = read_bool(r, node, path, "strip_left", true, &s->strip_left);
    return rc < 0 ? rc : read_bool(r, node, path, "strip_right", true, &s->strip_right);
}

static int read_byte_level(const struct reader *r, const json_t *node, const char *path,
                           struct steps *out)
{
    bool space;
    bool use_regex;

    int rc = read_bool(r, node, path, "add_prefix_space", true, &space);
    rc = rc < 0 ? rc : read_bool(r, node, path, "use_regex", true, &use_regex);
    if (rc < 0) {
        return rc;
    }
    if (space && !steps_add(out, STEP_SPACE)) {
        return HCSMOE_ENOMEM;
    }
    if (use_regex) {
        rc = add_split(r, path, out, GPT2_WORDS, strlen(GPT2_WORDS), false, SPLIT_ISOLATED, false);
    }
    return rc < 0 || steps_add(out, STEP_BYTES) ? rc : HCSMOE_ENOMEM;
}

/* Older files have add_prefix_space in place of prepend_scheme. */
static int read_metaspace_as(const struct reader *r, const json_t *node, const char *path,
                             struct step *s)
{
    bool space;
    int scheme;

    int rc = read_content(r, node, path, "replacement", METASPACE, s);
    rc = rc < 0 ? rc : read_bool(r, node, path, "add_prefix_space", true, &space);
    if (rc < 0) {
        return rc;
    }
    if (s->content_len == 0 || s->content_len > REPLACEMENT_BYTES_MAX) {
        return fail(HCSMOE_EINVAL, "%s: %s.replacement: %s", r->file, path,
                    s->content_len == 0 ? "is empty" : "is too long");
    }
    rc = read_choice(r, node, path, "prepend_scheme", scheme_names, N_SCHEMES,
                     space ? PREPEND_ALWAYS : PREPEND_NEVER, &scheme);
    if (rc >= 0 && !space && scheme != PREPEND_NEVER) {
        return fail(HCSMOE_EINVAL, "%s: %s: add_prefix_space false contradicts prepend_scheme '%s'",
                    r->file, path, scheme_names[scheme]);
    }
    s->scheme = rc >= 0 ? (enum prepend_scheme)scheme : PREPEND_NEVER;
    return rc;
}

static int read_metaspace(const struct reader *r, const json_t *node, const char *path,
                          struct steps *out)
{
    bool split;
    struct step *s = steps_add(out, STEP_METASPACE);

    if (!s) {
        return HCSMOE_ENOMEM;
    }
    int rc = read_metaspace_as(r, node, path, s);
    rc = rc < 0 ? rc : read_bool(r, node, path, "split", true, &split);
    if (rc < 0 || !split) {
        return rc;
    }
    return add_split(r, path, out, s->content, s->content_len, true, SPLIT_MERGED_WITH_NEXT, false);
}

static int read_digits(const struct reader *r, const json_t *node, const char *path,
                       struct steps *out)
{
    bool individual;

    int rc = read_bool(r, node, path, "individual_digits", false, &individual);
    const char *regex = rc >= 0 && individual ? "\\p{N}" : "\\p{N}+";
    return rc < 0 ? rc
                  : add_split(r, path, out, regex, strlen(regex), false, SPLIT_ISOLATED, false);
}

static int read_punctuation(const struct reader *r, const json_t *node, const char *path,
                            struct steps *out)
{
    static const char regex[] = "[\\p{P}!-/:-@\\[-`{-~]";
    int behavior;

    int rc = read_choice(r, node, path, "behavior", behavior_names, N_BEHAVIORS, SPLIT_ISOLATED,
                         &behavior);
    return rc < 0 ? rc
                  : add_split(r, path, out, regex, strlen(regex), false,
                              (enum split_behavior)behavior, false);
}

static int read_delimiter(const struct reader *r, const json_t *node, const char *path,
                          struct steps *out)
{
    const char *text;
    size_t n;

    int rc = read_string(r, node, path, "delimiter", NULL, &text, &n);
    return rc < 0 ? rc : add_split(r, path, out, text, n, true, SPLIT_REMOVED, false);
}

static int read_count(const struct reader *r, const json_t *node, const char *path, const char *key,
                      size_t *count)
{
    const json_t *value = json_object_get(node, key);
    json_int_t n = json_integer_value(value);

    if (!json_is_integer(value) || n < 0 || n > INT_MAX) {
        return fail(HCSMOE_EINVAL, "%s: %s.%s: has to be a whole number from 0 on", r->file, path,
                    key);
    }
    *count = (size_t)n;
    return 0;
}

static int read_decode_strip(const struct reader *r, const json_t *node, const char *path,
                             struct steps *out)
{
    struct step *s = steps_add(out, DECODE_STRIP);

    if (!s) {
        return HCSMOE_ENOMEM;
    }
    int rc = read_content(r, node, path, "content", NULL, s);
    rc = rc < 0 ? rc : read_count(r, node, path, "start", &s->n_left);
    rc = rc < 0 ? rc : read_count(r, node, path, "stop", &s->n_right);
    if (rc >= 0 && s->content_len == 0) {
        return fail(HCSMOE_EINVAL, "%s: %s.content: is empty", r->file, path);
    }
    return rc;
}

static int read_decode_metaspace(const struct reader *r, const json_t *node, const char *path,
                                 struct steps *out)
{
    struct step *s = steps_add(out, DECODE_METASPACE);

    return s ? read_metaspace_as(r, node, path, s) : HCSMOE_ENOMEM;
}

static int read_decode_bpe(const struct reader *r, const json_t *node, const char *path,
                           struct steps *out)
{
    struct step *s = steps_add(out, DECODE_BPE);

    if (!s) {
        return HCSMOE_ENOMEM;
    }
    int rc = read_content(r, node, path, "suffix", "</w>", s);
    if (rc >= 0 && s->content_len == 0) {
        return fail(HCSMOE_EINVAL, "%s: %s.suffix: is empty", r->file, path);
    }
    return rc;
}

enum { FORM_D = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, FORM_C = UTF8PROC_STABLE | UTF8PROC_COMPOSE };

static const struct component normalizers[] = {
    {.type = "NFC", .kind = STEP_UNICODE, .unicode_form = FORM_C},
    {.type = "NFD", .kind = STEP_UNICODE, .unicode_form = FORM_D},
    {.type = "NFKC", .kind = STEP_UNICODE, .unicode_form = FORM_C | UTF8PROC_COMPAT},
    {.type = "NFKD", .kind = STEP_UNICODE, .unicode_form = FORM_D | UTF8PROC_COMPAT},
    {.type = "Prepend", .read = read_prepend},
    {.type = "Replace", .read = read_replace},
    {.type = "Strip", .read = read_strip},
    {.type = "Lowercase", .kind = STEP_LOWERCASE},
    {.type = "ByteLevel", .kind = STEP_BYTES},
};

static const struct component pre_tokenizers[] = {
    {.type = "Split", .read = read_split},
    {.type = "ByteLevel", .read = read_byte_level},
    {.type = "Metaspace", .read = read_metaspace},
    {.type = "Digits", .read = read_digits},
    {.type = "Punctuation", .read = read_punctuation},
    {.type = "CharDelimiterSplit", .read = read_delimiter},
    {.type = "WhitespaceSplit", .regex = "\\s", .behavior = SPLIT_REMOVED},
    {.type = "Whitespace", .regex = WORDS_OR_MARKS, .behavior = SPLIT_REMOVED, .invert = true},
};

static const struct component decoders[] = {
    {.type = "Replace", .read = read_decode_replace},
    {.type = "ByteFallback", .kind = DECODE_BYTE_FALLBACK},
    {.type = "Fuse", .kind = DECODE_FUSE},
    {.type = "Strip", .read = read_decode_strip},
    {.type = "ByteLevel", .kind = DECODE_BYTES},
    {.type = "Metaspace", .read = read_decode_metaspace},
    {.type = "BPEDecoder", .read = read_decode_bpe},
};

/* What may stand in one of the three places, and how a Sequence there calls its members. */
struct stage {
    const struct component *components;
    size_t n;
    const char *members;
};

static int read_stage(const struct reader *r, const json_t *node, const char *path,
                      const struct stage *stage, int depth, struct steps *out);

static int read_sequence(const struct reader *r, const json_t *node, const char *path,
                         const struct stage *stage, int depth, struct steps *out)
{
    const json_t *members = json_object_get(node, stage->members);
    size_t i;
    json_t *member;
    int rc = 0;

    if (!json_is_array(members)) {
        return fail(HCSMOE_EINVAL, "%s: %s.%s: has to be an array", r->file, path, stage->members);
    }
    if (depth == SEQUENCE_DEPTH_MAX) {
        return fail(HCSMOE_EINVAL, "%s: %s: more than %d Sequences inside each other", r->file,
                    path, SEQUENCE_DEPTH_MAX);
    }
    json_array_foreach(members, i, member)
    {
        char inner[JSON_PATH_BYTES];
        (void)snprintf(inner, sizeof inner, "%s.%s[%zu]", path, stage->members, i);
        rc = read_stage(r, member, inner, stage, depth + 1, out);
        if (rc < 0) {
            break;
        }
    }
    return rc;
}

static int refuse_type(const struct reader *r, const char *path, const char *type,
                       const struct stage *stage)
{
    struct str known = {0};

    for (size_t i = 0; i < stage->n; i++) {
        str_addf(&known, "%s, ", stage->components[i].type);
    }
    int rc = fail(HCSMOE_EUNSUPPORTED, "%s: %s: type '%s' is not supported (supported: %sSequence)",
                  r->file, path, type, str_text(&known));
    str_release(&known);
    return rc;
}

static int read_stage(const struct reader *r, const json_t *node, const char *path,
                      const struct stage *stage, int depth, struct steps *out)
{
    const char *type;
    size_t n;

    if (!node || json_is_null(node)) {
        return 0;
    }
    int rc = read_string(r, node, path, "type", NULL, &type, &n);
    if (rc < 0) {
        return rc;
    }
    if (out->n >= STEPS_MAX) {
        return fail(HCSMOE_EINVAL, "%s: %s: more than %d steps", r->file, path, STEPS_MAX);
    }
    if (strcmp(type, "Sequence") == 0) {
        return read_sequence(r, node, path, stage, depth, out);
    }
    for (size_t i = 0; i < stage->n; i++) {
        const struct component *c = &stage->components[i];
        if (strcmp(c->type, type) != 0) {
            continue;
        }
        if (c->read) {
            return c->read(r, node, path, out);
        }
        if (c->regex) {
            return add_split(r, path, out, c->regex, strlen(c->regex), false, c->behavior,
                             c->invert);
        }
        struct step *s = steps_add(out, c->kind);
        if (!s) {
            return HCSMOE_ENOMEM;
        }
        s->unicode_form = c->unicode_form;
        return 0;
    }
    return refuse_type(r, path, type, stage);
}

int read_normalizer(const struct reader *r, const json_t *node, struct steps *out)
{
    static const struct stage stage = {.components = normalizers,
                                       .n = sizeof normalizers / sizeof normalizers[0],
                                       .members = "normalizers"};
    return read_stage(r, node, "normalizer", &stage, 0, out);
}

int read_pre_tokenizer(const struct reader *r, const json_t *node, struct steps *out)
{
    static const struct stage stage = {.components = pre_tokenizers,
                                       .n = sizeof pre_tokenizers / sizeof pre_tokenizers[0],
                                       .members = "pretokenizers"};
    return read_stage(r, node, "pre_tokenizer", &stage, 0, out);
}

int read_decoder(const struct reader *r, const json_t *node, struct steps *out)
{
    static const struct stage stage = {
        .components = decoders, .n = sizeof decoders / sizeof decoders[0], .members = "decoders"};
    return read_stage(r, node, "decoder", &stage, 0, out);
}
