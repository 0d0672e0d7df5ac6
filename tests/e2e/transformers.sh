#!/bin/sh
# transformers.sh - the Python library loads what layout = mapped leaves and gives the log-probabilities of `hcsmoe score`.
# PYTHON names an interpreter that has torch and transformers; without them this is skipped.
# SPDX-License-Identifier: MIT
. "$SRC/tests/e2e/common.sh"
python=${PYTHON:-python3}
"$python" -c 'import torch, transformers, safetensors' 2>/dev/null || skip "$python has no torch and transformers"

# The other families' folders with the tokenizer of the one that has it: only calibration reads it.
for model in mixtral-fused qwen2-moe-mixed olmoe qwen3-moe deepseek-v2; do
    mkdir "$work/$model"
    cp "$SRC/tests/golden/models/$model"/* "$work/$model"
    cp -n "$SRC/tests/golden/models/tiny-qwen2-moe/tokenizer.json" "$work/$model"
done
cp -r "$SRC/config/data/tiny-mixtral" "$work"
for model in tiny-mixtral mixtral-fused qwen2-moe-mixed olmoe qwen3-moe deepseek-v2; do
    # In mapped, a layer that nothing was done to stands beside merged ones.
    for layout in mapped expanded collapsed; do
        out=$work/$layout-$model
        write_ini "$work/run.ini" "$work/$model" "$out"
        [ $layout = mapped ] && start=1 || start=0
        run -q -c "$work/run.ini" -s output.layout=$layout -s group.start_layer=$start -s group.num_average_groups=4
        expect_status 0
    done
    # The width of its shared experts hangs on the same key: such a result is refused.
    [ $model != deepseek-v2 ] || continue
    sed '/^similarity_base/d; /^cluster/d; /^linkage/d; s/^merge = freq/merge = slim/' "$work/run.ini" >"$work/slim.ini"
    run -q -c "$work/slim.ini" -s merge.width_multiple=8 -s "output.output_path=$work/slim-$model"
    expect_status 0
done
HF_HOME=$work/hf HF_HUB_OFFLINE=1 "$python" "$SRC/tests/e2e/transformers_check.py" "$work"/mapped-* "$work"/expanded-* "$work"/collapsed-* \
    "$work"/slim-* || die "see above"
