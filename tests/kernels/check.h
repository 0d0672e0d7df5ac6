/*
 * check.h - random inputs for kernels, and the comparison of what a table gives with what the references give.
 * SPDX-License-Identifier: MIT
 */
#ifndef TESTS_KERNELS_CHECK_H
#define TESTS_KERNELS_CHECK_H

#include <hcsmoe/kernels.h>

struct cpu;
struct cpu_simd;

struct host;

/* A kind of tables on the loops of any set. */
struct check_tables {
    int rounds; /* operands of products to bfloat16 */
    struct cpu *(*make)(const hcsmoe_host *h, const struct cpu_simd *simd);
    void (*free)(const hcsmoe_host *h, struct cpu *c);
};
/* Those of kernels/onednn; NULL, once with the reason printed: not built, or not for this processor. */
const struct check_tables *check_onednn(void);
/* Replaces what multiplies matrices by references that round operands to bfloat16 first. */
void check_rounded_table(hcsmoe_kernels *t);

enum { TABLES = 3 };

struct check {
    uint64_t seed;      /* of the whole run: printed, and an argument of the program */
    uint64_t state;     /* of the generator */
    const char *kernel; /* what is checked now, for messages */
    char shape[160];
    int failures;
    int64_t comparisons;
    double flip; /* rounding of an operand the other way, relative; 0: operands are not rounded */
    const struct cpu_simd *simd;
    struct host *host; /* of ref and tables[0]: keeps the last message */
    const hcsmoe_kernels *ref;
    const hcsmoe_kernels *tables[TABLES]; /* the same loops on hosts of 1, 2 and 3 threads */
    void *blocks[96];                     /* inputs of this case */
    int n_blocks;
};

/* What inputs look like. A NaN stands in one place of an otherwise plain input. */
enum { VALUES_PLAIN, VALUES_TINY, VALUES_HUGE, VALUES_NAN, VALUES_KINDS };

/* How large inputs of the kind are. */
double check_magnitude(int values);
uint64_t check_random(struct check *c);
int64_t check_below(struct check *c, int64_t n); /* 0..n-1 */
double check_normal(struct check *c);
/* 0, 1, odd ones, a vector more or less than a few vectors; at most `most`. */
int64_t check_size(struct check *c, int64_t most);
void *check_block(struct check *c, size_t bytes); /* freed at the end of the case */
float *check_floats(struct check *c, int64_t n, int values, double scale);
/* A tensor [rows, columns] of some weight dtype, now and then with a gap between its rows. */
hcsmoe_tensor *check_tensors(struct check *c, int64_t count, int64_t rows, int64_t columns,
                             double scale);

/* One output: rows of columns, compared with error relative to the row's largest magnitude plus an absolute one.
 * The absolute one is for rows whose few elements cancel: the error that a usual element may have. EXACT: as the
 * references' bits; ANY: only the tables are compared with each other. */
enum { OUTPUT_F32, OUTPUT_F64, OUTPUT_EXACT32, OUTPUT_EXACT16, OUTPUT_EXACT8, OUTPUT_ANY8 };
struct output {
    int type;
    int64_t rows, columns;
    double relative, absolute;
    const void *initial; /* NULL: arbitrary */
};
enum { OUTPUTS_MOST = 3 };

typedef hcsmoe_status check_call(const hcsmoe_kernels *k, void *args, void *const *out);

/* Calls the references and all tables, each on outputs of its own, and compares: the tables' bits with each other,
 * one of them with the references, and what lies around the outputs with what lay there. */
void check_outputs(struct check *c, check_call *call, void *args, const struct output *outputs,
                   int n_outputs);
void check_fail(struct check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Cases: one random shape each. */
void check_rows(struct check *c); /* rows.c: row by row kernels */
void check_products(
    struct check *c); /* products.c: linear, mlp, experts, attention, token_logprobs */
void check_values(struct check *c);   /* values.c: grams, sums, conversions */
void check_dense(struct check *c);    /* dense.c: symmetric matrices */
void check_loops(struct check *c);    /* loops.c: once per set: exp, rounding, widening */
void check_refusals(struct check *c); /* refusals.c: once: what must be refused, and the message */

#endif
