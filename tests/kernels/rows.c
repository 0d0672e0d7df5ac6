/*
 * rows.c - checks of kernels that work row by row. SPDX-License-Identifier: MIT
 */
#include "check.h"

#include <stdio.h>

struct rows {
    int64_t n, width, heads, dim, rows;
    int32_t top_k, renormalise;
    const float *x, *scale, *initial;
    const hcsmoe_tensor *w;
    const int32_t *ids;
    const int64_t *index;
    const double *frequency;
};

static hcsmoe_status call_embed(const hcsmoe_kernels *k, void *args, void *const *out)
{
    const struct rows *a = args;
    return k->embed(k, a->n, a->width, a->w, a->ids, out[0]);
}

static void check_embed(struct check *c)
{
    struct rows a = {.n = check_size(c, 40), .width = check_size(c, 90)};
    int64_t vocabulary = 1 + check_below(c, 50);
    int32_t *ids = check_block(c, (size_t)a.n * sizeof *ids);
    for (int64_t i = 0; i < a.n; i++)
        ids[i] = (int32_t)check_below(c, vocabulary);
    a.ids = ids;
    a.w = check_tensors(c, 1, vocabulary, a.width, 1.0);
    struct output o = {.type = OUTPUT_EXACT32, .rows = a.n, .columns = a.width};
    c->kernel = "embed";
    check_outputs(c, call_embed, &a, &o, 1);
}

static hcsmoe_status call_rmsnorm(const hcsmoe_kernels *k, void *args, void *const *out)
{
    const struct rows *a = args;
    return k->rmsnorm(k, a->n, a->width, a->x != NULL ? a->x : out[0], a->w, 1e-5, out[0]);
}

static void check_rmsnorm(struct check *c, int values)
{
    struct rows a = {.n = check_size(c, 30), .width = 1 + check_size(c, 200)};
    const float *x = check_floats(c, a.n * a.width, values, values == VALUES_HUGE ? 1e12 : 1.0);
    int in_place = check_below(c, 2) == 0;
    a.x = in_place ? NULL : x;
    a.w = check_tensors(c, 1, 1, a.width, 1.0);
    struct output o = {.rows = a.n,
                       .columns = a.width,
                       .relative = 1e-6,
                       .absolute = 1e-38,
                       .initial = in_place ? x : NULL};
    c->kernel = "rmsnorm";
    check_outputs(c, call_rmsnorm, &a, &o, 1);
}

static hcsmoe_status call_rope(const hcsmoe_kernels *k, void *args, void *const *out)
{
    const struct rows *a = args;
    return k->rope(k, a->n, a->heads, a->width, a->dim, a->index, a->frequency, out[0]);
}

static void check_rope(struct check *c, int values)
{
    struct rows a = {.n = check_size(c, 20),
                     .heads = 1 + check_below(c, 4),
                     .width = 2 * (1 + check_below(c, 40))};
    int64_t range = check_below(c, 2) == 0 ? 10 : 40000;
    int64_t *position = check_block(c, (size_t)a.n * sizeof *position);
    double *frequency = check_block(c, (size_t)a.width * sizeof *frequency);
    a.dim = check_below(c, 2) == 0 ? a.width : 2 * check_below(c, a.width / 2 + 1);
    for (int64_t i = 0; i < a.n; i++)
        position[i] = check_below(c, range);
    for (int64_t i = 0; i < a.width; i++)
        frequency[i] = 1.0 / (double)(1 + i * i);
    a.index = position;
    a.frequency = frequency;
    struct output o = {.rows = a.n * a.heads,
                       .columns = a.width,
                       .relative = 1e-6,
                       .absolute = 1e-38,
                       .initial = check_floats(c, a.n * a.heads * a.width, values, 1.0)};
    c->kernel = "rope";
    check_outputs(c, call_rope, &a, &o, 1);
}

static hcsmoe_status call_route(const hcsmoe_kernels *k, void *args, void *const *out)
{
    const struct rows *a = args;
    return k->route(k, a->n, a->width, a->top_k, a->renormalise, a->x, a->index,
                    a->dim != 0 ? out[0] : NULL, out[1], out[2]);
}

static void check_route(struct check *c, int values)
{
    struct rows a = {.n = check_size(c, 40),
                     .width = 1 + check_size(c, 150),
                     .renormalise = (int32_t)check_below(c, 2),
                     .dim = check_below(c, 3)};
    float *x = check_floats(c, a.n * a.width, values, values == VALUES_HUGE ? 1e-11 : 2.0);
    int64_t *mask = check_block(c, (size_t)a.width * sizeof *mask);
    a.top_k = 1 + (int32_t)check_below(c, a.width < 10 ? a.width : 10);
    for (int64_t i = 0; i < a.width; i++)
        mask[i] = i > 0 && check_below(c, 4) == 0 ? -1 : i / 2;
    for (int64_t i = 0; i + 1 < a.n * a.width && check_below(c, 2) == 0; i += 7)
        x[i] = x[i + 1]; /* ties */
    a.index = check_below(c, 2) == 0 ? mask : NULL;
    a.x = x;
    struct output o[3] = {
        {.rows = a.dim != 0 ? a.n : 0, .columns = a.width, .relative = 1e-6, .absolute = 1e-38},
        {.type = OUTPUT_EXACT32, .rows = a.n, .columns = a.top_k},
        {.rows = a.n, .columns = a.top_k, .relative = 1e-6, .absolute = 1e-38}};
    c->kernel = "route";
    check_outputs(c, call_route, &a, o, 3);
}

static hcsmoe_status call_map(const hcsmoe_kernels *k, void *args, void *const *out)
{
    const struct rows *a = args;
    return k->map_experts(k, a->n, a->top_k, a->index, out[0], out[1]);
}

static void check_map(struct check *c)
{
    struct rows a = {.n = check_size(c, 40), .top_k = 1 + (int32_t)check_below(c, 8)};
    int32_t *ids = check_block(c, (size_t)(a.n * a.top_k) * sizeof *ids);
    int64_t map[16];
    for (int i = 0; i < 16; i++)
        map[i] = check_below(c, 6) - 1;
    for (int64_t i = 0; i < a.n * a.top_k; i++)
        ids[i] = (int32_t)((i / a.top_k + i % a.top_k * 2) % 17 - 1);
    a.index = map;
    struct output o[2] = {{.type = OUTPUT_EXACT32, .rows = a.n, .columns = a.top_k, .initial = ids},
                          {.rows = a.n,
                           .columns = a.top_k,
                           .relative = 1e-6,
                           .initial = check_floats(c, a.n * a.top_k, VALUES_PLAIN, 1.0)}};
    c->kernel = "map_experts";
    check_outputs(c, call_map, &a, o, 2);
}

static hcsmoe_status call_sigmoid(const hcsmoe_kernels *k, void *args, void *const *out)
{
    const struct rows *a = args;
    return k->sigmoid_dot(k, a->n, a->width, a->x, a->w, out[0]);
}

static hcsmoe_status call_gather(const hcsmoe_kernels *k, void *args, void *const *out)
{
    const struct rows *a = args;
    return k->gather(k, a->n, a->width, a->x, a->index, out[0]);
}

static hcsmoe_status call_scatter(const hcsmoe_kernels *k, void *args, void *const *out)
{
    const struct rows *a = args;
    return k->scatter_add(k, a->n, a->width, a->x, a->index, a->scale, out[0]);
}

static hcsmoe_status call_column_sum(const hcsmoe_kernels *k, void *args, void *const *out)
{
    const struct rows *a = args;
    return k->column_sum(k, a->n, a->width, a->x, out[0]);
}

static void check_moves(struct check *c, int values)
{
    struct rows a = {.n = check_size(c, 40), .width = check_size(c, 300)};
    double *sums = check_block(c, (size_t)a.width * sizeof *sums);
    int64_t *index = check_block(c, (size_t)a.n * sizeof *index);
    a.rows = a.n + check_below(c, 9);
    for (int64_t i = 0; i < a.n; i++) /* distinct, in another order */
        index[i] = a.n % 2 == 0 ? a.n - 1 - i : (i * 2) % a.n;
    for (int64_t i = 0; i < a.width; i++)
        sums[i] = check_normal(c);
    a.index = index;
    a.x = check_floats(c, a.rows * a.width, values, 1.0);
    a.w = check_tensors(c, 1, 1, a.width, 0.1);
    a.scale = check_below(c, 3) != 0 ? check_floats(c, a.n, VALUES_PLAIN, 1.0) : NULL;

    struct output s = {.rows = a.n, .columns = 1, .relative = 1e-6, .absolute = 1e-30};
    c->kernel = "sigmoid_dot";
    check_outputs(c, call_sigmoid, &a, &s, 1);
    struct output g = {.type = OUTPUT_EXACT32, .rows = a.n, .columns = a.width};
    c->kernel = "gather";
    check_outputs(c, call_gather, &a, &g, 1);
    struct output x = {.rows = a.rows,
                       .columns = a.width,
                       .initial = check_floats(c, a.rows * a.width, VALUES_PLAIN, 1.0)};
    c->kernel = "scatter_add";
    check_outputs(c, call_scatter, &a, &x, 1);
    struct output sum = {.type = OUTPUT_F64, .rows = 1, .columns = a.width, .initial = sums};
    c->kernel = "column_sum";
    check_outputs(c, call_column_sum, &a, &sum, 1);
}

void check_rows(struct check *c)
{
    int values = (int)check_below(c, VALUES_KINDS);
    (void)snprintf(c->shape, sizeof c->shape, "values %d", values);
    check_embed(c);
    check_rmsnorm(c, values);
    check_rope(c, values);
    check_route(c, values);
    check_map(c);
    check_moves(c, values);
}
