/*
 * option.h - option tables: a plugin says what it takes, the host reads, checks and explains it.
 *
 * The host callocs opts_size bytes, writes the defaults, applies INI and command line, checks every
 * value, and passes the block to create; it lives until destroy, strings included.
 * SPDX-License-Identifier: MIT
 */
#ifndef HCSMOE_OPTION_H
#define HCSMOE_OPTION_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Field types: BOOL int32_t, INT int64_t, REAL double, STR and PATH const char *, ENUM int64_t. */
enum {
    HCSMOE_OPTION_BOOL = 1,
    HCSMOE_OPTION_INT = 2,
    HCSMOE_OPTION_REAL = 3,
    HCSMOE_OPTION_STR = 4,
    HCSMOE_OPTION_ENUM = 5,
    HCSMOE_OPTION_PATH = 6 /* relative ones start at the INI's folder, from -s at the current one */
};

enum {
    HCSMOE_OPTION_REQUIRED = 1u << 0,   /* no default: the INI must set it */
    HCSMOE_OPTION_DEPRECATED = 1u << 1, /* works, with a warning */
    HCSMOE_OPTION_EXPERIMENTAL = 1u << 2
};

/* One value of an ENUM; a table ends with a NULL name. Frozen: 24 bytes. */
typedef struct hcsmoe_choice {
    const char *name;
    int64_t value;
    const char *help;
} hcsmoe_choice;

typedef union hcsmoe_default {
    int64_t i;     /* BOOL, INT, ENUM */
    double d;      /* REAL */
    const char *s; /* STR, PATH; NULL: unset */
} hcsmoe_default;

typedef struct hcsmoe_option {
    const char *name, *help;
    uint32_t type, offset; /* of the field in the plugin's options struct */
    hcsmoe_default def;
    double min, max; /* INT, REAL: inclusive */
    const hcsmoe_choice *choices;
    uint32_t flags, reserved0;
} hcsmoe_option;

/* offsetof that does not compile when the field is not of the C type that the option needs. */
#ifdef __cplusplus
} /* templates have no C linkage */
template <typename A, typename B> struct hcsmoe_same_;
template <typename A> struct hcsmoe_same_<A, A> {
    static constexpr size_t one = 1;
};
extern "C" {
#define HCSMOE_FIELD_(T, field, ctype)                                                             \
    ((uint32_t)(offsetof(T, field) * hcsmoe_same_<decltype(T::field), ctype>::one))
#else
#define HCSMOE_FIELD_(T, field, ctype)                                                             \
    ((uint32_t)(offsetof(T, field) * sizeof(char[_Generic(((T *)0)->field, ctype : 1, default      \
                                                          : -1)])))
#endif

/* C++17 cannot name a union's member in braces; a function can. */
#ifdef __cplusplus
#define HCSMOE_DEFAULT_(member, value)                                                             \
    [] {                                                                                           \
        hcsmoe_default default_value = {0};                                                        \
        default_value.member = value;                                                              \
        return default_value;                                                                      \
    }()
#else
#define HCSMOE_DEFAULT_(member, value)                                                             \
    {                                                                                              \
        .member = value                                                                            \
    }
#endif

#define HCSMOE_BOOL(T, field, default_, help_)                                                     \
    {                                                                                              \
#field, help_, HCSMOE_OPTION_BOOL, HCSMOE_FIELD_(T, field, int32_t),                       \
            {default_ }, 0, 1, NULL, 0, 0                                                          \
    }
#define HCSMOE_INT(T, field, default_, lo, hi, help_)                                              \
    {                                                                                              \
#field, help_, HCSMOE_OPTION_INT, HCSMOE_FIELD_(T, field, int64_t),                        \
            {default_ }, (double)(lo), (double)(hi), NULL, 0, 0                                    \
    }
#define HCSMOE_ENUM(T, field, default_, choices_, help_)                                           \
    {                                                                                              \
#field, help_, HCSMOE_OPTION_ENUM, HCSMOE_FIELD_(T, field, int64_t),                       \
            {default_ }, 0, 0, choices_, 0, 0                                                      \
    }
#define HCSMOE_REAL(T, field, default_, lo, hi, help_)                                             \
    {                                                                                              \
#field, help_, HCSMOE_OPTION_REAL, HCSMOE_FIELD_(T, field, double),                        \
            HCSMOE_DEFAULT_(d, default_), lo, hi, NULL, 0, 0                                       \
    }
#define HCSMOE_STR(T, field, default_, help_)                                                      \
    {                                                                                              \
#field, help_, HCSMOE_OPTION_STR, HCSMOE_FIELD_(T, field, const char *),                   \
            HCSMOE_DEFAULT_(s, default_), 0, 0, NULL, 0, 0                                         \
    }
#define HCSMOE_PATH(T, field, default_, help_)                                                     \
    {                                                                                              \
#field, help_, HCSMOE_OPTION_PATH, HCSMOE_FIELD_(T, field, const char *),                  \
            HCSMOE_DEFAULT_(s, default_), 0, 0, NULL, 0, 0                                         \
    }

#ifdef __cplusplus
}
#endif
#endif
