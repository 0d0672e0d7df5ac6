#!/bin/sh
# threads.sh - the same bytes for any number of threads and any batch size.
# SPDX-License-Identifier: MIT
. "$SRC/tests/e2e/common.sh"
write_ini "$work/run.ini" "$SRC/config/data/tiny-mixtral" "$work/first"

run -c "$work/run.ini"
expect_status 0
for settings in "1 2" "2 1" "3 4"; do
    threads=${settings% *}
    batch=${settings#* }
    run -c "$work/run.ini" -s "output.output_path=$work/other" -s "run.threads=$threads" \
        -s "calibration.train_batch_size=$batch"
    expect_status 0
    for file in "$work"/first/*.safetensors; do
        cmp "$file" "$work/other/${file##*/}" || die "$threads threads, batch $batch: other bytes"
    done
    rm -rf "$work/other"
done
