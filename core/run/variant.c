/*
 * variant.c - what each layer is to become, and the two steps that make it so.
 * SPDX-License-Identifier: MIT
 */
#include "run/variant.h"

#include "base/mem.h"

bool layer_touched(const struct config *c, const struct model *m, int layer)
{
    return m->layers[layer].desc.is_moe && layer >= c->start_layer;
}

/* A merge that leaves the number of groups open needs a clustering that chooses it. */
static int open_check(const struct config *c)
{
    if (c->cluster.component->c.caps & HCSMOE_CAP_CHOOSES_GROUPS)
        return 0;
    return fail(
        HCSMOE_EINVAL,
        "%s = %s leaves the number of groups open, which [group] cluster = %s cannot choose "
        "(energy can)",
        config_where(c, "merge", "merge"), c->merge.component->c.name,
        c->cluster.component->c.name);
}

int variant_open(struct variant *v, struct config *c, const struct model *m, int64_t n_tokens)
{
    const size_t n = (size_t)m->desc.n_layers;
    int status = 0;

    *v = (struct variant){.c = c, .m = m};
    v->states = mem_new(n, sizeof *v->states);
    v->aims = mem_new(n, sizeof *v->aims);
    if (!v->states || !v->aims)
        status = HCSMOE_ENOMEM;
    v->budget = c->cluster.component && grouping_wants_budget(c);
    for (int l = 0; !status && l < m->desc.n_layers; l++) {
        if (!layer_touched(c, m, l))
            continue;
        const hcsmoe_layer_dims dims = layer_dims(m, l, n_tokens);
        v->aims[l].target = c->num_average_groups;
        status = layer_states_open(&v->states[l], c, &dims);
        if (!status)
            status = merge_aim(c, &dims, &v->aims[l]);
        if (!status && !v->aims[l].n_groups) {
            status = open_check(c);
            v->budget = true;
        }
    }
    if (status)
        variant_release(v);
    return status;
}

void variant_release(struct variant *v)
{
    for (int l = 0; v->states && l < v->m->desc.n_layers; l++)
        layer_states_release(&v->states[l]);
    mem_free(v->states);
    mem_free(v->aims);
    *v = (struct variant){0};
}

/* widths[E + 1] of the merged experts by their number, where the method leaves that open. */
static int widths_ask(const struct variant *v, const hcsmoe_layer_dims *dims, int64_t *widths)
{
    int status = 0;
    for (int64_t n = v->c->num_average_groups; !status && n <= dims->n_experts; n++) {
        struct aim aim = {.target = v->c->num_average_groups, .n_groups = n};
        status = merge_aim(v->c, dims, &aim);
        widths[n] = aim.ffn;
    }
    return status;
}

/* Everything that the clustering's budget gets, in order of the layers. */
struct all_layers {
    const struct layer_stats **stats;
    const struct layer_states **states;
    struct aim **aims;
    int64_t *widths;
    size_t n;
};

static void all_release(struct all_layers *a)
{
    mem_free(a->stats);
    mem_free(a->states);
    mem_free(a->aims);
    mem_free(a->widths);
}

static int all_open(struct all_layers *a, struct variant *v, const struct layer_stats *stats)
{
    const size_t n = (size_t)v->m->desc.n_layers;
    int64_t experts = 0;

    *a = (struct all_layers){0};
    a->stats = mem_new(n, sizeof *a->stats);
    a->states = mem_new(n, sizeof *a->states);
    a->aims = mem_new(n, sizeof *a->aims);
    if (!a->stats || !a->states || !a->aims)
        return HCSMOE_ENOMEM;
    for (int l = 0; l < v->m->desc.n_layers; l++)
        if (layer_touched(v->c, v->m, l)) {
            a->stats[a->n] = &stats[l];
            a->states[a->n] = &v->states[l];
            a->aims[a->n++] = &v->aims[l];
            experts = stats[l].dims.n_experts > experts ? stats[l].dims.n_experts : experts;
        }
    if (a->aims[0]->n_groups)
        return 0;
    for (size_t i = 1; i < a->n; i++)
        if (a->stats[i]->dims.n_experts != experts ||
            a->stats[i]->dims.ffn != a->stats[0]->dims.ffn)
            return fail(HCSMOE_EUNSUPPORTED,
                        "layers %d and %d differ in experts: no one number of groups for both",
                        a->stats[0]->dims.layer, a->stats[i]->dims.layer);
    a->widths = mem_new((size_t)experts + 1, sizeof *a->widths);
    return a->widths ? widths_ask(v, &a->stats[0]->dims, a->widths) : HCSMOE_ENOMEM;
}

int variant_budget(struct variant *v, const struct layer_stats *stats)
{
    struct all_layers a;
    int status = v->budget ? all_open(&a, v, stats) : 0;

    if (!v->budget)
        return 0;
    if (!status)
        status = grouping_budget(v->c, a.stats, a.states, a.aims, a.n, a.widths);
    for (size_t i = 0; !status && i < a.n; i++) {
        if (!a.widths)
            a.aims[i]->n_groups = 0; /* of the new target */
        status = merge_aim(v->c, &a.stats[i]->dims, a.aims[i]);
    }
    all_release(&a);
    v->budget = status != 0;
    return status;
}

int variant_merge(struct variant *v, const struct layer *l, const struct layer_stats *s,
                  const struct observation *o, bool in_place, struct grouping *g, struct merged *x)
{
    struct config *c = v->c;
    const struct aim *aim = &v->aims[l->index];
    int status = grouping_open(g, s->dims.n_experts);

    *x = (struct merged){0};
    if (!status && !c->cluster.component)
        grouping_identity(g);
    else if (!status)
        status = grouping_make(g, c, s, &v->states[l->index], aim);
    if (!status)
        status = merge_layer(x, c, v->m, l, s, g, aim, o, in_place);
    return status;
}
