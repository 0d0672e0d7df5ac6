/*
 * guard.c - keeps the input and everyone's files from being written to or carried off.
 * SPDX-License-Identifier: MIT
 */
#include "run/guard.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/trace.h"

/* Calls f with every file of the input until it gives something other than 0. */
static int each_file(const struct model *m, int (*f)(const char *path, const void *arg),
                     const void *arg)
{
    int status = 0;

    for (size_t i = 0; !status && i < m->shards.n_files; i++)
        status = f(m->shards.files[i].path, arg);
    for (size_t i = 0; !status && i < m->n_files; i++)
        status = f(m->files[i].path, arg);
    return status;
}

/* What an output folder would be. */
struct target {
    const char *given, *real;
};

static int file_outside(const char *path, const void *arg)
{
    const struct target *t = arg;
    char *real = path_resolve(path);
    int status = real ? 0 : HCSMOE_ENOMEM;

    if (!status && path_within(real, t->real))
        status = fail(HCSMOE_EINVAL, "output folder %s: holds %s of the input", t->given, real);
    mem_free(real);
    return status;
}

static int folder_apart(const struct target *t, const char *input)
{
    char *real = path_resolve(input);
    int status = real ? 0 : HCSMOE_ENOMEM;

    if (!status && (path_within(t->real, real) || path_within(real, t->real)))
        status = fail(HCSMOE_EINVAL, "output folder %s: inside the input %s, or around it",
                      t->given, input);
    mem_free(real);
    return status;
}

static bool is_link(const char *path)
{
    char *name = mem_strdup(path);
    struct stat st;

    for (size_t n = name ? strlen(name) : 0; n > 1 && name[n - 1] == '/'; n--)
        name[n - 1] = '\0';
    const bool link = name && lstat(name, &st) == 0 && S_ISLNK(st.st_mode);
    mem_free(name);
    return link;
}

int guard_folder(const char *target, const struct model *m, bool overwrite)
{
    struct target t = {.given = target};
    char *real = NULL;
    int status = 0;

    if (is_link(target))
        return fail(HCSMOE_EINVAL,
                    "output folder %s: a link is there; name the folder that it leads to", target);
    t.real = real = path_resolve(target);
    if (!real)
        return fail_in(HCSMOE_EINVAL, "output folder");
    if (path_exists(real) && !path_is_folder(real))
        status = fail(HCSMOE_EINVAL, "output folder %s: a file of that name is there", target);
    if (!status)
        status = folder_apart(&t, m->folder);
    if (!status)
        status = folder_apart(&t, m->shards.folder);
    if (!status)
        status = each_file(m, file_outside, &t);
    if (!status && path_exists(real) && !path_folder_is_empty(real) && !overwrite)
        status = fail(
            HCSMOE_EINVAL,
            "output folder %s: exists and is not empty; set [output] overwrite = yes to replace it",
            target);
    mem_free(real);
    return status;
}

/* A file that is to be written. */
struct written {
    const char *what, *path;
    struct path_stamp stamp;
};

static int file_other(const char *path, const void *arg)
{
    const struct written *w = arg;
    struct path_stamp s;

    if (path_stamp(&s, path, -1) || s.device != w->stamp.device || s.inode != w->stamp.inode)
        return 0;
    return fail(HCSMOE_EINVAL, "%s: %s is the input's %s: not overwritten", w->what, w->path, path);
}

int guard_file(const char *path, const char *what, const struct model *m)
{
    struct written w = {.what = what, .path = path};

    if (!path || !path_exists(path) || path_stamp(&w.stamp, path, -1))
        return 0; /* nothing is there that could be lost */
    return each_file(m, file_other, &w);
}

int guard_trace(const struct model *m)
{
    const int status = guard_file(trace_path(), "--trace", m);

    if (status)
        trace_drop(); /* it is written at the end of a run that failed, too */
    return status;
}

int guard_files(const struct config *c, const struct model *m)
{
    int status = guard_file(c->result_path, config_where(c, "output", "result_path"), m);

    if (!status && c->evaluates)
        status = guard_file(c->eval.samples, config_where(c, "eval", "samples"), m);
    return status ? status : guard_trace(m);
}

/* ---- copying ---- */

/* The files that checkpoints have beside their weights. */
static bool known_name(const char *name)
{
    static const char *const known[] = {"tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "tokenizer.model",
                                        "generation_config.json",
                                        "added_tokens.json",
                                        "vocab.json",
                                        "merges.txt",
                                        "chat_template.jinja",
                                        "README.md",
                                        "LICENSE"};

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i]))
            return true;
    return false;
}

static int lies_beside(const char *weights, const void *arg)
{
    char *real = path_resolve(weights), *folder = real ? path_folder(real) : NULL;
    const int found = folder && path_within(arg, folder);

    mem_free(folder);
    mem_free(real);
    return found;
}

bool guard_copy(const struct model *m, const char *path)
{
    char *real, *folder;
    bool allowed;

    if (!is_link(path))
        return true;
    real = path_resolve(path);
    folder = path_resolve(m->folder);
    allowed = real && folder &&
              (path_within(real, folder) ||
               (known_name(path_base(path)) && !strcmp(path_base(path), path_base(real))));
    for (size_t i = 0; real && !allowed && i < m->shards.n_files; i++)
        allowed = lies_beside(m->shards.files[i].path, real);
    if (!allowed)
        log_line(LOG_WARN, "%s: not copied: a link to %s, outside of the checkpoint", path,
                 real ? real : "nowhere");
    mem_free(folder);
    mem_free(real);
    return allowed;
}
