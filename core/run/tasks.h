/*
 * tasks.h - the tasks of an evaluation as evaluate.c loads and results.c reads them.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_TASKS_H
#define CORE_RUN_TASKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hcsmoe/task.h>

#include "base/mem.h"
#include "base/str.h"
#include "plugin/options.h"
#include "run/evaluate.h"
#include "run/prompts.h"
#include "run/records.h"
#include "run/score.h"

/* Metric i is bit 1 << i of hcsmoe_task_spec.metrics. */
enum { METRIC_ACC = 0, METRIC_ACC_NORM = 1, N_METRICS = 2 };

/* A mean and its standard error. */
struct metric {
    double value, error;
    bool has_error; /* false: N/A */
};

struct task {
    const char *name;
    const hcsmoe_task_ops *ops;
    const hcsmoe_task_spec *spec;
    struct instance instance;
    bool loading;          /* its members are being loaded: meeting it again is a circle */
    bool is_member;        /* of a group that is evaluated too */
    struct task **members; /* GROUP: in order of aggregation */
    size_t n_members;
    char *path, *shots_path; /* files; NULL: none */
    struct record *records, *shots;
    size_t n_records, n_shots;
    int64_t num_fewshot;
    int64_t *draws; /* [n_docs, num_fewshot] indices into shots */
    size_t first_doc, n_docs;
    char *text; /* TEXT */
    size_t text_bytes;
    int64_t n_tokens, n_words; /* TEXT: scored tokens; words */
    bool cut;                  /* TEXT: only the first text_tokens tokens are scored */
    struct metric metrics[N_METRICS];
    int64_t n_scored; /* documents; of a group: of all its tasks */
};

/* A document: a record, or the text of a TEXT task. */
struct doc {
    struct task *task;
    const struct record *record; /* NULL: TEXT */
    int64_t index;               /* in its task */
    int32_t *tokens;             /* of all its requests */
    float *logprobs;
    struct score_request *requests; /* while it is encoded; then they are in the plan */
    size_t first, n;                /* requests of the plan */
};

struct eval_plan {
    struct eval_settings s;
    struct registry *registry;
    struct host *host;
    struct encoder encoder;
    struct arena arena;  /* tasks and records */
    struct task **tasks; /* each group before its members */
    size_t n_tasks, tasks_capacity;
    struct doc *docs; /* in order of task */
    size_t n_docs;
    struct score_request *requests;
    size_t n_requests;
    int64_t n_tokens;
};

#endif
