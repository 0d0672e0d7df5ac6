/*
 * trust.h - plugin files and folders that others could have changed are refused.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_PLUGIN_TRUST_H
#define CORE_PLUGIN_TRUST_H

#include <sys/stat.h>

#include "base/error.h"

/* A folder that not everyone can write, of root, the user, or the owner of this program. */
int trust_folder(const char *path) MUST_CHECK;
/* A regular file of that kind, in such a folder, also behind links. */
int trust_file(const char *path, struct stat *st) MUST_CHECK;

#endif
