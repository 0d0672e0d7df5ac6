/*
 * bad_no_spec.c - a task without a spec.
 *
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/task.h>

static const hcsmoe_task_ops ops = {.struct_size = sizeof(hcsmoe_task_ops)};
static const hcsmoe_component bad = {
    .struct_size = sizeof(hcsmoe_component),
    .kind = HCSMOE_KIND_TASK,
    .name = "bad",
    .summary = "a bad one",
    .ops = &ops,
};

HCSMOE_PLUGIN("hcsmoe.test.bad", "1.0.0", "MIT", &bad)
