/*
 * freq.c - merges a group to the usage-weighted mean of its experts.
 *
 *     W = (sum over members e of f_e W_e) / (sum over members e of f_e)      W: gate, up and down
 *
 * f_e is the share of calibration tokens that chose e. SPDX-License-Identifier: MIT
 */
#include <hcsmoe/merge.h>

/* share[n_members]: f_e over the group's sum. A group that no token ever chose has no weights to go
 * by: plain mean. */
static void usage_shares(const hcsmoe_host *h, const hcsmoe_merge_args *a, double *share)
{
    double sum = 0;
    int64_t i;

    for (i = 0; i < a->n_members; i++)
        sum += a->stats->usage[a->members[i]];
    if (!(sum > 0))
        hcsmoe_logf(
            h, HCSMOE_LOG_WARN,
            "layer %d, group %d: no token chose any of its %lld experts: merged by the plain mean",
            a->dims->layer, a->group, (long long)a->n_members);
    for (i = 0; i < a->n_members; i++)
        share[i] = sum > 0 ? a->stats->usage[a->members[i]] / sum : 1.0 / (double)a->n_members;
}

static hcsmoe_status freq_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    const hcsmoe_kernels *k = h->kernels(h);
    const hcsmoe_tensor *const members[] = {a->gate, a->up, a->down};
    const hcsmoe_tensor *const merged[] = {a->out_gate, a->out_up, a->out_down};
    double *share = h->scratch(h, (size_t)a->n_members * sizeof *share);
    const hcsmoe_tensor **terms = h->scratch(h, (size_t)a->n_members * sizeof *terms);
    hcsmoe_status status = HCSMOE_OK;
    int64_t i;
    int part;

    (void)self; /* freq has no options */
    if (!share || !terms)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    usage_shares(h, a, share);
    for (part = 0; part < 3 && status == HCSMOE_OK; part++) {
        for (i = 0; i < a->n_members; i++)
            terms[i] = &members[part][i];
        status = k->weighted_sum(k, a->n_members, terms, share, merged[part]);
    }
    return status;
}

static const hcsmoe_merge_ops ops = {.struct_size = sizeof ops, .merge = freq_merge};

static const hcsmoe_component freq = {
    .struct_size = sizeof freq,
    .kind = HCSMOE_KIND_MERGE,
    .name = "freq",
    .summary = "mean of the experts, weighted by how often tokens chose them",
    .ops = &ops,
    .needs = HCSMOE_STAT_WEIGHTS | HCSMOE_STAT_USAGE,
    .caps = HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DEVICE | HCSMOE_CAP_DETERMINISTIC,
};

HCSMOE_PLUGIN("hcsmoe.merge.freq", "1.0.0", "MIT", &freq)
