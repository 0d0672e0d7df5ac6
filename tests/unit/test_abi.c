/*
 * test_abi.c - plugins of release 1.0 give what they gave: built with the frozen headers, with
 * today's, and in larger structs of headers to come.
 *
 * A whole run through one plugin of each kind (tests/abi/v1_0), three times; the merged checkpoint,
 * what was collected and every score have to be the same, bit for bit. SPDX-License-Identifier: MIT
 */
#include "e2e.h"

static const char *const kinds[] = {"model", "similarity", "cluster", "merge", "task", "kernels"};
enum { KINDS = 6 };

static const char records[] =
    "{\"kind\": \"kept\", \"question\": \"Which is blue?\", \"choices\": [\"the sky\", \"grass\"], "
    "\"gold\": 0, \"more\": {\"list\": [1, \"two\"], \"yes\": true, \"real\": 2.5}}\n"
    "{\"kind\": \"other\"}\n"
    "{\"kind\": \"kept\", \"question\": \"Which is green?\", \"choices\": [\"the sky\", \"grass\", "
    "\"blood\"], \"gold\": 1, \"more\": {\"list\": [], \"yes\": false, \"real\": 7}}\n";

static void records_write(void)
{
    const char *data = work("data");

    if (path_exists(data))
        return;
    assert_int_equal(path_make_folder(data), 0);
    file_write(text("%s/frozen.test.jsonl", data), records);
    file_write(text("%s/frozen.validation.jsonl", data), records);
}

/* The run, with all six plugins out of a folder of tests/abi. */
static struct result run_with(const char *folder)
{
    const char *ini = work(text("%s.ini", folder)), *plugins[KINDS];

    records_write();
    for (int i = 0; i < KINDS; i++)
        plugins[i] = text(ABI_PLUGINS "/%s/%s.so", folder, kinds[i]);
    file_write(ini, text("[model]\nmodel_name = %s\nfamily = frozen\n"
                         "[calibration]\ndata = %s\nn_sentences = 2\nblock_size = 32\n"
                         "[group]\nnum_average_groups = 5\nsimilarity_base = frozen\n"
                         "cluster = frozen\nflip = yes\npower = 2\nscale = 0.75\nhow = squared\n"
                         "word = longer\nfile = %s.ini\n"
                         "[merge]\nmerge = frozen\n"
                         "[output]\noutput_path = %s\n"
                         "[eval]\ntask = frozen\ndata = %s\nnum_fewshot = 1\nsamples = %s\n"
                         "[run]\ndevice = frozen\nthreads = 2\nseed = 5\nquality_tokens = 16\n",
                         TINY_MIXTRAL, C4, folder, work(text("out-%s", folder)), work("data"),
                         work(text("samples-%s", folder))));
    return run("-q", "-c", ini, "--plugin", plugins[0], "--plugin", plugins[1], "--plugin",
               plugins[2], "--plugin", plugins[3], "--plugin", plugins[4], "--plugin", plugins[5]);
}

static void expect_same_run(const char *folder)
{
    static const char *const files[] = {"model.safetensors", "hcsmoe/statistics.safetensors"};

    if (!path_exists(work("out-today")))
        expect_status(run_with("today"), 0);
    struct result r = run_with(folder);
    if (r.status)
        fail_msg("tests/abi/%s: %s", folder, r.err);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        expect_equal_files(text("%s/%s", work("out-today"), files[i]),
                           text("%s/%s", work(text("out-%s", folder)), files[i]));
    expect_equal_files(work("samples-today"), work(text("samples-%s", folder)));
}

/* While the major is 0 these headers are a copy of today's, made by tests/abi/freeze.sh: when they
 * are not of the same minor, it has to be run. */
static void test_plugins_of_1_0_give_the_same_bits(void **state)
{
    (void)state;
    expect_same_run("v1_0");
}

static void test_plugins_of_the_future_give_the_same_bits(void **state)
{
    (void)state;
    expect_same_run("future");
}

/* They do something: with other options, and on another device, other bits come out. */
static void test_plugins_of_1_0_are_really_asked(void **state)
{
    const char *all[] = {"model", "similarity", "cluster", "merge", "task"};
    const char *argv[24] = {HCSMOE_BINARY, "-q", "-c", work("today.ini")};
    size_t n = 4, size, other_size;

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        argv[n++] = "--plugin";
        argv[n++] = text(ABI_PLUGINS "/today/%s.so", all[i]);
    }
    argv[n++] = "-s";
    argv[n++] = "run.device=cpu";
    argv[n++] = "-s";
    argv[n++] = "run.seed=6";
    argv[n++] = "-s";
    argv[n++] = text("output.output_path=%s", work("other"));
    argv[n] = NULL;
    expect_status(finish(start(argv, NULL, 0)), 0);
    expect_text(file_text(work("samples-today"), NULL), "\"doc\":1,\"loglikelihoods\"");
    const char *a = file_text(text("%s/model.safetensors", work("out-today")), &size);
    const char *b = file_text(text("%s/model.safetensors", work("other")), &other_size);
    assert_true(size != other_size || memcmp(a, b, size) != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plugins_of_1_0_give_the_same_bits),
        cmocka_unit_test(test_plugins_of_the_future_give_the_same_bits),
        cmocka_unit_test(test_plugins_of_1_0_are_really_asked),
    };
    return cmocka_run_group_tests(tests, e2e_begin, e2e_end);
}
