/*
 * make_checkpoint.c - writes a random Mixtral-shaped bf16 checkpoint of any size, one shard a layer.
 *
 * usage: make_checkpoint TEMPLATE FOLDER HIDDEN FFN EXPERTS LAYERS
 * TEMPLATE is a checkpoint folder whose config.json and tokenizer are taken. Prints the bytes of all tensors.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { NAME_MAX_BYTES = 128, PATH_MAX_BYTES = 4096, TENSORS_MAX = 4096, CHUNK = 1 << 16 };

struct tensor {
    char name[NAME_MAX_BYTES];
    int64_t rows, columns; /* columns = 0: a vector */
};

struct maker {
    const char *template, *folder;
    int64_t hidden, ffn, experts, layers, heads, kv_heads, vocabulary;
    struct tensor tensors[TENSORS_MAX];
    size_t n;
    uint64_t random, total;
    json_t *map; /* tensor name -> shard */
};

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fputs("make_checkpoint: ", stderr);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static void path_of(char *path, const char *folder, const char *name)
{
    if (snprintf(path, PATH_MAX_BYTES, "%s/%s", folder, name) >= PATH_MAX_BYTES)
        die("%s/%s: path too long", folder, name);
}

static FILE *open_file(const char *folder, const char *name, const char *mode)
{
    char path[PATH_MAX_BYTES];

    path_of(path, folder, name);
    FILE *f = fopen(path, mode);
    if (!f)
        die("%s: %s", path, strerror(errno));
    return f;
}

static void close_file(FILE *f, const char *name)
{
    if (ferror(f) || fclose(f))
        die("%s: %s", name, strerror(errno));
}

static void copy_file(const struct maker *m, const char *name)
{
    static char buffer[CHUNK];
    FILE *from = open_file(m->template, name, "rb"), *to = open_file(m->folder, name, "wb");
    size_t n;

    while ((n = fread(buffer, 1, sizeof(buffer), from)) > 0)
        fwrite(buffer, 1, n, to);
    close_file(from, name);
    close_file(to, name);
}

static void write_json(const struct maker *m, const char *name, const json_t *value)
{
    FILE *f = open_file(m->folder, name, "wb");

    if (json_dumpf(value, f, JSON_INDENT(1)))
        die("%s: cannot be written", name);
    close_file(f, name);
}

/* The template's config.json with the sizes asked for. */
static void make_config(struct maker *m)
{
    char path[PATH_MAX_BYTES];
    json_error_t error;

    path_of(path, m->template, "config.json");
    json_t *config = json_load_file(path, 0, &error);
    if (!config)
        die("%s:%d: %s", path, error.line, error.text);
    json_object_set_new(config, "hidden_size", json_integer(m->hidden));
    json_object_set_new(config, "intermediate_size", json_integer(m->ffn));
    json_object_set_new(config, "num_local_experts", json_integer(m->experts));
    json_object_set_new(config, "num_experts_per_tok", json_integer(2));
    json_object_set_new(config, "num_hidden_layers", json_integer(m->layers));
    json_object_set_new(config, "num_attention_heads", json_integer(m->heads));
    json_object_set_new(config, "num_key_value_heads", json_integer(m->kv_heads));
    json_object_set_new(config, "max_position_embeddings", json_integer(4096));
    json_object_del(config, "head_dim");
    m->vocabulary = json_integer_value(json_object_get(config, "vocab_size"));
    if (m->vocabulary < 1)
        die("%s: no vocab_size", path);
    write_json(m, "config.json", config);
    json_decref(config);
}

static void __attribute__((format(printf, 4, 5))) add(struct maker *m, int64_t rows, int64_t columns, const char *fmt,
                                                      ...)
{
    va_list args;

    if (m->n == TENSORS_MAX)
        die("more than %d tensors in a layer", TENSORS_MAX);
    struct tensor *t = &m->tensors[m->n++];
    va_start(args, fmt);
    int length = vsnprintf(t->name, sizeof(t->name), fmt, args);
    va_end(args);
    if (length < 0 || (size_t)length >= sizeof(t->name))
        die("tensor name too long");
    t->rows = rows;
    t->columns = columns;
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

/* A value near a normal one of standard deviation 1: the sum of four uniform ones, from one draw. */
static float draw(uint64_t *state)
{
    uint64_t r = next_random(state);
    int32_t sum = (int32_t)(r & 0xffff) + (int32_t)(r >> 16 & 0xffff) + (int32_t)(r >> 32 & 0xffff) +
                  (int32_t)(r >> 48);

    return ((float)sum - 131070.0f) * (1.7320508f / 65536.0f);
}

static int64_t elements(const struct tensor *t)
{
    return t->columns ? t->rows * t->columns : t->rows;
}

static void write_values(struct maker *m, const struct tensor *t, FILE *f)
{
    static uint16_t chunk[CHUNK];
    int64_t left = elements(t);
    /* Keeps the hidden states of a random model at one magnitude from layer to layer. */
    float scale = t->columns ? 0.7f / sqrtf((float)t->columns) : 1.0f;

    while (left > 0) {
        size_t n = left < CHUNK ? (size_t)left : CHUNK;
        for (size_t i = 0; i < n; i++) {
            float value = t->columns ? draw(&m->random) * scale : scale;
            uint32_t bits;
            memcpy(&bits, &value, sizeof(bits));
            chunk[i] = (uint16_t)(bits >> 16);
        }
        fwrite(chunk, sizeof(chunk[0]), n, f);
        left -= (int64_t)n;
    }
}

/* Writes the tensors added since the last call as shard number i of all. */
static void write_shard(struct maker *m, int64_t i)
{
    char name[NAME_MAX_BYTES];
    json_t *header = json_object();
    uint64_t at = 0;

    snprintf(name, sizeof(name), "model-%05" PRId64 "-of-%05" PRId64 ".safetensors", i + 1, m->layers + 1);
    json_object_set_new(header, "__metadata__", json_pack("{ss}", "format", "pt"));
    for (size_t k = 0; k < m->n; k++) {
        const struct tensor *t = &m->tensors[k];
        uint64_t end = at + 2 * (uint64_t)elements(t);
        json_t *shape = t->columns ? json_pack("[II]", (json_int_t)t->rows, (json_int_t)t->columns)
                                   : json_pack("[I]", (json_int_t)t->rows);
        json_object_set_new(header, t->name,
                            json_pack("{sssos[II]}", "dtype", "BF16", "shape", shape, "data_offsets",
                                      (json_int_t)at, (json_int_t)end));
        json_object_set_new(m->map, t->name, json_string(name));
        at = end;
    }
    char *text = json_dumps(header, JSON_COMPACT);
    if (!text)
        die("%s: no memory for the header", name);
    uint64_t length = strlen(text), padding = (8 - length % 8) % 8;
    uint64_t padded = length + padding;

    FILE *f = open_file(m->folder, name, "wb");
    fwrite(&padded, sizeof(padded), 1, f); /* little endian, as every machine this runs on */
    fwrite(text, 1, length, f);
    fwrite("        ", 1, padding, f);
    for (size_t k = 0; k < m->n; k++)
        write_values(m, &m->tensors[k], f);
    close_file(f, name);
    free(text);
    json_decref(header);
    m->total += at;
    m->n = 0;
}

static void write_layer(struct maker *m, int64_t layer)
{
    char p[NAME_MAX_BYTES];
    int64_t d = m->hidden, head = d / m->heads;

    snprintf(p, sizeof(p), "model.layers.%" PRId64, layer);
    add(m, d, 0, "%s.input_layernorm.weight", p);
    add(m, d, 0, "%s.post_attention_layernorm.weight", p);
    add(m, m->heads * head, d, "%s.self_attn.q_proj.weight", p);
    add(m, m->kv_heads * head, d, "%s.self_attn.k_proj.weight", p);
    add(m, m->kv_heads * head, d, "%s.self_attn.v_proj.weight", p);
    add(m, d, m->heads * head, "%s.self_attn.o_proj.weight", p);
    add(m, m->experts, d, "%s.block_sparse_moe.gate.weight", p);
    for (int64_t e = 0; e < m->experts; e++) {
        add(m, m->ffn, d, "%s.block_sparse_moe.experts.%" PRId64 ".w1.weight", p, e);
        add(m, d, m->ffn, "%s.block_sparse_moe.experts.%" PRId64 ".w2.weight", p, e);
        add(m, m->ffn, d, "%s.block_sparse_moe.experts.%" PRId64 ".w3.weight", p, e);
    }
    write_shard(m, layer);
}

static int64_t number(const char *text, const char *what)
{
    char *end;
    long long value = strtoll(text, &end, 10);

    if (*end || value < 1 || value > 1 << 20)
        die("%s '%s': must be 1..%d", what, text, 1 << 20);
    return value;
}

int main(int argc, char **argv)
{
    static struct maker m = {.random = 0x9e3779b97f4a7c15u};

    if (argc != 7)
        die("usage: make_checkpoint TEMPLATE FOLDER HIDDEN FFN EXPERTS LAYERS");
    m.template = argv[1];
    m.folder = argv[2];
    m.hidden = number(argv[3], "hidden");
    m.ffn = number(argv[4], "ffn");
    m.experts = number(argv[5], "experts");
    m.layers = number(argv[6], "layers");
    if (m.hidden % 128)
        die("hidden %" PRId64 ": must be a multiple of 128, the width of a head", m.hidden);
    m.heads = m.hidden / 128;
    m.kv_heads = m.heads / 4 > 0 ? m.heads / 4 : 1;
    if (mkdir(m.folder, 0777) && errno != EEXIST)
        die("%s: %s", m.folder, strerror(errno));
    m.map = json_object();

    make_config(&m);
    copy_file(&m, "tokenizer.json");
    copy_file(&m, "tokenizer_config.json");
    for (int64_t layer = 0; layer < m.layers; layer++)
        write_layer(&m, layer);
    add(&m, m.vocabulary, m.hidden, "model.embed_tokens.weight");
    add(&m, m.hidden, 0, "model.norm.weight");
    add(&m, m.vocabulary, m.hidden, "lm_head.weight");
    write_shard(&m, m.layers);

    json_t *index = json_pack("{s{sI}so}", "metadata", "total_size", (json_int_t)m.total, "weight_map", m.map);
    write_json(&m, "model.safetensors.index.json", index);
    json_decref(index);
    printf("%" PRIu64 "\n", m.total);
    return 0;
}
