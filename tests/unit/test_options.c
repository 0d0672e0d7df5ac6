/*
 * test_options.c - values from an INI file to a plugin's options, and the words for those that are wrong.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin/options.h"

#include <float.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/path.h"

#include <cmocka.h>

/* As in tests/badplugins/bad_nothing.c. */
struct alpha_opts {
    int64_t n;
    double eps;
    int64_t fallback;
    int32_t strict;
    int32_t reserved0;
    const char *note;
    const char *file;
};

struct fixture {
    char root[64];
    char *path;
    struct host *host;
    struct registry *registry;
    const struct component *alpha, *beta;
    struct ini ini;
    struct instance instance;
};

static int set_up(void **state)
{
    struct fixture *f = mem_new(1, sizeof *f);

    (void)snprintf(f->root, sizeof f->root, "/tmp/hcsmoe-test-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    f->path = path_join(f->root, "f.ini");
    assert_int_equal(host_open(&f->host, 1, 0), 0);
    assert_int_equal(registry_open(&f->registry, f->host), 0);
    assert_int_equal(registry_load(f->registry, BAD_PLUGINS "/bad_nothing.so"), 0);
    assert_int_equal(registry_find(f->registry, HCSMOE_KIND_MERGE, "alpha", &f->alpha), 0);
    assert_int_equal(registry_find(f->registry, HCSMOE_KIND_MERGE, "beta", &f->beta), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    instance_release(&f->instance);
    ini_release(&f->ini);
    registry_close(f->registry);
    host_close(f->host);
    (void)path_remove_tree(f->root);
    mem_free(f->path);
    mem_free(f);
    return 0;
}

/* Reads text as f.ini and takes alpha's options from [merge]. */
static int read_text(struct fixture *f, const char *text)
{
    instance_release(&f->instance);
    ini_release(&f->ini);
    f->ini = (struct ini){0};
    assert_int_equal(path_write(f->path, text, strlen(text)), 0);
    assert_int_equal(ini_read(&f->ini, f->path), 0);
    return instance_init(&f->instance, f->alpha, &f->ini, "merge", f->host);
}

static const struct alpha_opts *opts_of(const struct fixture *f)
{
    return f->instance.opts;
}

/* The message is the file's path and then this. */
static void assert_says(const struct fixture *f, const char *rest)
{
    char *expected = mem_printf("%s%s", f->path, rest);

    assert_string_equal(fail_message(), expected);
    mem_free(expected);
}

static void refused(struct fixture *f, const char *line, const char *rest)
{
    char *text = mem_printf("[merge]\n%s\n", line);

    fail_clear();
    assert_int_equal(read_text(f, text), HCSMOE_EINVAL);
    assert_says(f, rest);
    assert_null(f->instance.opts);
    mem_free(text);
}

static void test_defaults_are_written_without_a_file(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(instance_init(&f->instance, f->alpha, NULL, "merge", f->host), 0);
    assert_int_equal(opts_of(f)->n, 4);
    assert_true(opts_of(f)->eps > 0.9e-12 && opts_of(f)->eps < 1.1e-12);
    assert_int_equal(opts_of(f)->fallback, 1);
    assert_int_equal(opts_of(f)->strict, 0);
    assert_string_equal(opts_of(f)->note, "none");
    assert_null(opts_of(f)->file);
}

static void test_values_are_read_by_type(void **state)
{
    struct fixture *f = *state;
    char *data = path_join(f->root, "data/x.txt");

    assert_int_equal(read_text(f, "[merge]\nn = 65536\neps = 2.5e-3\nfallback = zero\nstrict = on\n"
                                  "note = a b\nfile = data/x.txt\n"),
                     0);
    assert_int_equal(opts_of(f)->n, 65536);
    assert_true(opts_of(f)->eps > 0.00249 && opts_of(f)->eps < 0.00251);
    assert_int_equal(opts_of(f)->fallback, 2);
    assert_int_equal(opts_of(f)->strict, 1);
    assert_string_equal(opts_of(f)->note, "a b");
    assert_string_equal(opts_of(f)->file, data);
    for (size_t i = 0; i < f->ini.n; i++)
        assert_true(f->ini.values[i].used);
    mem_free(data);
}

static void test_own_key_wins_over_the_common_one(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(read_text(f, "[merge]\nn = 5\nalpha.n = 6\nbeta.n = 7\n"), 0);
    assert_int_equal(opts_of(f)->n, 6);
    assert_true(f->ini.values[0].used);
    assert_true(f->ini.values[1].used);
    assert_false(f->ini.values[2].used);
}

static void test_path_from_the_command_line_starts_in_the_current_folder(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ini_set(&f->ini, "merge.file=data/x.txt"), 0);
    assert_int_equal(ini_set(&f->ini, "merge.alpha.n=9"), 0);
    assert_int_equal(instance_init(&f->instance, f->alpha, &f->ini, "merge", f->host), 0);
    assert_string_equal(opts_of(f)->file, "data/x.txt");
    assert_int_equal(opts_of(f)->n, 9);
}

static void test_wrong_values_are_refused_with_their_place(void **state)
{
    struct fixture *f = *state;

    refused(f, "n = 0", ":2: [merge] n = 0: must be 1..65536");
    refused(f, "n = 65537", ":2: [merge] n = 65537: must be 1..65536");
    refused(f, "n = 99999999999999999999",
            ":2: [merge] n = 99999999999999999999: must be 1..65536");
    refused(f, "n = four", ":2: [merge] n = four: must be a whole number, 1..65536");
    refused(f, "n = 4.0", ":2: [merge] n = 4.0: must be a whole number, 1..65536");
    refused(f, "n = 0x10", ":2: [merge] n = 0x10: must be a whole number, 1..65536");
    refused(f, "n = 4K", ":2: [merge] n = 4K: must be a whole number, 1..65536");
    refused(f, "n = -", ":2: [merge] n = -: must be a whole number, 1..65536");
    refused(f, "eps = 1.5", ":2: [merge] eps = 1.5: must be 0..1");
    refused(f, "eps = 0,5", ":2: [merge] eps = 0,5: must be a number, 0..1");
    refused(f, "eps = nan", ":2: [merge] eps = nan: must be a number, 0..1");
    refused(f, "eps = 0x1p-3", ":2: [merge] eps = 0x1p-3: must be a number, 0..1");
    refused(f, "eps = 1e999", ":2: [merge] eps = 1e999: must be 0..1");
    refused(f, "eps = 1e", ":2: [merge] eps = 1e: must be a number, 0..1");
    refused(f, "strict = maybe", ":2: [merge] strict = maybe: must be yes or no");
    refused(f, "fallback = maen",
            ":2: [merge] fallback: no 'maen' (have: mean, zero); did you mean 'mean'?");
    refused(f, "alpha.n = 0", ":2: [merge] alpha.n = 0: must be 1..65536");
}

static void test_booleans_have_four_spellings(void **state)
{
    static const char *const words[] = {"yes", "no", "true", "false", "on", "off", "1", "0"};
    struct fixture *f = *state;

    for (int i = 0; i < 8; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "[merge]\nstrict = %s\n", words[i]);
        assert_int_equal(read_text(f, text), 0);
        assert_int_equal(opts_of(f)->strict, i % 2 == 0 ? 1 : 0);
    }
}

/* A component of our own, for what bad_nothing.c has not. */
struct own_opts {
    int64_t memory;
    int64_t any;
    double real;
    const char *must;
};

static uint64_t own_needs(const void *opts, uint64_t caps)
{
    const struct own_opts *o = opts;

    (void)caps;
    return o->any == 77 ? (uint64_t)1 << 20 : 0;
}

static hcsmoe_option own_options[] = {
    HCSMOE_INT(struct own_opts, memory, 0, 0, INT64_MAX, "how many bytes may be used"),
    HCSMOE_INT(struct own_opts, any, 0, INT64_MIN, INT64_MAX, "any number"),
    HCSMOE_REAL(struct own_opts, real, 0.1, -DBL_MAX, DBL_MAX, "any real number"),
    {"must",
     "what has to be said",
     HCSMOE_OPTION_STR,
     offsetof(struct own_opts, must),
     {0},
     0,
     0,
     NULL,
     HCSMOE_OPTION_REQUIRED,
     0},
};
static const struct component own = {
    .c = {.struct_size = sizeof(hcsmoe_component),
          .kind = HCSMOE_KIND_CLUSTER,
          .name = "own",
          .summary = "one of ours",
          .options = own_options,
          .n_options = 4,
          .option_size = sizeof(hcsmoe_option),
          .opts_size = sizeof(struct own_opts),
          .needs_for = own_needs},
    .options = own_options,
    .plugin_id = "hcsmoe.test.own",
    .version = "1",
    .path = "own.so",
};

static int own_from(struct fixture *f, const char *assignment, bool with_must)
{
    instance_release(&f->instance);
    ini_release(&f->ini);
    f->ini = (struct ini){0};
    assert_int_equal(ini_set(&f->ini, assignment), 0);
    if (with_must)
        assert_int_equal(ini_set(&f->ini, "group.must=be"), 0);
    return instance_init(&f->instance, &own, &f->ini, "group", f->host);
}

static void test_numbers_of_bytes_take_suffixes(void **state)
{
    struct fixture *f = *state;
    const struct own_opts *o;

    assert_int_equal(own_from(f, "group.memory=1.5G", true), 0);
    o = f->instance.opts;
    assert_int_equal(o->memory, (int64_t)3 << 29);
    assert_int_equal(own_from(f, "group.memory=12k", true), 0);
    o = f->instance.opts;
    assert_int_equal(o->memory, 12288);
    assert_int_equal(own_from(f, "group.memory=12Q", true), HCSMOE_EINVAL);
    assert_string_equal(fail_message(),
                        "-s group.memory = 12Q: must be a number of bytes: 0, 500M, 12G, 1.5T");
    assert_int_equal(own_from(f, "group.memory=9000000T", true), HCSMOE_EINVAL);
    assert_string_equal(fail_message(), "-s group.memory = 9000000T: must be less than 8388608T");
    assert_int_equal(own_from(f, "group.memory=-1", true), HCSMOE_EINVAL);
    assert_string_equal(fail_message(), "-s group.memory = -1: must be at least 0");
}

static void test_numbers_without_bounds_take_all_there_are(void **state)
{
    struct fixture *f = *state;
    const struct own_opts *o;

    assert_int_equal(own_from(f, "group.any=-9223372036854775808", true), 0);
    o = f->instance.opts;
    assert_true(o->any == INT64_MIN);
    assert_int_equal(own_from(f, "group.any=9223372036854775807", true), 0);
    o = f->instance.opts;
    assert_true(o->any == INT64_MAX);
    assert_int_equal(own_from(f, "group.any=9223372036854775808", true), HCSMOE_EINVAL);
    assert_string_equal(fail_message(), "-s group.any = 9223372036854775808: must be smaller");
    assert_int_equal(own_from(f, "group.any=x", true), HCSMOE_EINVAL);
    assert_string_equal(fail_message(), "-s group.any = x: must be a whole number");
    assert_int_equal(own_from(f, "group.real=-1e308", true), 0);
}

static void test_required_option_has_to_be_set(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(own_from(f, "group.any=1", false), HCSMOE_EINVAL);
    assert_string_equal(fail_message(),
                        "[group]: cluster/own needs the option 'must' (what has to be said)");
    assert_int_equal(own_from(f, "group.any=1", true), 0);
    assert_string_equal(((const struct own_opts *)f->instance.opts)->must, "be");
}

static void test_needs_that_options_decide_are_checked(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(own_from(f, "group.any=77", true), HCSMOE_EUNSUPPORTED);
    assert_string_equal(fail_message(), "cluster/own: needs statistic 20, this hcsmoe knows 0..13");
    assert_int_equal(read_text(f, "[merge]\nstrict = yes\n"), 0);
    assert_true(instance_needs(&f->instance, 0) == HCSMOE_STAT_USAGE);
    assert_int_equal(read_text(f, "[merge]\nstrict = no\n"), 0);
    assert_true(instance_needs(&f->instance, 0) == HCSMOE_STAT_WEIGHTS);
}

static void test_create_runs_in_a_frame_and_destroy_frees(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(read_text(f, "[merge]\nn = 13\n"), 0);
    assert_int_equal(instance_create(&f->instance), HCSMOE_EINVAL);
    assert_string_equal(fail_message(), "merge/alpha: n = 13 brings bad luck");
    /* The message outlives the cleanup. */
    instance_release(&f->instance);
    assert_string_equal(fail_message(), "merge/alpha: n = 13 brings bad luck");
    assert_int_equal(read_text(f, "[merge]\nn = 12\n"), 0);
    assert_int_equal(instance_create(&f->instance), 0);
    assert_non_null(f->instance.self);
    assert_ptr_not_equal(f->instance.self, f->instance.opts);
    assert_non_null(instance_ops(&f->instance));
    instance_release(&f->instance);
    assert_int_equal(instance_init(&f->instance, f->beta, NULL, "merge", f->host), 0);
    assert_int_equal(instance_create(&f->instance), 0);
    assert_ptr_equal(f->instance.self, f->instance.opts);
}

static void assert_prints(const struct fixture *f, uint32_t option, const char *expected)
{
    struct str s = {0};

    option_print(&f->alpha->options[option], f->instance.opts, &s);
    assert_string_equal(str_text(&s), expected);
    str_release(&s);
}

static void test_options_print_as_they_are_written(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(
        read_text(f, "[merge]\nn = 7\neps = 0.1\nfallback = zero\nstrict = 1\nnote = x y\n"), 0);
    assert_prints(f, 0, "7");
    assert_prints(f, 1, "0.1");
    assert_prints(f, 2, "zero");
    assert_prints(f, 3, "yes");
    assert_prints(f, 4, "x y");
    assert_prints(f, 5, "");
    assert_int_equal(read_text(f, "[merge]\neps = 0.30000000000000004\n"), 0);
    assert_prints(f, 1, "0.30000000000000004");
    assert_int_equal(read_text(f, "[merge]\n"), 0);
    assert_prints(f, 1, "1e-12");
    assert_prints(f, 3, "no");
}

static int check_unused(struct fixture *f)
{
    static const char *const core_keys[] = {"merge", "shape"};
    const struct instance *const instances[] = {&f->instance};

    return options_check_unused(&f->ini, "merge", core_keys, 2, instances, 1);
}

static void test_keys_that_nobody_used_are_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(read_text(f, "[merge]\nmerge = alpha\nn = 3\n[other]\nx = 1\n"), 0);
    assert_int_equal(check_unused(f), 0);
    assert_int_equal(read_text(f, "[merge]\nmerge = alpha\nepss = 0\n"), 0);
    assert_int_equal(check_unused(f), HCSMOE_EINVAL);
    assert_says(
        f,
        ":3: [merge] no option 'epss' for alpha (it takes: n, eps, fallback, strict, note, file);"
        " did you mean 'eps'?");
    assert_int_equal(read_text(f, "[merge]\nmegre = alpha\n"), 0);
    assert_int_equal(check_unused(f), HCSMOE_EINVAL);
    assert_non_null(strstr(fail_message(), "did you mean 'merge'?"));
    assert_int_equal(read_text(f, "[merge]\nalpha.epsilonic = 1\n"), 0);
    assert_int_equal(check_unused(f), HCSMOE_EINVAL);
    assert_says(f, ":2: [merge] no option 'epsilonic' for alpha (it takes: n, eps, fallback, "
                   "strict, note, file)");
    assert_int_equal(read_text(f, "[merge]\nbeta.n = 1\n"), 0);
    assert_int_equal(check_unused(f), HCSMOE_EINVAL);
    assert_says(f, ":2: [merge] 'beta.n': 'beta' is not chosen here (chosen: alpha)");
}

static void test_keys_from_the_command_line_are_named_as_given(void **state)
{
    struct fixture *f = *state;
    static const char *const core_keys[] = {"device", "seed"};

    assert_int_equal(ini_set(&f->ini, "run.devise=cuda"), 0);
    assert_int_equal(options_check_unused(&f->ini, "run", core_keys, 2, NULL, 0), HCSMOE_EINVAL);
    assert_string_equal(
        fail_message(),
        "-s run.devise: no option 'devise' (have: device, seed); did you mean 'device'?");
    assert_int_equal(instance_init(&f->instance, f->beta, NULL, "merge", f->host), 0);
    assert_int_equal(ini_set(&f->ini, "merge.qqqqqqqqqq=1"), 0);
    assert_int_equal(check_unused(f), HCSMOE_EINVAL);
    assert_string_equal(
        fail_message(),
        "-s merge.qqqqqqqqqq: no option 'qqqqqqqqqq' for beta (it takes: no options)");
}

static void test_core_keys_are_parsed_by_the_same_rules(void **state)
{
    static const char *const names[] = {"auto", "cpu", "cuda"};
    struct fixture *f = *state;
    const struct ini_value *v;
    int64_t whole = 0;
    double real = 0;
    bool yes = false;
    int choice = -1;

    assert_int_equal(ini_set(&f->ini, "run.device=cpu"), 0);
    v = ini_find(&f->ini, "run", "device");
    assert_int_equal(option_choice(&f->ini, v, names, 3, &choice), 0);
    assert_int_equal(choice, 1);
    assert_int_equal(option_bool(&f->ini, v, &yes), HCSMOE_EINVAL);
    assert_int_equal(option_int(&f->ini, v, 1, 5, &whole), HCSMOE_EINVAL);
    assert_string_equal(fail_message(), "-s run.device = cpu: must be a whole number, 1..5");
    assert_int_equal(ini_set(&f->ini, "run.device=3"), 0);
    v = ini_find(&f->ini, "run", "device");
    assert_int_equal(option_int(&f->ini, v, 1, 5, &whole), 0);
    assert_int_equal(whole, 3);
    assert_int_equal(option_real(&f->ini, v, 0, 2, &real), HCSMOE_EINVAL);
    assert_string_equal(fail_message(), "-s run.device = 3: must be 0..2");
    assert_int_equal(option_bytes(&f->ini, v, &whole), 0);
    assert_int_equal(option_choice(&f->ini, v, names, 3, &choice), HCSMOE_EINVAL);
    assert_string_equal(fail_message(), "-s run.device: no '3' (have: auto, cpu, cuda)");
}

static void test_help_says_all_about_a_component(void **state)
{
    struct fixture *f = *state;
    struct str s = {0};

    component_help(f->alpha, &s);
    assert_string_equal(str_text(&s),
                        "merge/alpha - the first\n"
                        "  plugin     hcsmoe.test.nothing 1.0.0\n"
                        "  file       " BAD_PLUGINS "/bad_nothing.so\n"
                        "  needs      weights; calibrate: usage, output_mean (options decide)\n"
                        "\n"
                        "options:\n"
                        "  n                whole number, 1..65536, default 4\n"
                        "      how many\n"
                        "  eps              number, 0..1, default 1e-12\n"
                        "      usage below this counts as none\n"
                        "  fallback         choice, default mean\n"
                        "      what is done without usage\n"
                        "        mean           the plain mean\n"
                        "        zero           zeros\n"
                        "  strict           yes or no, default no\n"
                        "      whether to be strict\n"
                        "  note             text, default none\n"
                        "      a remark\n"
                        "  file             path, default none\n"
                        "      where more is said\n");
    str_clear(&s);
    component_help(f->beta, &s);
    assert_true(str_ends(str_text(&s), "/bad_nothing.so\n\nno options\n"));
    str_clear(&s);
    component_help(&own, &s);
    assert_non_null(strstr(str_text(&s), "  needs      options decide\n"));
    assert_non_null(
        strstr(str_text(&s), "  memory           whole number, at least 0, default 0\n"));
    assert_non_null(strstr(str_text(&s), "  any              whole number, default 0\n"));
    assert_non_null(strstr(str_text(&s), "  must             text, required\n"));
    str_release(&s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_defaults_are_written_without_a_file),
        TEST(test_values_are_read_by_type),
        TEST(test_own_key_wins_over_the_common_one),
        TEST(test_path_from_the_command_line_starts_in_the_current_folder),
        TEST(test_wrong_values_are_refused_with_their_place),
        TEST(test_booleans_have_four_spellings),
        TEST(test_numbers_of_bytes_take_suffixes),
        TEST(test_numbers_without_bounds_take_all_there_are),
        TEST(test_required_option_has_to_be_set),
        TEST(test_needs_that_options_decide_are_checked),
        TEST(test_create_runs_in_a_frame_and_destroy_frees),
        TEST(test_options_print_as_they_are_written),
        TEST(test_keys_that_nobody_used_are_refused),
        TEST(test_keys_from_the_command_line_are_named_as_given),
        TEST(test_core_keys_are_parsed_by_the_same_rules),
        TEST(test_help_says_all_about_a_component),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
