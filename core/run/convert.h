/*
 * convert.h - a mapped checkpoint written in another layout, without calibration.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_CONVERT_H
#define CORE_RUN_CONVERT_H

#include "run/config.h"

/* Writes the checkpoint at `in` to `out`. For LAYOUT_COLLAPSED, [calibration] data measures what
 * collapsing does to each layer, and [eval] evaluates both; without them nothing is measured. Says
 * in text, for people, what was done. started: it got beyond what can fail early. */
int convert_run(struct config *c, const char *in, const char *out, enum layout layout,
                bool *started, struct str *text) MUST_CHECK;

#endif
