/*
 * fuzz_safetensors.c - any bytes as a safetensors file: its header, and then all its tensors.
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>

#include "base/mem.h"
#include "data/safetensors.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct st_file f;
    size_t n;
    uint8_t *bytes = fuzz_safetensors(data, size, &n);

    if (st_open(&f, fuzz_file(bytes, n)) == 0) {
        uint64_t sum = 0;
        for (size_t i = 0; i < f.n; i++) {
            const struct st_entry *e = &f.entries[i];
            void *read = mem_new_raw(1, e->size + 1);
            sum += e->size;
            if (!read || st_read(&f, e->offset, read, e->size) ||
                st_header_bytes(e->name, e->ndim) == 0)
                __builtin_trap(); /* the header was found to fit the file */
            mem_free(read);
        }
        if (sum > n || st_unchanged(&f))
            __builtin_trap();
        st_close(&f);
    }
    free(bytes); /* from fuzz_safetensors */
    return 0;
}
