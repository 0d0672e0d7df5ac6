/*
 * html_layers.c - the layers of a run: errors over the depth, warnings, a card for each.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>

#include "run/html_parts.h"

/* The chart over the depth, in pixels. */
enum { FEW = 8 }; /* layers whose cards may be larger */
enum { WIDTH = 1080, HEIGHT = 170, LEFT = 48, TOP = 12, BOTTOM = 26 };

static double member_most(json_t *layers, const char *key, double most)
{
    json_t *layer;
    size_t i;
    json_array_foreach(layers, i, layer) most = fmax(most, html_real(layer, key));
    return most;
}

/* A round number that is not below x, whose quarters are round too. */
static double round_up(double x)
{
    static const double steps[] = {1, 1.2, 1.6, 2, 2.4, 3.2, 4, 5, 6, 8, 10};
    const double ten = x > 0 ? pow(10, floor(log10(x))) : 1;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (x <= steps[i] * ten * (1 + 1e-9))
            return steps[i] * ten;
    return 10 * ten;
}

static void grid_add(struct str *out, double top)
{
    const double inner = HEIGHT - TOP - BOTTOM;
    for (int k = 0; k <= 4; k++) {
        const double y = TOP + inner * (1 - k / 4.0);
        str_addf(out, "<path class=\"%s\" d=\"M%d %.5gH%d\"/>", k ? "grid" : "axis", LEFT, y,
                 WIDTH);
        if (k % 2 == 0)
            str_addf(out, "<text class=\"tick end\" x=\"%d\" y=\"%.5g\">%.3g</text>", LEFT - 8,
                     y + 4, top * k / 4);
    }
}

static void title_add(struct str *out, json_t *layer)
{
    str_addf(out, "<title>layer %lld: output error ", (long long)html_int(layer, "layer"));
    html_number(out, html_real(layer, "output_error"));
    if (html_at(layer, "predicted_error")) {
        str_add(out, ", predicted ");
        html_number(out, html_real(layer, "predicted_error"));
    }
    if (html_at(layer, "collapsed")) {
        str_add(out, ", collapsed ");
        html_number(out, html_real(layer, "collapsed.output_error"));
    }
    str_add(out, "</title>");
}

static void bars_add(struct str *out, json_t *layers, double top)
{
    const size_t n = json_array_size(layers), every = (n + 31) / 32;
    const double step = (WIDTH - LEFT) / (double)n, bar = fmin(step * 0.66, 56);
    const double inner = HEIGHT - TOP - BOTTOM, scale = inner / top;
    json_t *layer;
    size_t i;

    json_array_foreach(layers, i, layer)
    {
        const long long l = html_int(layer, "layer");
        const double middle = LEFT + ((double)i + 0.5) * step, base = TOP + inner;
        const double h = scale * html_real(layer, "output_error");
        str_addf(out, "<a href=\"#layer-%lld\">", l);
        title_add(out, layer);
        str_addf(out, "<rect class=\"hit\" x=\"%.5g\" y=\"%d\" width=\"%.5g\" height=\"%.5g\"/>",
                 middle - step / 2, TOP, step, inner);
        str_addf(out, "<rect class=\"bar\" x=\"%.5g\" y=\"%.5g\" width=\"%.5g\" height=\"%.5g\"/>",
                 middle - bar / 2, base - h, bar, h);
        if (html_at(layer, "collapsed"))
            str_addf(out, "<circle class=\"collapsed\" cx=\"%.5g\" cy=\"%.5g\" r=\"4\"/>", middle,
                     base - scale * html_real(layer, "collapsed.output_error"));
        if (html_at(layer, "predicted_error"))
            str_addf(out, "<path class=\"predicted\" d=\"M%.5g %.5gh%.5g\"/>", middle - bar * 0.65,
                     base - scale * html_real(layer, "predicted_error"), bar * 1.3);
        str_add(out, "</a>");
        if (i % every == 0)
            str_addf(out, "<text class=\"tick middle\" x=\"%.5g\" y=\"%d\">%lld</text>", middle,
                     HEIGHT - 9, l);
    }
}

static void chart_add(struct str *out, json_t *layers)
{
    const double most = member_most(layers, "output_error", 0);
    const double top = round_up(member_most(layers, "predicted_error",
                                            member_most(layers, "collapsed.output_error", most)));

    str_add(out, "<figure class=\"chart\"><figcaption>Output error of each layer: ");
    str_add(out, "mean of \xe2\x80\x96merged \xe2\x88\x92 original\xe2\x80\x96\xc2\xb2 / "
                 "\xe2\x80\x96original\xe2\x80\x96\xc2\xb2 of the MoE block");
    if (member_most(layers, "predicted_error", 0) > 0)
        str_add(out, "; <span class=\"key line\"></span> what the method predicted");
    if (member_most(layers, "collapsed.output_error", 0) > 0)
        str_add(out, "; <span class=\"key warn\"></span> under the collapsed router");
    str_addf(out,
             "</figcaption>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"output error of "
             "each layer\">",
             WIDTH, HEIGHT);
    grid_add(out, top);
    bars_add(out, layers, top);
    str_add(out, "</svg></figure>\n");
}

static void warnings_list(struct str *out, json_t *layers)
{
    json_t *layer, *x;
    size_t i, k, n = 0;

    json_array_foreach(layers, i, layer) n += json_array_size(html_at(layer, "warnings"));
    if (!n)
        return;
    str_addf(out,
             "<details class=\"more\" id=\"warnings\"%s><summary>%zu warning%s</summary><ul "
             "class=\"warnings\">",
             n <= 6 ? " open" : "", n, n == 1 ? "" : "s");
    json_array_foreach(layers, i, layer) json_array_foreach(html_at(layer, "warnings"), k, x)
    {
        const long long l = html_int(layer, "layer");
        str_addf(out, "<li><a href=\"#layer-%lld\">layer %lld</a>: ", l, l);
        html_text(out, json_string_value(x));
        str_add(out, "</li>\n");
    }
    str_add(out, "</ul></details>\n");
}

/* How to read the cards, for what is on them. */
static void guide_add(struct str *out, json_t *layers)
{
    bool errors = false, trees = false, distances = false, similarities = false, use = false,
         ties = false;
    json_t *layer;
    size_t i;

    json_array_foreach(layers, i, layer)
    {
        errors = errors || html_at(layer, "output_error");
        trees = trees || json_array_size(html_at(layer, "merges"));
        distances = distances || html_at(layer, "distances");
        similarities = similarities || html_at(layer, "similarities");
        use = use || html_at(layer, "usage");
        ties = ties || json_array_size(html_at(layer, "warnings"));
    }
    str_add(out, "<p class=\"guide\">Each card is a layer; a click opens it.");
    if (trees)
        str_add(out, " Above, the tree of the clustering: coloured below the cut, grey beyond it.");
    if (distances || similarities)
        str_addf(out,
                 " The square is the matrix of %s the clustering went by, experts in the order of "
                 "the %s, each layer on its own scale, groups framed: "
                 "unlike <svg class=\"legend\" viewBox=\"0 0 60 8\" aria-hidden=\"true\"><rect "
                 "class=\"heat\" width=\"60\" height=\"8\" fill=\"url(#grey)\"/></svg> alike.",
                 distances ? "distances" : "similarities", trees ? "tree" : "groups");
    if (use)
        str_add(out, " Bars are how often the router chose each expert, two shades for "
                     "neighbouring groups.");
    if (errors)
        str_add(out, " The number below is the output error.");
    if (ties)
        str_add(out, " <span class=\"badge\">1</span> counts warnings.");
    str_add(out, "</p>\n");
}

int html_layers(struct str *out, json_t *report)
{
    json_t *layers = html_at(report, "layers"), *layer;
    const double most = member_most(layers, "output_error", 0);
    const int64_t n_all = html_int(report, "model.layers"), n = (int64_t)json_array_size(layers);
    double mean;
    size_t i;
    int status = 0;

    str_add(out, "<section id=\"layers\"><h2>Layers</h2>\n");
    if (html_layers_mean(report, "output_error", &mean) && n > 0)
        chart_add(out, layers);
    else
        str_add(out, "<p class=\"note\">The output error was not measured ([run] quality_tokens = "
                     "0, or a run without calibration text).</p>\n");
    warnings_list(out, layers);
    guide_add(out, layers);
    if (n < n_all)
        str_addf(out,
                 "<p class=\"note\">%lld of %lld layers were left alone: dense, or before "
                 "[group] start_layer.</p>\n",
                 (long long)(n_all - n), (long long)n_all);
    str_addf(out, "<div class=\"layers%s\">\n", n <= FEW ? " few" : "");
    json_array_foreach(layers, i, layer) if (!status) status = html_layer(out, layer, most);
    str_add(out, "</div></section>\n");
    return status;
}
