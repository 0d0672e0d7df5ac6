/*
 * fuzz_statistics.c - any bytes as the statistics of an earlier run of the bundled model.
 *
 * 64 zeros stand for the key of that run, which nobody guesses.
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/log.h"
#include "fuzz.h"
#include "run/plan.h"

enum { KEY_CHARS = 64 };

static struct config *config;
static struct prepared prepared;
static char key[KEY_CHARS + 1];

/* What a run that keeps nothing writes has the key. */
static void key_find(void)
{
    struct st_file f;
    char *path = mem_printf("%s/key", fuzz_folder());

    fuzz_must(statistics_write(path, config, &prepared, NULL, NULL, 0));
    fuzz_must(st_open(&f, path));
    json_t *metadata = json_loads(f.metadata, 0, NULL);
    const char *text = json_string_value(json_object_get(metadata, "key"));
    if (!text || strlen(text) != KEY_CHARS)
        abort();
    memcpy(key, text, sizeof key);
    json_decref(metadata);
    st_close(&f);
    mem_free(path);
}

static void open_once(void)
{
    static const char ini[] =
        "[model]\nmodel_name = " SOURCE_DIR "/config/data/tiny-mixtral\n"
        "[calibration]\ndata = " SOURCE_DIR "/config/data/c4.first300.jsonl.gz\n"
        "n_sentences = 2\nblock_size = 32\n"
        "[group]\nnum_average_groups = 4\nsimilarity_base = expert-output\n"
        "cluster = hierarchical\n[merge]\nmerge = freq\n"
        "[output]\noutput_path = /nonexistent\n[run]\nthreads = 1\n";
    char *path;

    if (config)
        return;
    log_level_set(LOG_ERROR);
    (void)setenv("HCSMOE_PLUGIN_PATH", PLUGINS, 1);
    fuzz_write("run.ini", ini, sizeof ini - 1);
    path = mem_printf("%s/run.ini", fuzz_folder());
    fuzz_must(config_open(&config, path, NULL, 0, NULL, 0, CONFIG_RUN));
    fuzz_must(prepare(&prepared, config));
    mem_free(path);
    key_find();
}

static void statistics_try(void)
{
    struct statistics *s = NULL;

    if (statistics_find(&s, config, &prepared) || !s)
        return;
    for (int l = 0; l < prepared.m->desc.n_layers; l++) {
        struct layer_stats stats = {0};
        fuzz_must(layer_stats_open(&stats, prepared.m, l, prepared.batch.n_tokens, prepared.needs));
        fuzz_must(statistics_load(s, config, &stats, &prepared.v.states[l]));
        layer_stats_release(&stats);
    }
    statistics_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char zeros[] = "0000000000000000000000000000000000000000000000000000000000000000";
    size_t n;
    uint8_t *bytes = fuzz_safetensors(data, size, &n), *at;

    open_once();
    at = memmem(bytes, n, zeros, KEY_CHARS);
    if (at)
        memcpy(at, key, KEY_CHARS);
    config->statistics = fuzz_file(bytes, n);
    statistics_try();
    config->statistics = NULL;
    free(bytes); /* from fuzz_safetensors */
    return 0;
}
