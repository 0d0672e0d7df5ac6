#!/bin/sh
# bench_run.sh - a calibrating run end to end against the BLAS's own rate, and its peak memory against the bound.
#
# usage: bench_run.sh BUILD_FOLDER [HIDDEN FFN EXPERTS LAYERS BLOCKS BLOCK_SIZE]
# THREADS (2), RUNS (3), LEAST (0.70), MARGIN_MB (400), DTYPE (f32) come from the environment.
# Exit status 1 when the ratio or the memory falls short. README.md says what is counted.
# SPDX-License-Identifier: MIT
set -eu
build=$(cd "$1" && pwd)
source=$(cd "$(dirname "$0")/../.." && pwd)
hidden=${2:-1024}
ffn=${3:-3584}
experts=${4:-8}
layers=${5:-4}
blocks=${6:-16}
block=${7:-512}
threads=${THREADS:-2}
runs=${RUNS:-3}
tokens=$((blocks * block))
export OMP_NUM_THREADS="$threads" OPENBLAS_NUM_THREADS="$threads"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

bytes=$("$build/tests/bench/make_checkpoint" "$source/config/data/tiny-mixtral" "$work/model" \
    "$hidden" "$ffn" "$experts" "$layers")
cat >"$work/run.ini" <<EOF
[model]
model_name = $work/model
[calibration]
data = $source/config/data/c4.first300.jsonl.gz
n_sentences = $blocks
block_size = $block
[group]
num_average_groups = $((experts / 2))
similarity_base = expert-output
cluster = hierarchical
linkage = average
[merge]
merge = freq
[output]
output_path = $work/out
result_path = $work/result.txt
[run]
threads = $threads
dtype = ${DTYPE:-f32}
quality_tokens = 0
EOF

# The BLAS is measured between the runs, so that both see the same machine.
run=0
while [ "$run" -lt "$runs" ]; do
    "$build/tests/bench/sgemm_rate" $((tokens * 2 / experts)) "$ffn" "$hidden" 4 >>"$work/sgemm"
    "$build/tests/bench/sgemm_rate" "$tokens" "$ffn" "$hidden" 4 >>"$work/sgemm"
    rm -rf "$work/out"
    "$build/tests/bench/measure" "$work/runs" "$build/bin/hcsmoe" -q -c "$work/run.ini" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        exit 1
    }
    run=$((run + 1))
done

awk -v d="$hidden" -v f="$ffn" -v e="$experts" -v layers="$layers" -v tokens="$tokens" -v block="$block" \
    -v bytes="$bytes" -v least="${LEAST:-0.70}" -v margin="${MARGIN_MB:-400}" -v threads="$threads" \
    -v runs_file="$work/runs" -v sgemm_file="$work/sgemm" '
    BEGIN {
        while ((getline line < sgemm_file) > 0) if (line + 0 > sgemm) sgemm = line + 0
        while ((getline line < runs_file) > 0) {
            split(line, x, " ")
            if (!seconds || x[1] < seconds) seconds = x[1] + 0
            if (x[2] + 0 > peak) peak = x[2] + 0
        }
        # Least work: gate and up of all experts, down of the two routed ones, attention causal.
        heads = int(d / 128); kv = int(heads / 4); if (kv < 1) kv = 1
        head = d / heads; expert = 2 * d * f
        per_token = e * 2 * expert + 2 * expert + 2 * d * (2 * heads * head + 2 * kv * head) + 2 * heads * head * block + 2 * d * e
        rate = layers * tokens * per_token / seconds
        bound = 2 * bytes / layers + 3 * 4 * tokens * d + margin * 1e6
        printf "checkpoint %.0f MB: hidden %d, ffn %d, %d experts, %d layers; %d tokens, %d threads\n", bytes / 1e6, d, f, e, layers, tokens, threads
        printf "end to end %.2f s, %.1f GF/s = %.2f of sgemm'\''s %.1f GF/s (least %.2f)\n", seconds, rate / 1e9, rate / sgemm, sgemm / 1e9, least
        printf "peak memory %.0f MB (most %.0f: two layers, hidden states, %d MB)\n", peak / 1e6, bound / 1e6, margin
        exit !(rate / sgemm >= least && peak <= bound)
    }'
