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
    bool matrices; /* layers get the distances or similarities of their experts */
    struct str table_before, table_exact, table_after; /* markdown */
};

/* What merging cost one layer on the quality tokens; < 0: not measured. */
struct loss {
    double error;           /* of the experts, under the same routing */
    double collapsed_error; /* under the collapsed router */
    double overlap;         /* of that routing with the exact one */
};

int report_open(struct report *r, const struct config *c, const struct prepared *p) MUST_CHECK;
/* One merged layer. said: an array of the warnings that its methods gave. */
int report_layer(struct report *r, const struct layer_stats *s, const struct grouping *g,
                 const struct merged *x, const struct loss *loss, const json_t *said) MUST_CHECK;
int report_result(struct report *r, const struct prepared *p, const struct output *o) MUST_CHECK;
/* result: new reference, stored as eval.before, eval.exact (of a collapsed run, the same experts
 * under the model's own router) or eval.after. */
int report_eval(struct report *r, const char *when, json_t *result) MUST_CHECK;
/* What was planned; what calibrating and merging read and wrote (not known: leave it out); how
 * to make it again: the INI's text, and the key of statistics.safetensors. */
int report_plan(struct report *r, const struct plan *plan) MUST_CHECK;
int report_io(struct report *r, int64_t n_read, int64_t n_written) MUST_CHECK;
int report_again(struct report *r, const struct str *ini, const char *key) MUST_CHECK;
int report_end(struct report *r, const struct times *t, int64_t planned_bytes) MUST_CHECK;
/* report.json's text, and the same for people. */
int report_json(const struct report *r, struct str *out) MUST_CHECK;
int report_text(const struct report *r, struct str *out) MUST_CHECK;
/* config.json's `hcsmoe`, without layers and layout. */
json_t *report_method(const struct config *c, const struct prepared *p);
void report_release(struct report *r);

/* Appends "== date, model, INI ==" and text to a file (result_path). */
int result_append(const struct config *c, const char *model, const char *text) MUST_CHECK;

#endif
