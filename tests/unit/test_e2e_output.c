/*
 * test_e2e_output.c - the folder that a run leaves: files, keys, tensors, and that it serves as
 * input again.
 *
 * SPDX-License-Identifier: MIT
 */
#include "e2e.h"

#define EQUAL_MOST 1e-5

/* One merged tiny Mixtral, made once: 5 groups from layer 1 on, evaluated. */
static const char *merged;

static int begin(void **state)
{
    if (e2e_begin(state))
        return -1;
    merged = work("merged");
    const char *ini = ini_write("run.ini", TINY_MIXTRAL, merged);
    struct result r =
        run("-c", ini, "-s", "group.num_average_groups=5", "-s", "group.start_layer=1", "-s",
            "eval.task=winogrande", "-s", "eval.data=" SOURCE_DIR "/config/data/eval", "-s",
            "eval.limit=4", "-s", "eval.before=yes", "-s",
            text("output.result_path=%s/sub/result.txt", e2e.work));
    if (r.status)
        print_error("exit status %d: %s\n", r.status, r.err);
    return r.status;
}

static const char *layer_name(int layer, const char *rest)
{
    return text("model.layers.%d.block_sparse_moe.%s", layer, rest);
}

static void test_small_files_are_copied_and_only_documented_ones_added(void **state)
{
    static const char *const files[] = {"generation_config.json", "tokenizer.json",
                                        "tokenizer_config.json"};
    static const char *const allowed[] = {"config.json", "model.safetensors", "hcsmoe",
                                          "modeling_hcsmoe.py"};
    size_t n = 0;
    (void)state;
    for (size_t i = 0; i < 3; i++)
        expect_equal_files(text("%s/%s", merged, files[i]), text("%s/%s", TINY_MIXTRAL, files[i]));
    DIR *d = opendir(merged);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        bool known = e->d_name[0] == '.';
        for (size_t i = 0; i < 4; i++)
            known =
                known || !strcmp(e->d_name, allowed[i]) || (i < 3 && !strcmp(e->d_name, files[i]));
        if (!known)
            fail_msg("%s is in the output", e->d_name);
        n += e->d_name[0] != '.';
    }
    closedir(d);
    assert_int_equal(n, 7);
    expect_clean();
}

static void test_config_json_says_how_it_was_made(void **state)
{
    (void)state;
    const json_t *c = json_read(text("%s/config.json", merged)),
                 *in = json_read(TINY_MIXTRAL "/config.json");
    const char *key;
    json_t *value;
    assert_string_equal(json_string_value(json_array_get(json_at(c, "architectures"), 0)),
                        "HcsmoeMixtralForCausalLM");
    assert_string_equal(json_string_value(json_at(c, "model_type")), "hcsmoe_mixtral");
    assert_int_equal(json_integer_value(json_at(c, "hcsmoe.format")), 1);
    assert_string_equal(json_string_value(json_at(c, "hcsmoe.layout")), "mapped");
    assert_string_equal(json_string_value(json_at(c, "hcsmoe.model")), "tiny-mixtral");
    assert_string_equal(json_string_value(json_at(c, "hcsmoe.method.similarity_base")),
                        "expert-output");
    assert_string_equal(json_string_value(json_at(c, "hcsmoe.method.cluster")), "hierarchical");
    assert_string_equal(json_string_value(json_at(c, "hcsmoe.method.linkage")), "average");
    assert_string_equal(json_string_value(json_at(c, "hcsmoe.method.merge")), "freq");
    assert_int_equal(json_integer_value(json_at(c, "hcsmoe.calibration.tokens")), 512);
    assert_int_equal(strlen(json_string_value(json_at(c, "hcsmoe.calibration.sha256"))), 64);
    assert_non_null(json_at(c, "hcsmoe.version"));
    assert_null(json_object_get(json_at(c, "hcsmoe.layers"), "0"));
    assert_int_equal(json_integer_value(json_at(c, "hcsmoe.layers.1.experts")), 5);
    json_object_foreach((json_t *)(uintptr_t)in, key,
                        value) if (strcmp(key, "architectures") && strcmp(key, "model_type"))
        assert_true(json_equal(json_at(c, key), value));
}

static void report_layer_check(const json_t *l)
{
    double share = 0;
    json_int_t pairs = 0;
    for (size_t e = 0; e < 8; e++) {
        share += json_number_value(json_array_get(json_at(l, "usage"), e));
        pairs += json_integer_value(json_array_get(json_at(l, "usage_counts"), e));
    }
    assert_true(fabs(share - 1) < 1e-9);
    assert_int_equal(pairs, 2 * 512);
    assert_int_equal(json_array_size(json_at(l, "groups")), 8);
    assert_int_equal(json_integer_value(json_array_get(json_at(l, "groups"), 0)), 0);
    assert_int_equal(json_array_size(json_at(l, "merges")), 7);
    assert_non_null(json_at(json_array_get(json_at(l, "merges"), 0), "gap"));
    assert_true(json_is_array(json_at(l, "warnings")));
    /* The first join is that of the least distance, which the report has to six digits. */
    const json_t *distances = json_at(l, "distances");
    double least = INFINITY;
    assert_int_equal(json_array_size(distances), 8 * 7 / 2);
    for (size_t i = 0; i < 28; i++)
        least = fmin(least, json_real_value(json_array_get(distances, i)));
    const double height =
        json_number_value(json_at(json_array_get(json_at(l, "merges"), 0), "height"));
    assert_true(fabs(least - height) <= 5e-6 * height);
    const double error = json_number_value(json_at(l, "output_error"));
    assert_true(error > 0 && error < 2);
}

static void test_report_has_the_documented_members(void **state)
{
    static const char *const there[] = {"format",
                                        "version",
                                        "config.group.linkage",
                                        "model.parameters",
                                        "model.bytes",
                                        "result.parameters",
                                        "result.bytes",
                                        "calibration.documents",
                                        "calibration.sha256",
                                        "eval.before.winogrande.acc",
                                        "eval.after.winogrande.acc_stderr",
                                        "eval.after.winogrande.alias",
                                        "eval.after.winogrande.num_fewshot",
                                        "time_s.total",
                                        "time_s.read",
                                        "time_s.calibrate",
                                        "time_s.merge",
                                        "time_s.write",
                                        "time_s.eval",
                                        "memory.planned_bytes",
                                        "plan.flops",
                                        "plan.read_bytes",
                                        "plan.peak_bytes",
                                        "io.read_bytes",
                                        "io.written_bytes",
                                        "reproduce.run_ini",
                                        "reproduce.statistics_key"};
    (void)state;
    const json_t *r = json_read(text("%s/hcsmoe/report.json", merged)),
                 *c = json_read(text("%s/config.json", merged));
    json_t *l;
    size_t i;
    for (i = 0; i < sizeof there / sizeof *there; i++)
        assert_non_null(json_at(r, there[i]));
    assert_string_equal(json_string_value(json_at(r, "model.family")), "mixtral");
    assert_int_equal(json_integer_value(json_at(r, "model.layers")), 4);
    assert_int_equal(json_integer_value(json_at(r, "model.experts")), 8);
    assert_int_equal(json_integer_value(json_at(r, "model.top_k")), 2);
    assert_int_equal(json_integer_value(json_at(r, "calibration.tokens")), 512);
    assert_int_equal(json_integer_value(json_at(r, "eval.after.winogrande.n")), 4);
    assert_true(json_integer_value(json_at(r, "memory.peak_rss_bytes")) > 1000000);
    /* The layer before start_layer is counted, but is no layer of the report. */
    json_t *experts = json_pack("[i, i, i, i]", 8, 5, 5, 5);
    assert_true(json_equal(json_at(r, "result.experts_per_layer"), experts));
    json_decref(experts);
    assert_int_equal(json_array_size(json_at(r, "layers")), 3);
    json_array_foreach(json_at(r, "layers"), i, l)
    {
        assert_int_equal(json_integer_value(json_at(l, "layer")), i + 1);
        assert_true(
            json_equal(json_at(l, "groups"), json_at(c, text("hcsmoe.layers.%zu.groups", i + 1))));
        report_layer_check(l);
    }
}

static void test_reported_sizes_are_those_of_the_tensors(void **state)
{
    (void)state;
    const json_t *r = json_read(text("%s/hcsmoe/report.json", merged));
    int64_t parameters = 0;
    struct shards s;
    shards_of(&s, merged);
    for (size_t i = 0; i < s.n_tensors; i++) {
        const struct st_entry *e = shards_at(&s, i);
        if (e->dtype != HCSMOE_DTYPE_I64)
            parameters += (int64_t)(e->size / hcsmoe_dtype_size(e->dtype));
    }
    assert_int_equal(json_integer_value(json_at(r, "result.bytes")), s.bytes);
    assert_int_equal(json_integer_value(json_at(r, "result.parameters")), parameters);
    assert_int_equal(json_integer_value(json_at(r, "model.parameters")) - parameters,
                     3 * 3 * 3 * 128 * 192); /* layers, experts, matrices */
    shards_close(&s);
}

static void test_router_and_everything_else_keep_their_bytes(void **state)
{
    (void)state;
    struct shards in, out;
    size_t n = 0;
    shards_of(&in, TINY_MIXTRAL);
    shards_of(&out, merged);
    for (size_t i = 0; i < in.n_tensors; i++) {
        const char *name = shards_at(&in, i)->name;
        if (strstr(name, ".experts.") && !str_starts(name, "model.layers.0."))
            continue;
        expect_equal_tensors(&in, name, &out, name);
        n++;
    }
    assert_true(n > 4 * 7 + 8 * 3);
    shards_close(&in);
    shards_close(&out);
}

static void test_expert_map_is_the_reported_grouping(void **state)
{
    (void)state;
    const json_t *c = json_read(text("%s/config.json", merged));
    struct shards s;
    shards_of(&s, merged);
    assert_null(shards_find(&s, layer_name(0, "expert_map")));
    for (int l = 1; l < 4; l++) {
        const struct st_entry *e;
        unsigned char *bytes = tensor_bytes(&s, layer_name(l, "expert_map"), &e);
        const json_t *groups = json_at(c, text("hcsmoe.layers.%d.groups", l));
        assert_int_equal(e->dtype, HCSMOE_DTYPE_I64);
        assert_int_equal(e->ndim, 1);
        assert_int_equal(e->shape[0], 8);
        for (size_t i = 0; i < 8; i++) {
            int64_t to;
            memcpy(&to, bytes + 8 * i, sizeof to);
            assert_int_equal(to, json_integer_value(json_array_get(groups, i)));
        }
        mem_free(bytes);
    }
    shards_close(&s);
}

static void test_groups_of_one_keep_their_bytes(void **state)
{
    (void)state;
    const json_t *c = json_read(text("%s/config.json", merged));
    static const char *const parts[] = {"w1", "w2", "w3"};
    struct shards in, out;
    int n = 0;
    shards_of(&in, TINY_MIXTRAL);
    shards_of(&out, merged);
    for (int l = 1; l < 4; l++) {
        const json_t *groups = json_at(c, text("hcsmoe.layers.%d.groups", l));
        for (int g = 0; g < 5; g++) {
            int members = 0, last = 0;
            for (int e = 0; e < 8; e++)
                if (json_integer_value(json_array_get(groups, (size_t)e)) == g) {
                    members++;
                    last = e;
                }
            for (int p = 0; p < 3 && members == 1; p++, n++)
                expect_equal_tensors(
                    &in, layer_name(l, text("experts.%d.%s.weight", last, parts[p])), &out,
                    layer_name(l, text("experts.%d.%s.weight", g, parts[p])));
        }
    }
    assert_true(n > 0);
    shards_close(&in);
    shards_close(&out);
}

static void test_inspect_tells_groups_and_method(void **state)
{
    (void)state;
    struct result r = run("inspect", merged);
    expect_status(r, 0);
    expect_text(r.out, "family      mixtral, 4 layers (4 MoE), width 128, vocabulary 2048");
    expect_text(r.out, "BF16");
    expect_text(r.out, "layout mapped");
    expect_text(r.out, "cluster = hierarchical");
    expect_text(r.out, "layer   1   5 experts: groups 0 ");
    assert_null(strstr(r.out, "layer   0"));
    r = run("inspect", TINY_QWEN);
    expect_status(r, 0);
    expect_text(r.out, "qwen2_moe");
    expect_text(r.out, "and a shared one");
}

static void test_run_ini_gives_the_same_run_again(void **state)
{
    (void)state;
    const char *again = work("again");
    struct result r = run("-q", "-c", text("%s/hcsmoe/run.ini", merged), "-s",
                          text("output.output_path=%s", again), "-s", "eval.before=no", "-s",
                          text("output.result_path=%s/sub/result2.txt", e2e.work));
    expect_status(r, 0);
    expect_equal_files(text("%s/model.safetensors", merged), text("%s/model.safetensors", again));
    expect_equal_files(text("%s/hcsmoe/statistics.safetensors", merged),
                       text("%s/hcsmoe/statistics.safetensors", again));
}

static void test_result_path_is_appended_to(void **state)
{
    (void)state;
    const char *path = text("%s/sub/result.txt", e2e.work), *first = file_text(path, NULL);
    expect_text(first, "winogrande");
    struct result r =
        run("-q", "eval", "-m", merged, "-c", work("run.ini"), "-s", "eval.task=winogrande", "-s",
            "eval.data=" SOURCE_DIR "/config/data/eval", "-s", "eval.limit=4", "-s",
            text("output.result_path=%s", path), "--json", work("eval.json"));
    expect_status(r, 0);
    assert_true(str_starts(file_text(path, NULL), first));
    assert_true(strlen(file_text(path, NULL)) > strlen(first));
    /* The finished folder evaluates as it did at the end of the run. */
    const json_t *report = json_read(text("%s/hcsmoe/report.json", merged));
    assert_true(json_equal(json_at(report, "eval.after"), json_read(work("eval.json"))));
}

static void test_second_merge_composes_the_map(void **state)
{
    (void)state;
    const char *twice = work("twice");
    const char *ini = ini_write("twice.ini", merged, twice);
    struct result r = run("-q", "-c", ini, "-s", "group.num_average_groups=3");
    expect_status(r, 0);
    const json_t *first = json_read(text("%s/config.json", merged)),
                 *second = json_read(text("%s/config.json", twice));
    assert_string_equal(json_string_value(json_array_get(json_at(second, "architectures"), 0)),
                        "HcsmoeMixtralForCausalLM");
    assert_string_equal(json_string_value(json_at(second, "model_type")), "hcsmoe_mixtral");
    for (int l = 0; l < 4; l++) {
        const json_t *b = json_at(second, text("hcsmoe.layers.%d.groups", l));
        const json_t *a = l ? json_at(first, text("hcsmoe.layers.%d.groups", l)) : NULL;
        assert_int_equal(json_integer_value(json_at(second, text("hcsmoe.layers.%d.experts", l))),
                         3);
        assert_int_equal(json_array_size(b), 8);
        for (size_t i = 0; i < 8; i++)
            for (size_t j = 0; a && j < i; j++)
                if (json_equal(json_array_get(a, i), json_array_get(a, j)))
                    assert_true(json_equal(json_array_get(b, i), json_array_get(b, j)));
    }
    const json_t *mapped = score_folder(twice, "tiny-mixtral");
    const char *expanded = work("twice-expanded");
    expect_status(run("expand", twice, expanded), 0);
    assert_true(answers_difference(mapped, score_folder(expanded, "tiny-mixtral")) <= EQUAL_MOST);
    const json_t *c = json_read(text("%s/config.json", expanded));
    assert_string_equal(json_string_value(json_array_get(json_at(c, "architectures"), 0)),
                        "MixtralForCausalLM");
    assert_string_equal(json_string_value(json_at(c, "model_type")), "mixtral");
    assert_string_equal(json_string_value(json_at(c, "hcsmoe.layout")), "expanded");
}

static void test_fused_checkpoint_merges_in_both_layouts(void **state)
{
    (void)state;
    const char *mapped = work("fused-mapped"), *expanded = work("fused-expanded");
    const char *ini = ini_write("fused.ini", TEST_DATA "/models/mixtral-fused", mapped);
    struct shards in, m, x;
    expect_status(run("-q", "-c", ini, "-s", "group.start_layer=1"), 0);
    expect_status(run("-q", "-c", ini, "-s", "group.start_layer=1", "-s", "output.layout=expanded",
                      "-s", text("output.output_path=%s", expanded)),
                  0);
    shards_of(&in, TEST_DATA "/models/mixtral-fused");
    shards_of(&m, mapped);
    shards_of(&x, expanded);
    assert_int_equal(in.n_tensors, x.n_tensors);
    for (size_t i = 0; i < in.n_tensors; i++) {
        const struct st_entry *e = shards_at(&in, i), *same = shards_find(&x, e->name);
        assert_non_null(same);
        assert_int_equal(same->size, e->size);
        assert_memory_equal(same->shape, e->shape, sizeof e->shape);
    }
    /* A layer left alone gets the family's names as the merged one does. */
    expect_equal_tensors(&in, "model.layers.0.mlp.gate.weight", &m, layer_name(0, "gate.weight"));
    assert_non_null(shards_find(&m, layer_name(0, "experts.5.w1.weight")));
    assert_null(shards_find(&m, layer_name(0, "expert_map")));
    assert_non_null(shards_find(&m, layer_name(1, "experts.3.w1.weight")));
    assert_null(shards_find(&m, layer_name(1, "experts.4.w1.weight")));
    for (size_t i = 0; i < m.n_tensors; i++)
        assert_null(strstr(shards_at(&m, i)->name, ".mlp."));
    shards_close(&in);
    shards_close(&m);
    shards_close(&x);
    assert_true(answers_difference(score_folder(mapped, "mixtral-fused"),
                                   score_folder(expanded, "mixtral-fused")) <= EQUAL_MOST);
}

/* The classes that config.json names: "AutoConfig AutoModelForCausalLM", NULL: none. */
static const char *classes_of(const char *folder)
{
    const json_t *map = json_object_get(json_read(text("%s/config.json", folder)), "auto_map");
    return map ? text("%s %s", json_string_value(json_at(map, "AutoConfig")),
                      json_string_value(json_at(map, "AutoModelForCausalLM")))
               : NULL;
}

/* A folder like the model's, with the input's own classes named in config.json. */
static const char *model_with_classes(const char *name, const char *model, const char *type)
{
    static const char *const files[] = {"model.safetensors", "tokenizer.json"};
    const char *folder = work(name);
    json_t *c = json_keep(json_deep_copy(json_read(text("%s/config.json", model))));
    json_object_set_new(c, "auto_map",
                        json_pack("{s:s, s:s}", "AutoConfig", "own.OwnConfig",
                                  "AutoModelForCausalLM", "own.OwnForCausalLM"));
    json_object_set_new(c, "model_type", json_string(type));
    assert_int_equal(mkdir(folder, 0700), 0);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(symlink(text("%s/%s", model, files[i]), text("%s/%s", folder, files[i])),
                         0);
    assert_int_equal(json_dump_file(c, text("%s/config.json", folder), 0), 0);
    file_write(text("%s/own.py", folder), "# own");
    file_write(text("%s/modeling_hcsmoe.py", folder), "# of an older version");
    return folder;
}

static void test_mapped_comes_with_its_classes_for_transformers(void **state)
{
    (void)state;
    const char *const py = SOURCE_DIR "/core/share/modeling_hcsmoe.py", *expanded = work("plain");
    assert_string_equal(
        classes_of(merged),
        "modeling_hcsmoe.HcsmoeMixtralConfig modeling_hcsmoe.HcsmoeMixtralForCausalLM");
    expect_equal_files(text("%s/modeling_hcsmoe.py", merged), py);
    expect_status(run("expand", merged, expanded), 0);
    assert_null(classes_of(expanded));
    assert_false(path_exists(text("%s/modeling_hcsmoe.py", expanded)));

    const char *own = model_with_classes("own", TINY_QWEN, "qwen2_moe"), *out = work("own-mapped");
    const char *ini = ini_write("own.ini", own, out);
    expect_status(run("-q", "-c", ini), 0);
    assert_string_equal(
        classes_of(out),
        "modeling_hcsmoe.HcsmoeQwen2MoeConfig modeling_hcsmoe.HcsmoeQwen2MoeForCausalLM");
    expect_equal_files(text("%s/modeling_hcsmoe.py", out), py);
    expanded = work("own-expanded");
    expect_status(run("-q", "-c", ini, "-s", "output.layout=expanded", "-s",
                      text("output.output_path=%s", expanded)),
                  0);
    assert_string_equal(classes_of(expanded), "own.OwnConfig own.OwnForCausalLM");
    assert_true(path_exists(text("%s/own.py", expanded)));
    assert_false(path_exists(text("%s/modeling_hcsmoe.py", expanded)));
}

static void test_families_without_classes_get_none(void **state)
{
    (void)state;
    const char *other = model_with_classes("other", TINY_QWEN, "qwen9_moe"),
               *out = work("other-mapped"), *ini = ini_write("other.ini", other, out);
    expect_status(run("-q", "-c", ini, "-s", "model.family=qwen2_moe"), 0);
    assert_null(classes_of(out));
    assert_false(path_exists(text("%s/modeling_hcsmoe.py", out)));
}

static void test_dense_layers_and_shared_experts_stay(void **state)
{
    (void)state;
    const char *model = TEST_DATA "/models/qwen2-moe-mixed", *in = work("mixed"),
               *out = work("mixed-merged");
    static const char *const files[] = {
        "config.json", "model.safetensors.index.json", "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"};
    struct shards a, b;
    assert_int_equal(mkdir(in, 0700), 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        assert_int_equal(symlink(text("%s/%s", model, files[i]), text("%s/%s", in, files[i])), 0);
    /* Its own tokenizer is this one. */
    assert_int_equal(symlink(TINY_QWEN "/tokenizer.json", text("%s/tokenizer.json", in)), 0);
    expect_status(run("-q", "-c", ini_write("mixed.ini", in, out)), 0);
    const json_t *r = json_read(text("%s/hcsmoe/report.json", out));
    json_t *experts = json_pack("[i, i, i]", 4, 4, 4);
    assert_true(json_equal(json_at(r, "result.experts_per_layer"), experts));
    json_decref(experts);
    assert_int_equal(json_integer_value(json_at(json_array_get(json_at(r, "layers"), 0), "layer")),
                     1);
    shards_of(&a, in);
    shards_of(&b, out);
    for (size_t i = 0; i < a.n_tensors; i++)
        if (!strstr(shards_at(&a, i)->name, ".experts."))
            expect_equal_tensors(&a, shards_at(&a, i)->name, &b, shards_at(&a, i)->name);
    shards_close(&a);
    shards_close(&b);
    assert_true(score_folder(out, "qwen2-moe-mixed") != NULL);
}

static void test_every_calibration_text_is_reported(void **state)
{
    (void)state;
    const char *out = work("texts"), *second = work("a second text.txt");
    const char *data = text("calibration.data=%s, %s", C4, second);
    const char *ini = ini_write("texts.ini", TINY_MIXTRAL, out);
    struct str lines = {0};
    for (int i = 0; i < 100; i++)
        str_addf(&lines, "Line %d of a text about lines, of which there are %d.\n", i, i * i);
    file_write(second, str_text(&lines));
    str_release(&lines);
    struct result r = run("check", "-c", ini, "-s", data, "-s", "calibration.mix=3, 1");
    expect_status(r, 0);
    expect_text(r.out,
                "calibrate 4 x 128 tokens (3 of c4.first300.jsonl.gz, 1 of a second text.txt)");
    expect_status(run("-q", "-c", ini, "-s", data, "-s", "calibration.mix=3, 1"), 0);
    const json_t *report = json_read(text("%s/hcsmoe/report.json", out));
    assert_string_equal(json_string_value(json_at(report, "calibration.data")),
                        "c4.first300.jsonl.gz, a second text.txt");
    assert_int_equal(json_integer_value(json_at(report, "calibration.blocks")), 4);
    /* Longer than a line of the INI holds. */
    assert_string_equal(json_string_value(json_at(report, "config.calibration.data")),
                        text("%s, %s", C4, second));
    assert_string_equal(json_string_value(json_at(report, "config.calibration.mix")), "3, 1");
    const char *again = work("texts-again");
    expect_status(
        run("-q", "-c", text("%s/hcsmoe/run.ini", out), "-s", text("output.output_path=%s", again)),
        0);
    expect_equal_files(text("%s/model.safetensors", out), text("%s/model.safetensors", again));
}

static void test_overwrite_replaces_the_folder(void **state)
{
    (void)state;
    const char *out = work("replaced"), *ini = ini_write("replace.ini", TINY_MIXTRAL, out);
    assert_int_equal(mkdir(out, 0700), 0);
    file_write(text("%s/old.txt", out), "old");
    expect_status(run("-q", "-c", ini), 2);
    expect_status(run("-q", "-c", ini, "-s", "output.overwrite=yes"), 0);
    assert_false(path_exists(text("%s/old.txt", out)));
    assert_true(path_exists(text("%s/config.json", out)));
    expect_clean();
}

static void test_check_and_config_write_nothing(void **state)
{
    (void)state;
    const char *out = work("unwritten"), *ini = ini_write("check.ini", TINY_MIXTRAL, out);
    struct result r = run("check", "-c", ini);
    expect_status(r, 0);
    expect_text(r.out, "output_mean");
    expect_text(r.out, "calibrate 4 x 128 tokens");
    r = run("config", "-c", ini, "-s", "group.linkage=ward");
    expect_status(r, 0);
    expect_text(r.out, "linkage = ward");
    assert_false(path_exists(out));
    expect_clean();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_files_are_copied_and_only_documented_ones_added),
        cmocka_unit_test(test_config_json_says_how_it_was_made),
        cmocka_unit_test(test_report_has_the_documented_members),
        cmocka_unit_test(test_reported_sizes_are_those_of_the_tensors),
        cmocka_unit_test(test_router_and_everything_else_keep_their_bytes),
        cmocka_unit_test(test_expert_map_is_the_reported_grouping),
        cmocka_unit_test(test_groups_of_one_keep_their_bytes),
        cmocka_unit_test(test_inspect_tells_groups_and_method),
        cmocka_unit_test(test_run_ini_gives_the_same_run_again),
        cmocka_unit_test(test_result_path_is_appended_to),
        cmocka_unit_test(test_second_merge_composes_the_map),
        cmocka_unit_test(test_fused_checkpoint_merges_in_both_layouts),
        cmocka_unit_test(test_mapped_comes_with_its_classes_for_transformers),
        cmocka_unit_test(test_families_without_classes_get_none),
        cmocka_unit_test(test_dense_layers_and_shared_experts_stay),
        cmocka_unit_test(test_every_calibration_text_is_reported),
        cmocka_unit_test(test_overwrite_replaces_the_folder),
        cmocka_unit_test(test_check_and_config_write_nothing),
    };
    return cmocka_run_group_tests(tests, begin, e2e_end);
}
