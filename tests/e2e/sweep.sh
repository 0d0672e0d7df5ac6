#!/bin/sh
# sweep.sh - many settings on one calibration: each row is what a run of its own gives.
# SPDX-License-Identifier: MIT
. "$SRC/tests/e2e/common.sh"
write_ini "$work/run.ini" "$SRC/config/data/tiny-mixtral" "$work/written"
cat >>"$work/run.ini" <<EOF
[eval]
task = perplexity
text = $SRC/config/data/wiki.test.first3.raw
text_tokens = 400
before = yes
EOF

# Values of JSON members on lines of their own, as json_dumps writes them.
values() { # name file
    sed -n "s/^ *\"$1\": \([0-9.e+-]*\),*\$/\1/p" "$2"
}

run sweep -c "$work/run.ini" --set group.linkage=single,ward --set group.num_average_groups=6,4 \
    --set merge.merge=freq,zipit,prune --json "$work/rows.json" --write
expect_status 0
[ "$(grep -c '^| single' "$work/stdout")" -eq 6 ] || die "not six rows of single: $(cat "$work/stdout")"
expect_text "$work/stdout" '| original |'
[ "$(grep -c '"set":' "$work/rows.json")" -eq 12 ] || die "not twelve rows"
[ "$(values token_perplexity "$work/rows.json" | wc -l)" -eq 24 ] || die "no perplexities before and after"

# A combination written by the sweep is, byte for byte, what a run of its own writes.
for merge in freq zipit prune; do
    one=linkage=ward,num_average_groups=4,merge=$merge
    run -c "$work/run.ini" -s group.linkage=ward -s group.num_average_groups=4 -s "merge.merge=$merge" \
        -s "output.output_path=$work/alone"
    expect_status 0
    cmp "$work/written/$one/model.safetensors" "$work/alone/model.safetensors" || die "$one: other weights"
    cmp "$work/written/$one/config.json" "$work/alone/config.json" || die "$one: other config.json"
    for name in token_perplexity output_error; do
        values $name "$work/alone/hcsmoe/report.json" >"$work/a"
        values $name "$work/written/$one/hcsmoe/report.json" >"$work/b"
        cmp "$work/a" "$work/b" || die "$one: other $name"
    done
    rm -rf "$work/alone"
done

# Decisions over all layers, pruning without groups, and commas inside values.
run sweep -q -c "$work/run.ini" --set group.dominant=no,frequency --set 'merge.merge=weighted' --set 'merge.mode=1,1;3,1'
expect_status 0
[ "$(grep -c '| weighted |' "$work/stdout")" -eq 4 ] || die "not four rows: $(cat "$work/stdout")"
run sweep -q -c "$work/run.ini" -s eval.before=no --set group.cluster=none,hierarchical --set merge.merge=prune
expect_status 0

# Nothing is written unless told to; what cannot be shared is refused.
[ ! -e "$work/written/linkage=average" ] || die "a checkpoint that nobody asked for"
run sweep -c "$work/run.ini"
expect_status 2
expect_error '--set section.key=a,b is missing'
run sweep -c "$work/run.ini" --set calibration.seed=1,2
expect_status 2
expect_error 'must be group.KEY=VALUES or merge.KEY=VALUES'
run sweep -c "$work/run.ini" --set group.linkage=single,
expect_status 2
expect_error 'an empty value'
run sweep -c "$work/run.ini" --set group.linkage=single,wart
expect_status 2
expect_error "did you mean 'ward'?"
run sweep -c "$work/run.ini" --set merge.merge=zipit --set merge.partition=1,2
expect_status 2
expect_error 'cannot share a calibration'
run sweep -c "$work/run.ini" --set merge.merge=no,freq
expect_status 2
expect_error 'a sweep merges'
