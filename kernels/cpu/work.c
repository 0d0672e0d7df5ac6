/*
 * work.c - working memory, splits and refusals that the CPU kernels share. SPDX-License-Identifier: MIT
 */
#include "cpu.h"

enum { LINE = 64, SPLIT_STEP = 16 };

void *cpu_new(const hcsmoe_host *h, int64_t n, size_t size)
{
    if (n < 0 || (uint64_t)n > SIZE_MAX / size) {
        (void)hcsmoe_failf(h, HCSMOE_EINVAL, "kernel: %lld items of %zu bytes are too many",
                           (long long)n, size);
        return NULL;
    }
    return h->alloc(h, n > 0 ? (size_t)n * size : 1);
}

hcsmoe_status cpu_work_new(struct cpu_work *w, const hcsmoe_host *h, size_t bytes_each)
{
    w->h = h;
    w->each = (bytes_each + LINE - 1) / LINE * LINE;
    w->base = cpu_new(h, h->threads(h), w->each > 0 ? w->each : LINE);
    return w->base != NULL ? HCSMOE_OK : HCSMOE_ENOMEM;
}

void cpu_work_free(struct cpu_work *w)
{
    if (w->h != NULL)
        w->h->free(w->h, w->base);
    w->base = NULL;
}

void *cpu_work_mine(const struct cpu_work *w)
{
    return w->base + (size_t)w->h->thread(w->h) * w->each;
}

size_t cpu_work_size(int64_t count, size_t size)
{
    return ((size_t)count * size + LINE - 1) / LINE * LINE;
}

void *cpu_work_take(char **block, int64_t count, size_t size)
{
    char *p = *block;
    *block += cpu_work_size(count, size);
    return p;
}

struct cpu_split cpu_split_of(int64_t n, int64_t most)
{
    struct cpu_split s = {.n = n, .parts = 0};
    int64_t steps = (n + SPLIT_STEP - 1) / SPLIT_STEP;
    int64_t steps_most = most > SPLIT_STEP ? most / SPLIT_STEP : 1;
    s.parts = (steps + steps_most - 1) / steps_most;
    return s;
}

int64_t cpu_split_begin(const struct cpu_split *s, int64_t part)
{
    int64_t steps = (s->n + SPLIT_STEP - 1) / SPLIT_STEP;
    int64_t spare = steps % s->parts;
    int64_t begin = (steps / s->parts * part + (part < spare ? part : spare)) * SPLIT_STEP;
    return begin < s->n ? begin : s->n;
}

int64_t cpu_split_widest(const struct cpu_split *s)
{
    int64_t steps = (s->n + SPLIT_STEP - 1) / SPLIT_STEP;
    return s->parts > 0 ? (steps + s->parts - 1) / s->parts * SPLIT_STEP : 0;
}

static int is_weight(uint32_t dtype)
{
    return dtype == HCSMOE_DTYPE_F32 || dtype == HCSMOE_DTYPE_F16 || dtype == HCSMOE_DTYPE_BF16;
}

hcsmoe_status cpu_check_matrix(const hcsmoe_host *h, const char *what, const hcsmoe_tensor *t,
                               int64_t rows, int64_t columns)
{
    if (!is_weight(t->dtype))
        return hcsmoe_failf(h, HCSMOE_EUNSUPPORTED, "%s: dtype %u: must be F32, F16 or BF16", what,
                            (unsigned)t->dtype);
    if (t->shape[0] != rows || t->shape[1] != columns || t->shape[2] != 1 || t->shape[3] != 1)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "%s: shape [%lld, %lld]: must be [%lld, %lld]", what,
                            (long long)t->shape[0], (long long)t->shape[1], (long long)rows,
                            (long long)columns);
    if ((columns > 1 && t->stride[1] != 1) || (rows > 1 && t->stride[0] < columns) ||
        t->stride[0] > INT32_MAX)
        return hcsmoe_failf(h, HCSMOE_EUNSUPPORTED, "%s: its rows must be contiguous", what);
    if (rows > 0 && columns > 0 && t->data == NULL)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "%s: absent", what);
    return HCSMOE_OK;
}

hcsmoe_status cpu_check_elements(const hcsmoe_host *h, const char *what, const hcsmoe_tensor *t,
                                 int64_t n, int any_float)
{
    if (!is_weight(t->dtype) && (any_float == 0 || t->dtype != HCSMOE_DTYPE_F64))
        return hcsmoe_failf(h, HCSMOE_EUNSUPPORTED, "%s: dtype %u: must be F32, F16%s", what,
                            (unsigned)t->dtype, any_float != 0 ? ", BF16 or F64" : " or BF16");
    if (hcsmoe_tensor_elements(t) != n)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "%s: %lld elements: must be %lld", what,
                            (long long)hcsmoe_tensor_elements(t), (long long)n);
    if (n > 0 && t->data == NULL)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "%s: absent", what);
    return HCSMOE_OK;
}

hcsmoe_status cpu_check_sizes(const hcsmoe_host *h, const char *what, int64_t a, int64_t b,
                              int64_t c)
{
    int64_t sizes[3] = {a, b, c};
    for (int i = 0; i < 3; i++)
        if (sizes[i] < 0 || sizes[i] > INT32_MAX)
            return hcsmoe_failf(h, HCSMOE_EINVAL, "%s: size %lld: must be 0..%d", what,
                                (long long)sizes[i], INT32_MAX);
    return HCSMOE_OK;
}

hcsmoe_status cpu_check_cancelled(const hcsmoe_host *h)
{
    return h->cancelled(h) != 0 ? h->fail(h, HCSMOE_ECANCELLED, "interrupted") : HCSMOE_OK;
}
