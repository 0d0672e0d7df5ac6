/*
 * device.c - finds the kernels that [run] device asks for.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin/check.h"
#include "run/config_keys.h"

/* auto: the device that can run and is preferred; else the named one, which must be able to. */
int config_device(struct config *c)
{
    struct ini_value s;
    const struct ini_value *v = config_value(c, "run", "device", &s);
    const struct component *best = NULL;
    char name[64];
    int index = 0, status = 0;

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
    if (strcmp(name, "auto")) {
        status = registry_find(c->registry, HCSMOE_KIND_KERNELS, name, &best);
        if (status)
            return fail_in(status, "%s", ini_where(&c->ini, v));
        component_enter(best, c->host, -1);
        const int32_t score = ((const hcsmoe_kernels_ops *)best->c.ops)->probe(&c->host->abi);
        status = host_leave(c->host, 0);
        if (score <= 0)
            return fail(HCSMOE_EUNSUPPORTED, "%s = %s: cannot run here: %s", ini_where(&c->ini, v),
                        v->value, fail_message());
    } else {
        const struct component *const *list;
        size_t n;
        int32_t most = 0;
        status = registry_list(c->registry, HCSMOE_KIND_KERNELS, &list, &n);
        for (size_t i = 0; !status && i < n; i++) {
            component_enter(list[i], c->host, -1);
            const int32_t score =
                ((const hcsmoe_kernels_ops *)list[i]->c.ops)->probe(&c->host->abi);
            status = host_leave(c->host, 0);
            if (score > most) {
                most = score;
                best = list[i];
            }
        }
        if (!status && !best) /* says where plugins were looked for */
            status = registry_find(c->registry, HCSMOE_KIND_KERNELS, "cpu", &best);
    }
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
