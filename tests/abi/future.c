/*
 * future.c - a plugin of v1_0/ as if headers to come had made every struct larger, full of what today's host must not
 * read. Compiled once for each of them: SOURCE is its file, OPS the struct of its kind.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include <hcsmoe/cluster.h>
#include <hcsmoe/kernels.h>
#include <hcsmoe/merge.h>
#include <hcsmoe/model.h>
#include <hcsmoe/similarity.h>
#include <hcsmoe/task.h>

#undef HCSMOE_PLUGIN
#define HCSMOE_PLUGIN(id, version_, license_, component) static const char plugin_id[] = id;

#include SOURCE

enum { LATER = 48, OPTIONS_MOST = 8, FILL = 0xA5 };

#define LARGER(T, name)                                                                            \
    static struct {                                                                                \
        T known;                                                                                   \
        unsigned char later[LATER];                                                                \
    } name

LARGER(hcsmoe_plugin, larger_plugin);
LARGER(hcsmoe_component, larger_component);
LARGER(OPS, larger_ops);
LARGER(hcsmoe_task_spec, larger_spec);
static struct {
    hcsmoe_option known;
    unsigned char later[LATER];
} larger_options[OPTIONS_MOST];

/* Copies what is known of a struct that starts with its size, and fills the rest. */
static void grow(void *to, size_t size, const void *from)
{
    uint32_t known, all = (uint32_t)size;

    memcpy(&known, from, sizeof known);
    memset(to, FILL, size);
    memcpy(to, from, known);
    memcpy(to, &all, sizeof all);
}

HCSMOE_EXPORT const hcsmoe_plugin *hcsmoe_plugin_v1(const hcsmoe_host *h);

HCSMOE_EXPORT const hcsmoe_plugin *hcsmoe_plugin_v1(const hcsmoe_host *h)
{
    static const hcsmoe_component *const components[] = {&larger_component.known, NULL};
    static const hcsmoe_plugin plugin = {
        .struct_size = sizeof plugin,
        .abi_major = HCSMOE_ABI_MAJOR,
        .abi_minor = HCSMOE_ABI_MINOR,
        .id = plugin_id,
        .version = "1.0.0",
        .components = components,
    };
    uint32_t i;

    (void)h;
    grow(&larger_plugin, sizeof larger_plugin, &plugin);
    grow(&larger_component, sizeof larger_component, &frozen);
    grow(&larger_ops, sizeof larger_ops, frozen.ops);
    larger_component.known.ops = &larger_ops;
    if (frozen.kind == HCSMOE_KIND_TASK) {
        const hcsmoe_task_spec **at =
            (const hcsmoe_task_spec **)(void *)((char *)&larger_ops +
                                                offsetof(hcsmoe_task_ops, spec));
        grow(&larger_spec, sizeof larger_spec, *at);
        *at = &larger_spec.known;
    }
    memset(larger_options, FILL, sizeof larger_options);
    for (i = 0; i < frozen.n_options; i++)
        larger_options[i].known = frozen.options[i];
    if (frozen.n_options > 0)
        larger_component.known.options = &larger_options[0].known;
    larger_component.known.option_size = sizeof larger_options[0];
    return &larger_plugin.known;
}
