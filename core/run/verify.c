/*
 * verify.c - runs every check of every component of a plugin file, each in a process of its own.
 *
 * The parent loads the plugin and nothing else: it starts no thread and opens no device, so that a
 * child may. A child says its outcome through a pipe; one that ends without a word has crashed or
 * left, and one that takes too long is ended.
 * SPDX-License-Identifier: MIT
 */
#include "run/verify.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "run/verify_suite.h"

enum {
    SECONDS = 60, /* of one check: the slowest of ours takes one, under a sanitizer ten */
    MESSAGE_BYTES = 2048,
    LABEL_BYTES = 160
};

/* What a child sends: less than a pipe takes at once. */
struct answer {
    int status;
    bool settings; /* it is of the request's settings */
    char message[MESSAGE_BYTES];
};

struct child {
    pid_t pid;
    int from;    /* its answer */
    int printed; /* what it wrote to standard output */
};

static const struct check *suite_of(uint32_t kind)
{
    static const struct check *const suites[] = {
        [HCSMOE_KIND_MODEL] = verify_model_checks,
        [HCSMOE_KIND_SIMILARITY] = verify_similarity_checks,
        [HCSMOE_KIND_CLUSTER] = verify_cluster_checks,
        [HCSMOE_KIND_MERGE] = verify_merge_checks,
        [HCSMOE_KIND_TASK] = verify_task_checks,
        [HCSMOE_KIND_KERNELS] = verify_kernels_checks,
    };
    return suites[kind];
}

/* An option without a default that the request does not set takes the first value that it may have;
 * of a text nobody knows one. */
static int required_set(struct verify *v, const hcsmoe_option *o, const char *section)
{
    const char *of = v->component->c.name;
    char *text = NULL;

    if (o->type == HCSMOE_OPTION_STR || o->type == HCSMOE_OPTION_PATH)
        return verify_skip("the option '%s' has no default: give -s %s.%s=...", o->name, section,
                           o->name);
    if (o->type == HCSMOE_OPTION_ENUM)
        text = mem_printf("%s.%s.%s=%s", section, of, o->name, o->choices[0].name);
    else
        text = mem_printf("%s.%s.%s=%.17g", section, of, o->name, o->min);
    const int status = text ? ini_set(&v->ini, text) : HCSMOE_ENOMEM;
    mem_free(text);
    return status;
}

static int settings_check(struct verify *v)
{
    if (!v->component)
        return 0;

    static const char *const sections[] = {"", "model", "group", "group", "merge", "eval", "run"};
    const struct component *c = v->component;
    const char *section = sections[c->c.kind];
    struct instance i = {0};
    int status = 0;

    for (uint32_t o = 0; !status && o < c->c.n_options; o++) {
        char *own = mem_printf("%s.%s", c->c.name, c->options[o].name);
        if (!own)
            return HCSMOE_ENOMEM;
        if ((c->options[o].flags & HCSMOE_OPTION_REQUIRED) && !ini_find(&v->ini, section, own) &&
            !ini_find(&v->ini, section, c->options[o].name))
            status = required_set(v, &c->options[o], section);
        mem_free(own);
    }
    if (!status)
        status = verify_init(v, &i);
    instance_release(&i);
    return status;
}

/* In the child: does not return. */
static void child_run(struct verify *v, const struct check *check, int to, int printed)
{
    const struct rlimit no_core = {0, 0};
    struct answer a = {0};

    (void)setrlimit(RLIMIT_CORE, &no_core);
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    (void)dup2(printed, STDOUT_FILENO);
    if (log_level() < LOG_VERBOSE)
        log_level_set(LOG_ERROR);
    fail_clear();
    a.status = settings_check(v);
    a.settings = a.status == HCSMOE_EINVAL;
    if (!a.status)
        a.status = check->run(v);
    (void)snprintf(a.message, sizeof a.message, "%s", a.status ? fail_message() : verify_noted());
    (void)fflush(stdout);
    _exit(write(to, &a, sizeof a) == (ssize_t)sizeof a ? 0 : 1);
}

static int child_start(struct child *c, struct verify *v, const struct check *check)
{
    int ends[2];

    if (pipe(ends))
        return fail_errno("pipe", "cannot be made");
    c->from = ends[0];
    c->printed = memfd_create("printed", MFD_CLOEXEC);
    if (c->printed < 0) {
        (void)close(ends[0]);
        (void)close(ends[1]);
        return fail_errno("memfd", "cannot be made");
    }
    (void)fflush(stdout);
    c->pid = fork();
    if (!c->pid)
        child_run(v, check, ends[1], c->printed);
    (void)close(ends[1]);
    if (c->pid > 0)
        return 0;
    (void)close(c->from);
    (void)close(c->printed);
    return fail_errno("process", "cannot be started");
}

/* Waits for the answer; false: there was none in time, or at all. */
static bool child_answer(const struct child *c, int seconds, struct answer *a, bool *late)
{
    struct pollfd wait = {.fd = c->from, .events = POLLIN};
    int n;

    do
        n = poll(&wait, 1, seconds * 1000);
    while (n < 0 && errno == EINTR && !host_cancelled());
    *late = n == 0;
    if (n <= 0)
        (void)kill(c->pid, SIGKILL);
    return n > 0 && read(c->from, a, sizeof *a) == (ssize_t)sizeof *a;
}

/* What a child that gave no answer did. */
static void child_blame(struct answer *a, const struct check *check, int status, int late)
{
    if (late)
        (void)snprintf(a->message, sizeof a->message, "it takes longer than %d s", late);
    else if (WIFSIGNALED(status))
        (void)snprintf(a->message, sizeof a->message, "it crashes (%s)%s%s",
                       strsignal(WTERMSIG(status)), check->hint ? ": " : "",
                       check->hint ? check->hint : "");
    else
        (void)snprintf(a->message, sizeof a->message,
                       "it ends the program with exit status %d: a plugin never does",
                       WEXITSTATUS(status));
}

/* The outcome of a check, and the sentence that goes with it. */
static enum verify_outcome child_judge(const struct child *c, const struct check *check,
                                       int seconds, struct answer *a)
{
    struct stat st;
    bool late = false;
    int status = 0;
    const bool answered = child_answer(c, seconds, a, &late);

    while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (!answered) {
        child_blame(a, check, status, late ? seconds : 0);
        return VERIFY_FAILED;
    }
    if (a->status >= 0 && !fstat(c->printed, &st) && st.st_size > 0) {
        (void)snprintf(a->message, sizeof a->message,
                       "it prints to standard output: a plugin never does, h->log is there");
        return VERIFY_FAILED;
    }
    return a->status < 0 ? VERIFY_FAILED : a->status ? VERIFY_SKIPPED : VERIFY_OK;
}

static int check_run(struct verify *v, const struct check *check, const char *label,
                     verify_say *say, void *arg, enum verify_outcome *outcome)
{
    const int seconds = v->request->seconds ? v->request->seconds : SECONDS;
    struct answer a = {0};
    struct child c = {0};
    int status = child_start(&c, v, check);

    if (status)
        return status;
    *outcome = child_judge(&c, check, seconds, &a);
    (void)close(c.from);
    (void)close(c.printed);
    if (host_cancelled())
        return fail(HCSMOE_ECANCELLED, "interrupted");
    if (a.settings)
        return fail(HCSMOE_EINVAL, "%s", a.message);
    /* The label stands in front of the sentence already. */
    const size_t n = label ? strlen(label) : 0;
    const char *text = a.message;
    if (label && !strncmp(text, label, n) && !strncmp(text + n, ": ", 2))
        text += n + 2;
    say(arg, *outcome, label, check->name, text);
    return 0;
}

/* Loaded, and at its end: in a child, since the entry is the plugin's own code. */
static int load_try(struct verify *v)
{
    const int status = registry_load(v->registry, v->request->file);
    if (!status)
        registry_close(v->registry); /* calls fini */
    return status;
}

static const struct check load = {.name = "the loader takes it", .run = load_try};

static int component_run(struct verify *v, verify_say *say, void *arg)
{
    const hcsmoe_component *c = &v->component->c;
    const struct check *check = suite_of(c->kind);
    const char *failed = NULL;
    char label[LABEL_BYTES], text[LABEL_BYTES];
    int status = 0;

    (void)snprintf(label, sizeof label, "%s/%s", registry_kind_name(c->kind), c->name);
    for (; !status && check->name; check++) {
        enum verify_outcome outcome = VERIFY_SKIPPED;
        if (failed) {
            (void)snprintf(text, sizeof text, "not tried after '%s' failed", failed);
            say(arg, VERIFY_SKIPPED, label, check->name, text);
            continue;
        }
        status = check_run(v, check, label, say, arg, &outcome);
        if (check->first && outcome == VERIFY_FAILED)
            failed = check->name;
    }
    return status;
}

/* -s and -m have to be of something in the file. */
static int requests_check(const struct verify *v, const struct component *const *list, size_t n)
{
    static const char *const sections[] = {"model", "group", "merge", "eval", "run"};
    static const char *const data[] = {"data"};
    struct instance *all = mem_new(n, sizeof *all);
    const struct instance **of = mem_new(n, sizeof *of);
    bool model = false;
    int status = all && of ? 0 : HCSMOE_ENOMEM;

    if (!status && !n)
        status = fail(HCSMOE_EINVAL, "%s: was loaded by another name before", v->request->file);

    for (size_t i = 0; !status && i < n; i++) {
        all[i].component = list[i];
        of[i] = &all[i];
        model = model || list[i]->c.kind == HCSMOE_KIND_MODEL;
        for (uint32_t o = 0; o < list[i]->c.n_options; o++)
            for (size_t x = 0; x < v->ini.n; x++) {
                const char *key = v->ini.values[x].key, *dot = strrchr(key, '.');
                if (!strcmp(dot ? dot + 1 : key, list[i]->options[o].name))
                    v->ini.values[x].used = true;
            }
    }
    for (size_t s = 0; !status && s < sizeof sections / sizeof *sections; s++)
        status =
            options_check_unused(&v->ini, sections[s], data, !strcmp(sections[s], "eval"), of, n);
    if (!status && v->request->model && !model)
        status = fail(HCSMOE_EINVAL, "-m %s: the plugin has no model family", v->request->model);
    mem_free(all);
    mem_free(of);
    return status;
}

int verify_plugin(const struct verify_request *r, verify_say *say, void *arg)
{
    struct verify v = {.request = r};
    const struct component *const *list = NULL;
    enum verify_outcome loads = VERIFY_FAILED;
    size_t n = 0;
    int status = host_open(&v.host, 1, 0);

    if (!status)
        status = registry_open(&v.registry, v.host);
    for (size_t i = 0; !status && i < r->n_sets; i++)
        status = ini_set(&v.ini, r->sets[i]);
    for (size_t i = 0; !status && i < r->n_others; i++)
        status = registry_load(v.registry, r->others[i]);
    if (!status)
        status = check_run(&v, &load, NULL, say, arg, &loads);
    if (!status && loads == VERIFY_OK)
        status = registry_load(v.registry, r->file);
    if (!status && loads == VERIFY_OK)
        status = registry_of_file(v.registry, r->file, &list, &n);
    if (!status && loads == VERIFY_OK)
        status = requests_check(&v, list, n);
    for (size_t i = 0; !status && i < n; i++) {
        v.component = list[i];
        status = component_run(&v, say, arg);
    }
    ini_release(&v.ini);
    registry_close(v.registry);
    host_close(v.host);
    return status;
}
