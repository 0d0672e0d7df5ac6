/*
 * observe.c - collects what the chosen components need, and nothing else.
 *
 * Counting and routing sums are cheap and done here; what multiplies is a kernel. Every sum runs
 * over tokens in order, so that neither threads nor batch sizes change it.
 * SPDX-License-Identifier: MIT
 */
#include "run/observe.h"

#include <string.h>

#include <hcsmoe/cluster.h>
#include <hcsmoe/similarity.h>

#include "base/mem.h"
#include "run/energy.h"

/* The bits that need every expert's h on every token, tile by tile. */
#define HIDDEN_TILES                                                                               \
    (HCSMOE_STAT_HIDDEN | HCSMOE_STAT_OUTPUT | HCSMOE_STAT_ENERGY | HCSMOE_STAT_ENERGY_SCALED)

enum {
    TILE_TOKENS = 256, /* tokens of a tile with every expert's h: E * 256 * F floats */
    CONVERT_ROWS = 64, /* rows of a down projection widened to double at a time */
};

static bool sees_tiles(const struct instance *i, uint64_t caps)
{
    return instance_needs(i, caps) & HCSMOE_STAT_ACCUMULATE;
}

static int states_open(struct states *s, const struct instance *i, uint64_t caps,
                       const hcsmoe_layer_dims *dims)
{
    const hcsmoe_component *c = &i->component->c;
    *s = (struct states){0};
    if (!c->states || !sees_tiles(i, caps))
        return 0;
    instance_enter(i, dims->layer);
    s->n = c->states(i->self, &i->host->abi, dims, s->desc, STATES_MAX);
    int status = host_leave(i->host, s->n < 0 || s->n > STATES_MAX ? HCSMOE_EPLUGIN : 0);
    if (status) {
        s->n = 0;
        return status;
    }
    for (int n = 0; n < s->n; n++) {
        const hcsmoe_state *d = &s->desc[n];
        size_t elements = 1, bytes;
        for (int k = 0; k < 4; k++)
            if (d->shape[k] < 1 || size_mul(elements, (size_t)d->shape[k], &elements))
                return fail(HCSMOE_EPLUGIN, "%s: state '%s' has a dimension of %lld", c->name,
                            d->name, (long long)d->shape[k]);
        if (size_mul(elements, hcsmoe_dtype_size(d->dtype), &bytes) || !bytes)
            return fail(HCSMOE_EPLUGIN, "%s: state '%s' has no size", c->name, d->name);
        hcsmoe_tensor *t = &s->tensor[n];
        *t = hcsmoe_matrix(mem_new(1, bytes), d->dtype, d->shape[0], d->shape[1]);
        t->ndim = 4;
        t->stride[3] = 1;
        for (int k = 3; k >= 0; k--) {
            t->shape[k] = d->shape[k];
            t->stride[k] = k == 3 ? 1 : t->stride[k + 1] * d->shape[k + 1];
        }
        if (!t->data)
            return HCSMOE_ENOMEM;
    }
    return 0;
}

static void states_release(struct states *s)
{
    for (int i = 0; i < s->n; i++)
        mem_free(s->tensor[i].data);
    *s = (struct states){0};
}

int layer_states_open(struct layer_states *s, const struct config *c, const hcsmoe_layer_dims *dims)
{
    const uint64_t caps = c->cluster.component ? c->cluster.component->c.caps : 0;
    int status = 0;

    *s = (struct layer_states){0};
    for (int i = 0; !status && i < c->n_bases; i++)
        status = states_open(&s->base[i], &c->bases[i], caps, dims);
    if (!status && c->cluster.component)
        status = states_open(&s->cluster, &c->cluster, 0, dims);
    return status;
}

void layer_states_release(struct layer_states *s)
{
    for (int i = 0; i < BASES_MAX; i++)
        states_release(&s->base[i]);
    states_release(&s->cluster);
}

hcsmoe_layer_dims layer_dims(const struct model *m, int layer, int64_t n_tokens)
{
    const struct layer_source *s = &m->layers[layer];
    return (hcsmoe_layer_dims){sizeof(hcsmoe_layer_dims),
                               layer,
                               s->n_stored,
                               s->desc.top_k,
                               m->desc.width,
                               s->desc.ffn,
                               n_tokens};
}

int layer_stats_open(struct layer_stats *s, const struct model *m, int layer, int64_t n_tokens,
                     uint64_t needs)
{
    const struct layer_source *src = &m->layers[layer];
    const size_t e = (size_t)src->n_stored, d = (size_t)m->desc.width;
    const size_t router = (size_t)src->desc.n_experts;
    const size_t f = (size_t)src->desc.ffn;

    *s = (struct layer_stats){0};
    s->dims = layer_dims(m, layer, n_tokens);
    s->view.struct_size = sizeof s->view;
    if ((needs & HCSMOE_STAT_ROUTER_GRAM) && router != e)
        return fail(HCSMOE_EUNSUPPORTED,
                    "layer %d: router logits compare experts, but this checkpoint is merged "
                    "already: choose "
                    "another similarity_base",
                    layer);
    const struct {
        uint64_t bit;
        void *to;
        size_t n, size;
    } part[] = {
        {HCSMOE_STAT_USAGE, &s->usage_counts, e, sizeof(int64_t)},
        {HCSMOE_STAT_USAGE, &s->usage, e, sizeof(double)},
        {HCSMOE_STAT_ROUTING_SCORE, &s->score_sum, e, sizeof(double)},
        {HCSMOE_STAT_ROUTER_GRAM, &s->router_gram, e * e, sizeof(double)},
        {HCSMOE_STAT_OUTPUT_MEAN, &s->output_mean, e * d, sizeof(double)},
        {HCSMOE_STAT_WEIGHT_GRAM, &s->weight_gram, e * e, sizeof(double)},
        {HCSMOE_STAT_WEIGHT_PRODUCT, &s->weight_product, e * e, sizeof(double)},
        {HCSMOE_STAT_ENERGY, &s->energy, e * e * f, sizeof(double)},
        {HCSMOE_STAT_ENERGY_SCALED, &s->energy_scaled, e * e * f, sizeof(double)},
    };
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        if (!(needs & part[i].bit))
            continue;
        void *p = mem_new(part[i].n, part[i].size);
        if (!p)
            return HCSMOE_ENOMEM;
        memcpy(part[i].to, &p, sizeof p);
    }
    s->view.usage_counts = s->usage_counts;
    s->view.usage = s->usage;
    s->view.score_sum = s->score_sum;
    s->view.router_gram = s->router_gram;
    s->view.output_mean = s->output_mean;
    s->view.weight_gram = s->weight_gram;
    s->view.weight_product = s->weight_product;
    s->view.energy = s->energy;
    s->view.energy_scaled = s->energy_scaled;
    return 0;
}

void layer_stats_release(struct layer_stats *s)
{
    mem_free(s->usage_counts);
    mem_free(s->usage);
    mem_free(s->score_sum);
    mem_free(s->router_gram);
    mem_free(s->output_mean);
    mem_free(s->weight_gram);
    mem_free(s->weight_product);
    mem_free(s->energy);
    mem_free(s->energy_scaled);
    *s = (struct layer_stats){0};
}

void layer_stats_weights(struct layer_stats *s, const struct layer *l)
{
    s->view.router = l ? &l->role[HCSMOE_ROLE_ROUTER] : NULL;
    s->view.gate = l ? l->gate : NULL;
    s->view.up = l ? l->up : NULL;
    s->view.down = l ? l->down : NULL;
}

/* Largest E * F and K over the MoE layers. */
static void layer_most(const struct model *m, int64_t *hidden, int64_t *top_k)
{
    *hidden = 0;
    *top_k = 1;
    for (int l = 0; l < m->desc.n_layers; l++) {
        const struct layer_source *s = &m->layers[l];
        if (s->desc.is_moe && s->n_stored * s->desc.ffn > *hidden)
            *hidden = s->n_stored * s->desc.ffn;
        if (s->desc.is_moe && s->desc.top_k > *top_k)
            *top_k = s->desc.top_k;
    }
}

int64_t observation_bytes(const struct config *c, const struct model *m, uint64_t needs,
                          int64_t n_tokens)
{
    int64_t hidden, k, bytes = 0;
    layer_most(m, &hidden, &k);
    if (needs & HCSMOE_STAT_OUTPUT_MEAN)
        bytes += hidden * (int64_t)sizeof(double);
    if (needs & HCSMOE_STAT_LAYER_INPUT)
        bytes += n_tokens * (m->desc.width + 2 * k) * (int64_t)sizeof(float);
    if (needs & HIDDEN_TILES)
        bytes += hidden * TILE_TOKENS * (int64_t)sizeof(float);
    const int64_t q = c->quality_tokens < n_tokens ? c->quality_tokens : n_tokens;
    return bytes + 3 * q * m->desc.width * (int64_t)sizeof(float);
}

bool config_accumulates(const struct config *c)
{
    const uint64_t caps = c->cluster.component ? c->cluster.component->c.caps : 0;
    bool any = c->cluster.component && sees_tiles(&c->cluster, 0);
    for (int i = 0; i < c->n_bases; i++)
        any = any || sees_tiles(&c->bases[i], caps);
    return any;
}

int observation_open(struct observation *o, const struct config *c, const struct model *m,
                     uint64_t needs, int64_t n_tokens, struct watcher *watchers, size_t n_watchers)
{
    int64_t hidden, k;
    layer_most(m, &hidden, &k);
    *o = (struct observation){.config = c,
                              .m = m,
                              .needs = needs,
                              .n_tokens = n_tokens,
                              .watchers = watchers,
                              .n_watchers = n_watchers};
    for (size_t i = 0; i < n_watchers; i++)
        o->accumulates = o->accumulates || config_accumulates(watchers[i].config);
    if (needs & HCSMOE_STAT_OUTPUT_MEAN) {
        o->hidden_sum = mem_new((size_t)hidden, sizeof(double));
        if (!o->hidden_sum)
            return HCSMOE_ENOMEM;
    }
    if (needs & HCSMOE_STAT_LAYER_INPUT) {
        o->inputs = mem_new_raw((size_t)(n_tokens * m->desc.width), sizeof(float));
        o->ids = mem_new_raw((size_t)(n_tokens * k), sizeof(int32_t));
        o->weights = mem_new_raw((size_t)(n_tokens * k), sizeof(float));
        if (!o->inputs || !o->ids || !o->weights)
            return HCSMOE_ENOMEM;
    }
    if (n_tokens && c->quality_tokens) {
        o->quality_tokens = c->quality_tokens < n_tokens ? c->quality_tokens : n_tokens;
        o->quality_x = mem_new_raw((size_t)(o->quality_tokens * m->desc.width), sizeof(float));
        if (!o->quality_x)
            return HCSMOE_ENOMEM;
    }
    return 0;
}

void observation_release(struct observation *o)
{
    mem_free(o->hidden_sum);
    mem_free(o->inputs);
    mem_free(o->ids);
    mem_free(o->weights);
    mem_free(o->quality_x);
    mem_free(o->usage_ids);
    mem_free(o->usage_weights);
    *o = (struct observation){0};
}

/* Counts the top usage_top_k choices; through the map, when the checkpoint is merged already. */
static int usage_count(struct observation *o, const struct tap *tap)
{
    const struct layer_source *s = &o->m->layers[tap->layer];
    const int64_t k = o->config->usage_top_k ? o->config->usage_top_k : s->desc.top_k,
                  n = tap->n_tokens;
    const int32_t *ids = tap->ids;

    if (k != s->desc.top_k) {
        if (n * k > o->usage_capacity) {
            mem_free(o->usage_ids);
            mem_free(o->usage_weights);
            o->usage_ids = mem_new_raw((size_t)(n * k), sizeof *o->usage_ids);
            o->usage_weights = mem_new_raw((size_t)(n * k), sizeof *o->usage_weights);
            o->usage_capacity = o->usage_ids && o->usage_weights ? n * k : 0;
            if (!o->usage_capacity)
                return HCSMOE_ENOMEM;
        }
        int status = o->m->k->route(o->m->k, n, s->desc.n_experts, (int32_t)k, 0, tap->logits,
                                    s->map, NULL, o->usage_ids, o->usage_weights);
        if (status)
            return status;
        ids = o->usage_ids;
    }
    for (int64_t i = 0; i < n * k; i++)
        if (ids[i] >= 0 && (!s->map || s->map[ids[i]] >= 0))
            o->stats->usage_counts[s->map ? s->map[ids[i]] : ids[i]]++;
    return 0;
}

/* Adds up the router's probabilities, of all rows that lead to an expert. */
static int scores_add(struct observation *o, const struct layer *l, const struct tap *tap)
{
    double *rows = mem_new((size_t)l->n_experts, sizeof *rows);
    int status =
        rows ? o->m->k->column_sum(o->m->k, tap->n_tokens, l->n_experts, tap->probabilities, rows)
             : HCSMOE_ENOMEM;

    for (int64_t i = 0; !status && i < l->n_experts; i++)
        if (!l->map || l->map[i] >= 0)
            o->stats->score_sum[l->map ? l->map[i] : i] += rows[i];
    mem_free(rows);
    return status;
}

/* The quality tokens are floor(i * T / Q): copies those of this chunk. */
static void quality_keep(struct observation *o, const struct tap *tap)
{
    const int64_t q = o->quality_tokens, t = o->n_tokens, width = o->m->desc.width;
    for (int64_t i = (tap->begin * q + t - 1) / t; i < q && i * t / q < tap->begin + tap->n_tokens;
         i++)
        if (i * t / q >= tap->begin)
            memcpy(o->quality_x + i * width, tap->x + (i * t / q - tap->begin) * width,
                   (size_t)width * sizeof(float));
}

/* Every component of one configuration that asks for tiles sees this one. */
static int tile_show(const struct observation *o, const struct watcher *w, const hcsmoe_tile *tile)
{
    const struct config *c = w->config;
    const uint64_t caps = c->cluster.component ? c->cluster.component->c.caps : 0;
    int status = 0;

    for (int i = 0; !status && i < c->n_bases; i++) {
        const hcsmoe_similarity_ops *ops = instance_ops(&c->bases[i]);
        if (!ops->accumulate || !sees_tiles(&c->bases[i], caps))
            continue;
        const hcsmoe_similarity_args a = {sizeof a,
                                          0,
                                          &o->stats->dims,
                                          &o->stats->view,
                                          w->states->base[i].tensor,
                                          w->states->base[i].n,
                                          0};
        instance_enter(&c->bases[i], o->stats->dims.layer);
        status = host_leave(c->host, ops->accumulate(c->bases[i].self, &c->host->abi, &a, tile));
    }
    if (status || !c->cluster.component || !sees_tiles(&c->cluster, 0))
        return status;
    const hcsmoe_cluster_ops *ops = instance_ops(&c->cluster);
    if (ops->accumulate) {
        const hcsmoe_cluster_args a = {.struct_size = sizeof a,
                                       .n_bases = c->n_bases,
                                       .dims = &o->stats->dims,
                                       .stats = &o->stats->view,
                                       .n_groups = c->num_average_groups,
                                       .states = w->states->cluster.tensor,
                                       .n_states = w->states->cluster.n};
        instance_enter(&c->cluster, o->stats->dims.layer);
        status = host_leave(c->host, ops->accumulate(c->cluster.self, &c->host->abi, &a, tile));
    }
    return status;
}

/* h and y of every expert for the n tokens at x: what costs most, so only on request. */
static int tile_fill(struct observation *o, const struct layer *l, int64_t n, const float *x,
                     float **hidden, float **output)
{
    const hcsmoe_kernels *k = o->m->k;
    const int64_t f = o->stats->dims.ffn, d = o->stats->dims.width;
    int status = 0;
    for (int64_t e = 0; !status && e < l->n_stored; e++) {
        status = k->swiglu(k, n, d, f, x, &l->gate[e], &l->up[e], hidden[e]);
        if (!status && output)
            status = k->linear(k, n, d, f, hidden[e], &l->down[e], NULL, 0, output[e]);
    }
    return status;
}

/* Components know the experts that are stored: in a checkpoint that is merged already choices go
 * through its map first. */
static int tile_share(const struct observation *o, const struct layer *l, const hcsmoe_tile *tile)
{
    const int64_t n = tile->n_tokens * l->top_k;
    hcsmoe_tile shown = *tile;
    int32_t *ids = NULL;
    float *weights = NULL;
    int status = 0;

    if (l->map) {
        ids = mem_new_raw((size_t)n, sizeof *ids);
        weights = mem_new_raw((size_t)n, sizeof *weights);
        status = ids && weights ? 0 : HCSMOE_ENOMEM;
        for (int64_t i = 0; !status && i < n; i++) {
            ids[i] = tile->ids[i];
            weights[i] = tile->weights[i];
        }
        if (!status)
            status = o->m->k->map_experts(o->m->k, tile->n_tokens, (int32_t)l->top_k, l->map, ids,
                                          weights);
        shown.ids = ids;
        shown.weights = weights;
    }
    for (size_t w = 0; !status && w < o->n_watchers; w++)
        status = tile_show(o, &o->watchers[w], &shown);
    mem_free(ids);
    mem_free(weights);
    return status;
}

/* residual: the stream after the layer, for those who scale by it; NULL: not known yet. */
static int tiles_run(struct observation *o, const struct layer *l, const struct tap *tap,
                     const float *residual)
{
    const int64_t e = l->n_stored, f = o->stats->dims.ffn, d = o->stats->dims.width,
                  k = o->stats->dims.top_k, router = l->n_experts;
    const bool fill = o->needs & HIDDEN_TILES, outputs = o->needs & HCSMOE_STAT_OUTPUT;
    float **hidden = NULL, **output = NULL, *space = NULL;
    int status = 0;

    if (fill) {
        hidden = mem_new((size_t)e, sizeof *hidden);
        output = mem_new((size_t)e, sizeof *output);
        space =
            mem_new_raw((size_t)(e * TILE_TOKENS), (size_t)(f + (outputs ? d : 0)) * sizeof(float));
        if (!hidden || !output || !space)
            status = HCSMOE_ENOMEM;
        for (int64_t i = 0; !status && i < e; i++) {
            hidden[i] = space + i * TILE_TOKENS * f;
            output[i] = outputs ? space + e * TILE_TOKENS * f + i * TILE_TOKENS * d : NULL;
        }
    }
    for (int64_t t = 0; !status && t < tap->n_tokens; t += TILE_TOKENS) {
        const int64_t n = tap->n_tokens - t < TILE_TOKENS ? tap->n_tokens - t : TILE_TOKENS;
        if (fill)
            status = tile_fill(o, l, n, tap->x + t * d, hidden, outputs ? output : NULL);
        const hcsmoe_tile tile = {
            .struct_size = sizeof tile,
            .first_token = tap->begin + t,
            .n_tokens = n,
            .x = tap->x + t * d,
            .logits = tap->logits + t * router,
            .probabilities = tap->probabilities ? tap->probabilities + t * router : NULL,
            .ids = tap->ids + t * k,
            .weights = tap->weights + t * k,
            .hidden = (const float *const *)hidden,
            .output = outputs ? (const float *const *)output : NULL,
        };
        if (!status && o->accumulates)
            status = tile_share(o, l, &tile);
        if (!status && (o->stats->energy || o->stats->energy_scaled))
            status = energy_add(o, l, &tile, residual ? residual + t * d : NULL);
    }
    mem_free(hidden);
    mem_free(output);
    mem_free(space);
    return status;
}

static bool tiles_wanted(const struct observation *o)
{
    return o->accumulates || (o->needs & (HCSMOE_STAT_ENERGY | HCSMOE_STAT_ENERGY_SCALED));
}

static int see(void *arg, const struct layer *l, struct tap *tap)
{
    struct observation *o = arg;
    const hcsmoe_kernels *k = o->m->k;
    const int64_t n = tap->n_tokens, width = o->m->desc.width,
                  top_k = o->m->layers[tap->layer].desc.top_k;
    const int64_t router = o->m->layers[tap->layer].desc.n_experts;
    int status = 0;

    if (!o->collected) {
        tap->hidden_sum = o->hidden_sum;
        if (o->stats->usage_counts)
            status = usage_count(o, tap);
        if (!status && o->stats->score_sum)
            status = scores_add(o, l, tap);
        if (!status && o->stats->router_gram)
            status = k->gram_columns(k, n, router, tap->logits, o->stats->router_gram);
        if (!status && tiles_wanted(o) && !(o->needs & HCSMOE_STAT_ENERGY_SCALED))
            status = tiles_run(o, l, tap, NULL);
    }
    if (o->inputs) {
        memcpy(o->inputs + tap->begin * width, tap->x, (size_t)(n * width) * sizeof(float));
        memcpy(o->ids + tap->begin * top_k, tap->ids, (size_t)(n * top_k) * sizeof(int32_t));
        memcpy(o->weights + tap->begin * top_k, tap->weights, (size_t)(n * top_k) * sizeof(float));
    }
    if (o->quality_x)
        quality_keep(o, tap);
    return status;
}

static int see_after(void *arg, const struct layer *l, const struct tap *tap, const float *residual)
{
    return tiles_run(arg, l, tap, residual);
}

struct observer observation_start(struct observation *o, struct layer_stats *s)
{
    const bool late = !o->collected && (o->needs & HCSMOE_STAT_ENERGY_SCALED);

    o->stats = s;
    o->omega_sum = 0;
    if (o->hidden_sum && !o->collected)
        memset(o->hidden_sum, 0, (size_t)(s->dims.n_experts * s->dims.ffn) * sizeof(double));
    return (struct observer){see, late ? see_after : NULL, o,
                             s->score_sum != NULL || tiles_wanted(o)};
}

/* o_e = V_e mean(h_e): one product per expert in place of one per token, since the down projection
 * is linear. */
static int output_mean(struct observation *o, const struct layer *l)
{
    const hcsmoe_kernels *k = o->m->k;
    struct layer_stats *s = o->stats;
    const int64_t f = s->dims.ffn, d = s->dims.width;
    double *rows = mem_new_raw((size_t)(CONVERT_ROWS * f), sizeof *rows);
    int status = rows ? 0 : HCSMOE_ENOMEM;

    for (int64_t i = 0; !status && i < s->dims.n_experts * f; i++)
        o->hidden_sum[i] /= (double)o->n_tokens;
    for (int64_t e = 0; !status && e < s->dims.n_experts; e++)
        for (int64_t r = 0; !status && r < d; r += CONVERT_ROWS) {
            const int64_t n = d - r < CONVERT_ROWS ? d - r : CONVERT_ROWS;
            unsigned char *at = (unsigned char *)l->down[e].data +
                                (size_t)(r * f) * hcsmoe_dtype_size(l->down[e].dtype);
            const hcsmoe_tensor from = hcsmoe_matrix(at, l->down[e].dtype, n, f);
            const hcsmoe_tensor to = hcsmoe_matrix(rows, HCSMOE_DTYPE_F64, n, f);
            status = k->convert(k, &from, &to);
            if (!status)
                status = k->dgemm(k, 0, 1, 1, n, f, 1.0, o->hidden_sum + e * f, f, rows, f, 0.0,
                                  s->output_mean + e * d + r, d);
        }
    mem_free(rows);
    return status;
}

static int weight_gram(struct observation *o, const struct layer *l, bool centre, double *gram)
{
    const hcsmoe_kernels *k = o->m->k;
    const int64_t e = l->n_stored;
    const hcsmoe_tensor **t = mem_new((size_t)e, sizeof *t);
    const hcsmoe_tensor *part[3] = {l->gate, l->down, l->up};
    int status = t ? 0 : HCSMOE_ENOMEM;

    for (int p = 0; !status && p < 3; p++) {
        for (int64_t i = 0; i < e; i++)
            t[i] = &part[p][i];
        status = k->gram_tensors(k, e, t, centre, gram);
    }
    mem_free(t);
    return status;
}

int observation_finish(struct observation *o, const struct layer *l)
{
    struct layer_stats *s = o->stats;
    int status = 0;

    if (s->usage) {
        int64_t total = 0;
        for (int64_t e = 0; e < s->dims.n_experts; e++)
            total += s->usage_counts[e];
        for (int64_t e = 0; e < s->dims.n_experts; e++)
            s->usage[e] = total ? (double)s->usage_counts[e] / (double)total : 0;
    }
    if (s->output_mean)
        status = output_mean(o, l);
    if (!status && s->weight_gram)
        status = weight_gram(o, l, true, s->weight_gram);
    if (!status && s->weight_product)
        status = weight_gram(o, l, false, s->weight_product);
    if (!status && (s->energy || s->energy_scaled))
        status = energy_finish(o, l);
    return status;
}
