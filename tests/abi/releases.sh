#!/bin/sh
# releases.sh - what freeze.sh and abidiff.sh do at releases to come, tried in a copy of the tree: 1.0, 1.1, and mistakes.
# SPDX-License-Identifier: MIT
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for tool in python3 clang gcc abidw; do
    command -v $tool >/dev/null 2>&1 || {
        echo "skipped: no $tool"
        exit 77
    }
done

die() {
    echo "releases.sh: $*" >&2
    exit 1
}
set_version() { # major minor
    sed -i "s/^#define HCSMOE_ABI_MAJOR .*/#define HCSMOE_ABI_MAJOR $1/
        s/^#define HCSMOE_ABI_MINOR_LATEST .*/#define HCSMOE_ABI_MINOR_LATEST $2/" "$work/include/hcsmoe/host.h"
}
freeze() {
    sh "$work/tests/abi/freeze.sh" >"$work/out" 2>&1
}
alarm() {
    sh "$work/tests/abi/abidiff.sh" >"$work/out" 2>&1
}
refused() { # command text
    if "$1"; then die "$1: nothing was said; expected: $2"; fi
    grep -qF -- "$2" "$work/out" || die "$1: no '$2' in: $(cat "$work/out")"
}
passes() { # command
    "$1" || die "$1: $(cat "$work/out")"
}
compiles() { # file
    gcc -std=c11 -Wall -Wextra -Werror -I"$work/include" -c "$work/tests/abi/$1" -o "$work/object" 2>"$work/out"
}

mkdir -p "$work/tests"
cp -r "$SRC/include" "$work/"
cp -r "$SRC/tests/abi" "$work/tests/"
grep -q '^#define HCSMOE_ABI_MAJOR 0' "$work/tests/abi/v1_0/include/hcsmoe/host.h" || {
    # Released: as it was on the day before.
    rm -rf "$work"/tests/abi/v1_0/include "$work"/tests/abi/abi_1_*.c "$work"/tests/abi/hcsmoe-1.*.abi
}

set_version 0 99
passes freeze
passes freeze # as often as the headers change
passes alarm
sed -i 's/^    double \*loss, \*total;/&\n    int64_t appended;/' "$work/include/hcsmoe/merge.h"
refused alarm "run tests/abi/freeze.sh"
set_version 1 0
passes freeze
passes alarm
refused freeze "1.0 is released"
compiles abi_1_0.c || die "abi_1_0.c: $(cat "$work/out")"

# Appended without a word, with a version, with an entry.
sed -i 's/^    int64_t appended;/&\n    int64_t since_1_1;/' "$work/include/hcsmoe/merge.h"
refused alarm "HCSMOE_ABI_MINOR_LATEST is still 0"
set_version 1 1
sed -i 's/^    int64_t since_1_1;/#if HCSMOE_ABI_MINOR >= 1\n&\n#endif/' "$work/include/hcsmoe/merge.h"
refused alarm "has no entry for 1.1"
echo "- **1.1** more." >>"$work/include/CHANGELOG.md"
passes alarm
passes freeze
refused freeze "1.1 is released"
passes alarm
[ "$(grep -c '^MEMBER' "$work/tests/abi/abi_1_1.c")" -eq 1 ] || die "abi_1_1.c: $(grep -c '^MEMBER' "$work/tests/abi/abi_1_1.c") members"
compiles abi_1_0.c || die "abi_1_0.c: $(cat "$work/out")"
compiles abi_1_1.c || die "abi_1_1.c: $(cat "$work/out")"

# What is not legal does not compile.
sed -i 's/^    int64_t appended;/    int64_t inserted;\n&/' "$work/include/hcsmoe/merge.h"
if compiles abi_1_0.c; then die "an inserted member went unnoticed"; fi
grep -q "hcsmoe_merge_args.appended has moved" "$work/out" || die "$(cat "$work/out")"
echo "releases: 1.0 and 1.1 were made and kept"
