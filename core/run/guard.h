/*
 * guard.h - what a run may write to, and what it may copy: nothing of the input is ever overwritten.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_GUARD_H
#define CORE_RUN_GUARD_H

#include <stdbool.h>

#include "model/model.h"
#include "run/config.h"

/* Refuses an output folder that holds something (unless overwrite), that lies inside the input or holds
 * a file of it, under any spelling, or that is a link: what is put in its place would not go where it
 * leads. */
int guard_folder(const char *target, const struct model *m, bool overwrite) MUST_CHECK;
/* Refuses a file to write that is one of the input's, by whatever name; path NULL: none. what: the
 * option that names it. */
int guard_file(const char *path, const char *what, const struct model *m) MUST_CHECK;
int guard_trace(const struct model *m) MUST_CHECK;
/* The files that the INI says are to be written, and the trace. */
int guard_files(const struct config *c, const struct model *m) MUST_CHECK;
/* May a small file of the checkpoint be copied to the output? A link may lead into the checkpoint, to
 * where its weights lie (the blobs of a Hugging Face cache), or to a file that every checkpoint has
 * under the same name; a stranger's checkpoint must not carry off other files. Says so when not. */
bool guard_copy(const struct model *m, const char *path);

#endif
