/*
 * share.h - files that the program carries inside and writes beside its output.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_SHARE_SHARE_H
#define CORE_SHARE_SHARE_H

#include <stddef.h>

/* The model classes with which transformers loads layout = mapped; embed.cmake makes the array.
 * Ends with a '\0' that size does not count. */
extern const char modeling_hcsmoe_py[];
extern const size_t modeling_hcsmoe_py_size;

/* The style and the script that report.html carries. */
extern const char report_css[];
extern const size_t report_css_size;
extern const char report_js[];
extern const size_t report_js_size;

#endif
