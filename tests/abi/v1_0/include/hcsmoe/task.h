/*
 * task.h - evaluation tasks: records to requests. The host reads records, draws few-shot examples,
 * assembles prompts, scores log-likelihoods and aggregates (multiple choice: acc, acc_norm;
 * documents: perplexities).
 * SPDX-License-Identifier: MIT
 */
#ifndef HCSMOE_TASK_H
#define HCSMOE_TASK_H

#include <hcsmoe/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    HCSMOE_TASK_CHOICE = 1,  /* one of several continuations is right */
    HCSMOE_TASK_ROLLING = 2, /* whole documents: word_perplexity, byte_perplexity, bits_per_byte */
    HCSMOE_TASK_TEXT = 3,    /* one text file, [eval] text: token, word and byte perplexity */
    HCSMOE_TASK_GROUP = 4    /* a set of other tasks, pooled by their sizes */
};

#define HCSMOE_METRIC_ACC (1u << 0)
#define HCSMOE_METRIC_ACC_NORM (1u << 1)

enum {
    HCSMOE_FEWSHOT_DRAW = 1,       /* seeded draw of n per document */
    HCSMOE_FEWSHOT_DRAW_SPARE = 2, /* the same with one spare drawn and dropped */
    HCSMOE_FEWSHOT_FIRST = 3       /* the first n records */
};

/* What a task is. Static data. */
typedef struct hcsmoe_task_spec {
    uint32_t struct_size;
    int32_t type;              /* HCSMOE_TASK_* */
    const char *alias;         /* shown in tables */
    const char *version;       /* "1" */
    const char *file;          /* records are file.SPLIT.jsonl[.gz] */
    const char *const *splits; /* evaluated split, first that is there; NULL-terminated */
    const char *fewshot_split;
    const char *filter_field,
        *filter_value;          /* only records whose string member equals the value; NULL: all */
    const char *description;    /* in front of every prompt; NULL: none */
    uint32_t metrics;           /* HCSMOE_METRIC_* */
    int32_t fewshot;            /* HCSMOE_FEWSHOT_* */
    int64_t fewshot_most;       /* more is an error; 0: no limit */
    const char *const *members; /* GROUP: names of its tasks or sub-groups, in order of aggregation;
                                   NULL-terminated */
} hcsmoe_task_spec;

/* One record, formatted. Strings from h->scratch or the record: they live until the call's caller
 * copied them. */
typedef struct hcsmoe_task_doc {
    uint32_t struct_size, reserved0;
    const char *question; /* text before the target delimiter */
    int64_t n_choices;
    const char *const *choices;   /* [n_choices] continuation texts, without the delimiter */
    const char *const *questions; /* [n_choices] a question per choice in place of `question` (the
                                     choices then share one text); NULL */
    int64_t gold;                 /* index of the right choice */
    const char *answer;           /* as a few-shot example: text after the delimiter */
    const char *example;          /* as a few-shot example: the question; NULL: `question` */
    const char *text;             /* ROLLING: what is scored */
    int64_t n_words, n_bytes;     /* ROLLING */
} hcsmoe_task_doc;

typedef struct hcsmoe_task_ops {
    uint32_t struct_size, reserved0;
    const hcsmoe_task_spec *spec;
    /* [call] A record -> doc. Errors name what the record lacks; the host adds file and line. NULL
     * for TEXT and GROUP. */
    hcsmoe_status (*format)(void *self, const hcsmoe_host *h, const hcsmoe_json *record,
                            hcsmoe_task_doc *doc);
} hcsmoe_task_ops;

#ifdef __cplusplus
}
#endif
#endif
