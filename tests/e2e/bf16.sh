#!/bin/sh
# bf16.sh - dtype = bf16: the same bytes for any number of threads, close to f32, with and without instructions for it.
# SPDX-License-Identifier: MIT
. "$SRC/tests/e2e/common.sh"
model=$SRC/config/data/tiny-mixtral
write_ini "$work/run.ini" "$model" "$work/f32"
cat >>"$work/run.ini" <<EOF
[eval]
task = perplexity
text = $SRC/config/data/wiki.test.first3.raw
text_tokens = 1000
EOF
perplexity() { # folder
    sed -n 's/.*"token_perplexity[^"]*": *\([0-9.]*\).*/\1/p' "$1/hcsmoe/report.json" | head -n 1
}
# The named run gives the bytes of the other one.
same() { # folder folder
    for file in model.safetensors hcsmoe/statistics.safetensors; do
        cmp "$work/$1/$file" "$work/$2/$file" || die "$1 and $2: other $file"
    done
    [ "$(perplexity "$work/$1")" = "$(perplexity "$work/$2")" ] || die "$1 and $2: other perplexity"
}
bf16() { # folder settings...
    folder=$work/$1
    shift
    run -c "$work/run.ini" -s "output.output_path=$folder" -s run.dtype=bf16 "$@"
    expect_status 0
}

run -c "$work/run.ini"
expect_status 0

# Without instructions: by the device's name, and when oneDNN is told that there are none.
bf16 rounded -s run.device=cpu-bf16 -s run.threads=1
expect_error "operands are rounded and multiplied in float32: no faster than f32"
bf16 rounded-2 -s run.device=cpu-bf16 -s run.threads=2
same rounded rounded-2
export ONEDNN_MAX_CPU_ISA=AVX2
bf16 fallback -s run.device=cpu
unset ONEDNN_MAX_CPU_ISA
expect_error "no faster than f32"
if [ -e "$BUILD/lib/hcsmoe/plugins-0/hcsmoe-kernels-cpu-onednn-bf16.so" ]; then
    expect_error "cannot run here: kernels/cpu-onednn-bf16: oneDNN finds neither AVX512-BF16 nor AMX"
fi
same rounded fallback

# By whatever is best here. LeakSanitizer itself crashes where a second thread has used AMX.
[ "$SANITIZE" = OFF ] || export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"
bf16 best -s run.threads=1
bf16 best-2 -s run.threads=2
same best best-2

# Close to float32, but not it: the statistics see the rounding.
f32=$(perplexity "$work/f32")
[ -n "$f32" ] || die "no perplexity in the report"
for folder in rounded best; do
    awk -v a="$f32" -v b="$(perplexity "$work/$folder")" 'BEGIN { exit !(b > a * 0.99 && b < a * 1.01) }' ||
        die "$folder: perplexity $(perplexity "$work/$folder"), in float32 $f32"
    if cmp -s "$work/f32/hcsmoe/statistics.safetensors" "$work/$folder/hcsmoe/statistics.safetensors"; then
        die "$folder: the statistics are those of float32"
    fi
done

# A device that rounds is not for f32.
run -c "$work/run.ini" -s "output.output_path=$work/none" -s run.device=cpu-bf16
expect_status 2
expect_error "run.device = cpu-bf16: does bf16, and [run] dtype is f32: set dtype = bf16, or device = cpu"
