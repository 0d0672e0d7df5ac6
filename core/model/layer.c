/*
 * layer.c - one layer's tensors into memory, and a thread that reads the next one while this one
 * computes.
 * SPDX-License-Identifier: MIT
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/trace.h"
#include "model/model.h"

static hcsmoe_tensor entry_view(const struct st_entry *e, void *bytes)
{
    hcsmoe_tensor t = hcsmoe_matrix(bytes, e->dtype, e->ndim > 0 ? e->shape[0] : 1,
                                    e->ndim > 1 ? e->shape[1] : 1);
    if (e->ndim < 2) {
        t.ndim = 1;
        t.stride[0] = 1;
        t.stride[1] = 0;
    }
    return t;
}

/* The tensors that a layer is made of, on their way into its buffer. */
struct loads {
    struct shard_load *all;
    size_t n, capacity;
};

/* Takes the next place of the buffer for a tensor, which is read later. */
static int load_add(struct loads *q, const struct st_entry *e, unsigned char **at, hcsmoe_tensor *t)
{
    int status = mem_grow(&q->all, q->n, &q->capacity, sizeof *q->all);

    if (status)
        return status;
    q->all[q->n++] = (struct shard_load){e, *at};
    *t = entry_view(e, *at);
    *at += (e->size + 63) & ~(uint64_t)63;
    return 0;
}

static int experts_allocate(struct layer *l, int64_t n)
{
    if (n <= l->n_allocated)
        return 0;
    mem_free(l->gate);
    mem_free(l->up);
    mem_free(l->down);
    l->gate = mem_new((size_t)n, sizeof *l->gate);
    l->up = mem_new((size_t)n, sizeof *l->up);
    l->down = mem_new((size_t)n, sizeof *l->down);
    l->n_allocated = l->gate && l->up && l->down ? n : 0;
    return l->n_allocated ? 0 : HCSMOE_ENOMEM;
}

static int experts_load(const struct model *m, const struct layer_source *s, struct layer *l,
                        struct loads *q, unsigned char **at)
{
    const int64_t f = s->desc.ffn, d = m->desc.width;
    hcsmoe_tensor t;
    int status = experts_allocate(l, s->n_stored);

    if (status || !s->fused_gate_up) {
        for (int64_t e = 0; !status && e < s->n_stored; e++) {
            status = load_add(q, s->gate[e], at, &l->gate[e]);
            if (!status)
                status = load_add(q, s->up[e], at, &l->up[e]);
            if (!status)
                status = load_add(q, s->down[e], at, &l->down[e]);
        }
        return status;
    }
    const uint32_t dtype = s->fused_gate_up->dtype, down_dtype = s->fused_down->dtype;
    const uint64_t size = hcsmoe_dtype_size(dtype), down_size = hcsmoe_dtype_size(down_dtype);
    unsigned char *gate_up = *at;
    status = load_add(q, s->fused_gate_up, at, &t);
    unsigned char *down = *at;
    if (!status)
        status = load_add(q, s->fused_down, at, &t);
    for (int64_t e = 0; !status && e < s->n_stored; e++) {
        l->gate[e] = hcsmoe_matrix(gate_up + (uint64_t)(2 * e * f * d) * size, dtype, f, d);
        l->up[e] = hcsmoe_matrix(gate_up + (uint64_t)((2 * e + 1) * f * d) * size, dtype, f, d);
        l->down[e] = hcsmoe_matrix(down + (uint64_t)(e * f * d) * down_size, down_dtype, d, f);
    }
    return status;
}

int layer_read(const struct model *m, int i, struct layer *l)
{
    const struct layer_source *s = &m->layers[i];
    int status = 0;

    if (l->capacity < s->bytes) {
        mem_free(l->buffer);
        l->capacity = 0;
        l->buffer = mem_new_raw(1, s->bytes);
        if (!l->buffer)
            return HCSMOE_ENOMEM;
        l->capacity = s->bytes;
    }
    struct loads q = {0};
    unsigned char *at = l->buffer;
    memset(l->role, 0, sizeof l->role);
    l->index = i;
    l->n_experts = s->desc.n_experts;
    l->top_k = s->desc.top_k;
    l->ffn = s->desc.ffn;
    l->map = s->map;
    l->n_stored = 0;
    for (int r = 0; !status && r < MODEL_ROLES; r++)
        if (s->role[r] && r != HCSMOE_ROLE_EXPERT_MAP)
            status = load_add(&q, s->role[r], &at, &l->role[r]);
    /* Which experts a token goes to hangs on the last bits of a logit. */
    l->role[HCSMOE_ROLE_ROUTER].flags |= HCSMOE_TENSOR_EXACT;
    if (!status && s->desc.is_moe) {
        status = experts_load(m, s, l, &q, &at);
        l->n_stored = s->n_stored;
    }
    if (!status)
        status = shards_load(&m->shards, q.all, q.n);
    if (!status) /* half of a layer may be of another file */
        status = shards_unchanged(&m->shards);
    mem_free(q.all);
    return status;
}

void layer_release(struct layer *l)
{
    mem_free(l->buffer);
    mem_free(l->gate);
    mem_free(l->up);
    mem_free(l->down);
    *l = (struct layer){0};
}

int layer_widen(const struct model *m, const struct layer *l, struct layer *wide)
{
    const int64_t size = l->ffn * m->desc.width;
    int status = 0;

    *wide = *l;
    wide->buffer = NULL;
    wide->gate = wide->up = wide->down = NULL;
    wide->n_allocated = 0;
    status = experts_allocate(wide, l->n_stored);
    if (!status) {
        wide->buffer = mem_new_raw((size_t)(3 * l->n_stored * size), sizeof(float));
        status = wide->buffer ? 0 : HCSMOE_ENOMEM;
    }
    float *at = (float *)(void *)wide->buffer;
    for (int64_t e = 0; !status && e < l->n_stored; e++) {
        const hcsmoe_tensor *from[3] = {&l->gate[e], &l->up[e], &l->down[e]};
        hcsmoe_tensor *to[3] = {&wide->gate[e], &wide->up[e], &wide->down[e]};
        for (int p = 0; !status && p < 3; p++, at += size) {
            *to[p] = hcsmoe_matrix(at, HCSMOE_DTYPE_F32, from[p]->shape[0], from[p]->shape[1]);
            status = m->k->convert(m->k, from[p], to[p]);
        }
    }
    return status;
}

int model_tensor_read(const struct model *m, const struct st_entry *e, hcsmoe_tensor *t,
                      void **bytes)
{
    *bytes = mem_new_raw(1, e->size);
    if (!*bytes)
        return HCSMOE_ENOMEM;
    *t = entry_view(e, *bytes);
    return shards_load(&m->shards, &(struct shard_load){e, *bytes}, 1);
}

struct layer_reader {
    const struct model *m;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct layer slot[2];
    int next_read, next_give; /* layers read so far, layers handed out so far */
    bool stop, started;
    int status;
    char message[1024];
    double seconds;
};

/* At most one layer ahead of the one in use: slot i % 2 is free again once layer i + 1 has been
 * asked for. */
static void *reader_main(void *arg)
{
    struct layer_reader *r = arg;

    pthread_mutex_lock(&r->lock);
    while (!r->stop && !r->status && r->next_read < r->m->desc.n_layers) {
        if (r->next_read > r->next_give) {
            pthread_cond_wait(&r->changed, &r->lock);
            continue;
        }
        const int i = r->next_read;
        pthread_mutex_unlock(&r->lock);
        const double begin = now_s();
        const int status = layer_read(r->m, i, &r->slot[i % 2]);
        (void)trace_end("read", i, begin);
        pthread_mutex_lock(&r->lock);
        r->seconds += now_s() - begin;
        if (status) {
            r->status = status;
            snprintf(r->message, sizeof r->message, "%s", fail_message());
        } else {
            r->next_read++;
        }
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

int layers_start(struct layer_reader **out, const struct model *m)
{
    struct layer_reader *r = *out = mem_new(1, sizeof *r);
    if (!r)
        return HCSMOE_ENOMEM;
    r->m = m;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    if (pthread_create(&r->thread, NULL, reader_main, r)) {
        layers_stop(r);
        *out = NULL;
        return fail(HCSMOE_EFAILED, "cannot start a thread for reading");
    }
    r->started = true;
    return 0;
}

int layers_next(struct layer_reader *r, struct layer **l)
{
    int status = 0;
    pthread_mutex_lock(&r->lock);
    const int i = r->next_give;
    const double begin = trace_begin();
    while (!r->status && r->next_read <= i)
        pthread_cond_wait(&r->changed, &r->lock);
    (void)trace_end("wait", i, begin);
    if (r->next_read > i) {
        *l = &r->slot[i % 2];
        r->next_give = i + 1;
        pthread_cond_broadcast(&r->changed);
    } else {
        status = fail(r->status, "%s", r->message);
    }
    pthread_mutex_unlock(&r->lock);
    return status;
}

double layers_wait_s(const struct layer_reader *r)
{
    return r->seconds;
}

void layers_stop(struct layer_reader *r)
{
    if (!r)
        return;
    if (r->started) {
        pthread_mutex_lock(&r->lock);
        r->stop = true;
        pthread_cond_broadcast(&r->changed);
        pthread_mutex_unlock(&r->lock);
        pthread_join(r->thread, NULL);
    }
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->changed);
    layer_release(&r->slot[0]);
    layer_release(&r->slot[1]);
    mem_free(r);
}
