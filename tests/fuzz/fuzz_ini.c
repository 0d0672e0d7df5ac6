/*
 * fuzz_ini.c - any bytes as an INI file, and its lines as assignments of the command line.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/ini.h"
#include "base/mem.h"
#include "fuzz.h"

/* Every line as "section.key=value". */
static void assignments_try(struct ini *ini, const uint8_t *data, size_t size)
{
    char *text = mem_strndup((const char *)data, size), *next;

    for (char *line = text; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        const int status = ini_set(ini, line);
        (void)status;
    }
    mem_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ini ini;

    if (ini_read(&ini, fuzz_file(data, size)))
        return 0;
    for (size_t i = 0; i < ini.n; i++) {
        const struct ini_value *v = ini_find(&ini, ini.values[i].section, ini.values[i].key);
        if (v != &ini.values[i] || !ini_where(&ini, v)[0])
            __builtin_trap();
    }
    assignments_try(&ini, data, size);
    ini_release(&ini);
    return 0;
}
