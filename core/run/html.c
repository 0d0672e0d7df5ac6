/*
 * html.c - the page of one run: what became smaller and what it cost, then each part in its
 * section.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>

#include "run/html_parts.h"
#include "run/plan.h"

static void tile_begin(struct str *out, const char *name)
{
    str_addf(out, "<div class=\"tile\"><dt>%s</dt><dd>", name);
}

static void tile_end(struct str *out)
{
    str_add(out, "</div>\n");
}

/* Two bars, the original's and the result's. */
static void bars_add(struct str *out, double before, double after)
{
    const double most = fmax(before, after);
    if (most > 0)
        str_addf(
            out,
            "<span class=\"two\" aria-hidden=\"true\"><i class=\"planned\" "
            "style=\"width:%.4g%%\"></i><i class=\"measured\" style=\"width:%.4g%%\"></i></span>",
            100 * before / most, 100 * after / most);
}

static void change_add(struct str *out, double before, double after)
{
    str_add(out, "<p>");
    if (before > 0)
        html_signed(out, 100 * (after / before - 1), 1, "&#8239;%");
    str_add(out, " of the original</p>");
}

static void size_tiles(struct str *out, json_t *report)
{
    const double bytes[2] = {html_real(report, "model.bytes"), html_real(report, "result.bytes")};
    const double count[2] = {html_real(report, "model.parameters"),
                             html_real(report, "result.parameters")};

    str_addf(
        out, "<div class=\"tile\" data-bytes-before=\"%lld\" data-bytes-after=\"%lld\"><dt>size",
        (long long)html_int(report, "model.bytes"), (long long)html_int(report, "result.bytes"));
    str_add(out, "</dt><dd>");
    bytes_print(out, html_int(report, "model.bytes"));
    str_add(out, " \xe2\x86\x92 ");
    bytes_print(out, html_int(report, "result.bytes"));
    str_add(out, "</dd>");
    bars_add(out, bytes[0], bytes[1]);
    change_add(out, bytes[0], bytes[1]);
    tile_end(out);
    str_addf(out,
             "<div class=\"tile\" data-parameters-before=\"%lld\" data-parameters-after=\"%lld\">"
             "<dt>parameters</dt><dd>",
             (long long)html_int(report, "model.parameters"),
             (long long)html_int(report, "result.parameters"));
    html_count(out, html_int(report, "result.parameters"));
    str_add(out, "</dd>");
    bars_add(out, count[0], count[1]);
    str_add(out, "<p>of ");
    html_count(out, html_int(report, "model.parameters"));
    str_add(out, "</p>");
    tile_end(out);
}

static void error_tile(struct str *out, json_t *report)
{
    json_t *layers = html_at(report, "layers"), *layer, *worst = NULL;
    double mean;
    size_t i;

    if (!html_layers_mean(report, "output_error", &mean))
        return;
    json_array_foreach(layers, i, layer) if (!worst || html_real(layer, "output_error") >
                                                           html_real(worst, "output_error")) worst =
        layer;
    tile_begin(out, "output error, mean of layers");
    html_number(out, mean);
    str_addf(out, "</dd><p>most in <a href=\"#layer-%lld\">layer %lld</a>: ",
             (long long)html_int(worst, "layer"), (long long)html_int(worst, "layer"));
    html_number(out, html_real(worst, "output_error"));
    str_add(out, "</p>");
    tile_end(out);
}

/* The first task stands for the evaluation: the first text for perplexity, if there is one. */
static void task_tile(struct str *out, json_t *report)
{
    json_t *before = html_at(report, "eval.before"), *after = html_at(report, "eval.after"), *task;
    const char *name, *chosen = NULL;
    const struct html_metric *m = NULL;

    json_object_foreach(after, name, task)
    {
        const struct html_metric *first = html_metric_first(task);
        if (first && (!chosen || (m->percent && !first->percent))) {
            chosen = name;
            m = first;
        }
    }
    if (!chosen)
        return;
    str_add(out, "<div class=\"tile\"><dt>");
    html_text(out, chosen);
    str_addf(out, ", %s</dt><dd>", m->name);
    if (html_at(before, chosen)) {
        html_value(out, json_object_get(before, chosen), m);
        str_add(out, " \xe2\x86\x92 ");
    }
    html_value(out, json_object_get(after, chosen), m);
    str_add(out, "</dd><p><a href=\"#eval\">all tasks</a></p>");
    tile_end(out);
}

static void head_add(struct str *out, json_t *report)
{
    json_t *layers = html_at(report, "layers"), *layer;
    size_t i, n_warnings = 0;

    json_array_foreach(layers, i, layer) n_warnings += json_array_size(html_at(layer, "warnings"));
    str_add(out, "<header>\n<p class=\"brow\">hcsmoe ");
    html_text(out, html_string(report, "version"));
    str_add(out, "</p>\n<h1>");
    html_text(out, html_string(report, "model.name"));
    str_add(out, "</h1>\n<p class=\"sub\">");
    html_text(out, html_string(report, "model.family"));
    str_addf(out, ", experts in each of %zu layer%s: ", json_array_size(layers),
             json_array_size(layers) == 1 ? "" : "s");
    html_experts(out, report);
    str_add(out, ". Method: ");
    html_method(out, report);
    str_add(out, "</p>\n<dl class=\"tiles\">\n");
    size_tiles(out, report);
    error_tile(out, report);
    task_tile(out, report);
    tile_begin(out, "time and memory");
    html_seconds(out, html_real(report, "time_s.total"));
    str_add(out, "</dd><p>");
    bytes_print(out, html_int(report, "memory.peak_rss_bytes"));
    str_add(out, " at most, <a href=\"#cost\">plan</a></p>");
    tile_end(out);
    str_add(out, "</dl>\n<nav><a href=\"#layers\">Layers</a><a href=\"#eval\">Evaluation</a><a "
                 "href=\"#cost\">Plan and measurement</a><a href=\"#again\">Making it again</a>");
    if (n_warnings)
        str_addf(out, "<a href=\"#warnings\"><span class=\"badge\">%zu</span> warnings</a>",
                 n_warnings);
    str_add(out, "</nav>\n</header>\n");
}

int html_run(json_t *report, struct str *out)
{
    struct str title = {0};

    str_addf(&title, "%s, merged", html_string(report, "model.name"));
    html_begin(out, str_text(&title));
    str_release(&title);
    head_add(out, report);
    int status = html_layers(out, report);
    html_eval(out, report);
    html_cost(out, report);
    html_again(out, report);
    html_end(out);
    return status ? status : str_check(out);
}
