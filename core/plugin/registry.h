/*
 * registry.h - finds, opens and checks plugins; the menu of components.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_PLUGIN_REGISTRY_H
#define CORE_PLUGIN_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>

#include <hcsmoe/plugin.h>

#include "base/error.h"
#include "base/str.h"
#include "plugin/host.h"

/* A component that passed every check. All strings live until registry_close. */
struct component {
    hcsmoe_component c; /* a copy as large as the host knows; what the plugin is too old for is zero */
    hcsmoe_option *options; /* copies, n = c.n_options */
    const char *plugin_id, *version, *path;
};

struct registry;

int registry_open(struct registry **r, struct host *h) MUST_CHECK;
void registry_close(struct registry *r); /* fini in reverse order of loading; nothing is dlclosed */

/* [plugins] path: colon-separated folders, searched before HCSMOE_PLUGIN_PATH and the usual ones. base: where relative
 * ones start. */
int registry_add_path(struct registry *r, const char *folders, const char *base) MUST_CHECK;
/* [plugins] load / --plugin: exactly this file (without a slash: that name in the folders); its components come before
 * all others. */
int registry_load(struct registry *r, const char *file) MUST_CHECK;

/* The components of a file that registry_load took, in the file's order. *list is the registry's, valid until it is
 * closed. */
int registry_of_file(struct registry *r, const char *file, const struct component *const **list, size_t *n) MUST_CHECK;

/* The component of a kind and name: from a loaded file, else hcsmoe-<kind>-<name>.so in the folders in order, else from
 * all plugins (hcsmoe-*.so) there. Not found: "no merge method 'frq' (have: freq, mean); did you mean 'freq'?" and at
 * LOG_VERBOSE all paths tried; when no plugin folder holds a single plugin the message lists every path tried. */
int registry_find(struct registry *r, uint32_t kind, const char *name, const struct component **c) MUST_CHECK;

/* Opens every plugin in the folders (a broken one is a warning) and lists components of a kind (0: all), sorted by
 * kind, name. *list is the registry's, valid until its next call. */
int registry_list(struct registry *r, uint32_t kind, const struct component *const **list, size_t *n) MUST_CHECK;

const char *registry_kind_name(uint32_t kind); /* "merge" */
uint32_t registry_kind(const char *name);      /* 0: no such kind */

#endif
