/*
 * arc.c - tasks arc_easy and arc_challenge: science questions with three to five choices.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include <hcsmoe/record.h>
#include <hcsmoe/task.h>

/* The key is looked up in the labels, not decoded: they are letters in some records and digits in
 * others. */
static hcsmoe_status arc_format(void *self, const hcsmoe_host *h, const hcsmoe_json *record,
                                hcsmoe_task_doc *doc)
{
    const char *question = NULL;
    const char *key = NULL;
    const char *const *labels = NULL;
    const hcsmoe_json *choices = h->json->get(record, "choices");
    int64_t n_labels = 0;
    (void)self;
    hcsmoe_status status = hcsmoe_record_text(h, record, "question", &question);
    if (!status && !choices)
        status = h->fail(h, HCSMOE_EINVAL, "no member 'choices'");
    if (!status)
        status = hcsmoe_record_texts(h, choices, "text", &doc->choices, &doc->n_choices);
    if (!status)
        status = hcsmoe_record_texts(h, choices, "label", &labels, &n_labels);
    if (!status)
        status = hcsmoe_record_text(h, record, "answerKey", &key);
    if (status)
        return status;
    if (n_labels != doc->n_choices)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "member 'choices' has %lld texts and %lld labels",
                            (long long)doc->n_choices, (long long)n_labels);
    doc->gold = 0;
    while (doc->gold < n_labels && strcmp(labels[doc->gold], key) != 0)
        doc->gold++;
    if (doc->gold == n_labels)
        return hcsmoe_failf(h, HCSMOE_EINVAL,
                            "member 'answerKey' is '%s', which is no label of the choices", key);
    doc->answer = doc->choices[doc->gold];
    doc->question = hcsmoe_textf(h, "Question: %s\nAnswer:", question);
    return doc->question ? HCSMOE_OK : HCSMOE_ENOMEM;
}

static const char *const splits[] = {"test", "validation", NULL};

#define ARC(task, summary_)                                                                        \
    static const hcsmoe_task_spec task##_spec = {                                                  \
        .struct_size = sizeof(hcsmoe_task_spec),                                                   \
        .type = HCSMOE_TASK_CHOICE,                                                                \
        .alias = #task,                                                                            \
        .version = "1",                                                                            \
        .file = #task,                                                                             \
        .splits = splits,                                                                          \
        .fewshot_split = "train",                                                                  \
        .metrics = HCSMOE_METRIC_ACC | HCSMOE_METRIC_ACC_NORM,                                     \
        .fewshot = HCSMOE_FEWSHOT_DRAW,                                                            \
    };                                                                                             \
    static const hcsmoe_task_ops task##_ops = {                                                    \
        .struct_size = sizeof(hcsmoe_task_ops),                                                    \
        .spec = &task##_spec,                                                                      \
        .format = arc_format,                                                                      \
    };                                                                                             \
    static const hcsmoe_component task = {                                                         \
        .struct_size = sizeof(hcsmoe_component),                                                   \
        .kind = HCSMOE_KIND_TASK,                                                                  \
        .name = #task,                                                                             \
        .summary = summary_,                                                                       \
        .ops = &task##_ops,                                                                        \
        .caps = HCSMOE_CAP_DETERMINISTIC,                                                          \
    };

ARC(arc_easy, "ARC-Easy: science questions that most methods answer")
ARC(arc_challenge, "ARC-Challenge: science questions that simple methods get wrong")

HCSMOE_PLUGIN("hcsmoe.task.arc", "1.0", "MIT", &arc_easy, &arc_challenge)
