/*
 * fuzz_records.c - any bytes as records of an evaluation task, which the first byte chooses, or as calibration text.
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "data/corpus.h"
#include "fuzz.h"
#include "run/records.h"
#include "run/tasks.h"

/* The letter of a task in front of its records. */
static const struct {
    char letter;
    const char *task;
} tasks[] = {{'a', "arc_easy"},   {'b', "boolq"}, {'h', "hellaswag"}, {'m', "mmlu_abstract_algebra"},
             {'o', "openbookqa"}, {'r', "rte"},   {'t', "wikitext"},  {'w', "winogrande"}};

static struct host *host;
static struct registry *registry;
static struct tokenizer *tokenizer;

static void open_once(void)
{
    if (host)
        return;
    log_level_set(LOG_ERROR);
    (void)setenv("HCSMOE_PLUGIN_PATH", PLUGINS, 1);
    fuzz_must(host_open(&host, 1, 0));
    fuzz_must(registry_open(&registry, host));
    fuzz_must(tokenizer_open(&tokenizer, TEST_DATA "/eval/bytes"));
}

static void records_try(const char *task, const void *bytes, size_t size)
{
    const struct component *c = NULL;
    struct arena arena = {0};

    fuzz_must(registry_find(registry, HCSMOE_KIND_TASK, task, &c));
    struct record_sink sink = {.task = task, .ops = c->c.ops, .keys = true};
    const int status = records_read(fuzz_file(bytes, size), host, &sink, 1, &arena);
    for (size_t i = 0; status == 0 && i < sink.n; i++)
        if (strlen(sink.records[i].key) != RECORD_KEY_CHARS - 1)
            __builtin_trap();
    mem_free(sink.records);
    arena_release(&arena);
}

static void corpus_try(const char *name, const void *bytes, size_t size)
{
    struct corpus_blocks b = {0};
    char *path = mem_printf("%s/%s", fuzz_folder(), name);

    fuzz_write(name, bytes, size);
    if (corpus_read(&b, path, tokenizer, 2, 4, 1) == 0)
        corpus_release(&b);
    mem_free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    open_once();
    for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++)
        if (tasks[i].letter == data[0])
            records_try(tasks[i].task, data + 1, size - 1);
    if (data[0] == 'j')
        corpus_try("text.jsonl", data + 1, size - 1);
    else if (data[0] == 'l')
        corpus_try("text.txt", data + 1, size - 1);
    return 0;
}
