/*
 * registry.c - finds, opens and keeps plugins; the menu of components.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin/registry.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "plugin/check.h"
#include "plugin/folders.h"
#include "plugin/trust.h"

#define COMPONENTS_MAX                                                                             \
    256 /* of one plugin: an array without its NULL at the end is noticed before long */
#define NAMES_SHOWN_MAX 24 /* in "have: …"; there are more tasks than fit on a line */

/* Whose component of a kind and name is taken: the lowest rank, then the first opened. */
enum { RANK_LOADED = 0, RANK_NAMED = 1, RANK_OTHER = 2 };

/* A file that was looked into, well or not. */
struct file {
    char *path;
    dev_t device;
    ino_t inode;
    bool loaded; /* asked for by its name */
    int status;
    char *message;        /* of status */
    hcsmoe_plugin plugin; /* when status is 0 */
};

struct entry {
    struct component component; /* first: a struct component * of the menu is one of these */
    struct file *file;
};

struct registry {
    struct host *host;
    struct arena memory; /* what the components point to, and the components */
    struct folders folders;
    struct file **files;
    size_t n_files, files_capacity;
    struct entry **entries;
    size_t n_entries, entries_capacity;
    const struct component **menu; /* sorted by kind and name, one of each; NULL: has to be made */
    size_t n_menu;
    bool scanned;
};

static char *named_file(uint32_t kind, const char *name)
{
    return mem_printf("hcsmoe-%s-%s.so", registry_kind_name(kind), name);
}

int registry_open(struct registry **out, struct host *h)
{
    struct registry *r = mem_new(1, sizeof *r);
    int rc;

    *out = NULL;
    if (r == NULL)
        return HCSMOE_ENOMEM;
    r->host = h;
    rc = folders_open(&r->folders);
    if (rc != 0) {
        registry_close(r);
        return rc;
    }
    *out = r;
    return 0;
}

void registry_close(struct registry *r)
{
    size_t i;

    if (r == NULL)
        return;
    for (i = r->n_files; i-- > 0;) {
        struct file *f = r->files[i];
        if (f->status == 0 && f->plugin.fini != NULL) {
            host_enter(r->host, f->plugin.id, -1);
            f->plugin.fini(&r->host->abi);
            if (host_leave(r->host, 0) != 0)
                log_line(LOG_WARN, "%s", fail_message());
        }
    }
    for (i = 0; i < r->n_files; i++) {
        mem_free(r->files[i]->path);
        mem_free(r->files[i]->message);
        mem_free(r->files[i]);
    }
    folders_close(&r->folders);
    mem_free(r->files);
    mem_free(r->entries);
    mem_free(r->menu);
    arena_release(&r->memory);
    mem_free(r);
}

static void forget_menu(struct registry *r)
{
    mem_free(r->menu);
    r->menu = NULL;
}

int registry_add_path(struct registry *r, const char *folders, const char *base)
{
    r->scanned = false;
    forget_menu(r);
    return folders_add(&r->folders, folders, base);
}

/* Of two components of one kind and name in a plugin nobody could choose the second. */
static int check_twice(const struct registry *r, size_t first, const hcsmoe_component *c)
{
    size_t i;

    for (i = first; i < r->n_entries; i++) {
        const hcsmoe_component *x = &r->entries[i]->component.c;
        if (x->kind == c->kind && strcmp(x->name, c->name) == 0)
            return fail(HCSMOE_EPLUGIN, "has %s/%s twice", registry_kind_name(c->kind), c->name);
    }
    return 0;
}

static int add_components(struct registry *r, struct file *f)
{
    size_t n_before = r->n_entries;
    size_t i;
    int rc = 0;

    for (i = 0; rc == 0 && f->plugin.components[i] != NULL; i++) {
        struct entry *e;
        if (i >= COMPONENTS_MAX) {
            rc = fail(HCSMOE_EPLUGIN, "has more than %d components", COMPONENTS_MAX);
            break;
        }
        e = arena_alloc(&r->memory, sizeof *e);
        if (e == NULL || mem_grow(&r->entries, r->n_entries, &r->entries_capacity,
                                  sizeof(struct entry *)) != 0) {
            rc = HCSMOE_ENOMEM;
            break;
        }
        rc = check_component(f->plugin.components[i], i, &r->memory, &e->component);
        if (rc == 0)
            rc = check_twice(r, n_before, &e->component.c);
        e->component.plugin_id = f->plugin.id;
        e->component.version = f->plugin.version;
        e->component.path = f->path;
        e->file = f;
        r->entries[r->n_entries++] = e;
    }
    /* One bad component and nothing of the plugin is used: its author did not test it. */
    if (rc != 0)
        r->n_entries = n_before;
    return rc != 0 ? fail_in(rc, "%s", f->path) : 0;
}

static int open_plugin(struct registry *r, struct file *f)
{
    const hcsmoe_plugin *plugin = NULL;
    size_t i;
    int rc = check_entry(r->host, f->path, &plugin);

    if (rc != 0)
        return rc;
    rc = check_plugin(plugin, &f->plugin);
    if (rc != 0)
        return fail(rc, "%s %s", f->path, fail_message());
    for (i = 0; i < r->n_files; i++) {
        if (r->files[i]->status == 0 && strcmp(r->files[i]->plugin.id, f->plugin.id) == 0)
            return fail(HCSMOE_EPLUGIN, "%s has id '%s', which %s already has", f->path,
                        f->plugin.id, r->files[i]->path);
    }
    return add_components(r, f);
}

/* The file of this path, opened if it was not yet. A failure is kept: the entry is called once. */
static int open_file(struct registry *r, const char *path, struct file **out)
{
    struct file *f = NULL;
    struct stat st;
    size_t i;
    int rc = trust_file(path, &st);

    if (rc != 0)
        return rc;
    for (i = 0; i < r->n_files; i++) {
        f = r->files[i];
        if (f->device == st.st_dev && f->inode == st.st_ino) {
            *out = f;
            return f->status == 0 ? 0
                                  : fail(f->status, "%s", f->message != NULL ? f->message : path);
        }
    }
    f = mem_new(1, sizeof *f);
    if (f == NULL)
        return HCSMOE_ENOMEM;
    f->path = mem_strdup(path);
    f->device = st.st_dev;
    f->inode = st.st_ino;
    if (f->path == NULL ||
        mem_grow(&r->files, r->n_files, &r->files_capacity, sizeof(struct file *)) != 0) {
        mem_free(f->path);
        mem_free(f);
        return HCSMOE_ENOMEM;
    }
    forget_menu(r);
    f->status = open_plugin(r, f);
    if (f->status != 0)
        f->message = mem_strdup(fail_message());
    r->files[r->n_files++] = f;
    *out = f;
    return f->status;
}

int registry_load(struct registry *r, const char *file)
{
    struct str tried = {0};
    struct file *f = NULL;
    char *path = NULL;
    int rc = 0;

    if (strchr(file, '/') == NULL) {
        rc = folders_search(&r->folders, file, &path);
        if (path == NULL && rc == 0) {
            folders_print(&r->folders, &tried);
            rc = fail(
                HCSMOE_EINVAL,
                "no plugin file '%s' (tried: %s); a file elsewhere is named with a slash: './%s'",
                file, str_text(&tried), file);
            str_release(&tried);
        }
        if (path == NULL)
            return rc;
    }
    rc = open_file(r, path != NULL ? path : file, &f);
    mem_free(path);
    if (rc == 0 && !f->loaded) {
        f->loaded = true;
        forget_menu(r);
    }
    return rc;
}

int registry_of_file(struct registry *r, const char *file, const struct component *const **list,
                     size_t *n)
{
    const struct component **of = arena_alloc(&r->memory, (r->n_entries + 1) * sizeof *of);
    const char *name = strchr(file, '/') == NULL ? file : NULL;
    size_t i;

    *list = of;
    *n = 0;
    for (i = 0; of != NULL && i < r->n_entries; i++) {
        const struct file *f = r->entries[i]->file;
        if (f->loaded && strcmp(name != NULL ? path_base(f->path) : f->path, file) == 0)
            of[(*n)++] = &r->entries[i]->component;
    }
    return of != NULL ? 0 : HCSMOE_ENOMEM;
}

/* The file that goes before this one of folder number at: loaded by hand, or in a folder before. Owned by the caller;
 * NULL: none. */
static char *shadowing(const struct registry *r, const char *name, size_t at)
{
    size_t i;

    for (i = 0; i < r->n_files; i++) {
        if (r->files[i]->loaded && strcmp(path_base(r->files[i]->path), name) == 0)
            return mem_strdup(r->files[i]->path);
    }
    for (i = 0; i < at; i++) {
        char *path = path_join(r->folders.list[i].path, name);
        if (path != NULL && path_exists(path))
            return path;
        mem_free(path);
    }
    return NULL;
}

static int scan_file(struct registry *r, const char *name, size_t at)
{
    char *path = path_join(r->folders.list[at].path, name);
    char *before = shadowing(r, name, at);
    struct file *f;

    if (path == NULL)
        return HCSMOE_ENOMEM;
    if (before != NULL)
        log_line(LOG_VERBOSE, "plugin %s is shadowed by %s", path, before);
    else if (open_file(r, path, &f) != 0)
        log_line(LOG_WARN, "plugin left out: %s", fail_message());
    mem_free(before);
    mem_free(path);
    return 0;
}

/* Opens everything in the folders. What is broken there was not asked for: a warning. */
static int scan(struct registry *r)
{
    size_t i;
    size_t k;
    int rc = 0;

    if (r->scanned)
        return 0;
    for (i = 0; rc == 0 && i < r->folders.n; i++) {
        char **names = NULL;
        size_t n = 0;
        if (folders_list(&r->folders.list[i], &names, &n) != 0)
            log_line(LOG_WARN, "%s", fail_message());
        for (k = 0; k < n; k++) {
            if (rc == 0)
                rc = scan_file(r, names[k], i);
            mem_free(names[k]);
        }
        mem_free(names);
    }
    r->scanned = rc == 0;
    if (rc == 0)
        fail_clear();
    return rc;
}

static int rank_of(const struct entry *e)
{
    const char *file = path_base(e->file->path);
    char *named;
    bool is_named;

    if (e->file->loaded)
        return RANK_LOADED;
    named = named_file(e->component.c.kind, e->component.c.name);
    is_named = named != NULL && strcmp(named, file) == 0;
    mem_free(named);
    return is_named ? RANK_NAMED : RANK_OTHER;
}

/* The component of a kind and name among the opened ones, of this rank or a better one. */
static const struct component *opened(const struct registry *r, uint32_t kind, const char *name,
                                      int rank)
{
    const struct component *best = NULL;
    size_t i;

    for (i = 0; i < r->n_entries; i++) {
        const hcsmoe_component *c = &r->entries[i]->component.c;
        int rank_i;
        if (c->kind != kind || strcmp(c->name, name) != 0)
            continue;
        rank_i = rank_of(r->entries[i]);
        if (rank_i < rank || (rank_i == rank && best == NULL)) {
            rank = rank_i;
            best = &r->entries[i]->component;
        }
    }
    return best;
}

/* A plugin of several components may lie there under several names, as links: then f->path is another. */
static const struct component *opened_from(const struct registry *r, const struct file *f,
                                           uint32_t kind, const char *name)
{
    size_t i;

    for (i = 0; i < r->n_entries; i++) {
        const struct component *c = &r->entries[i]->component;
        if (r->entries[i]->file == f && c->c.kind == kind && strcmp(c->c.name, name) == 0)
            return c;
    }
    return NULL;
}

static int compare_components(const void *a, const void *b)
{
    const hcsmoe_component *x = &(*(const struct component *const *)a)->c;
    const hcsmoe_component *y = &(*(const struct component *const *)b)->c;

    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int make_menu(struct registry *r)
{
    size_t i;

    if (r->menu != NULL)
        return 0;
    r->menu = mem_new(r->n_entries, sizeof(const struct component *));
    if (r->menu == NULL)
        return HCSMOE_ENOMEM;
    r->n_menu = 0;
    for (i = 0; i < r->n_entries; i++) {
        const struct component *c = &r->entries[i]->component;
        const struct component *first = opened(r, c->c.kind, c->c.name, RANK_OTHER);
        if (first == c)
            r->menu[r->n_menu++] = c;
        else
            log_line(LOG_VERBOSE, "%s/%s of %s is shadowed by the one of %s",
                     registry_kind_name(c->c.kind), c->c.name, c->path, first->path);
    }
    if (r->n_menu > 1)
        qsort(r->menu, r->n_menu, sizeof(const struct component *), compare_components);
    return 0;
}

int registry_list(struct registry *r, uint32_t kind, const struct component *const **list,
                  size_t *n)
{
    size_t begin = 0;
    size_t end;
    int rc = scan(r);

    if (rc == 0)
        rc = make_menu(r);
    if (rc != 0)
        return rc;
    end = r->n_menu;
    if (kind != 0) {
        while (begin < end && r->menu[begin]->c.kind < kind)
            begin++;
        while (end > begin && r->menu[end - 1]->c.kind > kind)
            end--;
    }
    *list = r->menu + begin;
    *n = end - begin;
    return 0;
}

static int not_found(struct registry *r, uint32_t kind, const char *name)
{
    const struct component *const *list = NULL;
    const char **names = NULL;
    struct str text = {0};
    size_t n = 0;
    size_t i;
    int rc = registry_list(r, kind, &list, &n);

    if (rc != 0)
        return rc;
    if (n == 0) {
        str_addf(&text, "%s (tried: ", r->n_menu == 0 ? "no plugin was found" : "none was found");
        folders_print(&r->folders, &text);
        rc = fail(HCSMOE_EINVAL, "no %s '%s': %s)", check_kind_words(kind), name, str_text(&text));
        str_release(&text);
        return rc;
    }
    names = mem_new(n, sizeof *names);
    if (names == NULL)
        return HCSMOE_ENOMEM;
    for (i = 0; i < n; i++) {
        names[i] = list[i]->c.name;
        if (i < NAMES_SHOWN_MAX)
            str_addf(&text, "%s%s", i > 0 ? ", " : "", names[i]);
    }
    if (n > NAMES_SHOWN_MAX)
        str_addf(&text, " and %zu more", n - NAMES_SHOWN_MAX);
    rc = fail(HCSMOE_EINVAL, "no %s '%s' (have: %s)%s", check_kind_words(kind), name,
              str_text(&text), did_you_mean(name, names, n));
    str_release(&text);
    mem_free(names);
    return rc;
}

int registry_find(struct registry *r, uint32_t kind, const char *name, const struct component **c)
{
    char *file;
    char *path;
    struct file *f;
    int rc;

    assert(check_kind_words(kind) != NULL);
    *c = opened(r, kind, name, RANK_NAMED);
    /* A name that is none cannot lead out of the folders. */
    if (*c != NULL || !check_component_name(name))
        return *c != NULL ? 0 : not_found(r, kind, name);
    file = named_file(kind, name);
    if (file == NULL)
        return HCSMOE_ENOMEM;
    rc = folders_search(&r->folders, file, &path);
    mem_free(file);
    if (path != NULL) {
        rc = open_file(r, path, &f);
        if (rc == 0) {
            *c = opened_from(r, f, kind, name);
            if (*c == NULL)
                rc = fail(HCSMOE_EPLUGIN, "%s: has no %s '%s', which its file name promises", path,
                          check_kind_words(kind), name);
        }
        mem_free(path);
        return rc;
    }
    if (rc == 0)
        rc = scan(r);
    if (rc != 0)
        return rc;
    *c = opened(r, kind, name, RANK_OTHER);
    return *c != NULL ? 0 : not_found(r, kind, name);
}
