/*
 * openbookqa.c - task openbookqa: the stem of a question and four ways to finish it.
 *
 * Two schemas: stem and choices in the record itself, or under `question` with a list of {text,
 * label} (the original files).
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include <hcsmoe/record.h>
#include <hcsmoe/task.h>

/* [{text, label}, ...] as two parallel lists. */
static hcsmoe_status choices_nested(const hcsmoe_host *h, const hcsmoe_json *list,
                                    const char *const **texts, const char *const **labels,
                                    int64_t *n)
{
    *n = h->json->size(list);
    if (*n == 0)
        return h->fail(h, HCSMOE_EINVAL, "member 'choices' is empty");
    const char **strings = h->scratch(h, (size_t)*n * 2 * sizeof *strings);
    if (!strings)
        return HCSMOE_ENOMEM;
    for (int64_t i = 0; i < *n; i++) {
        const hcsmoe_json *choice = h->json->at(list, i);
        hcsmoe_status status = hcsmoe_record_text(h, choice, "text", &strings[i]);
        if (!status)
            status = hcsmoe_record_text(h, choice, "label", &strings[*n + i]);
        if (status)
            return status;
    }
    *texts = strings;
    *labels = strings + *n;
    return HCSMOE_OK;
}

static hcsmoe_status choices_of(const hcsmoe_host *h, const hcsmoe_json *from,
                                const char *const **texts, const char *const **labels, int64_t *n)
{
    const hcsmoe_json *choices = h->json->get(from, "choices");
    int64_t n_labels = 0;
    if (!choices)
        return h->fail(h, HCSMOE_EINVAL, "no member 'choices'");
    if (h->json->type(choices) == HCSMOE_JSON_ARRAY)
        return choices_nested(h, choices, texts, labels, n);
    hcsmoe_status status = hcsmoe_record_texts(h, choices, "text", texts, n);
    if (!status)
        status = hcsmoe_record_texts(h, choices, "label", labels, &n_labels);
    if (!status && n_labels != *n)
        status = hcsmoe_failf(h, HCSMOE_EINVAL, "member 'choices' has %lld texts and %lld labels",
                              (long long)*n, (long long)n_labels);
    return status;
}

static hcsmoe_status openbookqa_format(void *self, const hcsmoe_host *h, const hcsmoe_json *record,
                                       hcsmoe_task_doc *doc)
{
    const hcsmoe_json *nested = h->json->get(record, "question");
    const hcsmoe_json *from = h->json->type(nested) == HCSMOE_JSON_OBJECT ? nested : record;
    const char *stem = h->json->get(from, "stem") ? "stem" : "question_stem";
    const char *const *labels = NULL;
    const char *key = NULL;
    (void)self;
    hcsmoe_status status = hcsmoe_record_text(h, from, stem, &doc->question);
    if (!status)
        status = choices_of(h, from, &doc->choices, &labels, &doc->n_choices);
    if (!status)
        status = hcsmoe_record_text(h, record, "answerKey", &key);
    if (status)
        return status;
    key += hcsmoe_space_before(key, strlen(key));
    doc->gold = 0;
    while (doc->gold < doc->n_choices && strcmp(labels[doc->gold], key) != 0)
        doc->gold++;
    if (doc->gold == doc->n_choices)
        return hcsmoe_failf(h, HCSMOE_EINVAL,
                            "member 'answerKey' is '%s', which is no label of the choices", key);
    doc->answer = doc->choices[doc->gold];
    return HCSMOE_OK;
}

static const char *const splits[] = {"test", "validation", NULL};

static const hcsmoe_task_spec spec = {
    .struct_size = sizeof spec,
    .type = HCSMOE_TASK_CHOICE,
    .alias = "openbookqa",
    .version = "1",
    .file = "openbookqa",
    .splits = splits,
    .fewshot_split = "train",
    .metrics = HCSMOE_METRIC_ACC | HCSMOE_METRIC_ACC_NORM,
    .fewshot = HCSMOE_FEWSHOT_DRAW,
};

static const hcsmoe_task_ops ops = {
    .struct_size = sizeof ops,
    .spec = &spec,
    .format = openbookqa_format,
};

static const hcsmoe_component openbookqa = {
    .struct_size = sizeof openbookqa,
    .kind = HCSMOE_KIND_TASK,
    .name = "openbookqa",
    .summary = "OpenBookQA: elementary science, without the book",
    .ops = &ops,
    .caps = HCSMOE_CAP_DETERMINISTIC,
};

HCSMOE_PLUGIN("hcsmoe.task.openbookqa", "1.0", "MIT", &openbookqa)
