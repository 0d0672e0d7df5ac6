/*
 * html_compare.c - several runs side by side: a table, quality against size, and where their
 * settings differ.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "run/html_parts.h"
#include "run/plan.h"

/* A plot of quality against size, in pixels. */
enum { WIDTH = 360, HEIGHT = 230, LEFT = 54, RIGHT = 26, TOP = 12, BOTTOM = 34 };

/* One column of the table, one plot: a task's first metric, or the output error. */
struct column {
    const char *task; /* NULL: the output error */
    const struct html_metric *metric;
};

struct comparison {
    json_t *const *reports;
    const char *const *names;
    size_t n;
    struct column *columns;
    size_t n_columns, capacity;
};

static int column_add(struct comparison *c, const char *task, const struct html_metric *m)
{
    for (size_t i = 0; i < c->n_columns; i++)
        if (task && c->columns[i].task && !strcmp(c->columns[i].task, task))
            return 0;
    if (mem_grow(&c->columns, c->n_columns, &c->capacity, sizeof *c->columns))
        return HCSMOE_ENOMEM;
    c->columns[c->n_columns++] = (struct column){task, m};
    return 0;
}

/* Tasks of any run, in the order in which they turn up; not their parts. */
static int columns_find(struct comparison *c)
{
    const char *name;
    json_t *task;
    int status = column_add(c, NULL, NULL);

    for (size_t r = 0; r < c->n; r++) {
        json_t *after = html_at(c->reports[r], "eval.after");
        json_object_foreach(after, name, task)
        {
            const struct html_metric *m = html_metric_first(task);
            if (!status && m && !html_task_is_part(after, name))
                status = column_add(c, name, m);
        }
    }
    return status;
}

/* What a run, or (original) the model it started from, has in a column. */
static bool cell_value(const struct comparison *c, size_t run, const struct column *col,
                       bool original, double *x, double *error)
{
    *error = 0;
    if (!col->task)
        return !original && html_layers_mean(c->reports[run], "output_error", x);
    json_t *tasks = html_at(c->reports[run], original ? "eval.before" : "eval.after"),
           *task = json_object_get(tasks, col->task);
    if (!task || !html_at(task, col->metric->name))
        return false;
    *x = html_real(task, col->metric->name);
    (void)html_stderr(task, col->metric, error);
    return true;
}

static bool is_percent(const struct column *col)
{
    return col->metric && col->metric->percent;
}

/* The first run of those that started from the same model and evaluated it. */
static bool original_first(const struct comparison *c, size_t run)
{
    const char *name = html_string(c->reports[run], "model.name");
    if (!html_at(c->reports[run], "eval.before"))
        return false;
    for (size_t r = 0; r < run; r++)
        if (html_at(c->reports[r], "eval.before") &&
            !strcmp(html_string(c->reports[r], "model.name"), name))
            return false;
    return true;
}

/* ---- the table ---- */

static bool is_best(const struct comparison *c, size_t run, const struct column *col)
{
    const bool up = col->metric && col->metric->up;
    double mine, x, error;
    size_t others = 0;

    if (!cell_value(c, run, col, false, &mine, &error))
        return false;
    for (size_t r = 0; r < c->n; r++) {
        if (r == run || !cell_value(c, r, col, false, &x, &error))
            continue;
        others++;
        if (up ? x > mine : x < mine)
            return false;
    }
    return others > 0;
}

static void cell_add(struct str *out, const struct comparison *c, size_t run,
                     const struct column *col, bool original)
{
    double x, error;

    if (!cell_value(c, run, col, original, &x, &error)) {
        str_add(out, "<td class=\"n\">\xe2\x80\x93</td>");
        return;
    }
    str_addf(out, "<td class=\"n%s\" data-column=\"",
             !original && is_best(c, run, col) ? " best" : "");
    html_text(out, col->task ? col->task : "output_error");
    str_add(out, "\" data-value=\"");
    str_add_real(out, x);
    str_add(out, "\">");
    if (is_percent(col))
        str_addf(out, "%.2f", 100 * x);
    else
        html_number(out, x);
    if (error > 0)
        str_addf(out, "<small>\xc2\xb1%.2f</small>", is_percent(col) ? 100 * error : error);
    str_add(out, "</td>");
}

static void table_head(struct str *out, const struct comparison *c)
{
    str_add(
        out,
        "<div class=\"scroll\"><table class=\"runs\"><thead><tr><th class=\"n\"></th><th>run</th>"
        "<th>method</th><th>experts</th><th class=\"n\">size</th><th "
        "class=\"n\">parameters</th>");
    for (size_t i = 0; i < c->n_columns; i++) {
        const struct column *col = &c->columns[i];
        str_add(out, "<th class=\"n\">");
        html_text(out, col->task ? col->task : "output error");
        if (col->metric)
            str_addf(out, "<br>%s%s %s", col->metric->name, col->metric->percent ? ", %" : "",
                     col->metric->up ? "\xe2\x86\x91" : "\xe2\x86\x93");
        else
            str_add(out, "<br>mean \xe2\x86\x93");
        str_add(out, "</th>");
    }
    str_add(out, "<th class=\"n\">time</th><th class=\"n\">memory</th></tr></thead><tbody>\n");
}

static void original_row(struct str *out, const struct comparison *c, size_t run)
{
    json_t *r = c->reports[run];
    str_add(out, "<tr class=\"original\"><td></td><th scope=\"row\">");
    html_text(out, html_string(r, "model.name"));
    str_addf(out, "</th><td>original</td><td>%lld</td><td class=\"n\">",
             (long long)html_int(r, "model.experts"));
    bytes_print(out, html_int(r, "model.bytes"));
    str_add(out, "</td><td class=\"n\">");
    html_count(out, html_int(r, "model.parameters"));
    str_add(out, "</td>");
    for (size_t i = 0; i < c->n_columns; i++)
        cell_add(out, c, run, &c->columns[i], true);
    str_add(out, "<td></td><td></td></tr>\n");
}

static void run_row(struct str *out, const struct comparison *c, size_t run)
{
    json_t *r = c->reports[run];
    str_addf(out, "<tr data-run=\"%zu\"><td class=\"n\">%zu</td><th scope=\"row\">", run + 1,
             run + 1);
    html_text(out, c->names[run]);
    str_add(out, "</th><td>");
    html_method(out, r);
    str_add(out, "</td><td>");
    html_experts(out, r);
    str_add(out, "</td><td class=\"n\"");
    html_data(out, "bytes", html_at(r, "result.bytes"));
    str_add(out, ">");
    bytes_print(out, html_int(r, "result.bytes"));
    str_addf(out, "<small>%.0f&#8239;%%</small></td><td class=\"n\">",
             100 * html_real(r, "result.bytes") / fmax(1, html_real(r, "model.bytes")));
    html_count(out, html_int(r, "result.parameters"));
    str_add(out, "</td>");
    for (size_t i = 0; i < c->n_columns; i++)
        cell_add(out, c, run, &c->columns[i], false);
    str_add(out, "<td class=\"n\">");
    html_seconds(out, html_real(r, "time_s.total"));
    str_add(out, "</td><td class=\"n\">");
    bytes_print(out, html_int(r, "memory.peak_rss_bytes"));
    str_add(out, "</td></tr>\n");
}

/* ---- quality against size ---- */

struct axis {
    double least, most;
    bool logarithmic;
};

static void axis_take(struct axis *a, double x)
{
    a->least = fmin(a->least, x);
    a->most = fmax(a->most, x);
}

/* Some room around what was taken; values far apart are drawn by their ratio. */
static void axis_end(struct axis *a, bool may_log)
{
    enum { RATIO_LOG = 8 };
    a->logarithmic = may_log && a->least > 0 && a->most > RATIO_LOG * a->least;
    if (a->logarithmic) {
        const double room = pow(a->most / a->least, 0.06);
        a->least /= room;
        a->most *= room;
        return;
    }
    const double room = a->most > a->least ? 0.08 * (a->most - a->least) : 0.05 * fabs(a->most);
    a->least -= room > 0 ? room : 1;
    a->most += room > 0 ? room : 1;
}

static double axis_at(const struct axis *a, double x)
{
    return a->logarithmic ? log(x / a->least) / log(a->most / a->least)
                          : (x - a->least) / (a->most - a->least);
}

/* The k-th mark of an axis: round numbers, three to six of them; false: there is none any more. */
static bool axis_mark(const struct axis *a, int k, double *x)
{
    static const double steps[] = {1, 2, 5, 10}, parts[] = {1, 2, 5};
    enum { MARKS_MOST = 6, MARKS_WANTED = 5 };
    if (a->logarithmic) { /* 1, 2 and 5 of each power of ten */
        const int from = (int)floor(log10(a->least));
        for (int i = 0; i < 3 * 12; i++) {
            *x = parts[i % 3] * pow(10, from + i / 3);
            if (*x >= a->least && k-- == 0)
                return *x <= a->most;
        }
        return false;
    }
    const double rough = (a->most - a->least) / MARKS_WANTED, ten = pow(10, floor(log10(rough)));
    double step = 10 * ten;
    for (size_t i = sizeof steps / sizeof *steps; i-- > 0;)
        if (steps[i] * ten >= rough)
            step = steps[i] * ten;
    *x = (ceil(a->least / step) + k) * step;
    return *x <= a->most && k < MARKS_MOST;
}

static double plot_x(const struct axis *a, double x)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * axis_at(a, x);
}

static double plot_y(const struct axis *a, double y)
{
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - axis_at(a, y));
}

static bool axes_make(const struct comparison *c, const struct column *col, struct axis *x,
                      struct axis *y)
{
    bool any = false;
    *x = *y = (struct axis){.least = INFINITY, .most = -INFINITY};
    for (size_t r = 0; r < c->n; r++)
        for (int original = 0; original < 2; original++) {
            double v, e;
            if (!cell_value(c, r, col, original, &v, &e))
                continue;
            axis_take(x, html_real(c->reports[r], original ? "model.bytes" : "result.bytes"));
            axis_take(y, v - e);
            axis_take(y, v + e);
            any = true;
        }
    axis_end(x, false);
    axis_end(y, !is_percent(col));
    return any;
}

static void frame_add(struct str *out, const struct column *col, const struct axis *x,
                      const struct axis *y)
{
    const int bottom = HEIGHT - BOTTOM, right = WIDTH - RIGHT;

    double v;

    for (int k = 0; axis_mark(y, k, &v); k++) {
        str_addf(out,
                 "<path class=\"grid\" d=\"M%d %.5gH%d\"/><text class=\"tick end\" x=\"%d\" "
                 "y=\"%.5g\">%.4g</text>",
                 LEFT, plot_y(y, v), right, LEFT - 7, plot_y(y, v) + 4,
                 is_percent(col) ? 100 * v : v);
    }
    for (int k = 0; axis_mark(x, k, &v); k++) {
        str_addf(out,
                 "<path class=\"axis\" d=\"M%.5g %dv4\"/><text class=\"tick middle\" x=\"%.5g\" "
                 "y=\"%d\">",
                 plot_x(x, v), bottom, plot_x(x, v), bottom + 18);
        bytes_print(out, (int64_t)fmax(0, v));
        str_add(out, "</text>");
    }
    str_addf(out, "<path class=\"axis\" d=\"M%d %dH%d\"/>", LEFT, bottom, right);
}

/* Runs of one size stand beside each other. */
static double dodge(const struct comparison *c, size_t run, const struct axis *x)
{
    enum { NEAR = 6, STEP = 15 };
    const double mine = plot_x(x, html_real(c->reports[run], "result.bytes"));
    int n = 0, before = 0;
    for (size_t r = 0; r < c->n; r++) {
        const bool near = fabs(plot_x(x, html_real(c->reports[r], "result.bytes")) - mine) < NEAR;
        n += near;
        before += near && r < run;
    }
    return STEP * (before - (n - 1) / 2.0) * fmin(1, 8.0 / n);
}

static void point_add(struct str *out, const struct comparison *c, size_t run,
                      const struct column *col, bool original, const struct axis *x,
                      const struct axis *y)
{
    double v, e;
    const char *class = original ? " original" : "";

    if (!cell_value(c, run, col, original, &v, &e))
        return;
    const double px =
        plot_x(x, html_real(c->reports[run], original ? "model.bytes" : "result.bytes")) +
        (original ? 0 : dodge(c, run, x));
    str_add(out, "<g><title>");
    html_text(out, original ? html_string(c->reports[run], "model.name") : c->names[run]);
    str_add(out, original ? ", original: " : ": ");
    html_number(out, is_percent(col) ? 100 * v : v);
    str_add(out, is_percent(col) ? " %</title>" : "</title>");
    if (e > 0)
        str_addf(out, "<path class=\"bar%s\" d=\"M%.5g %.5gV%.5g\"/>", class, px, plot_y(y, v - e),
                 plot_y(y, v + e));
    str_addf(out, "<circle class=\"point%s\" cx=\"%.5g\" cy=\"%.5g\" r=\"4.5\"/>", class, px,
             plot_y(y, v));
    if (!original)
        str_addf(out, "<text class=\"mark\" x=\"%.5g\" y=\"%.5g\">%zu</text>", px + 5,
                 plot_y(y, v) - 5, run + 1);
    str_add(out, "</g>");
}

static void plot_add(struct str *out, const struct comparison *c, const struct column *col)
{
    struct axis x, y;

    if (!axes_make(c, col, &x, &y))
        return;
    str_add(out, "<figure><figcaption><b>");
    html_text(out, col->task ? col->task : "output error");
    str_addf(out,
             "</b> %s%s%s%s</figcaption><svg class=\"scatter\" viewBox=\"0 0 %d %d\" role=\"img\" "
             "aria-label=\"quality against size\">",
             col->metric ? col->metric->name : "mean of the layers", is_percent(col) ? ", %" : "",
             col->metric && col->metric->up ? ", higher is better" : ", lower is better",
             y.logarithmic ? ", logarithmic" : "", WIDTH, HEIGHT);
    frame_add(out, col, &x, &y);
    for (size_t r = 0; r < c->n; r++)
        if (original_first(c, r))
            point_add(out, c, r, col, true, &x, &y);
    for (size_t r = 0; r < c->n; r++)
        point_add(out, c, r, col, false, &x, &y);
    str_add(out, "</svg></figure>\n");
}

/* ---- settings ---- */

static const char *setting(const struct comparison *c, size_t run, const char *section,
                           const char *key)
{
    return json_string_value(
        json_object_get(json_object_get(html_at(c->reports[run], "config"), section), key));
}

static bool differs(const struct comparison *c, const char *section, const char *key)
{
    const char *first = setting(c, 0, section, key);
    for (size_t r = 1; r < c->n; r++) {
        const char *x = setting(c, r, section, key);
        if (!x != !first || (x && strcmp(x, first) != 0))
            return true;
    }
    return false;
}

/* Was the key a line already, of an earlier run? */
static bool seen_before(const struct comparison *c, size_t run, const char *section,
                        const char *key)
{
    for (size_t r = 0; r < run; r++)
        if (setting(c, r, section, key))
            return true;
    return false;
}

static void settings_add(struct str *out, const struct comparison *c)
{
    const char *section, *key;
    json_t *keys, *value;
    size_t n = 0;

    str_add(out,
            "<section id=\"settings\"><h2>Settings that differ</h2>\n<div class=\"scroll\"><table "
            "class=\"keyed\"><thead><tr><th>key</th>");
    for (size_t r = 0; r < c->n; r++)
        str_addf(out, "<th>%zu</th>", r + 1);
    str_add(out, "</tr></thead><tbody>\n");
    for (size_t run = 0; run < c->n; run++)
        json_object_foreach(html_at(c->reports[run], "config"), section, keys)
            json_object_foreach(keys, key, value)
        {
            if (!strcmp(section, "output") && strstr(key, "_path"))
                continue; /* where a run went is its name */
            if (seen_before(c, run, section, key) || !differs(c, section, key))
                continue;
            n++;
            str_add(out, "<tr><th scope=\"row\">");
            html_text(out, section);
            str_add(out, ".");
            html_text(out, key);
            str_add(out, "</th>");
            for (size_t r = 0; r < c->n; r++) {
                const char *x = setting(c, r, section, key);
                str_add(out, "<td>");
                html_text(out, x ? x : "\xe2\x80\x93");
                str_add(out, "</td>");
            }
            str_add(out, "</tr>\n");
        }
    str_add(out, "</tbody></table></div>\n");
    if (!n)
        str_add(out, "<p class=\"note\">None but where the results went.</p>\n");
    str_add(out, "</section>\n");
}

int html_compare(json_t *const *reports, const char *const *names, size_t n, struct str *out)
{
    struct comparison c = {.reports = reports, .names = names, .n = n};
    int status = columns_find(&c);

    html_begin(out, "hcsmoe: runs side by side");
    str_addf(out,
             "<header><p class=\"brow\">hcsmoe</p><h1>%zu runs side by side</h1>\n<p "
             "class=\"sub\">Bold: the best of the runs. \xc2\xb1 is one standard "
             "error.</p></header>\n",
             n);
    table_head(out, &c);
    for (size_t r = 0; r < n; r++)
        if (original_first(&c, r))
            original_row(out, &c, r);
    for (size_t r = 0; r < n; r++)
        run_row(out, &c, r);
    str_add(out,
            "</tbody></table></div>\n<section id=\"plots\"><h2>Quality against size</h2>\n<p "
            "class=\"guide\"><span class=\"key dot\"></span> a run, by its number above; <span "
            "class=\"key ring\"></span> the original model. Bars are one standard error to "
            "each side.</p>\n<div class=\"plots\">\n");
    for (size_t i = 0; i < c.n_columns; i++)
        plot_add(out, &c, &c.columns[i]);
    str_add(out, "</div></section>\n");
    settings_add(out, &c);
    html_end(out);
    mem_free(c.columns);
    return status ? status : str_check(out);
}
