/*
 * pipeline.h - the whole run: plan, one loop over the layers, report, evaluation.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_PIPELINE_H
#define CORE_RUN_PIPELINE_H

#include "run/config.h"

/* Prints the plan on standard error, the results on standard output. started: whether it got beyond
 * what can fail early. */
int pipeline_run(struct config *c, bool *started) MUST_CHECK;

/* Only what `hcsmoe check` does: everything that can fail early, and the plan on standard output.
 */
int pipeline_check(struct config *c) MUST_CHECK;

/* Only [eval], on any checkpoint. json: file for the results; NULL. started as for pipeline_run. */
int pipeline_eval(struct config *c, const char *folder, const char *json, bool *started) MUST_CHECK;

#endif
