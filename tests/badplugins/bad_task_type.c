/*
 * bad_task_type.c - a type of task that there is not.
 *
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/task.h>

static const char *const splits[] = {"test", NULL};
static const hcsmoe_task_spec spec = {
    .struct_size = sizeof(hcsmoe_task_spec),
    .type = 7,
    .alias = "bad",
    .version = "1",
    .file = "bad",
    .splits = splits,
};
static const hcsmoe_task_ops ops = {.struct_size = sizeof(hcsmoe_task_ops), .spec = &spec};
static const hcsmoe_component bad = {
    .struct_size = sizeof(hcsmoe_component),
    .kind = HCSMOE_KIND_TASK,
    .name = "bad",
    .summary = "a bad one",
    .ops = &ops,
};

HCSMOE_PLUGIN("hcsmoe.test.bad", "1.0.0", "MIT", &bad)
