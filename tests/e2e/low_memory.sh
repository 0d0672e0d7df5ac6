#!/bin/sh
# low_memory.sh - a checkpoint larger than the address space that the process may have is merged all the same.
# SPDX-License-Identifier: MIT
. "$SRC/tests/e2e/common.sh"
# OpenBLAS reserves 128 MB a thread, libraries and stacks some 300 MB more, whatever the model: that part is not what is tested.
limit_kb=900000
case $SANITIZE in
OFF | "") ;;
*) skip "sanitizers reserve more address space than the limit" ;;
esac
# The input and half of it again as output.
free_kb=$(df -Pk "$work" | awk 'NR == 2 { print $4 }')
[ "$free_kb" -gt 2000000 ] || skip "less than 2 GB free in $work"

bytes=$("$BUILD/tests/bench/make_checkpoint" "$SRC/config/data/tiny-mixtral" "$work/model" 512 1536 8 28)
[ "$bytes" -gt $((limit_kb * 1024)) ] || die "the checkpoint has only $bytes bytes"
write_ini "$work/run.ini" "$work/model" "$work/out"

# An allocation that fails inside OpenBLAS is tried again for ever, so this ends by the clock. Every thread of glibc's allocator reserves 64 MB that it may never use: one arena keeps the limit meaningful.
export MALLOC_ARENA_MAX=1 OMP_NUM_THREADS=2
# shellcheck disable=SC3045 # dash and bash have it
ulimit -v "$limit_kb"
# Few tokens: the weights are what has to pass through, not the text.
run -c "$work/run.ini" -s run.quality_tokens=0 -s calibration.n_sentences=2 -s calibration.block_size=64
expect_status 0
expect_file "$work/out/hcsmoe/report.json"
