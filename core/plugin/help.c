/*
 * help.c - what a component is and takes, in words, out of its tables.
 *
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin/options.h"

#define NUMBER_BYTES 40
#define DIGITS_MAX 17                   /* enough for every double to come back as itself */
#define INT64_END 9223372036854775808.0 /* 2^63: a bound that is none */
#define UNBOUNDED 1e300                 /* so is DBL_MAX */

/* By bit of needs. */
static const char *const statistics[] = {
    "weights",     "router_weight",  "usage",  "routing_score", "router_gram",
    "output_mean", "layer_input",    "hidden", "output",        "weight_gram",
    "tiles",       "weight_product", "energy", "energy_scaled",
};
_Static_assert(HCSMOE_STAT_KNOWN == ((uint64_t)1 << sizeof statistics / sizeof statistics[0]) - 1,
               "every statistic has a name");

static const char *const option_types[] = {
    [HCSMOE_OPTION_BOOL] = "yes or no", [HCSMOE_OPTION_INT] = "whole number",
    [HCSMOE_OPTION_REAL] = "number",    [HCSMOE_OPTION_STR] = "text",
    [HCSMOE_OPTION_ENUM] = "choice",    [HCSMOE_OPTION_PATH] = "path",
};

/* The fewest digits that give the same double again. */
static void add_real(double value, struct str *out)
{
    char text[NUMBER_BYTES];
    int digits = 0;
    double back;

    do {
        (void)snprintf(text, sizeof text, "%.*g", ++digits, value);
        back = strtod(text, NULL);
    } while (memcmp(&back, &value, sizeof back) != 0 && digits < DIGITS_MAX);
    str_add(out, text);
}

static void add_choice(const hcsmoe_choice *choices, int64_t value, struct str *out)
{
    size_t i;

    for (i = 0; choices[i].name != NULL; i++) {
        if (choices[i].value == value) {
            str_add(out, choices[i].name);
            return;
        }
    }
}

void option_print(const hcsmoe_option *o, const void *opts, struct str *out)
{
    const char *field = (const char *)opts + o->offset;
    const char *s;
    int32_t truth;
    int64_t whole;
    double real;

    switch (o->type) {
    case HCSMOE_OPTION_BOOL:
        memcpy(&truth, field, sizeof truth);
        str_add(out, truth != 0 ? "yes" : "no");
        break;
    case HCSMOE_OPTION_INT:
        memcpy(&whole, field, sizeof whole);
        str_addf(out, "%" PRId64, whole);
        break;
    case HCSMOE_OPTION_ENUM:
        memcpy(&whole, field, sizeof whole);
        add_choice(o->choices, whole, out);
        break;
    case HCSMOE_OPTION_REAL:
        memcpy(&real, field, sizeof real);
        add_real(real, out);
        break;
    default:
        memcpy(&s, field, sizeof s);
        str_add(out, s != NULL ? s : "");
        break;
    }
}

static void add_needs(uint64_t needs, bool forward, struct str *out)
{
    bool first = true;
    size_t i;

    for (i = 0; i < sizeof statistics / sizeof statistics[0]; i++) {
        uint64_t bit = (uint64_t)1 << i;
        if ((needs & bit) == 0 || ((HCSMOE_STAT_FORWARD & bit) != 0) != forward)
            continue;
        str_addf(out, "%s%s", first ? "" : ", ", statistics[i]);
        first = false;
    }
}

void needs_print(uint64_t needs, struct str *out)
{
    bool first = true;
    size_t i;

    for (i = 0; i < sizeof statistics / sizeof statistics[0]; i++) {
        if ((needs & ((uint64_t)1 << i)) == 0)
            continue;
        str_addf(out, "%s%s", first ? "" : ", ", statistics[i]);
        first = false;
    }
}

static void help_needs(const hcsmoe_component *c, struct str *out)
{
    if (c->needs == 0 && c->needs_for == NULL)
        return;
    str_add(out, "  needs      ");
    add_needs(c->needs, false, out);
    if ((c->needs & HCSMOE_STAT_FORWARD) != 0) {
        str_add(out, (c->needs & ~HCSMOE_STAT_FORWARD) != 0 ? "; calibrate: " : "calibrate: ");
        add_needs(c->needs, true, out);
    }
    if (c->needs_for != NULL)
        str_add(out, c->needs != 0 ? " (options decide)" : "options decide");
    str_add(out, "\n");
}

static void help_range(const hcsmoe_option *o, struct str *out)
{
    bool whole = o->type == HCSMOE_OPTION_INT;
    bool low = o->min > (whole ? -INT64_END : -UNBOUNDED);
    bool high = o->max < (whole ? INT64_END : UNBOUNDED);

    if (!low && !high)
        return;
    str_add(out, low && high ? ", " : low ? ", at least " : ", at most ");
    if (low && whole)
        str_addf(out, "%.0f", o->min);
    else if (low)
        add_real(o->min, out);
    str_add(out, low && high ? ".." : "");
    if (high && whole)
        str_addf(out, "%.0f", o->max);
    else if (high)
        add_real(o->max, out);
}

static void help_default(const hcsmoe_option *o, struct str *out)
{
    if ((o->flags & HCSMOE_OPTION_REQUIRED) != 0) {
        str_add(out, ", required");
        return;
    }
    str_add(out, ", default ");
    switch (o->type) {
    case HCSMOE_OPTION_BOOL:
        str_add(out, o->def.i != 0 ? "yes" : "no");
        break;
    case HCSMOE_OPTION_INT:
        str_addf(out, "%" PRId64, o->def.i);
        break;
    case HCSMOE_OPTION_ENUM:
        add_choice(o->choices, o->def.i, out);
        break;
    case HCSMOE_OPTION_REAL:
        add_real(o->def.d, out);
        break;
    default:
        str_add(out, o->def.s != NULL ? o->def.s : "none");
        break;
    }
}

static void help_option(const hcsmoe_option *o, struct str *out)
{
    size_t i;

    str_addf(out, "  %-16s %s", o->name, option_types[o->type]);
    if (o->type == HCSMOE_OPTION_INT || o->type == HCSMOE_OPTION_REAL)
        help_range(o, out);
    help_default(o, out);
    if ((o->flags & HCSMOE_OPTION_DEPRECATED) != 0)
        str_add(out, ", deprecated");
    if ((o->flags & HCSMOE_OPTION_EXPERIMENTAL) != 0)
        str_add(out, ", experimental");
    str_addf(out, "\n      %s\n", o->help);
    for (i = 0; o->type == HCSMOE_OPTION_ENUM && o->choices[i].name != NULL; i++)
        str_addf(out, "        %-14s %s\n", o->choices[i].name,
                 o->choices[i].help != NULL ? o->choices[i].help : "");
}

void markdown_cell(const char *text, struct str *out)
{
    for (; *text != '\0'; text++)
        str_addf(out, *text == '|' ? "\\%c" : "%c", *text);
}

static void markdown_needs(const hcsmoe_component *c, struct str *out)
{
    if (c->needs == 0 && c->needs_for == NULL)
        return;
    str_add(out, "Needs: ");
    needs_print(c->needs, out);
    if (c->needs_for != NULL)
        str_add(out, c->needs != 0 ? " (options decide)" : "options decide");
    str_add(out, ".\n\n");
}

/* "choice", or "whole number, 1..9" with its range. */
static void markdown_option(const hcsmoe_option *o, struct str *out)
{
    struct str rest = {0};
    size_t i;

    str_addf(out, "| `%s` | %s", o->name, option_types[o->type]);
    if (o->type == HCSMOE_OPTION_INT || o->type == HCSMOE_OPTION_REAL)
        help_range(o, out);
    help_default(o, &rest);
    str_add(out, " | ");
    /* Behind ", " and "default ". */
    markdown_cell(str_text(&rest) +
                      strlen(str_starts(str_text(&rest), ", default ") ? ", default " : ", "),
                  out);
    str_add(out, " | ");
    str_add(out, (o->flags & HCSMOE_OPTION_DEPRECATED) != 0 ? "deprecated: " : "");
    str_add(out, (o->flags & HCSMOE_OPTION_EXPERIMENTAL) != 0 ? "experimental: " : "");
    markdown_cell(o->help, out);
    for (i = 0; o->type == HCSMOE_OPTION_ENUM && o->choices[i].name != NULL; i++) {
        str_addf(out, "%s`%s`", i > 0 ? ", " : ": ", o->choices[i].name);
        if (o->choices[i].help != NULL) {
            str_add(out, " ");
            markdown_cell(o->choices[i].help, out);
        }
    }
    str_add(out, " |\n");
    str_release(&rest);
}

void component_markdown(const struct component *c, struct str *out)
{
    uint32_t i;

    if (c->c.n_options == 0 && c->c.needs == 0 && c->c.needs_for == NULL)
        return;
    str_addf(out, "### %s.%s\n\n", registry_kind_name(c->c.kind), c->c.name);
    markdown_needs(&c->c, out);
    if (c->c.n_options > 0)
        str_add(out, "| option | value | default | |\n| --- | --- | --- | --- |\n");
    for (i = 0; i < c->c.n_options; i++)
        markdown_option(&c->options[i], out);
    if (c->c.n_options > 0)
        str_add(out, "\n");
}

void component_help(const struct component *c, struct str *out)
{
    uint32_t i;

    str_addf(out, "%s/%s - %s\n", registry_kind_name(c->c.kind), c->c.name, c->c.summary);
    str_addf(out, "  plugin     %s %s\n", c->plugin_id, c->version);
    str_addf(out, "  file       %s\n", c->path);
    help_needs(&c->c, out);
    str_add(out, c->c.n_options > 0 ? "\noptions:\n" : "\nno options\n");
    for (i = 0; i < c->c.n_options; i++)
        help_option(&c->options[i], out);
}
