/*
 * shards_load.c - whole tensors into memory, several pieces at a time.
 *
 * A fast disk wants more than one request at once, and one thread cannot even copy what it delivers; so a few threads
 * take pieces in turn. Each looks for NaN and infinity while the piece is in its cache, and gives the pages back: a
 * model larger than memory must not evict everything else. SPDX-License-Identifier: MIT
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "data/shards.h"

enum {
    LOAD_THREADS = 4,             /* requests that a disk gets at once */
    LOAD_PIECE = 4 * 1024 * 1024, /* bytes; a multiple of every element's size */
    LOAD_LEAST = 4 * LOAD_PIECE,  /* in all, below which threads are not worth starting */
    LOAD_BLOCK = 1024 /* elements that are looked at before it is asked whether all was well */
};

/* One call of shards_load. */
struct loading {
    const struct shards *s;
    const struct shard_load *loads;
    size_t n;
    pthread_mutex_t lock;
    size_t next;   /* piece to take: of this load, */
    uint64_t at;   /* from this byte on */
    size_t failed; /* the first load that has failed; n: none */
    int status;
    char message[1024];
};

/* Of 16-, 32- and 64-bit floats all exponent bits are set in NaN and infinity only. The loop over a block has a known
 * length and no exit: so compilers make vectors of it. */
#define NAME_OF(bits) any_nonfinite##bits
#define NONFINITE(bits)                                                                            \
    static bool NAME_OF(bits)(const void *bytes, size_t n, uint##bits##_t exponent)                \
    {                                                                                              \
        const uint##bits##_t *x = bytes;                                                           \
        uint##bits##_t any = 0;                                                                    \
        for (; n >= LOAD_BLOCK && !any; n -= LOAD_BLOCK, x += LOAD_BLOCK)                          \
            for (size_t j = 0; j < LOAD_BLOCK; j++)                                                \
                any |= (x[j] & exponent) == exponent;                                              \
        for (; n > 0; n--, x++)                                                                    \
            any |= (*x & exponent) == exponent;                                                    \
        return any != 0;                                                                           \
    }
NONFINITE(16)
NONFINITE(32)
NONFINITE(64)

static bool is_finite(uint32_t dtype, const void *bytes, uint64_t size)
{
    switch (dtype) {
    case HCSMOE_DTYPE_BF16:
        return !any_nonfinite16(bytes, size / 2, 0x7f80);
    case HCSMOE_DTYPE_F16:
        return !any_nonfinite16(bytes, size / 2, 0x7c00);
    case HCSMOE_DTYPE_F32:
        return !any_nonfinite32(bytes, size / 4, 0x7f800000);
    case HCSMOE_DTYPE_F64:
        return !any_nonfinite64(bytes, size / 8, 0x7ff0000000000000);
    default:
        return true;
    }
}

static int piece_read(const struct shards *s, const struct shard_load *l, uint64_t at,
                      uint64_t size)
{
    const struct st_file *f = shards_file(s, l->entry);
    unsigned char *to = (unsigned char *)l->bytes + at;
    const off_t offset = (off_t)(l->entry->offset + at);
    int status;

    (void)posix_fadvise(f->fd, offset, (off_t)size, POSIX_FADV_WILLNEED); /* all of it at once */
    status = st_read(f, (uint64_t)offset, to, size);
    (void)posix_fadvise(f->fd, offset, (off_t)size, POSIX_FADV_DONTNEED);
    if (!status && !is_finite(l->entry->dtype, to, size))
        status =
            fail(HCSMOE_EINVAL, "%s: tensor '%s' holds NaN or infinity", f->path, l->entry->name);
    return status;
}

/* The next piece; false when none is left or one has failed. */
static bool piece_take(struct loading *x, size_t *load, uint64_t *at, uint64_t *size)
{
    bool taken = false;

    (void)pthread_mutex_lock(&x->lock);
    while (x->next < x->n && x->at >= x->loads[x->next].entry->size) {
        x->next++;
        x->at = 0;
    }
    if (x->next < x->n && x->failed == x->n) {
        const uint64_t left = x->loads[x->next].entry->size - x->at;
        *load = x->next;
        *at = x->at;
        *size = left < LOAD_PIECE ? left : LOAD_PIECE;
        x->at += *size;
        taken = true;
    }
    (void)pthread_mutex_unlock(&x->lock);
    return taken;
}

static void *load_main(void *arg)
{
    struct loading *x = arg;
    size_t load;
    uint64_t at, size;

    while (piece_take(x, &load, &at, &size)) {
        const int status = piece_read(x->s, &x->loads[load], at, size);
        (void)pthread_mutex_lock(&x->lock);
        /* Pieces are taken in order: of those that failed, the first is what a single thread would have met. */
        if (status && load < x->failed) {
            x->failed = load;
            x->status = status;
            (void)snprintf(x->message, sizeof x->message, "%s", fail_message());
        }
        (void)pthread_mutex_unlock(&x->lock);
    }
    return NULL;
}

int shards_load(const struct shards *s, const struct shard_load *loads, size_t n)
{
    struct loading x = {.s = s, .loads = loads, .n = n, .failed = n};
    pthread_t threads[LOAD_THREADS - 1];
    uint64_t bytes = 0;
    size_t started = 0;

    for (size_t i = 0; i < n; i++)
        bytes += loads[i].entry->size;
    (void)pthread_mutex_init(&x.lock, NULL);
    /* With fewer threads than wanted it is only slower. */
    while (bytes >= LOAD_LEAST && started < LOAD_THREADS - 1 &&
           pthread_create(&threads[started], NULL, load_main, &x) == 0)
        started++;
    (void)load_main(&x);
    while (started > 0)
        (void)pthread_join(threads[--started], NULL);
    (void)pthread_mutex_destroy(&x.lock);
    return x.status ? fail(x.status, "%s", x.message) : 0;
}
