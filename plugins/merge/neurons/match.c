/*
 * match.c - which neurons of two experts do the same: correlation of what they put out on the
 * group's tokens, and likeness of their weights.
 * SPDX-License-Identifier: MIT
 */
#include "neurons.h"

/* Added to the product of two deviations: a neuron that never changes correlates with nothing. */
static const double DEVIATION_LEAST = 1e-7;

struct matching {
    const struct work *w;        /* in double */
    int64_t reference, first, n; /* members first..first+n-1 are matched in this pass */
    double *product;             /* [n, F, F] sum of h h' */
    double *sum, *square;        /* [m, F] of h */
    double *ours, *theirs;       /* [tile, F] h */
};

static hcsmoe_status widen(const struct work *w, const float *from, int64_t n, double *to)
{
    const hcsmoe_tensor in = hcsmoe_matrix((void *)(uintptr_t)from, HCSMOE_DTYPE_F32, n, w->ffn);
    const hcsmoe_tensor out = hcsmoe_matrix(to, HCSMOE_DTYPE_F64, n, w->ffn);

    return w->k->convert(w->k, &in, &out);
}

static void add_moments(const struct matching *x, int64_t member, const double *h, int64_t n)
{
    const int64_t ffn = x->w->ffn;
    int64_t t;

    for (t = 0; t < n; t++) {
        add_scaled(x->w, &x->sum[member * ffn], h + t * ffn, ffn, 1);
        add_squares(x->w, &x->square[member * ffn], h + t * ffn, ffn, 1);
    }
}

static hcsmoe_status see_tile(void *arg, const hcsmoe_group_tile *tile)
{
    struct matching *x = arg;
    const struct work *w = x->w;
    const int64_t n = tile->n_tokens, ffn = w->ffn;
    hcsmoe_status status = widen(w, tile->hidden[x->reference], n, x->ours);
    int64_t e;

    if (status == HCSMOE_OK && x->first == 0)
        add_moments(x, x->reference, x->ours, n);
    for (e = x->first; e < x->first + x->n && status == HCSMOE_OK; e++) {
        if (e == x->reference)
            continue;
        status = widen(w, tile->hidden[e], n, x->theirs);
        if (status != HCSMOE_OK)
            return status;
        add_moments(x, e, x->theirs, n);
        status = gemm(w, 1, 0, ffn, ffn, n, 1, x->ours, ffn, x->theirs, ffn, 1,
                      &x->product[(e - x->first) * ffn * ffn], ffn);
    }
    return status;
}

/* The product of member e becomes the correlation with the reference. */
static void correlate(const struct matching *x, int64_t e, double *product)
{
    const int64_t ffn = x->w->ffn;
    const double n = (double)x->w->a->n_tokens;
    const double *sum = &x->sum[x->reference * ffn], *square = &x->square[x->reference * ffn];
    const double *their_sum = &x->sum[e * ffn], *their_square = &x->square[e * ffn];
    int64_t i, j;

    for (i = 0; i < ffn; i++) {
        const double variance = fmax(0, square[i] - sum[i] * sum[i] / n) / (n - 1);
        for (j = 0; j < ffn; j++) {
            const double other =
                fmax(0, their_square[j] - their_sum[j] * their_sum[j] / n) / (n - 1);
            const double both = (product[i * ffn + j] - sum[i] * their_sum[j] / n) / (n - 1);
            product[i * ffn + j] = both / (sqrt(variance * other) + DEVIATION_LEAST);
        }
    }
}

/* Where two members' weights are compared, a strip of the D numbers of each neuron at a time. */
struct likeness {
    const struct work *w;
    int64_t member[2];
    double *strip[2], *turned; /* [F, STRIP] */
    double *square[2];         /* [F] |(a / |A|, u / |U|, v / |V|)|^2 of a neuron */
    double scale[2][3];        /* 1 / |A|, 1 / |U|, 1 / |V| */
};

/* Numbers d..d+n-1 of every neuron, [F, n], of a member's gate, up or down. */
static hcsmoe_status read_strip(const struct likeness *x, int side, int part, int64_t d, int64_t n)
{
    const struct work *w = x->w;
    const hcsmoe_tensor *const parts[] = {w->a->gate, w->a->up, w->a->down};
    hcsmoe_tensor from = parts[part][x->member[side]];
    const int down = part == 2;
    const hcsmoe_tensor to = hcsmoe_matrix(down ? x->turned : x->strip[side], HCSMOE_DTYPE_F64,
                                           down ? n : w->ffn, down ? w->ffn : n);
    hcsmoe_status status;

    from.data = (char *)from.data +
                (down ? d * from.stride[0] : d) * (int64_t)hcsmoe_dtype_size(from.dtype);
    from.shape[0] = to.shape[0];
    from.shape[1] = to.shape[1];
    status = w->k->convert(w->k, &from, &to);
    if (status == HCSMOE_OK && down)
        status = transpose(w, x->strip[side], n, x->turned, w->ffn, n, w->ffn);
    return status;
}

/* scale and square of one matrix of one member. own: [F]. */
static hcsmoe_status measure(struct likeness *x, int side, int part, double *own)
{
    const struct work *w = x->w;
    double whole = 0;
    int64_t d, i;

    memset(own, 0, (size_t)w->ffn * sizeof *own);
    for (d = 0; d < w->width; d += STRIP) {
        const int64_t n = w->width - d < STRIP ? w->width - d : STRIP;
        const hcsmoe_status status = read_strip(x, side, part, d, n);
        if (status != HCSMOE_OK)
            return status;
        for (i = 0; i < w->ffn; i++)
            own[i] += dot(w, x->strip[side] + i * n, x->strip[side] + i * n, n);
    }
    for (i = 0; i < w->ffn; i++)
        whole += own[i];
    x->scale[side][part] = whole > 0 ? 1 / sqrt(whole) : 0;
    for (i = 0; i < w->ffn; i++)
        x->square[side][i] += own[i] * x->scale[side][part] * x->scale[side][part];
    return HCSMOE_OK;
}

/* sum[F, F] += the cosine of every neuron of the one with every neuron of the other. */
static hcsmoe_status add_cosines(struct likeness *x, double *sum)
{
    const struct work *w = x->w;
    const int64_t ffn = w->ffn;
    hcsmoe_status status = HCSMOE_OK;
    int64_t d, i, j, n;
    int side, part;

    for (side = 0; side < 2; side++) {
        memset(x->square[side], 0, (size_t)ffn * sizeof *x->square[side]);
        for (part = 0; part < 3 && status == HCSMOE_OK; part++)
            status = measure(x, side, part, x->turned + ffn * STRIP);
    }
    for (part = 0; part < 3; part++)
        for (d = 0; d < w->width && status == HCSMOE_OK; d += STRIP) {
            n = w->width - d < STRIP ? w->width - d : STRIP;
            for (side = 0; side < 2 && status == HCSMOE_OK; side++) {
                status = read_strip(x, side, part, d, n);
                for (i = 0; i < ffn && status == HCSMOE_OK; i++) {
                    const double square = x->square[side][i];
                    const double factor = square > 0 ? x->scale[side][part] / sqrt(square) : 0;
                    for (j = 0; j < n; j++)
                        x->strip[side][i * n + j] *= factor;
                }
            }
            if (status == HCSMOE_OK)
                status = gemm(w, 0, 1, ffn, ffn, n, 1, x->strip[0], n, x->strip[1], n, 1, sum, ffn);
        }
    return status;
}

/* The first of the reference's neurons that is most alike, for each of the member's. */
static void take_most(int64_t n, const double *score, int32_t *partner)
{
    int64_t i, j;

    for (j = 0; j < n; j++)
        partner[j] = 0;
    for (i = 1; i < n; i++)
        for (j = 0; j < n; j++)
            if (score[i * n + j] > score[partner[j] * n + j])
                partner[j] = (int32_t)i;
}

static hcsmoe_status match_one(const struct matching *x, struct likeness *like, int64_t e,
                               int assign, int32_t *partner)
{
    const int64_t ffn = x->w->ffn;
    double *score = &x->product[(e - x->first) * ffn * ffn];
    hcsmoe_status status;

    if (x->w->a->n_tokens > 1)
        correlate(x, e, score);
    else
        memset(score, 0, (size_t)(ffn * ffn) * sizeof *score);
    if (!assign) {
        take_most(ffn, score, partner);
        return HCSMOE_OK;
    }
    like->member[0] = x->reference;
    like->member[1] = e;
    status = add_cosines(like, score);
    return status == HCSMOE_OK ? assign_largest(x->w->h, ffn, score, partner) : status;
}

/* Members whose products are held at once: each pass over the tokens costs what all members put
 * out. */
static int64_t members_at_once(double bytes_most, int64_t ffn, int64_t n_members)
{
    const double fit = bytes_most / (8.0 * (double)ffn * (double)ffn);

    return fit < 1 ? 1 : fit < (double)n_members ? (int64_t)fit : n_members;
}

double match_bytes(double bytes_most, const hcsmoe_layer_dims *dims, int64_t n_members)
{
    const double ffn = (double)dims->ffn;

    return 8 * ffn *
           (ffn * (double)members_at_once(bytes_most, dims->ffn, n_members) + 3 * STRIP +
            2 * HCSMOE_TILE_TOKENS);
}

static hcsmoe_status matching_open(struct matching *x, struct likeness *like)
{
    const struct work *w = x->w;
    const hcsmoe_host *h = w->h;
    const int64_t ffn = w->ffn, tile = HCSMOE_TILE_TOKENS;
    int side;

    x->product = h->scratch(h, (size_t)(x->n * ffn * ffn) * sizeof *x->product);
    x->sum = h->scratch(h, (size_t)(w->a->n_members * ffn) * sizeof *x->sum);
    x->square = h->scratch(h, (size_t)(w->a->n_members * ffn) * sizeof *x->square);
    x->ours = h->scratch(h, (size_t)(tile * ffn) * sizeof *x->ours);
    x->theirs = h->scratch(h, (size_t)(tile * ffn) * sizeof *x->theirs);
    for (side = 0; side < 2; side++) {
        like->strip[side] = h->scratch(h, (size_t)(STRIP * ffn) * sizeof(double));
        like->square[side] = h->scratch(h, (size_t)ffn * sizeof(double));
        if (!like->strip[side] || !like->square[side])
            return HCSMOE_ENOMEM; /* scratch has set the message */
    }
    like->turned = h->scratch(h, (size_t)((STRIP + 1) * ffn) * sizeof(double));
    if (!x->product || !x->sum || !x->square || !x->ours || !x->theirs || !like->turned)
        return HCSMOE_ENOMEM;
    memset(x->sum, 0, (size_t)(w->a->n_members * ffn) * sizeof *x->sum);
    memset(x->square, 0, (size_t)(w->a->n_members * ffn) * sizeof *x->square);
    return HCSMOE_OK;
}

hcsmoe_status match_members(const struct work *w, int64_t reference, int assign, int32_t *partner)
{
    struct work exact = *w;
    const int64_t ffn = w->ffn, members = w->a->n_members;
    const int64_t step = members_at_once(w->bytes_most, ffn, members);
    struct matching x = {.w = &exact, .reference = reference, .n = step};
    struct likeness like = {.w = &exact};
    hcsmoe_status status;
    int64_t e, i;

    exact.dtype = HCSMOE_DTYPE_F64;
    exact.size = sizeof(double);
    exact.loops = loops_of(HCSMOE_DTYPE_F64);
    status = matching_open(&x, &like);
    for (i = 0; i < ffn; i++)
        partner[reference * ffn + i] = (int32_t)i;
    for (x.first = 0; x.first < members && status == HCSMOE_OK; x.first += step) {
        x.n = members - x.first < step ? members - x.first : step;
        memset(x.product, 0, (size_t)(x.n * ffn * ffn) * sizeof *x.product);
        status = w->a->tokens(w->a, HCSMOE_TILE_HIDDEN, see_tile, &x);
        for (e = x.first; e < x.first + x.n && status == HCSMOE_OK; e++)
            if (e != reference)
                status = match_one(&x, &like, e, assign, &partner[e * ffn]);
    }
    return status;
}
