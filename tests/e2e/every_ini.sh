#!/bin/sh
# every_ini.sh - every INI of config/table and config/ablation runs as it is on a small checkpoint of its family.
# SPDX-License-Identifier: MIT
. "$SRC/tests/e2e/common.sh"
# 150 runs are long under sanitizers, and once is enough of all compilers.
step=1
case ${SANITIZE:-OFF} in
OFF | '') ;;
*) step=9 ;;
esac
case ${CC:-cc} in
*clang*) step=9 ;;
*) ;;
esac

mixtral=$SRC/config/data/tiny-mixtral
qwen=$SRC/tests/golden/models/tiny-qwen2-moe
n=0
for ini in "$SRC"/config/table/*.ini "$SRC"/config/ablation/*.ini "$SRC"/config/mixtral_*.ini "$SRC"/config/qwen_*.ini; do
    n=$((n + 1))
    [ $((n % step)) -eq 0 ] || continue
    set -- -s "calibration.data=$SRC/config/data/c4.first300.jsonl.gz" -s calibration.n_sentences=2 \
        -s calibration.block_size=96 -s "eval.data=$SRC/config/data/eval" -s eval.task=winogrande -s eval.limit=2 \
        -s "output.output_path=$work/out" -s "output.result_path=$work/results.txt" -s run.quality_tokens=64
    # The small Qwen has 16 experts: as many as are kept of 60.
    case ${ini##*/} in
    mixtral*) set -- "$@" -s "model.model_name=$mixtral" ;;
    qwen-45*) set -- "$@" -s "model.model_name=$qwen" -s group.num_average_groups=12 ;;
    qwen*) set -- "$@" -s "model.model_name=$qwen" -s group.num_average_groups=8 ;;
    *) die "$ini: of which family?" ;;
    esac
    # A table's first row merges nothing and takes no [group] key.
    case ${ini##*/} in
    *-original.ini) set -- "$@" -s merge.merge=no ;;
    *) ;;
    esac
    rm -rf "$work/out"
    run -q -c "$ini" "$@"
    [ "$status" -eq 0 ] || die "$ini: exit status $status: $(cat "$work/stderr")"
    ! grep -q 'has no effect' "$work/stderr" || die "$ini: $(cat "$work/stderr")"
    expect_text "$work/stdout" winogrande
done
[ "$n" -ge 150 ] || die "only $n files"
