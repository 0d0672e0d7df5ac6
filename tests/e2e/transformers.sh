#!/bin/sh
# transformers.sh - the Python library loads what layout = mapped leaves and gives the log-probabilities of `hcsmoe score`.
# PYTHON names an interpreter that has torch and transformers; without them this is skipped.
# SPDX-License-Identifier: MIT
. "$SRC/tests/e2e/common.sh"
python=${PYTHON:-python3}
"$python" -c 'import torch, transformers, safetensors' 2>/dev/null || skip "$python has no torch and transformers"

# The other families' folders with the tokenizer of the one that has it: only calibration reads it.
for model in mixtral-fused qwen2-moe-mixed; do
    mkdir "$work/$model"
    cp "$SRC/tests/golden/models/$model"/* "$work/$model"
    cp -n "$SRC/tests/golden/models/tiny-qwen2-moe/tokenizer.json" "$work/$model"
done
for model in "$SRC/config/data/tiny-mixtral" "$work/mixtral-fused" "$work/qwen2-moe-mixed"; do
    out=$work/merged-$(basename "$model")
    write_ini "$work/run.ini" "$model" "$out"
    # A layer that nothing was done to stands beside merged ones.
    run -q -c "$work/run.ini" -s group.start_layer=1 -s group.num_average_groups=3
    expect_status 0
done
HF_HOME=$work/hf HF_HUB_OFFLINE=1 "$python" "$SRC/tests/e2e/transformers_check.py" "$work"/merged-* || die "see above"
