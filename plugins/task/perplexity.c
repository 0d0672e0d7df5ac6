/*
 * perplexity.c - task perplexity: one text file, [eval] text, scored from end to end.
 *
 * The host does the work; this says that there is such a task.
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/plugin.h>
#include <hcsmoe/task.h>

static const hcsmoe_task_spec spec = {
    .struct_size = sizeof spec,
    .type = HCSMOE_TASK_TEXT,
    .alias = "perplexity",
    .version = "1",
};

static const hcsmoe_task_ops ops = {
    .struct_size = sizeof ops,
    .spec = &spec,
};

static const hcsmoe_component perplexity = {
    .struct_size = sizeof perplexity,
    .kind = HCSMOE_KIND_TASK,
    .name = "perplexity",
    .summary = "perplexity of the file [eval] text, in windows of max_length tokens",
    .ops = &ops,
    .caps = HCSMOE_CAP_DETERMINISTIC,
};

HCSMOE_PLUGIN("hcsmoe.task.perplexity", "1.0", "MIT", &perplexity)
