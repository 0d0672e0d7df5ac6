/*
 * test_ini.c - what an INI file may say, and the place that every refusal names.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ini.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"

/* Last: it has a macro fail() of its own. */
#include <cmocka.h>

enum { LINE_BYTES_MAX = 199 }; /* what Debian's inih takes */

static char folder[512];
static char file[600];

static int folder_make(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    (void)snprintf(folder, sizeof folder, "%s/test_ini.XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(folder)) {
        return -1;
    }
    (void)snprintf(file, sizeof file, "%s/f.ini", folder);
    return 0;
}

static int folder_remove(void **state)
{
    (void)state;
    return path_remove_tree(folder);
}

static void read_text(struct ini *ini, const char *text)
{
    assert_int_equal(path_write(file, text, strlen(text)), 0);
    int status = ini_read(ini, file);
    if (status < 0) {
        fail_msg("%s", fail_message());
    }
}

static void assert_value(const struct ini *ini, const char *section, const char *key, int line,
                         const char *expected)
{
    const struct ini_value *v = ini_find(ini, section, key);

    assert_non_null(v);
    assert_string_equal(v->value, expected);
    assert_int_equal(v->line, line);
    assert_false(v->used);
}

static void assert_refused_bytes(const char *text, size_t n, const char *message)
{
    struct ini ini;
    char expected[2048];

    assert_int_equal(path_write(file, text, n), 0);
    assert_int_equal(ini_read(&ini, file), HCSMOE_EINVAL);
    (void)snprintf(expected, sizeof expected, "%s%s", file, message);
    assert_string_equal(fail_message(), expected);
    assert_null(ini.values);
    assert_null(ini.path);
}

static void assert_refused(const char *text, const char *message)
{
    assert_refused_bytes(text, strlen(text), message);
}

static void test_ini_reads_sections_keys_and_lines(void **state)
{
    struct ini ini;

    (void)state;
    read_text(&ini, "# comment\n"
                    "; comment\n"
                    "[model]\n"
                    "model_name = /a b/c ; a comment\n"
                    "empty =\n"
                    "\n"
                    "[group]   ; the second\n"
                    "linkage=average;not a comment\r\n"
                    "hierarchical.x : 3");
    assert_int_equal(ini.n, 4);
    assert_string_equal(ini.path, file);
    assert_string_equal(ini.folder, folder);
    assert_value(&ini, "model", "model_name", 4, "/a b/c");
    assert_value(&ini, "model", "empty", 5, "");
    assert_value(&ini, "group", "linkage", 8, "average;not a comment");
    assert_value(&ini, "group", "hierarchical.x", 9, "3");
    assert_null(ini_find(&ini, "group", "Linkage"));
    assert_null(ini_find(&ini, "Group", "linkage"));
    assert_null(ini_find(&ini, "model", "linkage"));
    ini_release(&ini);
    ini_release(&ini);
}

static void test_ini_joins_indented_lines(void **state)
{
    struct ini ini;

    (void)state;
    read_text(&ini, "[a]\n"
                    "list = one,\n"
                    "  two, ; with a comment\n"
                    "\tthree\n"
                    "words = one\n"
                    "; between\n"
                    "\n"
                    "   # indented comment\n"
                    "   two = 2\n"
                    "   [three]\n"
                    "late =\n"
                    " value\n"
                    "next = 1\n");
    assert_int_equal(ini.n, 4);
    assert_value(&ini, "a", "list", 2, "one,two,three");
    assert_value(&ini, "a", "words", 5, "one two = 2 [three]");
    assert_value(&ini, "a", "late", 11, "value");
    assert_value(&ini, "a", "next", 13, "1");
    ini_release(&ini);
}

static void test_ini_merges_sections_of_the_same_name(void **state)
{
    struct ini ini;

    (void)state;
    read_text(&ini, "[a]\nx = 1\n[b]\nx = 2\n[a]\ny = 3\n");
    assert_value(&ini, "a", "x", 2, "1");
    assert_value(&ini, "b", "x", 4, "2");
    assert_value(&ini, "a", "y", 6, "3");
    ini_release(&ini);
    assert_refused("[a]\nx = 1\n[b]\nx = 2\n[a]\nx = 3\n",
                   ":6: [a] x: given twice, first at line 2");
}

static void test_ini_accepts_a_byte_order_mark_and_nothing_at_all(void **state)
{
    struct ini ini;

    (void)state;
    read_text(&ini, "\xEF\xBB\xBF[a]\nx = 1\n");
    assert_value(&ini, "a", "x", 2, "1");
    ini_release(&ini);
    read_text(&ini, "");
    assert_int_equal(ini.n, 0);
    ini_release(&ini);
    read_text(&ini, "\xEF\xBB\xBF\n \n# only a comment");
    assert_int_equal(ini.n, 0);
    ini_release(&ini);
}

static void test_ini_reports_line_of_duplicate_key(void **state)
{
    (void)state;
    assert_refused("# 1\n[group]\n\n\n\n\nlinkage = average\ncluster = x\nlinkage = single\n",
                   ":9: [group] linkage: given twice, first at line 7");
}

static void test_ini_reports_line_that_is_no_entry(void **state)
{
    (void)state;
    assert_refused("[a]\nx = 1\nthe line  \r\n[b]\nx = 1\n",
                   ":3: not 'key = value' nor '[section]': 'the line'");
    assert_refused("[a\nx = 1\n", ":1: not 'key = value' nor '[section]': '[a'");
    assert_refused("\xEF\xBB\xBF\n  [a ; ]\n", ":2: not 'key = value' nor '[section]': '[a ; ]'");
    assert_refused("[a]\n01234567890123456789012345678901234567890123456789012345678901234567890\n",
                   ":2: not 'key = value' nor '[section]': "
                   "'012345678901234567890123456789012345678901234567890123456789'");
    assert_refused("[a]\n = 1\n", ":2: value without a key");
}

static void test_ini_reports_the_first_of_several_errors(void **state)
{
    (void)state;
    assert_refused("[a]\nx = 1\nno entry\nx = 2\n",
                   ":3: not 'key = value' nor '[section]': 'no entry'");
    assert_refused("[a]\nx = 1\nx = 2\nno entry\n", ":3: [a] x: given twice, first at line 2");
}

static void test_ini_reports_sections_that_inih_would_change(void **state)
{
    struct ini ini;
    char text[128];
    char name[51];

    (void)state;
    assert_refused("x = 1\n[]\n", ":1: key 'x' stands before the first [section]");
    assert_refused("[]\nx = 1\n", ":1: section without a name");
    assert_refused("[a]\n[b] x = 1\n", ":2: text after '[b]': 'x = 1'");
    memset(name, 's', 50);
    name[50] = '\0';
    (void)snprintf(text, sizeof text, "[%s]\nx = 1\n", name);
    assert_refused(text, ":1: section name of 50 bytes, at most 49");
    name[49] = '\0';
    (void)snprintf(text, sizeof text, "[%s] # fine\nx = 1\n", name);
    read_text(&ini, text);
    assert_value(&ini, name, "x", 2, "1");
    ini_release(&ini);
}

static void test_ini_reports_key_before_any_section(void **state)
{
    (void)state;
    assert_refused("# c\nx = 1\n[a]\n", ":2: key 'x' stands before the first [section]");
}

static void test_ini_reports_keys_that_are_indented_alike(void **state)
{
    struct ini ini;

    (void)state;
    assert_refused("[a]\n  x = 1\n  y = 2\n",
                   ":3: indented like the key 'x' above it: a key starts in the first column, an "
                   "indented line continues a value");
    read_text(&ini, "[a]\n  x = 1\n    2\n[b]\n  y = 3\n");
    assert_value(&ini, "a", "x", 2, "1 2");
    assert_value(&ini, "b", "y", 5, "3");
    ini_release(&ini);
}

/* "[a]\n", then `before`, then as many x as make that line n bytes long. */
static char *long_line(const char *before, size_t n)
{
    struct str s = {0};

    str_addf(&s, "[a]\n%s", before);
    while (s.len < n + 4) {
        str_add(&s, "x");
    }
    str_add(&s, "\r\n");
    assert_int_equal(str_check(&s), 0);
    char *text = mem_strdup(str_text(&s));
    assert_non_null(text);
    str_release(&s);
    return text;
}

static void test_ini_reports_a_line_that_inih_would_cut(void **state)
{
    struct ini ini;

    (void)state;
    char *text = long_line("key=", LINE_BYTES_MAX);
    read_text(&ini, text);
    assert_int_equal(strlen(ini_find(&ini, "a", "key")->value), LINE_BYTES_MAX - 4);
    ini_release(&ini);
    mem_free(text);
    text = long_line("key=", LINE_BYTES_MAX + 1);
    assert_refused(text, ":2: line of 200 bytes, at most 199; continue a long value on an indented "
                         "line");
    mem_free(text);
    text = long_line("", 100000);
    assert_refused(text, ":2: line of 100000 bytes, at most 199; continue a long value on an "
                         "indented line");
    mem_free(text);
    text = long_line("  # ", 100000); /* but nobody misses the end of a comment */
    read_text(&ini, text);
    assert_int_equal(ini.n, 0);
    ini_release(&ini);
    mem_free(text);
}

static void test_ini_takes_a_long_value_on_many_lines(void **state)
{
    struct ini ini;
    struct str s = {0};

    (void)state;
    str_add(&s, "[a]\nlist =\n");
    for (int i = 0; i < 50000; i++) {
        str_add(&s, " 123456789,\n");
    }
    read_text(&ini, str_text(&s));
    assert_int_equal(strlen(ini_find(&ini, "a", "list")->value), 500000);
    ini_release(&ini);
    str_release(&s);
}

static void test_ini_reports_files_that_are_no_text(void **state)
{
    struct str s = {0};

    (void)state;
    assert_refused_bytes("[a]\nx = 1\ny = \0\n", 15, ":3: NUL byte: this is no UTF-8 text");
    for (int i = 0; i < 1024 * 1024 + 1; i++) {
        str_add(&s, "\n");
    }
    assert_refused(str_text(&s), ": file is larger than 1048576 bytes, the most that is read");
    str_clear(&s);
    str_add(&s, "[a]\n");
    for (int i = 0; i <= 10000; i++) {
        str_addf(&s, "k%d=\n", i);
    }
    assert_refused(str_text(&s), ":10002: more than 10000 keys");
    str_release(&s);
}

static void test_ini_reports_a_file_that_is_not_there(void **state)
{
    struct ini ini;

    (void)state;
    assert_int_equal(ini_read(&ini, "/nowhere/f.ini"), HCSMOE_EIO);
    assert_string_equal(fail_message(), "/nowhere/f.ini: cannot open: No such file or directory");
    assert_null(ini.path);
}

static void test_ini_set_replaces_and_adds(void **state)
{
    struct ini ini;

    (void)state;
    read_text(&ini, "[group]\nlinkage = average\n");
    assert_string_equal(ini_where(&ini, &ini.values[0]) + strlen(folder),
                        "/f.ini:2: [group] linkage");
    assert_int_equal(ini_set(&ini, "group.linkage=single"), 0);
    assert_int_equal(ini_set(&ini, "group.hierarchical.linkage = a=b.c "), 0);
    assert_int_equal(ini_set(&ini, "run.seed="), 0);
    assert_int_equal(ini_set(&ini, "run.seed=7"), 0);
    assert_int_equal(ini.n, 3);
    assert_value(&ini, "group", "linkage", 0, "single");
    assert_value(&ini, "group", "hierarchical.linkage", 0, "a=b.c");
    assert_value(&ini, "run", "seed", 0, "7");
    assert_true(ini.values[0].overridden);
    assert_true(ini.values[2].overridden);
    assert_string_equal(ini_where(&ini, &ini.values[0]), "-s group.linkage");
    ini_release(&ini);
}

static void test_ini_set_works_without_a_file(void **state)
{
    struct ini ini = {0};

    (void)state;
    assert_int_equal(ini_set(&ini, "a.b=c"), 0);
    assert_value(&ini, "a", "b", 0, "c");
    ini_release(&ini);
}

static void test_ini_set_refuses_what_is_no_assignment(void **state)
{
    static const char *const wrong[] = {"", "a", "a.b", "a=b", "a=b.c", ".b=c", "a.=c", " . =c"};
    struct ini ini = {0};

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char expected[100];
        (void)snprintf(expected, sizeof expected, "-s '%s': not section.key=value", wrong[i]);
        assert_int_equal(ini_set(&ini, wrong[i]), HCSMOE_EINVAL);
        assert_string_equal(fail_message(), expected);
    }
    assert_int_equal(ini.n, 0);
    ini_release(&ini);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ini_reads_sections_keys_and_lines),
        cmocka_unit_test(test_ini_joins_indented_lines),
        cmocka_unit_test(test_ini_merges_sections_of_the_same_name),
        cmocka_unit_test(test_ini_accepts_a_byte_order_mark_and_nothing_at_all),
        cmocka_unit_test(test_ini_reports_line_of_duplicate_key),
        cmocka_unit_test(test_ini_reports_line_that_is_no_entry),
        cmocka_unit_test(test_ini_reports_the_first_of_several_errors),
        cmocka_unit_test(test_ini_reports_sections_that_inih_would_change),
        cmocka_unit_test(test_ini_reports_key_before_any_section),
        cmocka_unit_test(test_ini_reports_keys_that_are_indented_alike),
        cmocka_unit_test(test_ini_reports_a_line_that_inih_would_cut),
        cmocka_unit_test(test_ini_takes_a_long_value_on_many_lines),
        cmocka_unit_test(test_ini_reports_files_that_are_no_text),
        cmocka_unit_test(test_ini_reports_a_file_that_is_not_there),
        cmocka_unit_test(test_ini_set_replaces_and_adds),
        cmocka_unit_test(test_ini_set_works_without_a_file),
        cmocka_unit_test(test_ini_set_refuses_what_is_no_assignment),
    };

    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
