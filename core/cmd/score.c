/*
 * score.c - hcsmoe score: log-likelihoods of the requests on standard input, one answer a line.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "model/model.h"
#include "run/guard.h"
#include "run/prompts.h"

enum { LINE_BYTES_MAX = 256 * 1024 * 1024 };

/* One line: a request, or what is wrong with it. */
struct question {
    struct token_ids ids;
    int64_t from;
    float *logprobs;
    char *error;
};

struct questions {
    struct question *all;
    size_t n, capacity;
};

static void questions_release(struct questions *q)
{
    for (size_t i = 0; i < q->n; i++) {
        token_ids_release(&q->all[i].ids);
        mem_free(q->all[i].logprobs);
        mem_free(q->all[i].error);
    }
    mem_free(q->all);
}

static int tokens_take(const json_t *tokens, const json_t *from, const struct model *m,
                       struct question *q)
{
    const size_t n = json_array_size(tokens);
    json_int_t first = from ? json_integer_value(from) : 1;

    if (from && !json_is_integer(from))
        return fail(HCSMOE_EINVAL, "'from' is not a whole number");
    if (n < 2)
        return fail(HCSMOE_EINVAL, "'tokens' holds %zu ids: at least 2 are needed", n);
    if (first < 1 || first >= (json_int_t)n)
        return fail(HCSMOE_EINVAL, "'from' = %lld: must be 1..%zu", (long long)first, n - 1);
    q->ids.ids = mem_new(n, sizeof *q->ids.ids);
    if (!q->ids.ids)
        return HCSMOE_ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(tokens, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= m->desc.vocabulary)
            return fail(HCSMOE_EINVAL, "token %zu is not an id below %lld", i,
                        (long long)m->desc.vocabulary);
        q->ids.ids[i] = (int32_t)json_integer_value(id);
    }
    q->ids.n = n;
    q->from = (int64_t)first;
    return 0;
}

static int text_take(const json_t *context, const json_t *continuation, const struct encoder *e,
                     struct question *q)
{
    struct context c = {0};
    if (!json_is_string(context) || !json_is_string(continuation))
        return fail(
            HCSMOE_EINVAL,
            "neither 'context' and 'continuation' (strings) nor 'tokens' (an array of ids)");
    if (!e)
        return fail(HCSMOE_EINVAL, "the model has no tokenizer.json: give 'tokens'");
    int status = context_init(&c, e, json_string_value(context), json_string_length(context));
    if (!status)
        status = context_continue(&c, e, json_string_value(continuation),
                                  json_string_length(continuation), &q->ids, &q->from);
    context_release(&c);
    return status;
}

static int line_take(const char *line, size_t n, const struct model *m, const struct encoder *e,
                     struct question *q)
{
    json_error_t je;
    json_t *o = json_take(line, n, JSON_ALLOW_NUL, &je);
    int status;

    if (!o)
        return fail(HCSMOE_EINVAL, "not JSON at column %d: %s", je.column, je.text);
    if (!json_is_object(o))
        status = fail(HCSMOE_EINVAL, "not an object");
    else if (json_is_array(json_object_get(o, "tokens")))
        status = tokens_take(json_object_get(o, "tokens"), json_object_get(o, "from"), m, q);
    else
        status = text_take(json_object_get(o, "context"), json_object_get(o, "continuation"), e, q);
    json_decref(o);
    return status;
}

static int input_take(struct questions *q, const struct model *m, const struct encoder *e)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    int status = 0;

    while (!status && (n = getline(&line, &size, stdin)) >= 0) {
        if (n > LINE_BYTES_MAX)
            status =
                fail(HCSMOE_EINVAL, "line %zu: longer than %d bytes", q->n + 1, LINE_BYTES_MAX);
        if (!status && mem_grow(&q->all, q->n, &q->capacity, sizeof *q->all))
            status = HCSMOE_ENOMEM;
        if (status)
            break;
        struct question *x = &q->all[q->n++];
        *x = (struct question){0};
        status = line_take(line, (size_t)n, m, e, x);
        if (status && status != HCSMOE_ENOMEM) {
            x->error = mem_printf("line %zu: %s", q->n, fail_message());
            status = x->error ? 0 : HCSMOE_ENOMEM;
        }
        if (!status && !x->error) {
            x->logprobs = mem_new(x->ids.n, sizeof *x->logprobs);
            status = x->logprobs ? 0 : HCSMOE_ENOMEM;
        }
    }
    if (!status && ferror(stdin))
        status = fail_errno("standard input", "cannot be read");
    free(line); /* from getline */
    return status;
}

static int answer_print(const struct question *q, const struct score_request *r)
{
    json_t *o, *logprobs;
    if (q->error) {
        o = json_pack("{s:s}", "error", q->error);
    } else {
        logprobs = json_array();
        for (int64_t i = 0; i < r->n - r->from; i++)
            json_array_append_new(logprobs, json_real((double)r->logprobs[i]));
        o = json_pack("{s:f, s:b, s:I, s:o}", "loglikelihood", r->sum, "greedy", r->greedy,
                      "tokens", (json_int_t)(r->n - r->from), "logprobs", logprobs);
    }
    char *text = o ? json_dumps(o, JSON_REAL_PRECISION(9)) : NULL;
    int status = 0;
    if (!text)
        status = fail_memory(0);
    else if (printf("%s\n", text) < 0)
        status = fail_errno("standard output", "cannot be written");
    free(text); /* from json_dumps */
    json_decref(o);
    return status;
}

/* Scores all good lines in one pass and answers every line in order; *bad: there was one that could
 * not be scored. */
static int questions_answer(struct questions *q, struct model *m, int64_t memory, bool *bad)
{
    struct score_request *requests = mem_new(q->n + 1, sizeof *requests);
    size_t n = 0;
    int status = requests ? 0 : HCSMOE_ENOMEM;

    for (size_t i = 0; !status && i < q->n; i++)
        if (!q->all[i].error)
            requests[n++] = (struct score_request){q->all[i].ids.ids,
                                                   (int64_t)q->all[i].ids.n,
                                                   q->all[i].from,
                                                   q->all[i].logprobs,
                                                   false,
                                                   0};
    if (!status)
        status = score_run(m, requests, n, memory);
    n = 0;
    for (size_t i = 0; !status && i < q->n; i++) {
        *bad = *bad || q->all[i].error;
        status = answer_print(&q->all[i], q->all[i].error ? NULL : &requests[n++]);
    }
    if (!status && fflush(stdout))
        status = fail_errno("standard output", "cannot be written");
    mem_free(requests);
    return status;
}

int cmd_score(const struct args *a)
{
    struct model *m = NULL;
    struct tokenizer *t = NULL;
    struct encoder e = {0};
    struct questions q = {0};
    bool bad = false, has_text = false;

    if (!a->model)
        return say_usage(a, "-m FOLDER is missing");
    struct config *c = args_config(a, CONFIG_TOOL);
    if (!c)
        return EXIT_USAGE;
    int status = model_open(&m, a->model, NULL, c->family, &c->ini, c->registry, c->host);
    if (!status)
        status = guard_trace(m);
    const bool started = !status;
    if (!status) {
        char *path = path_join(a->model, "tokenizer.json");
        has_text = path && path_exists(path);
        mem_free(path);
    }
    if (!status && has_text)
        status = tokenizer_open(&t, a->model);
    if (!status && has_text) {
        const int64_t length = m->context                ? m->context
                               : tokenizer_max_length(t) ? tokenizer_max_length(t)
                                                         : 2048;
        status = encoder_init(&e, t, -1, length);
    }
    if (!status)
        status = input_take(&q, m, has_text ? &e : NULL);
    if (!status)
        status = questions_answer(&q, m, c->memory_limit, &bad);
    const int exit_status = status ? say_failure(status, started) : bad ? EXIT_FAILED : EXIT_DONE;
    questions_release(&q);
    encoder_release(&e);
    tokenizer_close(t);
    model_close(m);
    config_close(c);
    return exit_status;
}
