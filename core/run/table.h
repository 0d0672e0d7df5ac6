/*
 * table.h - the markdown table of results, cell for cell as the common harness prints it
 * (eval-tasks.md 5.4).
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_RUN_TABLE_H
#define CORE_RUN_TABLE_H

#include <stddef.h>

#include "base/str.h"

/* One row as strings; NULL or "" is a blank cell. value and stderr are already "%.4f" or "   N/A".
 */
struct table_row {
    const char *name, *version, *filter, *n_shot, *metric, *arrow, *value, *pm, *stderr_;
};

/* first: "Tasks" or "Groups". Appends the table without the empty line that printing adds. */
int table_print(const char *first, const struct table_row *rows, size_t n,
                struct str *out) MUST_CHECK;

#endif
