/*
 * text.c - reads whole files, and lines of plain or gzip-packed text (declared in path.h).
 *
 * Unpacks with inflate rather than gzread: read(2) is ours, so that an interrupted call loses
 * nothing and a truncated file is told from a complete one.
 * SPDX-License-Identifier: MIT
 */
#include "base/path.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/mem.h"

enum {
    READ_BYTES = 256 * 1024,             /* one read(2) of a text; large enough to stream a disk */
    CALL_BYTES_MAX = 1024 * 1024 * 1024, /* Linux moves less than 2 GiB a call, zlib less than 4 */
    LINE_BYTES_MAX = 256 * 1024 * 1024,  /* far beyond any document of a corpus */
    FILE_BYTES_FIRST = 64 * 1024         /* buffer for files that do not tell their size (pipes) */
};

/* A file that is read from its start to its end, unpacked on the way if it is gzip and `unpack`. */
struct source {
    char *path;
    int fd;
    bool packed;
    bool fd_ended;
    bool member_ended; /* between two gzip members, where the file may end */
    z_stream z;
    unsigned char *raw; /* bytes as they lie in the file: for detection, then for inflate */
    size_t raw_at, raw_end;
};

static void source_close(struct source *s)
{
    if (s->packed) {
        (void)inflateEnd(&s->z);
    }
    if (s->fd >= 0) {
        (void)close(s->fd);
    }
    mem_free(s->raw);
    mem_free(s->path);
    *s = (struct source){.fd = -1};
}

/* Up to n bytes; *got is 0 only at the end of the file. */
static int fd_read(const struct source *s, void *bytes, size_t n, size_t *got)
{
    ssize_t r;

    do {
        r = read(s->fd, bytes, n < CALL_BYTES_MAX ? n : CALL_BYTES_MAX);
    } while (r < 0 && errno == EINTR);
    if (r < 0) {
        return fail_errno(s->path, "cannot read");
    }
    *got = (size_t)r;
    return 0;
}

/* Moves what is left in raw to its start and reads behind it. */
static int raw_fill(struct source *s)
{
    size_t left = s->raw_end - s->raw_at;
    size_t got = 0;

    assert(left < READ_BYTES);
    memmove(s->raw, s->raw + s->raw_at, left);
    s->raw_at = 0;
    s->raw_end = left;
    int status = fd_read(s, s->raw + left, READ_BYTES - left, &got);
    if (status < 0) {
        return status;
    }
    s->raw_end += got;
    s->fd_ended = got == 0;
    return 0;
}

static bool raw_is_gzip(const struct source *s)
{
    return s->raw_end - s->raw_at >= 2 && s->raw[s->raw_at] == 0x1f &&
           s->raw[s->raw_at + 1] == 0x8b;
}

/* Reads until raw holds the two bytes that tell gzip, or the file ends: a pipe gives any amount. */
static int raw_fill_magic(struct source *s)
{
    int status = 0;

    while (status == 0 && s->raw_end - s->raw_at < 2 && !s->fd_ended) {
        status = raw_fill(s);
    }
    return status;
}

static int source_start_unpacking(struct source *s)
{
    s->raw = mem_new_raw(READ_BYTES, 1);
    if (!s->raw) {
        return HCSMOE_ENOMEM;
    }
    int status = raw_fill_magic(s);
    if (status < 0 || !raw_is_gzip(s)) {
        return status;
    }
    if (inflateInit2(&s->z, 15 + 16) != Z_OK) { /* 15: any window, 16: the gzip format */
        return fail(HCSMOE_ENOMEM, "%s: out of memory for unpacking", s->path);
    }
    s->packed = true;
    return 0;
}

/* On failure nothing is left open. *size_hint: bytes in the file, 0 when it does not tell. */
static int source_open(struct source *s, const char *path, bool unpack, uint64_t *size_hint)
{
    struct stat st;
    int status = 0;

    *s = (struct source){.fd = -1};
    *size_hint = 0;
    s->path = mem_strdup(path);
    if (!s->path) {
        return HCSMOE_ENOMEM;
    }
    do {
        s->fd = open(path, O_RDONLY | O_CLOEXEC);
    } while (s->fd < 0 && errno == EINTR);
    if (s->fd < 0) {
        status = fail_errno(path, "cannot open");
    } else if (fstat(s->fd, &st) < 0) {
        status = fail_errno(path, "cannot stat");
    } else if (S_ISDIR(st.st_mode)) {
        status = fail(HCSMOE_EIO, "%s: is a folder, not a file", path);
    } else {
        *size_hint = S_ISREG(st.st_mode) && st.st_size > 0 ? (uint64_t)st.st_size : 0;
        status = unpack ? source_start_unpacking(s) : 0;
    }
    if (status < 0) {
        source_close(s);
    }
    return status;
}

/* At the end of one gzip member: is there another? Zeros may follow, as tapes pad their files;
 * anything else is what is left of a damaged member. */
static int member_next(struct source *s, bool *more)
{
    int status = raw_fill_magic(s);

    *more = status == 0 && raw_is_gzip(s);
    if (status == 0 && !*more && s->raw_at < s->raw_end && s->raw[s->raw_at] != 0) {
        return fail(HCSMOE_EIO, "%s: bytes behind the gzip data that are none themselves", s->path);
    }
    if (*more && inflateReset(&s->z) != Z_OK) {
        return fail(HCSMOE_EIO, "%s: cannot go on unpacking", s->path);
    }
    return status;
}

/* Up to n unpacked bytes; *got is 0 only at the end. */
static int packed_read(struct source *s, void *bytes, size_t n, size_t *got)
{
    size_t room = n < CALL_BYTES_MAX ? n : CALL_BYTES_MAX;

    *got = 0;
    while (*got == 0) {
        int status = 0;
        if (s->member_ended) {
            bool more = false;
            status = member_next(s, &more);
            if (status < 0 || !more) {
                return status;
            }
            s->member_ended = false;
        } else if (s->raw_at == s->raw_end) {
            status = raw_fill(s);
            if (status < 0) {
                return status;
            }
            if (s->fd_ended) {
                return fail(HCSMOE_EIO, "%s: the gzip data ends too early: the file is truncated",
                            s->path);
            }
        }
        s->z.next_in = s->raw + s->raw_at;
        s->z.avail_in = (uInt)(s->raw_end - s->raw_at);
        s->z.next_out = bytes;
        s->z.avail_out = (uInt)room;
        int z = inflate(&s->z, Z_NO_FLUSH);
        s->raw_at = s->raw_end - s->z.avail_in;
        *got = room - s->z.avail_out;
        if (z == Z_STREAM_END) {
            s->member_ended = true;
        } else if (z != Z_OK && z != Z_BUF_ERROR) {
            return fail(HCSMOE_EIO, "%s: the gzip data is damaged: %s", s->path,
                        s->z.msg ? s->z.msg : zError(z));
        }
    }
    return 0;
}

/* Up to n bytes of text; *got is 0 only at the end. */
static int source_read(struct source *s, void *bytes, size_t n, size_t *got)
{
    assert(n > 0);
    if (s->packed) {
        return packed_read(s, bytes, n, got);
    }
    size_t left = s->raw_end - s->raw_at;
    if (left == 0) {
        return fd_read(s, bytes, n, got);
    }
    *got = left < n ? left : n;
    memcpy(bytes, s->raw + s->raw_at, *got);
    s->raw_at += *got;
    return 0;
}

static int fail_too_large(const char *path, size_t limit)
{
    return fail(HCSMOE_EINVAL, "%s: file is larger than %zu bytes, the most that is read", path,
                limit);
}

/* Gives *text room for more than `used` bytes and a NUL; doubles, but not beyond limit + 2: one
 * byte more than allowed must fit so that it can be noticed. */
static int text_grow(char **text, size_t used, size_t *capacity, size_t limit)
{
    size_t more = *capacity > SIZE_MAX / 2 ? SIZE_MAX : *capacity * 2;
    size_t most = limit > SIZE_MAX - 2 ? SIZE_MAX : limit + 2;

    char *grown = mem_new_raw(more < most ? more : most, 1);
    if (!grown) {
        return HCSMOE_ENOMEM;
    }
    memcpy(grown, *text, used);
    mem_free(*text);
    *text = grown;
    *capacity = more < most ? more : most;
    return 0;
}

static int file_read(const char *path, size_t limit, bool unpack, char **text, size_t *size)
{
    struct source s;
    uint64_t hint = 0;
    size_t used = 0;
    size_t got = 1;
    char *buffer = NULL;

    *text = NULL;
    *size = 0;
    int status = source_open(&s, path, unpack, &hint);
    if (status < 0) {
        return status;
    }
    if (!s.packed && hint > limit) {
        status = fail_too_large(path, limit);
        goto out;
    }
    /* Two bytes more than the file: the NUL, and room for the read that finds the end. */
    size_t capacity = (hint > 0 ? (size_t)hint : FILE_BYTES_FIRST) + 2;
    buffer = mem_new_raw(capacity, 1);
    if (!buffer) {
        status = HCSMOE_ENOMEM;
        goto out;
    }
    while (got > 0) {
        if (used + 1 == capacity && (status = text_grow(&buffer, used, &capacity, limit)) < 0) {
            goto out;
        }
        status = source_read(&s, buffer + used, capacity - 1 - used, &got);
        if (status < 0) {
            goto out;
        }
        used += got;
        if (used > limit) {
            status = fail_too_large(path, limit);
            goto out;
        }
    }
    buffer[used] = '\0';
    *text = buffer;
    *size = used;
    buffer = NULL;
out:
    mem_free(buffer);
    source_close(&s);
    return status;
}

int path_read(const char *path, size_t limit, char **text, size_t *size)
{
    return file_read(path, limit, false, text, size);
}

int path_read_text(const char *path, size_t limit, char **text, size_t *size)
{
    return file_read(path, limit, true, text, size);
}

struct lines {
    struct source source;
    char *buffer;
    size_t capacity;
    size_t at, end; /* bytes that no line was made of yet */
    bool ended;     /* the source has no more */
    int64_t number;
};

int lines_open(struct lines **l, const char *path)
{
    uint64_t hint;

    *l = mem_new(1, sizeof **l);
    if (!*l) {
        return HCSMOE_ENOMEM;
    }
    int status = source_open(&(*l)->source, path, true, &hint);
    if (status < 0) {
        mem_free(*l);
        *l = NULL;
        return status;
    }
    (*l)->capacity = READ_BYTES + 1;
    (*l)->buffer = mem_new_raw((*l)->capacity, 1);
    if (!(*l)->buffer) {
        lines_close(*l);
        *l = NULL;
        return HCSMOE_ENOMEM;
    }
    return 0;
}

static int fail_line_too_long(const struct lines *l)
{
    return fail(HCSMOE_EINVAL, "%s:%lld: line of more than %d bytes, the most that is read",
                l->source.path, (long long)l->number + 1, (int)LINE_BYTES_MAX);
}

/* Reads behind l->end; makes room first. One byte stays free for the NUL of a last line. */
static int lines_fill(struct lines *l)
{
    size_t left = l->end - l->at;
    size_t got = 0;
    int status = 0;

    if (left > LINE_BYTES_MAX) {
        return fail_line_too_long(l);
    }
    if (l->at > 0) {
        memmove(l->buffer, l->buffer + l->at, left);
        l->at = 0;
        l->end = left;
    }
    if (left + 1 == l->capacity) {
        status = text_grow(&l->buffer, left, &l->capacity, (size_t)LINE_BYTES_MAX + READ_BYTES);
        if (status < 0) {
            return status;
        }
    }
    status = source_read(&l->source, l->buffer + left, l->capacity - 1 - left, &got);
    l->end += got;
    l->ended = status == 0 && got == 0;
    return status;
}

int lines_next(struct lines *l, char **line, size_t *len)
{
    size_t searched = 0; /* from l->at; a long line is not searched again from its start */
    char *newline = NULL;

    for (;;) {
        size_t left = l->end - l->at;
        newline = left > searched
                      ? memchr(l->buffer + l->at + searched, '\n', left - searched)
                      : NULL;
        if (newline || l->ended) {
            break;
        }
        searched = left;
        int status = lines_fill(l);
        if (status < 0) {
            return status;
        }
    }
    if (!newline && l->at == l->end) {
        return 0;
    }
    char *start = l->buffer + l->at;
    char *stop = newline ? newline : l->buffer + l->end;
    if (stop - start > LINE_BYTES_MAX) {
        return fail_line_too_long(l);
    }
    l->at = (size_t)(stop - l->buffer) + (newline ? 1 : 0);
    if (newline && stop > start && stop[-1] == '\r') {
        stop--;
    }
    *stop = '\0';
    *line = start;
    *len = (size_t)(stop - start);
    l->number++;
    return 1;
}

int64_t lines_number(const struct lines *l)
{
    return l->number;
}

void lines_close(struct lines *l)
{
    if (!l) {
        return;
    }
    source_close(&l->source);
    mem_free(l->buffer);
    mem_free(l);
}
