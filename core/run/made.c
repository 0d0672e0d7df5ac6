/*
 * made.c - one variant's layers on their way to the output folder.
 * SPDX-License-Identifier: MIT
 */
#include "run/made.h"

#include <string.h>

#include "base/log.h"
#include "base/path.h"
#include "base/trace.h"
#include "run/html.h"
#include "run/statistics.h"

int made_open(struct made *d, struct variant *v, const struct prepared *p)
{
    *d = (struct made){.v = v, .p = p};
    return report_open(&d->report, v->c, p);
}

int made_folders(struct made *d, const char *target)
{
    const struct config *c = d->v->c;
    /* Where no experts are joined there is nothing to map: the plain form is the same, and every
     * loader reads it. */
    const bool plain =
        c->layout == LAYOUT_MAPPED && (c->merge.component->c.caps & HCSMOE_CAP_NO_GROUPS);
    int status =
        output_open(&d->output, d->p->m, target, plain ? LAYOUT_EXPANDED : c->layout, c->overwrite);
    char *beside = NULL;

    d->report.matrices = true;
    if (status || c->layout != LAYOUT_COLLAPSED || !d->p->eval)
        return status;
    beside = mem_printf("%s.exact", d->output.target);
    status = beside ? output_open(&d->exact, d->p->m, beside, LAYOUT_MAPPED, true) : HCSMOE_ENOMEM;
    mem_free(beside);
    return status;
}

void made_release(struct made *d)
{
    output_release(&d->output);
    output_release(&d->exact);
    report_release(&d->report);
}

/* What a layer loses, and its router when the layout has one of its own. */
static int layer_measure(struct made *d, const struct layer *l, const struct layer_stats *s,
                         const struct merged *x, struct quality *q, struct collapsed *y,
                         struct loss *loss)
{
    const struct config *c = d->v->c;
    const bool collapses = c->layout == LAYOUT_COLLAPSED, measures = q && q->n;
    int status = 0;

    if (measures) {
        status = quality_error(q, &x->layer, &loss->error);
        d->error_sum += loss->error;
        d->error_n++;
    }
    if (!status && collapses)
        status = collapse_layer(y, d->p->m, l, x, s->usage, c->row);
    if (!status && collapses && measures)
        status = quality_error(q, &y->layer, &loss->collapsed_error);
    if (!status && collapses && measures)
        status = quality_overlap(q, &x->layer, &y->layer, &loss->overlap);
    return status;
}

static int64_t expert_bytes(const struct layer *l)
{
    int64_t bytes = 0;
    for (int64_t e = 0; e < l->n_stored; e++) {
        const hcsmoe_tensor *part[3] = {&l->gate[e], &l->up[e], &l->down[e]};
        for (int p = 0; p < 3; p++)
            bytes += hcsmoe_tensor_elements(part[p]) * (int64_t)hcsmoe_dtype_size(part[p]->dtype);
    }
    return bytes;
}

static void warning_keep(void *said, const char *message)
{
    json_array_append_new(said, json_string(message));
}

int made_layer(struct made *d, struct layer *l, const struct layer_stats *s,
               const struct observation *o, struct quality *q, bool in_place, struct merged *x)
{
    const int64_t before = expert_bytes(l);
    struct grouping g = {0};
    struct collapsed y = {0};
    struct loss loss = {-1, -1, -1};
    json_t *said = json_array();
    double begin = now_s();
    host_listen(d->v->c->host, warning_keep, said);
    int status = variant_merge(d->v, l, s, o, in_place, &g, x);
    host_listen(d->v->c->host, NULL, NULL);

    if (!status)
        status = layer_measure(d, l, s, x, q, &y, &loss);
    d->merge_s += now_s() - begin;
    (void)trace_end("merge", l->index, begin);
    begin = now_s();
    if (!status)
        status = report_layer(&d->report, s, &g, x, &loss, said);
    if (!status && d->output.writing)
        status = output_layer(&d->output, l, x, true, y.router ? &y : NULL);
    if (!status && d->exact.writing)
        status = output_layer(&d->exact, l, x, true, NULL);
    if (!status)
        d->expert_bytes_less += before - expert_bytes(&x->layer);
    d->write_s += now_s() - begin;
    (void)trace_end("write", l->index, begin);
    collapsed_release(&y);
    grouping_release(&g);
    json_decref(said);
    return status;
}

int made_keep(struct made *d, const struct layer *l)
{
    const double begin = now_s();
    struct merged x = {0};
    struct collapsed y = {0};
    const bool moe = d->p->m->layers[l->index].desc.is_moe;
    int status = moe && d->output.writing ? merge_nothing(&x, l) : 0;

    if (!status && moe && d->output.layout == LAYOUT_COLLAPSED && l->map)
        status = collapse_layer(&y, d->p->m, l, &x, NULL, ROW_CENTROID);
    if (!status && d->output.writing)
        status = output_layer(&d->output, l, moe ? &x : NULL, false, y.router ? &y : NULL);
    if (!status && d->exact.writing)
        status = output_layer(&d->exact, l, moe ? &x : NULL, false, NULL);
    collapsed_release(&y);
    merged_release(&x);
    d->write_s += now_s() - begin;
    (void)trace_end("write", l->index, begin);
    return status;
}

static int statistics_save(const struct made *d, const struct layer_stats *all)
{
    const struct model *m = d->p->m;
    const struct layer_stats **stats = mem_new((size_t)m->desc.n_layers, sizeof *stats);
    const struct layer_states **states = mem_new((size_t)m->desc.n_layers, sizeof *states);
    char *path = output_path(&d->output, "statistics.safetensors");
    size_t n = 0;
    int status = stats && states && path ? 0 : HCSMOE_ENOMEM;

    for (int l = 0; !status && l < m->desc.n_layers; l++)
        if (layer_touched(d->v->c, m, l)) {
            stats[n] = &all[l];
            states[n++] = &d->v->states[l];
        }
    if (!status)
        status = statistics_write(path, d->v->c, d->p, stats, states, n);
    mem_free(stats);
    mem_free(states);
    mem_free(path);
    return status;
}

int made_tail(struct made *d, const struct layer_stats *stats)
{
    const double begin = now_s();
    struct str ini = {0};
    char key[65];
    int status = output_tail(&d->output, report_method(d->v->c, d->p));

    if (!status && d->exact.writing)
        status = output_tail(&d->exact, report_method(d->v->c, d->p));
    if (!status)
        status = statistics_save(d, stats);
    if (!status)
        status = config_print(d->v->c, false, &ini);
    if (!status)
        status = output_file(&d->output, "run.ini", ini.text, ini.len);
    statistics_key(d->v->c, d->p, key);
    if (!status)
        status = report_again(&d->report, &ini, key);
    if (!status)
        status = report_result(&d->report, d->p, &d->output);
    d->write_s += now_s() - begin;
    (void)trace_end("write", -1, begin);
    str_release(&ini);
    return status;
}

static int text_write(const char *folder, const char *name, const struct str *text)
{
    char *path = mem_printf("%s/hcsmoe/%s", folder, name);
    int status = path ? path_write(path, text->text, text->len) : HCSMOE_ENOMEM;
    mem_free(path);
    return status;
}

int made_report(struct made *d, const char *folder, const struct times *t, int64_t planned_bytes)
{
    struct str json = {0}, text = {0}, html = {0};
    int status = report_end(&d->report, t, planned_bytes);

    if (!status)
        status = report_json(&d->report, &json);
    if (!status)
        status = report_text(&d->report, &text);
    if (!status)
        status = html_run(d->report.root, &html);
    if (!status)
        status = text_write(folder, "report.json", &json);
    if (!status)
        status = text_write(folder, "report.txt", &text);
    if (!status)
        status = text_write(folder, "report.html", &html);
    str_release(&json);
    str_release(&text);
    str_release(&html);
    return status;
}
