/*
 * merge_test.h - a group of experts with tokens for the tests of merge methods, and the CPU's kernels.
 *
 * Weights are drawn, in F32 or BF16. Tokens are shown in small tiles, so that methods have to put them together. To be
 * included after plugin_test.h. SPDX-License-Identifier: MIT
 */
#ifndef TESTS_UNIT_MERGE_TEST_H
#define TESTS_UNIT_MERGE_TEST_H

#include <hcsmoe/merge.h>

enum { GROUP_MEMBERS_MOST = 8 };

struct test_group {
    const hcsmoe_host *host;
    hcsmoe_layer_dims dims;
    hcsmoe_stats stats;
    hcsmoe_merge_args args;
    int32_t members[GROUP_MEMBERS_MOST], pruned[GROUP_MEMBERS_MOST];
    hcsmoe_tensor in[3][GROUP_MEMBERS_MOST], out[3]; /* gate, up, down */
    int64_t n_tokens, tile_tokens;
    int64_t *tokens;
    float *x, *weights, *probabilities; /* [n, D], [n, members] twice */
    int64_t routed[GROUP_MEMBERS_MOST];
    int passes; /* how often the tokens were asked for */
};

/* A component of a file of several. */
static TEST_UNUSED const hcsmoe_component *plugin_component(struct fake_host *t, const char *file,
                                                            const char *name)
{
    char path[4096];
    hcsmoe_entry entry = NULL;
    const hcsmoe_component *const *c;
    void *symbol;

    (void)plugin_load(t, file); /* checks it, and leaves it open */
    (void)snprintf(path, sizeof path, "%s/%s", PLUGINS, file);
    symbol = dlsym(dlopen(path, RTLD_NOW | RTLD_LOCAL), "hcsmoe_plugin_v1");
    memcpy(&entry, &symbol, sizeof entry);
    for (c = entry(&t->abi)->components; *c && strcmp((*c)->name, name) != 0; c++)
        continue;
    assert_non_null(*c);
    return *c;
}

/* Sets INT and REAL options. */
static TEST_UNUSED void option_number(const hcsmoe_component *c, void *opts, const char *name,
                                      double value)
{
    const hcsmoe_option *o = option_of(c, name);
    const int64_t whole = (int64_t)value;

    if (o->type == HCSMOE_OPTION_INT)
        memcpy((char *)opts + o->offset, &whole, sizeof whole);
    else
        memcpy((char *)opts + o->offset, &value, sizeof value);
}

/* The CPU's table for a host: one block of its memory. */
static TEST_UNUSED const hcsmoe_kernels *kernels_load(struct fake_host *t, const hcsmoe_host *h)
{
    const hcsmoe_component *c = plugin_load(t, "hcsmoe-kernels-cpu.so");
    const hcsmoe_kernels_ops *ops = c->ops;
    const hcsmoe_kernels *k = NULL;
    void *self = NULL;

    assert_int_equal(c->create(h, NULL, &self), 0);
    assert_int_equal(ops->table(self, h, 0, &k), 0);
    return k;
}

static TEST_UNUSED void kernels_unload(struct fake_host *t, const hcsmoe_host *h,
                                       const hcsmoe_kernels *k)
{
    plugin_load(t, "hcsmoe-kernels-cpu.so")->destroy(h, k->ctx); /* the instance is its table */
}

static hcsmoe_status
test_group_tokens(const hcsmoe_merge_args *a, uint32_t want,
                  hcsmoe_status (*see)(void *arg, const hcsmoe_group_tile *tile), void *arg)
{
    struct test_group *g = (struct test_group *)a->ctx;
    const int64_t width = g->dims.width, members = a->n_members;
    hcsmoe_status status = HCSMOE_OK;
    int64_t t;

    g->passes++;
    assert_int_equal(want & HCSMOE_TILE_HIDDEN, 0);
    for (t = 0; t < g->n_tokens && status == HCSMOE_OK; t += g->tile_tokens) {
        const int64_t left = g->n_tokens - t;
        const hcsmoe_group_tile tile = {
            .struct_size = sizeof tile,
            .n_tokens = left < g->tile_tokens ? left : g->tile_tokens,
            .tokens = g->tokens + t,
            .x = g->x + t * width,
            .weights = g->weights + t * members,
            .probabilities =
                want & HCSMOE_TILE_PROBABILITIES ? g->probabilities + t * members : NULL,
        };
        status = see(arg, &tile);
    }
    return status;
}

/* Normal enough: the sum of four uniform numbers. */
static TEST_UNUSED float test_normal(struct fake_host *t)
{
    return (float)(1.7 *
                   (fake_uniform(t) + fake_uniform(t) + fake_uniform(t) + fake_uniform(t) - 2));
}

static TEST_UNUSED uint16_t test_bf16(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Element of an F32 or BF16 matrix. */
static TEST_UNUSED float test_value(const hcsmoe_tensor *t, int64_t row, int64_t column)
{
    const int64_t at = row * t->stride[0] + column;
    uint32_t bits;
    float x;

    if (t->dtype == HCSMOE_DTYPE_F32)
        return ((const float *)t->data)[at];
    bits = (uint32_t)((const uint16_t *)t->data)[at] << 16;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static TEST_UNUSED void test_value_set(hcsmoe_tensor *t, int64_t row, int64_t column, float x)
{
    const int64_t at = row * t->stride[0] + column;

    if (t->dtype == HCSMOE_DTYPE_F32)
        ((float *)t->data)[at] = x;
    else
        ((uint16_t *)t->data)[at] = test_bf16(x);
}

static hcsmoe_tensor test_matrix(uint32_t dtype, int64_t rows, int64_t columns)
{
    void *data = mem_new((size_t)(rows * columns), hcsmoe_dtype_size(dtype));

    assert_non_null(data);
    return hcsmoe_matrix(data, dtype, rows, columns);
}

/* routed and n_tokens from the weights. */
static TEST_UNUSED void test_group_count(struct test_group *g)
{
    int64_t t, i;

    for (i = 0; i < g->args.n_members; i++) {
        g->routed[i] = 0;
        for (t = 0; t < g->n_tokens; t++)
            g->routed[i] += g->weights[t * g->args.n_members + i] != 0;
    }
    g->args.n_tokens = g->n_tokens;
}

/* Members 1, 3, 5, ... of a layer; every token is routed to one of them, every fifth to two. */
static TEST_UNUSED void test_group_open(struct test_group *g, struct fake_host *t, uint32_t dtype,
                                        int64_t n_members, int64_t width, int64_t ffn,
                                        int64_t n_tokens)
{
    const int64_t rows[3] = {ffn, ffn, width}, columns[3] = {width, width, ffn};
    int64_t i, j;
    int part;

    assert_true(n_members <= GROUP_MEMBERS_MOST);
    *g = (struct test_group){.host = &t->abi, .n_tokens = n_tokens, .tile_tokens = 100};
    g->dims = (hcsmoe_layer_dims){.struct_size = sizeof g->dims,
                                  .layer = 5,
                                  .n_experts = 2 * n_members,
                                  .top_k = 2,
                                  .width = width,
                                  .ffn = ffn,
                                  .n_tokens = n_tokens};
    g->stats.struct_size = sizeof g->stats;
    for (part = 0; part < 3; part++) {
        g->out[part] = test_matrix(dtype, rows[part], columns[part]);
        for (i = 0; i < n_members; i++) {
            g->in[part][i] = test_matrix(dtype, rows[part], columns[part]);
            for (j = 0; j < rows[part] * columns[part]; j++)
                test_value_set(&g->in[part][i], j / columns[part], j % columns[part],
                               test_normal(t));
        }
    }
    g->tokens = mem_new((size_t)n_tokens, sizeof *g->tokens);
    g->x = mem_new((size_t)(n_tokens * width), sizeof *g->x);
    g->weights = mem_new((size_t)(n_tokens * n_members), sizeof *g->weights);
    g->probabilities = mem_new((size_t)(n_tokens * n_members), sizeof *g->probabilities);
    for (i = 0; i < n_tokens; i++) {
        g->tokens[i] = 3 * i;
        for (j = 0; j < width; j++)
            g->x[i * width + j] = test_normal(t);
        for (j = 0; j < n_members; j++) {
            const int64_t at = i * n_members + j;
            g->probabilities[at] = (float)(0.05 + 0.5 * fake_uniform(t));
            g->weights[at] = i % n_members == j || (i % 5 == 0 && (i + 1) % n_members == j)
                                 ? g->probabilities[at]
                                 : 0;
        }
    }
    for (i = 0; i < n_members; i++)
        g->members[i] = (int32_t)(2 * i + 1);
    g->args = (hcsmoe_merge_args){.struct_size = sizeof g->args,
                                  .group = 2,
                                  .dims = &g->dims,
                                  .stats = &g->stats,
                                  .n_members = n_members,
                                  .n_groups = 3,
                                  .members = g->members,
                                  .core = 1,
                                  .gate = g->in[0],
                                  .up = g->in[1],
                                  .down = g->in[2],
                                  .out_gate = &g->out[0],
                                  .out_up = &g->out[1],
                                  .out_down = &g->out[2],
                                  .routed = g->routed,
                                  .tokens = test_group_tokens,
                                  .ctx = g,
                                  .pruned = g->pruned};
    test_group_count(g);
}

static TEST_UNUSED void test_group_close(struct test_group *g)
{
    int64_t i;
    int part;

    for (part = 0; part < 3; part++) {
        mem_free(g->out[part].data);
        for (i = 0; i < g->args.n_members; i++)
            mem_free(g->in[part][i].data);
    }
    mem_free(g->tokens);
    mem_free(g->x);
    mem_free(g->weights);
    mem_free(g->probabilities);
}

/* Every element of the result is the members' mean with these coefficients. */
static TEST_UNUSED void test_group_is_mean(const struct test_group *g, const double *coefficient,
                                           double tolerance)
{
    int64_t i, e;
    int part;

    for (part = 0; part < 3; part++)
        for (i = 0; i < g->out[part].shape[0] * g->out[part].shape[1]; i++) {
            const int64_t row = i / g->out[part].shape[1], column = i % g->out[part].shape[1];
            double sum = 0;
            for (e = 0; e < g->args.n_members; e++)
                sum += coefficient[e] * (double)test_value(&g->in[part][e], row, column);
            assert_near(test_value(&g->out[part], row, column), sum, tolerance);
        }
}

#endif
