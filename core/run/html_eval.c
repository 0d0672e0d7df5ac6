/*
 * html_eval.c - the evaluation: every metric before and after, the difference, errors drawn to
 * scale.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include "run/html_parts.h"

enum { PLOT_WIDTH = 230, PLOT_HEIGHT = 26, PLOT_EDGE = 8, PARTS_SHOWN = 6 };

const struct html_metric html_metrics[] = {
    {.name = "acc", .up = true, .percent = true},
    {.name = "acc_norm", .up = true, .percent = true},
    {.name = "token_perplexity"},
    {.name = "word_perplexity"},
    {.name = "byte_perplexity"},
    {.name = "bits_per_byte"},
};
const size_t n_html_metrics = sizeof html_metrics / sizeof *html_metrics;

static json_t *stderr_of(json_t *task, const struct html_metric *m)
{
    char key[64];
    (void)snprintf(key, sizeof key, "%s_stderr", m->name);
    json_t *x = html_at(task, key);
    return json_is_number(x) ? x : NULL; /* else "N/A" */
}

bool html_stderr(json_t *task, const struct html_metric *m, double *error)
{
    json_t *x = stderr_of(task, m);
    *error = json_number_value(x);
    return x != NULL;
}

void html_value(struct str *out, json_t *task, const struct html_metric *m)
{
    double error;

    if (!html_at(task, m->name))
        return;
    if (m->percent)
        str_addf(out, "%.2f", 100 * html_real(task, m->name));
    else
        html_number(out, html_real(task, m->name));
    if (html_stderr(task, m, &error))
        str_addf(out, "<small>\xc2\xb1%.2f</small>", m->percent ? 100 * error : error);
}

const struct html_metric *html_metric_first(json_t *task)
{
    for (size_t i = 0; i < n_html_metrics; i++)
        if (html_at(task, html_metrics[i].name))
            return &html_metrics[i];
    return NULL;
}

bool html_task_is_part(json_t *tasks, const char *name)
{
    const char *key;
    json_t *task;

    json_object_foreach(tasks, key, task)
    {
        const size_t n = strlen(key);
        if (!strncmp(key, name, n) && name[n] == '_')
            return true;
    }
    return false;
}

/* What is shown of an evaluation: the tasks of each state of the model; NULL: that was not
 * evaluated. */
struct sides {
    json_t *before, *exact, *after;
    double least, most; /* the axis of all shares, errors included */
};

static void axis_extend(struct sides *s, json_t *tasks)
{
    const char *key;
    json_t *task;

    json_object_foreach(tasks, key, task) for (size_t i = 0; i < n_html_metrics; i++)
    {
        double error;
        if (!html_metrics[i].percent || !html_at(task, html_metrics[i].name))
            continue;
        (void)html_stderr(task, &html_metrics[i], &error);
        s->least = fmin(s->least, html_real(task, html_metrics[i].name) - error);
        s->most = fmax(s->most, html_real(task, html_metrics[i].name) + error);
    }
}

static void axis_make(struct sides *s)
{
    s->least = 1;
    s->most = 0;
    axis_extend(s, s->before);
    axis_extend(s, s->exact);
    axis_extend(s, s->after);
    s->least = fmax(0, floor(s->least * 20) / 20);
    s->most = fmin(1, ceil(s->most * 20) / 20);
    if (s->most <= s->least)
        s->most = s->least + 0.05;
}

static double axis_at(const struct sides *s, double x)
{
    return PLOT_EDGE + (PLOT_WIDTH - 2 * PLOT_EDGE) * (x - s->least) / (s->most - s->least);
}

/* A point with a bar of one standard error to each side. */
static void whisker(struct str *out, const struct sides *s, json_t *task,
                    const struct html_metric *m, const char *class, double y)
{
    double error;

    if (!html_at(task, m->name))
        return;
    const double x = html_real(task, m->name);
    if (html_stderr(task, m, &error))
        str_addf(out, "<path class=\"%s\" d=\"M%.5g %.5gH%.5g\"/>", class, axis_at(s, x - error), y,
                 axis_at(s, x + error));
    str_addf(out, "<circle class=\"%s\" cx=\"%.5g\" cy=\"%.5g\" r=\"3.6\"/>", class, axis_at(s, x),
             y);
}

static void plot_add(struct str *out, const struct sides *s, const char *name,
                     const struct html_metric *m)
{
    json_t *before = html_at(s->before, name), *after = html_at(s->after, name);

    str_addf(
        out,
        "<svg class=\"whiskers\" viewBox=\"0 0 %d %d\" width=\"%d\" role=\"img\" "
        "aria-label=\"original and result with errors\"><path class=\"grid\" d=\"M%d %dH%d\"/>",
        PLOT_WIDTH, PLOT_HEIGHT, PLOT_WIDTH, PLOT_EDGE, PLOT_HEIGHT / 2, PLOT_WIDTH - PLOT_EDGE);
    whisker(out, s, before, m, "before", PLOT_HEIGHT * 0.28);
    whisker(out, s, after, m, "after", before ? PLOT_HEIGHT * 0.72 : PLOT_HEIGHT * 0.5);
    str_add(out, "</svg>");
}

static void difference_add(struct str *out, json_t *before, json_t *after,
                           const struct html_metric *m)
{
    const double x = html_real(before, m->name), y = html_real(after, m->name), d = y - x;
    double a, b;
    const bool known = html_stderr(before, m, &a) && html_stderr(after, m, &b);
    const double error = known ? sqrt(a * a + b * b) : 0;
    const bool better = m->up ? d > error : d < -error, worse = m->up ? d < -error : d > error;

    str_addf(out, "<td class=\"n %s\">", better ? "better" : worse ? "worse" : "same");
    if (m->percent) {
        html_signed(out, 100 * d, 2, "");
        if (known)
            str_addf(out, "<small>\xc2\xb1%.2f</small>", 100 * error);
    } else {
        str_add(out, d < 0 ? "\xe2\x88\x92" : "+");
        html_number(out, fabs(d));
        if (x > 0)
            str_addf(out, "<small>\xc3\x97%.3g</small>", y / x);
    }
    str_add(out, "</td>");
}

static void row_add(struct str *out, const struct sides *s, const char *name, bool first,
                    const struct html_metric *m)
{
    json_t *before = html_at(s->before, name), *exact = html_at(s->exact, name),
           *after = html_at(s->after, name);

    str_add(out, "<tr data-task=\"");
    html_text(out, name);
    str_addf(out, "\" data-metric=\"%s\"", m->name);
    if (before)
        html_data(out, "before", html_at(before, m->name));
    if (before)
        html_data(out, "before-stderr", stderr_of(before, m));
    if (exact)
        html_data(out, "exact", html_at(exact, m->name));
    html_data(out, "after", html_at(after, m->name));
    html_data(out, "after-stderr", stderr_of(after, m));
    str_add(out, "><th scope=\"row\">");
    if (first) {
        const char *alias = html_string(after, "alias"), *data = html_string(after, "data");
        html_text(out, *alias ? alias : name);
        if (*data) {
            str_add(out, " <small>");
            html_text(out, data);
            str_add(out, "</small>");
        }
    }
    str_addf(out, "</th><td>%s%s</td>", m->name, m->up ? " \xe2\x86\x91" : " \xe2\x86\x93");
    if (s->before) {
        str_add(out, "<td class=\"n\">");
        html_value(out, before, m);
        str_add(out, "</td>");
    }
    if (s->exact) {
        str_add(out, "<td class=\"n\">");
        html_value(out, exact, m);
        str_add(out, "</td>");
    }
    str_add(out, "<td class=\"n\">");
    html_value(out, after, m);
    str_add(out, "</td>");
    if (s->before && html_at(before, m->name))
        difference_add(out, before, after, m);
    else if (s->before)
        str_add(out, "<td></td>");
    str_add(out, "<td class=\"plot\">");
    if (m->percent)
        plot_add(out, s, name, m);
    str_add(out, "</td></tr>\n");
}

static void table_begin(struct str *out, const struct sides *s)
{
    str_add(out,
            "<div class=\"scroll\"><table class=\"eval\"><thead><tr><th>task</th><th>metric</th>");
    if (s->before)
        str_add(out, "<th class=\"n\">original</th>");
    if (s->exact)
        str_add(out, "<th class=\"n\">merged, exact router</th>");
    str_add(out,
            s->exact ? "<th class=\"n\">merged, collapsed</th>" : "<th class=\"n\">merged</th>");
    if (s->before)
        str_add(out, "<th class=\"n\">difference</th>");
    str_addf(out, "<th><span class=\"ends\"><span>%.0f&#8239;%%</span><span>", 100 * s->least);
    if (s->before)
        str_add(out, "<span class=\"key ring\"></span> original <span class=\"key dot\"></span> "
                     "merged");
    str_addf(out, "</span><span>%.0f&#8239;%%</span></span></th></tr></thead><tbody>\n",
             100 * s->most);
}

/* Tasks of the whole, or their parts only. */
static void table_add(struct str *out, const struct sides *s, int parts)
{
    const char *name;
    json_t *task;

    table_begin(out, s);
    json_object_foreach(s->after, name, task)
    {
        bool first = true;
        if (parts >= 0 && html_task_is_part(s->after, name) != (parts > 0))
            continue;
        for (size_t i = 0; i < n_html_metrics; i++) {
            if (!html_at(task, html_metrics[i].name))
                continue;
            row_add(out, s, name, first, &html_metrics[i]);
            first = false;
        }
    }
    str_add(out, "</tbody></table></div>\n");
}

void html_eval(struct str *out, json_t *report)
{
    struct sides s = {.before = html_at(report, "eval.before"),
                      .exact = html_at(report, "eval.exact"),
                      .after = html_at(report, "eval.after")};
    const char *name;
    json_t *task;
    size_t n_parts = 0;

    str_add(out, "<section id=\"eval\"><h2>Evaluation</h2>\n");
    if (!s.after) {
        str_add(out, "<p class=\"note\">Nothing was evaluated.</p></section>\n");
        return;
    }
    axis_make(&s);
    json_object_foreach(s.after, name, task) n_parts += html_task_is_part(s.after, name);
    table_add(out, &s, n_parts > PARTS_SHOWN ? 0 : -1);
    if (n_parts > PARTS_SHOWN) {
        str_addf(out, "<details class=\"more\"><summary>The %zu parts of these tasks</summary>\n",
                 n_parts);
        table_add(out, &s, 1);
        str_add(out, "</details>\n");
    }
    str_add(out, "<p class=\"note\">Accuracies in %; \xc2\xb1 is one standard error. ");
    if (s.before)
        str_add(out, "That of a difference is taken as if both were measured on documents of their "
                     "own; they share them, so that the true one is mostly smaller. Coloured: a "
                     "difference larger than its error.");
    str_add(out, "</p></section>\n");
}
