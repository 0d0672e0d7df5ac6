/*
 * test_registry.c - where plugins are found, which one wins, and what is said when none is there.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin/registry.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"

#include <cmocka.h>

/* The folder of plugins carries the ABI's major. */
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define MAJOR TEXT(HCSMOE_ABI_MAJOR)
#define PLUGIN_BYTES_MAX ((size_t)64 << 20)

/* A temporary folder with plugin folders a and b, and an environment that names nothing else. The program's own plugins
 * may be found beside these: ../lib of where the test lies. */
struct fixture {
    char root[64];
    struct host *host;
    struct registry *registry;
    int saved_stderr;
    char *log;
};

static char *in_root(const struct fixture *f, const char *name)
{
    char *path = path_join(f->root, name);

    assert_non_null(path);
    return path;
}

/* Puts bad_<plugin>.so at root/<to>. */
static void put(const struct fixture *f, const char *plugin, const char *to)
{
    char *from = mem_printf("%s/bad_%s.so", BAD_PLUGINS, plugin);
    char *path = in_root(f, to);
    char *bytes = NULL;
    size_t size = 0;

    assert_int_equal(path_read(from, PLUGIN_BYTES_MAX, &bytes, &size), 0);
    assert_int_equal(path_write(path, bytes, size), 0);
    mem_free(bytes);
    mem_free(path);
    mem_free(from);
}

static int set_up(void **state)
{
    struct fixture *f = mem_new(1, sizeof *f);
    char *path;

    (void)snprintf(f->root, sizeof f->root, "/tmp/hcsmoe-test-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    for (const char *const *name =
             (const char *const[]){"a", "b", "xdg/hcsmoe/" PLUGIN_FOLDER, NULL};
         *name != NULL; name++) {
        path = in_root(f, *name);
        assert_int_equal(path_make_folder(path), 0);
        mem_free(path);
    }
    path = in_root(f, "xdg");
    assert_int_equal(setenv("XDG_DATA_HOME", path, 1), 0);
    mem_free(path);
    assert_int_equal(unsetenv("HCSMOE_PLUGIN_PATH"), 0);
    assert_int_equal(host_open(&f->host, 1, 0), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    registry_close(f->registry);
    host_close(f->host);
    mem_free(f->log);
    (void)path_remove_tree(f->root);
    mem_free(f);
    return 0;
}

static struct registry *open_registry(struct fixture *f)
{
    assert_int_equal(registry_open(&f->registry, f->host), 0);
    return f->registry;
}

/* Collects what is logged at -v until log_end. */
static void log_begin(struct fixture *f)
{
    char *path = in_root(f, "log");
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);

    assert_true(fd >= 0);
    (void)fflush(stderr);
    f->saved_stderr = dup(STDERR_FILENO);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    (void)close(fd);
    log_level_set(LOG_VERBOSE);
    mem_free(path);
}

static const char *log_end(struct fixture *f)
{
    char *path = in_root(f, "log");
    size_t size = 0;

    log_level_set(LOG_INFO);
    (void)fflush(stderr);
    assert_true(dup2(f->saved_stderr, STDERR_FILENO) >= 0);
    (void)close(f->saved_stderr);
    mem_free(f->log);
    assert_int_equal(path_read(path, PLUGIN_BYTES_MAX, &f->log, &size), 0);
    mem_free(path);
    return f->log;
}

static void assert_found(struct fixture *f, const char *name, const char *id, const char *file)
{
    const struct component *c = NULL;
    char *path = in_root(f, file);

    assert_int_equal(registry_find(f->registry, HCSMOE_KIND_MERGE, name, &c), 0);
    assert_string_equal(c->c.name, name);
    assert_string_equal(c->plugin_id, id);
    assert_string_equal(c->path, path);
    mem_free(path);
}

static void test_find_opens_the_file_that_is_named_for_it(void **state)
{
    struct fixture *f = *state;

    put(f, "nothing", "a/hcsmoe-merge-alpha.so");
    put(f, "needs", "a/hcsmoe-merge-broken.so");
    (void)open_registry(f);
    assert_int_equal(registry_add_path(f->registry, "a", f->root), 0);
    log_begin(f);
    assert_found(f, "alpha", "hcsmoe.test.nothing", "a/hcsmoe-merge-alpha.so");
    /* The broken one beside it is not looked at. */
    assert_null(strstr(log_end(f), "broken"));
}

static void test_find_takes_the_first_folder_and_names_the_shadowed_file(void **state)
{
    struct fixture *f = *state;
    const char *log;

    put(f, "nothing", "b/hcsmoe-merge-alpha.so");
    put(f, "shadow", "a/hcsmoe-merge-alpha.so");
    (void)open_registry(f);
    assert_int_equal(registry_add_path(f->registry, "b::a", f->root), 0);
    log_begin(f);
    assert_found(f, "alpha", "hcsmoe.test.nothing", "b/hcsmoe-merge-alpha.so");
    log = log_end(f);
    assert_non_null(strstr(log, "/a/hcsmoe-merge-alpha.so is shadowed by "));
}

static void test_configured_folders_come_before_the_environment(void **state)
{
    struct fixture *f = *state;
    char *a = in_root(f, "a");

    put(f, "shadow", "a/hcsmoe-merge-alpha.so");
    put(f, "nothing", "b/hcsmoe-merge-alpha.so");
    assert_int_equal(setenv("HCSMOE_PLUGIN_PATH", a, 1), 0);
    mem_free(a);
    (void)open_registry(f);
    assert_int_equal(registry_add_path(f->registry, "b", f->root), 0);
    assert_found(f, "alpha", "hcsmoe.test.nothing", "b/hcsmoe-merge-alpha.so");
}

static void test_environment_comes_before_the_users_folder(void **state)
{
    struct fixture *f = *state;
    char *a = in_root(f, "a");

    put(f, "shadow", "a/hcsmoe-merge-alpha.so");
    put(f, "nothing", "xdg/hcsmoe/" PLUGIN_FOLDER "/hcsmoe-merge-alpha.so");
    put(f, "nothing", "xdg/hcsmoe/" PLUGIN_FOLDER "/hcsmoe-merge-beta.so");
    assert_int_equal(setenv("HCSMOE_PLUGIN_PATH", a, 1), 0);
    mem_free(a);
    (void)open_registry(f);
    assert_found(f, "alpha", "hcsmoe.test.shadow", "a/hcsmoe-merge-alpha.so");
    assert_found(f, "beta", "hcsmoe.test.nothing",
                 "xdg/hcsmoe/" PLUGIN_FOLDER "/hcsmoe-merge-beta.so");
}

static void test_folders_that_everyone_may_write_are_refused(void **state)
{
    struct fixture *f = *state;
    char *a = in_root(f, "a");
    char *expected = mem_printf("HCSMOE_PLUGIN_PATH: %s: everyone may write in this plugin folder: "
                                "not loaded (chmod o-w)",
                                a);

    assert_int_equal(setenv("HCSMOE_PLUGIN_PATH", a, 1), 0);
    /* Also with the sticky bit, as /tmp has it: anyone can add a plugin there. */
    for (mode_t sticky = 0; sticky <= S_ISVTX; sticky += S_ISVTX) {
        assert_int_equal(chmod(a, 0777 | sticky), 0);
        assert_true(registry_open(&f->registry, f->host) < 0);
        assert_null(f->registry);
        assert_string_equal(fail_message(), expected);
    }
    assert_int_equal(unsetenv("HCSMOE_PLUGIN_PATH"), 0);
    (void)open_registry(f);
    assert_true(registry_add_path(f->registry, "a", f->root) < 0);
    assert_non_null(strstr(fail_message(), "/a: everyone may write in this plugin folder: "));
    mem_free(expected);
    mem_free(a);
}

static void test_current_folder_is_never_searched(void **state)
{
    struct fixture *f = *state;
    const struct component *c = NULL;
    char *a = in_root(f, "a");
    int here = open(".", O_RDONLY | O_DIRECTORY);

    put(f, "nothing", "a/hcsmoe-merge-alpha.so");
    assert_int_equal(chdir(a), 0);
    assert_int_equal(setenv("HCSMOE_PLUGIN_PATH", ":.:", 1), 0);
    log_begin(f);
    (void)open_registry(f);
    assert_non_null(
        strstr(log_end(f), "HCSMOE_PLUGIN_PATH: '.' is ignored: must be an absolute path"));
    assert_int_equal(registry_add_path(f->registry, "", f->root), 0);
    assert_int_not_equal(registry_find(f->registry, HCSMOE_KIND_MERGE, "alpha", &c), 0);
    assert_int_equal(fchdir(here), 0);
    (void)close(here);
    mem_free(a);
}

static void test_loaded_file_wins_over_folders(void **state)
{
    struct fixture *f = *state;
    char *file = in_root(f, "mine.so");

    put(f, "nothing", "a/hcsmoe-merge-alpha.so");
    put(f, "shadow", "mine.so");
    (void)open_registry(f);
    assert_int_equal(registry_add_path(f->registry, "a", f->root), 0);
    assert_found(f, "alpha", "hcsmoe.test.nothing", "a/hcsmoe-merge-alpha.so");
    assert_int_equal(registry_load(f->registry, file), 0);
    assert_found(f, "alpha", "hcsmoe.test.shadow", "mine.so");
    mem_free(file);
}

static void test_components_of_a_file_are_its_own(void **state)
{
    struct fixture *f = *state;
    const struct component *const *list = NULL;
    char *nothing = in_root(f, "a/nothing.so");
    char *shadow = in_root(f, "a/shadow.so");
    size_t n = 0;

    put(f, "nothing", "a/nothing.so");
    put(f, "shadow", "a/shadow.so");
    (void)open_registry(f);
    assert_int_equal(registry_load(f->registry, nothing), 0);
    assert_int_equal(registry_load(f->registry, shadow), 0);
    assert_int_equal(registry_of_file(f->registry, shadow, &list, &n), 0);
    assert_int_equal(n, 1);
    assert_string_equal(list[0]->c.summary, "the other first");
    assert_int_equal(registry_of_file(f->registry, nothing, &list, &n), 0);
    assert_int_equal(n, 2);
    assert_string_equal(list[0]->plugin_id, "hcsmoe.test.nothing");
    assert_string_equal(list[1]->plugin_id, "hcsmoe.test.nothing");
    assert_int_equal(registry_of_file(f->registry, "a/nothing.so", &list, &n), 0);
    assert_int_equal(n, 0);
    mem_free(nothing);
    mem_free(shadow);
}

static void test_load_without_a_slash_looks_into_the_folders(void **state)
{
    struct fixture *f = *state;

    put(f, "nothing", "a/mine.so");
    (void)open_registry(f);
    assert_int_equal(registry_add_path(f->registry, "a", f->root), 0);
    assert_int_equal(registry_load(f->registry, "mine.so"), 0);
    assert_found(f, "beta", "hcsmoe.test.nothing", "a/mine.so");
    assert_int_equal(registry_load(f->registry, "yours.so"), HCSMOE_EINVAL);
    assert_non_null(strstr(fail_message(), "no plugin file 'yours.so' (tried: /tmp/hcsmoe-test-"));
    assert_non_null(strstr(fail_message(), "a file elsewhere is named with a slash: './yours.so'"));
}

static void test_find_opens_everything_when_no_file_is_named_for_it(void **state)
{
    struct fixture *f = *state;

    put(f, "nothing", "a/hcsmoe-lab.so");
    put(f, "needs", "a/hcsmoe-broken.so");
    put(f, "nothing", "a/other.so");
    (void)open_registry(f);
    assert_int_equal(registry_add_path(f->registry, "a", f->root), 0);
    log_begin(f);
    assert_found(f, "beta", "hcsmoe.test.nothing", "a/hcsmoe-lab.so");
    /* What merely lies there and is broken is a warning; what is not named as a plugin is not touched. */
    assert_non_null(strstr(log_end(f), "hcsmoe-broken.so: merge/bad: needs statistic 40"));
    assert_null(strstr(f->log, "other.so"));
}

static void test_links_give_a_plugin_of_several_components_its_names(void **state)
{
    struct fixture *f = *state;
    char *link = in_root(f, "a/hcsmoe-merge-beta.so");

    put(f, "nothing", "a/lab.so");
    assert_int_equal(symlink("lab.so", link), 0);
    (void)open_registry(f);
    assert_int_equal(registry_add_path(f->registry, "a", f->root), 0);
    assert_found(f, "beta", "hcsmoe.test.nothing", "a/hcsmoe-merge-beta.so");
    mem_free(link);
}

static void test_broken_plugin_that_is_asked_for_is_an_error(void **state)
{
    struct fixture *f = *state;
    const struct component *c = NULL;

    put(f, "needs", "a/hcsmoe-merge-alpha.so");
    put(f, "nothing", "b/hcsmoe-merge-alpha.so");
    (void)open_registry(f);
    assert_int_equal(registry_add_path(f->registry, "a:b", f->root), 0);
    assert_int_equal(registry_find(f->registry, HCSMOE_KIND_MERGE, "alpha", &c),
                     HCSMOE_EUNSUPPORTED);
    assert_non_null(
        strstr(fail_message(), "a/hcsmoe-merge-alpha.so: merge/bad: needs statistic 40"));
    assert_null(c);
}

static void test_file_without_the_component_it_is_named_for_is_an_error(void **state)
{
    struct fixture *f = *state;
    const struct component *c = NULL;

    put(f, "nothing", "a/hcsmoe-merge-gamma.so");
    (void)open_registry(f);
    assert_int_equal(registry_add_path(f->registry, "a", f->root), 0);
    assert_int_equal(registry_find(f->registry, HCSMOE_KIND_MERGE, "gamma", &c), HCSMOE_EPLUGIN);
    assert_non_null(
        strstr(fail_message(), "has no merge method 'gamma', which its file name promises"));
}

static void test_unknown_name_gets_the_list_and_a_suggestion(void **state)
{
    struct fixture *f = *state;
    const struct component *c = NULL;

    put(f, "nothing", "a/hcsmoe-merge-alpha.so");
    (void)open_registry(f);
    assert_int_equal(registry_add_path(f->registry, "a", f->root), 0);
    assert_int_equal(registry_find(f->registry, HCSMOE_KIND_MERGE, "alpa", &c), HCSMOE_EINVAL);
    assert_non_null(strstr(fail_message(), "no merge method 'alpa' (have: "));
    assert_non_null(strstr(fail_message(), "alpha, "));
    assert_true(str_ends(fail_message(), "); did you mean 'alpha'?"));
    /* Not a name: never part of a path. */
    assert_int_equal(registry_find(f->registry, HCSMOE_KIND_MERGE, "../a/x", &c), HCSMOE_EINVAL);
    assert_non_null(strstr(fail_message(), "no merge method '../a/x' (have: "));
}

static void test_kinds_have_words_of_their_own(void **state)
{
    static const char *const words[] = {
        "", "model family", "similarity base", "clustering", "merge method", "task", "device"};
    struct fixture *f = *state;
    const struct component *c = NULL;

    (void)open_registry(f);
    for (uint32_t kind = 1; kind <= 6; kind++) {
        char expected[64];
        (void)snprintf(expected, sizeof expected, "no %s 'qqqqqqqq'", words[kind]);
        assert_int_equal(registry_find(f->registry, kind, "qqqqqqqq", &c), HCSMOE_EINVAL);
        assert_true(str_starts(fail_message(), expected));
    }
}

static void test_without_any_plugin_every_folder_is_named(void **state)
{
    struct fixture *f = *state;
    const struct component *const *list = NULL;
    const struct component *c = NULL;
    char *folder = in_root(f, "xdg/hcsmoe/" PLUGIN_FOLDER);
    size_t n = 0;

    (void)open_registry(f);
    assert_int_equal(registry_list(f->registry, 0, &list, &n), 0);
    assert_int_equal(registry_find(f->registry, HCSMOE_KIND_MERGE, "qqqqqqqq", &c), HCSMOE_EINVAL);
    if (n == 0)
        assert_true(
            str_starts(fail_message(), "no merge method 'qqqqqqqq': no plugin was found (tried: "));
    if (n == 0)
        assert_non_null(strstr(fail_message(), folder));
    mem_free(folder);
}

static void test_list_is_sorted_and_has_each_component_once(void **state)
{
    struct fixture *f = *state;
    const struct component *const *list = NULL;
    size_t n = 0;
    size_t n_merge = 0;
    int n_alpha = 0;

    put(f, "shadow", "a/hcsmoe-zeta.so");
    put(f, "nothing", "a/hcsmoe-merge-alpha.so");
    put(f, "nothing", "b/hcsmoe-merge-alpha.so");
    (void)open_registry(f);
    assert_int_equal(registry_add_path(f->registry, "a:b", f->root), 0);
    assert_int_equal(registry_list(f->registry, 0, &list, &n), 0);
    for (size_t i = 0; i < n; i++) {
        bool is_merge = list[i]->c.kind == HCSMOE_KIND_MERGE;
        n_merge += is_merge;
        n_alpha += is_merge && strcmp(list[i]->c.name, "alpha") == 0;
        if (i > 0 && list[i]->c.kind == list[i - 1]->c.kind)
            assert_true(strcmp(list[i - 1]->c.name, list[i]->c.name) < 0);
        if (i > 0)
            assert_true(list[i]->c.kind >= list[i - 1]->c.kind);
    }
    assert_int_equal(n_alpha, 1);
    assert_int_equal(registry_list(f->registry, HCSMOE_KIND_MERGE, &list, &n), 0);
    assert_int_equal(n, n_merge);
    assert_int_equal(list[0]->c.kind, HCSMOE_KIND_MERGE);
    /* The file that is named for it goes before one that only has it. */
    assert_found(f, "alpha", "hcsmoe.test.nothing", "a/hcsmoe-merge-alpha.so");
}

static void test_kind_names_go_both_ways(void **state)
{
    (void)state;
    for (uint32_t kind = 1; kind <= 6; kind++)
        assert_int_equal(registry_kind(registry_kind_name(kind)), kind);
    assert_int_equal(registry_kind("merging"), 0);
    assert_null(registry_kind_name(0));
    assert_null(registry_kind_name(99));
    registry_close(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_find_opens_the_file_that_is_named_for_it),
        TEST(test_find_takes_the_first_folder_and_names_the_shadowed_file),
        TEST(test_configured_folders_come_before_the_environment),
        TEST(test_environment_comes_before_the_users_folder),
        TEST(test_folders_that_everyone_may_write_are_refused),
        TEST(test_current_folder_is_never_searched),
        TEST(test_loaded_file_wins_over_folders),
        TEST(test_components_of_a_file_are_its_own),
        TEST(test_load_without_a_slash_looks_into_the_folders),
        TEST(test_find_opens_everything_when_no_file_is_named_for_it),
        TEST(test_links_give_a_plugin_of_several_components_its_names),
        TEST(test_broken_plugin_that_is_asked_for_is_an_error),
        TEST(test_file_without_the_component_it_is_named_for_is_an_error),
        TEST(test_unknown_name_gets_the_list_and_a_suggestion),
        TEST(test_kinds_have_words_of_their_own),
        TEST(test_without_any_plugin_every_folder_is_named),
        TEST(test_list_is_sorted_and_has_each_component_once),
        cmocka_unit_test(test_kind_names_go_both_ways),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
