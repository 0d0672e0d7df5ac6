/*
 * with.c - the tables of kernels/onednn, for checkkern. SPDX-License-Identifier: MIT
 */
#include "../check.h"

#include <stdio.h>

#include "../host.h"
#include "onednn/onednn.h"

const struct check_tables *check_onednn(void)
{
    static const struct check_tables tables = {
        .rounds = 1, .make = onednn_table, .free = onednn_table_free};
    static int told;
    struct host h;
    host_init(&h, 1, 1);
    if (onednn_can_run(&h.abi) != 0)
        return &tables;
    if (told++ == 0)
        printf("skipped: kernels cpu-onednn-bf16: %s\n", h.message);
    return NULL;
}
