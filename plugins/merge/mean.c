/*
 * mean.c - merges a group to the plain mean of its experts. SPDX-License-Identifier: MIT
 */
#include <hcsmoe/merge.h>

static hcsmoe_status mean_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    const hcsmoe_kernels *k = h->kernels(h);
    const hcsmoe_tensor *const members[] = {a->gate, a->up, a->down};
    const hcsmoe_tensor *const merged[] = {a->out_gate, a->out_up, a->out_down};
    double *share = h->scratch(h, (size_t)a->n_members * sizeof *share);
    const hcsmoe_tensor **terms = h->scratch(h, (size_t)a->n_members * sizeof *terms);
    hcsmoe_status status = HCSMOE_OK;
    int64_t i;
    int part;

    (void)self; /* mean has no options */
    if (!share || !terms)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    for (i = 0; i < a->n_members; i++)
        share[i] = 1.0 / (double)a->n_members;
    for (part = 0; part < 3 && status == HCSMOE_OK; part++) {
        for (i = 0; i < a->n_members; i++)
            terms[i] = &members[part][i];
        status = k->weighted_sum(k, a->n_members, terms, share, merged[part]);
    }
    return status;
}

static const hcsmoe_merge_ops ops = {.struct_size = sizeof ops, .merge = mean_merge};

static const hcsmoe_component mean = {
    .struct_size = sizeof mean,
    .kind = HCSMOE_KIND_MERGE,
    .name = "mean",
    .summary = "plain mean of the experts",
    .ops = &ops,
    .needs = HCSMOE_STAT_WEIGHTS,
    .caps = HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DEVICE | HCSMOE_CAP_DETERMINISTIC,
};

HCSMOE_PLUGIN("hcsmoe.merge.mean", "1.0.0", "MIT", &mean)
