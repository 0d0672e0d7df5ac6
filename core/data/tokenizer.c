/*
 * tokenizer.c - text to token ids and back; the stages are in tokenizer_*.c.
 * SPDX-License-Identifier: MIT
 */
#include "data/tokenizer.h"

#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/path.h"
#include "data/tokenizer_internal.h"

enum {
    CONFIG_BYTES_MAX = 64 * 1024 * 1024 /* tokenizer_config.json may repeat all added tokens */
};

/* What a text of n bytes may cost, which no tokenizer in use comes near: a tokenizer.json is a
 * stranger's, and so may be the text. */
#define GROWTH_MAX 8                /* NFKC and byte-level pieces may well triple a text */
#define GROWTH_FREE ((size_t)65536) /* a short text may grow more: one character can become 18 */
#define NS_PER_BYTE 1000            /* of matching, ten times what slow tokenizers take */
#define NS_FREE 1000000000

/* Checkpoints say "no limit" with numbers like 1e30; nothing real comes near this. */
#define LENGTH_MAX 1e15

int token_ids_add(struct token_ids *ids, int32_t id)
{
    if (ids->n == ids->capacity &&
        mem_grow(&ids->ids, ids->n, &ids->capacity, sizeof *ids->ids) < 0) {
        return HCSMOE_ENOMEM;
    }
    ids->ids[ids->n++] = id;
    return 0;
}

void token_ids_release(struct token_ids *ids)
{
    mem_free(ids->ids);
    *ids = (struct token_ids){0};
}

void scratch_budget(struct scratch *x, size_t n)
{
    x->text_max =
        n > (SIZE_MAX - GROWTH_FREE) / GROWTH_MAX ? SIZE_MAX : n * GROWTH_MAX + GROWTH_FREE;
    x->time_end_ns = thread_time_ns() + (uint64_t)n * NS_PER_BYTE + NS_FREE;
}

int scratch_check(const struct scratch *x, const struct str *out)
{
    if (out->len <= x->text_max) {
        return str_check(out);
    }
    return fail(HCSMOE_EINVAL,
                "tokenizer.json makes more than %zu bytes of a text of %zu: not believed",
                x->text_max, (x->text_max - GROWTH_FREE) / GROWTH_MAX);
}

int scratch_init(struct scratch *x, size_t n)
{
    scratch_budget(x, n);
    x->match = pcre2_match_data_create(1, NULL);
    x->limits = pattern_limits();
    return x->match && x->limits ? 0 : fail_memory(sizeof *x);
}

void scratch_release(struct scratch *x)
{
    pcre2_match_data_free(x->match);
    pcre2_match_context_free(x->limits);
    for (int i = 0; i < 2; i++) {
        pieces_release(&x->norm[i]);
        pieces_release(&x->pre[i]);
    }
    str_release(&x->affixed);
    mem_free(x->symbols);
    mem_free(x->heap);
    *x = (struct scratch){0};
}

/* A member of a config file that is a name, or an object with the name as "content". */
static const char *config_name(const json_t *config, const char *key)
{
    const json_t *value = json_object_get(config, key);

    if (json_is_object(value)) {
        value = json_object_get(value, "content");
    }
    return json_string_value(value);
}

static int32_t find_text(const struct tokenizer *t, const char *text)
{
    for (int32_t id = 0; id < t->n_ids; id++) {
        if (t->texts[id] && strcmp(t->texts[id], text) == 0) {
            return id;
        }
    }
    return -1;
}

static void take_name(const struct tokenizer *t, const json_t *config, const char *path,
                      const char *key, int32_t *id)
{
    const char *name = config_name(config, key);

    if (!name || *id >= 0) {
        return;
    }
    *id = find_text(t, name);
    if (*id < 0) {
        log_line(LOG_WARN, "%s: %s '%s' is not a token of tokenizer.json; taken as none", path, key,
                 name);
    }
}

/* tokenizer_config.json or special_tokens_map.json; neither has to be there. */
static int read_config(struct tokenizer *t, const char *folder, const char *name)
{
    char *text = NULL;
    size_t size;
    json_error_t error;
    json_t *config = NULL;
    int rc = 0;

    char *path = path_join(folder, name);
    if (!path) {
        return HCSMOE_ENOMEM;
    }
    if (!path_exists(path)) {
        goto out;
    }
    rc = path_read(path, CONFIG_BYTES_MAX, &text, &size);
    if (rc < 0) {
        goto out;
    }
    /* "No limit" is an integer that fits no 64 bits. */
    config = json_take(text, size, JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &error);
    if (!config) {
        rc = fail_json(path, size, error.line, error.column, error.text);
        goto out;
    }
    if (!json_is_object(config)) {
        rc = fail(HCSMOE_EINVAL, "%s: not a JSON object", path);
        goto out;
    }
    take_name(t, config, path, "bos_token", &t->bos);
    take_name(t, config, path, "eos_token", &t->eos);
    double length = json_number_value(json_object_get(config, "model_max_length"));
    if (t->max_length == 0 && length >= 1 && length < LENGTH_MAX) {
        t->max_length = (int64_t)length;
    }
out:
    json_decref(config);
    mem_free(text);
    mem_free(path);
    return rc;
}

int tokenizer_open(struct tokenizer **out, const char *folder)
{
    int rc;
    char *path = path_join(folder, "tokenizer.json");
    struct tokenizer *t = mem_new(1, sizeof *t);

    *out = NULL;
    if (!path || !t) {
        rc = HCSMOE_ENOMEM;
        goto out;
    }
    t->bos = t->eos = -1;
    rc = tokenizer_read_json(t, path);
    rc = rc < 0 ? rc : read_config(t, folder, "tokenizer_config.json");
    rc = rc < 0 ? rc : read_config(t, folder, "special_tokens_map.json");
    if (rc >= 0) {
        *out = t;
        t = NULL;
    }
out:
    tokenizer_close(t);
    mem_free(path);
    return rc;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t) {
        return;
    }
    steps_release(&t->normalizer);
    steps_release(&t->pre_tokenizer);
    steps_release(&t->decoder);
    token_ids_release(&t->before);
    token_ids_release(&t->after);
    mem_free(t->raw.tokens);
    mem_free(t->normalized.tokens);
    mem_free(t->bpe.slots);
    mem_free(t->bpe.merges);
    mem_free(t->bpe.merge_slots);
    mem_free(t->bpe.joints);
    mem_free(t->texts);
    mem_free(t->lens);
    arena_release(&t->arena);
    mem_free(t);
}

int normalize_text(const struct tokenizer *t, struct scratch *x, const char *text, size_t n,
                   bool first, struct pieces **result)
{
    int rc = pieces_set(&x->norm[0], text, n, first);
    return rc < 0 ? rc : steps_run(&t->normalizer, x, x->norm, result);
}

/* Text without added tokens: pre-tokenizer and model. */
static int encode_plain(const struct tokenizer *t, struct scratch *x, const char *text, size_t n,
                        bool first, struct token_ids *out)
{
    struct pieces *words;

    if (n == 0) {
        return 0;
    }
    int rc = pieces_set(&x->pre[0], text, n, first);
    rc = rc < 0 ? rc : steps_run(&t->pre_tokenizer, x, x->pre, &words);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < words->n && rc >= 0; i++) {
        rc = bpe_encode(t, x, words->text.text + words->spans[i].at, words->spans[i].len, out);
    }
    return rc;
}

/* Text between tokens that were cut out of the raw text. */
static int encode_stretch(const struct tokenizer *t, struct scratch *x, const char *text, size_t n,
                          bool first, struct token_ids *out)
{
    struct pieces *norm;

    if (n == 0) {
        return 0;
    }
    int rc = normalize_text(t, x, text, n, first, &norm);
    if (rc < 0 || norm->n == 0) {
        return rc;
    }
    struct added_walk walk = {
        .set = &t->normalized, .text = norm->text.text, .n = norm->spans[0].len};
    int32_t id;
    do {
        size_t at;
        size_t len;
        id = added_next(&walk, &at, &len);
        rc = encode_plain(t, x, walk.text + at, len, first && at == 0, out);
        if (rc >= 0 && id >= 0) {
            rc = token_ids_add(out, id);
        }
    } while (id >= 0 && rc >= 0);
    return rc;
}

static int add_all(struct token_ids *out, const struct token_ids *ids)
{
    int rc = 0;

    for (size_t i = 0; i < ids->n && rc >= 0; i++) {
        rc = token_ids_add(out, ids->ids[i]);
    }
    return rc;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, bool special,
                     struct token_ids *out)
{
    struct scratch x = {0};
    struct str clean = {0};
    size_t n_before = out->n;
    int32_t id;

    int rc = scratch_init(&x, n);
    if (rc < 0) {
        scratch_release(&x);
        return rc;
    }
    if (!utf8_is_valid(text, n)) {
        utf8_add_lossy(&clean, text, n);
        rc = str_check(&clean);
        text = str_text(&clean);
        n = clean.len;
    }
    if (rc >= 0 && special) {
        rc = add_all(out, &t->before);
    }
    struct added_walk walk = {.set = &t->raw, .text = text, .n = n};
    do {
        size_t at;
        size_t len;
        id = rc < 0 ? -1 : added_next(&walk, &at, &len);
        rc = rc < 0 ? rc : encode_stretch(t, &x, text + at, len, at == 0, out);
        if (rc >= 0 && id >= 0) {
            rc = token_ids_add(out, id);
        }
    } while (id >= 0 && rc >= 0);
    if (rc >= 0 && special) {
        rc = add_all(out, &t->after);
    }
    if (rc < 0) {
        out->n = n_before;
    }
    str_release(&clean);
    scratch_release(&x);
    return rc;
}

int tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, char **text)
{
    struct scratch x = {0};
    struct str out = {0};

    *text = NULL;
    int rc = scratch_init(&x, 0);
    rc = rc < 0 ? rc : decode_tokens(t, &x, ids, n, &out);
    if (rc >= 0) {
        *text = mem_strndup(str_text(&out), out.len);
        rc = *text ? 0 : HCSMOE_ENOMEM;
    }
    str_release(&out);
    scratch_release(&x);
    return rc;
}

int32_t tokenizer_size(const struct tokenizer *t)
{
    return t->n_ids;
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
    return t->bos;
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
    return t->eos;
}

const char *tokenizer_text(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->n_ids ? t->texts[id] : NULL;
}

int64_t tokenizer_max_length(const struct tokenizer *t)
{
    return t->max_length;
}
