/*
 * output.h - the output folder: written beside its place, renamed when complete.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_OUTPUT_H
#define CORE_RUN_OUTPUT_H

#include <jansson.h>

#include "run/collapse.h"
#include "run/config.h"
#include "run/merge.h"

struct output {
    const struct model *m;
    char *target, *temporary;
    enum layout layout;
    bool overwrite;
    struct shard_writer writer;
    bool writing;
    const struct st_entry **written; /* input tensors that the layers took care of */
    size_t n_written, capacity;
    int64_t parameters, bytes;
    int64_t ffn;              /* of merged experts; 0: unchanged */
    int64_t n_experts, top_k; /* collapsed: of every layer; 0: no layer yet */
    json_t *layers;           /* config.json's hcsmoe.layers */
};

/* Makes the temporary folder; refuses what guard_folder refuses. */
int output_open(struct output *o, const struct model *m, const char *target, enum layout layout,
                bool overwrite) MUST_CHECK;
/* One layer; merged NULL: a dense one. touched: it was merged, and config.json lists it. collapsed:
 * its router, for a MoE layer in that layout; else NULL. */
int output_layer(struct output *o, const struct layer *l, const struct merged *x, bool touched,
                 const struct collapsed *collapsed) MUST_CHECK;
/* All other tensors, small files, config.json with `hcsmoe` (new reference; its layers and layout
 * are filled in here). */
int output_tail(struct output *o, json_t *hcsmoe) MUST_CHECK;
/* A file below hcsmoe/ of the folder. */
int output_file(struct output *o, const char *name, const void *bytes, size_t size) MUST_CHECK;
char *output_path(const struct output *o,
                  const char *name); /* in the temporary hcsmoe/ folder; new string */
/* fsync, rename. Until then nothing stands at the target. Refuses when the input changed meanwhile. */
int output_finish(struct output *o) MUST_CHECK;
void output_release(struct output *o); /* removes the temporary folder unless finished */

#endif
