#!/bin/sh
# freeze.sh - writes down what the public headers promise, once for each release of the plugin ABI.
#
# usage: tests/abi/freeze.sh (needs clang, gcc, python3, abigail-tools)
#
#   abi_1_N.c             every member's place and type, every value, compared by the compiler
#   v1_0/include/         a copy of the headers of 1.0, which the plugins of v1_0/ are compiled with
#   hcsmoe-1.N.abi        what abidw sees of them, for abidiff.sh
#
# While HCSMOE_ABI_MAJOR is 0 nothing is promised: run it after every change of the headers. To declare 1.0, set the
# major to 1 and HCSMOE_ABI_MINOR_LATEST to 0 in include/hcsmoe/host.h, write the entry in include/CHANGELOG.md, run it
# once more, and commit all of it together. From then on it refuses, until the minor goes up.
# SPDX-License-Identifier: MIT
set -eu
cd "$(dirname "$0")"
include=../../include

number_of() { # macro headers
    sed -n "s/^#define $1 //p" "$2/hcsmoe/host.h"
}
die() {
    echo "freeze.sh: $*" >&2
    exit 1
}

major=$(number_of HCSMOE_ABI_MAJOR $include)
minor=$(number_of HCSMOE_ABI_MINOR_LATEST $include)
[ "$major" -le 1 ] || die "ABI $major.$minor: a new major starts with new files"
[ "$major" -eq 1 ] || minor=0 # the release that these headers are on their way to
if [ "$minor" -eq 0 ]; then
    frozen=$(number_of HCSMOE_ABI_MAJOR v1_0/include 2>/dev/null || true)
    [ "${frozen:-0}" -eq 0 ] || die "1.0 is released: its files are not made again; a change needs a new minor"
    rm -rf v1_0/include
    mkdir -p v1_0/include
    cp -r $include/hcsmoe v1_0/include/
    earlier=
else
    [ ! -e "abi_1_$minor.c" ] || die "1.$minor is released: its files are not made again; a change needs a new minor"
    earlier=$(ls abi_1_*.c)
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2086 # a list of files
python3 members.py $include "$minor" $earlier >"$work/members.c"
mv "$work/members.c" "abi_1_$minor.c"
sh abidiff.sh --dump "$work/probe.abi" $include
mv "$work/probe.abi" "hcsmoe-1.$minor.abi"
echo "made abi_1_$minor.c ($(grep -c '^MEMBER' "abi_1_$minor.c") members) and hcsmoe-1.$minor.abi from ABI $major.$(number_of HCSMOE_ABI_MINOR_LATEST $include)"
