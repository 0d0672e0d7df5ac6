/*
 * output.c - writes a checkpoint in one of the layouts.
 * SPDX-License-Identifier: MIT
 */
#include "run/output.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "run/guard.h"
#include "share/share.h"

#define CLASSES "modeling_hcsmoe" /* what transformers loads layout = mapped with */

enum {
    COPY_BYTES = 16 * 1024 * 1024,
    SMALL_FILE_MAX =
        256 * 1024 * 1024, /* tokenizers and the like; weights are not copied as files */
    NAMES_TRIED = 100      /* for the temporary folder */
};

/* A folder of our own beside the target. One of that name belongs to a run that was killed, or to one
 * of another container: what is in it is left alone, and so is what a link of that name leads to. */
static int temporary_make(struct output *o)
{
    char *parent = path_folder(o->target), *sub = NULL;
    int status = parent ? path_make_folder(parent) : HCSMOE_ENOMEM;
    bool made = false;

    for (int i = 0; !status && !made && i < NAMES_TRIED; i++) {
        char tail[16] = "";
        mem_free(o->temporary);
        if (i)
            (void)snprintf(tail, sizeof tail, ".%d", i);
        o->temporary = mem_printf("%s.incomplete-%ld%s", o->target, (long)getpid(), tail);
        made = o->temporary && mkdir(o->temporary, 0777) == 0;
        if (!o->temporary)
            status = HCSMOE_ENOMEM;
        else if (!made && (errno != EEXIST || i + 1 == NAMES_TRIED))
            status = fail_errno(o->temporary, "cannot make the folder");
    }
    if (!made) { /* not ours to remove */
        mem_free(o->temporary);
        o->temporary = NULL;
    }
    sub = made ? path_join(o->temporary, "hcsmoe") : NULL;
    if (!status)
        status = sub ? path_make_folder(sub) : HCSMOE_ENOMEM;
    mem_free(parent);
    mem_free(sub);
    return status;
}

int output_open(struct output *o, const struct model *m, const char *target, enum layout layout,
                bool overwrite)
{
    uint64_t reserve = 1024;
    char name[SAFETENSORS_NAME_MAX + 1];
    int status = guard_folder(target, m, overwrite);

    *o = (struct output){.m = m, .layout = layout, .overwrite = overwrite};
    if (status)
        return status;
    o->target = path_resolve(target);
    o->layers = json_object();
    if (!o->target || !o->layers)
        status = HCSMOE_ENOMEM;
    if (!status)
        status = temporary_make(o);
    /* The header's reserve: every input tensor, and for every expert its own three names and a map
     * per layer. */
    for (size_t i = 0; i < m->shards.n_tensors; i++)
        reserve += st_header_bytes(shards_at(&m->shards, i)->name, 4);
    for (int l = 0; !status && l < m->desc.n_layers; l++) {
        if (!m->layers[l].desc.is_moe)
            continue;
        status = model_tensor_name(m, HCSMOE_ROLE_GATE, l, (int)m->layers[l].desc.n_experts - 1,
                                   name, sizeof name);
        reserve +=
            (uint64_t)(3 * m->layers[l].desc.n_experts + 1) * (st_header_bytes(name, 2) + 16);
    }
    if (!status) {
        status = shard_writer_create(&o->writer, o->temporary, reserve);
        o->writing = !status;
    }
    if (status)
        output_release(o);
    return status;
}

static int written_mark(struct output *o, const struct st_entry *e)
{
    if (!e)
        return 0;
    if (mem_grow(&o->written, o->n_written, &o->capacity, sizeof *o->written))
        return HCSMOE_ENOMEM;
    o->written[o->n_written++] = e;
    return 0;
}

static int tensor_add(struct output *o, const char *name, uint32_t dtype, uint32_t ndim,
                      const int64_t *shape, const void *bytes)
{
    int64_t n = 1;
    for (uint32_t i = 0; i < ndim; i++)
        n *= shape[i];
    o->bytes += n * (int64_t)hcsmoe_dtype_size(dtype);
    if (dtype != HCSMOE_DTYPE_I64)
        o->parameters += n;
    return shard_writer_add(&o->writer, name, dtype, ndim, shape, bytes);
}

static int matrix_add(struct output *o, int role, int layer, int expert, const hcsmoe_tensor *t)
{
    char name[SAFETENSORS_NAME_MAX + 1];
    int status = model_tensor_name(o->m, role, layer, expert, name, sizeof name);
    return status ? status : tensor_add(o, name, t->dtype, 2, t->shape, t->data);
}

/* An expert's matrix in the dtype that the checkpoint stores, when the layer was widened: *owned is
 * then to be freed. */
static int stored_view(const struct output *o, const hcsmoe_tensor *t, uint32_t dtype,
                       hcsmoe_tensor *stored, void **owned)
{
    *owned = NULL;
    *stored = *t;
    if (t->dtype == dtype)
        return 0;
    *owned = mem_new_raw((size_t)hcsmoe_tensor_elements(t), hcsmoe_dtype_size(dtype));
    *stored = hcsmoe_matrix(*owned, dtype, t->shape[0], t->shape[1]);
    return *owned ? o->m->k->convert(o->m->k, t, stored) : HCSMOE_ENOMEM;
}

static int expert_add(struct output *o, int role, int layer, int expert, const hcsmoe_tensor *t,
                      uint32_t dtype)
{
    hcsmoe_tensor stored;
    void *owned;
    int status = stored_view(o, t, dtype, &stored, &owned);
    if (!status)
        status = matrix_add(o, role, layer, expert, &stored);
    mem_free(owned);
    return status;
}

/* All experts in one tensor, one after the other: parts[] of each. */
static int fused_add(struct output *o, const struct st_entry *e, const struct merged *x, int parts,
                     const hcsmoe_tensor *const *part)
{
    int64_t shape[3] = {x->layer.n_experts, parts * part[0]->shape[0], part[0]->shape[1]};
    int status = shard_writer_begin(&o->writer, e->name, e->dtype, 3, shape);

    for (int64_t i = 0; !status && i < x->layer.n_experts; i++)
        for (int p = 0; !status && p < parts; p++) {
            hcsmoe_tensor t;
            void *owned;
            status = stored_view(o, &part[p][x->map[i]], e->dtype, &t, &owned);
            if (!status)
                status = shard_writer_append(&o->writer, t.data,
                                             (uint64_t)hcsmoe_tensor_elements(&t) *
                                                 hcsmoe_dtype_size(t.dtype));
            mem_free(owned);
        }
    const int64_t n = shape[0] * shape[1] * shape[2];
    o->bytes += n * (int64_t)hcsmoe_dtype_size(e->dtype);
    o->parameters += n;
    return status;
}

/* Are the layer's experts written as one tensor, as they were read? */
static bool written_fused(const struct output *o, const struct layer_source *s)
{
    return s->fused_gate_up && o->layout == LAYOUT_EXPANDED;
}

/* The router stands beside the experts: where those get their published names, it does too. */
static int router_add(struct output *o, const struct layer *l, const hcsmoe_tensor *router,
                      bool published)
{
    const struct st_entry *e = o->m->layers[l->index].role[HCSMOE_ROLE_ROUTER];
    if (published)
        return matrix_add(o, HCSMOE_ROLE_ROUTER, l->index, -1, router);
    return tensor_add(o, e->name, e->dtype, 2, router->shape, router->data);
}

static int experts_add(struct output *o, const struct layer *l, const struct merged *x,
                       bool touched)
{
    const struct layer_source *s = &o->m->layers[l->index];
    const bool expand = o->layout == LAYOUT_EXPANDED;
    const int64_t n = expand ? x->layer.n_experts : x->layer.n_stored;
    int status = 0;

    for (int64_t e = 0; expand && e < n; e++)
        if (x->map[e] < 0)
            return fail(HCSMOE_EUNSUPPORTED,
                        "layer %d: expert %lld is pruned: layout = expanded has no place for that",
                        l->index, (long long)e);
    if (written_fused(o, s)) {
        const hcsmoe_tensor *const up[2] = {x->layer.gate, x->layer.up}, *const down[1] = {
                                                                             x->layer.down};
        status = fused_add(o, s->fused_gate_up, x, 2, up);
        return status ? status : fused_add(o, s->fused_down, x, 1, down);
    }
    const uint32_t up = s->fused_gate_up ? s->fused_gate_up->dtype : s->gate[0]->dtype,
                   down = s->fused_down ? s->fused_down->dtype : s->down[0]->dtype;
    for (int64_t e = 0; !status && e < n; e++) {
        const int64_t from = expand ? x->map[e] : e;
        status = expert_add(o, HCSMOE_ROLE_GATE, l->index, (int)e, &x->layer.gate[from], up);
        if (!status)
            status = expert_add(o, HCSMOE_ROLE_UP, l->index, (int)e, &x->layer.up[from], up);
        if (!status)
            status = expert_add(o, HCSMOE_ROLE_DOWN, l->index, (int)e, &x->layer.down[from], down);
    }
    if (!status && o->layout == LAYOUT_MAPPED && (touched || s->map)) {
        char name[SAFETENSORS_NAME_MAX + 1];
        status = model_tensor_name(o->m, HCSMOE_ROLE_EXPERT_MAP, l->index, -1, name, sizeof name);
        if (!status)
            status = tensor_add(o, name, HCSMOE_DTYPE_I64, 1, &x->layer.n_experts, x->map);
    }
    return status;
}

static int layer_list(struct output *o, int layer, const struct merged *x)
{
    char key[16];
    json_t *groups = json_array(), *entry;
    snprintf(key, sizeof key, "%d", layer);
    for (int64_t e = 0; e < x->layer.n_experts; e++)
        json_array_append_new(groups, json_integer(x->map[e]));
    entry = json_pack("{s:o, s:I}", "groups", groups, "experts", (json_int_t)x->layer.n_stored);
    return entry && !json_object_set_new(o->layers, key, entry) ? 0 : fail_memory(64);
}

int output_layer(struct output *o, const struct layer *l, const struct merged *x, bool touched,
                 const struct collapsed *collapsed)
{
    const struct layer_source *s = &o->m->layers[l->index];
    int status = 0;

    for (int r = 0; !status && r < MODEL_ROLES; r++) {
        const struct st_entry *e = s->role[r];
        if (!e)
            continue;
        status = written_mark(o, e);
        if (!status && r == HCSMOE_ROLE_ROUTER)
            status = router_add(o, l, collapsed ? &collapsed->layer.role[r] : &l->role[r],
                                s->fused_gate_up && !written_fused(o, s));
        else if (!status && r != HCSMOE_ROLE_EXPERT_MAP)
            status = tensor_add(o, e->name, e->dtype, e->ndim, e->shape, l->role[r].data);
    }
    if (status || !x)
        return status;
    if (o->layout == LAYOUT_COLLAPSED)
        status = collapse_check(x, &o->n_experts, &o->top_k);
    if (!status)
        status = written_mark(o, s->fused_gate_up);
    if (!status)
        status = written_mark(o, s->fused_down);
    for (int64_t e = 0; !status && s->gate && e < s->n_stored; e++) {
        status = written_mark(o, s->gate[e]);
        if (!status)
            status = written_mark(o, s->up[e]);
        if (!status)
            status = written_mark(o, s->down[e]);
    }
    if (!status)
        status = experts_add(o, l, x, touched);
    if (touched && x->layer.ffn != s->desc.ffn)
        o->ffn = x->layer.ffn;
    if (!status && (touched || s->map))
        status = layer_list(o, l->index, x);
    return status;
}

static int by_address(const void *a, const void *b)
{
    const struct st_entry *const p = *(const struct st_entry *const *)a,
                                 *const q = *(const struct st_entry *const *)b;
    return p < q ? -1 : p > q;
}

/* Embedding, norm, head, and whatever else the checkpoint holds, piece by piece. */
static int others_copy(struct output *o)
{
    unsigned char *piece = mem_new_raw(1, COPY_BYTES);
    int status = piece ? 0 : HCSMOE_ENOMEM;

    if (o->n_written)
        qsort(o->written, o->n_written, sizeof *o->written, by_address);
    for (size_t i = 0; !status && i < o->m->shards.n_tensors; i++) {
        const struct st_entry *e = shards_at(&o->m->shards, i);
        if (o->n_written && bsearch(&e, o->written, o->n_written, sizeof *o->written, by_address))
            continue;
        int64_t n = 1;
        for (uint32_t k = 0; k < e->ndim; k++)
            n *= e->shape[k];
        o->bytes += (int64_t)e->size;
        if (e->dtype != HCSMOE_DTYPE_I64)
            o->parameters += n;
        status = shard_writer_begin(&o->writer, e->name, e->dtype, e->ndim, e->shape);
        for (uint64_t at = 0; !status && at < e->size; at += COPY_BYTES) {
            const uint64_t size = e->size - at < COPY_BYTES ? e->size - at : COPY_BYTES;
            status = shards_read_part(&o->m->shards, e, at, piece, size);
            if (!status)
                status = shard_writer_append(&o->writer, piece, size);
        }
    }
    mem_free(piece);
    return status;
}

static bool file_copied(const char *name)
{
    static const char *const not_these[] = {".safetensors", ".safetensors.index.json",
                                            ".bin",         ".bin.index.json",
                                            ".pt",          ".pth",
                                            ".gguf",        ".tmp"};
    if (name[0] == '.' || !strcmp(name, "config.json") || !strcmp(name, "hcsmoe") ||
        !strcmp(name, CLASSES ".py"))
        return false;
    for (size_t i = 0; i < sizeof not_these / sizeof *not_these; i++)
        if (str_ends(name, not_these[i]))
            return false;
    return true;
}

static int files_copy(struct output *o)
{
    DIR *d = opendir(o->m->folder);
    int status = d ? 0 : fail_errno(o->m->folder, "cannot be listed");

    for (struct dirent *e; !status && (e = readdir(d)) != NULL;) {
        char *from = path_join(o->m->folder, e->d_name), *to = path_join(o->temporary, e->d_name),
             *text = NULL;
        struct stat st;
        size_t size;
        if (!from || !to)
            status = HCSMOE_ENOMEM;
        else if (file_copied(e->d_name) && !stat(from, &st) && S_ISREG(st.st_mode) &&
                 st.st_size <= SMALL_FILE_MAX && guard_copy(o->m, from)) {
            status = path_read(from, SMALL_FILE_MAX, &text, &size);
            if (!status)
                status = path_write(to, text, size);
        }
        mem_free(text);
        mem_free(from);
        mem_free(to);
    }
    if (d)
        closedir(d);
    return status;
}

/* "X" <-> "HcsmoeX": a mapped checkpoint does not pass for the plain model. */
static json_t *prefixed(const char *text, const char *prefix, bool want)
{
    const bool has = str_starts(text, prefix);
    if (has == want)
        return json_string(text);
    return want ? json_sprintf("%s%s", prefix, text) : json_string(text + strlen(prefix));
}

/* The family's key for a size, where the layout or the method changed it. */
static int key_write(json_t *c, const char *key, int64_t value, const char *what)
{
    if (!key)
        return fail(HCSMOE_EUNSUPPORTED, "this family's config has no key for %s", what);
    return json_object_set_new(c, key, json_integer(value)) ? fail_memory(0) : 0;
}

static int sizes_write(const struct output *o, json_t *c)
{
    const hcsmoe_model_desc *d = &o->m->desc;
    int status = 0;
    if (o->ffn)
        status = key_write(c, d->key_expert_ffn, o->ffn, "the width of experts");
    if (!status && o->n_experts)
        status = key_write(c, d->key_n_experts, o->n_experts, "the number of experts");
    if (!status && o->top_k)
        status = key_write(c, d->key_top_k, o->top_k, "the experts of a token");
    return status;
}

/* The classes that load a mapped checkpoint into transformers lie beside it, if they know its family.
 * Those that the input may have named know no expert map. */
static int classes_write(const struct output *o, json_t *c)
{
    const char *type = json_string_value(json_object_get(c, "model_type"));
    const char *model = json_string_value(json_array_get(json_object_get(c, "architectures"), 0));
    const char *old =
        json_string_value(json_object_get(json_object_get(c, "auto_map"), "AutoConfig"));
    const bool mapped = o->layout == LAYOUT_MAPPED;
    const int n = model ? (int)(strlen(model) - strlen("HcsmoeForCausalLM")) : 0;

    if (mapped || (old && str_starts(old, CLASSES ".")))
        (void)json_object_del(c, "auto_map");
    if (!mapped || !type || n <= 0 || !str_ends(model, "ForCausalLM"))
        return 0;
    const char *name = model + strlen("Hcsmoe");
    char *known = mem_printf("\"%s\": (\"%.*s\",", type + strlen("hcsmoe_"), n, name);
    char *path = path_join(o->temporary, CLASSES ".py");
    int status = known && path ? 0 : HCSMOE_ENOMEM;
    if (!status && strstr(modeling_hcsmoe_py, known)) {
        json_t *map = json_object();
        if (json_object_set_new(map, "AutoConfig",
                                json_sprintf(CLASSES ".Hcsmoe%.*sConfig", n, name)) |
            json_object_set_new(map, "AutoModelForCausalLM", json_sprintf(CLASSES ".%s", model)) |
            json_object_set_new(c, "auto_map", map))
            status = fail_memory(0);
        else
            status = path_write(path, modeling_hcsmoe_py, modeling_hcsmoe_py_size);
    }
    mem_free(known);
    mem_free(path);
    return status;
}

static int config_write(struct output *o, json_t *hcsmoe)
{
    static const char *const layouts[] = {"mapped", "expanded", "collapsed"};
    json_t *c = json_deep_copy(o->m->config);
    const bool mapped = o->layout == LAYOUT_MAPPED;
    int bad = !c;

    json_t *a = json_object_get(c, "architectures");
    if (!bad && json_is_string(json_array_get(a, 0)))
        bad |= json_array_set_new(
            a, 0, prefixed(json_string_value(json_array_get(a, 0)), "Hcsmoe", mapped));
    if (!bad && json_is_string(json_object_get(c, "model_type")))
        bad |= json_object_set_new(
            c, "model_type",
            prefixed(json_string_value(json_object_get(c, "model_type")), "hcsmoe_", mapped));
    int status = bad ? fail_memory(0) : sizes_write(o, c);
    if (!status)
        status = classes_write(o, c);
    bad |= json_object_set_new(hcsmoe, "layout", json_string(layouts[o->layout]));
    bad |= json_object_set(hcsmoe, "layers", o->layers);
    bad |= json_object_set(c, "hcsmoe", hcsmoe);
    char *text = bad ? NULL : json_dumps(c, JSON_INDENT(2));
    char *path = path_join(o->temporary, "config.json");
    if (!status)
        status = text && path ? path_write(path, text, strlen(text)) : fail_memory(0);
    free(text); /* from json_dumps */
    mem_free(path);
    json_decref(c);
    return status;
}

int output_tail(struct output *o, json_t *hcsmoe)
{
    int status = others_copy(o);
    if (!status)
        status = shard_writer_finish(&o->writer);
    if (!status)
        status = files_copy(o);
    if (!status)
        status = config_write(o, hcsmoe);
    json_decref(hcsmoe);
    return status;
}

char *output_path(const struct output *o, const char *name)
{
    return mem_printf("%s/hcsmoe/%s", o->temporary, name);
}

int output_file(struct output *o, const char *name, const void *bytes, size_t size)
{
    char *path = output_path(o, name);
    int status = path ? path_write(path, bytes, size) : HCSMOE_ENOMEM;
    mem_free(path);
    return status;
}

int output_finish(struct output *o)
{
    char *parent = path_folder(o->target), *old = NULL;
    int status = parent ? model_unchanged(o->m) : HCSMOE_ENOMEM;

    if (!status)
        status = path_sync_folder(o->temporary);

    if (!status && path_exists(o->target)) {
        if (!path_folder_is_empty(o->target) && !o->overwrite)
            status =
                fail(HCSMOE_EINVAL,
                     "output folder %s: something was put there while the run went on", o->target);
        old = mem_printf("%s.replaced-%ld", o->target, (long)getpid());
        if (!status && (!old || rename(o->target, old)))
            status = fail_errno(o->target, "cannot be replaced");
    }
    if (!status && rename(o->temporary, o->target)) {
        status = fail_errno(o->target, "cannot be put in place");
        if (old && rename(old, o->target))
            log_line(LOG_ERROR, "what stood at %s is at %s", o->target, old);
    }
    if (!status) {
        mem_free(o->temporary);
        o->temporary = NULL;
        if (old)
            path_remove_tree(old);
        status = path_sync_folder(parent);
    }
    mem_free(parent);
    mem_free(old);
    return status;
}

void output_release(struct output *o)
{
    if (o->writing)
        shard_writer_release(&o->writer);
    if (o->temporary)
        path_remove_tree(o->temporary);
    json_decref(o->layers);
    mem_free(o->written);
    mem_free(o->target);
    mem_free(o->temporary);
    *o = (struct output){0};
}
