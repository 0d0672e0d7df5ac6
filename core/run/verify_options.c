/*
 * verify_options.c - every option at the ends of its range, and instances beside each other.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>

#include "run/verify_bench.h"
#include "run/verify_suite.h"

enum { NAME_BYTES = 128 };

/* The n-th value that is tried for an option, into its field and as text; false: no more. */
static bool option_value(const hcsmoe_option *o, int n, void *opts, char name[NAME_BYTES])
{
    static const char *const texts[] = {"", "x"}, *const paths[] = {"/nonexistent/file"};
    void *field = (char *)opts + o->offset;
    const char *text = NULL;
    int32_t truth = n;
    int64_t whole = 0;
    double real = n ? o->max : o->min;

    switch (o->type) {
    case HCSMOE_OPTION_BOOL:
        (void)snprintf(name, NAME_BYTES, "%s = %s", o->name, n ? "yes" : "no");
        memcpy(field, &truth, sizeof truth);
        return n < 2;
    case HCSMOE_OPTION_INT:
        whole = real >= 9.2e18 ? INT64_MAX : real <= -9.2e18 ? INT64_MIN : (int64_t)real;
        (void)snprintf(name, NAME_BYTES, "%s = %lld", o->name, (long long)whole);
        memcpy(field, &whole, sizeof whole);
        return n < 2;
    case HCSMOE_OPTION_REAL:
        (void)snprintf(name, NAME_BYTES, "%s = %g", o->name, real);
        memcpy(field, &real, sizeof real);
        return n < 2;
    case HCSMOE_OPTION_ENUM:
        if (!o->choices[n].name)
            return false;
        (void)snprintf(name, NAME_BYTES, "%s = %s", o->name, o->choices[n].name);
        memcpy(field, &o->choices[n].value, sizeof whole);
        return true;
    default:
        if (n >= (o->type == HCSMOE_OPTION_STR ? 2 : 1))
            return false;
        text = o->type == HCSMOE_OPTION_STR ? texts[n] : paths[n];
        (void)snprintf(name, NAME_BYTES, "%s = %s", o->name, text);
        memcpy(field, &text, sizeof text);
        return true;
    }
}

/* needs_for says the same twice, and only what there is, for every clustering's caps. */
static int needs_check(struct verify *v, const struct instance *i)
{
    static const uint64_t caps[] = {0, HCSMOE_CAP_DISTANCES_IN, HCSMOE_CAP_SIMILARITIES_IN,
                                    HCSMOE_CAP_DISTANCES_IN | HCSMOE_CAP_SIMILARITIES_IN};
    const hcsmoe_component *c = &i->component->c;

    for (size_t n = 0; n < sizeof caps / sizeof *caps; n++) {
        const uint64_t needs = verify_needs(v, i, caps[n]);
        if (needs & ~HCSMOE_STAT_KNOWN)
            return verify_broken(v, "needs statistic %d, this hcsmoe knows 0..%d",
                                 __builtin_ctzll(needs & ~HCSMOE_STAT_KNOWN),
                                 63 - __builtin_clzll(HCSMOE_STAT_KNOWN));
        if (verify_needs(v, i, caps[n]) != needs)
            return verify_broken(v, "needs_for says something else the second time");
        for (uint32_t o = 0; c->has_effect && o < c->n_options; o++) {
            instance_enter(i, -1);
            (void)c->has_effect(i->opts, caps[n], i->component->options[o].name);
            const int status = host_leave(v->host, 0);
            if (status)
                return status;
        }
    }
    return 0;
}

/* One setting: created, used and destroyed. Only a rule that is broken counts. */
static int setting_try(struct verify *v, const struct bench *b, perform_function *perform,
                       struct instance *i)
{
    int status = needs_check(v, i);
    if (!status)
        status = verify_create(v, i);
    if (!status && perform)
        status = verify_perform(v, i, b, perform, NULL);
    return v->broken ? status : 0;
}

int verify_options(struct verify *v, perform_function *perform)
{
    const struct component *c = v->component;
    struct instance i = {0};
    struct bench b = {0};
    char name[NAME_BYTES];
    int status = perform ? verify_kernels(v) : 0;

    if (!status && perform)
        status = bench_open(&b, &bench_tiny, v->host->kernels);
    for (int n = 0; !status && n < 2; n++) { /* the same again: nothing is left behind */
        status = verify_open(v, &i);
        if (!status)
            status = needs_check(v, &i);
        if (status)
            status = fail_in(status, "with its defaults");
        instance_release(&i);
    }
    for (uint32_t o = 0; !status && o < c->c.n_options; o++)
        for (int n = 0; !status; n++) {
            status = verify_init(v, &i);
            if (status || !option_value(&c->options[o], n, i.opts, name)) {
                instance_release(&i);
                break;
            }
            status = setting_try(v, &b, perform, &i);
            instance_release(&i);
            if (status)
                status = fail_in(status, "%s", name);
        }
    bench_release(&b);
    return status;
}

/* Another instance with another value, which is created and destroyed beside this one. */
static int beside_try(struct verify *v, const struct instance *here, const struct bench *b,
                      perform_function *perform, struct instance *other, const struct str *first,
                      struct str *again)
{
    int status = verify_create(v, other);

    if (status && !v->broken)
        return 0; /* not with this value */
    if (!status)
        status = verify_perform(v, other, b, perform, NULL);
    if (status && !v->broken)
        status = 0;
    str_clear(again);
    if (!status)
        status = verify_perform(v, here, b, perform, again);
    if (!status && !verify_same(first, again))
        status = verify_broken(v, "an instance gives other bytes once another one was created: a "
                                  "plugin keeps no mutable globals");
    return status;
}

int verify_instances(struct verify *v, perform_function *perform)
{
    const struct component *c = v->component;
    struct instance here = {0}, other = {0};
    struct str first = {0}, again = {0};
    struct bench b = {0};
    char name[NAME_BYTES];

    if (!(c->c.caps & HCSMOE_CAP_DETERMINISTIC) || !c->c.n_options)
        return verify_skip(c->c.n_options ? "it does not claim HCSMOE_CAP_DETERMINISTIC"
                                          : "it has no options");
    int status = verify_kernels(v);
    if (!status)
        status = bench_open(&b, &bench_tiny, v->host->kernels);
    if (!status)
        status = verify_open(v, &here);
    if (!status)
        status = verify_perform(v, &here, &b, perform, &first);
    for (uint32_t o = 0; !status && o < c->c.n_options; o++)
        for (int n = 0; !status; n++) {
            status = verify_init(v, &other);
            if (status || !option_value(&c->options[o], n, other.opts, name)) {
                instance_release(&other);
                break;
            }
            status = beside_try(v, &here, &b, perform, &other, &first, &again);
            instance_release(&other);
            if (status)
                status = fail_in(status, "%s", name);
        }
    instance_release(&here);
    bench_release(&b);
    str_release(&first);
    str_release(&again);
    return status;
}
