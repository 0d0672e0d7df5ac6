/*
 * test_abi_later.c - plugins of release 1.0 in a host of minor 7, whose structs have all grown.
 *
 * Compiled with the loader, the registry and the options against headers that tests/abi/headers.sh
 * makes up. Every kind is opened and asked something whose answer is known.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <hcsmoe/cluster.h>
#include <hcsmoe/kernels.h>
#include <hcsmoe/merge.h>
#include <hcsmoe/model.h>
#include <hcsmoe/similarity.h>
#include <hcsmoe/task.h>
#include <jansson.h>

#include "base/ini.h"
#include "base/mem.h"
#include "plugin/options.h"
#include "plugin/registry.h"

#include <cmocka.h>

_Static_assert(HCSMOE_ABI_MAJOR == 1 && HCSMOE_ABI_MINOR == 7, "headers of another day");
_Static_assert(offsetof(hcsmoe_component, later) > 0, "structs have not grown");

struct later {
    struct host *host;
    struct registry *registry;
    struct ini ini;
    struct instance instance;
};

static void later_open(struct later *x, uint32_t kind, const char *setting)
{
    char *path = mem_printf(ABI_PLUGINS "/released/%s.so", registry_kind_name(kind));
    const struct component *c;

    memset(x, 0, sizeof *x);
    assert_int_equal(host_open(&x->host, 1, 0), 0);
    assert_int_equal(registry_open(&x->registry, x->host), 0);
    if (registry_load(x->registry, path))
        fail_msg("%s", fail_message());
    assert_int_equal(registry_find(x->registry, kind, "frozen", &c), 0);
    if (setting)
        assert_int_equal(ini_set(&x->ini, setting), 0);
    assert_int_equal(instance_init(&x->instance, c, &x->ini, "group", x->host), 0);
    assert_int_equal(instance_create(&x->instance), 0);
    /* What the plugin is too old for is absent. */
    assert_int_equal(c->c.later[0] | c->c.later[1] | c->c.later[2], 0);
    mem_free(path);
}

static void later_close(struct later *x)
{
    instance_release(&x->instance);
    ini_release(&x->ini);
    registry_close(x->registry);
    host_close(x->host);
}

static void test_options_of_1_0_are_read(void **state)
{
    struct later x;

    (void)state;
    later_open(&x, HCSMOE_KIND_SIMILARITY, "group.how=squared");
    const struct component *c = x.instance.component;
    assert_int_equal(c->c.n_options, 6);
    assert_int_equal(c->options[0].later[0] | c->options[5].later[2], 0);
    assert_string_equal(c->options[3].name, "how");
    struct str text = {0};
    for (uint32_t i = 0; i < 5; i++) {
        option_print(&c->options[i], x.instance.opts, &text);
        str_add(&text, " ");
    }
    assert_string_equal(str_text(&text), "no 1 2.5 squared word ");
    str_release(&text);
    assert_true(instance_needs(&x.instance, HCSMOE_CAP_DISTANCES_IN) & HCSMOE_STAT_ENERGY);
    later_close(&x);
}

static void test_similarity_of_1_0_answers(void **state)
{
    const double usage[3] = {0.5, 0.25, 0.25};
    const hcsmoe_layer_dims dims = {.struct_size = sizeof dims, .n_experts = 3};
    const hcsmoe_stats stats = {.struct_size = sizeof stats, .usage = usage};
    const hcsmoe_similarity_args a = {.struct_size = sizeof a, .dims = &dims, .stats = &stats};
    double s[9];
    struct later x;

    (void)state;
    later_open(&x, HCSMOE_KIND_SIMILARITY, NULL);
    const hcsmoe_similarity_ops *ops = instance_ops(&x.instance);
    assert_int_equal(ops->later[0], 0);
    assert_int_equal(ops->similarities(x.instance.self, &x.host->abi, &a, s), HCSMOE_OK);
    assert_true(s[0] == 1 && s[1] == 0.8 && s[5] == 1);
    later_close(&x);
}

static void test_cluster_of_1_0_answers(void **state)
{
    /* Experts on a line at 0, 1, 5 and 5.5. */
    const double at[4] = {0, 1, 5, 5.5}, usage[4] = {0.1, 0.2, 0.4, 0.3};
    double d[16];
    int64_t tokens = 12, groups = 0, n_joins = 0, i, j;
    const int64_t size = 1000000;
    int32_t labels[4], cores[4];
    hcsmoe_join joins[3];
    hcsmoe_tensor states = hcsmoe_matrix(&tokens, HCSMOE_DTYPE_I64, 1, 1);
    const double *const bases[1] = {d};
    const hcsmoe_layer_dims dims = {.struct_size = sizeof dims, .n_experts = 4, .n_tokens = 12};
    const hcsmoe_stats stats = {.struct_size = sizeof stats, .usage = usage};
    struct later x;

    (void)state;
    for (i = 0; i < 4; i++)
        for (j = 0; j < 4; j++)
            d[i * 4 + j] = fabs(at[i] - at[j]);
    const hcsmoe_cluster_args a = {.struct_size = sizeof a,
                                   .n_bases = 1,
                                   .dims = &dims,
                                   .stats = &stats,
                                   .n_groups = 2,
                                   .distances = d,
                                   .base_distances = bases,
                                   .base_sizes = &size,
                                   .states = &states,
                                   .n_states = 1,
                                   .labels = labels,
                                   .cores = cores,
                                   .groups = &groups,
                                   .joins = joins,
                                   .n_joins = &n_joins};
    later_open(&x, HCSMOE_KIND_CLUSTER, NULL);
    const hcsmoe_cluster_ops *ops = instance_ops(&x.instance);
    if (ops->cluster(x.instance.self, &x.host->abi, &a) != HCSMOE_OK)
        fail_msg("%s", fail_message());
    assert_int_equal(groups, 2);
    assert_int_equal(n_joins, 2);
    assert_memory_equal(labels, ((int32_t[]){0, 0, 1, 1}), sizeof labels);
    assert_int_equal(cores[0], 1);
    assert_int_equal(cores[1], 2);
    assert_int_equal(joins[0].a, 2);
    later_close(&x);
}

/* n groups of one expert each go from a layer's four to the sum that was asked for. */
static void test_budget_of_1_0_answers(void **state)
{
    const double usage[2][4] = {{0.4, 0.3, 0.2, 0.1}, {0.7, 0.1, 0.1, 0.1}};
    hcsmoe_layer_dims dims[2];
    hcsmoe_stats stats[2];
    hcsmoe_budget_layer layers[2], *list[2] = {&layers[0], &layers[1]};
    struct later x;

    (void)state;
    for (int l = 0; l < 2; l++) {
        dims[l] = (hcsmoe_layer_dims){.struct_size = sizeof dims[l], .layer = l, .n_experts = 4};
        stats[l] = (hcsmoe_stats){.struct_size = sizeof stats[l], .usage = usage[l]};
        layers[l] = (hcsmoe_budget_layer){
            .struct_size = sizeof layers[l], .dims = &dims[l], .stats = &stats[l], .n_groups = 2};
    }
    hcsmoe_budget_args a = {.struct_size = sizeof a, .n_layers = 2, .layers = list, .ffn = 8};
    later_open(&x, HCSMOE_KIND_CLUSTER, NULL);
    const hcsmoe_cluster_ops *ops = instance_ops(&x.instance);
    host_enter(x.host, "cluster/frozen", -1);
    assert_int_equal(host_leave(x.host, ops->budget(x.instance.self, &x.host->abi, &a)), 0);
    assert_int_equal(layers[0].n_groups, 3);
    assert_int_equal(layers[1].n_groups, 1);
    later_close(&x);
}

static void test_merge_of_1_0_answers(void **state)
{
    const hcsmoe_layer_dims dims = {
        .struct_size = sizeof dims, .n_experts = 8, .width = 6, .ffn = 10};
    hcsmoe_merge_shape shape = {.struct_size = sizeof shape, .n_target = 3, .ffn = 10};
    hcsmoe_merge_cost cost = {.struct_size = sizeof cost};
    struct later x;

    (void)state;
    later_open(&x, HCSMOE_KIND_MERGE, NULL);
    const hcsmoe_merge_ops *ops = instance_ops(&x.instance);
    assert_int_equal(ops->singletons, 1);
    assert_int_equal(ops->shape(x.instance.self, &x.host->abi, &dims, &shape), HCSMOE_OK);
    assert_int_equal(shape.n_experts, 3);
    assert_int_equal(shape.ffn, 5);
    assert_int_equal(ops->cost(x.instance.self, &x.host->abi, &dims, &shape, 4, &cost), HCSMOE_OK);
    assert_int_equal(cost.bytes, 160);
    assert_true(cost.flops == 120);
    later_close(&x);
}

static void test_task_of_1_0_answers(void **state)
{
    hcsmoe_task_doc doc = {.struct_size = sizeof doc};
    json_t *record = json_pack("{sss[sss]sis{s[is]sbsf}}", "question", "Why?", "choices", "a", "b",
                               "c", "gold", 2, "more", "list", 1, "two", "yes", 1, "real", 2.5);
    struct later x;

    (void)state;
    assert_non_null(record);
    later_open(&x, HCSMOE_KIND_TASK, NULL);
    const hcsmoe_task_ops *ops = instance_ops(&x.instance);
    assert_string_equal(ops->spec->alias, "frozen");
    assert_int_equal(ops->spec->later[1], 0);
    host_enter(x.host, "task/frozen", -1);
    assert_int_equal(ops->format(x.instance.self, &x.host->abi, (const hcsmoe_json *)record, &doc),
                     HCSMOE_OK);
    assert_string_equal(doc.question, "Why? (two, 1, 2.5, -1)\nAnswer:");
    assert_string_equal(doc.answer, "c");
    assert_int_equal(doc.n_choices, 3);
    assert_int_equal(host_leave(x.host, 0), 0);
    json_decref(record);
    later_close(&x);
}

static void test_model_of_1_0_answers(void **state)
{
    json_t *config =
        json_pack("{sisisisisi}", "num_hidden_layers", 3, "hidden_size", 16, "num_attention_heads",
                  4, "num_local_experts", 8, "intermediate_size", 24);
    const hcsmoe_model_args a = {
        .struct_size = sizeof a, .layer = -1, .config = (const hcsmoe_json *)config};
    hcsmoe_model_desc desc = {.struct_size = sizeof desc};
    hcsmoe_layer_desc layer = {.struct_size = sizeof layer};
    char name[64];
    struct later x;

    (void)state;
    later_open(&x, HCSMOE_KIND_MODEL, NULL);
    const hcsmoe_model_ops *ops = instance_ops(&x.instance);
    assert_int_equal(ops->describe(x.instance.self, &x.host->abi, &a, &desc), HCSMOE_OK);
    assert_int_equal(desc.n_layers, 3);
    assert_int_equal(desc.head_dim, 4);
    assert_int_equal(ops->describe_layer(x.instance.self, &x.host->abi, &a, &layer), HCSMOE_OK);
    assert_int_equal(layer.ffn, 24);
    assert_int_equal(
        ops->tensor_name(x.instance.self, &x.host->abi, HCSMOE_ROLE_UP, 2, 5, 0, name, sizeof name),
        1);
    assert_string_equal(name, "model.layers.2.block_sparse_moe.experts.5.w3.weight");
    json_decref(config);
    later_close(&x);
}

static void test_kernels_of_1_0_answer(void **state)
{
    float x_in[3] = {1, 2, 3}, weight[6] = {1, 0, 0, 1, 1, 1}, y[2];
    const hcsmoe_tensor w = hcsmoe_matrix(weight, HCSMOE_DTYPE_F32, 2, 3);
    const hcsmoe_kernels *k = NULL;
    struct later x;

    (void)state;
    later_open(&x, HCSMOE_KIND_KERNELS, NULL);
    const hcsmoe_kernels_ops *ops = instance_ops(&x.instance);
    assert_int_equal(ops->probe(&x.host->abi), 1);
    assert_int_equal(ops->table(x.instance.self, &x.host->abi, 0, &k), HCSMOE_OK);
    /* The table is the plugin's own: its size says that later kernels are not in it. */
    assert_false(HCSMOE_HAS(k, later));
    assert_true(HCSMOE_HAS(k, cholesky_inverse));
    assert_int_equal(k->linear(k, 1, 2, 3, x_in, &w, NULL, 0, y), HCSMOE_OK);
    assert_true(y[0] == 1 && y[1] == 6);
    later_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_of_1_0_are_read),
        cmocka_unit_test(test_similarity_of_1_0_answers),
        cmocka_unit_test(test_cluster_of_1_0_answers),
        cmocka_unit_test(test_budget_of_1_0_answers),
        cmocka_unit_test(test_merge_of_1_0_answers),
        cmocka_unit_test(test_task_of_1_0_answers),
        cmocka_unit_test(test_model_of_1_0_answers),
        cmocka_unit_test(test_kernels_of_1_0_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
