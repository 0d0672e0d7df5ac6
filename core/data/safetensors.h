/*
 * safetensors.h - the file format: one header of names, shapes and offsets, then bytes.
 *
 * Reading checks everything a header can say wrongly before a byte of data is read. Files are read
 * with pread, never mapped. Writing streams tensors in any order and puts the header in place at
 * the end.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_DATA_SAFETENSORS_H
#define CORE_DATA_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hcsmoe/tensor.h>

#include "base/error.h"
#include "base/path.h"

enum {
    SAFETENSORS_HEADER_MAX = 100 * 1000 * 1000, /* the format's own limit */
    SAFETENSORS_NAME_MAX = 512, /* longest name taken: published ones stay below 120 */
    SAFETENSORS_DIMS_MAX = 8,   /* shapes beyond 4 dimensions are listed but not computed with */
};

struct st_entry {
    char *name;
    uint32_t dtype; /* HCSMOE_DTYPE_* */
    uint32_t ndim;
    int64_t shape[SAFETENSORS_DIMS_MAX];
    uint64_t offset, size; /* bytes, from the start of the file */
};

struct st_file {
    char *path;
    int fd;
    uint64_t file_size;
    struct path_stamp stamp;
    struct st_entry *entries; /* in order of offset */
    size_t n;
    char *metadata; /* "__metadata__" as JSON text, NULL when absent */
};

/* Errors name the file and, where there is one, the tensor: header too large, not JSON (with
 * position), unknown dtype, shape and size disagree, offsets reversed, out of range (truncated),
 * overlap, hole, duplicate name. */
int st_open(struct st_file *f, const char *path) MUST_CHECK;
void st_close(struct st_file *f);
/* Error when the file is not what st_open found: replaced, written to, cut, gone. any thread */
int st_unchanged(const struct st_file *f) MUST_CHECK;

/* size bytes at offset of the file; a short file is an error that says so. any thread */
int st_read(const struct st_file *f, uint64_t offset, void *bytes, uint64_t size) MUST_CHECK;

/* A writer of one file. Data starts at a header reserve; at the end the header is written and
 * padded with spaces. */
struct st_writer {
    char *path;
    int fd;
    uint64_t reserve; /* bytes kept for 8 + header */
    uint64_t at;      /* bytes of data so far */
    struct st_entry *entries;
    size_t n, capacity;
};
/* header_reserve: sum of st_header_bytes over the tensors, and strlen of metadata where there is
 * some; the frame around them is added here. An existing file is overwritten. */
int st_create(struct st_writer *w, const char *path, uint64_t header_reserve) MUST_CHECK;
/* Bytes that an entry of this name and shape takes in a header, at most: to add up a reserve. */
uint64_t st_header_bytes(const char *name, uint32_t ndim);
/* Starts a tensor; then st_append until its bytes are all there. */
int st_begin(struct st_writer *w, const char *name, uint32_t dtype, uint32_t ndim,
             const int64_t *shape) MUST_CHECK;
int st_append(struct st_writer *w, const void *bytes, uint64_t size) MUST_CHECK;
/* All in one. */
int st_add(struct st_writer *w, const char *name, uint32_t dtype, uint32_t ndim,
           const int64_t *shape, const void *bytes) MUST_CHECK;
/* Header (metadata: extra strings as JSON object text, NULL: {"format":"pt"}), fsync, close. */
int st_finish(struct st_writer *w, const char *metadata) MUST_CHECK;
/* Closes and removes the file; fine after st_finish: does nothing then. */
void st_abandon(struct st_writer *w);

const char *st_dtype_name(uint32_t dtype); /* "BF16"; "?" when not known */

/* Bytes of a tensor; false when a dimension is negative or the product (zeros left out) goes beyond
 * INT64_MAX. dtype must be a known one. */
bool st_size(uint32_t dtype, uint32_t ndim, const int64_t *shape, uint64_t *size);

/* ---- for this room ---- */

/* Every byte as \u0000, and quotes. */
enum { SAFETENSORS_NAME_JSON_MAX = 6 * SAFETENSORS_NAME_MAX + 2 };
/* name as a JSON string, *n bytes without a NUL; refuses one that is too long or no UTF-8. */
int st_name_json(const char *where, const char *name, char text[SAFETENSORS_NAME_JSON_MAX],
                 size_t *n) MUST_CHECK;

struct json_t;
/* A JSON object without repeated keys (json_decref it). Errors: "where: not JSON at byte N: …",
 * "where: 'x' occurs twice …". */
int st_json_load(struct json_t **object, const char *where, const char *text,
                 size_t size) MUST_CHECK;
/* "__metadata__" must be an object of strings. */
int st_metadata_check(const char *where, const struct json_t *metadata) MUST_CHECK;

#endif
