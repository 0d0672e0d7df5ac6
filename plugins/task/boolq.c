/*
 * boolq.c - task boolq: yes or no, from a passage.
 *
 * Two schemas hold the same records: `label` 0 or 1 (SuperGLUE), and `answer` false or true (the
 * original).
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/record.h>
#include <hcsmoe/task.h>

static hcsmoe_status gold_of(const hcsmoe_host *h, const hcsmoe_json *record, int64_t *gold)
{
    const hcsmoe_json *label = h->json->get(record, "label");
    const hcsmoe_json *answer = h->json->get(record, "answer");
    if (!label && !answer)
        return h->fail(h, HCSMOE_EINVAL, "no member 'label' and no member 'answer'");
    if (h->json->type(label ? label : answer) == HCSMOE_JSON_BOOL) {
        *gold = h->json->boolean(label ? label : answer, 0);
        return HCSMOE_OK;
    }
    if (!label)
        return h->fail(h, HCSMOE_EINVAL, "member 'answer' is neither true nor false");
    return hcsmoe_record_integer(h, record, "label", gold);
}

static hcsmoe_status boolq_format(void *self, const hcsmoe_host *h, const hcsmoe_json *record,
                                  hcsmoe_task_doc *doc)
{
    static const char *const choices[] = {"no", "yes"};
    const char *question = NULL;
    const char *passage = NULL;
    (void)self;
    hcsmoe_status status = hcsmoe_record_text(h, record, "question", &question);
    if (!status)
        status = hcsmoe_record_text(h, record, "passage", &passage);
    if (!status)
        status = gold_of(h, record, &doc->gold);
    if (status)
        return status;
    doc->n_choices = 2;
    doc->choices = choices;
    doc->answer = doc->gold == 0 || doc->gold == 1 ? choices[doc->gold] : NULL;
    doc->question = hcsmoe_textf(h, "%s\nQuestion: %s?\nAnswer:", passage, question);
    return doc->question ? HCSMOE_OK : HCSMOE_ENOMEM;
}

static const char *const splits[] = {"validation", NULL};

static const hcsmoe_task_spec spec = {
    .struct_size = sizeof spec,
    .type = HCSMOE_TASK_CHOICE,
    .alias = "boolq",
    .version = "2",
    .file = "boolq",
    .splits = splits,
    .fewshot_split = "train",
    .metrics = HCSMOE_METRIC_ACC,
    .fewshot = HCSMOE_FEWSHOT_DRAW_SPARE,
};

static const hcsmoe_task_ops ops = {
    .struct_size = sizeof ops,
    .spec = &spec,
    .format = boolq_format,
};

static const hcsmoe_component boolq = {
    .struct_size = sizeof boolq,
    .kind = HCSMOE_KIND_TASK,
    .name = "boolq",
    .summary = "BoolQ: yes-or-no questions about a passage",
    .ops = &ops,
    .caps = HCSMOE_CAP_DETERMINISTIC,
};

HCSMOE_PLUGIN("hcsmoe.task.boolq", "1.0", "MIT", &boolq)
