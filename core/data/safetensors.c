/*
 * safetensors.c - reading safetensors files: a header that is checked whole, then pread.
 *
 * SPDX-License-Identifier: MIT
 */
#include "data/safetensors.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"

enum {
    LENGTH_BYTES = 8,              /* the header length in front of the header */
    READ_MAX = 1024 * 1024 * 1024, /* bytes per pread: Linux stops a little below 2 GiB anyway */
    NAME_SHOWN = 64                /* bytes of an over-long name that a message shows */
};

static const struct {
    const char *name;
    uint32_t dtype;
} dtypes[] = {
    {.name = "F64", .dtype = HCSMOE_DTYPE_F64},
    {.name = "F32", .dtype = HCSMOE_DTYPE_F32},
    {.name = "F16", .dtype = HCSMOE_DTYPE_F16},
    {.name = "BF16", .dtype = HCSMOE_DTYPE_BF16},
    {.name = "I64", .dtype = HCSMOE_DTYPE_I64},
    {.name = "I32", .dtype = HCSMOE_DTYPE_I32},
    {.name = "I16", .dtype = HCSMOE_DTYPE_I16},
    {.name = "I8", .dtype = HCSMOE_DTYPE_I8},
    {.name = "U8", .dtype = HCSMOE_DTYPE_U8},
    {.name = "BOOL", .dtype = HCSMOE_DTYPE_BOOL},
    {.name = "F8_E4M3", .dtype = HCSMOE_DTYPE_F8_E4M3},
    {.name = "F8_E5M2", .dtype = HCSMOE_DTYPE_F8_E5M2},
};

enum { N_DTYPES = sizeof dtypes / sizeof dtypes[0] };

const char *st_dtype_name(uint32_t dtype)
{
    for (size_t i = 0; i < N_DTYPES; i++) {
        if (dtypes[i].dtype == dtype) {
            return dtypes[i].name;
        }
    }
    return "?";
}

bool st_size(uint32_t dtype, uint32_t ndim, const int64_t *shape, uint64_t *size)
{
    uint64_t bytes = hcsmoe_dtype_size(dtype);
    bool empty = false;

    assert(bytes > 0);
    /* Zeros are left out of the product: whoever multiplies the other dimensions is safe as well.
     */
    for (uint32_t i = 0; i < ndim; i++) {
        if (shape[i] < 0) {
            return false;
        }
        if (shape[i] == 0) {
            empty = true;
        } else if (__builtin_mul_overflow(bytes, (uint64_t)shape[i], &bytes)) {
            return false;
        }
    }
    if (bytes > INT64_MAX) {
        return false;
    }
    *size = empty ? 0 : bytes;
    return true;
}

/* ---- JSON ---- */

/* The raw text of the string that ends just before text[end]: jansson names only short keys itself.
 */
static const char *key_before(const char *text, size_t end, int *len)
{
    size_t last = end > 0 ? end - 1 : 0; /* the closing quote */
    size_t at = last;

    while (at > 0) {
        size_t slashes = 0;
        at--;
        /* Only before a quote: a name of a million backslashes is looked at once. */
        while (text[at] == '"' && at > slashes && text[at - 1 - slashes] == '\\') {
            slashes++;
        }
        if (text[at] == '"' && slashes % 2 == 0) {
            size_t n = last - at - 1;
            *len = n < SAFETENSORS_NAME_MAX ? (int)n : SAFETENSORS_NAME_MAX;
            return text + at + 1;
        }
    }
    *len = 0;
    return text;
}

int st_json_load(struct json_t **object, const char *where, const char *text, size_t size)
{
    json_error_t error;
    const char *key;
    int len;

    *object = json_take(text, size, 0, &error);
    if (*object && !json_is_object(*object)) {
        json_decref(*object);
        *object = NULL;
        return fail(HCSMOE_EINVAL, "%s: not a JSON object", where);
    }
    if (*object) {
        return 0;
    }
    /* jansson has no words for most of its failed allocations. */
    if (error.text[0] == '\0' || json_error_code(&error) == json_error_out_of_memory) {
        return fail_memory(size);
    }
    if (json_error_code(&error) != json_error_duplicate_key) {
        return fail(HCSMOE_EINVAL, "%s: not JSON at byte %d: %s", where, error.position,
                    error.text);
    }
    assert(error.position >= 0 && (size_t)error.position <= size);
    key = key_before(text, (size_t)error.position, &len);
    return fail(HCSMOE_EINVAL, "%s: '%.*s' occurs twice, the second time at byte %d", where, len,
                key, error.position);
}

int st_metadata_check(const char *where, const struct json_t *metadata)
{
    const char *key;
    json_t *value;

    if (!json_is_object(metadata)) {
        return fail(HCSMOE_EINVAL, "%s: __metadata__ is not an object of strings", where);
    }
    /* jansson iterates over non-const objects only; nothing is changed here. */
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value)
    {
        if (!json_is_string(value)) {
            return fail(HCSMOE_EINVAL, "%s: __metadata__: '%s' is not a string", where, key);
        }
    }
    return 0;
}

/* ---- one entry of the header ---- */

/* "BF16 [2, 3]" */
static void shape_add(struct str *s, const struct st_entry *e)
{
    str_addf(s, "%s [", st_dtype_name(e->dtype));
    for (uint32_t i = 0; i < e->ndim; i++) {
        str_addf(s, "%s%" PRId64, i > 0 ? ", " : "", e->shape[i]);
    }
    str_add(s, "]");
}

static int dtype_parse(const struct st_file *f, struct st_entry *e, const json_t *entry)
{
    const char *name = json_string_value(json_object_get(entry, "dtype"));
    struct str known = {0};
    int status;

    if (!name) {
        return fail(HCSMOE_EINVAL, "%s: tensor '%s': no dtype", f->path, e->name);
    }
    for (size_t i = 0; i < N_DTYPES; i++) {
        if (strcmp(dtypes[i].name, name) == 0) {
            e->dtype = dtypes[i].dtype;
            return 0;
        }
    }
    for (size_t i = 0; i < N_DTYPES; i++) {
        str_addf(&known, "%s%s", i > 0 ? ", " : "", dtypes[i].name);
    }
    status = fail(HCSMOE_EUNSUPPORTED, "%s: tensor '%s': unknown dtype '%.*s'; known: %s", f->path,
                  e->name, NAME_SHOWN, name, str_text(&known));
    str_release(&known);
    return status;
}

/* items[0..n) of an array of non-negative integers. */
static int integers_parse(const struct st_file *f, const struct st_entry *e, const char *what,
                          const json_t *array, int64_t *items)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *v = json_array_get(array, i);
        if (!json_is_integer(v)) {
            return fail(HCSMOE_EINVAL, "%s: tensor '%s': %s: item %zu is not an integer", f->path,
                        e->name, what, i + 1);
        }
        if (json_integer_value(v) < 0) {
            return fail(HCSMOE_EINVAL, "%s: tensor '%s': %s: %" JSON_INTEGER_FORMAT " is negative",
                        f->path, e->name, what, json_integer_value(v));
        }
        items[i] = json_integer_value(v);
    }
    return 0;
}

static int shape_parse(const struct st_file *f, struct st_entry *e, const json_t *entry)
{
    const json_t *shape = json_object_get(entry, "shape");

    if (!json_is_array(shape)) {
        return fail(HCSMOE_EINVAL, "%s: tensor '%s': shape is not a list of integers", f->path,
                    e->name);
    }
    if (json_array_size(shape) > SAFETENSORS_DIMS_MAX) {
        return fail(HCSMOE_EUNSUPPORTED, "%s: tensor '%s': %zu dimensions, at most %d are taken",
                    f->path, e->name, json_array_size(shape), SAFETENSORS_DIMS_MAX);
    }
    e->ndim = (uint32_t)json_array_size(shape);
    return integers_parse(f, e, "shape", shape, e->shape);
}

/* Offsets against each other, the shape and the file, whose data are at data..file_size. */
static int offsets_parse(const struct st_file *f, struct st_entry *e, const json_t *entry,
                         uint64_t data)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    struct str s = {0};
    uint64_t bytes;
    int64_t range[2];
    int status;

    if (!json_is_array(offsets) || json_array_size(offsets) != 2) {
        return fail(HCSMOE_EINVAL, "%s: tensor '%s': data_offsets is not a list of two integers",
                    f->path, e->name);
    }
    status = integers_parse(f, e, "data_offsets", offsets, range);
    if (status) {
        return status;
    }
    if (range[0] > range[1]) {
        return fail(HCSMOE_EINVAL, "%s: tensor '%s': offsets %" PRId64 "..%" PRId64 " are reversed",
                    f->path, e->name, range[0], range[1]);
    }
    e->size = (uint64_t)(range[1] - range[0]);
    if (!st_size(e->dtype, e->ndim, e->shape, &bytes)) {
        shape_add(&s, e);
        status = fail(HCSMOE_EINVAL, "%s: tensor '%s': %s is more bytes than 63 bits can count",
                      f->path, e->name, str_text(&s));
    } else if (bytes != e->size) {
        shape_add(&s, e);
        status = fail(HCSMOE_EINVAL,
                      "%s: tensor '%s': %s takes %" PRIu64 " bytes, its offsets %" PRId64
                      "..%" PRId64 " hold %" PRIu64,
                      f->path, e->name, str_text(&s), bytes, range[0], range[1], e->size);
    } else if ((uint64_t)range[1] > f->file_size - data) {
        status = fail(HCSMOE_EINVAL,
                      "%s: tensor '%s': offsets %" PRId64 "..%" PRId64 " go beyond the %" PRIu64
                      " bytes of data; the file ends at byte %" PRIu64 ": truncated?",
                      f->path, e->name, range[0], range[1], f->file_size - data, f->file_size);
    }
    e->offset = data + (uint64_t)range[0];
    str_release(&s);
    return status;
}

static int entry_parse(const struct st_file *f, struct st_entry *e, const char *name,
                       const json_t *entry, uint64_t data)
{
    int status;

    if (strlen(name) > SAFETENSORS_NAME_MAX) {
        return fail(HCSMOE_EINVAL, "%s: header: a tensor name of %zu bytes, '%.*s...': at most %d",
                    f->path, strlen(name), NAME_SHOWN, name, SAFETENSORS_NAME_MAX);
    }
    e->name = mem_strdup(name);
    if (!e->name) {
        return HCSMOE_ENOMEM;
    }
    if (!json_is_object(entry)) {
        return fail(HCSMOE_EINVAL, "%s: tensor '%s': its entry is not an object", f->path, name);
    }
    status = dtype_parse(f, e, entry);
    if (!status) {
        status = shape_parse(f, e, entry);
    }
    if (!status) {
        status = offsets_parse(f, e, entry, data);
    }
    return status;
}

/* ---- the header ---- */

static int metadata_parse(struct st_file *f, const json_t *metadata)
{
    size_t size;
    int status = st_metadata_check(f->path, metadata);

    if (status) {
        return status;
    }
    size = json_dumpb(metadata, NULL, 0, JSON_COMPACT);
    f->metadata = mem_new(size + 1, 1);
    if (!f->metadata) {
        return HCSMOE_ENOMEM;
    }
    if (json_dumpb(metadata, f->metadata, size, JSON_COMPACT) != size) {
        return fail_memory(size);
    }
    return 0;
}

static int entries_parse(struct st_file *f, json_t *root, uint64_t data)
{
    const char *name;
    json_t *value;
    int status = 0;

    f->entries = mem_new(json_object_size(root), sizeof *f->entries);
    if (!f->entries) {
        return HCSMOE_ENOMEM;
    }
    json_object_foreach(root, name, value)
    {
        if (strcmp(name, "__metadata__") == 0) {
            status = metadata_parse(f, value);
        } else {
            f->n++; /* first, so that st_close releases a name of a bad entry too */
            status = entry_parse(f, &f->entries[f->n - 1], name, value, data);
        }
        if (status) {
            return status;
        }
    }
    return 0;
}

static int entry_compare(const void *a, const void *b)
{
    const struct st_entry *x = a;
    const struct st_entry *y = b;

    if (x->offset != y->offset) {
        return x->offset < y->offset ? -1 : 1;
    }
    /* Empty tensors go before the one that begins where they are; names make the order one and the
     * same always. */
    if (x->size != y->size) {
        return x->size < y->size ? -1 : 1;
    }
    return strcmp(x->name, y->name);
}

/* Sorted entries must follow each other without overlap or hole and fill the file. */
static int layout_check(const struct st_file *f, uint64_t data)
{
    uint64_t at = data;

    for (size_t i = 0; i < f->n; i++) {
        const struct st_entry *e = &f->entries[i];
        uint64_t begin = e->offset - data;
        if (e->offset < at) {
            const struct st_entry *p = e - 1; /* there is one: offsets begin at data */
            return fail(HCSMOE_EINVAL,
                        "%s: tensors '%s' at offsets %" PRIu64 "..%" PRIu64 " and '%s' at %" PRIu64
                        "..%" PRIu64 " overlap",
                        f->path, p->name, p->offset - data, at - data, e->name, begin,
                        begin + e->size);
        }
        if (e->offset > at) {
            return fail(HCSMOE_EINVAL,
                        "%s: offsets %" PRIu64 "..%" PRIu64
                        " before tensor '%s' belong to no tensor",
                        f->path, at - data, begin, e->name);
        }
        at += e->size;
    }
    if (at != f->file_size) {
        return fail(HCSMOE_EINVAL, "%s: the last %" PRIu64 " bytes of the file belong to no tensor",
                    f->path, f->file_size - at);
    }
    return 0;
}

static int file_open(struct st_file *f, const char *path)
{
    struct stat st;

    f->path = mem_strdup(path);
    if (!f->path) {
        return HCSMOE_ENOMEM;
    }
    /* O_NONBLOCK: a named pipe is refused below, not waited for. */
    f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f->fd < 0) {
        return fail_errno(path, "cannot open");
    }
    if (fstat(f->fd, &st) != 0) {
        return fail_errno(path, "cannot be examined");
    }
    if (!S_ISREG(st.st_mode)) {
        return fail(HCSMOE_EINVAL, "%s: not a regular file", path);
    }
    f->file_size = (uint64_t)st.st_size;
    return path_stamp(&f->stamp, path, f->fd);
}

int st_unchanged(const struct st_file *f)
{
    return path_stamp_check(&f->stamp, f->path, f->fd);
}

/* The text of the header; mem_free it. */
static int header_read(const struct st_file *f, char **header, uint64_t *size)
{
    unsigned char length[LENGTH_BYTES];
    uint64_t n = 0;
    int status;

    if (f->file_size < LENGTH_BYTES) {
        return fail(HCSMOE_EINVAL,
                    "%s: %" PRIu64
                    " bytes are too few for a safetensors file, which starts with %d "
                    "bytes of header length",
                    f->path, f->file_size, LENGTH_BYTES);
    }
    status = st_read(f, 0, length, LENGTH_BYTES);
    if (status) {
        return status;
    }
    for (int i = LENGTH_BYTES - 1; i >= 0; i--) {
        n = n << 8 | length[i];
    }
    if (n > SAFETENSORS_HEADER_MAX) {
        return fail(HCSMOE_EINVAL,
                    "%s: header length %" PRIu64 " is beyond the format's limit of %d: no "
                    "safetensors file?",
                    f->path, n, SAFETENSORS_HEADER_MAX);
    }
    if (n > f->file_size - LENGTH_BYTES) {
        return fail(HCSMOE_EINVAL,
                    "%s: header length %" PRIu64 ", but the file ends at byte %" PRIu64
                    ": truncated?",
                    f->path, n, f->file_size);
    }
    if (n == 0) {
        return fail(HCSMOE_EINVAL, "%s: header: empty, at least '{}' is needed", f->path);
    }
    *header = mem_new_raw((size_t)n, 1);
    if (!*header) {
        return HCSMOE_ENOMEM;
    }
    *size = n;
    status = st_read(f, LENGTH_BYTES, *header, n);
    if (!status && **header != '{') {
        status = fail(HCSMOE_EINVAL, "%s: header: starts with byte 0x%02x, not with '{'", f->path,
                      (unsigned)(unsigned char)**header);
    }
    return status;
}

int st_open(struct st_file *f, const char *path)
{
    struct str where = {0};
    char *header = NULL;
    json_t *root = NULL;
    uint64_t size = 0;
    int status;

    *f = (struct st_file){.fd = -1};
    status = file_open(f, path);
    if (!status) {
        status = header_read(f, &header, &size);
    }
    if (status) {
        goto out;
    }
    str_addf(&where, "%s: header", path);
    status = str_check(&where);
    if (!status) {
        status = st_json_load(&root, str_text(&where), header, (size_t)size);
    }
    if (!status) {
        status = entries_parse(f, root, LENGTH_BYTES + size);
    }
    if (!status) {
        qsort(f->entries, f->n, sizeof *f->entries, entry_compare);
        status = layout_check(f, LENGTH_BYTES + size);
    }
out:
    json_decref(root);
    mem_free(header);
    str_release(&where);
    if (status) {
        st_close(f);
    }
    return status;
}

void st_close(struct st_file *f)
{
    if (f->path && f->fd >= 0) {
        (void)close(f->fd);
    }
    for (size_t i = 0; i < f->n; i++) {
        mem_free(f->entries[i].name);
    }
    mem_free(f->entries);
    mem_free(f->metadata);
    mem_free(f->path);
    *f = (struct st_file){.fd = -1};
}

/* A file that checkers took for whole is cut off by someone else's hand: say so, and by how much.
 */
static int shorter(const struct st_file *f, uint64_t at)
{
    struct stat st;

    if (fstat(f->fd, &st) == 0) {
        at = (uint64_t)st.st_size;
    }
    return fail(HCSMOE_EIO,
                "%s: became shorter while in use: %" PRIu64 " bytes now, %" PRIu64
                " when it was opened",
                f->path, at, f->file_size);
}

int st_read(const struct st_file *f, uint64_t offset, void *bytes, uint64_t size)
{
    unsigned char *to = bytes;

    if (offset > f->file_size || size > f->file_size - offset) {
        return fail(HCSMOE_EINVAL,
                    "%s: %" PRIu64 " bytes at byte %" PRIu64
                    " asked for, the file ends at byte %" PRIu64,
                    f->path, size, offset, f->file_size);
    }
    while (size > 0) {
        size_t piece = size < READ_MAX ? (size_t)size : READ_MAX;
        ssize_t got = pread(f->fd, to, piece, (off_t)offset);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return fail_errno(f->path, "cannot read");
        }
        if (got == 0) {
            return shorter(f, offset);
        }
        to += got;
        offset += (uint64_t)got;
        size -= (uint64_t)got;
    }
    return 0;
}
