/*
 * safetensors_write.c - writing safetensors files: data as they come, the header at the end.
 *
 * SPDX-License-Identifier: MIT
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/mem.h"
#include "base/str.h"
#include "data/safetensors.h"

enum {
    LENGTH_BYTES = 8,
    ALIGNMENT = 64,                 /* of the data in the file; the format itself asks for 8 */
    FRAME_BYTES = 64,               /* length, braces and the usual __metadata__ */
    WRITE_MAX = 1024 * 1024 * 1024, /* bytes per pwrite */
    DIGITS_MAX = 20                 /* of a 64-bit number */
};

static int write_at(const struct st_writer *w, uint64_t offset, const void *bytes, uint64_t size)
{
    const unsigned char *from = bytes;

    while (size > 0) {
        size_t piece = size < WRITE_MAX ? (size_t)size : WRITE_MAX;
        ssize_t done = pwrite(w->fd, from, piece, (off_t)offset);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return fail_errno(w->path, errno == ENOSPC ? "disk full" : "cannot write");
        }
        from += done;
        offset += (uint64_t)done;
        size -= (uint64_t)done;
    }
    return 0;
}

int st_create(struct st_writer *w, const char *path, uint64_t header_reserve)
{
    *w = (struct st_writer){.fd = -1};
    if (header_reserve > SAFETENSORS_HEADER_MAX - FRAME_BYTES - ALIGNMENT) {
        return fail(HCSMOE_EINVAL,
                    "%s: a header of %" PRIu64 " bytes is beyond the format's limit of %d", path,
                    header_reserve, SAFETENSORS_HEADER_MAX);
    }
    w->reserve = (header_reserve + FRAME_BYTES + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    w->path = mem_strdup(path);
    if (!w->path) {
        return HCSMOE_ENOMEM;
    }
    w->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w->fd < 0) {
        int status = fail_errno(path, "cannot create");
        mem_free(w->path);
        w->path = NULL;
        return status;
    }
    return 0;
}

int st_name_json(const char *where, const char *name, char text[SAFETENSORS_NAME_JSON_MAX],
                 size_t *n)
{
    json_t *j;

    if (strlen(name) > SAFETENSORS_NAME_MAX) {
        return fail(HCSMOE_EINVAL, "%s: a tensor name of %zu bytes: at most %d", where,
                    strlen(name), SAFETENSORS_NAME_MAX);
    }
    j = json_string(name);
    if (!j) {
        return fail(HCSMOE_EINVAL, "%s: tensor name '%s' is not UTF-8", where, name);
    }
    *n = json_dumpb(j, text, SAFETENSORS_NAME_JSON_MAX, JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(j);
    if (*n == 0) {
        return fail_memory(SAFETENSORS_NAME_JSON_MAX);
    }
    assert(*n <= SAFETENSORS_NAME_JSON_MAX);
    return 0;
}

uint64_t st_header_bytes(const char *name, uint32_t ndim)
{
    uint64_t n = strlen("\"\":{\"dtype\":\"F8_E4M3\",\"shape\":[],\"data_offsets\":[,]},");

    for (const char *c = name; *c; c++) {
        if ((unsigned char)*c < 0x20) {
            n += strlen("\\u0000");
        } else {
            n += *c == '"' || *c == '\\' ? 2 : 1;
        }
    }
    return n + (uint64_t)ndim * (DIGITS_MAX + 1) + 2 * DIGITS_MAX;
}

/* The tensor that was begun last must have all its bytes. */
static int last_check(const struct st_writer *w)
{
    const struct st_entry *e = w->n > 0 ? &w->entries[w->n - 1] : NULL;

    if (e && w->reserve + w->at != e->offset + e->size) {
        return fail(HCSMOE_EFAILED,
                    "%s: tensor '%s': %" PRIu64 " of its %" PRIu64 " bytes were written", w->path,
                    e->name, w->reserve + w->at - e->offset, e->size);
    }
    return 0;
}

int st_begin(struct st_writer *w, const char *name, uint32_t dtype, uint32_t ndim,
             const int64_t *shape)
{
    char text[SAFETENSORS_NAME_JSON_MAX];
    struct st_entry *e;
    uint64_t bytes;
    size_t n;
    int status;

    assert(w->path);
    status = last_check(w);
    if (!status) {
        status = st_name_json(w->path, name, text, &n);
    }
    if (status) {
        return status;
    }
    if (strcmp(name, "__metadata__") == 0) {
        return fail(HCSMOE_EINVAL, "%s: a tensor must not be named '%s'", w->path, name);
    }
    if (hcsmoe_dtype_size(dtype) == 0) {
        return fail(HCSMOE_EFAILED, "%s: tensor '%s': no dtype has the number %" PRIu32, w->path,
                    name, dtype);
    }
    if (ndim > SAFETENSORS_DIMS_MAX) {
        return fail(HCSMOE_EINVAL, "%s: tensor '%s': %" PRIu32 " dimensions, at most %d are taken",
                    w->path, name, ndim, SAFETENSORS_DIMS_MAX);
    }
    if (!st_size(dtype, ndim, shape, &bytes) || bytes > INT64_MAX - w->reserve - w->at) {
        return fail(HCSMOE_EINVAL, "%s: tensor '%s': its shape is negative or too large", w->path,
                    name);
    }
    status = mem_grow(&w->entries, w->n, &w->capacity, sizeof *w->entries);
    if (status) {
        return status;
    }
    e = &w->entries[w->n];
    *e = (struct st_entry){
        .dtype = dtype, .ndim = ndim, .offset = w->reserve + w->at, .size = bytes};
    for (uint32_t i = 0; i < ndim; i++) {
        e->shape[i] = shape[i];
    }
    e->name = mem_strdup(name);
    if (!e->name) {
        return HCSMOE_ENOMEM;
    }
    w->n++;
    return 0;
}

int st_append(struct st_writer *w, const void *bytes, uint64_t size)
{
    const struct st_entry *e = w->n > 0 ? &w->entries[w->n - 1] : NULL;
    uint64_t left = e ? e->offset + e->size - w->reserve - w->at : 0;
    int status;

    if (size > left) {
        return fail(HCSMOE_EFAILED, "%s: tensor '%s': %" PRIu64 " bytes more, %" PRIu64 " are left",
                    w->path, e ? e->name : "(none)", size, left);
    }
    status = write_at(w, w->reserve + w->at, bytes, size);
    if (!status) {
        w->at += size;
    }
    return status;
}

int st_add(struct st_writer *w, const char *name, uint32_t dtype, uint32_t ndim,
           const int64_t *shape, const void *bytes)
{
    int status = st_begin(w, name, dtype, ndim, shape);
    if (status) {
        return status;
    }
    return st_append(w, bytes, w->entries[w->n - 1].size);
}

/* ---- the header ---- */

static int metadata_add(const struct st_writer *w, struct str *header, const char *metadata)
{
    json_t *object = NULL;
    char *text = NULL;
    size_t n;
    int status;

    if (!metadata) {
        str_add(header, "{\"format\":\"pt\"}");
        return 0;
    }
    status = st_json_load(&object, w->path, metadata, strlen(metadata));
    if (!status) {
        status = st_metadata_check(w->path, object);
    }
    if (status) {
        goto out;
    }
    /* Hugging Face's loader refuses a file without it. */
    if (!json_object_get(object, "format") &&
        json_object_set_new(object, "format", json_string("pt")) != 0) {
        status = fail_memory(strlen(metadata));
        goto out;
    }
    n = json_dumpb(object, NULL, 0, JSON_COMPACT);
    text = mem_new_raw(n, 1);
    if (!text) {
        status = HCSMOE_ENOMEM;
        goto out;
    }
    if (json_dumpb(object, text, n, JSON_COMPACT) != n) {
        status = fail_memory(n);
        goto out;
    }
    str_add_bytes(header, text, n);
out:
    mem_free(text);
    json_decref(object);
    return status;
}

static int entry_add(const struct st_writer *w, struct str *header, const struct st_entry *e)
{
    char name[SAFETENSORS_NAME_JSON_MAX];
    size_t n;
    int status = st_name_json(w->path, e->name, name, &n);

    if (status) {
        return status;
    }
    str_add(header, ",");
    str_add_bytes(header, name, n);
    str_addf(header, ":{\"dtype\":\"%s\",\"shape\":[", st_dtype_name(e->dtype));
    for (uint32_t i = 0; i < e->ndim; i++) {
        str_addf(header, "%s%" PRId64, i > 0 ? "," : "", e->shape[i]);
    }
    str_addf(header, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", e->offset - w->reserve,
             e->offset - w->reserve + e->size);
    return 0;
}

static int name_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int names_check(const struct st_writer *w)
{
    const char **names = mem_new_raw(w->n, sizeof *names);
    int status = 0;

    if (!names) {
        return HCSMOE_ENOMEM;
    }
    for (size_t i = 0; i < w->n; i++) {
        names[i] = w->entries[i].name;
    }
    qsort(names, w->n, sizeof *names, name_compare);
    for (size_t i = 1; i < w->n && !status; i++) {
        if (strcmp(names[i - 1], names[i]) == 0) {
            status = fail(HCSMOE_EFAILED, "%s: tensor '%s' was written twice", w->path, names[i]);
        }
    }
    mem_free(names);
    return status;
}

/* Length, header and padding: the first w->reserve bytes of the file. */
static int header_write(const struct st_writer *w, const char *metadata)
{
    unsigned char length[LENGTH_BYTES];
    struct str header = {0};
    int status;

    for (int i = 0; i < LENGTH_BYTES; i++) {
        length[i] = (unsigned char)((w->reserve - LENGTH_BYTES) >> 8 * i);
    }
    str_add_bytes(&header, length, LENGTH_BYTES);
    str_add(&header, "{\"__metadata__\":");
    status = metadata_add(w, &header, metadata);
    for (size_t i = 0; i < w->n && !status; i++) {
        status = entry_add(w, &header, &w->entries[i]);
    }
    str_add(&header, "}");
    if (!status) {
        status = str_check(&header);
    }
    if (!status && header.len > w->reserve) {
        status =
            fail(HCSMOE_EFAILED, "%s: the header takes %zu bytes, %" PRIu64 " were kept for it",
                 w->path, header.len, w->reserve);
    }
    if (status) {
        goto out;
    }
    str_addf(&header, "%*s", (int)(w->reserve - header.len), ""); /* the format pads with spaces */
    status = str_check(&header);
    if (status) {
        goto out;
    }
    status = write_at(w, 0, header.text, header.len);
out:
    str_release(&header);
    return status;
}

/* Closes the file, if it is open still, and forgets everything. */
static void writer_release(struct st_writer *w)
{
    if (w->path && w->fd >= 0) {
        (void)close(w->fd);
    }
    for (size_t i = 0; i < w->n; i++) {
        mem_free(w->entries[i].name);
    }
    mem_free(w->entries);
    mem_free(w->path);
    *w = (struct st_writer){.fd = -1};
}

int st_finish(struct st_writer *w, const char *metadata)
{
    struct stat st;
    int fd = w->fd;
    int status;

    assert(w->path);
    status = last_check(w);
    if (!status) {
        status = names_check(w);
    }
    if (!status) {
        status = header_write(w, metadata);
    }
    if (status) {
        return status;
    }
    if (fstat(fd, &st) != 0) {
        return fail_errno(w->path, "cannot be examined");
    }
    if ((uint64_t)st.st_size != w->reserve + w->at) {
        return fail(HCSMOE_EIO, "%s: has %" PRId64 " bytes on disk, %" PRIu64 " were written",
                    w->path, (int64_t)st.st_size, w->reserve + w->at);
    }
    if (fsync(fd) != 0) {
        return fail_errno(w->path, errno == ENOSPC ? "disk full" : "cannot be brought to disk");
    }
    w->fd = -1;
    if (close(fd) != 0) {
        return fail_errno(w->path, errno == ENOSPC ? "disk full" : "cannot be closed");
    }
    writer_release(w);
    return 0;
}

void st_abandon(struct st_writer *w)
{
    if (w->path) {
        (void)unlink(w->path);
    }
    writer_release(w);
}
