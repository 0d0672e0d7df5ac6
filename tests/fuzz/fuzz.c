/*
 * fuzz.c - the input of a fuzz target as files.
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/path.h"

enum { DATA_MAX = 1000000, PATH_BYTES = 512, LENGTH_BYTES = 8 };

static char folder[PATH_BYTES];

static void need(int good, const char *what)
{
    if (!good) {
        perror(what);
        abort();
    }
}

void fuzz_must(int status)
{
    if (status) {
        (void)fprintf(stderr, "%s\n", fail_message());
        abort();
    }
}

static void bytes_write(int fd, const void *bytes, size_t size)
{
    const char *at = bytes;

    while (size > 0) {
        const ssize_t n = write(fd, at, size);
        need(n > 0, "write");
        at += n;
        size -= (size_t)n;
    }
}

const char *fuzz_file(const void *bytes, size_t size)
{
    static char path[PATH_BYTES];
    static int fd = -1;

    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        need(fd >= 0, "memfd_create");
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    need(ftruncate(fd, 0) == 0 && lseek(fd, 0, SEEK_SET) == 0, "memfd");
    bytes_write(fd, bytes, size);
    return path;
}

static void folder_remove(void)
{
    (void)path_remove_tree(folder);
}

const char *fuzz_folder(void)
{
    if (!folder[0]) {
        const char *shared = "/dev/shm";
        const char *base = access(shared, W_OK) == 0 ? shared : "/tmp";
        (void)snprintf(folder, sizeof folder, "%s/hcsmoe-fuzz-XXXXXX", base);
        need(mkdtemp(folder) != NULL, "mkdtemp");
        (void)atexit(folder_remove);
    }
    return folder;
}

void fuzz_write(const char *name, const void *bytes, size_t size)
{
    char path[2 * PATH_BYTES];

    (void)snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    need(fd >= 0, path);
    bytes_write(fd, bytes, size);
    need(close(fd) == 0, path);
}

uint8_t *fuzz_safetensors(const uint8_t *data, size_t size, size_t *n)
{
    const uint8_t *newline =
        size > 0 && data[0] >= '0' && data[0] <= '9' ? memchr(data, '\n', size) : NULL;
    const size_t at = newline ? (size_t)(newline - data) + 1 : 0;
    size_t more = 0;

    for (size_t i = 0; i + 1 < at && more <= DATA_MAX; i++)
        more = more * 10 + (data[i] & 15u);
    more = more < DATA_MAX ? more : DATA_MAX;
    *n = newline ? LENGTH_BYTES + size - at + more : size;
    uint8_t *file = calloc(*n + 1, 1);
    need(file != NULL, "calloc");
    if (!newline) {
        if (size > 0)
            memcpy(file, data, size);
        return file;
    }
    for (int i = 0; i < LENGTH_BYTES; i++)
        file[i] = (uint8_t)((uint64_t)(size - at) >> 8 * i);
    memcpy(file + LENGTH_BYTES, data + at, size - at);
    return file;
}
