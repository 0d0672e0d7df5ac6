/*
 * shards.h - a checkpoint folder as one set of named tensors, and the same written out.
 *
 * No fixed number of tensors or shards. Nothing is mapped.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_DATA_SHARDS_H
#define CORE_DATA_SHARDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data/safetensors.h"

/* ---- reading ---- */

struct shards {
    char *folder;
    struct st_file *files; /* opened, in order of name */
    size_t n_files;
    struct shard_slot *slots; /* hash table over all names */
    size_t n_slots, n_tensors;
    uint64_t bytes; /* of all tensors */
};

/* Opens model.safetensors, or else the shards that model.safetensors.index.json names; of their
 * tensors only those that the index lists are taken (files[].entries holds no others). Errors:
 * neither is there (says which were looked for), a shard that the index names is missing ("shard 3
 * of 19"), a tensor that the index places in a shard which lacks it, a tensor in two shards, a
 * shard name with '/' or "..", bad JSON with position. */
int shards_open(struct shards *s, const char *folder) MUST_CHECK;
void shards_close(struct shards *s);
/* Error when one of the files is not what it was when opened (st_unchanged). any thread */
int shards_unchanged(const struct shards *s) MUST_CHECK;

const struct st_entry *shards_find(const struct shards *s, const char *name);
/* Which file an entry is in. */
const struct st_file *shards_file(const struct shards *s, const struct st_entry *e);
/* Whole tensor, or a part of it (offset within the tensor). any thread. */
int shards_read(const struct shards *s, const struct st_entry *e, void *bytes) MUST_CHECK;
int shards_read_part(const struct shards *s, const struct st_entry *e, uint64_t offset, void *bytes,
                     uint64_t size) MUST_CHECK;
/* Whole tensors into memory, several pieces of them at once; the pages of the files are given back to the system.
 * Refuses NaN and infinity in tensors of floats; of several errors the first in order of loads counts. */
struct shard_load {
    const struct st_entry *entry;
    void *bytes;
};
int shards_load(const struct shards *s, const struct shard_load *loads, size_t n) MUST_CHECK;
/* i-th tensor of all, in order of file then offset. */
const struct st_entry *shards_at(const struct shards *s, size_t i);

/* ---- writing ---- */

struct shard_writer {
    char *folder;
    uint64_t limit;        /* bytes of data per file, 5e9 unless set after create */
    uint64_t reserve;      /* header bytes kept in every file */
    uint64_t header;       /* of them used in the open file, at most */
    struct st_writer file; /* the open one */
    bool is_open, is_finished;
    size_t n_files;
    char **names; /* tensor -> file, for the index */
    size_t *file_of;
    size_t n, capacity;
    uint64_t bytes;
};

/* Writes into an existing folder: shard-NNNNN.tmp while it runs; shard_writer_finish renames to
 * model.safetensors (one file) or model-0000K-of-0000N.safetensors and writes
 * model.safetensors.index.json (weight_map sorted by name, metadata.total_size). header_reserve:
 * sum of st_header_bytes over all tensors, or a guess (kept between 4 KiB and 16 MiB): a file whose
 * header is full is closed early, and so is one in which a tensor would not begin at a multiple of
 * its element size. */
int shard_writer_create(struct shard_writer *w, const char *folder,
                        uint64_t header_reserve) MUST_CHECK;
int shard_writer_add(struct shard_writer *w, const char *name, uint32_t dtype, uint32_t ndim,
                     const int64_t *shape, const void *bytes) MUST_CHECK;
/* Piecewise: begin, append …; a tensor larger than the limit gets a file of its own. */
int shard_writer_begin(struct shard_writer *w, const char *name, uint32_t dtype, uint32_t ndim,
                       const int64_t *shape) MUST_CHECK;
int shard_writer_append(struct shard_writer *w, const void *bytes, uint64_t size) MUST_CHECK;
int shard_writer_finish(struct shard_writer *w) MUST_CHECK;
/* Removes what is there of an unfinished set. Fine for a zeroed struct. */
void shard_writer_release(struct shard_writer *w);

#endif
