/*
 * checkkern.c - holds every kernel of every table that this processor can run to its bound in kernels.h.
 *
 * usage: checkkern [SEED [ROUNDS]]. A failure names seed, table, kernel and shape. SPDX-License-Identifier: MIT
 */
#include "check.h"

#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>

#include "cpu/cpu.h"
#include "host.h"
#include "ref/ref.h"

enum { ROUNDS = 25 };

static void case_end(struct check *c)
{
    while (c->n_blocks > 0)
        free(c->blocks[--c->n_blocks]);
}

static struct cpu *make_f32(const hcsmoe_host *h, const struct cpu_simd *simd)
{
    return cpu_table(h, simd, &cpu_product_f32);
}

static struct cpu *make_rounded(const hcsmoe_host *h, const struct cpu_simd *simd)
{
    return cpu_table(h, simd, &cpu_product_rounded);
}

static const struct check_tables f32 = {.make = make_f32, .free = cpu_table_free};
static const struct check_tables rounded = {
    .rounds = 1, .make = make_rounded, .free = cpu_table_free};

static int check_table(struct check *c, const struct check_tables *t, int64_t rounds)
{
    struct host hosts[TABLES];
    struct cpu *tables[TABLES];
    hcsmoe_kernels ref = {.struct_size = sizeof ref, .name = "ref"};
    host_init(&hosts[0], 1, 1);
    host_init(&hosts[1], 2, 3);
    host_init(&hosts[2], 3, 2);
    ref_table(&ref);
    if (t->rounds != 0)
        check_rounded_table(&ref);
    c->flip = t->rounds != 0 ? 0x1p-8 : 0.0;
    c->state = c->seed;
    c->comparisons = 0;
    ref.host = &hosts[0].abi;
    c->host = &hosts[0];
    c->ref = &ref;
    for (int i = 0; i < TABLES; i++) {
        tables[i] = t->make(&hosts[i].abi, c->simd);
        if (tables[i] == NULL)
            return 0;
        c->tables[i] = &tables[i]->table;
    }
    check_loops(c);
    case_end(c);
    check_refusals(c);
    for (int64_t i = 0; i < rounds; i++) {
        check_rows(c);
        case_end(c);
        check_products(c);
        case_end(c);
        check_values(c);
        case_end(c);
        check_dense(c);
        case_end(c);
    }
    printf("%s: %lld comparisons\n", c->tables[0]->name, (long long)c->comparisons);
    for (int i = 0; i < TABLES; i++)
        t->free(&hosts[i].abi, tables[i]);
    return 1;
}

int main(int argc, char **argv)
{
    struct check c = {
        .seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1, .kernel = "", .shape = ""};
    int64_t rounds = argc > 2 ? strtoll(argv[2], NULL, 10) : ROUNDS;
    int failures = 0;
    int done = 1;
    openblas_set_num_threads(1);
    for (const struct cpu_simd *const *set = cpu_simd_sets(); *set != NULL; set++) {
        const struct check_tables *const tables[] = {&f32, &rounded, check_onednn()};
        c.simd = *set;
        for (size_t i = 0; i < sizeof tables / sizeof *tables && done; i++)
            done = tables[i] == NULL || check_table(&c, tables[i], rounds);
        if (!done) {
            fprintf(stderr, "checkkern: out of memory\n");
            return 2;
        }
    }
    failures = c.failures;
    if (failures > 0)
        printf("checkkern: %d failures with seed %llu\n", failures, (unsigned long long)c.seed);
    return failures > 0;
}
