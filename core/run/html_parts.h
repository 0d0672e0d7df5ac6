/*
 * html_parts.h - what the files that make report.html share: text, numbers, a layer's order,
 * sections.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_HTML_PARTS_H
#define CORE_RUN_HTML_PARTS_H

#include <stdint.h>

#include "run/html.h"

/* ---- html_text.c ---- */

/* Text from outside: nothing in it is markup any more, in an element or in a quoted attribute. */
void html_text(struct str *out, const char *text);
void html_base64(struct str *out, const void *bytes, size_t n);
/* 3085440 as "3,085,440". */
void html_count(struct str *out, int64_t n);
/* " data-NAME=..." of a number or an array of numbers, as exactly as report.json has it; nothing
 * when it is not there. */
void html_data(struct str *out, const char *name, json_t *value);
/* "+0.0123", "-12 %": with its sign, typographically. */
void html_signed(struct str *out, double x, int decimals, const char *unit);
/* A number of about four digits for people: 0.0312, 188.5, 161,446. */
void html_number(struct str *out, double x);

/* "3.99 s" */
void html_seconds(struct str *out, double s);

json_t *html_at(json_t *o, const char *path); /* "model.bytes"; NULL when it is not there */
int64_t html_int(json_t *o, const char *path);
double html_real(json_t *o, const char *path); /* of an integer too; 0 when it is not there */
const char *html_string(json_t *o, const char *path); /* "" when it is not there */

/* From the doctype to <main>, and from there to the end. */
void html_begin(struct str *out, const char *title);
void html_end(struct str *out);

/* "slim" or "freq; hierarchical (average) on expert-output". */
void html_method(struct str *out, json_t *report);
/* "8 to 4", "60 to 20-34" experts of a layer. */
void html_experts(struct str *out, json_t *report);
/* Mean of a member over the layers that have it; false: none has. */
bool html_layers_mean(json_t *report, const char *key, double *mean);

/* ---- html_tree.c ---- */

struct branch { /* one join, drawn: from the left child up, across, and down to the right one */
    double left, right; /* in leaves from 0; the middle of leaf i is i + 0.5 */
    double from_left, from_right, height;
};

/* How the experts of one layer stand side by side. */
struct order {
    int64_t n, n_groups;
    int64_t *at;      /* [n] expert at each place */
    int64_t *cluster; /* [n] which group the expert is in, also where only one of a group is kept */
    struct branch *branches;
    int64_t n_branches, n_cut; /* the first n_cut joins were made */
    double top, cut;           /* the largest height; the height that parts the groups */
};

/* layer: an element of report.json's layers. */
int order_make(struct order *o, json_t *layer) MUST_CHECK;
void order_release(struct order *o);

/* ---- sections ---- */

int html_layers(struct str *out, json_t *report) MUST_CHECK;                    /* html_layers.c */
int html_layer(struct str *out, json_t *layer, double error_most) MUST_CHECK;   /* html_layer.c */
void html_picture_small(struct str *out, json_t *layer, const struct order *o); /* html_picture.c */
int html_picture_define(struct str *out, json_t *layer, const struct order *o) MUST_CHECK;
void html_picture_large(struct str *out, json_t *layer, const struct order *o);

/* A metric of a task, found in its object. */
struct html_metric {
    const char *name;
    bool up;      /* larger is better */
    bool percent; /* a share of 1 */
};
extern const struct html_metric html_metrics[];
extern const size_t n_html_metrics;
/* The error of a metric; false: not known. */
bool html_stderr(json_t *task, const struct html_metric *m, double *error);
/* "72.00 +- 1.20" of a share, in %; "188.5" of a perplexity. Nothing when it is not there. */
void html_value(struct str *out, json_t *task, const struct html_metric *m);
/* The metric that a task is judged by; NULL: none of those we know. */
const struct html_metric *html_metric_first(json_t *task);
/* Is it a part of another task of the same object (mmlu_anatomy of mmlu)? */
bool html_task_is_part(json_t *tasks, const char *name);
void html_eval(struct str *out, json_t *report);
void html_cost(struct str *out, json_t *report);  /* html_cost.c: plan and measurement */
void html_again(struct str *out, json_t *report); /* html_cost.c: how to make it again */

#endif
