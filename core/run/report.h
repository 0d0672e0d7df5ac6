/*
 * report.h - report.json and report.txt of a run (outputs.md section 4).
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_REPORT_H
#define CORE_RUN_REPORT_H

#include <jansson.h>

#include "run/output.h"
#include "run/plan.h"

struct times {
    double total, read, calibrate, merge, write, eval;
};

/* The report as it grows. */
struct report {
    json_t *root, *layers;
    struct str table_before, table_after; /* markdown */
};

int report_open(struct report *r, const struct config *c, const struct prepared *p) MUST_CHECK;
/* One merged layer. error < 0: not measured. */
int report_layer(struct report *r, const struct config *c, const struct layer_stats *s,
                 const struct grouping *g, const struct merged *x, double error) MUST_CHECK;
int report_result(struct report *r, const struct prepared *p, const struct output *o) MUST_CHECK;
/* result: new reference, stored as eval.before or eval.after. */
int report_eval(struct report *r, const char *when, json_t *result) MUST_CHECK;
int report_end(struct report *r, const struct times *t, int64_t planned_bytes) MUST_CHECK;
/* report.json's text (free with free()), and the same for people. */
char *report_json(const struct report *r);
int report_text(const struct report *r, struct str *out) MUST_CHECK;
/* config.json's `hcsmoe`, without layers and layout. */
json_t *report_method(const struct config *c, const struct prepared *p);
void report_release(struct report *r);

/* Appends "== date, model, INI ==" and text to a file (result_path). */
int result_append(const struct config *c, const char *model, const char *text) MUST_CHECK;

#endif
