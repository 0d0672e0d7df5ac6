# report_large.awk - a report.json as a run of 60 experts in 24 layers would leave it: average linkage on made-up features.
# usage: awk -v layers=24 -v experts=60 -v groups=30 -f report_large.awk
# SPDX-License-Identifier: MIT
function random() { # the same on every machine
    seed = (seed * 16807) % 2147483647
    return seed / 2147483647
}
function list(name, values, n,    i, text) {
    text = "\"" name "\": ["
    for (i = 0; i < n; i++) text = text (i ? ", " : "") values[i]
    return text "]"
}
function distance(a, b,    k, sum) {
    sum = 0
    for (k = 0; k < 4; k++) sum += (feature[a, k] - feature[b, k]) ^ 2
    return sqrt(sum)
}
function features(    e, k) {
    for (e = 0; e < experts; e++)
        for (k = 0; k < 4; k++) feature[e, k] = 3 * int(random() * 4) + random() * 2
}
# Sum of the distances between the members of two clusters lies in d; average linkage divides by their number.
function joins(    e, i, j, a, b, least, next_least, x, n, text, step) {
    for (e = 0; e < experts; e++) { size[e] = 1; label[e] = e }
    for (step = 0; step < experts - 1; step++) {
        least = next_least = 1e30
        for (i = 0; i < experts; i++) if (size[i]) for (j = i + 1; j < experts; j++) if (size[j]) {
            x = d[i, j] / (size[i] * size[j])
            if (x < least) { next_least = least; least = x; a = i; b = j }
            else if (x < next_least) next_least = x
        }
        for (i = 0; i < experts; i++) if (size[i] && i != a && i != b) {
            d[a, i] = d[i, a] = d[a, i] + d[b, i]
        }
        size[a] += size[b]; size[b] = 0
        if (step < experts - groups) for (e = 0; e < experts; e++) if (label[e] == b) label[e] = a
        text = text (step ? ", " : "") sprintf("{\"a\": %d, \"b\": %d, \"height\": %.9f, \"gap\": ", a, b, least) \
            (step < experts - 2 ? sprintf("%.6f", (next_least - least) / least) : "null") "}"
        if (step < experts - groups && (next_least - least) / least < 1e-3)
            warnings = warnings (warnings ? ", " : "") sprintf("\"near tie: joining %d and %d at %.6g was ahead of the next pair by %.2g\"", \
                a, b, least, (next_least - least) / least)
    }
    return "\"merges\": [" text "]"
}
function layer(l,    e, j, n, total, next_label) {
    features()
    n = 0
    for (e = 0; e < experts; e++) for (j = e + 1; j < experts; j++) {
        d[e, j] = d[j, e] = sprintf("%.6g", distance(e, j)) + 0
        pairs[n++] = d[e, j]
    }
    warnings = ""
    tree = joins()
    next_label = 0
    split("", renumbered)
    total = 0
    for (e = 0; e < experts; e++) {
        if (!(label[e] in renumbered)) renumbered[label[e]] = next_label++
        labels[e] = renumbered[label[e]]
        counts[e] = int(1000 * random() ^ 3) + 1
        total += counts[e]
    }
    for (e = 0; e < experts; e++) usage[e] = sprintf("%.12f", counts[e] / total)
    printf "%s{\"layer\": %d, %s, %s, %s, %s, %s, \"output_error\": %.9f, \"warnings\": [%s]}\n", l ? "," : "", l, \
        list("groups", labels, experts), list("usage", usage, experts), list("usage_counts", counts, experts), tree, \
        list("distances", pairs, n), 0.04 + 0.3 * random() * (l + 4) / layers, warnings
}
BEGIN {
    seed = 42
    print "{\"format\": 1, \"version\": \"0.1.0\", \"config\": {\"group\": {\"cluster\": \"hierarchical\", \"linkage\": \"average\","
    print "\"similarity_base\": \"expert-output\"}, \"merge\": {\"merge\": \"freq\"}},"
    print "\"model\": {\"name\": \"Made-up-MoE-A2.7B\", \"family\": \"qwen2_moe\", \"layers\": " layers ", \"experts\": " experts ","
    print "\"top_k\": 4, \"parameters\": 14315784192, \"bytes\": 28631568384}, \"result\": {\"parameters\": 8700000000,"
    print "\"bytes\": 17400000000, \"experts_per_layer\": [" groups "]},"
    print "\"calibration\": {\"data\": \"c4.json.gz\", \"documents\": 140, \"tokens\": 65536, \"sha256\": \"" sprintf("%064d", 7) "\"},"
    print "\"time_s\": {\"total\": 912.4, \"read\": 41.5, \"calibrate\": 640.1, \"merge\": 31.0, \"write\": 22.7, \"eval\": 214.2},"
    print "\"memory\": {\"peak_rss_bytes\": 5100000000, \"planned_bytes\": 5600000000}, \"layers\": ["
    for (l = 0; l < layers; l++) layer(l)
    print "]}"
}
