/*
 * device.c - finds the kernels that [run] device and dtype ask for.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "plugin/check.h"
#include "run/config_keys.h"

/* f32 is what a component does whose name says nothing else; NAME-bf16 is one that does bf16. */
static const char *dtype_of(const char *component)
{
    const size_t length = strlen(component);
    for (size_t i = 0; i < n_run_dtypes; i++) {
        const size_t n = strlen(run_dtypes[i]);
        if (length > n && component[length - n - 1] == '-' &&
            !strcmp(component + length - n, run_dtypes[i]))
            return run_dtypes[i];
    }
    return "f32";
}

/* How much it is to be preferred; 0: it cannot run here, and the message says why. */
static int32_t probe(const struct config *c, const struct component *k)
{
    component_enter(k, c->host, -1);
    const int32_t score = ((const hcsmoe_kernels_ops *)k->c.ops)->probe(&c->host->abi);
    return host_leave(c->host, score > 0 ? 0 : HCSMOE_EUNSUPPORTED) ? 0 : score;
}

/* Of the components that do the dtype, named "device-..." unless device is NULL: the one that can run
 * and is preferred; NULL: none. */
static int preferred(struct config *c, const char *device, const char *dtype,
                     const struct component **best)
{
    const struct component *const *list;
    const size_t length = device ? strlen(device) : 0;
    size_t n;
    int32_t most = 0;
    int status = registry_list(c->registry, HCSMOE_KIND_KERNELS, &list, &n);

    *best = NULL;
    for (size_t i = 0; !status && i < n; i++) {
        const char *name = list[i]->c.name;
        if (strcmp(dtype_of(name), dtype) ||
            (device && (strncmp(name, device, length) || name[length] != '-')))
            continue;
        const int32_t score = probe(c, list[i]);
        if (score <= 0)
            log_line(strcmp(dtype, "f32") ? LOG_INFO : LOG_VERBOSE, "cannot run here: %s",
                     fail_message());
        if (score > most) {
            most = score;
            *best = list[i];
        }
    }
    if (!status)
        fail_clear();
    return status;
}

/* The named one, which must be able to run. */
static int named(struct config *c, const struct ini_value *v, const char *name, const char *dtype,
                 const struct component **best)
{
    int status = registry_find(c->registry, HCSMOE_KIND_KERNELS, name, best);
    if (status)
        return fail_in(status, "%s", ini_where(&c->ini, v));
    if (strcmp(dtype_of(name), dtype))
        return fail(HCSMOE_EINVAL,
                    "%s = %s: does %s, and [run] dtype is %s: set dtype = %s, or device = %s",
                    ini_where(&c->ini, v), name, dtype_of(name), dtype, dtype_of(name),
                    strcmp(dtype, "f32") ? "auto" : "cpu");
    if (probe(c, *best) <= 0)
        return fail(HCSMOE_EUNSUPPORTED, "%s = %s: cannot run here: %s", ini_where(&c->ini, v),
                    v->value, fail_message());
    return 0;
}

/* auto: the device that can run and is preferred; else the named one, or, for another dtype than f32,
 * what continues its name. */
static int choose(struct config *c, const struct ini_value *v, const char *name,
                  const struct component **best)
{
    struct ini_value s;
    const char *dtype = config_value(c, "run", "dtype", &s)->value;
    const bool any = !strcmp(name, "auto");
    int status;

    if (!any && (!strcmp(dtype, "f32") || !strcmp(dtype_of(name), dtype)))
        return named(c, v, name, dtype, best);
    status = preferred(c, any ? NULL : name, dtype, best);
    if (!status && !*best && !any)
        status = named(c, v, name, dtype, best); /* says what is wrong with it */
    if (!status && !*best)                       /* says where plugins were looked for */
        status = registry_find(c->registry, HCSMOE_KIND_KERNELS,
                               strcmp(dtype, "f32") ? "cpu-bf16" : "cpu", best);
    return status;
}

int config_device(struct config *c)
{
    struct ini_value s;
    const struct ini_value *v = config_value(c, "run", "device", &s);
    const struct component *best = NULL;
    char name[64];
    int index = 0;

    snprintf(name, sizeof name, "%s", v->value);
    char *colon = strchr(name, ':');
    if (colon) {
        *colon = '\0';
        char *end;
        const long n = strtol(colon + 1, &end, 10);
        if (end == colon + 1 || *end || n < 0 || n > 1024)
            return fail(HCSMOE_EINVAL, "%s = %s: the part after ':' must be 0, 1, 2 ...",
                        ini_where(&c->ini, v), v->value);
        index = (int)n;
    }
    int status = choose(c, v, name, &best);
    if (!status)
        status = instance_init(&c->kernels, best, &c->ini, "run", c->host);
    if (!status)
        status = instance_create(&c->kernels);
    if (status)
        return status;
    const hcsmoe_kernels_ops *ops = instance_ops(&c->kernels);
    const hcsmoe_kernels *table = NULL;
    component_enter(best, c->host, -1);
    status = ops->table(c->kernels.self, &c->host->abi, index, &table);
    if (!status)
        status = check_kernels(table);
    status = host_leave(c->host, status);
    if (!status)
        host_set_kernels(c->host, table);
    c->device = best->c.name;
    return status;
}
