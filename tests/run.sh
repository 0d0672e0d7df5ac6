#!/bin/sh
# run.sh - installs what lacks, builds with gcc and clang and with sanitizers, runs every test, lint script and the demo.
#
# usage: tests/run.sh [NAME...]
# NAME is a step (gcc sanitize clang layering banned style symbols demo bench) or a test as ctest -N lists it, which is
# run in the gcc build. Without names: all steps but bench's measurement. The last line is "N passed, M failed".
# SPDX-License-Identifier: MIT
set -u
cd "$(dirname "$0")/.." || exit 1
root=$PWD
packages="gcc g++ libc6-dev clang cmake make pkg-config binutils libopenblas-openmp-dev libinih-dev libcmocka-dev
libjansson-dev libpcre2-dev libutf8proc-dev zlib1g-dev libomp-dev abigail-tools dpkg-dev zsh chromium
libdnnl-dev"
jobs=$(nproc)
export UBSAN_OPTIONS=print_stacktrace=1
passed=0
failed=0
failures=

count() { # status name
    if [ "$1" -eq 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        failures="$failures $2"
    fi
}

# Configures and builds one folder; without it there is nothing to test.
build() { # folder compiler options...
    folder=$root/build/$1
    compiler=$2
    shift 2
    echo "== build ${folder##*/} ($compiler $*)"
    cmake -S "$root" -B "$folder" -DCMAKE_C_COMPILER="$compiler" -DHCSMOE_WERROR=ON -DBUILD_TESTING=ON "$@" >"$folder.log" 2>&1 &&
        cmake --build "$folder" -j "$jobs" >>"$folder.log" 2>&1 && return 0
    grep -E -A 5 'error:|CMake Error|undefined reference|warning:' "$folder.log" | head -n 40
    echo "build ${folder##*/} failed, see $folder.log"
    count 1 "build-${folder##*/}"
    return 1
}

# Runs ctest and adds its tests to the sums.
check() { # folder options...
    folder=$root/build/$1
    shift
    echo "== test ${folder##*/}"
    results=$folder/ctest.txt
    (cd "$folder" && ctest --output-on-failure --no-tests=error -j "$jobs" "$@") >"$results" 2>&1
    status=$?
    grep -v '^test [0-9]\|Start ' "$results"
    ok=$(grep -c ' Passed  *[0-9.]* sec' "$results")
    bad=$(grep -cE '\*\*\*(Failed|Timeout|Exception|Not Run)|Not Run' "$results")
    passed=$((passed + ok))
    # A ctest that failed without naming a test is one failure.
    [ "$status" -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
    failed=$((failed + bad))
    [ "$bad" -eq 0 ] || failures="$failures ${folder##*/}:$bad"
}

step_gcc() {
    build release gcc -DCMAKE_BUILD_TYPE=Release && check release
}

# gcc's sanitizer runtime is a shared library, which the plugins need too; leaks are looked for at exit.
step_sanitize() {
    build sanitize gcc -DCMAKE_BUILD_TYPE=RelWithDebInfo -DHCSMOE_SANITIZE=ON && check sanitize
}

step_clang() {
    build clang clang -DCMAKE_BUILD_TYPE=Release && check clang
}

step_lint() { # name arguments...
    name=$1
    shift
    echo "== lint $name"
    sh "tests/lint/$name.sh" "$@"
    count $? "$name"
}

step_symbols() {
    build release gcc -DCMAKE_BUILD_TYPE=Release && step_lint symbols build/release
}

step_demo() {
    echo "== demo"
    sh config/demo.sh
    count $? demo
}

step_bench() {
    build release gcc -DCMAKE_BUILD_TYPE=Release || return
    echo "== bench"
    sh tests/bench/bench_run.sh build/release
    count $? bench
}

# shellcheck disable=SC2086 # a list of words
sh config/packages.sh $packages || exit 1
mkdir -p build

[ $# -gt 0 ] || set -- layering banned style gcc symbols demo clang sanitize
tests=
for name in "$@"; do
    case $name in
    layering | banned | style) step_lint "$name" ;;
    gcc | sanitize | clang | symbols | demo | bench) "step_$name" ;;
    *) tests="$tests|$name" ;;
    esac
done
if [ -n "$tests" ]; then
    build release gcc -DCMAKE_BUILD_TYPE=Release && check release -R "^(${tests#|})\$"
fi

[ -z "$failures" ] || echo "failed:$failures"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
