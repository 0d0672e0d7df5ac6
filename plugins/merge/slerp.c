/*
 * slerp.c - merges a group by spherical interpolation of its experts' matrices.
 *
 * Two matrices a and b, flattened, with angle w between them, become
 *
 *     sin((1 - t) w) / sin(w) a + sin(t w) / sin(w) b            t: the share of b
 *
 * and (1 - t) a + t b where that says nothing: when one is zero or |cos w| > 0.9995. A larger group
 * is taken in ascending order: each next expert is interpolated with what came before it, t being
 * its share of the weight so far. (The mean on the sphere that does not depend on the order needs
 * iterations and says little more for vectors as far apart as experts.) Whatever the order, the
 * result is a sum of the members with coefficients that follow from their inner products: members
 * are read twice, and nothing is rounded but the result. SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include <hcsmoe/merge.h>

/* As other programs that interpolate weights have it. */
#define PARALLEL 0.9995

typedef struct slerp_opts {
    int64_t weights;
} slerp_opts;

enum { WEIGHTS_USAGE, WEIGHTS_EQUAL };

static const hcsmoe_choice weights[] = {
    {"usage", WEIGHTS_USAGE, "by how often tokens chose them"},
    {"equal", WEIGHTS_EQUAL, "all alike"},
    {NULL, 0, NULL},
};

static const hcsmoe_option options[] = {
    HCSMOE_ENUM(slerp_opts, weights, WEIGHTS_USAGE, weights, "how experts count"),
};

static uint64_t slerp_needs(const void *opts, uint64_t caps)
{
    const slerp_opts *o = opts;

    (void)caps;
    return HCSMOE_STAT_WEIGHTS | (o->weights == WEIGHTS_USAGE ? HCSMOE_STAT_USAGE : 0);
}

static void member_weights(const slerp_opts *o, const hcsmoe_host *h, const hcsmoe_merge_args *a,
                           double *weight)
{
    double sum = 0;
    int64_t i;

    for (i = 0; i < a->n_members; i++) {
        weight[i] = o->weights == WEIGHTS_USAGE ? a->stats->usage[a->members[i]] : 1;
        sum += weight[i];
    }
    if (sum > 0)
        return;
    for (i = 0; i < a->n_members; i++)
        weight[i] = 1;
    hcsmoe_logf(h, HCSMOE_LOG_WARN,
                "layer %d, group %d: no token chose any of its %lld experts: all count alike",
                a->dims->layer, a->group, (long long)a->n_members);
}

/* The factors of a and b: |a|^2 = aa, a.b = ab. */
static void interpolate(double aa, double bb, double ab, double t, double *of_a, double *of_b)
{
    const double cosine = ab / (sqrt(aa) * sqrt(bb));
    double angle;

    *of_a = 1 - t;
    *of_b = t;
    if (!(fabs(cosine) <= PARALLEL)) /* 0/0 included */
        return;
    angle = acos(cosine);
    *of_a = sin((1 - t) * angle) / sin(angle);
    *of_b = sin(t * angle) / sin(angle);
}

/* coefficient[n] from the members' inner products and weights. */
static void coefficients(int64_t n, const double *gram, const double *weight, double *coefficient)
{
    double sum = 0;
    int64_t next, i, j;

    memset(coefficient, 0, (size_t)n * sizeof *coefficient);
    for (next = 0; next < n; next++) {
        double square = 0, product = 0, of_sum = 0, of_next = 1;
        if (!(weight[next] > 0)) /* also one that comes first: it would be there with all of 1 */
            continue;
        for (i = 0; i < next; i++) {
            product += coefficient[i] * gram[i * n + next];
            for (j = 0; j < next; j++)
                square += coefficient[i] * coefficient[j] * gram[i * n + j];
        }
        if (sum > 0)
            interpolate(square < 0 ? 0 : square, gram[next * n + next], product,
                        weight[next] / (sum + weight[next]), &of_sum, &of_next);
        for (i = 0; i < next; i++)
            coefficient[i] *= of_sum;
        coefficient[next] = of_next;
        sum += weight[next];
    }
}

static hcsmoe_status slerp_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    const hcsmoe_kernels *k = h->kernels(h);
    const hcsmoe_tensor *const members[] = {a->gate, a->up, a->down};
    const hcsmoe_tensor *const merged[] = {a->out_gate, a->out_up, a->out_down};
    const size_t n = (size_t)a->n_members;
    double *weight = h->scratch(h, n * sizeof *weight);
    double *coefficient = h->scratch(h, n * sizeof *coefficient);
    double *gram = h->scratch(h, n * n * sizeof *gram);
    const hcsmoe_tensor **terms = h->scratch(h, n * sizeof *terms);
    hcsmoe_status status = HCSMOE_OK;
    int64_t i;
    int part;

    if (!weight || !coefficient || !gram || !terms)
        return HCSMOE_ENOMEM; /* scratch has set the message */
    member_weights(self, h, a, weight);
    for (part = 0; part < 3 && status == HCSMOE_OK; part++) {
        for (i = 0; i < a->n_members; i++)
            terms[i] = &members[part][i];
        memset(gram, 0, n * n * sizeof *gram);
        status = k->gram_tensors(k, a->n_members, terms, 0, gram);
        if (status != HCSMOE_OK)
            break;
        coefficients(a->n_members, gram, weight, coefficient);
        status = k->weighted_sum(k, a->n_members, terms, coefficient, merged[part]);
    }
    return status;
}

static hcsmoe_status slerp_cost(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                                const hcsmoe_merge_shape *shape, int64_t n_members,
                                hcsmoe_merge_cost *cost)
{
    const double n = (double)n_members;

    (void)self;
    (void)h;
    (void)shape;
    cost->bytes = n_members * n_members * (int64_t)sizeof(double);
    cost->flops = 3 * (double)dims->width * (double)dims->ffn * (n * (n + 1) + 2 * n);
    return HCSMOE_OK;
}

static const hcsmoe_merge_ops ops = {
    .struct_size = sizeof ops, .merge = slerp_merge, .cost = slerp_cost};

static const hcsmoe_component slerp = {
    .struct_size = sizeof slerp,
    .kind = HCSMOE_KIND_MERGE,
    .name = "slerp",
    .summary = "spherical interpolation of the experts, by how often tokens chose them",
    .ops = &ops,
    .needs = HCSMOE_STAT_WEIGHTS | HCSMOE_STAT_USAGE,
    .caps = HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DETERMINISTIC,
    HCSMOE_OPTIONS(slerp_opts, options),
    .needs_for = slerp_needs,
};

HCSMOE_PLUGIN("hcsmoe.merge.slerp", "1.0.0", "MIT", &slerp)
