/*
 * bad_variants.c - the plugin that HCSMOE_TEST_BAD names: one small mistake each.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include <hcsmoe/kernels.h>
#include <hcsmoe/model.h>
#include <hcsmoe/task.h>

#include "bad.h"

enum { CHOICES = 258, COMPONENTS = 258 };

/* ---- tasks ---- */

static const char *const splits[] = {"test", NULL};
static const char *const no_splits[] = {NULL};

#define SPEC_START .struct_size = sizeof(hcsmoe_task_spec), .type = HCSMOE_TASK_CHOICE
#define SPEC_NAMES .alias = "bad", .version = "1"
#define SPEC_FILE .file = "bad", .splits = splits
#define SPEC SPEC_START, SPEC_NAMES, SPEC_FILE

static const hcsmoe_task_spec spec_size = {.struct_size = 16, .type = HCSMOE_TASK_CHOICE};
static const hcsmoe_task_spec spec_alias = {SPEC_START, .version = "1", SPEC_FILE};
static const hcsmoe_task_spec spec_version = {SPEC_START, .alias = "bad", SPEC_FILE};
static const hcsmoe_task_spec spec_metrics = {SPEC, .metrics = 9};
static const hcsmoe_task_spec spec_members = {
    .struct_size = sizeof(hcsmoe_task_spec), .type = HCSMOE_TASK_GROUP, SPEC_NAMES};
static const hcsmoe_task_spec spec_file = {SPEC_START, SPEC_NAMES, .splits = splits};
static const hcsmoe_task_spec spec_splits = {SPEC_START, SPEC_NAMES, .file = "bad",
                                             .splits = no_splits};
static const hcsmoe_task_spec spec_filter = {SPEC, .filter_field = "kind"};
static const hcsmoe_task_spec spec_fewshot = {SPEC, .fewshot = 4};
static const hcsmoe_task_spec spec_most = {SPEC, .fewshot_most = -1};

/* A component of a kind whose ops are the struct given. */
#define COMPONENT(name_, kind_, ops_)                                                              \
    static const hcsmoe_component name_ = {.struct_size = sizeof(hcsmoe_component),                \
                                           .kind = (kind_),                                        \
                                           .name = "bad",                                          \
                                           .summary = "a bad one",                                 \
                                           .ops = &(ops_)}
#define TASK(name)                                                                                 \
    static const hcsmoe_task_ops name##_ops = {.struct_size = sizeof(hcsmoe_task_ops),             \
                                               .spec = &(name)};                                   \
    COMPONENT(name##_task, HCSMOE_KIND_TASK, name##_ops)
TASK(spec_size);
TASK(spec_alias);
TASK(spec_version);
TASK(spec_metrics);
TASK(spec_members);
TASK(spec_file);
TASK(spec_splits);
TASK(spec_filter);
TASK(spec_fewshot);
TASK(spec_most);

/* ---- required functions ---- */

static int32_t model_probe(const hcsmoe_host *h, const hcsmoe_json *config)
{
    (void)h;
    (void)config;
    return 0;
}

static hcsmoe_status model_describe(void *self, const hcsmoe_host *h, const hcsmoe_model_args *a,
                                    hcsmoe_model_desc *out)
{
    (void)self;
    (void)a;
    (void)out;
    return hcsmoe_failf(h, HCSMOE_EUNSUPPORTED, "nothing to describe");
}

static hcsmoe_status model_layer(void *self, const hcsmoe_host *h, const hcsmoe_model_args *a,
                                 hcsmoe_layer_desc *out)
{
    (void)self;
    (void)a;
    (void)out;
    return hcsmoe_failf(h, HCSMOE_EUNSUPPORTED, "nothing to describe");
}

static int32_t device_probe(const hcsmoe_host *h)
{
    (void)h;
    return 0;
}

#define MODEL .struct_size = sizeof(hcsmoe_model_ops), .probe = model_probe
static const hcsmoe_model_ops no_describe = {MODEL};
static const hcsmoe_model_ops no_layer = {MODEL, .describe = model_describe};
static const hcsmoe_model_ops no_names = {MODEL, .describe = model_describe,
                                          .describe_layer = model_layer};
static const hcsmoe_kernels_ops no_table = {.struct_size = sizeof no_table, .probe = device_probe};
COMPONENT(model_describes, HCSMOE_KIND_MODEL, no_describe);
COMPONENT(model_layers, HCSMOE_KIND_MODEL, no_layer);
COMPONENT(model_names, HCSMOE_KIND_MODEL, no_names);
COMPONENT(device_table, HCSMOE_KIND_KERNELS, no_table);

/* ---- options ---- */

typedef struct opts {
    int64_t n;
} opts;

static const hcsmoe_option option_n[] = {HCSMOE_INT(opts, n, 1, 1, 9, "how many")};
static const hcsmoe_option option_reserved[] = {
    {"n", "how many", HCSMOE_OPTION_INT, 0, {1}, 1, 9, NULL, 0, 7}};
static const hcsmoe_choice choices_twice[] = {{"a", 1, NULL}, {"a", 2, NULL}, {NULL, 0, NULL}};
static const hcsmoe_option option_twice[] = {HCSMOE_ENUM(opts, n, 1, choices_twice, "which")};
static hcsmoe_choice choices_many[CHOICES]; /* filled below, before anybody looks */
static const hcsmoe_option option_many[] = {HCSMOE_ENUM(opts, n, 1, choices_many, "which")};

static const hcsmoe_component opts_size = {GOOD_COMPONENT, .options = option_n, .n_options = 1,
                                           .option_size = sizeof(hcsmoe_option),
                                           .opts_size = 1 << 20};
static const hcsmoe_component no_option_table = {GOOD_COMPONENT, .n_options = 3};
static const hcsmoe_component option_reserved0 = {GOOD_COMPONENT,
                                                  HCSMOE_OPTIONS(opts, option_reserved)};
static const hcsmoe_component choice_twice = {GOOD_COMPONENT, HCSMOE_OPTIONS(opts, option_twice)};
static const hcsmoe_component choice_many = {GOOD_COMPONENT, HCSMOE_OPTIONS(opts, option_many)};
static const hcsmoe_component good = {GOOD_COMPONENT};

static const struct {
    const char *name;
    const hcsmoe_component *component;
} variants[] = {
    {"spec_size", &spec_size_task},
    {"spec_alias", &spec_alias_task},
    {"spec_version", &spec_version_task},
    {"spec_metrics", &spec_metrics_task},
    {"spec_members", &spec_members_task},
    {"spec_file", &spec_file_task},
    {"spec_splits", &spec_splits_task},
    {"spec_filter", &spec_filter_task},
    {"spec_fewshot", &spec_fewshot_task},
    {"spec_most", &spec_most_task},
    {"model_describe", &model_describes},
    {"model_layer", &model_layers},
    {"model_names", &model_names},
    {"device_table", &device_table},
    {"opts_size", &opts_size},
    {"option_table", &no_option_table},
    {"option_reserved", &option_reserved0},
    {"choice_twice", &choice_twice},
    {"choice_many", &choice_many},
    {"component_twice", &good},
    {"component_many", &good},
};

static const hcsmoe_component *components[COMPONENTS];
static const hcsmoe_plugin plugin = {
    .struct_size = sizeof(hcsmoe_plugin),
    .abi_major = HCSMOE_ABI_MAJOR,
    .abi_minor = HCSMOE_ABI_MINOR,
    .id = "hcsmoe.test.variants",
    .version = "1.0.0",
    .components = components,
};

HCSMOE_EXPORT const hcsmoe_plugin *hcsmoe_plugin_v1(const hcsmoe_host *h);

HCSMOE_EXPORT const hcsmoe_plugin *hcsmoe_plugin_v1(const hcsmoe_host *h)
{
    static char names[COMPONENTS][8];
    static hcsmoe_component many[COMPONENTS];
    const char *wanted = getenv("HCSMOE_TEST_BAD");
    size_t i;

    (void)h;
    memset(components, 0, sizeof components);
    for (i = 0; i < CHOICES - 1; i++) {
        names[i][0] = 'c';
        names[i][1] = (char)('a' + i / 26);
        names[i][2] = (char)('a' + i % 26);
        choices_many[i] = (hcsmoe_choice){names[i], 1, NULL};
    }
    for (i = 0; i < sizeof variants / sizeof variants[0]; i++)
        if (wanted && strcmp(variants[i].name, wanted) == 0)
            components[0] = variants[i].component;
    if (wanted && strcmp(wanted, "component_twice") == 0)
        components[1] = &good;
    for (i = 0; wanted && strcmp(wanted, "component_many") == 0 && i < COMPONENTS - 1; i++) {
        many[i] = good;
        many[i].name = names[i];
        components[i] = &many[i];
    }
    return &plugin;
}
