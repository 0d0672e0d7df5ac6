#!/bin/sh
# collapse.sh - one router row for each expert: exact after pruning, measured after merging, refused where it cannot be.
# SPDX-License-Identifier: MIT
. "$SRC/tests/e2e/common.sh"
write_ini "$work/run.ini" "$SRC/config/data/tiny-mixtral" "$work/mapped"
printf '{"tokens": [1, 450, 1021, 77, 300, 1999, 12, 13, 900]}\n{"tokens": [1, 450, 1021, 78, 5, 6, 7, 8]}\n' >"$work/requests"

score() { # folder file
    "$HCSMOE" score -m "$1" <"$work/requests" >"$2" || die "$1 cannot be scored"
}

# The largest difference of two answers is at most (or, with more, at least) so much.
differ() { # file file most|more number
    tr -c '0-9.e-' '\n' <"$1" | grep '^-[0-9]' >"$work/n1"
    tr -c '0-9.e-' '\n' <"$2" | grep '^-[0-9]' >"$work/n2"
    paste "$work/n1" "$work/n2" | awk -v what="$3" -v limit="$4" '
        NF != 2 { bad = 1 }
        { d = $1 - $2; if (d < 0) d = -d; if (d > worst) worst = d; n++ }
        END { exit bad || n < 10 || (what == "most" ? worst > limit : worst < limit) }' ||
        die "$1 and $2 do not differ by $3 $4: $(paste "$work/n1" "$work/n2" | head -n 3)"
}

# Pruned: the same function, in a checkpoint that knows nothing of hcsmoe.
run -c "$work/run.ini" -s merge.merge=prune
expect_status 0
run -c "$work/run.ini" -s merge.merge=prune -s output.layout=collapsed -s "output.output_path=$work/plain"
expect_status 0
expect_text "$work/plain/config.json" '"model_type": "mixtral"'
expect_text "$work/plain/config.json" '"num_local_experts": 4'
expect_text "$work/plain/hcsmoe/report.json" '"routing_overlap": 1.0'
score "$work/mapped" "$work/a"
score "$work/plain" "$work/b"
differ "$work/a" "$work/b" most 1e-5
run collapse "$work/mapped" "$work/by-hand"
expect_status 0
score "$work/by-hand" "$work/c"
differ "$work/b" "$work/c" most 0
# One expert for two choices of a token: top-k becomes one.
run -c "$work/run.ini" -s merge.merge=prune -s group.num_average_groups=1 -s output.layout=collapsed \
    -s "output.output_path=$work/single"
expect_status 0
expect_text "$work/single/config.json" '"num_experts_per_tok": 1'
run -c "$work/run.ini" -s merge.merge=prune -s group.num_average_groups=1 -s "output.output_path=$work/single-mapped"
expect_status 0
score "$work/single" "$work/a"
score "$work/single-mapped" "$work/b"
differ "$work/a" "$work/b" most 1e-5
run expand "$work/mapped" "$work/expanded"
expect_status 1
expect_error 'is pruned: layout = expanded has no place for that'

# Merged: another routing, and the damage is said: per layer, and by evaluation beside the exact form.
cat >"$work/eval.ini" <<EOF
[calibration]
data = $SRC/config/data/c4.first300.jsonl.gz
n_sentences = 2
block_size = 128
[eval]
task = perplexity
text = $SRC/config/data/wiki.test.first3.raw
text_tokens = 300
EOF
cat "$work/run.ini" - >"$work/both.ini" <<EOF
[eval]
task = perplexity
text = $SRC/config/data/wiki.test.first3.raw
text_tokens = 300
EOF
for row in centroid weighted max-member; do
    rm -rf "$work/merged" "$work/collapsed" "$work/again"
    run -c "$work/both.ini" -s "output.output_path=$work/collapsed" -s output.layout=collapsed -s output.row=$row
    expect_status 0
    expect_text "$work/stdout" '% of the routing, output error'
    expect_text "$work/stdout" 'after, under the exact router'
    expect_text "$work/stdout" 'after, collapsed'
    expect_text "$work/collapsed/hcsmoe/report.json" '"exact": {'
    [ ! -e "$work/collapsed.exact" ] || die "the exact form was left behind"
    run -c "$work/run.ini" -s "output.output_path=$work/merged"
    expect_status 0
    run collapse "$work/merged" "$work/again" -s output.row=$row -c "$work/eval.ini"
    expect_status 0
    expect_text "$work/stdout" '% of the routing'
    expect_text "$work/stdout" 'under the exact router'
    score "$work/collapsed" "$work/a"
    score "$work/again" "$work/b"
    differ "$work/a" "$work/b" most 0
    cp "$work/a" "$work/row-$row"
done
differ "$work/row-centroid" "$work/row-weighted" more 1e-3
differ "$work/row-weighted" "$work/row-max-member" more 1e-3

# Refused: differing layers, fewer groups than choices, what is collapsed or was never mapped, a report that is gone.
run -c "$work/run.ini" -s group.dominant=frequency -s output.layout=collapsed -s "output.output_path=$work/x"
expect_status 1
expect_error 'layout = collapsed has one number for all'
run -c "$work/run.ini" -s group.num_average_groups=1 -s output.layout=collapsed -s "output.output_path=$work/x"
expect_status 1
expect_error 'has 1 groups, and a token chooses 2 experts'
run -c "$work/run.ini" -s group.start_layer=1 -s output.layout=collapsed -s "output.output_path=$work/x"
expect_status 2
expect_error '[group] start_layer must be 0'
run collapse "$work/collapsed" "$work/x"
expect_status 2
expect_error 'not a checkpoint of layout mapped: nothing to collapse'
rm "$work/merged/hcsmoe/report.json"
run collapse "$work/merged" "$work/x" -s output.row=weighted
expect_status 2
expect_error 'row = centroid needs none'
[ ! -e "$work/x" ] || die "a refused run left an output folder"
