/*
 * fuzz_options.c - any bytes as the INI of a run: every key of the core and every option of the plugins it names.
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "fuzz.h"
#include "run/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config *c = NULL;
    struct str out = {0};

    /* It loads what it is told to, and that is not to be any library of this machine. */
    if (size == 0 || memmem(data, size, "plugins", 7))
        return 0;
    log_level_set(LOG_ERROR);
    (void)setenv("HCSMOE_PLUGIN_PATH", PLUGINS, 1);
    if (config_open(&c, fuzz_file(data, size), NULL, 0, NULL, 0, CONFIG_SHOW))
        return 0;
    fuzz_must(config_print(c, true, &out));
    str_release(&out);
    config_close(c);
    return 0;
}
