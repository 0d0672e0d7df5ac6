/*
 * fuzz.h - what the fuzz targets share: their input as files, since the parsers read files.
 *
 * A target is one function that takes any bytes; libFuzzer calls it (HCSMOE_FUZZ=ON), or replay.c with every file of
 * tests/fuzz/corpus. Whatever the bytes are, it must come back, quickly, and leave nothing.
 * SPDX-License-Identifier: MIT
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file in memory that holds the bytes; valid until the next call. */
const char *fuzz_file(const void *bytes, size_t size);
/* A folder for this process, which goes away at its end. */
const char *fuzz_folder(void);
/* Writes folder/name. */
void fuzz_write(const char *name, const void *bytes, size_t size);
/* Text "LENGTH\nHEADER" as a safetensors file: its frame, and as many bytes of data, at most 1 MB. Anything that starts
 * with no digit is such a file itself. New memory (free). */
uint8_t *fuzz_safetensors(const uint8_t *data, size_t size, size_t *n);

/* Stops the program when something that has to work does not. */
void fuzz_must(int status);

#endif
