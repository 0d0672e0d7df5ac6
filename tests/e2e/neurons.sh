#!/bin/sh
# neurons.sh - slim, select and lstsq from end to end: the same bytes on two threads, far less lost than by averaging, refusals.
# SPDX-License-Identifier: MIT
. "$SRC/tests/e2e/common.sh"
cat >"$work/run.ini" <<EOF
[model]
model_name = $SRC/config/data/tiny-mixtral
[calibration]
data = $SRC/config/data/c4.first300.jsonl.gz
n_sentences = 4
block_size = 256
[group]
num_average_groups = 4
[output]
output_path = $work/unused
[run]
threads = 2
EOF

try() { # settings, each as an argument of -s...
    for threads in 1 2; do
        run -c "$work/run.ini" "$@" -s run.quality_tokens=0 -s "run.threads=$threads" -s "output.output_path=$work/$threads"
        expect_status 0
    done
    cmp "$work/1/model.safetensors" "$work/2/model.safetensors" || die "$*: other bytes on two threads"
    size=$(wc -c <"$work/1/model.safetensors")
    [ "$size" -lt 4000000 ] || die "$*: $size bytes are no smaller"
    rm -rf "$work/merged" "$work/2"
    mv "$work/1" "$work/merged"
}

refuse() { # message settings...
    message=$1
    shift
    run -c "$work/run.ini" "$@"
    [ "$status" -ne 0 ] || die "$*: not refused"
    expect_error "$message"
}

try -s merge.merge=slim
grep -q '"intermediate_size": 96' "$work/merged/config.json" || die "slim does not say the width"
try -s merge.merge=slim -s merge.selector=forward -s merge.width_multiple=64
grep -q '"intermediate_size": 64' "$work/merged/config.json" || die "the width is no multiple of 64"
try -s merge.merge=select -s group.cluster=energy
try -s merge.merge=select -s group.cluster=energy -s merge.groups=6 -s merge.pool=1
try -s merge.merge=select -s group.cluster=energy -s merge.groups=auto
try -s merge.merge=select -s group.cluster=energy -s group.budget=global
try -s merge.merge=lstsq -s group.cluster=energy -s group.group_limit=3
for base in mean fix-dom-same align dominant; do
    try -s merge.merge=lstsq -s "merge.lstsq_base=$base"
done

# At full size every weight stays as it is.
run -c "$work/run.ini" -s merge.merge=slim -s group.num_average_groups=8 -s "output.output_path=$work/whole"
expect_status 0
run -c "$work/run.ini" -s group.num_average_groups=8 -s output.layout=expanded -s "output.output_path=$work/same"
expect_status 0
cmp "$work/whole/model.safetensors" "$work/same/model.safetensors" || die "slim changes a model that it should keep"

# Token perplexity after a run, with the settings given.
perplexity() {
    run -q -c "$work/run.ini" -s eval.task=perplexity -s "eval.text=$SRC/config/data/wiki.test.first3.raw" \
        -s eval.text_tokens=2000 -s output.overwrite=yes -s "output.output_path=$work/out" "$@"
    expect_status 0
    value=$(sed -n 's/.*token_perplexity|[^|]*| *\([0-9.]*\).*/\1/p' "$work/stdout" | tail -n 1)
}
perplexity -s eval.before=yes
average=$value
original=$(sed -n 's/.*token_perplexity|[^|]*| *\([0-9.]*\).*/\1/p' "$work/stdout" | head -n 1)
for settings in merge.merge=slim 'merge.merge=select -s group.cluster=energy -s merge.groups=auto'; do
    # shellcheck disable=SC2086 # several settings
    perplexity -s $settings
    awk -v o="$original" -v a="$average" -v m="$value" 'BEGIN { exit !(log(m / o) < 0.1 * log(a / o)) }' ||
        die "$settings: $value, between $original and $average"
done

refuse 'groups = 3: must be 4 (num_average_groups) to 8 (experts), 0 or auto' -s merge.merge=select -s merge.groups=3
refuse 'groups = all: must be a number of groups, 0 or auto' -s merge.merge=select -s merge.groups=all
refuse 'cannot choose' -s merge.merge=select -s merge.groups=auto
refuse 'no neuron left at width_multiple = 128' -s merge.merge=slim -s merge.width_multiple=128
refuse '[merge] groups must be 0' -s merge.merge=select -s group.cluster=energy -s group.budget=global -s merge.groups=6
refuse 'group_limit = 1 leaves 8 groups of 8 experts' -s merge.merge=select -s group.cluster=energy -s group.group_limit=1
refuse 'cluster' -s merge.merge=slim -s group.cluster=energy
run check -c "$work/run.ini" -s merge.merge=select -s group.cluster=energy -s group.linkage=ward -s group.similarity_base=weight
expect_error 'group.linkage = ward has no effect'
expect_error 'group.similarity_base = weight has no effect'
refuse '; pool = 1, fewer n_sentences' -s merge.merge=select -s group.cluster=energy -s run.memory_limit=20M
run check -c "$work/run.ini" -s merge.merge=slim -s merge.selector=forward -s merge.select_block=4
expect_status 0
expect_error 'merge.select_block = 4 has no effect'
