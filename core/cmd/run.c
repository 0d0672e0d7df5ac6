/*
 * run.c - hcsmoe run, check, config, eval: what an INI asks for.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "base/path.h"
#include "cmd/cmd.h"
#include "run/pipeline.h"

static struct config *ini_config(const struct args *a, enum config_use use)
{
    if (!a->ini) {
        say_usage(a, "-c FILE is missing");
        return NULL;
    }
    return args_config(a, use);
}

int cmd_run(const struct args *a)
{
    struct config *c = ini_config(a, CONFIG_RUN);
    bool started = false;
    if (!c)
        return EXIT_USAGE;
    const int status = pipeline_run(c, &started);
    const int exit_status = status ? say_failure(status, started) : EXIT_DONE;
    config_close(c);
    return exit_status;
}

int cmd_check(const struct args *a)
{
    struct config *c = ini_config(a, CONFIG_RUN);
    if (!c)
        return EXIT_USAGE;
    const int status = pipeline_check(c);
    const int exit_status = status ? say_failure(status, false) : EXIT_DONE;
    config_close(c);
    return exit_status;
}

int cmd_config(const struct args *a)
{
    struct config *c = ini_config(a, CONFIG_SHOW);
    struct str text = {0};
    if (!c)
        return EXIT_USAGE;
    int status = config_print(c, true, &text);
    if (!status) {
        fputs(str_text(&text), stdout);
        status = fflush(stdout) ? fail_errno("standard output", "cannot be written") : 0;
    }
    const int exit_status = status ? say_failure(status, true) : EXIT_DONE;
    str_release(&text);
    config_close(c);
    return exit_status;
}

int cmd_eval(const struct args *a)
{
    if (!a->model)
        return say_usage(a, "-m FOLDER is missing");
    struct config *c = ini_config(a, CONFIG_EVAL);
    if (!c)
        return EXIT_USAGE;
    bool started = false;
    const int status = pipeline_eval(c, a->model, a->json, &started);
    const int exit_status = status ? say_failure(status, started) : EXIT_DONE;
    config_close(c);
    return exit_status;
}
