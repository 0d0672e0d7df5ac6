/*
 * plugin.c - the components slim, select and lstsq: options and shapes.
 *
 * All three keep or make whole neurons and refit the down projection in closed form to what the
 * group put out on the calibration tokens. SPDX-License-Identifier: MIT
 */
#include <ctype.h>
#include <stdlib.h>

#include "neurons.h"

static const hcsmoe_choice selectors[] = {
    {.name = "backward",
     .value = BACKWARD,
     .help = "all neurons, less those whose removal costs least"},
    {.name = "forward", .value = FORWARD, .help = "one by one those that explain most"},
    {.name = NULL},
};

static const hcsmoe_choice bases[] = {
    {.name = "freq", .value = BASE_FREQ, .help = "mean weighted by usage"},
    {.name = "mean", .value = BASE_MEAN, .help = "plain mean"},
    {.name = "fix-dom-same",
     .value = BASE_FIX_DOM_SAME,
     .help = "neurons go to the most correlated one of the core"},
    {.name = "align",
     .value = BASE_ALIGN,
     .help = "mean after a one-to-one matching with the most used expert"},
    {.name = "dominant", .value = BASE_DOMINANT, .help = "the most used expert"},
    {.name = NULL},
};

#define RIDGE                                                                                      \
    HCSMOE_REAL(                                                                                   \
        neurons_opts, ridge, 0.01, 0, 1e6,                                                         \
        "how much refitted columns are drawn to the old ones: a share of the Gram matrix's mean "  \
        "diagonal")
#define SELECTION                                                                                  \
    HCSMOE_ENUM(neurons_opts, selector, BACKWARD, selectors, "how neurons are selected"),          \
        HCSMOE_REAL(neurons_opts, select_ridge, 0.01, 0, 1e6, "ridge of the selection, likewise"), \
        HCSMOE_INT(neurons_opts, select_block, 0, 0, 1 << 20,                                      \
                   "neurons that backward removes at once; 0: a 96th of all")
#define WIDTH_MULTIPLE                                                                             \
    HCSMOE_INT(neurons_opts, width_multiple, 1, 1, 1 << 20,                                        \
               "a narrower expert's width is a multiple of this: transformers 5 loads odd ones, "  \
               "but runs "                                                                         \
               "only multiples of 16 bytes, 8 in bfloat16; 64 suits tensor cores")
#define MIN_TOKENS                                                                                 \
    HCSMOE_INT(neurons_opts, min_tokens, 0, 0, 1 << 20,                                            \
               "warn of groups with fewer tokens for each neuron of the result")

static const hcsmoe_option slim_options[] = {RIDGE, SELECTION, WIDTH_MULTIPLE, MIN_TOKENS};

static const hcsmoe_option select_options[] = {
    HCSMOE_STR(neurons_opts, groups, "0",
               "number of groups; more than num_average_groups are as much narrower; 0: "
               "num_average_groups; auto: the clustering chooses"),
    RIDGE,
    SELECTION,
    HCSMOE_INT(
        neurons_opts, pool, 2, 0, 1 << 20,
        "widths of an expert: as many neurons are selected from, those of most energy; 0: all"),
    WIDTH_MULTIPLE,
    MIN_TOKENS,
};

static const hcsmoe_option lstsq_options[] = {
    HCSMOE_ENUM(neurons_opts, lstsq_base, BASE_FREQ, bases, "what is refitted"),
    RIDGE,
    MIN_TOKENS,
};

/* groups as a number; below GROUPS_AUTO: it is none. */
static int64_t read_groups(const char *text)
{
    char *end;
    long long value;

    if (text == NULL)
        return 0;
    if (strcmp(text, "auto") == 0)
        return GROUPS_AUTO;
    if (!isdigit((unsigned char)*text))
        return GROUPS_AUTO - 1;
    value = strtoll(text, &end, 10); /* too large a number becomes the largest */
    return *end == '\0' ? (int64_t)value : GROUPS_AUTO - 1;
}

static hcsmoe_status neurons_create(const hcsmoe_host *h, const void *opts, void **self)
{
    const neurons_opts *o = opts;
    const int64_t groups = read_groups(o->groups);
    struct neurons *s;

    if (groups < GROUPS_AUTO)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "groups = %s: must be a number of groups, 0 or auto",
                            o->groups);
    s = h->alloc(h, sizeof *s);
    if (!s)
        return HCSMOE_ENOMEM; /* alloc has set the message */
    *s = (struct neurons){.o = o, .groups = groups, .bytes_most = BYTES_MOST};
    *self = s;
    return HCSMOE_OK;
}

static void neurons_destroy(const hcsmoe_host *h, void *self)
{
    h->free(h, self);
}

static hcsmoe_status check_target(const hcsmoe_host *h, const hcsmoe_layer_dims *dims, int64_t n)
{
    if (n >= 1 && n <= dims->n_experts)
        return HCSMOE_OK;
    return hcsmoe_failf(h, HCSMOE_EINVAL,
                        "num_average_groups = %lld of %lld experts: must be 1..%lld", (long long)n,
                        (long long)dims->n_experts, (long long)dims->n_experts);
}

/* Width of an expert when `groups` of them together are as large as n of the full width. */
static int64_t narrowed(const neurons_opts *o, int64_t ffn, int64_t n, int64_t groups)
{
    const int64_t width = ffn * n / groups;

    return groups == n ? ffn : width - width % o->width_multiple;
}

static hcsmoe_status fail_width(const hcsmoe_host *h, const neurons_opts *o,
                                const hcsmoe_layer_dims *dims, int64_t n, int64_t groups)
{
    return hcsmoe_failf(h, HCSMOE_EINVAL,
                        "%lld experts as large as %lld of width %lld have no neuron left "
                        "at width_multiple = %lld",
                        (long long)groups, (long long)n, (long long)dims->ffn,
                        (long long)o->width_multiple);
}

static hcsmoe_status slim_shape(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                                hcsmoe_merge_shape *shape)
{
    const struct neurons *s = self;
    const hcsmoe_status status = check_target(h, dims, shape->n_target);

    if (status != HCSMOE_OK)
        return status;
    shape->n_experts = dims->n_experts;
    shape->ffn = narrowed(s->o, dims->ffn, shape->n_target, dims->n_experts);
    return shape->ffn > 0 ? HCSMOE_OK : fail_width(h, s->o, dims, shape->n_target, dims->n_experts);
}

/* With groups = auto, and nothing chosen yet, the clustering is to choose among n..E groups, all of
 * which must leave a neuron. */
static hcsmoe_status select_shape(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                                  hcsmoe_merge_shape *shape)
{
    const struct neurons *s = self;
    const int64_t n = shape->n_target, all = dims->n_experts;
    const int open = s->groups == GROUPS_AUTO && shape->n_experts == 0;
    int64_t groups = s->groups == GROUPS_AUTO ? shape->n_experts : s->groups;
    const hcsmoe_status status = check_target(h, dims, n);

    if (status != HCSMOE_OK)
        return status;
    groups = open ? all : groups == 0 ? n : groups;
    if (groups < n || groups > all)
        return hcsmoe_failf(h, HCSMOE_EINVAL,
                            "groups = %lld: must be %lld (num_average_groups) to %lld "
                            "(experts), 0 or auto",
                            (long long)groups, (long long)n, (long long)all);
    shape->n_experts = open ? 0 : groups;
    shape->ffn = narrowed(s->o, dims->ffn, n, groups);
    if (shape->ffn == 0)
        return fail_width(h, s->o, dims, n, groups);
    if (open)
        shape->ffn = dims->ffn;
    return HCSMOE_OK;
}

static uint64_t select_needs(const void *opts, uint64_t caps)
{
    const neurons_opts *o = opts;

    (void)caps;
    return HCSMOE_STAT_LAYER_INPUT | (o->pool > 0 ? HCSMOE_STAT_ENERGY : 0);
}

static int32_t neurons_has_effect(const void *opts, uint64_t caps, const char *option)
{
    const neurons_opts *o = opts;

    (void)caps;
    if (strcmp(option, "select_block") == 0)
        return o->selector != FORWARD;
    if (strcmp(option, "width_multiple") == 0)
        return o->groups == NULL || strcmp(o->groups, "0") != 0;
    return 1;
}

static const hcsmoe_merge_ops slim_ops = {
    .struct_size = sizeof slim_ops,
    .shape = slim_shape,
    .cost = select_cost,
    .merge = select_merge,
};

static const hcsmoe_merge_ops select_ops = {
    .struct_size = sizeof select_ops,
    .shape = select_shape,
    .cost = select_cost,
    .merge = select_merge,
};

static const hcsmoe_merge_ops lstsq_ops = {
    .struct_size = sizeof lstsq_ops,
    .cost = lstsq_cost,
    .merge = lstsq_merge,
};

static const hcsmoe_component slim = {
    .struct_size = sizeof slim,
    .kind = HCSMOE_KIND_MERGE,
    .name = "slim",
    .summary = "every expert keeps its best neurons, the down projection is refitted",
    .ops = &slim_ops,
    .needs = HCSMOE_STAT_LAYER_INPUT,
    .caps = HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DETERMINISTIC | HCSMOE_CAP_NO_GROUPS,
    HCSMOE_OPTIONS(neurons_opts, slim_options),
    .create = neurons_create,
    .destroy = neurons_destroy,
    .has_effect = neurons_has_effect,
};

static const hcsmoe_component select_best = {
    .struct_size = sizeof select_best,
    .kind = HCSMOE_KIND_MERGE,
    .name = "select",
    .summary = "a group keeps the best neurons of its experts, the down projection is refitted",
    .ops = &select_ops,
    .needs = HCSMOE_STAT_LAYER_INPUT | HCSMOE_STAT_ENERGY,
    .caps = HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DETERMINISTIC,
    HCSMOE_OPTIONS(neurons_opts, select_options),
    .needs_for = select_needs,
    .create = neurons_create,
    .destroy = neurons_destroy,
    .has_effect = neurons_has_effect,
};

static const hcsmoe_component lstsq = {
    .struct_size = sizeof lstsq,
    .kind = HCSMOE_KIND_MERGE,
    .name = "lstsq",
    .summary = "a mean of the experts whose down projection is refitted",
    .ops = &lstsq_ops,
    .needs = HCSMOE_STAT_LAYER_INPUT | HCSMOE_STAT_USAGE,
    .caps = HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DETERMINISTIC,
    HCSMOE_OPTIONS(neurons_opts, lstsq_options),
    .create = neurons_create,
    .destroy = neurons_destroy,
};

HCSMOE_PLUGIN("hcsmoe.merge.neurons", "1.0.0", "MIT", &slim, &select_best, &lstsq)
