/*
 * test_tokenizer_json.c - the tokenizer.json files that are refused, and what is said about them.
 * SPDX-License-Identifier: MIT
 */
#include "tokenizer_test.h"

static void expect_refusal(const struct file *f, const char *message)
{
    struct tokenizer *t = NULL;

    write_tokenizer(f);
    assert_true(tokenizer_open(&t, folder) < 0);
    assert_null(t);
    if (!strstr(fail_message(), message)) {
        print_error("want: %s\ngot: %s\n", message, fail_message());
        assert_true(false);
    }
    assert_non_null(strstr(fail_message(), "tokenizer.json"));
}

static void test_unknown_components_are_refused_by_name_and_path(void **state)
{
    (void)state;
    const struct file cases[] = {
        {.pre = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\"},{\"type\":\"Foo\"}"
                "]}"},
        {.normalizer = "{\"type\":\"Nmt\"}"},
        {.decoder = "{\"type\":\"CTC\"}"},
        {.post = "{\"type\":\"BertProcessing\"}"},
        {.model = "{\"type\":\"Unigram\",\"vocab\":[]}"},
    };
    static const char *const messages[] = {
        "pre_tokenizer.pretokenizers[1]: type 'Foo' is not supported (",
        "tokenizer.json: normalizer: type 'Nmt' is not supported (supported: NFC, NFD, ",
        "tokenizer.json: decoder: type 'CTC' is not supported (supported: Replace, ",
        "tokenizer.json: post_processor: type 'BertProcessing' is not supported (supported: ",
        "tokenizer.json: model: type 'Unigram' is not supported (supported: BPE)",
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_refusal(&cases[i], messages[i]);
    }
}

static void test_wrong_vocabulary_and_merges_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *model, *message;
    } cases[] = {
        {.model = "{\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}",
         .message = "model.merges[0]: 'aa' is not in model.vocab"},
        {.model = "{\"vocab\":{\"a\":0},\"merges\":[\"a\"]}",
         .message = "model.merges[0]: has to be \"a b\" or [\"a\", \"b\"]"},
        {.model = "{\"vocab\":{\"a\":0},\"merges\":[[\"a\",1]]}",
         .message = "model.merges[0]: has to be \"a b\" or [\"a\", \"b\"]"},
        {.model = "{\"vocab\":{\"a\":0,\"aa\":1},\"merges\":[\"a a\",\"a a\"]}",
         .message = "model.merges[1]: 'a' and 'a' are merged by an earlier line already"},
        {.model = "{\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}",
         .message = "model.vocab: id 0 belongs to 'a' and to 'b'"},
        {.model = "{\"vocab\":{\"a\":-1},\"merges\":[]}",
         .message = "model.vocab: the id of 'a' has to be a whole number from 0 to 1048575"},
        {.model = "{\"vocab\":{\"a\":99999999},\"merges\":[]}",
         .message = "the id of 'a' has to be a whole number from 0 to 1048575"},
        {.model = "{\"vocab\":{\"a\":1.5},\"merges\":[]}", .message = "the id of 'a' has to be"},
        {.model = "{\"vocab\":{},\"merges\":[]}", .message = "model.vocab: is empty"},
        {.model = "{\"vocab\":{\"a\":0}}", .message = "model.type: is missing"},
        {.model = "{\"type\":\"BPE\",\"vocab\":[],\"merges\":[]}",
         .message = "model.vocab: has to be an object"},
        {.model = "{\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.1}",
         .message = "model.dropout: only null"},
        {.model = "{\"vocab\":{\"a\":0},\"merges\":[],\"fuse_unk\":1}",
         .message = "model.fuse_unk: has to be true or false"},
        {.model = "{\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}", .message = "tokenizer.json:6:"},
        {.model = "{\"vocab\":{\"a\":0},\n\"merges\":[}", .message = "tokenizer.json:7:11: "},
        {.model = "[]", .message = "model: has to be an object"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct file f = {.model = cases[i].model};
        expect_refusal(&f, cases[i].message);
    }
}

static void test_wrong_added_tokens_and_templates_are_refused(void **state)
{
    (void)state;
    const struct file added[] = {
        {.added = "[{\"id\":1,\"content\":\"<t>\"}]"},
        {.added = "[{\"id\":9,\"content\":\"a\"}]"},
        {.added = "[{\"id\":9,\"content\":\"<t>\"},{\"id\":8,\"content\":\"<t>\"}]"},
        {.added = "[{\"id\":9,\"content\":\"<t>\",\"lstrip\":\"no\"}]"},
        {.added = "[{\"id\":9}]"},
        {.added = "{}"},
        {.post =
             "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"A\"}}]}"},
        {.post = "{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"B\"}}]}"},
        {.post = "{\"type\":\"TemplateProcessing\",\"single\":[]}"},
        {.post = "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"A\"}}],"
                 "\"special_tokens\":{\"A\":{\"ids\":[77]}}}"},
    };
    static const char *const messages[] = {
        "added_tokens[0]: id 1 belongs to 'b' and to '<t>'",
        "added_tokens[0]: 'a' has id 9 here and 0 in model.vocab",
        "added_tokens: '<t>' is there twice",
        "added_tokens[0].lstrip: has to be true or false",
        "added_tokens[0].content: is missing",
        "added_tokens: has to be an array",
        "post_processor.special_tokens: there are no ids of 'A'",
        "post_processor.single[0]: has to be a SpecialToken or the Sequence 'A'",
        "post_processor.single: the Sequence 'A' has to be there once, not 0 times",
        "post_processor.special_tokens: id 77 of 'A' is no token",
    };
    for (size_t i = 0; i < sizeof added / sizeof added[0]; i++) {
        expect_refusal(&added[i], messages[i]);
    }
}

static void test_wrong_steps_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *pre, *message;
    } cases[] = {
        {.pre = SPLIT("(a"),
         .message = "pre_tokenizer: regex '(a' is wrong: missing closing parenthesis"},
        {.pre = SPLIT("[a&&b]"), .message = "an intersection of sets (&&) is not supported"},
        {.pre = SPLIT("[a[b]]"), .message = "a set inside a set"},
        {.pre = SPLIT("a{1,3}+"), .message = "{n,m}+ is not supported"},
        {.pre = SPLIT("[\\\\W]"), .message = "inside [...] is not supported"},
        {.pre = SPLIT(""), .message = "pre_tokenizer: the pattern is empty"},
        {.pre = "{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},\"behavior\":\"Foo\"}",
         .message = "pre_tokenizer.behavior: 'Foo' is not known (known: Isolated, Removed, "},
        {.pre = "{\"type\":\"Split\"}", .message = "pre_tokenizer.pattern: has to be an object"},
        {.pre = "{\"type\":\"Metaspace\",\"prepend_scheme\":\"sometimes\"}",
         .message = "pre_tokenizer.prepend_scheme: 'sometimes' is not known (known: always, first, "
                    "never)"},
        {.pre = "{\"type\":\"Metaspace\",\"prepend_scheme\":\"first\",\"add_prefix_space\":false}",
         .message = "add_prefix_space false contradicts prepend_scheme 'first'"},
        {.pre = "{\"type\":\"Sequence\"}",
         .message = "pre_tokenizer.pretokenizers: has to be an array"},
        {.pre = "{}", .message = "pre_tokenizer.type: is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct file f = {.pre = cases[i].pre};
        expect_refusal(&f, cases[i].message);
    }
}

static void test_missing_file_is_named(void **state)
{
    struct tokenizer *t;
    (void)state;
    assert_int_equal(tokenizer_open(&t, "/nowhere/at/all"), HCSMOE_EIO);
    assert_non_null(strstr(fail_message(), "/nowhere/at/all/tokenizer.json"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unknown_components_are_refused_by_name_and_path),
        cmocka_unit_test(test_wrong_vocabulary_and_merges_are_refused),
        cmocka_unit_test(test_wrong_added_tokens_and_templates_are_refused),
        cmocka_unit_test(test_wrong_steps_are_refused),
        cmocka_unit_test(test_missing_file_is_named),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
