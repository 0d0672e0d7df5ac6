/*
 * verify_model.c - does a family name the tensors of its checkpoint, and compute what others do?
 * SPDX-License-Identifier: MIT
 */
#include "run/verify_model.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/path.h"
#include "model/forward.h"
#include "model/model.h"

enum {
    TOKENS = 48,                  /* of the sequence that is run without a reference */
    REFERENCE_TOKENS_MAX = 65536, /* of a reference, all sequences together */
    NAMES_MAX = 200000,           /* of one checkpoint */
    NAME_BYTES = SAFETENSORS_NAME_MAX + 1,
    VARIANTS_MAX = 8, /* the core asks for no more spellings */
    SMALL = 4         /* a buffer that no name fits in */
};

/* How far logits may be from those of a reference, as a share of the largest one. */
static const double logits_most = 1e-4;

static int opened(struct verify *v, struct model **m)
{
    json_t *config = NULL;
    char *folder = NULL;
    int status = verify_model_config(v, &config);

    json_decref(config);
    if (!status)
        status = verify_kernels(v);
    if (!status) {
        folder = verify_model_folder(v);
        status = folder ? model_open(m, folder, NULL, v->component->c.name, &v->ini, v->registry,
                                     v->host)
                        : HCSMOE_ENOMEM;
    }
    mem_free(folder);
    return status;
}

/* The core asks for every name and compares every shape when it opens a checkpoint; reading a layer
 * is the rest. */
static int check_tensors(struct verify *v)
{
    struct model *m = NULL;
    struct layer l = {0};
    int status = opened(v, &m);

    for (int i = 0; !status && i < m->desc.n_layers; i++)
        status = layer_read(m, i, &l);
    layer_release(&l);
    model_close(m);
    return status;
}

/* ---- names ---- */

struct names {
    char **all;
    size_t n, capacity;
};

static int name_ask(struct verify *v, const struct model *m, int role, int layer, int expert,
                    int variant, size_t size, char *name)
{
    instance_enter(&m->family, layer);
    const int32_t got = m->ops->tensor_name(m->family.self, &v->host->abi, role, layer, expert,
                                            variant, name, size);
    const int status = host_leave(v->host, 0);
    if (status)
        return status;
    if (got != 0 && got != 1)
        return verify_broken(v, "tensor_name of role %d returns %d: must be 0 or 1", role, got);
    return got;
}

/* One role of one layer and expert: its spelling 0 is kept, the others are asked for. */
static int name_add(struct verify *v, const struct model *m, int role, int layer, int expert,
                    struct names *names)
{
    struct guards g = {0};
    char *name = guards_add(&g, "name", NAME_BYTES, GUARD_FILL);
    char *small = guards_add(&g, "name", SMALL, GUARD_FILL);
    int got = name && small ? 1 : HCSMOE_ENOMEM, status;

    for (int variant = 0; got == 1 && variant < VARIANTS_MAX; variant++) {
        (void)name_ask(v, m, role, layer, expert, variant, SMALL, small);
        got = v->broken ? HCSMOE_EPLUGIN
                        : name_ask(v, m, role, layer, expert, variant, NAME_BYTES, name);
        if (got == 1 && (!memchr(name, 0, NAME_BYTES) || !name[0]))
            got = verify_broken(v,
                                "tensor_name of role %d gives a name that is empty or does not "
                                "end",
                                role);
        if (got == 1 && !variant) {
            if (names->n == NAMES_MAX ||
                mem_grow(&names->all, names->n, &names->capacity, sizeof *names->all))
                got = HCSMOE_ENOMEM;
            else if (!(names->all[names->n] = mem_strdup(name)))
                got = HCSMOE_ENOMEM;
            else
                names->n++;
        }
    }
    status = got < 0 ? got : guards_check(v, &g);
    guards_release(&g);
    return status;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int names_collect(struct verify *v, const struct model *m, struct names *names)
{
    int status = 0;

    for (int role = HCSMOE_ROLE_EMBED; !status && role <= HCSMOE_ROLE_LM_HEAD; role++)
        status = name_add(v, m, role, -1, -1, names);
    for (int l = 0; !status && l < m->desc.n_layers; l++) {
        for (int role = HCSMOE_ROLE_ATTN_NORM; !status && role < MODEL_ROLES; role++)
            if (role < HCSMOE_ROLE_GATE || role > HCSMOE_ROLE_DOWN)
                status = name_add(v, m, role, l, -1, names);
        const int64_t experts = m->layers[l].desc.is_moe ? m->layers[l].desc.n_experts : 0;
        for (int e = 0; !status && e < experts; e++)
            for (int role = HCSMOE_ROLE_GATE; !status && role <= HCSMOE_ROLE_DOWN; role++)
                status = name_add(v, m, role, l, e, names);
    }
    return status;
}

static int check_names(struct verify *v)
{
    struct names names = {0};
    struct model *m = NULL;
    int status = opened(v, &m);

    if (!status)
        status = names_collect(v, m, &names);
    if (!status && names.n > 1)
        qsort(names.all, names.n, sizeof *names.all, compare_names);
    for (size_t i = 1; !status && i < names.n; i++)
        if (!strcmp(names.all[i - 1], names.all[i]))
            status = verify_broken(v, "two roles, layers or experts are called '%s'", names.all[i]);
    for (size_t i = 0; i < names.n; i++)
        mem_free(names.all[i]);
    mem_free(names.all);
    model_close(m);
    return status;
}

/* ---- the forward pass ---- */

/* Sequences of equal length, and the logits of all their tokens. */
struct logits {
    int32_t *ids;  /* [sequences, tokens] */
    float *values; /* [sequences * tokens, vocabulary] */
    int64_t sequences, tokens, vocabulary;
};

static void logits_release(struct logits *x)
{
    mem_free(x->ids);
    mem_free(x->values);
    *x = (struct logits){0};
}

/* Hidden states of all tokens to logits: x->values is made here. */
static int logits_head(struct forward *f, const int64_t *row, struct logits *x)
{
    const struct model *m = f->m;
    const hcsmoe_kernels *k = m->k;
    const int64_t n = x->sequences * x->tokens;
    hcsmoe_tensor norm, head;
    void *norm_bytes = NULL, *head_bytes = NULL;
    float *h = mem_new((size_t)(n * m->desc.width), sizeof *h);
    int status = h ? 0 : HCSMOE_ENOMEM;

    x->vocabulary = m->desc.vocabulary;
    x->values = mem_new((size_t)n, (size_t)x->vocabulary * sizeof *x->values);
    if (!status && !x->values)
        status = HCSMOE_ENOMEM;
    if (!status)
        status = model_tensor_read(m, m->final_norm, &norm, &norm_bytes);
    if (!status)
        status = model_tensor_read(m, m->head, &head, &head_bytes);
    if (!status)
        status = k->gather(k, n, m->desc.width, f->x, row, h);
    if (!status)
        status = k->rmsnorm(k, n, m->desc.width, h, &norm, m->desc.norm_eps, h);
    if (!status)
        status = k->linear(k, n, x->vocabulary, m->desc.width, h, &head, NULL, 0, x->values);
    mem_free(norm_bytes);
    mem_free(head_bytes);
    mem_free(h);
    return status;
}

static int logits_compute(const struct model *m, struct logits *x)
{
    const int64_t n = x->sequences * x->tokens;
    int64_t *row = mem_new((size_t)n, sizeof *row);
    struct batch b;
    struct forward f = {0};
    struct layer l = {0};
    int status = row ? 0 : HCSMOE_ENOMEM;

    batch_init(&b, m->desc.width);
    for (int64_t s = 0; !status && s < x->sequences; s++)
        status = batch_add(&b, x->ids + s * x->tokens, x->tokens, 0, row + s * x->tokens);
    if (!status)
        status = forward_open(&f, m, &b, false);
    for (int i = 0; !status && i < m->desc.n_layers; i++) {
        status = layer_read(m, i, &l);
        if (!status)
            status = forward_layer(&f, &l, NULL);
    }
    if (!status)
        status = logits_head(&f, row, x);
    layer_release(&l);
    forward_release(&f);
    batch_release(&b);
    mem_free(row);
    return status;
}

static int check_forward(struct verify *v)
{
    struct logits x[2] = {{0}, {0}};
    struct model *m = NULL;
    int status = opened(v, &m);

    for (int n = 0; !status && n < 2; n++) {
        x[n] = (struct logits){
            .ids = mem_new(TOKENS, sizeof(int32_t)), .sequences = 2, .tokens = TOKENS / 2};
        for (int64_t i = 0; x[n].ids && i < TOKENS; i++)
            x[n].ids[i] = (int32_t)((i * 7919 + 1) % m->desc.vocabulary);
        host_set_threads(v->host, n ? 3 : 1);
        status = x[n].ids ? logits_compute(m, &x[n]) : HCSMOE_ENOMEM;
    }
    const int64_t all = status ? 0 : TOKENS * x[0].vocabulary;
    for (int64_t i = 0; !status && i < all; i++)
        if (!isfinite(x[0].values[i]))
            status = verify_broken(v, "a logit of token %lld is NaN or infinite",
                                   (long long)(i / x[0].vocabulary));
    if (!status && memcmp(x[0].values, x[1].values, (size_t)all * sizeof(float)))
        status = verify_broken(v, "3 threads give other logits than one");
    logits_release(&x[0]);
    logits_release(&x[1]);
    model_close(m);
    return status;
}

/* ---- a reference ---- */

static const struct st_entry *entry_of(const struct st_file *f, const char *name)
{
    for (size_t i = 0; i < f->n; i++)
        if (!strcmp(f->entries[i].name, name))
            return &f->entries[i];
    return NULL;
}

/* input_ids [T] or [S, T] of I32 or I64, logits [T, V] or [S, T, V] of F32. */
static int reference_shapes(const struct st_file *f, const struct st_entry *ids,
                            const struct st_entry *logits, int64_t vocabulary, struct logits *x)
{
    if (!ids || !logits)
        return fail(HCSMOE_EINVAL, "%s: no tensor '%s'", f->path, ids ? "logits" : "input_ids");
    const bool whole = ids->dtype == HCSMOE_DTYPE_I32 || ids->dtype == HCSMOE_DTYPE_I64;
    const uint32_t n = ids->ndim;
    if (!whole || n < 1 || n > 2)
        return fail(HCSMOE_EINVAL, "%s: 'input_ids' must be I32 or I64 of [T] or [S, T]", f->path);
    x->tokens = ids->shape[n - 1];
    x->sequences = n == 2 ? ids->shape[0] : 1;
    if (logits->dtype != HCSMOE_DTYPE_F32 || logits->ndim != n + 1 ||
        logits->shape[n] != vocabulary || logits->shape[n - 1] != x->tokens ||
        logits->shape[0] != ids->shape[0])
        return fail(HCSMOE_EINVAL,
                    "%s: 'logits' must be F32 of the shape of 'input_ids' and the vocabulary, %lld",
                    f->path, (long long)vocabulary);
    if (x->tokens < 1 || x->sequences < 1 || x->sequences > REFERENCE_TOKENS_MAX ||
        x->tokens > REFERENCE_TOKENS_MAX / x->sequences)
        return fail(HCSMOE_EINVAL, "%s: 'input_ids' holds %lld x %lld tokens: must be 1..%d",
                    f->path, (long long)x->sequences, (long long)x->tokens, REFERENCE_TOKENS_MAX);
    return 0;
}

static int reference_read(const struct st_file *f, const struct st_entry *ids,
                          const struct st_entry *logits, struct logits *x)
{
    const int64_t n = x->sequences * x->tokens;
    void *bytes = mem_new_raw(1, ids->size);
    int status = bytes ? 0 : HCSMOE_ENOMEM;

    x->ids = mem_new((size_t)n, sizeof *x->ids);
    x->values = mem_new_raw(1, logits->size);
    if (!status && (!x->ids || !x->values))
        status = HCSMOE_ENOMEM;
    if (!status)
        status = st_read(f, ids->offset, bytes, ids->size);
    if (!status)
        status = st_read(f, logits->offset, x->values, logits->size);
    for (int64_t i = 0; !status && i < n; i++) {
        const int64_t id = ids->dtype == HCSMOE_DTYPE_I64 ? ((const int64_t *)bytes)[i]
                                                          : ((const int32_t *)bytes)[i];
        if (id < 0 || id >= x->vocabulary)
            status = fail(HCSMOE_EINVAL, "%s: token %lld is %lld: must be 0..%lld", f->path,
                          (long long)i, (long long)id, (long long)x->vocabulary - 1);
        else
            x->ids[i] = (int32_t)id;
    }
    mem_free(bytes);
    return status;
}

static int reference_open(const char *path, int64_t vocabulary, struct logits *x)
{
    struct st_file f = {.fd = -1};
    int status = st_open(&f, path);

    *x = (struct logits){.vocabulary = vocabulary};
    if (status)
        return status;
    const struct st_entry *ids = entry_of(&f, "input_ids"), *logits = entry_of(&f, "logits");
    status = reference_shapes(&f, ids, logits, vocabulary, x);
    if (!status)
        status = reference_read(&f, ids, logits, x);
    st_close(&f);
    return status;
}

static int logits_compare(const struct logits *a, const struct logits *b)
{
    const int64_t v = a->vocabulary, n = a->sequences * a->tokens * v;
    double largest = 0, worst = 0;
    int64_t at = 0;

    for (int64_t i = 0; i < n; i++) {
        const double other = (double)b->values[i];
        const double off = fabs((double)a->values[i] - other);
        largest = fabs(other) > largest ? fabs(other) : largest;
        if (!(off <= worst)) {
            worst = off;
            at = i;
        }
    }
    verify_note("off by at most %.2g, logits reach %.3g", worst, largest);
    if (worst <= logits_most * (1 + largest))
        return 0;
    return fail(HCSMOE_EFAILED,
                "sequence %lld, token %lld: the logit of id %lld is %g, in the reference %g: off "
                "by %.3g, at most %.3g is taken",
                (long long)(at / v / a->tokens), (long long)(at / v % a->tokens),
                (long long)(at % v), (double)a->values[at], (double)b->values[at], worst,
                logits_most * (1 + largest));
}

static int check_reference(struct verify *v)
{
    struct logits want = {0}, got = {0};
    struct model *m = NULL;
    int status = v->request->reference ? opened(v, &m)
                                       : verify_skip("no reference: give --reference FILE, of -m");

    if (!status)
        status = reference_open(v->request->reference, m->desc.vocabulary, &want);
    if (!status) {
        got = (struct logits){.sequences = want.sequences, .tokens = want.tokens};
        got.ids = want.ids;
        status = logits_compute(m, &got);
        got.ids = NULL;
    }
    if (!status)
        status = logits_compare(&got, &want);
    logits_release(&got);
    logits_release(&want);
    model_close(m);
    return status;
}

static int check_options(struct verify *v)
{
    return verify_options(v, NULL);
}

const struct check verify_model_checks[] = {
    {.name = "the checkpoint has the tensors that it names", .run = check_tensors, .first = true},
    {.name = "names of all roles", .run = check_names},
    {.name = "option values", .run = check_options},
    {.name = "a config.json of nobody", .run = verify_model_probe},
    {.name = "its config.json, each member changed", .run = verify_model_changed},
    {.name = "logits, the same bytes for 1 and 3 threads", .run = check_forward},
    {.name = "logits of the reference", .run = check_reference},
    {.name = NULL},
};
