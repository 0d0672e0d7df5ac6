/*
 * task.c - a task of several choices that reads its records in every way that there is.
 *
 * Frozen with the headers beside it: not to be edited after release 1.0.
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/record.h>
#include <hcsmoe/task.h>

static hcsmoe_status frozen_format(void *self, const hcsmoe_host *h, const hcsmoe_json *record,
                                   hcsmoe_task_doc *doc)
{
    const hcsmoe_json_api *j = h->json;
    const hcsmoe_json *more = j->get(record, "more");
    const char *question;
    hcsmoe_status status = hcsmoe_record_text(h, record, "question", &question);

    (void)self;
    if (status == HCSMOE_OK)
        status = hcsmoe_record_texts(h, record, "choices", &doc->choices, &doc->n_choices);
    if (status == HCSMOE_OK)
        status = hcsmoe_record_integer(h, record, "gold", &doc->gold);
    if (status != HCSMOE_OK)
        return status;
    if (j->type(more) != HCSMOE_JSON_OBJECT || j->size(more) != 3)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "member 'more' is no object of three");
    doc->question = hcsmoe_textf(
        h, "%s (%s, %d, %g, %d)\nAnswer:", question,
        j->string(j->at(j->get(more, "list"), 1), "none"), j->boolean(j->get(more, "yes"), -1),
        j->real(j->get(more, "real"), -1), (int)j->integer(j->get(more, "nothing"), -1));
    doc->example = hcsmoe_textf(h, "%s\nAnswer:", question);
    doc->answer = doc->choices[doc->gold];
    return doc->question && doc->example ? HCSMOE_OK : HCSMOE_ENOMEM;
}

static const char *const splits[] = {"test", "validation", NULL};
static const hcsmoe_task_spec spec = {
    .struct_size = sizeof spec,
    .type = HCSMOE_TASK_CHOICE,
    .alias = "frozen",
    .version = "1",
    .file = "frozen",
    .splits = splits,
    .fewshot_split = "validation",
    .filter_field = "kind",
    .filter_value = "kept",
    .description = "Questions.\n\n",
    .metrics = HCSMOE_METRIC_ACC | HCSMOE_METRIC_ACC_NORM,
    .fewshot = HCSMOE_FEWSHOT_DRAW,
    .fewshot_most = 4,
};

static const hcsmoe_task_ops ops = {
    .struct_size = sizeof ops, .spec = &spec, .format = frozen_format};

static const hcsmoe_component frozen = {
    .struct_size = sizeof frozen,
    .kind = HCSMOE_KIND_TASK,
    .name = "frozen",
    .summary = "questions",
    .ops = &ops,
};

HCSMOE_PLUGIN("hcsmoe.test.v1-0.task", "1.0.0", "MIT", &frozen)
