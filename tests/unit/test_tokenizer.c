/*
 * test_tokenizer.c - ids of real tokenizers, and every stage by itself.
 * SPDX-License-Identifier: MIT
 */
#include <pthread.h>

#include <jansson.h>

#include "tokenizer_test.h"

enum { JSON_MAX = 64 * 1024 * 1024, N_VECTORS = 624, N_THREADS = 4 };

/* tests/golden/tokenizers/name/file, unpacked, as file without .gz in our folder. */
static void bring(const char *name, const char *file, const char *as)
{
    char path[512];
    char *text;
    size_t n;

    (void)snprintf(path, sizeof path, "%s/tokenizers/%s/%s", TEST_DATA, name, file);
    assert_int_equal(path_read_text(path, JSON_MAX, &text, &n), 0);
    write_file(as, text, n);
    mem_free(text);
}

static struct tokenizer *open_real(const char *name, bool config, bool map)
{
    struct tokenizer *t;

    forget("tokenizer_config.json");
    forget("special_tokens_map.json");
    bring(name, "tokenizer.json.gz", "tokenizer.json");
    if (config) {
        bring(name, "tokenizer_config.json", "tokenizer_config.json");
    }
    if (map) {
        bring(name, "special_tokens_map.json", "special_tokens_map.json");
    }
    if (tokenizer_open(&t, folder) != 0) {
        print_error("%s\n", fail_message());
        assert_true(false);
    }
    return t;
}

static void expect_ids(const struct token_ids *got, const json_t *want, const char *text)
{
    bool same = got->n == json_array_size(want);
    for (size_t i = 0; i < got->n && same; i++) {
        same = got->ids[i] == json_integer_value(json_array_get(want, i));
    }
    if (!same) {
        print_error("other ids for: %s\n", text);
    }
    assert_true(same);
}

static void check_vector(const struct tokenizer *t, const json_t *vector)
{
    const json_t *text = json_object_get(vector, "text");
    const char *bytes = json_string_value(text);
    struct token_ids ids = {0};
    char *decoded;

    assert_int_equal(tokenizer_encode(t, bytes, json_string_length(text), true, &ids), 0);
    expect_ids(&ids, json_object_get(vector, "ids_special"), bytes);
    ids.n = 0;
    assert_int_equal(tokenizer_encode(t, bytes, json_string_length(text), false, &ids), 0);
    expect_ids(&ids, json_object_get(vector, "ids"), bytes);
    assert_int_equal(tokenizer_decode(t, ids.ids, ids.n, &decoded), 0);
    assert_string_equal(decoded, json_string_value(json_object_get(vector, "decoded")));
    mem_free(decoded);
    token_ids_release(&ids);
}

static void check_vectors(const struct tokenizer *t, const char *name)
{
    struct lines *lines;
    char path[512];
    char *line;
    size_t n;
    int count = 0;

    (void)snprintf(path, sizeof path, "%s/tokenizers/%s/vectors.jsonl", TEST_DATA, name);
    assert_int_equal(lines_open(&lines, path), 0);
    while (lines_next(lines, &line, &n) > 0) {
        json_t *vector = json_loadb(line, n, JSON_ALLOW_NUL, NULL);
        assert_non_null(vector);
        check_vector(t, vector);
        json_decref(vector);
        count++;
    }
    assert_int_equal(count, N_VECTORS);
    lines_close(lines);
}

static void test_mistral_gives_the_ids_of_the_reference_library(void **state)
{
    (void)state;
    struct tokenizer *t = open_real("mistral-v0.1", true, true);
    check_vectors(t, "mistral-v0.1");
    assert_int_equal(tokenizer_size(t), 32000);
    assert_int_equal(tokenizer_bos(t), 1);
    assert_int_equal(tokenizer_eos(t), 2);
    assert_int_equal(tokenizer_max_length(t), 0); /* its file says 1e30 */
    assert_string_equal(tokenizer_text(t, 1), "<s>");
    assert_null(tokenizer_text(t, 32000));
    assert_null(tokenizer_text(t, -1));
    tokenizer_close(t);
}

static void test_mixtral_without_pre_tokenizer_gives_the_ids_of_the_reference_library(void **state)
{
    (void)state;
    struct tokenizer *t = open_real("mixtral-v0.1", false, false);
    check_vectors(t, "mixtral-v0.1");
    assert_int_equal(tokenizer_bos(t), -1);
    assert_int_equal(tokenizer_eos(t), -1);
    tokenizer_close(t);
}

static void test_qwen_gives_the_ids_of_the_reference_library(void **state)
{
    (void)state;
    struct tokenizer *t = open_real("qwen2.5", true, false);
    check_vectors(t, "qwen2.5");
    assert_int_equal(tokenizer_size(t), 151665);
    assert_int_equal(tokenizer_bos(t), -1);
    assert_string_equal(tokenizer_text(t, tokenizer_eos(t)), "<|im_end|>");
    assert_int_equal(tokenizer_max_length(t), 131072);
    tokenizer_close(t);
}

static struct tokenizer *open_small(const struct file *f)
{
    struct tokenizer *t;

    write_tokenizer(f);
    if (tokenizer_open(&t, folder) != 0) {
        print_error("%s\n", fail_message());
        assert_true(false);
    }
    return t;
}

/* want: the tokens with | between them */
static void expect_tokens(const struct file *f, const char *text, const char *want)
{
    struct tokenizer *t = open_small(f);
    struct token_ids ids = {0};
    struct str got = {0};

    assert_int_equal(tokenizer_encode(t, text, strlen(text), true, &ids), 0);
    for (size_t i = 0; i < ids.n; i++) {
        str_addf(&got, "%s%s", i > 0 ? "|" : "", tokenizer_text(t, ids.ids[i]));
    }
    assert_string_equal(str_text(&got), want);
    str_release(&got);
    token_ids_release(&ids);
    tokenizer_close(t);
}

static void test_merges_go_by_rank_and_from_the_left(void **state)
{
    (void)state;
    const struct file f = {0};
    expect_tokens(&f, "abc", "abc");
    expect_tokens(&f, "aabcab", "aa|bc|ab");
    expect_tokens(&f, "aaaaa", "aa|aa|a");
    expect_tokens(&f, "axb", "ab"); /* x has no token, vanishes, and leaves neighbours */
    expect_tokens(&f, "", "");
}

static void test_long_words_merge_as_short_ones(void **state)
{
    (void)state;
    /* Above the length at which words are cut: the ids may not depend on it. */
    const struct file f = {
        .model = "{\"vocab\":{\"?\":0,\"a\":1,\"b\":2,\"ab\":3,\"ba\":4,\"x\":5,\"abab\":6},"
                 "\"unk_token\":\"?\",\"merges\":[\"a b\",\"b a\",\"ab ab\"]}"};
    expect_tokens(&f, "ababxbabaxzab", "abab|x|b|ab|a|x|?|ab");
    struct str text = {0};
    struct str want = {0};
    for (int i = 0; i < 40; i++) {
        str_add(&text, "ababxbabaxzab");
        str_addf(&want, "%sabab|x|b|ab|a|x|?|ab", i > 0 ? "|" : "");
    }
    /* ..ab + abab.. at the seams is one run: abab|ab, not ab|abab */
    char *seam;
    while ((seam = strstr(want.text, "|ab|abab|x")) != NULL) {
        memcpy(seam, "|abab|ab|x", strlen("|abab|ab|x"));
    }
    expect_tokens(&f, text.text, want.text);
    str_release(&text);
    str_release(&want);
}

static void test_split_knows_five_behaviors(void **state)
{
    (void)state;
    static const struct {
        const char *behavior, *invert, *want;
    } cases[] = {
        {.behavior = "Isolated", .invert = "false", .want = "a|-|-|a"},
        {.behavior = "Removed", .invert = "false", .want = "a|a"},
        {.behavior = "Removed", .invert = "true", .want = "-|-"},
        {.behavior = "MergedWithPrevious", .invert = "false", .want = "a-|-|a"},
        {.behavior = "MergedWithNext", .invert = "false", .want = "a|-|-a"},
        {.behavior = "Contiguous", .invert = "false", .want = "a|--|a"},
    };
    static const char *const patterns[] = {"{\"String\":\"-\"}", "{\"Regex\":\"[\\\\-]\"}"};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t k = 0; k < 2; k++) {
            char *pre =
                mem_printf("{\"type\":\"Split\",\"pattern\":%s,\"behavior\":\"%s\",\"invert\":%s}",
                           patterns[k], cases[i].behavior, cases[i].invert);
            const struct file f = {
                .pre = pre,
                .model = WORDS("\"a\":1,\"-\":2,\"--\":3,\"a-\":4,\"-a\":5,\"a--\":6,\"a--a\":7")};
            expect_tokens(&f, "a--a", cases[i].want);
            mem_free(pre);
        }
    }
}

static void test_regex_is_read_as_the_library_reads_it(void **state)
{
    (void)state;
    static const struct {
        const char *regex, *text, *want;
    } cases[] = {
        {.regex = SPLIT("b{,2}$"), .text = "bb\nabb", .want = "bb|\n|a|bb"}, /* $ at every line */
        {.regex = SPLIT("\\\\s+(?!\\\\S)|b"), .text = "a  b", .want = "a| | |b"},
        {.regex = SPLIT("(?i:'s|'t)"), .text = "a'Sa", .want = "a|?|a"},
        {.regex = SPLIT("\\\\p{Han}+"), .text = "a\u4e00\u3001a", .want = "a|\u4e00|\u3001|a"},
        {.regex = SPLIT("\\\\h\\\\h"), .text = "abba", .want = "ab|ba"}, /* hex digits */
        {.regex = SPLIT("(?m:a.)"), .text = "a\na", .want = "a\n|a"}, /* the dot takes line ends */
        {.regex = SPLIT("[[:space:]]"), .text = "a a", .want = "a| |a"},
        {.regex = SPLIT("\\\\u0062"), .text = "aba", .want = "a|b|a"},
        {.regex = SPLIT("(?=b)"), .text = "aabab", .want = "a|a|ba|b"}, /* empty matches cut, too */
        {.regex = SPLIT("\\\\bb"), .text = "ba b", .want = "b|a| |b"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct file f = {
            .pre = cases[i].regex,
            .model = WORDS(
                "\"a\":1,\"b\":2,\"ab\":3,\"\\n\":4,\" \":5,\"bb\":6,\"\u4e00\":7,\"\u3001\":8,"
                "\"\u4e00\u3001\":9,\"a\\n\":10,\"ba\":11")};
        expect_tokens(&f, cases[i].text, cases[i].want);
    }
}

static void test_metaspace_puts_its_mark_where_the_scheme_says(void **state)
{
    (void)state;
    static const struct {
        const char *keys, *text, *want;
    } cases[] = {
        {.keys = "\"prepend_scheme\":\"always\"", .text = "a a<t>a", .want = "_a|_a|<t>|_a"},
        {.keys = "\"prepend_scheme\":\"first\"", .text = "a a<t>a", .want = "_a|_a|<t>|a"},
        {.keys = "\"prepend_scheme\":\"never\"", .text = "a a<t>a", .want = "a|_a|<t>|a"},
        {.keys = "\"add_prefix_space\":true", .text = "a a", .want = "_a|_a"},
        {.keys = "\"add_prefix_space\":false", .text = "a a", .want = "a|_a"},
        {.keys = "\"prepend_scheme\":\"first\",\"split\":false", .text = "a a", .want = "_a_a"},
        {.keys = "\"prepend_scheme\":\"first\"", .text = " a", .want = "_a"},
        {.keys = "\"prepend_scheme\":\"first\"", .text = "<t>a", .want = "<t>|a"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *pre = mem_printf("{\"type\":\"Metaspace\",\"replacement\":\"_\",%s}", cases[i].keys);
        const struct file f = {.pre = pre,
                               .added = "[{\"id\":9,\"content\":\"<t>\",\"special\":true}]",
                               .model = WORDS("\"a\":1,\"_a\":2,\"_a_a\":3,\"_\":4")};
        expect_tokens(&f, cases[i].text, cases[i].want);
        mem_free(pre);
    }
}

static void test_other_pre_tokenizers_cut_as_they_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *pre, *text, *want;
    } cases[] = {
        {.pre = "{\"type\":\"Digits\",\"individual_digits\":true}", .text = "a11", .want = "a|1|1"},
        {.pre = "{\"type\":\"Digits\"}", .text = "a11", .want = "a|11"},
        {.pre = "{\"type\":\"Punctuation\"}", .text = "a-a", .want = "a|-|a"},
        {.pre = "{\"type\":\"WhitespaceSplit\"}", .text = "a \ta-a", .want = "a|a-a"},
        {.pre = "{\"type\":\"Whitespace\"}", .text = "a \ta-a", .want = "a|a|-|a"},
        {.pre = "{\"type\":\"CharDelimiterSplit\",\"delimiter\":\"-\"}",
         .text = "a-a",
         .want = "a|a"},
        {.pre = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\"},{\"type\":"
                "\"Sequence\","
                "\"pretokenizers\":[{\"type\":\"Punctuation\"}]}]}",
         .text = "a-11",
         .want = "a|-|11"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct file f = {.pre = cases[i].pre,
                               .model = WORDS("\"a\":1,\"1\":2,\"11\":3,\"-\":4,\"a-a\":5")};
        expect_tokens(&f, cases[i].text, cases[i].want);
    }
}

static void test_normalizers_change_the_text_before_the_model(void **state)
{
    (void)state;
    static const struct {
        const char *normalizer, *text, *want;
    } cases[] = {
        {.normalizer = "{\"type\":\"NFC\"}", .text = "e\xcc\x81", .want = "\xc3\xa9"},
        {.normalizer = "{\"type\":\"NFD\"}", .text = "\xc3\xa9", .want = "e|\xcc\x81"},
        {.normalizer = "{\"type\":\"NFKC\"}", .text = "\xe2\x91\xa0", .want = "1"},
        {.normalizer = "{\"type\":\"NFKD\"}", .text = "\xef\xac\x81", .want = "f|i"},
        {.normalizer = "{\"type\":\"Lowercase\"}", .text = "FI", .want = "f|i"},
        {.normalizer = "{\"type\":\"Strip\"}", .text = "\t e\xe3\x80\x80", .want = "e"},
        {.normalizer = "{\"type\":\"Prepend\",\"prepend\":\"f\"}", .text = "i", .want = "f|i"},
        {.normalizer = "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"e+\"},\"content\":\"1\"}",
         .text = "eee1",
         .want = "1|1"},
        {.normalizer = "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"},{\"type\":"
                       "\"Replace\",\"pattern\":{\"String\":\"f\"},\"content\":\"\"}]}",
         .text = "Fi",
         .want = "i"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct file f = {
            .normalizer = cases[i].normalizer,
            .model = WORDS("\"e\":1,\"\u00e9\":2,\"\u0301\":3,\"1\":4,\"f\":5,\"i\":6")};
        expect_tokens(&f, cases[i].text, cases[i].want);
    }
}

static void test_combining_marks_are_ordered_quickly(void **state)
{
    (void)state;
    enum { N_MARKS = 20000 };
    const struct file f = {.normalizer = "{\"type\":\"NFD\"}",
                           .model = WORDS("\"\u0327\":1,\"\u0301\":2,\"e\":3")};
    struct tokenizer *t = open_small(&f);
    struct token_ids ids = {0};
    struct str text = {0};

    str_add(&text, "e");
    for (int i = 0; i < N_MARKS; i++) {
        str_add(&text, "\xcc\x81\xcc\xa7");
    }
    assert_int_equal(tokenizer_encode(t, text.text, text.len, false, &ids), 0);
    assert_int_equal(ids.n, 1 + 2 * N_MARKS);
    for (size_t i = 1; i < ids.n; i++) {
        assert_int_equal(ids.ids[i], i <= N_MARKS ? 1 : 2); /* class 202 before class 230 */
    }
    str_release(&text);
    token_ids_release(&ids);
    tokenizer_close(t);
}

static void test_added_tokens_are_cut_out_leftmost_and_longest(void **state)
{
    (void)state;
    static const struct {
        const char *keys, *text, *want;
    } cases[] = {
        {.keys = "\"lstrip\":false", .text = "a <t>> <t>a", .want = "a| |<t>>| |<t>|a"},
        {.keys = "\"lstrip\":true", .text = "a <t> a", .want = "a|<t>| |a"},
        {.keys = "\"rstrip\":true", .text = "a <t> a", .want = "a| |<t>|a"},
        {.keys = "\"single_word\":true", .text = "a<t> <t> <t>a", .want = "a|?| |<t>| |?|a"},
        {.keys = "\"normalized\":true", .text = "a<T>a", .want = "a|<t>|a"},
        {.keys = "\"normalized\":false", .text = "a<T>a", .want = "a|?|a"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *added = mem_printf("[{\"id\":9,\"content\":\"<t>\",\"special\":true,%s},"
                                 "{\"id\":8,\"content\":\"<t>>\",\"special\":true}]",
                                 cases[i].keys);
        const struct file f = {.added = added,
                               .normalizer = "{\"type\":\"Lowercase\"}",
                               .model = WORDS("\"a\":1,\" \":2")};
        expect_tokens(&f, cases[i].text, cases[i].want);
        mem_free(added);
    }
}

static void test_unknown_characters_become_bytes_or_unk(void **state)
{
    (void)state;
    static const struct {
        const char *model, *want;
    } cases[] = {
        {.model = "\"unk_token\":\"?\",\"fuse_unk\":true", .want = "a|?|a"},
        {.model = "\"unk_token\":\"?\",\"fuse_unk\":false", .want = "a|?|?|a"},
        {.model = "\"unk_token\":null", .want = "a|a"},
        {.model = "\"unk_token\":\"?\",\"byte_fallback\":true", .want = "a|<0xC3>|<0xA9>|?|a"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *model = mem_printf("{\"type\":\"BPE\",%s,\"vocab\":{\"?\":0,\"a\":1,\"<0xC3>\":2,"
                                 "\"<0xA9>\":3},\"merges\":[]}",
                                 cases[i].model);
        const struct file f = {.model = model};
        expect_tokens(&f,
                      "a\xc3\xa9\xc3\xaa"
                      "a",
                      cases[i].want);
        mem_free(model);
    }
}

static void test_prefix_and_suffix_belong_to_the_pieces(void **state)
{
    (void)state;
    const struct file prefixed = {
        .model =
            "{\"type\":\"BPE\",\"continuing_subword_prefix\":\"##\",\"vocab\":{\"a\":0,\"##b\":1,"
            "\"ab\":2,\"##c\":3},\"merges\":[\"a ##b\"]}"};
    expect_tokens(&prefixed, "abc", "ab|##c");
    const struct file suffixed = {
        .model =
            "{\"type\":\"BPE\",\"end_of_word_suffix\":\"$\",\"vocab\":{\"a\":0,\"b$\":1,\"ab$\":2},"
            "\"merges\":[\"a b$\"]}"};
    expect_tokens(&suffixed, "aab", "a|ab$");
}

#define TEMPLATE                                                                                   \
    "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"A\",\"type_id\":0}}" \
    ","                                                                                            \
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":{\"id\":\"B\",\"type_id\":0}}]" \
    ","                                                                                            \
    "\"special_tokens\":{\"A\":{\"id\":\"A\",\"ids\":[%d]},\"B\":{\"id\":\"B\",\"ids\":[2,2]}}}"

static void test_post_processor_puts_ids_around_the_text(void **state)
{
    (void)state;
    char *one = mem_printf(TEMPLATE, 1);
    char *other = mem_printf(TEMPLATE, 0);
    char *both = mem_printf(
        "{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},%s,%s]}", one, other);
    const struct file single = {.post = one};
    expect_tokens(&single, "aa", "b|aa|c|c");
    const struct file sequence = {.post = both};
    expect_tokens(&sequence, "aa", "a|b|aa|c|c|c|c");
    mem_free(both);
    mem_free(other);
    mem_free(one);
}

static void test_bytes_that_are_no_utf8_count_as_replacement_characters(void **state)
{
    (void)state;
    const struct file f = {.model =
                               "{\"type\":\"BPE\",\"unk_token\":\"?\",\"vocab\":{\"?\":0,\"a\":1,"
                               "\"\xef\xbf\xbd\":2},\"merges\":[]}"};
    expect_tokens(&f,
                  "a\xff\xfe"
                  "a",
                  "a|\xef\xbf\xbd|\xef\xbf\xbd|a");
    expect_tokens(&f,
                  "a\xe4\xb8"
                  "a",
                  "a|\xef\xbf\xbd|a"); /* cut off: one */
    expect_tokens(&f, "\xed\xa0\x80",
                  "\xef\xbf\xbd|\xef\xbf\xbd|\xef\xbf\xbd"); /* a surrogate: three */
    expect_tokens(&f, "\xf0\x9f\x91", "\xef\xbf\xbd");
}

static void expect_decoded(const char *decoder, const int32_t *ids, size_t n, const char *want)
{
    const struct file f = {
        .decoder = decoder,
        .model = WORDS("\"_a\":1,\"<0xC3>\":2,\"<0xA9>\":3,\"b</w>\":4,\"\u0120a\":5")};
    struct tokenizer *t = open_small(&f);
    char *text;

    assert_int_equal(tokenizer_decode(t, ids, n, &text), 0);
    assert_string_equal(text, want);
    mem_free(text);
    tokenizer_close(t);
}

static void test_decoders_turn_tokens_back_into_text(void **state)
{
    (void)state;
    static const int32_t marked[] = {1, 1};
    static const int32_t bytes[] = {1, 2, 3, 1, 3};
    static const int32_t words[] = {4, 4};
    static const int32_t level[] = {5, 5, 99, -1}; /* what is no id is left out */

    expect_decoded(NULL, marked, 2, "_a _a");
    expect_decoded("{\"type\":\"Metaspace\",\"replacement\":\"_\"}", marked, 2, "a a");
    expect_decoded("{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"never\"}",
                   marked, 2, " a a");
    expect_decoded("{\"type\":\"ByteFallback\"}", bytes, 5, "_a\xc3\xa9_a\xef\xbf\xbd");
    expect_decoded("{\"type\":\"BPEDecoder\"}", words, 2, "b b");
    expect_decoded("{\"type\":\"ByteLevel\"}", level, 4, " a a");
    expect_decoded(
        "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"_\"},"
        "\"content\":\" \"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,"
        "\"stop\":0}]}",
        marked, 2, "a a");
}

static void test_a_megabyte_without_a_space_takes_no_second(void **state)
{
    (void)state;
    enum { N = 1000000 };
    const struct file f = {0};
    struct tokenizer *t = open_small(&f);
    struct token_ids ids = {0};
    char *text = mem_new_raw(N, 1);

    assert_non_null(text);
    memset(text, 'a', N);
    double start = now_s();
    assert_int_equal(tokenizer_encode(t, text, N, false, &ids), 0);
    assert_int_equal(ids.n, N / 2);
    assert_true(now_s() - start <
                10); /* under sanitizers on a busy machine; quadratic would take hours */
    mem_free(text);
    token_ids_release(&ids);
    tokenizer_close(t);
}

struct job {
    const struct tokenizer *t;
    struct token_ids ids;
    int rc;
};

static void *encode_often(void *argument)
{
    static const char text[] = "Two threads  encode \xe4\xb8\xad e\xcc\x81 <s> at once.\n";
    struct job *job = argument;

    for (int i = 0; i < 50 && job->rc == 0; i++) {
        job->rc = tokenizer_encode(job->t, text, strlen(text), true, &job->ids);
    }
    return NULL;
}

static void test_threads_share_one_tokenizer(void **state)
{
    (void)state;
    const struct file f = {.normalizer = "{\"type\":\"NFC\"}",
                           .pre = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}",
                           .model = WORDS("\"\u0120\":1,\"T\":2,\"o\":3,\"\u0120at\":4")};
    struct tokenizer *t = open_small(&f);
    struct job jobs[N_THREADS] = {{0}};
    pthread_t threads[N_THREADS];

    for (int i = 0; i < N_THREADS; i++) {
        jobs[i].t = t;
        assert_int_equal(pthread_create(&threads[i], NULL, encode_often, &jobs[i]), 0);
    }
    for (int i = 0; i < N_THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(jobs[i].rc, 0);
        assert_int_equal(jobs[i].ids.n, jobs[0].ids.n);
        assert_memory_equal(jobs[i].ids.ids, jobs[0].ids.ids, jobs[0].ids.n * sizeof(int32_t));
    }
    for (int i = 0; i < N_THREADS; i++) {
        token_ids_release(&jobs[i].ids);
    }
    tokenizer_close(t);
}

static void test_bos_and_eos_may_come_from_either_config_file(void **state)
{
    (void)state;
    const struct file f = {0};
    struct tokenizer *t;
    static const char config[] = "{\"bos_token\": {\"content\": \"a\"}, \"model_max_length\": 512}";
    static const char map[] = "{\"bos_token\": \"c\", \"eos_token\": \"b\"}";
    static const char odd[] = "{\"bos_token\": \"zz\"}";

    write_tokenizer(&f);
    write_file("tokenizer_config.json", config, strlen(config));
    write_file("special_tokens_map.json", map, strlen(map));
    assert_int_equal(tokenizer_open(&t, folder), 0);
    assert_int_equal(tokenizer_bos(t), 0);
    assert_int_equal(tokenizer_eos(t), 1);
    assert_int_equal(tokenizer_max_length(t), 512);
    tokenizer_close(t);
    forget("special_tokens_map.json");
    write_file("tokenizer_config.json", odd, strlen(odd));
    assert_int_equal(tokenizer_open(&t, folder), 0);
    assert_int_equal(tokenizer_bos(t), -1);
    tokenizer_close(t);
    write_file("tokenizer_config.json", "{\n]", 3);
    assert_true(tokenizer_open(&t, folder) < 0);
    assert_non_null(strstr(fail_message(), "tokenizer_config.json:2:1: "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mistral_gives_the_ids_of_the_reference_library),
        cmocka_unit_test(test_mixtral_without_pre_tokenizer_gives_the_ids_of_the_reference_library),
        cmocka_unit_test(test_qwen_gives_the_ids_of_the_reference_library),
        cmocka_unit_test(test_merges_go_by_rank_and_from_the_left),
        cmocka_unit_test(test_long_words_merge_as_short_ones),
        cmocka_unit_test(test_split_knows_five_behaviors),
        cmocka_unit_test(test_regex_is_read_as_the_library_reads_it),
        cmocka_unit_test(test_metaspace_puts_its_mark_where_the_scheme_says),
        cmocka_unit_test(test_other_pre_tokenizers_cut_as_they_are_named),
        cmocka_unit_test(test_normalizers_change_the_text_before_the_model),
        cmocka_unit_test(test_combining_marks_are_ordered_quickly),
        cmocka_unit_test(test_added_tokens_are_cut_out_leftmost_and_longest),
        cmocka_unit_test(test_unknown_characters_become_bytes_or_unk),
        cmocka_unit_test(test_prefix_and_suffix_belong_to_the_pieces),
        cmocka_unit_test(test_post_processor_puts_ids_around_the_text),
        cmocka_unit_test(test_bytes_that_are_no_utf8_count_as_replacement_characters),
        cmocka_unit_test(test_decoders_turn_tokens_back_into_text),
        cmocka_unit_test(test_a_megabyte_without_a_space_takes_no_second),
        cmocka_unit_test(test_threads_share_one_tokenizer),
        cmocka_unit_test(test_bos_and_eos_may_come_from_either_config_file),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
