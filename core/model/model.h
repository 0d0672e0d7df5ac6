/*
 * model.h - an opened checkpoint: its family's description, where every tensor lies, one layer at a
 * time in memory.
 *
 * Speaks roles; names come from the family's plugin.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_MODEL_MODEL_H
#define CORE_MODEL_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include <hcsmoe/model.h>

#include "base/ini.h"
#include "base/path.h"
#include "data/shards.h"
#include "data/tokenizer.h"
#include "plugin/options.h"
#include "plugin/registry.h"

enum { MODEL_ROLES = 64, MODEL_FILES = 5 };

/* A small file of the checkpoint, as it was before it was read. */
struct model_file {
    char *path;
    struct path_stamp stamp;
};

/* Where one layer's tensors are in the files, and where they go in a layer buffer. */
struct layer_source {
    hcsmoe_layer_desc desc;
    const struct st_entry *role[MODEL_ROLES];   /* per layer; NULL: absent */
    const struct st_entry **gate, **up, **down; /* [n_stored]; NULL when fused */
    const struct st_entry *fused_gate_up, *fused_down;
    int64_t n_stored; /* expert matrices on disk: E, or groups of a mapped checkpoint */
    int64_t *map;     /* [E] expert -> stored, of a mapped checkpoint; NULL: the identity */
    uint64_t bytes;   /* of the layer buffer */
};

/* One layer in memory: as it was read, or with other experts (run/merge.h). */
struct layer {
    int index;
    int64_t n_experts, top_k; /* router rows, experts per token */
    int64_t ffn;              /* of every expert */
    const int64_t *map; /* [n_experts] router row -> matrix, -1: never chosen; NULL: identity */
    unsigned char *buffer;
    uint64_t capacity;
    hcsmoe_tensor role[MODEL_ROLES];
    hcsmoe_tensor *gate, *up, *down; /* [n_stored] */
    int64_t n_stored, n_allocated;
};

struct model {
    char *folder;
    json_t *config; /* config.json */
    struct instance family;
    const hcsmoe_model_ops *ops;
    hcsmoe_model_desc desc;
    struct layer_source *layers;                      /* [desc.n_layers] */
    const struct st_entry *embed, *final_norm, *head; /* head: embed when tied */
    struct shards shards;
    struct model_file files[MODEL_FILES]; /* those that are there */
    size_t n_files;
    struct host *host;
    const hcsmoe_kernels *k;
    double *inverse_frequency; /* [rotary_dim / 2] */
    uint64_t layer_bytes_max;
    int64_t n_moe_layers;
    int64_t parameters;
    int64_t context; /* positions in config.json; 0: not said */
};

/* folder: config.json and shards. weights: folder of the shards in its place; NULL. family: "auto",
 * or a plugin's name. ini: for the family's own options; NULL. The device's kernels are already
 * chosen. Everything is checked here: names, shapes, dtypes. */
int model_open(struct model **m, const char *folder, const char *weights, const char *family,
               const struct ini *ini, struct registry *r, struct host *h) MUST_CHECK;
void model_close(struct model *m);
/* Error when a file of the checkpoint is not what it was when the model was opened. any thread */
int model_unchanged(const struct model *m) MUST_CHECK;

/* The error for a checkpoint folder that is not there; one that looks like a hub name gets the
 * command that fetches it. */
int checkpoint_missing(const char *name);

/* Name of a role's tensor as the family publishes it. */
int model_tensor_name(const struct model *m, int role, int layer, int expert, char *name,
                      size_t size) MUST_CHECK;

/* Reads layer i; the buffer is reused and grows. Refuses NaN, infinity, and files that changed since
 * the model was opened. any thread, one per struct layer */
int layer_read(const struct model *m, int i, struct layer *l) MUST_CHECK;
void layer_release(struct layer *l);
/* The same layer with its experts widened to float32, in memory of its own (layer_release); all else
 * is a view of l. */
int layer_widen(const struct model *m, const struct layer *l, struct layer *wide) MUST_CHECK;

/* Reads one whole tensor (embedding, norm, head) into new memory. */
int model_tensor_read(const struct model *m, const struct st_entry *e, hcsmoe_tensor *t,
                      void **bytes) MUST_CHECK;

/* Reads layers ahead on a thread of its own: layers_next gives 0, 1, 2 … in order. */
struct layer_reader;
int layers_start(struct layer_reader **r, const struct model *m) MUST_CHECK;
int layers_next(struct layer_reader *r,
                struct layer **l) MUST_CHECK;       /* valid until the next call */
double layers_wait_s(const struct layer_reader *r); /* time spent reading, on the reader's thread */
void layers_stop(struct layer_reader *r);

#endif
