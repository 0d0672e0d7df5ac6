/*
 * weighted.c - merges a group to the mean of its experts, in which the core counts x and others y.
 *
 *     W = (x W_core + y sum over the others of W_e) / (x + y (G - 1))      W: gate, up and down
 *
 * SPDX-License-Identifier: MIT
 */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>

#include <hcsmoe/merge.h>

typedef struct weighted_opts {
    const char *mode;
} weighted_opts;

static const hcsmoe_option options[] = {
    {.name = "mode",
     .help = "x,y: how much the core and every other expert count, such as 3,1",
     .type = HCSMOE_OPTION_STR,
     .offset = HCSMOE_FIELD_(weighted_opts, mode, const char *),
     .flags = HCSMOE_OPTION_REQUIRED},
};

/* self: */
struct weighted {
    double core, other;
};

/* A number from 0 on at *p, and the end that must follow. 0: it is not so. */
static int number_next(const char **p, char end, double *value)
{
    char *after;

    while (isspace((unsigned char)**p))
        (*p)++;
    if (!isdigit((unsigned char)**p) && **p != '.')
        return 0;
    *value = strtod(*p, &after);
    if (after == *p || !isfinite(*value))
        return 0;
    while (isspace((unsigned char)*after))
        after++;
    *p = after + (*after != '\0');
    return *after == end;
}

static hcsmoe_status weighted_create(const hcsmoe_host *h, const void *opts, void **self)
{
    const weighted_opts *o = opts;
    const char *p = o->mode;
    struct weighted w = {0};
    double most;

    if (!number_next(&p, ',', &w.core) || !number_next(&p, '\0', &w.other) ||
        !(w.core > 0 || w.other > 0))
        return hcsmoe_failf(h, HCSMOE_EINVAL,
                            "mode = %s: must be two numbers x,y (the core's weight and the "
                            "others'), not negative and not both 0, such as 3,1",
                            o->mode);
    *self = h->alloc(h, sizeof w);
    if (!*self)
        return HCSMOE_ENOMEM; /* alloc has set the message */
    /* Only the ratio counts; no sum of weights up to 1 overflows. */
    most = w.core > w.other ? w.core : w.other;
    *(struct weighted *)*self = (struct weighted){w.core / most, w.other / most};
    return HCSMOE_OK;
}

static void weighted_destroy(const hcsmoe_host *h, void *self)
{
    h->free(h, self);
}

static hcsmoe_status weighted_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    const struct weighted *w = self;
    const double sum = w->core + w->other * (double)(a->n_members - 1);
    const hcsmoe_kernels *k = h->kernels(h);
    const hcsmoe_tensor *const members[] = {a->gate, a->up, a->down};
    const hcsmoe_tensor *const merged[] = {a->out_gate, a->out_up, a->out_down};
    double *share = h->scratch(h, (size_t)a->n_members * sizeof *share);
    const hcsmoe_tensor **terms = h->scratch(h, (size_t)a->n_members * sizeof *terms);
    hcsmoe_status status = HCSMOE_OK;
    int64_t i, cores = 0;
    int part;

    if (!share || !terms)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    for (i = 0; i < a->n_members; i++) {
        cores += a->members[i] == a->core;
        share[i] = (a->members[i] == a->core ? w->core : w->other) / sum;
    }
    if (cores != 1)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "group %d: its core is expert %d, which is not in it",
                            a->group, a->core);
    for (part = 0; part < 3 && status == HCSMOE_OK; part++) {
        for (i = 0; i < a->n_members; i++)
            terms[i] = &members[part][i];
        status = k->weighted_sum(k, a->n_members, terms, share, merged[part]);
    }
    return status;
}

static const hcsmoe_merge_ops ops = {.struct_size = sizeof ops, .merge = weighted_merge};

static const hcsmoe_component weighted = {
    .struct_size = sizeof weighted,
    .kind = HCSMOE_KIND_MERGE,
    .name = "weighted",
    .summary = "mean of the experts, with a weight of its own for the core of each group",
    .ops = &ops,
    .needs = HCSMOE_STAT_WEIGHTS,
    .caps =
        HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DEVICE | HCSMOE_CAP_DETERMINISTIC | HCSMOE_CAP_CORES_IN,
    HCSMOE_OPTIONS(weighted_opts, options),
    .create = weighted_create,
    .destroy = weighted_destroy,
};

HCSMOE_PLUGIN("hcsmoe.merge.weighted", "1.0.0", "MIT", &weighted)
