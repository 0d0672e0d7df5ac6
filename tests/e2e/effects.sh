#!/bin/sh
# effects.sh - a key that is set and changes nothing is warned of; one that nobody knows is an error.
# SPDX-License-Identifier: MIT
. "$SRC/tests/e2e/common.sh"
write_ini "$work/run.ini" "$SRC/config/data/tiny-mixtral" "$work/out"

warned() { # text settings...
    text=$1
    shift
    run check -c "$work/run.ini" "$@"
    expect_status 0
    expect_error "$text"
}

run check -c "$work/run.ini"
expect_status 0
! grep -q 'no effect' "$work/stderr" || die "a plain run is warned: $(cat "$work/stderr")"
warned 'linkage = average has no effect: it is an option of hierarchical, which is not chosen' -s group.cluster=kmeans
warned 'group.start = first has no effect: it is an option of kmeans, which is not chosen' -s group.start=first
warned 'group.random_start_center = yes has no effect with kmeans' -s group.cluster=kmeans -s group.start=first \
    -s group.random_start_center=yes
warned 'group.overlap_metric = wasserstein has no effect with expert-output' -s group.overlap_metric=wasserstein
warned 'similarity_base = expert-output has no effect with the chosen methods' -s group.dominant=random
warned 'cluster = hierarchical has no effect with the chosen methods' -s group.dominant=frequency
warned 'group.group_limit = 3 has no effect: it is an option of' -s group.group_limit=3
warned 'merge.partition = 2 has no effect with the chosen methods' -s merge.partition=2
warned 'merge.mode = all has no effect: it is an option of' -s merge.mode=all
warned 'merge.data_limit = 9 has no effect with zipit' -s merge.merge=zipit -s merge.ingredient=weight -s merge.data_limit=9
warned 'output.row = weighted has no effect' -s output.row=weighted
warned 'data = ' -s group.similarity_base=weight -s merge.merge=mean
warned 'calibration.usage_top_k = 1 has no effect' -s group.similarity_base=weight -s merge.merge=mean \
    -s calibration.usage_top_k=1
warned "read as 'hierarchical', which is the value to write" -s group.cluster=hirarchical

run check -c "$work/run.ini" -s group.linkages=ward
expect_status 2
expect_error "did you mean 'linkage'?"
run check -c "$work/run.ini" -s group.kmeans.linkage=ward
expect_status 2
expect_error "'kmeans' is not chosen here"
run check -c "$work/run.ini" -s group.cluster=none
expect_status 2
expect_error 'leaves experts out: choose merge = prune'
run check -c "$work/run.ini" -s group.dominant=frequency -s group.similarity_base=weight+expert-output
expect_status 2
expect_error 'compares experts by one base'
run check -c "$work/run.ini" -s group.dominant=random -s merge.merge=fix-dom-same
expect_status 2
expect_error "needs a core in every group, 'random' gives none"
run check -c "$work/run.ini" -s merge.merge=zipit -s merge.partition=5
expect_status 2
expect_error 'merge.partition = 5: 4 layers are merged'

# What a run writes down runs again as it is, without a warning, to the same bytes.
for settings in 'group.dominant=random' 'group.dominant=frequency' 'group.similarity_base=weight' 'merge.merge=zipit'; do
    run -c "$work/run.ini" -s "$settings" -s "output.output_path=$work/one"
    expect_status 0
    run -c "$work/one/hcsmoe/run.ini" -s "output.output_path=$work/two"
    expect_status 0
    ! grep -q 'has no effect' "$work/stderr" || die "$settings: run.ini is warned: $(cat "$work/stderr")"
    cmp "$work/one/model.safetensors" "$work/two/model.safetensors" || die "$settings: run.ini gives other weights"
    rm -rf "$work/one" "$work/two"
done

# Parts see what the parts before them merged: other weights later on, the same on any number of threads.
for partition in 1 2 4; do
    for threads in 1 2; do
        run -c "$work/run.ini" -s merge.merge=zipit -s merge.partition=$partition -s run.threads=$threads \
            -s run.quality_tokens=0 -s "output.output_path=$work/$partition-$threads"
        expect_status 0
    done
    cmp "$work/$partition-1/model.safetensors" "$work/$partition-2/model.safetensors" || die "partition = $partition: threads"
done
! cmp -s "$work/1-1/model.safetensors" "$work/2-1/model.safetensors" || die "partition = 2 changes nothing"
! cmp -s "$work/2-1/model.safetensors" "$work/4-1/model.safetensors" || die "partition = 4 is partition = 2"
