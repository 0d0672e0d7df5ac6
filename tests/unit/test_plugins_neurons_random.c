/*
 * test_plugins_neurons_random.c - slim and select on random experts, against the formulas written
 * down one neuron at a time; what must hold for any data; float against double.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plugin_test.h"

#include "neurons_test.h"

enum { M_MAX = 96, D_MAX = 24 };

/* What the formulas give. */
static struct {
    int64_t m, f;
    double h[M_MAX][M_MAX], c[D_MAX][M_MAX], d[M_MAX], total;
    double p[M_MAX][M_MAX], w[D_MAX][M_MAX];
    int64_t kept[M_MAX];
    double v[D_MAX][M_MAX]; /* V' */
    double loss;
} naive;

static int random_setup(void **state)
{
    (void)case_setup(state);
    opts->pool = 0;
    opts->select_block = 1;
    return 0;
}

static double column(int64_t d, int64_t j)
{
    return (double)group.down[j / group.ffn][d * group.ffn + j % group.ffn];
}

static void naive_gram(void)
{
    const int64_t m = group.members * group.ffn;
    int64_t t, i, j, d;

    memset(&naive, 0, sizeof naive);
    naive.m = m;
    naive.f = group.kept;
    for (t = 0; t < group.n_tokens; t++) {
        const float *w = group.weights + t * group.members;
        double s = 0, phi[M_MAX], psi[M_MAX];
        for (i = 0; i < group.members; i++)
            s += (double)w[i];
        for (j = 0; j < m; j++) {
            const double h = (double)group.hidden[j / group.ffn][t * group.ffn + j % group.ffn];
            phi[j] = s * h;
            psi[j] = (double)w[j / group.ffn] * h;
            naive.d[j] += psi[j] * phi[j];
        }
        for (i = 0; i < m; i++)
            for (j = 0; j < m; j++)
                naive.h[i][j] += phi[i] * phi[j];
        for (d = 0; d < group.width; d++) {
            double r = 0;
            for (j = 0; j < m; j++)
                r += column(d, j) * psi[j];
            naive.total += r * r;
            for (j = 0; j < m; j++)
                naive.c[d][j] += r * phi[j];
        }
    }
}

/* a[n, n] := its inverse, Gauss and Jordan with pivots on the diagonal. */
static void invert_naive(double a[M_MAX][M_MAX], int64_t n)
{
    int64_t i, j, k;

    for (k = 0; k < n; k++) {
        const double pivot = 1 / a[k][k];
        a[k][k] = 1;
        for (j = 0; j < n; j++)
            a[k][j] *= pivot;
        for (i = 0; i < n; i++) {
            const double factor = a[i][k];
            if (i == k)
                continue;
            a[i][k] = 0;
            for (j = 0; j < n; j++)
                a[i][j] -= factor * a[k][j];
        }
    }
}

static void naive_backward(void)
{
    const int64_t m = naive.m, width = group.width;
    int64_t alive, i, j, k, d, n = 0;
    double trace = 0;
    int gone[M_MAX] = {0};

    for (i = 0; i < m; i++)
        trace += naive.h[i][i];
    memcpy(naive.p, naive.h, sizeof naive.h);
    for (i = 0; i < m; i++)
        naive.p[i][i] += opts->select_ridge * trace / (double)m;
    invert_naive(naive.p, m);
    for (d = 0; d < width; d++)
        for (j = 0; j < m; j++)
            for (k = 0; k < m; k++)
                naive.w[d][j] += naive.c[d][k] * naive.p[k][j];
    for (alive = m; alive > naive.f; alive--) {
        double least = INFINITY;
        k = -1;
        for (j = 0; j < m; j++) {
            double square = 0;
            for (d = 0; d < width; d++)
                square += naive.w[d][j] * naive.w[d][j];
            if (!gone[j] && square / naive.p[j][j] < least) {
                least = square / naive.p[j][j];
                k = j;
            }
        }
        gone[k] = 1;
        for (d = 0; d < width; d++) {
            const double w = naive.w[d][k];
            for (j = 0; j < m; j++)
                naive.w[d][j] -= w * naive.p[k][j] / naive.p[k][k];
        }
        for (i = 0; i < m; i++)
            for (j = 0; j < m; j++)
                if (i != k && j != k)
                    naive.p[i][j] -= naive.p[i][k] * naive.p[k][j] / naive.p[k][k];
    }
    for (j = 0; j < m; j++)
        if (!gone[j])
            naive.kept[n++] = j;
}

static void naive_forward(void)
{
    const int64_t m = naive.m, width = group.width;
    static double h[M_MAX][M_MAX], c[D_MAX][M_MAX];
    double start[M_MAX], trace = 0;
    int64_t step, i, j, k, d, n = 0;
    int selected[M_MAX] = {0};

    for (i = 0; i < m; i++)
        trace += naive.h[i][i];
    memcpy(h, naive.h, sizeof h);
    memcpy(c, naive.c, sizeof c);
    for (i = 0; i < m; i++)
        start[i] = h[i][i] += opts->select_ridge * trace / (double)m;
    for (step = 0; step < naive.f; step++) {
        double most = -1, row[M_MAX];
        k = -1;
        for (j = 0; j < m; j++) {
            double square = 0;
            for (d = 0; d < width; d++)
                square += c[d][j] * c[d][j];
            if (!selected[j] && h[j][j] > 1e-10 * start[j] && square / h[j][j] > most) {
                most = square / h[j][j];
                k = j;
            }
        }
        selected[k] = 1;
        for (j = 0; j < m; j++)
            row[j] = h[k][j];
        for (d = 0; d < width; d++) {
            const double ck = c[d][k];
            for (j = 0; j < m; j++)
                c[d][j] -= ck * row[j] / row[k];
        }
        for (i = 0; i < m; i++)
            for (j = 0; j < m; j++)
                h[i][j] -= row[i] * row[j] / row[k];
    }
    for (j = 0; j < m; j++)
        if (selected[j])
            naive.kept[n++] = j;
}

/* V' of the kept neurons, and what it loses. */
static void naive_refit(void)
{
    const int64_t f = naive.f;
    static double hs[M_MAX][M_MAX], inverse[M_MAX][M_MAX];
    double trace = 0;
    int64_t i, j, k, d;

    for (i = 0; i < f; i++) {
        trace += naive.h[naive.kept[i]][naive.kept[i]];
        for (j = 0; j < f; j++)
            inverse[i][j] = hs[i][j] = naive.h[naive.kept[i]][naive.kept[j]];
    }
    for (i = 0; i < f; i++)
        inverse[i][i] += opts->ridge * trace / (double)f;
    invert_naive(inverse, f);
    naive.loss = naive.total;
    for (d = 0; d < group.width; d++) {
        double w0[M_MAX], left[M_MAX];
        for (j = 0; j < f; j++)
            w0[j] = naive.d[naive.kept[j]] / hs[j][j] * column(d, naive.kept[j]);
        for (j = 0; j < f; j++) {
            left[j] = naive.c[d][naive.kept[j]];
            for (k = 0; k < f; k++)
                left[j] -= w0[k] * hs[k][j];
        }
        for (j = 0; j < f; j++) {
            naive.v[d][j] = w0[j];
            for (k = 0; k < f; k++)
                naive.v[d][j] += left[k] * inverse[k][j];
        }
        for (i = 0; i < f; i++) {
            naive.loss -= 2 * naive.v[d][i] * naive.c[d][naive.kept[i]];
            for (j = 0; j < f; j++)
                naive.loss += naive.v[d][i] * hs[i][j] * naive.v[d][j];
        }
    }
}

/* How many of the result's neurons are the formulas', in order. */
static int64_t count_equal(void)
{
    const float *gate = group.out_gate, *up = group.out_up;
    const size_t row = (size_t)group.width * sizeof(float);
    int64_t j, n = 0;

    for (j = 0; j < naive.f; j++) {
        const int64_t e = naive.kept[j] / group.ffn, i = naive.kept[j] % group.ffn;
        n += memcmp(gate + j * group.width, group.gate[e] + i * group.width, row) == 0 &&
             memcmp(up + j * group.width, group.up[e] + i * group.width, row) == 0;
    }
    return n;
}

static void check_against_naive(double tolerance)
{
    const float *down = group.out_down;
    double most = 0;
    int64_t d, j;

    assert_int_equal(count_equal(), naive.f);
    for (d = 0; d < group.width; d++)
        for (j = 0; j < naive.f; j++)
            most = fmax(most, fabs(naive.v[d][j]));
    for (d = 0; d < group.width; d++)
        for (j = 0; j < naive.f; j++)
            assert_near((double)down[d * naive.f + j], naive.v[d][j], tolerance * most);
    assert_near(group.loss, naive.loss, tolerance * naive.total);
    assert_near(group.total, naive.total, tolerance * naive.total);
}

static void test_selection_is_what_the_formulas_say(void **state)
{
    static const int64_t shape[][4] = {
        /* members, D, F, F' */
        {1, 8, 24, 12},  {1, 24, 24, 1}, {2, 8, 16, 16}, {3, 12, 20, 20},
        {4, 24, 24, 24}, {2, 8, 24, 18}, {1, 1, 5, 4},
    };
    size_t i;

    (void)state;
    for (i = 0; i < 2 * sizeof shape / sizeof shape[0]; i++) {
        const int64_t *s = shape[i / 2];
        group_release(&group);
        group_random(&host, &group, s[0], s[1], s[2], 400);
        group.kept = s[3];
        opts->selector = i % 2 ? FORWARD : BACKWARD;
        naive_gram();
        if (opts->selector == FORWARD)
            naive_forward();
        else
            naive_backward();
        naive_refit();
        assert_int_equal(merge(s[0] == 1 ? slim : select_best), 0);
        check_against_naive(3e-6);
    }
}

/* A block of the smallest scores at once loses little against one at a time. */
static void test_blocks_lose_little(void **state)
{
    double one;

    (void)state;
    group_random(&host, &group, 2, 16, 48, 600);
    assert_int_equal(merge(select_best), 0);
    one = group.loss;
    for (opts->select_block = 2; opts->select_block <= 7; opts->select_block++) {
        assert_int_equal(merge(select_best), 0);
        assert_true(group.loss < 1.15 * one);
    }
    opts->select_block = 1000;
    assert_int_equal(merge(select_best), 0);
    assert_true(group.loss > one);
}

static hcsmoe_status failing_cholesky(const hcsmoe_kernels *k, uint32_t dtype, int64_t n, void *a,
                                      int64_t lda, int64_t *failed)
{
    const hcsmoe_kernels *real = k->ctx;

    if (dtype == HCSMOE_DTYPE_F64 && n > 1 && n < 8) { /* only a block is as small */
        *failed = n;
        return HCSMOE_OK;
    }
    return real->cholesky(real, dtype, n, a, lda, failed);
}

/* Every kernel through the real table, which knows its own context. */
static hcsmoe_status real_syrk(const hcsmoe_kernels *k, uint32_t dtype, int64_t n, int64_t kk,
                               double alpha, const void *a, int64_t lda, double beta, void *c,
                               int64_t ldc)
{
    const hcsmoe_kernels *real = k->ctx;

    return real->syrk(real, dtype, n, kk, alpha, a, lda, beta, c, ldc);
}

static hcsmoe_status real_inverse(const hcsmoe_kernels *k, uint32_t dtype, int64_t n, void *l,
                                  int64_t ldl)
{
    const hcsmoe_kernels *real = k->ctx;

    return real->cholesky_inverse(real, dtype, n, l, ldl);
}

static hcsmoe_status real_dgemm(const hcsmoe_kernels *k, int32_t trans_a, int32_t trans_b,
                                int64_t m, int64_t n, int64_t kk, double alpha, const double *a,
                                int64_t lda, const double *b, int64_t ldb, double beta, double *c,
                                int64_t ldc)
{
    const hcsmoe_kernels *real = k->ctx;

    return real->dgemm(real, trans_a, trans_b, m, n, kk, alpha, a, lda, b, ldb, beta, c, ldc);
}

/* A block whose factor breaks down is halved until it is one neuron: the result of block 1. */
static void test_a_block_that_breaks_down_is_halved(void **state)
{
    struct neurons self = {.o = opts, .bytes_most = BYTES_MOST};
    hcsmoe_kernels broken;
    int64_t order[2][40], kept[2][20], i;
    struct call call;
    struct work w;
    struct gram g;
    int pass;

    (void)state;
    memset(&broken, 0, sizeof broken);
    broken.ctx = (void *)(uintptr_t)host.kernels;
    broken.cholesky = failing_cholesky;
    broken.cholesky_inverse = real_inverse;
    broken.syrk = real_syrk;
    broken.dgemm = real_dgemm;
    group_random(&host, &group, 2, 8, 20, 300);
    for (pass = 0; pass < 2; pass++) {
        for (i = 0; i < 40; i++)
            order[pass][i] = i;
        opts->select_block = pass ? 6 : 1;
        call_open(&call, &group);
        work_open(&w, &self, &host.abi, &call.args, 40);
        assert_int_equal(gram_open(&w, &g, order[pass], 40), 0);
        assert_int_equal(gram_collect(&w, &g, NULL, NULL), 0);
        if (pass)
            w.k = &broken;
        assert_int_equal(eliminate(&w, &g, kept[pass]), 0);
        gram_close(&w, &g);
        call_close(&call);
        fake_host_leave(&host);
    }
    assert_memory_equal(kept[0], kept[1], sizeof kept[0]);
}

/* Where two matrices in double do not fit: the same to the precision of float. */
static void test_float_agrees_with_double(void **state)
{
    static const int64_t shape[][4] = {{1, 40, 260, 130}, {2, 40, 150, 150}, {2, 600, 60, 45}};
    size_t i;

    (void)state;
    for (i = 0; i < sizeof shape / sizeof shape[0]; i++) {
        const int64_t *s = shape[i];
        const size_t elements = (size_t)(s[1] * s[3]);
        const hcsmoe_component *c = s[0] == 1 ? slim : select_best;
        float *gate, *down;
        double loss, total;
        size_t j, same = 0;
        group_release(&group);
        group_random(&host, &group, s[0], s[1], s[2], 1030); /* four a neuron at most are taken */
        group.kept = s[3];
        opts->select_block = 3;
        assert_int_equal(merge(c), 0);
        gate = group.out_gate;
        down = group.out_down;
        loss = group.loss;
        total = group.total;
        group.out_gate = group.out_down = NULL;
        assert_int_equal(group_merge(c, 0), 0);
        for (j = 0; j < elements; j += (size_t)s[1])
            same += memcmp((float *)group.out_gate + j, gate + j, (size_t)s[1] * 4) == 0;
        if (s[0] * s[2] * 4 >= 1030) { /* on the same tokens */
            assert_int_equal(same, s[3]);
            for (j = 0; j < elements; j++)
                assert_near((double)((float *)group.out_down)[j], (double)down[j], 1e-5);
            assert_near(group.loss, loss, 1e-5 * total);
            assert_near(group.total, total, 1e-6 * total);
        } else {
            assert_near(group.loss, loss, 0.2 * loss);
            assert_near(group.total, total, 0.1 * total);
        }
        mem_free(gate);
        mem_free(down);
    }
}

static void test_float_lstsq_agrees_with_double(void **state)
{
    float *down;
    int64_t j;

    (void)state;
    group_random(&host, &group, 3, 30, 150, 500);
    assert_int_equal(merge(lstsq), 0);
    down = group.out_down;
    group.out_down = NULL;
    assert_int_equal(group_merge(lstsq, 0), 0);
    for (j = 0; j < 30 * 150; j++)
        assert_near((double)((float *)group.out_down)[j], (double)down[j], 2e-5);
    mem_free(down);
}

/* Selecting from copies: nothing is lost, because only copies go. */
static void test_copies_are_dropped_without_a_loss(void **state)
{
    int64_t i;

    (void)state;
    group_random(&host, &group, 2, 8, 16, 300);
    for (i = 0; i < 16 * 8; i++) {
        group.gate[1][i] = group.gate[0][i];
        group.up[1][i] = group.up[0][i];
        group.down[1][i] = group.down[0][i];
    }
    group_finish(&group);
    opts->ridge = opts->select_ridge = 1e-9;
    for (opts->selector = BACKWARD; opts->selector <= FORWARD; opts->selector++) {
        assert_int_equal(merge(select_best), 0);
        assert_true(group.loss < 1e-9 * group.total);
    }
}

static void test_refitting_never_loses_more_than_the_columns_as_they_were(void **state)
{
    int round;

    (void)state;
    for (round = 0; round < 20; round++) {
        double refitted;
        group_release(&group);
        group_random(&host, &group, 1 + round % 3, 6, 12, 20 + 30 * round);
        group.kept = round % 3 ? 12 : 7;
        opts->ridge = 0.01;
        assert_int_equal(merge(select_best), 0);
        refitted = group.loss;
        opts->ridge = 1e6; /* V' = W0 */
        assert_int_equal(merge(select_best), 0);
        assert_true(refitted <= group.loss);
    }
}

static void test_one_member_at_full_width_is_copied(void **state)
{
    (void)state;
    group_random(&host, &group, 1, 6, 12, 50);
    assert_int_equal(merge(select_best), 0);
    assert_memory_equal(group.out_gate, group.gate[0], 6 * 12 * 4);
    assert_memory_equal(group.out_up, group.up[0], 6 * 12 * 4);
    assert_memory_equal(group.out_down, group.down[0], 6 * 12 * 4);
    assert_int_equal(group.calls, 0);
}

/* pool = 1 leaves the F neurons of largest o^2 / q; they are refitted, not selected again. */
static void test_the_pool_keeps_the_best_by_energy(void **state)
{
    double b[32];
    int64_t j, k, n = 0;

    (void)state;
    group_random(&host, &group, 2, 8, 16, 300);
    for (j = 0; j < 32; j++) {
        const int64_t e = j / 16, i = j % 16;
        const double o = group.energy[(e * 2 + e) * 16 + i];
        b[j] = o * o / (o + group.energy[((1 - e) * 2 + e) * 16 + i]);
    }
    naive_gram();
    for (j = 0; j < 32; j++) {
        int64_t larger = 0;
        for (k = 0; k < 32; k++)
            larger += b[k] > b[j];
        if (larger < 16)
            naive.kept[n++] = j;
    }
    assert_int_equal(n, 16);
    naive_refit();
    opts->pool = 1;
    assert_int_equal(merge(select_best), 0);
    check_against_naive(3e-6);
    opts->pool = 2; /* all there is */
    naive_backward();
    naive_refit();
    assert_int_equal(merge(select_best), 0);
    check_against_naive(3e-6);
}

/* A pool between: selected from those of largest o^2 / q only. */
static void test_the_pool_bounds_what_is_selected_from(void **state)
{
    double b[48];
    const float *gate;
    int64_t j, k, e;

    (void)state;
    group_random(&host, &group, 3, 8, 16, 300);
    for (j = 0; j < 48; j++) {
        const double own = group.energy[(j / 16 * 3 + j / 16) * 16 + j % 16];
        double q = 0;
        for (e = 0; e < 3; e++)
            q += group.energy[(e * 3 + j / 16) * 16 + j % 16];
        b[j] = own * own / q;
    }
    opts->pool = 2;
    assert_int_equal(merge(select_best), 0);
    gate = group.out_gate;
    for (k = 0; k < 16; k++) {
        int64_t larger = 0;
        for (j = 0; j < 48; j++)
            if (memcmp(group.gate[j / 16] + j % 16 * 8, gate + k * 8, 32) == 0)
                break;
        assert_true(j < 48);
        for (e = 0; e < 48; e++)
            larger += b[e] > b[j];
        assert_true(larger < 32);
    }
}

/* Truncated to BF16 first, so that what is stored is what was measured. */
static void truncate_all(void)
{
    int64_t e, i, n = group.width * group.ffn;

    for (e = 0; e < group.members; e++)
        for (i = 0; i < 3 * n; i++) {
            float *x = i < n       ? &group.gate[e][i]
                       : i < 2 * n ? &group.up[e][i - n]
                                   : &group.down[e][i - 2 * n];
            uint32_t bits;
            memcpy(&bits, x, 4);
            bits &= 0xffff0000;
            memcpy(x, &bits, 4);
        }
    group_finish(&group);
}

static void test_bf16_rows_are_copied_and_the_columns_rounded_once(void **state)
{
    const uint16_t *gate, *down;
    float *exact;
    int64_t i;

    (void)state;
    group_random(&host, &group, 2, 8, 12, 300);
    truncate_all();
    assert_int_equal(merge(select_best), 0);
    exact = group.out_down;
    group.out_down = NULL;
    gate = group.out_gate;
    for (i = 0; i < 2 * 12 * 8; i += 2)
        assert_int_equal(gate[i], 0); /* low halves of values that BF16 holds */
    group.dtype = HCSMOE_DTYPE_BF16;
    assert_int_equal(merge(select_best), 0);
    down = group.out_down;
    for (i = 0; i < 12 * 8; i++) {
        uint32_t bits;
        memcpy(&bits, &exact[i], 4);
        bits += 0x7fff + (bits >> 16 & 1);
        assert_int_equal(down[i], bits >> 16);
    }
    mem_free(exact);
}

/* Pieces of three, last ones first: as other threads would take them. */
static hcsmoe_status scattered_for(const hcsmoe_host *h, int64_t n,
                                   hcsmoe_status (*fn)(void *arg, int64_t begin, int64_t end),
                                   void *arg)
{
    int64_t begin;

    (void)h;
    for (begin = (n - 1) / 3 * 3; begin >= 0 && n > 0; begin -= 3) {
        const hcsmoe_status status = fn(arg, begin, begin + 3 < n ? begin + 3 : n);
        if (status != HCSMOE_OK)
            return status;
    }
    return HCSMOE_OK;
}

static void test_the_bits_do_not_depend_on_how_the_work_is_divided(void **state)
{
    const hcsmoe_component *components[] = {slim, select_best, lstsq};
    int i;

    (void)state;
    for (i = 0; i < 6; i++) {
        const double bytes_most = i % 2 ? 0 : -1;
        const size_t bytes = 20 * 70 * sizeof(float);
        hcsmoe_status (*whole)(const hcsmoe_host *, int64_t,
                               hcsmoe_status (*)(void *, int64_t, int64_t), void *) =
            host.abi.parallel_for;
        float *gate, *down;
        double loss;
        group_release(&group);
        group_random(&host, &group, i / 2 ? 3 : 1, 20, 70, 300);
        group.kept = i / 2 ? 70 : 30;
        opts->select_block = 4;
        opts->lstsq_base = BASE_ALIGN;
        assert_int_equal(group_merge(components[i / 2], bytes_most), 0);
        gate = group.out_gate;
        down = group.out_down;
        loss = group.loss;
        group.out_gate = group.out_down = NULL;
        host.abi.parallel_for = scattered_for;
        assert_int_equal(group_merge(components[i / 2], bytes_most), 0);
        host.abi.parallel_for = whole;
        assert_memory_equal(gate, group.out_gate, bytes * (size_t)group.kept / 70);
        assert_memory_equal(down, group.out_down, bytes * (size_t)group.kept / 70);
        assert_true(loss == group.loss);
        mem_free(gate);
        mem_free(down);
    }
}

/* Tiles of any size give the same sums: tokens are gathered first. */
static void test_the_size_of_tiles_does_not_matter(void **state)
{
    static const int64_t tiles[] = {1, 7, 1024};
    float *down = NULL;
    int i;

    (void)state;
    group_random(&host, &group, 2, 8, 16, 1500);
    for (i = 0; i < 3; i++) {
        group.tile = tiles[i];
        assert_int_equal(merge(select_best), 0);
        if (down) {
            int64_t j;
            for (j = 0; j < 8 * 16; j++)
                assert_near((double)((float *)group.out_down)[j], (double)down[j], 1e-6);
        }
        mem_free(down);
        down = group.out_down;
        group.out_down = NULL;
    }
    mem_free(down);
}

#define RANDOM_CASE(test) cmocka_unit_test_setup_teardown(test, random_setup, case_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RANDOM_CASE(test_selection_is_what_the_formulas_say),
        RANDOM_CASE(test_blocks_lose_little),
        RANDOM_CASE(test_a_block_that_breaks_down_is_halved),
        RANDOM_CASE(test_float_agrees_with_double),
        RANDOM_CASE(test_float_lstsq_agrees_with_double),
        RANDOM_CASE(test_copies_are_dropped_without_a_loss),
        RANDOM_CASE(test_refitting_never_loses_more_than_the_columns_as_they_were),
        RANDOM_CASE(test_one_member_at_full_width_is_copied),
        RANDOM_CASE(test_the_pool_keeps_the_best_by_energy),
        RANDOM_CASE(test_the_pool_bounds_what_is_selected_from),
        RANDOM_CASE(test_bf16_rows_are_copied_and_the_columns_rounded_once),
        RANDOM_CASE(test_the_bits_do_not_depend_on_how_the_work_is_divided),
        RANDOM_CASE(test_the_size_of_tiles_does_not_matter),
    };

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
