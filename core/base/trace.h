/*
 * trace.h - what ran when: spans for chrome://tracing and ui.perfetto.dev, one for each stage of a layer and chunk.
 *
 * Without a file nothing is recorded and no clock is read. any thread
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_BASE_TRACE_H
#define CORE_BASE_TRACE_H

#include "base/error.h"

/* Records until trace_close writes the file (path is copied); called once, before other threads are started. */
int trace_open(const char *path) MUST_CHECK;
/* Writes what was recorded, whole or not at all; without trace_open does nothing. */
int trace_close(void) MUST_CHECK;

/* The file that is to be written; NULL: none. */
const char *trace_path(void);
/* Forgets the file and what was recorded. */
void trace_drop(void);

/* Where a span begins. */
double trace_begin(void);
/* Ends the span that began at `begin`; layer -1: none. name must live on: a literal. Gives where the next begins. */
double trace_end(const char *name, int layer, double begin);

#endif
