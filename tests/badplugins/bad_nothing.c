/*
 * bad_nothing.c - nothing is wrong: what the others are compared with, and what the registry is tested on.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bad.h"

/* The members are there for the tests of options and instances. */
typedef struct nothing_opts {
    int64_t n;
    double eps;
    int64_t fallback;
    int32_t strict;
    int32_t reserved0;
    const char *note;
    const char *file;
} nothing_opts;

static const hcsmoe_choice fallbacks[] = {
    {"mean", 1, "the plain mean"},
    {"zero", 2, "zeros"},
    {NULL, 0, NULL},
};
static const hcsmoe_option options[] = {
    HCSMOE_INT(nothing_opts, n, 4, 1, 65536, "how many"),
    HCSMOE_REAL(nothing_opts, eps, 1e-12, 0, 1, "usage below this counts as none"),
    HCSMOE_ENUM(nothing_opts, fallback, 1, fallbacks, "what is done without usage"),
    HCSMOE_BOOL(nothing_opts, strict, 0, "whether to be strict"),
    HCSMOE_STR(nothing_opts, note, "none", "a remark"),
    HCSMOE_PATH(nothing_opts, file, NULL, "where more is said"),
};

static hcsmoe_status alpha_create(const hcsmoe_host *h, const void *opts, void **self)
{
    const nothing_opts *o = opts;
    if (o->n == 13)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "n = %d brings bad luck", 13);
    *self = h->alloc(h, sizeof(int));
    return *self != NULL ? HCSMOE_OK : HCSMOE_ENOMEM;
}

static void alpha_destroy(const hcsmoe_host *h, void *self)
{
    h->free(h, self);
}

static uint64_t alpha_needs(const void *opts, uint64_t caps)
{
    const nothing_opts *o = opts;
    (void)caps;
    return o->strict ? HCSMOE_STAT_USAGE : HCSMOE_STAT_WEIGHTS;
}

static const hcsmoe_component alpha = {
    .struct_size = sizeof(hcsmoe_component),
    .kind = HCSMOE_KIND_MERGE,
    .name = "alpha",
    .summary = "the first",
    .ops = &good_ops,
    .needs = HCSMOE_STAT_WEIGHTS | HCSMOE_STAT_USAGE | HCSMOE_STAT_OUTPUT_MEAN,
    HCSMOE_OPTIONS(nothing_opts, options),
    .needs_for = alpha_needs,
    .create = alpha_create,
    .destroy = alpha_destroy,
};
static const hcsmoe_component beta = {
    .struct_size = sizeof(hcsmoe_component),
    .kind = HCSMOE_KIND_MERGE,
    .name = "beta",
    .summary = "the second",
    .ops = &good_ops,
};

HCSMOE_PLUGIN("hcsmoe.test.nothing", "1.0.0", "MIT", &alpha, &beta)
