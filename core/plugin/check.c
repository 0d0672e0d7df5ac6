/*
 * check.c - what a plugin must look like before anything of it is used.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin/check.h"

#include <dlfcn.h>
#include <math.h>
#include <string.h>

#include <hcsmoe/cluster.h>
#include <hcsmoe/kernels.h>
#include <hcsmoe/merge.h>
#include <hcsmoe/model.h>
#include <hcsmoe/similarity.h>
#include <hcsmoe/task.h>

#include "base/path.h"
#include "base/str.h"
#include "plugin/blas.h"

#define NAME_MAX_CHARS 64
#define ID_MAX_CHARS 128
#define OPTIONS_MAX 64
#define CHOICES_MAX 256     /* a table without its NULL at the end is noticed before long */
#define OPTS_SIZE_MAX 65536 /* 64 options of 8 bytes, with room for whatever stands between them */

#define END_OF(T, member) (offsetof(T, member) + sizeof(((T *)0)->member))

/* The sizes these structs had in the first minor of this major: a smaller one was never released. */
#define PLUGIN_SIZE_FIRST END_OF(hcsmoe_plugin, fini)
#define COMPONENT_SIZE_FIRST END_OF(hcsmoe_component, has_effect)
#define OPTION_SIZE_FIRST END_OF(hcsmoe_option, reserved0)
#define SPEC_SIZE_FIRST END_OF(hcsmoe_task_spec, members)
#define TABLE_SIZE_FIRST END_OF(hcsmoe_kernels, cholesky_inverse)

/* A copy of a plugin's ops, zero behind what the plugin knew. */
union ops {
    uint32_t struct_size;
    hcsmoe_model_ops model;
    hcsmoe_similarity_ops similarity;
    hcsmoe_cluster_ops cluster;
    hcsmoe_merge_ops merge;
    hcsmoe_task_ops task;
    hcsmoe_kernels_ops kernels;
};

static const struct {
    const char *name, *words;
    size_t ops_size, ops_size_first;
} kinds[] = {
    [HCSMOE_KIND_MODEL] = {"model", "model family", sizeof(hcsmoe_model_ops),
                           END_OF(hcsmoe_model_ops, tensor_shape)},
    [HCSMOE_KIND_SIMILARITY] = {"similarity", "similarity base", sizeof(hcsmoe_similarity_ops),
                                END_OF(hcsmoe_similarity_ops, feature_size)},
    [HCSMOE_KIND_CLUSTER] = {"cluster", "clustering", sizeof(hcsmoe_cluster_ops),
                             END_OF(hcsmoe_cluster_ops, accumulate)},
    [HCSMOE_KIND_MERGE] = {"merge", "merge method", sizeof(hcsmoe_merge_ops),
                           END_OF(hcsmoe_merge_ops, reserved1)},
    [HCSMOE_KIND_TASK] = {"task", "task", sizeof(hcsmoe_task_ops), END_OF(hcsmoe_task_ops, format)},
    [HCSMOE_KIND_KERNELS] = {"kernels", "device", sizeof(hcsmoe_kernels_ops),
                             END_OF(hcsmoe_kernels_ops, working_bytes)},
};
#define N_KINDS (sizeof kinds / sizeof kinds[0])

const char *registry_kind_name(uint32_t kind)
{
    return kind < N_KINDS ? kinds[kind].name : NULL;
}

const char *check_kind_words(uint32_t kind)
{
    return kind < N_KINDS ? kinds[kind].words : NULL;
}

uint32_t registry_kind(const char *name)
{
    uint32_t k;

    for (k = 1; k < N_KINDS; k++) {
        if (strcmp(kinds[k].name, name) == 0)
            return k;
    }
    return 0;
}

bool check_name(const char *name, const char *others, size_t most)
{
    size_t n = 0;

    for (; name[n] != '\0'; n++) {
        char c = name[n];
        if (n >= most)
            return false;
        if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && strchr(others, c) == NULL)
            return false;
    }
    return n > 0;
}

bool check_component_name(const char *name)
{
    return check_name(name, "_-", NAME_MAX_CHARS);
}

int check_entry(struct host *h, const char *path, const hcsmoe_plugin **plugin)
{
    /* Without a slash dlopen would search the system's folders. */
    char *file = strchr(path, '/') != NULL ? mem_strdup(path) : mem_printf("./%s", path);
    hcsmoe_entry entry = NULL;
    void *library;
    void *symbol;

    if (file == NULL)
        return HCSMOE_ENOMEM;
    library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        const char *why = dlerror();
        size_t n = strlen(file);
        /* Mostly it starts with the path. */
        if (strncmp(why, file, n) == 0 && strncmp(why + n, ": ", 2) == 0)
            why += n + 2;
        (void)fail(HCSMOE_EINVAL, "%s: cannot be loaded: %s", path, why);
        mem_free(file);
        return HCSMOE_EINVAL;
    }
    mem_free(file);
    blas_single_thread(library);
    symbol = dlsym(library, "hcsmoe_plugin_v1");
    if (symbol == NULL)
        return fail(HCSMOE_EINVAL,
                    "%s: has no symbol hcsmoe_plugin_v1: not a plugin for this hcsmoe", path);
    memcpy(&entry, &symbol, sizeof symbol);
    host_enter(h, path, -1);
    *plugin = entry(&h->abi);
    return host_leave(h, *plugin != NULL ? 0 : HCSMOE_EUNSUPPORTED);
}

int check_version(unsigned major, unsigned minor, unsigned own_major, unsigned own_minor)
{
    struct str way = {0};
    int rc;

    if (major == own_major && (minor == own_minor || (major > 0 && minor < own_minor)))
        return 0;
    if (major < own_major)
        str_add(&way, "rebuild the plugin with this hcsmoe's headers");
    else if (major > own_major)
        str_add(&way, "upgrade hcsmoe");
    else if (major == 0)
        str_add(&way, "upgrade hcsmoe or rebuild the plugin (before 1.0 the minor must match "
                      "exactly)");
    else
        str_addf(&way, "upgrade hcsmoe or rebuild the plugin with -DHCSMOE_ABI_MINOR=%u",
                 own_minor);
    /* The path goes in front without a colon: "PATH needs hcsmoe ABI …". */
    rc = fail(HCSMOE_EUNSUPPORTED, "needs hcsmoe ABI %u.%u, this is %u.%u: %s", major, minor,
              own_major, own_minor, str_text(&way));
    str_release(&way);
    return rc;
}

int check_plugin(const hcsmoe_plugin *p, hcsmoe_plugin *out)
{
    size_t size = p->struct_size;
    int rc;

    if (size < PLUGIN_SIZE_FIRST)
        return fail(HCSMOE_EPLUGIN, "has struct_size %zu in hcsmoe_plugin: must be at least %zu",
                    size, (size_t)PLUGIN_SIZE_FIRST);
    *out = (hcsmoe_plugin){0};
    memcpy(out, p, size < sizeof *out ? size : sizeof *out);
    rc = check_version(out->abi_major, out->abi_minor, HCSMOE_ABI_MAJOR, HCSMOE_ABI_MINOR_LATEST);
    if (rc != 0)
        return rc;
    if (out->id == NULL)
        return fail(HCSMOE_EPLUGIN, "has no id");
    if (!check_name(out->id, "._-", ID_MAX_CHARS))
        return fail(HCSMOE_EPLUGIN, "has id '%s': must be 1..%d characters out of a-z 0-9 . _ -",
                    out->id, ID_MAX_CHARS);
    if (out->version == NULL)
        return fail(HCSMOE_EPLUGIN, "has no version");
    if (out->components == NULL || out->components[0] == NULL)
        return fail(HCSMOE_EPLUGIN, "has no components");
    return 0;
}

/* The first required function that is missing; NULL: none is. */
static const char *missing_function(uint32_t kind, const union ops *o)
{
    switch (kind) {
    case HCSMOE_KIND_MODEL:
        if (o->model.probe == NULL)
            return "probe";
        if (o->model.describe == NULL)
            return "describe";
        if (o->model.describe_layer == NULL)
            return "describe_layer";
        return o->model.tensor_name == NULL ? "tensor_name" : NULL;
    case HCSMOE_KIND_SIMILARITY:
        if (o->similarity.distances == NULL && o->similarity.similarities == NULL)
            return "distances or similarities";
        return NULL;
    case HCSMOE_KIND_CLUSTER:
        return o->cluster.cluster == NULL ? "cluster" : NULL;
    case HCSMOE_KIND_MERGE:
        return o->merge.merge == NULL ? "merge" : NULL;
    case HCSMOE_KIND_KERNELS:
        if (o->kernels.probe == NULL)
            return "probe";
        return o->kernels.table == NULL ? "table" : NULL;
    default:
        return NULL;
    }
}

/* The kinds of task that read records. */
static int check_task_records(const hcsmoe_task_spec *s, const hcsmoe_task_ops *ops)
{
    if (s->file == NULL)
        return fail(HCSMOE_EPLUGIN, "the task spec has no file");
    if (s->splits == NULL || s->splits[0] == NULL)
        return fail(HCSMOE_EPLUGIN, "the task spec has no splits");
    if (s->filter_field != NULL && s->filter_value == NULL)
        return fail(HCSMOE_EPLUGIN, "the task spec has a filter_field and no filter_value");
    if (s->fewshot < 0 || s->fewshot > HCSMOE_FEWSHOT_FIRST)
        return fail(HCSMOE_EPLUGIN, "the task spec has fewshot %d: must be 0..%d", s->fewshot,
                    HCSMOE_FEWSHOT_FIRST);
    if (s->fewshot_most < 0)
        return fail(HCSMOE_EPLUGIN, "the task spec has a negative fewshot_most");
    if (ops->format == NULL)
        return fail(HCSMOE_EPLUGIN, "the function format is missing");
    return 0;
}

static int check_task(hcsmoe_task_ops *ops, struct arena *memory)
{
    const uint32_t metrics = HCSMOE_METRIC_ACC | HCSMOE_METRIC_ACC_NORM;
    hcsmoe_task_spec *s;
    size_t size;

    if (ops->spec == NULL)
        return fail(HCSMOE_EPLUGIN, "the task has no spec");
    size = ops->spec->struct_size;
    if (size < SPEC_SIZE_FIRST)
        return fail(HCSMOE_EPLUGIN, "struct_size %zu of the task spec: must be at least %zu", size,
                    (size_t)SPEC_SIZE_FIRST);
    s = arena_alloc(memory, sizeof *s);
    if (s == NULL)
        return HCSMOE_ENOMEM;
    memcpy(s, ops->spec, size < sizeof *s ? size : sizeof *s);
    ops->spec = s;
    if (s->type < HCSMOE_TASK_CHOICE || s->type > HCSMOE_TASK_GROUP)
        return fail(HCSMOE_EPLUGIN, "the task spec has type %d: must be %d..%d", s->type,
                    HCSMOE_TASK_CHOICE, HCSMOE_TASK_GROUP);
    if (s->alias == NULL)
        return fail(HCSMOE_EPLUGIN, "the task spec has no alias");
    if (s->version == NULL)
        return fail(HCSMOE_EPLUGIN, "the task spec has no version");
    if ((s->metrics & ~metrics) != 0)
        return fail(HCSMOE_EPLUGIN, "the task spec has metrics 0x%x: this hcsmoe knows 0x%x",
                    s->metrics, metrics);
    if (s->type == HCSMOE_TASK_GROUP && (s->members == NULL || s->members[0] == NULL))
        return fail(HCSMOE_EPLUGIN, "the task spec is a group and has no members");
    if (s->type == HCSMOE_TASK_CHOICE || s->type == HCSMOE_TASK_ROLLING)
        return check_task_records(s, ops);
    return 0;
}

static int check_ops(hcsmoe_component *c, struct arena *memory)
{
    size_t most = kinds[c->kind].ops_size;
    const char *missing;
    union ops *ops;
    uint32_t size;

    if (c->ops == NULL)
        return fail(HCSMOE_EPLUGIN, "has no ops");
    memcpy(&size, c->ops, sizeof size);
    if (size < kinds[c->kind].ops_size_first)
        return fail(HCSMOE_EPLUGIN, "struct_size %u of its ops: must be at least %zu", size,
                    kinds[c->kind].ops_size_first);
    ops = arena_alloc(memory, sizeof *ops);
    if (ops == NULL)
        return HCSMOE_ENOMEM;
    memcpy(ops, c->ops, size < most ? size : most);
    c->ops = ops;
    missing = missing_function(c->kind, ops);
    if (missing != NULL)
        return fail(HCSMOE_EPLUGIN, "the function %s is missing", missing);
    return c->kind == HCSMOE_KIND_TASK ? check_task(&ops->task, memory) : 0;
}

/* A kernel by its name. */
#define KERNEL(name)                                                                               \
    {                                                                                              \
#name, offsetof(hcsmoe_kernels, name)                                                      \
    }

int check_kernels(const hcsmoe_kernels *k)
{
    /* All of the first minor: merge methods may call any of them. */
    static const struct {
        const char *name;
        size_t offset;
    } all[] = {
        KERNEL(alloc),        KERNEL(free),           KERNEL(upload),
        KERNEL(download),     KERNEL(clear),          KERNEL(mark),
        KERNEL(wait),         KERNEL(embed),          KERNEL(rmsnorm),
        KERNEL(linear),       KERNEL(rope),           KERNEL(attention),
        KERNEL(route),        KERNEL(map_experts),    KERNEL(mlp),
        KERNEL(experts),      KERNEL(swiglu),         KERNEL(sigmoid_dot),
        KERNEL(gather),       KERNEL(scatter_add),    KERNEL(token_logprobs),
        KERNEL(column_sum),   KERNEL(gram_columns),   KERNEL(gram_tensors),
        KERNEL(weighted_sum), KERNEL(convert),        KERNEL(sgemm),
        KERNEL(dgemm),        KERNEL(has_nonfinite),  KERNEL(syrk),
        KERNEL(cholesky),     KERNEL(cholesky_solve), KERNEL(cholesky_inverse),
    };
    size_t i;

    if (k == NULL)
        return fail(HCSMOE_EPLUGIN, "gave no table of kernels");
    if (k->struct_size < TABLE_SIZE_FIRST)
        return fail(HCSMOE_EPLUGIN, "struct_size %u of its table: must be at least %zu",
                    k->struct_size, (size_t)TABLE_SIZE_FIRST);
    for (i = 0; i < sizeof all / sizeof all[0]; i++) {
        void (*function)(void);
        memcpy(&function, (const char *)k + all[i].offset, sizeof function);
        if (function == NULL)
            return fail(HCSMOE_EPLUGIN, "the kernel %s is missing in its table", all[i].name);
    }
    if (k->host == NULL)
        return fail(HCSMOE_EPLUGIN, "its table has no host");
    if (k->device != HCSMOE_DEVICE_HOST && k->device != HCSMOE_DEVICE_ACCELERATOR)
        return fail(HCSMOE_EUNSUPPORTED, "its table is of device %u, this hcsmoe knows 0..%d",
                    k->device, HCSMOE_DEVICE_ACCELERATOR);
    return 0;
}

/* Number of the lowest bit, and of the highest. word is not 0. */
static int bit_low(uint64_t word)
{
    return __builtin_ctzll(word);
}

static int bit_high(uint64_t word)
{
    return 63 - __builtin_clzll(word);
}

static int check_bits(const hcsmoe_component *c)
{
    uint64_t needs = c->needs & ~HCSMOE_STAT_KNOWN;
    uint64_t caps = c->caps & ~HCSMOE_CAP_KNOWN;

    if (needs != 0)
        return fail(HCSMOE_EUNSUPPORTED, "needs statistic %d, this hcsmoe knows 0..%d",
                    bit_low(needs), bit_high(HCSMOE_STAT_KNOWN));
    if (caps != 0)
        return fail(HCSMOE_EUNSUPPORTED, "has capability %d, this hcsmoe knows 0..%d",
                    bit_low(caps), bit_high(HCSMOE_CAP_KNOWN));
    return 0;
}

static size_t field_size(uint32_t type)
{
    switch (type) {
    case HCSMOE_OPTION_BOOL:
        return sizeof(int32_t);
    case HCSMOE_OPTION_INT:
    case HCSMOE_OPTION_ENUM:
        return sizeof(int64_t);
    case HCSMOE_OPTION_REAL:
        return sizeof(double);
    case HCSMOE_OPTION_STR:
    case HCSMOE_OPTION_PATH:
        return sizeof(const char *);
    default:
        return 0;
    }
}

static int check_choices(const hcsmoe_option *o)
{
    bool found = (o->flags & HCSMOE_OPTION_REQUIRED) != 0;
    size_t i;
    size_t k;

    if (o->choices == NULL || o->choices[0].name == NULL)
        return fail(HCSMOE_EPLUGIN, "has no choices");
    for (i = 0; o->choices[i].name != NULL; i++) {
        if (i >= CHOICES_MAX)
            return fail(HCSMOE_EPLUGIN, "has more than %d choices", CHOICES_MAX);
        for (k = 0; k < i; k++) {
            if (strcmp(o->choices[i].name, o->choices[k].name) == 0)
                return fail(HCSMOE_EPLUGIN, "has the choice '%s' twice", o->choices[i].name);
        }
        found = found || o->choices[i].value == o->def.i;
    }
    if (!found)
        return fail(HCSMOE_EPLUGIN, "its default %lld is none of its choices", (long long)o->def.i);
    return 0;
}

static int check_range(const hcsmoe_option *o)
{
    double def = o->type == HCSMOE_OPTION_REAL ? o->def.d : (double)o->def.i;

    if (isnan(o->min) || isnan(o->max) || o->min > o->max)
        return fail(HCSMOE_EPLUGIN, "its range %g..%g is empty", o->min, o->max);
    if ((o->flags & HCSMOE_OPTION_REQUIRED) != 0)
        return 0;
    if (!(def >= o->min && def <= o->max))
        return fail(HCSMOE_EPLUGIN, "its default %g is outside %g..%g", def, o->min, o->max);
    return 0;
}

static int check_option(const hcsmoe_option *o, size_t opts_size)
{
    const uint32_t flags =
        HCSMOE_OPTION_REQUIRED | HCSMOE_OPTION_DEPRECATED | HCSMOE_OPTION_EXPERIMENTAL;
    size_t size = field_size(o->type);

    if (size == 0)
        return fail(HCSMOE_EPLUGIN, "its type %u is not known (have: %d..%d)", o->type,
                    HCSMOE_OPTION_BOOL, HCSMOE_OPTION_PATH);
    if (o->help == NULL)
        return fail(HCSMOE_EPLUGIN, "has no help");
    if ((o->flags & ~flags) != 0)
        return fail(HCSMOE_EUNSUPPORTED, "has flag %d, this hcsmoe knows 0..%d",
                    bit_low(o->flags & ~flags), bit_high(flags));
    if (o->reserved0 != 0)
        return fail(HCSMOE_EPLUGIN, "its reserved0 is not 0");
    if (size > opts_size || o->offset > opts_size - size)
        return fail(HCSMOE_EPLUGIN,
                    "its field at %u..%zu is outside the options struct of %zu bytes", o->offset,
                    o->offset + size, opts_size);
    if (o->offset % size != 0)
        return fail(HCSMOE_EPLUGIN, "its offset %u is no multiple of %zu", o->offset, size);
    if (o->type == HCSMOE_OPTION_BOOL && o->def.i != 0 && o->def.i != 1)
        return fail(HCSMOE_EPLUGIN, "its default %lld is neither 0 nor 1", (long long)o->def.i);
    if (o->type == HCSMOE_OPTION_ENUM)
        return check_choices(o);
    if (o->type == HCSMOE_OPTION_INT || o->type == HCSMOE_OPTION_REAL)
        return check_range(o);
    return 0;
}

static int check_options(struct component *out, struct arena *memory)
{
    hcsmoe_component *c = &out->c;
    uint32_t i;
    uint32_t k;
    int rc;

    if (c->n_options > OPTIONS_MAX)
        return fail(HCSMOE_EPLUGIN, "has %u options: must be 0..%d", c->n_options, OPTIONS_MAX);
    if (c->opts_size > OPTS_SIZE_MAX)
        return fail(HCSMOE_EPLUGIN, "opts_size %zu: must be 0..%d", c->opts_size, OPTS_SIZE_MAX);
    if (c->n_options == 0)
        return 0;
    if (c->options == NULL)
        return fail(HCSMOE_EPLUGIN, "has %u options and no table of them", c->n_options);
    if (c->option_size < OPTION_SIZE_FIRST)
        return fail(HCSMOE_EPLUGIN, "option_size %u: must be at least %zu", c->option_size,
                    (size_t)OPTION_SIZE_FIRST);
    out->options = arena_alloc(memory, c->n_options * sizeof *out->options);
    if (out->options == NULL)
        return HCSMOE_ENOMEM;
    for (i = 0; i < c->n_options; i++) {
        hcsmoe_option *o = &out->options[i];
        memcpy(o, (const char *)c->options + (size_t)i * c->option_size,
               c->option_size < sizeof *o ? c->option_size : sizeof *o);
        /* No dot and no blank: keys are "option" and "component.option". */
        if (o->name == NULL || !check_name(o->name, "_-ABCDEFGHIJKLMNOPQRSTUVWXYZ", NAME_MAX_CHARS))
            return fail(HCSMOE_EPLUGIN,
                        "option %u: name '%s': must be 1..%d characters out of A-Z a-z 0-9 _ -",
                        i + 1, o->name != NULL ? o->name : "", NAME_MAX_CHARS);
        for (k = 0; k < i; k++) {
            if (strcmp(o->name, out->options[k].name) == 0)
                return fail(HCSMOE_EPLUGIN, "has the option '%s' twice", o->name);
        }
        rc = check_option(o, c->opts_size);
        if (rc != 0)
            return fail_in(rc, "option '%s'", o->name);
    }
    c->options = out->options;
    c->option_size = sizeof *out->options;
    return 0;
}

/* All that can be said once the component has a name. */
static int check_named(struct component *out, struct arena *memory)
{
    hcsmoe_component *c = &out->c;
    int rc;

    if (c->summary == NULL)
        return fail(HCSMOE_EPLUGIN, "has no summary");
    rc = check_ops(c, memory);
    if (rc == 0)
        rc = check_bits(c);
    return rc == 0 ? check_options(out, memory) : rc;
}

int check_component(const hcsmoe_component *c, size_t index, struct arena *memory,
                    struct component *out)
{
    size_t size = c->struct_size;
    int rc;

    if (size < COMPONENT_SIZE_FIRST)
        return fail(HCSMOE_EPLUGIN, "component %zu: struct_size %zu: must be at least %zu",
                    index + 1, size, (size_t)COMPONENT_SIZE_FIRST);
    *out = (struct component){0};
    memcpy(&out->c, c, size < sizeof out->c ? size : sizeof out->c);
    c = &out->c;
    if (c->kind < 1 || c->kind >= N_KINDS)
        return fail(HCSMOE_EUNSUPPORTED, "component %zu: kind %u is not known (have: 1..%zu)",
                    index + 1, c->kind, N_KINDS - 1);
    if (c->name == NULL)
        return fail(HCSMOE_EPLUGIN, "component %zu: has no name", index + 1);
    if (!check_component_name(c->name))
        return fail(HCSMOE_EPLUGIN,
                    "component %zu: name '%s': must be 1..%d characters out of a-z 0-9 _ -",
                    index + 1, c->name, NAME_MAX_CHARS);
    rc = check_named(out, memory);
    return rc != 0 ? fail_in(rc, "%s/%s", kinds[c->kind].name, c->name) : 0;
}
