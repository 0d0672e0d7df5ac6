#!/bin/sh
# merge_methods.sh - every merge method from end to end: the same bytes on two threads, tokens only where they are needed.
# SPDX-License-Identifier: MIT
. "$SRC/tests/e2e/common.sh"
write_ini "$work/run.ini" "$SRC/config/data/tiny-mixtral" "$work/unused"

# The settings of a method, each as an argument of -s, and what the plan must say about tokens.
try() { # statistics settings...
    statistics=$1
    shift
    run check -c "$work/run.ini" "$@"
    expect_status 0
    grep -q "^statistics .*$statistics" "$work/stdout" || die "$*: no $statistics in the plan: $(cat "$work/stdout")"
    for threads in 1 2; do
        run -c "$work/run.ini" "$@" -s run.quality_tokens=0 -s "run.threads=$threads" -s "output.output_path=$work/$threads"
        expect_status 0
    done
    cmp "$work/1/model.safetensors" "$work/2/model.safetensors" || die "$*: other bytes on two threads"
    size=$(wc -c <"$work/1/model.safetensors")
    [ "$size" -lt 4000000 ] || die "$*: $size bytes are no smaller"
    mv "$work/1/model.safetensors" "$work/merged"
    rm -rf "$work/1" "$work/2"
}

try weights -s merge.merge=mean
cp "$work/merged" "$work/mean"
try weights -s merge.merge=weighted -s merge.mode=2,2
cmp "$work/mean" "$work/merged" || die "weights 2,2 are not the mean"
try usage -s merge.merge=slerp
try usage -s merge.merge=ties
try weights -s merge.merge=ties -s merge.weights=equal -s merge.density=0.5
try layer_input -s merge.merge=zipit -s merge.mode=all -s merge.ingredient=act+weight -s merge.data_limit=200
try weights -s merge.merge=zipit -s merge.ingredient=weight
try layer_input -s merge.merge=fix-dom-same -s merge.mode=input-weight
try routing_score -s merge.merge=prune -s merge.score=routing-score
try layer_input -s merge.merge=prune -s merge.score=output-norm

# A pruned model has the kept experts' own bytes and denies the others.
run -c "$work/run.ini" -s merge.merge=prune -s "output.output_path=$work/pruned"
expect_status 0
run inspect "$work/pruned"
expect_status 0
printf '{"tokens": [1, 450, 1021, 77, 300, 1999, 12, 13, 900]}\n' >"$work/requests"
"$HCSMOE" score -m "$work/pruned" <"$work/requests" >"$work/answers" || die "a pruned model does not run"

run check -c "$work/run.ini" -s merge.merge=weighted
expect_status 2
expect_error "merge/weighted needs the option 'mode'"
run check -c "$work/run.ini" -s merge.merge=zipit -s merge.data_limit=1
expect_status 2
expect_error "data_limit = 1: must be 0 (no limit) or at least 2"
run check -c "$work/run.ini" -s merge.merge=zipit -s merge.ingredient=weight -s merge.data_limit=100
expect_status 0
expect_error "merge.data_limit = 100 has no effect"

