/*
 * test_e2e_inputs.c - checkpoints, texts and tasks that are wrong: one message each that names the
 * file; nothing left behind.
 *
 * SPDX-License-Identifier: MIT
 */
#include "refusal.h"

#define WINDOW TEST_DATA "/models/mixtral-f16-window"

/* A folder of links to a checkpoint's files, without one of them. */
static const char *folder_without(const char *from, const char *without)
{
    static int n;
    const char *to = work(text("model-%d", n++));
    DIR *d = opendir(from);
    assert_non_null(d);
    assert_int_equal(mkdir(to, 0700), 0);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.' && strcmp(e->d_name, without) != 0)
            assert_int_equal(symlink(text("%s/%s", from, e->d_name), text("%s/%s", to, e->d_name)),
                             0);
    closedir(d);
    return to;
}

/* The same with a text file in which one passage is replaced. */
static const char *folder_edited(const char *from, const char *file, const char *old,
                                 const char *with)
{
    const char *to = folder_without(from, file), *path = text("%s/%s", to, file);
    file_write(path, file_text(text("%s/%s", from, file), NULL));
    text_replace(path, old, with);
    return to;
}

/* A safetensors file in memory. */
struct bytes {
    unsigned char *all;
    size_t n, header;
};

static struct bytes weights_read(const char *folder)
{
    struct bytes b = {0};
    char *all = NULL;
    uint64_t header;
    assert_int_equal(path_read(text("%s/model.safetensors", folder), E2E_FILE_MAX, &all, &b.n), 0);
    b.all = (unsigned char *)all;
    memcpy(&header, b.all, sizeof header);
    b.header = (size_t)header;
    return b;
}

static const char *weights_write(const struct bytes *b, size_t n)
{
    const char *to = folder_without(TINY_MIXTRAL, "model.safetensors");
    assert_int_equal(path_write(text("%s/model.safetensors", to), b->all, n), 0);
    return to;
}

/* Tiny Mixtral with a passage of its header replaced by one that is not longer. */
static const char *header_edited(const char *old, const char *with)
{
    struct bytes b = weights_read(TINY_MIXTRAL);
    const size_t n = strlen(old), m = strlen(with);
    unsigned char *at = memmem(b.all + 8, b.header, old, n);
    if (!at || m > n)
        fail_msg("no '%s' in the header, or '%s' is longer", old, with);
    memcpy(at, with, m);
    memset(at + m, ' ', n - m);
    const char *to = weights_write(&b, b.n);
    mem_free(b.all);
    return to;
}

static void refuse_model(const char *folder, int status, const char *const *parts)
{
    const char *ini = ini_write("model.ini", folder, work("out"));
    expect_refused(run("-q", "-c", ini), status, parts);
    if (status == 2)
        expect_refused(run("-q", "check", "-c", ini), status, parts);
}

static void test_wrong_config_json_is_refused(void **state)
{
    (void)state;
    refuse_model(folder_without(TINY_MIXTRAL, "config.json"), 2, PARTS("no config.json here"));
    const char *llama =
        folder_edited(TINY_MIXTRAL, "config.json", "MixtralForCausalLM", "LlamaForCausalLM");
    text_replace(text("%s/config.json", llama), "\"mixtral\"", "\"llama\"");
    refuse_model(llama, 2,
                 PARTS("config.json: no plugin knows architecture 'LlamaForCausalLM'",
                       "model_type 'llama'",
                       "have: deepseek_v2, mixtral, olmoe, qwen2_moe, qwen3_moe"));
    refuse_model(folder_edited(TINY_MIXTRAL, "config.json", ",\n", "\n"), 2,
                 PARTS("/config.json:5:21: '}' expected near"));
    refuse_model(folder_edited(TINY_MIXTRAL, "config.json", "\"hidden_size\"", "\"hidden\""), 2,
                 PARTS("/config.json: model/mixtral: no 'hidden_size'"));
    refuse_model(
        folder_edited(TINY_MIXTRAL, "config.json", "\"hidden_size\": 128", "\"hidden_size\": -128"),
        2, PARTS("/config.json: model/mixtral: 'hidden_size' is -128: must be 1.."));
    refuse_model(folder_edited(TINY_MIXTRAL, "config.json", "\"silu\"", "\"gelu\""), 2,
                 PARTS("/config.json: model/mixtral: 'hidden_act' is 'gelu'", "have: silu"));
    refuse_model(folder_edited(TINY_MIXTRAL, "config.json", "\"num_hidden_layers\": 4",
                               "\"num_hidden_layers\": 5"),
                 2, PARTS("no tensor 'model.layers.4."));
    refuse_model(folder_edited(TINY_MIXTRAL, "config.json", "\"num_local_experts\": 8",
                               "\"num_local_experts\": 7"),
                 2, PARTS("block_sparse_moe.gate.weight' has shape [8, 128]", "says [7, 128]"));
}

static void test_missing_and_double_shards_are_refused(void **state)
{
    (void)state;
    refuse_model(folder_without(TINY_MIXTRAL, "model.safetensors"), 2,
                 PARTS("no checkpoint in it: neither model.safetensors nor "
                       "model.safetensors.index.json is there"));
    refuse_model(folder_without(WINDOW, "model-00003-of-00004.safetensors"), 2,
                 PARTS("model.safetensors.index.json: shard 'model-00003-of-00004.safetensors' "
                       "(3 of 4) is missing"));
    const char *index = "model.safetensors.index.json";
    refuse_model(folder_edited(WINDOW, index, "\"weight_map\": {", "\"weight_map\": {,"), 2,
                 PARTS("model.safetensors.index.json: not JSON at byte "));
    refuse_model(folder_edited(WINDOW, index, "\"weight_map\": {",
                               "\"weight_map\": {\"model.norm.weight\": "
                               "\"model-00001-of-00004.safetensors\","),
                 2, PARTS("'model.norm.weight' occurs twice"));
    refuse_model(folder_edited(WINDOW, index, "model-00001-of-00004.safetensors",
                               "../model-00001-of-00004.safetensors"),
                 2, PARTS("is not a plain file name"));
    refuse_model(folder_edited(WINDOW, index, "\"weight_map\": {",
                               "\"weight_map\": {\"extra\": "
                               "\"model-00001-of-00004.safetensors\","),
                 2,
                 PARTS("tensor 'extra' is placed in 'model-00001-of-00004.safetensors', which "
                       "lacks it"));
}

static void test_truncated_and_oversized_files_are_refused(void **state)
{
    struct bytes b = weights_read(TINY_MIXTRAL);
    const uint64_t huge = (uint64_t)1 << 40, large = b.n;
    (void)state;
    refuse_model(weights_write(&b, b.n / 2), 2,
                 PARTS("model.safetensors: tensor '", "go beyond the", "truncated?"));
    refuse_model(weights_write(&b, b.header / 2), 2,
                 PARTS("model.safetensors: header length", "truncated?"));
    refuse_model(weights_write(&b, 4), 2, PARTS("model.safetensors: 4 bytes are too few"));
    memcpy(b.all, &huge, sizeof huge);
    refuse_model(weights_write(&b, b.n), 2,
                 PARTS("header length 1099511627776 is beyond the format's limit of 100000000"));
    memcpy(b.all, &large, sizeof large);
    refuse_model(weights_write(&b, b.n), 2, PARTS("header length", "the file ends at byte"));
    mem_free(b.all);
}

/* data_offsets of the first tensor with its end. */
static const char *offsets_of(const char *name)
{
    struct bytes b = weights_read(TINY_MIXTRAL);
    const char *at = memmem(b.all + 8, b.header, name, strlen(name)),
               *from = strstr(at, "\"data_offsets\":"), *to = strchr(from, ']');
    const char *kept = text("%.*s", (int)(to + 1 - from), from);
    mem_free(b.all);
    return kept;
}

static void test_headers_that_lie_are_refused(void **state)
{
    const char *offsets = offsets_of("\"model.norm.weight\"");
    long long from, to;
    (void)state;
    assert_int_equal(sscanf(offsets, "\"data_offsets\":[%lld,%lld]", &from, &to), 2);
    refuse_model(header_edited(offsets, text("\"data_offsets\":[%lld,%lld]", from - 2, to - 2)), 2,
                 PARTS("model.safetensors: tensors '", "model.norm.weight", "overlap"));
    refuse_model(header_edited(offsets, text("\"data_offsets\":[%lld,%lld]", to, from)), 2,
                 PARTS("tensor 'model.norm.weight': offsets ", "are reversed"));
    refuse_model(header_edited(offsets, text("\"data_offsets\":[%lld,%lld]", from, to - 2)), 2,
                 PARTS("tensor 'model.norm.weight'", "takes 256 bytes, its offsets"));
    refuse_model(header_edited(offsets, "\"data_offsets\":[99999,9]"), 2,
                 PARTS("tensor 'model.norm.weight'", "reversed"));
    refuse_model(header_edited("\"shape\":[2048,128]", "\"shape\":[128,2048]"), 2,
                 PARTS("model.safetensors: tensor '", "has shape [128, 2048]",
                       "config.json says [2048, 128]"));
    refuse_model(header_edited("\"dtype\":\"BF16\"", "\"dtype\":\"I16\""), 2,
                 PARTS("model.safetensors: tensor '", "is I16: weights must be F32, F16 or BF16"));
    refuse_model(header_edited("\"dtype\":\"BF16\"", "\"dtype\":\"Q4\""), 2,
                 PARTS("unknown dtype 'Q4'; known: "));
    refuse_model(header_edited("\"model.norm.weight\"", "\"model.norm.w\""), 2,
                 PARTS("no tensor 'model.norm.weight' in the checkpoint"));
    refuse_model(header_edited("model.layers.0.block_sparse_moe.experts.1.w1",
                               "model.layers.0.block_sparse_moe.experts.0.w1"),
                 2, PARTS("'model.layers.0.block_sparse_moe.experts.0.w1.weight' occurs twice"));
    refuse_model(header_edited("{\"__metadata__\"", "[\"__metadata__\""), 2,
                 PARTS("model.safetensors: header"));
}

static void test_nan_in_weights_stops_the_run(void **state)
{
    struct bytes b = weights_read(TINY_MIXTRAL);
    long long from, to;
    (void)state;
    assert_int_equal(sscanf(offsets_of("\"model.layers.2.block_sparse_moe.experts.3.w1.weight\""),
                            "\"data_offsets\":[%lld,%lld]", &from, &to),
                     2);
    memset(b.all + 8 + b.header + (size_t)from + 100, 0xff, 2);
    refuse_model(weights_write(&b, b.n), 1,
                 PARTS("/model.safetensors: tensor "
                       "'model.layers.2.block_sparse_moe.experts.3.w1.weight' holds NaN"));
    mem_free(b.all);
}

static void test_wrong_expert_map_is_refused(void **state)
{
    const char *mapped = work("mapped"), *to;
    long long from, end;
    (void)state;
    expect_status(run("-q", "-c", ini_write("mapped.ini", TINY_MIXTRAL, mapped)), 0);
    struct bytes b = weights_read(mapped);
    const char *name = "\"model.layers.1.block_sparse_moe.expert_map\"",
               *at = memmem(b.all + 8, b.header, name, strlen(name));
    assert_non_null(at);
    assert_int_equal(
        sscanf(strstr(at, "\"data_offsets\":"), "\"data_offsets\":[%lld,%lld]", &from, &end), 2);
    b.all[8 + b.header + (size_t)from] = 77;
    to = folder_without(mapped, "model.safetensors");
    assert_int_equal(path_write(text("%s/model.safetensors", to), b.all, b.n), 0);
    refuse_model(to, 2, PARTS("model.layers.1.block_sparse_moe.expert_map': expert 0 maps to 77"));
    mem_free(b.all);
}

static void test_wrong_tokenizers_are_refused(void **state)
{
    (void)state;
    refuse_model(folder_without(TINY_MIXTRAL, "tokenizer.json"), 2, PARTS("tokenizer.json"));
    refuse_model(folder_edited(TINY_MIXTRAL, "tokenizer.json", "\"BPE\"", "\"Unigram\""), 2,
                 PARTS("tokenizer.json: model: type 'Unigram' is not supported (supported: BPE)"));
    refuse_model(folder_edited(TINY_MIXTRAL, "tokenizer.json", "\"Prepend\"", "\"Squeeze\""), 2,
                 PARTS("tokenizer.json: normalizer", "'Squeeze' is not supported", "Prepend"));
    refuse_model(folder_edited(TINY_MIXTRAL, "tokenizer.json", "{", "{,"), 2,
                 PARTS("tokenizer.json"));
}

static void refuse_text(const char *name, const char *content, const char *const *parts)
{
    const char *ini = ini_write("text.ini", TINY_MIXTRAL, work("out"));
    file_write(work(name), content);
    expect_refused(run("-q", "-c", ini, "-s", text("calibration.data=%s", work(name))), 2, parts);
}

static void test_wrong_calibration_texts_are_refused(void **state)
{
    const char *ini = ini_write("few.ini", TINY_MIXTRAL, work("out"));
    (void)state;
    expect_refused(run("-q", "-c", ini, "-s", "calibration.n_sentences=8000"), 2,
                   PARTS("few.ini:4: [calibration] data: ", "c4.first300.jsonl.gz: 300 documents",
                         "8000 need 8001", "fewer or smaller blocks"));
    refuse_text("empty.jsonl", "", PARTS("-s calibration.data: ", "empty.jsonl: no documents"));
    refuse_text("broken.jsonl", "{\"text\": \"a\"}\n{\"text\": }\n", PARTS("broken.jsonl:2:"));
    refuse_text("array.jsonl", "{\"text\": \"a\"}\n[1]\n",
                PARTS("array.jsonl:2: not a JSON object on one line"));
    refuse_text("other.jsonl", "{\"n\": 1}\n", PARTS("other.jsonl:1: no member that is a string"));
    refuse_text("number.jsonl", "{\"text\": 1}\n", PARTS("number.jsonl:1: 'text' is not a string"));
    refuse_text("short.txt", "Too short.\n", PARTS("short.txt: a batch of documents gives only"));
    struct bytes b = {0};
    char *all = NULL;
    assert_int_equal(path_read(C4, E2E_FILE_MAX, &all, &b.n), 0);
    assert_int_equal(path_write(work("cut.jsonl.gz"), all, b.n / 2), 0);
    mem_free(all);
    expect_refused(run("-q", "-c", ini, "-s", text("calibration.data=%s", work("cut.jsonl.gz"))), 2,
                   PARTS("cut.jsonl.gz"));
}

static void refuse_task(const char *content, const char *const *parts)
{
    const char *ini = work("task.ini"), *folder = work("tasks");
    assert_int_equal(path_make_folder(folder), 0);
    if (content)
        file_write(text("%s/winogrande.validation.jsonl", folder), content);
    file_write(ini, text("[eval]\ntask = winogrande\ndata = %s\n", folder));
    expect_refused(run("-q", "eval", "-m", TINY_MIXTRAL, "-c", ini), 2, parts);
}

static void test_wrong_task_files_are_refused(void **state)
{
    const char *good = "{\"sentence\": \"A _ b\", \"option1\": \"x\", \"option2\": \"y\", "
                       "\"answer\": \"1\"}\n";
    (void)state;
    refuse_task(
        NULL, PARTS("tasks: no records of winogrande (looked for ", "winogrande.validation.jsonl"));
    refuse_task("", PARTS("winogrande.validation.jsonl: no record in it"));
    refuse_task(text("%s{\"sentence\": \n", good), PARTS("winogrande.validation.jsonl:2:", "JSON"));
    refuse_task(text("%s[]\n", good), PARTS("winogrande.validation.jsonl:2:", "not a JSON object"));
    refuse_task(text("%s%s{\"sentence\": \"A _ b\"}\n", good, good),
                PARTS("winogrande.validation.jsonl:3:", "option1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_config_json_is_refused),
        cmocka_unit_test(test_missing_and_double_shards_are_refused),
        cmocka_unit_test(test_truncated_and_oversized_files_are_refused),
        cmocka_unit_test(test_headers_that_lie_are_refused),
        cmocka_unit_test(test_nan_in_weights_stops_the_run),
        cmocka_unit_test(test_wrong_expert_map_is_refused),
        cmocka_unit_test(test_wrong_tokenizers_are_refused),
        cmocka_unit_test(test_wrong_calibration_texts_are_refused),
        cmocka_unit_test(test_wrong_task_files_are_refused),
    };
    return cmocka_run_group_tests(tests, e2e_begin, e2e_end);
}
