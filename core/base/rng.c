/*
 * rng.c - NumPy's default generator (PCG64) and CPython's (MT19937), bit for bit.
 *
 * PCG64: O'Neill 2014 (XSL-RR 128/64), seeded by NumPy's SeedSequence; MT19937: Matsumoto and
 * Nishimura 1998 (init_by_array). All arithmetic is modulo the word size.
 * SPDX-License-Identifier: MIT
 */
#include "base/rng.h"

#include <stdbool.h>
#include <stddef.h>

#include "base/mem.h"

enum {
    POOL_WORDS = 4,
    MT_WORDS = 624,
    MT_SHIFT = 397,
    SAMPLE_POOL_MIN = 21 /* populations up to this size are always drawn from a list */
};

/* Draws are kept in memory, and 3k must not overflow; no use here comes near. */
static const int64_t sample_max = INT64_C(1) << 32;

/* SeedSequence's hash, whose constant moves on at every call. */
static uint32_t seed_hash(uint32_t v, uint32_t *constant, uint32_t multiplier)
{
    v ^= *constant;
    *constant *= multiplier;
    v *= *constant;
    return v ^ (v >> 16);
}

static uint32_t seed_mix(uint32_t x, uint32_t y)
{
    uint32_t r = 0xca01f9ddu * x - 0x4973f715u * y;

    return r ^ (r >> 16);
}

static void seed_words(uint64_t seed, uint64_t words[4])
{
    uint32_t pool[POOL_WORDS] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t constant = 0x43b0d7e5u;

    for (int i = 0; i < POOL_WORDS; i++) {
        pool[i] = seed_hash(pool[i], &constant, 0x931e8875u);
    }
    for (int from = 0; from < POOL_WORDS; from++) {
        for (int to = 0; to < POOL_WORDS; to++) {
            if (to != from) {
                pool[to] = seed_mix(pool[to], seed_hash(pool[from], &constant, 0x931e8875u));
            }
        }
    }
    constant = 0x8b51f9ddu;
    for (int i = 0; i < 4; i++) {
        uint64_t low = seed_hash(pool[(2 * i) % POOL_WORDS], &constant, 0x58f38dedu);
        uint64_t high = seed_hash(pool[(2 * i + 1) % POOL_WORDS], &constant, 0x58f38dedu);
        words[i] = high << 32 | low;
    }
}

static void pcg64_step(struct pcg64 *g)
{
    const uint128 multiplier = (uint128)0x2360ed051fc65da4u << 64 | 0x4385df649fccf645u;

    g->state = g->state * multiplier + g->inc;
}

void pcg64_seed(struct pcg64 *g, uint64_t seed)
{
    uint64_t words[4];

    seed_words(seed, words);
    *g = (struct pcg64){.inc = ((uint128)words[2] << 64 | words[3]) << 1 | 1};
    pcg64_step(g);
    g->state += (uint128)words[0] << 64 | words[1];
    pcg64_step(g);
}

uint64_t pcg64_next64(struct pcg64 *g)
{
    pcg64_step(g);
    uint64_t x = (uint64_t)(g->state >> 64) ^ (uint64_t)g->state;
    unsigned turn = (unsigned)(g->state >> 122);
    return x >> turn | x << (-turn & 63);
}

uint32_t pcg64_next32(struct pcg64 *g)
{
    if (g->has_half) {
        g->has_half = 0;
        return g->half;
    }
    uint64_t x = pcg64_next64(g);
    g->half = (uint32_t)(x >> 32);
    g->has_half = 1;
    return (uint32_t)x;
}

uint64_t pcg64_interval(struct pcg64 *g, uint64_t max)
{
    if (max == 0) {
        return 0;
    }
    uint64_t mask = UINT64_MAX >> __builtin_clzll(max);
    for (;;) {
        uint64_t x = (max > UINT32_MAX ? pcg64_next64(g) : pcg64_next32(g)) & mask;
        if (x <= max) {
            return x;
        }
    }
}

double pcg64_real(struct pcg64 *g)
{
    return (double)(pcg64_next64(g) >> 11) * 0x1p-53;
}

void pcg64_permutation(uint64_t seed, int64_t n, int64_t *out)
{
    struct pcg64 g;

    pcg64_seed(&g, seed);
    for (int64_t i = 0; i < n; i++) {
        out[i] = i;
    }
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = (int64_t)pcg64_interval(&g, (uint64_t)i);
        int64_t kept = out[i];
        out[i] = out[j];
        out[j] = kept;
    }
}

void mt19937_seed(struct mt19937 *g, uint64_t seed)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t words = key[1] ? 2 : 1;
    uint32_t *mt = g->mt;
    uint32_t i = 1;
    uint32_t j = 0;

    mt[0] = 19650218u;
    for (uint32_t k = 1; k < MT_WORDS; k++) {
        mt[k] = 1812433253u * (mt[k - 1] ^ (mt[k - 1] >> 30)) + k;
    }
    for (int k = 0; k < MT_WORDS; k++) {
        mt[i] = (mt[i] ^ ((mt[i - 1] ^ (mt[i - 1] >> 30)) * 1664525u)) + key[j] + j;
        j = (j + 1) % words;
        if (++i == MT_WORDS) {
            mt[0] = mt[MT_WORDS - 1];
            i = 1;
        }
    }
    for (int k = 0; k < MT_WORDS - 1; k++) {
        mt[i] = (mt[i] ^ ((mt[i - 1] ^ (mt[i - 1] >> 30)) * 1566083941u)) - i;
        if (++i == MT_WORDS) {
            mt[0] = mt[MT_WORDS - 1];
            i = 1;
        }
    }
    mt[0] = 0x80000000u;
    g->at = MT_WORDS;
}

static void mt19937_regenerate(struct mt19937 *g)
{
    uint32_t *mt = g->mt;

    for (int k = 0; k < MT_WORDS; k++) {
        uint32_t y = (mt[k] & 0x80000000u) | (mt[(k + 1) % MT_WORDS] & 0x7fffffffu);
        mt[k] = mt[(k + MT_SHIFT) % MT_WORDS] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    g->at = 0;
}

uint32_t mt19937_next(struct mt19937 *g)
{
    if (g->at >= MT_WORDS) {
        mt19937_regenerate(g);
    }
    uint32_t y = g->mt[g->at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

uint64_t mt19937_below(struct mt19937 *g, uint64_t n)
{
    if (n == 0) {
        return 0;
    }
    int bits = 64 - __builtin_clzll(n); /* of n itself, not of n - 1 */
    for (;;) {
        uint64_t x;
        if (bits <= 32) {
            x = mt19937_next(g) >> (32 - bits);
        } else {
            x = mt19937_next(g);
            x |= (uint64_t)(mt19937_next(g) >> (64 - bits)) << 32;
        }
        if (x < n) {
            return x;
        }
    }
}

static int sample_from_pool(struct mt19937 *g, int64_t n, int64_t k, int64_t *out)
{
    int64_t *pool = mem_new_raw((size_t)n, sizeof *pool);

    if (!pool) {
        return HCSMOE_ENOMEM;
    }
    for (int64_t i = 0; i < n; i++) {
        pool[i] = i;
    }
    for (int64_t i = 0; i < k; i++) {
        uint64_t j = mt19937_below(g, (uint64_t)(n - i));
        out[i] = pool[j];
        pool[j] = pool[n - i - 1];
    }
    mem_free(pool);
    return 0;
}

/* Adds x to a set of `mask + 1` slots that hold x + 1, or 0 when free; false when it was there. */
static bool set_add(int64_t *slots, uint64_t mask, int64_t x)
{
    uint64_t at = ((uint64_t)x * 0x9e3779b97f4a7c15u >> 20) & mask;

    while (slots[at] != 0) {
        if (slots[at] == x + 1) {
            return false;
        }
        at = (at + 1) & mask;
    }
    slots[at] = x + 1;
    return true;
}

static int sample_by_set(struct mt19937 *g, int64_t n, int64_t k, int64_t *out)
{
    uint64_t slots_n = 16;

    while (slots_n < 2 * (uint64_t)k) {
        slots_n *= 2;
    }
    int64_t *slots = mem_new(slots_n, sizeof *slots);
    if (!slots) {
        return HCSMOE_ENOMEM;
    }
    for (int64_t i = 0; i < k; i++) {
        do {
            out[i] = (int64_t)mt19937_below(g, (uint64_t)n);
        } while (!set_add(slots, slots_n - 1, out[i]));
    }
    mem_free(slots);
    return 0;
}

int mt19937_sample(struct mt19937 *g, int64_t n, int64_t k, int64_t *out)
{
    int64_t pool_max = SAMPLE_POOL_MIN;

    if (k < 0 || n < 0 || k > n || k > sample_max) {
        return fail(HCSMOE_EINVAL, "cannot draw %lld of %lld without repeating", (long long)k,
                    (long long)n);
    }
    if (k == 0) {
        return 0;
    }
    if (k > 5) {
        int64_t power = 1;
        while (power < 3 * k) {
            power *= 4;
        }
        pool_max += power;
    }
    return n <= pool_max ? sample_from_pool(g, n, k, out) : sample_by_set(g, n, k, out);
}
