/*
 * statistics.h - what was observed, as a file beside the result, and read again by the next run.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_STATISTICS_H
#define CORE_RUN_STATISTICS_H

#include "run/observe.h"

struct prepared;

/* A hash of what the statistics depend on: config.json, the shards' names and sizes, the tokens,
 * how usage is counted. Without text the tokens are none. */
void statistics_key(const struct config *c, const struct prepared *p, char hex[65]);

/* Tensors "layer.L.NAME" of every layer given, float64 and int64; metadata says of which model,
 * text and settings. states[n] belong to the layers' components under c. */
int statistics_write(const char *path, const struct config *c, const struct prepared *p,
                     const struct layer_stats *const *layers,
                     const struct layer_states *const *states, size_t n) MUST_CHECK;

/* A file of an earlier run that holds all that c needs of all its layers. */
struct statistics;
/* [calibration] statistics, which must be of the same model, text and settings, or else the one in
 * output_path, if it is. *s NULL: there is none, or it lacks something (said in the log). The
 * tokens are already known to p, where text is needed. */
int statistics_find(struct statistics **s, const struct config *c,
                    const struct prepared *p) MUST_CHECK;
/* One layer, opened with the needs that the file was found with. */
int statistics_load(const struct statistics *s, const struct config *c, struct layer_stats *stats,
                    struct layer_states *states) MUST_CHECK;
const char *statistics_path(const struct statistics *s);
void statistics_close(struct statistics *s);

#endif
