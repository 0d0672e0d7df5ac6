/*
 * neurons_test.h - a layer of small experts, their tokens as the host shows them, and the method of
 * beyond averaging as its formulas say it, one neuron at a time.
 *
 * To be included after plugin_test.h. SPDX-License-Identifier: MIT
 */
#ifndef TESTS_UNIT_NEURONS_TEST_H
#define TESTS_UNIT_NEURONS_TEST_H

#include <hcsmoe/merge.h>

#include "neurons.h"

enum { MEMBERS_MAX = 4 };

/* A group, all of whose tokens are kept. */
struct group {
    int64_t members, width, ffn, n_tokens;
    int64_t tile;             /* tokens shown at once */
    const float *x, *weights; /* [T, D], [T, m] */
    float *gate[MEMBERS_MAX], *up[MEMBERS_MAX], *down[MEMBERS_MAX];
    float *hidden[MEMBERS_MAX]; /* [T, F] */
    uint32_t dtype;
    /* of the call */
    int64_t kept;
    int32_t core;
    double usage[MEMBERS_MAX];
    double *energy;                     /* [m, m, F] */
    void *out_gate, *out_up, *out_down; /* of dtype */
    double loss, total;
    int32_t calls; /* of tokens */
};

static const hcsmoe_kernels *test_kernels(struct fake_host *t)
{
    const hcsmoe_component *c = plugin_load(t, "hcsmoe-kernels-cpu.so");
    const hcsmoe_kernels_ops *ops = c->ops;
    const hcsmoe_kernels *k = NULL;
    void *self = NULL;

    assert_int_equal(c->create(&t->abi, NULL, &self), 0);
    assert_int_equal(ops->table(self, &t->abi, 0, &k), 0);
    return k;
}

static float *floats_new(struct fake_host *t, int64_t n)
{
    float *x = mem_new((size_t)n + 1, sizeof *x);
    int64_t i;

    assert_non_null(x);
    for (i = 0; i < n; i++)
        x[i] = (float)(2 * fake_uniform(t) - 1);
    return x;
}

/* h of every token, in double, rounded once. */
static void group_activate(struct group *g)
{
    int64_t e, t, i, d;

    for (e = 0; e < g->members; e++) {
        mem_free(g->hidden[e]);
        g->hidden[e] = mem_new((size_t)(g->n_tokens * g->ffn) + 1, sizeof(float));
        for (t = 0; t < g->n_tokens; t++)
            for (i = 0; i < g->ffn; i++) {
                double a = 0, u = 0;
                for (d = 0; d < g->width; d++) {
                    const double x = (double)g->x[t * g->width + d];
                    a += x * (double)g->gate[e][i * g->width + d];
                    u += x * (double)g->up[e][i * g->width + d];
                }
                g->hidden[e][t * g->ffn + i] = (float)(a / (1 + exp(-a)) * u);
            }
    }
}

/* P of the members alone. */
static void group_measure(struct group *g)
{
    int64_t o, e, t, i, d;

    mem_free(g->energy);
    g->energy = mem_new((size_t)(g->members * g->members * g->ffn), sizeof(double));
    for (o = 0; o < g->members; o++)
        for (e = 0; e < g->members; e++)
            for (i = 0; i < g->ffn; i++) {
                double square = 0, sum = 0;
                for (d = 0; d < g->width; d++) {
                    const double v = (double)g->down[e][d * g->ffn + i];
                    square += v * v;
                }
                for (t = 0; t < g->n_tokens; t++) {
                    const double wh = (double)g->weights[t * g->members + o] *
                                      (double)g->hidden[e][t * g->ffn + i];
                    sum += wh * wh;
                }
                g->energy[(o * g->members + e) * g->ffn + i] = square * sum;
            }
}

static hcsmoe_status group_tokens(const hcsmoe_merge_args *a, uint32_t want,
                                  hcsmoe_status (*see)(void *arg, const hcsmoe_group_tile *tile),
                                  void *arg)
{
    struct group *g = (struct group *)(uintptr_t)a->ctx;
    int64_t tokens[HCSMOE_TILE_TOKENS], first, i, e;

    g->calls++;
    for (first = 0; first < g->n_tokens; first += g->tile) {
        const int64_t n = g->n_tokens - first < g->tile ? g->n_tokens - first : g->tile;
        const float *hidden[MEMBERS_MAX];
        hcsmoe_group_tile tile = {.struct_size = sizeof tile,
                                  .n_tokens = n,
                                  .tokens = tokens,
                                  .x = g->x + first * g->width,
                                  .weights = g->weights + first * g->members};
        hcsmoe_status status;
        for (i = 0; i < n; i++)
            tokens[i] = first + i;
        for (e = 0; e < g->members; e++)
            hidden[e] = g->hidden[e] + first * g->ffn;
        if (want & HCSMOE_TILE_HIDDEN)
            tile.hidden = hidden;
        status = see(arg, &tile);
        if (status != HCSMOE_OK)
            return status;
    }
    return HCSMOE_OK;
}

/* Stored as the group's dtype says; F32 values are small enough for BF16 to be truncated exactly by
 * the caller. */
static void *stored(const struct group *g, const float *x, int64_t n)
{
    unsigned char *p = mem_new((size_t)n + 1, 4);
    int64_t i;

    for (i = 0; i < n; i++) {
        const unsigned char *bytes = (const unsigned char *)&x[i];
        if (g->dtype == HCSMOE_DTYPE_BF16)
            memcpy(p + 2 * i, bytes + 2, 2);
        else
            memcpy(p + 4 * i, bytes, 4);
    }
    return p;
}

/* Everything of a group after the members' first numbers are there. */
static void group_finish(struct group *g)
{
    group_activate(g);
    group_measure(g);
}

/* Routed like a top-2 of `of` experts: some tokens use one member, some several, with a generator
 * of the test's own. */
static TEST_UNUSED void group_random(struct fake_host *t, struct group *g, int64_t members,
                                     int64_t width, int64_t ffn, int64_t n_tokens)
{
    float *weights;
    int64_t e, i;

    memset(g, 0, sizeof *g);
    g->members = members;
    g->width = width;
    g->ffn = ffn;
    g->n_tokens = n_tokens;
    g->tile = 100;
    g->dtype = HCSMOE_DTYPE_F32;
    g->kept = ffn;
    g->core = -1;
    g->x = floats_new(t, n_tokens * width);
    weights = floats_new(t, n_tokens * members);
    for (i = 0; i < n_tokens; i++) {
        const int64_t one = (int64_t)(fake_uniform(t) * (double)members);
        for (e = 0; e < members; e++) {
            float *w = &weights[i * members + e];
            *w = e == one ? 0.3F + 0.3F * *w : fake_uniform(t) < 0.2 ? 0.2F + 0.2F * *w : 0;
        }
    }
    g->weights = weights;
    for (e = 0; e < members; e++) {
        g->gate[e] = floats_new(t, ffn * width);
        g->up[e] = floats_new(t, ffn * width);
        g->down[e] = floats_new(t, ffn * width);
        g->usage[e] = 1.0 / (double)members;
    }
    group_finish(g);
}

static void group_release(struct group *g)
{
    int64_t e;

    for (e = 0; e < MEMBERS_MAX; e++) {
        mem_free(g->gate[e]);
        mem_free(g->up[e]);
        mem_free(g->down[e]);
        mem_free(g->hidden[e]);
    }
    mem_free(g->energy);
    mem_free(g->out_gate);
    mem_free(g->out_up);
    mem_free(g->out_down);
    mem_free((void *)(uintptr_t)g->x);
    mem_free((void *)(uintptr_t)g->weights);
    memset(g, 0, sizeof *g);
}

/* Arguments of a merge of the group, and a call with them. */
struct call {
    hcsmoe_layer_dims dims;
    hcsmoe_stats stats;
    int32_t members[MEMBERS_MAX], pruned[MEMBERS_MAX];
    int64_t routed[MEMBERS_MAX];
    hcsmoe_tensor in[3][MEMBERS_MAX], out[3];
    void *bytes[3][MEMBERS_MAX];
    hcsmoe_merge_args args;
};

static void call_open(struct call *c, struct group *g)
{
    float *const *const parts[] = {g->gate, g->up, g->down};
    void **const outs[] = {&g->out_gate, &g->out_up, &g->out_down};
    int64_t e, t;
    int part;

    memset(c, 0, sizeof *c);
    c->dims = (hcsmoe_layer_dims){.struct_size = sizeof c->dims,
                                  .layer = 5,
                                  .n_experts = g->members,
                                  .top_k = 2,
                                  .width = g->width,
                                  .ffn = g->ffn,
                                  .n_tokens = g->n_tokens};
    c->stats =
        (hcsmoe_stats){.struct_size = sizeof c->stats, .usage = g->usage, .energy = g->energy};
    for (part = 0; part < 3; part++) {
        const int64_t rows = part == 2 ? g->width : g->ffn;
        const int64_t columns = part == 2 ? g->ffn : g->width;
        for (e = 0; e < g->members; e++) {
            c->bytes[part][e] = stored(g, parts[part][e], rows * columns);
            c->in[part][e] = hcsmoe_matrix(c->bytes[part][e], g->dtype, rows, columns);
        }
        mem_free(*outs[part]);
        *outs[part] = mem_new((size_t)(g->width * g->kept) + 1, 4);
        c->out[part] = hcsmoe_matrix(*outs[part], g->dtype, part == 2 ? g->width : g->kept,
                                     part == 2 ? g->kept : g->width);
    }
    for (e = 0; e < g->members; e++) {
        c->members[e] = (int32_t)e;
        for (t = 0; t < g->n_tokens; t++)
            c->routed[e] += g->weights[t * g->members + e] != 0;
    }
    c->args = (hcsmoe_merge_args){.struct_size = sizeof c->args,
                                  .group = 1,
                                  .dims = &c->dims,
                                  .stats = &c->stats,
                                  .n_members = g->members,
                                  .n_groups = 2,
                                  .members = c->members,
                                  .core = g->core,
                                  .gate = c->in[0],
                                  .up = c->in[1],
                                  .down = c->in[2],
                                  .out_gate = &c->out[0],
                                  .out_up = &c->out[1],
                                  .out_down = &c->out[2],
                                  .routed = c->routed,
                                  .n_tokens = g->n_tokens,
                                  .tokens = group_tokens,
                                  .ctx = g,
                                  .pruned = c->pruned,
                                  .loss = &g->loss,
                                  .total = &g->total};
}

static void call_close(struct call *c)
{
    int64_t e;
    int part;

    for (part = 0; part < 3; part++)
        for (e = 0; e < MEMBERS_MAX; e++)
            mem_free(c->bytes[part][e]);
}

/* The component of that name in the plugin. */
static const hcsmoe_component *component_of(struct fake_host *t, const char *name)
{
    char path[4096];
    hcsmoe_entry entry = NULL;
    const hcsmoe_component *const *c;
    void *library, *symbol;

    (void)plugin_load(t, "hcsmoe-merge-neurons.so");
    (void)snprintf(path, sizeof path, "%s/hcsmoe-merge-neurons.so", PLUGINS);
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(library);
    symbol = dlsym(library, "hcsmoe_plugin_v1");
    memcpy(&entry, &symbol, sizeof entry);
    for (c = entry(&t->abi)->components; *c; c++)
        if (strcmp((*c)->name, name) == 0)
            return *c;
    fail_msg("no component %s", name);
    return NULL;
}

static struct fake_host host;
static const hcsmoe_component *slim, *select_best, *lstsq;
static struct group group;
static neurons_opts *opts; /* defaults of select; the others' are the same */

static int host_setup(void **state)
{
    (void)state;
    fake_host_open(&host);
    host.kernels = test_kernels(&host);
    slim = component_of(&host, "slim");
    select_best = component_of(&host, "select");
    lstsq = component_of(&host, "lstsq");
    return 0;
}

static int host_teardown(void **state)
{
    (void)state;
    host.n_alloc = 0; /* the kernel table's own */
    fake_host_close(&host);
    return 0;
}

static int case_setup(void **state)
{
    (void)state;
    opts = options_new(select_best);
    host.log_level = -1;
    host.log[0] = host.message[0] = '\0';
    return 0;
}

static int case_teardown(void **state)
{
    (void)state;
    mem_free(opts);
    group_release(&group);
    return 0;
}

/* Three experts of two neurons, six tokens; a row per neuron, down [D, F]. */
static const float example_gate[3][4] = {{1, 0, .5F, -1}, {0, 1, 1, .5F}, {-1, .5F, .5F, .5F}};
static const float example_up[3][4] = {{1, 1, 0, 2}, {-1, 1, 2, 0}, {1, 0, -.5F, 1}};
static const float example_down[3][4] = {{1, .5F, 0, 1}, {.5F, -1, 1, 0}, {1, 0, -.5F, 1}};
static const float example_x[6][2] = {{1, 0}, {0, 1}, {1, 1}, {-1, .5F}, {.5F, -1}, {-.5F, -1}};
static const float example_weights[6][3] = {{.75F, .25F, 0}, {0, .6F, .4F}, {.5F, 0, .5F},
                                            {.2F, .8F, 0},   {.9F, 0, .1F}, {0, .3F, .7F}};

static TEST_UNUSED float *copied(const float *x, int64_t n)
{
    float *y = mem_new((size_t)n + 1, sizeof *y);

    memcpy(y, x, (size_t)n * sizeof *y);
    return y;
}

/* Experts first..first+members-1 and the tokens that are routed to one of them. */
static TEST_UNUSED void set_example(int64_t first, int64_t members, int64_t kept)
{
    float x[12], weights[18];
    int64_t t, e, n = 0;

    group_release(&group);
    for (t = 0; t < 6; t++) {
        double sum = 0;
        for (e = 0; e < members; e++) {
            weights[n * members + e] = example_weights[t][first + e];
            sum += (double)example_weights[t][first + e];
        }
        memcpy(&x[2 * n], example_x[t], sizeof example_x[t]);
        n += sum > 0;
    }
    group.members = members;
    group.width = group.ffn = 2;
    group.n_tokens = n;
    group.tile = 4;
    group.dtype = HCSMOE_DTYPE_F32;
    group.kept = kept;
    group.core = -1;
    group.x = copied(x, 2 * n);
    group.weights = copied(weights, members * n);
    for (e = 0; e < members; e++) {
        group.gate[e] = copied(example_gate[first + e], 4);
        group.up[e] = copied(example_up[first + e], 4);
        group.down[e] = copied(example_down[first + e], 4);
        group.usage[e] = 0.25;
    }
    group_finish(&group);
}

/* With the opts. bytes_most: of matrices in double; below 0: the plugin's. */
static hcsmoe_status group_merge(const hcsmoe_component *component, double bytes_most)
{
    const hcsmoe_merge_ops *ops = component->ops;
    struct call c;
    void *self = NULL;
    hcsmoe_status status;

    call_open(&c, &group);
    status = component->create(&host.abi, opts, &self);
    if (status == HCSMOE_OK) {
        if (bytes_most >= 0)
            ((struct neurons *)self)->bytes_most = bytes_most;
        group.calls = 0;
        status = ops->merge(self, &host.abi, &c.args);
        component->destroy(&host.abi, self);
    }
    fake_host_leave(&host);
    call_close(&c);
    return status;
}

static TEST_UNUSED hcsmoe_status merge(const hcsmoe_component *component)
{
    return group_merge(component, -1);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, case_setup, case_teardown)

#endif
