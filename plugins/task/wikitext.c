/*
 * wikitext.c - task wikitext: articles of WikiText-2, turned into plain text again and scored.
 *
 * The steps and their order are the common harness's, oddities included: its perplexities depend on
 * them.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include <hcsmoe/record.h>
#include <hcsmoe/task.h>

/* A text that only shrinks. */
struct text {
    char *bytes;
    size_t n;
};

/* Every `from` becomes `to`, which is no longer, from left to right. */
static void replace(struct text *t, const char *from, const char *to)
{
    const size_t n_from = strlen(from);
    const size_t n_to = strlen(to);
    size_t end = 0;
    for (size_t at = 0; at < t->n;) {
        if (t->bytes[at] == from[0] && t->n - at >= n_from &&
            memcmp(t->bytes + at, from, n_from) == 0) {
            memcpy(t->bytes + end, to, n_to);
            end += n_to;
            at += n_from;
        } else {
            t->bytes[end++] = t->bytes[at++];
        }
    }
    t->n = end;
}

/* The white space just inside a pair goes; a pair ends at the nearest closing character. */
static void tighten(struct text *t, char open, char close)
{
    size_t end = 0;
    for (size_t at = 0; at < t->n;) {
        t->bytes[end++] = t->bytes[at];
        if (t->bytes[at++] != open)
            continue;
        const char *closing = memchr(t->bytes + at, close, t->n - at);
        if (!closing) {
            memmove(t->bytes + end, t->bytes + at, t->n - at);
            end += t->n - at;
            break;
        }
        size_t n = (size_t)(closing - (t->bytes + at));
        const size_t next = at + n + 1;
        const size_t before = hcsmoe_space_before(t->bytes + at, n);
        n -= before;
        n -= hcsmoe_space_behind(t->bytes + at + before, n);
        memmove(t->bytes + end, t->bytes + at + before, n);
        end += n;
        t->bytes[end++] = close;
        at = next;
    }
    t->n = end;
}

/* "/' 7/" becomes the literal "/'[0-9]/": a pattern that was meant otherwise, and the one step
 * that makes text longer. */
static void lengthen(const struct text *from, struct text *to)
{
    static const char literal[] = "/'[0-9]/";
    for (size_t at = 0; at < from->n;) {
        const char *s = from->bytes + at;
        if (from->n - at >= 5 && memcmp(s, "/' ", 3) == 0 && s[3] >= '0' && s[3] <= '9' &&
            s[4] == '/') {
            memcpy(to->bytes + to->n, literal, sizeof literal - 1);
            to->n += sizeof literal - 1;
            at += 5;
        } else {
            to->bytes[to->n++] = *s;
            at++;
        }
    }
}

static hcsmoe_status detokenize(const hcsmoe_host *h, const char *page, const char **text)
{
    static const char *const first[][2] = {{" @-@ ", "-"}, {" @,@ ", ","}, {" @.@ ", "."},
                                           {" : ", ": "},  {" ; ", "; "},  {" . ", ". "},
                                           {" ! ", "! "},  {" ? ", "? "},  {" , ", ", "}};
    static const char pairs[][2] = {{'(', ')'}, {'[', ']'}, {'{', '}'}, {'"', '"'}, {'\'', '\''}};
    static const char *const last[][2] = {{"= = = =", "===="}, {"= = =", "==="}, {"= =", "=="},
                                          {" ° ", "°"},        {" \n", "\n"},    {"\n ", "\n"},
                                          {" N ", " 1 "},      {" 's", "'s"}};
    struct text from = {.n = strlen(page)};
    struct text t = {.bytes = h->scratch(h, 2 * from.n + 1)};
    from.bytes = h->scratch(h, from.n + 1);
    if (!from.bytes || !t.bytes)
        return HCSMOE_ENOMEM;
    memcpy(from.bytes, page, from.n);
    replace(&from, "s '", "s'");
    lengthen(&from, &t);
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++)
        replace(&t, first[i][0], first[i][1]);
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        tighten(&t, pairs[i][0], pairs[i][1]);
    for (size_t i = 0; i < sizeof last / sizeof last[0]; i++)
        replace(&t, last[i][0], last[i][1]);
    t.bytes[t.n] = '\0';
    *text = t.bytes;
    return HCSMOE_OK;
}

/* Words and bytes are those of the page as it is stored, so that perplexities of other
 * tokenisations compare. */
static hcsmoe_status wikitext_format(void *self, const hcsmoe_host *h, const hcsmoe_json *record,
                                     hcsmoe_task_doc *doc)
{
    const char *page = NULL;
    (void)self;
    hcsmoe_status status = hcsmoe_record_text(h, record, "page", &page);
    if (status)
        return status;
    const size_t n = strlen(page);
    doc->n_bytes = (int64_t)n;
    doc->n_words = hcsmoe_words(page, n);
    return detokenize(h, page, &doc->text);
}

static const char *const splits[] = {"test", "validation", NULL};

static const hcsmoe_task_spec spec = {
    .struct_size = sizeof spec,
    .type = HCSMOE_TASK_ROLLING,
    .alias = "wikitext",
    .version = "2",
    .file = "wikitext",
    .splits = splits,
};

static const hcsmoe_task_ops ops = {
    .struct_size = sizeof ops,
    .spec = &spec,
    .format = wikitext_format,
};

static const hcsmoe_component wikitext = {
    .struct_size = sizeof wikitext,
    .kind = HCSMOE_KIND_TASK,
    .name = "wikitext",
    .summary = "WikiText-2: perplexity of whole articles",
    .ops = &ops,
    .caps = HCSMOE_CAP_DETERMINISTIC,
};

HCSMOE_PLUGIN("hcsmoe.task.wikitext", "1.0", "MIT", &wikitext)
