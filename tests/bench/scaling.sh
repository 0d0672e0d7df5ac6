#!/bin/sh
# scaling.sh - time of a calibrating run against tokens, layers, experts and threads: a table, and a plot as SVG.
#
# usage: scaling.sh BUILD_FOLDER [PLOT.svg]
# HIDDEN (512), FFN (1792), RUNS (3: the best of each counts) come from the environment. README.md says what to expect.
# SPDX-License-Identifier: MIT
set -eu
build=$(cd "$1" && pwd)
source=$(cd "$(dirname "$0")/../.." && pwd)
plot=${2:-}
hidden=${HIDDEN:-512}
ffn=${FFN:-1792}
runs=${RUNS:-3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

# One point: what varies, its value, and the seconds of the best run.
point() { # axis value blocks layers experts threads
    model=$work/model-$4-$5
    [ -d "$model" ] || "$build/tests/bench/make_checkpoint" "$source/config/data/tiny-mixtral" "$model" "$hidden" "$ffn" \
        "$5" "$4" >"$work/log"
    cat >"$work/run.ini" <<EOF
[model]
model_name = $model
[calibration]
data = $source/config/data/c4.first300.jsonl.gz
n_sentences = $3
block_size = 512
[group]
num_average_groups = $(($5 / 2))
similarity_base = expert-output
cluster = hierarchical
linkage = average
[merge]
merge = freq
[output]
output_path = $work/out
[run]
threads = $6
quality_tokens = 0
EOF
    rm -f "$work/runs"
    run=0
    while [ "$run" -lt "$runs" ]; do
        rm -rf "$work/out"
        OMP_NUM_THREADS=$6 "$build/tests/bench/measure" "$work/runs" "$build/bin/hcsmoe" -q -c "$work/run.ini" \
            >"$work/log" 2>&1 || {
            cat "$work/log" >&2
            exit 1
        }
        run=$((run + 1))
    done
    awk -v axis="$1" -v value="$2" '!best || $1 < best { best = $1 + 0 } END { print axis, value, best }' "$work/runs" |
        tee -a "$work/points"
}

echo "hidden $hidden, ffn $ffn; 4096 tokens, 4 layers, 8 experts, 1 thread where nothing else is said; seconds"
for blocks in 4 8 16 32; do point tokens $((blocks * 512)) "$blocks" 4 8 1; done
for layers in 2 4 8; do point layers "$layers" 8 "$layers" 8 1; done
for experts in 4 8 16; do point experts "$experts" 8 4 "$experts" 1; done
for threads in $(seq 1 "$(nproc)"); do point threads "$threads" 8 4 8 "$threads"; done

# Exponents: time ~ value^exponent between the ends; of threads the gain over one.
awk '
    { n[$1]++; x[$1, n[$1]] = $2; y[$1, n[$1]] = $3; if (n[$1] == 1) order[++axes] = $1 }
    END {
        for (i = 1; i <= axes; i++) {
            a = order[i]
            if (n[a] < 2) continue
            gain = y[a, 1] / y[a, n[a]]
            if (a == "threads") printf "%d threads are %.2f times as fast as 1\n", x[a, n[a]], gain
            else printf "time grows with %s to the power of %.2f\n", a, -log(gain) / log(x[a, n[a]] / x[a, 1])
        }
    }' "$work/points"

[ -n "$plot" ] || exit 0
# A panel for each axis, both scales logarithmic, and a dashed line through the first point: what linear would be.
awk '
    { n[$1]++; x[$1, n[$1]] = $2; y[$1, n[$1]] = $3; if (n[$1] == 1) order[++axes] = $1
      if (!low || $3 < low) low = $3; if ($3 > high) high = $3 }
    function px(i, v, a) { return 60 + 240 * (i - 1) + 160 * (log(v) - log(x[a, 1])) / (log(x[a, n[a]]) - log(x[a, 1]) + 1e-9) }
    function py(v) { return 240 - 200 * (log(v) - log(low) + 0.2) / (log(high) - log(low) + 0.4) }
    END {
        printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d 290\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\n", 240 * axes + 20
        printf "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
        for (i = 1; i <= axes; i++) {
            a = order[i]
            left = 60 + 240 * (i - 1)
            printf "<text x=\"%d\" y=\"20\" font-weight=\"bold\">seconds against %s</text>\n", left - 20, a
            printf "<path d=\"M%d 30V250H%d\" fill=\"none\" stroke=\"#999\"/>\n", left - 20, left + 180
            ideal = a == "threads" ? y[a, 1] * x[a, 1] / x[a, n[a]] : y[a, 1] * x[a, n[a]] / x[a, 1]
            printf "<path d=\"M%.1f %.1fL%.1f %.1f\" stroke=\"#bbb\" stroke-dasharray=\"4 3\"/>\n", px(i, x[a, 1], a), py(y[a, 1]), px(i, x[a, n[a]], a), py(ideal)
            line = ""
            for (j = 1; j <= n[a]; j++) {
                at = sprintf("%.1f %.1f", px(i, x[a, j], a), py(y[a, j]))
                line = line (j == 1 ? "M" : "L") at
                split(at, p, " ")
                printf "<circle cx=\"%s\" cy=\"%s\" r=\"4\" fill=\"#2a6f97\"/><text x=\"%s\" y=\"%.1f\" text-anchor=\"middle\">%.2f</text>\n", p[1], p[2], p[1], p[2] - 9, y[a, j]
                printf "<text x=\"%s\" y=\"266\" text-anchor=\"middle\">%s</text>\n", p[1], x[a, j]
            }
            printf "<path d=\"%s\" fill=\"none\" stroke=\"#2a6f97\" stroke-width=\"2\"/>\n", line
        }
        print "</svg>"
    }' "$work/points" >"$plot"
echo "plot: $plot"
