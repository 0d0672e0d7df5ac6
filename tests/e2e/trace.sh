#!/bin/sh
# trace.sh - what ran when: every layer has every stage, and the spans of a thread do not overlap.
# SPDX-License-Identifier: MIT
. "$SRC/tests/e2e/common.sh"
write_ini "$work/run.ini" "$SRC/config/data/tiny-mixtral" "$work/out"
run -c "$work/run.ini" --trace "$work/trace.json"
expect_status 0
expect_file "$work/trace.json"
for stage in read wait norm attention router statistics experts merge write; do
    for layer in 0 1 2 3; do
        grep -q "\"name\":\"$stage\",.*\"layer\":$layer}" "$work/trace.json" || die "no span $stage of layer $layer"
    done
done
sed -n 's/.*"tid":\([0-9]*\),"ts":\([0-9.]*\),"dur":\([0-9.]*\).*/\1 \2 \3/p' "$work/trace.json" | sort -k1,1n -k2,2n >"$work/spans"
[ "$(wc -l <"$work/spans")" -gt 36 ] || die "only $(wc -l <"$work/spans") spans"
awk '$1 == thread && $2 + 0.01 < end { print "overlap at " $2; exit 1 } { thread = $1; end = $2 + $3 }' "$work/spans" ||
    die "spans of one thread overlap"

# The trace changes nothing; of a run that fails there is one too; and a folder that is not there is found at once.
cp -r "$work/out" "$work/traced"
run -c "$work/run.ini" -s output.overwrite=yes
expect_status 0
cmp "$work/out/model.safetensors" "$work/traced/model.safetensors" || die "other bytes with a trace"
run -c "$work/run.ini" --trace "$work/none/trace.json"
expect_status 2
expect_error "no folder '$work/none' to write the trace to"
run check -c "$work/run.ini" --trace "$work/trace.json"
expect_status 2
expect_error 'check does not take --trace'
