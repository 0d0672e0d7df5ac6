/*
 * product.c - products of bfloat16 operands with weights as they are stored.
 *
 * One primitive, made with all sizes open, serves every product: experts have any number of rows, and a primitive
 * of its own for each would take longer to make than to run. It runs on the calling thread alone, so that the tiles
 * of kernels/cpu, and nothing else, decide the order of sums. SPDX-License-Identifier: MIT
 */
#include "onednn.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <string.h>

enum { SETS, ADDS, WAYS };

struct onednn {
    dnnl_engine_t engine;
    dnnl_primitive_t primitive[WAYS]; /* y = x w^T; y += x w^T */
};

/* What one product works on; closed in every case. */
struct operation {
    dnnl_stream_t stream;
    dnnl_memory_t x, w, y;
};

int onednn_can_run(const hcsmoe_host *h)
{
    const unsigned need = dnnl_cpu_isa_avx512_core_bf16;
    if (((unsigned)dnnl_get_effective_cpu_isa() & need) == need)
        return 1;
    (void)h->fail(h, HCSMOE_EUNSUPPORTED, "oneDNN finds neither AVX512-BF16 nor AMX");
    return 0;
}

static dnnl_status_t describe(dnnl_memory_desc_t *d, dnnl_data_type_t type, int64_t rows,
                              int64_t columns, int64_t row_stride, int64_t column_stride)
{
    const dnnl_dims_t dims = {rows, columns};
    const dnnl_dims_t strides = {row_stride, column_stride};
    return dnnl_memory_desc_init_by_strides(d, 2, dims, type, strides);
}

static dnnl_status_t memory_new(const struct onednn *o, dnnl_data_type_t type, int64_t rows,
                                int64_t columns, int64_t row_stride, int64_t column_stride,
                                const void *data, dnnl_memory_t *out)
{
    dnnl_memory_desc_t d;
    dnnl_status_t status = describe(&d, type, rows, columns, row_stride, column_stride);
    if (status == dnnl_success)
        status = dnnl_memory_create(out, &d, o->engine, (void *)(uintptr_t)data);
    return status;
}

static dnnl_status_t attributes_of(int way, dnnl_primitive_attr_t *attributes)
{
    dnnl_post_ops_t sum = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(attributes);
    if (status != dnnl_success || way == SETS)
        return status;
    status = dnnl_post_ops_create(&sum);
    if (status == dnnl_success)
        status = dnnl_post_ops_append_sum(sum, 1.0f);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_post_ops(*attributes, sum);
    (void)dnnl_post_ops_destroy(sum);
    return status;
}

static dnnl_status_t primitive_new(struct onednn *o, int way)
{
    const int64_t any = DNNL_RUNTIME_DIM_VAL;
    dnnl_memory_desc_t x, w, y;
    dnnl_matmul_desc_t product;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t d = NULL;
    dnnl_status_t status = describe(&x, dnnl_bf16, any, any, any, 1);
    if (status == dnnl_success)
        status = describe(&w, dnnl_bf16, any, any, 1, any);
    if (status == dnnl_success)
        status = describe(&y, dnnl_f32, any, any, any, 1);
    if (status == dnnl_success)
        status = dnnl_matmul_desc_init(&product, &x, &w, NULL, &y);
    if (status == dnnl_success)
        status = attributes_of(way, &attributes);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(&d, &product, attributes, o->engine, NULL);
    if (status == dnnl_success)
        status = dnnl_primitive_create(&o->primitive[way], d);
    (void)dnnl_primitive_desc_destroy(d);
    (void)dnnl_primitive_attr_destroy(attributes);
    return status;
}

static dnnl_status_t run(const struct onednn *o, struct operation *p, int way, int64_t m, int64_t n,
                         int64_t kk, const void *x, int64_t ldx, const void *w, int64_t ldw,
                         float *y, int64_t ldy)
{
    dnnl_status_t status = dnnl_stream_create(&p->stream, o->engine, dnnl_stream_default_flags);
    if (status == dnnl_success)
        status = memory_new(o, dnnl_bf16, m, kk, ldx, 1, x, &p->x);
    if (status == dnnl_success)
        status = memory_new(o, dnnl_bf16, kk, n, 1, ldw, w, &p->w);
    if (status == dnnl_success)
        status = memory_new(o, dnnl_f32, m, n, ldy, 1, y, &p->y);
    const dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, p->x}, {DNNL_ARG_WEIGHTS, p->w}, {DNNL_ARG_DST, p->y}};
    if (status == dnnl_success)
        status = dnnl_primitive_execute(o->primitive[way], p->stream, 3, args);
    if (status == dnnl_success)
        status = dnnl_stream_wait(p->stream);
    return status;
}

static hcsmoe_status multiply(const struct cpu *c, int64_t m, const void *x, int64_t ldx,
                              const hcsmoe_tensor *w, int64_t first, int64_t rows, void *panel,
                              int add, float *y, int64_t ldy)
{
    const hcsmoe_host *h = c->table.host;
    struct operation p = {0};
    int64_t kk = w->shape[1];
    int64_t ldw = w->shape[0] > 1 ? w->stride[0] : kk;
    const uint16_t *stored = panel;
    int threads = omp_get_max_threads();
    if (kk == 0)
        return cpu_product_f32.multiply(c, m, x, ldx, w, first, rows, panel, add, y, ldy);
    if (w->dtype == HCSMOE_DTYPE_BF16) {
        stored = (const uint16_t *)w->data + first * ldw;
    } else {
        cpu_narrow_rows(c->simd, w, first, rows, panel);
        ldw = kk;
    }
    /* Of this thread alone: oneDNN takes as many as a parallel region would have. */
    omp_set_num_threads(1);
    dnnl_status_t status =
        run(c->product_state, &p, add != 0 ? ADDS : SETS, m, rows, kk, x, ldx, stored, ldw, y, ldy);
    omp_set_num_threads(threads);
    (void)dnnl_memory_destroy(p.y);
    (void)dnnl_memory_destroy(p.w);
    (void)dnnl_memory_destroy(p.x);
    (void)dnnl_stream_destroy(p.stream);
    if (status == dnnl_out_of_memory)
        return hcsmoe_failf(h, HCSMOE_ENOMEM, "oneDNN: out of memory in a product of %lld rows",
                            (long long)m);
    if (status != dnnl_success)
        return hcsmoe_failf(h, HCSMOE_EFAILED, "oneDNN: status %d in a product [%lld, %lld, %lld]",
                            (int)status, (long long)m, (long long)rows, (long long)kk);
    return HCSMOE_OK;
}

static void operand(const struct cpu_simd *s, int64_t n, const float *x, void *to)
{
    s->narrow_bf16(n, x, to);
}

/* oneDNN packs both operands of every product: the larger a tile, the less of the time that takes. */
static const struct cpu_product product = {.note = ", bf16 by oneDNN",
                                           .tile_rows = 1024,
                                           .panel_rows = 512,
                                           .panel_elements = 1024 * 1024,
                                           .element = sizeof(uint16_t),
                                           .operand = operand,
                                           .multiply = multiply};

static void onednn_free(const hcsmoe_host *h, struct onednn *o)
{
    for (int way = 0; o != NULL && way < WAYS; way++)
        (void)dnnl_primitive_destroy(o->primitive[way]);
    if (o != NULL)
        (void)dnnl_engine_destroy(o->engine);
    h->free(h, o);
}

struct cpu *onednn_table(const hcsmoe_host *h, const struct cpu_simd *simd)
{
    struct onednn *o = cpu_new(h, 1, sizeof *o);
    struct cpu *c = NULL;
    if (o == NULL)
        return NULL;
    memset(o, 0, sizeof *o);
    dnnl_status_t status = dnnl_engine_create(&o->engine, dnnl_cpu, 0);
    for (int way = 0; way < WAYS && status == dnnl_success; way++)
        status = primitive_new(o, way);
    if (status != dnnl_success)
        (void)hcsmoe_failf(h, HCSMOE_EFAILED, "oneDNN: status %d when it was set up", (int)status);
    else
        c = cpu_table(h, simd, &product);
    if (c == NULL)
        onednn_free(h, o);
    else
        c->product_state = o;
    return c;
}

void onednn_table_free(const hcsmoe_host *h, struct cpu *c)
{
    if (c != NULL)
        onednn_free(h, c->product_state);
    cpu_table_free(h, c);
}

/* Beside what the tiles take, oneDNN packs both operands of a product, and may keep a tile of y. */
int64_t onednn_working_bytes(void *self, const hcsmoe_host *h, const hcsmoe_experts_args *experts,
                             const hcsmoe_attention_args *attention, int64_t vocabulary)
{
    int64_t bytes = cpu_working_bytes(self, h, experts, attention, vocabulary);
    int64_t kk = 0;
    if (experts != NULL)
        kk = experts->width > experts->ffn ? experts->width : experts->ffn;
    int64_t each = (product.tile_rows + product.panel_rows) * kk * 2;
    each += product.tile_rows * product.panel_rows * 4;
    return bytes + each * h->threads(h);
}
