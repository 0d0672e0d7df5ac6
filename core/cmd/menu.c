/*
 * menu.c - hcsmoe plugins and help: what there is.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/version.h"
#include "cmd/cmd.h"
#include "run/config_keys.h"

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

/* The key that "SECTION.KEY" names; NULL: none. */
static const struct core_key *key_find(const char *word)
{
    for (size_t i = 0; i < n_core_keys; i++) {
        const size_t n = strlen(core_keys[i].section);
        if (!strncmp(word, core_keys[i].section, n) && word[n] == '.' &&
            !strcmp(word + n + 1, core_keys[i].key))
            return &core_keys[i];
    }
    return NULL;
}

static int key_show(const struct core_key *k)
{
    printf("[%s] %s%s%s\n  %s\n", k->section, k->key, k->fallback ? ", default " : "",
           k->fallback ? k->fallback : "", k->help);
    return EXIT_DONE;
}

static void keys_markdown(struct str *out)
{
    for (size_t s = 0; s < n_config_sections; s++) {
        str_addf(out, "### [%s]\n\n| key | default | |\n| --- | --- | --- |\n", config_sections[s]);
        for (size_t i = 0; i < n_core_keys; i++) {
            const struct core_key *k = &core_keys[i];
            if (strcmp(k->section, config_sections[s]))
                continue;
            str_addf(out, "| `%s` | %s | ", k->key, k->fallback ? k->fallback : "");
            markdown_cell(k->help, out);
            str_add(out, " |\n");
        }
        str_add(out, "\n");
    }
}

/* All components of one kind: the menu, then those that need or take something. */
static void kind_markdown(const struct component *const *list, size_t n, struct str *out)
{
    /* The INI key whose value is a component of the kind. */
    static const char *const chosen[] = {
        [HCSMOE_KIND_MODEL] = "Model families: `[model] family`",
        [HCSMOE_KIND_SIMILARITY] = "Similarity bases: `[group] similarity_base`",
        [HCSMOE_KIND_CLUSTER] = "Clusterings: `[group] cluster`, and `dominant`",
        [HCSMOE_KIND_MERGE] = "Merge methods: `[merge] merge`",
        [HCSMOE_KIND_TASK] = "Tasks: `[eval] task`",
        [HCSMOE_KIND_KERNELS] = "Devices: `[run] device`",
    };

    str_addf(out, "## %s\n\n| name | |\n| --- | --- |\n", chosen[list[0]->c.kind]);
    for (size_t i = 0; i < n; i++) {
        str_addf(out, "| `%s` | ", list[i]->c.name);
        markdown_cell(list[i]->c.summary, out);
        str_addf(out, "%s |\n", list[i]->c.caps & HCSMOE_CAP_DOMINANT ? " (`dominant`)" : "");
    }
    str_add(out, "\n");
    for (size_t i = 0; i < n; i++)
        component_markdown(list[i], out);
}

static int reference_show(const struct args *a)
{
    const struct component *const *list;
    struct menu x = {0};
    struct str out = {0};
    size_t n = 0;
    int status = menu_open(&x, a);

    if (!status)
        status = registry_list(x.registry, 0, &list, &n);
    str_add(&out, "# Reference\n\nEvery key and every plugin, as `hcsmoe help --markdown` prints "
                  "them. Options of a plugin stand in the\nsection that chooses it, as `option` or "
                  "`name.option`; `-s section.key=value` sets any of them.\n\n## Keys\n\n");
    keys_markdown(&out);
    for (size_t i = 0, end; !status && i < n; i = end) {
        for (end = i; end < n && list[end]->c.kind == list[i]->c.kind;)
            end++;
        kind_markdown(list + i, end - i, &out);
    }
    if (!status)
        status = str_check(&out);
    if (!status) { /* without the last blank line */
        fwrite(str_text(&out), 1, out.len - 1, stdout);
        status = fflush(stdout) ? fail_errno("standard output", "cannot be written") : 0;
    }
    str_release(&out);
    menu_close(&x);
    return status ? say_failure(status, false) : EXIT_DONE;
}

int cmd_help(const struct args *a)
{
    const char *word = a->n_words ? a->words[0] : NULL;

    if (a->markdown)
        return word ? say_usage(a, "--markdown is of everything") : reference_show(a);
    if (word && key_find(word))
        return key_show(key_find(word));
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
