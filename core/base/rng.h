/*
 * rng.h - the random generators that other programs' results depend on, bit for bit.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_BASE_RNG_H
#define CORE_BASE_RNG_H

#include <stdint.h>

#include "base/error.h"

/* NumPy's default_rng(seed) (SeedSequence + PCG64 XSL-RR): eval-tasks.md 9.5. */
__extension__ typedef unsigned __int128 uint128; /* GCC and clang have it on every 64-bit machine */

struct pcg64 {
    uint128 state, inc;
    uint32_t half;
    int has_half;
};
void pcg64_seed(struct pcg64 *g, uint64_t seed);
uint64_t pcg64_next64(struct pcg64 *g);
uint32_t pcg64_next32(struct pcg64 *g);
uint64_t pcg64_interval(struct pcg64 *g, uint64_t max); /* 0..max inclusive, masked rejection */
double pcg64_real(struct pcg64 *g);                     /* [0, 1), 53 bits */
/* default_rng(seed).permutation(n) into out[n]. */
void pcg64_permutation(uint64_t seed, int64_t n, int64_t *out);

/* CPython's random.Random(seed) (MT19937): eval-tasks.md 7.4. */
struct mt19937 {
    uint32_t mt[624];
    int at;
};
void mt19937_seed(struct mt19937 *g, uint64_t seed);
uint32_t mt19937_next(struct mt19937 *g);
uint64_t mt19937_below(struct mt19937 *g, uint64_t n);
/* random.sample(range(n), k) into out[k]. */
int mt19937_sample(struct mt19937 *g, int64_t n, int64_t k, int64_t *out) MUST_CHECK;

#endif
