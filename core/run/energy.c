/*
 * energy.c - P[e', e, i] = |column i of down_e|^2 sum over t of w_te'^2 h_e,i(x_t)^2.
 *
 * While tokens pass only the sums are kept. Work is shared out by expert e, whose rows of P nobody
 * else writes; tokens come in order: the number of threads changes nothing.
 * SPDX-License-Identifier: MIT
 */
#include "run/energy.h"

#include "base/mem.h"

/* Keeps 1 / (mean square of a residual row) finite for a row of zeros. */
static const double residual_least = 1e-6;

struct job {
    const struct observation *o;
    const struct layer *l;
    const hcsmoe_tile *tile;
    const double *omega; /* [n]; NULL: 1 */
};

/* sum[F] += a h^2 */
static void squares_add(int64_t n, double a, const float *h, double *sum)
{
    for (int64_t i = 0; i < n; i++)
        sum[i] += a * ((double)h[i] * (double)h[i]);
}

/* Row e of every e': choices of one token that a merged checkpoint sends to one expert are one
 * choice of the summed weight. */
static void token_add(const struct job *job, int64_t t, int64_t e)
{
    const struct layer_stats *s = job->o->stats;
    const int64_t f = s->dims.ffn, k = s->dims.top_k, n = s->dims.n_experts;
    const int32_t *ids = job->tile->ids + t * k;
    const float *weights = job->tile->weights + t * k, *h = job->tile->hidden[e] + t * f;
    const int64_t *map = job->l->map;

    for (int64_t j = 0; j < k; j++) {
        const int64_t to = ids[j] < 0 ? -1 : map ? map[ids[j]] : ids[j];
        double w = 0;
        bool first = to >= 0;
        for (int64_t other = 0; first && other < k; other++) {
            const int64_t same = ids[other] < 0 ? -1 : map ? map[ids[other]] : ids[other];
            if (same != to)
                continue;
            first = other >= j;
            w += (double)weights[other];
        }
        if (!first)
            continue;
        if (s->energy)
            squares_add(f, w * w, h, s->energy + (to * n + e) * f);
        if (s->energy_scaled)
            squares_add(f, w * w * job->omega[t], h, s->energy_scaled + (to * n + e) * f);
    }
}

static hcsmoe_status experts_add(void *arg, int64_t begin, int64_t end)
{
    const struct job *job = arg;
    for (int64_t e = begin; e < end; e++)
        for (int64_t t = 0; t < job->tile->n_tokens; t++)
            token_add(job, t, e);
    return HCSMOE_OK;
}

/* omega[n] = 1 / (mean square of the row + 1e-6). */
static void omega_of(int64_t n, int64_t width, const float *residual, double *omega)
{
    for (int64_t t = 0; t < n; t++) {
        double sum = 0;
        for (int64_t i = t * width; i < (t + 1) * width; i++)
            sum += (double)residual[i] * (double)residual[i];
        omega[t] = 1 / (sum / (double)width + residual_least);
    }
}

int energy_add(struct observation *o, const struct layer *l, const hcsmoe_tile *tile,
               const float *residual)
{
    const hcsmoe_host *h = &o->m->host->abi;
    struct job job = {o, l, tile, NULL};
    double *omega = NULL;
    int status = 0;

    if (o->stats->energy_scaled) {
        omega = mem_new_raw((size_t)tile->n_tokens, sizeof *omega);
        if (!omega)
            return HCSMOE_ENOMEM;
        omega_of(tile->n_tokens, o->stats->dims.width, residual, omega);
        for (int64_t t = 0; t < tile->n_tokens; t++)
            o->omega_sum += omega[t];
        job.omega = omega;
    }
    status = h->parallel_for(h, o->stats->dims.n_experts, experts_add, &job);
    mem_free(omega);
    return status;
}

/* norm[F] = squared norms of the columns of down [D, F]. */
static int column_norms(const struct model *m, const hcsmoe_tensor *down, double *row, double *norm)
{
    const int64_t d = down->shape[0], f = down->shape[1];
    const size_t size = hcsmoe_dtype_size(down->dtype);
    int status = 0;

    for (int64_t i = 0; i < f; i++)
        norm[i] = 0;
    for (int64_t r = 0; !status && r < d; r++) {
        const hcsmoe_tensor from =
            hcsmoe_matrix((unsigned char *)down->data + (size_t)(r * f) * size, down->dtype, 1, f);
        const hcsmoe_tensor to = hcsmoe_matrix(row, HCSMOE_DTYPE_F64, 1, f);
        status = m->k->convert(m->k, &from, &to);
        for (int64_t i = 0; !status && i < f; i++)
            norm[i] += row[i] * row[i];
    }
    return status;
}

int energy_finish(struct observation *o, const struct layer *l)
{
    const struct layer_stats *s = o->stats;
    const int64_t n = s->dims.n_experts, f = s->dims.ffn;
    const double mean = o->n_tokens && o->omega_sum > 0 ? o->omega_sum / (double)o->n_tokens : 1;
    double *row = mem_new_raw((size_t)f, sizeof *row), *norm = mem_new_raw((size_t)f, sizeof *norm);
    int status = row && norm ? 0 : HCSMOE_ENOMEM;

    for (int64_t e = 0; !status && e < n; e++) {
        status = column_norms(o->m, &l->down[e], row, norm);
        for (int64_t to = 0; !status && to < n; to++)
            for (int64_t i = 0; i < f; i++) {
                const int64_t at = (to * n + e) * f + i;
                if (s->energy)
                    s->energy[at] *= norm[i];
                if (s->energy_scaled)
                    s->energy_scaled[at] *= norm[i] / mean;
            }
    }
    mem_free(row);
    mem_free(norm);
    return status;
}
