/*
 * check.c - random inputs and comparisons of checkkern. SPDX-License-Identifier: MIT
 */
#include "check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ref/ref.h"

enum { GUARD = 128, GUARD_BYTE = 0xA5, FAILURES_SHOWN = 20 };

uint64_t check_random(struct check *c)
{
    uint64_t z = c->state += 0x9E3779B97F4A7C15u; /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

int64_t check_below(struct check *c, int64_t n)
{
    return (int64_t)(check_random(c) % (uint64_t)n);
}

double check_normal(struct check *c)
{
    double u = ((double)(check_random(c) >> 11) + 0.5) * 0x1p-53;
    double v = (double)(check_random(c) >> 11) * 0x1p-53;
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

int64_t check_size(struct check *c, int64_t most)
{
    static const int64_t vectors[] = {4, 8, 16, 32, 64};
    int64_t n;
    switch (check_below(c, 6)) {
    case 0:
        n = check_below(c, 4) == 0 ? 0 : 1;
        break;
    case 1:
        n = 2 * check_below(c, 20) + 1;
        break;
    case 2:
    case 3:
        n = vectors[check_below(c, 5)] * (1 + check_below(c, 2)) + check_below(c, 3) - 1;
        break;
    default:
        n = 1 + check_below(c, most);
        break;
    }
    return n < most ? n : most;
}

void *check_block(struct check *c, size_t bytes)
{
    void *p = malloc(bytes > 0 ? bytes : 1);
    if (p == NULL || c->n_blocks == (int)(sizeof c->blocks / sizeof c->blocks[0])) {
        fprintf(stderr, "checkkern: out of memory\n");
        exit(2);
    }
    c->blocks[c->n_blocks++] = p;
    return p;
}

double check_magnitude(int values)
{
    return values == VALUES_TINY ? 1e-20 : values == VALUES_HUGE ? 1e12 : 1.0;
}

float *check_floats(struct check *c, int64_t n, int values, double scale)
{
    float *x = check_block(c, (size_t)n * sizeof *x);
    scale *= check_magnitude(values);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(check_normal(c) * scale);
    if (values == VALUES_NAN && n > 0)
        x[check_below(c, n)] = NAN;
    return x;
}

hcsmoe_tensor *check_tensors(struct check *c, int64_t count, int64_t rows, int64_t columns,
                             double scale)
{
    static const uint32_t dtypes[] = {HCSMOE_DTYPE_F32, HCSMOE_DTYPE_F16, HCSMOE_DTYPE_BF16};
    hcsmoe_tensor *t = check_block(c, (size_t)count * sizeof *t);
    uint32_t dtype = dtypes[check_below(c, 3)];
    int64_t stride = columns + (check_below(c, 3) == 0 ? check_below(c, 9) : 0);
    size_t each = (size_t)(rows * stride) * hcsmoe_dtype_size(dtype);
    char *data = check_block(c, (size_t)count * each);
    for (int64_t i = 0; i < count; i++) {
        t[i] = hcsmoe_matrix(data + (size_t)i * each, dtype, rows, stride);
        for (int64_t j = 0; j < rows * stride; j++)
            ref_set(&t[i], j, check_normal(c) * scale);
        t[i].shape[1] = columns;
    }
    return t;
}

void check_fail(struct check *c, const char *format, ...)
{
    va_list ap;
    if (c->failures++ >= FAILURES_SHOWN)
        return;
    printf("FAILED seed %llu, %s, %s (%s): ", (unsigned long long)c->seed,
           c->tables[0] != NULL ? c->tables[0]->name : "loops", c->kernel, c->shape);
    va_start(ap, format);
    vprintf(format, ap);
    va_end(ap);
    printf("\n");
}

static size_t element_bytes(int type)
{
    static const size_t bytes[] = {4, 8, 4, 2, 1, 1};
    return bytes[type];
}

/* An output between two guards, with a known content. */
static char *output_new(const struct output *o)
{
    size_t bytes = (size_t)(o->rows * o->columns) * element_bytes(o->type);
    char *p = malloc(bytes + 2 * GUARD);
    if (p == NULL) {
        fprintf(stderr, "checkkern: out of memory\n");
        exit(2);
    }
    memset(p, GUARD_BYTE, bytes + 2 * GUARD);
    if (o->initial != NULL && bytes > 0)
        memcpy(p + GUARD, o->initial, bytes);
    return p + GUARD;
}

static double value_at(const struct output *o, const void *p, int64_t i)
{
    if (o->type == OUTPUT_F64)
        return ((const double *)p)[i];
    return (double)((const float *)p)[i];
}

static void compare_row(struct check *c, const struct output *o, int64_t row, const char *ref,
                        const char *got)
{
    double largest = 0.0;
    for (int64_t j = 0; j < o->columns; j++) {
        double x = fabs(value_at(o, ref, row * o->columns + j));
        largest = isfinite(x) && x > largest ? x : largest;
    }
    double allowed = o->absolute + o->relative * largest;
    for (int64_t j = 0; j < o->columns; j++) {
        double x = value_at(o, ref, row * o->columns + j);
        double y = value_at(o, got, row * o->columns + j);
        if (x == y || (isnan(x) && isnan(y)) || fabs(x - y) <= allowed)
            continue;
        check_fail(c, "[%lld, %lld] is %.9g: must be %.9g to %.3g", (long long)row, (long long)j, y,
                   x, allowed);
        return;
    }
}

static void compare(struct check *c, const struct output *o, const char *ref, const char *one,
                    const char *two, const char *three)
{
    size_t bytes = (size_t)(o->rows * o->columns) * element_bytes(o->type);
    c->comparisons++;
    if (memcmp(one - GUARD, two - GUARD, bytes + 2 * GUARD) != 0)
        check_fail(c, "one and two threads differ");
    if (memcmp(one - GUARD, three - GUARD, bytes + 2 * GUARD) != 0)
        check_fail(c, "one and three threads differ");
    for (int i = 0; i < GUARD; i++) {
        if ((unsigned char)one[bytes + (size_t)i] != GUARD_BYTE ||
            (unsigned char)one[i - GUARD] != GUARD_BYTE) {
            check_fail(c, "wrote outside its output");
            break;
        }
    }
    if (o->type == OUTPUT_ANY8)
        return;
    if (o->type >= OUTPUT_EXACT32) {
        for (size_t i = 0; i < bytes; i++) {
            if (one[i] != ref[i]) {
                check_fail(c, "element %zu differs", i / element_bytes(o->type));
                break;
            }
        }
        return;
    }
    for (int64_t row = 0; row < o->rows; row++)
        compare_row(c, o, row, ref, one);
}

void check_outputs(struct check *c, check_call *call, void *args, const struct output *outputs,
                   int n_outputs)
{
    const hcsmoe_kernels *tables[1 + TABLES] = {c->ref, c->tables[0], c->tables[1], c->tables[2]};
    void *out[1 + TABLES][OUTPUTS_MOST] = {{NULL}};
    int ok = 1;
    for (int t = 0; t < 1 + TABLES; t++) {
        for (int i = 0; i < n_outputs; i++)
            out[t][i] = output_new(&outputs[i]);
        hcsmoe_status status = call(tables[t], args, out[t]);
        if (status != HCSMOE_OK) {
            check_fail(c, "table %d: status %d", t, (int)status);
            ok = 0;
        }
    }
    for (int i = 0; i < n_outputs && ok; i++)
        compare(c, &outputs[i], out[0][i], out[1][i], out[2][i], out[3][i]);
    for (int t = 0; t < 1 + TABLES; t++)
        for (int i = 0; i < n_outputs; i++)
            free((char *)out[t][i] - GUARD);
}
