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
    bool path;                            /* one, relative to the INI's folder */
    const char *help;                     /* one line: what it is, what is allowed */
};
extern const struct core_key core_keys[];
extern const size_t n_core_keys;
extern const char *const config_sections[];
extern const size_t n_config_sections;

/* The value of a core key, marked as used; standin when it is the default; NULL when it is neither
 * set nor has one. An empty value counts as unset. */
struct ini_value *config_value(struct config *c, const char *section, const char *key,
                               struct ini_value *standin);
int config_required(const struct config *c, const char *section, const char *key,
                    const char *why) MUST_CHECK; /* the error that it is not set */
int config_int(struct config *c, const char *section, const char *key, int64_t lo, int64_t hi,
               int64_t *out) MUST_CHECK;
int config_bool(struct config *c, const char *section, const char *key, bool *out) MUST_CHECK;
int config_choice(struct config *c, const char *section, const char *key, const char *const *names,
                  size_t n, int *out) MUST_CHECK;
/* A component by the value of the key that chooses it; messages start where that value stands. */
int config_choose(struct config *c, uint32_t kind, const char *section, const struct ini_value *v,
                  const char *name, struct instance *out) MUST_CHECK;
/* An absolute path, or NULL when the key is unset. Relative ones start at the INI's folder, those
 * of -s at the current one. */
int config_path(struct config *c, const char *section, const char *key,
                const char **out) MUST_CHECK;

/* The same for one path of a list that is v's value. */
int config_path_of(struct config *c, const struct ini_value *v, const char *text,
                   const char **out) MUST_CHECK;
/* The next item of a comma-separated list without white space around it; *rest: what follows, NULL
 * after the last. */
char *config_item(char **rest);

/* Reads [calibration] data and mix, after n_sentences. */
int config_texts(struct config *c) MUST_CHECK;

/* Reads [group] and [merge]: which methods, and whether they go together. */
int config_methods(struct config *c) MUST_CHECK;
/* Warns of every key that is set and changes nothing with the chosen methods. */
int config_effects(struct config *c) MUST_CHECK;
/* Does a core key change anything with the chosen methods? */
bool config_key_counts(const struct config *c, const char *section, const char *key);
/* The components that take options of [group] or [merge], into of[BASES_MAX + 1]; how many. */
size_t config_section_instances(const struct config *c, const char *section,
                                const struct instance **of);

/* The values of [run] dtype. */
extern const char *const run_dtypes[];
extern const size_t n_run_dtypes;
/* Opens the device that [run] device and dtype name: c->kernels, c->device, the host's table. */
int config_device(struct config *c) MUST_CHECK;

#endif
