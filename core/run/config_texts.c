/*
 * config_texts.c - [calibration] data and mix: the texts that calibration blocks come from.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/path.h"
#include "run/config_keys.h"

static size_t item_count(const char *list)
{
    size_t n = 1;
    for (const char *p = list; *p; p++)
        n += *p == ',';
    return n;
}

char *config_item(char **rest)
{
    char *item = *rest, *comma = strchr(item, ',');

    *rest = comma ? comma + 1 : NULL;
    if (comma)
        *comma = '\0';
    item += strspn(item, " \t");
    for (char *end = item + strlen(item); end > item && (end[-1] == ' ' || end[-1] == '\t');)
        *--end = '\0';
    return item;
}

static int data_read(struct config *c, const struct ini_value *v)
{
    char *rest = arena_strdup(&c->arena, v->value);
    struct str all = {0};
    int status = 0;

    c->texts = arena_alloc(&c->arena, item_count(v->value) * sizeof *c->texts);
    if (!rest || !c->texts)
        return HCSMOE_ENOMEM;
    while (!status && rest) {
        const char *name = config_item(&rest), *path;
        if (!*name)
            status =
                fail(HCSMOE_EINVAL, "%s = %s: an empty file name", ini_where(&c->ini, v), v->value);
        if (!status)
            status = config_path_of(c, v, name, &path);
        for (size_t i = 0; !status && i < c->n_texts; i++)
            if (!strcmp(c->texts[i].path, path))
                status = fail(HCSMOE_EINVAL, "%s = %s: '%s' is given twice", ini_where(&c->ini, v),
                              v->value, name);
        if (status)
            break;
        str_addf(&all, "%s%s", c->n_texts ? ", " : "", path);
        c->texts[c->n_texts++] = (struct corpus_source){.path = path, .share = 1};
    }
    if (!status)
        status = str_check(&all);
    c->data = status ? NULL : arena_strdup(&c->arena, str_text(&all));
    str_release(&all);
    return status || c->data ? status : HCSMOE_ENOMEM;
}

static int mix_read(struct config *c, const struct ini_value *v)
{
    char *rest = arena_strdup(&c->arena, v->value);
    const size_t n = item_count(v->value);

    if (!rest)
        return HCSMOE_ENOMEM;
    if (c->n_texts < 2)
        return fail(HCSMOE_EINVAL, "%s = %s: shares of several files, but data names %s",
                    ini_where(&c->ini, v), v->value, c->n_texts ? "one" : "none");
    if (n != c->n_texts)
        return fail(HCSMOE_EINVAL, "%s = %s: %zu shares, but data names %zu files",
                    ini_where(&c->ini, v), v->value, n, c->n_texts);
    for (size_t i = 0; i < n; i++) {
        struct ini_value one = *v;
        one.value = config_item(&rest);
        int status = option_real(&c->ini, &one, -1e9, 1e9, &c->texts[i].share);
        if (!status && c->texts[i].share <= 0)
            status = fail(HCSMOE_EINVAL, "%s = %s: a share must be above 0", ini_where(&c->ini, v),
                          one.value);
        if (status)
            return status;
    }
    return 0;
}

int config_texts(struct config *c)
{
    struct ini_value s;
    const struct ini_value *data = config_value(c, "calibration", "data", &s),
                           *mix = config_value(c, "calibration", "mix", &s);
    int status = data ? data_read(c, data) : 0;

    if (!status && mix)
        status = mix_read(c, mix);
    c->text_blocks = arena_alloc(&c->arena, (c->n_texts + 1) * sizeof *c->text_blocks);
    if (status || !c->text_blocks)
        return status ? status : HCSMOE_ENOMEM;
    corpus_counts(c->texts, c->n_texts, c->n_sentences, c->text_blocks);
    for (size_t i = 0; i < c->n_texts; i++)
        if (c->text_blocks[i] == 0)
            return fail(HCSMOE_EINVAL,
                        "%s = %s: n_sentences = %lld leaves no block for %s; more of them, or a "
                        "larger share",
                        ini_where(&c->ini, mix ? mix : data), mix ? mix->value : data->value,
                        (long long)c->n_sentences, c->texts[i].path);
    return 0;
}

void config_text_names(const struct config *c, struct str *out)
{
    for (size_t i = 0; i < c->n_texts; i++)
        str_addf(out, "%s%s", i ? ", " : "", path_base(c->texts[i].path));
}
