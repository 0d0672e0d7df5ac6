#!/bin/sh
# tiny_pipeline.sh - the demo's INI leaves what it promises, the result reads back, and nothing is overwritten unasked.
# SPDX-License-Identifier: MIT
. "$SRC/tests/e2e/common.sh"
out=$work/out

run -c "$SRC/config/tiny_hc.ini" -s "output.output_path=$out" -s "output.result_path=$work/result.txt" -s eval.limit=8
expect_status 0
for file in config.json tokenizer.json tokenizer_config.json generation_config.json hcsmoe/report.json hcsmoe/report.txt \
    hcsmoe/report.html hcsmoe/run.ini hcsmoe/statistics.safetensors; do
    expect_file "$out/$file"
done
cmp "$out/tokenizer.json" "$SRC/config/data/tiny-mixtral/tokenizer.json"
expect_text "$out/config.json" '"hcsmoe"'
expect_text "$out/config.json" 'HcsmoeMixtralForCausalLM'
for key in config model result calibration layers eval before after time_s memory output_error winogrande perplexity; do
    expect_text "$out/hcsmoe/report.json" "\"$key\""
done
expect_text "$work/result.txt" winogrande
[ "$(find "$work" -maxdepth 1 -type d | wc -l)" -eq 2 ] || die "a temporary folder was left: $(ls "$work")"

# Half of the experts are gone, so the weights shrink.
before=$(cat "$SRC"/config/data/tiny-mixtral/*.safetensors | wc -c)
after=$(cat "$out"/*.safetensors | wc -c)
[ "$after" -lt $((before * 8 / 10)) ] || die "$before bytes became $after"

run inspect "$out"
expect_status 0
expect_text "$work/stdout" mixtral
run eval -m "$out" -c "$SRC/config/tiny_hc.ini" -s eval.task=winogrande -s eval.limit=8 -s "output.result_path=$work/result2.txt"
expect_status 0
expect_text "$work/stdout" winogrande

run -c "$SRC/config/tiny_hc.ini" -s "output.output_path=$out" -s output.overwrite=no
[ "$status" -ne 0 ] || die "a folder that holds a model was overwritten unasked"
expect_error "$out"
