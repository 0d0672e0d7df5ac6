/*
 * menu.c - hcsmoe plugins and help: what there is.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/version.h"
#include "cmd/cmd.h"

/* The menu must show even where no device works: it opens a registry, not a configuration. */
struct menu {
    struct host *host;
    struct registry *registry;
};

static int menu_open(struct menu *x, const struct args *a)
{
    int status = host_open(&x->host, 1, 0);
    if (!status)
        status = registry_open(&x->registry, x->host);
    for (size_t i = 0; !status && i < a->n_plugins; i++)
        status = registry_load(x->registry, a->plugins[i]);
    return status;
}

static void menu_close(struct menu *x)
{
    if (x->registry)
        registry_close(x->registry);
    if (x->host)
        host_close(x->host);
}

int cmd_plugins(const struct args *a)
{
    struct menu x = {0};
    const struct component *const *list;
    size_t n;
    int status = menu_open(&x, a);

    if (!status)
        status = registry_list(x.registry, 0, &list, &n);
    for (size_t i = 0; !status && i < n; i++) {
        const struct component *c = list[i];
        if (!i || list[i - 1]->c.kind != c->c.kind)
            printf("%s%s\n", i ? "\n" : "", registry_kind_name(c->c.kind));
        printf("  %-36s %s\n", c->c.name, c->c.summary);
    }
    menu_close(&x);
    return status ? say_failure(status, false) : EXIT_DONE;
}

static int component_show(const struct args *a, const char *word)
{
    struct menu x = {0};
    struct str text = {0};
    const struct component *c;
    const char *dot = strchr(word, '.');
    char kind[32];

    snprintf(kind, sizeof kind, "%.*s", (int)(dot - word), word);
    if (!registry_kind(kind))
        return say_usage(a, "no kind '%s' (have: model, similarity, cluster, merge, task, kernels)",
                         kind);
    int status = menu_open(&x, a);
    if (!status)
        status = registry_find(x.registry, registry_kind(kind), dot + 1, &c);
    if (!status) {
        component_help(c, &text);
        fputs(str_text(&text), stdout);
    }
    const int exit_status = status ? say_failure(status, false) : EXIT_DONE;
    str_release(&text);
    menu_close(&x);
    return exit_status;
}

int cmd_help(const struct args *a)
{
    const char *word = a->n_words ? a->words[0] : NULL;

    if (word && strchr(word, '.'))
        return component_show(a, word);
    for (size_t i = 0; word && i < n_commands; i++)
        if (!strcmp(commands[i].name, word)) {
            printf("%s\n  %s\n", commands[i].usage, commands[i].summary);
            return EXIT_DONE;
        }
    if (word)
        return say_usage(a, "no command '%s'; a method is KIND.NAME, as in merge.freq", word);
    printf("hcsmoe %s: smaller Mixture-of-Experts models without retraining\n\n", HCSMOE_VERSION);
    for (size_t i = 0; i < n_commands; i++)
        printf("  %-62s %s\n", commands[i].usage, commands[i].summary);
    printf("\n  -q quiet, -v verbose, --plugin FILE.so loads a plugin, --version\n"
           "exit status: 0 done, 1 failed, 2 usage or INI error, 130 interrupted\n");
    return EXIT_DONE;
}
