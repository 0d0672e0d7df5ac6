/*
 * trust.c - who may have written a plugin: it runs as this user, with all that this user may do.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin/trust.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/path.h"

/* Whoever can write here can run code as this user: that may be root, the user, and whoever owns this program, since he
 * could change that as well. */
static int writers_check(const char *path, const char *in, const char *what, const struct stat *st)
{
    struct stat self;
    const bool known = st->st_uid == 0 || st->st_uid == geteuid() ||
                       (stat("/proc/self/exe", &self) == 0 && st->st_uid == self.st_uid);

    /* The sticky bit, as /tmp has it, keeps nobody from adding a file. */
    if ((st->st_mode & S_IWOTH) != 0)
        return fail(HCSMOE_EINVAL, "%s: everyone may write %s%s: not loaded (chmod o-w)", path, in,
                    what);
    if (!known)
        return fail(HCSMOE_EINVAL,
                    "%s: user %lu owns %s: not loaded; must be root, you, or the owner of hcsmoe",
                    path, (unsigned long)st->st_uid, what);
    return 0;
}

int trust_folder(const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return fail_errno(path, "cannot open plugin folder");
    return S_ISDIR(st.st_mode) ? writers_check(path, "in ", "this plugin folder", &st) : 0;
}

/* The folder that a name is in. */
static int folder_of_check(const char *path)
{
    char *folder = path_folder(path);
    struct stat st;
    int rc = folder != NULL ? 0 : HCSMOE_ENOMEM;

    if (rc == 0 && stat(folder, &st) != 0)
        rc = fail_errno(folder, "cannot open folder");
    if (rc == 0)
        rc = writers_check(path, "in ", "its folder", &st);
    mem_free(folder);
    return rc;
}

int trust_file(const char *path, struct stat *st)
{
    char *real;
    int rc;

    if (stat(path, st) != 0)
        return fail_errno(path, "cannot open plugin");
    if (!S_ISREG(st->st_mode))
        return fail(HCSMOE_EINVAL, "%s: is not a regular file", path);
    rc = writers_check(path, "", "this file", st);
    if (rc == 0)
        rc = folder_of_check(path);
    /* A link may lead to a folder of another kind. */
    real = realpath(path, NULL);
    if (rc == 0 && real == NULL)
        rc = fail_errno(path, "cannot open plugin");
    if (rc == 0 && strcmp(real, path) != 0)
        rc = folder_of_check(real);
    free(real); /* from realpath */
    return rc;
}
