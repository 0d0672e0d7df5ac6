#!/bin/sh
# statistics.sh - a run reads what an earlier one observed, and gives the bytes that it would have given by itself.
# SPDX-License-Identifier: MIT
. "$SRC/tests/e2e/common.sh"
write_ini "$work/run.ini" "$SRC/config/data/tiny-mixtral" "$work/out"
kept=$work/out/hcsmoe/statistics.safetensors

# Another grouping or merge in the same folder: nothing is calibrated, unless the method looks at tokens itself.
equal() { # plan settings...
    plan=$1
    shift
    run -c "$work/run.ini" "$@" -s "output.output_path=$work/fresh"
    expect_status 0
    run -c "$work/run.ini" "$@" -s "output.output_path=$work/again" -s "calibration.statistics=$kept"
    expect_status 0
    expect_error "read from $kept"
    grep -q "$plan" "$work/stderr" || die "$*: no '$plan' in the plan: $(cat "$work/stderr")"
    for file in model.safetensors config.json; do
        cmp "$work/fresh/$file" "$work/again/$file" || die "$*: other $file from statistics"
    done
    rm -rf "$work/fresh" "$work/again"
}

run -c "$work/run.ini"
expect_status 0
equal '1 pass, 0 FLOP' -s group.linkage=ward
equal '1 pass, 0 FLOP' -s group.num_average_groups=6 -s group.cluster=kmeans -s merge.merge=slerp
equal '1 pass, 0 FLOP' -s group.dominant=frequency
equal 'calibrate 4 x 256 tokens' -s merge.merge=zipit
run -c "$work/run.ini" -s group.linkage=single -s output.overwrite=yes
expect_status 0
expect_error "read from $kept"

# A component's own states are read back as well.
run -c "$work/run.ini" -s group.dominant=frequency -s group.overlap_metric=wasserstein -s "output.output_path=$work/own"
expect_status 0
cp "$work/own/model.safetensors" "$work/first"
run -c "$work/run.ini" -s group.dominant=frequency -s group.overlap_metric=wasserstein -s "output.output_path=$work/own" \
    -s output.overwrite=yes
expect_status 0
expect_error 'read from'
cmp "$work/first" "$work/own/model.safetensors" || die "other weights from a component's states"
run -c "$work/run.ini" -s group.dominant=frequency -s group.overlap_metric=kl-divergence -s "output.output_path=$work/own" \
    -s output.overwrite=yes
expect_status 0
expect_error "holds nothing of 'layer.0.expert-output.kl_divergence': calibrating anew"

# What the file lacks is calibrated; what it is not about is refused where it was named, and said where it lay about.
run -c "$work/run.ini" -s group.similarity_base=router-logits -s "calibration.statistics=$kept" -s "output.output_path=$work/x"
expect_status 0
expect_error "holds nothing of 'layer.0.router_gram': calibrating anew"
run -c "$work/run.ini" -s calibration.n_sentences=3 -s "calibration.statistics=$kept" -s "output.output_path=$work/y"
expect_status 2
expect_error 'made with another model, other text or another usage_top_k'
run -c "$work/run.ini" -s calibration.usage_top_k=1 -s "calibration.statistics=$kept" -s "output.output_path=$work/y"
expect_status 2
expect_error 'another usage_top_k'
run -c "$work/run.ini" -s calibration.n_sentences=3 -s output.overwrite=yes
expect_status 0
expect_error 'is not used: made with another model'
head -c 3000 "$kept" >"$work/short"
run -c "$work/run.ini" -s "calibration.statistics=$work/short" -s "output.output_path=$work/y"
expect_status 2
expect_error "$work/short"
run -c "$work/run.ini" -s "calibration.statistics=$work/nowhere" -s "output.output_path=$work/y"
expect_status 2
expect_error "$work/nowhere"
run -c "$work/run.ini" -s "calibration.statistics=$work/out/model.safetensors" -s "output.output_path=$work/y"
expect_status 2
expect_error 'not a statistics file of hcsmoe'
[ ! -e "$work/y" ] || die "a refused run left an output folder"
