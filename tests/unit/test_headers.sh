#!/bin/sh
# test_headers.sh - every public header compiles alone, in C11 and C++17, with gcc and clang, and hides no padding.
# SPDX-License-Identifier: MIT
set -eu
warnings="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wpadded -Werror"
failed=0
done=0

compile_alone() { # compiler standard language header
    command -v "$1" >/dev/null 2>&1 || return 0
    # shellcheck disable=SC2086 # a list of words
    if echo "#include <$4>" | "$1" -std="$2" -x "$3" $warnings -I"$SRC/include" -fsyntax-only -; then
        done=$((done + 1))
    else
        echo "$4: does not compile alone with $1 -std=$2" >&2
        failed=1
    fi
}

for file in $(cd "$SRC/include" && find hcsmoe -name '*.h' | sort); do
    compile_alone gcc c11 c "$file"
    compile_alone clang c11 c "$file"
    compile_alone g++ c++17 c++ "$file"
    compile_alone clang++ c++17 c++ "$file"
done
[ "$done" -gt 0 ] || {
    echo "no header was compiled" >&2
    exit 1
}
exit "$failed"
