/*
 * verify_states.c - the states of a component on a bench, and the tiles that fill them.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/mem.h"
#include "plugin/check.h"
#include "run/verify_bench.h"
#include "run/verify_suite.h"

enum {
    STATES = (int)(sizeof((struct kept_states *)0)->desc / sizeof(hcsmoe_state)),
    STATE_NAME_CHARS = 64
};

static int state_make(struct verify *v, struct kept_states *s, int n)
{
    const hcsmoe_state *d = &s->desc[n];
    hcsmoe_tensor *t = &s->tensor[n];
    size_t size = hcsmoe_dtype_size(d->dtype);

    if (!d->name || !check_name(d->name, "_", STATE_NAME_CHARS))
        return verify_broken(v, "state %d is called '%s': must be a-z 0-9 _", n,
                             d->name ? d->name : "");
    if (d->dtype != HCSMOE_DTYPE_F64 && d->dtype != HCSMOE_DTYPE_F32 &&
        d->dtype != HCSMOE_DTYPE_I64)
        return verify_broken(v, "state '%s' has dtype %u: must be F64, F32 or I64", d->name,
                             d->dtype);
    for (int k = 0; k < 4; k++)
        if (d->shape[k] < 1 || size_mul(size, (size_t)d->shape[k], &size))
            return verify_broken(v, "state '%s' has a dimension of %lld: unused ones are 1",
                                 d->name, (long long)d->shape[k]);
    if (d->reserved[0] || d->reserved[1])
        return verify_broken(v, "state '%s': its reserved words are not 0", d->name);
    for (int k = 0; k < n; k++)
        if (!strcmp(s->desc[k].name, d->name))
            return verify_broken(v, "has the state '%s' twice", d->name);
    *t =
        hcsmoe_matrix(guards_add(&s->guards, d->name, size, 0), d->dtype, d->shape[0], d->shape[1]);
    t->ndim = 4;
    t->stride[3] = 1;
    memcpy(t->shape, d->shape, sizeof t->shape);
    for (int k = 2; k >= 0; k--)
        t->stride[k] = t->stride[k + 1] * t->shape[k + 1];
    return t->data ? 0 : HCSMOE_ENOMEM;
}

int states_make(struct verify *v, const struct instance *i, const struct bench *b, uint64_t needs,
                struct kept_states *s)
{
    const hcsmoe_component *c = &i->component->c;
    int status = 0;

    *s = (struct kept_states){0};
    if (!c->states || !(needs & HCSMOE_STAT_ACCUMULATE))
        return 0;
    instance_enter(i, b->dims.layer);
    s->n = c->states(i->self, &v->host->abi, &b->dims, s->desc, STATES);
    status = host_leave(v->host, 0);
    if (s->n < 0 || s->n > STATES) {
        s->n = 0;
        return verify_broken(v, "states returned a number outside of 0..%d", STATES);
    }
    for (int n = 0; !status && n < s->n; n++)
        status = state_make(v, s, n);
    return status;
}

int states_fill(struct verify *v, const struct instance *i, const struct bench *b, uint64_t needs,
                struct kept_states *s,
                hcsmoe_status (*show)(const struct instance *i, const struct bench *b,
                                      const struct kept_states *s, const hcsmoe_stats *stats,
                                      const hcsmoe_tile *tile))
{
    const int64_t e = b->dims.n_experts, d = b->dims.width, f = b->dims.ffn, k = b->dims.top_k;
    /* What is counted is not complete yet; the layer's weights are there. */
    const hcsmoe_stats part =
        bench_stats(b, needs & (HCSMOE_STAT_WEIGHTS | HCSMOE_STAT_ROUTER_WEIGHT));
    const float **hidden = mem_new((size_t)e, sizeof *hidden);
    const float **output = mem_new((size_t)e, sizeof *output);
    int status = hidden && output ? 0 : HCSMOE_ENOMEM;

    for (int64_t t = 0; !status && t < b->dims.n_tokens; t += BENCH_TILE) {
        const int64_t left = b->dims.n_tokens - t;
        for (int64_t x = 0; x < e; x++) {
            hidden[x] = b->hidden[x] + t * f;
            output[x] = b->output[x] + t * d;
        }
        const hcsmoe_tile tile = {
            .struct_size = sizeof tile,
            .first_token = t,
            .n_tokens = left < BENCH_TILE ? left : BENCH_TILE,
            .x = b->x + t * d,
            .logits = b->logits + t * e,
            .probabilities = b->probabilities + t * e,
            .ids = b->ids + t * k,
            .weights = b->weights + t * k,
            .hidden = needs & HCSMOE_STAT_HIDDEN ? hidden : NULL,
            .output = needs & HCSMOE_STAT_OUTPUT ? output : NULL,
        };
        instance_enter(i, b->dims.layer);
        status = verify_leave(v, show(i, b, s, &part, &tile));
    }
    mem_free(hidden);
    mem_free(output);
    return status ? status : guards_check(v, &s->guards);
}
