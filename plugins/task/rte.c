/*
 * rte.c - task rte: does the first sentence entail the second.
 *
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/record.h>
#include <hcsmoe/task.h>

static hcsmoe_status rte_format(void *self, const hcsmoe_host *h, const hcsmoe_json *record,
                                hcsmoe_task_doc *doc)
{
    static const char *const choices[] = {"True", "False"}; /* label 0 is entailment */
    const char *first = NULL;
    const char *second = NULL;
    (void)self;
    hcsmoe_status status = hcsmoe_record_text(h, record, "sentence1", &first);
    if (!status)
        status = hcsmoe_record_text(h, record, "sentence2", &second);
    if (!status)
        status = hcsmoe_record_integer(h, record, "label", &doc->gold);
    if (status)
        return status;
    doc->n_choices = 2;
    doc->choices = choices;
    doc->answer = doc->gold == 0 || doc->gold == 1 ? choices[doc->gold] : NULL;
    doc->question = hcsmoe_textf(h, "%s\nQuestion: %s True or False?\nAnswer:", first, second);
    return doc->question ? HCSMOE_OK : HCSMOE_ENOMEM;
}

static const char *const splits[] = {"validation", NULL};

static const hcsmoe_task_spec spec = {
    .struct_size = sizeof spec,
    .type = HCSMOE_TASK_CHOICE,
    .alias = "rte",
    .version = "1",
    .file = "rte",
    .splits = splits,
    .fewshot_split = "train",
    .metrics = HCSMOE_METRIC_ACC,
    .fewshot = HCSMOE_FEWSHOT_DRAW_SPARE,
};

static const hcsmoe_task_ops ops = {
    .struct_size = sizeof ops,
    .spec = &spec,
    .format = rte_format,
};

static const hcsmoe_component rte = {
    .struct_size = sizeof rte,
    .kind = HCSMOE_KIND_TASK,
    .name = "rte",
    .summary = "RTE (GLUE): recognizing textual entailment",
    .ops = &ops,
    .caps = HCSMOE_CAP_DETERMINISTIC,
};

HCSMOE_PLUGIN("hcsmoe.task.rte", "1.0", "MIT", &rte)
