/*
 * made.h - what one variant makes: layers merged, measured and written, and its report.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_MADE_H
#define CORE_RUN_MADE_H

#include "run/output.h"
#include "run/quality.h"
#include "run/report.h"
#include "run/variant.h"

struct made {
    struct variant *v;        /* the caller's */
    const struct prepared *p; /* the caller's */
    struct output output;     /* not open: nothing is written */
    struct output exact; /* the mapped form of a collapsed result, for evaluation; else not open */
    struct report report;
    double merge_s, write_s;
    int64_t expert_bytes_less; /* of the merged layers so far */
    double error_sum;          /* of output_error; error_n layers were measured */
    int64_t error_n;
};

int made_open(struct made *d, struct variant *v, const struct prepared *p) MUST_CHECK;
/* The folders: the result's, and that of the exact form when a collapsed one is evaluated. */
int made_folders(struct made *d, const char *target) MUST_CHECK;
void made_release(struct made *d);

/* One layer whose statistics are complete: group, merge, measure, write. q NULL or q->n = 0:
 * nothing is measured; quality_before has been called. x stays until the caller releases it. */
int made_layer(struct made *d, struct layer *l, const struct layer_stats *s,
               const struct observation *o, struct quality *q, bool in_place,
               struct merged *x) MUST_CHECK;
/* One that is left alone. */
int made_keep(struct made *d, const struct layer *l) MUST_CHECK;

/* Everything that is not a layer, beside the statistics; stats[n_layers]. */
int made_tail(struct made *d, const struct layer_stats *stats) MUST_CHECK;
/* report.json, report.txt and report.html into hcsmoe/ of a folder, the one still being made or
 * the finished. */
int made_report(struct made *d, const char *folder, const struct times *t,
                int64_t planned_bytes) MUST_CHECK;

#endif
