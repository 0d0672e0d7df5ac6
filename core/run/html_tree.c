/*
 * html_tree.c - the order in which a layer's experts are drawn, and the tree above them.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/mem.h"
#include "run/html_parts.h"

/* Clusters while the joins are replayed, by their lowest member. */
struct forest {
    int64_t *next, *last; /* [n] the experts of a cluster as a list; next -1: the end */
    double *height;       /* [n] of the latest join */
    int64_t *branch;      /* [n] the latest join; -1: a leaf */
    int64_t *child;       /* [2 * joins] branch of either side; -1 - expert: a leaf */
};

static void forest_release(struct forest *f)
{
    mem_free(f->next);
    mem_free(f->last);
    mem_free(f->height);
    mem_free(f->branch);
    mem_free(f->child);
}

static int forest_open(struct forest *f, int64_t n, int64_t n_joins)
{
    *f = (struct forest){mem_new((size_t)n, sizeof *f->next), mem_new((size_t)n, sizeof *f->last),
                         mem_new((size_t)n, sizeof *f->height),
                         mem_new((size_t)n, sizeof *f->branch),
                         mem_new((size_t)(2 * n_joins + 1), sizeof *f->child)};
    if (!f->next || !f->last || !f->height || !f->branch || !f->child)
        return HCSMOE_ENOMEM;
    for (int64_t e = 0; e < n; e++) {
        f->next[e] = f->branch[e] = -1;
        f->last[e] = e;
    }
    return 0;
}

/* Puts cluster b behind cluster a; the lowest member of a is that of both. */
static void forest_join(struct forest *f, int64_t a, int64_t b)
{
    f->next[f->last[a]] = b;
    f->last[a] = f->last[b];
}

/* The experts of all clusters, each list from its lowest member on. */
static void places_fill(struct order *o, const struct forest *f, const bool *inner)
{
    int64_t n = 0;
    for (int64_t root = 0; root < o->n; root++)
        for (int64_t e = inner[root] ? -1 : root; e >= 0; e = f->next[e])
            o->at[n++] = e;
}

static void joins_replay(struct order *o, struct forest *f, json_t *merges, bool *inner)
{
    json_t *join;
    size_t i;

    json_array_foreach(merges, i, join)
    {
        const int64_t a = html_int(join, "a"), b = html_int(join, "b");
        struct branch *x = &o->branches[i];
        x->height = html_real(join, "height");
        x->from_left = f->height[a];
        x->from_right = f->height[b];
        f->child[2 * i] = f->branch[a] < 0 ? -1 - a : f->branch[a];
        f->child[2 * i + 1] = f->branch[b] < 0 ? -1 - b : f->branch[b];
        f->height[a] = x->height;
        f->branch[a] = (int64_t)i;
        o->top = x->height > o->top ? x->height : o->top;
        forest_join(f, a, b);
        inner[b] = true;
        if ((int64_t)i < o->n_cut) /* not more than E - 1 joins over E experts: cheap enough */
            for (int64_t e = 0, from = o->cluster[b], to = o->cluster[a]; e < o->n; e++)
                if (o->cluster[e] == from)
                    o->cluster[e] = to;
    }
}

/* Where each join stands above its children, once the places are known. */
static void branches_place(struct order *o, const struct forest *f, const int64_t *place)
{
    for (int64_t i = 0; i < o->n_branches; i++) {
        double middle[2];
        for (int side = 0; side < 2; side++) {
            const int64_t c = f->child[2 * i + side];
            middle[side] = c < 0 ? (double)place[-1 - c] + 0.5
                                 : (o->branches[c].left + o->branches[c].right) / 2;
        }
        o->branches[i].left = middle[0];
        o->branches[i].right = middle[1];
    }
}

static int tree_order(struct order *o, json_t *merges)
{
    struct forest f = {0};
    bool *inner = mem_new((size_t)o->n, sizeof *inner); /* is it the lowest of a cluster no more? */
    int64_t *place = mem_new((size_t)o->n, sizeof *place);
    int status = inner && place ? forest_open(&f, o->n, o->n_branches) : HCSMOE_ENOMEM;

    if (!status) {
        for (int64_t e = 0; e < o->n; e++)
            o->cluster[e] = e;
        joins_replay(o, &f, merges, inner);
        places_fill(o, &f, inner);
        for (int64_t i = 0; i < o->n; i++)
            place[o->at[i]] = i;
        branches_place(o, &f, place);
    }
    forest_release(&f);
    mem_free(inner);
    mem_free(place);
    return status;
}

/* Without a tree: group by group, the pruned behind them. */
static void groups_order(struct order *o, json_t *groups)
{
    int64_t n = 0;
    for (int64_t e = 0; e < o->n; e++)
        o->cluster[e] = json_integer_value(json_array_get(groups, (size_t)e));
    for (int64_t g = 0; g <= o->n_groups; g++)
        for (int64_t e = 0; e < o->n; e++)
            if (o->cluster[e] == (g < o->n_groups ? g : -1))
                o->at[n++] = e;
}

int order_make(struct order *o, json_t *layer)
{
    json_t *groups = html_at(layer, "groups"), *merges = html_at(layer, "merges"), *x;
    size_t i;
    int status = 0;

    *o = (struct order){.n = (int64_t)json_array_size(groups),
                        .n_branches = (int64_t)json_array_size(merges)};
    json_array_foreach(groups, i, x) if (json_integer_value(x) >= o->n_groups) o->n_groups =
        json_integer_value(x) + 1;
    o->at = mem_new((size_t)o->n, sizeof *o->at);
    o->cluster = mem_new((size_t)o->n, sizeof *o->cluster);
    o->branches = mem_new((size_t)o->n_branches, sizeof *o->branches);
    if (!o->at || !o->cluster || !o->branches)
        status = HCSMOE_ENOMEM;
    o->n_cut = o->n - o->n_groups < o->n_branches ? o->n - o->n_groups : o->n_branches;
    if (!status && o->n_branches)
        status = tree_order(o, merges);
    else if (!status)
        groups_order(o, groups);
    if (!status && o->n_branches) {
        const double below = o->n_cut ? o->branches[o->n_cut - 1].height : 0;
        o->cut = o->n_cut < o->n_branches ? (below + o->branches[o->n_cut].height) / 2 : o->top;
    }
    if (status)
        order_release(o);
    return status;
}

void order_release(struct order *o)
{
    mem_free(o->at);
    mem_free(o->cluster);
    mem_free(o->branches);
    *o = (struct order){0};
}
