#!/bin/sh
# abidiff.sh - the alarm: libabigail compares the public headers with those of the last release, without suppressions.
#
# usage: abidiff.sh [--dump FILE INCLUDE]
# abi_1_N.c and the plugins of v1_0/ decide what is legal; this finds what nobody thought of. A difference is a failure
# unless HCSMOE_ABI_MINOR_LATEST has gone up and include/CHANGELOG.md says what is new.
# SPDX-License-Identifier: MIT
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

die() {
    echo "abidiff.sh: $*" >&2
    exit 1
}
skip() {
    echo "skipped: $*"
    exit 77
}
number_of() { # macro headers
    sed -n "s/^#define $1 //p" "$2/hcsmoe/host.h"
}

dump() { # file headers
    gcc -g -O0 -shared -fPIC -DHCSMOE_ABI_MINOR=HCSMOE_ABI_MINOR_LATEST -I"$2" probe.c -o "$work/probe.so"
    abidw --no-corpus-path --no-comp-dir-path --no-show-locs --out-file "$1" "$work/probe.so"
}

command -v abidw >/dev/null 2>&1 || skip "no abidw (package abigail-tools)"
command -v gcc >/dev/null 2>&1 || skip "no gcc"
if [ "${1:-}" = --dump ]; then
    dump "$2" "$3"
    exit
fi
[ "$(uname -m)" = x86_64 ] || skip "the dump is of x86_64"
include=../../include

# Every struct that crosses the boundary is looked at; those of family.h are inline.
# shellcheck disable=SC2013 # words without spaces
for name in $(grep -rhoE '^(typedef )?struct hcsmoe_[a-z_]+ \{' $include/hcsmoe | sed 's/.*struct //;s/ {//' | sort -u); do
    case $name in
    hcsmoe_config | hcsmoe_family | hcsmoe_role_name) continue ;;
    esac
    grep -q "const $name \\*" probe.c || die "probe.c does not name $name"
done

# The last release's dump; the alarm must ring for the change that a suppression for appended members would hide.
minor=$(for file in hcsmoe-1.*.abi; do echo "$file"; done | sed 's/hcsmoe-1\.//;s/\.abi//' | sort -n | tail -n 1)
dump "$work/now.abi" $include
cp -r $include/hcsmoe "$work/"
sed 's/int32_t (\*cancelled)(/int32_t (*cancelled)(int32_t added, /' $include/hcsmoe/host.h >"$work/hcsmoe/host.h"
dump "$work/broken.abi" "$work"
abidiff "$work/now.abi" "$work/broken.abi" >/dev/null && die "a parameter was added and abidiff did not notice"

if abidiff "hcsmoe-1.$minor.abi" "$work/now.abi" >"$work/diff"; then
    echo "abidiff: no difference to 1.$minor"
    exit 0
fi
cat "$work/diff"
major=$(number_of HCSMOE_ABI_MAJOR $include)
latest=$(number_of HCSMOE_ABI_MINOR_LATEST $include)
[ "$major" -ge 1 ] || die "these headers are not those of hcsmoe-1.0.abi: run tests/abi/freeze.sh"
[ "$latest" -gt "$minor" ] || die "differences to 1.$minor, and HCSMOE_ABI_MINOR_LATEST is still $latest"
grep -q "^- \*\*$major\.$latest\*\*" $include/CHANGELOG.md || die "include/CHANGELOG.md has no entry for $major.$latest"
echo "abidiff: differences to 1.$minor, as include/CHANGELOG.md says"
