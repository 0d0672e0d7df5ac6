/*
 * options.c - option tables: from INI values to a plugin's options struct.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin/options.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"

#define LABEL_BYTES 160 /* "similarity/NAME": a kind and a component's name of at most 64 bytes */
#define RANGE_BYTES 96
#define INT64_END 9223372036854775808.0 /* 2^63: no int64_t is that large */
#define UNBOUNDED 1e300                 /* DBL_MAX as a bound means that there is none */

enum { PARSED = 0, NOT_A_NUMBER = 1, TOO_LARGE = 2 };

/* "merge/freq": how messages name a component. */
static const char *label_of(const struct component *c, char label[LABEL_BYTES])
{
    (void)snprintf(label, LABEL_BYTES, "%s/%s", registry_kind_name(c->c.kind), c->c.name);
    return label;
}

void component_enter(const struct component *c, struct host *h, int layer)
{
    char label[LABEL_BYTES];

    host_enter(h, label_of(c, label), layer);
}

void instance_enter(const struct instance *i, int layer)
{
    component_enter(i->component, i->host, layer);
}

/* "1..65536", "at least 1", "at most 0.5"; "" when every number will do. */
static const char *range_text(double lo, double hi, bool whole, char text[RANGE_BYTES])
{
    bool low = lo > (whole ? -INT64_END : -UNBOUNDED);
    bool high = hi < (whole ? INT64_END : UNBOUNDED);
    int digits = whole ? 20 : 15;

    if (low && high)
        (void)snprintf(text, RANGE_BYTES, "%.*g..%.*g", digits, lo, digits, hi);
    else if (low)
        (void)snprintf(text, RANGE_BYTES, "at least %.*g", digits, lo);
    else if (high)
        (void)snprintf(text, RANGE_BYTES, "at most %.*g", digits, hi);
    else
        text[0] = '\0';
    return text;
}

static int bad_number(const struct ini *ini, const struct ini_value *v, double lo, double hi,
                      bool whole)
{
    char text[RANGE_BYTES];
    const char *range = range_text(lo, hi, whole, text);

    return fail(HCSMOE_EINVAL, "%s = %s: must be %s%s%s", ini_where(ini, v), v->value,
                whole ? "a whole number" : "a number", range[0] != '\0' ? ", " : "", range);
}

static int out_of_range(const struct ini *ini, const struct ini_value *v, double lo, double hi,
                        bool whole)
{
    char text[RANGE_BYTES];
    const char *range = range_text(lo, hi, whole, text);

    return fail(HCSMOE_EINVAL, "%s = %s: must be %s", ini_where(ini, v), v->value,
                range[0] != '\0' ? range : "smaller");
}

/* Digits after an optional sign, up to *end. */
static int parse_digits(const char *s, const char **end, int64_t *out)
{
    bool negative = *s == '-';
    bool overflow = false;
    int64_t value = 0;

    if (*s == '-' || *s == '+')
        s++;
    *end = s;
    for (; *s >= '0' && *s <= '9'; s++) {
        int64_t digit = negative ? '0' - *s : *s - '0';
        overflow = overflow || __builtin_mul_overflow(value, (int64_t)10, &value) ||
                   __builtin_add_overflow(value, digit, &value);
    }
    if (*end == s)
        return NOT_A_NUMBER;
    *end = s;
    *out = value;
    return overflow ? TOO_LARGE : PARSED;
}

static int parse_whole(const char *s, int64_t *out)
{
    const char *end;
    int state = parse_digits(s, &end, out);

    return *end != '\0' ? NOT_A_NUMBER : state;
}

/* 12G, 1.5M, 300: powers of 1024. */
static int parse_bytes(const char *s, int64_t *out)
{
    static const char suffixes[] = "KMGT";
    const char *suffix = NULL;
    const char *end;
    int64_t unit = 1;
    int64_t whole;
    int64_t part = 0;
    int64_t scale = 1;
    int state = parse_digits(s, &end, &whole);

    if (state == NOT_A_NUMBER || *s == '-')
        return NOT_A_NUMBER;
    if (*end == '.') {
        for (end++; *end >= '0' && *end <= '9'; end++) {
            /* More digits than six are below the resolution that anybody writes. */
            if (scale < 1000000) {
                part = part * 10 + (*end - '0');
                scale *= 10;
            }
        }
        if (scale == 1)
            return NOT_A_NUMBER;
    }
    if (*end != '\0') {
        suffix = strchr(suffixes, *end >= 'a' ? *end - 'a' + 'A' : *end);
        if (suffix == NULL || end[1] != '\0')
            return NOT_A_NUMBER;
        unit = (int64_t)1 << (10 * (suffix - suffixes + 1));
    } else if (scale > 1) {
        return NOT_A_NUMBER; /* half a byte */
    }
    if (state == TOO_LARGE || __builtin_mul_overflow(whole, unit, out) ||
        __builtin_add_overflow(*out, unit / scale * part + unit % scale * part / scale, out))
        return TOO_LARGE;
    return PARSED;
}

/* The program never leaves the C locale, so strtod reads a point. Its hexadecimal, infinity and NaN are refused. */
static int parse_real(const char *s, double *out)
{
    char *end;

    if (strspn(s, "0123456789+-.eE") != strlen(s))
        return NOT_A_NUMBER;
    *out = strtod(s, &end);
    if (end == s || *end != '\0')
        return NOT_A_NUMBER;
    return isinf(*out) ? TOO_LARGE : PARSED;
}

static void add_list(struct str *text, const char *const *names, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++)
        str_addf(text, "%s%s", i > 0 ? ", " : "", names[i]);
}

static int unknown_value(const struct ini *ini, const struct ini_value *v, const char *const *names,
                         size_t n)
{
    const char *suggestion = did_you_mean(v->value, names, n);
    struct str have = {0};
    int rc;

    add_list(&have, names, n);
    rc = fail(HCSMOE_EINVAL, "%s: no '%s' (have: %s)%s", ini_where(ini, v), v->value,
              str_text(&have), suggestion);
    str_release(&have);
    return rc;
}

int option_bool(const struct ini *ini, const struct ini_value *v, bool *out)
{
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};
    size_t i;

    for (i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(v->value, words[i]) == 0) {
            *out = i % 2 == 1;
            return 0;
        }
    }
    return fail(HCSMOE_EINVAL, "%s = %s: must be yes or no", ini_where(ini, v), v->value);
}

int option_int(const struct ini *ini, const struct ini_value *v, int64_t lo, int64_t hi,
               int64_t *out)
{
    int64_t value = 0;
    int state = parse_whole(v->value, &value);

    if (state == PARSED && value >= lo && value <= hi) {
        *out = value;
        return 0;
    }
    return state == NOT_A_NUMBER ? bad_number(ini, v, (double)lo, (double)hi, true)
                                 : out_of_range(ini, v, (double)lo, (double)hi, true);
}

int option_bytes(const struct ini *ini, const struct ini_value *v, int64_t *out)
{
    int64_t value = 0;
    int state = parse_bytes(v->value, &value);

    if (state == NOT_A_NUMBER)
        return fail(HCSMOE_EINVAL, "%s = %s: must be a number of bytes: 0, 500M, 12G, 1.5T",
                    ini_where(ini, v), v->value);
    if (state == TOO_LARGE)
        return fail(HCSMOE_EINVAL, "%s = %s: must be less than 8388608T", ini_where(ini, v),
                    v->value);
    *out = value;
    return 0;
}

int option_real(const struct ini *ini, const struct ini_value *v, double lo, double hi, double *out)
{
    double value = 0;
    int state = parse_real(v->value, &value);

    if (state == PARSED && value >= lo && value <= hi) {
        *out = value;
        return 0;
    }
    return state == NOT_A_NUMBER ? bad_number(ini, v, lo, hi, false)
                                 : out_of_range(ini, v, lo, hi, false);
}

int option_choice(const struct ini *ini, const struct ini_value *v, const char *const *names,
                  size_t n, int *out)
{
    size_t i;

    for (i = 0; i < n; i++) {
        if (strcmp(v->value, names[i]) == 0) {
            *out = (int)i;
            return 0;
        }
    }
    return unknown_value(ini, v, names, n);
}

static int read_enum(const struct ini *ini, const struct ini_value *v, const hcsmoe_option *o,
                     int64_t *out)
{
    const char **names;
    size_t n = 0;
    size_t i;
    int rc;

    for (i = 0; o->choices[i].name != NULL; i++) {
        if (strcmp(v->value, o->choices[i].name) == 0) {
            *out = o->choices[i].value;
            return 0;
        }
    }
    names = mem_new(i, sizeof *names);
    if (names == NULL)
        return HCSMOE_ENOMEM;
    for (n = 0; n < i; n++)
        names[n] = o->choices[n].name;
    rc = unknown_value(ini, v, names, n);
    mem_free(names);
    return rc;
}

/* Bounds are doubles in the table: compared as such, which is exact up to 2^53. */
static int read_int(const struct ini *ini, const struct ini_value *v, const hcsmoe_option *o,
                    int64_t *out)
{
    int state = parse_whole(v->value, out);

    if (strstr(o->help, "bytes") != NULL && state == NOT_A_NUMBER) {
        int rc = option_bytes(ini, v, out);
        if (rc != 0)
            return rc;
        state = PARSED;
    }
    if (state == NOT_A_NUMBER)
        return bad_number(ini, v, o->min, o->max, true);
    if (state == TOO_LARGE || (double)*out < o->min || (double)*out > o->max)
        return out_of_range(ini, v, o->min, o->max, true);
    return 0;
}

/* New string, kept by the instance. */
static int read_string(struct instance *i, const struct ini *ini, const struct ini_value *v,
                       uint32_t type, const char **out)
{
    char *s;

    /* "path =" unsets a path: no file has an empty name. */
    if (type == HCSMOE_OPTION_PATH && v->value[0] == '\0') {
        *out = NULL;
        return 0;
    }
    if (type == HCSMOE_OPTION_PATH && !v->overridden && ini->folder != NULL)
        s = path_join(ini->folder, v->value);
    else
        s = mem_strdup(v->value);
    if (s == NULL)
        return HCSMOE_ENOMEM;
    i->strings[i->n_strings++] = s;
    *out = s;
    return 0;
}

static int read_value(struct instance *i, const struct ini *ini, const struct ini_value *v,
                      const hcsmoe_option *o)
{
    char *field = (char *)i->opts + o->offset;
    const char *s = NULL;
    int64_t whole = 0;
    int32_t truth;
    double real = 0;
    bool yes = false;
    int rc = 0;

    switch (o->type) {
    case HCSMOE_OPTION_BOOL:
        rc = option_bool(ini, v, &yes);
        truth = yes ? 1 : 0;
        memcpy(field, &truth, sizeof truth);
        return rc;
    case HCSMOE_OPTION_INT:
    case HCSMOE_OPTION_ENUM:
        rc = o->type == HCSMOE_OPTION_INT ? read_int(ini, v, o, &whole)
                                          : read_enum(ini, v, o, &whole);
        memcpy(field, &whole, sizeof whole);
        return rc;
    case HCSMOE_OPTION_REAL:
        rc = option_real(ini, v, o->min, o->max, &real);
        memcpy(field, &real, sizeof real);
        return rc;
    default:
        rc = read_string(i, ini, v, o->type, &s);
        memcpy(field, &s, sizeof s);
        return rc;
    }
}

static void write_default(void *opts, const hcsmoe_option *o)
{
    char *field = (char *)opts + o->offset;
    int32_t truth = o->def.i != 0 ? 1 : 0;

    /* A required one has none: its bytes stay zero until it is read. */
    if ((o->flags & HCSMOE_OPTION_REQUIRED) != 0)
        return;
    switch (o->type) {
    case HCSMOE_OPTION_BOOL:
        memcpy(field, &truth, sizeof truth);
        break;
    case HCSMOE_OPTION_INT:
    case HCSMOE_OPTION_ENUM:
        memcpy(field, &o->def.i, sizeof o->def.i);
        break;
    case HCSMOE_OPTION_REAL:
        memcpy(field, &o->def.d, sizeof o->def.d);
        break;
    default:
        memcpy(field, &o->def.s, sizeof o->def.s);
        break;
    }
}

/* The value for an option: "name.option" before "option"; both count as used. */
static int find_value(const struct component *c, const hcsmoe_option *o, const struct ini *ini,
                      const char *section, struct ini_value **out)
{
    struct ini_value *common = ini_find(ini, section, o->name);
    struct ini_value *own;
    char *key = mem_printf("%s.%s", c->c.name, o->name);

    if (key == NULL)
        return HCSMOE_ENOMEM;
    own = ini_find(ini, section, key);
    mem_free(key);
    if (common != NULL)
        common->used = true;
    if (own != NULL)
        own->used = true;
    *out = own != NULL ? own : common;
    return 0;
}

static int read_option(struct instance *i, const struct ini *ini, const char *section,
                       const hcsmoe_option *o)
{
    char label[LABEL_BYTES];
    struct ini_value *v = NULL;
    int rc = ini != NULL ? find_value(i->component, o, ini, section, &v) : 0;

    if (rc != 0)
        return rc;
    write_default(i->opts, o);
    if (v == NULL && (o->flags & HCSMOE_OPTION_REQUIRED) != 0)
        return fail(HCSMOE_EINVAL, "%s%s[%s]: %s needs the option '%s' (%s)",
                    ini != NULL && ini->path != NULL ? ini->path : "",
                    ini != NULL && ini->path != NULL ? ": " : "", section,
                    label_of(i->component, label), o->name, o->help);
    if (v == NULL)
        return 0;
    if ((o->flags & HCSMOE_OPTION_DEPRECATED) != 0)
        log_line(LOG_WARN, "%s: deprecated: %s", ini_where(ini, v), o->help);
    return read_value(i, ini, v, o);
}

/* Only the options decide what needs_for says, so the loader could not look. */
static int check_needs(const struct instance *i)
{
    const uint64_t caps = HCSMOE_CAP_DISTANCES_IN | HCSMOE_CAP_SIMILARITIES_IN;
    uint64_t unknown = (instance_needs(i, 0) | instance_needs(i, caps)) & ~HCSMOE_STAT_KNOWN;
    char label[LABEL_BYTES];

    if (unknown == 0)
        return 0;
    return fail(HCSMOE_EUNSUPPORTED, "%s: needs statistic %d, this hcsmoe knows 0..%d",
                label_of(i->component, label), __builtin_ctzll(unknown),
                63 - __builtin_clzll(HCSMOE_STAT_KNOWN));
}

int instance_init(struct instance *i, const struct component *c, const struct ini *ini,
                  const char *section, struct host *h)
{
    uint32_t k;
    int rc = 0;

    *i = (struct instance){.component = c, .host = h};
    i->opts = mem_new(1, c->c.opts_size);
    i->strings = mem_new(c->c.n_options, sizeof(char *));
    if (i->opts == NULL || i->strings == NULL)
        rc = HCSMOE_ENOMEM;
    for (k = 0; rc == 0 && k < c->c.n_options; k++)
        rc = read_option(i, ini, section, &c->options[k]);
    if (rc == 0)
        rc = check_needs(i);
    if (rc != 0)
        instance_release(i);
    return rc;
}

int instance_create(struct instance *i)
{
    const hcsmoe_component *c = &i->component->c;
    int rc;

    assert(!i->created);
    i->self = i->opts;
    if (c->create != NULL) {
        i->self = NULL;
        instance_enter(i, -1);
        rc = host_leave(i->host, c->create(&i->host->abi, i->opts, &i->self));
        if (rc != 0)
            return rc;
    }
    i->created = true;
    return 0;
}

void instance_release(struct instance *i)
{
    size_t k;

    if (i->created && i->component->c.create != NULL && i->component->c.destroy != NULL) {
        instance_enter(i, -1);
        i->component->c.destroy(&i->host->abi, i->self);
        if (host_leave(i->host, 0) != 0)
            log_line(LOG_WARN, "%s", fail_message());
    }
    for (k = 0; k < i->n_strings; k++)
        mem_free(i->strings[k]);
    mem_free(i->strings);
    mem_free(i->opts);
    *i = (struct instance){0};
}

uint64_t instance_needs(const struct instance *i, uint64_t caps)
{
    const hcsmoe_component *c = &i->component->c;

    return c->needs_for != NULL ? c->needs_for(i->opts, caps) : c->needs;
}

const void *instance_ops(const struct instance *i)
{
    return i->component->c.ops;
}

/* What a message about a key of the section needs to know. */
struct known_names {
    const char **names; /* options first, then the core's keys */
    size_t n, n_options;
};

static int collect_names(struct known_names *k, const char *const *core_keys, size_t n_core_keys,
                         const struct instance *const *instances, size_t n_instances)
{
    size_t most = n_core_keys;
    size_t i;
    size_t j;
    uint32_t o;

    for (i = 0; i < n_instances; i++)
        most += instances[i]->component->c.n_options;
    k->names = mem_new(most, sizeof *k->names);
    if (k->names == NULL)
        return HCSMOE_ENOMEM;
    for (i = 0; i < n_instances; i++) {
        for (o = 0; o < instances[i]->component->c.n_options; o++) {
            const char *name = instances[i]->component->options[o].name;
            for (j = 0; j < k->n && strcmp(k->names[j], name) != 0; j++)
                continue;
            if (j == k->n)
                k->names[k->n++] = name;
        }
    }
    k->n_options = k->n;
    for (i = 0; i < n_core_keys; i++)
        k->names[k->n++] = core_keys[i];
    return 0;
}

/* "f.ini:19: [merge]" out of "f.ini:19: [merge] epsilon"; what came with -s keeps its key: "-s merge.epsilon:". */
static void add_where(const struct ini *ini, const struct ini_value *v, struct str *text)
{
    const char *where = ini_where(ini, v);
    size_t n = strlen(where);
    size_t key = strlen(v->key);

    if (n > key && where[n - key - 1] == ' ' && strcmp(where + n - key, v->key) == 0) {
        str_add_bytes(text, where, n - key - 1);
        return;
    }
    str_addf(text, "%s:", where);
}

static void add_instances(struct str *text, const struct instance *const *instances, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++)
        str_addf(text, "%s%s", i > 0 ? ", " : "", instances[i]->component->c.name);
}

static bool is_chosen(const char *name, size_t len, const struct instance *const *instances,
                      size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        const char *chosen = instances[i]->component->c.name;
        if (strlen(chosen) == len && memcmp(chosen, name, len) == 0)
            return true;
    }
    return false;
}

static void add_unused(struct str *text, const char *name, const struct known_names *known,
                       const struct instance *const *instances, size_t n)
{
    const char *suggestion = did_you_mean(name, known->names, known->n);

    str_addf(text, " no option '%s'", name);
    if (n == 0) {
        str_add(text, " (have: ");
        add_list(text, known->names, known->n);
    } else {
        str_add(text, " for ");
        add_instances(text, instances, n);
        str_add(text, n > 1 ? " (they take: " : " (it takes: ");
        add_list(text, known->names, known->n_options);
        str_add(text, known->n_options == 0 ? "no options" : "");
    }
    str_addf(text, ")%s", suggestion);
}

static int unused_value(const struct ini *ini, const struct ini_value *v,
                        const struct known_names *known, const struct instance *const *instances,
                        size_t n)
{
    const char *dot = n > 0 ? strchr(v->key, '.') : NULL;
    struct str text = {0};
    int rc;

    add_where(ini, v, &text);
    if (dot != NULL && !is_chosen(v->key, (size_t)(dot - v->key), instances, n)) {
        str_addf(&text, " '%s': '%.*s' is not chosen here (chosen: ", v->key, (int)(dot - v->key),
                 v->key);
        add_instances(&text, instances, n);
        str_add(&text, ")");
    } else {
        add_unused(&text, dot != NULL ? dot + 1 : v->key, known, instances, n);
    }
    rc = str_check(&text);
    if (rc == 0)
        rc = fail(HCSMOE_EINVAL, "%s", str_text(&text));
    str_release(&text);
    return rc;
}

int options_check_unused(const struct ini *ini, const char *section, const char *const *core_keys,
                         size_t n_core_keys, const struct instance *const *instances,
                         size_t n_instances)
{
    struct known_names known = {0};
    size_t i;
    size_t k;
    int rc = collect_names(&known, core_keys, n_core_keys, instances, n_instances);

    for (i = 0; rc == 0 && i < ini->n; i++) {
        const struct ini_value *v = &ini->values[i];
        if (v->used || strcmp(v->section, section) != 0)
            continue;
        for (k = 0; k < n_core_keys && strcmp(v->key, core_keys[k]) != 0; k++)
            continue;
        if (k == n_core_keys)
            rc = unused_value(ini, v, &known, instances, n_instances);
    }
    mem_free(known.names);
    return rc;
}
