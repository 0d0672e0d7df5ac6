/*
 * test_e2e_stub.c - whole runs with the plugins of tests/abi, which use what the shipped methods
 * leave alone: states, tiles, a budget over layers, another width, pruned experts, a family's own
 * attention.
 *
 * SPDX-License-Identifier: MIT
 */
#include "e2e.h"

#define STUB TEST_PLUGINS "/stub.so"
#define STUB_MIXTRAL TEST_PLUGINS "/stub_mixtral.so"
#define HEIGHT_MOST 1e-5 /* relative */
#define EQUAL_MOST 1e-5

static const char *expert_name(int layer, int expert, const char *part)
{
    return text("model.layers.%d.block_sparse_moe.experts.%d.%s.weight", layer, expert, part);
}

static json_t *report_of(const char *folder)
{
    return json_read(text("%s/hcsmoe/report.json", folder));
}

static void test_budget_gives_layers_different_numbers_of_groups(void **state)
{
    (void)state;
    const char *out = work("budget"), *ini = ini_write("budget.ini", TINY_MIXTRAL, out);
    struct result r = run("-c", ini, "--plugin", STUB, "-s", "group.cluster=stub-budget");
    json_int_t all = 0, least = 8, most = 0;
    size_t i;
    json_t *l;
    expect_status(r, 0);
    expect_text(r.err, "2 passes");
    const json_t *report = report_of(out);
    json_array_foreach(json_at(report, "result.experts_per_layer"), i, l)
    {
        const json_int_t n = json_integer_value(l);
        const json_t *layer = json_array_get(json_at(report, "layers"), i);
        all += n;
        least = n < least ? n : least;
        most = n > most ? n : most;
        assert_null(json_object_get(layer, "merges"));
        for (json_int_t e = 0; e < 8; e++) {
            /* Labels counted down; the host numbers them by their lowest member. */
            const json_t *label = json_array_get(json_at(layer, "groups"), (size_t)e);
            assert_int_equal(json_integer_value(label), e % n);
            const json_int_t core =
                json_integer_value(json_array_get(json_at(layer, "dominant"), (size_t)(e % n)));
            assert_int_equal(core % n, e % n);
            assert_true(core >= e);
        }
    }
    assert_int_equal(all, 16);
    assert_int_equal(least, 3);
    assert_int_equal(most, 5);
    assert_true(score_folder(out, "tiny-mixtral") != NULL);
}

/* Two passes keep what the first one saw: the same as one pass with the groups that came out. */
static void test_states_are_saved_with_the_statistics(void **state)
{
    struct st_file f = {0};
    size_t n = 0;
    (void)state;
    assert_int_equal(st_open(&f, text("%s/hcsmoe/statistics.safetensors", work("budget"))), 0);
    for (size_t i = 0; i < f.n; i++) {
        const struct st_entry *e = &f.entries[i];
        if (!str_starts(e->name, "layer.2."))
            continue;
        if (!strcmp(e->name, "layer.2.stub-budget.counts") ||
            !strcmp(e->name, "layer.2.usage_counts")) {
            int64_t counts[8], sum = 0;
            assert_int_equal(e->size, sizeof counts);
            assert_int_equal(st_read(&f, e->offset, counts, sizeof counts), 0);
            for (size_t k = 0; k < 8; k++)
                sum += counts[k];
            assert_int_equal(sum, 2 * 512);
            n++;
        }
    }
    st_close(&f);
    assert_int_equal(n, 2);
}

static void test_outputs_of_tiles_give_the_distances_of_expert_output(void **state)
{
    (void)state;
    const char *tiles = work("tiles"), *plain = work("plain");
    const char *ini = ini_write("tiles.ini", TINY_MIXTRAL, tiles);
    json_t *l, *m;
    size_t i, k;
    struct result r =
        run("-q", "-c", ini, "--plugin", STUB, "-s", "group.similarity_base=stub-tiles");
    expect_status(r, 0);
    expect_status(run("-q", "-c", ini, "-s", text("output.output_path=%s", plain)), 0);
    const json_t *a = report_of(tiles), *b = report_of(plain);
    json_array_foreach(json_at(a, "layers"), i, l)
    {
        const json_t *other = json_array_get(json_at(b, "layers"), i);
        assert_true(json_equal(json_at(l, "groups"), json_at(other, "groups")));
        json_array_foreach(json_at(l, "merges"), k, m)
        {
            const double x = json_number_value(json_at(m, "height")),
                         y = json_number_value(
                             json_at(json_array_get(json_at(other, "merges"), k), "height"));
            assert_true(fabs(x - y) <= HEIGHT_MOST * y);
        }
    }
    expect_equal_files(text("%s/model.safetensors", tiles), text("%s/model.safetensors", plain));
}

/* The first half of an expert's width: its first rows of gate and up, first columns of down. */
static void half_check(const struct shards *in, const struct shards *out, int layer, int group,
                       int expert)
{
    static const char *const parts[] = {"w1", "w3", "w2"};
    for (int p = 0; p < 3; p++) {
        const struct st_entry *x, *y;
        unsigned char *from = tensor_bytes(in, expert_name(layer, expert, parts[p]), &x),
                      *to = tensor_bytes(out, expert_name(layer, group, parts[p]), &y);
        const size_t row_from = (size_t)x->shape[1] * 2, row_to = (size_t)y->shape[1] * 2;
        assert_int_equal(y->shape[0], p == 2 ? 128 : 96);
        assert_int_equal(y->shape[1], p == 2 ? 96 : 128);
        for (int64_t i = 0; i < y->shape[0]; i++)
            assert_memory_equal(from + (size_t)i * row_from, to + (size_t)i * row_to, row_to);
        mem_free(from);
        mem_free(to);
    }
}

static void test_merge_may_change_the_width(void **state)
{
    (void)state;
    const char *out = work("half"), *ini = ini_write("half.ini", TINY_MIXTRAL, out),
               *expanded = work("half-expanded"), *again = work("half-again");
    struct shards a, b;
    struct result r = run("-q", "-c", ini, "--plugin", STUB, "-s", "merge.merge=stub-half");
    expect_status(r, 0);
    const json_t *c = json_read(text("%s/config.json", out));
    assert_int_equal(json_integer_value(json_at(c, "intermediate_size")), 96);
    shards_of(&a, TINY_MIXTRAL);
    shards_of(&b, out);
    for (int l = 0; l < 4; l++) {
        json_t *groups = json_at(c, text("hcsmoe.layers.%d.groups", l)), *g;
        json_int_t next = 0;
        size_t e;
        json_array_foreach(groups, e, g) if (json_integer_value(g) == next)
            half_check(&a, &b, l, (int)next++, (int)e);
        assert_int_equal(next, 4);
    }
    shards_close(&a);
    shards_close(&b);
    /* Written by the run itself in the other layout, or by hand: the same. */
    r = run("-q", "-c", ini, "--plugin", STUB, "-s", "merge.merge=stub-half", "-s",
            "output.layout=expanded", "-s", text("output.output_path=%s", expanded));
    expect_status(r, 0);
    expect_status(run("expand", out, again), 0);
    /* Only the headers may be padded otherwise. */
    shards_of(&a, expanded);
    shards_of(&b, again);
    assert_int_equal(a.n_tensors, b.n_tensors);
    for (size_t i = 0; i < a.n_tensors; i++)
        expect_equal_tensors(&a, shards_at(&a, i)->name, &b, shards_at(&a, i)->name);
    shards_close(&a);
    shards_close(&b);
    const json_t *x = score_folder(out, "tiny-mixtral");
    assert_true(answers_difference(x, score_folder(expanded, "tiny-mixtral")) <= EQUAL_MOST);
    assert_true(answers_difference(x, score_folder(TINY_MIXTRAL, "tiny-mixtral")) > 0.1);
}

static void test_width_of_some_layers_only_is_refused(void **state)
{
    (void)state;
    const char *out = work("half-some");
    struct result r = run("-q", "-c", ini_write("some.ini", TINY_MIXTRAL, out), "--plugin", STUB,
                          "-s", "merge.merge=stub-half", "-s", "group.start_layer=1");
    expect_status(r, 2);
    expect_text(r.err, "start_layer");
    expect_text(r.err, "stub-half");
    assert_false(path_exists(out));
    expect_clean();
}

/* No forward pass, so neither text nor tokenizer; the second of the one pair in each layer is gone. */
static void test_pruned_experts_are_never_chosen_and_weights_need_no_text(void **state)
{
    (void)state;
    const char *out = work("prune"), *ini = work("prune.ini"), *twice = work("prune-twice");
    file_write(ini, text("[model]\nmodel_name = %s\n[plugins]\nload = %s\n[group]\n"
                         "num_average_groups = 4\nsimilarity_base = weight\n"
                         "cluster = hierarchical\n[merge]\nmerge = stub-prune\n"
                         "[output]\noutput_path = %s\n",
                         TEST_DATA "/models/mixtral-f16-window", STUB, out));
    struct result r = run("-c", ini);
    expect_status(r, 0);
    expect_text(r.err, "no calibration");
    const json_t *c = json_read(text("%s/config.json", out));
    for (int l = 0; l < 3; l++) {
        const json_t *groups = json_at(c, text("hcsmoe.layers.%d.groups", l));
        int gone = 0;
        for (size_t e = 0; e < 5; e++)
            gone += json_integer_value(json_array_get(groups, e)) == -1;
        assert_int_equal(gone, 1);
        assert_int_equal(json_integer_value(json_array_get(groups, 0)), 0);
    }
    assert_null(json_object_get(json_at(c, "hcsmoe"), "calibration"));
    const json_t *report = report_of(out);
    assert_null(json_object_get(report, "calibration"));
    assert_null(json_object_get(json_array_get(json_at(report, "layers"), 0), "output_error"));
    expect_text(run("inspect", out).out, " -1");
    /* With five experts and three chosen, pruning one changes what is computed. */
    const json_t *a = score_folder(out, "mixtral-f16-window"),
                 *b = score_folder(TEST_DATA "/models/mixtral-f16-window", "mixtral-f16-window");
    const double off = answers_difference(a, b);
    assert_true(off > 1e-3 && off < 10);
    r = run("expand", out, work("prune-expanded"));
    expect_status(r, 1);
    expect_text(r.err, "is pruned: layout = expanded");
    assert_false(path_exists(work("prune-expanded")));
    /* Merged once more, a pruned expert stays pruned. */
    r = run("-q", "-c", ini, "-s", text("model.model_name=%s", out), "-s",
            text("output.output_path=%s", twice), "-s", "group.num_average_groups=3");
    expect_status(r, 0);
    c = json_read(text("%s/config.json", twice));
    assert_int_equal(json_integer_value(json_array_get(json_at(c, "hcsmoe.layers.0.groups"), 4)),
                     -1);
    assert_true(score_folder(twice, "mixtral-f16-window") != NULL);
    expect_clean();
}

static void test_expanded_layout_refuses_pruned_experts(void **state)
{
    (void)state;
    const char *out = work("prune-refused");
    struct result r = run("-q", "-c", ini_write("refused.ini", TINY_MIXTRAL, out), "--plugin", STUB,
                          "-s", "merge.merge=stub-prune", "-s", "output.layout=expanded");
    expect_status(r, 1);
    expect_text(r.err, "layout = expanded");
    assert_false(path_exists(out));
    expect_clean();
}

static void test_nan_of_a_merge_method_stops_the_run(void **state)
{
    (void)state;
    const char *out = work("nan");
    struct result r = run("-q", "-c", ini_write("nan.ini", TINY_MIXTRAL, out), "--plugin", STUB,
                          "-s", "merge.merge=stub-prune", "-s", "merge.nan_layer=2");
    expect_status(r, 1);
    expect_text(r.err, "merge/stub-prune, layer 2, group 1: the merged expert holds NaN");
    assert_false(path_exists(out));
    expect_clean();
}

static void test_family_with_own_attention_and_routing_gives_the_same(void **state)
{
    (void)state;
    const char *requests = requests_of(json_at(forward_case("tiny-mixtral"), "sequences"));
    const char *windowed = requests_of(json_at(forward_case("mixtral-f16-window"), "sequences"));
    struct result r = run_input(requests, "score", "-m", TINY_MIXTRAL, "--plugin", STUB_MIXTRAL,
                                "-s", "model.family=stub-mixtral");
    expect_status(r, 0);
    assert_true(answers_difference(answers(r.out), score_folder(TINY_MIXTRAL, "tiny-mixtral")) <=
                EQUAL_MOST);
    r = run_input(windowed, "score", "-m", TEST_DATA "/models/mixtral-f16-window", "--plugin",
                  STUB_MIXTRAL, "-s", "model.family=stub-mixtral");
    expect_status(r, 0);
    assert_true(
        answers_difference(answers(r.out), score_folder(TEST_DATA "/models/mixtral-f16-window",
                                                        "mixtral-f16-window")) <= EQUAL_MOST);
    /* It probes 0: nothing takes it unasked. */
    r = run("inspect", TINY_MIXTRAL, "--plugin", STUB_MIXTRAL);
    expect_status(r, 0);
    expect_text(r.out, "family      mixtral,");
}

static void test_whole_run_with_a_family_of_its_own(void **state)
{
    (void)state;
    const char *out = work("family"), *plain = work("family-plain");
    const char *ini = ini_write("family.ini", TINY_MIXTRAL, out);
    struct result r =
        run("-q", "-c", ini, "--plugin", STUB_MIXTRAL, "-s", "model.family=stub-mixtral");
    expect_status(r, 0);
    expect_status(run("-q", "-c", ini, "-s", text("output.output_path=%s", plain)), 0);
    expect_equal_files(text("%s/model.safetensors", out), text("%s/model.safetensors", plain));
    assert_string_equal(json_string_value(json_at(report_of(out), "model.family")), "stub-mixtral");
}

static void test_plugins_menu_lists_loaded_ones(void **state)
{
    (void)state;
    struct result r = run("plugins", "--plugin", STUB);
    expect_status(r, 0);
    expect_text(r.out, "stub-tiles");
    expect_text(r.out, "hierarchical");
    r = run("help", "merge.stub-prune", "--plugin", STUB);
    expect_status(r, 0);
    expect_text(r.out, "nan_layer");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_budget_gives_layers_different_numbers_of_groups),
        cmocka_unit_test(test_states_are_saved_with_the_statistics),
        cmocka_unit_test(test_outputs_of_tiles_give_the_distances_of_expert_output),
        cmocka_unit_test(test_merge_may_change_the_width),
        cmocka_unit_test(test_width_of_some_layers_only_is_refused),
        cmocka_unit_test(test_pruned_experts_are_never_chosen_and_weights_need_no_text),
        cmocka_unit_test(test_expanded_layout_refuses_pruned_experts),
        cmocka_unit_test(test_nan_of_a_merge_method_stops_the_run),
        cmocka_unit_test(test_family_with_own_attention_and_routing_gives_the_same),
        cmocka_unit_test(test_whole_run_with_a_family_of_its_own),
        cmocka_unit_test(test_plugins_menu_lists_loaded_ones),
    };
    return cmocka_run_group_tests(tests, e2e_begin, e2e_end);
}
