/*
 * folders.c - where plugins are looked for, in which order.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin/folders.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <hcsmoe/host.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "plugin/trust.h"

#define DIGITS_(x) #x
#define DIGITS(x) DIGITS_(x)
#define PLUGINS_BELOW "hcsmoe/plugins-" DIGITS(HCSMOE_ABI_MAJOR)

/* Where the plugins of this build are installed. */
#ifndef HCSMOE_PLUGIN_DIR
#define HCSMOE_PLUGIN_DIR ""
#endif

/* Puts a folder at a place in the order and moves *at behind it, unless it stands before that place
 * already; a later mention of it goes. Takes path over, on failure too. */
static int add_at(struct folders *f, char *path, size_t *at)
{
    struct folder folder = {.path = path};
    struct stat st;
    size_t i;

    if (path == NULL)
        return HCSMOE_ENOMEM;
    folder.exists = stat(path, &st) == 0;
    if (folder.exists) {
        const int rc = trust_folder(path);
        if (rc != 0) {
            mem_free(path);
            return rc;
        }
        folder.device = st.st_dev;
        folder.inode = st.st_ino;
    }
    for (i = 0; folder.exists && i < f->n; i++) {
        struct folder *o = &f->list[i];
        if (!o->exists || o->device != folder.device || o->inode != folder.inode)
            continue;
        if (i < *at) {
            mem_free(path);
            return 0;
        }
        mem_free(o->path);
        f->n--;
        memmove(o, o + 1, (f->n - i) * sizeof *o);
        break;
    }
    if (mem_grow(&f->list, f->n, &f->capacity, sizeof *f->list) != 0) {
        mem_free(path);
        return HCSMOE_ENOMEM;
    }
    memmove(&f->list[*at + 1], &f->list[*at], (f->n - *at) * sizeof *f->list);
    f->list[(*at)++] = folder;
    f->n++;
    return 0;
}

static int add_last(struct folders *f, char *path)
{
    size_t end = f->n;

    return add_at(f, path, &end);
}

static int add_environment(struct folders *f)
{
    const char *list = getenv("HCSMOE_PLUGIN_PATH");
    const char *data = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME");
    size_t n;
    int rc = 0;

    for (; list != NULL && rc == 0; list = list[n] == ':' ? list + n + 1 : NULL) {
        n = strcspn(list, ":");
        /* The current folder is never searched, and a relative one starts in it. */
        if (n > 0 && list[0] != '/')
            log_line(LOG_WARN, "HCSMOE_PLUGIN_PATH: '%.*s' is ignored: must be an absolute path",
                     (int)n, list);
        else if (n > 0)
            rc = add_last(f, mem_strndup(list, n));
    }
    if (rc != 0)
        return fail_in(rc, "HCSMOE_PLUGIN_PATH");
    /* The XDG specification: a relative path is ignored. */
    if (data != NULL && data[0] == '/')
        return add_last(f, path_join(data, PLUGINS_BELOW));
    if (home != NULL && home[0] == '/')
        return add_last(f, mem_printf("%s/.local/share/%s", home, PLUGINS_BELOW));
    return 0;
}

static int add_installed(struct folders *f)
{
    char *folder = path_executable_folder();
    char *prefix = folder != NULL ? path_folder(folder) : NULL;
    int rc = HCSMOE_EIO;

    if (prefix != NULL)
        rc = add_last(f, mem_printf("%s/lib/%s", prefix, PLUGINS_BELOW));
    mem_free(prefix);
    mem_free(folder);
    if (rc == 0 && HCSMOE_PLUGIN_DIR[0] != '\0')
        rc = add_last(f, mem_strdup(HCSMOE_PLUGIN_DIR));
    return rc;
}

int folders_open(struct folders *f)
{
    int rc = add_environment(f);

    return rc == 0 ? add_installed(f) : rc;
}

void folders_close(struct folders *f)
{
    size_t i;

    for (i = 0; i < f->n; i++)
        mem_free(f->list[i].path);
    mem_free(f->list);
    *f = (struct folders){0};
}

int folders_add(struct folders *f, const char *list, const char *base)
{
    int rc = 0;

    while (rc == 0 && *list != '\0') {
        size_t n = strcspn(list, ":");
        if (n > 0) {
            char *name = mem_strndup(list, n);
            rc = add_at(f, name != NULL ? path_join(base, name) : NULL, &f->n_configured);
            mem_free(name);
        }
        list += list[n] == ':' ? n + 1 : n;
    }
    return rc;
}

int folders_search(const struct folders *f, const char *file, char **found)
{
    size_t i;

    *found = NULL;
    for (i = 0; i < f->n; i++) {
        char *path = path_join(f->list[i].path, file);
        if (path == NULL) {
            mem_free(*found);
            *found = NULL;
            return HCSMOE_ENOMEM;
        }
        if (!path_exists(path)) {
            log_line(LOG_VERBOSE, "no plugin %s", path);
        } else if (*found == NULL) {
            *found = path;
            continue;
        } else {
            log_line(LOG_VERBOSE, "plugin %s is shadowed by %s", path, *found);
        }
        mem_free(path);
    }
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int folders_list(const struct folder *f, char ***names, size_t *n)
{
    DIR *d = opendir(f->path);
    size_t capacity = 0;
    struct dirent *e;
    int rc = 0;

    *names = NULL;
    *n = 0;
    if (d == NULL && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    if (d == NULL)
        return fail_errno(f->path, "cannot read plugin folder");
    while (rc == 0 && (e = readdir(d)) != NULL) {
        if (!str_starts(e->d_name, "hcsmoe-") || !str_ends(e->d_name, ".so"))
            continue;
        rc = mem_grow(names, *n, &capacity, sizeof(char *));
        if (rc == 0) {
            (*names)[*n] = mem_strdup(e->d_name);
            rc = (*names)[*n] != NULL ? 0 : HCSMOE_ENOMEM;
            *n += rc == 0 ? 1 : 0;
        }
    }
    (void)closedir(d);
    /* The order in which a file system lists a folder is its own. */
    if (*n > 1)
        qsort(*names, *n, sizeof(char *), compare_names);
    return rc;
}

void folders_print(const struct folders *f, struct str *text)
{
    size_t i;

    for (i = 0; i < f->n; i++)
        str_addf(text, "%s%s", i > 0 ? ", " : "", f->list[i].path);
}
