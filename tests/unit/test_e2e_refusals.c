/*
 * test_e2e_refusals.c - what an INI or a command line can say wrongly: one message each, that says
 * where, what, what is allowed; the right exit status; nothing left behind.
 *
 * Checkpoints, texts and tasks that are wrong are in test_e2e_inputs.c.
 * SPDX-License-Identifier: MIT
 */
#include "refusal.h"

/* The folder of plugins carries the ABI's major. */
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define MAJOR TEXT(HCSMOE_ABI_MAJOR)

/* The good INI with one line replaced; output "out". */
static struct result run_spoiled(const char *line, const char *with, const char *const *more)
{
    const char *argv[16] = {HCSMOE_BINARY, "-q", "-c", work("spoiled.ini")};
    size_t n = 4;
    ini_write("spoiled.ini", TINY_MIXTRAL, work("out"));
    if (line)
        text_replace(argv[3], line, with);
    for (size_t i = 0; more && more[i]; i++)
        argv[n++] = more[i];
    return finish(start(argv, NULL, 0));
}

struct spoiled {
    const char *line, *with, *parts[PARTS_MAX];
};

/* Line numbers are those of ini_write. */
static void test_wrong_ini_is_refused_at_its_line(void **state)
{
    static const struct spoiled all[] = {
        {"[merge]",
         "[mergee]",
         {"spoiled.ini:12: ", "no section [mergee] (have: model, ", "did you mean 'merge'?"}},
        {"threads",
         "thread",
         {"spoiled.ini:16: [run] no option 'thread'", "did you mean 'threads'?"}},
        {"cluster =",
         "linkag = average\ncluster =",
         {"spoiled.ini:10: [group] no option 'linkag'", "did you mean 'linkage'?"}},
        {"merge = freq",
         "merge = freq\neps = 1",
         {"spoiled.ini:13: [merge] no option 'eps' for freq"}},
        {"cluster = hierarchical",
         "cluster = hierarchal",
         {"spoiled.ini:10: [group] cluster: no 'hierarchal'",
          "hierarchical, hierarchical-dynamic, hirarchical, kmeans, none",
          "did you mean 'hierarchical'?"}},
        {"cluster = hierarchical",
         "cluster = hierarchical\nlinkage = averege",
         {"spoiled.ini:11: [group] linkage: no 'averege'", "single, complete, average, ward",
          "did you mean 'average'?"}},
        {"expert-output",
         "expert-outputs",
         {"spoiled.ini:9: [group] similarity_base", "'expert-outputs'", "router-logits",
          "did you mean 'expert-output'?"}},
        {"expert-output",
         "weight+weight",
         {"spoiled.ini:9: [group] similarity_base", "'weight' is given twice"}},
        {"freq",
         "frq",
         {"spoiled.ini:12: [merge] merge: no merge method 'frq' (have: ", "did you mean 'freq'?"}},
        {"freq", "no", {"spoiled.ini:12: [merge] merge = no", "[eval]"}},
        {"threads = 2",
         "threads = 2\nthreads = 3",
         {"spoiled.ini:17: [run] threads: given twice, first at line 16"}},
        {"n_sentences = 4",
         "n_sentences = 0",
         {"spoiled.ini:5: [calibration] n_sentences = 0: must be 1.."}},
        {"block_size = 128",
         "block_size = 1.5",
         {"spoiled.ini:6: [calibration] block_size = 1.5: must be a whole number, 2.."}},
        {"num_average_groups = 4",
         "num_average_groups = 9",
         {"spoiled.ini:8: [group] num_average_groups = 9: ", "8 experts"}},
        {"num_average_groups = 4",
         "num_average_groups = 4\nstart_layer = 4",
         {"spoiled.ini:9: [group] start_layer = 4: ", "layers 0..3"}},
        {"num_average_groups = 4\n", "", {"spoiled.ini: [group] num_average_groups is not set"}},
        {"block_size = 128",
         "block_size = 128\nusage_top_k = 9",
         {"spoiled.ini:7: [calibration] usage_top_k = 9: ", "8 experts"}},
        {"threads = 2", "threads = -1", {"spoiled.ini:16: [run] threads = -1: must be 0..4096"}},
        {"threads = 2",
         "memory_limit = 1M",
         {"spoiled.ini:16: [run] memory_limit = 1048576: the plan needs ", "n_sentences"}},
        {"threads = 2",
         "memory_limit = lots",
         {"spoiled.ini:16: [run] memory_limit = lots: must be a number of bytes"}},
        {"threads = 2", "device = gpu", {"spoiled.ini:16: [run] device: no device 'gpu'", "cpu"}},
        {"threads = 2",
         "device = cpu:x",
         {"spoiled.ini:16: [run] device = cpu:x: the part after ':' must be"}},
        {"threads = 2", "dtype = f31", {"spoiled.ini:16: [run] dtype: no 'f31' (have: f32"}},
        {"threads = 2", "threads", {"spoiled.ini:16: not 'key = value'"}},
        {"[run]", "[run", {"spoiled.ini:15: ", "'[run'"}},
        {"[model]\n", "", {"spoiled.ini:1: key 'model_name' stands before the first [section]"}},
        {"model_name = ",
         "family = mixtrl\nmodel_name = ",
         {"spoiled.ini:2: [model] family: no model family 'mixtrl'", "did you mean 'mixtral'?"}},
        {"[output]\n",
         "[output]\nlayout = maped\n",
         {"spoiled.ini:14: [output] layout: no 'maped' (have: mapped, expanded",
          "did you mean 'mapped'?"}},
        {"[output]\n",
         "[output]\noverwrite = maybe\n",
         {"spoiled.ini:14: [output] overwrite = maybe: must be yes or no"}},
        {"[run]\n", "[eval]\nlimit = 2\n[run]\n", {"spoiled.ini: [eval] task is not set"}},
        {"[run]\n",
         "[eval]\ntask = winogrand\n[run]\n",
         {"spoiled.ini:16: [eval] task: no task 'winogrand'", "did you mean 'winogrande'?"}},
        {"[run]\n", "[eval]\ntask = winogrande\n[run]\n", {"[eval] data is not set", "winogrande"}},
        {"[run]\n", "[eval]\ntask = perplexity\n[run]\n", {"[eval] text is not set", "perplexity"}},
        {"[run]\n",
         "[eval]\ntask = winogrande\nnum_fewshots = 2\n[run]\n",
         {"spoiled.ini:17: [eval] no option 'num_fewshots'", "did you mean 'num_fewshot'?"}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        expect_refused(run_spoiled(all[i].line, all[i].with, NULL), 2, all[i].parts);
}

static void test_missing_things_are_refused_at_their_line(void **state)
{
    const char *file = work("a-file");
    file_write(file, "not a checkpoint");
    const struct spoiled all[] = {
        {"model_name = " TINY_MIXTRAL,
         "model_name = /no/such/folder",
         {"spoiled.ini:2: [model] model_name", "/no/such/folder: no such folder"}},
        {"model_name = " TINY_MIXTRAL,
         "model_name = mistralai/Mixtral-8x7B-v0.1",
         {"spoiled.ini:2: [model] model_name", "no such folder",
          "huggingface-cli download mistralai/Mixtral-8x7B-v0.1 --local-dir"}},
        {"model_name = " TINY_MIXTRAL,
         text("model_name = %s", file),
         {"spoiled.ini:2: [model] model_name", "not a folder", "config.json"}},
        {"model_name = " TINY_MIXTRAL,
         text("model_name = %s", SOURCE_DIR "/config"),
         {SOURCE_DIR "/config: no config.json here"}},
        {"model_name = " TINY_MIXTRAL "\n", "", {"spoiled.ini: [model] model_name is not set"}},
        {"data = " C4,
         "data = none.jsonl",
         {"spoiled.ini:4: [calibration] data", "no such file", "none.jsonl"}},
        {"data = " C4 "\n", "", {"spoiled.ini: [calibration] data is not set"}},
        {text("output_path = %s\n", work("out")), "", {"spoiled.ini: [output] output_path is not"}},
        {text("output_path = %s", work("out")),
         "output_path = a-file",
         {"spoiled.ini:14: [output] output_path", "a file of that name is there"}},
        {text("output_path = %s", work("out")),
         "output_path = " TINY_MIXTRAL "/sub",
         {"spoiled.ini:14: [output] output_path", "inside the input"}},
        {"[run]\n",
         "[plugins]\nload = ./nope.so\n[run]\n",
         {"spoiled.ini:16: [plugins] load", "nope.so: cannot open plugin: No such file"}},
        {"[run]\n",
         "[plugins]\nload = nope.so\n[run]\n",
         {"spoiled.ini:16: [plugins] load: no plugin file 'nope.so' (tried: ",
          "lib/hcsmoe/" PLUGIN_FOLDER, "'./nope.so'"}},
        {"[run]\n", "[eval]\ntask = perplexity\ntext = none.txt\n[run]\n", {"none.txt", "No such"}},
        {"[run]\n", "[eval]\ntask = winogrande\ndata = none\n[run]\n", {"none: no such folder"}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        expect_refused(run_spoiled(all[i].line, all[i].with, NULL), 2, all[i].parts);
}

static void test_wrong_assignment_is_refused_with_its_text(void **state)
{
    static const struct {
        const char *assignment, *parts[PARTS_MAX];
    } all[] = {
        {"groupstart", {"-s 'groupstart': not section.key=value"}},
        {"group.cluster", {"-s 'group.cluster': not section.key=value"}},
        {"group.cluster=kmean", {"-s group.cluster", "did you mean 'kmeans'?"}},
        {"grup.cluster=kmeans", {"-s grup.cluster", "did you mean 'group'?"}},
        {"group.start_laye=1", {"-s group.start_laye", "did you mean 'start_layer'?"}},
        {"eval.task=winogrande,winogrande", {"-s eval.task", "there twice"}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        expect_refused(
            run_spoiled(NULL, NULL, (const char *const[]){"-s", all[i].assignment, NULL}), 2,
            all[i].parts);
}

static void test_ini_that_cannot_be_read_is_refused(void **state)
{
    (void)state;
    expect_refused(run("-c", work("none.ini")), 2, PARTS("none.ini: cannot open: No such file"));
    expect_refused(run("check", "-c", work("none.ini")), 2, PARTS("none.ini: cannot open"));
    expect_refused(run("config", "-c", work("none.ini")), 2, PARTS("none.ini: cannot open"));
    struct str s = {0};
    str_add(&s, "[model]\nmodel_name = ");
    for (int i = 0; i < 300; i++)
        str_add(&s, "x");
    file_write(work("long.ini"), str_text(&s));
    str_release(&s);
    expect_refused(run("-c", work("long.ini")), 2,
                   PARTS("long.ini:2: line of 313 bytes, at most ", "indented line"));
}

static void test_wrong_command_lines_are_usage_errors(void **state)
{
    (void)state;
    expect_refused(finish(start((const char *const[]){HCSMOE_BINARY, NULL}, NULL, 0)), 2,
                   PARTS("no command", "usage: hcsmoe COMMAND"));
    expect_refused(run("frobnicate"), 2, PARTS("no command 'frobnicate'", "hcsmoe help"));
    expect_refused(run("inspct", "x"), 2, PARTS("did you mean 'inspect'?"));
    expect_refused(run("-c"), 2, PARTS("-c wants a value"));
    expect_refused(run("run"), 2, PARTS("-c FILE is missing", "usage: hcsmoe [run] -c FILE"));
    expect_refused(run("run", "--bogus"), 2, PARTS("no option '--bogus'"));
    expect_refused(run("check"), 2, PARTS("-c FILE is missing", "usage: hcsmoe check"));
    expect_refused(run("eval", "-c", "x.ini"), 2, PARTS("-m FOLDER is missing"));
    expect_refused(run("score"), 2, PARTS("-m FOLDER is missing"));
    expect_refused(run("tokenize"), 2, PARTS("-m FOLDER is missing"));
    expect_refused(run("inspect"), 2, PARTS("usage: hcsmoe inspect FOLDER"));
    expect_refused(run("expand", "x"), 2, PARTS("usage: hcsmoe expand IN OUT"));
    expect_refused(run("tokenize", "-m", "x", "-c", "y"), 2, PARTS("tokenize does not take -c"));
    expect_refused(run("help", "merge.frq"), 2, PARTS("'frq'", "did you mean 'freq'?"));
    expect_refused(run("help", "mrge.freq"), 2, PARTS("no kind 'mrge'", "merge"));
}

static void test_missing_folders_of_other_commands_are_refused(void **state)
{
    const char *none = work("none"), *ini = work("eval.ini");
    (void)state;
    file_write(ini, "[eval]\ntask = winogrande\ndata = " SOURCE_DIR "/config/data/eval\n");
    expect_refused(run("inspect", none), 2, PARTS("none: no such folder"));
    expect_refused(run("inspect", "mistralai/Mixtral-8x7B-v0.1"), 2, PARTS("huggingface-cli"));
    expect_refused(run("score", "-m", none), 2, PARTS("none: no such folder"));
    expect_refused(run("tokenize", "-m", none), 2, PARTS("none"));
    expect_refused(run("eval", "-m", none, "-c", ini), 2, PARTS("none: no such folder"));
    expect_refused(run("expand", none, work("out")), 2, PARTS("none: no such folder"));
    expect_refused(run("expand", TINY_MIXTRAL, work("out")), 2,
                   PARTS("tiny-mixtral: not a checkpoint of layout mapped"));
}

static void test_missing_plugin_lists_every_path_tried(void **state)
{
    (void)state;
    expect_refused(
        run("plugins", "--plugin", "nope.so"), 2,
        PARTS("no plugin file 'nope.so' (tried: ", "/.local/share/hcsmoe/" PLUGIN_FOLDER ", ",
              "lib/hcsmoe/" PLUGIN_FOLDER, "'./nope.so'"));
    expect_refused(run("plugins", "--plugin", "./nope.so"), 2,
                   PARTS("./nope.so: cannot open plugin: No such file"));
    expect_refused(run("plugins", "--plugin", SOURCE_DIR "/LICENSE"), 2, PARTS("LICENSE"));
}

/* The program alone, without its plugins beside it. */
static void test_program_without_plugins_lists_every_path_tried(void **state)
{
    const char *alone = work("alone/bin/hcsmoe");
    size_t size;
    char *bytes = NULL;
    (void)state;
    if (path_exists("/usr/local/lib/hcsmoe"))
        return; /* an installed set would be found */
    assert_int_equal(path_make_folder(work("alone/bin")), 0);
    assert_int_equal(path_read(HCSMOE_BINARY, E2E_FILE_MAX, &bytes, &size), 0);
    assert_int_equal(path_write(alone, bytes, size), 0);
    mem_free(bytes);
    assert_int_equal(chmod(alone, 0700), 0);
    const char *ini = ini_write("alone.ini", TINY_MIXTRAL, work("out"));
    const char *const argv[] = {alone, "-c", ini, NULL};
    expect_refused(finish(start(argv, NULL, 0)), 2,
                   PARTS("no plugin was found (tried: ", work("alone/lib/hcsmoe/" PLUGIN_FOLDER),
                         "/.local/share/hcsmoe/" PLUGIN_FOLDER));
}

static void test_output_folder_that_holds_something_is_refused(void **state)
{
    const char *out = work("full");
    (void)state;
    assert_int_equal(mkdir(out, 0700), 0);
    file_write(text("%s/precious.txt", out), "precious");
    struct result r = run("-q", "-c", ini_write("full.ini", TINY_MIXTRAL, out));
    expect_refused(
        r, 2,
        PARTS("full.ini:14: [output] output_path", "exists and is not empty", "overwrite = yes"));
    assert_string_equal(file_text(text("%s/precious.txt", out), NULL), "precious");
}

static void test_disk_that_fills_up_leaves_nothing(void **state)
{
    const char *ini = ini_write("disk.ini", TINY_MIXTRAL, work("out"));
    (void)state;
    /* Above what the log needs, below the checkpoint. */
    struct result r = finish(start(ARGV("-q", "-c", ini), NULL, 1 << 20));
    expect_refused(r, 1, PARTS(work("out"), "File too large"));
}

static void test_interrupted_run_leaves_nothing(void **state)
{
    const char *ini = ini_write("long-run.ini", TINY_MIXTRAL, work("out"));
    bool begun = false;
    (void)state;
    const pid_t pid = start(ARGV("-q", "-c", ini, "-s", "calibration.n_sentences=250", "-s",
                                 "calibration.block_size=512"),
                            NULL, 0);
    const char *incomplete = work(text("out.incomplete-%ld", (long)pid));
    for (int i = 0; i < 2000 && !begun; i++) {
        usleep(10000);
        begun = path_exists(incomplete);
    }
    assert_true(begun);
    usleep(100000);
    assert_int_equal(kill(pid, SIGTERM), 0);
    expect_refused(finish(pid), 130, PARTS("interrupted"));
}

static void test_a_table_with_kernels_missing_is_refused(void **state)
{
    static const struct {
        const char *wanted, *message;
    } all[] = {
        {"none", "kernels/bad-table: gave no table of kernels"},
        {"size", "kernels/bad-table: struct_size 40 of its table: must be at least 296"},
        {"route", "kernels/bad-table: the kernel route is missing in its table"},
        {"host", "kernels/bad-table: its table has no host"},
        {"device", "kernels/bad-table: its table is of device 5, this hcsmoe knows 0..1"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        assert_int_equal(setenv("HCSMOE_TEST_BAD", all[i].wanted, 1), 0);
        expect_refused(run("inspect", "--plugin", BAD_PLUGINS "/bad_table.so", "-s",
                           "run.device=bad-table", TINY_MIXTRAL),
                       2, PARTS(all[i].message));
    }
    unsetenv("HCSMOE_TEST_BAD");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_ini_is_refused_at_its_line),
        cmocka_unit_test(test_missing_things_are_refused_at_their_line),
        cmocka_unit_test(test_wrong_assignment_is_refused_with_its_text),
        cmocka_unit_test(test_ini_that_cannot_be_read_is_refused),
        cmocka_unit_test(test_wrong_command_lines_are_usage_errors),
        cmocka_unit_test(test_missing_folders_of_other_commands_are_refused),
        cmocka_unit_test(test_missing_plugin_lists_every_path_tried),
        cmocka_unit_test(test_program_without_plugins_lists_every_path_tried),
        cmocka_unit_test(test_output_folder_that_holds_something_is_refused),
        cmocka_unit_test(test_disk_that_fills_up_leaves_nothing),
        cmocka_unit_test(test_interrupted_run_leaves_nothing),
        cmocka_unit_test(test_a_table_with_kernels_missing_is_refused),
    };
    return cmocka_run_group_tests(tests, e2e_begin, e2e_end);
}
