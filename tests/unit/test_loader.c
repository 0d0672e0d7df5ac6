/*
 * test_loader.c - every bad plugin is refused, and the message says what is wrong with it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/mem.h"
#include "base/path.h"
#include "plugin/check.h"
#include "plugin/registry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define VARIANTS BAD_PLUGINS "/bad_variants.so"
#define NOTHING BAD_PLUGINS "/bad_nothing.so"
#define PLUGIN_BYTES_MAX ((size_t)64 << 20)
#define STRANGER 65533 /* a user that no system has */

/* bad_<name>.so, and the message behind its path. */
static const struct {
    const char *name, *message;
} bad[] = {
    {"caps", ": merge/bad: has capability 40, this hcsmoe knows 0..11"},
    {"cluster_function", ": cluster/bad: the function cluster is missing"},
    {"component_size", ": component 1: struct_size 16: must be at least 112"},
    {"declines", ": no fish in this pond"},
    {"declines_silently", ": failed with status -4 and no message: a fault of the plugin"},
    {"id", " has id 'Hcsmoe Test': must be 1..128 characters out of a-z 0-9 . _ -"},
    {"id_taken", " has id 'hcsmoe.test.nothing', which " NOTHING " already has"},
    {"kernels_function", ": kernels/bad: the function probe is missing"},
    {"kind", ": component 1: kind 9 is not known (have: 1..6)"},
    {"merge_function", ": merge/bad: the function merge is missing"},
    {"missing_entry", ": has no symbol hcsmoe_plugin_v1: not a plugin for this hcsmoe"},
    {"missing_function", ": cannot be loaded: undefined symbol: hcsmoe_nowhere"},
    {"model_function", ": model/bad: the function probe is missing"},
    {"name", ": component 1: name '../bad': must be 1..64 characters out of a-z 0-9 _ -"},
    {"needs", ": merge/bad: needs statistic 40, this hcsmoe knows 0..13"},
    {"no_components", " has no components"},
    {"no_id", " has no id"},
    {"no_name", ": component 1: has no name"},
    {"no_ops", ": merge/bad: has no ops"},
    {"no_spec", ": task/bad: the task has no spec"},
    {"no_summary", ": merge/bad: has no summary"},
    {"no_version", " has no version"},
    {"ops_size", ": merge/bad: struct_size 8 of its ops: must be at least 40"},
    {"option_alignment", ": merge/bad: option 'n': its offset 4 is no multiple of 8"},
    {"option_bool", ": merge/bad: option 'b': its default 2 is neither 0 nor 1"},
    {"option_choice", ": merge/bad: option 'how': its default 3 is none of its choices"},
    {"option_count", ": merge/bad: has 65 options: must be 0..64"},
    {"option_default", ": merge/bad: option 'n': its default 0 is outside 1..9"},
    {"option_flag", ": merge/bad: option 'n': has flag 5, this hcsmoe knows 0..2"},
    {"option_name",
     ": merge/bad: option 1: name 'a.n': must be 1..64 characters out of A-Z a-z 0-9 _ -"},
    {"option_no_choices", ": merge/bad: option 'how': has no choices"},
    {"option_no_help", ": merge/bad: option 'n': has no help"},
    {"option_offset",
     ": merge/bad: option 'n': its field at 4096..4104 is outside the options struct of 8 bytes"},
    {"option_range", ": merge/bad: option 'x': its range 9..1 is empty"},
    {"option_size", ": merge/bad: option_size 8: must be at least 64"},
    {"option_twice", ": merge/bad: has the option 'n' twice"},
    {"option_type", ": merge/bad: option 'n': its type 17 is not known (have: 1..6)"},
    {"plugin_size", " has struct_size 8 in hcsmoe_plugin: must be at least 56"},
    {"similarity_function", ": similarity/bad: the function distances or similarities is missing"},
    {"task_function", ": task/bad: the function format is missing"},
    {"task_type", ": task/bad: the task spec has type 7: must be 1..4"},
};

/* What bad_variants.so says when HCSMOE_TEST_BAD is this. */
static const struct {
    const char *name, *message;
} variants[] = {
    {"spec_size", ": task/bad: struct_size 16 of the task spec: must be at least 96"},
    {"spec_alias", ": task/bad: the task spec has no alias"},
    {"spec_version", ": task/bad: the task spec has no version"},
    {"spec_metrics", ": task/bad: the task spec has metrics 0x9: this hcsmoe knows 0x3"},
    {"spec_members", ": task/bad: the task spec is a group and has no members"},
    {"spec_file", ": task/bad: the task spec has no file"},
    {"spec_splits", ": task/bad: the task spec has no splits"},
    {"spec_filter", ": task/bad: the task spec has a filter_field and no filter_value"},
    {"spec_fewshot", ": task/bad: the task spec has fewshot 4: must be 0..3"},
    {"spec_most", ": task/bad: the task spec has a negative fewshot_most"},
    {"model_describe", ": model/bad: the function describe is missing"},
    {"model_layer", ": model/bad: the function describe_layer is missing"},
    {"model_names", ": model/bad: the function tensor_name is missing"},
    {"device_table", ": kernels/bad: the function table is missing"},
    {"opts_size", ": merge/bad: opts_size 1048576: must be 0..65536"},
    {"option_table", ": merge/bad: has 3 options and no table of them"},
    {"option_reserved", ": merge/bad: option 'n': its reserved0 is not 0"},
    {"choice_twice", ": merge/bad: option 'n': has the choice 'a' twice"},
    {"choice_many", ": merge/bad: option 'n': has more than 256 choices"},
    {"component_twice", ": has merge/bad twice"},
    {"component_many", ": has more than 256 components"},
};

static void open_both(struct host **h, struct registry **r)
{
    assert_int_equal(host_open(h, 1, 0), 0);
    assert_int_equal(registry_open(r, *h), 0);
}

static void close_both(struct host *h, struct registry *r)
{
    registry_close(r);
    host_close(h);
}

static void test_loader_says_what_is_wrong_with_each_bad_plugin(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char *path = mem_printf("%s/bad_%s.so", BAD_PLUGINS, bad[i].name);
        char *expected = mem_printf("%s%s", path, bad[i].message);
        struct host *h = NULL;
        struct registry *r = NULL;
        open_both(&h, &r);
        /* bad_id_taken.c wants somebody to have its id. */
        assert_int_equal(registry_load(r, NOTHING), 0);
        fail_clear();
        assert_true(registry_load(r, path) < 0);
        assert_string_equal(fail_message(), expected);
        /* Asked again it is refused again, in the same words. */
        fail_clear();
        assert_true(registry_load(r, path) < 0);
        assert_string_equal(fail_message(), expected);
        close_both(h, r);
        mem_free(expected);
        mem_free(path);
    }
}

static void test_loader_says_what_is_wrong_with_each_variant(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++) {
        struct host *h = NULL;
        struct registry *r = NULL;
        assert_int_equal(setenv("HCSMOE_TEST_BAD", variants[i].name, 1), 0);
        char *expected = mem_printf("%s%s", VARIANTS, variants[i].message);
        open_both(&h, &r);
        assert_true(registry_load(r, VARIANTS) < 0);
        assert_string_equal(fail_message(), expected);
        close_both(h, r);
        mem_free(expected);
    }
}

/* "PATH needs hcsmoe ABI MAJOR.MINOR, this is ...": of whatever this is. */
static void test_loader_refuses_another_abi(void **state)
{
    const unsigned own_minor = HCSMOE_ABI_MINOR_LATEST;
    const struct {
        const char *path;
        unsigned major, minor;
    } plugins[] = {
        {BAD_PLUGINS "/bad_abi_major.so", HCSMOE_ABI_MAJOR + 1, HCSMOE_ABI_MINOR},
        {BAD_PLUGINS "/bad_abi_minor.so", HCSMOE_ABI_MAJOR, HCSMOE_ABI_MINOR_LATEST + 2},
    };

    (void)state;
    for (size_t i = 0; i < sizeof plugins / sizeof plugins[0]; i++) {
        struct host *h = NULL;
        struct registry *r = NULL;
        assert_true(check_version(plugins[i].major, plugins[i].minor, HCSMOE_ABI_MAJOR, own_minor) <
                    0);
        char *why = mem_printf("%s %s", plugins[i].path, fail_message());
        open_both(&h, &r);
        assert_true(registry_load(r, plugins[i].path) < 0);
        assert_string_equal(fail_message(), why);
        close_both(h, r);
        mem_free(why);
    }
}

static void version_refused(unsigned major, unsigned minor, unsigned own_major, unsigned own_minor,
                            const char *message)
{
    assert_int_equal(check_version(major, minor, own_major, own_minor), HCSMOE_EUNSUPPORTED);
    assert_string_equal(fail_message(), message);
}

/* Hosts that do not exist yet. */
static void test_a_minor_that_is_older_loads_from_1_0_on(void **state)
{
    (void)state;
    for (unsigned minor = 0; minor <= 7; minor++)
        assert_int_equal(check_version(1, minor, 1, 7), 0);
    assert_int_equal(check_version(0, 2, 0, 2), 0);
    version_refused(1, 3, 1, 1,
                    "needs hcsmoe ABI 1.3, this is 1.1: upgrade hcsmoe or rebuild the plugin with "
                    "-DHCSMOE_ABI_MINOR=1");
    version_refused(2, 0, 1, 7, "needs hcsmoe ABI 2.0, this is 1.7: upgrade hcsmoe");
    version_refused(1, 7, 2, 0,
                    "needs hcsmoe ABI 1.7, this is 2.0: rebuild the plugin with this hcsmoe's "
                    "headers");
    version_refused(0, 1, 0, 2,
                    "needs hcsmoe ABI 0.1, this is 0.2: upgrade hcsmoe or rebuild the plugin "
                    "(before 1.0 the minor must match exactly)");
    version_refused(0, 3, 0, 2,
                    "needs hcsmoe ABI 0.3, this is 0.2: upgrade hcsmoe or rebuild the plugin "
                    "(before 1.0 the minor must match exactly)");
    version_refused(0, 2, 1, 0,
                    "needs hcsmoe ABI 0.2, this is 1.0: rebuild the plugin with this hcsmoe's "
                    "headers");
}

static void test_loader_uses_no_component_of_a_bad_plugin(void **state)
{
    const struct component *c = NULL;
    struct host *h = NULL;
    struct registry *r = NULL;

    (void)state;
    open_both(&h, &r);
    assert_true(registry_load(r, BAD_PLUGINS "/bad_needs.so") < 0);
    assert_true(registry_find(r, HCSMOE_KIND_MERGE, "bad", &c) < 0);
    assert_null(c);
    close_both(h, r);
}

static void test_loader_accepts_a_plugin_with_nothing_wrong(void **state)
{
    const struct component *c = NULL;
    struct host *h = NULL;
    struct registry *r = NULL;

    (void)state;
    open_both(&h, &r);
    assert_int_equal(registry_load(r, NOTHING), 0);
    assert_int_equal(registry_load(r, NOTHING), 0);
    assert_int_equal(registry_find(r, HCSMOE_KIND_MERGE, "alpha", &c), 0);
    assert_string_equal(c->plugin_id, "hcsmoe.test.nothing");
    assert_string_equal(c->version, "1.0.0");
    assert_string_equal(c->path, NOTHING);
    assert_int_equal(c->c.n_options, 6);
    assert_string_equal(c->options[1].name, "eps");
    close_both(h, r);
}

/* Loads path and wants the message "PATH<rest>". */
static void refused(const char *path, const char *rest)
{
    struct host *h = NULL;
    struct registry *r = NULL;
    char *expected = mem_printf("%s%s", path, rest);

    open_both(&h, &r);
    assert_true(registry_load(r, path) < 0);
    assert_string_equal(fail_message(), expected);
    close_both(h, r);
    mem_free(expected);
}

static void test_loader_refuses_what_everyone_may_write(void **state)
{
    char folder[] = "/tmp/hcsmoe-test-XXXXXX";
    char *bytes = NULL;
    char *path, *link, *expected;
    size_t size = 0;
    struct host *h = NULL;
    struct registry *r = NULL;

    (void)state;
    assert_non_null(mkdtemp(folder));
    path = path_join(folder, "hcsmoe-merge-alpha.so");
    assert_int_equal(path_read(NOTHING, PLUGIN_BYTES_MAX, &bytes, &size), 0);
    assert_int_equal(path_write(path, bytes, size), 0);
    mem_free(bytes);
    assert_int_equal(chmod(path, 0666), 0);
    refused(path, ": everyone may write this file: not loaded (chmod o-w)");
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(chmod(folder, 0777), 0);
    refused(path, ": everyone may write in its folder: not loaded (chmod o-w)");
    /* The sticky bit keeps others from replacing the file, not from adding one. */
    assert_int_equal(chmod(folder, 01777), 0);
    refused(path, ": everyone may write in its folder: not loaded (chmod o-w)");
    link = mem_printf("%s.link/hcsmoe-merge-alpha.so", folder);
    link[strlen(folder) + 5] = '\0';
    assert_int_equal(mkdir(link, 0755), 0);
    link[strlen(folder) + 5] = '/';
    assert_int_equal(symlink(path, link), 0);
    expected = mem_printf("%s: everyone may write in its folder: not loaded (chmod o-w)", path);
    open_both(&h, &r);
    assert_true(registry_load(r, link) < 0);
    assert_string_equal(fail_message(), expected);
    close_both(h, r);
    assert_int_equal(chmod(folder, 0755), 0);
    open_both(&h, &r);
    assert_int_equal(registry_load(r, link), 0);
    close_both(h, r);
    link[strlen(folder) + 5] = '\0';
    (void)path_remove_tree(link);
    (void)path_remove_tree(folder);
    mem_free(expected);
    mem_free(link);
    mem_free(path);
}

static void test_loader_refuses_what_a_stranger_owns(void **state)
{
    char folder[] = "/tmp/hcsmoe-test-XXXXXX";
    char *bytes = NULL;
    char *path;
    size_t size = 0;

    (void)state;
    if (geteuid() != 0) {
        skip(); /* only root can give files away */
    }
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chmod(folder, 0755), 0);
    path = path_join(folder, "hcsmoe-merge-alpha.so");
    assert_int_equal(path_read(NOTHING, PLUGIN_BYTES_MAX, &bytes, &size), 0);
    assert_int_equal(path_write(path, bytes, size), 0);
    mem_free(bytes);
    assert_int_equal(chown(path, STRANGER, STRANGER), 0);
    refused(path,
            ": user 65533 owns this file: not loaded; must be root, you, or the owner of hcsmoe");
    assert_int_equal(chown(path, 0, 0), 0);
    assert_int_equal(chown(folder, STRANGER, STRANGER), 0);
    refused(path,
            ": user 65533 owns its folder: not loaded; must be root, you, or the owner of hcsmoe");
    (void)path_remove_tree(folder);
    mem_free(path);
}

static void test_loader_refuses_what_is_no_library(void **state)
{
    /* Long enough for a header to be read from it. */
    static const char text[4096] = "just text";
    char folder[] = "/tmp/hcsmoe-test-XXXXXX";
    struct host *h = NULL;
    struct registry *r = NULL;
    char *path;

    (void)state;
    assert_non_null(mkdtemp(folder));
    path = path_join(folder, "text.so");
    assert_int_equal(path_write(path, text, sizeof text), 0);
    refused(folder, ": is not a regular file");
    refused(path, ": cannot be loaded: invalid ELF header");
    assert_int_equal(unlink(path), 0);
    open_both(&h, &r);
    assert_int_equal(registry_load(r, path), HCSMOE_EIO);
    assert_non_null(strstr(fail_message(), "cannot open plugin: No such file or directory"));
    close_both(h, r);
    (void)path_remove_tree(folder);
    mem_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loader_says_what_is_wrong_with_each_bad_plugin),
        cmocka_unit_test(test_loader_says_what_is_wrong_with_each_variant),
        cmocka_unit_test(test_loader_refuses_another_abi),
        cmocka_unit_test(test_a_minor_that_is_older_loads_from_1_0_on),
        cmocka_unit_test(test_loader_uses_no_component_of_a_bad_plugin),
        cmocka_unit_test(test_loader_accepts_a_plugin_with_nothing_wrong),
        cmocka_unit_test(test_loader_refuses_what_everyone_may_write),
        cmocka_unit_test(test_loader_refuses_what_a_stranger_owns),
        cmocka_unit_test(test_loader_refuses_what_is_no_library),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
