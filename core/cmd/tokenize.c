/*
 * tokenize.c - hcsmoe tokenize: token ids of standard input.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "data/tokenizer.h"

static int input_read(struct str *text)
{
    char piece[65536];
    size_t n;
    while ((n = fread(piece, 1, sizeof piece, stdin)) > 0)
        str_add_bytes(text, piece, n);
    return ferror(stdin) ? fail_errno("standard input", "cannot be read") : str_check(text);
}

static int ids_print(const struct tokenizer *t, const char *text, size_t n, bool special)
{
    struct token_ids ids = {0};
    struct str out = {0};
    int status = tokenizer_encode(t, text, n, special, &ids);

    for (size_t i = 0; !status && i < ids.n; i++)
        str_addf(&out, "%s%d", i ? ", " : "", ids.ids[i]);
    if (!status)
        status = str_check(&out);
    if (!status && printf("[%s]\n", str_text(&out)) < 0)
        status = fail_errno("standard output", "cannot be written");
    token_ids_release(&ids);
    str_release(&out);
    return status;
}

int cmd_tokenize(const struct args *a)
{
    struct tokenizer *t = NULL;
    struct str text = {0};

    if (!a->model)
        return say_usage(a, "-m FOLDER is missing");
    int status = tokenizer_open(&t, a->model);
    if (!status)
        status = input_read(&text);
    const char *at = str_text(&text), *end = at + text.len;
    if (!status && !a->lines)
        status = ids_print(t, at, text.len, !a->no_special);
    while (!status && a->lines && at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        const size_t n = (size_t)((line_end ? line_end : end) - at);
        status = ids_print(t, at, n, !a->no_special);
        at += n + 1;
    }
    if (!status && fflush(stdout))
        status = fail_errno("standard output", "cannot be written");
    const int exit_status = status ? say_failure(status, t != NULL) : EXIT_DONE;
    tokenizer_close(t);
    str_release(&text);
    return exit_status;
}
