/*
 * task.c - a template: multiple choice from records of your own.
 *
 *     {"question": "What do bees make?", "choices": ["honey", "wool"], "answer": 0}
 *
 * One such line for each document, in the folder [eval] data, as mine.test.jsonl. The host draws
 * few-shot examples, scores the choices and writes the table. The file is C11 and C++17.
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/record.h>
#include <hcsmoe/task.h>

static hcsmoe_status mine_format(void *self, const hcsmoe_host *h, const hcsmoe_json *record,
                                 hcsmoe_task_doc *doc)
{
    const char *question = NULL;
    hcsmoe_status status = hcsmoe_record_text(h, record, "question", &question);

    (void)self; /* no options */
    if (status == HCSMOE_OK)
        status = hcsmoe_record_texts(h, record, "choices", &doc->choices, &doc->n_choices);
    if (status == HCSMOE_OK)
        status = hcsmoe_record_integer(h, record, "answer", &doc->gold);
    if (status != HCSMOE_OK)
        return status; /* the message is set; the host puts file and line in front */
    if (doc->gold < 0 || doc->gold >= doc->n_choices)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "member 'answer' is %lld: must be 0..%lld",
                            (long long)doc->gold, (long long)doc->n_choices - 1);
    doc->answer = doc->choices[doc->gold];
    doc->question = hcsmoe_textf(h, "Question: %s\nAnswer:", question);
    return doc->question ? HCSMOE_OK : HCSMOE_ENOMEM;
}

static const char *const splits[] = {"test", "validation", NULL}; /* the first that is there */

HCSMOE_TABLE(hcsmoe_task_spec, spec,                   /* what kind of task it is (task.h) */
             HCSMOE_SET(type, HCSMOE_TASK_CHOICE),     /* one of several answers is right */
             HCSMOE_SET(alias, "mine"),                /* in the table of results */
             HCSMOE_SET(version, "1"),                 /* raised when results change */
             HCSMOE_SET(file, "mine"),                 /* mine.SPLIT.jsonl[.gz] */
             HCSMOE_SET(splits, splits),               /* those to evaluate */
             HCSMOE_SET(fewshot_split, "train"),       /* read with num_fewshot > 0 only */
             HCSMOE_SET(fewshot, HCSMOE_FEWSHOT_DRAW), /* examples are drawn for each document */
             HCSMOE_SET(metrics, HCSMOE_METRIC_ACC | HCSMOE_METRIC_ACC_NORM));

HCSMOE_TABLE(hcsmoe_task_ops, ops, HCSMOE_SET(spec, &spec), HCSMOE_SET(format, mine_format));

HCSMOE_TABLE(hcsmoe_component, mine,             /* one row of `hcsmoe plugins` */
             HCSMOE_SET(kind, HCSMOE_KIND_TASK), /* [eval] */
             HCSMOE_SET(name, "mine"),           /* task = mine */
             HCSMOE_SET(summary, "multiple choice from my own records"), /* one line */
             HCSMOE_SET(ops, &ops),                                      /* what it does */
             HCSMOE_SET(caps, HCSMOE_CAP_DETERMINISTIC));

HCSMOE_PLUGIN("org.example.task.mine", "1.0.0", "MIT", &mine)
