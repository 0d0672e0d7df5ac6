/*
 * config_keys.c - the core's own INI keys and their defaults.
 * SPDX-License-Identifier: MIT
 */
#include "run/config_keys.h"

const struct core_key core_keys[] = {
    {"model", "model_name", NULL, true},
    {"model", "family", "auto", false},
    {"model", "model_path", NULL, true},
    {"calibration", "data", NULL, false}, /* a list of paths: config_texts */
    {"calibration", "mix", NULL, false},
    {"calibration", "n_sentences", "32", false},
    {"calibration", "block_size", "2048", false},
    {"calibration", "seed", "42", false},
    {"calibration", "train_batch_size", "2", false},
    {"calibration", "usage_top_k", NULL, false},
    {"calibration", "statistics", NULL, true},
    {"group", "num_average_groups", NULL, false},
    {"group", "dominant", "no", false},
    {"group", "similarity_base", "expert-output", false},
    {"group", "cluster", "hierarchical", false},
    {"group", "start_layer", "0", false},
    {"merge", "merge", "freq", false},
    {"merge", "partition", "1", false},
    {"output", "output_path", NULL, true},
    {"output", "result_path", NULL, true},
    {"output", "layout", "mapped", false},
    {"output", "row", "centroid", false},
    {"output", "overwrite", "no", false},
    {"eval", "task", NULL, false},
    {"eval", "data", NULL, true},
    {"eval", "num_fewshot", "0", false},
    {"eval", "eval_batch_size", "16", false},
    {"eval", "before", "no", false},
    {"eval", "limit", NULL, false},
    {"eval", "samples", NULL, true},
    {"eval", "text", NULL, true},
    {"eval", "text_tokens", "0", false},
    {"eval", "max_length", NULL, false},
    {"eval", "add_bos", "auto", false},
    {"run", "device", "auto", false},
    {"run", "threads", "0", false},
    {"run", "dtype", "f32", false},
    {"run", "memory_limit", "0", false},
    {"run", "quality_tokens", "2048", false},
    {"run", "seed", "0", false},
    {"plugins", "path", NULL, false},
    {"plugins", "load", NULL, false},
};
const size_t n_core_keys = sizeof core_keys / sizeof *core_keys;

const char *const config_sections[] = {"model",  "calibration", "group", "merge",
                                       "output", "eval",        "run",   "plugins"};
const size_t n_config_sections = sizeof config_sections / sizeof *config_sections;
