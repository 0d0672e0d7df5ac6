/*
 * verify.h - does a plugin keep what the headers ask of it?
 *
 * The loader's checks, then a suite for the kind of every component of the file, on a layer that is
 * made in memory. Every check runs in a process of its own, so that a plugin that crashes, hangs or
 * exits fails that check and no other.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_VERIFY_H
#define CORE_RUN_VERIFY_H

#include <stddef.h>

#include "base/ini.h"

/* What is asked for. Strings are the caller's. */
struct verify_request {
    const char *file;          /* the plugin */
    const char *model;         /* a checkpoint for model families; NULL: the bundled one */
    const char *reference;     /* safetensors of ids and logits of that checkpoint; NULL */
    const char *const *sets;   /* [n_sets] "section.key=value": options of its components */
    const char *const *others; /* [n_others] further plugin files */
    size_t n_sets, n_others;
    int seconds; /* that one check may take; 0: the usual number */
};

enum verify_outcome { VERIFY_OK = 0, VERIFY_FAILED = 1, VERIFY_SKIPPED = 2 };

/* One finished check: of which component ("merge/freq"; NULL: the file), its name, and the sentence
 * that belongs to the outcome ("" when there is none). */
typedef void verify_say(void *arg, enum verify_outcome outcome, const char *component,
                        const char *check, const char *text);

/* Runs everything and says every outcome to say. An error is one of the machine, or of the request
 * (HCSMOE_EINVAL); a plugin that breaks a rule is none. */
int verify_plugin(const struct verify_request *r, verify_say *say, void *arg) MUST_CHECK;

#endif
