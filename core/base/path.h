/*
 * path.h - file names and whole files.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_BASE_PATH_H
#define CORE_BASE_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* All returned names are new (mem_free); NULL: message set. */
char *path_join(const char *folder, const char *name); /* name alone when it is absolute */
char *path_folder(const char *path);                   /* "." when there is none */
const char *path_base(const char *path);               /* points into path */
char *path_executable_folder(void);                    /* where this program lies */

/* Absolute, without links, "." and doubled slashes; what is not there yet may follow what is, but without "..", which
 * could lead anywhere once it is there, and not behind a link that leads nowhere. */
char *path_resolve(const char *path);
/* Is path the folder, or below it? Of resolved names. */
bool path_within(const char *path, const char *folder);

/* What a file was when it was opened: to notice that it was replaced or written to since. */
struct path_stamp {
    uint64_t device, inode, size;
    int64_t mtime_ns;
};
/* fd: of the open file; -1: whatever path is. */
int path_stamp(struct path_stamp *s, const char *path, int fd) MUST_CHECK;
/* "PATH: changed while in use: ..." unless all is as it was, at path and (not -1) behind fd. */
int path_stamp_check(const struct path_stamp *s, const char *path, int fd) MUST_CHECK;

bool path_exists(const char *path);
bool path_is_folder(const char *path);
bool path_folder_is_empty(const char *path);

/* Whole file, NUL-terminated behind *size bytes; larger than limit is refused. .gz is not unpacked.
 */
int path_read(const char *path, size_t limit, char **text, size_t *size) MUST_CHECK;

/* Writes name.tmp-PID, fsyncs, renames: the file is complete or not there. */
int path_write(const char *path, const void *bytes, size_t size) MUST_CHECK;
int path_append(const char *path, const void *bytes,
                size_t size) MUST_CHECK; /* one write, fsynced */

int path_make_folder(const char *path) MUST_CHECK; /* parents too; fine when it exists */
int path_remove_tree(const char *path);            /* follows no links */
int path_sync_folder(const char *path) MUST_CHECK; /* fsync of the directory */
int path_free_bytes(const char *folder, uint64_t *bytes) MUST_CHECK;

/* Lines of a text file, plain or .gz (by its content), of any length up to a limit. */
struct lines;
int lines_open(struct lines **l, const char *path) MUST_CHECK;
/* 1: *line (NUL-terminated, without its \n or \r\n; valid until the next call) of *len bytes; 0:
 * end; negative: error. lines_number says which line the last call gave, from 1. */
int lines_next(struct lines *l, char **line, size_t *len) MUST_CHECK;
int64_t lines_number(const struct lines *l);
void lines_close(struct lines *l);

/* Whole file, unpacked when it is .gz by its content. */
int path_read_text(const char *path, size_t limit, char **text, size_t *size) MUST_CHECK;

#endif
