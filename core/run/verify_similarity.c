/*
 * verify_similarity.c - does a similarity base give distances and similarities that are some?
 * SPDX-License-Identifier: MIT
 */
#include <math.h>

#include <hcsmoe/similarity.h>

#include "run/verify_bench.h"
#include "run/verify_suite.h"

/* Of the largest entry: what rounding may do to a matrix that is symmetric on paper. */
static const double rounding = 1e-9;

static hcsmoe_similarity_args args_of(const struct bench *b, const hcsmoe_stats *stats,
                                      const struct kept_states *s)
{
    return (hcsmoe_similarity_args){sizeof(hcsmoe_similarity_args), 0,    &b->dims, stats,
                                    s->n ? s->tensor : NULL,        s->n, 0};
}

static hcsmoe_status tile_show(const struct instance *i, const struct bench *b,
                               const struct kept_states *s, const hcsmoe_stats *stats,
                               const hcsmoe_tile *tile)
{
    const hcsmoe_similarity_ops *ops = instance_ops(i);
    const hcsmoe_similarity_args a = args_of(b, stats, s);
    return ops->accumulate(i->self, &i->host->abi, &a, tile);
}

static double largest(const double *m, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fabs(m[i]) > most ? fabs(m[i]) : most;
    return most;
}

static int matrix_check(struct verify *v, const double *m, int64_t e, bool distances)
{
    const char *name = distances ? "distances" : "similarities";
    int status = finite_check(v, name, m, e * e);
    if (status)
        return status;
    const double least = rounding * largest(m, e * e);
    for (int64_t i = 0; i < e; i++) {
        const double diagonal = m[i * e + i], want = distances ? 0 : 1;
        if (fabs(diagonal - want) > (distances ? least : rounding))
            return verify_broken(v, "%s: the diagonal is %g at expert %lld: must be %g", name,
                                 diagonal, (long long)i, want);
        for (int64_t j = 0; j < e; j++) {
            if (fabs(m[i * e + j] - m[j * e + i]) > least)
                return verify_broken(v,
                                     "%s: %g from expert %lld to %lld, %g back: must be "
                                     "symmetric",
                                     name, m[i * e + j], (long long)i, (long long)j, m[j * e + i]);
            if (distances && m[i * e + j] < 0)
                return verify_broken(v, "distances: %g from expert %lld to %lld: must be >= 0",
                                     m[i * e + j], (long long)i, (long long)j);
        }
    }
    return 0;
}

/* Euclidean distances know no detour that is shorter. */
static int triangle_check(struct verify *v, const double *d, int64_t e)
{
    const double least = 1e-6 * largest(d, e * e);
    for (int64_t i = 0; i < e; i++)
        for (int64_t j = 0; j < e; j++)
            for (int64_t k = 0; k < e; k++)
                if (d[i * e + j] > d[i * e + k] + d[k * e + j] + least)
                    return verify_broken(v,
                                         "distances: %lld to %lld is %g, by way of %lld %g: "
                                         "must be Euclidean",
                                         (long long)i, (long long)j, d[i * e + j], (long long)k,
                                         d[i * e + k] + d[k * e + j]);
    return 0;
}

/* One of the two functions, for a clustering that reads what it gives. */
static int matrix_perform(struct verify *v, const struct instance *i, const struct bench *b,
                          bool distances, struct str *out)
{
    const hcsmoe_similarity_ops *ops = instance_ops(i);
    const uint64_t needs =
        verify_needs(v, i, distances ? HCSMOE_CAP_DISTANCES_IN : HCSMOE_CAP_SIMILARITIES_IN);
    const hcsmoe_stats stats = bench_stats(b, needs);
    const int64_t e = b->dims.n_experts;
    struct guards g = {0};
    struct kept_states s;
    double *m = guards_add(&g, distances ? "distances" : "similarities",
                           (size_t)(e * e) * sizeof *m, GUARD_FILL);
    int status = states_make(v, i, b, needs, &s);

    if (!status && !m)
        status = HCSMOE_ENOMEM;
    if (!status && (needs & HCSMOE_STAT_ACCUMULATE) && ops->accumulate)
        status = states_fill(v, i, b, needs, &s, tile_show);
    if (!status) {
        const hcsmoe_similarity_args a = args_of(b, &stats, &s);
        instance_enter(i, b->dims.layer);
        status = verify_leave(
            v, (distances ? ops->distances : ops->similarities)(i->self, &v->host->abi, &a, m));
    }
    if (!status)
        status = guards_check(v, &g);
    if (!status)
        status = guards_check(v, &s.guards);
    if (!status)
        status = matrix_check(v, m, e, distances);
    if (!status && distances)
        status = triangle_check(v, m, e);
    if (!status && out)
        str_add_bytes(out, m, (size_t)(e * e) * sizeof *m);
    guards_release(&s.guards);
    guards_release(&g);
    return status;
}

static int perform(struct verify *v, const struct instance *i, const struct bench *b,
                   struct str *out)
{
    const hcsmoe_similarity_ops *ops = instance_ops(i);
    struct refusal refused = {0};
    int status = 0;

    if (ops->feature_size) {
        instance_enter(i, b->dims.layer);
        const int64_t size = ops->feature_size(i->self, &v->host->abi, &b->dims);
        status = host_leave(v->host, 0);
        if (size < 1)
            status = verify_broken(v, "feature_size is %lld: must be at least 1", (long long)size);
    }
    if (!status && ops->distances)
        status = refusal_keep(v, &refused, matrix_perform(v, i, b, true, out));
    if (!status && ops->similarities)
        status = refusal_keep(v, &refused, matrix_perform(v, i, b, false, out));
    return status ? status : refusal_give(&refused);
}

VERIFY_WRAP_ALL(perform)

const struct check verify_similarity_checks[] = {
    {.name = "matrices, from what it asked for alone",
     .run = check_ordinary,
     .first = true,
     .hint = HINT_NEEDS},
    {.name = "option values", .run = check_options},
    {.name = "two experts", .run = check_small},
    {.name = "experts that are all the same", .run = check_alike},
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
