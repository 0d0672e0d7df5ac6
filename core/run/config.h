/*
 * config.h - what an INI asks for, checked: the core's own keys and the chosen components with
 * their options.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_CONFIG_H
#define CORE_RUN_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/ini.h"
#include "base/mem.h"
#include "base/str.h"
#include "data/corpus.h"
#include "plugin/options.h"
#include "plugin/registry.h"
#include "run/evaluate.h"

enum { BASES_MAX = 8 }; /* similarity_base = a+b+c: more names than there are bases make no sense */

enum layout { LAYOUT_MAPPED = 0, LAYOUT_EXPANDED = 1, LAYOUT_COLLAPSED = 2 };
/* What the router row of a group becomes when the layout is collapsed. */
enum router_row { ROW_CENTROID = 0, ROW_WEIGHTED = 1, ROW_MAX_MEMBER = 2 };

struct config {
    struct ini ini;
    struct arena arena; /* strings below */
    struct host *host;
    struct registry *registry;

    /* [model] */
    const char *model_name, *model_path, *family;
    /* [calibration] */
    const char *data; /* the texts' absolute paths, ", " between them; NULL: none */
    struct corpus_source *texts;
    size_t n_texts;
    int64_t *text_blocks; /* of n_sentences, from each */
    int64_t n_sentences, block_size, seed, train_batch_size;
    int64_t usage_top_k;    /* 0: the model's own */
    const char *statistics; /* a file of an earlier run; NULL: the one in output_path */
    /* [group] */
    int64_t num_average_groups, start_layer;
    struct instance bases[BASES_MAX];
    int n_bases;
    struct instance cluster; /* component NULL: the merge takes every expert alone */
    bool has_group;          /* [group] was read */
    /* [merge] */
    struct instance merge;
    bool merges; /* false: merge = no */
    int64_t partition;
    /* [output] */
    const char *output_path, *result_path;
    enum layout layout;
    enum router_row row;
    bool overwrite;
    /* [eval] */
    bool evaluates, before;
    struct eval_settings eval;
    int64_t eval_batch_size;
    /* [run] */
    const char *device;
    int64_t threads, memory_limit, quality_tokens, run_seed;
    struct instance kernels;
};

/* What a command needs from the INI. */
enum config_use {
    CONFIG_RUN,     /* everything */
    CONFIG_EVAL,    /* [eval] and [run]; other sections may be there */
    CONFIG_TOOL,    /* [run] and [plugins] only: inspect, score, expand */
    CONFIG_CONVERT, /* as TOOL, and [calibration] and [eval] where they are there */
    CONFIG_SWEEP,   /* as RUN, but nothing has to be written */
    CONFIG_SHOW,    /* as RUN, but nothing on disk has to exist */
};

/* Reads FILE (NULL: none) and overrides, opens the host, the registry and the device, finds every
 * component and checks every key. assignments: "section.key=value"; plugin_files: --plugin. */
int config_open(struct config **c, const char *file, const char *const *assignments,
                size_t n_assignments, const char *const *plugin_files, size_t n_plugin_files,
                enum config_use use) MUST_CHECK;
void config_close(struct config *c);

/* The same run as an INI: every key, effective value, and where it came from as a comment. */
int config_print(const struct config *c, bool with_sources, struct str *out) MUST_CHECK;

/* Where a core key stands ("file.ini:8: [group] start_layer"), or "[group] start_layer" when it is the
 * default. Owned by this thread, valid until the next call. */
const char *config_where(const struct config *c, const char *section, const char *key);

/* The calibration texts' names without folders, ", " between them. */
void config_text_names(const struct config *c, struct str *out);

/* Statistics that the chosen components need, together. */
uint64_t config_needs(const struct config *c);

#endif
