/*
 * plan.h - what a run will do and cost, before anything heavy starts.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_PLAN_H
#define CORE_RUN_PLAN_H

#include "data/corpus.h"
#include "run/statistics.h"
#include "run/variant.h"

/* Everything that a run opened and checked before it starts. */
struct prepared {
    struct model *m;
    struct tokenizer *tokenizer; /* NULL: neither calibration nor evaluation */
    struct corpus_blocks blocks;
    struct batch batch;
    struct eval_plan *eval; /* NULL: no evaluation */
    uint64_t needs;
    bool forward;  /* the loops take the calibration tokens along */
    bool budget;   /* something is decided over all layers */
    int n_touched; /* layers that are grouped and merged */
    struct variant v;
    struct statistics *statistics; /* of an earlier run, all that is needed; NULL: calibrate */
};

struct plan {
    int passes; /* over the layers, evaluation not counted */
    double flops, eval_flops;
    double merge_flops;     /* of all groups, if they are of equal size */
    int64_t merge_bytes;    /* working memory of a group of merge_members */
    int64_t merge_members;  /* the least that the largest group can have */
    const char *merge_less; /* option that makes it less; NULL: none */
    int64_t read_bytes, write_bytes, peak_bytes, disk_bytes, disk_free;
    int64_t documents, requests, eval_tokens;
};

/* Opens model, text and tasks of a config and checks them against each other. */
int prepare(struct prepared *p, struct config *c) MUST_CHECK;
/* For several configurations that share model, text and tasks: all that any of them needs is
 * observed. statistics: a file of an earlier run may stand in. No output folder is looked at. */
int prepare_shared(struct prepared *p, struct config *c, uint64_t needs,
                   bool statistics) MUST_CHECK;
void prepared_release(struct prepared *p);

int plan_make(struct plan *plan, const struct prepared *p, const struct config *c) MUST_CHECK;
/* For people: several lines. */
void plan_print(const struct plan *plan, const struct prepared *p, const struct config *c,
                struct str *out);
/* memory_limit and disk space. */
int plan_check(const struct plan *plan, const struct config *c) MUST_CHECK;

/* "1.5 GB" */
void bytes_print(struct str *out, int64_t bytes);

#endif
