/*
 * check.h - what a plugin must look like before anything of it is used. For the registry, and for tables of kernels.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_PLUGIN_CHECK_H
#define CORE_PLUGIN_CHECK_H

#include <stdbool.h>

#include <hcsmoe/kernels.h>
#include <hcsmoe/plugin.h>

#include "base/error.h"
#include "base/mem.h"
#include "plugin/registry.h"

/* What the table of kinds knows: words for messages ("merge method"), a name for files and the menu ("merge"). NULL: no
 * such kind. */
const char *check_kind_words(uint32_t kind);

/* 1..most characters out of [a-z0-9] and others. */
bool check_name(const char *name, const char *others, size_t most);
bool check_component_name(const char *name);

/* Opens the file and calls its entry. *plugin is the plugin's own, not looked at yet. */
int check_entry(struct host *h, const char *path, const hcsmoe_plugin **plugin) MUST_CHECK;

/* Sizes, version, id, components pointer. Messages without the path. *out: a copy as large as the host knows. */
int check_plugin(const hcsmoe_plugin *p, hcsmoe_plugin *out) MUST_CHECK;

/* Does a plugin that needs major.minor run in a host of own_major.own_minor? From 1.0 on an older minor does; before,
 * the minor must be the same. */
int check_version(unsigned major, unsigned minor, unsigned own_major, unsigned own_minor) MUST_CHECK;

/* What a device's `table` gave: its size, and that no kernel is missing. */
int check_kernels(const hcsmoe_kernels *k) MUST_CHECK;

/* Component number index (from 0): everything about it. *out and what it points to (options, ops, a task's spec) are
 * copies in memory, as large as the host knows them, zero where the plugin is too old. path, version and plugin_id are
 * the caller's. */
int check_component(const hcsmoe_component *c, size_t index, struct arena *memory,
                    struct component *out) MUST_CHECK;

#endif
