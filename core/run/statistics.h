/*
 * statistics.h - what was observed, as a file beside the result.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_STATISTICS_H
#define CORE_RUN_STATISTICS_H

#include "run/observe.h"
#include "run/plan.h"

/* Tensors "layer.L.NAME" of every layer given, float64 and int64; metadata says of which model,
 * text and settings. */
int statistics_write(const char *path, const struct config *c, const struct prepared *p,
                     struct layer_stats *const *layers, size_t n) MUST_CHECK;

#endif
