/*
 * fuzz_config.c - any bytes as config.json: the families that know it, what they make of it, the tensors they look for.
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>

#include "base/log.h"
#include "fuzz.h"
#include "model/model.h"

static struct host *host;
static struct registry *registry;

/* A checkpoint without tensors. */
static void open_once(void)
{
    if (host)
        return;
    log_level_set(LOG_ERROR);
    (void)setenv("HCSMOE_PLUGIN_PATH", PLUGINS, 1);
    fuzz_must(host_open(&host, 1, 0));
    fuzz_must(registry_open(&registry, host));
    fuzz_write("model.safetensors", "\2\0\0\0\0\0\0\0{}", 10);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model *m = NULL;

    open_once();
    fuzz_write("config.json", data, size);
    if (model_open(&m, fuzz_folder(), NULL, NULL, NULL, registry, host) == 0)
        model_close(m);
    return 0;
}
