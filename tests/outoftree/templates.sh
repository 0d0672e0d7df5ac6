#!/bin/sh
# templates.sh - the template of every kind, built with one line, with CMake, with clang and as C++17, each in one pipeline.
# SPDX-License-Identifier: MIT
. "$SRC/tests/outoftree/common.sh"
kinds="model similarity cluster merge task"
templates=$(pkg-config --variable=templatedir hcsmoe-plugin)

# The bundled model as one of another family, and records for the task.
cp -r "$prefix/share/hcsmoe/config/data/tiny-mixtral" "$work/model"
sed -i 's/"mixtral"/"mine"/; s/MixtralForCausalLM/MineForCausalLM/' "$work/model/config.json"
mkdir "$work/records"
for i in 1 2 3 4 5 6; do
    echo "{\"question\": \"What is $i and $i?\", \"choices\": [\"$((2 * i))\", \"$((2 * i + 1))\"], \"answer\": 0}"
done >"$work/records/mine.test.jsonl"
write_ini "$work/run.ini" "$work/model" "$work/unused"
all="-s group.similarity_base=mine -s group.cluster=mine -s merge.merge=mine -s eval.task=mine
    -s eval.data=$work/records -s run.quality_tokens=0"

# One run with the plugins of a folder; what it leaves must be the same for all builds.
pipeline() { # folder
    for kind in $kinds; do
        plugin=$work/$1/hcsmoe-$kind-mine.so
        expect_file "$plugin"
        nm -D --defined-only "$plugin" | grep -q ' hcsmoe_plugin_v1$' || die "$plugin: no entry"
        case $kind in
        model) run verify-plugin "$plugin" -m "$work/model" ;;
        task) run verify-plugin "$plugin" -s "eval.data=$work/records" ;;
        *) run verify-plugin "$plugin" ;;
        esac
        ! grep '^FAILED' "$work/stdout" || die "$plugin breaks a rule"
        expect_status 0
        [ "$kind" = model ] || expect_text "$work/stdout" ', 0 failed, '
    done
    # shellcheck disable=SC2086 # a list of words
    HCSMOE_PLUGIN_PATH=$work/$1 run -q -c "$work/run.ini" $all -s "output.output_path=$work/out-$1"
    expect_status 0
    expect_text "$work/stdout" '|mine'
    grep -v '^time\|^memory' "$work/stdout" >"$work/said-$1"
    for file in model.safetensors hcsmoe/statistics.safetensors; do
        cmp "$work/out-$1/$file" "$work/out-line/$file" || die "$1: other $file than with one line of cc"
    done
    cmp "$work/said-$1" "$work/said-line" || die "$1: other results"
}

mkdir "$work/line" "$work/clang" "$work/cpp"
for kind in $kinds; do
    # shellcheck disable=SC2046,SC2086 # lists of words
    cc $(pkg-config --cflags hcsmoe-plugin) -fPIC -shared -o "$work/line/hcsmoe-$kind-mine.so" "$templates/$kind.c" ||
        die "$kind: one line of cc"
    # shellcheck disable=SC2046,SC2086
    c++ -std=c++17 -x c++ $warnings -Wmissing-declarations -O2 $(pkg-config --cflags hcsmoe-plugin) -fPIC -shared \
        -o "$work/cpp/hcsmoe-$kind-mine.so" "$templates/$kind.c" || die "$kind: C++17"
    ! command -v clang >/dev/null || # shellcheck disable=SC2046,SC2086
        clang -std=c11 $warnings -Wstrict-prototypes -Wmissing-prototypes -O2 $(pkg-config --cflags hcsmoe-plugin) \
            -fPIC -shared -o "$work/clang/hcsmoe-$kind-mine.so" "$templates/$kind.c" || die "$kind: clang"
    ! command -v clang++ >/dev/null || # shellcheck disable=SC2046,SC2086
        clang++ -std=c++17 -x c++ $warnings -fsyntax-only $(pkg-config --cflags hcsmoe-plugin) "$templates/$kind.c" ||
        die "$kind: clang as C++17"
done
pipeline line
pipeline cpp
[ -z "$(command -v clang)" ] || pipeline clang

# The five lines, once for every kind.
mkdir "$work/cmake"
for kind in $kinds; do
    mkdir "$work/project"
    cp "$templates/$kind.c" "$work/project"
    sed "s/merge/$kind/g" "$templates/CMakeLists.txt" >"$work/project/CMakeLists.txt"
    [ "$(wc -l <"$work/project/CMakeLists.txt")" -le 5 ] || die "more than five lines"
    cmake -S "$work/project" -B "$work/project/build" -DCMAKE_PREFIX_PATH="$prefix" \
        -DCMAKE_C_FLAGS="$warnings -Wstrict-prototypes -Wmissing-prototypes" >"$work/log" 2>&1 || die "$(cat "$work/log")"
    cmake --build "$work/project/build" >"$work/log" 2>&1 || die "$(cat "$work/log")"
    # It goes where the program looks.
    cmake --install "$work/project/build" --prefix "$work/installed" >"$work/log" || die "$(cat "$work/log")"
    mv "$work/installed/lib/hcsmoe/plugins-$(pkg-config --variable=abi_major hcsmoe-plugin)/hcsmoe-$kind-mine.so" "$work/cmake"
    symbols=$(nm -D --defined-only "$work/cmake/hcsmoe-$kind-mine.so" | awk '{ print $NF }')
    [ "$symbols" = hcsmoe_plugin_v1 ] || die "$kind: exports '$symbols', expected hcsmoe_plugin_v1 alone"
    rm -rf "$work/project"
done
pipeline cmake
export HCSMOE_PLUGIN_PATH="$work/line"

# What the templates compute is what they say. The family is Mixtral: the same bytes under its name.
merged() { # name settings...
    name=$1
    shift
    run -q -c "$work/run.ini" -s run.quality_tokens=0 -s "output.output_path=$work/$name" "$@"
    expect_status 0
}
merged family
merged mixtral -s "model.model_name=$prefix/share/hcsmoe/config/data/tiny-mixtral"
cmp "$work/family/model.safetensors" "$work/mixtral/model.safetensors" || die "the family is not Mixtral"
expect_text "$work/family/config.json" '"hcsmoe_mine"'
run inspect "$work/family"
expect_status 0
expect_text "$work/stdout" 'family      mine,'

# A power of 1 is freq, one of 0 the mean.
merged one -s merge.merge=mine
cmp "$work/one/model.safetensors" "$work/mixtral/model.safetensors" || die "power = 1 is not freq"
merged zero -s merge.merge=mine -s merge.power=0
merged mean -s merge.merge=mean
cmp "$work/zero/model.safetensors" "$work/mean/model.safetensors" || die "power = 0 is not the mean"
run -c "$work/run.ini" -s merge.merge=mine -s merge.power=17
expect_status 2
expect_error "power"

# A record that is none is named with its line.
echo '{"question": "?", "choices": ["a"], "answer": 1}' >>"$work/records/mine.test.jsonl"
# shellcheck disable=SC2086
run -q -c "$work/run.ini" $all -s "output.output_path=$work/wrong"
expect_error "mine.test.jsonl:7: task/mine: member 'answer' is 1: must be 0..0"

# Similarities are asked for by another clustering than distances.
merged frequency -s group.dominant=frequency -s group.cluster= -s group.linkage= -s group.similarity_base=mine

# CMake refuses what it does not know, and an ABI that this is not.
refuses() { # line text
    mkdir "$work/project"
    printf '%s\n' 'cmake_minimum_required(VERSION 3.16)' 'project(mine C)' "$1" >"$work/project/CMakeLists.txt"
    ! cmake -S "$work/project" -B "$work/project/build" -DCMAKE_PREFIX_PATH="$prefix" >"$work/log" 2>&1 || die "accepted: $1"
    tr -s '\n ' ' ' <"$work/log" >"$work/words"
    expect_text "$work/words" "$2"
    rm -rf "$work/project"
}
refuses 'find_package(hcsmoe 9 CONFIG REQUIRED)' 'not accepted'
refuses 'find_package(hcsmoe CONFIG REQUIRED)
hcsmoe_add_plugin(mine KIND merges SOURCES merge.c)' "KIND is 'merges': must be one of model;similarity"
refuses 'find_package(hcsmoe CONFIG REQUIRED)
hcsmoe_add_plugin(merge mine merge.c)' "KIND is ''"
refuses 'find_package(hcsmoe CONFIG REQUIRED)
hcsmoe_add_plugin(mine KIND merge)' "must be called as NAME KIND kind SOURCES file..."
mkdir "$work/project"
printf '%s\n' 'cmake_minimum_required(VERSION 3.16)' 'project(mine C)' \
    "find_package(hcsmoe $(pkg-config --modversion hcsmoe-plugin) CONFIG REQUIRED)" >"$work/project/CMakeLists.txt"
cmake -S "$work/project" -B "$work/project/build" -DCMAKE_PREFIX_PATH="$prefix" >"$work/log" 2>&1 || die "$(cat "$work/log")"
