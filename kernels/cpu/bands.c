/*
 * bands.c - products of many tokens with stored weights. SPDX-License-Identifier: MIT
 */
#include "bands.h"

#include <string.h>

int64_t bands_number(const struct cpu_simd *s, int64_t tokens)
{
    return (tokens + s->band - 1) / s->band;
}

static int64_t depth_of(int64_t kk)
{
    return kk < BANDS_DEPTH ? kk : BANDS_DEPTH;
}

int64_t bands_room(int64_t kk)
{
    return BANDS_PIECES * BANDS_ROWS * (depth_of(kk) + BANDS_PAD);
}

void bands_in(const struct bands *b, const float *const *rows)
{
    const int64_t width = b->simd->band;
    for (int64_t p = 0; p * width < b->tokens; p++) {
        const int64_t left = b->tokens - p * width;
        b->simd->band_in(left < width ? left : width, b->kk, rows + p * width,
                         b->x + p * width * b->kk);
    }
}

/* Columns k.. of a piece's rows as floats, and rows of zeros to fill a tile. */
static void widen_rows(const struct cpu_simd *s, const struct bands_piece *q, int64_t k,
                       int64_t columns, float *to)
{
    const int64_t ld = columns + BANDS_PAD;
    const int64_t padded = (q->rows + s->panel_rows - 1) / s->panel_rows * s->panel_rows;
    for (int64_t r = 0; r < q->rows; r++)
        cpu_read(s, q->w, (q->first + r) * q->w->shape[1] + k, columns, to + r * ld);
    memset(to + q->rows * ld, 0, (size_t)((padded - q->rows) * ld) * sizeof *to);
}

/* Columns k..k+depth-1 of a piece's weights, widened in room, times those of every band. */
static void multiply_depth(const struct bands *b, const struct bands_piece *q, int64_t band,
                           int64_t k, int64_t depth, const float *room)
{
    const struct cpu_simd *s = b->simd;
    const int64_t ld = depth + BANDS_PAD;
    const int64_t left = b->tokens - band * s->band, third = s->band / 3;
    const int vectors = left < s->band ? (int)((left + third - 1) / third) : 3;
    const float *x = b->x + (band * b->kk + k) * s->band;
    float *out = q->out + band * BANDS_ROWS * s->band;
    for (int64_t r = 0; r < q->rows; r += s->panel_rows)
        s->band_product(depth, vectors, room + r * ld, ld, x, k > 0, out + r * s->band);
}

void bands_multiply(const struct bands *b, const struct bands_piece *pieces, int n, float *room)
{
    const int64_t bands = bands_number(b->simd, b->tokens);
    for (int64_t k = 0; k < b->kk; k += BANDS_DEPTH) {
        const int64_t depth = depth_of(b->kk - k);
        const int64_t size = BANDS_ROWS * (depth + BANDS_PAD);
        for (int i = 0; i < n; i++)
            widen_rows(b->simd, &pieces[i], k, depth, room + i * size);
        for (int64_t p = 0; p < bands; p++)
            for (int i = 0; i < n; i++)
                multiply_depth(b, &pieces[i], p, k, depth, room + i * size);
    }
}
