#!/bin/sh
# languages.sh - a merge method in C++ with its standard library and exceptions: only the C ABI counts.
# SPDX-License-Identifier: MIT
. "$SRC/tests/outoftree/common.sh"
mkdir "$work/plugins"
for compiler in g++ clang++; do
    command -v "$compiler" >/dev/null || continue
    # shellcheck disable=SC2046,SC2086 # lists of words
    "$compiler" -std=c++17 $warnings -O2 $(pkg-config --cflags hcsmoe-plugin) -fPIC -shared -fvisibility=hidden \
        -o "$work/plugins/hcsmoe-merge-median.so" "$SRC/tests/outoftree/median.cpp" || die "$compiler"
done
# It keeps the rules too; memory that the standard library takes is its own affair.
run verify-plugin "$work/plugins/hcsmoe-merge-median.so"
! grep '^FAILED' "$work/stdout" || die "the median breaks a rule"
expect_status 0
export HCSMOE_PLUGIN_PATH="$work/plugins"
write_ini "$work/run.ini" "$prefix/share/hcsmoe/config/data/tiny-mixtral" "$work/unused"

# Of two, the median is the mean.
for merge in median mean; do
    run -q -c "$work/run.ini" -s "merge.merge=$merge" -s group.num_average_groups=7 -s "output.output_path=$work/$merge"
    expect_status 0
done
cmp "$work/median/model.safetensors" "$work/mean/model.safetensors" || die "the median of two is not their mean"
run -q -c "$work/run.ini" -s merge.merge=median -s "output.output_path=$work/median"
expect_status 2
run -q -c "$work/run.ini" -s merge.merge=median -s output.overwrite=yes -s "output.output_path=$work/median"
expect_status 0
! cmp -s "$work/median/model.safetensors" "$work/mean/model.safetensors" || die "larger groups made no difference"

# An exception ends as a message of the plugin.
run -q -c "$work/run.ini" -s merge.merge=median -s merge.fail=yes -s "merge.why=as was asked for" -s "output.output_path=$work/no"
expect_status 1
expect_error "as was asked for"
[ ! -e "$work/no" ] || die "a run that failed left $work/no"

# A field of the wrong type does not compile, in C++ as in C.
sed 's/int32_t fail;/int64_t fail;/' "$SRC/tests/outoftree/median.cpp" >"$work/wrong.cpp"
# shellcheck disable=SC2046
! c++ -std=c++17 $(pkg-config --cflags hcsmoe-plugin) -fsyntax-only "$work/wrong.cpp" 2>"$work/log" || die "it compiles"
expect_text "$work/log" hcsmoe_same_
sed 's/int64_t unused;/double unused;/' "$prefix/share/hcsmoe/template/merge.c" >"$work/wrong.c"
# shellcheck disable=SC2046
! cc $(pkg-config --cflags hcsmoe-plugin) -fsyntax-only "$work/wrong.c" 2>"$work/log" || die "it compiles"
expect_text "$work/log" negative
