/*
 * crash.h - whose fault it was, when the program dies of a signal.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_PLUGIN_CRASH_H
#define CORE_PLUGIN_CRASH_H

/* From now on SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT leave one line on standard error, which names the plugin that
 * the thread was in, before they end the program as they always do. Does nothing under a sanitizer, which says more. */
void crash_watch(void);

/* Once crash_watch was called: gives the calling thread a stack of its own for that line, since a crash may be that the
 * usual one has run over. Cheap when it has one. */
void crash_watch_thread(void);

/* Back to what the system does by itself: for child processes whose crash somebody else reports. */
void crash_ignore(void);

#endif
