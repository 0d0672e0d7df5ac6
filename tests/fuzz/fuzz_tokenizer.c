/*
 * fuzz_tokenizer.c - any bytes as tokenizer.json and, behind a NUL, a text: its ids, and the text of those.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "data/tokenizer.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char usual[] =
        "It's  a test:\tthe\r\n\n  na\xc3\xafve 12345 \xe4\xbd\xa0\xe5\xa5\xbd <s>\xff ";
    const uint8_t *nul = size > 0 ? memchr(data, 0, size) : NULL;
    const size_t n = nul ? (size_t)(nul - data) : size;
    struct tokenizer *t = NULL;
    struct token_ids ids = {0};
    char *back = NULL;

    log_level_set(LOG_ERROR);
    fuzz_write("tokenizer.json", data, n);
    if (tokenizer_open(&t, fuzz_folder()))
        return 0;
    const char *text = nul ? (const char *)nul + 1 : usual;
    const size_t length = nul ? size - n - 1 : sizeof usual - 1;
    if (tokenizer_encode(t, text, length, true, &ids) == 0) {
        for (size_t i = 0; i < ids.n; i++)
            if (ids.ids[i] < 0 || ids.ids[i] >= tokenizer_size(t) || !tokenizer_text(t, ids.ids[i]))
                __builtin_trap();
        if (tokenizer_decode(t, ids.ids, ids.n, &back) == 0)
            mem_free(back);
    }
    token_ids_release(&ids);
    tokenizer_close(t);
    return 0;
}
