/*
 * html_layer.c - the card of one layer: small picture and error; opened, the large one and all
 * numbers.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "run/html_parts.h"

static bool near_tie(json_t *join)
{
    json_t *gap = html_at(join, "gap");
    return gap && json_number_value(gap) < 1e-3;
}

/* All numbers of the layer as attributes: for the script, for tests, for whoever reads the page
 * with a program. */
static void card_begin(struct str *out, json_t *layer)
{
    static const char *const kept[][2] = {{"output-error", "output_error"},
                                          {"predicted-error", "predicted_error"},
                                          {"routing-overlap", "collapsed.routing_overlap"},
                                          {"collapsed-error", "collapsed.output_error"},
                                          {"groups", "groups"},
                                          {"dominant", "dominant"},
                                          {"usage", "usage"},
                                          {"usage-counts", "usage_counts"},
                                          {"routed-tokens", "routed_tokens"}};

    str_addf(out, "<details class=\"layer\" data-layer=\"%lld\"",
             (long long)html_int(layer, "layer"));
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        html_data(out, kept[i][0], html_at(layer, kept[i][1]));
    str_add(out, ">\n");
}

static int summary_add(struct str *out, json_t *layer, const struct order *o, double error_most)
{
    const size_t n_warnings = json_array_size(html_at(layer, "warnings"));
    const bool matrix = html_at(layer, "distances") || html_at(layer, "similarities"),
               use = html_at(layer, "usage") != NULL;
    json_t *error = html_at(layer, "output_error");
    const int height = 2 + (o->n_branches ? 33 : 0) + (matrix ? 103 : 0) + (use ? 16 : 0);

    str_addf(out, "<summary><span class=\"name\">Layer %lld</span>",
             (long long)html_int(layer, "layer"));
    if (n_warnings)
        str_addf(out, "<span class=\"badge\" title=\"%zu warning%s\">%zu</span>", n_warnings,
                 n_warnings == 1 ? "" : "s", n_warnings);
    str_addf(
        out,
        "<svg class=\"small\" viewBox=\"0 0 100 %d\" role=\"img\" aria-label=\"tree, matrix and "
        "use of %lld experts\">",
        height, (long long)o->n);
    int status = html_picture_define(out, layer, o);
    html_picture_small(out, layer, o);
    str_add(out, "</svg>");
    if (error) {
        str_addf(out, "<span class=\"meter\"><i style=\"width:%.4g%%\"></i></span>",
                 error_most > 0 ? 100 * json_number_value(error) / error_most : 0);
        str_add(out, "<span class=\"error\"><b>");
        html_number(out, json_number_value(error));
        str_add(out, "</b></span>");
    }
    if (o->n_groups == o->n)
        str_addf(out, "<span class=\"kept\">%lld</span>", (long long)o->n);
    else
        str_addf(out, "<span class=\"kept\">%lld&#8239;\xe2\x86\x92&#8239;%lld</span>",
                 (long long)o->n, (long long)o->n_groups);
    str_add(out, "</summary>\n");
    return status;
}

static void fact(struct str *out, const char *name, double value)
{
    str_addf(out, "<div><dt>%s</dt><dd>", name);
    html_number(out, value);
    str_add(out, "</dd></div>");
}

static void facts_add(struct str *out, json_t *layer)
{
    json_t *collapsed = html_at(layer, "collapsed");

    str_add(out, "<dl class=\"facts\">");
    if (html_at(layer, "output_error"))
        fact(out, "output error", html_real(layer, "output_error"));
    if (html_at(layer, "predicted_error"))
        fact(out, "predicted by the method", html_real(layer, "predicted_error"));
    if (collapsed) {
        fact(out, "output error, collapsed", html_real(collapsed, "output_error"));
        str_addf(out, "<div><dt>routing kept</dt><dd>%.1f&#8239;%%</dd></div>",
                 100 * html_real(collapsed, "routing_overlap"));
    }
    str_add(out, "</dl>\n");
}

static void warnings_add(struct str *out, json_t *layer)
{
    json_t *warnings = html_at(layer, "warnings"), *x;
    size_t i;

    if (!json_array_size(warnings))
        return;
    str_add(out, "<ul class=\"warnings\">");
    json_array_foreach(warnings, i, x)
    {
        str_add(out, "<li>");
        html_text(out, json_string_value(x));
        str_add(out, "</li>");
    }
    str_add(out, "</ul>\n");
}

static bool is_core(json_t *layer, size_t expert)
{
    json_t *core;
    size_t i;
    json_array_foreach(html_at(layer, "dominant"), i, core)
    {
        if (json_integer_value(core) == (json_int_t)expert)
            return true;
    }
    return false;
}

/* One row: the members of a group with their share, or (-1) what was pruned. */
static void group_row(struct str *out, json_t *layer, int64_t group)
{
    json_t *groups = html_at(layer, "groups"), *usage = html_at(layer, "usage"), *x;
    double share = 0;
    size_t e;
    int64_t n = 0;

    json_array_foreach(groups, e, x) n += json_integer_value(x) == group;
    if (!n)
        return;
    if (group < 0)
        str_add(out, "<tr class=\"gone\"><th scope=\"row\">pruned</th><td>");
    else
        str_addf(out, "<tr><th scope=\"row\">%lld</th><td>", (long long)group);
    json_array_foreach(groups, e, x)
    {
        if (json_integer_value(x) != group)
            continue;
        share += json_number_value(json_array_get(usage, e));
        str_addf(out, "<span class=\"member%s\">%zu", is_core(layer, e) ? " core" : "", e);
        if (usage)
            str_addf(out, "<small>%.1f</small>", 100 * json_number_value(json_array_get(usage, e)));
        str_add(out, "</span>");
    }
    str_add(out, "</td>");
    if (usage)
        str_addf(out, "<td class=\"n\">%.1f</td>", 100 * share);
    str_add(out, "</tr>");
}

static void groups_table(struct str *out, json_t *layer, const struct order *o)
{
    str_add(out, "<table class=\"groups\"><thead><tr><th>group</th><th>experts");
    if (html_at(layer, "usage"))
        str_add(out, " and their share of use, %</th><th class=\"n\">together</th></tr>");
    else
        str_add(out, "</th></tr>");
    str_add(out, "</thead><tbody>");
    for (int64_t g = 0; g < o->n_groups; g++)
        group_row(out, layer, g);
    group_row(out, layer, -1);
    str_add(out, "</tbody></table>\n");
    if (html_at(layer, "dominant"))
        str_add(out, "<p class=\"note\">Underlined: the expert that the clustering took for the "
                     "middle of its "
                     "group.</p>\n");
}

/* Of a method that takes every expert alone: what each was refitted on. */
static void tokens_add(struct str *out, json_t *layer)
{
    json_t *tokens = html_at(layer, "routed_tokens"), *x;
    size_t e;

    if (!tokens || html_at(layer, "usage"))
        return;
    str_add(out, "<p class=\"note\">Tokens routed to each expert</p>\n<p>");
    json_array_foreach(tokens, e, x)
    {
        str_addf(out, "<span class=\"member\">%zu<small>", e);
        html_count(out, json_integer_value(x));
        str_add(out, "</small></span>");
    }
    str_add(out, "</p>\n");
}

static void joins_table(struct str *out, json_t *layer, const struct order *o)
{
    json_t *merges = html_at(layer, "merges"), *x;
    size_t i;

    if (!json_array_size(merges))
        return;
    str_addf(out,
             "<details class=\"more\"><summary>All %zu joins</summary><table "
             "class=\"joins\"><thead><tr><th class=\"n\">step</th><th class=\"n\">a</th><th "
             "class=\"n\">b</th><th class=\"n\">height</th><th class=\"n\">gap to the next "
             "pair</th></tr></thead><tbody>",
             json_array_size(merges));
    json_array_foreach(merges, i, x)
    {
        const bool made = (int64_t)i < o->n_cut;
        str_addf(out, "<tr%s", !made ? " class=\"gone\"" : near_tie(x) ? " class=\"near\"" : "");
        html_data(out, "height", html_at(x, "height"));
        html_data(out, "gap", json_object_get(x, "gap"));
        str_addf(out,
                 "><td class=\"n\">%zu</td><td class=\"n\">%lld</td><td class=\"n\">%lld</td><td "
                 "class=\"n\">",
                 i + 1, (long long)html_int(x, "a"), (long long)html_int(x, "b"));
        html_number(out, html_real(x, "height"));
        str_add(out, "</td><td class=\"n\">");
        if (html_at(x, "gap"))
            str_addf(out, "%.2g", html_real(x, "gap"));
        str_add(out, "</td></tr>");
    }
    str_add(out,
            "</tbody></table><p class=\"note\">Grey: beyond the cut, not made.</p></details>\n");
}

/* The numbers behind the large picture's hover text go where the script finds them. */
static void picture_add(struct str *out, json_t *layer, const struct order *o)
{
    str_add(out, "<figure");
    html_data(out, "distances", html_at(layer, "distances"));
    html_data(out, "similarities", html_at(layer, "similarities"));
    str_add(out, " data-order=\"");
    for (int64_t i = 0; i < o->n; i++)
        str_addf(out, "%s%lld", i ? " " : "", (long long)o->at[i]);
    str_add(out, "\">");
    html_picture_large(out, layer, o);
    str_add(out, "<figcaption aria-live=\"polite\">&nbsp;</figcaption></figure>\n");
}

int html_layer(struct str *out, json_t *layer, double error_most)
{
    struct order o;
    int status = order_make(&o, layer);

    if (status)
        return status;
    card_begin(out, layer);
    status = summary_add(out, layer, &o, error_most);
    str_addf(out, "<div class=\"detail\" id=\"layer-%lld\">\n",
             (long long)html_int(layer, "layer"));
    if (o.n_branches || html_at(layer, "distances") || html_at(layer, "similarities") ||
        html_at(layer, "usage"))
        picture_add(out, layer, &o);
    str_add(out, "<div>\n");
    facts_add(out, layer);
    warnings_add(out, layer);
    if (o.n_groups < o.n)
        groups_table(out, layer, &o);
    tokens_add(out, layer);
    joins_table(out, layer, &o);
    str_add(out, "</div></div></details>\n");
    order_release(&o);
    return status;
}
