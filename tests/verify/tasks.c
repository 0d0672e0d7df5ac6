/*
 * tasks.c - tasks on the records of winogrande that break one rule each.
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/record.h>
#include <hcsmoe/task.h>

static const char *const choices[] = {"one", "two"};

static hcsmoe_status good(const hcsmoe_host *h, const hcsmoe_json *record, hcsmoe_task_doc *d)
{
    const hcsmoe_status status = hcsmoe_record_text(h, record, "sentence", &d->question);
    d->n_choices = 2;
    d->choices = choices;
    d->answer = choices[0];
    return status;
}

static hcsmoe_status anything_format(void *self, const hcsmoe_host *h, const hcsmoe_json *record,
                                     hcsmoe_task_doc *d)
{
    (void)self;
    (void)good(h, record, d);
    d->question = "?";
    return HCSMOE_OK;
}

static hcsmoe_status gold_format(void *self, const hcsmoe_host *h, const hcsmoe_json *record,
                                 hcsmoe_task_doc *d)
{
    (void)self;
    d->gold = 2;
    return good(h, record, d);
}

static hcsmoe_status bytes_format(void *self, const hcsmoe_host *h, const hcsmoe_json *record,
                                  hcsmoe_task_doc *d)
{
    const hcsmoe_status status = good(h, record, d);
    (void)self;
    d->answer = "\xff";
    return status;
}

/* Does not look what a member is before it reads it. */
static hcsmoe_status trusting_format(void *self, const hcsmoe_host *h, const hcsmoe_json *record,
                                     hcsmoe_task_doc *d)
{
    hcsmoe_status status = good(h, record, d);
    (void)self;
    if (status == HCSMOE_OK && h->json->string(h->json->get(record, "answer"), NULL) == NULL)
        status = HCSMOE_EINVAL;
    return status;
}

static hcsmoe_status other_format(void *self, const hcsmoe_host *h, const hcsmoe_json *record,
                                  hcsmoe_task_doc *d)
{
    static int32_t calls;
    (void)self;
    d->gold = calls++ % 2;
    return good(h, record, d);
}

static const char *const splits[] = {"validation", NULL};
static const char *const members[] = {"nobody", NULL};

static const hcsmoe_task_spec spec = {.struct_size = sizeof spec,
                                      .type = HCSMOE_TASK_CHOICE,
                                      .alias = "bad",
                                      .version = "1",
                                      .file = "winogrande",
                                      .splits = splits,
                                      .metrics = HCSMOE_METRIC_ACC};
static const hcsmoe_task_spec group_spec = {.struct_size = sizeof group_spec,
                                            .type = HCSMOE_TASK_GROUP,
                                            .alias = "bad",
                                            .version = "1",
                                            .members = members};

#define BAD(name_, spec_, format_)                                                                 \
    static const hcsmoe_task_ops name_##_ops = {                                                   \
        .struct_size = sizeof(hcsmoe_task_ops), .spec = spec_, .format = format_};                 \
    static const hcsmoe_component name_ = {.struct_size = sizeof(hcsmoe_component),                \
                                           .kind = HCSMOE_KIND_TASK,                               \
                                           .name = #name_,                                         \
                                           .summary = "breaks a rule",                             \
                                           .ops = &name_##_ops}

BAD(anything, &spec, anything_format);
BAD(gold, &spec, gold_format);
BAD(bytes, &spec, bytes_format);
BAD(trusting, &spec, trusting_format);
BAD(other, &spec, other_format);
BAD(group, &group_spec, NULL);

HCSMOE_PLUGIN("hcsmoe.test.verify.tasks", "1.0.0", "MIT", &anything, &gold, &bytes, &trusting,
              &other, &group)
