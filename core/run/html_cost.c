/*
 * html_cost.c - the plan against what was measured, and how to make the run again.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>

#include "run/html_parts.h"
#include "run/plan.h"

/* ---- time ---- */

struct share {
    const char *name, *key;
    double seconds;
};

/* Seconds of each part of the run, as one bar. */
static void times_add(struct str *out, json_t *report)
{
    struct share parts[] = {{"calibrate", "time_s.calibrate", 0},
                            {"merge", "time_s.merge", 0},
                            {"write", "time_s.write", 0},
                            {"evaluate", "time_s.eval", 0},
                            {"other", NULL, 0}};
    enum { N = sizeof parts / sizeof *parts };
    const double total = html_real(report, "time_s.total");
    double rest = total;

    for (int i = 0; i < N - 1; i++) {
        parts[i].seconds = html_real(report, parts[i].key);
        rest -= parts[i].seconds;
    }
    parts[N - 1].seconds = fmax(0, rest);
    str_add(out, "<figure class=\"times\"><figcaption><b>");
    html_seconds(out, total);
    str_add(out, "</b> in all, ");
    html_seconds(out, html_real(report, "time_s.read"));
    str_add(out, " of them waiting for weights that were read in the background</figcaption>"
                 "<div class=\"stack\">");
    for (int i = 0; i < N; i++)
        if (parts[i].seconds > 0)
            str_addf(out, "<i class=\"part%d\" style=\"flex-grow:%.5g\" title=\"%s %.4g s\"></i>",
                     i, parts[i].seconds, parts[i].name, parts[i].seconds);
    str_add(out, "</div><ul class=\"keys\">");
    for (int i = 0; i < N; i++) {
        str_addf(out, "<li><i class=\"part%d\"></i>%s <b>", i, parts[i].name);
        html_seconds(out, parts[i].seconds);
        str_add(out, "</b></li>");
    }
    str_add(out, "</ul></figure>\n");
}

/* ---- plan and measurement ---- */

static void pair_begin(struct str *out, const char *what)
{
    str_addf(out, "<tr><th scope=\"row\">%s</th><td class=\"n\">", what);
}

static void ratio_add(struct str *out, double planned, double measured)
{
    if (planned <= 0 || measured <= 0) {
        str_add(out, "<td></td></tr>\n");
        return;
    }
    const double most = fmax(planned, measured);
    str_addf(out,
             "<td class=\"plot\"><span class=\"two\" role=\"img\" aria-label=\"measured %.0f%% of "
             "planned\"><i class=\"planned\" style=\"width:%.4g%%\"></i><i class=\"measured\" "
             "style=\"width:%.4g%%\"></i></span><small>%.0f&#8239;%%</small></td></tr>\n",
             100 * measured / planned, 100 * planned / most, 100 * measured / most,
             100 * measured / planned);
}

static void bytes_row(struct str *out, json_t *report, const char *what, const char *planned,
                      const char *measured)
{
    json_t *p = html_at(report, planned), *m = html_at(report, measured);
    if (!p && !m)
        return;
    pair_begin(out, what);
    if (p)
        bytes_print(out, json_integer_value(p));
    str_add(out, "</td><td class=\"n\">");
    if (m)
        bytes_print(out, json_integer_value(m));
    str_add(out, "</td>");
    ratio_add(out, json_number_value(p), json_number_value(m));
}

/* Operations are planned; what is measured of them is how fast they went. */
static void work_row(struct str *out, json_t *report, const char *what, const char *planned,
                     int times, const char *seconds)
{
    const double flops = html_real(report, planned) * times, s = html_real(report, seconds);
    if (flops <= 0)
        return;
    pair_begin(out, what);
    str_addf(out, "%.3g FLOP</td><td class=\"n\">", flops);
    if (s > 0) {
        html_number(out, flops / s / 1e9);
        str_add(out, " GFLOP/s");
    }
    str_add(out, "</td><td></td></tr>\n");
}

void html_cost(struct str *out, json_t *report)
{
    const int evaluations = (html_at(report, "eval.before") != NULL) +
                            (html_at(report, "eval.exact") != NULL) +
                            (html_at(report, "eval.after") != NULL);

    str_add(out,
            "<section id=\"cost\"><h2>Plan and measurement</h2>\n<div class=\"two-columns\">\n");
    times_add(out, report);
    str_add(out, "<div class=\"scroll\"><table class=\"plan\"><thead><tr><th></th><th "
                 "class=\"n\">planned</th><th class=\"n\">measured</th><th><span class=\"key "
                 "planned\"></span> planned <span class=\"key measured\"></span> "
                 "measured</th></tr></thead><tbody>\n");
    bytes_row(out, report, "memory at most", "memory.planned_bytes", "memory.peak_rss_bytes");
    bytes_row(out, report, "read, without evaluating", "plan.read_bytes", "io.read_bytes");
    bytes_row(out, report, "written, without evaluating", "plan.write_bytes", "io.written_bytes");
    bytes_row(out, report, "weights on disk", "plan.disk_bytes", "result.bytes");
    work_row(out, report, "calibration", "plan.flops", 1, "time_s.calibrate");
    work_row(out, report, "merging", "plan.merge_flops", 1, "time_s.merge");
    work_row(out, report, "evaluation", "plan.eval_flops", evaluations, "time_s.eval");
    str_add(out, "</tbody></table></div></div>\n");
    if (html_int(report, "plan.passes") > 1)
        str_addf(out, "<p class=\"note\">%lld passes over the layers.</p>\n",
                 (long long)html_int(report, "plan.passes"));
    str_add(out, "</section>\n");
}

/* ---- how to make it again ---- */

static void hash_row(struct str *out, json_t *report, const char *what, const char *path)
{
    if (!html_at(report, path))
        return;
    str_addf(out, "<tr><th scope=\"row\">%s</th><td><code data-hash=\"%s\">", what, path);
    html_text(out, html_string(report, path));
    str_add(out, "</code></td></tr>\n");
}

/* Of a report without the INI's text: the keys and values that it does have. */
static void config_add(struct str *out, json_t *config)
{
    const char *section, *key;
    json_t *keys, *value;

    json_object_foreach(config, section, keys)
    {
        str_add(out, "[");
        html_text(out, section);
        str_add(out, "]\n");
        json_object_foreach(keys, key, value)
        {
            html_text(out, key);
            str_add(out, " = ");
            html_text(out, json_string_value(value));
            str_add(out, "\n");
        }
        str_add(out, "\n");
    }
}

void html_again(struct str *out, json_t *report)
{
    const bool text = html_at(report, "reproduce.run_ini") != NULL;

    str_add(out, "<section id=\"again\"><h2>Making it again</h2>\n");
    str_add(out,
            "<p>The effective settings lie beside this page; they give the same weights, to the "
            "byte, on any number of threads:</p>\n"
            "<pre>hcsmoe -c hcsmoe/run.ini -s output.output_path=OTHER_FOLDER</pre>\n"
            "<table class=\"hashes\"><tbody>\n<tr><th scope=\"row\">program</th><td>hcsmoe ");
    html_text(out, html_string(report, "version"));
    str_add(out, "</td></tr>\n");
    if (html_at(report, "calibration")) {
        str_add(out, "<tr><th scope=\"row\">calibration text</th><td>");
        html_text(out, html_string(report, "calibration.data"));
        str_add(out, ": ");
        html_count(out, html_int(report, "calibration.tokens"));
        str_addf(out, " tokens of %lld documents</td></tr>\n",
                 (long long)html_int(report, "calibration.documents"));
    }
    hash_row(out, report, "calibration tokens, int32, SHA-256", "calibration.sha256");
    hash_row(out, report, "run.ini, SHA-256", "reproduce.run_ini_sha256");
    hash_row(out, report,
             "config.json, names and sizes of the weights, tokens: key of the statistics",
             "reproduce.statistics_key");
    str_addf(out, "</tbody></table>\n<details class=\"more\"><summary>%s</summary><pre>",
             text ? "run.ini" : "All settings");
    if (text)
        html_text(out, html_string(report, "reproduce.run_ini"));
    else
        config_add(out, html_at(report, "config"));
    str_add(out, "</pre></details></section>\n");
}
