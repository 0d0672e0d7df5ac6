/*
 * verify_merge.c - does a merge method give experts, of whatever group?
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include <hcsmoe/merge.h>

#include "base/mem.h"
#include "run/verify_bench.h"
#include "run/verify_suite.h"

/* One call of merge: the group, its tokens, and what comes out between guards. */
struct group {
    struct verify *v;
    const struct bench *b;
    int64_t n, n_groups, n_tokens;
    int32_t *members;
    hcsmoe_tensor *in[3], out[3]; /* gate, up, down */
    int64_t *tokens, *routed;
    int32_t *pruned;
    double *loss, *total;
    struct guards inputs, outputs;
};

/* Weight of a member in the forward pass of token t. */
static float weight_of(const struct bench *b, int64_t t, int32_t member)
{
    for (int64_t r = t * b->dims.top_k; r < (t + 1) * b->dims.top_k; r++)
        if (b->ids[r] == member)
            return b->weights[r];
    return 0;
}

static int group_tokens_find(struct group *g)
{
    for (int64_t t = 0; t < g->b->dims.n_tokens; t++) {
        bool any = false;
        for (int64_t i = 0; i < g->n; i++) {
            bool chose = false;
            for (int64_t r = t * g->b->dims.top_k; r < (t + 1) * g->b->dims.top_k; r++)
                chose = chose || g->b->ids[r] == g->members[i];
            g->routed[i] += chose;
            any = any || chose;
        }
        if (any)
            g->tokens[g->n_tokens++] = t;
    }
    return 0;
}

/* labels[E], of which this group has one; ffn: of the result. */
static int group_open(struct group *g, struct verify *v, const struct bench *b,
                      const int32_t *labels, int32_t label, int64_t n_groups, int64_t ffn)
{
    const int64_t e = b->dims.n_experts, d = b->dims.width;
    const hcsmoe_tensor *const from[3] = {b->gate, b->up, b->down};
    static const char *const names[3] = {"out_gate", "out_up", "out_down"};

    *g = (struct group){.v = v, .b = b, .n_groups = n_groups};
    g->members = guards_add(&g->inputs, "members", (size_t)e * sizeof *g->members, 0);
    g->tokens = guards_add(&g->inputs, "tokens", (size_t)b->dims.n_tokens * sizeof *g->tokens, 0);
    g->routed = guards_add(&g->inputs, "routed", (size_t)e * sizeof *g->routed, 0);
    g->pruned = guards_add(&g->outputs, "pruned", (size_t)e * sizeof *g->pruned, 0);
    g->loss = guards_add(&g->outputs, "loss", sizeof *g->loss, 0);
    g->total = guards_add(&g->outputs, "total", sizeof *g->total, 0);
    if (!g->members || !g->tokens || !g->routed || !g->pruned || !g->loss || !g->total)
        return HCSMOE_ENOMEM;
    for (int64_t i = 0; i < e; i++)
        if (labels[i] == label)
            g->members[g->n++] = (int32_t)i;
    for (int p = 0; p < 3; p++) {
        const int64_t rows = p < 2 ? ffn : d, columns = p < 2 ? d : ffn;
        const uint32_t dtype = from[p][0].dtype;
        void *bytes = guards_add(&g->outputs, names[p],
                                 (size_t)(rows * columns) * hcsmoe_dtype_size(dtype), GUARD_FILL);
        g->in[p] = guards_add(&g->inputs, "gate, up, down", (size_t)e * sizeof *g->in[p], 0);
        if (!bytes || !g->in[p])
            return HCSMOE_ENOMEM;
        g->out[p] = hcsmoe_matrix(bytes, dtype, rows, columns);
        for (int64_t i = 0; i < g->n; i++)
            g->in[p][i] = from[p][g->members[i]];
    }
    return group_tokens_find(g);
}

static void group_close(struct group *g)
{
    guards_release(&g->inputs);
    guards_release(&g->outputs);
}

/* The rows that a tile shows, gathered: what merge.h says of it and no more. */
static int tile_gather(const struct group *g, uint32_t want, int64_t from, int64_t n, float *x,
                       float *weights, float *probabilities, float *const *hidden)
{
    const hcsmoe_layer_dims *s = &g->b->dims;

    for (int64_t i = 0; i < n; i++) {
        const int64_t t = g->tokens[from + i];
        memcpy(x + i * s->width, g->b->x + t * s->width, (size_t)s->width * sizeof *x);
        for (int64_t m = 0; m < g->n; m++) {
            weights[i * g->n + m] = weight_of(g->b, t, g->members[m]);
            probabilities[i * g->n + m] = g->b->probabilities[t * s->n_experts + g->members[m]];
            if (want & HCSMOE_TILE_HIDDEN)
                memcpy(hidden[m] + i * s->ffn, g->b->hidden[g->members[m]] + t * s->ffn,
                       (size_t)s->ffn * sizeof(float));
        }
    }
    return 0;
}

static hcsmoe_status tokens_show(const hcsmoe_merge_args *a, uint32_t want,
                                 hcsmoe_status (*see)(void *arg, const hcsmoe_group_tile *tile),
                                 void *arg)
{
    const struct group *g = a->ctx;
    const hcsmoe_layer_dims *s = &g->b->dims;
    struct guards space = {0};
    float *x = guards_add(&space, "x", (size_t)(BENCH_TILE * s->width) * sizeof *x, 0);
    float *w = guards_add(&space, "weights", (size_t)(BENCH_TILE * g->n) * sizeof *w, 0);
    float *p = guards_add(&space, "probabilities", (size_t)(BENCH_TILE * g->n) * sizeof *p, 0);
    float **hidden = guards_add(&space, "hidden", (size_t)g->n * sizeof *hidden, 0);
    int status = x && w && p && hidden ? 0 : HCSMOE_ENOMEM;

    if (want & ~(HCSMOE_TILE_PROBABILITIES | HCSMOE_TILE_HIDDEN))
        status = verify_broken(g->v, "asks for tiles with bits 0x%x, of which 0x%x are known", want,
                               HCSMOE_TILE_PROBABILITIES | HCSMOE_TILE_HIDDEN);
    for (int64_t m = 0; !status && m < g->n; m++) {
        hidden[m] = guards_add(&space, "hidden", (size_t)(BENCH_TILE * s->ffn) * sizeof(float), 0);
        status = hidden[m] ? 0 : HCSMOE_ENOMEM;
    }
    for (int64_t t = 0; !status && t < g->n_tokens; t += BENCH_TILE) {
        const int64_t n = g->n_tokens - t < BENCH_TILE ? g->n_tokens - t : BENCH_TILE;
        (void)tile_gather(g, want, t, n, x, w, p, hidden);
        const hcsmoe_group_tile tile = {
            .struct_size = sizeof tile,
            .n_tokens = n,
            .tokens = g->tokens + t,
            .x = x,
            .weights = w,
            .probabilities = want & HCSMOE_TILE_PROBABILITIES ? p : NULL,
            .hidden = want & HCSMOE_TILE_HIDDEN ? (const float *const *)hidden : NULL,
        };
        status = see(arg, &tile);
    }
    guards_release(&space);
    return status;
}

static int result_check(const struct group *g, struct str *out)
{
    static const char *const names[3] = {"out_gate", "out_up", "out_down"};
    const hcsmoe_kernels *k = g->v->host->kernels;
    int64_t denied = 0;

    for (int p = 0; p < 3; p++) {
        int32_t found = 0;
        const int status = k->has_nonfinite(k, &g->out[p], &found);
        if (status)
            return status;
        if (found)
            return verify_broken(g->v, "'%s' holds NaN or infinity, or was not written in full",
                                 names[p]);
        if (out)
            str_add_bytes(out, g->out[p].data,
                          (size_t)hcsmoe_tensor_elements(&g->out[p]) *
                              hcsmoe_dtype_size(g->out[p].dtype));
    }
    for (int64_t i = 0; i < g->n; i++) {
        if (g->pruned[i] != 0 && g->pruned[i] != 1)
            return verify_broken(g->v, "pruned is %d: must be 0 or 1", g->pruned[i]);
        denied += g->pruned[i];
    }
    if (denied && !(g->v->component->c.caps & HCSMOE_CAP_PRUNES))
        return verify_broken(g->v, "denies experts without HCSMOE_CAP_PRUNES");
    if (denied == g->n)
        return verify_broken(g->v, "denies every member of a group");
    if (!(*g->loss >= 0 && isfinite(*g->loss)) || !(*g->total >= 0 && isfinite(*g->total)))
        return verify_broken(g->v, "loss is %g and total %g: sums of squares", *g->loss, *g->total);
    if (out) {
        str_add_bytes(out, g->pruned, (size_t)g->n * sizeof *g->pruned);
        str_add_bytes(out, g->loss, sizeof *g->loss);
        str_add_bytes(out, g->total, sizeof *g->total);
    }
    return 0;
}

static int group_merge(struct group *g, const struct instance *i, struct str *out)
{
    const hcsmoe_merge_ops *ops = instance_ops(i);
    const uint64_t needs = verify_needs(g->v, i, 0);
    const hcsmoe_stats stats = bench_stats(g->b, needs);
    const bool inputs = needs & HCSMOE_STAT_LAYER_INPUT;
    const hcsmoe_merge_args a = {
        .struct_size = sizeof a,
        .dims = &g->b->dims,
        .stats = &stats,
        .n_members = g->n,
        .n_groups = g->n_groups,
        .members = g->members,
        .core = i->component->c.caps & HCSMOE_CAP_CORES_IN ? g->members[g->n - 1] : -1,
        .gate = g->in[0],
        .up = g->in[1],
        .down = g->in[2],
        .out_gate = &g->out[0],
        .out_up = &g->out[1],
        .out_down = &g->out[2],
        .routed = inputs ? g->routed : NULL,
        .n_tokens = inputs ? g->n_tokens : 0,
        .tokens = inputs ? tokens_show : NULL,
        .ctx = g,
        .pruned = g->pruned,
        .loss = g->loss,
        .total = g->total,
    };
    instance_enter(i, g->b->dims.layer);
    int status = verify_leave(g->v, ops->merge(i->self, &g->v->host->abi, &a));
    if (!status)
        status = guards_check(g->v, &g->outputs);
    if (!status)
        status = guards_check(g->v, &g->inputs);
    return status ? status : result_check(g, out);
}

/* Every group of a labelling, as the host asks for them. */
static int groups_merge(struct verify *v, const struct instance *i, const struct bench *b,
                        const int32_t *labels, int64_t n_groups, int64_t ffn, struct str *out,
                        struct refusal *refused)
{
    const hcsmoe_merge_ops *ops = instance_ops(i);
    int status = 0;

    for (int32_t label = 0; !status && label < n_groups; label++) {
        struct group g;
        status = group_open(&g, v, b, labels, label, n_groups, ffn);
        if (!status && (g.n > 1 || ffn != b->dims.ffn || ops->singletons))
            status = group_merge(&g, i, out);
        if (status)
            status = fail_in(status, "a group of %lld of %lld experts, width %lld", (long long)g.n,
                             (long long)b->dims.n_experts, (long long)ffn);
        status = refusal_keep(v, refused, status);
        group_close(&g);
    }
    return status;
}

static int shape_ask(struct verify *v, const struct instance *i, const struct bench *b,
                     int64_t target, int64_t chosen, hcsmoe_merge_shape *shape)
{
    const hcsmoe_merge_ops *ops = instance_ops(i);
    const bool alone = i->component->c.caps & HCSMOE_CAP_NO_GROUPS;
    const int64_t e = b->dims.n_experts;
    int status = 0;

    *shape = (hcsmoe_merge_shape){sizeof *shape, 0, target, chosen, b->dims.ffn};
    if (ops->shape) {
        instance_enter(i, b->dims.layer);
        status = verify_leave(v, ops->shape(i->self, &v->host->abi, &b->dims, shape));
    } else {
        shape->n_experts = alone ? e : target;
    }
    if (status)
        return status;
    if (shape->n_experts < 0 || shape->n_experts > e || (chosen && !shape->n_experts) ||
        shape->ffn < 1 || shape->ffn > b->dims.ffn || (alone && shape->n_experts != e))
        return verify_broken(v,
                             "shape makes %lld experts of width %lld from %lld of %lld, %lld "
                             "groups wanted",
                             (long long)shape->n_experts, (long long)shape->ffn, (long long)e,
                             (long long)b->dims.ffn, (long long)target);
    return 0;
}

static int cost_ask(struct verify *v, const struct instance *i, const struct bench *b,
                    const hcsmoe_merge_shape *shape)
{
    const hcsmoe_merge_ops *ops = instance_ops(i);
    int status = 0;

    for (int64_t n = 1; !status && ops->cost && n <= b->dims.n_experts; n++) {
        hcsmoe_merge_cost cost = {.struct_size = sizeof cost};
        instance_enter(i, b->dims.layer);
        status = verify_leave(v, ops->cost(i->self, &v->host->abi, &b->dims, shape, n, &cost));
        if (!status && (cost.bytes < 0 || !(cost.flops >= 0) || !isfinite(cost.flops) ||
                        (cost.tiles & ~(HCSMOE_TILE_PROBABILITIES | HCSMOE_TILE_HIDDEN))))
            status = verify_broken(v, "cost of %lld members is %lld bytes, %g flops, tiles 0x%x",
                                   (long long)n, (long long)cost.bytes, cost.flops, cost.tiles);
    }
    return status;
}

/* n groups: expert e in group e mod n. */
static int shape_perform(struct verify *v, const struct instance *i, const struct bench *b,
                         int64_t target, int64_t chosen, int32_t *labels, struct str *out,
                         struct refusal *refused)
{
    hcsmoe_merge_shape shape;
    int status = shape_ask(v, i, b, target, chosen, &shape);

    if (!status && !shape.n_experts)
        return 0; /* a clustering chooses; it is asked again with what it chose */
    if (!status)
        status = cost_ask(v, i, b, &shape);
    for (int64_t e = 0; !status && e < b->dims.n_experts; e++)
        labels[e] = (int32_t)(e % shape.n_experts);
    return status ? status
                  : groups_merge(v, i, b, labels, shape.n_experts, shape.ffn, out, refused);
}

static int perform(struct verify *v, const struct instance *i, const struct bench *b,
                   struct str *out)
{
    const int64_t e = b->dims.n_experts;
    int32_t *labels = mem_new((size_t)e, sizeof *labels);
    struct refusal refused = {0};
    int status = labels ? 0 : HCSMOE_ENOMEM;

    for (int64_t n = 1; !status && n <= e; n++) {
        hcsmoe_merge_shape shape;
        status = shape_ask(v, i, b, n, 0, &shape);
        if (!status && shape.n_experts)
            status = shape_perform(v, i, b, n, 0, labels, out, &refused);
        for (int64_t chosen = n; !status && !shape.n_experts && chosen <= e; chosen++)
            status = shape_perform(v, i, b, n, chosen, labels, out, &refused);
    }
    mem_free(labels);
    return status ? status : refusal_give(&refused);
}

VERIFY_WRAP_ALL(perform)

/* ---- copies of one expert ---- */

/* out[D] += of the last token that the bench has: down(silu(gate x) up x). parts: widened. */
static void expert_run(const double *gate, const double *up, const double *down, const float *x,
                       int64_t d, int64_t f, double *out)
{
    for (int64_t i = 0; i < d; i++)
        out[i] = 0;
    for (int64_t j = 0; j < f; j++) {
        double g = 0, u = 0;
        for (int64_t i = 0; i < d; i++) {
            g += gate[j * d + i] * (double)x[i];
            u += up[j * d + i] * (double)x[i];
        }
        g = g / (1 + exp(-g)) * u;
        for (int64_t i = 0; i < d; i++)
            out[i] += down[i * f + j] * g;
    }
}

static int widen(const struct group *g, const hcsmoe_tensor *const t[3], double *to[3])
{
    const hcsmoe_kernels *k = g->v->host->kernels;
    int status = 0;

    for (int p = 0; !status && p < 3; p++) {
        const hcsmoe_tensor plain =
            hcsmoe_matrix(to[p], HCSMOE_DTYPE_F64, t[p]->shape[0], t[p]->shape[1]);
        status = k->convert(k, t[p], &plain);
    }
    return status;
}

/* Share of the expert's output that the merged one's differs from, over the tokens. */
static int difference(const struct group *g, double *share)
{
    const int64_t d = g->b->dims.width, f = g->b->dims.ffn, n = d * f;
    double *space = mem_new((size_t)(6 * n + 2 * d), sizeof *space);
    double *one[3] = {space, space + n, space + 2 * n},
           *other[3] = {space + 3 * n, space + 4 * n, space + 5 * n}, *y = space + 6 * n;
    const hcsmoe_tensor *const from[3] = {&g->in[0][0], &g->in[1][0], &g->in[2][0]};
    const hcsmoe_tensor *const to[3] = {&g->out[0], &g->out[1], &g->out[2]};
    double error = 0, total = 0;
    int status = space ? widen(g, from, one) : HCSMOE_ENOMEM;

    if (!status)
        status = widen(g, to, other);
    for (int64_t t = 0; !status && t < g->b->dims.n_tokens; t++) {
        expert_run(one[0], one[1], one[2], g->b->x + t * d, d, f, y);
        expert_run(other[0], other[1], other[2], g->b->x + t * d, d, f, y + d);
        for (int64_t i = 0; i < d; i++) {
            error += (y[i] - y[d + i]) * (y[i] - y[d + i]);
            total += y[i] * y[i];
        }
    }
    *share = total > 0 ? error / total : 0;
    mem_free(space);
    return status;
}

static int copies_merge(struct verify *v, const struct instance *i, const struct bench *b)
{
    const double most = 1e-3; /* of the output's square: rounding is far below */
    int32_t *labels = mem_new((size_t)b->dims.n_experts, sizeof *labels);
    hcsmoe_merge_shape shape = {0};
    struct group g = {0};
    double share = 0;
    int status = labels ? shape_ask(v, i, b, 1, 0, &shape) : HCSMOE_ENOMEM;

    if (!status && (shape.ffn != b->dims.ffn || shape.n_experts != 1)) {
        mem_free(labels);
        return verify_skip("the result has another shape than the experts");
    }
    if (!status)
        status = group_open(&g, v, b, labels, 0, 1, shape.ffn);
    if (!status)
        status = group_merge(&g, i, NULL);
    if (!status)
        status = difference(&g, &share);
    if (!status && share > most)
        status = verify_skip("a group of copies of one expert gives another one (%.3g of its "
                             "output differs): right only if the method means to",
                             share);
    group_close(&g);
    mem_free(labels);
    return status;
}

static int check_copies(struct verify *v)
{
    struct bench_spec spec = bench_ordinary;
    struct instance i = {0};
    struct bench b = {0};
    int status = verify_kernels(v);

    spec.alike = true;
    if (!status)
        status = bench_open(&b, &spec, v->host->kernels);
    if (!status)
        status = verify_open(v, &i);
    if (!status)
        status = copies_merge(v, &i, &b);
    instance_release(&i);
    bench_release(&b);
    return status;
}

const struct check verify_merge_checks[] = {
    {.name = "groups of one to groups of all, from what it asked for alone",
     .run = check_ordinary,
     true,
     HINT_NEEDS},
    {.name = "option values", .run = check_options},
    {.name = "two experts", .run = check_small},
    {.name = "experts that are all the same", .run = check_alike},
    {.name = "copies of one expert give that expert", .run = check_copies},
    {.name = "an expert that no token chose", .run = check_unused},
    {.name = "weights of float32 and float16", .run = check_dtypes},
    {.name = "NaN in its inputs", .run = check_nan},
    {.name = "memory that is refused, and given back", .run = check_memory, .hint = HINT_MEMORY},
    {.name = "a run that is stopped", .run = check_cancelled},
    {.name = "same bytes for 1, 2 and 3 threads", .run = check_deterministic},
    {.name = "two instances with other options", .run = check_instances},
    {.name = "two layers at once", .run = check_parallel},
    {.name = NULL},
};
