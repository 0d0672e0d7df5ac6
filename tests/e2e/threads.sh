#!/bin/sh
# threads.sh - the same bytes for any number of threads and any batch size, of merged weights, statistics and answers.
# SPDX-License-Identifier: MIT
. "$SRC/tests/e2e/common.sh"
printf '%s\n' '{"tokens": [1, 450, 1021, 77, 300, 1999, 12, 13, 900]}' '{"tokens": [1, 450, 1021, 78]}' >"$work/requests"

for model in "$SRC/config/data/tiny-mixtral" "$SRC/tests/golden/models/tiny-qwen2-moe"; do
    rm -rf "$work/first"
    write_ini "$work/run.ini" "$model" "$work/first"
    run -c "$work/run.ini"
    expect_status 0
    "$HCSMOE" score -m "$work/first" -s run.threads=2 <"$work/requests" >"$work/answers"
    for settings in "1 2" "2 1" "1 5" "8 4"; do
        threads=${settings% *}
        batch=${settings#* }
        run -c "$work/run.ini" -s "output.output_path=$work/other" -s "run.threads=$threads" \
            -s "calibration.train_batch_size=$batch"
        expect_status 0
        for file in model.safetensors hcsmoe/statistics.safetensors; do
            cmp "$work/first/$file" "$work/other/$file" || die "$model, $threads threads, batch $batch: other $file"
        done
        "$HCSMOE" score -m "$work/other" -s "run.threads=$threads" <"$work/requests" >"$work/other-answers"
        cmp "$work/answers" "$work/other-answers" || die "$model, $threads threads: other answers"
        rm -rf "$work/other"
    done
done
