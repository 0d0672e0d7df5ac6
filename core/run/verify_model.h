/*
 * verify_model.h - what verify_config.c and verify_model.c share.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_VERIFY_MODEL_H
#define CORE_RUN_VERIFY_MODEL_H

#include <hcsmoe/model.h>

#include "run/verify_suite.h"

struct json_t;

/* -m, or the bundled one. New; NULL: message set. */
char *verify_model_folder(const struct verify *v);
/* Its config.json, if it is of this family (new); else a skip, or a failure when it was asked
 * for. */
int verify_model_config(struct verify *v, struct json_t **config) MUST_CHECK;
/* What a family says of a config; also checks that it is possible. */
int verify_describe(struct verify *v, const struct instance *i, const struct json_t *config,
                    hcsmoe_model_desc *d) MUST_CHECK;

/* Checks. */
int verify_model_probe(struct verify *v);
int verify_model_changed(struct verify *v);

#endif
