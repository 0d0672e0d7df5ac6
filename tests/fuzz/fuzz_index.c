/*
 * fuzz_index.c - any bytes as model.safetensors.index.json, beside two shards that hold tensors a to d.
 * SPDX-License-Identifier: MIT
 */
#include "base/mem.h"
#include "data/shards.h"
#include "fuzz.h"

static void shard_write(const char *name, const char *first, const char *second)
{
    char *path = mem_printf("%s/%s", fuzz_folder(), name);
    struct st_writer w = {0};
    const int64_t shape[1] = {3};

    fuzz_must(st_create(&w, path, 4096));
    fuzz_must(st_add(&w, first, HCSMOE_DTYPE_U8, 1, shape, "abc"));
    fuzz_must(st_add(&w, second, HCSMOE_DTYPE_U8, 1, shape, "def"));
    fuzz_must(st_finish(&w, NULL));
    st_abandon(&w);
    mem_free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool written;
    struct shards s;

    if (!written) {
        shard_write("m-1", "a", "b");
        shard_write("m-2", "c", "d");
        written = true;
    }
    fuzz_write("model.safetensors.index.json", data, size);
    if (shards_open(&s, fuzz_folder()))
        return 0;
    for (size_t i = 0; i < s.n_tensors; i++) {
        const struct st_entry *e = shards_at(&s, i);
        char bytes[3];
        if (shards_find(&s, e->name) != e || shards_read(&s, e, bytes))
            __builtin_trap();
    }
    if (shards_unchanged(&s))
        __builtin_trap();
    shards_close(&s);
    return 0;
}
