/*
 * sweep.h - many ways of grouping and merging on one calibration.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_SWEEP_H
#define CORE_RUN_SWEEP_H

#include <jansson.h>

#include "run/config.h"

/* One combination: the configuration that it gives and the assignments that make it. */
struct combination {
    struct config *c;
    char **sets; /* [n_sets] "section.key=value" */
    size_t n_sets;
};

/* Takes the calibration tokens through the layers once (twice, when one of the combinations decides
 * over all layers) and merges every layer in every way; evaluates each, when [eval] is there, on
 * tokens that go through its own merged layers. write: also a checkpoint of each, in a folder of
 * output_path named by its settings. json: where the caller will write the rows; NULL. rows: new
 * reference, an object for each combination. */
int sweep_run(struct combination *all, size_t n, bool write, const char *json, bool *started,
              json_t **rows, struct str *table) MUST_CHECK;

#endif
