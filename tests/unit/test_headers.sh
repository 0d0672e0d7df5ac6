#!/bin/sh
# test_headers.sh - every public header compiles alone and with the others, in C11 and C++17, with gcc and clang, for
# every minor, and hides no padding; no struct has a member whose size or layout a compiler may choose.
# SPDX-License-Identifier: MIT
set -eu
warnings="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wpadded -Werror"
failed=0
done=0

fail() {
    echo "$*" >&2
    failed=1
}
number_of() { # macro
    sed -n "s/^#define $1 //p" "$SRC/include/hcsmoe/host.h"
}

compile() { # compiler standard language minor, the text on standard input
    # shellcheck disable=SC2086 # a list of words
    "$1" -std="$2" -x "$3" $warnings ${4:+-DHCSMOE_ABI_MINOR=$4} -I"$SRC/include" -fsyntax-only -
}
compile_each() { # text, in all languages and minors
    for compiler in "gcc c11 c" "clang c11 c" "g++ c++17 c++" "clang++ c++17 c++"; do
        # shellcheck disable=SC2086 # three words
        set -- "$1" $compiler
        command -v "$2" >/dev/null 2>&1 || continue
        for minor in $minors; do
            if printf '%s\n' "$1" | compile "$2" "$3" "$4" "$minor"; then
                done=$((done + 1))
            else
                fail "does not compile with $2 -std=$3 for minor $minor: $1"
            fi
        done
    done
}

# While the major is 0 there is one minor: the latest.
latest=$(number_of HCSMOE_ABI_MINOR_LATEST)
minors=$latest
[ "$(number_of HCSMOE_ABI_MAJOR)" -eq 0 ] || minors=$(seq 0 "$latest")

files=$(cd "$SRC/include" && find hcsmoe -name '*.h' | sort)
all=
for file in $files; do
    compile_each "#include <$file>"
    all="#include <$file>
$all"
done
compile_each "$all"

# A plugin in C++, as a .cu file is one: no designated initialisers there.
compile_each "#include <hcsmoe/kernels.h>
#include <hcsmoe/plugin.h>
#ifdef __cplusplus
static int32_t probe(const hcsmoe_host *h)
{
    hcsmoe_logf(h, HCSMOE_LOG_INFO, \"device %d\", 0);
    return HCSMOE_HAS(h, extension) ? 1 : 0;
}
static hcsmoe_status table(void *, const hcsmoe_host *h, int32_t, const hcsmoe_kernels **)
{
    return hcsmoe_failf(h, HCSMOE_EUNSUPPORTED, \"no device\");
}
static const hcsmoe_kernels_ops ops = {sizeof(hcsmoe_kernels_ops), 0, probe, table, nullptr};
static hcsmoe_component make()
{
    hcsmoe_component c = {};
    c.struct_size = sizeof c;
    c.kind = HCSMOE_KIND_KERNELS;
    c.name = \"cpp\";
    c.summary = \"from C++\";
    c.ops = &ops;
    return c;
}
static const hcsmoe_component cpp = make();
HCSMOE_PLUGIN(\"hcsmoe.test.cpp\", \"1.0.0\", \"MIT\", &cpp)
#endif"

# Asking for what the headers lack is an error, not a surprise later.
if echo "#include <hcsmoe/host.h>" | compile gcc c11 c $((latest + 1)) 2>/dev/null; then
    fail "a minor that is newer than the headers compiles"
fi

# bool, long, enum types and bit-fields are of no fixed size.
for file in $files; do
    found=$(awk '
        { gsub(/\/\*.*\*\//, "") }
        /\/\*/ { comment = 1 }
        !comment && /^(typedef )?struct [a-z_]+ \{/ { inside = 1; next }
        !comment && inside && /^}/ { inside = 0 }
        !comment && inside && /(^|[^a-z_])(bool|_Bool|long|short|enum)[^a-z_]|[a-z_] *: *[0-9]+ *;/ { print FILENAME ":" FNR ": " $0 }
        /\*\// { comment = 0 }' "$SRC/include/$file")
    [ -z "$found" ] || fail "$found"
done

[ "$done" -gt 0 ] || fail "no header was compiled"
exit "$failed"
