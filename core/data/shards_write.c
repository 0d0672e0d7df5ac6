/*
 * shards_write.c - a set of tensors written as the shards of a checkpoint folder and their index.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "data/shards.h"

/* A file of 5 GB of weights never has 100 000 tensors of normal size; were it so, a further file is
 * begun. */
enum { RESERVE_MIN = 4096, RESERVE_MAX = 16 * 1024 * 1024 };

static const uint64_t limit_default = 5000000000u; /* Hugging Face's own habit */

struct placed {
    const char *name;
    size_t file;
};

int shard_writer_create(struct shard_writer *w, const char *folder, uint64_t header_reserve)
{
    *w = (struct shard_writer){.limit = limit_default, .folder = mem_strdup(folder)};
    if (!w->folder) {
        return HCSMOE_ENOMEM;
    }
    w->reserve = header_reserve < RESERVE_MIN   ? RESERVE_MIN
                 : header_reserve > RESERVE_MAX ? RESERVE_MAX
                                                : header_reserve;
    if (!path_is_folder(folder)) {
        int status = fail(HCSMOE_EINVAL, "%s: no such folder", folder);
        shard_writer_release(w);
        return status;
    }
    return 0;
}

/* Where file k is while the run goes on. */
static char *temporary_path(const struct shard_writer *w, size_t k)
{
    return mem_printf("%s/shard-%05zu.tmp", w->folder, k + 1);
}

/* What the index calls file k; the number of files must be known. */
static char *final_name(const struct shard_writer *w, size_t k)
{
    return w->n_files == 1 ? mem_strdup("model.safetensors")
                           : mem_printf("model-%05zu-of-%05zu.safetensors", k + 1, w->n_files);
}

static int next_file(struct shard_writer *w)
{
    char *path = temporary_path(w, w->n_files);
    int status;

    if (!path) {
        return HCSMOE_ENOMEM;
    }
    status = st_create(&w->file, path, w->reserve);
    mem_free(path);
    if (!status) {
        w->is_open = true;
        w->header = 0;
        w->n_files++;
    }
    return status;
}

static int file_finish(struct shard_writer *w)
{
    int status = st_finish(&w->file, NULL);
    if (!status) {
        w->is_open = false;
    }
    return status;
}

/* Whether a tensor of size bytes must go to a further file. */
static bool file_is_full(const struct shard_writer *w, uint32_t dtype, uint64_t size,
                         uint64_t header)
{
    if (w->file.n == 0) {
        return false;
    }
    /* The format allows no gap between tensors, and PyTorch takes none that begins between
     * multiples of its element size: a new file puts it at 0. Tensors of a real model are never of
     * such sizes. */
    if (w->file.at % hcsmoe_dtype_size(dtype) != 0) {
        return true;
    }
    if (w->header + header > w->reserve) {
        return true;
    }
    return size > 0 && (w->file.at > w->limit || size > w->limit - w->file.at);
}

/* Room for one more name, and the name in it; not counted yet. */
static int name_note(struct shard_writer *w, const char *name)
{
    size_t capacity = w->capacity;
    int status = mem_grow(&w->file_of, w->n, &capacity, sizeof *w->file_of);

    if (!status) {
        status = mem_grow(&w->names, w->n, &w->capacity, sizeof *w->names);
    }
    if (status) {
        return status;
    }
    w->names[w->n] = mem_strdup(name);
    return w->names[w->n] ? 0 : HCSMOE_ENOMEM;
}

int shard_writer_begin(struct shard_writer *w, const char *name, uint32_t dtype, uint32_t ndim,
                       const int64_t *shape)
{
    uint64_t header = st_header_bytes(name, ndim);
    uint64_t size = 0;
    int status = 0;

    /* What is wrong with the tensor itself st_begin says; then it does not matter which file is
     * open. */
    if (w->is_open && hcsmoe_dtype_size(dtype) > 0 && ndim <= SAFETENSORS_DIMS_MAX &&
        st_size(dtype, ndim, shape, &size) && file_is_full(w, dtype, size, header)) {
        status = file_finish(w);
    }
    if (!status && !w->is_open) {
        status = next_file(w);
    }
    if (!status) {
        status = name_note(w, name);
    }
    if (status) {
        return status;
    }
    status = st_begin(&w->file, name, dtype, ndim, shape);
    if (status) {
        mem_free(w->names[w->n]);
        return status;
    }
    w->file_of[w->n++] = w->n_files - 1;
    w->header += header;
    w->bytes += w->file.entries[w->file.n - 1].size;
    return 0;
}

int shard_writer_append(struct shard_writer *w, const void *bytes, uint64_t size)
{
    if (!w->is_open) {
        return fail(HCSMOE_EFAILED, "%s: %" PRIu64 " bytes of no tensor", w->folder, size);
    }
    return st_append(&w->file, bytes, size);
}

int shard_writer_add(struct shard_writer *w, const char *name, uint32_t dtype, uint32_t ndim,
                     const int64_t *shape, const void *bytes)
{
    int status = shard_writer_begin(w, name, dtype, ndim, shape);
    if (status) {
        return status;
    }
    return st_append(&w->file, bytes, w->file.entries[w->file.n - 1].size);
}

/* ---- the end ---- */

static int placed_compare(const void *a, const void *b)
{
    return strcmp(((const struct placed *)a)->name, ((const struct placed *)b)->name);
}

/* All names in order, each with its file; mem_free it. */
static int placed_sort(const struct shard_writer *w, struct placed **out)
{
    struct placed *p = mem_new_raw(w->n, sizeof *p);

    if (!p) {
        return HCSMOE_ENOMEM;
    }
    for (size_t i = 0; i < w->n; i++) {
        p[i] = (struct placed){.name = w->names[i], .file = w->file_of[i]};
    }
    qsort(p, w->n, sizeof *p, placed_compare);
    for (size_t i = 1; i < w->n; i++) {
        if (strcmp(p[i - 1].name, p[i].name) == 0) {
            int status =
                fail(HCSMOE_EFAILED, "%s: tensor '%s' was written twice", w->folder, p[i].name);
            mem_free(p);
            return status;
        }
    }
    *out = p;
    return 0;
}

static int index_line(const struct shard_writer *w, struct str *text, const struct placed *p)
{
    char name[SAFETENSORS_NAME_JSON_MAX];
    size_t n;
    char *shard = NULL;
    int status = st_name_json(w->folder, p->name, name, &n);

    if (status) {
        return status;
    }
    shard = final_name(w, p->file);
    if (!shard) {
        return HCSMOE_ENOMEM;
    }
    str_add(text, "    ");
    str_add_bytes(text, name, n);
    str_addf(text, ": \"%s\"", shard);
    mem_free(shard);
    return 0;
}

static int index_write(const struct shard_writer *w, const struct placed *p)
{
    char *path = path_join(w->folder, "model.safetensors.index.json");
    struct str text = {0};
    int status = path ? 0 : HCSMOE_ENOMEM;

    str_addf(&text,
             "{\n  \"metadata\": {\n    \"total_size\": %" PRIu64 "\n  },\n  \"weight_map\": {\n",
             w->bytes);
    for (size_t i = 0; i < w->n && !status; i++) {
        status = index_line(w, &text, &p[i]);
        str_add(&text, i + 1 < w->n ? ",\n" : "\n");
    }
    str_add(&text, "  }\n}\n");
    if (!status) {
        status = str_check(&text);
    }
    if (!status) {
        status = path_write(path, text.text, text.len);
    }
    str_release(&text);
    mem_free(path);
    return status;
}

static int file_rename(const struct shard_writer *w, size_t k)
{
    char *from = temporary_path(w, k);
    char *name = final_name(w, k);
    char *to = name ? path_join(w->folder, name) : NULL;
    int status = from && to ? 0 : HCSMOE_ENOMEM;

    if (!status && rename(from, to) != 0) {
        int error = errno;
        status = fail(HCSMOE_EIO, "%s: %s cannot be renamed to this: %s", to, path_base(from),
                      strerror(error));
    }
    mem_free(to);
    mem_free(name);
    mem_free(from);
    return status;
}

int shard_writer_finish(struct shard_writer *w)
{
    struct placed *p = NULL;
    int status = 0;

    if (!w->is_open && w->n_files == 0) {
        status = next_file(w); /* a model without tensors is a file with an empty header */
    }
    if (!status && w->is_open) {
        status = file_finish(w);
    }
    if (!status) {
        status = placed_sort(w, &p);
    }
    for (size_t k = 0; k < w->n_files && !status; k++) {
        status = file_rename(w, k);
    }
    /* The index comes last: a folder that has one has all its shards. */
    if (!status && w->n_files > 1) {
        status = index_write(w, p);
    }
    if (!status) {
        status = path_sync_folder(w->folder);
    }
    w->is_finished = !status;
    mem_free(p);
    return status;
}

void shard_writer_release(struct shard_writer *w)
{
    if (w->is_open) {
        st_abandon(&w->file);
    }
    for (size_t k = 0; k < w->n_files && !w->is_finished; k++) {
        char *path = temporary_path(w, k);
        if (path) {
            (void)unlink(path);
        }
        mem_free(path);
    }
    for (size_t i = 0; i < w->n; i++) {
        mem_free(w->names[i]);
    }
    mem_free(w->names);
    mem_free(w->file_of);
    mem_free(w->folder);
    *w = (struct shard_writer){0};
}
