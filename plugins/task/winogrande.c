/*
 * winogrande.c - task winogrande: which of two options makes the rest of the sentence more likely.
 *
 * The contexts differ and the continuation is the same: what follows the blank is scored.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include <hcsmoe/record.h>
#include <hcsmoe/task.h>

static hcsmoe_status winogrande_format(void *self, const hcsmoe_host *h, const hcsmoe_json *record,
                                       hcsmoe_task_doc *doc)
{
    static const char *const keys[] = {"sentence", "option1", "option2", "answer"};
    const char *member[4];
    (void)self;
    for (int i = 0; i < 4; i++) {
        hcsmoe_status status = hcsmoe_record_text(h, record, keys[i], &member[i]);
        if (status)
            return status;
    }
    const char *blank = strchr(member[0], '_');
    if (!blank)
        return h->fail(h, HCSMOE_EINVAL, "member 'sentence' has no blank '_'");
    if (strcmp(member[3], "1") != 0 && strcmp(member[3], "2") != 0)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "member 'answer' is '%s' (allowed: '1', '2')",
                            member[3]);
    const size_t before = (size_t)(blank - member[0]);
    const char *suffix = blank + 1;
    suffix += hcsmoe_space_before(suffix, strlen(suffix));
    const size_t after = strlen(suffix) - hcsmoe_space_behind(suffix, strlen(suffix));

    char *rest = h->scratch(h, after + 1);
    const char **texts = h->scratch(h, 4 * sizeof *texts);
    if (!rest || !texts)
        return HCSMOE_ENOMEM;
    memcpy(rest, suffix, after);
    rest[after] = '\0';
    for (int i = 0; i < 2; i++) {
        const size_t option = strlen(member[1 + i]);
        char *context = h->scratch(h, before + option + 1);
        if (!context)
            return HCSMOE_ENOMEM;
        memcpy(context, member[0], before);
        memcpy(context + before, member[1 + i], option + 1);
        texts[i] = context;
        texts[2 + i] = rest;
    }
    doc->n_choices = 2;
    doc->questions = texts;
    doc->choices = texts + 2;
    doc->gold = member[3][0] - '1';
    doc->question = texts[doc->gold];
    doc->answer = rest;
    return HCSMOE_OK;
}

static const char *const splits[] = {"validation", NULL};

static const hcsmoe_task_spec spec = {
    .struct_size = sizeof spec,
    .type = HCSMOE_TASK_CHOICE,
    .alias = "winogrande",
    .version = "1",
    .file = "winogrande",
    .splits = splits,
    .fewshot_split = "train",
    .metrics = HCSMOE_METRIC_ACC,
    .fewshot = HCSMOE_FEWSHOT_DRAW_SPARE,
};

static const hcsmoe_task_ops ops = {
    .struct_size = sizeof ops,
    .spec = &spec,
    .format = winogrande_format,
};

static const hcsmoe_component winogrande = {
    .struct_size = sizeof winogrande,
    .kind = HCSMOE_KIND_TASK,
    .name = "winogrande",
    .summary = "WinoGrande XL: fill the blank of a sentence",
    .ops = &ops,
    .caps = HCSMOE_CAP_DETERMINISTIC,
};

HCSMOE_PLUGIN("hcsmoe.task.winogrande", "1.0", "MIT", &winogrande)
