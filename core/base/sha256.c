/*
 * sha256.c - SHA-256 as FIPS 180-4 gives it.
 * SPDX-License-Identifier: MIT
 */
#include "base/sha256.h"

#include <string.h>

enum { BLOCK_BYTES = 64, LENGTH_AT = 56 };

/* The first 32 bits of the fractions of the cube roots of the first 64 primes. */
static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t turn_right(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

/* w[64] of FIPS 180-4, 6.2.2 step 1. */
static void schedule_fill(uint32_t w[64], const unsigned char *block)
{
    for (int i = 0; i < 16; i++) {
        const unsigned char *b = block + 4 * i;
        w[i] = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    }
    for (int i = 16; i < 64; i++) {
        uint32_t x = w[i - 15];
        uint32_t y = w[i - 2];
        uint32_t s0 = turn_right(x, 7) ^ turn_right(x, 18) ^ (x >> 3);
        uint32_t s1 = turn_right(y, 17) ^ turn_right(y, 19) ^ (y >> 10);
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
}

static void sha256_block(uint32_t h[8], const unsigned char *block)
{
    uint32_t w[64];
    uint32_t v[8];

    schedule_fill(w, block);
    memcpy(v, h, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t a = v[0];
        uint32_t e = v[4];
        uint32_t s1 = turn_right(e, 6) ^ turn_right(e, 11) ^ turn_right(e, 25);
        uint32_t choice = (e & v[5]) ^ (~e & v[6]);
        uint32_t t1 = v[7] + s1 + choice + round_constants[i] + w[i];
        uint32_t s0 = turn_right(a, 2) ^ turn_right(a, 13) ^ turn_right(a, 22);
        uint32_t majority = (a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]);
        memmove(v + 1, v, 7 * sizeof v[0]);
        v[4] += t1;
        v[0] = t1 + s0 + majority;
    }
    for (int i = 0; i < 8; i++) {
        h[i] += v[i];
    }
}

void sha256_init(struct sha256 *s)
{
    *s = (struct sha256){.h = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
                               0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void sha256_add(struct sha256 *s, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    size_t held = (size_t)(s->bytes % BLOCK_BYTES);

    s->bytes += n;
    if (held > 0) {
        size_t take = n < BLOCK_BYTES - held ? n : BLOCK_BYTES - held;
        if (take > 0) {
            memcpy(s->block + held, p, take);
            p += take;
            n -= take;
        }
        if (held + take < BLOCK_BYTES) {
            return;
        }
        sha256_block(s->h, s->block);
    }
    for (; n >= BLOCK_BYTES; n -= BLOCK_BYTES) {
        sha256_block(s->h, p);
        p += BLOCK_BYTES;
    }
    if (n > 0) {
        memcpy(s->block, p, n);
    }
}

void sha256_hex(struct sha256 *s, char hex[65])
{
    static const char digits[] = "0123456789abcdef";
    const uint64_t bits = s->bytes * 8;
    size_t held = (size_t)(s->bytes % BLOCK_BYTES);

    s->block[held++] = 0x80;
    if (held > LENGTH_AT) {
        memset(s->block + held, 0, BLOCK_BYTES - held);
        sha256_block(s->h, s->block);
        held = 0;
    }
    memset(s->block + held, 0, LENGTH_AT - held);
    for (int i = 0; i < 8; i++) {
        s->block[LENGTH_AT + i] = (unsigned char)(bits >> (56 - 8 * i));
    }
    sha256_block(s->h, s->block);
    for (int i = 0; i < 64; i++) {
        hex[i] = digits[s->h[i / 8] >> (28 - 4 * (i % 8)) & 15];
    }
    hex[64] = '\0';
}
