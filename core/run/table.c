/*
 * table.c - the harness's markdown table: how it reads its cells again, and how it sets them.
 *
 * Every cell arrives as text. The writer types the cells of a column from top to bottom, and the
 * types decide how numbers look: eval-tasks.md 5.4 has the rules, slips of that writer included.
 * SPDX-License-Identifier: MIT
 */
#include "run/table.h"

#include <assert.h>
#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"

enum { N_COLUMNS = 9, WIDTH_LEAST = 3 };

enum cell_type { CELL_BLANK = 0, CELL_TEXT = 1, CELL_INTEGER = 2, CELL_REAL = 3, N_TYPES = 4 };

struct cell {
    const char *text;
    enum cell_type type;
    size_t whole;  /* a number: characters in front of the point */
    size_t digits; /* a real: digits behind the point, without the zeros at the end */
};

struct column {
    struct cell *cells;
    const char *header;
    size_t digits, width; /* the most digits of a cell; characters */
    bool has_text, has_number, has_real;
};

static size_t text_width(const char *text)
{
    size_t n = 0;

    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* "-12.50" has whole 3 and digits 1. False: not a number in this form. */
static bool number_read(struct cell *c)
{
    const char *s = c->text + (c->text[0] == '-' || c->text[0] == '+');
    const char *point = s;

    while (isdigit((unsigned char)*point))
        point++;
    if (point == s)
        return false;
    c->whole = (size_t)(point - c->text);
    c->digits = 0;
    if (*point == '.') {
        size_t n = 0;
        for (const char *d = point + 1; isdigit((unsigned char)*d); d++) {
            n++;
            if (*d != '0')
                c->digits = n;
        }
        point += 1 + n;
    }
    return *point == '\0';
}

/* Whether text is the most frequent type so far; of equals, the one met first is it. */
static bool text_leads(const size_t counts[N_TYPES], const size_t met[N_TYPES])
{
    for (int t = 0; t < N_TYPES; t++)
        if (t != CELL_TEXT && counts[t] > 0 &&
            (counts[t] > counts[CELL_TEXT] ||
             (counts[t] == counts[CELL_TEXT] && met[t] < met[CELL_TEXT])))
            return false;
    return counts[CELL_TEXT] > 0;
}

static void column_read(struct column *col, size_t n)
{
    size_t counts[N_TYPES] = {0};
    size_t met[N_TYPES] = {0};

    for (size_t i = 0; i < n; i++) {
        struct cell *c = &col->cells[i];
        if (!c->text || !c->text[0])
            c->type = CELL_BLANK;
        else if (text_leads(counts, met) || !number_read(c))
            c->type = CELL_TEXT;
        else
            c->type = c->digits == 0 ? CELL_INTEGER : CELL_REAL;
        if (counts[c->type]++ == 0)
            met[c->type] = i;
        if (c->type == CELL_REAL && c->digits > col->digits)
            col->digits = c->digits;
    }
    col->has_text = counts[CELL_TEXT] > 0;
    col->has_real = counts[CELL_REAL] > 0;
    col->has_number = col->has_real || counts[CELL_INTEGER] > 0;
}

/* A cell as it is printed. */
static void cell_print(const struct column *col, const struct cell *c, struct str *out)
{
    if (c->type == CELL_BLANK)
        return;
    if (c->type == CELL_TEXT) {
        str_add(out, c->text);
        return;
    }
    str_add_bytes(out, c->text, c->whole);
    if (c->type == CELL_INTEGER && (col->has_text || !col->has_real))
        return;
    str_add(out, ".");
    if (c->digits > 0)
        str_add_bytes(out, c->text + c->whole + 1, c->digits);
    for (size_t i = c->digits; i < col->digits; i++)
        str_add(out, "0");
}

static void repeat(struct str *out, const char *what, size_t n)
{
    for (size_t i = 0; i < n; i++)
        str_add(out, what);
}

/* Spaces that fill a cell up to its column. */
static size_t padding(const struct column *col, const char *text)
{
    const size_t width = text_width(text);

    return col->width > width ? col->width - width : 0;
}

static void column_measure(struct column *col, size_t n)
{
    struct str text = {0};

    col->width = text_width(col->header) > WIDTH_LEAST ? text_width(col->header) : WIDTH_LEAST;
    for (size_t i = 0; i < n; i++) {
        str_clear(&text);
        cell_print(col, &col->cells[i], &text);
        const size_t width = text_width(str_text(&text));
        if (width > col->width)
            col->width = width;
    }
    str_release(&text);
}

static void head_print(const struct column *columns, struct str *out)
{
    for (int c = 0; c < N_COLUMNS; c++) {
        const size_t space = padding(&columns[c], columns[c].header);
        str_add(out, "|");
        repeat(out, " ", space / 2);
        str_add(out, columns[c].header);
        repeat(out, " ", space - space / 2);
    }
    str_add(out, "|\n");
    for (int c = 0; c < N_COLUMNS; c++) {
        const bool number = columns[c].has_number && !columns[c].has_text;
        str_add(out, "|");
        repeat(out, "-", columns[c].width - number);
        str_add(out, number ? ":" : "");
    }
    str_add(out, "|\n");
}

static void row_print(const struct column *columns, size_t row, struct str *out)
{
    struct str text = {0};

    for (int c = 0; c < N_COLUMNS; c++) {
        const struct cell *cell = &columns[c].cells[row];
        const bool right = cell->type == CELL_INTEGER || cell->type == CELL_REAL;
        str_clear(&text);
        cell_print(&columns[c], cell, &text);
        const size_t space = padding(&columns[c], str_text(&text));
        str_add(out, "|");
        repeat(out, " ", right ? space : 0);
        str_add(out, str_text(&text));
        repeat(out, " ", right ? 0 : space);
    }
    str_add(out, "|\n");
    out->failed = out->failed || text.failed;
    str_release(&text);
}

int table_print(const char *first, const struct table_row *rows, size_t n, struct str *out)
{
    struct column columns[N_COLUMNS] = {
        {.header = first},    {.header = "Version"}, {.header = "Filter"},
        {.header = "n-shot"}, {.header = "Metric"},  {.header = ""},
        {.header = "Value"},  {.header = ""},        {.header = "Stderr"}};
    struct cell *cells = mem_new(n, N_COLUMNS * sizeof *cells);

    if (!cells)
        return HCSMOE_ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const struct table_row *r = &rows[i];
        const char *const texts[N_COLUMNS] = {r->name,  r->version, r->filter, r->n_shot, r->metric,
                                              r->arrow, r->value,   r->pm,     r->stderr_};
        for (size_t c = 0; c < N_COLUMNS; c++)
            cells[c * n + i].text = texts[c];
    }
    for (size_t c = 0; c < N_COLUMNS; c++) {
        columns[c].cells = cells + c * n;
        column_read(&columns[c], n);
        column_measure(&columns[c], n);
    }
    head_print(columns, out);
    for (size_t i = 0; i < n; i++)
        row_print(columns, i, out);
    mem_free(cells);
    return str_check(out);
}
