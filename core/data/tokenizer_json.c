/*
 * tokenizer_json.c - reading tokenizer.json: vocabulary, merges, added tokens and post-processor.
 * SPDX-License-Identifier: MIT
 */
#include "data/tokenizer_internal.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/path.h"

enum {
    FILE_BYTES_MAX = 256 * 1024 * 1024, /* the largest published ones have about 35 MB */
    IDS_MAX = 1024 * 1024,              /* published vocabularies stay below 300,000 */
    ADDED_BYTES_MAX = 512 /* of an added token, for which every place is looked at; real: 60 */
};

int fail_json(const char *file, size_t size, int line, int column, const char *what)
{
    if (line < 0) {
        return fail_memory(size); /* jansson knows no place then, and says nothing */
    }
    return fail(HCSMOE_EINVAL, "%s:%d:%d: %s", file, line, column, what);
}

int read_bool(const struct reader *r, const json_t *node, const char *path, const char *key,
              bool fallback, bool *value)
{
    const json_t *member = json_object_get(node, key);

    *value = fallback;
    if (!member || json_is_null(member)) {
        return 0;
    }
    if (!json_is_boolean(member)) {
        return fail(HCSMOE_EINVAL, "%s: %s.%s: has to be true or false", r->file, path, key);
    }
    *value = json_is_true(member);
    return 0;
}

int read_string(const struct reader *r, const json_t *node, const char *path, const char *key,
                const char *fallback, const char **text, size_t *n)
{
    const json_t *member = json_object_get(node, key);

    if (fallback && (!member || json_is_null(member))) {
        *text = fallback;
        *n = strlen(fallback);
        return 0;
    }
    if (!json_is_string(member)) {
        return fail(HCSMOE_EINVAL, "%s: %s.%s: %s", r->file, path, key,
                    member ? "has to be a text" : "is missing");
    }
    *text = json_string_value(member);
    *n = json_string_length(member);
    return 0;
}

static int read_id(const struct reader *r, const json_t *value, const char *path, const char *name,
                   int32_t *id)
{
    json_int_t n = json_integer_value(value);

    if (!json_is_integer(value) || n < 0 || n >= IDS_MAX) {
        return fail(HCSMOE_EINVAL, "%s: %s: the id of '%s' has to be a whole number from 0 to %d",
                    r->file, path, name, IDS_MAX - 1);
    }
    *id = (int32_t)n;
    return 0;
}

static int set_text(const struct reader *r, const char *path, int32_t id, const char *text,
                    size_t n)
{
    struct tokenizer *t = r->t;

    if (t->texts[id]) {
        return fail(HCSMOE_EINVAL, "%s: %s: id %d belongs to '%s' and to '%s'", r->file, path,
                    (int)id, t->texts[id], text);
    }
    t->texts[id] = arena_strndup(&t->arena, text, n);
    t->lens[id] = (uint32_t)n;
    return t->texts[id] ? 0 : HCSMOE_ENOMEM;
}

/* One more than the largest id of pieces and added tokens, and room for all of them. */
static int make_room(const struct reader *r, const json_t *vocab, const json_t *added)
{
    struct tokenizer *t = r->t;
    int32_t last = -1;
    int32_t id = -1;
    const char *text;
    json_t *value;
    size_t i;

    json_object_foreach((json_t *)vocab, text, value)
    {
        int rc = read_id(r, value, "model.vocab", text, &id);
        if (rc < 0) {
            return rc;
        }
        last = id > last ? id : last;
    }
    json_array_foreach(added, i, value)
    {
        char path[JSON_PATH_BYTES];
        size_t n;
        (void)snprintf(path, sizeof path, "added_tokens[%zu]", i);
        int rc = read_string(r, value, path, "content", NULL, &text, &n);
        rc = rc < 0 ? rc : read_id(r, json_object_get(value, "id"), path, text, &id);
        if (rc < 0) {
            return rc;
        }
        last = id > last ? id : last;
    }
    if (json_object_size(vocab) == 0) {
        return fail(HCSMOE_EINVAL, "%s: model.vocab: is empty", r->file);
    }
    t->n_ids = last + 1;
    t->texts = mem_new((size_t)t->n_ids, sizeof *t->texts);
    t->lens = mem_new((size_t)t->n_ids, sizeof *t->lens);
    return t->texts && t->lens ? 0 : HCSMOE_ENOMEM;
}

static int read_vocab(const struct reader *r, const json_t *vocab)
{
    const char *text;
    json_t *value;

    json_object_foreach((json_t *)vocab, text, value)
    {
        int32_t id = (int32_t)json_integer_value(value);
        int rc = set_text(r, "model.vocab", id, text, strlen(text));
        if (rc < 0) {
            return rc;
        }
    }
    return bpe_index_pieces(r->t);
}

/* The halves of "a b" or ["a", "b"]. */
static bool merge_halves(const json_t *merge, const char *half[2], size_t len[2])
{
    const char *text = json_string_value(merge);

    if (text) {
        size_t n = json_string_length(merge);
        const char *space = memchr(text, ' ', n);
        if (!space || memchr(space + 1, ' ', n - (size_t)(space + 1 - text))) {
            return false;
        }
        half[0] = text;
        len[0] = (size_t)(space - text);
        half[1] = space + 1;
        len[1] = n - len[0] - 1;
        return true;
    }
    for (size_t k = 0; k < 2; k++) {
        const json_t *part = json_array_get(merge, k);
        half[k] = json_string_value(part);
        len[k] = json_string_length(part);
    }
    return json_array_size(merge) == 2 && half[0] && half[1];
}

static int read_merge(const struct reader *r, const json_t *merge, size_t rank, struct str *joined,
                      struct merge *m)
{
    const struct bpe *b = &r->t->bpe;
    const char *half[2];
    size_t len[2];
    int32_t ids[3];

    if (!merge_halves(merge, half, len)) {
        return fail(HCSMOE_EINVAL, "%s: model.merges[%zu]: has to be \"a b\" or [\"a\", \"b\"]",
                    r->file, rank);
    }
    /* The right half loses its continuing_subword_prefix inside the joined piece. */
    size_t skip = len[1] >= b->prefix_len ? b->prefix_len : len[1];
    str_clear(joined);
    str_add_bytes(joined, half[0], len[0]);
    str_add_bytes(joined, half[1] + skip, len[1] - skip);
    if (str_check(joined) < 0) {
        return HCSMOE_ENOMEM;
    }
    const char *texts[3] = {half[0], half[1], str_text(joined)};
    size_t lens[3] = {len[0], len[1], joined->len};
    for (int k = 0; k < 3; k++) {
        ids[k] = bpe_find(r->t, texts[k], lens[k]);
        if (ids[k] < 0) {
            return fail(HCSMOE_EINVAL, "%s: model.merges[%zu]: '%.*s' is not in model.vocab",
                        r->file, rank, (int)lens[k], texts[k]);
        }
    }
    *m = (struct merge){.left = ids[0], .right = ids[1], .result = ids[2]};
    return 0;
}

static int read_merges(const struct reader *r, const json_t *merges)
{
    struct bpe *b = &r->t->bpe;
    struct str joined = {0};
    size_t n = json_array_size(merges);
    size_t duplicate;
    int rc = 0;

    if (n >= UINT32_MAX) {
        return fail(HCSMOE_EINVAL, "%s: model.merges: %zu are too many", r->file, n);
    }
    b->n_merges = n;
    b->merges = mem_new(n, sizeof *b->merges);
    if (!b->merges) {
        return HCSMOE_ENOMEM;
    }
    for (size_t i = 0; i < n && rc >= 0; i++) {
        rc = read_merge(r, json_array_get(merges, i), i, &joined, &b->merges[i]);
    }
    str_release(&joined);
    rc = rc < 0 ? rc : bpe_index_merges(r->t, &duplicate);
    if (rc == HCSMOE_EINVAL && b->merge_slots) {
        const struct merge *m = &b->merges[duplicate];
        return fail(rc,
                    "%s: model.merges[%zu]: '%s' and '%s' are merged by an earlier line already",
                    r->file, duplicate, r->t->texts[m->left], r->t->texts[m->right]);
    }
    return rc;
}

static int read_affix(const struct reader *r, const json_t *model, const char *key,
                      const char **text, size_t *n)
{
    int rc = read_string(r, model, "model", key, "", text, n);
    if (rc < 0) {
        return rc;
    }
    *text = arena_strndup(&r->t->arena, *text, *n);
    return *text ? 0 : HCSMOE_ENOMEM;
}

static int read_model(const struct reader *r, const json_t *model, const json_t *added)
{
    struct bpe *b = &r->t->bpe;
    const json_t *vocab = json_object_get(model, "vocab");
    const json_t *merges = json_object_get(model, "merges");
    const char *type;
    const char *unk;
    size_t n;

    /* The oldest files do not name the type; only BPE has merges. */
    int rc = read_string(r, model, "model", "type", merges ? "BPE" : NULL, &type, &n);
    if (rc < 0) {
        return rc;
    }
    if (strcmp(type, "BPE") != 0) {
        return fail(HCSMOE_EUNSUPPORTED, "%s: model: type '%s' is not supported (supported: BPE)",
                    r->file, type);
    }
    if (!json_is_object(vocab) || !json_is_array(merges)) {
        return fail(HCSMOE_EINVAL, "%s: model.%s: %s", r->file,
                    json_is_object(vocab) ? "merges" : "vocab",
                    json_is_object(vocab) ? "has to be an array" : "has to be an object");
    }
    if (json_number_value(json_object_get(model, "dropout")) != 0) {
        return fail(HCSMOE_EUNSUPPORTED, "%s: model.dropout: only null and 0 are supported",
                    r->file);
    }
    rc = read_bool(r, model, "model", "byte_fallback", false, &b->byte_fallback);
    rc = rc < 0 ? rc : read_bool(r, model, "model", "fuse_unk", false, &b->fuse_unk);
    rc = rc < 0 ? rc : read_bool(r, model, "model", "ignore_merges", false, &b->ignore_merges);
    rc =
        rc < 0 ? rc : read_affix(r, model, "continuing_subword_prefix", &b->prefix, &b->prefix_len);
    rc = rc < 0 ? rc : read_affix(r, model, "end_of_word_suffix", &b->suffix, &b->suffix_len);
    rc = rc < 0 ? rc : read_string(r, model, "model", "unk_token", "", &unk, &n);
    rc = rc < 0 ? rc : make_room(r, vocab, added);
    rc = rc < 0 ? rc : read_vocab(r, vocab);
    if (rc < 0) {
        return rc;
    }
    b->unk_id = n > 0 ? bpe_find(r->t, unk, n) : -1;
    b->unk_missing = n > 0 && b->unk_id < 0;
    return read_merges(r, merges);
}

static int read_added(const struct reader *r, const json_t *node, const char *path,
                      struct scratch *x, struct added_set *all)
{
    struct tokenizer *t = r->t;
    struct added_token token = {0};
    bool special;
    bool normalized;
    const char *text;

    int rc = read_string(r, node, path, "content", NULL, &text, &token.len);
    rc = rc < 0 ? rc : read_bool(r, node, path, "single_word", false, &token.single_word);
    rc = rc < 0 ? rc : read_bool(r, node, path, "lstrip", false, &token.lstrip);
    rc = rc < 0 ? rc : read_bool(r, node, path, "rstrip", false, &token.rstrip);
    rc = rc < 0 ? rc : read_bool(r, node, path, "special", false, &special);
    rc = rc < 0 ? rc : read_bool(r, node, path, "normalized", !special, &normalized);
    if (rc < 0 || token.len == 0) {
        return rc; /* nothing can be cut out for an empty one */
    }
    if (token.len > ADDED_BYTES_MAX) {
        return fail(HCSMOE_EINVAL, "%s: %s.content: %zu bytes, at most %d", r->file, path,
                    token.len, ADDED_BYTES_MAX);
    }
    scratch_budget(x, token.len);
    token.id = (int32_t)json_integer_value(json_object_get(node, "id"));
    token.order = special ? 0 : 1; /* where two normalise to the same, special ones go first */
    int32_t piece = bpe_find(t, text, token.len);
    if (piece >= 0 && piece != token.id) {
        return fail(HCSMOE_EINVAL, "%s: %s: '%s' has id %d here and %d in model.vocab", r->file,
                    path, text, (int)token.id, (int)piece);
    }
    rc = piece >= 0 ? 0 : set_text(r, path, token.id, text, token.len);
    if (rc < 0) {
        return rc;
    }
    token.text = t->texts[token.id];
    rc = added_add(all, &token);
    if (rc < 0 || !normalized) {
        return rc < 0 ? rc : added_add(&t->raw, &token);
    }
    struct pieces *norm;
    rc = normalize_text(t, x, text, token.len, true, &norm);
    if (rc < 0 || norm->n == 0) {
        return rc;
    }
    token.len = norm->spans[0].len;
    token.text = arena_strndup(&t->arena, norm->text.text, token.len);
    return token.text ? added_add(&t->normalized, &token) : HCSMOE_ENOMEM;
}

static int read_all_added(const struct reader *r, const json_t *added)
{
    struct scratch x = {0};
    struct added_set all = {0};
    size_t i;
    json_t *node;

    int rc = scratch_init(&x, 0);
    json_array_foreach(added, i, node)
    {
        char path[JSON_PATH_BYTES];
        if (rc < 0) {
            break;
        }
        (void)snprintf(path, sizeof path, "added_tokens[%zu]", i);
        rc = read_added(r, node, path, &x, &all);
    }
    added_sort(&all);
    for (i = 1; i < all.n && rc >= 0; i++) {
        if (all.tokens[i].len == all.tokens[i - 1].len &&
            memcmp(all.tokens[i].text, all.tokens[i - 1].text, all.tokens[i].len) == 0) {
            rc = fail(HCSMOE_EINVAL, "%s: added_tokens: '%s' is there twice", r->file,
                      all.tokens[i].text);
        }
    }
    added_sort(&r->t->raw);
    added_sort(&r->t->normalized);
    mem_free(all.tokens);
    scratch_release(&x);
    return rc;
}

/* The ids of special_tokens[name], in their order. */
static int read_template_token(const struct reader *r, const json_t *node, const char *path,
                               const json_t *piece, struct token_ids *ids)
{
    const char *name = json_string_value(json_object_get(piece, "id"));
    const json_t *token =
        json_object_get(json_object_get(node, "special_tokens"), name ? name : "");
    const json_t *list = json_object_get(token, "ids");
    size_t i;
    json_t *value;

    if (!name || json_array_size(list) == 0) {
        return fail(HCSMOE_EINVAL,
                    "%s: %s.special_tokens: there are no ids of '%s', which single names", r->file,
                    path, name ? name : "");
    }
    json_array_foreach(list, i, value)
    {
        int32_t id = -1;
        int rc = read_id(r, value, path, name, &id);
        if (rc >= 0 && !tokenizer_text(r->t, id)) {
            rc = fail(HCSMOE_EINVAL, "%s: %s.special_tokens: id %d of '%s' is no token", r->file,
                      path, (int)id, name);
        }
        rc = rc < 0 ? rc : token_ids_add(ids, id);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* Puts the ids that stand before the text in front of those of earlier processors, the others
 * behind. */
static int wrap(struct tokenizer *t, struct token_ids *before, const struct token_ids *after)
{
    int rc = 0;

    for (size_t i = 0; i < t->before.n && rc >= 0; i++) {
        rc = token_ids_add(before, t->before.ids[i]);
    }
    struct token_ids old = t->before;
    t->before = *before;
    *before = old;
    for (size_t i = 0; i < after->n && rc >= 0; i++) {
        rc = token_ids_add(&t->after, after->ids[i]);
    }
    return rc;
}

static int read_template(const struct reader *r, const json_t *node, const char *path)
{
    const json_t *single = json_object_get(node, "single");
    struct token_ids side[2] = {{0}, {0}};
    int n_texts = 0;
    size_t i;
    json_t *piece;
    int rc = 0;

    json_array_foreach(single, i, piece)
    {
        const json_t *special = json_object_get(piece, "SpecialToken");
        const json_t *text = json_object_get(json_object_get(piece, "Sequence"), "id");
        const char *name = json_string_value(text);
        if (special) {
            rc = read_template_token(r, node, path, special, &side[n_texts > 0]);
        } else if (name && strcmp(name, "A") == 0) {
            n_texts++;
        } else {
            rc = fail(HCSMOE_EINVAL,
                      "%s: %s.single[%zu]: has to be a SpecialToken or the Sequence 'A'", r->file,
                      path, i);
        }
        if (rc < 0) {
            goto out;
        }
    }
    if (n_texts != 1) {
        rc = fail(HCSMOE_EUNSUPPORTED,
                  "%s: %s.single: the Sequence 'A' has to be there once, not %d times", r->file,
                  path, n_texts);
        goto out;
    }
    rc = wrap(r->t, &side[0], &side[1]);
out:
    token_ids_release(&side[0]);
    token_ids_release(&side[1]);
    return rc;
}

static int read_post_processor(const struct reader *r, const json_t *node, const char *path,
                               int depth)
{
    const json_t *members = json_object_get(node, "processors");
    const char *type;
    size_t n;
    json_t *member;

    if (!node || json_is_null(node)) {
        return 0;
    }
    int rc = read_string(r, node, path, "type", NULL, &type, &n);
    if (rc < 0) {
        return rc;
    }
    if (strcmp(type, "ByteLevel") == 0) {
        return 0; /* it only moves the borders of words, which nobody asks for */
    }
    if (strcmp(type, "TemplateProcessing") == 0) {
        return read_template(r, node, path);
    }
    if (strcmp(type, "Sequence") != 0) {
        return fail(HCSMOE_EUNSUPPORTED,
                    "%s: %s: type '%s' is not supported (supported: "
                    "TemplateProcessing, ByteLevel, Sequence)",
                    r->file, path, type);
    }
    if (!json_is_array(members) || depth == SEQUENCE_DEPTH_MAX) {
        return fail(HCSMOE_EINVAL,
                    "%s: %s.processors: has to be an array, at most %d inside each other", r->file,
                    path, SEQUENCE_DEPTH_MAX);
    }
    json_array_foreach(members, n, member)
    {
        char inner[JSON_PATH_BYTES];
        (void)snprintf(inner, sizeof inner, "%s.processors[%zu]", path, n);
        rc = read_post_processor(r, member, inner, depth + 1);
        if (rc < 0) {
            break;
        }
    }
    return rc;
}

static int read_root(const struct reader *r, const json_t *root)
{
    struct tokenizer *t = r->t;
    const json_t *model = json_object_get(root, "model");
    const json_t *added = json_object_get(root, "added_tokens");

    if (!json_is_object(model)) {
        return fail(HCSMOE_EINVAL, "%s: model: %s", r->file,
                    model ? "has to be an object" : "is missing");
    }
    if (added && !json_is_null(added) && !json_is_array(added)) {
        return fail(HCSMOE_EINVAL, "%s: added_tokens: has to be an array", r->file);
    }
    int rc = read_normalizer(r, json_object_get(root, "normalizer"), &t->normalizer);
    rc = rc < 0 ? rc
                : read_pre_tokenizer(r, json_object_get(root, "pre_tokenizer"), &t->pre_tokenizer);
    rc = rc < 0 ? rc : read_decoder(r, json_object_get(root, "decoder"), &t->decoder);
    rc = rc < 0 ? rc : read_model(r, model, added);
    rc = rc < 0 ? rc : read_all_added(r, added);
    return rc < 0 ? rc
                  : read_post_processor(r, json_object_get(root, "post_processor"),
                                        "post_processor", 0);
}

int tokenizer_read_json(struct tokenizer *t, const char *file)
{
    const struct reader r = {.t = t, .file = file};
    json_error_t error;
    char *text = NULL;
    size_t size;

    int rc = path_read(file, FILE_BYTES_MAX, &text, &size);
    if (rc < 0) {
        return rc;
    }
    json_t *root = json_take(text, size, JSON_ALLOW_NUL, &error);
    mem_free(text);
    if (!root) {
        return fail_json(file, size, error.line, error.column, error.text);
    }
    rc = read_root(&r, root);
    json_decref(root);
    return rc;
}
