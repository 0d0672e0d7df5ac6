/*
 * tokenizer_internal.h - what the tokenizer_*.c files share; nobody else includes it.
 * SPDX-License-Identifier: MIT
 *
 * tokenizer.json becomes two flat lists of steps (normaliser, pre-tokenizer), a BPE model, two sets
 * of added tokens, ids that go before and after a text, and a list of decoder steps. Encoding reads
 * them only; all that changes lives in a struct scratch that belongs to one call.
 */
#ifndef CORE_DATA_TOKENIZER_INTERNAL_H
#define CORE_DATA_TOKENIZER_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "data/tokenizer.h"

/* A compiled expression; String patterns are literal ones. */
struct pattern {
    pcre2_code *code; /* NULL: none */
    char *source;     /* as written, for messages */
};

/* What a Split does with the text that matches: names of tokenizer.json. */
enum split_behavior {
    SPLIT_ISOLATED,
    SPLIT_REMOVED,
    SPLIT_MERGED_WITH_PREVIOUS,
    SPLIT_MERGED_WITH_NEXT,
    SPLIT_CONTIGUOUS
};

enum prepend_scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER };

enum step_kind {
    STEP_SPLIT,   /* pattern, behavior, invert */
    STEP_PREPEND, /* content in front of every stretch */
    STEP_REPLACE, /* pattern by content */
    STEP_UNICODE, /* utf8proc options in unicode_form */
    STEP_LOWERCASE,
    STEP_STRIP,     /* white space: strip_left, strip_right */
    STEP_BYTES,     /* bytes to the printable characters of byte-level BPE */
    STEP_SPACE,     /* " " in front unless there is one */
    STEP_METASPACE, /* content for every space; in front as scheme says */
    DECODE_REPLACE, /* pattern by content in every token */
    DECODE_BYTE_FALLBACK,
    DECODE_FUSE,
    DECODE_STRIP,     /* content at most n_left and n_right times */
    DECODE_BYTES,     /* STEP_BYTES backwards */
    DECODE_METASPACE, /* content to spaces, none at the start unless scheme is never */
    DECODE_BPE        /* content (the suffix) to spaces, none at the end */
};

struct step {
    enum step_kind kind;
    struct pattern pattern;
    enum split_behavior behavior;
    enum prepend_scheme scheme;
    char *content; /* owned by the tokenizer's arena */
    size_t content_len;
    bool invert, strip_left, strip_right;
    size_t n_left, n_right;
    int unicode_form; /* utf8proc_option_t bits */
};

struct steps {
    struct step *items;
    size_t n, capacity;
};

/* A token that is cut out of the text before the model sees it. */
struct added_token {
    const char *text; /* normalised when the file says so */
    size_t len, order;
    int32_t id;
    bool single_word, lstrip, rstrip;
};

struct added_set {
    struct added_token *tokens; /* sorted by text once added_sort was called */
    size_t n, capacity;
    bool starts[256]; /* some token starts with this byte */
};

struct merge {
    int32_t left, right, result;
};

struct merge_slot {
    int32_t left, right;
    uint32_t rank_plus_one; /* 0: free */
};

struct bpe {
    int32_t *slots; /* hash table of ids + 1; 0: free */
    size_t slot_mask;
    struct merge *merges; /* by rank */
    size_t n_merges;
    struct merge_slot *merge_slots;
    size_t merge_mask;
    uint64_t
        *joints; /* hash set of character pairs that some merge joins; NULL: do not cut words */
    size_t joint_mask;
    int32_t unk_id;        /* -1: none */
    bool unk_missing;      /* the file names one that is no piece: an error once it is needed */
    int32_t byte_ids[256]; /* <0xNN>, or -1 */
    bool byte_fallback, fuse_unk, ignore_merges;
    const char *prefix, *suffix; /* continuing_subword_prefix, end_of_word_suffix; "" when none */
    size_t prefix_len, suffix_len;
};

struct tokenizer {
    struct arena arena; /* all texts */
    const char **texts; /* [n_ids], NULL: no such id */
    uint32_t *lens;
    int32_t n_ids;
    struct bpe bpe;
    struct added_set raw, normalized; /* matched before and after the normaliser */
    struct steps normalizer, pre_tokenizer, decoder;
    struct token_ids before, after; /* what the post-processor puts around a text */
    int32_t bos, eos;
    int64_t max_length;
};

/* A stretch of text on its way to the model. */
struct span {
    size_t at, len;
    bool first; /* it starts where the whole text starts */
};

struct pieces {
    struct str text;
    struct span *spans;
    size_t n, capacity;
};

struct symbol {
    int32_t id; /* -1: merged into the one before it */
    uint32_t prev, next;
};

/* The working memory of one encode or decode, and what it may cost. Zeroed is empty. */
struct scratch {
    pcre2_match_data *match;
    pcre2_match_context *limits;
    uint64_t time_end_ns; /* of this thread, when matching gives up */
    unsigned n_matches;
    size_t text_max; /* bytes that the steps of a stage may make of the text */
    struct pieces norm[2], pre[2];
    struct str affixed;
    struct symbol *symbols;
    size_t n_symbols, symbols_capacity;
    uint64_t *heap; /* rank << 32 | position */
    size_t n_heap, heap_capacity;
};

/* tokenizer_text.c: UTF-8 */
size_t utf8_step(const char *text, size_t n,
                 bool *valid); /* bytes of the next character, or of bad ones */
bool utf8_is_valid(const char *text, size_t n);
void utf8_add_lossy(struct str *out, const char *text, size_t n);
uint32_t utf8_decode(const char *text, size_t *len); /* of valid UTF-8 that is not empty */
size_t utf8_encode(uint32_t c, char out[4]);
bool char_is_space(uint32_t c);                      /* White_Space */
bool char_is_word(uint32_t c);                       /* what \w takes */
size_t text_space_left(const char *text, size_t n);  /* bytes of white space at the start */
size_t text_space_right(const char *text, size_t n); /* bytes of white space at the end */

/* tokenizer_unicode.c: form is made of utf8proc_option_t bits */
int add_normal_form(const char *text, size_t n, int form, struct str *out) MUST_CHECK;

/* tokenizer_regex.c */
int pattern_compile(struct pattern *p, const char *source, size_t n, bool literal) MUST_CHECK;
void pattern_release(struct pattern *p);
uint64_t thread_time_ns(void);             /* that this thread has computed */
pcre2_match_context *pattern_limits(void); /* NULL: message set */
struct finder {
    const struct pattern *pattern;
    struct scratch *x;
    const char *text;
    size_t n, at, last_end;
    bool found;
};
/* 1: the next match is text[*start..*end); 0: no more; negative: error. */
int finder_next(struct finder *f, size_t *start, size_t *end) MUST_CHECK;

/* tokenizer_steps.c */
int pieces_set(struct pieces *p, const char *text, size_t n, bool first) MUST_CHECK;
void pieces_clear(struct pieces *p);
void pieces_release(struct pieces *p);
int pieces_close(struct pieces *p, size_t from,
                 bool first) MUST_CHECK; /* a span of what was added */
/* Runs all steps over pair[0]; the result is in *result, one of the two. */
int steps_run(const struct steps *steps, struct scratch *x, struct pieces pair[2],
              struct pieces **result) MUST_CHECK;
int step_replace(const struct step *s, struct scratch *x, const char *text, size_t n,
                 struct str *out) MUST_CHECK;
/* Error when a stage has made too much of the text. */
int scratch_check(const struct scratch *x, const struct str *out) MUST_CHECK;
uint32_t
byte_to_char(unsigned char byte); /* the character that stands for a byte in byte-level BPE */
struct step *steps_add(struct steps *s, enum step_kind kind); /* NULL: message set */
void steps_release(struct steps *s);

/* tokenizer_added.c */
int added_add(struct added_set *set, const struct added_token *token) MUST_CHECK;
void added_sort(struct added_set *set);
struct added_walk {
    const struct added_set *set;
    const char *text;
    size_t n, at, done;
};
/* The next stretch of plain text, which may be empty, and the token behind it; -1: the text
 * ends. */
int32_t added_next(struct added_walk *w, size_t *plain_at, size_t *plain_len);

/* tokenizer_bpe.c */
int bpe_index_pieces(struct tokenizer *t) MUST_CHECK; /* once texts are complete */
/* Once merges are. *duplicate: the rank of a merge that is there twice (an error without a
 * message). */
int bpe_index_merges(struct tokenizer *t, size_t *duplicate) MUST_CHECK;
int32_t bpe_find(const struct tokenizer *t, const char *text, size_t n); /* -1: no such piece */
int bpe_encode(const struct tokenizer *t, struct scratch *x, const char *word, size_t n,
               struct token_ids *out) MUST_CHECK;

/* tokenizer_json.c: node is a part of the file at path ("pre_tokenizer.pretokenizers[1]"). */
struct json_t;
struct reader {
    struct tokenizer *t;
    const char *file;
};
int tokenizer_read_json(struct tokenizer *t, const char *file) MUST_CHECK;
/* What jansson says of a file of size bytes that it did not read, as a message. */
int fail_json(const char *file, size_t size, int line, int column, const char *what);
/* A member that is absent or null gives the fallback. */
int read_bool(const struct reader *r, const struct json_t *node, const char *path, const char *key,
              bool fallback, bool *value) MUST_CHECK;
/* NULL as fallback: the member has to be there. *n counts bytes; the text ends with a NUL as
 * well. */
int read_string(const struct reader *r, const struct json_t *node, const char *path,
                const char *key, const char *fallback, const char **text, size_t *n) MUST_CHECK;

/* tokenizer_parts.c: the three stages that are lists of steps; node may be NULL or null. */
int read_normalizer(const struct reader *r, const struct json_t *node,
                    struct steps *out) MUST_CHECK;
int read_pre_tokenizer(const struct reader *r, const struct json_t *node,
                       struct steps *out) MUST_CHECK;
int read_decoder(const struct reader *r, const struct json_t *node, struct steps *out) MUST_CHECK;
enum {
    JSON_PATH_BYTES = 256,
    SEQUENCE_DEPTH_MAX = 8, /* Sequences in Sequences; real files have one */
    STEPS_MAX = 64,         /* of a stage, each of which takes the whole text; real files have 6 */
    REPLACEMENT_BYTES_MAX = 64 /* what stands for a space, in real files one character */
};

/* tokenizer.c */
int token_ids_add(struct token_ids *ids, int32_t id) MUST_CHECK;
int normalize_text(const struct tokenizer *t, struct scratch *x, const char *text, size_t n,
                   bool first, struct pieces **result) MUST_CHECK;
/* n: bytes of text that are to be worked on, which say how much that may cost. */
int scratch_init(struct scratch *x, size_t n) MUST_CHECK;
void scratch_budget(struct scratch *x, size_t n);
void scratch_release(struct scratch *x);

/* tokenizer_decode.c */
int decode_tokens(const struct tokenizer *t, struct scratch *x, const int32_t *ids, size_t n,
                  struct str *out) MUST_CHECK;

#endif
