/*
 * corpus.c - calibration text to blocks of token ids.
 * SPDX-License-Identifier: MIT
 *
 * The file is read twice: once to count its documents, because the shuffle depends on their number,
 * and once to keep the few that the shuffle puts in front. A C4 shard never has to fit into memory.
 */
#include "data/corpus.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "base/str.h"

enum {
    DOCUMENTS_PER_BLOCK = 16,   /* eval-tasks.md 9.4 step 2 */
    DOCUMENTS_PER_BATCH = 1000, /* step 4: what is left over at the end of a batch is dropped */
    HASH_IDS_AT_ONCE = 1024
};

struct document {
    char *text; /* owned by the arena of struct documents */
    size_t len;
};

struct documents {
    struct arena arena;
    struct document *items; /* in shuffled order */
    int64_t n;
};

struct source {
    const char *path;
    bool json;
    int64_t n_rows;
};

static bool is_json_name(const char *path)
{
    size_t n = strlen(path);

    if (str_ends(path, ".gz")) {
        n -= strlen(".gz");
    }
    const char *const endings[] = {".json", ".jsonl"};
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t m = strlen(endings[i]);
        if (n >= m && memcmp(path + n - m, endings[i], m) == 0) {
            return true;
        }
    }
    return false;
}

/* Cuts white space off both ends. */
static void trim(char **line, size_t *len)
{
    while (*len > 0 && isspace((unsigned char)(*line)[*len - 1])) {
        --*len;
    }
    while (*len > 0 && isspace((unsigned char)(*line)[0])) {
        ++*line;
        --*len;
    }
}

/* The next line that is not blank, as lines_next. */
static int next_row(struct lines *lines, char **line, size_t *len)
{
    int rc;

    while ((rc = lines_next(lines, line, len)) > 0) {
        char *shown = *line;
        size_t n = *len;
        trim(&shown, &n);
        if (n > 0) {
            break;
        }
    }
    return rc;
}

/* Only chosen lines are parsed; this catches the file that is no list of objects at all, or that
 * ends early. */
static int check_row(const struct source *s, const struct lines *lines, char *line, size_t len)
{
    if (!s->json) {
        return 0;
    }
    trim(&line, &len);
    if (line[0] == '{' && line[len - 1] == '}') {
        return 0;
    }
    return fail(HCSMOE_EINVAL, "%s:%" PRId64 ": not a JSON object on one line%s", s->path,
                lines_number(lines),
                line[0] == '[' ? " (an array has to be split into lines)" : "");
}

static int count_rows(struct source *s)
{
    struct lines *lines;
    char *line;
    size_t len;

    int rc = lines_open(&lines, s->path);
    if (rc < 0) {
        return rc;
    }
    while ((rc = next_row(lines, &line, &len)) > 0) {
        rc = check_row(s, lines, line, len);
        if (rc < 0) {
            break;
        }
        s->n_rows++;
    }
    lines_close(lines);
    if (rc >= 0 && s->n_rows == 0) {
        rc = fail(HCSMOE_EINVAL, "%s: no documents in it", s->path);
    }
    return rc;
}

/* "text", or else the first member that is a string. */
static const json_t *text_member(const json_t *object)
{
    const json_t *text = json_object_get(object, "text");
    const char *key;
    json_t *value;

    if (text) {
        return json_is_string(text) ? text : NULL;
    }
    json_object_foreach((json_t *)object, key, value)
    {
        if (json_is_string(value)) {
            return value;
        }
    }
    return NULL;
}

static int keep_row(const struct source *s, const struct lines *lines, const char *line, size_t len,
                    struct arena *arena, struct document *d)
{
    json_error_t error;
    json_t *object = NULL;
    int rc = 0;

    if (s->json) {
        object = json_take(line, len, JSON_ALLOW_NUL, &error);
        if (!object) {
            return error.line < 0 ? fail_memory(len)
                                  : fail(HCSMOE_EINVAL, "%s:%" PRId64 ":%d: %s", s->path,
                                         lines_number(lines), error.column, error.text);
        }
        const json_t *text = text_member(object);
        if (!text) {
            rc = fail(HCSMOE_EINVAL, "%s:%" PRId64 ": %s", s->path, lines_number(lines),
                      json_object_get(object, "text") ? "'text' is not a string"
                                                      : "no member that is a string");
            goto out;
        }
        line = json_string_value(text);
        len = json_string_length(text);
    }
    d->text = arena_strndup(arena, line, len);
    d->len = len;
    rc = d->text ? 0 : HCSMOE_ENOMEM;
out:
    json_decref(object);
    return rc;
}

/* place[row] says where in the shuffled order a row stands, -1: nowhere. */
static int keep_rows(const struct source *s, const int64_t *place, struct documents *docs)
{
    struct lines *lines;
    char *line;
    size_t len;
    int64_t row = 0;

    int rc = lines_open(&lines, s->path);
    if (rc < 0) {
        return rc;
    }
    while ((rc = next_row(lines, &line, &len)) > 0 && row < s->n_rows) {
        if (place[row] >= 0) {
            rc = keep_row(s, lines, line, len, &docs->arena, &docs->items[place[row]]);
            if (rc < 0) {
                break;
            }
        }
        row++;
    }
    lines_close(lines);
    if (rc >= 0 && (rc > 0 || row < s->n_rows)) {
        rc = fail(HCSMOE_EIO, "%s: changed while it was read", s->path);
    }
    return rc;
}

static int choose_documents(const struct source *s, int64_t n_blocks, uint64_t seed,
                            struct documents *docs)
{
    size_t n_rows = (size_t)s->n_rows;
    int64_t *order = mem_new_raw(n_rows, sizeof *order);
    int64_t *place = mem_new_raw(n_rows, sizeof *place);
    int rc = HCSMOE_ENOMEM;

    docs->n =
        s->n_rows / DOCUMENTS_PER_BLOCK >= n_blocks ? n_blocks * DOCUMENTS_PER_BLOCK : s->n_rows;
    docs->items = mem_new((size_t)docs->n, sizeof *docs->items);
    if (!order || !place || !docs->items) {
        goto out;
    }
    pcg64_permutation(seed, s->n_rows, order);
    for (size_t i = 0; i < n_rows; i++) {
        place[i] = -1;
    }
    for (int64_t i = 0; i < docs->n; i++) {
        place[order[i]] = i;
    }
    rc = keep_rows(s, place, docs);
out:
    mem_free(place);
    mem_free(order);
    return rc;
}

/* Cuts one batch into blocks. A batch that is shorter than a block is one short block (step 4). */
static int cut_batch(struct corpus_blocks *b, const char *path, int64_t n_blocks,
                     const struct token_ids *batch, struct token_ids *kept)
{
    int64_t total = (int64_t)batch->n;
    int64_t n = total / b->block_size;
    int64_t n_kept = b->n_available < n_blocks ? n_blocks - b->n_available : 0;
    int rc = 0;

    if (n == 0 && total > 0 && n_kept > 0) {
        return fail(HCSMOE_EINVAL,
                    "%s: a batch of documents gives only %" PRId64 " tokens, less than "
                    "one block of %" PRId64 "; use a smaller block or a longer text",
                    path, total, b->block_size);
    }
    n_kept = n_kept < n ? n_kept : n;
    for (int64_t i = 0; i < n_kept * b->block_size && rc >= 0; i++) {
        rc = mem_grow(&kept->ids, kept->n, &kept->capacity, sizeof *kept->ids);
        if (rc >= 0) {
            kept->ids[kept->n++] = batch->ids[i];
        }
    }
    b->n_available += n == 0 && total > 0 ? 1 : n;
    return rc;
}

static int tokenize(struct corpus_blocks *b, const char *path, const struct tokenizer *t,
                    const struct documents *docs, int64_t n_blocks, struct token_ids *kept)
{
    struct token_ids batch = {0};
    int rc = 0;

    for (int64_t i = 0; i < docs->n && rc >= 0; i++) {
        rc = tokenizer_encode(t, docs->items[i].text, docs->items[i].len, true, &batch);
        bool last = i + 1 == docs->n || (i + 1) % DOCUMENTS_PER_BATCH == 0;
        if (rc >= 0 && last) {
            rc = cut_batch(b, path, n_blocks, &batch, kept);
            batch.n = 0;
        }
    }
    token_ids_release(&batch);
    return rc;
}

static void hash_ids(struct corpus_blocks *b)
{
    const size_t n_ids = (size_t)b->n_blocks * (size_t)b->block_size;
    struct sha256 sum;
    unsigned char bytes[HASH_IDS_AT_ONCE * 4];
    size_t n = 0;

    sha256_init(&sum);
    for (size_t i = 0; i < n_ids; i++) {
        uint32_t id = (uint32_t)b->ids[i];
        for (int k = 0; k < 4; k++) {
            bytes[n++] = (unsigned char)(id >> 8 * k);
        }
        if (n == sizeof bytes || i + 1 == n_ids) {
            sha256_add(&sum, bytes, n);
            n = 0;
        }
    }
    sha256_hex(&sum, b->sha256);
}

int corpus_read(struct corpus_blocks *b, const char *path, const struct tokenizer *t,
                int64_t n_blocks, int64_t block_size, uint64_t seed)
{
    struct source s = {.path = path, .json = is_json_name(path)};
    struct documents docs = {0};
    struct token_ids kept = {0};
    size_t n_ids;
    int64_t longest = tokenizer_max_length(t);

    *b = (struct corpus_blocks){0};
    if (n_blocks < 1 || block_size < 1 ||
        size_mul((size_t)n_blocks, (size_t)block_size, &n_ids) < 0 ||
        n_ids > SIZE_MAX / sizeof *b->ids) {
        return fail(HCSMOE_EINVAL,
                    "%" PRId64 " blocks of %" PRId64
                    " tokens: both have to be from 1 on, and small enough for memory",
                    n_blocks, block_size);
    }
    b->block_size = longest > 0 && longest < block_size ? longest : block_size;
    int rc = count_rows(&s);
    rc = rc < 0 ? rc : choose_documents(&s, n_blocks, seed, &docs);
    rc = rc < 0 ? rc : tokenize(b, path, t, &docs, n_blocks, &kept);
    /* Strictly more, as the original asks for: one more block has to be there than is used. */
    if (rc >= 0 && b->n_available <= n_blocks) {
        rc = fail(HCSMOE_EINVAL,
                  "%s: %" PRId64 " documents give %" PRId64 " blocks of %" PRId64
                  " tokens, but %" PRId64 " need %" PRId64
                  "; use fewer or smaller blocks or a longer text",
                  path, docs.n, b->n_available, b->block_size, n_blocks, n_blocks + 1);
    }
    if (rc >= 0) {
        b->ids = kept.ids;
        b->n_blocks = n_blocks;
        b->n_documents = docs.n;
        hash_ids(b);
        kept = (struct token_ids){0};
    }
    token_ids_release(&kept);
    mem_free(docs.items);
    arena_release(&docs.arena);
    return rc;
}

void corpus_counts(const struct corpus_source *s, size_t n, int64_t n_blocks, int64_t *counts)
{
    double sum = 0;
    int64_t rest = n_blocks;

    for (size_t i = 0; i < n; i++) {
        sum += s[i].share;
    }
    for (size_t i = 0; i < n; i++) {
        counts[i] = (int64_t)floor((double)n_blocks * s[i].share / sum);
        rest -= counts[i];
    }
    /* A file that got one more has a remainder below 0. */
    for (; rest > 0; rest--) {
        double most = -1;
        size_t best = 0;
        for (size_t i = 0; i < n; i++) {
            const double remainder = (double)n_blocks * s[i].share / sum - (double)counts[i];
            if (remainder > most) {
                most = remainder;
                best = i;
            }
        }
        counts[best]++;
    }
}

/* Smooth weighted round robin: every turn each file gains its number of blocks, and the one with
 * the most pays for all. A file that has given its last block gains nothing above 0 any more. */
static int take_turns(struct corpus_blocks *b, const struct corpus_blocks *of, size_t n)
{
    int64_t *credit = mem_new(n, sizeof *credit), *given = mem_new(n, sizeof *given);
    const size_t size = (size_t)b->block_size;

    b->ids = mem_new_raw((size_t)b->n_blocks, size * sizeof *b->ids);
    for (int64_t k = 0; credit && given && b->ids && k < b->n_blocks; k++) {
        size_t best = 0;
        for (size_t i = 0; i < n; i++) {
            credit[i] += of[i].n_blocks;
            best = credit[i] > credit[best] ? i : best;
        }
        credit[best] -= b->n_blocks;
        memcpy(b->ids + (size_t)k * size, of[best].ids + (size_t)given[best]++ * size,
               size * sizeof *b->ids);
    }
    const int rc = credit && given && b->ids ? 0 : HCSMOE_ENOMEM;
    mem_free(credit);
    mem_free(given);
    return rc;
}

int corpus_mix(struct corpus_blocks *b, const struct corpus_source *s, size_t n,
               const struct tokenizer *t, int64_t n_blocks, int64_t block_size, uint64_t seed)
{
    struct corpus_blocks *of = mem_new(n, sizeof *of), sum = {.n_blocks = n_blocks};
    int64_t *counts = mem_new(n, sizeof *counts);
    int rc = of && counts ? 0 : HCSMOE_ENOMEM;

    *b = (struct corpus_blocks){0};
    if (rc >= 0) {
        corpus_counts(s, n, n_blocks, counts);
    }
    for (size_t i = 0; i < n && rc >= 0; i++) {
        rc = corpus_read(&of[i], s[i].path, t, counts[i], block_size, seed);
        sum.block_size = of[i].block_size;
        sum.n_documents += of[i].n_documents;
        sum.n_available += of[i].n_available;
    }
    rc = rc < 0 ? rc : take_turns(&sum, of, n);
    if (rc >= 0) {
        hash_ids(&sum);
        *b = sum;
    } else {
        corpus_release(&sum);
    }
    for (size_t i = 0; of && i < n; i++) {
        corpus_release(&of[i]);
    }
    mem_free(counts);
    mem_free(of);
    return rc;
}

void corpus_release(struct corpus_blocks *b)
{
    mem_free(b->ids);
    *b = (struct corpus_blocks){0};
}
