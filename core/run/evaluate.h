/*
 * evaluate.h - the [eval] part of a run: tasks, prompts, scores, results, table.
 *
 * records.c reads task files; prompts.c draws few-shot examples and builds requests; evaluate.c
 * scores and aggregates; table.c prints. eval-tasks.md says what each must give.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_EVALUATE_H
#define CORE_RUN_EVALUATE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/ini.h"
#include "base/str.h"
#include "data/tokenizer.h"
#include "plugin/registry.h"
#include "run/score.h"

/* What [eval] says. Paths are already resolved. Strings are borrowed. */
struct eval_settings {
    const struct ini *ini; /* for options of task plugins and messages */
    char **tasks;          /* names, in the order given */
    size_t n_tasks;
    const char *data; /* folder; NULL: unset */
    int64_t num_fewshot;
    double limit;        /* 0: all; < 1 a share, else a number (eval-tasks.md 8) */
    const char *samples; /* file to write; NULL: none */
    const char *text;    /* file of TEXT tasks; NULL: none */
    int64_t text_tokens; /* first n tokens of it; 0: all */
    int64_t max_length;  /* window; 0: the model's own */
    int add_bos;         /* -1 auto (the tokenizer's), 0 never, 1 always */
    int64_t memory;      /* for score_run */
};

/* The loaded tasks: plugins found, files opened and every record parsed and formatted, so that
 * `check` and a run fail here, before anything heavy. */
struct eval_plan;
int eval_plan_open(struct eval_plan **p, const struct eval_settings *s, struct registry *r,
                   struct host *h, const struct tokenizer *t, int64_t model_max_length) MUST_CHECK;
void eval_plan_close(struct eval_plan *p);

/* Requests as tokens, in order of task, document, choice; owned by the plan, scored in place by
 * score_run. */
int eval_plan_requests(struct eval_plan *p, struct score_request **requests, size_t *n) MUST_CHECK;
/* For the plan that is printed: documents and tokens that the requests hold. */
void eval_plan_size(const struct eval_plan *p, int64_t *documents, int64_t *requests,
                    int64_t *tokens);

/* After scoring: the object that outputs.md section 4 calls eval.after (new reference), and the
 * markdown tables. The sample file is written (complete or not at all) if asked for. May be called
 * again after another model scored the same requests. */
int eval_plan_results(struct eval_plan *p, json_t **result, struct str *table) MUST_CHECK;

#endif
