/*
 * path.c - file names, folders, and writing whole files (text.c reads them).
 * SPDX-License-Identifier: MIT
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* nftw and O_CLOEXEC under any -std */
#endif
#include "base/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"

enum {
    CALL_BYTES_MAX = 1024 * 1024 * 1024, /* Linux writes less than 2 GiB a call */
    TREE_FOLDERS_OPEN = 16               /* folders held open while a tree is removed */
};

char *path_join(const char *folder, const char *name)
{
    if (name[0] == '/' || folder[0] == '\0') {
        return mem_strdup(name);
    }
    return mem_printf("%s%s%s", folder, str_ends(folder, "/") ? "" : "/", name);
}

/* The length of path without slashes at its end; "/" stays. */
static size_t length_trimmed(const char *path)
{
    size_t n = strlen(path);

    while (n > 1 && path[n - 1] == '/') {
        n--;
    }
    return n;
}

const char *path_base(const char *path)
{
    size_t n = length_trimmed(path);

    if (n == 1) {
        return path;
    }
    while (n > 0 && path[n - 1] != '/') {
        n--;
    }
    return path + n;
}

char *path_folder(const char *path)
{
    size_t n = (size_t)(path_base(path) - path);

    while (n > 1 && path[n - 1] == '/') {
        n--;
    }
    if (n == 0) {
        return mem_strdup(path[0] == '/' ? "/" : ".");
    }
    return mem_strndup(path, n);
}

/* Where no /proc is mounted (a bare chroot): by the name that the kernel was given to execute. */
static char *executable_folder_by_name(void)
{
    const char *given = (const char *)getauxval(AT_EXECFN);
    char name[PATH_MAX];

    if (given == NULL || realpath(given, name) == NULL) {
        (void)fail_errno(given != NULL ? given : "/proc/self/exe",
                         "cannot tell where this program lies");
        return NULL;
    }
    return path_folder(name);
}

char *path_executable_folder(void)
{
    const char *link = "/proc/self/exe";

    for (size_t size = 256; size <= 64 * 1024; size *= 2) {
        char *name = mem_new(size, 1);
        if (!name) {
            return NULL;
        }
        ssize_t n = readlink(link, name, size - 1);
        if (n < 0) {
            mem_free(name);
            return executable_folder_by_name();
        }
        /* A name that fills the buffer may have been cut. */
        if ((size_t)n < size - 1) {
            char *folder = path_folder(name);
            mem_free(name);
            return folder;
        }
        mem_free(name);
    }
    (void)fail(HCSMOE_EIO, "%s: the name of this program is too long", link);
    return NULL;
}

/* Appends the part of a name that is not there, component by component. NULL: message set. */
static char *tail_append(char *real, const char *path, const char *tail)
{
    while (real && *tail) {
        const size_t n = strcspn(tail, "/");
        if (n == 2 && tail[0] == '.' && tail[1] == '.') {
            (void)fail(HCSMOE_EINVAL, "%s: '..' behind a folder that is not there", path);
            mem_free(real);
            return NULL;
        }
        if (n > 0 && !(n == 1 && tail[0] == '.')) {
            char *longer =
                mem_printf("%s%s%.*s", real, str_ends(real, "/") ? "" : "/", (int)n, tail);
            mem_free(real);
            real = longer;
        }
        tail += n + (tail[n] == '/');
    }
    return real;
}

/* Cuts slashes off the end of text[0..n); "/" stays. */
static size_t slashes_cut(char *text, size_t n)
{
    while (n > 1 && text[n - 1] == '/') {
        text[--n] = '\0';
    }
    return n;
}

char *path_resolve(const char *path)
{
    char real[PATH_MAX];
    char *head = mem_strdup(path);
    char *result = NULL;
    size_t n = head ? slashes_cut(head, strlen(head)) : 0;
    struct stat st;

    /* The longest head that is there; "" is the current folder. */
    while (head && n > 0 && realpath(head, real) == NULL) {
        const int reason = errno;
        if (reason != ENOENT || lstat(head, &st) == 0) {
            errno = reason;
            (void)fail_errno(path,
                             reason == ENOENT ? "a link that leads nowhere" : "cannot be found");
            goto out;
        }
        while (n > 0 && head[n - 1] != '/') {
            head[--n] = '\0';
        }
        n = slashes_cut(head, n);
    }
    if (head && n == 0 && realpath(".", real) == NULL) {
        (void)fail_errno(".", "cannot be found");
    } else if (head) {
        result = tail_append(mem_strdup(real), path, path + n);
    }
out:
    mem_free(head);
    return result;
}

bool path_within(const char *path, const char *folder)
{
    const size_t n = strlen(folder);

    return strncmp(path, folder, n) == 0 &&
           (path[n] == '\0' || path[n] == '/' || (n > 0 && folder[n - 1] == '/'));
}

static struct path_stamp stamp_of(const struct stat *st)
{
    return (struct path_stamp){.device = st->st_dev,
                               .inode = st->st_ino,
                               .size = (uint64_t)st->st_size,
                               .mtime_ns =
                                   (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec};
}

int path_stamp(struct path_stamp *s, const char *path, int fd)
{
    struct stat st;

    if ((fd >= 0 ? fstat(fd, &st) : stat(path, &st)) != 0) {
        return fail_errno(path, "cannot be examined");
    }
    *s = stamp_of(&st);
    return 0;
}

static const char *stamp_difference(const struct path_stamp *a, const struct path_stamp *b)
{
    if (a->device != b->device || a->inode != b->inode) {
        return "another file is there now";
    }
    if (a->size != b->size) {
        return "its size is another now";
    }
    return a->mtime_ns != b->mtime_ns ? "it was written to" : NULL;
}

int path_stamp_check(const struct path_stamp *s, const char *path, int fd)
{
    const char *what = NULL;
    struct path_stamp now;
    struct stat st;

    if (fd >= 0 && fstat(fd, &st) == 0) {
        now = stamp_of(&st);
        what = stamp_difference(s, &now);
    }
    if (!what && stat(path, &st) != 0) {
        what = "it is gone";
    } else if (!what) {
        now = stamp_of(&st);
        what = stamp_difference(s, &now);
    }
    return what ? fail(HCSMOE_EIO, "%s: changed while in use: %s", path, what) : 0;
}

bool path_exists(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0;
}

bool path_is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool path_folder_is_empty(const char *path)
{
    DIR *d = opendir(path);
    bool empty = d != NULL;

    if (!d) {
        return false;
    }
    for (struct dirent *e = readdir(d); e && empty; e = readdir(d)) {
        empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
    }
    (void)closedir(d);
    return empty;
}

static int fd_write(int fd, const char *path, const void *bytes, size_t size)
{
    const char *p = bytes;

    while (size > 0) {
        ssize_t n = write(fd, p, size < CALL_BYTES_MAX ? size : CALL_BYTES_MAX);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return fail_errno(path, "cannot write");
        }
        p += n;
        size -= (size_t)n;
    }
    return 0;
}

/* fsync; pipes, terminals and some network file systems cannot, and say EINVAL. */
static int fd_sync(int fd, const char *path)
{
    int r;

    do {
        r = fsync(fd);
    } while (r < 0 && errno == EINTR);
    return r < 0 && errno != EINVAL && errno != EROFS ? fail_errno(path, "cannot sync") : 0;
}

/* Opens with flags, writes everything, syncs and closes. */
static int file_write(const char *path, int flags, const void *bytes, size_t size)
{
    int fd;

    do {
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0666);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return fail_errno(path, "cannot open for writing");
    }
    int status = fd_write(fd, path, bytes, size);
    if (status == 0) {
        status = fd_sync(fd, path);
    }
    if (close(fd) < 0 && errno != EINTR && status == 0) {
        status = fail_errno(path, "cannot close");
    }
    return status;
}

int path_write(const char *path, const void *bytes, size_t size)
{
    struct stat st;
    char *folder = NULL;
    int status = HCSMOE_ENOMEM;

    /* A link, a pipe or a device such as /dev/stdout is written to, not replaced by a file. */
    if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        return file_write(path, O_TRUNC, bytes, size);
    }
    char *temporary = mem_printf("%s.tmp-%ld", path, (long)getpid());
    if (!temporary) {
        goto out;
    }
    folder = path_folder(path);
    if (!folder) {
        goto out;
    }
    status = file_write(temporary, O_TRUNC | O_NOFOLLOW, bytes, size);
    if (status == 0 && rename(temporary, path) < 0) {
        status = fail_errno(path, "cannot rename the finished file to this name");
    }
    if (status < 0) {
        (void)unlink(temporary);
        goto out;
    }
    status = path_sync_folder(folder);
out:
    mem_free(folder);
    mem_free(temporary);
    return status;
}

int path_append(const char *path, const void *bytes, size_t size)
{
    return file_write(path, O_APPEND, bytes, size);
}

static int folder_make(const char *path)
{
    if (mkdir(path, 0777) == 0) {
        return 0;
    }
    int reason = errno;
    if (path_is_folder(path)) {
        return 0;
    }
    errno = reason;
    return fail_errno(path, "cannot make the folder");
}

int path_make_folder(const char *path)
{
    size_t length = length_trimmed(path);
    int status = 0;

    if (path_is_folder(path)) {
        return 0;
    }
    char *part = mem_strdup(path);
    if (!part) {
        return HCSMOE_ENOMEM;
    }
    for (size_t i = 1; status == 0 && i < length; i++) {
        if (part[i] == '/' && part[i - 1] != '/') {
            part[i] = '\0';
            status = folder_make(part);
            part[i] = '/';
        }
    }
    if (status == 0) {
        status = folder_make(path);
    }
    mem_free(part);
    return status;
}

static int tree_remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path) < 0 && errno != ENOENT ? fail_errno(path, "cannot remove") : 0;
}

int path_remove_tree(const char *path)
{
    struct stat st;

    if (lstat(path, &st) < 0) {
        return errno == ENOENT ? 0 : fail_errno(path, "cannot remove");
    }
    /* -1 is nftw's own failure, EIO the one of tree_remove_one, which has left its message. */
    int r = nftw(path, tree_remove_one, TREE_FOLDERS_OPEN, FTW_DEPTH | FTW_PHYS);
    return r == -1 ? fail_errno(path, "cannot remove") : r;
}

int path_sync_folder(const char *path)
{
    int fd;

    do {
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return fail_errno(path, "cannot open the folder");
    }
    int status = fd_sync(fd, path);
    (void)close(fd);
    return status;
}

int path_free_bytes(const char *folder, uint64_t *bytes)
{
    struct statvfs st;
    int r;

    do {
        r = statvfs(folder, &st);
    } while (r < 0 && errno == EINTR);
    if (r < 0) {
        return fail_errno(folder, "cannot tell the free space");
    }
    if (__builtin_mul_overflow((uint64_t)st.f_bavail, (uint64_t)st.f_frsize, bytes)) {
        *bytes = UINT64_MAX;
    }
    return 0;
}
