/*
 * options.h - option tables: from INI values to a plugin's options struct, and to help.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_PLUGIN_OPTIONS_H
#define CORE_PLUGIN_OPTIONS_H

#include "base/ini.h"
#include "base/str.h"
#include "plugin/registry.h"

/* A chosen component with its options: what the run works with. */
struct instance {
    const struct component *component;
    void *opts;      /* block of opts_size */
    void *self;      /* from create, or opts */
    char **strings;  /* owned option strings */
    size_t n_strings;
    struct host *host;
    bool created;
};

/*
 * Reads the section's values for this component: "option = x", or "name.option = x" (which wins and belongs to it
 * alone). Marks them used. Every value is checked: type, range, choices; messages as in
 *   f.ini:21: [group] n = 0: must be 1..65536
 *   f.ini:14: [group] linkage: no 'singel' (have: single, complete, average, ward); did you mean 'single'?
 * BOOL takes yes/no/true/false/on/off/1/0. INT takes K/M/G/T suffixes when the help says bytes. A REQUIRED option that
 * is not set is an error. ini may be NULL: the defaults.
 * Does not call create. */
int instance_init(struct instance *i, const struct component *c, const struct ini *ini, const char *section,
                  struct host *h) MUST_CHECK;
int instance_create(struct instance *i) MUST_CHECK; /* calls create inside a host frame */
void instance_release(struct instance *i);          /* destroy, free */

/* host_enter for a call of one of its functions: messages say "merge/freq, layer 3". */
void component_enter(const struct component *c, struct host *h, int layer);
void instance_enter(const struct instance *i, int layer);

/* needs_for(opts, caps) or needs; caps: of a similarity base, the clustering's; else 0. */
uint64_t instance_needs(const struct instance *i, uint64_t caps);
const void *instance_ops(const struct instance *i);

/* The value of an option as the INI would write it, appended. */
void option_print(const hcsmoe_option *o, const void *opts, struct str *out);
/* The names of HCSMOE_STAT_* bits, comma-separated, appended. */
void needs_print(uint64_t needs, struct str *out);
/* Everything about a component for `hcsmoe help KIND.NAME`. */
void component_help(const struct component *c, struct str *out);
/* What it needs and takes as a section of a markdown reference; nothing when that is nothing. */
void component_markdown(const struct component *c, struct str *out);
/* Text of a cell of a markdown table: '|' is written out. */
void markdown_cell(const char *text, struct str *out);

/* After every instance took its values: a value of the section that nobody used (and that is none of core_keys) is an
 * error:
 *   f.ini:19: [merge] no option 'epsilon' for freq (it takes: eps, fallback); did you mean 'eps'?  */
int options_check_unused(const struct ini *ini, const char *section, const char *const *core_keys, size_t n_core_keys,
                         const struct instance *const *instances, size_t n_instances) MUST_CHECK;

/* Parses for the core's own keys, same rules and messages. */
int option_bool(const struct ini *ini, const struct ini_value *v, bool *out) MUST_CHECK;
int option_int(const struct ini *ini, const struct ini_value *v, int64_t lo, int64_t hi, int64_t *out) MUST_CHECK;
int option_bytes(const struct ini *ini, const struct ini_value *v, int64_t *out) MUST_CHECK; /* 12G, 500M, 0 */
int option_real(const struct ini *ini, const struct ini_value *v, double lo, double hi, double *out) MUST_CHECK;
int option_choice(const struct ini *ini, const struct ini_value *v, const char *const *names, size_t n,
                  int *out) MUST_CHECK;

#endif
