/*
 * released.h - how abi_1_N.c says what must stay. A line that does not compile is a broken promise: while the major is
 * 0, freeze.sh makes the promise anew; afterwards the header is wrong.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TESTS_ABI_RELEASED_H
#define TESTS_ABI_RELEASED_H

#include <hcsmoe/budget.h>
#include <hcsmoe/cluster.h>
#include <hcsmoe/family.h>
#include <hcsmoe/host.h>
#include <hcsmoe/json.h>
#include <hcsmoe/kernels.h>
#include <hcsmoe/merge.h>
#include <hcsmoe/model.h>
#include <hcsmoe/option.h>
#include <hcsmoe/plugin.h>
#include <hcsmoe/record.h>
#include <hcsmoe/similarity.h>
#include <hcsmoe/stats.h>
#include <hcsmoe/task.h>
#include <hcsmoe/tensor.h>

/* Where it is, how large, and of which type; an array counts as a pointer to its elements. */
#define MEMBER(T, member, offset, size, ...)                                                       \
    _Static_assert(offsetof(T, member) == (offset), #T "." #member " has moved");                  \
    _Static_assert(sizeof(((T *)0)->member) == (size), #T "." #member " has another size");        \
    _Static_assert(_Generic(((T *)0)->member, __VA_ARGS__ : 1, default : 0),                       \
                   #T "." #member " has another type")
#define FROZEN(T, size) _Static_assert(sizeof(T) == (size), #T " has grown")
#define VALUE(name, value) _Static_assert((name) == (value), #name " was renumbered")
#define ENTRY(...)                                                                                 \
    _Static_assert(_Generic((hcsmoe_entry)0, __VA_ARGS__ : 1, default : 0), "another entry")

#endif
