/*
 * html_text.c - text and numbers of a page, its frame, and words for what a run did.
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/sha256.h"
#include "run/html_parts.h"
#include "share/share.h"

void html_text(struct str *out, const char *text)
{
    for (const char *p = text; *p;) {
        const size_t n = strcspn(p, "&<>\"'\x01\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11"
                                    "\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f");
        str_add_bytes(out, p, n);
        p += n;
        switch (*p) {
        case '\0':
            return;
        case '&':
            str_add(out, "&amp;");
            break;
        case '<':
            str_add(out, "&lt;");
            break;
        case '>':
            str_add(out, "&gt;");
            break;
        case '"':
            str_add(out, "&quot;");
            break;
        case '\'':
            str_add(out, "&#39;");
            break;
        default:
            str_add(out, "\xef\xbf\xbd"); /* U+FFFD: HTML has no other control characters */
        }
        p++;
    }
}

void html_base64(struct str *out, const void *bytes, size_t n)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = bytes;

    for (size_t i = 0; i < n; i += 3) {
        const size_t rest = n - i;
        const unsigned x = (unsigned)p[i] << 16 | (rest > 1 ? (unsigned)p[i + 1] << 8 : 0) |
                           (rest > 2 ? (unsigned)p[i + 2] : 0);
        const char four[4] = {digit[x >> 18], digit[x >> 12 & 63],
                              rest > 1 ? digit[x >> 6 & 63] : '=', rest > 2 ? digit[x & 63] : '='};
        str_add_bytes(out, four, sizeof four);
    }
}

void html_count(struct str *out, int64_t n)
{
    char digits[32];
    const int length = snprintf(digits, sizeof digits, "%" PRId64, n);

    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0 && digits[i - 1] != '-')
            str_add(out, ",");
        str_add_bytes(out, &digits[i], 1);
    }
}

static void number_add(struct str *out, json_t *x)
{
    if (json_is_integer(x))
        str_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(x));
    else if (json_is_real(x))
        str_add_real(out, json_real_value(x));
    else
        str_add(out, "null");
}

void html_data(struct str *out, const char *name, json_t *value)
{
    json_t *x;
    size_t i;

    if (!value)
        return;
    str_addf(out, " data-%s=\"", name);
    if (!json_is_array(value))
        number_add(out, value);
    json_array_foreach(value, i, x)
    {
        if (i)
            str_add(out, " ");
        number_add(out, x);
    }
    str_add(out, "\"");
}

void html_signed(struct str *out, double x, int decimals, const char *unit)
{
    char text[64];
    (void)snprintf(text, sizeof text, "%.*f", decimals, fabs(x));
    const bool zero = strspn(text, "0.") == strlen(text);
    str_addf(out, "%s%s%s", zero ? "\xc2\xb1" : x < 0 ? "\xe2\x88\x92" : "+", text, unit);
}

void html_number(struct str *out, double x)
{
    enum { DIGITS = 4, DECIMALS_MOST = 6, GROUPED_FROM = 10000 };
    const double size = fabs(x);

    if (size >= GROUPED_FROM && size < 1e15) {
        html_count(out, (int64_t)llround(x));
        return;
    }
    const int ahead = size > 0 ? (int)floor(log10(size)) + 1 : 1;
    if (size > 0 && (ahead <= DIGITS - DECIMALS_MOST - 1 || size >= 1e15))
        str_addf(out, "%.2e", x);
    else
        str_addf(out, "%.*f", ahead < DIGITS ? DIGITS - ahead : 0, x);
}

void html_seconds(struct str *out, double s)
{
    str_addf(out, "%.*f&#8239;s", s >= 100 ? 0 : s >= 10 ? 1 : 2, s);
}

json_t *html_at(json_t *o, const char *path)
{
    for (const char *p = path; o && *p;) {
        char key[64];
        const size_t n = strcspn(p, ".");
        (void)snprintf(key, sizeof key, "%.*s", (int)n, p);
        o = json_object_get(o, key);
        p += n + (p[n] == '.');
    }
    return json_is_null(o) ? NULL : o;
}

int64_t html_int(json_t *o, const char *path)
{
    return json_integer_value(html_at(o, path));
}

double html_real(json_t *o, const char *path)
{
    return json_number_value(html_at(o, path));
}

const char *html_string(json_t *o, const char *path)
{
    const char *s = json_string_value(html_at(o, path));
    return s ? s : "";
}

/* Nothing but the script above may run and nothing may be fetched, whatever the texts hold. */
static void policy_add(struct str *out)
{
    struct sha256 sum;
    char hex[65];
    unsigned char bytes[32];

    sha256_init(&sum);
    sha256_add(&sum, report_js, report_js_size);
    sha256_hex(&sum, hex);
    for (size_t i = 0; i < sizeof bytes; i++) {
        unsigned x = 0;
        (void)sscanf(hex + 2 * i, "%2x", &x);
        bytes[i] = (unsigned char)x;
    }
    str_add(out, "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                 "img-src data:; style-src 'unsafe-inline'; script-src 'sha256-");
    html_base64(out, bytes, sizeof bytes);
    str_add(out, "'\">\n");
}

/* The colours of heat maps are a filter over grey pictures: a table of five colours, dark and
 * light. */
static const char filters[] =
    "<svg class=\"off\" width=\"0\" height=\"0\" aria-hidden=\"true\"><defs>\n"
    "<filter id=\"ramp-light\" color-interpolation-filters=\"sRGB\" x=\"0\" y=\"0\" width=\"1\" "
    "height=\"1\">"
    "<feComponentTransfer><feFuncR type=\"table\" tableValues=\".957 .745 .392 .157 .086\"/>"
    "<feFuncG type=\"table\" tableValues=\".961 .863 .671 .439 .180\"/>"
    "<feFuncB type=\"table\" tableValues=\".949 .816 .667 .569 "
    ".353\"/></feComponentTransfer></filter>\n"
    "<filter id=\"ramp-dark\" color-interpolation-filters=\"sRGB\" x=\"0\" y=\"0\" width=\"1\" "
    "height=\"1\">"
    "<feComponentTransfer><feFuncR type=\"table\" tableValues=\".137 .125 .180 .486 .945\"/>"
    "<feFuncG type=\"table\" tableValues=\".161 .290 .522 .780 .953\"/>"
    "<feFuncB type=\"table\" tableValues=\".188 .388 .576 .639 "
    ".710\"/></feComponentTransfer></filter>\n"
    "<linearGradient id=\"grey\"><stop stop-color=\"#000\"/><stop offset=\"1\" "
    "stop-color=\"#fff\"/>"
    "</linearGradient></defs></svg>\n";

void html_begin(struct str *out, const char *title)
{
    str_add(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    policy_add(out);
    str_add(out, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                 "<meta name=\"color-scheme\" content=\"light dark\">\n<title>");
    html_text(out, title);
    str_add(out, "</title>\n<style>\n");
    str_add_bytes(out, report_css, report_css_size);
    str_add(out, "</style>\n</head>\n<body>\n");
    str_add(out, filters);
    str_add(out, "<main>\n");
}

void html_end(struct str *out)
{
    str_add(out, "</main>\n<script>");
    str_add_bytes(out, report_js, report_js_size);
    str_add(out, "</script>\n</body>\n</html>\n");
}

void html_method(struct str *out, json_t *report)
{
    const char *dominant = html_string(report, "config.group.dominant"),
               *cluster = html_string(report, "config.group.cluster"),
               *linkage = html_string(report, "config.group.linkage"),
               *base = html_string(report, "config.group.similarity_base");
    const bool by_cores = *dominant && strcmp(dominant, "no") != 0;

    html_text(out, html_string(report, "config.merge.merge"));
    if (by_cores || *cluster) {
        str_add(out, "; ");
        html_text(out, by_cores ? dominant : cluster);
    }
    if (*linkage && !by_cores) {
        str_add(out, " (");
        html_text(out, linkage);
        str_add(out, ")");
    }
    if (*base) {
        str_add(out, " on ");
        html_text(out, base);
    }
}

void html_experts(struct str *out, json_t *report)
{
    json_t *x;
    size_t i;
    json_int_t least = INT64_MAX, most = 0;

    json_array_foreach(html_at(report, "result.experts_per_layer"), i, x)
    {
        const json_int_t n = json_integer_value(x);
        least = n < least ? n : least;
        most = n > most ? n : most;
    }
    str_addf(out, "%" PRId64, html_int(report, "model.experts"));
    if (least == html_int(report, "model.experts") && least == most)
        str_add(out, html_int(report, "result.bytes") < html_int(report, "model.bytes")
                         ? ", each narrower"
                         : "");
    else if (most && least == most)
        str_addf(out, " \xe2\x86\x92 %lld", (long long)most);
    else if (most)
        str_addf(out, " \xe2\x86\x92 %lld\xe2\x80\x93%lld", (long long)least, (long long)most);
}

bool html_layers_mean(json_t *report, const char *key, double *mean)
{
    json_t *layer;
    size_t i;
    int64_t n = 0;

    *mean = 0;
    json_array_foreach(html_at(report, "layers"), i, layer)
    {
        json_t *x = html_at(layer, key);
        *mean += json_number_value(x);
        n += x != NULL;
    }
    *mean /= (double)(n ? n : 1);
    return n > 0;
}
