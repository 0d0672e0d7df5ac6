/*
 * convert.c - hcsmoe expand and collapse: a mapped checkpoint in another layout.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "cmd/cmd.h"
#include "run/convert.h"

static int convert(const struct args *a, enum layout layout)
{
    struct config *c = args_config(a, CONFIG_CONVERT);
    struct str text = {0};
    bool started = false;

    if (!c)
        return EXIT_USAGE;
    int status = convert_run(c, a->words[0], a->words[1], layout, &started, &text);
    if (!status) {
        fputs(str_text(&text), stdout);
        status = fflush(stdout) ? fail_errno("standard output", "cannot be written") : 0;
    }
    const int exit_status = status ? say_failure(status, started) : EXIT_DONE;
    str_release(&text);
    config_close(c);
    return exit_status;
}

int cmd_expand(const struct args *a)
{
    return convert(a, LAYOUT_EXPANDED);
}

int cmd_collapse(const struct args *a)
{
    return convert(a, LAYOUT_COLLAPSED);
}
