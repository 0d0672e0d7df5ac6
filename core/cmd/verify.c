/*
 * verify.c - hcsmoe verify-plugin: a line for every rule that a plugin was held to.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "base/log.h"
#include "cmd/cmd.h"
#include "run/verify.h"

struct counts {
    int of[3]; /* by enum verify_outcome */
};

static void say(void *arg, enum verify_outcome outcome, const char *component, const char *check,
                const char *text)
{
    static const char *const words[] = {
        [VERIFY_OK] = "ok", [VERIFY_FAILED] = "FAILED", [VERIFY_SKIPPED] = "skipped"};
    struct counts *c = arg;

    c->of[outcome]++;
    printf("%-8s%s%s%s%s%s\n", words[outcome], component ? component : "", component ? ": " : "",
           check, text[0] ? ": " : "", text);
    (void)fflush(stdout);
}

int cmd_verify(const struct args *a)
{
    struct counts c = {{0}};
    const struct verify_request r = {
        .file = a->words[0],
        .model = a->model,
        .reference = a->reference,
        .sets = a->sets,
        .n_sets = a->n_sets,
        .others = a->plugins,
        .n_others = a->n_plugins,
    };

    if (a->reference && !a->model)
        return say_usage(a, "--reference is of a checkpoint: -m FOLDER is missing");
    int status = verify_plugin(&r, say, &c);
    if (status)
        return say_failure(status, status != HCSMOE_EINVAL);
    printf("%d passed, %d failed, %d skipped\n", c.of[VERIFY_OK], c.of[VERIFY_FAILED],
           c.of[VERIFY_SKIPPED]);
    if (fflush(stdout))
        return say_failure(fail_errno("standard output", "cannot be written"), true);
    return c.of[VERIFY_FAILED] ? EXIT_FAILED : EXIT_DONE;
}
