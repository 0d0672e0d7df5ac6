/*
 * html.h - report.html: a run, or several side by side, as one page that needs nothing else.
 *
 * Everything on a page comes from report.json, so that `hcsmoe report` makes again what a run
 * wrote.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_HTML_H
#define CORE_RUN_HTML_H

#include <jansson.h>

#include "base/str.h"

/* The page of one run. report: report.json's object as a run makes it or html_read found it, the
 * caller's, not changed. */
int html_run(json_t *report, struct str *out) MUST_CHECK;

/* n runs side by side; names: what each is called. */
int html_compare(json_t *const *reports, const char *const *names, size_t n,
                 struct str *out) MUST_CHECK;

/* FOLDER/hcsmoe/report.json, checked for all that a page takes from it; *report is a new
 * reference. */
int html_read(const char *folder, json_t **report) MUST_CHECK;

/* The check alone: members that are there have the documented types, and numbers fit each other. */
int html_check(json_t *report) MUST_CHECK;

#endif
