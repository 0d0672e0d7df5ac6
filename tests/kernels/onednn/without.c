/*
 * without.c - for checkkern, where oneDNN is not there. SPDX-License-Identifier: MIT
 */
#include "../check.h"

#include <stdio.h>

const struct check_tables *check_onednn(void)
{
    static int told;
    if (told++ == 0)
        printf("skipped: kernels cpu-onednn-bf16 were not built\n");
    return NULL;
}
