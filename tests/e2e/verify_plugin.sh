#!/bin/sh
# verify_plugin.sh - every plugin of the tree passes; each that breaks a rule is found out by the check of that rule.
# SPDX-License-Identifier: MIT
. "$SRC/tests/e2e/common.sh"
export OMP_WAIT_POLICY=passive # many short processes
plugins=$(echo "$BUILD"/lib/hcsmoe/plugins-*)
bad=$BUILD/tests/verify
golden=$SRC/tests/golden

passes() { # arguments...
    run verify-plugin "$@"
    ! grep '^FAILED' "$work/stdout" || die "verify-plugin $*"
    expect_status 0
    tail -n 1 "$work/stdout" | grep -qE '^[0-9]+ passed, 0 failed, [0-9]+ skipped$' || die "no last line: $(tail -n 1 "$work/stdout")"
}
# Of all lines of a component exactly these many failed; one is this check with this text.
fails() { # component number check text
    n=$(grep -c "^FAILED  $1: " "$work/said") || true
    [ "$n" -eq "$2" ] || die "$1: $n failed, expected $2: $(grep "$1: " "$work/said")"
    grep -F -- "FAILED  $1: $3: " "$work/said" | grep -qF -- "$4" || die "$1: no '$3: ... $4' in: $(grep "^FAILED  $1: " "$work/said")"
}

# ---- ours ----
n=0
for file in "$plugins"/*.so; do
    passes "$file"
    n=$((n + 1))
    ! grep -q ' 0 passed' "$work/stdout" || die "$file: nothing was looked at"
done
[ "$n" -ge 25 ] || die "only $n plugins in $plugins"
for task in arc boolq hellaswag mmlu openbookqa rte wikitext winogrande; do
    passes "$plugins/hcsmoe-task-$task.so" -s "eval.data=$golden/eval/data"
    grep -q '^ok .*: its own records, twice$' "$work/stdout" || die "$task: no records"
done
for model in deepseek-v2:deepseek_v2 mixtral-f16-window:mixtral mixtral-fused:mixtral olmoe:olmoe qwen2-moe-mixed:qwen2_moe \
    qwen3-moe:qwen3_moe tiny-qwen2-moe:qwen2_moe; do
    passes "$plugins/hcsmoe-model-${model#*:}.so" -m "$golden/models/${model%:*}"
    tail -n 1 "$work/stdout" | grep -q '1 skipped' || die "$model: more than the reference was left out"
done
passes "$plugins/hcsmoe-merge-freq.so"
grep -qx 'ok      the loader takes it' "$work/stdout" || die "the loader is not mentioned"
grep -qx 'ok      merge/freq: NaN in its inputs' "$work/stdout" || die "no NaN was tried"

# ---- logits of a reference ----
mixtral=$plugins/hcsmoe-model-mixtral.so
passes "$mixtral" -m "$SRC/config/data/tiny-mixtral" --reference "$golden/e2e/logits.safetensors"
grep -q '^ok      model/mixtral: logits of the reference: off by at most [0-9.e-]*, logits reach 1[0-9]' "$work/stdout" ||
    die "no reference: $(grep reference "$work/stdout")"
reference() { # file text
    run verify-plugin "$mixtral" -m "$SRC/config/data/tiny-mixtral" --reference "$1"
    expect_status 1
    cp "$work/stdout" "$work/said"
    fails model/mixtral 1 "logits of the reference" "$2"
}
reference "$SRC/config/data/tiny-mixtral/model.safetensors" "no tensor 'input_ids'"
reference "$work/none.safetensors" "none.safetensors"
# A bit of the last logit, and the last sequence's ids.
cp "$golden/e2e/logits.safetensors" "$work/other.safetensors"
size=$(wc -c <"$work/other.safetensors")
printf '\102' | dd of="$work/other.safetensors" bs=1 seek=$((size - 1)) conv=notrunc 2>/dev/null
reference "$work/other.safetensors" "sequence 1, token 2: the logit of id 2047 is"
run verify-plugin "$mixtral" -m "$golden/models/olmoe"
expect_status 1
expect_text "$work/stdout" "FAILED  model/mixtral: the checkpoint has the tensors that it names: $golden/models/olmoe is not of this family"

# ---- what breaks a rule ----
broken() { # file
    run verify-plugin "$bad/$1.so"
    expect_status 1
    cp "$work/stdout" "$work/said"
    cp "$work/stderr" "$work/log"
}
case $SANITIZE in
OFF | "") crashes="it crashes (Segmentation fault): " ;;
*) crashes="it ends the program with exit status" ;;
esac
all="groups of one to groups of all, from what it asked for alone"
broken merges
fails merge/counts 1 "same bytes for 1, 2 and 3 threads" "the same inputs give other bytes the second time"
fails merge/threads 1 "same bytes for 1, 2 and 3 threads" "2 threads give other bytes than one"
fails merge/layers 1 "same bytes for 1, 2 and 3 threads" "a layer gives other bytes when another one came before it"
fails merge/outside 1 "$all" "writes behind the end of 'out_down' (384 bytes)"
fails merge/half 1 "$all" "'out_up' holds NaN or infinity, or was not written in full"
fails merge/blind 1 "NaN in its inputs" "one token holds NaN, and so does what follows from it: a group of 6 of 6 experts"
fails merge/silent 1 "$all" "failed with status -5 and no message"
fails merge/positive 1 "$all" "returned 1: a status is 0 or negative"
fails merge/keeps 1 "memory that is refused, and given back" "blocks of h->alloc after destroy"
fails merge/prints 1 "$all" "it prints to standard output"
fails merge/exits 2 "two experts" "it ends the program with exit status 3"
fails merge/inputs 1 "$all" "writes to its inputs"
fails merge/rich 1 "memory that is refused, and given back" "$crashes"
fails merge/shared 1 "two layers at once" "against HCSMOE_CAP_PARALLEL"
fails merge/denies 1 "$all" "denies experts without HCSMOE_CAP_PRUNES"
fails merge/wide 1 "$all" "shape makes 1 experts of width 13 from 6 of 12"
fails merge/edge 1 "option values" "n = 0: "
fails merge/global 1 "two instances with other options" "scale = 0.5: an instance gives other bytes once another one was created"
fails merge/takes 1 "$all" "failed with status -1 and no message"
! grep -q merging "$work/said" || die "what a plugin prints is on standard output"
[ "$(tail -n 1 "$work/said" | cut -d ' ' -f 3)" -ge 17 ] || die "the last line counts otherwise: $(tail -n 1 "$work/said")"
grep -qF "skipped merge/half: two experts: not tried after '$all' failed" "$work/said" || die "the same fault twice"

all="one group to as many as experts, from what it asked for alone"
broken clusters
fails cluster/unused 1 "$all" "2 groups of 6 experts, 1 base: groups is 2, and no expert has the label 1"
fails cluster/leaves 1 "$all" "the label of expert 5 is -1: must be 0..0 without HCSMOE_CAP_LEAVES_OUT"
fails cluster/cores 1 "$all" "the core of group 0 is 1, which is not one of its members"
fails cluster/coreless 1 "$all" "group 0 has no core, against HCSMOE_CAP_CORES_OUT"
fails cluster/joins 1 "$all" "join 0 is of 1 and 0"
fails cluster/refuses 1 "$all" "3 groups of 6 experts, 1 base: cluster/refuses, layer 3: not today"
fails cluster/gives 1 "$all" "layer 2 gets 7 groups of 6 experts"

all="matrices, from what it asked for alone"
broken similarities
fails similarity/unasked 1 "$all" "$crashes"
fails similarity/lopsided 1 "$all" "1.5 from expert 0 to 1, 1 back: must be symmetric"
fails similarity/squared 1 "$all" "0 to 2 is 4, by way of 1 2: must be Euclidean"
fails similarity/diagonal 1 "$all" "was not written there"
fails similarity/empty 1 "$all" "feature_size is 0"
fails similarity/named 1 "$all" "state 0 is called 'My State'"
case $SANITIZE in
OFF | "")
    grep -qF 'plugin similarity/unasked crashed (segmentation fault) in layer 3' "$work/log" || die "nobody is to blame"
    ;;
esac

broken models
fails model/absent 1 "the checkpoint has the tensors that it names" "no tensor 'model.layers.0.block_sparse_moe.experts.0.w9.weight'"
fails model/twice 1 "names of all roles" "two roles, layers or experts are called 'model.layers.0.block_sparse_moe.experts.0.w1.weight'"
fails model/longer 1 "names of all roles" "writes behind the end of 'name' (4 bytes)"
fails model/greedy 1 "a config.json of nobody" "without a config.json: probe says 1"
fails model/trusting 2 "its config.json, each member changed" "without 'hidden_size': describes 0 layers of width 0"
! grep '^FAILED  model/good' "$work/said" || die "a family without a fault fails"

broken tasks
fails task/anything 1 "records that are none" "makes a document of the record {}"
fails task/gold 1 "its own records, twice" "gold is 2: must be 0..1"
fails task/bytes 1 "its own records, twice" "'answer' is not UTF-8"
fails task/trusting 1 "its own records, each member changed" "without 'answer': task/trusting: failed with status -1 and no message"
fails task/other 1 "its own records, twice" "gives another document the second time"
fails task/group 1 "what it says of itself" "member 1: no task 'nobody'"

# ---- what the loader finds, and wrong requests ----
run verify-plugin "$BUILD/tests/badplugins/bad_option_default.so"
expect_status 1
grep -q "^FAILED  the loader takes it: .*bad_option_default.so: .*its default .* is outside " "$work/stdout" || die "$(cat "$work/stdout")"
expect_text "$work/stdout" "0 passed, 1 failed, 0 skipped"
broken leaves
grep -qx 'FAILED  the loader takes it: it ends the program with exit status 4: a plugin never does' "$work/said" || die "$(cat "$work/said")"
grep -qx '0 passed, 1 failed, 0 skipped' "$work/said" || die "more than that: $(cat "$work/said")"
broken ends
grep -q "^FAILED  the loader takes it: $crashes" "$work/said" || grep -q "^FAILED  the loader takes it: it crashes" "$work/said" ||
    die "$(cat "$work/said")"
run verify-plugin
expect_status 2
run verify-plugin "$work/none.so" -c x
expect_status 2
run verify-plugin "$mixtral" --reference x
expect_status 2
expect_error "-m FOLDER is missing"
run verify-plugin "$plugins/hcsmoe-merge-freq.so" -m "$golden/models/olmoe"
expect_status 2
expect_error "the plugin has no model family"
run verify-plugin "$plugins/hcsmoe-merge-slerp.so" -s merge.nothing=1
expect_status 2
expect_error "no option 'nothing'"
run verify-plugin "$plugins/hcsmoe-cluster-kmeans.so" -s group.linkage=single
expect_status 2
run verify-plugin "$bad/merges.so" -s merge.edge.n=9
expect_status 2
expect_error "-s merge.edge.n = 9: must be 0..8"
run verify-plugin "$bad/merges.so" -s merge.n=0
grep -qF "FAILED  merge/edge: $(sed -n 's/^FAILED  merge\/half: \([^:]*\): .*/\1/p' "$work/stdout"): " "$work/stdout" ||
    die "-s changes nothing: $(grep merge/edge "$work/stdout")"
