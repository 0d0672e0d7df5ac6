/*
 * log.h - messages and progress on standard error. Standard output belongs to results.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_BASE_LOG_H
#define CORE_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { LOG_ERROR = 0, LOG_WARN = 1, LOG_INFO = 2, LOG_VERBOSE = 3 };

void log_level_set(
    int level); /* messages above it are dropped; default LOG_INFO; -q LOG_WARN, -v LOG_VERBOSE */
int log_level(void);
void log_line(int level, const char *fmt, ...)
    PRINTF_LIKE(2, 3); /* "hcsmoe: error: …"; clears a live line first. any thread */

/* A live line on a terminal (rewritten at most 10 times a second), a whole line every few seconds
 * elsewhere, nothing at -q. Stages nest not. Example: "layer 3/32 calibrate  41%  812 tok/s  1m 20s
 * left". */
void progress_start(const char *what, double total); /* total in any unit of work, e.g. FLOPs */
void progress_stage(const char *stage);              /* "layer 3/32" */
void progress_add(double work);                      /* any thread */
void progress_end(void);

double now_s(void);            /* monotonic clock */
int64_t memory_peak_rss(void); /* bytes, of this process so far (ru_maxrss) */
/* Bytes that this process read and wrote so far, with read and write, from the cache or not;
 * false: the system does not say (no /proc). */
bool io_bytes(int64_t *n_read, int64_t *n_written);
int64_t memory_physical(void); /* bytes of RAM, cgroup limit respected */

#endif
