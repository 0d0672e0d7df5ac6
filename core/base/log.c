/*
 * log.c - messages and progress on standard error, the clock and the memory of this machine.
 *
 * One lock orders everything that is written, so that lines of several threads stay whole.
 * SPDX-License-Identifier: MIT
 */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    TEXT_BYTES = 8192,  /* an error message is at most 4096 */
    LINE_BYTES = 16384, /* with control characters written out */
    NAME_BYTES = 96,    /* of a stage in the progress line */
    PATH_BYTES = 4096 + 256,
    COLUMNS_DEFAULT = 80
};

static const double live_every_s = 0.1;
static const double line_every_s = 10.0;
static const double guess_after_s = 1.0; /* the time left is not guessed from less than this */

static const char erase_line[] = "\r\033[K";

static atomic_int level_now = LOG_INFO;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Guarded by lock. */
static struct {
    bool on;
    bool drawn; /* a live line stands on the terminal */
    char what[NAME_BYTES], stage[NAME_BYTES];
    double total, done;
    double start_s, last_s; /* last_s: when something was shown */
} progress;

void log_level_set(int level)
{
    atomic_store(&level_now, level);
}

int log_level(void)
{
    return atomic_load(&level_now);
}

static void stderr_write(const char *text, size_t n)
{
    while (n > 0) {
        ssize_t written = write(STDERR_FILENO, text, n);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return; /* there is nowhere left to complain */
        }
        text += written;
        n -= (size_t)written;
    }
}

static bool stderr_is_terminal(void)
{
    const char *term = getenv("TERM");

    return isatty(STDERR_FILENO) && !(term && strcmp(term, "dumb") == 0);
}

/* no-color.org: set and not empty means no color. */
static bool color_wanted(void)
{
    const char *no_color = getenv("NO_COLOR");

    return stderr_is_terminal() && !(no_color && no_color[0]);
}

static const char *level_prefix(int level, bool color)
{
    switch (level) {
    case LOG_ERROR:
        return color ? "hcsmoe: \033[1;31merror:\033[0m " : "hcsmoe: error: ";
    case LOG_WARN:
        return color ? "hcsmoe: \033[1;33mwarning:\033[0m " : "hcsmoe: warning: ";
    default:
        return "hcsmoe: ";
    }
}

/* Appends text to line[LINE_BYTES] at `at` and returns the new end. A name from a file may hold
 * anything: control characters are written out, so that it cannot forge lines or drive the
 * terminal. */
static size_t append_plain(char *line, size_t at, const char *text)
{
    static const char digits[] = "0123456789abcdef";

    for (; *text && at < LINE_BYTES - 8; text++) {
        unsigned char c = (unsigned char)*text;
        if (c >= 0x20 && c != 0x7f) {
            line[at++] = (char)c;
            continue;
        }
        line[at++] = '\\';
        if (c == '\n' || c == '\t' || c == '\r') {
            line[at++] = c == '\n' ? 'n' : c == '\t' ? 't' : 'r';
        } else {
            line[at++] = 'x';
            line[at++] = digits[c >> 4];
            line[at++] = digits[c & 15];
        }
    }
    return at;
}

/* With the lock held. */
static void live_line_clear(void)
{
    if (progress.drawn) {
        stderr_write(erase_line, sizeof erase_line - 1);
        progress.drawn = false;
        progress.last_s = 0; /* drawn again with the next step */
    }
}

void log_line(int level, const char *fmt, ...)
{
    char text[TEXT_BYTES];
    char line[LINE_BYTES];
    va_list ap;

    if (level > log_level()) {
        return;
    }
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0) {
        return;
    }
    const char *prefix = level_prefix(level, color_wanted());
    size_t at = strlen(prefix);
    memcpy(line, prefix, at);
    at = append_plain(line, at, text);
    line[at++] = '\n';

    (void)pthread_mutex_lock(&lock);
    live_line_clear();
    stderr_write(line, at);
    (void)pthread_mutex_unlock(&lock);
}

/* "45s", "1m 20s", "2h 05m", "3d 04h" */
static void format_duration(char *out, size_t size, double seconds)
{
    const double most = 999.0 * 86400; /* more is no information */
    long s = (long)((seconds < most ? seconds : most) + 0.5);

    if (s < 60) {
        (void)snprintf(out, size, "%lds", s);
    } else if (s < 3600) {
        (void)snprintf(out, size, "%ldm %02lds", s / 60, s % 60);
    } else if (s < 86400) {
        (void)snprintf(out, size, "%ldh %02ldm", s / 3600, s / 60 % 60);
    } else {
        (void)snprintf(out, size, "%ldd %02ldh", s / 86400, s / 3600 % 24);
    }
}

/* "layer 3/32 calibrate  41%  1m 20s left", with the lock held. */
static void progress_format(char *out, size_t size, double now)
{
    char time_text[32];
    char percent[16] = "";
    double spent = now - progress.start_s;
    double part = progress.total > 0 ? progress.done / progress.total : 0;
    bool guess = part > 0 && part < 1 && spent >= guess_after_s;

    if (progress.total > 0) {
        double shown = part < 0 ? 0 : part > 1 ? 1 : part;
        (void)snprintf(percent, sizeof percent, "  %2d%%", (int)(shown * 100));
    }
    format_duration(time_text, sizeof time_text, guess ? spent / part - spent : spent);
    (void)snprintf(out, size, "%s%s%s%s  %s%s", progress.stage, progress.stage[0] ? " " : "",
                   progress.what, percent, time_text, guess ? " left" : "");
}

static size_t terminal_columns(void)
{
    struct winsize w;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 1) {
        return w.ws_col;
    }
    return COLUMNS_DEFAULT;
}

/* Cuts text to n bytes, not inside a UTF-8 character. */
static void cut(char *text, size_t n)
{
    if (strlen(text) <= n) {
        return;
    }
    while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80) {
        n--;
    }
    text[n] = '\0';
}

/* Shows where the work is, if it is time to. With the lock held. */
static void progress_show(void)
{
    char text[3 * NAME_BYTES];
    char line[LINE_BYTES];
    size_t at = 0;
    double now = now_s();

    /* Most calls end here, before anything is asked of the system. */
    if (!progress.on || log_level() < LOG_INFO || now - progress.last_s < live_every_s) {
        return;
    }
    bool live = stderr_is_terminal();
    if (!live && now - progress.last_s < line_every_s) {
        return;
    }
    progress_format(text, sizeof text, now);
    const char *before = live ? erase_line : "hcsmoe: ";
    at = strlen(before);
    memcpy(line, before, at);
    if (live) {
        cut(text, terminal_columns() - 1); /* a wrapped line could not be erased */
    }
    at = append_plain(line, at, text);
    if (!live) {
        line[at++] = '\n';
    }
    stderr_write(line, at);
    progress.drawn = live;
    progress.last_s = now;
}

void progress_start(const char *what, double total)
{
    double now = now_s();

    (void)pthread_mutex_lock(&lock);
    progress.on = true;
    progress.stage[0] = '\0';
    (void)snprintf(progress.what, sizeof progress.what, "%s", what);
    progress.total = total;
    progress.done = 0;
    progress.start_s = now;
    progress.last_s = stderr_is_terminal() ? 0 : now; /* short work needs no line in a log file */
    progress_show();
    (void)pthread_mutex_unlock(&lock);
}

void progress_stage(const char *stage)
{
    (void)pthread_mutex_lock(&lock);
    (void)snprintf(progress.stage, sizeof progress.stage, "%s", stage);
    progress_show();
    (void)pthread_mutex_unlock(&lock);
}

void progress_add(double work)
{
    (void)pthread_mutex_lock(&lock);
    progress.done += work;
    progress_show();
    (void)pthread_mutex_unlock(&lock);
}

void progress_end(void)
{
    (void)pthread_mutex_lock(&lock);
    live_line_clear();
    progress.on = false;
    (void)pthread_mutex_unlock(&lock);
}

double now_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int64_t memory_peak_rss(void)
{
    struct rusage u;

    return getrusage(RUSAGE_SELF, &u) == 0 ? (int64_t)u.ru_maxrss * 1024 : 0;
}

bool io_bytes(int64_t *n_read, int64_t *n_written)
{
    FILE *f = fopen("/proc/self/io", "re");
    long long r = 0;
    long long w = 0;
    bool known;

    if (!f) {
        return false;
    }
    known = fscanf(f, "rchar: %lld wchar: %lld", &r, &w) == 2;
    (void)fclose(f);
    *n_read = r;
    *n_written = w;
    return known;
}

/* The number in a cgroup file; INT64_MAX when there is none ("max", or no such file). */
static int64_t limit_read(const char *path)
{
    long long limit = INT64_MAX;
    FILE *f = fopen(path, "re");

    if (!f) {
        return INT64_MAX;
    }
    if (fscanf(f, "%lld", &limit) != 1 || limit <= 0) {
        limit = INT64_MAX;
    }
    (void)fclose(f);
    return limit;
}

/* The smallest limit of a group and those above it. Walking up also finds a container's own limit,
 * whose group has a name that does not exist inside the container. */
static int64_t group_limit(const char *root, char *group, const char *file)
{
    char path[PATH_BYTES];
    int64_t least = INT64_MAX;

    for (;;) {
        int n = snprintf(path, sizeof path, "%s%s/%s", root, group, file);
        int64_t limit = n > 0 && (size_t)n < sizeof path ? limit_read(path) : INT64_MAX;
        least = limit < least ? limit : least;
        char *slash = strrchr(group, '/');
        if (!slash) {
            return least;
        }
        *slash = '\0';
    }
}

/* /proc/self/cgroup has a line "id:controllers:/group" per hierarchy; version 2 is "0::/group". */
static int64_t cgroup_limit(void)
{
    char line[4096];
    int64_t least = INT64_MAX;
    FILE *f = fopen("/proc/self/cgroup", "re");

    if (!f) {
        return INT64_MAX;
    }
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) {
            continue;
        }
        *group++ = '\0';
        int64_t limit = INT64_MAX;
        if (controllers[1] == '\0') {
            limit = group_limit("/sys/fs/cgroup", group, "memory.max");
        } else if (strstr(controllers, "memory")) {
            limit = group_limit("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
        }
        least = limit < least ? limit : least;
    }
    (void)fclose(f);
    return least;
}

int64_t memory_physical(void)
{
    int64_t physical = (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGESIZE);
    int64_t limit = cgroup_limit();

    return limit < physical ? limit : physical;
}
