/*
 * test_e2e_hostile.c - checkpoints and paths that lead elsewhere: what is read through links, what is
 * never written to, what is noticed while a run goes on.
 *
 * SPDX-License-Identifier: MIT
 */
#include "refusal.h"

/* A checkpoint of its own: copies, so that a test that goes wrong harms nothing. */
static const char *checkpoint_copy(const char *name)
{
    const char *to = work(name);
    DIR *d = opendir(TINY_MIXTRAL);
    assert_non_null(d);
    assert_int_equal(path_make_folder(to), 0);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        size_t n;
        const char *bytes;
        if (e->d_name[0] == '.')
            continue;
        bytes = file_text(text(TINY_MIXTRAL "/%s", e->d_name), &n);
        assert_int_equal(path_write(text("%s/%s", to, e->d_name), bytes, n), 0);
    }
    closedir(d);
    return to;
}

/* Names, sizes and modification times of a folder, in order of name. */
static const char *listing(const char *folder)
{
    struct dirent **all;
    struct str s = {0};
    const int n = scandir(folder, &all, NULL, alphasort);
    assert_true(n >= 2);
    for (int i = 0; i < n; i++) {
        struct stat st;
        if (strcmp(all[i]->d_name, "..") != 0) {
            assert_int_equal(lstat(text("%s/%s", folder, all[i]->d_name), &st), 0);
            str_addf(&s, "%s %lld %lld.%09ld\n", all[i]->d_name, (long long)st.st_size,
                     (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
        }
        free(all[i]); /* from scandir */
    }
    free(all); /* from scandir */
    const char *kept = text("%s", str_text(&s));
    str_release(&s);
    return kept;
}

/* As the Hugging Face hub keeps it: snapshots/REVISION/NAME -> ../../blobs/SUM. */
static const char *cache_make(const char *name)
{
    const char *from = checkpoint_copy(text("%s/blobs", name)),
               *to = work(text("%s/snapshots/1", name));
    DIR *d = opendir(TINY_MIXTRAL);
    int n = 0;
    assert_non_null(d);
    assert_int_equal(path_make_folder(to), 0);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        const char *sum = text("%040x", ++n);
        if (e->d_name[0] == '.')
            continue;
        assert_int_equal(rename(text("%s/%s", from, e->d_name), text("%s/%s", from, sum)), 0);
        assert_int_equal(symlink(text("../../blobs/%s", sum), text("%s/%s", to, e->d_name)), 0);
    }
    closedir(d);
    return to;
}

static void test_a_cache_of_links_is_read_and_copied_as_files(void **state)
{
    const char *in = cache_make("cache"), *out = work("cache-out");
    struct stat st;
    (void)state;
    expect_status(run("-q", "-c", ini_write("cache.ini", in, out)), 0);
    expect_equal_files(text("%s/tokenizer.json", out), TINY_MIXTRAL "/tokenizer.json");
    expect_equal_files(text("%s/generation_config.json", out),
                       TINY_MIXTRAL "/generation_config.json");
    assert_int_equal(lstat(text("%s/tokenizer.json", out), &st), 0);
    assert_true(S_ISREG(st.st_mode));
    expect_clean();
}

static void test_links_out_of_the_checkpoint_are_not_carried_off(void **state)
{
    const char *in = checkpoint_copy("links"), *out = work("links-out");
    (void)state;
    file_write(work("secret"), "secret");
    file_write(work("tokenizer.model"), "a tokenizer of all models");
    assert_int_equal(symlink(work("secret"), text("%s/notes.md", in)), 0);
    assert_int_equal(symlink(work("secret"), text("%s/merges.txt", in)), 0);
    assert_int_equal(symlink("generation_config.json", text("%s/generation.json", in)), 0);
    assert_int_equal(symlink(work("tokenizer.model"), text("%s/tokenizer.model", in)), 0);
    struct result r = run("-q", "-c", ini_write("links.ini", in, out));
    expect_status(r, 0);
    expect_text(r.err, text("%s/notes.md: not copied: a link to %s, outside of the checkpoint", in,
                            work("secret")));
    assert_false(path_exists(text("%s/notes.md", out)));
    assert_false(path_exists(text("%s/merges.txt", out)));
    expect_equal_files(text("%s/generation.json", out), TINY_MIXTRAL "/generation_config.json");
    expect_equal_files(text("%s/tokenizer.model", out), work("tokenizer.model"));
}

static void refuse_output(const char *in, const char *output, const char *part)
{
    const char *ini = ini_write("hostile.ini", in, output), *before = listing(in);
    expect_refused(run("-q", "-c", ini, "-s", "output.overwrite=yes"), 2,
                   PARTS("hostile.ini:14: [output] output_path: ", part));
    expect_refused(run("-q", "check", "-c", ini, "-s", "output.overwrite=yes"), 2, PARTS(part));
    assert_string_equal(listing(in), before);
}

static void test_output_inside_the_input_is_refused_however_it_is_spelled(void **state)
{
    const char *in = checkpoint_copy("in/model");
    (void)state;
    assert_int_equal(symlink(in, work("alias")), 0);
    assert_int_equal(symlink("nowhere", work("dangling")), 0);
    assert_int_equal(mkdir(work("full"), 0700), 0);
    file_write(work("full/precious"), "precious");
    static const struct {
        const char *output, *part;
    } all[] = {
        {"in/model", "inside the input"},
        {"in/model/", "inside the input"},
        {"in/model/.", "inside the input"},
        {"in/model/../model", "inside the input"},
        {"in//model/sub/deep/", "inside the input"},
        {"in/model/./sub", "inside the input"},
        {"alias/sub", "inside the input"},
        {"alias/.", "inside the input"},
        {"alias", "a link is there; name the folder that it leads to"},
        {"alias/", "a link is there; name the folder that it leads to"},
        {"dangling", "a link is there; name the folder that it leads to"},
        {"dangling/sub", "a link that leads nowhere"},
        {"in", "inside the input"},
        {".", "inside the input"},
        {"new/../in/model/sub", "'..' behind a folder that is not there"},
        {"in/model/config.json", "a file of that name is there"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        refuse_output(in, work(all[i].output), all[i].part);
        assert_false(path_exists(work("new")));
    }
    /* The input under another name is the same input. */
    refuse_output(work("alias"), work("in/model/sub"), "inside the input");
    expect_refused(run("-q", "expand", in, text("%s/sub", in)), 2, PARTS("layout mapped"));
}

static void test_output_around_files_that_links_lead_to_is_refused(void **state)
{
    const char *in = cache_make("blobs"), *blobs = work("blobs/blobs"), *before = listing(blobs);
    const char *weights = checkpoint_copy("weights");
    (void)state;
    expect_refused(
        run("-q", "-c", ini_write("blobs.ini", in, blobs), "-s", "output.overwrite=yes"), 2,
        PARTS("blobs.ini:14: [output] output_path: output folder ", "holds ", " of the input"));
    assert_string_equal(listing(blobs), before);
    /* model_path: the weights are elsewhere. */
    expect_refused(run("-q", "-c", ini_write("weights.ini", TINY_MIXTRAL, text("%s/sub", weights)),
                       "-s", text("model.model_path=%s", weights)),
                   2, PARTS("inside the input", weights));
}

static void test_links_to_the_output_are_replaced_by_nothing(void **state)
{
    const char *out = work("linked/out");
    (void)state;
    assert_int_equal(mkdir(work("linked"), 0700), 0);
    assert_int_equal(mkdir(work("elsewhere"), 0700), 0);
    file_write(work("elsewhere/shard-00001.tmp"), "precious");
    /* The name that a run will take for its unfinished output leads elsewhere. */
    const char *ini = ini_write("linked.ini", TINY_MIXTRAL, out);
    const char *const argv[] = {
        "/bin/sh",         "-c", "ln -s \"$3\" \"$2.incomplete-$$\"; exec \"$0\" -q -c \"$1\"",
        HCSMOE_BINARY,     ini,  out,
        work("elsewhere"), NULL};
    expect_status(finish(start(argv, NULL, 0)), 0);
    assert_true(path_exists(text("%s/model.safetensors", out)));
    assert_string_equal(file_text(work("elsewhere/shard-00001.tmp"), NULL), "precious");
    assert_false(path_exists(work("elsewhere/hcsmoe")));
}

static void test_results_never_go_to_a_file_of_the_input(void **state)
{
    const char *in = checkpoint_copy("results"), *before, *ini = work("results.ini");
    const char *weights = text("%s/model.safetensors", in), *config = text("%s/config.json", in);
    const char *ours = ini_write("ours.ini", in, work("out"));
    (void)state;
    file_write(ini,
               "[eval]\ntask = winogrande\nlimit = 2\ndata = " SOURCE_DIR "/config/data/eval\n");
    assert_int_equal(link(weights, work("hard")), 0);
    assert_int_equal(symlink(config, work("soft")), 0);
    before = listing(in);
    expect_refused(
        run("-q", "-c", ours, "-s", text("output.result_path=%s", weights)), 2,
        PARTS("-s output.result_path: ", weights, " is the input's ", "not overwritten"));
    expect_refused(run("-q", "-c", ours, "-s", text("output.result_path=%s", work("hard"))), 2,
                   PARTS("is the input's ", weights));
    expect_refused(run("-q", "eval", "-m", in, "-c", ini, "--json", work("soft")), 2,
                   PARTS("--json: ", "soft is the input's ", config));
    expect_refused(
        run("-q", "eval", "-m", in, "-c", ini, "-s", text("eval.samples=%s/./config.json", in)), 2,
        PARTS("-s eval.samples: ", "is the input's "));
    expect_refused(run("-q", "-c", ours, "--trace", text("%s/tokenizer.json", in)), 2,
                   PARTS("--trace: ", "is the input's "));
    expect_refused(run("-q", "score", "-m", in, "--trace", config), 2, PARTS("--trace: "));
    expect_refused(
        run("-q", "sweep", "-c", ours, "--set", "group.linkage=single,average", "--json", config),
        2, PARTS("--json: ", "is the input's "));
    assert_string_equal(listing(in), before);
}

/* Starts a run that takes a while, changes something once it is at work, and wants it to be noticed. */
static void expect_noticed(const char *name, void (*change)(const char *in), const char *file,
                           const char *what)
{
    const char *in = checkpoint_copy(name);
    const char *ini = ini_write("noticed.ini", in, work("out"));
    bool begun = false;
    const pid_t pid = start(ARGV("-q", "-c", ini, "-s", "calibration.n_sentences=150"), NULL, 0);
    const char *incomplete = work(text("out.incomplete-%ld", (long)pid));
    for (int i = 0; i < 20000 && !begun; i++) {
        usleep(1000);
        begun = path_exists(incomplete);
    }
    assert_true(begun);
    change(in);
    expect_refused(finish(pid), 1, PARTS(text("%s/%s: changed while in use: %s", in, file, what)));
}

static void weights_replace(const char *in)
{
    const char *from = text("%s/model.safetensors", in), *to = text("%s/other", in);
    size_t n;
    const char *bytes = file_text(from, &n);
    assert_int_equal(path_write(to, bytes, n), 0);
    assert_int_equal(rename(to, from), 0);
}

static void weights_grow(const char *in)
{
    assert_int_equal(path_append(text("%s/model.safetensors", in), "x", 1), 0);
}

static void config_touch(const char *in)
{
    const struct timespec old[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    assert_int_equal(utimensat(AT_FDCWD, text("%s/config.json", in), old, 0), 0);
}

static void tokenizer_grow(const char *in)
{
    assert_int_equal(path_append(text("%s/tokenizer.json", in), " ", 1), 0);
}

static void test_files_that_change_while_a_run_goes_on_are_noticed(void **state)
{
    (void)state;
    expect_noticed("swapped", weights_replace, "model.safetensors", "another file is there now");
    expect_noticed("grown", weights_grow, "model.safetensors", "its size is another now");
    expect_noticed("config", config_touch, "config.json", "it was written to");
    expect_noticed("tokenizer", tokenizer_grow, "tokenizer.json", "its size is another now");
}

/* One file of the checkpoint has another text. */
static void refuse_text(const char *name, const char *file, const char *content, const char *part)
{
    const char *in = checkpoint_copy(name);
    file_write(text("%s/%s", in, file), content);
    expect_refused(run("-q", "-c", ini_write("text.ini", in, work("out"))), 2, PARTS(file, part));
}

static void test_json_that_can_be_read_in_two_ways_is_refused(void **state)
{
    struct str deep = {0};
    (void)state;
    refuse_text("twice-1", "config.json",
                "{\"model_type\": \"mixtral\", \"model_type\": \"olmoe\"}",
                ":1:38: duplicate object key near '\"model_type\"'");
    refuse_text("twice-2", "tokenizer_config.json", "{\"bos_token\": \"a\", \"bos_token\": \"b\"}",
                "duplicate object key near '\"bos_token\"'");
    refuse_text("twice-3", "tokenizer.json", "{\"model\": {}, \"model\": {}}",
                "duplicate object key near '\"model\"'");
    refuse_text("nul-1", "config.json", "{\"model_type\": \"mix\\u0000tral\"}",
                "\\u0000 is not allowed");
    refuse_text("nul-2", "config.json", "{\"model\\u0000type\": 1}",
                "NUL byte in object key not supported");
    for (int i = 0; i < 65; i++)
        str_add(&deep, "[");
    refuse_text("deep-1", "config.json", str_text(&deep), ":1:65: nested deeper than 64 levels");
    refuse_text("deep-2", "tokenizer.json", str_text(&deep), ":1:65: nested deeper than 64 levels");
    str_release(&deep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_cache_of_links_is_read_and_copied_as_files),
        cmocka_unit_test(test_links_out_of_the_checkpoint_are_not_carried_off),
        cmocka_unit_test(test_output_inside_the_input_is_refused_however_it_is_spelled),
        cmocka_unit_test(test_output_around_files_that_links_lead_to_is_refused),
        cmocka_unit_test(test_links_to_the_output_are_replaced_by_nothing),
        cmocka_unit_test(test_results_never_go_to_a_file_of_the_input),
        cmocka_unit_test(test_files_that_change_while_a_run_goes_on_are_noticed),
        cmocka_unit_test(test_json_that_can_be_read_in_two_ways_is_refused),
    };
    return cmocka_run_group_tests(tests, e2e_begin, e2e_end);
}
