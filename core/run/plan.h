/*
 * plan.h - what a run will do and cost, before anything heavy starts.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_PLAN_H
#define CORE_RUN_PLAN_H

#include "data/corpus.h"
#include "run/merge.h"

/* Everything that a run opened and checked before it starts. */
struct prepared {
    struct model *m;
    struct tokenizer *tokenizer; /* NULL: neither calibration nor evaluation */
    struct corpus_blocks blocks;
    struct batch batch;
    struct eval_plan *eval; /* NULL: no evaluation */
    uint64_t needs;
    bool forward, budget;
    int n_touched; /* layers that are grouped and merged */
};

struct plan {
    int passes; /* over the layers, evaluation not counted */
    double flops, eval_flops;
    int64_t read_bytes, write_bytes, peak_bytes, disk_bytes, disk_free;
    int64_t documents, requests, eval_tokens;
};

/* Opens model, text and tasks of a config and checks them against each other. */
int prepare(struct prepared *p, struct config *c) MUST_CHECK;
void prepared_release(struct prepared *p);

int plan_make(struct plan *plan, const struct prepared *p, const struct config *c) MUST_CHECK;
/* For people: several lines. */
void plan_print(const struct plan *plan, const struct prepared *p, const struct config *c,
                struct str *out);
/* memory_limit and disk space. */
int plan_check(const struct plan *plan, const struct config *c) MUST_CHECK;

bool layer_touched(const struct config *c, const struct model *m, int layer);
/* "1.5 GB" */
void bytes_print(struct str *out, int64_t bytes);

#endif
