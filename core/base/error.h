/*
 * error.h - how every room of the core reports that something went wrong.
 *
 * A function that can fail returns int: 0, or a negative hcsmoe_status. Every non-zero return has
 * one message, set by fail() on the thread that failed. Message form: lower case, no full stop,
 * file and line first, the value in quotes, the allowed values last.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_BASE_ERROR_H
#define CORE_BASE_ERROR_H

#include <stddef.h>

#include <hcsmoe/host.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* Sets this thread's message and returns status, so that one line does both. */
int fail(int status, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Puts "prefix: " before this thread's message and returns status: says where, going up. */
int fail_in(int status, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* HCSMOE_ENOMEM with the number of bytes that could not be had. */
int fail_memory(size_t bytes);

/* HCSMOE_EIO: "path: what: strerror(errno)". */
int fail_errno(const char *path, const char *what);

/* This thread's message; "" when none was set. Valid until the next fail() on this thread. */
const char *fail_message(void);

/* Forgets this thread's message. */
void fail_clear(void);

/* "; did you mean 'x'?", to end a message with, for the nearest of n names (edit distance), or ""
 * when none is near. The result is owned by this thread, valid until the next call. */
const char *did_you_mean(const char *word, const char *const *names, size_t n);

#endif
