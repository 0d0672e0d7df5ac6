/*
 * test_table.c - the printed table, cell for cell.
 * SPDX-License-Identifier: MIT
 */
#include "run/table.h"

#include "eval.h"

static const char *const head = "|Tasks|Version|Filter|n-shot|Metric|   |";

/* A table of values and errors; *out is what it looks like from the Value column on. */
static void print(const char *const (*cells)[2], size_t n, struct str *out)
{
    struct table_row rows[8];

    for (size_t i = 0; i < n; i++)
        rows[i] = (struct table_row){.name = "x",
                                     .version = "1",
                                     .filter = "none",
                                     .n_shot = "0",
                                     .metric = "acc",
                                     .arrow = "↑",
                                     .value = cells[i][0],
                                     .pm = "±",
                                     .stderr_ = cells[i][1]};
    must(table_print("Tasks", rows, n, out));
    assert_true(str_starts(str_text(out), head));
}

static void expect(const char *const (*cells)[2], size_t n, const char *const *lines)
{
    struct str out = {0};

    print(cells, n, &out);
    for (size_t i = 0; lines[i]; i++)
        if (!strstr(str_text(&out), lines[i]))
            fail_msg("no '%s' in\n%s", lines[i], str_text(&out));
    str_release(&out);
}

static void test_table_drops_zeros_that_no_row_needs(void **state)
{
    (void)state;
    const char *const one[][2] = {{"0.6570", "0.0286"}};
    expect(one, 1, (const char *const[]){"|Value|   |Stderr|\n", "|0.657|±  |0.0286|\n", NULL});
    const char *const two[][2] = {{"0.7624", "0.0120"}};
    expect(two, 1, (const char *const[]){"|0.7624|±  | 0.012|\n", "|-----:|---|-----:|\n", NULL});
    const char *const both[][2] = {{"0.6570", "0.0286"}, {"0.8123", "0.0120"}};
    expect(both, 2, (const char *const[]){"|0.6570|±  |0.0286|\n", "|0.8123|±  |0.0120|\n", NULL});
}

static void test_table_prints_integers_plainly_only_among_integers(void **state)
{
    (void)state;
    const char *const whole[][2] = {{"1.0000", "0.0000"}};
    expect(whole, 1, (const char *const[]){"|    1|±  |     0|\n", NULL});
    const char *const mixed[][2] = {{"1.0000", "0.0000"}, {"0.3000", "0.0210"}};
    expect(mixed, 2, (const char *const[]){"|  1.0|±  | 0.000|\n", "|  0.3|±  | 0.021|\n", NULL});
}

static void test_table_reads_numbers_below_text_as_text(void **state)
{
    (void)state;
    const char *const below[][2] = {{"1.0000", "0.0000"}, {"0.3010", "   N/A"}};
    expect(below, 2,
           (const char *const[]){"|----:|---|------|\n", "|1.000|±  |     0|\n",
                                 "|0.301|±  |   N/A|\n", NULL});
    const char *const above[][2] = {{"0.3010", "   N/A"}, {"1.0000", "0.0000"}};
    expect(above, 2, (const char *const[]){"|1.000|±  |0.0000|\n", NULL});
}

static void test_table_leaves_blank_cells_out_of_the_types(void **state)
{
    (void)state;
    const struct table_row rows[] = {
        {"mmlu", "2", "none", "", "acc", "", "0.2474", "±", "0.0036"},
        {" - humanities", "2", "none", "0", "acc", "↑", "0.2420", "±", "0.0062"},
        {"  - formal_logic", "1", "none", "0", "acc", "↑", "0.2857", "±", "0.0404"},
        {"arc_easy", "1", "none", "0", "acc", "↑", "0.5000", "±", "0.1000"},
    };
    struct str out = {0};

    must(table_print("Tasks", rows, 4, &out));
    assert_string_equal(str_text(&out),
                        "|     Tasks      |Version|Filter|n-shot|Metric|   |Value |   |Stderr|\n"
                        "|----------------|------:|------|-----:|------|---|-----:|---|-----:|\n"
                        "|mmlu            |      2|none  |      |acc   |   |0.2474|±  |0.0036|\n"
                        "| - humanities   |      2|none  |     0|acc   |↑  |0.2420|±  |0.0062|\n"
                        "|  - formal_logic|      1|none  |     0|acc   |↑  |0.2857|±  |0.0404|\n"
                        "|arc_easy        |      1|none  |     0|acc   |↑  |0.5000|±  |0.1000|\n");
    str_release(&out);
}

/* Tables that the harness printed for recorded results. */
static void test_table_prints_what_the_harness_printed(void **state)
{
    json_t *tables = world_json("tables.json");
    json_t *table, *cells;
    size_t t, i;
    (void)state;

    json_array_foreach(tables, t, table)
    {
        const json_t *list = json_object_get(table, "rows");
        struct table_row *rows = mem_new(json_array_size(list), sizeof *rows);
        struct str out = {0};
        assert_non_null(rows);
        json_array_foreach(list, i, cells)
        {
            const char *c[9];
            for (size_t k = 0; k < 9; k++)
                c[k] = json_string_value(json_array_get(cells, k));
            rows[i] = (struct table_row){c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8]};
        }
        must(table_print(json_string_value(json_object_get(table, "first")), rows,
                         json_array_size(list), &out));
        assert_string_equal(str_text(&out), json_string_value(json_object_get(table, "table")));
        str_release(&out);
        mem_free(rows);
    }
    assert_true(json_array_size(tables) >= 14);
    json_decref(tables);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_drops_zeros_that_no_row_needs),
        cmocka_unit_test(test_table_prints_integers_plainly_only_among_integers),
        cmocka_unit_test(test_table_reads_numbers_below_text_as_text),
        cmocka_unit_test(test_table_leaves_blank_cells_out_of_the_types),
        cmocka_unit_test(test_table_prints_what_the_harness_printed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
