/*
 * hellaswag.c - task hellaswag: which of four endings follows.
 *
 * Letter case follows Unicode's full mappings; utf8proc has the simple ones, the few that differ
 * are below.
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include <hcsmoe/record.h>
#include <hcsmoe/task.h>

enum {
    GROWTH_MAX = 3, /* bytes per byte at most: U+0390, of two, has a title of three letters */
    SIGMA = 0x3a3,
    SIGMA_SMALL = 0x3c3,
    SIGMA_FINAL = 0x3c2,
    I_DOTTED = 0x130, /* its small letter is i and a dot above */
    DOT_ABOVE = 0x307
};

/* Title case of one character that is several: SpecialCasing.txt of Unicode, the part without
 * conditions. */
static const struct title {
    int32_t from, to[3];
} titles[] = {
    /* clang-format off */
    {0x00df, {0x0053, 0x0073}}, {0x0149, {0x02bc, 0x004e}}, {0x01f0, {0x004a, 0x030c}},
    {0x0390, {0x0399, 0x0308, 0x0301}}, {0x03b0, {0x03a5, 0x0308, 0x0301}},
    {0x0587, {0x0535, 0x0582}}, {0x1e96, {0x0048, 0x0331}}, {0x1e97, {0x0054, 0x0308}},
    {0x1e98, {0x0057, 0x030a}}, {0x1e99, {0x0059, 0x030a}}, {0x1e9a, {0x0041, 0x02be}},
    {0x1f50, {0x03a5, 0x0313}}, {0x1f52, {0x03a5, 0x0313, 0x0300}},
    {0x1f54, {0x03a5, 0x0313, 0x0301}}, {0x1f56, {0x03a5, 0x0313, 0x0342}},
    {0x1fb2, {0x1fba, 0x0345}}, {0x1fb4, {0x0386, 0x0345}}, {0x1fb6, {0x0391, 0x0342}},
    {0x1fb7, {0x0391, 0x0342, 0x0345}}, {0x1fc2, {0x1fca, 0x0345}}, {0x1fc4, {0x0389, 0x0345}},
    {0x1fc6, {0x0397, 0x0342}}, {0x1fc7, {0x0397, 0x0342, 0x0345}},
    {0x1fd2, {0x0399, 0x0308, 0x0300}}, {0x1fd3, {0x0399, 0x0308, 0x0301}},
    {0x1fd6, {0x0399, 0x0342}}, {0x1fd7, {0x0399, 0x0308, 0x0342}},
    {0x1fe2, {0x03a5, 0x0308, 0x0300}}, {0x1fe3, {0x03a5, 0x0308, 0x0301}},
    {0x1fe4, {0x03a1, 0x0313}}, {0x1fe6, {0x03a5, 0x0342}}, {0x1fe7, {0x03a5, 0x0308, 0x0342}},
    {0x1ff2, {0x1ffa, 0x0345}}, {0x1ff4, {0x038f, 0x0345}}, {0x1ff6, {0x03a9, 0x0342}},
    {0x1ff7, {0x03a9, 0x0342, 0x0345}}, {0xfb00, {0x0046, 0x0066}}, {0xfb01, {0x0046, 0x0069}},
    {0xfb02, {0x0046, 0x006c}}, {0xfb03, {0x0046, 0x0066, 0x0069}},
    {0xfb04, {0x0046, 0x0066, 0x006c}}, {0xfb05, {0x0053, 0x0074}}, {0xfb06, {0x0053, 0x0074}},
    {0xfb13, {0x0544, 0x0576}}, {0xfb14, {0x0544, 0x0565}}, {0xfb15, {0x0544, 0x056b}},
    {0xfb16, {0x054e, 0x0576}}, {0xfb17, {0x0544, 0x056d}},
    /* clang-format on */
};

/* Text that is read and text that is written behind it. */
struct text {
    char *bytes;
    size_t n;
};

static void put(struct text *t, int32_t c)
{
    t->n += (size_t)utf8proc_encode_char(c, (utf8proc_uint8_t *)t->bytes + t->n);
}

/* The character at s and its length; JSON strings are valid UTF-8. */
static int32_t get(const char *s, size_t n, size_t *step)
{
    utf8proc_int32_t c = 0;
    const utf8proc_ssize_t got =
        utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &c);
    *step = got > 0 ? (size_t)got : 1;
    return got > 0 ? c : 0xfffd;
}

static void put_title(struct text *t, int32_t c)
{
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++) {
        if (titles[i].from != c)
            continue;
        for (int k = 0; k < 3 && titles[i].to[k]; k++)
            put(t, titles[i].to[k]);
        return;
    }
    put(t, utf8proc_totitle(c));
}

/* Unicode's Case_Ignorable: marks, and what may stand inside a word. */
static int is_ignorable(int32_t c)
{
    static const int32_t inside[] = {0x27,   0x2e,   0x3a,   0xb7,   0x387,  0x55f,
                                     0x5f4,  0x2018, 0x2019, 0x2024, 0x2027, 0xfe13,
                                     0xfe52, 0xfe55, 0xff07, 0xff0e, 0xff1a};
    for (size_t i = 0; i < sizeof inside / sizeof inside[0]; i++)
        if (c == inside[i])
            return 1;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
        return 1;
    default:
        return 0;
    }
}

/* Unicode's Cased, of characters that are not ignorable. */
static int is_cased(int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
        return 1;
    default:
        return c == 0xaa || c == 0xba || (c >= 0x2160 && c <= 0x217f) ||
               (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
               (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
    }
}

/* Whether a letter with case comes next, over characters that do not count. */
static int cased_follows(const char *s, size_t n)
{
    size_t step = 0;
    for (size_t at = 0; at < n; at += step) {
        const int32_t c = get(s + at, n - at, &step);
        if (!is_ignorable(c))
            return is_cased(c);
    }
    return 0;
}

/* First character to title case, all others to lower case. to has room for GROWTH_MAX times n. */
static void capitalize(const char *s, size_t n, struct text *to)
{
    int cased_before = 0; /* the last character that counts is a cased letter */
    size_t step = 0;
    for (size_t at = 0; at < n; at += step) {
        const int32_t c = get(s + at, n - at, &step);
        if (at == 0) {
            put_title(to, c);
        } else if (c == SIGMA) {
            const int final = cased_before && !cased_follows(s + at + step, n - at - step);
            put(to, final ? SIGMA_FINAL : SIGMA_SMALL);
        } else if (c == I_DOTTED) {
            put(to, 'i');
            put(to, DOT_ABOVE);
        } else {
            put(to, utf8proc_tolower(c));
        }
        if (!is_ignorable(c))
            cased_before = is_cased(c);
    }
}

/* Everything from '[' to the nearest ']' of the same line goes. */
static void drop_brackets(struct text *t)
{
    size_t to = 0;
    /* No ']' follows before this place: without it, many '[' would cost n squared. */
    size_t bare = 0;
    for (size_t at = 0; at < t->n;) {
        if (t->bytes[at] == '[' && at >= bare) {
            size_t end = at + 1;
            while (end < t->n && t->bytes[end] != ']' && t->bytes[end] != '\n')
                end++;
            if (end < t->n && t->bytes[end] == ']') {
                at = end + 1;
                continue;
            }
            bare = end;
        }
        t->bytes[to++] = t->bytes[at++];
    }
    t->n = to;
}

/* Every `from` becomes `to`, which is no longer, in one pass. */
static void replace(struct text *t, const char *from, const char *to)
{
    const size_t n_from = strlen(from);
    const size_t n_to = strlen(to);
    size_t end = 0;
    for (size_t at = 0; at < t->n;) {
        if (t->n - at >= n_from && memcmp(t->bytes + at, from, n_from) == 0) {
            memcpy(t->bytes + end, to, n_to);
            end += n_to;
            at += n_from;
        } else {
            t->bytes[end++] = t->bytes[at++];
        }
    }
    t->n = end;
}

/* What WikiHow's mark-up leaves behind goes. There is no second strip: spaces at the ends may come
 * back. */
static void clean(struct text *t)
{
    const size_t before = hcsmoe_space_before(t->bytes, t->n);
    t->n -= before;
    memmove(t->bytes, t->bytes + before, t->n);
    t->n -= hcsmoe_space_behind(t->bytes, t->n);
    replace(t, " [title]", ". ");
    drop_brackets(t);
    replace(t, "  ", " ");
    t->bytes[t->n] = '\0';
}

static hcsmoe_status query_of(const hcsmoe_host *h, const hcsmoe_json *record, const char **query)
{
    const char *label = NULL;
    const char *a = NULL;
    const char *b = NULL;
    hcsmoe_status status = hcsmoe_record_text(h, record, "activity_label", &label);
    if (!status)
        status = hcsmoe_record_text(h, record, "ctx_a", &a);
    if (!status)
        status = hcsmoe_record_text(h, record, "ctx_b", &b);
    if (status)
        return status;
    const size_t n_label = strlen(label);
    const size_t n_a = strlen(a);
    const size_t n_b = strlen(b);
    struct text t = {.bytes = h->scratch(h, n_label + 2 + n_a + 1 + GROWTH_MAX * n_b + 1)};
    if (!t.bytes)
        return HCSMOE_ENOMEM;
    memcpy(t.bytes, label, n_label);
    memcpy(t.bytes + n_label, ": ", 2);
    memcpy(t.bytes + n_label + 2, a, n_a);
    t.bytes[n_label + 2 + n_a] = ' ';
    t.n = n_label + 2 + n_a + 1;
    capitalize(b, n_b, &t);
    clean(&t);
    *query = t.bytes;
    return HCSMOE_OK;
}

static hcsmoe_status endings_of(const hcsmoe_host *h, const hcsmoe_json *record,
                                hcsmoe_task_doc *doc)
{
    const char *const *endings = NULL;
    hcsmoe_status status = hcsmoe_record_texts(h, record, "endings", &endings, &doc->n_choices);
    if (status)
        return status;
    const char **cleaned = h->scratch(h, (size_t)doc->n_choices * sizeof *cleaned);
    if (!cleaned)
        return HCSMOE_ENOMEM;
    for (int64_t i = 0; i < doc->n_choices; i++) {
        struct text t = {.n = strlen(endings[i])};
        t.bytes = h->scratch(h, t.n + 1);
        if (!t.bytes)
            return HCSMOE_ENOMEM;
        memcpy(t.bytes, endings[i], t.n);
        clean(&t);
        cleaned[i] = t.bytes;
    }
    doc->choices = cleaned;
    return HCSMOE_OK;
}

/* The label is a number written as text. */
static hcsmoe_status gold_of(const hcsmoe_host *h, const hcsmoe_json *record, int64_t *gold)
{
    const hcsmoe_json *label = h->json->get(record, "label");
    const char *text = h->json->string(label, NULL);
    char *end = NULL;
    if (!text)
        return hcsmoe_record_integer(h, record, "label", gold);
    *gold = strtol(text, &end, 10);
    if (end == text || *end != '\0')
        return hcsmoe_failf(h, HCSMOE_EINVAL, "member 'label' is '%s', which is no number", text);
    return HCSMOE_OK;
}

static hcsmoe_status hellaswag_format(void *self, const hcsmoe_host *h, const hcsmoe_json *record,
                                      hcsmoe_task_doc *doc)
{
    (void)self;
    hcsmoe_status status = query_of(h, record, &doc->question);
    if (!status)
        status = endings_of(h, record, doc);
    if (!status)
        status = gold_of(h, record, &doc->gold);
    if (!status && doc->gold >= 0 && doc->gold < doc->n_choices)
        doc->answer = doc->choices[doc->gold];
    return status;
}

static const char *const splits[] = {"validation", NULL};

static const hcsmoe_task_spec spec = {
    .struct_size = sizeof spec,
    .type = HCSMOE_TASK_CHOICE,
    .alias = "hellaswag",
    .version = "1",
    .file = "hellaswag",
    .splits = splits,
    .fewshot_split = "train",
    .metrics = HCSMOE_METRIC_ACC | HCSMOE_METRIC_ACC_NORM,
    .fewshot = HCSMOE_FEWSHOT_DRAW_SPARE,
};

static const hcsmoe_task_ops ops = {
    .struct_size = sizeof ops,
    .spec = &spec,
    .format = hellaswag_format,
};

static const hcsmoe_component hellaswag = {
    .struct_size = sizeof hellaswag,
    .kind = HCSMOE_KIND_TASK,
    .name = "hellaswag",
    .summary = "HellaSwag: how a scene goes on",
    .ops = &ops,
    .caps = HCSMOE_CAP_DETERMINISTIC,
};

HCSMOE_PLUGIN("hcsmoe.task.hellaswag", "1.0", "MIT", &hellaswag)
