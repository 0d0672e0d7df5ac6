/*
 * replay.c - main of a fuzz target without libFuzzer: every file that is named, or that is in a folder that is.
 * SPDX-License-Identifier: MIT
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/path.h"
#include "fuzz.h"

enum { INPUT_MAX = 64 * 1024 * 1024 };

static int replay(const char *path)
{
    char *bytes = NULL;
    size_t size;

    fuzz_must(path_read(path, INPUT_MAX, &bytes, &size));
    /* A copy of the very size: a byte beyond it is no one's. */
    uint8_t *exact = mem_new_raw(size > 0 ? size : 1, 1);
    if (exact && size > 0)
        memcpy(exact, bytes, size);
    mem_free(bytes);
    const int rc = exact ? LLVMFuzzerTestOneInput(exact, size) : 1;
    mem_free(exact);
    return rc;
}

int main(int argc, char **argv)
{
    int n = 0;

    for (int i = 1; i < argc; i++) {
        DIR *d = opendir(argv[i]);
        if (!d) {
            n += replay(argv[i]) == 0;
            continue;
        }
        for (struct dirent *e; (e = readdir(d)) != NULL;) {
            char *path = path_join(argv[i], e->d_name);
            if (path && !path_is_folder(path))
                n += replay(path) == 0;
            mem_free(path);
        }
        (void)closedir(d);
    }
    (void)printf("%d inputs\n", n);
    return n > 0 ? 0 : 1;
}
