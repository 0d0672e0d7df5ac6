/*
 * merge.c - a template: the mean of a group's experts, weighted by a power of their use.
 *
 *     W = sum over members e of s_e W_e,   s_e = usage_e^power / (their sum)    W: gate, up, down
 *
 * The file is C11 and C++17. SPDX-License-Identifier: MIT
 */
#include <math.h>

#include <hcsmoe/merge.h>

/* One field for each option: double, int64_t (INT, ENUM), int32_t (BOOL), const char * (STR). */
typedef struct mine_opts {
    double power;
    int64_t unused;
} mine_opts;

enum { UNUSED_MEAN, UNUSED_FAIL };

static const hcsmoe_choice unused_choices[] = {
    {"mean", UNUSED_MEAN, "takes the plain mean, with a warning"},
    {"fail", UNUSED_FAIL, "stops the run"},
    {NULL, 0, NULL},
};

static const hcsmoe_option options[] = {
    HCSMOE_REAL(mine_opts, power, 1, 0, 16, "of the usage; 0: the plain mean"),
    HCSMOE_ENUM(mine_opts, unused, UNUSED_MEAN, unused_choices, "a group that no token chose"),
};

static hcsmoe_status mine_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    const mine_opts *o = (const mine_opts *)self; /* without a create, self is the options */
    const hcsmoe_kernels *k = h->kernels(h);
    const hcsmoe_tensor *const members[] = {a->gate, a->up, a->down};
    const hcsmoe_tensor *const merged[] = {a->out_gate, a->out_up, a->out_down};
    const size_t n = (size_t)a->n_members;
    double *share = (double *)h->scratch(h, n * sizeof *share);
    const hcsmoe_tensor **terms = (const hcsmoe_tensor **)h->scratch(h, n * sizeof *terms);
    hcsmoe_status status = HCSMOE_OK;
    double sum = 0;
    size_t i, part;

    if (!share || !terms)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    for (i = 0; i < n; i++)
        sum += share[i] = pow(a->stats->usage[a->members[i]], o->power);
    if (!(sum > 0) && o->unused == UNUSED_FAIL)
        return hcsmoe_failf(h, HCSMOE_EFAILED, "no token chose any of the %zu experts", n);
    if (!(sum > 0))
        hcsmoe_logf(h, HCSMOE_LOG_WARN, "layer %d, group %d: no token chose any of its %zu experts",
                    a->dims->layer, a->group, n);
    for (i = 0; i < n; i++)
        share[i] = sum > 0 ? share[i] / sum : 1.0 / (double)n;
    for (part = 0; part < 3 && status == HCSMOE_OK; part++) {
        for (i = 0; i < n; i++)
            terms[i] = &members[part][i];
        status = k->weighted_sum(k, a->n_members, terms, share, merged[part]);
    }
    return status;
}

HCSMOE_TABLE(hcsmoe_merge_ops, ops, HCSMOE_SET(merge, mine_merge));

HCSMOE_TABLE(hcsmoe_component, mine,              /* one row of `hcsmoe plugins` */
             HCSMOE_SET(kind, HCSMOE_KIND_MERGE), /* [merge] */
             HCSMOE_SET(name, "mine"),            /* merge = mine */
             HCSMOE_SET(summary, "mean of the experts, weighted by a power of use"), /* one line */
             HCSMOE_SET(ops, &ops),                                      /* what it does */
             HCSMOE_SET(needs, HCSMOE_STAT_WEIGHTS | HCSMOE_STAT_USAGE), /* what must be observed */
             HCSMOE_SET(caps, HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DETERMINISTIC),
             HCSMOE_OPTIONS(mine_opts, options));

HCSMOE_PLUGIN("org.example.merge.mine", "1.0.0", "MIT", &mine)
