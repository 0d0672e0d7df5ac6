/*
 * test_complexity.c - no input of 1 MB takes more than 5 seconds or 200 MB, however it was made.
 *
 * Every case is a process of its own with these limits; time is the processor's, so that other tests do not count.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/ini.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "data/corpus.h"
#include "data/shards.h"
#include "model/model.h"
#include "run/records.h"

/* Last: it has a macro fail() of its own. */
#include <cmocka.h>

/* Sanitizers keep books about every byte: there only what is quadratic is found. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum {
    INPUT_BYTES = 1000000,
    SECONDS = SANITIZED ? 25 : 5,
    MEGABYTES = 200,
    PACKED_MAX = 64 * 1024 * 1024,
    EXIT_GOOD = 0,
    EXIT_MEMORY = 3,
    EXIT_SILENT = 4
};

static char folder[256];

static const char *file(const char *name)
{
    static char path[512];

    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void put(const char *name, const struct str *s)
{
    FILE *f = fopen(file(name), "wb");

    assert_non_null(f);
    assert_int_equal(str_check(s), 0);
    assert_int_equal(fwrite(s->text, 1, s->len, f), s->len);
    assert_int_equal(fclose(f), 0);
}

/* head, then unit as often as the whole stays within 1 MB, then tail. */
static struct str filled(const char *head, const char *unit, const char *tail)
{
    struct str s = {0};
    const size_t room = INPUT_BYTES - strlen(tail);

    str_add(&s, head);
    while (s.len + strlen(unit) <= room)
        str_add(&s, unit);
    str_add(&s, tail);
    return s;
}

/* The same with a number that counts up wherever unit has %d. */
static struct str counted(const char *head, const char *unit, const char *tail)
{
    struct str s = {0};
    const size_t room = INPUT_BYTES - strlen(tail) - 2 * strlen(unit);

    str_add(&s, head);
    for (int i = 0; s.len < room; i++)
        for (const char *at = unit, *next; *at; at = next) {
            next = strstr(at, "%d");
            next = next == at ? at + 2 : next ? next : at + strlen(at);
            if (strncmp(at, "%d", 2) == 0)
                str_addf(&s, "%d", i);
            else
                str_add_bytes(&s, at, (size_t)(next - at));
        }
    str_add(&s, tail);
    return s;
}

/* ---- the processes ---- */

/* From here on the process may take no more than it may. */
static void limits_set(void)
{
    const struct rlimit no_core = {0, 0}, seconds = {SECONDS, SECONDS};
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    if (!f || fscanf(f, "%*u %*u %*u %*u %*u %lu", &pages) != 1)
        abort();
    (void)fclose(f);
    const rlim_t bytes = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + ((rlim_t)MEGABYTES << 20);
    const struct rlimit memory = {bytes, bytes};
    if (setrlimit(RLIMIT_CORE, &no_core) || setrlimit(RLIMIT_CPU, &seconds) ||
        (!SANITIZED && setrlimit(RLIMIT_DATA, &memory)))
        abort();
}

/* Good is what works and what is refused with a message, but not for want of memory. */
static int outcome(int status)
{
    return status == 0                 ? EXIT_GOOD
           : status == HCSMOE_ENOMEM   ? EXIT_MEMORY
           : fail_message()[0] != '\0' ? EXIT_GOOD
                                       : EXIT_SILENT;
}

typedef int work_fn(const void *arg);

static void expect_cheap(const char *what, work_fn *work, const void *arg)
{
    int status;
    const pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(outcome(work(arg)));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status))
        fail_msg("%s: signal %d: more than %d s?", what, WTERMSIG(status), SECONDS);
    if (WEXITSTATUS(status) == EXIT_MEMORY)
        fail_msg("%s: more than %d MB", what, MEGABYTES);
    if (WEXITSTATUS(status) != EXIT_GOOD)
        fail_msg("%s: exit status %d", what, WEXITSTATUS(status));
}

/* ---- JSON in every file that is some ---- */

static const struct {
    const char *name, *head, *unit, *tail;
    bool counts;
} jsons[] = {
    {"deep arrays", "{\"a\":", "[", "", false},
    {"deep objects", "", "{\"a\":", "", false},
    {"empty arrays", "{\"a\":[0", ",[]", "]}", false},
    {"empty objects", "{\"a\":[0", ",{}", "]}", false},
    {"numbers", "{\"a\":[0", ",1", "]}", false},
    {"long digits", "{\"a\":", "9", "}", false},
    {"backslashes twice", "{\"", "\\\\", "\":1}", false},
    {"a long string", "{\"a\":\"", "x", "\"}", false},
    {"escapes", "{\"a\":\"", "\\u0301", "\"}", false},
    {"many keys", "{\"a\":0", ",\"k%d\":0", "}", true},
    {"many tensors", "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
     ",\"%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}", "}", true},
    {"many shards", "{\"weight_map\":{\"a\":\"b\"", ",\"%d\":\"%d\"", "}}", true},
    {"many tensors of a shard", "{\"weight_map\":{\"a\":\"m\"", ",\"%d\":\"m\"", "}}", true},
    {"metadata", "{\"__metadata__\":{\"a\":\"b\"", ",\"%d\":\"\"", "}}", true},
    {"vocabulary", "{\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"a\":1048575",
     ",\"%d\":%d", "}}}", true},
    {"added tokens",
     "{\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"a\":0}},\"added_tokens\":[{\"id\":1,"
     "\"content\":\"b\"}",
     ",{\"id\":%d,\"content\":\"<%d>\"}", "]}", true},
    {"merges", "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"aa\":1},\"merges\":[\"a a\"",
     ",\"a a\"", "]}}", false},
    {"layers",
     "{\"architectures\":[\"MixtralForCausalLM\"],\"num_hidden_layers\":4096,"
     "\"num_local_experts\":65536,\"num_experts_per_tok\":2,\"hidden_size\":2147483647,"
     "\"intermediate_size\":2147483647,\"num_attention_heads\":1,\"vocab_size\":1,"
     "\"rms_norm_eps\":1e-5,\"hidden_act\":\"silu\",\"a\":[0",
     ",0", "]}", false},
};

static int header_work(const void *arg)
{
    const struct str *s = arg;
    struct str f = {0};
    struct st_file st;
    unsigned char length[8];

    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)((uint64_t)s->len >> 8 * i);
    str_add_bytes(&f, length, sizeof length);
    str_add_bytes(&f, s->text, s->len);
    put("h.safetensors", &f);
    str_release(&f);
    limits_set();
    return st_open(&st, file("h.safetensors"));
}

static int index_work(const void *arg)
{
    struct shards s;

    put("model.safetensors.index.json", arg);
    put("m", &(struct str){.text = (char[]){"\2\0\0\0\0\0\0\0{}"}, .len = 10});
    (void)unlink(file("model.safetensors"));
    limits_set();
    return shards_open(&s, folder);
}

static int tokenizer_work(const void *arg)
{
    struct tokenizer *t;

    put("tokenizer.json", arg);
    limits_set();
    return tokenizer_open(&t, folder);
}

static int config_work(const void *arg)
{
    const struct component *const *list;
    size_t n;
    struct registry *r;
    struct host *h;
    struct model *m;

    put("config.json", arg);
    put("model.safetensors", &(struct str){.text = (char[]){"\2\0\0\0\0\0\0\0{}"}, .len = 10});
    /* The libraries that plugins bring along take what they like, whatever is read. */
    if (host_open(&h, 1, 0) || registry_open(&r, h) ||
        registry_list(r, HCSMOE_KIND_MODEL, &list, &n))
        abort();
    limits_set();
    return model_open(&m, folder, NULL, NULL, NULL, r, h);
}

static void test_json_of_a_megabyte_is_cheap_everywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof jsons / sizeof jsons[0]; i++) {
        struct str s = jsons[i].counts ? counted(jsons[i].head, jsons[i].unit, jsons[i].tail)
                                       : filled(jsons[i].head, jsons[i].unit, jsons[i].tail);
        expect_cheap(jsons[i].name, header_work, &s);
        expect_cheap(jsons[i].name, index_work, &s);
        expect_cheap(jsons[i].name, tokenizer_work, &s);
        expect_cheap(jsons[i].name, config_work, &s);
        str_release(&s);
    }
}

/* ---- texts for real tokenizers ---- */

static const struct {
    const char *name, *unit, *tail;
} texts[] = {
    {"one letter", "a", ""},
    {"two letters", "ab", ""},
    {"no spaces", "thequickbrownfox", ""},
    {"spaces", " ", ""},
    {"spaces and a letter", " ", "x"},
    {"lines", "\n", ""},
    {"spaces and lines", " \n", "x"},
    {"digits", "7", ""},
    {"apostrophes", "'s", ""},
    {"marks", "!?", ""},
    {"marks in the wrong order", "\xcc\x81\xcc\xa3", ""},
    {"Hangul", "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", ""},
    {"ligatures", "\xef\xb7\xba", ""},
    {"no UTF-8", "\xff", ""},
    {"cut UTF-8", "\xf0\x9f\x98", ""},
    {"emoji", "\xf0\x9f\x98\x80", ""},
    {"special tokens", "<s>", ""},
    {"begun special tokens", "<|im_start", ""},
    {"NUL", "\t\v", ""},
};

struct encoding {
    const struct tokenizer *t;
    struct str text;
};

static int encode_work(const void *arg)
{
    const struct encoding *e = arg;
    struct token_ids ids = {0};

    limits_set();
    return tokenizer_encode(e->t, e->text.text, e->text.len, true, &ids);
}

static void texts_try(const char *name)
{
    struct encoding e = {0};
    struct tokenizer *t = NULL;
    struct str s = {0};
    char path[512], *json = NULL;
    size_t size;

    (void)snprintf(path, sizeof path, TEST_DATA "/tokenizers/%s/tokenizer.json.gz", name);
    assert_int_equal(path_read_text(path, PACKED_MAX, &json, &size), 0);
    str_add_bytes(&s, json, size);
    put("tokenizer.json", &s);
    str_release(&s);
    mem_free(json);
    assert_int_equal(tokenizer_open(&t, folder), 0);
    e.t = t;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        e.text = filled("", texts[i].unit, texts[i].tail);
        expect_cheap(texts[i].name, encode_work, &e);
        str_release(&e.text);
    }
    tokenizer_close(t);
}

static void test_texts_of_a_megabyte_are_cheap_for_real_tokenizers(void **state)
{
    (void)state;
    texts_try("mixtral-v0.1");
    texts_try("qwen2.5");
}

/* ---- tokenizers of strangers ---- */

#define BPE "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"aa\":1,\" \":2},\"merges\":[\"a a\"]}"
#define SPLIT(regex)                                                                               \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex "\"},\"behavior\":\"Isolated\"}"
#define SPLITS(regex) "{\"pre_tokenizer\":" SPLIT(regex) "," BPE "}"
#define DOUBLE "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aa\"}"
#define DOUBLES DOUBLE "," DOUBLE "," DOUBLE "," DOUBLE "," DOUBLE "," DOUBLE "," DOUBLE "," DOUBLE

static const struct {
    const char *name, *json, *unit, *tail;
} strangers[] = {
    {"(a+)+b", SPLITS("(a+)+b"), "a", "c"},
    {"(a|aa)+$", SPLITS("(a|aa)+$"), "a", "c"},
    {"(?:a|b)*c|a", SPLITS("(?:a|b)*c|a"), "a", ""},
    {"\\s+x", SPLITS("\\\\s+x"), " ", ""},
    {"\\s+(?=x)|.", SPLITS("\\\\s+(?=x)|."), " ", "y"},
    {"(.*)(.*)(.*)x", SPLITS("(.*)(.*)(.*)x"), "a", ""},
    {"(?<=a)a*?b|a", SPLITS("(?<=a)a*?b|a"), "a", ""},
    {"doubled",
     "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[" DOUBLES "," DOUBLES "]}," BPE "}",
     "a", ""},
    {"white space behind tokens",
     "{\"added_tokens\":[{\"id\":2,\"content\":\" \",\"rstrip\":true,\"lstrip\":true}]," BPE "}",
     " ", ""},
    {"merges only", "{" BPE "}", "a", ""},
};

static int stranger_work(const void *arg)
{
    const size_t i = *(const size_t *)arg;
    struct str s = {.text = (char *)(uintptr_t)strangers[i].json, .len = strlen(strangers[i].json)};
    struct token_ids ids = {0};
    struct tokenizer *t;

    put("tokenizer.json", &s);
    s = filled("", strangers[i].unit, strangers[i].tail);
    limits_set();
    if (tokenizer_open(&t, folder))
        abort(); /* each is a tokenizer */
    return tokenizer_encode(t, s.text, s.len, true, &ids);
}

static void test_tokenizers_of_strangers_are_cheap(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++)
        expect_cheap(strangers[i].name, stranger_work, &i);
}

static void test_parts_of_a_tokenizer_have_limits(void **state)
{
    static const struct {
        const char *name, *head, *unit, *tail;
    } all[] = {
        {"steps",
         "{" BPE ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}",
         ",{\"type\":\"NFC\"}", "]}}"},
        {"patterns",
         "{" BPE ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[" SPLIT("a"),
         "," SPLIT("\\\\p{L}+"), "]}}"},
        {"a long pattern",
         "{" BPE ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a", "(a|b)*",
         "\"}}}"},
        {"a long token", "{" BPE ",\"added_tokens\":[{\"id\":3,\"content\":\"", "a", "\"}]}"},
        {"a long space", "{" BPE ",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"",
         "a", "\"}}"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct str s = filled(all[i].head, all[i].unit, all[i].tail);
        struct tokenizer *t;
        expect_cheap(all[i].name, tokenizer_work, &s);
        put("tokenizer.json", &s);
        str_release(&s);
        if (tokenizer_open(&t, folder) != HCSMOE_EINVAL)
            fail_msg("%s: not refused", all[i].name);
    }
}

/* ---- INI files and records ---- */

static int ini_work(const void *arg)
{
    struct ini ini;

    put("a.ini", arg);
    limits_set();
    return ini_read(&ini, file("a.ini"));
}

static void test_ini_files_of_a_megabyte_are_cheap(void **state)
{
    static const struct {
        const char *name, *head, *unit, *tail;
        bool counts;
    } all[] = {
        {"a long line", "[a]\nk = ", "x", "\n", false},
        {"no keys", "", "x\n", "", false},
        {"keys", "[a]\n", "k%d = 1\n", "", true},
        {"a long value", "[a]\nk =\n", " x,\n", "", false},
        {"sections", "", "[s%d]\n", "", true},
        {"lines", "", "\n", "", false},
        {"a long comment", "", ";", "", false},
        {"brackets", "", "[", "", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct str s = all[i].counts ? counted(all[i].head, all[i].unit, all[i].tail)
                                     : filled(all[i].head, all[i].unit, all[i].tail);
        expect_cheap(all[i].name, ini_work, &s);
        str_release(&s);
    }
}

struct recording {
    const char *task;
    struct str text;
};

static int record_work(const void *arg)
{
    const struct recording *q = arg;
    const struct component *c = NULL;
    struct arena arena = {0};
    struct registry *r;
    struct host *h;

    put("r.jsonl", &q->text);
    if (host_open(&h, 1, 0) || registry_open(&r, h) ||
        registry_find(r, HCSMOE_KIND_TASK, q->task, &c))
        abort();
    struct record_sink sink = {.task = q->task, .ops = c->c.ops, .keys = true};
    limits_set();
    return records_read(file("r.jsonl"), h, &sink, 1, &arena);
}

static int corpus_work(const void *arg)
{
    struct corpus_blocks b;
    struct tokenizer *t;

    put("c.jsonl", arg);
    if (tokenizer_open(&t, TEST_DATA "/eval/bytes"))
        abort();
    limits_set();
    return corpus_read(&b, file("c.jsonl"), t, 4, 128, 1);
}

static void test_records_of_a_megabyte_are_cheap(void **state)
{
    static const struct {
        const char *task, *head, *unit, *tail;
    } all[] = {
        {"hellaswag",
         "{\"ind\":1,\"activity_label\":\"a\",\"ctx_a\":\"x\",\"ctx_b\":\"y\",\"endings\":[\"a\","
         "\"b\",\"c\",\"d\"],\"label\":\"0\",\"split_type\":\"x\",\"ctx\":\"",
         "[", "\"}\n"},
        {"hellaswag", "{\"ind\":1,\"activity_label\":\"", " [title] ",
         "\",\"ctx_a\":\"x\",\"ctx_b\":\"y\",\"endings\":[\"a\",\"b\",\"c\",\"d\"],\"label\":\"0\"}"
         "\n"},
        {"wikitext", "{\"page\":\"", " @-@ ", "\"}\n"},
        {"wikitext", "{\"page\":\"", " \\\" '", "\"}\n"},
        {"wikitext", "{\"page\":\"", " = ", "\"}\n"},
        {"arc_easy",
         "{\"id\":\"x\",\"question\":\"q\",\"answerKey\":\"A\",\"choices\":{\"label\":[\"A\"],"
         "\"text\":[\"a\"",
         ",\"a\"", "]}}\n"},
        {"winogrande", "{\"option1\":\"a\",\"option2\":\"b\",\"answer\":\"1\",\"sentence\":\"", "_",
         "\"}\n"},
        {"boolq", "{\"question\":\"q\",\"label\":1,\"passage\":\"", "a ", "\"}\n"},
        {"rte", "{\"sentence1\":\"a\",\"sentence2\":\"b\",\"label\":0}\n",
         "{\"sentence1\":\"a\",\"sentence2\":\"b\",\"label\":0}\n", ""},
        {"mmlu_anatomy", "", "{\"subject\":\"x\"}\n", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct recording q = {.task = all[i].task};
        q.text = filled(all[i].head, all[i].unit, all[i].tail);
        expect_cheap(all[i].task, record_work, &q);
        expect_cheap("corpus", corpus_work, &q.text);
        str_release(&q.text);
    }
    struct str s = filled("", "{\"text\":\"a\"}\n", "");
    expect_cheap("texts", corpus_work, &s);
    str_release(&s);
}

static int folder_make(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    log_level_set(LOG_ERROR);
    (void)setenv("HCSMOE_PLUGIN_PATH", PLUGINS, 1);
    (void)snprintf(folder, sizeof folder, "%s/test_complexity.XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static int folder_remove(void **state)
{
    (void)state;
    return path_remove_tree(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_of_a_megabyte_is_cheap_everywhere),
        cmocka_unit_test(test_texts_of_a_megabyte_are_cheap_for_real_tokenizers),
        cmocka_unit_test(test_tokenizers_of_strangers_are_cheap),
        cmocka_unit_test(test_parts_of_a_tokenizer_have_limits),
        cmocka_unit_test(test_ini_files_of_a_megabyte_are_cheap),
        cmocka_unit_test(test_records_of_a_megabyte_are_cheap),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
