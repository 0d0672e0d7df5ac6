/*
 * prompts.c - few-shot draws, contexts and continuations, windows.
 *
 * SPDX-License-Identifier: MIT
 */
#include "run/prompts.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include <hcsmoe/record.h>

#include "base/mem.h"
#include "base/rng.h"

enum { FEWSHOT_SEED = 1234 }; /* the harness's default; results are compared under it */

/* What the harness puts between question and answer, and behind an example. */
#define TARGET_DELIMITER " "
#define EXAMPLE_DELIMITER "\n\n"

int encoder_init(struct encoder *e, const struct tokenizer *t, int add_bos, int64_t max_length)
{
    int status = 0;

    assert(max_length > 0);
    *e = (struct encoder){.tokenizer = t, .add_bos = add_bos, .max_length = max_length};
    e->prefix = tokenizer_bos(t) >= 0 ? tokenizer_bos(t) : tokenizer_eos(t);
    if (e->prefix >= 0)
        status = tokenizer_decode(t, &e->prefix, 1, &e->prefix_text);
    return status;
}

void encoder_release(struct encoder *e)
{
    mem_free(e->prefix_text);
    *e = (struct encoder){0};
}

static bool starts_with(const char *text, size_t n, const char *start)
{
    const size_t n_start = start ? strlen(start) : 0;

    return n_start > 0 && n >= n_start && !memcmp(text, start, n_start);
}

int encoder_encode(const struct encoder *e, const char *text, size_t n, struct token_ids *out)
{
    const bool special = e->add_bos != 0 && !starts_with(text, n, e->prefix_text);

    return tokenizer_encode(e->tokenizer, text, n, special, out);
}

static int ids_add(struct token_ids *to, const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (mem_grow(&to->ids, to->n, &to->capacity, sizeof *to->ids))
            return HCSMOE_ENOMEM;
        to->ids[to->n++] = ids[i];
    }
    return 0;
}

int context_init(struct context *c, const struct encoder *e, const char *text, size_t n)
{
    *c = (struct context){.text = text, .n = n, .n_kept = n - hcsmoe_space_behind(text, n)};
    return n > 0 ? encoder_encode(e, text, c->n_kept, &c->ids) : 0;
}

void context_release(struct context *c)
{
    token_ids_release(&c->ids);
    *c = (struct context){0};
}

/* Without a context the prefix token is it, unless the continuation brings it along. */
static int continue_alone(const struct encoder *e, const char *text, size_t n,
                          struct token_ids *scored, struct token_ids *fed)
{
    if (e->prefix < 0)
        return fail(HCSMOE_EINVAL,
                    "an empty context, and the tokenizer has neither BOS nor EOS to stand for it");
    int status = ids_add(fed, &e->prefix, 1);
    if (!status)
        status = tokenizer_encode(e->tokenizer, text, n, false, scored);
    if (!status && scored->n > 0 && scored->ids[0] == e->prefix) {
        scored->n--;
        memmove(scored->ids, scored->ids + 1, scored->n * sizeof *scored->ids);
    }
    return status;
}

/* The number of the context's tokens cuts those of the whole; which tokens they are may differ at
 * the border. */
static int continue_context(const struct context *c, const struct encoder *e, const char *text,
                            size_t n, struct token_ids *scored, struct token_ids *fed)
{
    struct str whole = {0};

    str_add_bytes(&whole, c->text, c->n);
    str_add_bytes(&whole, text, n);
    int status = str_check(&whole);
    if (!status)
        status = encoder_encode(e, str_text(&whole), whole.len, scored);
    str_release(&whole);
    if (!status && scored->n > c->ids.n) {
        scored->n -= c->ids.n;
        memmove(scored->ids, scored->ids + c->ids.n, scored->n * sizeof *scored->ids);
    } else {
        scored->n = 0;
    }
    return status ? status : ids_add(fed, c->ids.ids, c->ids.n);
}

int context_continue(const struct context *c, const struct encoder *e, const char *continuation,
                     size_t n, struct token_ids *out, int64_t *from)
{
    struct token_ids scored = {0}, fed = {0};
    int status = c->n > 0 ? continue_context(c, e, continuation, n, &scored, &fed)
                          : continue_alone(e, continuation, n, &scored, &fed);

    if (!status && fed.n == 0)
        status = fail(HCSMOE_EINVAL, "the context has no token");
    if (!status && scored.n == 0)
        status = fail(HCSMOE_EINVAL, "the continuation adds no token to the context's");
    if (!status && scored.n > (uint64_t)e->max_length)
        status = fail(HCSMOE_EINVAL, "the continuation has %zu tokens, more than max_length = %lld",
                      scored.n, (long long)e->max_length);
    if (!status) {
        /* The last token is not fed: max_length + 1 tokens fit. */
        const size_t room = (size_t)e->max_length + 1 - scored.n;
        const size_t kept = fed.n < room ? fed.n : room;
        *from = (int64_t)kept;
        status = ids_add(out, fed.ids + (fed.n - kept), kept);
    }
    if (!status)
        status = ids_add(out, scored.ids, scored.n);
    token_ids_release(&scored);
    token_ids_release(&fed);
    return status;
}

int rolling_encode(const struct encoder *e, const char *text, size_t n_bytes, struct token_ids *out,
                   int64_t *n)
{
    if (e->prefix < 0)
        return fail(HCSMOE_EINVAL,
                    "the tokenizer has neither BOS nor EOS to put in front of a document");
    int status = ids_add(out, &e->prefix, 1);
    if (!status)
        status = encoder_encode(e, text, n_bytes, out);
    *n = (int64_t)out->n - 1;
    return status;
}

int64_t rolling_window(int64_t n, int64_t done, int64_t max_length, int64_t *first, int64_t *count,
                       int64_t *from)
{
    const int64_t left = n - done;
    const int64_t scored = left < max_length ? left : max_length;

    assert(done >= 0);
    assert(max_length > 0);
    /* Scored token i lies at i + 1. The last window is filled up with context to max_length tokens
     * fed. */
    const int64_t end = done + scored;
    *first = end < max_length ? 0 : end - max_length;
    *count = end + 1 - *first;
    *from = *count - scored;
    return scored;
}

/* Keeps the first n_shots of the drawn that are not the document itself. */
static int drop_same(const struct record *doc, const struct record *shots, const int64_t *drawn,
                     int64_t n_drawn, int64_t n_shots, int64_t *kept)
{
    int64_t n = 0;

    for (int64_t i = 0; i < n_drawn && n < n_shots; i++)
        if (strcmp(shots[drawn[i]].key, doc->key) != 0)
            kept[n++] = drawn[i];
    if (n < n_shots)
        return fail(
            HCSMOE_EINVAL,
            "%lld few-shot examples are left of %lld drawn: the others equal the record itself",
            (long long)n, (long long)n_drawn);
    return 0;
}

int fewshot_draw(int kind, const struct record *docs, int64_t n_docs, const struct record *shots,
                 int64_t population, int64_t n_shots, int64_t *draws)
{
    const int64_t n_drawn = n_shots + (kind == HCSMOE_FEWSHOT_DRAW_SPARE ? 1 : 0);
    struct mt19937 g;
    int status = 0;

    if (population < n_drawn)
        return fail(HCSMOE_EINVAL,
                    "%lld records for few-shot examples: %lld are drawn for num_fewshot = %lld",
                    (long long)population, (long long)n_drawn, (long long)n_shots);
    int64_t *drawn = mem_new((size_t)n_drawn, sizeof *drawn);
    if (!drawn)
        return HCSMOE_ENOMEM;
    mt19937_seed(&g, FEWSHOT_SEED);
    for (int64_t d = 0; d < n_docs && !status; d++) {
        int64_t *of_doc = draws + d * n_shots;
        if (kind == HCSMOE_FEWSHOT_FIRST) {
            for (int64_t i = 0; i < n_shots; i++)
                of_doc[i] = i;
            continue;
        }
        status = mt19937_sample(&g, population, n_drawn, drawn);
        if (!status && kind == HCSMOE_FEWSHOT_DRAW_SPARE)
            status = drop_same(&docs[d], shots, drawn, n_drawn, n_shots, of_doc);
        else if (!status)
            memcpy(of_doc, drawn, (size_t)n_shots * sizeof *drawn);
        if (status)
            status =
                fail_in(status, "for the evaluated record of line %lld", (long long)docs[d].line);
    }
    mem_free(drawn);
    return status;
}

int fewshot_add(const struct record *shot, struct str *out)
{
    const char *question = shot->example ? shot->example : shot->question;

    if (!shot->answer || !question)
        return fail(HCSMOE_EINVAL,
                    "line %lld: a few-shot example whose right choice (%lld) is none of its %lld",
                    (long long)shot->line, (long long)shot->gold, (long long)shot->n_choices);
    str_add(out, question);
    if (shot->answer[0]) {
        str_add(out, TARGET_DELIMITER);
        str_add(out, shot->answer);
        str_add(out, EXAMPLE_DELIMITER);
    }
    return 0;
}

int64_t text_length(const char *text)
{
    int64_t n = 0;

    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}
