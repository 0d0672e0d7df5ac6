/*
 * shards.c - a checkpoint folder read as one set of named tensors.
 *
 * SPDX-License-Identifier: MIT
 */
#include "data/shards.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"

static const char single_name[] = "model.safetensors";
static const char index_name[] = "model.safetensors.index.json";

/* As large as a header may be: the index says less about each tensor than a header does. */
enum { INDEX_MAX = SAFETENSORS_HEADER_MAX };

struct shard_slot {
    const struct st_entry *entry; /* NULL: free */
    uint64_t hash;
    size_t file;
};

/* model.safetensors.index.json */
struct index {
    char *path;
    json_t *root;
    json_t *map;        /* weight_map, within root: tensor -> shard */
    const char **names; /* of the shards, sorted, each once; within root */
    size_t n;
};

/* ---- the index ---- */

static int name_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A shard lies in the folder itself: an index must not lead the program to other files. */
static int shard_name_check(const struct index *x, const char *tensor, const json_t *shard)
{
    const char *name = json_string_value(shard);

    if (!name) {
        return fail(HCSMOE_EINVAL, "%s: weight_map: the shard of tensor '%s' is not a string",
                    x->path, tensor);
    }
    if (!*name || strchr(name, '/') || strstr(name, "..")) {
        return fail(HCSMOE_EINVAL,
                    "%s: shard '%s' of tensor '%s' is not a plain file name: '/' and '..' are not "
                    "allowed",
                    x->path, name, tensor);
    }
    return 0;
}

static int index_names(struct index *x)
{
    const char *tensor;
    json_t *shard;
    size_t n = 0;

    x->names = mem_new_raw(json_object_size(x->map), sizeof *x->names);
    if (!x->names) {
        return HCSMOE_ENOMEM;
    }
    json_object_foreach(x->map, tensor, shard)
    {
        int status = shard_name_check(x, tensor, shard);
        if (status) {
            return status;
        }
        x->names[n++] = json_string_value(shard);
    }
    qsort(x->names, n, sizeof *x->names, name_compare);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || strcmp(x->names[i], x->names[x->n - 1]) != 0) {
            x->names[x->n++] = x->names[i];
        }
    }
    return 0;
}

static int index_open(struct index *x, const char *path)
{
    char *text = NULL;
    size_t size;
    int status;

    x->path = mem_strdup(path);
    if (!x->path) {
        return HCSMOE_ENOMEM;
    }
    status = path_read(path, INDEX_MAX, &text, &size);
    if (status) {
        return status;
    }
    status = st_json_load(&x->root, path, text, size);
    mem_free(text);
    if (status) {
        return status;
    }
    x->map = json_object_get(x->root, "weight_map");
    if (!json_is_object(x->map)) {
        return fail(HCSMOE_EINVAL, "%s: no weight_map, an object from tensor to shard, in it",
                    path);
    }
    if (json_object_size(x->map) == 0) {
        return fail(HCSMOE_EINVAL, "%s: weight_map is empty", path);
    }
    return index_names(x);
}

static void index_release(struct index *x)
{
    mem_free(x->names);
    json_decref(x->root);
    mem_free(x->path);
}

/* ---- opening ---- */

static int file_open(struct shards *s, const char *path)
{
    int status = st_open(&s->files[s->n_files], path);
    if (!status) {
        s->n_files++;
    }
    return status;
}

static int files_open(struct shards *s, const struct index *x)
{
    s->files = mem_new(x->n, sizeof *s->files);
    if (!s->files) {
        return HCSMOE_ENOMEM;
    }
    for (size_t i = 0; i < x->n; i++) {
        char *path = path_join(s->folder, x->names[i]);
        int status = HCSMOE_ENOMEM;
        if (path && path_exists(path)) {
            status = file_open(s, path);
        } else if (path) {
            status = fail(HCSMOE_EINVAL, "%s: shard '%s' (%zu of %zu) is missing", x->path,
                          x->names[i], i + 1, x->n);
        }
        mem_free(path);
        if (status) {
            return status;
        }
    }
    return 0;
}

/* Tensor name is in file k, but the index places it in another one. */
static int misplaced(const struct shards *s, const struct index *x, const char *name, size_t k)
{
    const char *listed = json_string_value(json_object_get(x->map, name));

    for (size_t i = 0; i < s->n_files; i++) {
        const struct st_file *f = &s->files[i];
        for (size_t j = 0; j < f->n && strcmp(x->names[i], listed) == 0; j++) {
            if (strcmp(f->entries[j].name, name) == 0) {
                return fail(HCSMOE_EINVAL, "%s: tensor '%s' is in two shards: '%s' and '%s'",
                            x->path, name, listed, x->names[k]);
            }
        }
    }
    return fail(HCSMOE_EINVAL, "%s: tensor '%s' is placed in '%s', which lacks it; '%s' has it",
                x->path, name, listed, x->names[k]);
}

/* Keeps the tensors of each file that the index lists there. Others are dropped: the index says
 * what the checkpoint is. */
static int listed_keep(struct shards *s, const struct index *x)
{
    size_t total = 0;
    const char *name;
    json_t *shard;

    for (size_t k = 0; k < s->n_files; k++) {
        struct st_file *f = &s->files[k];
        for (size_t i = 0; i < f->n; i++) {
            const char *listed = json_string_value(json_object_get(x->map, f->entries[i].name));
            if (listed && strcmp(listed, x->names[k]) != 0) {
                return misplaced(s, x, f->entries[i].name, k);
            }
        }
    }
    for (size_t k = 0; k < s->n_files; k++) {
        struct st_file *f = &s->files[k];
        size_t kept = 0;
        for (size_t i = 0; i < f->n; i++) {
            json_t *listed = json_object_get(x->map, f->entries[i].name);
            if (!listed) {
                mem_free(f->entries[i].name);
                continue;
            }
            f->entries[kept++] = f->entries[i];
            /* What stays in the map afterwards was found nowhere. */
            (void)json_object_del(x->map, f->entries[kept - 1].name);
        }
        f->n = kept;
        total += kept;
    }
    json_object_foreach(x->map, name, shard)
    {
        return fail(HCSMOE_EINVAL, "%s: tensor '%s' is placed in '%s', which lacks it", x->path,
                    name, json_string_value(shard));
    }
    s->n_tensors = total;
    return 0;
}

/* The slot of name, or the free one where it would go. */
static struct shard_slot *slot_find(const struct shards *s, const char *name)
{
    uint64_t hash = str_hash(name, strlen(name));
    size_t at = (size_t)hash & (s->n_slots - 1);

    while (s->slots[at].entry &&
           (s->slots[at].hash != hash || strcmp(s->slots[at].entry->name, name) != 0)) {
        at = (at + 1) & (s->n_slots - 1);
    }
    return &s->slots[at];
}

static int table_build(struct shards *s)
{
    s->n_slots = 16;
    while (s->n_slots < 2 * s->n_tensors) {
        s->n_slots *= 2;
    }
    s->slots = mem_new(s->n_slots, sizeof *s->slots);
    if (!s->slots) {
        return HCSMOE_ENOMEM;
    }
    for (size_t k = 0; k < s->n_files; k++) {
        for (size_t i = 0; i < s->files[k].n; i++) {
            const struct st_entry *e = &s->files[k].entries[i];
            struct shard_slot *slot = slot_find(s, e->name);
            assert(!slot->entry); /* st_open and listed_keep leave each name once */
            *slot = (struct shard_slot){
                .entry = e, .hash = str_hash(e->name, strlen(e->name)), .file = k};
            if (__builtin_add_overflow(s->bytes, e->size, &s->bytes)) {
                return fail(HCSMOE_EINVAL, "%s: more bytes of tensors than 64 bits can count",
                            s->folder);
            }
        }
    }
    return 0;
}

static int single_open(struct shards *s, const char *path)
{
    int status;

    s->files = mem_new(1, sizeof *s->files);
    if (!s->files) {
        return HCSMOE_ENOMEM;
    }
    status = file_open(s, path);
    if (!status) {
        s->n_tensors = s->files[0].n;
    }
    return status;
}

static int several_open(struct shards *s, const char *path)
{
    struct index x = {0};
    int status = index_open(&x, path);

    if (!status) {
        status = files_open(s, &x);
    }
    if (!status) {
        status = listed_keep(s, &x);
    }
    index_release(&x);
    return status;
}

int shards_open(struct shards *s, const char *folder)
{
    char *single = path_join(folder, single_name);
    char *several = path_join(folder, index_name);
    int status = HCSMOE_ENOMEM;

    *s = (struct shards){.folder = mem_strdup(folder)};
    if (!single || !several || !s->folder) {
        goto out;
    }
    /* The single file first, as Hugging Face's loader does when both are there. */
    if (path_exists(single)) {
        status = single_open(s, single);
    } else if (path_exists(several)) {
        status = several_open(s, several);
    } else if (!path_is_folder(folder)) {
        status = fail(HCSMOE_EINVAL, "%s: no such folder", folder);
    } else {
        status = fail(HCSMOE_EINVAL, "%s: no checkpoint in it: neither %s nor %s is there", folder,
                      single_name, index_name);
    }
    if (!status) {
        status = table_build(s);
    }
out:
    mem_free(several);
    mem_free(single);
    if (status) {
        shards_close(s);
    }
    return status;
}

void shards_close(struct shards *s)
{
    for (size_t i = 0; i < s->n_files; i++) {
        st_close(&s->files[i]);
    }
    mem_free(s->slots);
    mem_free(s->files);
    mem_free(s->folder);
    *s = (struct shards){0};
}

int shards_unchanged(const struct shards *s)
{
    int status = 0;

    for (size_t i = 0; i < s->n_files && !status; i++) {
        status = st_unchanged(&s->files[i]);
    }
    return status;
}

/* ---- finding and reading ---- */

const struct st_entry *shards_find(const struct shards *s, const char *name)
{
    return slot_find(s, name)->entry;
}

const struct st_file *shards_file(const struct shards *s, const struct st_entry *e)
{
    const struct shard_slot *slot = slot_find(s, e->name);

    assert(slot->entry == e);
    return &s->files[slot->file];
}

int shards_read(const struct shards *s, const struct st_entry *e, void *bytes)
{
    return st_read(shards_file(s, e), e->offset, bytes, e->size);
}

int shards_read_part(const struct shards *s, const struct st_entry *e, uint64_t offset, void *bytes,
                     uint64_t size)
{
    const struct st_file *f = shards_file(s, e);

    if (offset > e->size || size > e->size - offset) {
        return fail(HCSMOE_EINVAL,
                    "%s: tensor '%s': %" PRIu64 " bytes at its byte %" PRIu64
                    " asked for, it has %" PRIu64,
                    f->path, e->name, size, offset, e->size);
    }
    return st_read(f, e->offset + offset, bytes, size);
}

const struct st_entry *shards_at(const struct shards *s, size_t i)
{
    assert(i < s->n_tensors);
    for (size_t k = 0; k < s->n_files; k++) {
        if (i < s->files[k].n) {
            return &s->files[k].entries[i];
        }
        i -= s->files[k].n;
    }
    return NULL;
}
