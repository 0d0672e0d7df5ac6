/*
 * collapse.c - router rows of groups.
 * SPDX-License-Identifier: MIT
 */
#include "run/collapse.h"

#include <string.h>

#include "base/mem.h"

/* The use of a router row: of its expert, shared by all rows that lead there. */
static double row_usage(const struct layer *from, const double *usage, int64_t row)
{
    int64_t rows = 0;
    if (!from->map)
        return usage[row];
    for (int64_t e = 0; e < from->n_experts; e++)
        rows += from->map[e] == from->map[row];
    return usage[from->map[row]] / (double)rows;
}

/* coefficient[n] of the rows of one group. */
static void coefficients(const struct layer *from, const double *usage, enum router_row row,
                         const int64_t *rows, int64_t n, double *coefficient)
{
    int64_t most = 0;
    double sum = 0;

    for (int64_t i = 0; i < n; i++) {
        coefficient[i] = row == ROW_CENTROID ? 1 : row_usage(from, usage, rows[i]);
        sum += coefficient[i];
        if (coefficient[i] > coefficient[most])
            most = i;
    }
    for (int64_t i = 0; i < n; i++) {
        if (row == ROW_MAX_MEMBER)
            coefficient[i] = i == most;
        else /* a group that nobody chose has only its plain mean */
            coefficient[i] = sum > 0 ? coefficient[i] / sum : 1 / (double)n;
    }
}

static hcsmoe_tensor row_view(const hcsmoe_tensor *t, int64_t row)
{
    const size_t bytes = (size_t)t->shape[1] * hcsmoe_dtype_size(t->dtype);
    return hcsmoe_matrix((unsigned char *)t->data + (size_t)row * bytes, t->dtype, 1, t->shape[1]);
}

/* Row g of the new router from rows[n] of the old one. */
static int row_make(const struct model *m, const hcsmoe_tensor *old, const int64_t *rows, int64_t n,
                    const double *coefficient, hcsmoe_tensor *views, const hcsmoe_tensor **terms,
                    const hcsmoe_tensor *out)
{
    int64_t used = 0, only = -1;

    for (int64_t i = 0; i < n; i++) {
        views[i] = row_view(old, rows[i]);
        terms[i] = &views[i];
        if (coefficient[i] != 0) {
            used++;
            only = i;
        }
    }
    if (used == 1) { /* bit for bit */
        memcpy(out->data, views[only].data, (size_t)out->shape[1] * hcsmoe_dtype_size(out->dtype));
        return 0;
    }
    return m->k->weighted_sum(m->k, n, terms, coefficient, out);
}

int collapse_layer(struct collapsed *y, const struct model *m, const struct layer *from,
                   const struct merged *x, const double *usage, enum router_row row)
{
    const hcsmoe_tensor *old = &from->role[HCSMOE_ROLE_ROUTER];
    const int64_t groups = x->layer.n_stored, all = x->layer.n_experts;
    int64_t *rows = mem_new((size_t)all, sizeof *rows);
    double *coefficient = mem_new((size_t)all, sizeof *coefficient);
    hcsmoe_tensor *views = mem_new((size_t)all, sizeof *views);
    const hcsmoe_tensor **terms = mem_new((size_t)all, sizeof *terms);
    int status = rows && coefficient && views && terms ? 0 : HCSMOE_ENOMEM;

    *y = (struct collapsed){.layer = x->layer};
    y->router = mem_new_raw((size_t)(groups * m->desc.width), hcsmoe_dtype_size(old->dtype));
    if (!y->router)
        status = HCSMOE_ENOMEM;
    hcsmoe_tensor router = hcsmoe_matrix(y->router, old->dtype, groups, m->desc.width);
    if (!status && from->role[HCSMOE_ROLE_ROUTER_BIAS].data)
        status = fail(HCSMOE_EUNSUPPORTED,
                      "layer %d: its router has a bias for each expert, which layout = collapsed "
                      "cannot join",
                      from->index);
    for (int64_t g = 0; !status && g < groups; g++) {
        const hcsmoe_tensor out = row_view(&router, g);
        int64_t n = 0;
        for (int64_t e = 0; e < all; e++)
            if (x->map[e] == g)
                rows[n++] = e;
        coefficients(from, usage, row, rows, n, coefficient);
        status = row_make(m, old, rows, n, coefficient, views, terms, &out);
    }
    router.flags = old->flags;
    y->layer.role[HCSMOE_ROLE_ROUTER] = router;
    y->layer.n_experts = groups;
    y->layer.map = NULL;
    if (y->layer.top_k > groups)
        y->layer.top_k = groups;
    mem_free(rows);
    mem_free(coefficient);
    mem_free(views);
    mem_free(terms);
    if (status)
        collapsed_release(y);
    return status;
}

void collapsed_release(struct collapsed *y)
{
    mem_free(y->router);
    *y = (struct collapsed){0};
}

int collapse_check(const struct merged *x, int64_t *n_experts, int64_t *top_k)
{
    const struct layer *l = &x->layer;

    if (*n_experts && *n_experts != l->n_stored)
        return fail(
            HCSMOE_EUNSUPPORTED,
            "layer %d keeps %lld experts, the layers before it %lld: layout = collapsed has "
            "one number for all (layout = mapped takes any)",
            l->index, (long long)l->n_stored, (long long)*n_experts);
    if (l->n_stored < l->top_k && !x->n_pruned)
        return fail(
            HCSMOE_EUNSUPPORTED,
            "layer %d has %lld groups, and a token chooses %lld experts: layout = collapsed "
            "needs at least as many",
            l->index, (long long)l->n_stored, (long long)l->top_k);
    *n_experts = l->n_stored;
    *top_k = l->top_k < l->n_stored ? l->top_k : l->n_stored;
    return 0;
}
