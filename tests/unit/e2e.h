/*
 * e2e.h - runs the program and looks at what it left: what the end-to-end tests share.
 *
 * To be included after the core's headers, since it ends with cmocka.h, which has a macro fail().
 * SPDX-License-Identifier: MIT
 */
#ifndef TESTS_UNIT_E2E_H
#define TESTS_UNIT_E2E_H

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "data/shards.h"

#include <cmocka.h>

enum { E2E_JSON_MAX = 512, E2E_FILE_MAX = 256 * 1024 * 1024 };

#define TINY_MIXTRAL SOURCE_DIR "/config/data/tiny-mixtral"
#define TINY_QWEN TEST_DATA "/models/tiny-qwen2-moe"
#define C4 SOURCE_DIR "/config/data/c4.first300.jsonl.gz"

/* What outlives a test goes away at the end of the program. */
struct e2e {
    char work[128]; /* a folder of its own */
    struct arena arena;
    json_t *json[E2E_JSON_MAX];
    size_t n_json;
};
static struct e2e e2e;

struct result {
    int status; /* exit status; 128 + signal */
    const char *out, *err;
};

static inline int e2e_begin(void **state)
{
    const char *base = getenv("TMPDIR");
    (void)state;
    snprintf(e2e.work, sizeof e2e.work, "%s/hcsmoe-e2e-XXXXXX", base ? base : "/tmp");
    return mkdtemp(e2e.work) ? 0 : -1;
}

static inline int e2e_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < e2e.n_json; i++)
        json_decref(e2e.json[i]);
    arena_release(&e2e.arena);
    return path_remove_tree(e2e.work);
}

/* A string that lives to the end. */
static inline const char *text(const char *fmt, ...) PRINTF_LIKE(1, 2);
static inline const char *text(const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    const int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    assert_true(n >= 0);
    const char *kept = arena_strndup(&e2e.arena, s, (size_t)n);
    free(s); /* from vasprintf */
    assert_non_null(kept);
    return kept;
}

static inline const char *work(const char *name)
{
    return text("%s/%s", e2e.work, name);
}

static inline json_t *json_keep(json_t *j)
{
    assert_non_null(j);
    assert_true(e2e.n_json < E2E_JSON_MAX);
    return e2e.json[e2e.n_json++] = j;
}

static inline json_t *json_read(const char *path)
{
    json_error_t e;
    json_t *j = json_load_file(path, 0, &e);
    if (!j)
        fail_msg("%s:%d: %s", path, e.line, e.text);
    return json_keep(j);
}

/* "a.b.c" below j; fails when it is not there. */
static inline json_t *json_at(const json_t *j, const char *path)
{
    for (const char *at = path; *at;) {
        const size_t n = strcspn(at, ".");
        json_t *next = json_object_getn(j, at, n);
        if (!next)
            fail_msg("no '%.*s' of %s", (int)n, at, path);
        j = next;
        at += n + (at[n] == '.');
    }
    return (json_t *)(uintptr_t)j;
}

static inline const char *file_text(const char *path, size_t *size)
{
    char *bytes = NULL;
    size_t n = 0;
    if (path_read(path, E2E_FILE_MAX, &bytes, &n))
        fail_msg("%s", fail_message());
    const char *kept = arena_strndup(&e2e.arena, bytes, n);
    mem_free(bytes);
    assert_non_null(kept);
    if (size)
        *size = n;
    return kept;
}

static inline void file_write(const char *path, const char *content)
{
    if (path_write(path, content, strlen(content)))
        fail_msg("%s", fail_message());
}

static inline void child_start(const char *const *argv, const char *input, const char *out,
                               const char *err, rlim_t file_size)
{
    const int in = open(input, O_RDONLY), o = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600),
              e = open(err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (in < 0 || o < 0 || e < 0 || dup2(in, 0) < 0 || dup2(o, 1) < 0 || dup2(e, 2) < 0)
        _exit(126);
    const struct rlimit no_core = {0, 0};
    if (setrlimit(RLIMIT_CORE, &no_core))
        _exit(126);
    if (file_size) {
        const struct rlimit limit = {file_size, file_size};
        if (setrlimit(RLIMIT_FSIZE, &limit))
            _exit(126);
    }
    /* Nothing that the user installed takes part. */
    unsetenv("HCSMOE_PLUGIN_PATH");
    unsetenv("XDG_DATA_HOME");
    setenv("HOME", e2e.work, 1);
    /* Tests share the machine with other tests: threads that wait do not spin. */
    setenv("OMP_WAIT_POLICY", "passive", 0);
    execv(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

/* Starts the program with the arguments; input: text for its standard input, NULL: none. */
static inline pid_t start(const char *const *argv, const char *input, rlim_t file_size)
{
    const char *in = "/dev/null", *out = work("stdout"), *err = work("stderr");
    if (input) {
        in = work("stdin");
        file_write(in, input);
    }
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid)
        child_start(argv, in, out, err, file_size);
    return pid;
}

static inline struct result finish(pid_t pid)
{
    struct result r = {0};
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    r.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    r.out = file_text(work("stdout"), NULL);
    r.err = file_text(work("stderr"), NULL);
    return r;
}

#define ARGV(...) ((const char *const[]){HCSMOE_BINARY, __VA_ARGS__, NULL})
#define run(...) finish(start(ARGV(__VA_ARGS__), NULL, 0))
#define run_input(input, ...) finish(start(ARGV(__VA_ARGS__), (input), 0))

static inline void expect_status(struct result r, int status)
{
    if (r.status != status)
        fail_msg("exit status %d, expected %d: %s", r.status, status, r.err);
}

static inline void expect_text(const char *text_, const char *part)
{
    if (!strstr(text_, part))
        fail_msg("no '%s' in: %s", part, text_);
}

/* No temporary folder or file in the work folder. */
static inline void expect_clean(void)
{
    DIR *d = opendir(e2e.work);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (strstr(e->d_name, ".incomplete") || strstr(e->d_name, ".tmp") ||
            strstr(e->d_name, ".replaced"))
            fail_msg("%s was left behind", e->d_name);
    closedir(d);
}

static inline const char *model_folder(const char *name)
{
    return strcmp(name, "tiny-mixtral") ? text(TEST_DATA "/models/%s", name) : TINY_MIXTRAL;
}

/* Arguments "-s section.key=value" on top of an INI with one small run: 4 groups a layer by
 * expert-output. */
static inline const char *ini_write(const char *name, const char *model, const char *output)
{
    const char *path = work(name);
    file_write(path, text("[model]\nmodel_name = %s\n"
                          "[calibration]\ndata = %s\nn_sentences = 4\nblock_size = 128\n"
                          "[group]\nnum_average_groups = 4\nsimilarity_base = expert-output\n"
                          "cluster = hierarchical\n"
                          "[merge]\nmerge = freq\n"
                          "[output]\noutput_path = %s\n"
                          "[run]\nthreads = 2\nquality_tokens = 64\n",
                          model, C4, output));
    return path;
}

/* The reference sequences of a model, as requests for `score`. */
static inline json_t *forward_case(const char *model)
{
    json_t *all = json_read(TEST_DATA "/e2e/forward.json"), *c;
    size_t i;
    json_array_foreach(all, i,
                       c) if (!strcmp(json_string_value(json_at(c, "model")), model)) return c;
    fail_msg("no forward case %s", model);
    return NULL;
}

static inline const char *requests_of(const json_t *sequences)
{
    struct str s = {0};
    size_t i;
    json_t *x;
    json_array_foreach((json_t *)(uintptr_t)sequences, i, x)
    {
        char *tokens = json_dumps(json_at(x, "tokens"), JSON_COMPACT);
        str_addf(&s, "{\"tokens\": %s, \"from\": 1}\n", tokens);
        free(tokens); /* from json_dumps */
    }
    const char *kept = text("%s", str_text(&s));
    str_release(&s);
    return kept;
}

/* Answers of `score`, one JSON object a line, as an array. */
static inline json_t *answers(const char *out)
{
    json_t *a = json_keep(json_array());
    for (const char *at = out, *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
        json_t *x = json_loadb(at, (size_t)(end - at), 0, NULL);
        assert_non_null(x);
        json_array_append_new(a, x);
    }
    return a;
}

/* The largest difference between two lists of numbers of equal length. */
static inline double list_difference(const json_t *a, const json_t *b)
{
    double most = 0;
    assert_true(json_is_array(a) && json_is_array(b));
    assert_int_equal(json_array_size(a), json_array_size(b));
    for (size_t i = 0; i < json_array_size(a); i++)
        most = fmax(most, fabs(json_number_value(json_array_get(a, i)) -
                               json_number_value(json_array_get(b, i))));
    return most;
}

/* The same over the log-probabilities of two lists of answers. */
static inline double answers_difference(const json_t *a, const json_t *b)
{
    double most = 0;
    assert_int_equal(json_array_size(a), json_array_size(b));
    for (size_t i = 0; i < json_array_size(a); i++)
        most = fmax(most, list_difference(json_at(json_array_get(a, i), "logprobs"),
                                          json_at(json_array_get(b, i), "logprobs")));
    return most;
}

/* Log-probabilities that a checkpoint gives the reference sequences of `model`. */
static inline json_t *score_folder(const char *folder, const char *model)
{
    struct result r = run_input(requests_of(json_at(forward_case(model), "sequences")), "score",
                                "-m", folder, "-s", "run.threads=2");
    expect_status(r, 0);
    return answers(r.out);
}

static inline void shards_of(struct shards *s, const char *folder)
{
    if (shards_open(s, folder))
        fail_msg("%s", fail_message());
}

/* Bytes of a tensor (mem_free), its entry in *e. */
static inline unsigned char *tensor_bytes(const struct shards *s, const char *name,
                                          const struct st_entry **e)
{
    *e = shards_find(s, name);
    if (!*e)
        fail_msg("no tensor %s in %s", name, s->folder);
    unsigned char *bytes = mem_new_raw(1, (*e)->size + 1);
    assert_non_null(bytes);
    if (shards_read(s, *e, bytes))
        fail_msg("%s", fail_message());
    return bytes;
}

static inline void expect_equal_tensors(const struct shards *a, const char *name_a,
                                        const struct shards *b, const char *name_b)
{
    const struct st_entry *x, *y;
    unsigned char *p = tensor_bytes(a, name_a, &x), *q = tensor_bytes(b, name_b, &y);
    if (x->dtype != y->dtype || x->size != y->size || memcmp(p, q, x->size))
        fail_msg("%s and %s differ", name_a, name_b);
    mem_free(p);
    mem_free(q);
}

static inline void expect_equal_files(const char *a, const char *b)
{
    size_t n, m;
    const char *p = file_text(a, &n), *q = file_text(b, &m);
    if (n != m || memcmp(p, q, n))
        fail_msg("%s and %s differ", a, b);
}

#endif
