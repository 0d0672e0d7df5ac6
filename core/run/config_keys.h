/*
 * config_keys.h - the table of the core's own INI keys, for the files that read and print a
 * configuration.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_CONFIG_KEYS_H
#define CORE_RUN_CONFIG_KEYS_H

#include "run/config.h"

/* The core's own keys, in the order of `hcsmoe config`. A component's options follow those of its
 * section. */
enum { CORE_KEYS_MOST = 64 }; /* of one section; the whole table is shorter */

struct core_key {
    const char *section, *key, *fallback; /* NULL: no default, the key may be unset */
    bool path;
};
extern const struct core_key core_keys[];
extern const size_t n_core_keys;
extern const char *const config_sections[];
extern const size_t n_config_sections;

/* The value of a core key, marked as used; standin when it is the default; NULL when it is neither
 * set nor has one. An empty value counts as unset. */
struct ini_value *config_value(struct config *c, const char *section, const char *key,
                               struct ini_value *standin);
/* An absolute path, or NULL when the key is unset. Relative ones start at the INI's folder, those
 * of -s at the current one. */
int config_path(struct config *c, const char *section, const char *key,
                const char **out) MUST_CHECK;

/* Opens the device that [run] device names: c->kernels, c->device, the host's table. */
int config_device(struct config *c) MUST_CHECK;

#endif
