/*
 * bands.h - products of many tokens with stored weights, without BLAS: tokens as columns.
 *
 * BLAS packs its operands anew in every call. Here activations are turned once into bands (see simd.h), which gate, up
 * and down all read; a product's result is a band again, so that only what leaves an expert is turned back.
 * SPDX-License-Identifier: MIT
 */
#ifndef KERNELS_CPU_BANDS_H
#define KERNELS_CPU_BANDS_H

#include "cpu.h"

enum {
    BANDS_ROWS = 64,  /* of a weight that a piece has at most */
    BANDS_PIECES = 2, /* that read a band together */
    BANDS_DEPTH =
        512,       /* columns of weights that are widened at once: they stay in the second cache */
    BANDS_PAD = 16 /* floats between rows, which else meet in few sets of the first cache */
};

struct bands {
    const struct cpu_simd *simd;
    int64_t tokens, kk;
    float *x; /* [number of bands, kk, simd->band] */
};

int64_t bands_number(const struct cpu_simd *s, int64_t tokens);
/* Floats that multiply needs as room for weights. */
int64_t bands_room(int64_t kk);
/* rows[tokens] of kk floats each, into b->x. */
void bands_in(const struct bands *b, const float *const *rows);
/* Rows first..first+rows-1 of w[, kk] times every band, into out[band, BANDS_ROWS, simd->band]. */
struct bands_piece {
    const hcsmoe_tensor *w;
    int64_t first, rows;
    float *out;
};
void bands_multiply(const struct bands *b, const struct bands_piece *pieces, int n, float *room);

#endif
