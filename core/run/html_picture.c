/*
 * html_picture.c - one layer as a picture: the tree, the matrix in its order, the use of each
 * expert below.
 *
 * The shapes stand once in the small picture, in units of experts; the large one uses them again
 * at another size.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>
#include <zlib.h>

#include "base/mem.h"
#include "run/html_parts.h"

/* The small picture is 100 wide; its parts, from the top, with room between them. */
enum { SMALL_TREE = 30, SMALL_USE = 16, SMALL_GAP = 3 };
/* The large one, in pixels. */
enum {
    LARGE_WIDTH = 540,
    LARGE_LEFT = 52,
    LARGE_RIGHT = 12,
    LARGE_TREE = 130,
    LARGE_USE = 80,
    LARGE_GAP = 8,
    CELL_MOST = 44,
    LABEL_CELL = 9,    /* smaller cells have no room for the experts' numbers */
    UPRIGHT_CELL = 18, /* smaller ones have room for them only on their side */
};

static json_t *matrix_of(json_t *layer)
{
    json_t *distances = html_at(layer, "distances");
    return distances ? distances : html_at(layer, "similarities");
}

/* Place of the pair i < j among n (n - 1) / 2. */
static size_t pair_at(int64_t n, int64_t a, int64_t b)
{
    const int64_t i = a < b ? a : b, j = a < b ? b : a;
    return (size_t)(i * (2 * n - i - 1) / 2 + j - i - 1);
}

static void matrix_range(json_t *matrix, double *least, double *most)
{
    json_t *x;
    size_t i;

    *least = *most = json_number_value(json_array_get(matrix, 0));
    json_array_foreach(matrix, i, x)
    {
        *least = fmin(*least, json_number_value(x));
        *most = fmax(*most, json_number_value(x));
    }
}

static double use_most(json_t *usage)
{
    json_t *x;
    size_t i;
    double most = 0;

    json_array_foreach(usage, i, x) most = fmax(most, json_number_value(x));
    return most;
}

/* ---- the matrix as a PNG ---- */

static void chunk_add(struct str *png, const char *type, const void *bytes, size_t n)
{
    const unsigned char length[4] = {(unsigned char)(n >> 24), (unsigned char)(n >> 16),
                                     (unsigned char)(n >> 8), (unsigned char)n};
    uLong crc = crc32(0, (const unsigned char *)type, 4);
    if (n)
        crc = crc32(crc, bytes, (uInt)n);
    const unsigned char sum[4] = {(unsigned char)(crc >> 24), (unsigned char)(crc >> 16),
                                  (unsigned char)(crc >> 8), (unsigned char)crc};
    str_add_bytes(png, length, sizeof length);
    str_add_bytes(png, type, 4);
    str_add_bytes(png, bytes, n);
    str_add_bytes(png, sum, sizeof sum);
}

/* rows: n lines of a filter byte and n pixels of grey and alpha. */
static int png_make(struct str *png, const unsigned char *rows, int64_t n)
{
    const size_t size = (size_t)(n * (2 * n + 1));
    uLongf packed_size = compressBound(size);
    unsigned char *packed = mem_new_raw(packed_size, 1);
    const unsigned char head[13] = {0, 0, (unsigned char)(n >> 8), (unsigned char)n,
                                    0, 0, (unsigned char)(n >> 8), (unsigned char)n,
                                    8, 4};
    if (!packed)
        return HCSMOE_ENOMEM;
    if (compress2(packed, &packed_size, rows, size, Z_BEST_COMPRESSION) != Z_OK) {
        mem_free(packed);
        return fail_memory(size);
    }
    str_add(png, "\x89PNG\r\n\x1a\n");
    chunk_add(png, "IHDR", head, sizeof head);
    chunk_add(png, "IDAT", packed, packed_size);
    chunk_add(png, "IEND", "", 0);
    mem_free(packed);
    return str_check(png);
}

/* Light where experts are alike; the diagonal says nothing and is left open. */
static int matrix_define(struct str *out, json_t *layer, const struct order *o)
{
    json_t *matrix = matrix_of(layer);
    const bool distances = html_at(layer, "distances") != NULL;
    const size_t line = (size_t)(2 * o->n + 1);
    unsigned char *rows = mem_new((size_t)o->n, line);
    struct str png = {0};
    double least, most;

    if (!rows)
        return HCSMOE_ENOMEM;
    matrix_range(matrix, &least, &most);
    for (int64_t i = 0; i < o->n; i++)
        for (int64_t j = 0; j < o->n; j++) {
            unsigned char *pixel = rows + (size_t)i * line + 1 + 2 * (size_t)j;
            if (i == j)
                continue;
            const double x =
                json_number_value(json_array_get(matrix, pair_at(o->n, o->at[i], o->at[j])));
            const double share = most > least ? (x - least) / (most - least) : 0.5;
            pixel[0] = (unsigned char)lround(255 * (distances ? 1 - share : share));
            pixel[1] = 255;
        }
    int status = png_make(&png, rows, o->n);
    if (!status) {
        str_addf(out,
                 "<image id=\"m%lld\" class=\"heat\" width=\"%lld\" height=\"%lld\" "
                 "preserveAspectRatio=\"none\" href=\"data:image/png;base64,",
                 (long long)html_int(layer, "layer"), (long long)o->n, (long long)o->n);
        html_base64(out, png.text, png.len);
        str_add(out, "\"/>");
    }
    str_release(&png);
    mem_free(rows);
    return status;
}

/* ---- shapes in units of experts ---- */

/* Branches from..to, heights downwards from 0 (the highest) to 100. */
static void tree_path(struct str *out, const struct order *o, int64_t from, int64_t to)
{
    const double scale = o->top > 0 ? 100 / o->top : 0;
    for (int64_t i = from; i < to; i++) {
        const struct branch *b = &o->branches[i];
        str_addf(out, "M%.6g %.4gV%.4gH%.6gV%.4g", b->left, 100 - scale * b->from_left,
                 100 - scale * b->height, b->right, 100 - scale * b->from_right);
    }
}

/* A square around each run of one group in the matrix. */
static void groups_path(struct str *out, const struct order *o)
{
    for (int64_t i = 0, next; i < o->n; i = next) {
        const int64_t of = o->cluster[o->at[i]];
        for (next = i + 1; next < o->n && o->cluster[o->at[next]] == of;)
            next++;
        if (of >= 0)
            str_addf(out, "M%lld %lldh%lldv%lldh-%lldz", (long long)i, (long long)i,
                     (long long)(next - i), (long long)(next - i), (long long)(next - i));
    }
}

/* Bars of every second group, so that neighbours differ; pruned experts are of neither: odd -1. */
static void use_path(struct str *out, const struct order *o, json_t *usage, json_t *groups, int odd)
{
    const double most = use_most(usage);
    int64_t run = 0;

    for (int64_t i = 0; i < o->n; i++) {
        const int64_t e = o->at[i];
        const bool pruned = json_integer_value(json_array_get(groups, (size_t)e)) < 0;
        run += i && o->cluster[e] != o->cluster[o->at[i - 1]];
        if ((pruned ? -1 : (int)(run % 2)) != odd)
            continue;
        const double share = json_number_value(json_array_get(usage, (size_t)e));
        str_addf(out, "M%.4g 100V%.4gh.84V100z", (double)i + 0.08,
                 100 - 100 * (most > 0 ? share / most : 0));
    }
}

int html_picture_define(struct str *out, json_t *layer, const struct order *o)
{
    const long long l = html_int(layer, "layer");
    json_t *usage = html_at(layer, "usage"), *groups = html_at(layer, "groups");
    int status = 0;

    str_add(out, "<defs>");
    if (matrix_of(layer))
        status = matrix_define(out, layer, o);
    if (!status && o->n_branches) {
        str_addf(out, "<path id=\"t%lld\" vector-effect=\"non-scaling-stroke\" d=\"", l);
        tree_path(out, o, 0, o->n_cut);
        str_addf(out, "\"/><path id=\"o%lld\" vector-effect=\"non-scaling-stroke\" d=\"", l);
        tree_path(out, o, o->n_cut, o->n_branches);
        str_add(out, "\"/>");
    }
    if (!status && matrix_of(layer)) {
        str_addf(out, "<path id=\"g%lld\" vector-effect=\"non-scaling-stroke\" d=\"", l);
        groups_path(out, o);
        str_add(out, "\"/>");
    }
    for (int odd = -1; !status && usage && odd < 2; odd++) {
        str_addf(out, "<path id=\"u%lld-%d\" d=\"", l, odd + 1);
        use_path(out, o, usage, groups, odd);
        str_add(out, "\"/>");
    }
    str_add(out, "</defs>");
    return status;
}

/* ---- the shapes at a place and size ---- */

static void use_add(struct str *out, const char *class, const char *id, long long l, double x,
                    double y, double across, double down)
{
    str_addf(out,
             "<use class=\"%s\" href=\"#%s%lld\" transform=\"translate(%.6g %.6g) scale(%.6g "
             "%.6g)\"/>",
             class, id, l, x, y, across, down);
}

static void bars_add(struct str *out, long long l, double x, double y, double cell, double height)
{
    static const char *const class[] = {"pruned", "even", "odd"};
    for (int k = 0; k < 3; k++)
        str_addf(out,
                 "<use class=\"%s\" href=\"#u%lld-%d\" transform=\"translate(%.6g %.6g) "
                 "scale(%.6g %.6g)\"/>",
                 class[k], l, k, x, y, cell, height / 100);
}

void html_picture_small(struct str *out, json_t *layer, const struct order *o)
{
    const long long l = html_int(layer, "layer");
    const double cell = 100 / (double)o->n;
    double y = 1;

    if (o->n_branches) {
        use_add(out, "out", "o", l, 0, y, cell, SMALL_TREE / 100.0);
        use_add(out, "in", "t", l, 0, y, cell, SMALL_TREE / 100.0);
        y += SMALL_TREE + SMALL_GAP;
    }
    if (matrix_of(layer)) {
        use_add(out, "map", "m", l, 0, y, cell, cell);
        use_add(out, "groups", "g", l, 0, y, cell, cell);
        y += 100 + SMALL_GAP;
    }
    if (html_at(layer, "usage"))
        bars_add(out, l, 0, y, cell, SMALL_USE);
}

/* Height axis, branches, the cut, and what lies under the pointer. */
static void large_tree(struct str *out, json_t *layer, const struct order *o, double cell, double y)
{
    const long long l = html_int(layer, "layer");
    const double down = LARGE_TREE / 100.0, scale = o->top > 0 ? LARGE_TREE / o->top : 0;
    const double cut = y + LARGE_TREE - scale * o->cut, right = LARGE_LEFT + cell * (double)o->n;
    json_t *join;
    size_t i;

    str_addf(out, "<path class=\"axis\" d=\"M%d %.6gV%.6g\"/>", LARGE_LEFT - 4, y, y + LARGE_TREE);
    for (int k = 0; k <= 2; k++) {
        str_addf(out, "<text class=\"tick end\" x=\"%d\" y=\"%.6g\">", LARGE_LEFT - 8,
                 y + LARGE_TREE - k * LARGE_TREE / 2.0 + 3.5);
        if (k)
            html_number(out, o->top * k / 2);
        else
            str_add(out, "0");
        str_add(out, "</text>");
    }
    use_add(out, "out", "o", l, LARGE_LEFT, y, cell, down);
    use_add(out, "in", "t", l, LARGE_LEFT, y, cell, down);
    str_addf(out,
             "<path class=\"cut\" d=\"M%d %.6gH%.6g\"/><text class=\"tick cut end\" x=\"%.6g\" "
             "y=\"%.6g\">cut: %lld groups</text>",
             LARGE_LEFT, cut, right, right, cut - 4, (long long)o->n_groups);
    json_array_foreach(html_at(layer, "merges"), i, join)
    {
        const struct branch *b = &o->branches[i];
        const json_t *gap = html_at(join, "gap");
        const double at = y + LARGE_TREE - scale * b->height;
        const bool tie = gap && (int64_t)i < o->n_cut && json_number_value(gap) < 1e-3;
        if (tie)
            str_addf(out, "<circle class=\"tie\" cx=\"%.6g\" cy=\"%.6g\" r=\"4\"/>",
                     LARGE_LEFT + cell * (b->left + b->right) / 2, at);
        str_addf(out, "<path class=\"hit\" d=\"M%.6g %.6gH%.6g\"><title>",
                 LARGE_LEFT + cell * b->left, at, LARGE_LEFT + cell * b->right);
        str_addf(out, "%zu. joins %lld and %lld at ", i + 1, (long long)html_int(join, "a"),
                 (long long)html_int(join, "b"));
        html_number(out, b->height);
        if (gap)
            str_addf(out, ", ahead by %.2g", json_number_value(gap));
        str_addf(out, "%s</title></path>", tie ? ": a near tie" : "");
    }
}

static void labels_add(struct str *out, const struct order *o, double cell, double y, bool rows)
{
    const double size = fmin(11, cell * 0.92);
    if (cell < LABEL_CELL)
        return;
    str_addf(out, "<g class=\"label\" font-size=\"%.3g\">", size);
    for (int64_t i = 0; i < o->n; i++) {
        const double at = ((double)i + 0.5) * cell;
        if (rows)
            str_addf(out, "<text class=\"end\" x=\"%d\" y=\"%.5g\">%lld</text>", LARGE_LEFT - 5,
                     y + at + size * 0.36, (long long)o->at[i]);
        else if (cell < UPRIGHT_CELL)
            str_addf(
                out,
                "<text class=\"end\" transform=\"translate(%.5g %.5g) rotate(-90)\">%lld</text>",
                LARGE_LEFT + at + size * 0.36, y - 10, (long long)o->at[i]);
        else
            str_addf(out, "<text x=\"%.5g\" y=\"%.5g\">%lld</text>", LARGE_LEFT + at, y,
                     (long long)o->at[i]);
    }
    str_add(out, "</g>");
}

static void large_bars(struct str *out, json_t *layer, const struct order *o, double cell, double y)
{
    json_t *usage = html_at(layer, "usage"), *counts = html_at(layer, "usage_counts"),
           *groups = html_at(layer, "groups");
    const double most = use_most(usage);

    bars_add(out, html_int(layer, "layer"), LARGE_LEFT, y, cell, LARGE_USE);
    str_addf(out,
             "<path class=\"axis\" d=\"M%d %.6gV%.6gH%.6g\"/><text class=\"tick end\" x=\"%d\" "
             "y=\"%.6g\">%.3g&#8239;%%</text><text class=\"tick end\" x=\"%d\" "
             "y=\"%.6g\">use 0</text>",
             LARGE_LEFT - 4, y, y + LARGE_USE, LARGE_LEFT + cell * (double)o->n, LARGE_LEFT - 8,
             y + 8, 100 * most, LARGE_LEFT - 8, y + LARGE_USE + 3.5);
    for (int64_t i = 0; i < o->n; i++) {
        const size_t e = (size_t)o->at[i];
        const long long g = json_integer_value(json_array_get(groups, e));
        str_addf(out,
                 "<rect class=\"hit\" x=\"%.6g\" y=\"%.6g\" width=\"%.6g\" height=\"%d\"><title>",
                 LARGE_LEFT + cell * (double)i, y, cell, LARGE_USE);
        str_addf(out, "expert %zu, %s", e, g < 0 ? "pruned" : "group ");
        if (g >= 0)
            str_addf(out, "%lld", g);
        str_addf(out, ": %.2f %%", 100 * json_number_value(json_array_get(usage, e)));
        if (counts)
            str_addf(out, ", %lld times", (long long)json_integer_value(json_array_get(counts, e)));
        str_add(out, "</title></rect>");
    }
}

static void large_legend(struct str *out, json_t *layer, double y, double right)
{
    const bool distances = html_at(layer, "distances") != NULL;
    double least, most;

    matrix_range(matrix_of(layer), &least, &most);
    str_addf(out,
             "<text class=\"tick\" x=\"%d\" y=\"%.6g\">%s</text><rect class=\"heat\" x=\"%.6g\" "
             "y=\"%.6g\" width=\"120\" height=\"8\" fill=\"url(#grey)\"/><text class=\"tick end\" "
             "x=\"%.6g\" y=\"%.6g\">",
             LARGE_LEFT, y + 8, distances ? "distance of two experts" : "similarity of two experts",
             right - 180, y, right - 186, y + 8);
    html_number(out, distances ? most : least);
    str_addf(out, "</text><text class=\"tick\" x=\"%.6g\" y=\"%.6g\">", right - 54, y + 8);
    html_number(out, distances ? least : most);
    str_addf(out, "%s</text>", " alike");
}

void html_picture_large(struct str *out, json_t *layer, const struct order *o)
{
    const double cell = fmax(3, fmin(CELL_MOST, LARGE_WIDTH / (double)o->n));
    const double side = cell * (double)o->n, width = LARGE_LEFT + fmax(side, 260) + LARGE_RIGHT;
    const bool matrix = matrix_of(layer) != NULL, use = html_at(layer, "usage") != NULL;
    const int labels = cell < LABEL_CELL ? 0 : 14;
    const double height = 14 + (o->n_branches ? LARGE_TREE + LARGE_GAP : 0) +
                          (matrix ? side + LARGE_GAP + 20 : 0) + (use ? LARGE_USE + 10 : 0) +
                          labels;
    double y = 14;

    str_addf(out,
             "<svg class=\"large\" viewBox=\"0 0 %.6g %.6g\" width=\"%.6g\" role=\"img\" "
             "aria-label=\"Layer %lld: tree, matrix and use of the experts\">",
             width, height, width, (long long)html_int(layer, "layer"));
    if (o->n_branches) {
        large_tree(out, layer, o, cell, y);
        y += LARGE_TREE + LARGE_GAP;
    }
    if (matrix) {
        use_add(out, "map", "m", html_int(layer, "layer"), LARGE_LEFT, y, cell, cell);
        use_add(out, "groups", "g", html_int(layer, "layer"), LARGE_LEFT, y, cell, cell);
        labels_add(out, o, cell, y, true);
        str_addf(out, "<rect class=\"pairs\" x=\"%d\" y=\"%.6g\" width=\"%.6g\" height=\"%.6g\"/>",
                 LARGE_LEFT, y, side, side);
        y += side;
    }
    y += labels - 2;
    labels_add(out, o, cell, y, false);
    y += LARGE_GAP;
    if (use) {
        large_bars(out, layer, o, cell, y);
        y += LARGE_USE + 10;
    }
    if (matrix)
        large_legend(out, layer, y + 2, LARGE_LEFT + fmax(side, 260));
    str_add(out, "</svg>");
}
