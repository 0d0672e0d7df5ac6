/*
 * config_keys.c - the core's own INI keys, their defaults and what they are for.
 * SPDX-License-Identifier: MIT
 */
#include "run/config_keys.h"

const struct core_key core_keys[] = {
    {"model", "model_name", NULL, true,
     "folder of the checkpoint: config.json and safetensors shards; required"},
    {"model", "family", "auto", false,
     "model family: the name of a plugin, or auto: the one that knows config.json"},
    {"model", "model_path", NULL, true,
     "folder of the shards, when they do not lie beside config.json"},
    {"calibration", "data", NULL, false,
     "text files, comma-separated: .jsonl or .json lines with \"text\", or a document a line; "
     "plain or .gz"},
    {"calibration", "mix", NULL, false,
     "shares of several files in data, as 7, 1; unset: equal ones"},
    {"calibration", "n_sentences", "32", false, "blocks of tokens in all, 1..1048576"},
    {"calibration", "block_size", "2048", false,
     "tokens of a block, 2..1048576; at most what the tokenizer says the model takes"},
    {"calibration", "seed", "42", false, "of the shuffle of the documents"},
    {"calibration", "train_batch_size", "2", false,
     "accepted for INIs of the original program; changes nothing"},
    {"calibration", "usage_top_k", NULL, false,
     "choices of a token that count as use of an expert; unset: as many as the model makes"},
    {"calibration", "statistics", NULL, true,
     "statistics.safetensors of an earlier run on the same model and text: read, not collected; "
     "unset: the one in output_path, if it fits"},
    {"group", "num_average_groups", NULL, false,
     "experts that a layer keeps, on average where a method chooses layer by layer; required"},
    {"group", "dominant", "no", false,
     "groups around dominant experts: the name of such a clustering; no: cluster decides"},
    {"group", "similarity_base", "expert-output", false,
     "what makes experts alike: names of similarity plugins, up to 8 as a sum a+b+c"},
    {"group", "cluster", "hierarchical", false,
     "which experts form a group: the name of a clustering"},
    {"group", "start_layer", "0", false, "layers before this one stay as they are"},
    {"merge", "merge", "freq", false,
     "what becomes of a group: the name of a merge method; no: nothing is merged, [eval] looks at "
     "the model as it is"},
    {"merge", "partition", "1", false,
     "parts that the layers are merged in, each seeing the tokens as they come out of the merged "
     "ones before; for methods that look at tokens"},
    {"output", "output_path", NULL, true,
     "folder of the merged checkpoint: appears complete or not at all; required"},
    {"output", "result_path", NULL, true, "file that the printed results are appended to"},
    {"output", "layout", "mapped", false,
     "mapped: merged experts once, and a map; expanded: every expert written out; collapsed: one "
     "router row for each group"},
    {"output", "row", "centroid", false,
     "router row of a group, for layout = collapsed: centroid, weighted or max-member"},
    {"output", "overwrite", "no", false, "yes: replaces what is in output_path"},
    {"eval", "task", NULL, false, "names of task plugins, comma-separated; required in [eval]"},
    {"eval", "data", NULL, true, "folder of the records: TASK.SPLIT.jsonl, plain or .gz"},
    {"eval", "num_fewshot", "0", false, "examples in front of a question, 0..1000"},
    {"eval", "eval_batch_size", "16", false,
     "accepted for INIs of the original program; changes nothing"},
    {"eval", "before", "no", false, "yes: evaluates the unmerged model too"},
    {"eval", "limit", NULL, false,
     "documents of each task: a number, or a share below 1; unset: all"},
    {"eval", "samples", NULL, true, "file that gets a JSON line for every document"},
    {"eval", "text", NULL, true, "text file of perplexity"},
    {"eval", "text_tokens", "0", false, "tokens at the front of text that are scored; 0: all"},
    {"eval", "max_length", NULL, false,
     "tokens that the model is fed at once, from 2; unset: what config.json says"},
    {"eval", "add_bos", "auto", false,
     "whether a prompt starts with the BOS token: yes, no, or auto: as the tokenizer does"},
    {"run", "device", "auto", false,
     "name of a device plugin, as cpu, or cuda:1 for the second of several; auto: the one that is "
     "preferred"},
    {"run", "threads", "0", false,
     "0..4096; 0: one for every processor. Results do not depend on it"},
    {"run", "dtype", "f32", false,
     "of what enters matrix products: f32, or bf16: activations and weights rounded, sums and all "
     "else in f32, the router exact; faster with AVX512-BF16 or AMX"},
    {"run", "memory_limit", "0", false,
     "bytes that a run may plan with, as 12G or 500M; 0: no limit"},
    {"run", "quality_tokens", "2048", false,
     "calibration tokens on which each merged layer's output error is measured, 0..1048576"},
    {"run", "seed", "0", false, "of everything that methods draw"},
    {"plugins", "path", NULL, false,
     "folders with plugins, colon-separated, searched before all others"},
    {"plugins", "load", NULL, false,
     "plugin files to load, comma-separated; without a slash: out of the plugin folders"},
};
const size_t n_core_keys = sizeof core_keys / sizeof *core_keys;

const char *const run_dtypes[] = {"f32", "bf16"};
const size_t n_run_dtypes = sizeof run_dtypes / sizeof *run_dtypes;

const char *const config_sections[] = {"model",  "calibration", "group", "merge",
                                       "output", "eval",        "run",   "plugins"};
const size_t n_config_sections = sizeof config_sections / sizeof *config_sections;
