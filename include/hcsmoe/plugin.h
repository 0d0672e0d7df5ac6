/*
 * plugin.h - the one exported symbol of a plugin, its descriptor and its components.
 *
 *     const hcsmoe_plugin *hcsmoe_plugin_v1(const hcsmoe_host *h);
 *
 * It is called once on the main thread and returns static data, or NULL after h->fail to decline. A
 * plugin keeps no mutable globals, starts no threads, never prints, exits or aborts on bad input.
 * Growable structs start with their size, are only appended to, and zero means absent in every
 * member.
 * SPDX-License-Identifier: MIT
 */
#ifndef HCSMOE_PLUGIN_H
#define HCSMOE_PLUGIN_H

#include <hcsmoe/host.h>
#include <hcsmoe/json.h>
#include <hcsmoe/option.h>
#include <hcsmoe/stats.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Kinds, and the INI key whose value is a component's name. Never renumbered. */
enum {
    HCSMOE_KIND_MODEL = 1,      /* [model] family */
    HCSMOE_KIND_SIMILARITY = 2, /* [group] similarity_base */
    HCSMOE_KIND_CLUSTER = 3,    /* [group] cluster, and the values of dominant */
    HCSMOE_KIND_MERGE = 4,      /* [merge] merge */
    HCSMOE_KIND_TASK = 5,       /* [eval] task */
    HCSMOE_KIND_KERNELS = 6     /* [run] device */
};

/* Bits of `caps`. */
#define HCSMOE_CAP_PARALLEL                                                                        \
    ((uint64_t)1 << 0) /* calls on one instance may overlap for different layers */
#define HCSMOE_CAP_DEVICE                                                                          \
    ((uint64_t)1 << 1) /* tensors may lie on an accelerator: only h->kernels touches them */
#define HCSMOE_CAP_DETERMINISTIC ((uint64_t)1 << 2) /* same bits for any number of threads */
#define HCSMOE_CAP_DOMINANT                                                                        \
    ((uint64_t)1 << 3) /* a clustering that is a value of `dominant`, not of `cluster` */
#define HCSMOE_CAP_DISTANCES_IN ((uint64_t)1 << 4)    /* a clustering that reads distances */
#define HCSMOE_CAP_SIMILARITIES_IN ((uint64_t)1 << 5) /* a clustering that reads similarities */
#define HCSMOE_CAP_CORES_IN ((uint64_t)1 << 6)  /* a merge that reads the core of each group */
#define HCSMOE_CAP_CORES_OUT ((uint64_t)1 << 7) /* a clustering that gives cores */
#define HCSMOE_CAP_NO_GROUPS                                                                       \
    ((uint64_t)1                                                                                   \
     << 8) /* a merge that takes every expert alone: nothing is clustered, and [group]   \
                          may set num_average_groups and start_layer only */
#define HCSMOE_CAP_LEAVES_OUT                                                                      \
    ((uint64_t)1 << 9) /* a clustering whose labels may be -1: the expert is in no group */
#define HCSMOE_CAP_PRUNES                                                                          \
    ((uint64_t)1 << 10) /* a merge after which the router may be denied experts */
#define HCSMOE_CAP_CHOOSES_GROUPS                                                                  \
    ((uint64_t)1 << 11) /* a clustering whose budget can choose the number of groups */
#define HCSMOE_CAP_KNOWN (((uint64_t)1 << 12) - 1)

/* One row of the menu. Static data. */
typedef struct hcsmoe_component {
    uint32_t struct_size;
    uint32_t kind;
    const char *name;    /* [a-z0-9_-]: the value in the INI */
    const char *summary; /* one line */
    const void *ops;     /* hcsmoe_<kind>_ops; starts with its own struct_size */
    uint64_t needs;      /* HCSMOE_STAT_* */
    uint64_t caps;       /* HCSMOE_CAP_* */
    const hcsmoe_option *options;
    uint32_t n_options, option_size; /* option_size: sizeof(hcsmoe_option) as the plugin knew it */
    size_t opts_size;                /* of the struct that the options' offsets refer to */
    /* [main] in place of needs when an option decides; NULL: needs. caps: of a similarity base, those
     * of the chosen clustering (is it asked for distances or similarities?); else 0. */
    uint64_t (*needs_for)(const void *opts, uint64_t caps);
    /* [main] opts as the table says; NULL: no state, self is opts itself */
    hcsmoe_status (*create)(const hcsmoe_host *h, const void *opts, void **self);
    void (*destroy)(const hcsmoe_host *h, void *self); /* [main] */
    /* [main] the states of a layer of these sizes, into states[most]; returns how many. NULL: none.
     */
    int32_t (*states)(void *self, const hcsmoe_host *h, const hcsmoe_layer_dims *dims,
                      hcsmoe_state *states, int32_t most);
    /* [main] 0: this option, which the user set, changes nothing with the others as they are; the
     * host warns. caps as for needs_for. NULL: every option always counts. */
    int32_t (*has_effect)(const void *opts, uint64_t caps, const char *option);
} hcsmoe_component;

typedef struct hcsmoe_plugin {
    uint32_t struct_size;
    uint16_t abi_major, abi_minor; /* what the plugin needs */
    const char *id; /* hcsmoe.<kind>.<name> for ours, a reverse URI for others; [a-z0-9._-] */
    const char *version, *license, *url;
    const hcsmoe_component *const *components; /* NULL-terminated */
    void (*fini)(
        const hcsmoe_host *h); /* [main] at exit, in reverse order of loading; may be NULL */
} hcsmoe_plugin;

typedef const hcsmoe_plugin *(*hcsmoe_entry)(const hcsmoe_host *h);

#if defined(__GNUC__)
#define HCSMOE_EXPORT __attribute__((visibility("default")))
#else
#define HCSMOE_EXPORT
#endif

#ifdef __cplusplus
#define HCSMOE_ENTRY_ extern "C" HCSMOE_EXPORT
#else
#define HCSMOE_ENTRY_ HCSMOE_EXPORT
#endif

/*
 * A static table of the struct `type`, its size filled in:
 *
 *     HCSMOE_TABLE(hcsmoe_merge_ops, ops, HCSMOE_SET(merge, mine_merge));
 *
 * In C it is what designated initialisers give, which may as well be written. C++ has them since
 * C++20 only: with these the same file is C11 and C++17.
 */
#ifdef __cplusplus
#define HCSMOE_SET(member, value) hcsmoe_table_.member = value
#define HCSMOE_TABLE(type, name, ...)                                                              \
    static const type name = [] {                                                                  \
        type hcsmoe_table_ = {};                                                                   \
        hcsmoe_table_.struct_size = sizeof(type);                                                  \
        (void)(__VA_ARGS__);                                                                       \
        return hcsmoe_table_;                                                                      \
    }()
#else
#define HCSMOE_SET(member, value) .member = value
#define HCSMOE_TABLE(type, name, ...)                                                              \
    static const type name = {.struct_size = sizeof(type), __VA_ARGS__}
#endif

/* In a component: options, n_options, option_size, opts_size at once. */
#define HCSMOE_OPTIONS(T, table)                                                                   \
    HCSMOE_SET(options, (table)),                                                                  \
        HCSMOE_SET(n_options, (uint32_t)(sizeof(table) / sizeof((table)[0]))),                     \
        HCSMOE_SET(option_size, (uint32_t)sizeof(hcsmoe_option)), HCSMOE_SET(opts_size, sizeof(T))

/* Defines the entry for one or more components. */
#define HCSMOE_PLUGIN(id_, version_, license_, ...)                                                \
    HCSMOE_ENTRY_ const hcsmoe_plugin *hcsmoe_plugin_v1(const hcsmoe_host *h);                     \
    HCSMOE_ENTRY_ const hcsmoe_plugin *hcsmoe_plugin_v1(const hcsmoe_host *h)                      \
    {                                                                                              \
        static const hcsmoe_component *const components[] = {__VA_ARGS__, NULL};                   \
        static const hcsmoe_plugin plugin = {sizeof(hcsmoe_plugin),                                \
                                             HCSMOE_ABI_MAJOR,                                     \
                                             HCSMOE_ABI_MINOR,                                     \
                                             id_,                                                  \
                                             version_,                                             \
                                             license_,                                             \
                                             NULL,                                                 \
                                             components,                                           \
                                             NULL};                                                \
        (void)h;                                                                                   \
        return &plugin;                                                                            \
    }

#ifdef __cplusplus
}
#endif
#endif
